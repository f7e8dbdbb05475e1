//! From what OpenSSL and the socket say to one reason.
//!
//! It is told in four places, which are looked at in this order: the verify callback (which certificate
//! of the chain, which rule), the I/O error below OpenSSL, the error queue (what this end objected to,
//! or which alert it received), and the first bytes of a peer that does not speak TLS at all.

use self::verify_result::*;
use super::demands::lacked_extended_master_secret;
use super::end::{Side, Situation};
use super::failure::Reason;
use super::verify::Verdict;
use openssl::ssl;
use std::io;

// What a module says that checks it (`tls1-prf-ems-check`): <openssl/proverr.h> of 3.1.
const PROV_R_EMS_NOT_ENABLED: i32 = 233;
const ERR_LIB_PROV: i32 = 57;

// OpenSSL's reason codes (<openssl/sslerr.h> of 3.0; they do not change within a major version).
const SSL_R_HTTPS_PROXY_REQUEST: i32 = 155;
const SSL_R_HTTP_REQUEST: i32 = 156;
const SSL_R_NO_PROTOCOLS_AVAILABLE: i32 = 191;
const SSL_R_NO_SHARED_CIPHER: i32 = 193;
const SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: i32 = 199;
const SSL_R_NO_SUITABLE_KEY_SHARE: i32 = 101;
const SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM: i32 = 118;
const SSL_R_NO_APPLICATION_PROTOCOL: i32 = 235;
const SSL_R_UNSUPPORTED_PROTOCOL: i32 = 258;
const SSL_R_WRONG_SSL_VERSION: i32 = 266;
const SSL_R_WRONG_VERSION_NUMBER: i32 = 267;
const SSL_R_NO_SUITABLE_GROUPS: i32 = 295;
/// Received alerts are reported as this plus the number of the alert.
const SSL_AD_REASON_OFFSET: i32 = 1000;
const ERR_LIB_SSL: i32 = 20;

/// OpenSSL's verify results by their names without `X509_V_ERR_` (<openssl/x509_vfy.h> of 3.0).
pub(super) mod verify_result {
    pub(in crate::tls) const UNABLE_TO_GET_ISSUER_CERT: i32 = 2;
    pub(in crate::tls) const UNABLE_TO_GET_CRL: i32 = 3;
    pub(in crate::tls) const UNABLE_TO_DECRYPT_CRL_SIGNATURE: i32 = 5;
    pub(in crate::tls) const CRL_SIGNATURE_FAILURE: i32 = 8;
    pub(in crate::tls) const CERT_NOT_YET_VALID: i32 = 9;
    pub(in crate::tls) const CERT_HAS_EXPIRED: i32 = 10;
    pub(in crate::tls) const CRL_NOT_YET_VALID: i32 = 11;
    pub(in crate::tls) const CRL_HAS_EXPIRED: i32 = 12;
    pub(in crate::tls) const ERROR_IN_CERT_NOT_BEFORE_FIELD: i32 = 13;
    pub(in crate::tls) const ERROR_IN_CERT_NOT_AFTER_FIELD: i32 = 14;
    pub(in crate::tls) const ERROR_IN_CRL_LAST_UPDATE_FIELD: i32 = 15;
    pub(in crate::tls) const ERROR_IN_CRL_NEXT_UPDATE_FIELD: i32 = 16;
    pub(in crate::tls) const DEPTH_ZERO_SELF_SIGNED_CERT: i32 = 18;
    pub(in crate::tls) const SELF_SIGNED_CERT_IN_CHAIN: i32 = 19;
    pub(in crate::tls) const UNABLE_TO_GET_ISSUER_CERT_LOCALLY: i32 = 20;
    pub(in crate::tls) const UNABLE_TO_VERIFY_LEAF_SIGNATURE: i32 = 21;
    pub(in crate::tls) const CERT_REVOKED: i32 = 23;
    pub(in crate::tls) const CERT_UNTRUSTED: i32 = 27;
    pub(in crate::tls) const UNABLE_TO_GET_CRL_ISSUER: i32 = 33;
    pub(in crate::tls) const KEYUSAGE_NO_CRL_SIGN: i32 = 35;
    pub(in crate::tls) const UNHANDLED_CRITICAL_CRL_EXTENSION: i32 = 36;
    pub(in crate::tls) const DIFFERENT_CRL_SCOPE: i32 = 44;
    pub(in crate::tls) const CRL_PATH_VALIDATION_ERROR: i32 = 54;
    pub(in crate::tls) const HOSTNAME_MISMATCH: i32 = 62;
    pub(in crate::tls) const IP_ADDRESS_MISMATCH: i32 = 64;
    pub(in crate::tls) const OCSP_VERIFY_NEEDED: i32 = 94;
    pub(in crate::tls) const OCSP_VERIFY_FAILED: i32 = 95;
    pub(in crate::tls) const OCSP_CERT_UNKNOWN: i32 = 96;
}

pub(super) fn of_verdict(verdict: &Verdict) -> Reason {
    if verdict.is_pin() {
        return Reason::PeerCertificatePin;
    }
    match verdict.code().as_raw() {
        UNABLE_TO_GET_ISSUER_CERT
        | UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        | UNABLE_TO_VERIFY_LEAF_SIGNATURE
        | CERT_UNTRUSTED => Reason::PeerCertificateIssuerUnknown,
        DEPTH_ZERO_SELF_SIGNED_CERT => Reason::PeerCertificateSelfSigned,
        SELF_SIGNED_CERT_IN_CHAIN => Reason::PeerCertificateRootUntrusted,
        CERT_HAS_EXPIRED | ERROR_IN_CERT_NOT_AFTER_FIELD => Reason::PeerCertificateExpired,
        CERT_NOT_YET_VALID | ERROR_IN_CERT_NOT_BEFORE_FIELD => Reason::PeerCertificateNotYetValid,
        HOSTNAME_MISMATCH | IP_ADDRESS_MISMATCH => Reason::PeerCertificateName,
        CERT_REVOKED => Reason::PeerCertificateRevoked,
        OCSP_VERIFY_NEEDED | OCSP_VERIFY_FAILED | OCSP_CERT_UNKNOWN => {
            Reason::PeerCertificateRevocationUnknown
        }
        code if is_about_lists(code) => Reason::PeerCertificateRevocationUnknown,
        _ => Reason::PeerCertificateUnfit,
    }
}

