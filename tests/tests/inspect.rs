//! `sealpair inspect` against endpoints of every kind: ours, nginx, `openssl s_server` with odd settings, and
//! those that are broken or no TLS at all.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod, SslOptions, SslVersion};
use sealpair_tests::inspection::{
    failed_checks, failed_rules, groups, inspect, offered, set, suites, words,
};
use sealpair_tests::peers::Ending;
use sealpair_tests::{Credentials, Nginx, OpensslServer, Pki, Run, ScriptedServer, SealpairServer};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;

#[test]
fn our_server_passes_the_policy_that_it_runs_under() {
    for policy in ["intermediate", "modern"] {
        let server = SealpairServer::start(|s| s.args(["--policy", policy]));
        let port = server.address().port();
        let ended = inspect(port, &server.ca(), &["--policy", policy]).expect_code(0);
        let found = ended.json();
        assert_eq!(found["schema"], "sealpair.inspect/1");
        assert_eq!(found["policy"]["name"], policy);
        assert_eq!(found["policy"]["passed"], true);
        assert_eq!(failed_rules(&found), [""; 0]);
        let versions = if policy == "modern" { &["TLSv1.3"][..] } else { &["TLSv1.2", "TLSv1.3"] };
        assert_eq!(offered(&found), versions);
        assert_eq!(found["protocols"]["TLSv1.3"]["preference"], "client");
        assert!(groups(&found, "TLSv1.3").contains("X25519"));
        assert_eq!(found["alpn"]["http/1.1"], "agreed");
        assert_eq!(found["alpn"]["h2"], "refused");
        assert_eq!(found["resumption"]["tls13_tickets"], 1);
        assert_eq!(found["client_certificate"], "none");
        assert_eq!(found["certificates"][0]["valid"], true);
        // The text is there as well.
        assert!(ended.stderr.contains(&format!("Policy {policy}")), "{ended}");
    }
}

#[test]
fn a_policy_that_is_violated_is_31_and_says_which_rules() {
    let server = SealpairServer::start(|s| s);
    let ended = inspect(server.address().port(), &server.ca(), &["--policy", "modern"]);
    let ended = ended.expect_code(31);
    let found = ended.json();
    assert_eq!(found["policy"]["passed"], false);
    assert_eq!(failed_rules(&found), ["protocols"]);
    let rule = &found["policy"]["rules"][0];
    assert_eq!(rule["found"], "not allowed: TLSv1.2");
    assert_eq!(rule["wanted"], "TLSv1.3");
    assert!(rule["source"].as_str().unwrap().contains("Mozilla"), "{rule}");
    assert!(ended.stderr.contains("FAIL  protocols"), "{ended}");
}

#[test]
fn both_chains_of_a_server_with_two_keys_are_seen() {
    let pki = Pki::new();
    for policy in [&["--policy", "intermediate"][..], &[]] {
        let server = SealpairServer::start(|s| {
            s.identity(&pki.server()).identity(&pki.server_rsa()).args(policy)
        });
        let found = inspect(server.address().port(), &pki.ca(), policy).expect_code(0).json();
        let chains = found["certificates"].as_array().unwrap();
        let keys: BTreeSet<&str> =
            chains.iter().map(|c| c["certificates"][0]["key"].as_str().unwrap()).collect();
        assert_eq!(keys, BTreeSet::from(["EC P-256", "RSA 3072"]));
        assert!(chains.iter().all(|c| c["versions"] == serde_json::json!(["TLSv1.2", "TLSv1.3"])));
        let schemes = &found["protocols"]["TLSv1.3"]["signature_schemes"];
        let schemes: Vec<&str> =
            schemes.as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
        assert_eq!(
            schemes,
            [
                "ecdsa_secp256r1_sha256",
                "rsa_pss_rsae_sha256",
                "rsa_pss_rsae_sha384",
                "rsa_pss_rsae_sha512"
            ]
        );
        assert_eq!(suites(&found, "TLSv1.2").len(), 6);
    }
}

