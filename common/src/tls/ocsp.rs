//! What an OCSP response says of one certificate, and whether that can be relied on (RFC 6960, RFC 5019).
//!
//! ```text
//! bytes ─ parse ─ find the certificate ─ who signed, and how ─ is it current ─▶ Reading
//! ```
//!
//! Both ends ask here: a server before it staples a response, a client before it believes one. Nothing is
//! fetched. The responder's own certificate is not looked up anywhere: RFC 6960 section 4.2.2.2.1 leaves
//! that to its issuer, who gives it a short life.

use super::policy::Parameters;
use super::signed::Signature;
use crate::ffi;
use crate::pki::der::{Reader, tag};
use crate::pki::inspect;
use jiff::{SignedDuration, Timestamp};
use openssl::asn1::Asn1GeneralizedTimeRef;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::ocsp::{
    OcspBasicResponse, OcspBasicResponseRef, OcspCertId, OcspCertStatus, OcspFlag, OcspResponse,
    OcspResponseStatus, OcspRevokedStatus, OcspStatus,
};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509Ref, X509VerifyResult};
use serde::Serialize;
use std::fmt;

/// How far the clocks of a responder and of whoever checks may be apart: five minutes, as in
/// `openssl ocsp` (`-validity_period`) and in curl.
pub(super) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// How long a response without nextUpdate counts. RFC 6960 section 4.2.2.1 has it that there is always a
/// newer one, so whoever keeps one must set a bound; it is a day in Firefox (mozilla::pkix).
const WITHOUT_NEXT_UPDATE: SignedDuration = SignedDuration::from_hours(24);

/// The security level for a responder's certificate: 112 bits, which rules out SHA-1 and RSA below 2048
/// bits; it is that of the policies.
const SECURITY_LEVEL: i32 = 2;

/// What a certificate's authority says of it in a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CertStatus {
    /// It is not revoked.
    Good,
    /// It is revoked, for good or for the time being.
    Revoked,
    /// The responder does not know it.
    Unknown,
    /// The response cannot be relied on, whatever it says.
    Unusable,
}

impl CertStatus {
    /// The word, as JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
            Self::Unusable => "unusable",
        }
    }
}

/// The OCSP response that was stapled to a handshake (RFC 6066 section 8).
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StapledStatus {
    /// What it says. Where the peer is verified it is `good`: with anything else there is no connection;
    /// only a certificate that is itself the trust anchor may come with one that nobody can check.
    pub status: CertStatus,
    /// When that was known to be so, in UTC (RFC 3339); nothing where it cannot be read.
    pub this_update: Option<String>,
    /// When there is newer information, likewise; nothing where the response does not say.
    pub next_update: Option<String>,
    /// Why it cannot be relied on, or since when the certificate is revoked; nothing if it is good.
    pub problem: Option<String>,
}

/// The time for which a response speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Period {
    this_update: Timestamp,
    next_update: Option<Timestamp>,
}

impl Period {
    fn of(status: &OcspStatus<'_>) -> Option<Self> {
        let next_update = match status.next_update() {
            Some(time) => Some(instant(time)?),
            None => None,
        };
        Some(Self { this_update: instant(status.this_update)?, next_update })
    }

    /// When it is not to be relied on any more.
    pub(super) fn ends(&self) -> Timestamp {
        self.next_update.unwrap_or_else(|| {
            self.this_update.checked_add(WITHOUT_NEXT_UPDATE).unwrap_or(Timestamp::MAX)
        })
    }

    /// Whether it holds at this time, by a clock that may be wrong by [`CLOCK_SKEW`].
    fn check(&self, now: Timestamp) -> Result<(), Problem> {
        if self.this_update.duration_since(now) > CLOCK_SKEW {
            return Err(Problem::NotYet(self.this_update));
        }
        if self.ends() < self.this_update || now.duration_since(self.ends()) > CLOCK_SKEW {
            return Err(Problem::Ended(self.ends()));
        }
        Ok(())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this update {}, ", self.this_update)?;
        match self.next_update {
            Some(next) => write!(f, "next update {next}"),
            None => f.write_str("no next update"),
        }
    }
}

/// What a response that can be relied on says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Finding {
    Good,
    Revoked { since: Option<Timestamp>, reason: Option<&'static str> },
    Unknown,
}

/// Why a response cannot be relied on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Problem {
    /// It is no OCSP response, or not in DER.
    Malformed,
    /// The responder gave an error instead of a status.
    Unsuccessful(&'static str),
    /// It says nothing of the certificate.
    OtherCertificate,
    /// It is not signed by the certificate's issuer, nor by whom the issuer has authorised.
    Signer(String),
    /// It is signed with a digest that is not collision-resistant, or that the policy does not allow.
    Signature(String),
    /// Its time has not come.
    NotYet(Timestamp),
    /// Its time is over.
    Ended(Timestamp),
    /// Nobody has said who issued the certificate, so nobody can tell who may speak of it.
    NoIssuer,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("it is malformed"),
            Self::Unsuccessful(word) => {
                write!(f, "it is the responder's error {word}, not a status")
            }
            Self::OtherCertificate => f.write_str("it is for another certificate"),
            Self::Signer(why) => f.write_str(why),
            Self::Signature(digest) => write!(f, "its signature uses {digest}"),
            Self::NotYet(from) => write!(f, "it is of the future: its this update is {from}"),
            Self::Ended(end) => write!(f, "it has ended: a newer one was due at {end}"),
            Self::NoIssuer => f.write_str("the certificate's issuer is not known here"),
        }
    }
}

