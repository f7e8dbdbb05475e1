//! Session tickets: where they count, for how long, and the files of their keys.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::base64;
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::ssl::SslSession;
use openssl::symm::{Cipher, decrypt};
use sealpair_common::pki::LeafRequest;
use sealpair_tests::peers::s_client;
use sealpair_tests::{
    Credentials, Ended, Nginx, Pki, SealpairServer, ServerBuilder, openssl, settles, settles_at,
};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];
const REQUEST: &str = "GET /a HTTP/1.0\r\n\r\n";

/// Random bytes, readable by their owner alone.
fn key_file(pki: &Pki, length: usize) -> PathBuf {
    let mut bytes = vec![0; length];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    let path = pki.write(".ticket-key", bytes);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

fn serve(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> SealpairServer {
    SealpairServer::start(|server| configure(server.file("a", "A")))
}

/// A request in a new session, whose ticket goes into the file.
#[track_caller]
fn begin(server: &SealpairServer, version: &str, who: Option<&Credentials>, ticket: &Path) {
    let mut client = server.s_client().args([version, "-ign_eof", "-sess_out"]).arg(ticket);
    if let Some(who) = who {
        client = client.arg("-cert").arg(&who.cert).arg("-key").arg(&who.key);
    }
    let said = client.input(REQUEST).run().expect_success();
    assert!(said.text().contains("New, TLS") && said.text().contains("200 OK"), "{said}");
}

/// A request with that ticket and no certificate.
fn come_back(server: &SealpairServer, version: &str, ticket: &Path) -> Ended {
    let client = server.s_client().args([version, "-ign_eof", "-sess_in"]).arg(ticket);
    client.input(REQUEST).run()
}

#[track_caller]
fn resumes(server: &SealpairServer, version: &str, ticket: &Path) {
    let said = come_back(server, version, ticket).expect_success();
    assert!(said.text().contains("Reused, TLS") && said.text().contains("200 OK"), "{said}");
}

/// Without the session, which needs no certificate, the client is served as anybody is.
#[track_caller]
fn is_new(server: &SealpairServer, version: &str, ticket: &Path) {
    let said = come_back(server, version, ticket).expect_success();
    assert!(said.text().contains("New, TLS") && said.text().contains("200 OK"), "{said}");
}

/// Without the session, nobody gets in who shows no certificate.
#[track_caller]
fn stays_out(server: &SealpairServer, version: &str, ticket: &Path) {
    let before = server.log().matches("sent no certificate, and one is required").count();
    let said = come_back(server, version, ticket);
    assert!(!said.text().contains("Reused") && !said.text().contains("200 OK"), "{said}");
    settles("it is refused for its missing certificate", || {
        server.log().matches("sent no certificate, and one is required").count() > before
    });
}

/// The ticket in a session's file: the DER of the session, and where in it the ticket is.
fn ticket_in(session: &Path) -> (Vec<u8>, std::ops::Range<usize>) {
    let pem = fs::read_to_string(session).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::decode_block(&base64).unwrap();
    // ticket [10] EXPLICIT OCTET STRING: longer than 255 bytes, or than 127.
    let long = |at: &usize| matches!(der[*at..], [0xaa, 0x82, _, _, 0x04, 0x82, _, _, ..]);
    let short = |at: &usize| matches!(der[*at..], [0xaa, 0x81, _, 0x04, 0x81, _, ..]);
    let range = if let Some(at) = (0..der.len()).find(long) {
        let length = usize::from(u16::from_be_bytes([der[at + 6], der[at + 7]]));
        at + 8..at + 8 + length
    } else {
        let at = (0..der.len()).find(short).unwrap();
        at + 6..at + 6 + usize::from(der[at + 5])
    };
    (der, range)
}

/// The same as a session's file has it.
fn pem_of(der: &[u8]) -> String {
    let base64 = base64::encode_block(der);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let (label, lines) = ("SSL SESSION PARAMETERS", lines.join("\n"));
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

/// The name of the key that the ticket in a session's file is sealed with.
fn name_in(session: &Path) -> Vec<u8> {
    let (der, ticket) = ticket_in(session);
    der[ticket][..16].to_vec()
}

fn name_of(key: &Path) -> Vec<u8> {
    fs::read(key).unwrap()[..16].to_vec()
}

#[test]
fn servers_that_share_a_key_resume_each_others_sessions() {
    let pki = Pki::new();
    let (identity, alice) = (pki.server(), pki.client("alice"));
    let (key, older) = (key_file(&pki, 80), key_file(&pki, 80));
    let open = || serve(|server| server.identity(&identity).arg("--ticket-key").arg(&key));
    let closed = |more: &Path| {
        serve(|server| {
            let server = server.identity(&identity).client_auth("required", &pki.ca());
            // Whatever else it opens.
            server.arg("--ticket-key").arg(&key).arg("--ticket-key").arg(more)
        })
    };
    let other = key_file(&pki, 80);
    let (one, two, three, four) = (open(), open(), closed(&older), closed(&other));
    for version in VERSIONS {
        let ticket = pki.path(".session");
        begin(&one, version, None, &ticket);
        assert_eq!(name_in(&ticket), name_of(&key));
        resumes(&two, version, &ticket);
        begin(&three, version, Some(&alice), &ticket);
        resumes(&four, version, &ticket);
    }
}

#[test]
fn a_restart_keeps_the_sessions_with_a_key_file_and_not_without() {
    let pki = Pki::new();
    let (identity, key) = (pki.server(), key_file(&pki, 80));
    let with = || serve(|server| server.identity(&identity).arg("--ticket-key").arg(&key));
    let without = || serve(|server| server.identity(&identity));
    for version in VERSIONS {
        let ticket = pki.path(".session");
        let server = with();
        begin(&server, version, None, &ticket);
        assert_eq!(server.stop(), 0);
        resumes(&with(), version, &ticket);

        let server = without();
        begin(&server, version, None, &ticket);
        resumes(&server, version, &ticket);
        assert_eq!(server.stop(), 0);
        is_new(&without(), version, &ticket);
    }
}

#[test]
fn a_ticket_counts_only_under_the_rules_under_which_it_was_issued() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (identity, alice, key) = (pki.server(), pki.client("alice"), key_file(&pki, 80));
    let serve = |configure: &dyn Fn(ServerBuilder) -> ServerBuilder| {
        serve(|server| configure(server.identity(&identity).arg("--ticket-key").arg(&key)))
    };
    let (empty, revoked) = (pki.crl(&[]), pki.crl(&[&alice]));
    let required = serve(&|server| server.client_auth("required", &pki.ca()));
    let same = serve(&|server| server.client_auth("required", &pki.ca()));
    let optional = serve(&|server| server.client_auth("optional", &pki.ca()));
    let none = serve(&|server| server);
    // Each asks for a certificate, by other rules.
    let others = [
        serve(&|server| server.client_auth("required", &other.ca())),
        serve(&|server| server.client_auth("required", &pki.ca()).arg("--crl").arg(&empty)),
        serve(&|server| server.client_auth("required", &pki.ca()).arg("--crl").arg(&revoked)),
        serve(&|server| {
            server.client_auth("required", &pki.ca()).arg("--client-ca").arg(other.ca())
        }),
    ];
    for version in VERSIONS {
        let ticket = pki.path(".session");
        begin(&required, version, Some(&alice), &ticket);
        resumes(&same, version, &ticket);
        for server in &others {
            stays_out(server, version, &ticket);
        }
        is_new(&optional, version, &ticket);
        is_new(&none, version, &ticket);

        // From a server that asks nobody, or that admits who has none (the class of CVE-2025-23419).
        for from in [&none, &optional] {
            begin(from, version, None, &ticket);
            resumes(from, version, &ticket);
            stays_out(&required, version, &ticket);
        }
        // Shown where it is optional is not shown where it is required.
        begin(&optional, version, Some(&alice), &ticket);
        stays_out(&required, version, &ticket);
    }
}

#[test]
fn a_ticket_of_another_policy_does_not_count() {
    let pki = Pki::new();
    let (identity, alice, key) = (pki.server(), pki.client("alice"), key_file(&pki, 80));
    let serve = |policy: &str| {
        serve(|server| {
            let server = server.identity(&identity).client_auth("required", &pki.ca());
            server.arg("--ticket-key").arg(&key).args(["--policy", policy])
        })
    };
    let (intermediate, modern) = (serve("intermediate"), serve("modern"));
    let ticket = pki.path(".session");
    for (from, to) in [(&intermediate, &modern), (&modern, &intermediate)] {
        begin(from, "-tls1_3", Some(&alice), &ticket);
        resumes(from, "-tls1_3", &ticket);
        stays_out(to, "-tls1_3", &ticket);
    }
}

#[test]
fn a_ticket_of_a_server_with_another_certificate_does_not_count() {
    let pki = Pki::new();
    let key = key_file(&pki, 80);
    let serve = || serve(|server| server.identity(&pki.server()).arg("--ticket-key").arg(&key));
    let (one, two) = (serve(), serve());
    for version in VERSIONS {
        let ticket = pki.path(".session");
        begin(&one, version, None, &ticket);
        is_new(&two, version, &ticket);
    }
}

#[test]
fn a_ticket_does_not_outlive_the_certificate_in_it() {
    let pki = Pki::new();
    let server = serve(|server| server.identity(&pki.server()).client_auth("required", &pki.ca()));
    for version in VERSIONS {
        let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
        let request = LeafRequest::client(["alice"]).unwrap();
        let alice = pki.issue(&request.not_before(sealpair_tests::pki::days(-1)).not_after(ends));
        let ticket = pki.path(".session");
        begin(&server, version, Some(&alice), &ticket);
        resumes(&server, version, &ticket);
        settles("its certificate has ended", || jiff::Timestamp::now() > ends);
        stays_out(&server, version, &ticket);
    }
}

#[test]
fn a_ticket_of_an_older_key_is_taken_and_replaced() {
    let pki = Pki::new();
    let (identity, older, newer) = (pki.server(), key_file(&pki, 80), key_file(&pki, 80));
    let serve = |keys: &[&Path]| {
        serve(|server| {
            let server = server.identity(&identity);
            keys.iter().fold(server, |server, key| server.arg("--ticket-key").arg(key))
        })
    };
    let (old, new, last) = (serve(&[&older]), serve(&[&newer, &older]), serve(&[&newer]));
    for version in VERSIONS {
        let (ticket, renewed) = (pki.path(".session"), pki.path(".session"));
        begin(&old, version, None, &ticket);
        assert_eq!(name_in(&ticket), name_of(&older));
        let client = new.s_client().args([version, "-ign_eof", "-msg", "-sess_in"]).arg(&ticket);
        let said = client.arg("-sess_out").arg(&renewed).input(REQUEST).run().expect_success();
        assert!(said.text().contains("Reused, TLS"), "{said}");
        if version == "-tls1_2" {
            // s_client does not write the ticket of a TLS 1.2 session that was resumed.
            open(&fs::read(&newer).unwrap(), &ticket_on_the_wire(&said.text()));
        } else {
            assert_eq!(name_in(&renewed), name_of(&newer));
            resumes(&last, version, &renewed);
        }
        is_new(&last, version, &ticket);
        // One of the current key is taken as it is; TLS 1.3 has a new one for each connection.
        begin(&new, version, None, &ticket);
        let client = new.s_client().args([version, "-ign_eof", "-msg", "-sess_in"]).arg(&ticket);
        let said = client.input(REQUEST).run().expect_success().text();
        assert!(said.contains("Reused, TLS"), "{said}");
        assert_eq!(said.contains(", NewSessionTicket"), version == "-tls1_3", "{said}");
    }
}

#[test]
fn a_ticket_that_was_changed_is_no_ticket() {
    let pki = Pki::new();
    let key = key_file(&pki, 80);
    let server = serve(|server| {
        let server = server.identity(&pki.server()).client_auth("required", &pki.ca());
        server.arg("--ticket-key").arg(&key)
    });
    for version in VERSIONS {
        let ticket = pki.path(".session");
        begin(&server, version, Some(&pki.client("alice")), &ticket);
        let (der, range) = ticket_in(&ticket);
        // The name, the initialization vector, what is sealed, and the MAC.
        for at in [range.start, range.start + 16, range.start + 32, range.end - 1] {
            let mut der = der.clone();
            der[at] ^= 1;
            stays_out(&server, version, &pki.write(".session", pem_of(&der)));
        }
        resumes(&server, version, &ticket);
    }
}

/// The ticket in a NewSessionTicket of TLS 1.2 (RFC 5077 section 3.3), as `-msg` shows it.
fn ticket_on_the_wire(said: &str) -> Vec<u8> {
    let dump = said.split_once(", NewSessionTicket\n").unwrap().1;
    let lines = dump.lines().take_while(|line| line.starts_with("    "));
    let bytes = lines.flat_map(str::split_whitespace);
    let message: Vec<u8> = bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    // Behind type and length, the lifetime and the length of the ticket.
    message[10..].to_vec()
}

/// Opens a ticket as nginx's source and RFC 5077 section 4 have it.
#[track_caller]
fn open(key: &[u8], ticket: &[u8]) {
    assert_eq!(ticket[..16], key[..16], "the name");
    let (sealed, mac) = ticket.split_at(ticket.len() - 32);
    let hmac = PKey::hmac(&key[16..48]).unwrap();
    let signer = Signer::new(MessageDigest::sha256(), &hmac);
    assert!(memcmp::eq(&signer.unwrap().sign_oneshot_to_vec(sealed).unwrap(), mac), "the MAC");
    let (iv, sealed) = sealed[16..].split_at(16);
    let session = decrypt(Cipher::aes_256_cbc(), &key[48..], Some(iv), sealed).unwrap();
    assert!(SslSession::from_der(&session).is_ok());
}

#[test]
fn the_format_of_a_key_file_is_that_of_nginx() {
    let pki = Pki::new();
    let (identity, alice, file) = (pki.server(), pki.client("alice"), key_file(&pki, 80));
    let key = fs::read(&file).unwrap();
    let server = serve(|server| {
        let server = server.identity(&identity).client_auth("optional", &pki.ca());
        server.arg("--ticket-key").arg(&file)
    });
    let strict = serve(|server| {
        let server = server.identity(&identity).client_auth("required", &pki.ca());
        server.arg("--ticket-key").arg(&file)
    });
    let nginx = Nginx::start(
        &identity,
        &format!(
            "ssl_session_ticket_key {}; ssl_verify_client on; ssl_client_certificate {};",
            file.display(),
            pki.ca().display()
        ),
    );
    fs::write(nginx.root().join("a"), "A").unwrap();
    for version in VERSIONS {
        let (ours, theirs) = (pki.path(".session"), pki.path(".session"));
        begin(&server, version, Some(&alice), &ours);
        let client = s_client(openssl(), &format!("127.0.0.1:{}", nginx.port()), &pki.ca());
        let client = client.args([version, "-ign_eof", "-sess_out"]).arg(&theirs);
        let client = client.arg("-cert").arg(&alice.cert).arg("-key").arg(&alice.key);
        let said = client.input("GET /a HTTP/1.0\r\nHost: localhost\r\n\r\n").run();
        assert!(said.text().contains("200 OK"), "{said}");
        for ticket in [&ours, &theirs] {
            let (der, range) = ticket_in(ticket);
            open(&key, &der[range]);
        }
        // Authentic, but issued under rules that are nginx's.
        is_new(&server, version, &theirs);
        stays_out(&strict, version, &theirs);
    }
}

#[test]
fn a_key_file_that_cannot_be_used_is_refused_with_the_reason() {
    let pki = Pki::new();
    let refused = |files: &[&Path], words: &[&str]| {
        let server = SealpairServer::builder();
        let server = files.iter().fold(server, |server, file| server.arg("--ticket-key").arg(file));
        let (ended, server) = server.refused();
        let ended = ended.expect_code(3);
        let report = ended.stderr.split_once("sealpair-server: ").unwrap().1;
        assert!(report.lines().count() <= 3, "{ended}");
        for word in words {
            assert!(report.contains(word), "{word:?} is not in: {ended}");
        }
        assert!(report.contains(files.last().unwrap().to_str().unwrap()), "{ended}");
        assert!(!server.state().exists(), "an authority is left behind");
    };
    let good = key_file(&pki, 80);
    refused(&[&key_file(&pki, 48)], &["it has 48 bytes", "openssl rand 80 >", "chmod 600 "]);
    for length in [0, 1, 16, 79, 81, 160, 1 << 20] {
        let reason = format!("it has {length} bytes, and a ticket key has 80");
        refused(&[&key_file(&pki, length)], &[&reason, "openssl rand 80 >"]);
    }
    refused(&[&pki.dir().join("nowhere")], &["cannot read the ticket key", "check the path"]);
    refused(&[pki.dir()], &["cannot read the ticket key", "irectory"]);
    refused(&[&good.join("key")], &["cannot read the ticket key", "check"]);
    refused(&[Path::new("/dev/zero")], &["cannot read the ticket key", "longer"]);
    // The first is good, and the others count as well.
    refused(&[&good, &key_file(&pki, 48)], &["it has 48 bytes"]);
    refused(&[&good, &good], &["two ticket keys have the same name", "--ticket-key"]);
    let copy = key_file(&pki, 80);
    fs::write(&copy, fs::read(&good).unwrap()).unwrap();
    refused(&[&good, &copy], &["two ticket keys have the same name", good.to_str().unwrap()]);
    for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666] {
        fs::set_permissions(&good, Permissions::from_mode(mode)).unwrap();
        let command = format!("chmod 600 {}", good.display());
        refused(&[&good], &["others may read or change the ticket key", &command]);
    }
}

#[test]
fn a_key_file_that_is_replaced_is_read_again() {
    let pki = Pki::new();
    let (identity, current) = (pki.server(), key_file(&pki, 80));
    let previous = key_file(&pki, 80);
    let server = serve(|server| {
        let server = server.identity(&identity).arg("--ticket-key").arg(&current);
        server.arg("--ticket-key").arg(&previous)
    });
    let before = VERSIONS.map(|version| {
        let ticket = pki.path(".session");
        begin(&server, version, None, &ticket);
        (version, ticket)
    });
    // By renaming, as docs/operations.md has it.
    let next = key_file(&pki, 80);
    let name = name_of(&next);
    fs::rename(&current, &previous).unwrap();
    fs::rename(&next, &current).unwrap();
    let after = pki.path(".session");
    let seals = || {
        begin(&server, "-tls1_3", None, &after);
        name_in(&after)
    };
    settles_at("it seals with the new key", seals, |found| *found == name);
    settles("the file of the key before has been read, too", || {
        let (version, ticket) = &before[0];
        come_back(&server, version, ticket).text().contains("Reused, TLS")
    });
    for (version, ticket) in &before {
        resumes(&server, version, ticket);
    }
    // The key before is gone: its tickets are no longer taken.
    let last = key_file(&pki, 80);
    fs::rename(&current, &previous).unwrap();
    fs::rename(&last, &current).unwrap();
    let name = name_of(&current);
    settles_at("it seals with the last key", seals, |found| *found == name);
    // Each file is looked at in its own second.
    settles("the file of the key before has been read, too", || {
        let (version, ticket) = &before[0];
        come_back(&server, version, ticket).text().contains("New, TLS")
    });
    for (version, ticket) in &before {
        is_new(&server, version, ticket);
    }
}

#[test]
fn a_replacement_that_cannot_be_used_is_said_once_and_changes_nothing() {
    let pki = Pki::new();
    let (identity, key) = (pki.server(), key_file(&pki, 80));
    let server = serve(|server| server.identity(&identity).arg("--ticket-key").arg(&key));
    let ticket = pki.path(".session");
    begin(&server, "-tls1_3", None, &ticket);
    let name = name_of(&key);
    let kept = || server.log().matches("what was read before is kept").count();
    let loose = key_file(&pki, 80);
    fs::set_permissions(&loose, Permissions::from_mode(0o644)).unwrap();
    let fifo = pki.path(".fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    for (count, bad) in [(1, key_file(&pki, 48)), (2, loose), (3, fifo)] {
        fs::rename(&bad, &key).unwrap();
        settles("the log tells", || {
            resumes(&server, "-tls1_3", &ticket);
            kept() == count
        });
        // It is looked at again every second, and there is nothing new to say.
        let begun = Instant::now();
        settles("it has been looked at again", || {
            resumes(&server, "-tls1_3", &ticket);
            begun.elapsed() > Duration::from_secs(2)
        });
        assert_eq!(kept(), count, "{}", server.log());
    }
    assert!(server.log().contains("chmod 600"), "{}", server.log());
    fs::remove_file(&key).unwrap();
    let begun = Instant::now();
    settles("its absence changes nothing", || {
        resumes(&server, "-tls1_3", &ticket);
        begun.elapsed() > Duration::from_secs(2)
    });
    let fresh = pki.path(".session");
    begin(&server, "-tls1_3", None, &fresh);
    assert_eq!(name_in(&fresh), name);
}
