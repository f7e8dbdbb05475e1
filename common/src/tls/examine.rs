//! A chain held against every rule, whichever it breaks first.
//!
//! A connection ends at the first rule that a chain breaks, and that is what [`verify`](super::Verdict)
//! keeps. Whoever looks at somebody's server wants all of them: that it is expired *and* for another
//! name. So here OpenSSL's verification goes on after each.

use super::classify::is_about_lists;
use super::classify::verify_result::*;
use super::error::ConfigError;
use super::failure::rule_of;
use super::name::ServerName;
use super::ocsp::{self, Problem as Unusable, Reading, StapledStatus};
use super::policy::Policy;
use super::trust::Trust;
use crate::pki::inspect::must_staple;
use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::store::X509Store;
use openssl::x509::verify::{X509CheckFlags, X509VerifyParamRef};
use openssl::x509::{X509, X509PurposeId, X509Ref, X509StoreContext, X509VerifyResult};
use std::fmt;

// More of <openssl/x509_vfy.h> (OpenSSL 3.0).
const CERT_SIGNATURE_FAILURE: i32 = 7;
const INVALID_PURPOSE: i32 = 26;
const EE_KEY_TOO_SMALL: i32 = 66;
const CA_KEY_TOO_SMALL: i32 = 67;
const CA_MD_TOO_WEAK: i32 = 68;

/// OpenSSL's security level 2: 112 bits, as SP 800-57 part 1 asks for
/// (X509_VERIFY_PARAM_set_auth_level(3)).
const SECURITY_LEVEL: i32 = 2;
/// A level at which nothing is too weak. A certificate whose key is leaves OpenSSL no word for where its
/// chain leads: "too weak" is all that it says then.
const ANY_STRENGTH: i32 = 0;

/// The trust anchors and revocation lists, loaded once.
pub struct Examiner {
    store: X509Store,
    trust: String,
    revocation: bool,
}

impl fmt::Debug for Examiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examiner").field("trust", &self.trust).finish_non_exhaustive()
    }
}

/// What was found out about a chain.
#[derive(Debug)]
#[non_exhaustive]
pub struct Examined {
    /// Every rule that it breaks; empty if it verifies.
    pub problems: Vec<Problem>,
    /// The chain as OpenSSL built it, as far as it came: the peer's own certificate first, the trust
    /// anchor last if one was found.
    pub path: Vec<X509>,
    /// Whether the last of them is one of the trust anchors. A chain without a problem that is not so
    /// leads nowhere all the same.
    pub anchored: bool,
}

/// A rule that a chain breaks.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// Which kind of rule.
    pub kind: ProblemKind,
    /// OpenSSL's number for it (`X509_V_ERR_…`).
    pub code: i32,
    /// The place in the chain: 0 is the peer's own certificate.
    pub depth: u32,
    /// The rule in OpenSSL's words.
    pub rule: String,
}

/// The kinds of rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// No trust anchor is reached, or a signature is wrong (RFC 5280 section 6.1).
    Trust,
    /// Expired or not yet valid.
    Time,
    /// Another name (RFC 9525).
    Name,
    /// Revoked, or not determinable although lists were given.
    Revocation,
    /// A key or a digest below 112 bits.
    Strength,
    /// Not for a TLS server.
    Usage,
    /// Any other rule of RFC 5280.
    Other,
}

impl ProblemKind {
    fn of(code: i32) -> Self {
        match code {
            UNABLE_TO_GET_ISSUER_CERT
            | UNABLE_TO_GET_ISSUER_CERT_LOCALLY
            | UNABLE_TO_VERIFY_LEAF_SIGNATURE
            | DEPTH_ZERO_SELF_SIGNED_CERT
            | SELF_SIGNED_CERT_IN_CHAIN
            | CERT_UNTRUSTED
            | CERT_SIGNATURE_FAILURE => Self::Trust,
            CERT_NOT_YET_VALID
            | CERT_HAS_EXPIRED
            | ERROR_IN_CERT_NOT_BEFORE_FIELD
            | ERROR_IN_CERT_NOT_AFTER_FIELD => Self::Time,
            HOSTNAME_MISMATCH | IP_ADDRESS_MISMATCH => Self::Name,
            CERT_REVOKED => Self::Revocation,
            code if is_about_lists(code) => Self::Revocation,
            EE_KEY_TOO_SMALL | CA_KEY_TOO_SMALL | CA_MD_TOO_WEAK => Self::Strength,
            INVALID_PURPOSE => Self::Usage,
            _ => Self::Other,
        }
    }
}

