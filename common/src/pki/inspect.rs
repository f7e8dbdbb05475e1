//! The facts of a certificate, for people, scripts and pins.
//!
//! The certificates come from whoever is at the other end, so nothing here fails: what cannot be
//! read is missing or shown as octets in hexadecimal, and never cut off.

use super::der::{self, Extension, Reader, hex, tag};
use super::distinguished_name::distinguished_name;
use jiff::civil::{DateTime, date};
use jiff::{SignedDuration, Timestamp};
use openssl::asn1::{Asn1Object, Asn1Time, Asn1TimeRef};
use openssl::base64;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::x509::{GeneralNameRef, X509NameRef, X509Ref};
use serde::Serialize;
use std::net::IpAddr;
use std::time::Duration;

/// What a certificate says.
///
/// All text is as the certificate has it, control characters included: show it through
/// [`Escaped`](crate::escape::Escaped). JSON escapes by itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// The subject in one line (see [`distinguished_name`]); empty if it has no attributes.
    pub subject: String,
    /// The issuer, likewise.
    pub issuer: String,
    /// The serial number in lower-case hexadecimal, with `-` if it is negative.
    pub serial: String,
    /// The subject alternative names (RFC 5280, section 4.2.1.6): `DNS:…`, `IP:…`, `EMAIL:…`,
    /// `URI:…`, `DIR:…` (a distinguished name), `RID:…` (an object identifier), and `OTHER:#…` with
    /// the octets of any other form.
    ///
    /// These are ASCII by the standard; a higher octet is shown as the character of that number, so
    /// that different octets never look the same.
    pub sans: Vec<String>,
    /// The beginning in UTC (RFC 3339); nothing if it cannot be read.
    pub not_before: Option<String>,
    /// The end, likewise. `9999-12-31T23:59:59Z` means that there is none (RFC 5280, section
    /// 4.1.2.5).
    pub not_after: Option<String>,
    /// The kind and size of the public key: `EC P-256`, `RSA 3072`, `Ed25519`, `ML-DSA-87`; for
    /// others the name or the number of the algorithm.
    pub key: String,
    /// The signature algorithm: `ecdsa-with-SHA256`, `sha256WithRSAEncryption`, `ML-DSA-87`.
    pub signature_algorithm: String,
    /// Whether the basic constraints say `CA:TRUE`.
    pub is_ca: bool,
    /// The bits of the key usage by their names in RFC 5280, section 4.2.1.3.
    pub key_usage: Vec<String>,
    /// The purposes of the extended key usage: `serverAuth`, or the number of an unknown one.
    pub extended_key_usage: Vec<String>,
    /// The SHA-256 digest of the certificate, in lower-case hexadecimal.
    pub sha256: String,
    /// `sha256/` and the digest of the public key (RFC 7469, section 2.4), as `--pin` takes it;
    /// empty if the key cannot be reached, which no pin equals.
    pub spki_pin: String,
    #[serde(skip)]
    starts: Option<Timestamp>,
    #[serde(skip)]
    ends: Option<Timestamp>,
}

impl CertificateFacts {
    /// The facts of any certificate.
    pub fn of(certificate: &X509Ref) -> Self {
        let der = certificate.to_der().unwrap_or_default();
        let parts = der::parts(&der);
        let extensions = parts.as_ref().map_or(&[][..], |parts| &parts.extensions);
        let spki = spki(certificate, parts.as_ref().map(|parts| parts.spki));
        let sans = match &parts {
            Some(_) => values(extensions, SUBJECT_ALT_NAME).flat_map(general_names).collect(),
            None => certificate.subject_alt_names().iter().flatten().map(general_name).collect(),
        };
        let not_before = time(certificate.not_before());
        let not_after = time(certificate.not_after());
        let facts = Self {
            subject: distinguished_name(certificate.subject_name()),
            issuer: distinguished_name(certificate.issuer_name()),
            serial: certificate
                .serial_number()
                .to_bn()
                .and_then(|number| number.to_hex_str())
                .map(|text| text.to_lowercase())
                .unwrap_or_default(),
            sans,
            not_before: not_before.map(rfc3339),
            not_after: not_after.map(rfc3339),
            key: key(certificate, spki.as_deref()),
            signature_algorithm: signature_algorithm(certificate),
            is_ca: values(extensions, BASIC_CONSTRAINTS).any(is_ca),
            key_usage: values(extensions, KEY_USAGE).flat_map(key_usage).collect(),
            extended_key_usage: values(extensions, EXTENDED_KEY_USAGE).flat_map(purposes).collect(),
            sha256: certificate
                .digest(MessageDigest::sha256())
                .map(|digest| hex(&digest))
                .unwrap_or_default(),
            spki_pin: spki.as_deref().and_then(pin).unwrap_or_default(),
            starts: not_before.map(timestamp),
            ends: not_after.map(timestamp),
        };
        // What could not be decoded left its reasons in the thread's queue, where the next TLS call
        // would take them for its own.
        drop(ErrorStack::get());
        facts
    }

