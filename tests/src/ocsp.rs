//! OCSP responses, good and bad, and certificates that only OCSP has a use for.
//!
//! The responses are made by the `openssl` program. What it does not make, a response of another time, is
//! one of its own with other times in it, signed again.

use crate::pki::{Credentials, Pki, days};
use jiff::Timestamp;
use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509NameBuilder};
use sealpair_common::pki::read;
use std::fs;
use std::path::{Path, PathBuf};

/// A certificate to be issued with extensions or a signature that `sealpair cert` does not make.
#[derive(Clone, Copy, Debug)]
pub enum Issue {
    /// A server's, with the TLS feature status_request (RFC 7633).
    MustStaple,
    /// A responder's, with id-kp-OCSPSigning.
    Responder,
    /// A responder's with an RSA key.
    RsaResponder,
    /// A responder's that ended yesterday.
    ExpiredResponder,
    /// A responder's that is signed with SHA-1.
    Sha1Responder,
    /// One that is not for signing responses.
    NotResponder,
}

impl Pki {
    /// Issues one.
    pub fn issue_for_ocsp(&self, kind: Issue) -> Credentials {
        self.issue_asking(kind, None)
    }

    /// Issues one whose status is to be asked for at this URL.
    pub fn issue_asking(&self, kind: Issue, url: Option<&str>) -> Credentials {
        let own = match kind {
            Issue::RsaResponder => self.server_rsa(),
            _ => self.server(),
        };
        let key = read::read_private_key(&own.key).unwrap();
        let ca = X509::from_pem(&fs::read(self.ca()).unwrap()).unwrap();
        let ca_key = read::read_private_key(&self.ca_key()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", &format!("{kind:?}")).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(120, MsbOption::ONE, false).unwrap();
        let mut certificate = X509Builder::new().unwrap();
        certificate.set_version(2).unwrap();
        certificate.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        certificate.set_subject_name(&name.build()).unwrap();
        certificate.set_issuer_name(ca.subject_name()).unwrap();
        certificate.set_pubkey(&key).unwrap();
        let ends = days(if matches!(kind, Issue::ExpiredResponder) { -1 } else { 30 });
        let time = |at: Timestamp| Asn1Time::from_unix(at.as_second()).unwrap();
        certificate.set_not_before(&time(days(-30))).unwrap();
        certificate.set_not_after(&time(ends)).unwrap();
        certificate.append_extension(BasicConstraints::new().critical().build().unwrap()).unwrap();
        let usage = KeyUsage::new().critical().digital_signature().build().unwrap();
        certificate.append_extension(usage).unwrap();
        let mut purpose = ExtendedKeyUsage::new();
        match kind {
            Issue::MustStaple | Issue::NotResponder => purpose.server_auth(),
            _ => purpose.other("OCSPSigning"),
        };
        certificate.append_extension(purpose.build().unwrap()).unwrap();
        let context = certificate.x509v3_context(Some(&ca), None);
        let names = SubjectAlternativeName::new().dns("localhost").build(&context).unwrap();
        certificate.append_extension(names).unwrap();
        if matches!(kind, Issue::MustStaple) {
            let feature = Asn1Object::from_str("1.3.6.1.5.5.7.1.24").unwrap();
            let value = Asn1OctetString::new_from_bytes(&[0x30, 3, 2, 1, 5]).unwrap();
            let feature = X509Extension::new_from_der(&feature, false, &value).unwrap();
            certificate.append_extension(feature).unwrap();
        }
        if let Some(url) = url {
            // AuthorityInfoAccessSyntax of RFC 5280 section 4.2.2.1 with id-ad-ocsp.
            let access =
                [encode(0x06, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1]), encode(0x86, url.as_bytes())];
            let value = encode(0x30, &encode(0x30, &access.concat()));
            let value = Asn1OctetString::new_from_bytes(&value).unwrap();
            let place = Asn1Object::from_str("1.3.6.1.5.5.7.1.1").unwrap();
            let place = X509Extension::new_from_der(&place, false, &value).unwrap();
            certificate.append_extension(place).unwrap();
        }
        let digest = match kind {
            Issue::Sha1Responder => MessageDigest::sha1(),
            _ => MessageDigest::sha256(),
        };
        certificate.sign(&ca_key, digest).unwrap();
        let cert = self.write(".pem", certificate.build().to_pem().unwrap());
        let key = self.write(".key", key.private_key_to_pem_pkcs8().unwrap());
        Credentials { cert, key, ca: self.ca() }
    }

    /// The same credentials with the issuer in the chain file.
    pub fn with_issuer(&self, credentials: &Credentials) -> Credentials {
        let both = [&credentials.cert, &self.ca()].map(|path| fs::read(path).unwrap()).concat();
        Credentials { cert: self.write("-chain.pem", both), ..credentials.clone() }
    }

    /// A response of this authority, to be made.
    pub fn ocsp<'a>(&'a self, of: &Credentials) -> Ocsp<'a> {
        Ocsp {
            pki: self,
            of: of.cert.clone(),
            issuer: self.ca(),
            signer: Credentials { cert: self.ca(), key: self.ca_key(), ca: self.ca() },
            status: "V",
            more: Vec::new(),
        }
    }
}

/// A response that is to be made: good, for a day from now, by the authority itself, unless told
/// otherwise.
#[derive(Debug)]
pub struct Ocsp<'a> {
    pki: &'a Pki,
    of: PathBuf,
    issuer: PathBuf,
    signer: Credentials,
    status: &'static str,
    more: Vec<String>,
}

