//! Certificates as strangers send them.

use super::*;
use crate::escape::escaped;
use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time, Asn1Type};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Builder, X509Extension, X509Name};
use std::time::Duration;

/// A self-signed certificate that says what the closure makes it say.
fn certificate(make: impl FnOnce(&mut X509Builder)) -> X509 {
    let key = PKey::ec_gen("P-256").unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_pubkey(&key).unwrap();
    let now = Asn1Time::from_unix(1_700_000_000).unwrap();
    builder.set_not_before(&now).unwrap();
    builder.set_not_after(&now).unwrap();
    make(&mut builder);
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    // Read back, as if it came from the network.
    X509::from_der(&builder.build().to_der().unwrap()).unwrap()
}

fn extension(oid: &str, der: &[u8]) -> X509Extension {
    let oid = Asn1Object::from_str(oid).unwrap();
    let der = Asn1OctetString::new_from_bytes(der).unwrap();
    X509Extension::new_from_der(&oid, false, &der).unwrap()
}

/// The certificate with some octets replaced by as many others; the signature no longer fits.
fn patched(certificate: &X509, old: &[u8], new: &[u8]) -> X509 {
    assert_eq!(old.len(), new.len());
    let mut der = certificate.to_der().unwrap();
    let at = der.windows(old.len()).position(|octets| octets == old);
    let at = at.unwrap();
    der[at..at + new.len()].copy_from_slice(new);
    X509::from_der(&der).unwrap()
}

fn with_sans(der: &[u8]) -> Vec<String> {
    let certificate = certificate(|builder| {
        builder.append_extension(extension("2.5.29.17", der)).unwrap();
    });
    CertificateFacts::of(&certificate).sans
}

#[test]
fn the_facts_agree_with_openssl() {
    let directory = TempDir::new().unwrap();
    let authority = authority_in(&directory, KeyAlgorithm::P384);
    let facts = CertificateFacts::of(authority.certificate());
    let path = directory.path();
    let show = |option: &str| {
        let text = openssl_ok(path, &["x509", "-in", "ca.pem", "-noout", option, "-sha256"]);
        text.trim().split_once('=').unwrap().1.to_owned()
    };
    assert_eq!(facts.serial, show("-serial").to_lowercase());
    assert_eq!(facts.sha256, show("-fingerprint").replace(':', "").to_lowercase());
    let pipeline = "openssl x509 -in ca.pem -pubkey -noout | openssl pkey -pubin -outform der \
                    | openssl dgst -sha256 -binary | openssl base64";
    let pin = Command::new("sh").args(["-c", pipeline]).current_dir(path).output().unwrap();
    let pin = String::from_utf8(pin.stdout).unwrap();
    assert_eq!(facts.spki_pin, format!("sha256/{}", pin.trim()));
    assert_eq!(facts.key, "EC P-384");
    let json = serde_json::to_value(&facts).unwrap();
    assert_eq!(json["subject"], "CN=Test CA");
    assert_eq!(json["key_usage"][0], "keyCertSign");
    assert!(json.get("starts").is_none());
}

#[test]
fn an_empty_certificate_has_facts() {
    let bare = X509::builder().unwrap().build();
    let facts = CertificateFacts::of(&bare);
    assert_eq!(facts.subject, "");
    assert_eq!(facts.not_after, None);
    assert_eq!(facts.ends(), None);
    assert_eq!(facts.key, "unknown");
    assert_eq!(facts.spki_pin, "");
    assert_eq!(facts.renewal(Timestamp::now(), Duration::ZERO), Renewal::Due);
}