#[test]
fn nginx_is_seen_as_it_is_configured() {
    let pki = Pki::new();
    let nginx = Nginx::start(
        &pki.server(),
        "ssl_protocols TLSv1.2; ssl_prefer_server_ciphers on; ssl_session_tickets off;
         ssl_ciphers ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-GCM-SHA256;
         ssl_ecdh_curve secp384r1:X25519:prime256v1;
         add_header Strict-Transport-Security \"max-age=63072000\" always;",
    );
    let args = ["--policy", "intermediate"];
    let found = inspect(nginx.port(), &pki.ca(), &args).expect_code(31).json();
    assert_eq!(offered(&found), ["TLSv1.2"]);
    let expected = set(&["ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES128-GCM-SHA256"]);
    assert_eq!(suites(&found, "TLSv1.2"), expected);
    assert_eq!(found["protocols"]["TLSv1.2"]["preference"], "server");
    assert_eq!(groups(&found, "TLSv1.2"), set(&["secp384r1", "X25519", "secp256r1"]));
    assert_eq!(found["resumption"]["tls12_tickets"], false);
    assert_eq!(found["http"]["strict_transport_security"], "max-age=63072000");
    assert_eq!(found["renegotiation"]["secure"], true);
    assert_eq!(found["renegotiation"]["client_initiated"], false);
    assert_eq!(found["extended_master_secret"]["supported"], true);
    assert_eq!(found["extended_master_secret"]["required"], false);
    assert_eq!(found["compression"], false);
    // nginx goes on signing with SHA-1 when a client knows nothing else.
    assert_eq!(failed_rules(&found), ["tls13-offered", "tls12-suites", "tls12-signatures"]);

    let only13 = Nginx::start(
        &pki.server_rsa(),
        "ssl_protocols TLSv1.3; ssl_ecdh_curve secp521r1; ssl_verify_client optional;
         ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;"
            .replace(
                "ssl_verify_client optional",
                &format!(
                    "ssl_client_certificate {}; ssl_verify_client optional",
                    pki.ca().display()
                ),
            )
            .as_str(),
    );
    let found = inspect(only13.port(), &pki.ca(), &[]).expect_code(0).json();
    assert_eq!(offered(&found), ["TLSv1.3"]);
    assert_eq!(suites(&found, "TLSv1.3"), set(&["TLS_AES_256_GCM_SHA384"]));
    // No key share is known for this group, and none is needed for it.
    assert_eq!(groups(&found, "TLSv1.3"), set(&["secp521r1"]));
    assert_eq!(found["client_certificate"], "optional");
    assert_eq!(found["session"]["group"], "secp521r1");
    assert!(found["http"]["strict_transport_security"].is_null());
}

fn s_server(pki: &Pki, credentials: &Credentials, args: &[&str]) -> OpensslServer {
    OpensslServer::start(credentials, pki.dir(), args)
}

#[test]
fn old_versions_and_weak_suites_are_found() {
    let pki = Pki::new();
    let rsa = pki.server_rsa();
    let old = ["-no_tls1_2", "-no_tls1_3", "-cipher", "AES128-SHA:DHE-RSA-AES256-SHA:@SECLEVEL=0"];
    let server = s_server(&pki, &rsa, &old);
    let found = inspect(server.port(), &pki.ca(), &["--policy", "intermediate"]);
    let found = found.expect_code(31).json();
    assert_eq!(offered(&found), ["TLSv1.0", "TLSv1.1"]);
    for version in ["TLSv1.0", "TLSv1.1"] {
        assert_eq!(suites(&found, version), set(&["AES128-SHA", "DHE-RSA-AES256-SHA"]));
        assert!(found["protocols"][version]["prime"]["bits"].as_u64().unwrap() >= 1024);
    }
    assert_eq!(found["session"]["protocol"], "TLSv1.1");
    let weak = words(&found["protocols"]["TLSv1.0"]["suites"], "weakness");
    assert_eq!(weak, ["no forward secrecy", "CBC"]);
    assert!(failed_rules(&found).contains(&"protocols".to_owned()));

    let renegotiating = s_server(&pki, &rsa, &["-tls1_2", "-client_renegotiation", "-no_ticket"]);
    let found = inspect(renegotiating.port(), &pki.ca(), &["--policy", "intermediate"]);
    let found = found.expect_code(31).json();
    assert_eq!(found["renegotiation"]["client_initiated"], true, "{found}");
    assert_eq!(found["resumption"]["tls12_tickets"], false);
    assert!(failed_rules(&found).contains(&"client-renegotiation".to_owned()));
    assert!(suites(&found, "TLSv1.2").contains("ECDHE-RSA-AES256-GCM-SHA384"));
    assert!(groups(&found, "TLSv1.2").contains("X448"));
    let schemes = found["protocols"]["TLSv1.2"]["signature_schemes"].to_string();
    assert!(schemes.contains("rsa_pkcs1_sha256") && schemes.contains("rsa_pss_rsae_sha512"));
}

