//! Post-quantum key exchange and certificates, with OpenSSL 3.5 or later as the peer.
//!
//! What they need is in OpenSSL from 3.5 on, so each test has two halves: with it, that it works; without
//! it, that what cannot be had is refused with the reason, and nothing else suffers.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::peers::{fips_settings, newer_openssl, s_client};
use sealpair_tests::{Credentials, Ended, OpensslServer, Pki, Run, SealpairServer, settles};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const HYBRIDS: [&str; 2] = ["X25519MLKEM768", "SecP256r1MLKEM768"];

/// Whether the programs' OpenSSL, which is also this test's, has ML-KEM and ML-DSA.
fn has_post_quantum() -> bool {
    ::openssl::version::number() >= 0x3050_0000
}

/// A download with `sealpair get --json`.
fn get(url: String, ca: &Path, dir: &Path) -> Ended {
    let run = Run::of("sealpair").args(["get", "--json", "-o", "got", &url, "--ca"]).arg(ca);
    run.current_dir(dir).run()
}

#[test]
fn our_ends_agree_on_a_hybrid_where_openssl_has_one() {
    for policy in ["intermediate", "modern"] {
        let server = SealpairServer::start(|server| {
            server.file("a", "A").args([
                "--policy",
                policy,
                "--access-log",
                "-",
                "--access-log-format",
                "json",
            ])
        });
        let got = get(server.url("/a"), &server.ca(), server.dir()).expect_success().json();
        let group = if has_post_quantum() { "X25519MLKEM768" } else { "X25519" };
        assert_eq!(got["tls"]["group"], group, "{got}");
        settles("the server says the same", || {
            server.stdout().contains(&format!(r#""group":"{group}""#))
        });
    }
}

#[test]
fn our_server_takes_the_hybrids_of_another_client() {
    let server = SealpairServer::start(|server| server.file("a", "A"));
    let address = server.address().to_string();
    let ask = |groups: &str| {
        s_client(newer_openssl(), &address, &server.ca()).args(["-groups", groups]).run()
    };
    for group in HYBRIDS {
        // How s_client names what was agreed on.
        let hybrid = format!("Negotiated TLS1.3 group: {group}\n");
        let alone = ask(group);
        let text = ask(&format!("{group}:X25519")).expect_success().text();
        if has_post_quantum() {
            let alone = alone.expect_success().text();
            assert!(alone.contains(&hybrid) && text.contains(&hybrid), "{alone} {text}");
        } else {
            assert!(alone.expect_code(1).stderr.contains("alert handshake failure"));
            // The hybrid's key share is wasted on a server that does not know it, and no more.
            assert!(text.contains("Peer Temp Key: X25519,"), "{text}");
        }
    }
    if has_post_quantum() {
        // A key share for X25519 only: the hybrid is worth a second round trip to us.
        let text = ask("SecP256r1MLKEM768:*X25519").expect_success().text();
        assert!(text.contains("Negotiated TLS1.3 group: SecP256r1MLKEM768\n"), "{text}");
    } else {
        settles("the log tells", || server.log().matches("group").count() == HYBRIDS.len());
    }
}

#[test]
fn our_client_takes_the_hybrids_of_another_server() {
    let pki = Pki::new();
    let credentials = pki.server();
    fs::write(pki.dir().join("a"), "A").unwrap();
    let get = |groups: &str| {
        let more = ["-groups", groups];
        let server = OpensslServer::start_with(newer_openssl(), &credentials, pki.dir(), &more);
        get(server.url("/a"), &pki.ca(), pki.dir())
    };
    for group in HYBRIDS {
        let got = get(group);
        if has_post_quantum() {
            assert_eq!(got.expect_success().json()["tls"]["group"], group);
        } else {
            let error = &got.expect_code(8).json()["error"];
            assert!(error["message"].as_str().unwrap().contains("in common"), "{error}");
        }
        let got = get(&format!("{group}:X25519")).expect_success().json();
        // A server that ranks all its groups alike takes one that it has a key share for.
        let agreed = if has_post_quantum() && group == HYBRIDS[0] { group } else { "X25519" };
        assert_eq!(got["tls"]["group"], agreed);
    }
}

/// `sealpair cert` in a directory of its own.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn cert(&self, line: &str) -> Run {
        let run = Run::of("sealpair").arg("cert").args(line.split_whitespace());
        run.current_dir(self.0.path())
    }

    fn peer(&self, line: &str) -> Run {
        newer_openssl().args(line.split_whitespace()).current_dir(self.0.path())
    }

    /// What `cert show` says of the first certificate of a file.
    fn kinds(&self, file: &str) -> [String; 2] {
        let shown = self.cert(&format!("show --json {file}")).run().expect_success().json();
        let first = &shown["certificates"][0];
        ["key", "signature_algorithm"].map(|name| first[name].as_str().unwrap().to_owned())
    }

    /// It was refused for want of the algorithm, and left nothing.
    #[track_caller]
    fn unavailable(&self, run: Run, before: &[&str]) {
        let ended = run.arg("--json").run().expect_code(3);
        let error = &ended.json()["error"];
        assert_eq!(error["kind"], "algorithm-unavailable", "{ended}");
        for part in ["ML-DSA-87", "OpenSSL 3.5", ::openssl::version::version()] {
            assert!(error.to_string().contains(part), "{part}: {ended}");
        }
        let mut left: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, before, "{ended}");
    }
}

