//! What a policy allows, as JSON: `cargo run --example policy -- intermediate`.
//!
//! It is the table that both ends use, for whoever checks a running server against it.

use openssl::nid::Nid;
use sealpair_common::tls::{Availability, Policy, Protocol};
use serde_json::json;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(name) = std::env::args().nth(1) else {
        return Err("usage: policy NAME".into());
    };
    let policy: Policy = name.parse()?;
    let parameters = policy.parameters()?;
    let protocols: &[&str] = match parameters.oldest {
        Protocol::Tls12 => &["TLSv1.2", "TLSv1.3"],
        Protocol::Tls13 => &["TLSv1.3"],
    };
    let groups = |availability: Availability| -> Vec<&str> {
        let groups = parameters.groups.iter().filter(|group| group.availability == availability);
        groups.map(|group| group.name).collect()
    };
    let curves: Result<Vec<&str>, _> = parameters.curves.iter().map(Nid::short_name).collect();
    let document = json!({
        "schema": "sealpair.policy/1",
        "policy": policy.name(),
        "source": parameters.source,
        "protocols": protocols,
        "suites": parameters.suites,
        "ciphers": parameters.ciphers,
        "groups": groups(Availability::Required),
        "groups_where_built": groups(Availability::WhereBuilt),
        "signatures": parameters.signatures,
        "rsa_bits": parameters.rsa_bits,
        "curves": curves?,
        "lifetime_days": parameters.lifetime_days,
    });
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}
