//! What the verification of the peer's chain found: the first certificate that broke a rule.
//!
//! OpenSSL reports a failed verification as one word, "certificate verify failed". The callback here
//! runs for every certificate of the chain and keeps which one it was, at which depth, and by which
//! rule. It also adds the two rules that OpenSSL does not know: pins, and what the policy
//! allows.

use super::classify::verify_result::{HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH};
use super::end::Side;
use super::failure::rule_of;
use super::fitness::Fitness;
use super::ocsp::StapledStatus;
use super::trust::Pin;
use crate::ffi::OcspResult;
use crate::pki::CertificateFacts;
use crate::pki::inspect::instant;
use crate::report::Report;
use openssl::asn1::Asn1TimeRef;
use openssl::ssl::{SslRef, SslVerifyMode};
use openssl::x509::{X509Ref, X509StoreContextRef, X509VerifyResult};
use std::sync::{Arc, OnceLock};

/// Why a chain was refused.
#[derive(Clone, Debug)]
pub struct Verdict {
    code: X509VerifyResult,
    depth: u32,
    certificate: Option<CertificateFacts>,
    rule: Rule,
    /// What was wanted instead: a name, a place of trust.
    wanted: String,
    /// The stapled response, where that is what it is about.
    staple: Option<StapledStatus>,
    /// What to do, where that is more than the code tells.
    remedy: Option<&'static str>,
}

#[derive(Clone, Debug)]
enum Rule {
    /// One of RFC 5280's, as OpenSSL words it.
    Chain(String),
    /// The policy does not allow the certificate.
    Policy(String),
    /// No pinned key.
    Pin,
    /// The stapled OCSP response, or that there is none.
    Status(String),
}

impl Verdict {
    /// OpenSSL's code for the rule.
    pub fn code(&self) -> X509VerifyResult {
        self.code
    }

    /// The position in the chain: 0 is the peer's own certificate.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// The certificate that broke the rule.
    pub fn certificate(&self) -> Option<&CertificateFacts> {
        self.certificate.as_ref()
    }

    /// The rule, in words.
    pub fn rule(&self) -> &str {
        match &self.rule {
            Rule::Chain(text) | Rule::Policy(text) | Rule::Status(text) => text,
            Rule::Pin => "no certificate of the chain has a pinned key",
        }
    }

    /// What the peer's own certificate is refused for after its chain has been verified.
    pub(super) fn of_status(
        code: OcspResult,
        leaf: &X509Ref,
        rule: String,
        wanted: String,
        remedy: Option<&'static str>,
    ) -> Self {
        Self {
            code: code.into(),
            depth: 0,
            certificate: Some(CertificateFacts::of(leaf)),
            rule: Rule::Status(rule),
            wanted,
            staple: None,
            remedy,
        }
    }

    pub(super) fn with_staple(self, staple: StapledStatus) -> Self {
        Self { staple: Some(staple), ..self }
    }

    pub(super) fn remedy(&self) -> Option<&'static str> {
        self.remedy
    }

    pub(super) fn is_pin(&self) -> bool {
        matches!(self.rule, Rule::Pin)
    }

    /// Adds the certificate to a report: one line for people, all facts for scripts.
    pub(super) fn describe(&self, report: Report) -> Report {
        let report = report
            .detail("rule", self.rule())
            .detail("depth", self.depth)
            .detail("wanted", self.wanted.as_str());
        let report = match &self.staple {
            Some(staple) => report.detail("ocsp", serde_json::to_value(staple).unwrap_or_default()),
            None => report,
        };
        let Some(certificate) = &self.certificate else {
            return report.explain(self.rule().to_owned());
        };
        let names = match certificate.sans.is_empty() {
            true => "no name".to_owned(),
            false => shorten(&certificate.sans.join(", ")),
        };
        let line = format!(
            "certificate {} of the chain, {} from {}, for {names}, valid {} to {}; {}",
            self.depth,
            shorten(&certificate.subject),
            shorten(&certificate.issuer),
            certificate.not_before.as_deref().unwrap_or("an unreadable date"),
            certificate.not_after.as_deref().unwrap_or("an unreadable date"),
            self.wanted,
        );
        // A struct of strings cannot fail to serialize.
        let facts = serde_json::to_value(certificate).unwrap_or_default();
        report.explain(line).detail("certificate", facts)
    }
}

