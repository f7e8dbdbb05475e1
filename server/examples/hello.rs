//! The smallest server: `cargo run --example hello -- server.pem server.key`, then
//! `sealpair get --ca ca.pem https://localhost:4443/`.

use sealpair_common::tls::ServerTls;
use sealpair_server::{Request, Response, Server};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(cert), Some(key)) = (args.next(), args.next()) else {
        return Err("usage: hello CERT KEY [ADDRESS]".into());
    };
    let address = args.next().unwrap_or_else(|| "localhost:4443".to_owned());

    let tls = ServerTls::builder().identity_pem(cert, key).build()?;
    let server = Server::bind(address, tls)?;
    println!("listening on {}", server.local_addrs()?[0]);
    server.serve(|_: &mut Request<'_>| Response::text("Hello, HTTPS!"))?;
    Ok(())
}
