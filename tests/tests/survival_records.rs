//! TLS records that no ordinary client sends, in numbers; and sessions that are resumed without end.
//!
//! `tests/python` has the clients. Whether the server answers behind a flood or ends the connection is
//! its choice; it must do one of them, and nobody else may notice.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::peers::python;
use sealpair_tests::{SealpairServer, Survival, settles};
use std::io::{Read, Write};

fn server() -> SealpairServer {
    SealpairServer::start(|server| {
        let args = ["--handshake-timeout", "5s", "--head-timeout", "3s"];
        server.file("a", "A").args(args)
    })
}

/// Runs floods (`WHAT:COUNT`), each over a connection of its own, and checks what became of them;
/// `None` where the server may choose.
#[track_caller]
fn floods(server: &SealpairServer, version: &str, floods: &[(&str, Option<&str>)]) {
    let arguments = floods.iter().map(|(flood, _)| *flood);
    let client = python("records.py").args([&server.port().to_string(), version]).args(arguments);
    let ended = client.run().expect_success();
    let text = ended.text();
    assert_eq!(text.lines().count(), floods.len(), "{ended}");
    for ((flood, expected), found) in floods.iter().zip(text.lines()) {
        println!("TLS {version}, {flood}: {found}");
        assert!(found == "answered" || found.starts_with("ended: "), "{flood}: {found}");
        assert!(expected.is_none_or(|expected| found.starts_with(expected)), "{flood}: {found}");
    }
}

const ANSWERED: Option<&str> = Some("answered");
const ENDED: Option<&str> = Some("ended: ");

#[test]
fn a_few_odd_records_are_answered_and_floods_of_them_end() {
    let server = server();
    let survival = Survival::begin(&server);
    for version in ["1.2", "1.3"] {
        floods(
            &server,
            version,
            &[
                ("warnings:3", ANSWERED),
                ("warnings:300", ENDED),
                ("empty:3", ANSWERED),
                ("empty:300", ENDED),
                ("tickets:1", ENDED),
                ("tickets:300", ENDED),
                ("heartbeat:1", ENDED),
                ("heartbeat:300", ENDED),
                ("change-cipher-spec:1", ENDED),
                ("change-cipher-spec:300", ENDED),
            ],
        );
    }
    survival.end();
}

#[test]
fn key_updates_are_followed_and_a_flood_of_them_is_a_late_head() {
    let server = server();
    let survival = Survival::begin(&server);
    floods(
        &server,
        "1.3",
        &[
            ("key-updates:1", ANSWERED),
            ("key-updates:50", ANSWERED),
            ("quiet-key-updates:50", ANSWERED),
            // More than there is time for until a request has to be there.
            ("key-updates:20000", None),
            ("quiet-key-updates:20000", None),
        ],
    );
    survival.end();
}

#[test]
fn a_thousand_sessions_are_resumed_in_a_row() {
    let server = server();
    let survival = Survival::begin(&server);
    for (version, count) in [("1.2", 100), ("1.3", 1_000)] {
        let (port, times) = (server.port().to_string(), count.to_string());
        let resume = python("resume.py").args([&port, version, &times]).arg(server.ca());
        let ended = resume.run().expect_success();
        let expected = format!("resumed {} answered {count}", count - 1);
        assert_eq!(ended.text().trim(), expected, "{ended}");
    }
    survival.end();
}

#[test]
fn floods_in_front_of_a_client_hello_end() {
    let server = server();
    let survival = Survival::begin(&server);
    let floods: [(&str, &[u8]); 6] = [
        ("warning alerts", b"\x15\x03\x01\x00\x02\x01\x5a"),
        ("alerts that are cut", b"\x15\x03\x01\x00\x01\x01"),
        ("empty handshake records", b"\x16\x03\x01\x00\x00"),
        ("empty application data", b"\x17\x03\x01\x00\x00"),
        ("ChangeCipherSpec", b"\x14\x03\x03\x00\x01\x01"),
        ("one byte of a hello each", b"\x16\x03\x01\x00\x01\x01"),
    ];
    for (what, record) in floods {
        for _ in 0..10 {
            let mut tcp = server.tcp();
            // It may be refused before its end; whatever happens, the server ends it.
            for _ in 0..100 {
                if tcp.write_all(&record.repeat(1_000)).is_err() {
                    break;
                }
            }
            let _ = tcp.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = tcp.read_to_end(&mut answer);
            assert!(answer.len() < 1_000, "{what}: {answer:?}");
        }
    }
    settles("none is connected", || server.connections() <= 1);
    survival.end();
}
