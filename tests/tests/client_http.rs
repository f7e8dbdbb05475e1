//! `sealpair` and HTTP: statuses, redirects and credentials, header fields, other people's servers.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::peers::Ending;
use sealpair_tests::{Ended, Nginx, OpensslServer, Pki, Run, ScriptedServer, SealpairServer};
use std::fs;

fn run(pki: &Pki, args: &[&str]) -> Ended {
    Run::of("sealpair").args(args).arg("--ca").arg(pki.ca()).run()
}

fn answering(pki: &Pki, answer: &str) -> ScriptedServer {
    ScriptedServer::answering(&pki.server(), answer.as_bytes(), Ending::Close)
}

fn redirect(pki: &Pki, status: u16, to: &str) -> ScriptedServer {
    let answer = format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    answering(pki, &answer)
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn error_statuses_are_20_and_21_with_what_the_server_says() {
    let pki = Pki::new();
    for (status, code) in [(400, 20), (404, 20), (429, 20), (500, 21), (503, 21), (507, 21)] {
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 14\r\n\r\nbecause of it\n");
        let server = answering(&pki, &answer);
        let ended = run(&pki, &["get", &server.url("/"), "-o", "/dev/null"]).expect_code(code);
        assert!(ended.stderr.contains("because of it"), "{ended}");
        assert!(ended.stderr.contains(&status.to_string()), "{ended}");
        assert!(ended.stdout.is_empty(), "{ended}");
    }
}

#[test]
fn redirects_are_followed_within_https_for_get_and_head() {
    let pki = Pki::new();
    let there = answering(&pki, HELLO);
    for status in [301, 302, 303, 307, 308] {
        let here = redirect(&pki, status, &there.url("/there"));
        let ended = run(&pki, &["get", &here.url("/"), "--verbose"]).expect_success();
        assert_eq!(ended.stdout, b"hello");
        run(&pki, &["head", &here.url("/")]).expect_success();
        run(&pki, &["delete", &here.url("/")]).expect_code(22);
        run(&pki, &["request", "POST", &here.url("/"), "--data", "x"]).expect_code(22);
    }
    assert!(there.requests().iter().all(|head| head.contains(" /there ")), "{there:?}");
}

#[test]
fn redirects_to_http_elsewhere_or_in_circles_are_22() {
    let pki = Pki::new();
    let loops = ScriptedServer::answering(
        &pki.server(),
        b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n",
        Ending::Repeat,
    );
    let ended = run(&pki, &["get", &loops.url("/")]).expect_code(22);
    assert!(ended.stderr.contains("ten redirects"), "{ended}");
    for to in
        ["http://localhost/", "file:///etc/passwd", "https://user:secret@localhost/", "https://["]
    {
        let ended = run(&pki, &["get", &redirect(&pki, 302, to).url("/")]).expect_code(22);
        assert!(ended.stdout.is_empty(), "{ended}");
    }
}

#[test]
fn credentials_stay_behind_when_a_redirect_changes_the_port() {
    let pki = Pki::new();
    let there = answering(&pki, HELLO);
    let here = redirect(&pki, 302, &there.url("/"));
    let secret = pki.write(".headers", "Authorization: Bearer secret\nX-Api-Key: secret\n");
    let at = format!("@{}", secret.display());
    let fields = ["-H", &at, "-H", "Cookie: secret=1", "-H", "Accept: text/plain"];
    run(&pki, &[&["get", &here.url("/")], &fields[..]].concat()).expect_success();
    let lower = |server: &ScriptedServer| server.requests().concat().to_lowercase();
    assert_eq!(lower(&here).matches("secret").count(), 3, "{}", lower(&here));
    assert!(!lower(&there).contains("secret"), "{}", lower(&there));
    assert!(lower(&there).contains("accept: text/plain"), "{}", lower(&there));
}

#[test]
fn credentials_go_along_within_the_same_origin() {
    let pki = Pki::new();
    let server = SealpairServer::start(|s| s.identity(&pki.server()).trusted_by(pki.ca()));
    fs::create_dir(server.root().join("folder")).unwrap();
    // The server redirects a folder to its name with a slash.
    let url = server.url("/folder");
    let ended = run(&pki, &["get", &url, "-H", "Authorization: Bearer x"]).expect_success();
    assert!(ended.text().contains("<html") || ended.text().contains("<!DOCTYPE"), "{ended}");
}

#[test]
fn the_client_certificate_stays_behind_too() {
    let pki = Pki::new();
    let alice = pki.client("alice");
    let required = |s: sealpair_tests::ServerBuilder| {
        s.identity(&pki.server()).client_auth("required", &pki.ca())
    };
    let there = SealpairServer::start(|s| required(s).file("a", "hello"));
    let here = redirect(&pki, 302, &there.url("/a"));
    let pair = [&alice.cert, &alice.key].map(|path| path.to_str().unwrap());
    let with = ["--cert", pair[0], "--key", pair[1]];
    run(&pki, &[&["get", &there.url("/a")], &with[..]].concat()).expect_success();
    run(&pki, &[&["get", &here.url("/")], &with[..]].concat()).expect_code(16);
}

#[test]
fn fields_that_would_break_the_framing_are_refused() {
    let pki = Pki::new();
    let server = answering(&pki, HELLO);
    for field in
        ["Content-Length: 5", "Transfer-Encoding: chunked", "Host: x", "no colon", "a\r\nb: c"]
    {
        run(&pki, &["get", &server.url("/"), "-H", field]).expect_code(2);
    }
    assert_eq!(server.connections(), 0);
    let ended = run(&pki, &["get", "https://user:secret@localhost/"]).expect_code(2);
    assert!(ended.stderr.contains("--header @FILE"), "{ended}");
}

#[test]
fn json_carries_the_response_and_the_session() {
    let pki = Pki::new();
    let server = SealpairServer::start(|s| {
        s.identity(&pki.server()).trusted_by(pki.ca()).file("a", "hello")
    });
    let ended = run(&pki, &["get", &server.url("/a"), "--json", "-o", "/dev/null"]);
    let json = ended.expect_success().json();
    assert_eq!(json["schema"], "sealpair.response/1");
    assert_eq!(json["status"], 200);
    assert_eq!(json["bytes"], 5);
    let tls = &json["tls"];
    assert_eq!(tls["protocol"], "TLSv1.3");
    assert_eq!(tls["alpn"], "http/1.1");
    assert_eq!(tls["sni"], "localhost");
    assert_eq!(tls["verified"], true);
    assert_eq!(tls["signature"], "ecdsa_secp256r1_sha256");
    assert!(tls["openssl"].as_str().unwrap().starts_with("OpenSSL 3."), "{tls}");
    let sans = tls["peer"][0]["sans"].as_array().unwrap();
    assert!(sans.contains(&"DNS:localhost".into()), "{tls}");
}

#[test]
fn nginx_serves_and_takes_files() {
    let pki = Pki::new();
    let nginx = Nginx::start(&pki.server(), "");
    let content: Vec<u8> = (0..5_000_000u32).map(|n| (n % 253) as u8).collect();
    let file = pki.write(".bin", &content);
    let url = nginx.url("/b");
    run(&pki, &["put", file.to_str().unwrap(), &url]).expect_success();
    assert_eq!(fs::read(nginx.root().join("b")).unwrap(), content);
    let got = run(&pki, &["get", &url]).expect_success();
    assert!(got.stdout == content);
    run(&pki, &["head", &url]).expect_success();
    run(&pki, &["delete", &url]).expect_success();
    run(&pki, &["get", &url]).expect_code(20);
}

#[test]
fn nginx_with_client_certificates() {
    let pki = Pki::new();
    let verify = format!("ssl_verify_client on; ssl_client_certificate {};", pki.ca().display());
    let nginx = Nginx::start(&pki.server(), &verify);
    fs::write(nginx.root().join("a"), "hello").unwrap();
    let alice = pki.client("alice");
    let pair = [&alice.cert, &alice.key].map(|path| path.to_str().unwrap());
    let with = ["get", &nginx.url("/a"), "--cert", pair[0], "--key", pair[1]];
    assert_eq!(run(&pki, &with).expect_success().stdout, b"hello");
    // nginx finishes the handshake and answers 400: the reason is in its page.
    let ended = run(&pki, &["get", &nginx.url("/a")]).expect_code(20);
    assert!(ended.stderr.contains("No required SSL certificate was sent"), "{ended}");
}

#[test]
fn openssl_s_server_over_both_protocols() {
    let pki = Pki::new();
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), "hello").unwrap();
    for (flag, protocol) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let server = OpensslServer::start(&pki.server(), root.path(), &[flag]);
        let out = root.path().join("out");
        let args = ["get", &server.url("/a"), "--json", "-o", out.to_str().unwrap()];
        let json = run(&pki, &args).expect_success().json();
        assert_eq!(json["tls"]["protocol"], protocol);
        assert_eq!(fs::read(&out).unwrap(), b"hello");
    }
    let old = OpensslServer::start(&pki.server(), root.path(), &["-tls1_2"]);
    let ended = run(&pki, &["get", &old.url("/a"), "--policy", "modern"]).expect_code(8);
    assert!(ended.stderr.contains("no TLS version in common"), "{ended}");
    let suite = ["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"];
    let odd = OpensslServer::start(&pki.server(), root.path(), &suite);
    run(&pki, &["get", &odd.url("/a")]).expect_code(8);
}
