//! A local authority and a certificate from it: `cargo run --example local_ca -- DIR localhost`.

use sealpair_common::pki::{Authority, AuthorityOptions, LeafRequest, Overwrite};
use sealpair_common::tls::{ServerTls, openssl_version};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next().map(PathBuf::from) else {
        return Err("usage: local_ca DIR NAME...".into());
    };
    let names: Vec<String> = args.collect();

    let authority = Authority::create(&AuthorityOptions::new())?;
    authority.save(&dir.join("ca.pem"), &dir.join("ca.key"), Overwrite::Refuse)?;
    let issued = authority.issue(&LeafRequest::server(&names)?)?;
    let (cert, key) = (dir.join("server.pem"), dir.join("server.key"));
    issued.save(&cert, &key, Overwrite::Refuse)?;

    // Whatever builds can serve: the key matches, and the policy allows it.
    ServerTls::builder().identity_pem(&cert, &key).build()?;
    println!("{} is ready, with {}", cert.display(), openssl_version());
    Ok(())
}
