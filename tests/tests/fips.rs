//! `--fips` and the policies `fips`, `cnsa1` and `cnsa2`, with a real FIPS provider (scripts/fips-provider)
//! and with ones that are broken in every way.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::ssl::{Ssl, SslContext, SslFiletype, SslMethod, SslOptions, SslVersion};
use sealpair_common::pki::{KeyAlgorithm, LeafRequest};
use sealpair_tests::fips::{sealpair_with_module, with_module};
use sealpair_tests::peers::fips_settings;
use sealpair_tests::pki::days;
use sealpair_tests::{
    Ended, Pki, RawClient, Run, SealpairServer, ServerBuilder, curl, openssl, settles,
};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;

/// SSL_OP_NO_EXTENDED_MASTER_SECRET of <openssl/ssl.h>, which the `openssl` crate does not name.
const NO_EXTENDED_MASTER_SECRET: SslOptions = SslOptions::from_bits_retain(1);

fn server(flags: &[&str]) -> SealpairServer {
    SealpairServer::start(|server| with_module(server).file("a", "A").writable().args(flags))
}

fn get(server: &SealpairServer, flags: &[&str]) -> Ended {
    let run = sealpair_with_module()
        .args(["get", "--json", "-o", "/dev/null", &server.url("/a")])
        .args(flags);
    run.arg("--ca").arg(server.ca()).run()
}