#[test]
fn years_before_1970_and_up_to_9999() {
    let now = Timestamp::now();
    for (asn1, shown, renewal) in [
        ("19500101000000Z", "1950-01-01T00:00:00Z", Renewal::Due),
        ("19691231235959Z", "1969-12-31T23:59:59Z", Renewal::Due),
        ("00010101000000Z", "0001-01-01T00:00:00Z", Renewal::Due),
        ("20380119031408Z", "2038-01-19T03:14:08Z", Renewal::Fine),
        ("99991231235959Z", "9999-12-31T23:59:59Z", Renewal::Fine),
    ] {
        let time = Asn1Time::from_str(asn1).unwrap();
        let certificate = certificate(|builder| builder.set_not_after(&time).unwrap());
        let facts = CertificateFacts::of(&certificate);
        assert_eq!(facts.not_after.as_deref(), Some(shown));
        assert_eq!(facts.renewal(now, Duration::from_secs(60)), renewal);
        if asn1.starts_with("9999") {
            assert_eq!(facts.ends().unwrap().as_second(), Timestamp::MAX.as_second());
        } else {
            assert_eq!(facts.ends().unwrap().to_string(), shown);
        }
    }
}

#[test]
fn times_that_are_none_are_missing() {
    let good = certificate(|_| {});
    let bad = patched(&good, b"231114221320Z", b"231399221320Z");
    assert_eq!(CertificateFacts::of(&bad).not_before, None);
    let bad = patched(&good, b"231114221320Z", b"\0\xff1114221320Z");
    assert_eq!(CertificateFacts::of(&bad).not_before, None);
}

#[test]
fn nothing_in_a_name_is_cut_off_or_drives_the_terminal() {
    let mut name = X509Name::builder().unwrap();
    for (kind, text) in [
        (Nid::COMMONNAME, "good.example\0.evil.example"),
        (Nid::ORGANIZATIONNAME, "a\x1b[31m\r\nb"),
    ] {
        name.append_entry_by_nid(kind, text).unwrap();
    }
    name.append_entry_by_nid_with_type(
        Nid::ORGANIZATIONALUNITNAME,
        "AAAAA",
        Asn1Type::PRINTABLESTRING,
    )
    .unwrap();
    let name = name.build();
    let good = certificate(|builder| builder.set_subject_name(&name).unwrap());
    let bad = patched(&good, b"AAAAA", b"A\xff\xfe\x9bA");
    let facts = CertificateFacts::of(&bad);
    assert_eq!(
        escaped(&facts.subject),
        "OU=Aÿþ\\x9bA,O=a\\x1b[31m\\r\\nb,CN=good.example\\x00.evil.example"
    );
}

#[test]
fn every_form_of_alternative_name() {
    assert_eq!(
        with_sans(
            b"\x30\x46\x82\x01a\x87\x04\x7f\0\0\x01\x81\x03a@b\x86\x03u:v\x88\x02\x88\x37\
              \xa4\x0f\x30\x0d\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02hi\
              \xa0\x0a\x06\x03\x2a\x03\x04\xa0\x03\x0c\x01x\
              \x87\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
        ),
        [
            "DNS:a",
            "IP:127.0.0.1",
            "EMAIL:a@b",
            "URI:u:v",
            "RID:2.999",
            "DIR:CN=hi",
            "OTHER:#a00a06032a0304a0030c0178",
            "IP:::1",
        ]
    );
}

#[test]
fn malformed_alternative_names_are_shown() {
    assert_eq!(with_sans(b"\x30\x05\x82\x03a\0b"), ["DNS:a\0b"]);
    assert_eq!(with_sans(b"\x30\x04\x82\x02\xff\n"), ["DNS:\u{ff}\n"]);
    assert_eq!(with_sans(b"\x30\x04\x87\x02\x7f\0"), ["IP:#7f00"]);
    assert_eq!(with_sans(b"\x30\x00"), ["OTHER:#3000"]);
    assert_eq!(with_sans(b"\x04\x01\x01"), ["OTHER:#040101"]);
    // The second name claims more octets than there are.
    assert_eq!(with_sans(b"\x30\x05\x82\x01a\x82\x09"), ["DNS:a"]);
}

