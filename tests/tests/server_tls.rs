//! What the server agrees on in a handshake, and whom it lets in.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::ssl::SslVersion;
use sealpair_tests::{
    Credentials, End, Ended, Pki, RawClient, Run, SealpairServer, ServerBuilder, settles,
};
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

fn server(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> SealpairServer {
    SealpairServer::start(|server| configure(server.file("a", "A")))
}

/// A handshake of `openssl s_client` that ends at once.
fn handshake(server: &SealpairServer, more: &[&str]) -> Ended {
    server.s_client().args(more).run()
}

/// curl's request for `/a`, with a client certificate if there is one.
fn ask(server: &SealpairServer, credentials: Option<&Credentials>) -> Run {
    let curl = server.curl().arg(server.url("/a"));
    match credentials {
        Some(credentials) => {
            curl.arg("--cert").arg(&credentials.cert).arg("--key").arg(&credentials.key)
        }
        None => curl,
    }
}

#[track_caller]
fn admitted(server: &SealpairServer, credentials: Option<&Credentials>) {
    assert_eq!(ask(server, credentials).run().expect_success().text(), "A");
}

/// The client is refused under both versions, and the log says why.
#[track_caller]
fn refused(server: &SealpairServer, credentials: Option<&Credentials>, why: &str) {
    for version in [&["--tlsv1.3"][..], &["--tlsv1.2", "--tls-max", "1.2"]] {
        let before = server.log().matches(why).count();
        let ended = ask(server, credentials).args(version).run();
        // 60 is what curl makes of the alert that its own certificate has expired.
        assert!(matches!(ended.code(), Some(35 | 56 | 60)), "{ended}");
        assert!(ended.stdout.is_empty(), "{ended}");
        settles(why, || server.log().matches(why).count() > before);
    }
}

#[test]
fn required_client_certificates_are_verified() {
    let (pki, other) = (Pki::new(), Pki::new());
    let server = server(|server| server.identity(&pki.server()).client_auth("required", &pki.ca()));
    admitted(&server, Some(&pki.client("alice")));
    refused(&server, None, "sent no certificate, and one is required");
    refused(&server, Some(&other.client("alice")), "issuer");
    refused(&server, Some(&pki.expired_client("alice")), "has expired");
    refused(&server, Some(&pki.server()), "unsuitable certificate purpose");
    let names = handshake(&server, &[]).text();
    assert!(names.contains("Acceptable client certificate CA names"), "{names}");
    assert!(names.contains("Sealpair local CA"), "{names}");
}

#[test]
fn optional_client_certificates_may_be_absent_but_not_bad() {
    let (pki, other) = (Pki::new(), Pki::new());
    let server = server(|server| server.identity(&pki.server()).client_auth("optional", &pki.ca()));
    admitted(&server, None);
    admitted(&server, Some(&pki.client("alice")));
    refused(&server, Some(&other.client("alice")), "issuer");
}

#[test]
fn without_client_auth_nobody_is_asked() {
    let pki = Pki::new();
    let server = server(|server| server.identity(&pki.server()));
    admitted(&server, Some(&Pki::new().client("alice")));
    let names = handshake(&server, &[]).expect_success().text();
    assert!(names.contains("No client certificate CA names sent"), "{names}");
}

#[test]
fn revoked_clients_are_refused() {
    let pki = Pki::new();
    let (alice, bob) = (pki.client("alice"), pki.client("bob"));
    let with = |crl: PathBuf| {
        server(|server| {
            let server = server.identity(&pki.server()).client_auth("required", &pki.ca());
            server.arg("--crl").arg(crl)
        })
    };
    let empty = with(pki.crl(&[]));
    admitted(&empty, Some(&alice));
    let listed = with(pki.crl(&[&alice]));
    refused(&listed, Some(&alice), "revoked");
    admitted(&listed, Some(&bob));
    // A list of somebody else says nothing of these certificates.
    let foreign = with(Pki::new().crl(&[]));
    refused(&foreign, Some(&bob), "revoked cannot be determined");
}

#[test]
fn its_own_authority_admits_clients_that_it_issued_for() {
    let server = server(|server| server.args(["--client-auth", "required"]));
    refused(&server, Some(&Pki::new().client("alice")), "issuer");
    // The command that the server's log names.
    settles("the log tells how", || {
        server.log().contains("sealpair cert issue --client NAME --ca ")
    });
    let issue = Run::of("sealpair").args(["cert", "issue", "--client", "alice", "--ca"]);
    let issue = issue.arg(server.ca()).arg("--ca-key").arg(server.state().join("ca.key"));
    issue.current_dir(server.dir()).run().expect_success();
    let (cert, key) = (server.dir().join("alice.pem"), server.dir().join("alice.key"));
    admitted(&server, Some(&Credentials { cert, key, ca: server.ca() }));
}

#[test]
fn old_versions_are_refused_and_current_ones_agreed_on() {
    let server = server(|server| server);
    for old in ["-tls1", "-tls1_1"] {
        let ended = handshake(&server, &[old, "-cipher", "DEFAULT@SECLEVEL=0"]);
        assert_ne!(ended.code(), Some(0), "{ended}");
        assert!(ended.stderr.contains("alert protocol version"), "{ended}");
    }
    settles("the log tells", || server.log().matches("no TLS version in common").count() == 2);
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let text = handshake(&server, &[version]).expect_success().text();
        assert!(text.contains(&format!("New, {name}, Cipher is")), "{text}");
        assert!(text.contains("Verification: OK"), "{text}");
    }
    assert_eq!(server.ready()["policy"], "intermediate");
}