#[test]
fn both_ends_transfer_with_the_module_and_say_so() {
    let server = server(&["--fips", "--management", "127.0.0.1:0"]);
    let module = &server.ready()["fips"];
    assert_eq!(module["name"], "OpenSSL FIPS Provider");
    assert!(module["version"].as_str().unwrap().starts_with("3."), "{module}");
    let got = get(&server, &["--fips"]).expect_success().json();
    assert_eq!(got["tls"]["fips"], *module);
    let group = got["tls"]["group"].as_str().unwrap();
    assert!(!group.eq_ignore_ascii_case("x25519"), "{group} is not approved");
    assert!(!got["tls"]["suite"].as_str().unwrap().contains("CHACHA20"));
    fs::write(server.dir().join("up"), "B").unwrap();
    let put = sealpair_with_module().arg("put").arg(server.dir().join("up")).arg(server.url("/b"));
    let put = put.arg("--fips").arg("--ca").arg(server.ca()).run().expect_success();
    let version = module["version"].as_str().unwrap();
    assert!(put.stderr.contains(&format!("OpenSSL FIPS Provider {version}")), "{put}");
    assert_eq!(fs::read(server.root().join("b")).unwrap(), b"B");
    let metrics = format!("http://{}/metrics", server.ready()["management"].as_str().unwrap());
    let metrics = curl().arg(metrics).run().expect_success().text();
    let line = format!(r#"name="OpenSSL FIPS Provider",version="{version}"}} 1"#);
    assert!(metrics.contains(&line), "{metrics}");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_newer_module_brings_post_quantum_key_exchange_to_an_older_library() {
    let names = openssl_list_kems();
    let server = server(&["--policy", "fips"]);
    let got = get(&server, &["--policy", "fips"]).expect_success().json();
    let expected = if names.contains("X25519MLKEM768") { "X25519MLKEM768" } else { "secp256r1" };
    assert_eq!(got["tls"]["group"], expected, "the module has: {names}");
}

/// What the module has, by the word of the `openssl` program.
fn openssl_list_kems() -> String {
    let run = openssl().args(["list", "-kem-algorithms"]).envs(fips_settings());
    run.run().expect_success().text()
}

#[test]
fn a_module_goes_with_every_policy() {
    for policy in ["intermediate", "modern", "fips", "cnsa1"] {
        let flags = ["--policy", policy, "--fips"];
        let server = server(&flags);
        assert_eq!(server.ready()["policy"], policy);
        assert!(server.ready()["fips"].is_object());
        let got = get(&server, &flags).expect_success().json();
        assert!(got["tls"]["fips"].is_object(), "{policy}: {got}");
    }
}

#[test]
fn cnsa1_works_without_a_module_and_is_what_it_says() {
    let server = SealpairServer::start(|server| server.file("a", "A").args(["--policy", "cnsa1"]));
    let run = Run::of("sealpair").args(["get", "--json", "-o", "/dev/null", &server.url("/a")]);
    let got = run.args(["--policy", "cnsa1"]).arg("--ca").arg(server.ca()).run();
    let got = got.expect_success().json();
    assert_eq!(got["tls"]["suite"], "TLS_AES_256_GCM_SHA384");
    assert_eq!(got["tls"]["group"], "secp384r1");
    assert_eq!(got["tls"]["signature"], "ecdsa_secp384r1_sha384");
    assert!(got["tls"]["fips"].is_null());
    let curl = |curves| server.curl().args(["--curves", curves, &server.url("/a")]).run();
    curl("P-384").expect_success();
    curl("P-256").expect_code(35);
}

#[test]
fn cnsa2_is_served_where_openssl_has_it_and_refused_by_name_where_it_has_not() {
    let start = |server: ServerBuilder| server.file("a", "A").args(["--policy", "cnsa2"]);
    if ::openssl::version::number() >= 0x3050_0000 {
        let server = SealpairServer::start(start);
        let run = Run::of("sealpair").args(["get", "--json", "-o", "/dev/null", &server.url("/a")]);
        let got = run.args(["--policy", "cnsa2"]).arg("--ca").arg(server.ca()).run();
        let got = got.expect_success().json();
        assert_eq!(got["tls"]["group"], "MLKEM1024");
        assert_eq!(got["tls"]["signature"], "mldsa87");
        assert_eq!(got["tls"]["suite"], "TLS_AES_256_GCM_SHA384");
    } else {
        let (ended, left) = SealpairServer::builder().args(["--policy", "cnsa2"]).refused();
        let ended = ended.expect_code(3);
        for word in ["cnsa2", "MLKEM1024", "mldsa87", "3.0"] {
            assert!(ended.stderr.contains(word), "{word}: {ended}");
        }
        assert!(!left.state().exists(), "no authority is left behind");
    }
}

#[test]
fn what_is_not_approved_is_refused_and_both_lists_are_named() {
    let server = server(&["--fips"]);
    let ask = |flags: &[&str]| server.curl().args(flags).arg(server.url("/a")).run();
    ask(&["--curves", "P-256"]).expect_success();
    ask(&["--curves", "X25519"]).expect_code(35);
    settles("the log names what either side has", || {
        let log = server.log();
        log.contains("the client offers X25519") && log.contains("we take X25519MLKEM768")
    });
    ask(&["--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256", "--tlsv1.3"]).expect_code(35);
    let old = ["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"];
    ask(&old).expect_code(35);
    settles("the log names the suites", || {
        server.log().contains("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256; we take")
    });
}

#[test]
fn a_tls_1_2_client_needs_the_extended_master_secret() {
    for flags in [&["--fips"][..], &["--policy", "fips"]] {
        let server = server(flags);
        let tls = |options: SslOptions| {
            RawClient::context(&server, |tls| {
                tls.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
                tls.set_options(options);
            })
        };
        let mut good = RawClient::over(server.tcp(), &tls(SslOptions::empty()));
        assert_eq!(good.get("/a").status, 200);
        let refused = RawClient::try_over(server.tcp(), &tls(NO_EXTENDED_MASTER_SECRET));
        // The alert is the one that RFC 7627 asks for, and not internal_error.
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("handshake failure"), "{error}");
        settles("the log says why", || server.log().contains("extended master secret"));
        // TLS 1.3 has no such thing, and needs none.
        let tls = RawClient::context(&server, |tls| {
            tls.set_options(NO_EXTENDED_MASTER_SECRET);
        });
        assert_eq!(RawClient::over(server.tcp(), &tls).get("/a").status, 200);
    }
    let lenient = SealpairServer::start(|server| server.file("a", "A"));
    let tls = RawClient::context(&lenient, |tls| {
        tls.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        tls.set_options(NO_EXTENDED_MASTER_SECRET);
    });
    assert_eq!(RawClient::over(lenient.tcp(), &tls).get("/a").status, 200, "elsewhere it may lack");
}

#[test]
fn a_tls_1_2_server_needs_the_extended_master_secret() {
    let pki = Pki::new();
    let credentials = pki.server();
    let mut tls = SslContext::builder(SslMethod::tls_server()).unwrap();
    tls.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    tls.set_options(NO_EXTENDED_MASTER_SECRET);
    tls.set_certificate_chain_file(&credentials.cert).unwrap();
    tls.set_private_key_file(&credentials.key, SslFiletype::PEM).unwrap();
    let tls = tls.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let tcp = listener.accept().unwrap().0;
        let _ = Ssl::new(&tls).unwrap().accept(tcp);
    });
    let ended = sealpair_with_module().args(["get", &url, "--fips", "--ca"]).arg(pki.ca()).run();
    let ended = ended.expect_code(8);
    assert!(ended.stderr.contains("extended master secret (RFC 7627)"), "{ended}");
    serving.join().unwrap();
}

