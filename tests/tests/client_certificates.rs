//! `sealpair` against servers with every kind of certificate: which are refused, with which exit code,
//! and whether a person learns which certificate broke which rule.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::peers::Ending;
use sealpair_tests::{Credentials, Ended, OpensslServer, Pki, Run, ScriptedServer, SealpairServer};
use std::path::Path;

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn answering(credentials: &Credentials) -> ScriptedServer {
    ScriptedServer::answering(credentials, HELLO, Ending::Close)
}

fn get(url: &str, ca: &Path, more: &[&str]) -> Ended {
    Run::of("sealpair").args(["get", url, "--ca"]).arg(ca).args(more).run()
}

/// A refusal has three lines: what, which, what to do.
#[track_caller]
fn explained(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.stderr.lines().count(), 3, "{ended}");
    assert!(ended.stdout.is_empty(), "{ended}");
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is missing: {ended}");
    }
}

#[test]
fn a_good_certificate_is_accepted_by_name_and_by_address() {
    let pki = Pki::new();
    let server = answering(&pki.server());
    let port = server.port();
    // Not every resolver knows the name with the root's dot.
    let resolve = format!("localhost.:{port}:127.0.0.1");
    for host in ["localhost", "127.0.0.1", "LOCALHOST", "localhost."] {
        let url = format!("https://{host}:{port}/");
        let ended = get(&url, &pki.ca(), &["--resolve", &resolve]).expect_success();
        assert_eq!(ended.stdout, b"hello");
    }
}

#[test]
fn an_untrusted_issuer_is_10_and_names_what_is_trusted() {
    let (pki, other) = (Pki::new(), Pki::new());
    let server = answering(&pki.server());
    let ended = get(&server.url("/"), &other.ca(), &[]).expect_code(10);
    let trusted = other.ca().display().to_string();
    explained(&ended, &["its issuer is unknown", "certificate 0", &trusted, "--ca"]);
}

#[test]
fn without_a_ca_file_the_systems_store_decides() {
    let pki = Pki::new();
    let server = answering(&pki.server());
    let get = || Run::of("sealpair").args(["get", &server.url("/")]);
    explained(&get().run().expect_code(10), &["the system's trust store"]);
    get().env("SSL_CERT_FILE", pki.ca()).run().expect_success();
}

#[test]
fn a_self_signed_certificate_is_10_and_can_be_trusted_itself() {
    let pki = Pki::new();
    let credentials = pki.self_signed();
    let server = answering(&credentials);
    let ended = get(&server.url("/"), &pki.ca(), &[]).expect_code(10);
    explained(&ended, &["self-signed", "--ca"]);
    get(&server.url("/"), &credentials.cert, &[]).expect_success();
}

#[test]
fn an_incomplete_chain_is_10_and_a_complete_one_is_accepted() {
    let pki = Pki::new();
    let chained = pki.chained();
    get(&answering(&chained.complete).url("/"), &chained.complete.ca, &[]).expect_success();
    let ended = get(&answering(&chained.incomplete).url("/"), &chained.incomplete.ca, &[]);
    explained(&ended.expect_code(10), &["its issuer is unknown", "the server should send it"]);
}

#[test]
fn an_untrusted_root_that_is_sent_along_is_10() {
    let (pki, other) = (Pki::new(), Pki::new());
    let good = pki.server();
    let both = [std::fs::read(&good.cert).unwrap(), std::fs::read(pki.ca()).unwrap()].concat();
    let cert = pki.write("-with-root.pem", both);
    let server = answering(&Credentials { cert, ..good });
    let ended = get(&server.url("/"), &other.ca(), &[]).expect_code(10);
    explained(&ended, &["its root is not a trust anchor", "certificate 1"]);
}

#[test]
fn an_expired_or_not_yet_valid_certificate_is_11_with_its_dates() {
    let pki = Pki::new();
    for (credentials, words) in
        [(pki.expired(), "has expired"), (pki.not_yet_valid(), "is not yet valid")]
    {
        let ended = get(&answering(&credentials).url("/"), &pki.ca(), &[]).expect_code(11);
        explained(&ended, &[words, "valid 20", "clock"]);
    }
}