#[test]
fn modern_refuses_tls_1_2() {
    let server = server(|server| server.args(["--policy", "modern"]));
    assert_eq!(server.ready()["policy"], "modern");
    let ended = handshake(&server, &["-tls1_2"]);
    assert!(ended.stderr.contains("alert protocol version"), "{ended}");
    let text = handshake(&server, &[]).expect_success().text();
    assert!(text.contains("TLSv1.3"), "{text}");
}

#[test]
fn weak_suites_and_groups_are_refused() {
    let server = server(|server| server);
    for weak in [
        &["-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384:AES128-GCM-SHA256"][..],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES256-SHA384"],
        &["-tls1_2", "-cipher", "NULL:aNULL:@SECLEVEL=0"],
        &["-tls1_3", "-groups", "X448"],
        &["-tls1_3", "-groups", "secp521r1"],
        &["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"],
        &["-tls1_2", "-sigalgs", "ECDSA+SHA1", "-cipher", "DEFAULT@SECLEVEL=0"],
    ] {
        let ended = handshake(&server, weak);
        assert_ne!(ended.code(), Some(0), "{weak:?}: {ended}");
        assert!(ended.stderr.contains("alert handshake failure"), "{weak:?}: {ended}");
    }
}

#[test]
fn renegotiation_is_refused() {
    let server = server(|server| server);
    let client = server.s_client().args(["-tls1_2", "-msg"]).input_held();
    let mut client = client.start();
    settles("the handshake is done", || client.stdout().contains("Verify return code: 0"));
    client.send("R\n");
    settles("the server refuses", || {
        client.stdout().contains("no_renegotiation") || client.stderr().contains("no renegotiation")
    });
    client.end_input();
    let said = client.wait();
    assert_eq!(said.text().matches("ServerHello\n").count(), 1, "{said}");
    assert_eq!(server.curl_get("/a").text(), "A");
}

#[test]
fn http_1_1_is_chosen_and_http_2_alone_refused() {
    let server = server(|server| server);
    let chosen = handshake(&server, &["-alpn", "h2,http/1.1"]).expect_success().text();
    assert!(chosen.contains("ALPN protocol: http/1.1"), "{chosen}");
    let none = handshake(&server, &[]).expect_success().text();
    assert!(none.contains("No ALPN negotiated"), "{none}");
    let refused = handshake(&server, &["-alpn", "h2"]);
    assert!(refused.stderr.contains("alert no application protocol"), "{refused}");
    let curl = server.curl().args(["--http2", "--verbose"]).arg(server.url("/a")).run();
    assert!(curl.expect_success().stderr.contains("server accepted http/1.1"));
}