    /// The beginning as an instant; nothing if it cannot be read.
    pub fn starts(&self) -> Option<Timestamp> {
        self.starts
    }

    /// The end as an instant; nothing if it cannot be read.
    ///
    /// An end on the last day of the year 9999 is [`Timestamp::MAX`], which is a day earlier.
    pub fn ends(&self) -> Option<Timestamp> {
        self.ends
    }

    /// Whether it ends within the given time from now, or has ended.
    ///
    /// An end that cannot be read is due: no peer would accept such a certificate.
    pub fn renewal(&self, now: Timestamp, within: Duration) -> Renewal {
        let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
        match self.ends {
            Some(end) if end.duration_since(now) > within => Renewal::Fine,
            _ => Renewal::Due,
        }
    }
}

/// Whether it is time for a new certificate.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Renewal {
    /// The end is near, or past.
    Due,
    /// There is time.
    Fine,
}

/// Whether any certificate of a chain ends within the given time from now; a chain is as good as
/// the certificate in it that ends first.
pub fn renewal<'a>(
    chain: impl IntoIterator<Item = &'a X509Ref>,
    now: Timestamp,
    within: Duration,
) -> Renewal {
    let due = chain
        .into_iter()
        .any(|certificate| CertificateFacts::of(certificate).renewal(now, within) == Renewal::Due);
    if due { Renewal::Due } else { Renewal::Fine }
}

/// The index of the certificate that ends first; one whose end cannot be read is before all others.
pub fn ends_first(chain: &[CertificateFacts]) -> Option<usize> {
    (0..chain.len()).min_by_key(|&at| chain[at].ends)
}

// Object identifiers of extensions, as DER contents (RFC 5280, section 4.2.1).
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

/// The values of every extension with this identifier; there should be at most one.
fn values<'a>(extensions: &[Extension<'a>], oid: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    extensions.iter().filter(move |extension| extension.oid == oid).map(|extension| extension.value)
}

/// `GeneralNames` of RFC 5280, section 4.2.1.6.
fn general_names(value: &[u8]) -> Vec<String> {
    let names = Reader(value).read(tag::SEQUENCE).map(Reader);
    let names: Vec<String> = names
        .into_iter()
        .flatten()
        .map(|name| match name.tag {
            0x81 => format!("EMAIL:{}", latin1(name.contents)),
            0x82 => format!("DNS:{}", latin1(name.contents)),
            0x86 => format!("URI:{}", latin1(name.contents)),
            0x87 => format!("IP:{}", ip_address(name.contents)),
            0x88 => match der::dotted(name.contents) {
                Some(oid) => format!("RID:{oid}"),
                None => format!("RID:#{}", hex(name.contents)),
            },
            0xa4 => match openssl::x509::X509Name::from_der(name.contents) {
                Ok(name) => directory(&name),
                Err(_) => format!("DIR:#{}", hex(name.contents)),
            },
            _ => format!("OTHER:#{}", hex(name.encoding)),
        })
        .collect();
    if names.is_empty() {
        return vec![format!("OTHER:#{}", hex(value))];
    }
    names
}

/// As [`general_names`], through OpenSSL, which does not tell what it cannot decode.
fn general_name(name: &GeneralNameRef) -> String {
    if let Some(text) = name.dnsname() {
        format!("DNS:{text}")
    } else if let Some(octets) = name.ipaddress() {
        format!("IP:{}", ip_address(octets))
    } else if let Some(text) = name.email() {
        format!("EMAIL:{text}")
    } else if let Some(text) = name.uri() {
        format!("URI:{text}")
    } else if let Some(name) = name.directory_name() {
        directory(name)
    } else {
        "OTHER:#".to_owned()
    }
}

