//! What the certificates of authorities and leaves have in common.

use super::PkiError;
use super::error::crypto;
use crate::ffi;
use jiff::{SignedDuration, Timestamp};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, KeyType, PKeyRef, Private};
use openssl::x509::{X509, X509Builder, X509Name, X509NameRef};

/// How long before now a certificate begins by default: 1 hour.
///
/// A peer whose clock is behind would otherwise refuse a certificate that was just made.
pub(super) const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(1);

/// The fields that every certificate has (RFC 5280, section 4.1), to which extensions are added.
pub(super) fn builder(
    subject: &X509NameRef,
    issuer: &X509NameRef,
    key: &PKeyRef<Private>,
    (not_before, not_after): (Timestamp, Timestamp),
) -> Result<X509Builder, PkiError> {
    let invalid = |_| PkiError::Validity { not_before, not_after };
    // Whole seconds are all that a certificate can hold. OpenSSL would write an earlier year with a
    // minus sign, which nobody can read.
    if not_before.as_second() >= not_after.as_second() || not_before.as_second() < YEAR_0 {
        return Err(invalid(ErrorStack::get()));
    }
    let begin = Asn1Time::from_unix(not_before.as_second()).map_err(invalid)?;
    let end = Asn1Time::from_unix(not_after.as_second()).map_err(invalid)?;
    (|| {
        let mut certificate = X509Builder::new()?;
        certificate.set_version(VERSION_3)?;
        let serial = serial_number()?.to_asn1_integer()?;
        certificate.set_serial_number(&serial)?;
        certificate.set_subject_name(subject)?;
        certificate.set_issuer_name(issuer)?;
        certificate.set_not_before(&begin)?;
        certificate.set_not_after(&end)?;
        certificate.set_pubkey(key)?;
        Ok(certificate)
    })()
    .map_err(crypto("making a certificate"))
}

/// A subject of one common name, or an empty one.
///
/// The caller has checked the length, which OpenSSL would refuse less clearly.
pub(super) fn subject(common_name: Option<&str>) -> Result<X509Name, PkiError> {
    (|| {
        let mut name = X509Name::builder()?;
        if let Some(text) = common_name {
            name.append_entry_by_nid(Nid::COMMONNAME, text)?;
        }
        Ok(name.build())
    })()
    .map_err(crypto("making a subject"))
}

/// Signs what has been built.
pub(super) fn sign(
    mut certificate: X509Builder,
    key: &PKeyRef<Private>,
) -> Result<X509, ErrorStack> {
    match digest(key) {
        Some(digest) => {
            certificate.sign(key, digest)?;
            Ok(certificate.build())
        }
        None => ffi::sign_without_digest(certificate, key),
    }
}

/// The digest to sign with: as strong as the key, so SHA-256 for P-256 and RSA below 3072 bits, SHA-384 for
/// P-384 and larger RSA keys, SHA-512 for P-521. None for ML-DSA, which signs the message itself (RFC 9881, section 3).
fn digest(key: &PKeyRef<Private>) -> Option<MessageDigest> {
    if is_ml_dsa(key) {
        return None;
    }
    Some(match (key.id(), key.bits()) {
        (Id::EC, 257..=384) => MessageDigest::sha384(),
        (Id::EC, 385..) => MessageDigest::sha512(),
        // 128 bits; RFC 8603 demands SHA-384 or SHA-512.
        (Id::RSA, 3072..) => MessageDigest::sha384(),
        _ => MessageDigest::sha256(),
    })
}

/// Whether this is a key of FIPS 204, of any size. Such a key has no [`Id`].
pub(super) fn is_ml_dsa(key: &PKeyRef<Private>) -> bool {
    [KeyType::ML_DSA_44, KeyType::ML_DSA_65, KeyType::ML_DSA_87]
        .into_iter()
        .any(|kind| key.is_a(kind))
}

/// 0000-01-01T00:00:00Z in seconds before 1970: a year has four digits and no sign (RFC 5280, section
/// 4.1.2.5.2).
const YEAR_0: i64 = -62_167_219_200;

/// Version 3 is written as 2 (RFC 5280, section 4.1.2.1).
const VERSION_3: i32 = 2;

/// A positive number of 128 bits, all but the highest random: unique without a record of what was
/// issued, never zero, and below the 20 octets of RFC 5280, section 4.1.2.2.
fn serial_number() -> Result<BigNum, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(128, MsbOption::ONE, false)?;
    Ok(serial)
}