#[test]
fn rsa_stands_beside_ecdsa() {
    let pki = Pki::new();
    let server = server(|server| server.identity(&pki.server_rsa()).identity(&pki.server()));
    for (more, kind) in [
        (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"][..], "RSA-PSS"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ECDSA"),
        (&["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], "RSA-PSS"),
        (&["-tls1_3", "-sigalgs", "ECDSA+SHA256"], "ECDSA"),
    ] {
        let said = handshake(&server, more).text();
        assert!(said.contains(&format!("Peer signature type: {kind}")), "{more:?}: {said}");
    }
}

#[test]
fn the_whole_chain_is_sent() {
    let pki = Pki::new();
    let chained = pki.chained();
    let complete = server(|server| server.identity(&chained.complete));
    admitted(&complete, None);
    let incomplete = server(|server| server.identity(&chained.incomplete));
    ask(&incomplete, None).run().expect_code(60);
}

#[test]
fn pkcs12_serves_as_certificate_and_key() {
    let pki = Pki::new();
    let passphrase = pki.write(".pass", "open sesame\n");
    let p12 = pki.server_pkcs12("open sesame");
    let server = server(|server| {
        let server = server.trusted_by(pki.ca()).arg("--pkcs12").arg(&p12);
        server.arg("--key-pass-file").arg(&passphrase)
    });
    admitted(&server, None);
    assert!(server.ready()["ca"].is_null());
}

#[test]
fn an_encrypted_key_is_opened_with_the_passphrase_file() {
    let pki = Pki::new();
    let good = pki.server();
    let key = pki.encrypted_key(&good, "p\u{e4}ss \"word\"");
    // Only the first line counts, whatever ends it.
    let passphrase = pki.write(".pass", "p\u{e4}ss \"word\"\r\nnot this\n");
    let server = server(|server| {
        let server = server.identity(&Credentials { key, ..good });
        server.arg("--key-pass-file").arg(&passphrase)
    });
    admitted(&server, None);
    fs::remove_file(passphrase).unwrap();
    admitted(&server, None);
}

#[test]
fn who_speaks_plain_http_is_told_so() {
    let server = server(|server| server);
    let url = format!("http://{}/a", server.address());
    let curl = sealpair_tests::curl().args(["--write-out", "%{http_code}", &url]).run();
    let said = curl.expect_success().text();
    assert!(said.contains("https://") && said.ends_with("400"), "{said}");

    let mut tcp = server.tcp();
    tcp.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n").unwrap();
    tcp.write_all(&[b'x'; 100_000]).unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    settles("the log tells", || server.log().contains("plain HTTP"));
    for garbage in [&b"SSH-2.0-client\r\n"[..], b"\x16\x03\x01\xff\xff", b"\0\0\0\0\0\0\0\0"] {
        let mut tcp = server.tcp();
        tcp.write_all(garbage).unwrap();
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = tcp.read_to_end(&mut Vec::new());
    }
    admitted(&server, None);
}

#[test]
fn close_notify_ends_every_connection() {
    let server = server(|server| server.args(["--idle-timeout", "1s", "--head-timeout", "2s"]));
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for request in [
            "GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            "GET /a HTTP/1.0\r\n\r\n",
            "GET /none HTTP/1.0\r\n\r\n",
            "nonsense\r\n\r\n",
            // Idle, then closed by the server.
            "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n",
            // Half a head, then silence.
            "GET /a HTTP/1.1\r\nHost",
        ] {
            let mut client = RawClient::connect_with(&server, |tls| {
                tls.set_max_proto_version(Some(version)).unwrap();
            });
            client.send(request);
            client.response();
            assert_eq!(client.end(), End::CloseNotify, "{request:?}");
        }
        let mut client = RawClient::connect(&server);
        assert_eq!(client.end(), End::CloseNotify);
    }
}

#[test]
fn a_ticket_lets_its_owner_back_in_and_nobody_into_another_server() {
    let pki = Pki::new();
    let alice = pki.client("alice");
    let serve =
        || server(|server| server.identity(&pki.server()).client_auth("required", &pki.ca()));
    let (first, second) = (serve(), serve());
    let request = "GET /a HTTP/1.0\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let ticket = pki.path(".ticket");
        let ask = |server: &SealpairServer, option: &str| {
            let client = server.s_client().args([version, "-ign_eof", option]).arg(&ticket);
            client.input(request)
        };
        let full = ask(&first, "-sess_out").arg("-cert").arg(&alice.cert);
        let full = full.arg("-key").arg(&alice.key).run().expect_success().text();
        assert!(full.contains("New, TLS") && full.contains("200 OK"), "{full}");
        // The ticket holds that the certificate was shown.
        let back = ask(&first, "-sess_in").run().expect_success().text();
        assert!(back.contains("Reused, TLS") && back.contains("200 OK"), "{back}");
        let elsewhere = ask(&second, "-sess_in").run();
        assert!(!elsewhere.text().contains("Reused"), "{elsewhere}");
        assert!(!elsewhere.text().contains("200 OK"), "{elsewhere}");
    }
}
