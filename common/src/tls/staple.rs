//! The OCSP responses that a server staples to its handshakes (RFC 6066 section 8).
//!
//! ```text
//! file ─ read at the start, and again when it was replaced ─ check against the server's certificates
//! handshake that asks ─ the certificate that it uses ─ its response, unless that has ended ─▶ staple
//! ```
//!
//! Fetching is left to others (`openssl ocsp` from a timer): whoever serves need not be able to reach the
//! authority, and a server that waits for a responder while a client waits for it is what made stapling
//! unreliable elsewhere. A response is checked as strictly as a client would, because with a bad one strict
//! clients get no connection, and with none at all they mostly do.
//!
//! A replacement that cannot be used changes nothing, except one that can be relied on and does not say
//! `good`: the certificate is revoked, and going on to staple what was true yesterday would hide just that.
//! From then on nothing is stapled. That the server sends the revocation itself is not needed: who demands
//! a response refuses the certificate, and who asks the authority learns the truth.

use super::error::ConfigError;
use super::identity::{Identity, read_file};
use super::ocsp::{self, Finding, Problem, StapledStatus};
use super::policy::{Parameters, Policy};
use super::stapled;
use super::trust;
use super::watched::Watched;
use crate::pki::inspect::must_staple;
use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Ref, X509StoreContext};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const WHAT: &str = "OCSP response";

/// A certificate of the server's, and who issued it, where that is known.
#[derive(Debug)]
struct Subject {
    certificate: X509,
    issuer: Option<X509>,
    file: PathBuf,
}

/// A response that can be stapled.
#[derive(Debug)]
struct Response {
    der: Vec<u8>,
    facts: StapledStatus,
    /// From here on clients refuse it.
    ends: Timestamp,
    certificate: X509,
    /// Set when it has been said that it is not stapled any more.
    said: AtomicBool,
}

/// What a file means for a certificate of the server's.
#[derive(Debug)]
enum Content {
    Good(Response),
    /// Its authority does not vouch for it any more. Nothing is stapled to it.
    Withdrawn(Withdrawn),
}

#[derive(Debug)]
struct Withdrawn {
    certificate: X509,
    /// What the response says of which certificate.
    words: String,
    /// Set when it has been said.
    said: AtomicBool,
}

/// The responses of one context.
#[derive(Clone, Debug, Default)]
pub(super) struct Staples(Arc<[Watched<Content>]>);