#[test]
fn what_the_linked_openssl_refuses_by_default_is_seen_too() {
    let pki = Pki::new();
    let args = ["-tls1_2", "-cipher", "NULL-SHA256:ADH-AES128-SHA:AES128-CCM8:@SECLEVEL=0"];
    let server = s_server(&pki, &pki.server_rsa(), &args);
    let found = inspect(server.port(), &pki.ca(), &[]).expect_code(0).json();
    let expected = set(&["NULL-SHA256", "ADH-AES128-SHA", "AES128-CCM8"]);
    assert_eq!(suites(&found, "TLSv1.2"), expected);
    assert_eq!(found["certificates"][0]["valid"], true, "{found}");
}

#[test]
fn a_server_without_extended_master_secret_is_found() {
    /// SSL_OP_NO_EXTENDED_MASTER_SECRET of <openssl/ssl.h>.
    const NO_EXTENDED_MASTER_SECRET: u64 = 1;
    let pki = Pki::new();
    let server = pki.server();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_certificate_chain_file(&server.cert).unwrap();
    acceptor.set_private_key_file(&server.key, SslFiletype::PEM).unwrap();
    acceptor.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    acceptor.set_options(SslOptions::from_bits_retain(NO_EXTENDED_MASTER_SECRET));
    let acceptor = acceptor.build();
    let peer = ScriptedServer::tcp(move |tcp| {
        if let Ok(mut stream) = acceptor.accept(tcp) {
            let _ = stream.read(&mut [0; 1 << 10]);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            let _ = stream.shutdown();
        }
    });
    let found = inspect(peer.port(), &pki.ca(), &["--policy", "intermediate"]);
    let found = found.expect_code(31).json();
    assert_eq!(found["extended_master_secret"]["supported"], false);
    assert!(failed_rules(&found).contains(&"extended-master-secret".to_owned()));
}

#[test]
fn an_endpoint_that_wants_a_client_certificate_is_seen_all_the_same() {
    let pki = Pki::new();
    let client = pki.client("alice");
    let ca = pki.ca();
    for version in ["-tls1_2", "-tls1_3"] {
        let args =
            [version, "-Verify", "1", "-verify_return_error", "-CAfile", ca.to_str().unwrap()];
        let server = s_server(&pki, &pki.server(), &args);
        let found = inspect(server.port(), &pki.ca(), &[]).expect_code(0).json();
        assert_eq!(found["client_certificate"], "required", "{found}");
        assert_eq!(found["certificates"][0]["valid"], true);
        assert!(found["http"].is_null() && found["handshake_problem"].is_string());
        let identity =
            ["--cert", client.cert.to_str().unwrap(), "--key", client.key.to_str().unwrap()];
        let found = inspect(server.port(), &pki.ca(), &identity).expect_code(0).json();
        assert!(found["http"].is_object(), "{found}");
        // One connection more, without it, shows that.
        assert_eq!(found["client_certificate"], "required", "{found}");
        let args = [version, "-verify", "1", "-CAfile", ca.to_str().unwrap()];
        let server = s_server(&pki, &pki.server(), &args);
        let found = inspect(server.port(), &pki.ca(), &identity).expect_code(0).json();
        assert_eq!(found["client_certificate"], "optional", "{found}");
        let server = s_server(&pki, &pki.server(), &[version]);
        let found = inspect(server.port(), &pki.ca(), &identity).expect_code(0).json();
        assert_eq!(found["client_certificate"], "none", "{found}");
    }
    let server = SealpairServer::start(|s| s.identity(&pki.server()).client_auth("required", &ca));
    let found = inspect(server.address().port(), &ca, &["--policy", "intermediate"]);
    let found = found.expect_code(0).json();
    assert_eq!(found["client_certificate"], "required");
}