#[test]
fn weak_certificates_are_refused_when_they_are_loaded() {
    let pki = Pki::new();
    let weak = |arguments: &str, name: &str| {
        let (cert, key) = (pki.path(".pem"), pki.path(".key"));
        let line = format!(
            "req -x509 -newkey {arguments} -nodes -days 9 -subj /CN={name} -keyout {} -out {}",
            key.display(),
            cert.display()
        );
        openssl().args(line.split(' ')).run().expect_success();
        sealpair_tests::Credentials { ca: cert.clone(), cert, key }
    };
    let rsa = weak("rsa:1024", "short");
    let ed25519 = weak("ed25519", "edwards");
    let sha1 = with_sha1(&pki);
    let long = pki.issue(&LeafRequest::server(["localhost"]).unwrap().not_after(days(400)));
    let p521 = LeafRequest::server(["localhost"]).unwrap().key_algorithm(KeyAlgorithm::P521);
    let p521 = pki.issue(&p521);
    for (credentials, flags, words) in [
        (&rsa, &["--policy", "fips"][..], "RSA key of 1024 bits"),
        (&rsa, &["--policy", "intermediate"], "RSA key of 1024 bits"),
        (&ed25519, &["--policy", "fips"], "Ed25519"),
        (&sha1, &["--policy", "intermediate"], "signed with ecdsa-with-SHA1"),
        (&long, &["--policy", "intermediate"], "valid for 400 days"),
        (&p521, &["--policy", "cnsa1"], "secp521r1"),
    ] {
        // The module's configuration has nothing but the module, which the other policies are not for.
        let server = match flags {
            ["--policy", "fips"] => with_module(SealpairServer::builder()),
            _ => SealpairServer::builder(),
        };
        let (ended, _) = server.identity(credentials).args(flags).refused();
        let ended = ended.expect_code(3);
        assert!(ended.stderr.contains(words), "{words}: {ended}");
        assert!(ended.stderr.contains(credentials.cert.to_str().unwrap()), "{ended}");
    }
}

#[test]
fn certificates_may_not_be_left_unverified() {
    for flags in [&["--fips"][..], &["--policy", "fips"], &["--policy", "cnsa1"]] {
        let run =
            sealpair_with_module().args(["get", "https://localhost:1/", "--insecure"]).args(flags);
        let ended = run.run().expect_code(2);
        assert!(ended.stderr.contains("unverified"), "{ended}");
    }
    let run = sealpair_with_module().args(["get", "https://localhost:1/", "--fips"]);
    run.args(["--tls-backend", "platform"]).run().expect_code(2);
}

#[test]
fn a_pkcs12_file_is_not_made_with_a_module_and_that_is_3() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    sealpair_with_module()
        .args(["cert", "init", "--dir"])
        .arg(directory.path())
        .run()
        .expect_success();
    fs::write(path("pass"), "long enough to be one\n").unwrap();
    let issue = || {
        let run =
            sealpair_with_module().args(["cert", "issue", "localhost", "--ca"]).arg(path("ca.pem"));
        run.arg("--ca-key").arg(path("ca.key")).arg("--out").arg(path("server"))
    };
    let run = issue().arg("--pkcs12").arg(path("server.p12"));
    let ended = run.arg("--pkcs12-pass-file").arg(path("pass")).run().expect_code(3);
    assert!(ended.stderr.contains("not possible with a FIPS module"), "{ended}");
    assert!(ended.stderr.contains("Leave out --pkcs12"), "{ended}");
    issue().run().expect_success();
}

#[test]
fn an_rsa_authority_is_good_for_cnsa1() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let cert = |arguments: &[&str]| Run::of("sealpair").arg("cert").args(arguments);
    let init = cert(&["init", "--key-type", "rsa3072", "--dir"]).arg(directory.path());
    init.run().expect_success();
    let issue = cert(&["issue", "localhost", "--key-type", "p384", "--ca"]).arg(path("ca.pem"));
    let issue = issue.arg("--ca-key").arg(path("ca.key")).arg("--out").arg(path("server"));
    issue.run().expect_success();
    let (cert, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
    let credentials = sealpair_tests::Credentials { cert, key, ca };
    let server = SealpairServer::start(|server| {
        server.identity(&credentials).args(["--policy", "cnsa1"]).file("a", "A")
    });
    let get = Run::of("sealpair").args(["get", &server.url("/a"), "--policy", "cnsa1", "--ca"]);
    get.arg(&credentials.ca).run().expect_success();
}