#[test]
fn a_certificate_for_another_name_is_12_with_both_names() {
    let pki = Pki::new();
    let server = answering(&pki.wrong_name());
    let ended = get(&server.url("/"), &pki.ca(), &[]).expect_code(12);
    explained(&ended, &["for another name", "DNS:", "wanted: localhost"]);
    let good = answering(&pki.server());
    get(&good.url("/"), &pki.ca(), &["--server-name", "example.net"]).expect_code(12);
    let address = format!("https://127.0.0.2:{}/", good.port());
    get(&address, &pki.ca(), &["--server-name", "localhost"]).expect_code(6);
    let resolve = format!("example.net:{}:127.0.0.1", good.port());
    let url = format!("https://example.net:{}/", good.port());
    get(&url, &pki.ca(), &["--resolve", &resolve]).expect_code(12);
    get(&url, &pki.ca(), &["--resolve", &resolve, "--server-name", "localhost"]).expect_success();
}

#[test]
fn a_certificate_that_is_not_for_servers_is_14() {
    let pki = Pki::new();
    let ended = get(&answering(&pki.wrong_usage()).url("/"), &pki.ca(), &[]).expect_code(14);
    explained(&ended, &["not fit for use", "purpose"]);
}

#[test]
fn a_key_that_the_policy_does_not_allow_is_14() {
    let pki = Pki::new();
    let server = answering(&pki.server_rsa());
    get(&server.url("/"), &pki.ca(), &[]).expect_success();
    let ended = get(&server.url("/"), &pki.ca(), &["--policy", "modern"]).expect_code(14);
    explained(&ended, &["RSA key of", "modern"]);
}

#[test]
fn a_pinned_key_is_required_and_a_wrong_pin_is_15() {
    let pki = Pki::new();
    let credentials = pki.server();
    let server = answering(&credentials);
    let shown = Run::of("sealpair").args(["cert", "show", "--json"]).arg(&credentials.cert).run();
    let pin = shown.json()["certificates"][0]["spki_pin"].as_str().unwrap().to_owned();
    let wrong = format!("sha256/{}=", "A".repeat(43));
    get(&server.url("/"), &pki.ca(), &["--pin", &pin]).expect_success();
    get(&server.url("/"), &pki.ca(), &["--pin", &wrong, "--pin", &pin]).expect_success();
    let ended = get(&server.url("/"), &pki.ca(), &["--pin", &wrong]).expect_code(15);
    explained(&ended, &["pinned", &wrong]);
    get(&server.url("/"), &pki.ca(), &["--pin", "sha1/abc"]).expect_code(2);
}

#[test]
fn a_revoked_certificate_is_13_and_so_is_one_without_a_list() {
    let (pki, other) = (Pki::new(), Pki::new());
    let credentials = pki.server();
    let server = answering(&credentials);
    let crl = |path: &Path| get(&server.url("/"), &pki.ca(), &["--crl", path.to_str().unwrap()]);
    crl(&pki.crl(&[])).expect_success();
    explained(&crl(&pki.crl(&[&credentials])).expect_code(13), &["is revoked"]);
    explained(&crl(&other.crl(&[])).expect_code(13), &["cannot be determined"]);
    crl(&pki.ca()).expect_code(3);
}

#[test]
fn a_missing_or_foreign_client_certificate_is_16_in_both_protocols() {
    let (pki, other) = (Pki::new(), Pki::new());
    let good = pki.client("alice");
    let foreign = other.client("mallory");
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a"), "hello").unwrap();
    let ca = pki.ca().display().to_string();
    let sealpair =
        SealpairServer::start(|s| s.identity(&pki.server()).client_auth("required", &pki.ca()));
    std::fs::write(sealpair.root().join("a"), "hello").unwrap();
    let verify = ["-Verify", "1", "-verify_return_error", "-CAfile", &ca];
    let tls12 = [&verify[..], &["-tls1_2"]].concat();
    let tls12 = OpensslServer::start(&pki.server(), root.path(), &tls12);
    let tls13 = OpensslServer::start(&pki.server(), root.path(), &verify);
    for url in [sealpair.url("/a"), tls12.url("/a"), tls13.url("/a")] {
        let with = |credentials: &Credentials| {
            let pair = [&credentials.cert, &credentials.key].map(|p| p.to_str().unwrap());
            get(&url, &pki.ca(), &["--cert", pair[0], "--key", pair[1]])
        };
        assert_eq!(with(&good).expect_success().stdout, b"hello");
        explained(&get(&url, &pki.ca(), &[]).expect_code(16), &["client certificate", "--cert"]);
        explained(&with(&foreign).expect_code(16), &["refused our client certificate"]);
    }
    let log = sealpair.log();
    assert!(log.contains("sent no certificate"), "{log}");
    assert!(log.contains("--client-ca"), "{log}");
}

