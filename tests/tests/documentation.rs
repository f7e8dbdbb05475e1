//! What the README says, held against the programs. Its commands are run by `tests/shell/readme.bats`,
//! its Rust by the documentation tests of this crate.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_common::exit::Exit;
use sealpair_common::tls::Policy;
use std::collections::BTreeSet;

const README: &str = include_str!("../../README.md");

/// The rows of the table under a heading, without its head.
fn rows(heading: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let section = README.split_once(&format!("\n## {heading}\n")).unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

#[test]
fn the_table_of_exit_codes_is_complete() {
    let documented: Vec<u8> = rows("Exit codes").map(|row| row[0].parse().unwrap()).collect();
    let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
    assert_eq!(documented, codes);
}

#[test]
fn the_table_of_policies_says_what_the_code_has() {
    let table: Vec<_> = rows("TLS policies").collect();
    for (column, policy) in [(1, Policy::Intermediate), (2, Policy::Modern)] {
        let parameters = policy.parameters().unwrap();
        let source = table.iter().find(|row| row[0] == "source").unwrap()[column];
        assert!(parameters.source.starts_with(source), "{source}");
        let protocols = table.iter().find(|row| row[0] == "protocols").unwrap()[column];
        assert_eq!(protocols.contains("1.2"), !parameters.ciphers.is_empty());
        let keys = table.iter().find(|row| row[0] == "an end's own key").unwrap()[column];
        assert_eq!(keys.contains("RSA"), parameters.rsa_bits.is_some());
        let days = table.iter().find(|row| row[0].starts_with("longest")).unwrap()[column];
        assert_eq!(days, format!("{} days", parameters.lifetime_days));
    }
    let groups = Policy::Intermediate.parameters().unwrap().groups;
    let row = table.iter().find(|row| row[0] == "groups").unwrap()[1];
    let shown = |name: &str| match name {
        "prime256v1" => "P-256".to_owned(),
        "secp384r1" => "P-384".to_owned(),
        name => name.to_owned(),
    };
    assert!(groups.iter().all(|group| row.contains(&shown(group.name))), "{row}");
}

#[test]
fn every_file_that_the_tour_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let tour = README.split_once("\n## The code, in reading order\n").unwrap().1;
    let tour = tour.split("\n## ").next().unwrap();
    let named: BTreeSet<&str> = tour.split('`').skip(1).step_by(2).collect();
    assert!(named.len() > 20, "{named:?}");
    let mut folder = root.to_owned();
    for name in tour.split('`').skip(1).step_by(2) {
        let path = root.join(name);
        if name.contains('/') {
            folder = path.clone();
            if !name.ends_with('/') {
                folder.pop();
            }
            assert!(path.exists(), "{name}");
        } else if name.ends_with(".rs") {
            assert!(folder.join(name).exists(), "{name} in {}", folder.display());
        }
    }
}