#[test]
fn fips_shows_the_module_and_what_it_was_proved_by() {
    let shown =
        sealpair_with_module().args(["fips", "--json", "--require"]).run().expect_success().json();
    assert_eq!(shown["schema"], "sealpair.fips/1");
    assert_eq!(shown["active"], true);
    assert_eq!(shown["module"]["name"], "OpenSSL FIPS Provider");
    assert_eq!(shown["module"]["self_test"], "passed");
    let algorithms = shown["module"]["algorithms"].as_array().unwrap();
    assert!(algorithms.len() >= 16);
    assert!(algorithms.iter().all(|algorithm| algorithm["provider"] == "fips"), "{shown}");
    assert_eq!(shown["module"]["refused"][0], "MD5");
    assert_eq!(shown["cmvp"]["as_of"].as_str().unwrap().len(), 10);
    let policies = shown["policies"].as_array().unwrap();
    let available = |name: &str| {
        policies.iter().find(|policy| policy["policy"] == name).unwrap()["available"].clone()
    };
    assert!(["intermediate", "modern", "fips", "cnsa1"].iter().all(|name| available(name) == true));
    let text = sealpair_with_module().arg("fips").run().expect_success().text();
    for word in ["proved: OpenSSL FIPS Provider", "CMVP:", "Refused:", "ChaCha20"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // The version that is said to be there is the module's own word for itself, to others, too.
    let list = openssl().args(["list", "-providers"]).envs(fips_settings());
    let version = shown["module"]["version"].as_str().unwrap();
    assert!(list.run().expect_success().text().contains(&format!("version: {version}")));
}

#[test]
fn what_a_module_cannot_decrypt_is_not_a_wrong_passphrase() {
    let pki = Pki::new();
    let archive = pki.client_pkcs12("right");
    let pass = pki.write(".pass", "right");
    let run = sealpair_with_module().args(["get", "https://localhost:1/", "--fips", "--pkcs12"]);
    let ended = run.arg(archive).arg("--key-pass-file").arg(pass).run().expect_code(3);
    assert!(ended.stderr.contains("the FIPS module, does not have"), "{ended}");
}

#[test]
fn under_a_module_every_policy_takes_only_approved_certificates() {
    let pki = Pki::new();
    let path = |suffix| pki.path(suffix).display().to_string();
    let (ca, ca_key, cert, key, request) =
        (path(".pem"), path(".key"), path(".pem"), path(".key"), path(".csr"));
    let names = pki.write(".cnf", "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n");
    for line in [
        format!(
            "req -x509 -newkey ed25519 -nodes -days 9 -subj /CN=root -keyout {ca_key} -out {ca}"
        ),
        format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=a -keyout {key} -out {request}"
        ),
        format!(
            "x509 -req -days 9 -in {request} -CA {ca} -CAkey {ca_key} -extfile {} -out {cert}",
            names.display()
        ),
    ] {
        openssl().args(line.split(' ')).run().expect_success();
    }
    let credentials = sealpair_tests::Credentials {
        ca: PathBuf::from(&ca),
        cert: PathBuf::from(&cert),
        key: PathBuf::from(&key),
    };
    let server = SealpairServer::start(|server| server.identity(&credentials).file("a", "A"));
    let url = server.url("/a");
    let plain = Run::of("sealpair").args(["get", &url, "--ca", &ca]).run();
    plain.expect_success();
    let ended =
        sealpair_with_module().args(["get", &url, "--fips", "--ca", &ca]).run().expect_code(14);
    assert!(ended.stderr.contains("Ed25519"), "{ended}");
}

/// A certificate of an authority that still signs with SHA-1. (A signature that an end has made itself says
/// nothing.)
fn with_sha1(pki: &Pki) -> sealpair_tests::Credentials {
    let (cert, key, request) = (pki.path(".pem"), pki.path(".key"), pki.path(".csr"));
    let run = |line: String| openssl().args(line.split(' ')).run().expect_success();
    let (key_path, request_path) = (key.display(), request.display());
    run(format!(
        "req -newkey rsa:2048 -nodes -subj /CN=old -keyout {key_path} -out {request_path}"
    ));
    let (ca, ca_key) = (pki.ca(), pki.ca_key());
    run(format!(
        "x509 -req -sha1 -days 9 -in {request_path} -CA {} -CAkey {} -out {}",
        ca.display(),
        ca_key.display(),
        cert.display()
    ));
    sealpair_tests::Credentials { ca, cert, key }
}
