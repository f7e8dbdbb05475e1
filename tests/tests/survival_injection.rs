//! Text that would be a line, a header field or a command to the terminal if it were written as it
//! came: in paths, names, certificates and header fields.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{SslFiletype, SslVersion};
use openssl::x509::extension::ExtendedKeyUsage;
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use sealpair_tests::{Credentials, Pki, RawClient, SealpairServer, Shape, Survival, settles};
use std::fs;

/// A line of the log that was never written, in red, with the terminal's title set.
const EVIL: &str = "x\r\n2026-01-01T00:00:00Z forged\n\x1b[31mred\x1b]0;title\x07\0\u{85}\u{202e}y";

/// Nothing in the log but its own lines, which begin with a time, and printable text.
#[track_caller]
fn clean(log: &str) {
    for line in log.lines() {
        let bad = |c: &char| c.is_control() || ('\u{200e}'..='\u{202e}').contains(c);
        assert!(!line.chars().any(|c| bad(&c)), "{line:?}");
        // What a certificate says is told in lines that are indented.
        let own = line.starts_with('[') || line.starts_with(' ') || !line.contains("forged");
        assert!(own && !line.starts_with("2026-01-01T00:00:00Z"), "{line:?}");
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn in_a_path_and_a_query() {
    let without_nul = EVIL.replace('\0', "");
    let server =
        SealpairServer::start(|server| server.writable().file("a", "A").env("RUST_LOG", "debug"));
    let survival = Survival::begin(&server);
    fs::create_dir(server.root().join(&without_nul)).unwrap();
    let name = percent(&without_nul);
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST", "BREW"] {
        for target in [
            // A folder without its slash: the answer has a Location.
            format!("/{name}"),
            format!("/{name}/"),
            format!("/{name}?{name}"),
            format!("/{name}/{name}"),
            format!("/{}", percent(EVIL)),
            format!("/a?{}", percent(EVIL)),
        ] {
            let request = format!(
                "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            );
            let mut client = RawClient::connect(&server);
            client.send(request);
            let (answer, _) = client.rest();
            let answer = String::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            for line in head.split("\r\n") {
                assert!(
                    !line.starts_with("2026") && !line.chars().any(char::is_control),
                    "{head:?}"
                );
            }
            let bad = |c: char| c.is_control() && c != '\n';
            assert!(
                !body.contains("\nforged") && !body.contains(bad),
                "{method} {target}: {body:?}"
            );
        }
    }
    clean(&server.log());
    survival.end();
}

#[test]
fn in_the_request_line_and_the_fields() {
    let server = SealpairServer::start(|server| server.file("a", "A").env("RUST_LOG", "debug"));
    let survival = Survival::begin(&server);
    for evil in
        ["\r", "\n", "\r\n", "\0", "\x1b[31m", "\x07", "\x7f", "\u{85}", "\u{9b}31m", "\u{202e}"]
    {
        for request in [
            format!("GET /a{evil}forged HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            format!("GET{evil}forged /a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            format!("GET /a HTTP/1.1{evil}forged\r\nHost: localhost\r\n\r\n"),
            format!("GET /a HTTP/1.1\r\nHost: localhost{evil}forged\r\n\r\n"),
            format!("GET /a HTTP/1.1\r\nHost: localhost\r\nUser-Agent: x{evil}forged\r\n\r\n"),
            format!("GET /a HTTP/1.1\r\nHost: localhost\r\nX{evil}forged: x\r\n\r\n"),
            format!("GET /a HTTP/1.1\r\nHost: localhost\r\nExpect: x{evil}forged\r\n\r\n"),
            format!("GET /a HTTP/1.1\r\nHost: localhost\r\nAccept: x{evil}forged\r\n\r\n"),
        ] {
            let mut client = RawClient::connect(&server);
            client.send(&request);
            let _ = client.tls().get_ref().tcp().shutdown(std::net::Shutdown::Write);
            let (answer, _) = client.rest();
            let answer = String::from_utf8_lossy(&answer);
            let (head, _) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            assert!(!head.contains("forged"), "{request:?}: {head:?}");
        }
    }
    clean(&server.log());
    survival.end();
}

#[test]
fn in_the_server_name() {
    let server = SealpairServer::start(|server| server.file("a", "A").env("RUST_LOG", "debug"));
    let survival = Survival::begin(&server);
    let long = "x".repeat(255);
    for name in [&EVIL.replace('\0', ""), "a\r\nforged", "\x1b[31m", "\u{202e}", "../../etc", &long]
    {
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let tls = RawClient::context(&server, |tls| {
                tls.set_max_proto_version(Some(version)).unwrap();
            });
            let mut ssl = sealpair_tests::raw::ssl(&tls);
            ssl.set_hostname(name).unwrap();
            // Whether it is served is not the question here.
            if let Ok(mut client) = RawClient::try_with(server.tcp(), Shape::Plain, ssl) {
                let _ = client.try_send("GET /a HTTP/1.0\r\n\r\n");
                client.rest();
            }
        }
    }
    clean(&server.log());
    survival.end();
}

/// A client certificate with this subject, of this authority.
fn client_named(pki: &Pki, subject: &str) -> Credentials {
    let ca = X509::from_pem(&fs::read(pki.ca()).unwrap()).unwrap();
    let ca_key = PKey::private_key_from_pem(&fs::read(pki.ca_key()).unwrap()).unwrap();
    let group = openssl::ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, subject).unwrap();
    name.append_entry_by_nid(Nid::ORGANIZATIONNAME, subject).unwrap();
    let name = name.build();
    let mut cert = X509Builder::new().unwrap();
    cert.set_version(2).unwrap();
    let serial = openssl::bn::BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
    cert.set_serial_number(&serial).unwrap();
    cert.set_subject_name(&name).unwrap();
    cert.set_issuer_name(ca.subject_name()).unwrap();
    cert.set_pubkey(&key).unwrap();
    cert.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    cert.set_not_after(&Asn1Time::days_from_now(7).unwrap()).unwrap();
    cert.append_extension(ExtendedKeyUsage::new().client_auth().build().unwrap()).unwrap();
    let issuer_key_id = {
        let context = cert.x509v3_context(Some(&ca), None);
        openssl::x509::extension::AuthorityKeyIdentifier::new().keyid(true).build(&context).unwrap()
    };
    cert.append_extension(issuer_key_id).unwrap();
    cert.sign(&ca_key, MessageDigest::sha256()).unwrap();
    let (cert, key) = (cert.build().to_pem().unwrap(), key.private_key_to_pem_pkcs8().unwrap());
    Credentials { cert: pki.write(".pem", cert), key: pki.write(".key", key), ca: pki.ca() }
}

#[test]
fn in_the_subject_of_a_client_certificate() {
    let (pki, other) = (Pki::new(), Pki::new());
    let server = SealpairServer::start(|server| {
        let server = server.identity(&pki.server()).client_auth("required", &pki.ca());
        server.file("a", "A").env("RUST_LOG", "debug")
    });
    let with = |credentials: &Credentials| {
        RawClient::context(&server, |tls| {
            tls.set_certificate_chain_file(&credentials.cert).unwrap();
            tls.set_private_key_file(&credentials.key, SslFiletype::PEM).unwrap();
        })
    };
    let survival = Survival::begin_with(&server, &with(&pki.client("alice")), 32);
    let mut asked = 0;
    for subject in
        ["a\r\nforged", "a\nforged", "\x1b[31mforged\x1b]0;x\x07", "\u{202e}\u{85}forged"]
    {
        let good = client_named(&pki, subject);
        let mut client = RawClient::over(server.tcp(), &with(&good));
        assert_eq!(client.get("/a").text(), "A", "a name is not what it is refused for");
        client.close();
        asked += 1;
        // Refused: the reason names the certificate, too.
        let bad = client_named(&other, subject);
        if let Ok(mut client) = RawClient::try_over(server.tcp(), &with(&bad)) {
            let _ = client.try_send("GET /a HTTP/1.0\r\n\r\n");
            client.look();
            assert!(!String::from_utf8_lossy(client.unused()).contains("200"));
        }
    }
    settles("all are told of", || {
        let log = server.log();
        let told = |what| log.lines().filter(|line| line.contains(what)).count();
        // The subject is in the line of each request, escaped, and in that of each refusal.
        told("forged") >= 2 * asked
    });
    clean(&server.log());
    survival.end();
}