/// A response that has been read: what it says or why that does not count, and its time where it has one.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) period: Option<Period>,
    pub(super) finding: Result<Finding, Problem>,
}

impl Reading {
    /// A reading that has not come far.
    pub(super) fn failed(problem: Problem) -> Self {
        Self { period: None, finding: Err(problem) }
    }

    /// The reading as facts of a connection.
    pub(super) fn facts(&self) -> StapledStatus {
        let status = match &self.finding {
            Ok(Finding::Good) => CertStatus::Good,
            Ok(Finding::Revoked { .. }) => CertStatus::Revoked,
            Ok(Finding::Unknown) => CertStatus::Unknown,
            Err(_) => CertStatus::Unusable,
        };
        StapledStatus {
            status,
            this_update: self.period.map(|period| period.this_update.to_string()),
            next_update: self.period.and_then(|period| period.next_update).map(|t| t.to_string()),
            problem: match &self.finding {
                Ok(Finding::Good) => None,
                Ok(finding) => Some(finding.to_string()),
                Err(problem) => Some(problem.to_string()),
            },
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("the certificate is good"),
            Self::Unknown => f.write_str("the responder does not know the certificate"),
            Self::Revoked { since, reason } => {
                f.write_str("the certificate is revoked")?;
                if let Some(since) = since {
                    write!(f, " since {since}")?;
                }
                match reason {
                    Some(reason) => write!(f, " ({reason})"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Reads what a response in DER says of a certificate at a time. What says something of a
/// certificate is signed as well as a certificate must be under the policy of these parameters.
pub(super) fn read(
    der: &[u8],
    leaf: &X509Ref,
    issuer: &X509Ref,
    parameters: &Parameters,
    now: Timestamp,
) -> Reading {
    let reading = match basic(der) {
        Ok(response) => of_basic(&response, der, leaf, issuer, parameters, now),
        Err(problem) => Reading::failed(problem),
    };
    // What could not be used left its reasons in the thread's queue, where the next TLS call would take
    // them for its own.
    drop(ErrorStack::get());
    reading
}

fn basic(der: &[u8]) -> Result<OcspBasicResponse, Problem> {
    let response = OcspResponse::from_der(der).map_err(|_| Problem::Malformed)?;
    let status = response.status();
    if status != OcspResponseStatus::SUCCESSFUL {
        // The names of RFC 6960 section 4.2.1.
        return Err(Problem::Unsuccessful(match status {
            OcspResponseStatus::MALFORMED_REQUEST => "malformedRequest",
            OcspResponseStatus::INTERNAL_ERROR => "internalError",
            OcspResponseStatus::TRY_LATER => "tryLater",
            OcspResponseStatus::SIG_REQUIRED => "sigRequired",
            OcspResponseStatus::UNAUTHORIZED => "unauthorized",
            _ => "(an unknown one)",
        }));
    }
    response.basic().map_err(|_| Problem::Malformed)
}

fn of_basic(
    response: &OcspBasicResponseRef,
    der: &[u8],
    leaf: &X509Ref,
    issuer: &X509Ref,
    parameters: &Parameters,
    now: Timestamp,
) -> Reading {
    // The digest here only names the issuer; nothing relies on its strength. SHA-1 is what RFC 5019
    // demands, RFC 9654 has SHA-256 beside it.
    let ids = [MessageDigest::sha1(), MessageDigest::sha256()]
        .map(|digest| OcspCertId::from_cert(digest, leaf, issuer).ok());
    let Some(status) = ids.iter().flatten().find_map(|id| response.find_status(id)) else {
        return Reading::failed(Problem::OtherCertificate);
    };
    let period = Period::of(&status);
    let finding = signed_by(response, der, issuer, parameters, now).and_then(|()| {
        period.ok_or(Problem::Malformed)?.check(now)?;
        Ok(match status.status {
            OcspCertStatus::GOOD => Finding::Good,
            OcspCertStatus::REVOKED => Finding::Revoked {
                since: status.revocation_time.and_then(instant),
                reason: reason(status.reason),
            },
            _ => Finding::Unknown,
        })
    });
    Reading { period, finding }
}

/// Whether the certificate's issuer has signed the response, or somebody whom that very issuer has given a
/// certificate for it (RFC 6960 section 4.2.2.2).
fn signed_by(
    response: &OcspBasicResponseRef,
    der: &[u8],
    issuer: &X509Ref,
    parameters: &Parameters,
    now: Timestamp,
) -> Result<(), Problem> {
    let signature = signature(der).ok_or(Problem::Malformed)?;
    signature.check(parameters).map_err(Problem::Signature)?;
    let library = |stack: ErrorStack| Problem::Signer(stack.to_string());
    // The issuer and nobody else: it has been verified already, or is our own. What the response brings
    // along can lead to it, but is not trusted.
    let store = only(issuer, now).map_err(library)?;
    let mut candidates = Stack::new().map_err(library)?;
    candidates.push(issuer.to_owned()).map_err(library)?;
    // Without the flag, a root whose file marks it as trusted for OCSP could sign for any authority.
    response
        .verify(&candidates, &store, OcspFlag::NO_EXPLICIT)
        .map_err(|stack| Problem::Signer(unauthorised(&stack)))
}

fn only(issuer: &X509Ref, now: Timestamp) -> Result<X509Store, ErrorStack> {
    let mut param = X509VerifyParam::new()?;
    param.set_auth_level(SECURITY_LEVEL);
    param.set_time(now.as_second());
    // The issuer is often an intermediate.
    param.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    let mut store = X509StoreBuilder::new()?;
    store.set_param(&param)?;
    store.add_cert(issuer.to_owned())?;
    Ok(store.build())
}

/// OpenSSL's reasons (<openssl/ocsperr.h>, by their texts: the crate has no constants) in words that say
/// whose mistake it is.
fn unauthorised(stack: &ErrorStack) -> String {
    const NOT_ISSUER: &str = "it is not signed by the certificate's issuer";
    for error in stack.errors() {
        return match error.reason() {
            Some("missing ocspsigning usage") => {
                "its signer's certificate is not for signing OCSP responses (no id-kp-OCSPSigning, \
                 RFC 6960 section 4.2.2.2)"
                    .to_owned()
            }
            Some("signer certificate not found") => {
                format!("{NOT_ISSUER}, and brings no certificate of another signer")
            }
            Some("certificate verify error") => match error.data() {
                Some(data) => {
                    let why = data.strip_prefix("Verify error:").unwrap_or(data).trim();
                    format!("its signer's certificate does not verify under the issuer: {why}")
                }
                None => "its signer's certificate does not verify under the issuer".to_owned(),
            },
            Some("signature failure") => "its signature is wrong".to_owned(),
            // What led to one of the others.
            _ => continue,
        };
    }
    format!("{NOT_ISSUER}, nor by anybody whom that issuer has authorised")
}

/// The response's signature. Nothing when the response is not in DER, which RFC 6960 section
/// 4.2.1 demands.
fn signature(der: &[u8]) -> Option<Signature> {
    let whole = Reader(der).next().filter(|whole| whole.tag == tag::SEQUENCE)?;
    // What is behind it OpenSSL would overlook, and a server would send.
    if whole.encoding.len() != der.len() {
        return None;
    }
    let mut response = Reader(whole.contents);
    let _status = response.read(tag::ENUMERATED)?;
    let mut bytes = Reader(Reader(response.read(tag::CONTEXT_0)?).read(tag::SEQUENCE)?);
    let _kind = bytes.read(tag::OID)?;
    let mut basic = Reader(Reader(bytes.read(tag::OCTET_STRING)?).read(tag::SEQUENCE)?);
    let _data = basic.read(tag::SEQUENCE)?;
    Signature::of(basic.read(tag::SEQUENCE)?)
}

/// The certificate among these that issued the leaf: by name, and by its signature.
pub(super) fn issuer_of<'a>(
    leaf: &X509Ref,
    candidates: impl IntoIterator<Item = &'a X509Ref>,
) -> Option<&'a X509Ref> {
    let found = candidates.into_iter().find(|candidate| {
        candidate.issued(leaf) == X509VerifyResult::OK
            && candidate.public_key().is_ok_and(|key| leaf.verify(&key).unwrap_or(false))
    });
    drop(ErrorStack::get());
    found
}

fn instant(time: &Asn1GeneralizedTimeRef) -> Option<Timestamp> {
    inspect::instant(ffi::as_time(time))
}

/// The names of RFC 5280 section 5.3.1.
fn reason(reason: OcspRevokedStatus) -> Option<&'static str> {
    Some(match reason.as_raw() {
        0 => "unspecified",
        1 => "keyCompromise",
        2 => "cACompromise",
        3 => "affiliationChanged",
        4 => "superseded",
        5 => "cessationOfOperation",
        6 => "certificateHold",
        8 => "removeFromCRL",
        9 => "privilegeWithdrawn",
        10 => "aACompromise",
        _ => return None,
    })
}

/// The DER of a response that is in DER, or in PEM as GnuTLS's `ocsptool --outpem` writes it.
pub(super) fn from_file(content: &[u8]) -> Option<Vec<u8>> {
    const BEGIN: &str = "-----BEGIN OCSP RESPONSE-----";
    const END: &str = "-----END OCSP RESPONSE-----";
    let text = std::str::from_utf8(content).ok().and_then(|text| text.split_once(BEGIN));
    let Some((_, text)) = text else { return Some(content.to_owned()) };
    let base64: String = text.split_once(END)?.0.split_ascii_whitespace().collect();
    openssl::base64::decode_block(&base64).ok()
}

#[cfg(test)]
#[path = "ocsp_tests.rs"]
mod tests;
