//! What authorities issue.

use super::*;
use std::fs;

#[test]
fn openssl_verifies_leaves_of_every_algorithm_and_under_every_algorithm() {
    for issuer in CLASSICAL {
        let directory = TempDir::new().unwrap();
        let authority = authority_in(&directory, issuer);
        // RSA keys take their time, and one kind of pair of each is enough.
        let leaves = CLASSICAL
            .into_iter()
            .filter(|leaf| issuer == KeyAlgorithm::P256 || *leaf == KeyAlgorithm::P256);
        for leaf in leaves {
            let request = LeafRequest::server(["localhost", "*.example.org", "127.0.0.1", "::1"])
                .unwrap()
                .key_algorithm(leaf);
            let issued = authority.issue(&request).unwrap();
            save(&issued, &directory);
            for name in [
                ["-verify_hostname", "localhost"],
                ["-verify_hostname", "www.example.org"],
                ["-verify_ip", "127.0.0.1"],
                ["-verify_ip", "::1"],
            ] {
                let purpose = ["-purpose", "sslserver"];
                let more = [&purpose[..], &name[..], &["leaf.pem"]].concat();
                let output = verify(&directory, &more);
                assert!(output.status.success(), "{issuer} {leaf} {output:?}");
            }
            let client = verify(&directory, &["-purpose", "sslclient", "leaf.pem"]);
            assert!(!client.status.success(), "a server is not a client");
            let key =
                openssl_ok(directory.path(), &["pkey", "-in", "leaf.key", "-check", "-noout"]);
            assert!(key.contains("valid"), "{key}");

            let facts = CertificateFacts::of(issued.certificate());
            assert_eq!(
                facts.signature_algorithm,
                match issuer {
                    KeyAlgorithm::P256 => "ecdsa-with-SHA256",
                    KeyAlgorithm::P384 => "ecdsa-with-SHA384",
                    KeyAlgorithm::P521 => "ecdsa-with-SHA512",
                    KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => "sha384WithRSAEncryption",
                    KeyAlgorithm::MlDsa87 => "ML-DSA-87",
                }
            );
            assert_eq!(
                facts.key,
                match leaf {
                    KeyAlgorithm::P256 => "EC P-256",
                    KeyAlgorithm::P384 => "EC P-384",
                    KeyAlgorithm::P521 => "EC P-521",
                    KeyAlgorithm::Rsa3072 => "RSA 3072",
                    KeyAlgorithm::Rsa4096 => "RSA 4096",
                    KeyAlgorithm::MlDsa87 => "ML-DSA-87",
                }
            );
        }
    }
}

#[test]
fn a_server_certificate_has_what_rfc_5280_and_9525_ask_for() {
    let authority = Authority::create(&AuthorityOptions::new()).unwrap();
    let names = ["10.0.0.1", "b.example", "a.example", "B.example"];
    let issued = authority.issue(&LeafRequest::server(names).unwrap()).unwrap();
    let facts = CertificateFacts::of(issued.certificate());
    assert_eq!(facts.subject, "CN=b.example");
    assert_eq!(facts.sans, ["IP:10.0.0.1", "DNS:b.example", "DNS:a.example"]);
    assert_eq!(facts.key_usage, ["digitalSignature"]);
    assert_eq!(facts.extended_key_usage, ["serverAuth"]);
    assert!(!facts.is_ca);
    assert_eq!(issued.chain().len(), 0, "the root is not served");
    let text = String::from_utf8(issued.certificate().to_text().unwrap()).unwrap();
    assert!(text.contains("Basic Constraints: critical\n                CA:FALSE"));
    assert!(issued.certificate().subject_key_id().is_some());
    assert_eq!(
        issued.certificate().authority_key_id().unwrap().as_slice(),
        authority.certificate().subject_key_id().unwrap().as_slice()
    );
}

