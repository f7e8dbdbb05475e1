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

/// Runs the flood, and returns what the client says became of it.
#[track_caller]
fn flood(server: &SealpairServer, version: &str, what: &str, count: usize) -> String {
    let (port, count) = (server.port().to_string(), count.to_string());
    let ended = python("records.py").args([&port, version, what, &count]).run().expect_success();
    let text = ended.text().trim().to_owned();
    println!("TLS {version}, {count} {what}: {text}");
    assert!(text == "answered" || text.starts_with("ended: "), "{ended}");
    text
}

#[test]
fn a_few_odd_records_are_answered_and_floods_of_them_end() {
    let server = server();
    let survival = Survival::begin(&server);
    for version in ["1.2", "1.3"] {
        for what in ["warnings", "empty"] {
            assert_eq!(flood(&server, version, what, 3), "answered");
            let text = flood(&server, version, what, 300);
            assert!(text.starts_with("ended: "), "{what}: {text}");
        }
        for what in ["tickets", "heartbeat", "change-cipher-spec"] {
            let text = flood(&server, version, what, 1);
            assert!(text.starts_with("ended: "), "{what}: {text}");
            flood(&server, version, what, 300);
        }
    }
    survival.end();
}

#[test]
fn key_updates_are_followed_and_a_flood_of_them_is_a_late_head() {
    let server = server();
    let survival = Survival::begin(&server);
    for what in ["key-updates", "quiet-key-updates"] {
        assert_eq!(flood(&server, "1.3", what, 1), "answered");
        assert_eq!(flood(&server, "1.3", what, 100), "answered");
        // More than there is time for until a request has to be there.
        flood(&server, "1.3", what, 20_000);
    }
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
