//! `sealpair inspect` judges as our own client does: what `get` refuses does not pass, and our own servers
//! pass the policies that they run under.

#![allow(clippy::unwrap_used, missing_docs)]

use jiff::{SignedDuration, Timestamp};
use sealpair_tests::inspection::{failed_checks, failed_rules, inspect};
use sealpair_tests::ocsp::Issue;
use sealpair_tests::peers::{fips_settings, openssl};
use sealpair_tests::{Credentials, OpensslServer, Pki, Run, SealpairServer};
use serde_json::Value;
use std::path::Path;

fn check<'a>(found: &'a Value, name: &str) -> &'a Value {
    let checks = found["certificates"][0]["checks"].as_array().unwrap();
    checks.iter().find(|check| check["check"] == name).unwrap()
}

fn rule<'a>(found: &'a Value, name: &str) -> &'a Value {
    let rules = found["policy"]["rules"].as_array().unwrap();
    rules.iter().find(|rule| rule["rule"] == name).unwrap()
}

/// What our client says of the same server.
fn get(port: u16, ca: &Path, more: &[&str]) -> i32 {
    let run = Run::of("sealpair").args(["get", "-o", "/dev/null"]).args(more).arg("--ca").arg(ca);
    run.arg(format!("https://localhost:{port}/ca.pem")).run().code().unwrap()
}

/// Runs `openssl` in a directory, as a line of words.
fn run(dir: &Path, line: &str) {
    openssl().current_dir(dir).args(line.split_whitespace()).run().expect_success();
}

const NAMES: &str = "-addext subjectAltName=DNS:localhost -addext extendedKeyUsage=serverAuth";

/// A root with one kind of key, and a server's certificate with another.
fn root_and_leaf(pki: &Pki, root: &str, leaf: &str) -> Credentials {
    let dir = pki.dir();
    run(
        dir,
        &format!(
            "req -x509 {root} -noenc -days 30 -subj /CN=theroot -addext \
             basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout r.key \
             -out r.pem"
        ),
    );
    run(
        dir,
        &format!(
            "req {leaf} -noenc -subj /CN=localhost {NAMES} -addext \
             basicConstraints=critical,CA:FALSE -keyout l.key -out l.csr"
        ),
    );
    run(
        dir,
        "x509 -req -in l.csr -CA r.pem -CAkey r.key -CAcreateserial -copy_extensions copyall \
         -sha384 -days 30 -out l.pem",
    );
    Credentials { cert: dir.join("l.pem"), key: dir.join("l.key"), ca: dir.join("r.pem") }
}

const P256: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha384";
const P384: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-384 -sha384";
const RSA1024: &str = "-newkey rsa:1024 -sha256";

#[test]
fn an_anchor_that_is_not_sent_is_judged_too() {
    let pki = Pki::new();
    let cnsa1 = ["--policy", "cnsa1"];
    for (root, failed, code) in [(P256, &["certificate-issuer-keys"][..], 14), (P384, &[], 0)] {
        let credentials = root_and_leaf(&pki, root, P384);
        let args = [
            "-tls1_3",
            "-ciphersuites",
            "TLS_AES_256_GCM_SHA384",
            "-groups",
            "P-384",
            "-sigalgs",
            "ecdsa_secp384r1_sha384",
        ];
        let server = OpensslServer::start(&credentials, pki.dir(), &args);
        let ended = inspect(server.port(), &credentials.ca, &cnsa1);
        let found = ended.json();
        assert_eq!(failed_rules(&found), failed, "{ended}");
        assert_eq!(ended.code(), Some(if failed.is_empty() { 0 } else { 31 }));
        assert_eq!(get(server.port(), &credentials.ca, &cnsa1), code);
        let told = rule(&found, "certificate-issuer-keys")["found"].as_str().unwrap();
        assert!(code == 0 || told.contains("CN=theroot, which was not sent"), "{told}");
    }
}

#[test]
fn a_stapled_response_is_judged_as_our_client_judges_it() {
    let pki = Pki::new();
    let server = pki.server();
    let stranger = Pki::new();
    let hours = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
    let ended = pki.write(".ocsp", pki.ocsp(&server).dated(hours(-48), hours(-24)));
    let foreign = stranger.server();
    for (what, staple, status, says) in [
        ("revoked", pki.ocsp(&server).revoked().file(), "revoked", "keyCompromise"),
        ("unknown", pki.ocsp(&server).unknown().file(), "unknown", "does not know"),
        ("ended", ended, "unusable", "it has ended"),
        ("forged", pki.ocsp(&server).signed_by(&foreign).file(), "unusable", "issuer"),
        ("good", pki.ocsp(&server).file(), "good", "until"),
        ("SHA-256", pki.ocsp(&server).with("-sha256").file(), "good", "until"),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            let args = [version, "-status_file", staple.to_str().unwrap()];
            let peer = OpensslServer::start(&server, pki.dir(), &args);
            let ended = inspect(peer.port(), &pki.ca(), &["--policy", "intermediate"]);
            let found = ended.json();
            let staple = &found["ocsp_stapling"];
            assert_eq!(staple["certificate"], status, "{what}: {ended}");
            for date in ["this_update", "next_update"] {
                if let Some(date) = staple[date].as_str() {
                    date.parse::<Timestamp>().unwrap();
                } else {
                    assert_eq!(status, "unknown", "{what}: {staple}");
                }
            }
            let told = check(&found, "status")["explanation"].as_str().unwrap();
            assert!(told.contains(says), "{what}: {told}");
            let good = status == "good";
            let expected: &[&str] = if good { &[] } else { &["status"] };
            assert_eq!(failed_checks(&found), expected, "{what}");
            let failed = failed_rules(&found);
            assert_eq!(failed.contains(&"certificate-status".to_owned()), !good, "{failed:?}");
            assert_eq!(ended.stderr.contains("NOT VALID"), !good, "{ended}");
            assert_eq!(ended.stderr.contains("FAIL  certificate-status"), !good, "{ended}");
            assert_eq!(get(peer.port(), &pki.ca(), &[]) == 0, good, "{what}");
        }
    }
}

