//! A client that trusts one authority: `cargo run --example private_ca -- ca.pem
//! https://localhost:4443/`.

use sealpair_client::{agent, session};
use sealpair_common::tls::ClientTls;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(ca), Some(url)) = (args.next(), args.next()) else {
        return Err("usage: private_ca CA URL".into());
    };

    let agent = agent(ClientTls::builder().trust_file(ca).build()?);
    let mut response = agent.get(url).call()?;
    if let Some(session) = session(&response) {
        eprintln!("over {session}");
    }
    println!("{}", response.body_mut().read_to_string()?);
    Ok(())
}
