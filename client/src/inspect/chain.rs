//! A certificate chain, with every check explained: whether it passes or not.

use super::registry::Version;
use jiff::Timestamp;
use openssl::x509::{X509, X509VerifyResult};
use sealpair_common::pki::CertificateFacts;
use sealpair_common::tls::examine::{Examined, Examiner, Problem, ProblemKind};
use sealpair_common::tls::{ConfigError, ServerName};
use serde::Serialize;

/// A chain that the endpoint presents, and what is to be said about it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Chain {
    /// Whether every check passes.
    pub valid: bool,
    /// The versions in which it was presented.
    pub versions: Vec<Version>,
    /// Every check, whether it passes or not.
    pub checks: Vec<Check>,
    /// The certificates as they were sent, the server's own first.
    pub certificates: Vec<CertificateFacts>,
    #[serde(skip)]
    pub(super) sent: Vec<X509>,
    /// The issuer of the server's own certificate, sent or trusted.
    #[serde(skip)]
    pub(super) issuer: Option<X509>,
}

/// One check of a chain.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// `trust`, `dates`, `name`, `key`, `signature`, `usage`, `order`, `revocation`, `standard`.
    pub check: &'static str,
    /// Whether it passes.
    pub passed: bool,
    /// Why, or what is wrong.
    pub explanation: String,
}

impl Check {
    fn pass(check: &'static str, explanation: impl Into<String>) -> Self {
        Self { check, passed: true, explanation: explanation.into() }
    }

    fn fail(check: &'static str, explanation: impl Into<String>) -> Self {
        Self { check, passed: false, explanation: explanation.into() }
    }
}

/// Explains a chain that is not empty.
///
/// # Errors
///
/// When OpenSSL cannot even try to verify it.
pub(super) fn explain(
    sent: Vec<X509>,
    versions: Vec<Version>,
    examiner: &Examiner,
    name: &ServerName,
    now: Timestamp,
) -> Result<Option<Chain>, ConfigError> {
    let Some(leaf) = sent.first() else {
        return Ok(None);
    };
    let facts: Vec<CertificateFacts> = sent.iter().map(|cert| CertificateFacts::of(cert)).collect();
    let examined = examiner.examine(leaf, sent.get(1..).unwrap_or_default(), name)?;
    let explained = Explained { facts: &facts, sent: &sent, examined: &examined };
    let mut checks = vec![
        explained.trust(examiner.trust()),
        explained.dates(now),
        explained.name(name),
        explained.key(),
        explained.signature(),
        explained.usage(),
        explained.order(),
    ];
    if examiner.checks_revocation() {
        checks.push(explained.of_kind(
            "revocation",
            ProblemKind::Revocation,
            "no certificate of the chain is on the lists given",
        ));
    }
    let others = explained.problems(ProblemKind::Other);
    if !others.is_empty() {
        checks.push(Check::fail("standard", explained.told(&others)));
    }
    let valid = checks.iter().all(|check| check.passed);
    let issuer = examined.path.get(1).or_else(|| sent.get(1)).cloned();
    Ok(Some(Chain { valid, versions, checks, certificates: facts, sent, issuer }))
}

struct Explained<'a> {
    facts: &'a [CertificateFacts],
    sent: &'a [X509],
    examined: &'a Examined,
}