#[test]
fn a_certificate_that_demands_a_response_is_not_valid_without_one() {
    let pki = Pki::new();
    let server = pki.issue_for_ocsp(Issue::MustStaple);
    let staple = pki.ocsp(&server).file();
    for version in ["-tls1_2", "-tls1_3"] {
        for (args, expected) in [
            (&[version][..], &["status"][..]),
            (&[version, "-status_file", staple.to_str().unwrap()], &[]),
        ] {
            let peer = OpensslServer::start(&server, pki.dir(), args);
            let found = inspect(peer.port(), &pki.ca(), &[]).expect_code(0).json();
            assert_eq!(failed_checks(&found), expected, "{found}");
            assert_eq!(found["certificates"][0]["valid"], expected.is_empty());
            let judged = inspect(peer.port(), &pki.ca(), &["--policy", "intermediate"]).json();
            let failed = failed_rules(&judged).contains(&"certificate-status".to_owned());
            assert_eq!(failed, !expected.is_empty());
        }
    }
}

#[test]
fn a_key_that_is_too_weak_does_not_make_a_chain_trusted() {
    let pki = Pki::new();
    let below = root_and_leaf(&pki, RSA1024, RSA1024);
    let line = format!(
        "req -x509 {RSA1024} -noenc -days 30 -subj /CN=localhost {NAMES} -keyout s.key -out s.pem"
    );
    run(pki.dir(), &line);
    let own = pki.dir().join("s.pem");
    let alone = Credentials { ca: own.clone(), cert: own, key: pki.dir().join("s.key") };
    for credentials in [below, alone] {
        for version in ["-tls1_2", "-tls1_3"] {
            let args = [version, "-cipher", "DEFAULT@SECLEVEL=0"];
            let server = OpensslServer::start(&credentials, pki.dir(), &args);
            let found = inspect(server.port(), &pki.ca(), &[]).expect_code(0).json();
            assert_eq!(check(&found, "trust")["passed"], false, "{found}");
            assert_eq!(check(&found, "key")["passed"], false, "{found}");
            // Where it is trusted, the key is what is wrong.
            let found = inspect(server.port(), &credentials.ca, &[]).expect_code(0).json();
            assert_eq!(failed_checks(&found), ["key"], "{found}");
        }
    }
}

#[test]
fn our_server_with_a_module_passes_fips_and_a_note_says_what_that_does_not_mean() {
    let server = SealpairServer::start(|mut server| {
        for (name, value) in fips_settings() {
            server = server.env(name, value);
        }
        server.args(["--policy", "fips", "--fips"])
    });
    let fips = ["--policy", "fips"];
    let ended = inspect(server.address().port(), &server.ca(), &fips).expect_code(0);
    let found = ended.json();
    assert_eq!(failed_rules(&found), [""; 0]);
    assert_eq!(found["extended_master_secret"]["required"], true);
    assert_eq!(rule(&found, "extended-master-secret")["found"], "required");
    let note = "FIPS module cannot be seen from outside";
    assert!(found["notes"].to_string().contains(note), "{found}");
    let (_, below) = ended.stderr.split_once("Policy fips").unwrap();
    assert!(below.contains(note), "{ended}");
    // Also where it is not passed, and nowhere else.
    let other = SealpairServer::start(|s| s.args(["--policy", "modern"]));
    let found = inspect(other.address().port(), &other.ca(), &fips).expect_code(31).json();
    assert!(found["notes"].to_string().contains(note), "{found}");
    let found = inspect(other.address().port(), &other.ca(), &["--policy", "modern"]).json();
    assert!(!found["notes"].to_string().contains(note), "{found}");
}

#[test]
fn our_server_passes_the_policies_of_the_cnsa_suites() {
    for policy in ["cnsa1", "cnsa2"] {
        // ML-DSA-87 and ML-KEM-1024 begin with OpenSSL 3.5; without them no such server starts.
        if policy == "cnsa2" && openssl::version::number() < 0x3050_0000 {
            continue;
        }
        let server = SealpairServer::start(|s| s.args(["--policy", policy]));
        let ended = inspect(server.address().port(), &server.ca(), &["--policy", policy]);
        assert_eq!(failed_rules(&ended.json()), [""; 0], "{ended}");
        assert_eq!(ended.code(), Some(0));
    }
}
