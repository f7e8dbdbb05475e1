//! What our server staples: to whom, which response, and what it refuses to staple. What clients make of it is
//! in `revocation`.

#![allow(clippy::unwrap_used, missing_docs)]

use jiff::{SignedDuration, Timestamp};
use sealpair_tests::ocsp::{TRY_LATER, malformed};
use sealpair_tests::pki::days;
use sealpair_tests::{
    Credentials, Ended, Issue, Nginx, Ocsp, Pki, Run, ScriptedServer, SealpairServer, openssl,
    settles,
};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

fn get(url: &str, ca: &Path, more: &[&str]) -> Ended {
    Run::of("sealpair").args(["get", url, "--ca"]).arg(ca).args(more).run()
}

fn minutes(minutes: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_mins(minutes)
}

/// A server of ours that staples this file to this certificate.
fn stapling(credentials: &Credentials, response: &Path) -> SealpairServer {
    SealpairServer::start(|server| {
        server.identity(credentials).arg("--ocsp-response").arg(response).file("a", "hello")
    })
}

#[test]
fn other_clients_take_what_our_server_staples() {
    let pki = Pki::new();
    let credentials = pki.with_issuer(&pki.server());
    let server = stapling(&credentials, &pki.ocsp(&credentials).file());
    for version in ["-tls1_2", "-tls1_3"] {
        let said = server.s_client().args([version, "-status"]).run().expect_success().text();
        assert!(said.contains("OCSP Response Status: successful"), "{said}");
        assert!(said.contains("Cert Status: good"), "{said}");
        // Who does not ask gets none.
        let said = server.s_client().arg(version).run().expect_success().text();
        assert!(!said.contains("Cert Status"), "{said}");
    }
    for version in ["1.2", "1.3"] {
        let curl = server.curl().args(["--cert-status", "--tls-max", version, "--tlsv1.2"]);
        curl.arg(server.url("/a")).run().expect_success();
    }
    // curl would have noticed.
    let bare = SealpairServer::start(|server| server.identity(&credentials).file("a", "hello"));
    bare.curl().arg("--cert-status").arg(bare.url("/a")).run().expect_code(91);
}

#[test]
fn our_client_takes_what_nginx_staples() {
    let pki = Pki::new();
    let server = pki.server();
    let staple = |ocsp: Ocsp<'_>| {
        let directives = format!("ssl_stapling on; ssl_stapling_file {};", ocsp.file().display());
        let nginx = Nginx::start(&pki.with_issuer(&server), &directives);
        fs::write(nginx.root().join("a"), "hello").unwrap();
        nginx
    };
    let good = staple(pki.ocsp(&server));
    let ended =
        get(&good.url("/a"), &pki.ca(), &["--require-revocation", "--json", "-o", "/dev/null"]);
    assert_eq!(ended.expect_success().json()["tls"]["ocsp"]["status"], "good");
    let bad = staple(pki.ocsp(&server).revoked());
    let ended = get(&bad.url("/a"), &pki.ca(), &[]).expect_code(13);
    assert!(ended.stderr.contains("is revoked"), "{ended}");
}

