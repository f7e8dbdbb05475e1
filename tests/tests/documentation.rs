//! What the README says, held against the programs. Its commands are run by `tests/shell/readme.bats`,
//! its Rust by the documentation tests of this crate.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_common::exit::Exit;
use sealpair_common::tls::Policy;
use sealpair_server::metrics::{HANDSHAKE_BUCKETS, Metrics, REQUEST_BUCKETS};
use sealpair_tests::Run;
use std::collections::{BTreeMap, BTreeSet};

const README: &str = include_str!("../../README.md");

/// The rows of the table under a heading, without its head.
fn rows(heading: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let section = README.split_once(&format!("\n## {heading}\n")).unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines.map(|line| cells(line.trim_matches('|')))
}

/// The cells of a row. A bar in a cell has a backslash before it.
fn cells(line: &str) -> Vec<&str> {
    let mut before = ' ';
    let bar = |c| std::mem::replace(&mut before, c) != '\\' && c == '|';
    line.split(bar).map(str::trim).collect()
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
    let row = |name: &str| table.iter().find(|row| row[0].starts_with(name)).unwrap();
    let columns =
        [Policy::Intermediate, Policy::Modern, Policy::Fips, Policy::Cnsa1, Policy::Cnsa2];
    for (column, policy) in (1..).zip(columns) {
        let parameters = policy.parameters();
        assert!(parameters.source.starts_with(row("source")[column]), "{policy}");
        assert_eq!(row("protocols")[column].contains("1.2"), !parameters.ciphers.is_empty());
        let keys = row("an end's own key")[column];
        assert_eq!(keys.contains("RSA"), parameters.keys.rsa_bits.is_some(), "{policy}");
        let names = [("P-256", "prime256v1"), ("P-384", "secp384r1"), ("P-521", "secp521r1")];
        for (shown, name) in names {
            let curves = parameters.keys.curves.iter().filter_map(|nid| nid.short_name().ok());
            assert_eq!(keys.contains(shown), curves.into_iter().any(|it| it == name), "{policy}");
        }
        assert!(parameters.keys.ml_dsa.iter().all(|set| keys.contains(set)), "{policy}");
        let days =
            parameters.lifetime_days.map_or_else(|| "–".to_owned(), |days| format!("{days} days"));
        assert_eq!(row("longest")[column], days, "{policy}");
        let required = parameters.extended_master_secret;
        assert_eq!(row("extended master")[column] == "required", required, "{policy}");
        let groups = row("groups")[column];
        for group in parameters.groups {
            let shown = names.iter().find(|(_, name)| *name == group.name);
            let shown = shown.map_or(group.name, |(shown, _)| shown);
            assert!(groups.contains(shown), "{policy}: {shown} in {groups}");
        }
    }
}

#[test]
fn the_table_of_flags_says_what_the_server_takes() {
    let help = Run::of("sealpair-server").args(["serve", "--help"]).run().expect_success().text();
    // Long help: a flag's line begins with it; its text, and perhaps its default, follow.
    let (mut flags, mut defaults) = (BTreeMap::new(), BTreeMap::new());
    let mut current = "";
    for line in help.split_once("Options:").unwrap().1.lines().map(str::trim) {
        if line.starts_with("--") {
            let (flag, value) = line.split_once(' ').unwrap_or((line, ""));
            flags.insert(flag, value.trim_matches(['<', '>']));
            current = flag;
        } else if let Some(default) = line.strip_prefix("[default: ") {
            defaults.insert(current, default.trim_end_matches(']'));
        }
    }
    let mut documented = BTreeSet::new();
    for row in rows("Flags of the server") {
        for text in row[0].split('`').skip(1).step_by(2) {
            let (flag, value) = text.split_once(' ').unwrap_or((text, ""));
            let value = value.replace('\\', "");
            let expected = *flags.get(flag).unwrap_or_else(|| panic!("{flag} is not in the help"));
            // Where the values are words, the table has the words.
            assert!(value == expected || value.contains("|"), "{flag} {value}: {expected}");
            documented.insert(flag.to_owned());
            if let Some(default) = defaults.get(flag) {
                assert!(row[1].contains(&format!("`{default}`")), "{flag}: {default}");
            }
        }
    }
    assert_eq!(documented, flags.keys().map(|flag| (*flag).to_owned()).collect());
    assert!(documented.len() > 20 && defaults.len() > 8, "{flags:?} {defaults:?}");
}

#[test]
fn the_table_of_metrics_is_complete() {
    const OPERATIONS: &str = include_str!("../../docs/operations.md");
    let table = OPERATIONS.split_once("\n## Metrics\n").unwrap().1.split("\n## ").next().unwrap();
    let lines = table.lines().filter(|line| line.starts_with("| `"));
    let documented: Vec<(&str, &str)> = lines
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`'), cells[2])
        })
        .collect();
    let text = Metrics::new().render();
    let heads = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    assert_eq!(documented, heads.map(|head| head.split_once(' ').unwrap()).collect::<Vec<_>>());
    // The buckets are told in milliseconds, seconds, minutes and hours.
    let told = table.split_once("The buckets of handshakes end at").unwrap().1;
    let told = told.split("\n\n").next().unwrap();
    let (handshakes, requests) = told.split_once("those of requests at").unwrap();
    for (told, buckets) in [(handshakes, &HANDSHAKE_BUCKETS[..]), (requests, &REQUEST_BUCKETS)] {
        assert_eq!(micros(told), buckets, "{told}");
    }
}

/// The times in a text such as `0.5, 1 and 5 ms, 1 and 2.5 s, 10 min`, in microseconds.
fn micros(text: &str) -> Vec<u64> {
    let (mut times, mut pending) = (Vec::new(), Vec::new());
    for word in text.split_whitespace().map(|word| word.trim_end_matches([',', ';', '.'])) {
        let unit = match word {
            "ms" => 1e3,
            "s" => 1e6,
            "min" => 60e6,
            "h" => 3600e6,
            _ => 0.0,
        };
        if unit > 0.0 {
            times.extend(pending.drain(..).map(|number: f64| (number * unit).round() as u64));
        } else if let Ok(number) = word.parse() {
            pending.push(number);
        }
    }
    times
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