#[test]
fn without_a_short_dns_name_the_subject_is_empty_and_the_names_are_critical() {
    let directory = TempDir::new().unwrap();
    let authority = authority_in(&directory, KeyAlgorithm::P256);
    let long = format!("{}.{}.example", "a".repeat(40), "b".repeat(40));
    for name in ["127.0.0.1", &long] {
        let issued = authority.issue(&LeafRequest::server([name]).unwrap());
        let issued = issued.unwrap();
        assert_eq!(CertificateFacts::of(issued.certificate()).subject, "");
        let text = String::from_utf8(issued.certificate().to_text().unwrap()).unwrap();
        assert!(text.contains("Subject Alternative Name: critical"));
        save(&issued, &directory);
        let output = verify(&directory, &["-purpose", "sslserver", "leaf.pem"]);
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn client_certificates() {
    let directory = TempDir::new().unwrap();
    let authority = authority_in(&directory, KeyAlgorithm::P256);
    for (names, subject, sans) in [
        (&["alice"][..], "CN=alice", &[][..]),
        (&["alice@example.org", "Alice, Ms."], "CN=\"Alice, Ms.\"", &["EMAIL:alice@example.org"]),
        (&["10.0.0.1"], "CN=10.0.0.1", &["IP:10.0.0.1"]),
    ] {
        let request = LeafRequest::client(names).unwrap();
        let issued = authority.issue(&request).unwrap();
        let facts = CertificateFacts::of(issued.certificate());
        assert_eq!(facts.subject, subject);
        assert_eq!(facts.sans, sans);
        assert_eq!(facts.extended_key_usage, ["clientAuth"]);
        save(&issued, &directory);
        let output = verify(&directory, &["-purpose", "sslclient", "leaf.pem"]);
        assert!(output.status.success(), "{output:?}");
    }
    assert!(LeafRequest::client(["a", "b"]).is_err());
    assert!(LeafRequest::client([""; 0]).is_err());
}

#[test]
fn expired_and_not_yet_valid_certificates_can_be_made_and_are_refused() {
    let directory = TempDir::new().unwrap();
    let authority = authority_in(&directory, KeyAlgorithm::P256);
    let request = LeafRequest::server(["localhost"]).unwrap();
    for (begin, end, reason) in
        [(-2, -1, "certificate has expired"), (1, 2, "certificate is not yet valid")]
    {
        let request = request.clone().not_before(days(begin)).not_after(days(end));
        save(&authority.issue(&request).unwrap(), &directory);
        let output = verify(&directory, &["leaf.pem"]);
        assert!(!output.status.success());
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(complaint.contains(reason), "{complaint}");
    }
    // Empty, and in a year that ASN.1 cannot write.
    for begin in [days(1), Timestamp::MIN] {
        let request = request.clone().not_before(begin).not_after(days(1));
        let error = authority.issue(&request).unwrap_err();
        assert!(matches!(error, PkiError::Validity { .. }), "{error:?}");
    }
}

#[test]
fn a_leaf_outlives_its_authority_only_on_demand() {
    let options = AuthorityOptions::new().not_after(days(10));
    let authority = Authority::create(&options).unwrap();
    let end = |issued: &Issued| CertificateFacts::of(issued.certificate()).ends();
    let request = LeafRequest::server(["localhost"]).unwrap();
    let issued = authority.issue(&request).unwrap();
    assert_eq!(end(&issued), CertificateFacts::of(authority.certificate()).ends());
    let issued = authority.issue(&request.clone().not_after(days(20)));
    assert!(end(&issued.unwrap()) > Some(days(19)));
    // A beginning after the authority's end, with no end asked for.
    let error = authority.issue(&request.clone().not_before(days(11)));
    let error = error.unwrap_err();
    assert!(matches!(error, PkiError::AuthorityEnded { .. }), "{error:?}");

    let options = AuthorityOptions::new().not_before(days(-2)).not_after(days(-1));
    let ended = Authority::create(&options).unwrap();
    assert!(ended.issue(&request).is_err());
    assert!(ended.issue(&request.not_after(days(1))).is_ok());
}

#[test]
fn the_default_validity_is_90_days_with_an_hour_for_clock_skew() {
    let authority = Authority::create(&AuthorityOptions::new()).unwrap();
    let request = LeafRequest::server(["localhost"]).unwrap();
    let facts = CertificateFacts::of(authority.issue(&request).unwrap().certificate());
    let hours = facts.ends().unwrap() - facts.starts().unwrap();
    let hours = SignedDuration::try_from(hours).unwrap().as_hours();
    assert_eq!(hours, 90 * 24 + 1);
    // A later beginning moves the end.
    let request = request.not_before(days(30));
    let facts = CertificateFacts::of(authority.issue(&request).unwrap().certificate());
    assert!(facts.ends().unwrap() > days(119));
}

#[test]
fn pkcs12_holds_the_key_the_leaf_and_the_authority() {
    let directory = TempDir::new().unwrap();
    let authority = authority_in(&directory, KeyAlgorithm::P256);
    let request = LeafRequest::client(["alice@example.org"]).unwrap();
    let issued = authority.issue(&request).unwrap();
    let path = directory.path().join("alice.p12");
    for passphrase in ["correct horse", ""] {
        fs::write(&path, issued.pkcs12(&Passphrase::new(passphrase).unwrap(), "Alice").unwrap())
            .unwrap();
        let pass = format!("pass:{passphrase}");
        let command = ["pkcs12", "-in", "alice.p12", "-passin", &pass];
        let info = [&command[..], &["-info", "-nodes"]].concat();
        let text = openssl_ok(directory.path(), &info);
        for part in [
            "PBES2, PBKDF2, AES-256-CBC",
            "MAC: sha256",
            "friendlyName: Alice",
            "BEGIN PRIVATE KEY",
            "CN = Test CA",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let read =
            read::read_certificates(&path, Some(&Passphrase::new(passphrase).unwrap())).unwrap();
        assert_eq!(read.len(), 2);
        assert!(*read[0] == *issued.certificate());
        let error =
            read::read_certificates(&path, Some(&Passphrase::new("wrong").unwrap())).unwrap_err();
        assert!(matches!(error, PkiError::Passphrase { .. }), "{error:?}");
    }
    assert!(Passphrase::new("a\0b").is_none());
    assert!(issued.pkcs12(&Passphrase::default(), "Al\0ice").is_err());
}
