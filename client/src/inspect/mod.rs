//! What an endpoint offers and presents, seen from outside: protocols, cipher suites, groups, signature
//! schemes, certificates, and the rest that a policy has rules for.
//!
//! ```text
//! registry (numbers and names)
//!    └─ hello ─▶ probe (one question on one connection) ─▶ reply
//!                  └─ enumerate (the questions)          ┐
//!                     handshake (finished, by OpenSSL)   ├─▶ Inspection ─▶ judge ─▶ text, JSON
//!                     chain (the certificates)           ┘
//! ```
//!
//! The questions are ClientHellos that are made here, and the answers are read here, so what is found does
//! not depend on what the linked OpenSSL can do; only what TLS 1.3 encrypts is seen through OpenSSL.
//! Nothing is believed: not the certificate, not the length of anything. How each thing is found out, and
//! with how many connections, is in `docs/inspect.md`.

mod chain;
mod enumerate;
mod facts;
mod handshake;
pub mod hello;
mod judge;
mod look;
mod probe;
pub use sealpair_common::tls::registry;
pub mod reply;
#[cfg(test)]
mod tests;
mod text;

pub use chain::{Chain, Check, Staple};
pub use enumerate::{Alpn, Preference};
pub use facts::{
    ExtendedMasterSecret, GroupFacts, Inspection, Offer, Renegotiation, Resumption, SuiteFacts,
};
pub use handshake::{ClientCertificate, HttpHead};
pub use judge::{Judgement, Rule};
pub use probe::{AT_A_TIME, MOST_CONNECTIONS};
pub use text::text;

use self::enumerate::parallel;
use self::look::Look;
use self::probe::{Answer, Endpoint};
use self::registry::Version;
use self::reply::Malformed;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::tls::examine::Examiner;
use sealpair_common::tls::{Identity, Policy, ServerName, Trust};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long each connection may take unless told otherwise, all that is said over it included.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// What to look at, and with what eyes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The name that is indicated, and expected in the certificate.
    pub name: ServerName,
    /// Whom to believe.
    pub trust: Trust,
    /// The policy to judge by, if any.
    pub policy: Option<Policy>,
    /// The client's certificate, for endpoints that want one.
    pub identity: Option<Identity>,
    /// How long each connection may take. Six times this is the limit for all of them.
    pub timeout: Duration,
}

impl Options {
    /// Looks with the system's trust, no policy and no client certificate.
    pub fn new(name: ServerName) -> Self {
        let trust = Trust::system();
        Self { name, trust, policy: None, identity: None, timeout: DEFAULT_TIMEOUT }
    }
}

/// Looks at an endpoint. The first of the addresses that takes a connection is the one that is asked.
///
/// # Errors
///
/// When no address takes a connection, when nothing answers, when what answers is not TLS; and when trust
/// or policy cannot be used.
pub fn inspect(addresses: &[SocketAddr], options: &Options) -> Result<Inspection, Report> {
    let began = Instant::now();
    let examiner = Examiner::new(&options.trust).map_err(|error| error.report())?;
    let endpoint = reach(addresses, options)?;
    let greetings = parallel(&Version::ALL, |version| enumerate::greet(&endpoint, *version));
    if !greetings.iter().any(|greeting| greeting.answer.is_tls()) {
        let answers: Vec<Answer> = greetings.into_iter().map(|greeting| greeting.answer).collect();
        return Err(not_tls(&endpoint, &answers));
    }
    let mut inspection = Look::new(&endpoint, options).run(&greetings, &examiner);
    if endpoint.is_exhausted() {
        let text = "questions were left out: the endpoint took too long or too many connections";
        inspection.notes.push(text.to_owned());
    }
    if let Some(policy) = options.policy {
        let judgement = judge::judge(&inspection, policy, options.identity.is_some());
        inspection.judgement = Some(judgement);
        if policy == Policy::Fips {
            let text = "whether the endpoint uses a validated FIPS module cannot be seen from \
                        outside: this policy is about algorithms only";
            inspection.notes.push(text.to_owned());
        }
    }
    inspection.connections = endpoint.connections();
    inspection.seconds = began.elapsed().as_secs_f64();
    Ok(inspection)
}

/// Finds the address that takes a connection.
fn reach(addresses: &[SocketAddr], options: &Options) -> Result<Endpoint, Report> {
    let mut failed = None;
    for address in addresses {
        let endpoint = Endpoint::new(*address, options.name.clone(), options.timeout);
        let permit = endpoint.permit();
        let connected = endpoint.connect(endpoint.deadline());
        drop(permit);
        match connected {
            Ok(_) => return Ok(endpoint),
            Err(error) if probe::was_reached(&error) => return Ok(endpoint),
            Err(error) => failed = Some((address, error)),
        }
    }
    let Some((address, error)) = failed else {
        return Err(Report::new(Exit::Resolve, "name-not-resolved", "the host has no address"));
    };
    let (exit, kind) = match probe::is_late(&error) {
        true => (Exit::Deadline, "deadline"),
        false => (Exit::Connect, "not-connected"),
    };
    Err(Report::new(exit, kind, format!("cannot connect to {address}"))
        .explain(error.to_string())
        .remedy("check that the server is up and listens on this port")
        .detail("address", address.to_string()))
}

/// What to say of an endpoint that has answered nothing that is TLS.
fn not_tls(endpoint: &Endpoint, answers: &[Answer]) -> Report {
    let address = endpoint.address();
    let words = answers.iter().find_map(|answer| match answer {
        Answer::Malformed(Malformed::NotTls(bytes)) => Some(bytes),
        _ => None,
    });
    if let Some(words) = words {
        let shown = String::from_utf8_lossy(words).into_owned();
        let report = match words.starts_with(b"HTTP/") || words.starts_with(b"<") {
            true => Report::new(Exit::Protocol, "plain-http", format!("{address} is not TLS"))
                .explain(format!("it answers in plain HTTP: {shown}"))
                .remedy("use the port of HTTPS"),
            false => Report::new(Exit::Protocol, "not-tls", format!("{address} is not TLS"))
                .explain(format!("it answers with something else: {shown}"))
                .remedy("use the port of a TLS server"),
        };
        return report.detail("address", address.to_string()).detail("first_bytes", shown);
    }
    let report = if answers.contains(&Answer::Closed) {
        Report::new(Exit::Handshake, "connection-closed", format!("{address} closes at once"))
            .explain("it takes connections, and ends them without a word of TLS")
            .remedy("check that this is the port of a TLS server, and look at its log")
    } else if answers.contains(&Answer::Silent) {
        Report::new(Exit::Deadline, "deadline", format!("{address} does not answer"))
            .explain("it takes connections, and says nothing")
            .remedy("check that this is the port of a TLS server, or raise --timeout")
    } else {
        Report::new(Exit::Connect, "connection-lost", format!("cannot connect to {address} again"))
            .explain("it took one connection, and refuses more")
            .remedy("look at the server's log, then try again")
    };
    report.detail("address", address.to_string())
}
