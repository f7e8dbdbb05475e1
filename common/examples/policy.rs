//! What a policy allows, as JSON: `cargo run --example policy -- intermediate`.
//!
//! It is the table that both ends use, for whoever checks a running server against it.

use openssl::nid::Nid;
use sealpair_common::tls::{Algorithm, Availability, Policy, Protocol};
use serde_json::json;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(name) = std::env::args().nth(1) else {
        return Err("usage: policy NAME".into());
    };
    let policy: Policy = name.parse()?;
    let parameters = policy.parameters();
    let protocols: &[&str] = match parameters.oldest {
        Protocol::Tls12 => &["TLSv1.2", "TLSv1.3"],
        Protocol::Tls13 => &["TLSv1.3"],
    };
    let names = |algorithms: &[Algorithm], availability: Availability| -> Vec<&str> {
        let wanted = |algorithm: &&Algorithm| algorithm.availability == availability;
        algorithms.iter().filter(wanted).map(|algorithm| algorithm.name).collect()
    };
    let curves: Result<Vec<&str>, _> = parameters.keys.curves.iter().map(Nid::short_name).collect();
    let digests: Option<Result<Vec<&str>, _>> =
        parameters.certificate_digests.map(|nids| nids.iter().map(Nid::short_name).collect());
    let document = json!({
        "schema": "sealpair.policy/1",
        "policy": policy.name(),
        "source": parameters.source,
        "protocols": protocols,
        "suites": parameters.suites,
        "ciphers": parameters.ciphers,
        "groups": names(parameters.groups, Availability::Required),
        "groups_where_built": names(parameters.groups, Availability::WhereBuilt),
        "signatures": names(parameters.signatures, Availability::Required),
        "signatures_where_built": names(parameters.signatures, Availability::WhereBuilt),
        "security_level": parameters.security_level,
        "rsa_bits": parameters.keys.rsa_bits,
        "ml_dsa": parameters.keys.ml_dsa,
        "curves": curves?,
        "certificate_digests": digests.transpose()?,
        "lifetime_days": parameters.lifetime_days,
        "extended_master_secret": parameters.extended_master_secret,
        "fips_module": parameters.fips_module,
    });
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}