#[test]
fn each_certificate_has_a_response_of_its_own() {
    let pki = Pki::new();
    let (ecdsa, rsa) = (pki.with_issuer(&pki.server()), pki.server_rsa());
    // The RSA certificate's issuer stands in the other one's file only.
    let server = SealpairServer::start(|server| {
        let server = server.identity(&ecdsa).identity(&rsa);
        let server = server.arg("--ocsp-response").arg(pki.ocsp(&rsa).file());
        server.arg("--ocsp-response").arg(pki.ocsp(&ecdsa).file())
    });
    for (algorithms, credentials) in [("ECDSA+SHA256", &ecdsa), ("RSA-PSS+SHA256", &rsa)] {
        let run = server.s_client().args(["-status", "-sigalgs", algorithms]);
        let said = run.run().expect_success().text();
        let text = openssl().args(["x509", "-noout", "-serial", "-in"]).arg(&credentials.cert);
        let serial = text.run().expect_success().text();
        let serial = serial.trim().strip_prefix("serial=").unwrap().to_owned();
        assert!(said.contains(&format!("Serial Number: {serial}")), "{serial}: {said}");
        assert!(said.contains("Cert Status: good"), "{said}");
    }
    // One of them alone: the other certificate is served without.
    let server = SealpairServer::start(|server| {
        let server = server.identity(&ecdsa).identity(&rsa);
        server.arg("--ocsp-response").arg(pki.ocsp(&rsa).file())
    });
    let run = server.s_client().args(["-status", "-sigalgs", "ECDSA+SHA256"]);
    let said = run.run().expect_success().text();
    assert!(said.contains("OCSP response: no response sent"), "{said}");
}

#[test]
fn a_response_below_an_intermediate_is_that_of_the_intermediate() {
    let pki = Pki::new();
    let chained = pki.chained();
    let leaf = &chained.complete;
    let middle = &chained.middle;
    let response = pki.ocsp(&chained.incomplete).below(&middle.cert).signed_by(middle).file();
    let server = stapling(leaf, &response);
    get(&server.url("/a"), &leaf.ca, &["--require-revocation"]).expect_success();
}

#[test]
fn a_server_does_not_start_with_a_response_that_clients_would_refuse() {
    let (pki, foreign) = (Pki::new(), Pki::new());
    let server = pki.with_issuer(&pki.server());
    let order = || pki.ocsp(&server);
    let foreign_ca = Credentials { cert: foreign.ca(), key: foreign.ca_key(), ca: foreign.ca() };
    let unfit = pki.issue_for_ocsp(Issue::NotResponder);
    let write = |bytes: Vec<u8>| pki.write(".ocsp", bytes);
    for (file, words) in [
        (pki.dir().join("none"), &["cannot read the OCSP response", "check the path"][..]),
        (pki.write(".ocsp", ""), &["malformed", "-respout"]),
        (server.cert.clone(), &["malformed"]),
        (write(malformed()), &["malformed"]),
        (write([order().der(), b"\n".to_vec()].concat()), &["malformed"]),
        (write(TRY_LATER.to_vec()), &["tryLater"]),
        (write(order().dated(days(-8), days(-1))), &["it has ended", "timer"]),
        // Clients with an exact clock would not take it any more.
        (write(order().dated(days(-8), minutes(-2))), &["it has ended"]),
        (write(order().dated(days(1), days(8))), &["of the future", "clock"]),
        (pki.ocsp(&pki.server()).file(), &["for none of the server's certificates"]),
        (order().signed_by(&foreign_ca).file(), &["does not verify under the issuer"]),
        (order().signed_by(&unfit).file(), &["no id-kp-OCSPSigning"]),
        (order().with("-rmd sha1").file(), &["its signature uses SHA1"]),
        (order().revoked().file(), &["is revoked since 2024", "get another"]),
        (order().unknown().file(), &["does not know the certificate"]),
    ] {
        let start = SealpairServer::builder().identity(&server).arg("--ocsp-response").arg(&file);
        let (ended, _) = start.refused();
        assert_eq!(ended.code(), Some(3), "{ended}");
        for word in words.iter().chain(&[&*file.display().to_string()]) {
            assert!(ended.stderr.contains(word), "`{word}` is missing: {ended}");
        }
    }
    // Without its issuer nobody can tell.
    let bare = pki.server();
    let start = SealpairServer::builder().identity(&bare).arg("--ocsp-response");
    let (ended, _) = start.arg(pki.ocsp(&bare).file()).refused();
    assert_eq!(ended.code(), Some(3), "{ended}");
    assert!(ended.stderr.contains("append the issuer's certificate"), "{ended}");
    // The system's store may have it.
    let start = SealpairServer::builder().identity(&bare).arg("--ocsp-response");
    let start = start.arg(pki.ocsp(&bare).file()).env("SSL_CERT_FILE", pki.ca());
    get(&start.start().url("/"), &pki.ca(), &["--require-revocation"]).expect_success();
}

