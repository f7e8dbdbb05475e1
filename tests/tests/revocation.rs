//! Whether certificates are revoked, on both ends: stapled OCSP responses and `--require-revocation`. What
//! revocation lists do without it is in `client_certificates` and `server_tls`.

#![allow(clippy::unwrap_used, missing_docs)]

use jiff::{SignedDuration, Timestamp};
use openssl::ssl::SslVersion;
use sealpair_common::tls::{ClientTls, Patience, Reason, ServerName};
use sealpair_tests::ocsp::{TRY_LATER, malformed};
use sealpair_tests::pki::days;
use sealpair_tests::{
    Credentials, Ended, Issue, OpensslServer, Pki, Run, ScriptedServer, SealpairServer, settles,
};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

fn get(url: &str, ca: &Path, more: &[&str]) -> Ended {
    Run::of("sealpair").args(["get", url, "--ca"]).arg(ca).args(more).run()
}

/// A refusal has three lines: what, which, what to do.
#[track_caller]
fn explained(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.stderr.lines().count(), 3, "{ended}");
    assert!(ended.stdout.is_empty(), "{ended}");
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is missing: {ended}");
    }
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

/// What the client makes of a staple, in both versions of TLS; the server must have seen the right alert.
#[track_caller]
fn refused(server: &Credentials, staple: &[u8], words: &[&str]) {
    for version in VERSIONS {
        let peer = ScriptedServer::stapling(server, staple.to_vec(), version, HELLO);
        let ended = get(&peer.url("/"), &server.ca, &[]).expect_code(13);
        explained(&ended, words);
        explained(&ended, &["certificate 0 of the chain", "OCSP"]);
        assert!(peer.requests().is_empty());
        settles("the server has the alert", || {
            peer.failures().iter().any(|text| text.contains("bad certificate status response"))
        });
    }
}

#[test]
fn a_good_response_is_noted_with_its_times() {
    let pki = Pki::new();
    let server = pki.server();
    for version in VERSIONS {
        let staple = pki.ocsp(&server).der();
        let peer = ScriptedServer::stapling(&server, staple, version, HELLO);
        let ended = get(&peer.url("/"), &pki.ca(), &["--json", "-o", "/dev/null"]);
        let ocsp = ended.expect_success().json()["tls"]["ocsp"].clone();
        assert_eq!(ocsp["status"], "good");
        let time = |name: &str| ocsp[name].as_str().unwrap().parse::<Timestamp>().unwrap();
        let [this, next] = ["this_update", "next_update"].map(time);
        // `openssl ocsp` asks for the time twice, and a second may begin in between.
        let beyond = next.duration_since(this) - SignedDuration::from_hours(24);
        assert!((0..=2).contains(&beyond.as_secs()), "{this} {next}");
        assert!(ocsp["problem"].is_null());
        let ended = get(&peer.url("/"), &pki.ca(), &["-v", "--require-revocation"]);
        let said = ended.expect_success().stderr;
        assert!(said.contains("* OCSP response: good, this update 20"), "{said}");
    }
}

#[test]
fn a_certificate_that_the_response_revokes_is_13() {
    let pki = Pki::new();
    let server = pki.server();
    let staple = pki.ocsp(&server).revoked().der();
    let words = ["is revoked", "2024-01-01T00:00:00Z (keyCompromise)", "this update 20"];
    refused(&server, &staple, &words);
    let peer = ScriptedServer::stapling(&server, staple, SslVersion::TLS1_3, HELLO);
    let error =
        get(&peer.url("/"), &pki.ca(), &["--json", "-o", "/dev/null"]).expect_code(13).json();
    assert_eq!(error["error"]["kind"], "certificate-revoked");
    assert_eq!(error["error"]["detail"]["ocsp"]["status"], "revoked");
    assert!(error["error"]["detail"]["ocsp"]["next_update"].is_string());
}

#[test]
fn a_response_that_does_not_know_the_certificate_is_13() {
    let pki = Pki::new();
    let server = pki.server();
    let staple = pki.ocsp(&server).unknown().der();
    refused(&server, &staple, &["cannot be determined", "does not know the certificate"]);
}

#[test]
fn a_response_of_another_time_is_13_and_points_at_the_clock() {
    let pki = Pki::new();
    let server = pki.server();
    let stale = pki.ocsp(&server).dated(days(-8), days(-1));
    refused(&server, &stale, &["it has ended", "next update", "clock", "must renew"]);
    let early = pki.ocsp(&server).dated(days(1), days(8));
    refused(&server, &early, &["of the future", "next update", "clock"]);
    // Clocks are not all the same.
    for (this, next) in [(minutes(-60), minutes(-3)), (minutes(3), minutes(60))] {
        let staple = pki.ocsp(&server).dated(this, next);
        let peer = ScriptedServer::stapling(&server, staple, SslVersion::TLS1_3, HELLO);
        get(&peer.url("/"), &pki.ca(), &[]).expect_success();
    }
}