impl Explained<'_> {
    fn problems(&self, kind: ProblemKind) -> Vec<&Problem> {
        self.examined.problems.iter().filter(|problem| problem.kind == kind).collect()
    }

    fn told(&self, problems: &[&Problem]) -> String {
        let each = problems.iter().map(|p| format!("certificate {}: {}", p.depth, p.rule));
        each.collect::<Vec<_>>().join("; ")
    }

    fn of_kind(&self, check: &'static str, kind: ProblemKind, fine: &str) -> Check {
        let problems = self.problems(kind);
        match problems.is_empty() {
            true => Check::pass(check, fine),
            false => Check::fail(check, self.told(&problems)),
        }
    }

    fn trust(&self, trusted: &str) -> Check {
        let problems = self.problems(ProblemKind::Trust);
        if problems.is_empty() {
            let anchor =
                self.examined.path.last().map(|anchor| CertificateFacts::of(anchor).subject);
            let anchor = anchor.unwrap_or_default();
            return Check::pass("trust", format!("it leads to {anchor}; trusted: {trusted}"));
        }
        Check::fail("trust", format!("{}; trusted: {trusted}", self.told(&problems)))
    }

    fn dates(&self, now: Timestamp) -> Check {
        let mut wrong = Vec::new();
        for (at, facts) in self.facts.iter().enumerate() {
            match (facts.starts(), facts.ends()) {
                (Some(starts), _) if starts > now => {
                    wrong.push(format!("certificate {at} is not valid before {starts}"));
                }
                (_, Some(ends)) if ends < now => {
                    wrong.push(format!("certificate {at} expired on {ends}"));
                }
                (Some(_), Some(_)) => {}
                _ => wrong.push(format!("the dates of certificate {at} cannot be read")),
            }
        }
        // The anchor is not among those that were sent.
        if wrong.is_empty() {
            let problems = self.problems(ProblemKind::Time);
            if !problems.is_empty() {
                wrong.push(self.told(&problems));
            }
        }
        if !wrong.is_empty() {
            return Check::fail("dates", wrong.join("; "));
        }
        let first = self.facts.iter().enumerate().filter_map(|(at, f)| Some((f.ends()?, at))).min();
        let (ends, at) = first.unwrap_or((now, 0));
        let days = ends.duration_since(now).as_hours() / 24;
        Check::pass("dates", format!("certificate {at} ends first, in {days} days, on {ends}"))
    }

    fn name(&self, name: &ServerName) -> Check {
        let sans = self.facts.first().map(|facts| facts.sans.as_slice()).unwrap_or_default();
        let names = match sans.is_empty() {
            true => "no name (subject alternative name) at all".to_owned(),
            false => shorten(&sans.join(", ")),
        };
        match self.problems(ProblemKind::Name).is_empty() {
            true => Check::pass("name", format!("{name} is among {names}")),
            false => Check::fail("name", format!("{name} is wanted; it is for {names}")),
        }
    }

    fn key(&self) -> Check {
        let keys: Vec<&str> = self.facts.iter().map(|facts| facts.key.as_str()).collect();
        let keys = keys.join(", ");
        /// X509_V_ERR_CA_MD_TOO_WEAK, which is about the signature.
        const CA_MD_TOO_WEAK: i32 = 68;
        let mut problems = self.problems(ProblemKind::Strength);
        problems.retain(|problem| problem.code != CA_MD_TOO_WEAK);
        match problems.is_empty() {
            true => Check::pass("key", keys),
            false => Check::fail("key", format!("{}: {keys}", self.told(&problems))),
        }
    }

    fn signature(&self) -> Check {
        let mut weak = Vec::new();
        for (at, facts) in self.facts.iter().enumerate() {
            // Nobody relies on the signature of a root.
            let root = at > 0 && facts.subject == facts.issuer;
            let algorithm = facts.signature_algorithm.to_ascii_lowercase();
            if !root && (algorithm.contains("sha1") || algorithm.starts_with("md")) {
                weak.push(format!("certificate {at} is signed with {}", facts.signature_algorithm));
            }
        }
        if !weak.is_empty() {
            return Check::fail("signature", weak.join("; "));
        }
        let all: Vec<&str> = self.facts.iter().map(|f| f.signature_algorithm.as_str()).collect();
        Check::pass("signature", all.join(", "))
    }

    fn usage(&self) -> Check {
        let Some(leaf) = self.facts.first() else {
            return Check::fail("usage", "there is no certificate");
        };
        let problems = self.problems(ProblemKind::Usage);
        let purposes = &leaf.extended_key_usage;
        if !problems.is_empty() {
            let allowed = match purposes.is_empty() {
                true => leaf.key_usage.join(", "),
                false => purposes.join(", "),
            };
            return Check::fail("usage", format!("{}: {allowed}", self.told(&problems)));
        }
        match purposes.is_empty() {
            true => Check::pass("usage", "its extended key usage restricts nothing"),
            false => Check::pass("usage", format!("for {}", purposes.join(", "))),
        }
    }

    /// RFC 8446 section 4.4.2: each certificate should certify the one before it. And whether something is
    /// missing.
    fn order(&self) -> Check {
        let issued = |issuer: &X509, subject: &X509| issuer.issued(subject) == X509VerifyResult::OK;
        for (at, pair) in self.sent.windows(2).enumerate() {
            let [subject, issuer] = pair else { continue };
            if !issued(issuer, subject) {
                let text = format!("certificate {} is not the issuer of certificate {at}", at + 1);
                return Check::fail("order", text);
            }
        }
        let (Some(last), Some(facts)) = (self.sent.last(), self.facts.last()) else {
            return Check::fail("order", "there is no certificate");
        };
        let count = self.sent.len();
        if issued(last, last) {
            return Check::pass(
                "order",
                match count {
                    1 => "one certificate, which signed itself".to_owned(),
                    _ => format!(
                        "{count} certificates in order, the root included, which is not needed"
                    ),
                },
            );
        }
        if self.problems(ProblemKind::Trust).is_empty() {
            return Check::pass("order", format!("{count} in order, complete up to the anchor"));
        }
        let text = format!(
            "it ends at certificate {}, whose issuer {} was not sent and is not trusted: the chain is \
             incomplete, or its root is missing here",
            count - 1,
            facts.issuer,
        );
        Check::fail("order", text)
    }
}

/// A certificate may carry ten thousand names; a line of text may not.
pub(super) fn shorten(text: &str) -> String {
    const LONGEST: usize = 160;
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}