fn directory(name: &X509NameRef) -> String {
    format!("DIR:{}", distinguished_name(name))
}

fn latin1(octets: &[u8]) -> String {
    octets.iter().copied().map(char::from).collect()
}

fn ip_address(octets: &[u8]) -> String {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        IpAddr::from(octets).to_string()
    } else if let Ok(octets) = <[u8; 16]>::try_from(octets) {
        IpAddr::from(octets).to_string()
    } else {
        format!("#{}", hex(octets))
    }
}

/// `cA` of `BasicConstraints` (RFC 5280, section 4.2.1.9).
fn is_ca(value: &[u8]) -> bool {
    Reader(value)
        .read(tag::SEQUENCE)
        .and_then(|fields| Reader(fields).read(tag::BOOLEAN))
        .is_some_and(|ca| ca.iter().any(|&octet| octet != 0))
}

fn key_usage(value: &[u8]) -> Vec<String> {
    const BITS: [&str; 9] = [
        "digitalSignature",
        "nonRepudiation",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
        "encipherOnly",
        "decipherOnly",
    ];
    // The first octet counts the unused bits at the end, which are zero.
    let Some([_unused, octets @ ..]) = Reader(value).read(tag::BIT_STRING) else {
        return vec![format!("#{}", hex(value))];
    };
    let is_set =
        |bit: usize| octets.get(bit / 8).is_some_and(|octet| octet & (0x80 >> (bit % 8)) != 0);
    let names = BITS.iter().enumerate();
    names.filter(|(bit, _)| is_set(*bit)).map(|(_, name)| (*name).to_owned()).collect()
}

fn purposes(value: &[u8]) -> Vec<String> {
    let list = Reader(value).read(tag::SEQUENCE).map(Reader);
    list.into_iter()
        .flatten()
        .map(|purpose| match der::dotted(purpose.contents) {
            Some(oid) => object_name(&oid, Nid::short_name),
            None => format!("#{}", hex(purpose.contents)),
        })
        .collect()
}

/// The kind and size of the public key (RFC 5280, section 4.1.2.7).
fn key(certificate: &X509Ref, spki: Option<&[u8]>) -> String {
    let algorithm = spki
        .and_then(|spki| Reader(spki).read(tag::SEQUENCE))
        .and_then(|spki| Reader(spki).read(tag::SEQUENCE))
        .map(Reader);
    let Some(mut algorithm) = algorithm else {
        return "unknown".to_owned();
    };
    let Some(oid) = algorithm.read(tag::OID) else {
        return "unknown".to_owned();
    };
    let Some(oid) = der::dotted(oid) else {
        return format!("#{}", hex(oid));
    };
    let sized = |name: &str| match certificate.public_key() {
        Ok(key) => format!("{name} {}", key.bits()),
        Err(_) => format!("{name} (unreadable)"),
    };
    match oid.as_str() {
        "1.2.840.113549.1.1.1" => sized("RSA"),
        "1.2.840.113549.1.1.10" => sized("RSA-PSS"),
        "1.2.840.10040.4.1" => sized("DSA"),
        "1.2.840.10045.2.1" => match algorithm.read(tag::OID).and_then(der::dotted) {
            Some(curve) => format!("EC {}", curve_name(&curve)),
            // RFC 5480, section 2.1.1 forbids parameters that are spelled out: they can hide a
            // curve that somebody made up.
            None => "EC (no named curve)".to_owned(),
        },
        "1.3.101.110" => "X25519".to_owned(),
        "1.3.101.111" => "X448".to_owned(),
        "1.3.101.112" => "Ed25519".to_owned(),
        "1.3.101.113" => "Ed448".to_owned(),
        other => match ml_dsa(other) {
            Some(name) => name.to_owned(),
            None => object_name(other, Nid::long_name),
        },
    }
}

/// The algorithms of FIPS 204, each for the key and for its signatures (RFC 9881, section 2). OpenSSL
/// has names for them from 3.5 on.
pub(super) const ML_DSA: [(&str, &str); 3] = [
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
];

