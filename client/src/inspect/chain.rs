//! A certificate chain, with every check explained: whether it passes or not.

use super::registry::Version;
use jiff::Timestamp;
use openssl::x509::{X509, X509VerifyResult};
use sealpair_common::pki::CertificateFacts;
use sealpair_common::tls::examine::{self, Examined, Examiner, Problem, ProblemKind};
use sealpair_common::tls::{CertStatus, ConfigError, ServerName, StapledStatus};
use serde::Serialize;

/// X509_V_ERR_CA_MD_TOO_WEAK of <openssl/x509_vfy.h>, which is about a signature and not about a key.
const CA_MD_TOO_WEAK: i32 = 68;

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
    /// From the server's own certificate to the trust anchor, which need not be sent; nothing where none
    /// is reached.
    #[serde(skip)]
    pub(super) path: Option<Vec<X509>>,
    /// What is stapled to it.
    #[serde(skip)]
    pub(super) staple: Staple,
}

/// A chain in one handshake.
#[derive(Clone, Debug)]
pub(super) struct Presented {
    /// The handshake's version.
    pub version: Version,
    /// The certificates in DER, the server's own first.
    pub certificates: Vec<Vec<u8>>,
    /// What was stapled to it.
    pub status: Status,
}

/// What came when a status was asked for (RFC 6066 section 8).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Status {
    /// The handshake did not come so far.
    Untold,
    /// Nothing.
    Absent,
    /// An OCSP response in DER.
    Stapled(Vec<u8>),
}

/// What a stapled OCSP response says.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Staple {
    /// Whether there was one.
    pub stapled: bool,
    /// What it says of the certificate; `unusable` when it cannot be relied on.
    pub certificate: Option<CertStatus>,
    /// When that was known to be so, in UTC (RFC 3339).
    pub this_update: Option<String>,
    /// When there is newer information, likewise.
    pub next_update: Option<String>,
    /// Why it cannot be relied on, or since when the certificate is revoked.
    pub problem: Option<String>,
}

impl From<StapledStatus> for Staple {
    fn from(status: StapledStatus) -> Self {
        Self {
            stapled: true,
            certificate: Some(status.status),
            this_update: status.this_update,
            next_update: status.next_update,
            problem: status.problem,
        }
    }
}

impl Staple {
    /// Whether a client refuses the connection for it.
    pub(super) fn is_bad(&self) -> bool {
        self.certificate.is_some_and(|status| status != CertStatus::Good)
    }
}

/// One check of a chain.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// `trust`, `dates`, `name`, `key`, `signature`, `usage`, `order`, `status`, `revocation`,
    /// `standard`.
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
    statuses: &[Status],
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
    let (status, staple) = explained.status(leaf, statuses);
    checks.push(status);
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
    let path = explained.is_trusted().then(|| examined.path.clone());
    Ok(Some(Chain { valid, versions, checks, certificates: facts, sent, path, staple }))
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

    /// Whether it leads to an anchor: not that nothing was found against it, but that one is there.
    fn is_trusted(&self) -> bool {
        self.examined.anchored && self.problems(ProblemKind::Trust).is_empty()
    }

    fn trust(&self, trusted: &str) -> Check {
        let problems = self.problems(ProblemKind::Trust);
        if self.is_trusted() {
            let anchor =
                self.examined.path.last().map(|anchor| CertificateFacts::of(anchor).subject);
            let anchor = anchor.unwrap_or_default();
            return Check::pass("trust", format!("it leads to {anchor}; trusted: {trusted}"));
        }
        let why = match problems.is_empty() {
            true => "it leads to no trust anchor".to_owned(),
            false => self.told(&problems),
        };
        Check::fail("trust", format!("{why}; trusted: {trusted}"))
    }

    /// What is stapled, judged as our client judges it: what is there must be good, and something must be
    /// there where the certificate demands it.
    fn status(&self, leaf: &X509, statuses: &[Status]) -> (Check, Staple) {
        let path = &self.examined.path;
        let above = if path.len() > 1 { path.get(1..) } else { self.sent.get(1..) };
        let above = above.unwrap_or_default();
        // RFC 5280 section 6.1: nobody can revoke an anchor.
        let alone = self.is_trusted() && path.len() == 1;
        let mut staple = Staple::default();
        let mut wrong: Vec<String> = Vec::new();
        let mut note = |text: String| {
            if !wrong.contains(&text) {
                wrong.push(text);
            }
        };
        for status in statuses {
            match status {
                Status::Stapled(der) => {
                    let found = Staple::from(examine::stapled(der, leaf, above));
                    if found.is_bad() && !alone {
                        let problem = found.problem.as_deref().unwrap_or("it is not good");
                        note(match found.certificate {
                            Some(CertStatus::Unusable) => {
                                format!("the stapled OCSP response cannot be used: {problem}")
                            }
                            _ => format!("the stapled OCSP response says: {problem}"),
                        });
                    }
                    // The worst one is shown.
                    if !staple.is_bad() {
                        staple = found;
                    }
                }
                Status::Absent if examine::demands_staple(leaf) => {
                    note("it demands an OCSP response (RFC 7633), and none was stapled".to_owned());
                }
                Status::Untold if examine::demands_staple(leaf) => {
                    note(
                        "it demands an OCSP response (RFC 7633); whether one is stapled cannot be \
                          told"
                            .to_owned(),
                    );
                }
                Status::Absent | Status::Untold => {}
            }
        }
        if !wrong.is_empty() {
            return (Check::fail("status", wrong.join("; ")), staple);
        }
        let text = match (&staple.next_update, staple.stapled) {
            _ if alone && staple.is_bad() => {
                "a stapled OCSP response says nothing of a certificate that is trusted by itself"
                    .to_owned()
            }
            (Some(next), _) => format!("the stapled OCSP response says good, until {next}"),
            (None, true) => "the stapled OCSP response says good".to_owned(),
            (None, false) => "no OCSP response is stapled, and none is demanded".to_owned(),
        };
        (Check::pass("status", text), staple)
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
        // Those that were not sent OpenSSL has looked at.
        if weak.is_empty() {
            let problems = self.problems(ProblemKind::Strength);
            let problems: Vec<&Problem> =
                problems.into_iter().filter(|problem| problem.code == CA_MD_TOO_WEAK).collect();
            if !problems.is_empty() {
                weak.push(self.told(&problems));
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
        if self.is_trusted() {
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
