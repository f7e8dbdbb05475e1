//! What `sealpair inspect --json` says, for tests that look at it.

use crate::program::{Ended, Run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Looks at a port of this machine as `localhost`.
pub fn inspect(port: u16, ca: &Path, more: &[&str]) -> Ended {
    let run = Run::of("sealpair").arg("inspect").arg(format!("localhost:{port}"));
    run.arg("--json").arg("--ca").arg(ca).args(more).run()
}

/// A field of every entry of a list.
pub fn words(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap().to_owned()).collect()
}

/// The suites of a version, by their names in OpenSSL.
pub fn suites(found: &Value, version: &str) -> BTreeSet<String> {
    words(&found["protocols"][version]["suites"], "openssl").into_iter().collect()
}

/// The groups of a version.
pub fn groups(found: &Value, version: &str) -> BTreeSet<String> {
    words(&found["protocols"][version]["groups"], "name").into_iter().collect()
}

/// A set of names.
pub fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The versions that are offered.
pub fn offered(found: &Value) -> Vec<String> {
    let protocols = found["protocols"].as_object().unwrap();
    let offered = protocols.iter().filter(|(_, offer)| offer["offered"] == true);
    offered.map(|(version, _)| version.clone()).collect()
}

/// The checks of the first chain that fail.
pub fn failed_checks(found: &Value) -> Vec<String> {
    let checks = found["certificates"][0]["checks"].as_array().unwrap();
    let failed = checks.iter().filter(|check| check["passed"] == false);
    failed.map(|check| check["check"].as_str().unwrap().to_owned()).collect()
}

/// The rules of the policy that fail.
pub fn failed_rules(found: &Value) -> Vec<String> {
    let rules = found["policy"]["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| !rule["source"].as_str().unwrap().is_empty()));
    let failed = rules.iter().filter(|rule| rule["passed"] == false);
    failed.map(|rule| rule["rule"].as_str().unwrap().to_owned()).collect()
}