/// Reads the responses and sees to it that they are stapled. `issuers` are certificates among which the
/// issuers of the server's own are looked for, besides those that come with these, and the system's.
///
/// # Errors
///
/// [`ConfigError::File`], or [`ConfigError::OcspResponse`] with what is wrong with one.
pub(super) fn install(
    context: &mut SslContextBuilder,
    files: &[PathBuf],
    identities: &[Identity],
    issuers: &[X509],
    policy: Policy,
) -> Result<Staples, ConfigError> {
    let parameters = policy.parameters();
    let subjects: Arc<[Subject]> = match files {
        [] => Arc::default(),
        _ => identities.iter().map(|own| Subject::of(own, identities, issuers)).collect(),
    };
    let staples = files
        .iter()
        .map(|path| {
            let (subjects, file) = (Arc::clone(&subjects), path.clone());
            let file = Watched::open(path, WHAT, move |content, _| {
                parse(content, &file, &subjects, parameters, Timestamp::now())
            })?;
            match &*file.current() {
                Content::Good(_) => Ok(file),
                Content::Withdrawn(withdrawn) => Err(withdrawn.refusal(path)),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let staples = Staples(staples.into());
    staples.announce(identities);
    if !staples.0.is_empty() {
        let staples = staples.clone();
        context.set_status_callback(move |ssl| Ok(staples.staple(ssl)))?;
    }
    Ok(staples)
}

/// The certificates of a PEM file, among which an issuer may be.
pub(super) fn issuers(path: &Path) -> Result<Vec<X509>, ConfigError> {
    let pem = read_file(path, "issuer's certificate")?;
    Ok(X509::stack_from_pem(&pem)?)
}

impl Staples {
    fn announce(&self, identities: &[Identity]) {
        let contents: Vec<_> = self.0.iter().map(|file| (file.path(), file.current())).collect();
        for (path, content) in &contents {
            if let Content::Good(response) = &**content {
                log::info!("stapling the OCSP response {} until {}", path.display(), response.ends);
            }
        }
        for identity in identities {
            let certificate = identity.certificate();
            let stapled = contents.iter().any(|(_, content)| content.certificate() == certificate);
            if !stapled && must_staple(certificate) {
                log::warn!(
                    "{} demands an OCSP response (RFC 7633): clients refuse it without \
                     --ocsp-response",
                    identity.file().display()
                );
            }
        }
    }

    /// When each response is, or was, stapled for the last time. Not those of withdrawn certificates.
    pub(super) fn ends(&self) -> Vec<(PathBuf, Timestamp)> {
        let ends = self.0.iter().filter_map(|file| match &*file.current() {
            Content::Good(response) => Some((file.path().to_owned(), response.ends)),
            Content::Withdrawn(_) => None,
        });
        ends.collect()
    }

    /// Runs inside OpenSSL when a client asks for a status, after the certificate has been chosen: must not
    /// panic. False means that none is sent, and the handshake goes on.
    fn staple(&self, ssl: &mut SslRef) -> bool {
        let Some(used) = ssl.certificate() else { return false };
        let contents: Vec<_> = self.0.iter().map(|file| (file.path(), file.current())).collect();
        let contents = contents.iter().map(|(path, content)| (*path, &**content));
        let Some(response) = choose(contents, used, Timestamp::now()) else { return false };
        if ssl.set_ocsp_status(&response.der).is_err() {
            return false;
        }
        stapled::note(ssl, response.facts.clone());
        true
    }
}

/// The response for a certificate among all, if there is one that a client would take.
fn choose<'a>(
    contents: impl IntoIterator<Item = (&'a Path, &'a Content)>,
    used: &X509Ref,
    now: Timestamp,
) -> Option<&'a Response> {
    let mut good = None;
    for (path, content) in contents {
        match content {
            _ if **content.certificate() != *used => {}
            Content::Withdrawn(withdrawn) => {
                withdrawn.say(path);
                return None;
            }
            Content::Good(response) if response.holds(path, now) => {
                good = good.or(Some(response));
            }
            Content::Good(_) => {}
        }
    }
    good
}

impl Content {
    fn certificate(&self) -> &X509 {
        match self {
            Self::Good(response) => &response.certificate,
            Self::Withdrawn(withdrawn) => &withdrawn.certificate,
        }
    }
}

impl Withdrawn {
    const REMEDY: &'static str = "every client would refuse this certificate: get another";

    /// Why a server does not start with it.
    fn refusal(&self, path: &Path) -> ConfigError {
        let (path, problem) = (path.to_owned(), self.words.clone());
        ConfigError::OcspResponse { path, problem, remedy: Self::REMEDY }
    }

    /// Says it once, where a server has got it while it runs.
    fn say(&self, path: &Path) {
        if !self.said.swap(true, Ordering::Relaxed) {
            log::error!(
                "no OCSP response is stapled any more, because of {}: {}; {}",
                path.display(),
                self.words,
                Self::REMEDY
            );
        }
    }
}

impl Response {
    /// Whether a client would take it; that it would not is said once.
    fn holds(&self, path: &Path, now: Timestamp) -> bool {
        let holds = now < self.ends;
        if !holds && !self.said.swap(true, Ordering::Relaxed) {
            log::warn!(
                "the OCSP response {} has ended at {} and is not stapled any more: renew it",
                path.display(),
                self.ends
            );
        }
        holds
    }
}

impl Subject {
    fn of(own: &Identity, all: &[Identity], issuers: &[X509]) -> Self {
        let certificate = own.certificate();
        let chains = all.iter().flat_map(|other| other.chain().iter().chain([other.certificate()]));
        let candidates = own.chain().iter().chain(chains).chain(issuers);
        let issuer = ocsp::issuer_of(certificate, candidates.map(|candidate| &**candidate));
        let issuer = match issuer {
            Some(issuer) => Some(issuer.to_owned()),
            None => of_system(certificate).unwrap_or_default(),
        };
        Self { certificate: certificate.clone(), issuer, file: own.file().to_owned() }
    }
}

/// The issuer, if it is in the system's store: a root is not in a chain's file. Whether it is trusted does
/// not matter here, the server does not judge its own certificate.
fn of_system(certificate: &X509) -> Result<Option<X509>, ConfigError> {
    let mut store = X509StoreBuilder::new()?;
    trust::add_system_anchors(&mut store)?;
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::NO_CHECK_TIME)?;
    let none = openssl::stack::Stack::new()?;
    let mut context = X509StoreContext::new()?;
    let issuer = context.init(&store.build(), certificate, &none, |context| {
        context.verify_cert()?;
        let chain = context.chain().into_iter().flatten().skip(1);
        Ok(ocsp::issuer_of(certificate, chain).map(ToOwned::to_owned))
    });
    drop(ErrorStack::get());
    Ok(issuer?)
}