#[test]
fn a_missing_client_certificate_is_16_for_uploads_too() {
    let pki = Pki::new();
    let server = SealpairServer::start(|s| {
        s.identity(&pki.server()).client_auth("required", &pki.ca()).writable()
    });
    let file = pki.write(".bin", vec![7; 4 << 20]);
    for _ in 0..5 {
        let put = Run::of("sealpair").arg("put").arg(&file).arg(server.url("/a"));
        put.arg("--ca").arg(pki.ca()).run().expect_code(16);
    }
    assert!(!server.root().join("a").exists());
}

#[test]
fn an_insecure_client_says_so_and_is_refused_where_it_makes_no_sense() {
    let (pki, other) = (Pki::new(), Pki::new());
    let server = answering(&pki.expired());
    let ended = get(&server.url("/"), &other.ca(), &["--insecure"]).expect_success();
    assert!(ended.stderr.contains("WARNING"), "{ended}");
    let pin = format!("sha256/{}=", "A".repeat(43));
    get(&server.url("/"), &other.ca(), &["--insecure", "--pin", &pin]).expect_code(2);
}

#[test]
fn the_platforms_tls_does_the_same_with_fewer_words() {
    let (pki, other) = (Pki::new(), Pki::new());
    let platform = |url: &str, ca: &Path, more: &[&str]| {
        get(url, ca, &[&["--tls-backend", "platform"], more].concat())
    };
    let good = answering(&pki.server());
    assert_eq!(platform(&good.url("/"), &pki.ca(), &[]).expect_success().stdout, b"hello");
    platform(&good.url("/"), &other.ca(), &[]).expect_code(10);
    platform(&answering(&pki.expired()).url("/"), &pki.ca(), &[]).expect_code(11);
    platform(&answering(&pki.wrong_name()).url("/"), &pki.ca(), &[]).expect_code(12);
    platform(&answering(&pki.wrong_usage()).url("/"), &pki.ca(), &[]).expect_code(14);
    platform(&good.url("/"), &pki.ca(), &["--policy", "modern"]).expect_code(2);
    platform(&good.url("/"), &pki.ca(), &["--pin", "sha256/A"]).expect_code(2);

    let alice = pki.client("alice");
    let mutual = SealpairServer::start(|s| {
        s.identity(&pki.server()).client_auth("required", &pki.ca()).file("a", "hello")
    });
    let pair = [&alice.cert, &alice.key].map(|path| path.to_str().unwrap());
    let with = ["--cert", pair[0], "--key", pair[1]];
    assert_eq!(platform(&mutual.url("/a"), &pki.ca(), &with).expect_success().stdout, b"hello");
}

#[test]
fn a_certificate_for_the_other_end_is_3_and_says_how_to_issue_the_right_one() {
    let pki = Pki::new();
    let start = SealpairServer::builder().identity(&pki.client("alice"));
    let (ended, _) = start.refused();
    assert_eq!(ended.code(), Some(3), "{ended}");
    let words = ["extended key usage is not server authentication", "without --client"];
    assert!(words.iter().all(|word| ended.stderr.contains(word)), "{ended}");
    let other = pki.server();
    let run = Run::of("sealpair").args(["get", "https://localhost:1/", "--cert"]).arg(&other.cert);
    let ended = run.arg("--key").arg(&other.key).arg("--ca").arg(pki.ca()).run().expect_code(3);
    let words = ["extended key usage is not client authentication", "with --client"];
    assert!(words.iter().all(|word| ended.stderr.contains(word)), "{ended}");
}