#[test]
fn ml_dsa_87_certificates_serve_another_openssl() {
    let here = Certificates::new();
    if !has_post_quantum() {
        here.unavailable(here.cert("init --dir ca --key-type mldsa87"), &[]);
        here.cert("init").run().expect_success();
        let issue = here.cert("issue localhost --out server --key-type mldsa87");
        here.unavailable(issue, &["ca.key", "ca.pem"]);
        return;
    }
    here.cert("init --key-type mldsa87").run().expect_success();
    let issue = "issue localhost 127.0.0.1 --out server --key-type mldsa87";
    here.cert(issue).run().expect_success();
    here.cert("issue --client alice --out alice --key-type mldsa87").run().expect_success();
    for name in ["ca", "server", "alice"] {
        assert_eq!(here.kinds(&format!("{name}.pem")), ["ML-DSA-87", "ML-DSA-87"]);
        let mode = fs::metadata(here.path(&format!("{name}.key"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let key = here.peer(&format!("pkey -check -noout -text -in {name}.key")).run();
        let text = key.expect_success().text();
        assert!(text.contains("Key is valid") && text.contains("ML-DSA-87 Private-Key"), "{text}");
    }
    here.cert("check server.pem").run().expect_success();
    for (purpose, name) in [("sslserver", "server"), ("sslclient", "alice")] {
        let verify = "verify -x509_strict -check_ss_sig -CAfile ca.pem -purpose";
        here.peer(&format!("{verify} {purpose} {name}.pem")).run().expect_success();
    }
    // RFC 9881, section 3: the algorithm has no parameters.
    let text = here.peer("asn1parse -in server.pem").run().expect_success().text();
    let after = text.lines().skip_while(|line| !line.ends_with(":ML-DSA-87")).nth(1).unwrap();
    assert!(!after.contains("NULL"), "{text}");

    let credentials = Credentials {
        cert: here.path("server.pem"),
        key: here.path("server.key"),
        ca: here.path("ca.pem"),
    };
    let more = ["-Verify", "1", "-verify_return_error", "-CAfile", "ca.pem"];
    let server = OpensslServer::start_with(newer_openssl(), &credentials, here.0.path(), &more);
    let address = format!("127.0.0.1:{}", server.port());
    let client = s_client(newer_openssl(), &address, &credentials.ca);
    let client = client.arg("-cert").arg(here.path("alice.pem"));
    let client = client.arg("-key").arg(here.path("alice.key")).args(["-ign_eof"]);
    let text = client.input("GET /server.pem HTTP/1.0\r\n\r\n").run().expect_success().text();
    assert!(text.contains("Peer signature type: mldsa87"), "{text}");
    assert!(text.contains("Verification: OK") && text.contains("-----BEGIN CERTIFICATE"), "{text}");
    settles("the server has verified the client", || server.log().contains("CN=alice"));
}

#[test]
fn an_ml_dsa_authority_of_another_openssl_is_named_and_used_where_it_can_be() {
    let here = Certificates::new();
    here.peer(
        "req -x509 -newkey ML-DSA-87 -noenc -keyout ca.key -out ca.pem -days 30 -subj /CN=Other \
         -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign",
    )
    .run()
    .expect_success();
    assert_eq!(here.kinds("ca.pem"), ["ML-DSA-87", "ML-DSA-87"]);
    here.cert("check --within 1d ca.pem").run().expect_success();
    let issue = here.cert("issue localhost --out server");
    if !has_post_quantum() {
        here.unavailable(issue, &["ca.key", "ca.pem"]);
        return;
    }
    issue.run().expect_success();
    assert_eq!(here.kinds("server.pem"), ["EC P-256", "ML-DSA-87"]);
    here.peer("verify -x509_strict -CAfile ca.pem server.pem").run().expect_success();
    // The smaller ones are not made here, but what has them can be used.
    for size in ["44", "65"] {
        here.peer(&format!(
            "req -x509 -newkey ML-DSA-{size} -noenc -keyout {size}.key -out {size}.pem -days 30 \
             -subj /CN=Other -addext basicConstraints=critical,CA:TRUE \
             -addext keyUsage=critical,keyCertSign"
        ))
        .run()
        .expect_success();
        let issue = format!("issue localhost --ca {size}.pem --ca-key {size}.key --out by{size}");
        here.cert(&issue).run().expect_success();
        assert_eq!(here.kinds(&format!("by{size}.pem"))[1], format!("ML-DSA-{size}"));
        let verify = format!("verify -x509_strict -CAfile {size}.pem by{size}.pem");
        here.peer(&verify).run().expect_success();
    }
}

#[test]
fn a_fips_provider_with_ml_dsa_is_enough_for_a_new_openssl_and_not_for_an_old_one() {
    let here = Certificates::new();
    let in_fips = |line: &str| {
        fips_settings().into_iter().fold(here.cert(line), |run, (name, value)| run.env(name, value))
    };
    // With these settings there is a provider that signs and makes keys, whatever OpenSSL calls it.
    in_fips("init --dir p384 --key-type p384").run().expect_success();
    let init = in_fips("init --key-type mldsa87");
    if has_post_quantum() {
        init.run().expect_success();
        here.peer("verify -x509_strict -CAfile ca.pem ca.pem").run().expect_success();
    } else {
        here.unavailable(init, &["p384"]);
    }
}
