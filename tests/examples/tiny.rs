//! Files over tiny_http's own TLS listener, as its README shows it: the peer of `tests/tests/tiny_http.rs`
//! and `scripts/bench`, and for nothing else.
//!
//! usage: tiny DIR CERT KEY ADDRESS

#![allow(missing_docs)]

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use tiny_http::{Response, Server, SslConfig};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, certificate, private_key, address] = args.as_slice() else {
        return Err("usage: tiny DIR CERT KEY ADDRESS".into());
    };
    let tls =
        SslConfig { certificate: fs::read(certificate)?, private_key: fs::read(private_key)? };
    let server = Server::https(address, tls)?;
    println!("listening on {}", server.server_addr());
    for request in server.incoming_requests() {
        // One name in one directory: no path leads anywhere else.
        let name = request.url().trim_start_matches('/').to_owned();
        let file = match name.contains(['/', '%']) || name.starts_with('.') {
            true => None,
            false => File::open(Path::new(dir).join(name)).ok(),
        };
        // Whoever went away does not end the loop.
        let _ = match file {
            Some(file) => request.respond(Response::from_file(file)),
            None => request.respond(Response::empty(404)),
        };
    }
    Ok(())
}