#[test]
fn malformed_extensions_and_numbers() {
    let certificate = certificate(|builder| {
        builder.append_extension(extension("2.5.29.15", b"\x03\x00")).unwrap();
        builder.append_extension(extension("2.5.29.19", b"\x30\x03\x01\x01\xff")).unwrap();
        let purposes = b"\x30\x0c\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02\x06\x00";
        builder.append_extension(extension("2.5.29.37", purposes)).unwrap();
        let serial = BigNum::from_dec_str("-255").unwrap();
        builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
    });
    let facts = CertificateFacts::of(&certificate);
    assert_eq!(facts.key_usage, ["#0300"]);
    assert!(facts.is_ca);
    assert_eq!(facts.extended_key_usage, ["clientAuth", "#"]);
    assert_eq!(facts.serial, "-ff");
}

#[test]
fn kinds_of_keys() {
    let key_of = |key: &PKey<openssl::pkey::Private>| {
        let certificate = certificate(|builder| builder.set_pubkey(key).unwrap());
        CertificateFacts::of(&certificate).key
    };
    assert_eq!(key_of(&PKey::generate_ed25519().unwrap()), "Ed25519");
    assert_eq!(key_of(&PKey::generate_ed448().unwrap()), "Ed448");
    assert_eq!(key_of(&PKey::ec_gen("P-521").unwrap()), "EC P-521");
    assert_eq!(key_of(&PKey::ec_gen("secp256k1").unwrap()), "EC secp256k1");
    // An algorithm that nobody knows: the number of id-ecPublicKey, changed.
    let good = certificate(|_| {});
    let unknown = patched(&good, b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x02\x7f");
    let facts = CertificateFacts::of(&unknown);
    assert_eq!(facts.key, "1.2.840.10045.2.127");
    assert!(facts.spki_pin.starts_with("sha256/"));
}

#[test]
fn no_damaged_octet_makes_inspection_fail() {
    let authority = Authority::create(&AuthorityOptions::new()).unwrap();
    let names = ["localhost", "127.0.0.1"];
    let issued = authority.issue(&LeafRequest::server(names).unwrap()).unwrap();
    let der = issued.certificate().to_der().unwrap();
    let mut read = 0;
    for at in 0..der.len() {
        for octet in [0x00, 0x1f, 0x30, 0x7f, 0x80, 0x81, 0xff] {
            let mut der = der.clone();
            der[at] = octet;
            if let Ok(certificate) = X509::from_der(&der) {
                CertificateFacts::of(&certificate);
                read += 1;
            }
        }
    }
    assert!(read > der.len(), "most of them have to reach the inspection");
    let left = openssl::error::Error::get();
    assert!(left.is_none(), "left in OpenSSL's queue: {left:?}");
}

#[test]
fn a_chain_is_due_when_any_of_it_is() {
    let make = |end: i64| {
        let options = AuthorityOptions::new().not_before(days(-100)).not_after(days(end));
        Authority::create(&options).unwrap()
    };
    let (long, short, past) = (make(100), make(10), make(-1));
    let month = Duration::from_secs(30 * 86_400);
    let now = Timestamp::now();
    let check = |chain: &[&Authority], within| {
        renewal(chain.iter().map(|authority| authority.certificate()), now, within)
    };
    assert_eq!(check(&[&long], month), Renewal::Fine);
    assert_eq!(check(&[&long, &short], month), Renewal::Due);
    assert_eq!(check(&[&long, &short], Duration::from_secs(60)), Renewal::Fine);
    assert_eq!(check(&[&past, &long], Duration::ZERO), Renewal::Due);
    assert_eq!(check(&[&long], Duration::MAX), Renewal::Due);
    let facts = [&long, &past, &short].map(|a| CertificateFacts::of(a.certificate()));
    assert_eq!(inspect::ends_first(&facts), Some(1));
    assert_eq!(inspect::ends_first(&[]), None);
}