#[test]
fn its_own_certificate_can_have_a_response_too() {
    let pki = Pki::new();
    let first = SealpairServer::start(|server| server);
    let state = first.state();
    let own = Credentials {
        cert: state.join("server.pem"),
        key: state.join("server.key"),
        ca: state.join("ca.pem"),
    };
    let ca = Credentials { cert: own.ca.clone(), key: state.join("ca.key"), ca: own.ca.clone() };
    let response = pki.ocsp(&own).below(&ca.cert).signed_by(&ca).file();
    let second = SealpairServer::start(|server| {
        server.state_dir(&state).arg("--ocsp-response").arg(response)
    });
    get(&second.url("/"), &own.ca, &["--require-revocation"]).expect_success();
}

#[test]
fn a_response_in_pem_is_as_good() {
    let pki = Pki::new();
    let server = pki.with_issuer(&pki.server());
    let base64 = openssl::base64::encode_block(&pki.ocsp(&server).der());
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!(
        "-----BEGIN OCSP RESPONSE-----\n{}\n-----END OCSP RESPONSE-----\n",
        lines.join("\n")
    );
    let ours = stapling(&server, &pki.write(".pem", pem));
    get(&ours.url("/a"), &pki.ca(), &["--require-revocation"]).expect_success();
}

/// This update of the response that the server staples; nothing when it staples none.
fn this_update(server: &SealpairServer, ca: &Path) -> Option<Timestamp> {
    let ended = get(&server.url("/a"), ca, &["--json", "-o", "/dev/null"]).expect_success();
    let this = ended.json()["tls"]["ocsp"]["this_update"].as_str()?.parse().unwrap();
    Some(this)
}

#[test]
fn a_response_that_is_replaced_is_read_again_and_an_unusable_one_changes_nothing() {
    let pki = Pki::new();
    let credentials = pki.with_issuer(&pki.server());
    let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap();
    let (first, second) = (whole(minutes(-60)), whole(minutes(-30)));
    let file = pki.write(".ocsp", pki.ocsp(&credentials).dated(first, days(1)));
    let replace = |bytes: Vec<u8>| fs::rename(pki.write(".new", bytes), &file).unwrap();
    let server = stapling(&credentials, &file);
    let now = || this_update(&server, &pki.ca());
    assert_eq!(now(), Some(first));
    replace(pki.ocsp(&credentials).dated(second, days(1)));
    settles("the new one is stapled", || now() == Some(second));
    let foreign = Pki::new();
    let foreign_ca = Credentials { cert: foreign.ca(), key: foreign.ca_key(), ca: foreign.ca() };
    for (number, bad) in [
        malformed(),
        pki.ocsp(&pki.server()).der(),
        pki.ocsp(&credentials).revoked().signed_by(&foreign_ca).der(),
        pki.ocsp(&credentials).revoked().with("-rmd sha1").der(),
    ]
    .into_iter()
    .enumerate()
    {
        replace(bad);
        settles("the log says what is wrong", || {
            assert_eq!(now(), Some(second));
            server.log().matches("what was read before is kept").count() == number + 1
        });
    }
}

