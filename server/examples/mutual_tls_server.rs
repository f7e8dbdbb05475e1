//! A server that greets its clients by the name in their certificate:
//! `cargo run --example mutual_tls_server -- server.pem server.key ca.pem`, then
//! `sealpair get --ca ca.pem --cert alice.pem --key alice.key https://localhost:4443/`.

use sealpair_common::tls::{ClientAuth, ServerTls, Trust};
use sealpair_server::{Request, Response, Server};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(cert), Some(key), Some(ca)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: mutual_tls_server CERT KEY CLIENT_CA [ADDRESS]".into());
    };
    let address = args.next().unwrap_or_else(|| "localhost:4443".to_owned());

    let tls = ServerTls::builder()
        .identity_pem(cert, key)
        .client_auth(ClientAuth::Required, Trust::system().file(ca))
        .build()?;
    let server = Server::bind(address, tls)?;
    println!("listening on {}", server.local_addrs()?[0]);
    server.serve(|request: &mut Request<'_>| {
        let session = request.connection().session();
        // Required: so there is one.
        let name = session.peer.first().map_or("nobody", |client| client.subject.as_str());
        Response::text(format!("Hello, {name}, over {session}!\n"))
    })?;
    Ok(())
}