#[test]
fn a_response_for_another_certificate_is_13() {
    let pki = Pki::new();
    let (server, other) = (pki.server(), pki.server());
    // Of another authority, with everything in it right, too.
    let foreign = Pki::new();
    for response in [pki.ocsp(&other).der(), foreign.ocsp(&foreign.server()).der()] {
        // The `openssl` program staples what it is told; OpenSSL 3.6 as a library does not.
        let file = pki.write(".der", response);
        let more = ["-status_file", file.to_str().unwrap()];
        let peer = OpensslServer::start(&server, pki.dir(), &more);
        let ended = get(&peer.url("/"), &server.ca, &[]).expect_code(13);
        explained(&ended, &["it is for another certificate", "certificate 0 of the chain", "OCSP"]);
    }
}

#[test]
fn a_response_that_the_issuer_has_not_signed_is_13() {
    let (pki, foreign) = (Pki::new(), Pki::new());
    let server = pki.server();
    let foreign_ca = Credentials { cert: foreign.ca(), key: foreign.ca_key(), ca: foreign.ca() };
    let staple = pki.ocsp(&server).signed_by(&foreign_ca).der();
    refused(&server, &staple, &["does not verify under the issuer"]);
    // Its certificate is left out, so that only its name says who it is.
    let staple = pki.ocsp(&server).signed_by(&foreign_ca).with("-resp_no_certs").der();
    refused(&server, &staple, &["OCSP response cannot be used"]);
    let responder = foreign.issue_for_ocsp(Issue::Responder);
    let staple = pki.ocsp(&server).signed_by(&responder).der();
    refused(&server, &staple, &["does not verify under the issuer"]);
}

#[test]
fn only_a_responder_that_the_issuer_has_authorised_may_sign() {
    let pki = Pki::new();
    let server = pki.server();
    for (kind, word) in [
        (Issue::NotResponder, "no id-kp-OCSPSigning"),
        (Issue::ExpiredResponder, "certificate has expired"),
        (Issue::Sha1Responder, "too weak"),
    ] {
        let staple = pki.ocsp(&server).signed_by(&pki.issue_for_ocsp(kind)).der();
        refused(&server, &staple, &[word]);
    }
    let responder = pki.issue_for_ocsp(Issue::Responder);
    for options in ["", "-sha256", "-sha1 -resp_key_id"] {
        let staple = pki.ocsp(&server).signed_by(&responder).with(options).der();
        let peer = ScriptedServer::stapling(&server, staple, SslVersion::TLS1_3, HELLO);
        get(&peer.url("/"), &pki.ca(), &["--require-revocation"]).expect_success();
    }
}

#[test]
fn a_response_that_is_signed_weakly_or_wrongly_or_is_malformed_is_13() {
    let pki = Pki::new();
    let server = pki.server();
    let weak = pki.ocsp(&server).with("-rmd sha1").der();
    refused(&server, &weak, &["its signature uses SHA1"]);
    // With RSASSA-PSS the digest stands elsewhere.
    let rsa = pki.issue_for_ocsp(Issue::RsaResponder);
    let pss = |digest: &str| {
        let options = format!("-rsigopt rsa_padding_mode:pss -rmd {digest}");
        pki.ocsp(&server).signed_by(&rsa).with(&options).der()
    };
    refused(&server, &pss("sha1"), &["its signature uses SHA1"]);
    let peer = ScriptedServer::stapling(&server, pss("sha256"), SslVersion::TLS1_2, HELLO);
    get(&peer.url("/"), &pki.ca(), &["--require-revocation"]).expect_success();
    // The last byte is one of the signature.
    let mut wrong = pki.ocsp(&server).with("-resp_no_certs").der();
    *wrong.last_mut().unwrap() ^= 1;
    refused(&server, &wrong, &["its signature is wrong"]);
    refused(&server, &malformed(), &["malformed"]);
    refused(&server, &TRY_LATER, &["tryLater"]);
}

