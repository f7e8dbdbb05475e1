//! Tests that use several files of this module, most of them against the `openssl` program.

mod authorities;
mod inspecting;
mod issuing;
mod post_quantum;
mod writing;

use super::*;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// The kinds that every OpenSSL 3 has, the program among the peers included.
const CLASSICAL: [KeyAlgorithm; 5] = [
    KeyAlgorithm::P256,
    KeyAlgorithm::P384,
    KeyAlgorithm::P521,
    KeyAlgorithm::Rsa3072,
    KeyAlgorithm::Rsa4096,
];

/// An authority in files, as the programs use it.
fn authority_in(directory: &TempDir, algorithm: KeyAlgorithm) -> Authority {
    let options = AuthorityOptions::new().common_name("Test CA").key_algorithm(algorithm);
    let authority = Authority::create(&options).unwrap();
    let path = directory.path();
    authority.save(&path.join("ca.pem"), &path.join("ca.key"), Overwrite::Refuse).unwrap();
    authority
}

/// A day from now, or before now if negative.
fn days(days: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * days)
}

fn openssl(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("openssl").args(arguments).current_dir(directory).output().unwrap()
}

/// What the program printed; fails the test with its complaint if it failed.
fn openssl_ok(directory: &Path, arguments: &[&str]) -> String {
    let output = openssl(directory, arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &complaint
}

/// Whether `openssl verify` trusts `leaf.pem` under `ca.pem`.
fn verify(directory: &TempDir, more: &[&str]) -> Output {
    openssl(directory.path(), &[&["verify", "-x509_strict", "-CAfile", "ca.pem"], more].concat())
}

fn save(issued: &Issued, directory: &TempDir) {
    let path = directory.path();
    issued.save(&path.join("leaf.pem"), &path.join("leaf.key"), Overwrite::Replace).unwrap();
}
