//! The client's look at the response that a server has stapled to the handshake (RFC 6066 section 8).
//!
//! The status is asked for in every handshake. What comes back:
//!
//! - *nothing*: that is how it ends, unless the certificate demands a response (RFC 7633) or the user does
//!   (`--require-revocation`) and no revocation list has settled it.
//! - *good*: it is noted in the [`TlsSession`](super::TlsSession).
//! - *anything else*: there is no connection. A response that cannot be relied on (stale, of somebody
//!   else, malformed) is as bad as one that says `revoked`, as in Firefox (mozilla::pkix): who could send
//!   none at all and sends a bad one has a fault that its owner must learn of, and a certificate that is
//!   revoked is just what somebody would hide behind a response that nobody can check. A client that
//!   overlooks it rewards that, and lets a broken renewal go unnoticed until the day when it matters.
//!
//! OpenSSL asks the callback when the server's messages are complete: in TLS 1.3 after its Finished, in 1.2
//! after ServerHelloDone. In both cases the client has sent nothing that is worth anything. The alert is
//! bad_certificate_status_response for every refusal; OpenSSL has no way to choose.
//!
//! A resumed session brings no certificate and no status. It stands for the handshake that it comes from;
//! where the status must be proved, nothing is resumed.

use super::ocsp::{self, Finding, Problem, Reading};
use super::policy::{Parameters, Policy};
use super::stapled::{self, Staple};
use super::verify::{Verdict, VerdictSlot};
use crate::ffi::OcspResult;
use crate::pki::inspect::must_staple;
use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslRef, StatusType};
use openssl::x509::{X509, X509Ref};

/// Sees to it that responses to a client's handshakes are looked at.
pub(super) fn install(context: &mut SslContextBuilder, policy: Policy) -> Result<(), ErrorStack> {
    stapled::index()?;
    context.set_status_callback(move |ssl| Ok(check(ssl, policy.parameters())))
}

/// Asks for a status in a client's handshake, and says what depends on it.
pub(super) fn ask(
    ssl: &mut SslRef,
    verdict: Option<VerdictSlot>,
    required: bool,
) -> Result<(), ErrorStack> {
    let index = stapled::index()?;
    ssl.set_ex_data(index, Staple { verdict, required, ..Staple::default() });
    ssl.set_status_type(StatusType::OCSP)
}

/// Runs inside OpenSSL, also where no response came: must not panic.
fn check(ssl: &mut SslRef, parameters: &Parameters) -> bool {
    let Ok(index) = stapled::index() else { return false };
    // TLS 1.3 comes here on a resumed session, too.
    if ssl.session_reused() {
        return true;
    }
    let Some(staple) = ssl.ex_data(index) else { return false };
    let (verdict, required) = (staple.verdict.clone(), staple.required);
    let Some(leaf) = ssl.peer_certificate() else { return false };
    let reading = ssl.ocsp_status().map(|der| read(ssl, der, &leaf, parameters, verdict.is_some()));
    let refusal = match &reading {
        // A leaf that the user trusts by itself has nobody above it who could revoke it (RFC 5280 section
        // 6.1: an anchor is an input). That is no proof of anything, either.
        Some(Reading { finding: Err(Problem::NoIssuer), .. }) if !required => None,
        Some(reading) => refusal(reading, &leaf),
        None => missing(&leaf, required),
    };
    let stapled = reading.as_ref().map(Reading::facts);
    // Of a certificate that is an anchor itself, nobody has looked at when it ends.
    let ends = reading.as_ref().and_then(|reading| reading.period).map(|period| period.ends());
    ssl.set_ex_data(index, Staple { verdict: verdict.clone(), required, stapled, ends });
    match (verdict, refusal) {
        (Some(slot), Some(verdict)) => {
            slot.set(verdict);
            false
        }
        _ => true,
    }
}

fn read(ssl: &SslRef, der: &[u8], leaf: &X509, parameters: &Parameters, verified: bool) -> Reading {
    let chain = if verified { ssl.verified_chain() } else { ssl.peer_cert_chain() };
    let above = chain.into_iter().flatten().skip(1);
    match ocsp::issuer_of(leaf, above) {
        Some(issuer) => ocsp::read(der, leaf, issuer, parameters, Timestamp::now()),
        None => Reading::failed(Problem::NoIssuer),
    }
}

fn refusal(reading: &Reading, leaf: &X509Ref) -> Option<Verdict> {
    let (code, rule, remedy) = match &reading.finding {
        Ok(Finding::Good) => return None,
        Ok(finding @ Finding::Revoked { .. }) => {
            (OcspResult::Revoked, format!("the server's OCSP response says: {finding}"), None)
        }
        Ok(finding @ Finding::Unknown) => (
            OcspResult::Unknown,
            format!("the server's OCSP response says: {finding}"),
            Some("ask the server's administrator: its authority does not vouch for it"),
        ),
        Err(problem @ (Problem::NotYet(_) | Problem::Ended(_))) => (
            OcspResult::Unusable,
            format!("the server's OCSP response cannot be used: {problem}"),
            Some("check this machine's clock; if it is right, the server must renew its response"),
        ),
        Err(Problem::NoIssuer) => (
            OcspResult::Unusable,
            "the server's OCSP response cannot be checked: the certificate is trusted by itself, \
             without an issuer"
                .to_owned(),
            Some("trust its issuer with --ca FILE instead"),
        ),
        Err(problem) => (
            OcspResult::Unusable,
            format!("the server's OCSP response cannot be used: {problem}"),
            Some("the server must staple the response of its certificate's authority, or none"),
        ),
    };
    let period = reading.period.map(|period| period.to_string());
    let said = format!("OCSP response: {}", period.as_deref().unwrap_or("no time can be read"));
    let wanted = match code {
        OcspResult::Revoked => format!("{rule}; {said}"),
        _ => said,
    };
    Some(Verdict::of_status(code, leaf, rule, wanted, remedy).with_staple(reading.facts()))
}

fn missing(leaf: &X509Ref, required: bool) -> Option<Verdict> {
    let code = OcspResult::Missing;
    if must_staple(leaf) {
        let rule = "it must come with an OCSP response (RFC 7633), and the server sent none";
        let remedy = "the server must staple one (sealpair-server: --ocsp-response FILE)";
        let wanted = "wanted: a stapled OCSP response".to_owned();
        return Some(Verdict::of_status(code, leaf, rule.to_owned(), wanted, Some(remedy)));
    }
    required.then(|| {
        let rule = "the server sent no OCSP response, and no revocation list was given";
        let remedy = "let the server staple one (sealpair-server: --ocsp-response FILE), or give the \
                      issuer's revocation list with --crl FILE";
        let wanted = "wanted: a proof that it is not revoked (--require-revocation)".to_owned();
        Verdict::of_status(code, leaf, rule.to_owned(), wanted, Some(remedy))
    })
}