fn ml_dsa(oid: &str) -> Option<&'static str> {
    ML_DSA.into_iter().find(|(number, _)| *number == oid).map(|(_, name)| name)
}

/// By OpenSSL's name, or the number where it has none.
fn signature_algorithm(certificate: &X509Ref) -> String {
    let name = certificate.signature_algorithm().object().to_string();
    ml_dsa(&name).map_or(name, str::to_owned)
}

/// The names of FIPS 186-5 where there are some, else OpenSSL's.
fn curve_name(oid: &str) -> String {
    match oid {
        "1.2.840.10045.3.1.7" => "P-256".to_owned(),
        "1.3.132.0.34" => "P-384".to_owned(),
        "1.3.132.0.35" => "P-521".to_owned(),
        _ => object_name(oid, Nid::short_name),
    }
}

/// OpenSSL's name of an object identifier, or the identifier itself.
fn object_name(oid: &str, name: impl Fn(&Nid) -> Result<&'static str, ErrorStack>) -> String {
    match Asn1Object::from_str(oid).map(|object| object.nid()) {
        Ok(nid) if nid != Nid::UNDEF => name(&nid).map_or_else(|_| oid.to_owned(), str::to_owned),
        _ => oid.to_owned(),
    }
}

/// The pin of a certificate's key alone, for where the other facts are not wanted.
pub(crate) fn pin_of(certificate: &X509Ref) -> Option<String> {
    let der = certificate.to_der().ok()?;
    let spki = spki(certificate, der::parts(&der).map(|parts| parts.spki));
    // As in `CertificateFacts::of`.
    drop(ErrorStack::get());
    pin(&spki?)
}

/// The public key as it stands in the certificate. OpenSSL reads BER too, where the walk through the
/// DER gives up.
fn spki(certificate: &X509Ref, found: Option<&[u8]>) -> Option<Vec<u8>> {
    match found {
        Some(spki) => Some(spki.to_vec()),
        None => certificate.public_key().and_then(|key| key.public_key_to_der()).ok(),
    }
}

fn pin(spki: &[u8]) -> Option<String> {
    let digest = hash(MessageDigest::sha256(), spki).ok()?;
    Some(format!("sha256/{}", base64::encode_block(&digest)))
}

/// A point in time; `None` when it cannot be read.
pub(crate) fn instant(asn1: &Asn1TimeRef) -> Option<Timestamp> {
    time(asn1).map(timestamp)
}

/// Whether the certificate demands a stapled OCSP response: the TLS feature status_request (RFC 7633,
/// section 4.1). An extension that cannot be read might say so, and counts as if it did.
pub(crate) fn must_staple(certificate: &X509Ref) -> bool {
    // 1.3.6.1.5.5.7.1.24, and the number of status_request in RFC 6066, section 8.
    const TLS_FEATURE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18];
    const STATUS_REQUEST: &[u8] = &[5];
    let der = certificate.to_der().unwrap_or_default();
    let parts = der::parts(&der);
    let extensions = parts.as_ref().map_or(&[][..], |parts| &parts.extensions);
    values(extensions, TLS_FEATURE).any(|value| match Reader(value).read(tag::SEQUENCE) {
        Some(features) => {
            let mut features = Reader(features);
            features
                .by_ref()
                .any(|feature| feature.tag != tag::INTEGER || feature.contents == STATUS_REQUEST)
                || !features.0.is_empty()
        }
        None => true,
    })
}

/// A time of day and date in UTC, by its distance from 1970: OpenSSL gives out no other form that
/// is not text.
fn time(time: &Asn1TimeRef) -> Option<DateTime> {
    let epoch = Asn1Time::from_unix(0).ok()?;
    let distance = epoch.diff(time).ok()?;
    let seconds = i64::from(distance.days) * 86_400 + i64::from(distance.secs);
    let epoch = date(1970, 1, 1).at(0, 0, 0, 0);
    epoch.checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn rfc3339(time: DateTime) -> String {
    format!("{time}Z")
}

/// The instant, or the nearest one that a [`Timestamp`] can hold.
fn timestamp(time: DateTime) -> Timestamp {
    let epoch = date(1970, 1, 1).at(0, 0, 0, 0);
    let seconds = time.duration_since(epoch).as_secs();
    Timestamp::from_second(seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second()))
        .unwrap_or(Timestamp::MAX)
}
