//! `sealpair inspect` against endpoints that mean no good or are odd: answers without end, choices that were not
//! offered, records of one byte, text for terminals.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::inspection::{failed_checks, groups, inspect, offered, set, suites, words};
use sealpair_tests::peers::Ending;
use sealpair_tests::{Credentials, Pki, Run, ScriptedServer, SealpairServer};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Reads one record; `None` at the end.
fn record(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut record = vec![0; 5];
    from.read_exact(&mut record).ok()?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    from.read_exact(&mut record[5..]).ok()?;
    Some(record)
}

/// The version of a ClientHello, and its suites.
fn client_hello(record: &[u8]) -> (u8, Vec<u8>) {
    let session = usize::from(record[43]);
    let suites = &record[44 + session..];
    let length = usize::from(u16::from_be_bytes([suites[0], suites[1]]));
    // Only TLS 1.3 has a session id here.
    let minor = if session > 0 { 4 } else { record[10] };
    (minor, suites[2..2 + length].to_vec())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

fn records(messages: &[u8]) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 3][..], &(part.len() as u16).to_be_bytes(), part].concat();
    messages.chunks(1 << 14).flat_map(record).collect()
}

fn server_hello(minor: u8, suite: &[u8]) -> Vec<u8> {
    message(2, &[&[3, minor][..], &[9; 32], &[0], suite, &[0]].concat())
}

/// The groups of the key shares in a ClientHello.
fn shares(record: &[u8]) -> Vec<u16> {
    let number = |at: usize| usize::from(u16::from_be_bytes([record[at], record[at + 1]]));
    let suites = 44 + usize::from(record[43]);
    let compression = suites + 2 + number(suites);
    let mut at = compression + 1 + usize::from(record[compression]) + 2;
    let mut found = Vec::new();
    while at < record.len() {
        let (kind, end) = (number(at), at + 4 + number(at + 2));
        if kind == 51 {
            let mut share = at + 6;
            while share < end {
                found.push(number(share) as u16);
                share += 4 + number(share + 2);
            }
        }
        at = end;
    }
    found
}

const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

#[test]
fn an_answer_without_end_is_not_taken_in() {
    let pki = Pki::new();
    // Records without end.
    let endless = ScriptedServer::tcp(|tcp| {
        let piece = records(&message(99, &[0; 100])).repeat(100);
        while tcp.write_all(&piece).is_ok() {}
    });
    inspect(endless.port(), &pki.ca(), &[]).expect_code(8);
    // 16 MiB of certificates, behind a ServerHello that is good.
    let certificates = records(&message(11, &vec![0; (16 << 20) - 1]));
    let large = ScriptedServer::tcp(move |tcp| {
        let Some(hello) = record(tcp) else { return };
        let (minor, suites) = client_hello(&hello);
        let suite = [0xc0, 0x2f];
        if minor != 3 || !suites.chunks(2).any(|offered| offered == suite) {
            let _ = tcp.write_all(ALERT);
            return;
        }
        let _ = tcp.write_all(&records(&server_hello(3, &suite)));
        let _ = tcp.write_all(&certificates);
    });
    let found = inspect(large.port(), &pki.ca(), &[]).expect_code(0).json();
    assert_eq!(offered(&found), ["TLSv1.2"]);
    assert_eq!(suites(&found, "TLSv1.2"), set(&["ECDHE-RSA-AES128-GCM-SHA256"]));
    assert_eq!(found["certificates"], serde_json::json!([]));
}

#[test]
fn an_endpoint_that_takes_everything_is_asked_a_bounded_number_of_times() {
    let pki = Pki::new();
    let all = ScriptedServer::tcp(|tcp| {
        let Some(hello) = record(tcp) else { return };
        match client_hello(&hello) {
            (4, _) => _ = tcp.write_all(ALERT),
            (minor, suites) => _ = tcp.write_all(&records(&server_hello(minor, &suites[..2]))),
        }
    });
    let found = inspect(all.port(), &pki.ca(), &["--timeout", "60s"]).expect_code(0).json();
    assert!(all.connections() <= 600, "{}", all.connections());
    assert_eq!(found["connections"], all.connections());
    assert!(!found["notes"].as_array().unwrap().is_empty());
    assert_eq!(found["protocols"]["TLSv1.2"]["complete"], false);
}

#[test]
fn an_endpoint_that_chooses_what_was_not_offered_is_not_believed() {
    let pki = Pki::new();
    let stubborn = ScriptedServer::tcp(|tcp| {
        let Some(hello) = record(tcp) else { return };
        match client_hello(&hello).0 {
            3 => _ = tcp.write_all(&records(&server_hello(3, &[0xc0, 0x2f]))),
            _ => _ = tcp.write_all(ALERT),
        }
    });
    let found = inspect(stubborn.port(), &pki.ca(), &[]).expect_code(0).json();
    let suites = words(&found["protocols"]["TLSv1.2"]["suites"], "openssl");
    assert_eq!(suites, ["ECDHE-RSA-AES128-GCM-SHA256"]);
    assert!(stubborn.connections() < 100, "{}", stubborn.connections());
}