/// Whether a rule is about a revocation list and not about the certificate itself.
pub(super) const fn is_about_lists(code: i32) -> bool {
    matches!(
        code,
        UNABLE_TO_GET_CRL
            | UNABLE_TO_DECRYPT_CRL_SIGNATURE
            | CRL_SIGNATURE_FAILURE
            | CRL_NOT_YET_VALID
            | CRL_HAS_EXPIRED
            | ERROR_IN_CRL_LAST_UPDATE_FIELD
            | ERROR_IN_CRL_NEXT_UPDATE_FIELD
            | UNABLE_TO_GET_CRL_ISSUER
            | KEYUSAGE_NO_CRL_SIGN
            | UNHANDLED_CRITICAL_CRL_EXTENSION
            | DIFFERENT_CRL_SCOPE
            | CRL_PATH_VALIDATION_ERROR
    )
}

pub(super) fn of_error(situation: &Situation<'_>, error: &ssl::Error) -> Reason {
    if let Some(io) = error.io_error() {
        return match io.kind() {
            // Only an end before or amid TLS can look like something else than TLS.
            io::ErrorKind::UnexpectedEof => not_tls(situation).unwrap_or(Reason::Closed),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Reason::Deadline,
            kind => Reason::Io(kind),
        };
    }
    let Some(stack) = error.ssl_error() else {
        return Reason::Protocol;
    };
    if lacked_extended_master_secret(situation.ssl)
        || stack.errors().iter().any(|error| {
            (error.library_code(), error.reason_code()) == (ERR_LIB_PROV, PROV_R_EMS_NOT_ENABLED)
        })
    {
        return Reason::NoExtendedMasterSecret;
    }
    let ours = stack.errors().iter().find(|error| error.library_code() == ERR_LIB_SSL);
    match ours.map(|error| error.reason_code()) {
        None => Reason::Internal,
        Some(
            SSL_R_UNSUPPORTED_PROTOCOL
            | SSL_R_NO_PROTOCOLS_AVAILABLE
            | SSL_R_WRONG_SSL_VERSION
            | SSL_R_WRONG_VERSION_NUMBER
            | SSL_R_HTTP_REQUEST
            | SSL_R_HTTPS_PROXY_REQUEST,
        ) => not_tls(situation).unwrap_or(Reason::NoSharedVersion),
        Some(
            SSL_R_NO_SHARED_CIPHER
            | SSL_R_NO_SUITABLE_KEY_SHARE
            | SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM
            | SSL_R_NO_SUITABLE_GROUPS,
        ) => Reason::NoSharedParameters,
        Some(SSL_R_NO_APPLICATION_PROTOCOL) => Reason::NoSharedApplicationProtocol,
        Some(SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) => Reason::PeerCertificateMissing,
        Some(code) => match u8::try_from(code - SSL_AD_REASON_OFFSET) {
            Ok(alert) => of_alert(situation, alert),
            Err(_) => not_tls(situation).unwrap_or(Reason::Protocol),
        },
    }
}

fn of_alert(situation: &Situation<'_>, alert: u8) -> Reason {
    match alert {
        116 => Reason::OwnCertificateMissing,
        // TLS 1.2 has no alert for a missing client certificate; OpenSSL says handshake_failure.
        40 if situation.was_asked_in_vain() => Reason::OwnCertificateMissing,
        // A server says this when nothing is in common. A client that says it has seen our choice, and
        // has some other objection.
        40 if situation.side == Side::Server => Reason::Alert(40),
        40 | 71 => Reason::NoSharedParameters,
        70 => Reason::NoSharedVersion,
        120 => Reason::NoSharedApplicationProtocol,
        // No server sends it. OpenSSL 3.6 parses the server's OCSP response by itself, and this is what it
        // reports when it cannot.
        113 if situation.side == Side::Client => Reason::PeerCertificateRevocationUnknown,
        // no_certificate, bad, unsupported, revoked, expired, unknown certificate; unknown_ca,
        // access_denied; bad_certificate_status_response
        41..=46 | 48 | 49 | 113 => Reason::OwnCertificateRefused(alert),
        _ => Reason::Alert(alert),
    }
}

/// Whether what the peer said first is no TLS record (content type 20 to 23, major version 3).
fn not_tls(situation: &Situation<'_>) -> Option<Reason> {
    let first = situation.first_bytes;
    let is_record = matches!(first, [20..=23, 3, ..] | [20..=23] | []);
    if is_record {
        return None;
    }
    const METHODS: [&[u8]; 8] =
        [b"HTTP/", b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS", b"CONNECT"];
    let http = METHODS.iter().any(|word| {
        let length = word.len().min(first.len());
        length >= 4 && first[..length] == word[..length]
    });
    Some(Reason::NotTls { http })
}

/// The name of an alert (RFC 8446 section 6, and the IANA registry for those of TLS 1.2).
pub fn alert_name(alert: u8) -> &'static str {
    match alert {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "an unknown alert",
    }
}