#[test]
fn a_response_that_withdraws_the_certificate_ends_the_stapling_of_the_good_one_at_once() {
    let pki = Pki::new();
    let credentials = pki.with_issuer(&pki.server());
    let good = || pki.ocsp(&credentials).der();
    for (bad, words) in [
        (pki.ocsp(&credentials).revoked().der(), "is revoked since 2024"),
        (pki.ocsp(&credentials).unknown().der(), "does not know the certificate"),
    ] {
        let file = pki.write(".ocsp", good());
        let replace = |bytes: Vec<u8>| fs::rename(pki.write(".new", bytes), &file).unwrap();
        let server = stapling(&credentials, &file);
        let stapled = || this_update(&server, &pki.ca()).is_some();
        assert!(stapled());
        replace(bad);
        settles("nothing is stapled", || !stapled());
        // Not even the good one, once what replaces the bad one cannot be used.
        replace(malformed());
        settles("the log says so", || {
            assert!(!stapled());
            server.log().contains("what was read before is kept")
        });
        let log = server.log();
        let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert_eq!(errors.len(), 1, "{log}");
        assert!(errors[0].contains(words) && errors[0].contains("get another"), "{log}");
        replace(good());
        settles("a good one is stapled again", stapled);
    }
}

#[test]
fn a_response_that_has_ended_is_not_stapled_any_more() {
    let pki = Pki::new();
    let credentials = pki.with_issuer(&pki.server());
    let ends = Timestamp::now() + SignedDuration::from_secs(8);
    let file = pki.write(".ocsp", pki.ocsp(&credentials).dated(minutes(-60), ends));
    let server = stapling(&credentials, &file);
    settles("it is stapled no more", || this_update(&server, &pki.ca()).is_none());
    assert!(this_update(&server, &pki.ca()).is_none());
    settles("the log tells", || server.log().contains("is not stapled any more"));
    assert_eq!(server.log().matches("is not stapled any more").count(), 1, "{}", server.log());
    fs::write(&file, pki.ocsp(&credentials).der()).unwrap();
    settles("the new one is stapled", || this_update(&server, &pki.ca()).is_some());
}

#[test]
fn the_script_of_the_documentation_fetches_what_the_server_staples() {
    const OPERATIONS: &str = include_str!("../../docs/operations.md");
    let section = OPERATIONS.split_once("\n### Stapling\n").unwrap().1;
    let script = section.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    assert!(script.contains("openssl ocsp"), "{script}");
    let pki = Pki::new();
    let script = pki.write(".sh", script);
    // A responder: the answer is one that was made before.
    let answer = Arc::new(std::sync::Mutex::new(Vec::new()));
    let said = Arc::clone(&answer);
    let responder = ScriptedServer::tcp(move |tcp| {
        let head = sealpair_tests::peers::read_head(tcp).unwrap_or_default();
        assert!(head.starts_with("POST / HTTP/1."), "{head}");
        let body = said.lock().unwrap().clone();
        let head = format!(
            "HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        tcp.write_all(&[head.into_bytes(), body].concat()).unwrap();
        // What it has asked is not read: closing now would reset the connection.
        let _ = tcp.read_to_end(&mut Vec::new());
    });
    let url = format!("http://127.0.0.1:{}/", responder.port());
    let server = pki.issue_asking(Issue::MustStaple, Some(&url));
    let file = pki.path(".ocsp");
    let fetch = || {
        let run = Run::new(std::process::Command::new("/bin/sh")).arg(&script);
        run.arg(pki.ca()).arg(&server.cert).arg(&file).run()
    };
    // It does not take everything for an answer.
    *answer.lock().unwrap() = TRY_LATER.to_vec();
    assert_ne!(fetch().code(), Some(0));
    assert!(!file.exists());
    // Nor is what says anything else than good a success, and cron has something to mail.
    for bad in [pki.ocsp(&server).revoked().der(), pki.ocsp(&server).unknown().der()] {
        *answer.lock().unwrap() = bad;
        let ended = fetch();
        assert_ne!(ended.code(), Some(0), "{ended}");
        assert!(ended.stderr.contains("not good"), "{ended}");
    }
    *answer.lock().unwrap() = pki.ocsp(&server).der();
    let ended = fetch().expect_success();
    assert!(ended.stdout.is_empty() && ended.stderr.is_empty(), "{ended}");
    let ours = stapling(&pki.with_issuer(&server), &file);
    get(&ours.url("/a"), &pki.ca(), &["--require-revocation"]).expect_success();
}
