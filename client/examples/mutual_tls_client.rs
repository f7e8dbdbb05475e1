//! A client that shows its own certificate, and explains a refusal: `cargo run --example mutual_tls_client --
//! ca.pem alice.pem alice.key https://localhost:4443/`.

use sealpair_client::{Phase, agent, report};
use sealpair_common::tls::ClientTls;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [ca, cert, key, url] = &args[..] else {
        return Err("usage: mutual_tls_client CA CERT KEY URL".into());
    };

    let tls = ClientTls::builder().trust_file(ca).identity_pem(cert, key).build()?;
    match agent(tls).get(url).call() {
        Ok(mut response) => println!("{}", response.body_mut().read_to_string()?),
        // Which certificate, which rule, what to do.
        Err(error) => return Err(report(&error, Phase::Request).into()),
    }
    Ok(())
}
