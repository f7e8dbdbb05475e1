//! Attacks on the handshake itself: renegotiation, compression, early data, foreign tickets, upgrades.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::ssl::{SslContextBuilder, SslVersion};
use sealpair_tests::raw::client_hello;
use sealpair_tests::{Pki, RawClient, SealpairServer, Survival, settles};
use std::fs;
use std::io::{Read, Write};

/// A record with a ClientHello of this body.
fn record(body: &[u8]) -> Vec<u8> {
    let length = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    [&[22, 3, 1][..], &length(body.len() + 4), &[1, 0], &length(body.len()), body].concat()
}

#[test]
fn renegotiation_is_refused_as_often_as_it_is_asked_for() {
    let server = SealpairServer::start(|server| server.file("a", "A"));
    let survival = Survival::begin(&server);
    for _ in 0..10 {
        let mut client = server.s_client().args(["-tls1_2", "-msg"]).input_held().start();
        settles("the handshake is done", || client.stdout().contains("Verify return code: 0"));
        client.send("R\n");
        settles("the server refuses", || client.stdout().contains("no_renegotiation"));
        client.end_input();
        let said = client.wait();
        assert_eq!(said.text().matches("ServerHello\n").count(), 1, "{said}");
    }
    survival.end();
}

#[test]
fn compression_is_never_agreed_on() {
    let server = SealpairServer::start(|server| server.file("a", "A"));
    let survival = Survival::begin(&server);
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let newest =
            |tls: &mut SslContextBuilder| tls.set_max_proto_version(Some(version)).unwrap();
        // Without the headers of the record and of the message.
        let mut body = client_hello(&RawClient::context(&server, newest)).split_off(9);
        // Version, random, session id, suites; then the methods, of which there is only null (0).
        let session = 2 + 32;
        let suites = session + 1 + usize::from(body[session]);
        let methods =
            suites + 2 + usize::from(u16::from_be_bytes([body[suites], body[suites + 1]]));
        assert_eq!(body[methods..methods + 2], [1, 0]);
        body.splice(methods..methods + 2, [2, 1, 0]);
        let mut tcp = server.tcp();
        tcp.write_all(&record(&body)).unwrap();
        let mut answer = [0; 5];
        tcp.read_exact(&mut answer).unwrap();
        if version == SslVersion::TLS1_3 {
            // RFC 8446 section 4.1.2: a fatal illegal_parameter.
            assert_eq!(answer[0], 21);
            let mut alert = [0; 2];
            tcp.read_exact(&mut alert).unwrap();
            assert_eq!(alert, [2, 47]);
            continue;
        }
        assert_eq!(answer[0], 22);
        let mut hello = vec![0; usize::from(u16::from_be_bytes([answer[3], answer[4]]))];
        tcp.read_exact(&mut hello).unwrap();
        let session = 4 + 2 + 32;
        let suite = session + 1 + usize::from(hello[session]);
        assert_eq!(hello[suite + 2], 0, "null compression");
    }
    survival.end();
}

#[test]
fn early_data_is_neither_offered_nor_taken() {
    let server = SealpairServer::start(|server| server.file("a", "A"));
    let survival = Survival::begin(&server);
    let ticket = server.dir().join("ticket");
    let early = server.dir().join("early");
    fs::write(&early, "GET /early HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let request = "GET /a HTTP/1.0\r\n\r\n";
    let client = || server.s_client().args(["-tls1_3", "-ign_eof"]).input(request);
    let full = client().arg("-sess_out").arg(&ticket).run().expect_success().text();
    assert!(full.contains("Max Early Data: 0"), "{full}");
    let again = client().arg("-sess_in").arg(&ticket).arg("-early_data").arg(&early).run();
    assert!(again.text().contains("Reused, TLSv1.3"), "{again}");
    assert!(!again.text().contains("Early data was accepted"), "{again}");
    assert!(!server.log().contains("/early"), "{}", server.log());
    survival.end();
}

#[test]
fn a_ticket_without_a_certificate_opens_no_server_that_requires_one() {
    let pki = Pki::new();
    let state = pki.dir().join("state");
    let identity = pki.server();
    let serve = |mode: &str| {
        SealpairServer::start(|server| {
            let server = server.file("a", "A").identity(&identity).state_dir(&state);
            if mode == "none" { server } else { server.client_auth(mode, &pki.ca()) }
        })
    };
    let request = "GET /a HTTP/1.0\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        for lax in ["none", "optional"] {
            let ticket = pki.path(".ticket");
            let ask = |server: &SealpairServer, option: &str| {
                let client = server.s_client().args([version, "-ign_eof", option]).arg(&ticket);
                client.input(request).run()
            };
            let open = serve(lax);
            let full = ask(&open, "-sess_out").expect_success().text();
            assert!(full.contains("New, TLS") && full.contains("200 OK"), "{full}");
            let back = ask(&open, "-sess_in").expect_success().text();
            assert!(back.contains("Reused, TLS") && back.contains("200 OK"), "{back}");
            assert_eq!(open.stop(), 0);
            // As after a restart with another configuration.
            let closed = serve("required");
            let elsewhere = ask(&closed, "-sess_in");
            assert!(!elsewhere.text().contains("200 OK"), "{elsewhere}");
            settles("it says why", || closed.log().contains("sent no certificate"));
            assert!(!closed.log().contains(" GET /a "), "{}", closed.log());
        }
    }
}

#[test]
fn an_upgrade_to_tls_is_ignored_within_tls_and_without() {
    let server = SealpairServer::start(|server| server.file("a", "A"));
    let survival = Survival::begin(&server);
    let mut client = RawClient::connect(&server);
    for protocol in ["TLS/1.0", "TLS/1.2, HTTP/1.1", "h2c", "HTTP/2.0", "websocket"] {
        let fields = format!("Host: localhost\r\nConnection: Upgrade\r\nUpgrade: {protocol}");
        let response = client.exchange(format!("GET /a HTTP/1.1\r\n{fields}\r\n\r\n"));
        assert_eq!((response.status, response.text().as_str()), (200, "A"), "{protocol}");
        assert_eq!(response.header("Upgrade"), None, "{protocol}");
        let mut tcp = server.tcp();
        tcp.write_all(format!("OPTIONS * HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(!answer.contains("Upgrade"), "{answer}");
    }
    client.close();
    survival.end();
}