/// What a file's content means at a time.
fn parse(
    content: &[u8],
    path: &Path,
    subjects: &[Subject],
    parameters: &Parameters,
    now: Timestamp,
) -> Result<Content, ConfigError> {
    let unusable = |problem: String, remedy: &'static str| ConfigError::OcspResponse {
        path: path.to_owned(),
        problem,
        remedy,
    };
    let der = ocsp::from_file(content)
        .ok_or_else(|| unusable(Problem::Malformed.to_string(), remedy(&Problem::Malformed)))?;
    let mut orphan = None;
    for subject in subjects {
        let Some(issuer) = &subject.issuer else {
            orphan = Some(&subject.file);
            continue;
        };
        let reading = ocsp::read(&der, &subject.certificate, issuer, parameters, now);
        if reading.finding == Err(Problem::OtherCertificate) {
            continue;
        }
        let facts = reading.facts();
        match reading.finding {
            Ok(Finding::Good) => {}
            Ok(finding @ (Finding::Revoked { .. } | Finding::Unknown)) => {
                return Ok(Content::Withdrawn(Withdrawn {
                    certificate: subject.certificate.clone(),
                    words: format!("it says of {}: {finding}", subject.file.display()),
                    said: AtomicBool::new(false),
                }));
            }
            Err(problem) => return Err(unusable(problem.to_string(), remedy(&problem))),
        }
        // A client is allowed a wrong clock, this server is not allowed to rely on it.
        let ends = reading.period.map(|period| period.ends()).unwrap_or(now);
        if now >= ends {
            let problem = Problem::Ended(ends);
            return Err(unusable(problem.to_string(), remedy(&problem)));
        }
        return Ok(Content::Good(Response {
            der,
            facts,
            ends,
            certificate: subject.certificate.clone(),
            said: AtomicBool::new(false),
        }));
    }
    Err(match orphan {
        Some(file) => unusable(
            format!("who issued {} is not known here, so nobody can tell", file.display()),
            remedy(&Problem::NoIssuer),
        ),
        None => unusable(
            "it is for none of the server's certificates".to_owned(),
            remedy(&Problem::OtherCertificate),
        ),
    })
}

fn remedy(problem: &Problem) -> &'static str {
    match problem {
        Problem::Malformed => "give what `openssl ocsp -respout FILE` writes",
        Problem::Unsuccessful(_) => "ask the responder again, or its operator",
        Problem::OtherCertificate => {
            "fetch one for the certificate that is served (docs/operations.md)"
        }
        Problem::Signer(_) | Problem::Signature(_) => {
            "fetch it from the authority that issued the certificate (docs/operations.md)"
        }
        Problem::NotYet(_) => "check this machine's clock",
        Problem::Ended(_) => "fetch a new one, and let a timer do it (docs/operations.md)",
        Problem::NoIssuer => "append the issuer's certificate to the file of --cert",
    }
}

#[cfg(test)]
#[path = "staple_tests.rs"]
mod tests;