impl Examiner {
    /// Loads the anchors and lists.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or does not hold what it should.
    pub fn new(trust: &Trust) -> Result<Self, ConfigError> {
        let store = trust.load()?.store.build();
        Ok(Self { store, trust: trust.describe(), revocation: trust.has_crls() })
    }

    /// Where trust comes from, for messages.
    pub fn trust(&self) -> &str {
        &self.trust
    }

    /// Whether revocation lists were given.
    pub fn checks_revocation(&self) -> bool {
        self.revocation
    }

    /// Holds a server's chain against every rule: that it leads to a trust anchor, the dates, the name,
    /// the strength of keys and digests, the purpose, and revocation where lists were given.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Library`] when OpenSSL cannot even try.
    pub fn examine(
        &self,
        leaf: &X509Ref,
        sent: &[X509],
        name: &ServerName,
    ) -> Result<Examined, ConfigError> {
        let (mut problems, path) = self.verify(leaf, sent, name, ANY_STRENGTH)?;
        problems.retain(|problem| problem.kind != ProblemKind::Strength);
        let (strength, _) = self.verify(leaf, sent, name, SECURITY_LEVEL)?;
        problems.extend(strength.into_iter().filter(|p| p.kind == ProblemKind::Strength));
        let anchors = self.store.all_certificates();
        let anchored = path.last().is_some_and(|last| anchors.iter().any(|it| *it == **last));
        Ok(Examined { problems, path, anchored })
    }

    /// Every rule that a chain breaks at a security level, and the chain as it was built.
    fn verify(
        &self,
        leaf: &X509Ref,
        sent: &[X509],
        name: &ServerName,
        level: i32,
    ) -> Result<(Vec<Problem>, Vec<X509>), ConfigError> {
        let mut chain = Stack::new()?;
        for certificate in sent {
            chain.push(certificate.clone())?;
        }
        let mut path = Vec::new();
        let mut context = X509StoreContext::new()?;
        let found = context.init(&self.store, leaf, &chain, |context| {
            let mut found = crate::ffi::survey::verify_all(context, |param| {
                param.set_auth_level(level);
                param.set_purpose(X509PurposeId::SSL_SERVER)?;
                param.set_hostflags(
                    X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT,
                );
                set_name(param, name)
            })?;
            // Whatever ended it without a word is no pass either.
            let end = context.error();
            if found.is_empty() && end != X509VerifyResult::OK {
                found.push((end.as_raw(), context.error_depth()));
            }
            path.extend(context.chain().into_iter().flatten().map(ToOwned::to_owned));
            Ok(found)
        })?;
        // What it objected to may have left its reasons in the thread's queue.
        drop(ErrorStack::get());
        let mut problems: Vec<Problem> = Vec::new();
        for (code, depth) in found {
            let rule = rule_of(crate::ffi::survey::verify_result(code));
            let problem = Problem { kind: ProblemKind::of(code), code, depth, rule };
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        Ok((problems, path))
    }
}

/// What a stapled OCSP response in DER says of a certificate, as a client of ours reads it under the usual
/// policy. `above` are the
/// certificates among which its issuer is.
pub fn stapled(der: &[u8], leaf: &X509Ref, above: &[X509]) -> StapledStatus {
    let reading = match ocsp::issuer_of(leaf, above.iter().map(AsRef::as_ref)) {
        Some(issuer) => {
            ocsp::read(der, leaf, issuer, Policy::default().parameters(), Timestamp::now())
        }
        None => Reading::failed(Unusable::NoIssuer),
    };
    reading.facts()
}

/// Whether a certificate is refused without a stapled response (RFC 7633).
pub fn demands_staple(leaf: &X509Ref) -> bool {
    must_staple(leaf)
}

fn set_name(param: &mut X509VerifyParamRef, name: &ServerName) -> Result<(), ErrorStack> {
    match name {
        ServerName::Dns(name) => param.set_host(name),
        ServerName::Ip(ip) => param.set_ip(*ip),
    }
}