#[test]
fn broken_certificates_are_said_clearly_and_are_no_failure_by_themselves() {
    let pki = Pki::new();
    let chained = pki.chained();
    let stranger = Pki::new();
    let cases: [(&str, Credentials, &[&str]); 7] = [
        ("expired", pki.expired(), &["dates"]),
        ("not yet valid", pki.not_yet_valid(), &["dates"]),
        ("another name", pki.wrong_name(), &["name"]),
        ("for clients", pki.wrong_usage(), &["usage"]),
        ("incomplete", chained.incomplete, &["trust", "order"]),
        ("complete", chained.complete, &[]),
        (
            "another authority",
            Credentials { ca: pki.ca(), ..stranger.server() },
            &["trust", "order"],
        ),
    ];
    for (what, credentials, expected) in cases {
        let server =
            ScriptedServer::answering(&credentials, b"HTTP/1.1 204 N\r\n\r\n", Ending::Close);
        let found = inspect(server.port(), &credentials.ca, &[]).expect_code(0).json();
        assert_eq!(failed_checks(&found), expected, "{what}: {found}");
        assert_eq!(found["certificates"][0]["valid"], expected.is_empty(), "{what}");
        let judged = inspect(server.port(), &credentials.ca, &["--policy", "intermediate"]);
        let rules = failed_rules(&judged.json());
        for check in expected {
            assert!(rules.contains(&format!("certificate-{check}")), "{what}: {rules:?}");
        }
        assert_eq!(judged.code(), Some(if rules.is_empty() { 0 } else { 31 }), "{what}");
    }
    let alone = pki.self_signed();
    let server = ScriptedServer::answering(&alone, b"HTTP/1.1 204 N\r\n\r\n", Ending::Close);
    let ended = inspect(server.port(), &pki.ca(), &[]).expect_code(0);
    assert_eq!(failed_checks(&ended.json()), ["trust"]);
    assert!(ended.stderr.contains("NOT VALID") && ended.stderr.contains("self-signed"), "{ended}");
    // Everything that is wrong is said, not only the first.
    let found = Run::of("sealpair").args(["inspect", "--json", "--server-name", "other.example"]);
    let found = found.arg(format!("localhost:{}", server.port())).run().expect_code(0).json();
    assert_eq!(failed_checks(&found), ["trust", "name"]);
}

#[test]
fn a_revoked_certificate_is_found_with_a_list() {
    let pki = Pki::new();
    let server = pki.server();
    let peer = SealpairServer::start(|s| s.identity(&server));
    for (crl, expected) in [(pki.crl(&[&server]), &["revocation"][..]), (pki.crl(&[]), &[])] {
        let args = ["--crl", crl.to_str().unwrap()];
        let found = inspect(peer.address().port(), &pki.ca(), &args).expect_code(0).json();
        assert_eq!(failed_checks(&found), expected);
    }
}

#[test]
fn what_is_no_tls_is_23_what_closes_8_and_what_cannot_be_reached_5_6_or_7() {
    let pki = Pki::new();
    let look = |port: u16, args: &[&str]| inspect(port, &pki.ca(), args);
    let http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    for (what, server, kind, code) in [
        ("http", ScriptedServer::plain(http, Ending::Close), "plain-http", 23),
        ("garbage", ScriptedServer::plain(b"\x1b[31mgarbage", Ending::Close), "not-tls", 23),
        ("one byte", ScriptedServer::plain(b"\0", Ending::Hold), "not-tls", 23),
        ("closing", ScriptedServer::tcp(|_| {}), "connection-closed", 8),
        (
            "resetting",
            ScriptedServer::tcp(|tcp| sealpair_tests::raw::reset(tcp)),
            "connection-closed",
            8,
        ),
        ("ending", ScriptedServer::plain(b"", Ending::Close), "connection-closed", 8),
    ] {
        let ended = look(server.port(), &[]).expect_code(code);
        let error = &ended.json()["error"];
        assert_eq!(error["kind"], kind, "{what}: {ended}");
        assert!(!ended.stderr.contains('\x1b') && !ended.text().contains('\x1b'), "{ended}");
    }
    let silent = ScriptedServer::silent();
    let ended = look(silent.port(), &["--timeout", "300ms"]).expect_code(7);
    assert_eq!(ended.json()["error"]["kind"], "deadline");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    look(port, &[]).expect_code(6);
    let ended = Run::of("sealpair").args(["inspect", "no-such-host.invalid"]).run().expect_code(5);
    assert!(!ended.stderr.contains("URL") && ended.stderr.contains("--resolve"), "{ended}");
    for bad in ["", "a b", "localhost:0", "http://localhost/", "[::1"] {
        Run::of("sealpair").args(["inspect", bad]).run().expect_code(2);
    }
    let missing = ["inspect", "localhost", "--ca", "/nonexistent"];
    Run::of("sealpair").args(missing).run().expect_code(3);
}
