//! The peers of the harness do what the other tests rely on, as curl sees them.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::peers::Ending;
use sealpair_tests::{Credentials, Nginx, OpensslServer, Pki, Run, ScriptedServer, curl, settles};
use std::fs;
use std::io::Write;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn ask(credentials: &Credentials, url: String) -> Run {
    curl().arg("--cacert").arg(&credentials.ca).arg(url)
}

#[test]
fn nginx_serves_and_stores() {
    let pki = Pki::new();
    let credentials = pki.server();
    let nginx = Nginx::start(&credentials, "location /old { return 301 /a; }");
    fs::write(nginx.root().join("a"), "A").unwrap();
    let get = |path: &str| ask(&credentials, nginx.url(path));
    assert_eq!(get("/a").run().expect_success().text(), "A");
    assert_eq!(get("/old").arg("-L").run().expect_success().text(), "A");
    get("/b").args(["-T", "-"]).input("B").run().expect_success();
    assert_eq!(fs::read(nginx.root().join("b")).unwrap(), b"B");
    settles("the log tells", || nginx.log().contains("PUT /b 201 TLSv1.3"));
}

#[test]
fn nginx_asks_for_client_certificates() {
    let pki = Pki::new();
    let (credentials, alice) = (pki.server(), pki.client("alice"));
    let directives =
        format!("ssl_verify_client on; ssl_client_certificate \"{}\";", pki.ca().display());
    let nginx = Nginx::start(&credentials, &directives);
    fs::write(nginx.root().join("a"), "A").unwrap();
    ask(&credentials, nginx.url("/a")).arg("--fail").run().expect_code(22);
    let known = ask(&credentials, nginx.url("/a")).arg("--cert").arg(&alice.cert);
    assert_eq!(known.arg("--key").arg(&alice.key).run().expect_success().text(), "A");
}

#[test]
fn s_server_serves() {
    let pki = Pki::new();
    let credentials = pki.server();
    fs::write(pki.dir().join("a.txt"), "A").unwrap();
    let server = OpensslServer::start(&credentials, pki.dir(), &["-tls1_2"]);
    let get = ask(&credentials, server.url("/a.txt")).run().expect_success();
    assert!(get.text().contains('A'), "{get}");
    settles("the log tells", || server.log().contains("FILE:a.txt"));
}

#[test]
fn scripted_servers_end_as_told() {
    let pki = Pki::new();
    let credentials = pki.server();
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";
    for ending in [Ending::Close, Ending::Cut, Ending::Reset] {
        let server = ScriptedServer::answering(&credentials, short, ending);
        let ended = ask(&credentials, server.url("/x")).run();
        // Which of the two says that it was cut short depends on curl's version.
        assert!(matches!(ended.code(), Some(18 | 56)), "{ending:?}: {ended}");
        assert!(server.requests()[0].starts_with("GET /x HTTP/1.1\r\n"));
    }
    let server = ScriptedServer::answering(&credentials, short, Ending::Hold);
    ask(&credentials, server.url("/")).args(["--max-time", "1"]).run().expect_code(28);
    drop(server);
    let server = ScriptedServer::answering(&credentials, ANSWER, Ending::Repeat);
    let twice = ask(&credentials, server.url("/a")).arg(server.url("/b")).run();
    assert_eq!(twice.expect_success().text(), "hellohello");
    assert_eq!((server.connections(), server.requests().len()), (1, 2));

    let plain = ScriptedServer::plain(ANSWER, Ending::Close);
    ask(&credentials, plain.url("/")).run().expect_code(35);
    let url = plain.url("/").replace("https", "http");
    assert_eq!(curl().arg(url).run().expect_success().text(), "hello");
    let silent = ScriptedServer::silent();
    ask(&credentials, silent.url("/")).args(["--max-time", "1"]).run().expect_code(28);
    let scripted = ScriptedServer::tls(&credentials, |stream| {
        stream.write_all(ANSWER).unwrap();
        let _ = stream.shutdown();
    });
    assert_eq!(ask(&credentials, scripted.url("/")).run().expect_success().text(), "hello");
}

#[test]
fn bad_certificates_are_bad_in_the_way_they_should_be() {
    let pki = Pki::new();
    let chained = pki.chained();
    for (credentials, code, word) in [
        (pki.server(), 0, ""),
        (pki.server_rsa(), 0, ""),
        (chained.complete, 0, ""),
        (chained.incomplete, 60, "unable to get local issuer certificate"),
        (pki.expired(), 60, "expired"),
        (pki.not_yet_valid(), 60, "not yet valid"),
        (pki.wrong_name(), 60, "target host name"),
        (pki.wrong_usage(), 60, "unsuitable certificate purpose"),
        (Credentials { ca: pki.ca(), ..pki.self_signed() }, 60, "self-signed certificate"),
    ] {
        let server = ScriptedServer::answering(&credentials, ANSWER, Ending::Close);
        let ended = ask(&credentials, server.url("/")).run().expect_code(code);
        assert!(ended.stderr.contains(word), "{ended}");
    }
}
