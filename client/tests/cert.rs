//! `sealpair cert` as a script sees it: exit codes, and what goes to which output.

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn sealpair(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealpair"));
    let command = command.arg("cert").args(arguments).current_dir(directory);
    command.output().expect("the program starts")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

#[test]
fn from_an_authority_to_a_renewal() {
    let directory = TempDir::new().expect("a directory");
    let run = |arguments: &[&str]| sealpair(directory.path(), arguments);

    let init = run(&["init"]);
    assert_eq!(init.status.code(), Some(0), "{init:?}");
    assert!(init.stdout.starts_with(b"Certificate authority\n"));
    assert!(init.stderr.is_empty());

    let issue = run(&["issue", "*.example.org", "--days", "10", "--json"]);
    assert_eq!(issue.status.code(), Some(0), "{issue:?}");
    assert_eq!(json(&issue)["certificate"], "wildcard.example.org.pem");
    assert!(issue.stderr.starts_with(b"Server certificate\n"));
    let verify = ["verify", "-x509_strict", "-CAfile", "ca.pem"];
    let verified = Command::new("openssl")
        .args(verify)
        .arg("wildcard.example.org.pem")
        .current_dir(directory.path())
        .output()
        .expect("openssl starts");
    assert!(verified.status.success(), "{verified:?}");

    let due = run(&["check", "wildcard.example.org.pem"]);
    assert_eq!(due.status.code(), Some(1), "{due:?}");
    assert!(due.stdout.starts_with(b"Renewal is due\n"));
    let fine = run(&["check", "wildcard.example.org.pem", "--within", "1d", "--json"]);
    assert_eq!(fine.status.code(), Some(0), "{fine:?}");
    assert_eq!(json(&fine)["renewal"], "fine");
}

#[test]
fn failures_have_their_codes() {
    let directory = TempDir::new().expect("a directory");
    let run = |arguments: &[&str]| sealpair(directory.path(), arguments);
    for (arguments, code) in [
        (&["issue"][..], 2),
        (&["issue", "münchen.de"], 2),
        (&["issue", "a.example", "--not-before", "soon"], 2),
        (&["issue", "a.example"], 3),
        (&["show", "missing.pem"], 3),
        (&["check", "/dev/null"], 3),
        (&["init", "--dir", "/dev/null/x"], 4),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
        assert!(output.stdout.is_empty());
    }
    let output = run(&["show", "missing.pem", "--json"]);
    assert_eq!(json(&output)["error"]["code"], 3);
    assert_eq!(json(&output)["error"]["kind"], "file-read");
}