/// The time for which the revocation list speaks that decided, if one did.
fn list_of(context: &X509StoreContextRef) -> Option<String> {
    let list = crate::ffi::current_crl(context)?;
    let time = |time: &Asn1TimeRef| instant(time).map(|time| time.to_string());
    Some(format!(
        "revocation list: this update {}, next update {}",
        time(list.last_update()).as_deref().unwrap_or("an unreadable date"),
        list.next_update().and_then(time).as_deref().unwrap_or("none"),
    ))
}

/// A certificate may carry ten thousand names; a line of text may not.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Where the callback leaves its verdict; shared by the callback and the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct VerdictSlot(Arc<OnceLock<Verdict>>);

impl VerdictSlot {
    pub(super) fn get(&self) -> Option<Verdict> {
        self.0.get().cloned()
    }

    /// The first verdict counts: later ones may be its consequences.
    pub(super) fn set(&self, verdict: Verdict) {
        let _ = self.0.set(verdict);
    }
}

/// The rules that one end checks on the other's chain.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) fitness: Fitness,
    /// The end whose chain is checked.
    pub(super) owner: Side,
    pub(super) pins: Vec<Pin>,
    /// Where trust comes from, for messages.
    pub(super) trust: String,
}

impl Rules {
    /// Watches the verification of one connection.
    ///
    /// `name` is what the peer must be called, for messages; OpenSSL checks it.
    pub(super) fn watch(
        self: &Arc<Self>,
        ssl: &mut SslRef,
        mode: SslVerifyMode,
        name: Option<String>,
    ) -> VerdictSlot {
        let slot = VerdictSlot::default();
        let (rules, found) = (Arc::clone(self), slot.clone());
        ssl.set_verify_callback(mode, move |ok, context| {
            rules.check(ok, context, name.as_deref(), &found)
        });
        slot
    }

    /// Runs inside OpenSSL, for every certificate from the root to the peer's own: must not panic.
    fn check(
        &self,
        ok: bool,
        context: &mut X509StoreContextRef,
        name: Option<&str>,
        found: &VerdictSlot,
    ) -> bool {
        let depth = context.error_depth();
        let refuse = |context: &mut X509StoreContextRef, rule: Rule, wanted: String| {
            let code = context.error();
            let certificate = context.current_cert().map(CertificateFacts::of);
            let (staple, remedy) = (None, None);
            found.set(Verdict { code, depth, certificate, rule, wanted, staple, remedy });
            false
        };
        if !ok {
            let code = context.error();
            let wanted = match (code.as_raw(), name) {
                (HOSTNAME_MISMATCH | IP_ADDRESS_MISMATCH, Some(name)) => format!("wanted: {name}"),
                _ => match list_of(context) {
                    Some(list) => format!("{list}; trusted: {}", self.trust),
                    None => format!("trusted: {}", self.trust),
                },
            };
            return refuse(context, Rule::Chain(rule_of(code)), wanted);
        }
        let allowed = context.current_cert().map(|certificate| match depth {
            0 => self.fitness.check_own(certificate, self.owner),
            _ => self.fitness.check_issuer(certificate),
        });
        if let Some(Err(reason)) = allowed {
            context.set_error(crate::ffi::certificate_rejected());
            let wanted = format!("policy: {}", self.fitness.policy());
            return refuse(context, Rule::Policy(reason), wanted);
        }
        if depth != 0 {
            return true;
        }
        if !self.pins.is_empty() && !self.has_pinned_key(context) {
            context.set_error(crate::ffi::certificate_rejected());
            let pins: Vec<String> = self.pins.iter().map(Pin::to_string).collect();
            return refuse(context, Rule::Pin, format!("pinned: {}", pins.join(", ")));
        }
        true
    }

    fn has_pinned_key(&self, context: &X509StoreContextRef) -> bool {
        let Some(chain) = context.chain() else {
            return false;
        };
        chain.iter().filter_map(Pin::of).any(|pin| self.pins.contains(&pin))
    }
}