impl Ocsp<'_> {
    /// It says that the certificate is revoked, because its key was stolen.
    #[must_use]
    pub fn revoked(mut self) -> Self {
        self.status = "R";
        self
    }

    /// It says that the responder does not know the certificate.
    #[must_use]
    pub fn unknown(mut self) -> Self {
        self.status = "";
        self
    }

    /// It is signed by this one.
    #[must_use]
    pub fn signed_by(mut self, signer: &Credentials) -> Self {
        self.signer = signer.clone();
        self
    }

    /// The certificate's issuer, where it is not the authority itself.
    #[must_use]
    pub fn below(mut self, issuer: &Path) -> Self {
        self.issuer = issuer.to_owned();
        self
    }

    /// Adds options of `openssl ocsp`, such as `-rmd sha1`, or `-sha256` for the certificate's
    /// identifier.
    #[must_use]
    pub fn with(mut self, options: &str) -> Self {
        self.more.extend(options.split_whitespace().map(str::to_owned));
        self
    }

    /// Makes it.
    #[track_caller]
    pub fn file(&self) -> PathBuf {
        let certificate = X509::from_pem(&fs::read(&self.of).unwrap()).unwrap();
        let serial = certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap();
        // The database of `openssl ca`: status, end, revocation, serial number, file, subject.
        let ends = "491231235959Z";
        let index = match self.status {
            "V" => format!("V\t{ends}\t\t{serial}\tunknown\t/CN=it\n"),
            "R" => format!("R\t{ends}\t240101000000Z,keyCompromise\t{serial}\tunknown\t/CN=it\n"),
            _ => String::new(),
        };
        let (index, file) = (self.pki.write(".index", index), self.pki.path(".ocsp"));
        crate::peers::openssl()
            .arg("ocsp")
            .args(self.more.iter().filter(|option| option.starts_with("-sha")))
            .arg("-index")
            .arg(index)
            .arg("-CA")
            .arg(&self.issuer)
            .arg("-issuer")
            .arg(&self.issuer)
            .arg("-cert")
            .arg(&self.of)
            .arg("-rsigner")
            .arg(&self.signer.cert)
            .arg("-rkey")
            .arg(&self.signer.key)
            .args(self.more.iter().filter(|option| !option.starts_with("-sha")))
            .args(["-ndays", "1", "-noverify", "-respout"])
            .arg(&file)
            .run()
            .expect_success();
        file
    }

    /// Makes it, and returns it.
    #[track_caller]
    pub fn der(&self) -> Vec<u8> {
        fs::read(self.file()).unwrap()
    }

    /// Makes it as if at another time: with these for this update and next update.
    #[track_caller]
    pub fn dated(&self, this_update: Timestamp, next_update: Timestamp) -> Vec<u8> {
        assert_eq!(self.status, "V", "a revoked one has another time in front of these");
        let key = read::read_private_key(&self.signer.key).unwrap();
        redate(&self.der(), &[this_update, this_update, next_update], &key)
    }
}

/// The contents of an element of DER, and what is behind it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (start, length) = match usize::from(der[1]) {
        short @ ..0x80 => (2, short),
        long => {
            let count = long - 0x80;
            let octets = der[2..2 + count].iter();
            (2 + count, octets.fold(0, |length, &octet| length << 8 | usize::from(octet)))
        }
    };
    (&der[start..start + length], &der[start + length..])
}

/// An element of DER, with its length in the shortest form: OpenSSL encodes what was signed once more.
fn encode(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let length = match (high, low) {
        (0, ..0x80) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], &length[..], contents].concat()
}

/// Puts these times into a response, in the order of producedAt, thisUpdate, nextUpdate, and signs it again
/// with SHA-256.
fn redate(response: &[u8], times: &[Timestamp], key: &PKey<Private>) -> Vec<u8> {
    let (response, _) = element(response);
    let (_status, bytes) = element(response);
    let (bytes, _) = element(element(bytes).0);
    let (kind, octets) = element(bytes);
    let (basic, _) = element(element(octets).0);
    let (data, rest) = element(basic);
    let (algorithm, rest) = element(rest);
    let (_signature, certificates) = element(rest);
    let mut data = data.to_vec();
    // GeneralizedTime of 15 octets: YYYYMMDDHHMMSSZ.
    let mut at = 0;
    for time in times {
        at += data[at..].windows(2).position(|tag| tag == [0x18, 15]).unwrap() + 2;
        let text = time.strftime("%Y%m%d%H%M%SZ").to_string();
        data[at..at + 15].copy_from_slice(text.as_bytes());
    }
    let data = encode(0x30, &data);
    let signature =
        Signer::new(MessageDigest::sha256(), key).unwrap().sign_oneshot_to_vec(&data).unwrap();
    let signature = [&[0], &signature[..]].concat();
    let basic =
        [data, encode(0x30, algorithm), encode(0x03, &signature), certificates.to_vec()].concat();
    let basic = encode(0x04, &encode(0x30, &basic));
    let kind = encode(0x06, kind);
    let bytes = encode(0xa0, &encode(0x30, &[kind, basic].concat()));
    encode(0x30, &[vec![0x0a, 1, 0], bytes].concat())
}

/// A response that is none: the responder wants to be asked later (RFC 6960 section 4.2.1).
pub const TRY_LATER: [u8; 5] = [0x30, 3, 0x0a, 1, 3];

/// A response whose inside is not what it should be. OpenSSL 3.6 does not let a server staple what is not
/// even a response outside.
pub fn malformed() -> Vec<u8> {
    // id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1
    let basic = [0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
    let bytes = encode(0x30, &[&basic[..], &encode(0x04, b"nonsense")].concat());
    encode(0x30, &[&[0x0a, 1, 0], &encode(0xa0, &bytes)[..]].concat())
}