#[test]
fn a_certificate_that_demands_a_response_is_refused_without_one() {
    let pki = Pki::new();
    let server = pki.issue_for_ocsp(Issue::MustStaple);
    for version in VERSIONS {
        let silent =
            ScriptedServer::answering(&server, HELLO, sealpair_tests::peers::Ending::Close);
        let ended = get(&silent.url("/"), &pki.ca(), &[]).expect_code(13);
        explained(&ended, &["RFC 7633", "--ocsp-response", "certificate 0"]);
        let staple = pki.ocsp(&server).der();
        let peer = ScriptedServer::stapling(&server, staple, version, HELLO);
        get(&peer.url("/"), &pki.ca(), &[]).expect_success();
    }
    // A server of ours says so before its clients do.
    let ours = SealpairServer::start(|ours| ours.identity(&server));
    settles("the log warns", || ours.log().contains("demands an OCSP response (RFC 7633)"));
    let ended = get(&ours.url("/"), &pki.ca(), &[]).expect_code(13);
    explained(&ended, &["RFC 7633"]);
    settles("the log tells", || {
        ours.log().contains("it objects to our OCSP response, or wants one")
    });
}

#[test]
fn what_is_required_must_be_proved() {
    let pki = Pki::new();
    let server = pki.server();
    let silent = ScriptedServer::answering(&server, HELLO, sealpair_tests::peers::Ending::Close);
    let with = |more: &[&str]| get(&silent.url("/"), &pki.ca(), more);
    with(&[]).expect_success();
    let ended = with(&["--require-revocation"]).expect_code(13);
    explained(&ended, &["no OCSP response", "--ocsp-response", "--crl"]);
    let [empty, full] = [pki.crl(&[]), pki.crl(&[&server])].map(|path| path.display().to_string());
    with(&["--require-revocation", "--crl", &empty]).expect_success();
    let ended = with(&["--require-revocation", "--crl", &full]).expect_code(13);
    explained(&ended, &["is revoked", "revocation list: this update 20", "next update 20"]);
    // A pin narrows trust; it proves nothing of this.
    let pin = openssl_pin(&server);
    with(&["--pin", &pin]).expect_success();
    with(&["--pin", &pin, "--require-revocation"]).expect_code(13);
    // A list does not outweigh what the response says.
    let staple = pki.ocsp(&server).revoked().der();
    let peer = ScriptedServer::stapling(&server, staple, SslVersion::TLS1_3, HELLO);
    get(&peer.url("/"), &pki.ca(), &["--crl", &empty]).expect_code(13);
    // A leaf that is trusted by itself has nobody who could vouch for it.
    let staple = pki.ocsp(&server).der();
    let peer = ScriptedServer::stapling(&server, staple, SslVersion::TLS1_3, HELLO);
    get(&peer.url("/"), &server.cert, &[]).expect_success();
    let ended = get(&peer.url("/"), &server.cert, &["--require-revocation"]).expect_code(13);
    explained(&ended, &["trusted by itself", "--ca FILE"]);
}

fn openssl_pin(server: &Credentials) -> String {
    let certificate = openssl::x509::X509::from_pem(&fs::read(&server.cert).unwrap()).unwrap();
    sealpair_common::tls::Pin::of(&certificate).unwrap().to_string()
}

#[test]
fn what_cannot_be_required_is_a_usage_error() {
    let url = "https://localhost:1/";
    for more in [&["--insecure"][..], &["--tls-backend", "platform"]] {
        let get = Run::of("sealpair").args(["get", url, "--require-revocation"]).args(more).run();
        get.expect_code(2);
    }
    let pki = Pki::new();
    for more in [&[][..], &["--client-auth", "required"]] {
        let server = SealpairServer::builder().arg("--require-revocation").args(more);
        let (ended, _) = server.refused();
        assert_eq!(ended.code(), Some(2), "{ended}");
        assert!(ended.stderr.contains("--crl"), "{ended}");
    }
    let server = SealpairServer::builder().identity(&pki.server());
    let (ended, _) =
        server.client_auth("optional", &pki.ca()).arg("--require-revocation").refused();
    assert_eq!(ended.code(), Some(2), "{ended}");
}

#[test]
fn unverified_certificates_are_not_refused_for_their_status_but_it_is_told() {
    let pki = Pki::new();
    let server = pki.server();
    for (staple, status) in [(pki.ocsp(&server).der(), "unusable"), (malformed(), "unusable")] {
        let peer = ScriptedServer::stapling(&server, staple, SslVersion::TLS1_3, HELLO);
        let run = Run::of("sealpair").args(["get", &peer.url("/"), "--insecure", "--json"]);
        let ended = run.args(["-o", "/dev/null"]).run().expect_success();
        assert_eq!(ended.json()["tls"]["ocsp"]["status"], status, "{ended}");
    }
    let whole = pki.with_issuer(&server);
    let staple = pki.ocsp(&server).revoked().der();
    let peer = ScriptedServer::stapling(&whole, staple, SslVersion::TLS1_2, HELLO);
    let run = Run::of("sealpair").args(["get", &peer.url("/"), "--insecure", "--json"]);
    let ended = run.args(["-o", "/dev/null"]).run().expect_success();
    assert_eq!(ended.json()["tls"]["ocsp"]["status"], "revoked", "{ended}");
    assert_eq!(ended.json()["tls"]["verified"], false);
}

