//! ML-DSA-87: issued where OpenSSL has it, refused with the reason elsewhere. `tests/post_quantum.rs` has
//! another OpenSSL judge what is issued.

use super::*;
use crate::exit::Exit;
use openssl::pkey::KeyType;

/// OpenSSL 3.5, in which FIPS 203, 204 and 205 came.
const FIRST: i64 = 0x3050_0000;

fn has_ml_dsa() -> bool {
    openssl::version::number() >= FIRST
}

#[test]
fn a_key_is_made_where_openssl_has_the_algorithm_and_refused_elsewhere() {
    let made = Authority::create(&AuthorityOptions::new().key_algorithm(KeyAlgorithm::MlDsa87));
    let leaf = LeafRequest::server(["localhost"]).unwrap().key_algorithm(KeyAlgorithm::MlDsa87);
    let issued = Authority::create(&AuthorityOptions::new()).unwrap().issue(&leaf);
    if has_ml_dsa() {
        assert!(made.unwrap().key().is_a(KeyType::ML_DSA_87));
        assert!(issued.unwrap().key().is_a(KeyType::ML_DSA_87));
        return;
    }
    for error in [made.map(|_| ()).unwrap_err(), issued.map(|_| ()).unwrap_err()] {
        let report = error.report();
        assert_eq!((report.exit(), report.kind()), (Exit::Configuration, "algorithm-unavailable"));
        let text = report.to_string();
        for part in ["ML-DSA-87", "OpenSSL 3.5", openssl::version::version()] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let left = openssl::error::Error::get();
    assert!(left.is_none(), "left in OpenSSL's queue: {left:?}");
}

#[test]
fn it_signs_every_kind_of_leaf_and_comes_back_from_its_files() {
    if !has_ml_dsa() {
        // Said in full by the test above.
        let options = AuthorityOptions::new().key_algorithm(KeyAlgorithm::MlDsa87);
        let error = Authority::create(&options).unwrap_err();
        assert!(matches!(error, PkiError::Unavailable { algorithm: "ML-DSA-87", .. }), "{error:?}");
        return;
    }
    let directory = TempDir::new().unwrap();
    authority_in(&directory, KeyAlgorithm::MlDsa87);
    let path = directory.path();
    let authority = Authority::load(&path.join("ca.pem"), &path.join("ca.key")).unwrap();
    let facts = CertificateFacts::of(authority.certificate());
    assert_eq!((&*facts.key, &*facts.signature_algorithm), ("ML-DSA-87", "ML-DSA-87"));
    assert_eq!(facts.key_usage, ["keyCertSign", "cRLSign"]);
    let public = authority.certificate().public_key().unwrap();
    assert!(authority.certificate().verify(&public).unwrap());
    for algorithm in KeyAlgorithm::ALL {
        let request = LeafRequest::server(["localhost"]).unwrap().key_algorithm(algorithm);
        let issued = authority.issue(&request).unwrap();
        assert!(issued.certificate().verify(&public).unwrap(), "{algorithm}");
        let facts = CertificateFacts::of(issued.certificate());
        assert_eq!(facts.signature_algorithm, "ML-DSA-87");
        // RFC 9881, section 5: nothing that enciphers or agrees.
        assert_eq!(facts.key_usage, ["digitalSignature"]);
    }
}