#[test]
fn a_server_that_wants_a_key_share_at_once_is_given_one() {
    let pki = Pki::new();
    let peer = ScriptedServer::tcp(|tcp| {
        let Some(hello) = record(tcp) else { return };
        let (minor, suites) = client_hello(&hello);
        let group = if minor == 4 { shares(&hello).first().copied() } else { None };
        let Some(group) = group else {
            let _ = tcp.write_all(ALERT);
            return;
        };
        // supported_versions, key_share
        let mut extensions = vec![0, 43, 0, 2, 3, 4, 0, 51, 0, 36];
        extensions.extend(group.to_be_bytes());
        extensions.extend([0, 32]);
        extensions.extend([9; 32]);
        let mut body = [&[3, 3][..], &[9; 32], &[0], &suites[..2], &[0]].concat();
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let _ = tcp.write_all(&records(&message(2, &body)));
    });
    let found = inspect(peer.port(), &pki.ca(), &[]).expect_code(0).json();
    assert_eq!(offered(&found), ["TLSv1.3"]);
    assert_eq!(words(&found["protocols"]["TLSv1.3"]["suites"], "iana").len(), 7);
    let groups = groups(&found, "TLSv1.3");
    for name in ["X25519MLKEM768", "MLKEM1024", "X25519", "secp256r1", "secp384r1"] {
        assert!(groups.contains(name), "{name}: {groups:?}");
    }
    // It goes on with a scheme that does not exist, so nothing is said of those that do.
    assert!(found["protocols"]["TLSv1.3"]["signature_schemes"].is_null());
    assert!(found["notes"].to_string().contains("cannot be told"));
    assert!(found["handshake_problem"].is_string());
}

#[test]
fn fragments_of_one_byte_change_nothing() {
    let server = SealpairServer::start(|s| s);
    let upstream = server.address();
    let relay = ScriptedServer::tcp(move |client| {
        let mut server = TcpStream::connect(upstream).unwrap();
        server.set_nodelay(true).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let forward = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
        // What is not encrypted leaves in records of one byte, each in a segment of its own.
        let mut plain = true;
        while let Some(record) = record(&mut server) {
            plain &= record[0] == 22;
            let sent = match plain {
                true => record[5..].iter().try_for_each(|byte| {
                    client.write_all(&[22, record[1], record[2], 0, 1, *byte])
                }),
                false => record.iter().try_for_each(|byte| client.write_all(&[*byte])),
            };
            if sent.is_err() {
                break;
            }
        }
        let _ = client.shutdown(std::net::Shutdown::Both);
        let _ = server.shutdown(std::net::Shutdown::Both);
        forward.join().unwrap();
    });
    let args = ["--policy", "intermediate"];
    let relayed = inspect(relay.port(), &server.ca(), &args).expect_code(0).json();
    let direct = inspect(upstream.port(), &server.ca(), &args).expect_code(0).json();
    for field in ["protocols", "certificates", "alpn", "resumption", "renegotiation", "http"] {
        assert_eq!(relayed[field], direct[field], "{field}");
    }
}

#[test]
fn nothing_from_the_network_reaches_a_terminal_as_it_is() {
    let pki = Pki::new();
    let (cert, key) = (pki.path(".pem"), pki.path(".key"));
    let subject = "/CN=evil\u{1b}[31m\u{202e}";
    let openssl =
        sealpair_tests::openssl().args(["req", "-x509", "-newkey", "ec", "-utf8", "-subj"]);
    let openssl = openssl.arg(subject).args(["-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]);
    let openssl = openssl.args(["-days", "1", "-keyout"]).arg(&key).arg("-out").arg(&cert);
    openssl.run().expect_success();
    let evil = Credentials { ca: cert.clone(), cert, key };
    let answer = b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: \x1b]0;x\x07\r\n\r\n";
    let server = ScriptedServer::answering(&evil, answer, Ending::Close);
    let ended = inspect(server.port(), &pki.ca(), &["--policy", "intermediate"]).expect_code(31);
    for text in [&ended.text(), &ended.stderr] {
        assert!(text.contains("evil"), "{ended}");
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{ended}");
    }
}

#[test]
fn an_address_a_fixed_answer_and_another_name() {
    let server = SealpairServer::start(|s| s.listen("[::1]:0"));
    let port = server.address().port();
    let look = |args: &[&str]| {
        let run = Run::of("sealpair").args(["inspect", "--json", "--ca"]).arg(server.ca());
        run.args(args).run().expect_code(0).json()
    };
    let found = look(&[&format!("[::1]:{port}")]);
    assert_eq!(found["name"], "::1");
    assert_eq!(failed_checks(&found), [""; 0]);
    let fixed = format!("elsewhere.example:{port}:[::1]");
    let found = look(&[&format!("elsewhere.example:{port}"), "--resolve", &fixed]);
    assert_eq!(failed_checks(&found), ["name"]);
    let found = look(&[&format!("[::1]:{port}"), "--server-name", "localhost"]);
    assert_eq!(found["session"]["sni"], "localhost");
    assert_eq!(failed_checks(&found), [""; 0]);
}