/// Makes a request, and tells whether the session was resumed and what was stapled.
fn request(tls: &ClientTls, server: &SealpairServer) -> Result<(bool, bool), Reason> {
    let tcp = Arc::new(TcpStream::connect(server.address()).unwrap());
    let name = ServerName::parse("localhost").unwrap();
    let mut stream =
        tls.connect(tcp, &name, Patience::Forever).map_err(|failure| failure.reason())?;
    let session = stream.session();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    // Tickets come with it.
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    Ok((session.resumed, session.ocsp.is_some()))
}

#[test]
fn what_must_be_proved_is_proved_in_every_handshake() {
    let pki = Pki::new();
    let credentials = pki.with_issuer(&pki.server());
    let server = stapling(&credentials, &pki.ocsp(&credentials).file());
    let client = || ClientTls::builder().trust_file(pki.ca());
    let loose = client().build().unwrap();
    assert_eq!(request(&loose, &server), Ok((false, true)));
    assert_eq!(request(&loose, &server), Ok((true, false)), "a resumed session brings no status");
    // Also where the certificate demands a response: the session had one.
    let demanding = pki.with_issuer(&pki.issue_for_ocsp(Issue::MustStaple));
    let stapler = stapling(&demanding, &pki.ocsp(&demanding).file());
    assert_eq!(request(&loose, &stapler), Ok((false, true)));
    assert_eq!(request(&loose, &stapler), Ok((true, false)));
    let run = stapler.s_client().args(["-tls1_2", "-status", "-reconnect"]).run();
    let said = run.expect_success().text();
    assert!(said.contains("Reused, TLSv1.2"), "{said}");
    let strict = client().require_revocation().build().unwrap();
    for _ in 0..2 {
        assert_eq!(request(&strict, &server), Ok((false, true)));
    }
}

#[test]
fn a_server_that_requires_proof_of_its_clients_resumes_nothing() {
    let pki = Pki::new();
    let alice = pki.client("alice");
    for (flags, resumed) in [(&[][..], true), (&["--require-revocation"], false)] {
        let server = SealpairServer::start(|server| {
            let server = server.identity(&pki.server()).client_auth("required", &pki.ca());
            server.arg("--crl").arg(pki.crl(&[])).args(flags).file("a", "hello")
        });
        let client = ClientTls::builder().trust_file(pki.ca());
        let client = client.identity_pem(&alice.cert, &alice.key).build().unwrap();
        assert_eq!(request(&client, &server), Ok((false, false)));
        assert_eq!(request(&client, &server), Ok((resumed, false)));
        // TLS 1.2 has tickets of its own.
        let run = server.s_client().args(["-tls1_2", "-reconnect", "-cert"]).arg(&alice.cert);
        let said = run.arg("-key").arg(&alice.key).run().expect_success().text();
        assert_eq!(said.contains("Reused, TLSv1.2"), resumed, "{said}");
    }
}

#[test]
fn a_list_with_a_weak_signature_is_3_on_both_ends_and_so_is_one_that_the_policy_does_not_allow() {
    let pki = Pki::new();
    let server = pki.server();
    let peer = SealpairServer::start(|builder| builder.identity(&server).file("a", "hello"));
    let client = |list: &Path, policy: &str| {
        let list = list.to_str().unwrap();
        get(&peer.url("/a"), &pki.ca(), &["--crl", list, "--policy", policy])
    };
    let list = pki.crl_signed_with("sha1", &[]);
    let words = [list.to_str().unwrap(), "proves nothing", "its signature uses SHA1"];
    explained(&client(&list, "intermediate").expect_code(3), &words);
    let start = SealpairServer::builder().identity(&server).client_auth("required", &pki.ca());
    let (ended, _) = start.arg("--crl").arg(&list).refused();
    assert_eq!(ended.code(), Some(3), "{ended}");
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is missing: {ended}");
    }
    let list = pki.crl_signed_with("sha256", &[]);
    client(&list, "intermediate").expect_success();
    let words = ["SHA256", "allows SHA384, SHA512", "policy: cnsa1"];
    explained(&client(&list, "cnsa1").expect_code(3), &words);
}
