//! Making an authority, and loading one.

use super::*;
use std::fs;

#[test]
fn an_authority_signs_leaves_only() {
    let authority = Authority::create(&AuthorityOptions::new()).unwrap();
    let text = authority.certificate().to_text().unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("Basic Constraints: critical\n                CA:TRUE, pathlen:0"));
    assert!(text.contains("Key Usage: critical\n                Certificate Sign, CRL Sign"));
    let facts = CertificateFacts::of(authority.certificate());
    assert!(facts.is_ca);
    assert_eq!(facts.subject, facts.issuer);
    assert!(facts.subject.starts_with("CN=Sealpair local CA "));
    assert_eq!(facts.serial.len(), 32);
    assert!(facts.ends().unwrap() > days(3649));
    assert!(facts.starts().unwrap() < Timestamp::now());

    let other = Authority::create(&AuthorityOptions::new()).unwrap();
    assert_ne!(CertificateFacts::of(other.certificate()).subject, facts.subject);
}

#[test]
fn an_intermediate_is_served_and_its_root_is_not() {
    let directory = TempDir::new().unwrap();
    authority_in(&directory, KeyAlgorithm::P256);
    let path = directory.path();
    let request = [
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=Middle",
        "-keyout",
        "middle.key",
        "-out",
        "middle.csr",
    ];
    openssl_ok(path, &request);
    // The root of Authority::create has pathlen:0, so this one comes from the program.
    let root = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=Top",
        "-keyout",
        "top.key",
        "-out",
        "top.pem",
    ];
    openssl_ok(path, &root);
    fs::write(
        path.join("ext"),
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n\
         subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    )
    .unwrap();
    let sign = [
        "x509",
        "-req",
        "-in",
        "middle.csr",
        "-CA",
        "top.pem",
        "-CAkey",
        "top.key",
        "-extfile",
        "ext",
        "-out",
        "middle.pem",
    ];
    openssl_ok(path, &sign);
    let both = fs::read_to_string(path.join("middle.pem")).unwrap()
        + &fs::read_to_string(path.join("top.pem")).unwrap();
    fs::write(path.join("chain.pem"), both).unwrap();

    let authority = Authority::load(&path.join("chain.pem"), &path.join("middle.key")).unwrap();
    let request = LeafRequest::server(["localhost"]).unwrap();
    let issued = authority.issue(&request).unwrap();
    assert_eq!(issued.chain().len(), 1);
    save(&issued, &directory);
    let served = read::read_certificates(&path.join("leaf.pem"), None).unwrap();
    assert_eq!(served.len(), 2);
    assert_eq!(CertificateFacts::of(&served[1]).subject, "CN=Middle");
    let verify = ["verify", "-CAfile", "top.pem", "-untrusted", "leaf.pem", "leaf.pem"];
    openssl_ok(path, &verify);
    fs::write(
        path.join("leaf.p12"),
        issued.pkcs12(&Passphrase::new("x").unwrap(), "leaf").unwrap(),
    )
    .unwrap();
    let archive =
        read::read_certificates(&path.join("leaf.p12"), Some(&Passphrase::new("x").unwrap()))
            .unwrap();
    assert_eq!(archive.len(), 3);
}

#[test]
fn an_authority_comes_back_from_its_files() {
    for algorithm in CLASSICAL {
        let directory = TempDir::new().unwrap();
        let made = authority_in(&directory, algorithm);
        let path = directory.path();
        let read = Authority::load(&path.join("ca.pem"), &path.join("ca.key")).unwrap();
        assert!(*read.certificate() == *made.certificate());
        let request = LeafRequest::server(["localhost"]).unwrap();
        save(&read.issue(&request).unwrap(), &directory);
        let output = verify(&directory, &["leaf.pem"]);
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn files_that_are_no_authority_are_refused() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let authority = authority_in(&directory, KeyAlgorithm::P256);
    let request = LeafRequest::server(["localhost"]).unwrap();
    save(&authority.issue(&request).unwrap(), &directory);
    let encrypt =
        ["pkey", "-in", "ca.key", "-aes256", "-passout", "pass:secret", "-out", "encrypted.key"];
    openssl_ok(directory.path(), &encrypt);
    fs::write(path("empty"), "").unwrap();
    let ed25519 = [
        "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=Ed", "-keyout", "ed.key",
        "-out", "ed.pem",
    ];
    openssl_ok(directory.path(), &ed25519);

    for (certificate, key, kind) in [
        ("missing", "ca.key", "file-read"),
        ("ca.pem", "missing", "file-read"),
        ("empty", "ca.key", "unreadable-contents"),
        ("ca.key", "ca.key", "unreadable-contents"),
        ("ca.pem", "empty", "unreadable-contents"),
        ("ca.pem", "ca.pem", "unreadable-contents"),
        ("ca.pem", "leaf.key", "key-mismatch"),
        ("ca.pem", "ed.key", "key-mismatch"),
        ("ca.pem", "encrypted.key", "encrypted-key"),
        ("leaf.pem", "leaf.key", "not-an-authority"),
        ("ed.pem", "ed.key", "not-an-authority"),
    ] {
        let error = Authority::load(&path(certificate), &path(key)).unwrap_err();
        let report = error.report();
        assert_eq!(report.kind(), kind, "{certificate} {key}: {error:?}");
        assert_eq!(report.exit(), crate::exit::Exit::Configuration);
        let text = format!("{report} {error:?}");
        if kind == "key-mismatch" {
            assert!(text.contains(certificate) && text.contains(key), "{text}");
        }
    }
}

#[test]
fn names_that_a_subject_cannot_hold_are_refused() {
    let long = "x".repeat(65);
    for name in ["", " ", "a\nb", "a\0b", &long] {
        let options = AuthorityOptions::new().common_name(name);
        let error = Authority::create(&options).unwrap_err();
        assert!(matches!(error, PkiError::Name { .. }), "{error:?}");
        assert_eq!(error.report().exit(), crate::exit::Exit::Usage);
    }
}

#[test]
fn debug_output_has_no_key() {
    let authority = Authority::create(&AuthorityOptions::new()).unwrap();
    let issued = authority.issue(&LeafRequest::server(["localhost"]).unwrap());
    let text = format!("{authority:?} {:?}", issued.unwrap());
    assert!(!text.contains(" key:"), "{text}");
}
