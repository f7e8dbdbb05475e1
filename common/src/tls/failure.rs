//! Why a handshake or an established connection failed: one typed reason, whose fault it is, which
//! certificate, and what to do.
//!
//! Which reason it is, `classify` finds out; here is what it means: the exit code, the stable word, and
//! the three lines for a person.

use super::classify::{alert_name, of_error, of_verdict};
use super::end::{Side, Situation};
use super::verify::Verdict;
use crate::exit::Exit;
use crate::report::Report;
use openssl::error::ErrorStack;
use openssl::ssl;
use openssl::x509::X509VerifyResult;
use std::fmt;
use std::io;

/// Why a TLS connection failed.
///
/// Cheap to move: the facts are boxed. It travels inside an [`io::Error`] where an interface demands
/// one; [`Failure::of`] takes it out again.
#[derive(Clone)]
pub struct Failure(pub(super) Box<Inner>);

#[derive(Clone, Debug)]
pub(super) struct Inner {
    pub(super) reason: Reason,
    pub(super) side: Side,
    /// The server's name as the client asked for it, or the client's address as the server sees it.
    pub(super) peer: String,
    pub(super) verdict: Option<Verdict>,
    /// OpenSSL's own words, where they add something.
    wording: Option<String>,
}

/// The reason of a failure.
///
/// The `Peer…` reasons are certificates that *this* end refused; `Own…` are certificates of this end
/// that the *peer* refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// The peer sent a fatal alert that has no reason of its own here (RFC 8446 section 6.2).
    Alert(u8),
    /// The peer closed the connection without a TLS close_notify: during the handshake, or in the
    /// middle of data that may have been longer.
    Closed,
    /// A deadline passed.
    Deadline,
    /// The operating system reported an error.
    Io(io::ErrorKind),
    /// A TLS 1.2 peer does not have the extended master secret (RFC 7627), and the policy needs it.
    NoExtendedMasterSecret,
    /// FIPS is required, and something of this connection was not done by the module.
    NotByModule,
    /// The two ends have no application protocol in common (ALPN, RFC 7301).
    NoSharedApplicationProtocol,
    /// The two ends have no cipher suite, group or signature scheme in common.
    NoSharedParameters,
    /// The two ends have no protocol version in common.
    NoSharedVersion,
    /// The peer does not speak TLS; `http` when it looks like plain HTTP.
    NotTls {
        /// Whether its first bytes look like HTTP.
        http: bool,
    },
    /// The server asked for a client certificate and this client sent none.
    OwnCertificateMissing,
    /// The peer refused this end's certificate, with this alert.
    OwnCertificateRefused(u8),
    /// The peer's certificate is for another name.
    PeerCertificateName,
    /// No certificate of the peer's chain has a pinned key.
    PeerCertificatePin,
    /// The client sent no certificate although one is required.
    PeerCertificateMissing,
    /// A certificate of the chain is revoked.
    PeerCertificateRevoked,
    /// Whether a certificate of the chain is revoked cannot be determined.
    PeerCertificateRevocationUnknown,
    /// The peer's certificate is self-signed and not a trust anchor.
    PeerCertificateSelfSigned,
    /// A certificate of the chain has expired.
    PeerCertificateExpired,
    /// A certificate of the chain is not yet valid.
    PeerCertificateNotYetValid,
    /// A certificate's key, signature or usage is not allowed.
    PeerCertificateUnfit,
    /// The chain ends at a certificate whose issuer was neither sent nor is trusted.
    PeerCertificateIssuerUnknown,
    /// The chain is complete, but its root is not a trust anchor.
    PeerCertificateRootUntrusted,
    /// The peer broke the TLS protocol.
    Protocol,
    /// OpenSSL failed for a reason of its own.
    Internal,
}

impl Reason {
    /// Every word that [`Reason::kind`] has: for whoever counts by it.
    pub const KINDS: [&'static str; 26] = [
        "tls-alert",
        "connection-closed",
        "deadline",
        "connection-lost",
        "no-extended-master-secret",
        "not-by-fips-module",
        "no-shared-application-protocol",
        "no-shared-parameters",
        "no-shared-version",
        "plain-http",
        "not-tls",
        "client-certificate-missing",
        "client-certificate-refused",
        "certificate-name",
        "certificate-pin",
        "peer-certificate-missing",
        "certificate-revoked",
        "certificate-revocation-unknown",
        "certificate-self-signed",
        "certificate-expired",
        "certificate-not-yet-valid",
        "certificate-unfit",
        "certificate-issuer-unknown",
        "certificate-root-untrusted",
        "tls-protocol",
        "openssl",
    ];

    /// The stable word for the reason, in kebab case.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Alert(_) => "tls-alert",
            Self::Closed => "connection-closed",
            Self::Deadline => "deadline",
            Self::Io(_) => "connection-lost",
            Self::NoExtendedMasterSecret => "no-extended-master-secret",
            Self::NotByModule => "not-by-fips-module",
            Self::NoSharedApplicationProtocol => "no-shared-application-protocol",
            Self::NoSharedParameters => "no-shared-parameters",
            Self::NoSharedVersion => "no-shared-version",
            Self::NotTls { http: true } => "plain-http",
            Self::NotTls { http: false } => "not-tls",
            Self::OwnCertificateMissing => "client-certificate-missing",
            Self::OwnCertificateRefused(_) => "client-certificate-refused",
            Self::PeerCertificateName => "certificate-name",
            Self::PeerCertificatePin => "certificate-pin",
            Self::PeerCertificateMissing => "peer-certificate-missing",
            Self::PeerCertificateRevoked => "certificate-revoked",
            Self::PeerCertificateRevocationUnknown => "certificate-revocation-unknown",
            Self::PeerCertificateSelfSigned => "certificate-self-signed",
            Self::PeerCertificateExpired => "certificate-expired",
            Self::PeerCertificateNotYetValid => "certificate-not-yet-valid",
            Self::PeerCertificateUnfit => "certificate-unfit",
            Self::PeerCertificateIssuerUnknown => "certificate-issuer-unknown",
            Self::PeerCertificateRootUntrusted => "certificate-root-untrusted",
            Self::Protocol => "tls-protocol",
            Self::Internal => "openssl",
        }
    }
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blame {
    /// What the peer presented or did.
    Peer,
    /// What this end presented or is configured to.
    Own,
    /// The two configurations have nothing in common.
    Both,
    /// The path between them.
    Network,
}

impl Failure {
    /// The failure of a handshake or of a read or write after it.
    pub(super) fn new(situation: &Situation<'_>, error: &ssl::Error) -> Self {
        let verdict = situation.verdict();
        let reason = match &verdict {
            Some(verdict) => of_verdict(verdict),
            None => of_error(situation, error),
        };
        let wording = match (reason, error.ssl_error(), error.io_error()) {
            (Reason::NoSharedParameters, ..) => {
                situation.demands.difference(situation.side, situation.ssl)
            }
            (Reason::NoExtendedMasterSecret, ..) => {
                Some("TLS 1.2 without an extended master secret (RFC 7627)".to_owned())
            }
            (_, Some(stack), _) => of_stack(stack),
            (Reason::Io(_), None, Some(io)) => Some(format!("OpenSSL: {io}")),
            _ => None,
        };
        Self(Box::new(Inner {
            reason,
            side: situation.side,
            peer: situation.peer.to_owned(),
            verdict,
            wording,
        }))
    }

    /// A failure before TLS: OpenSSL could not even begin.
    pub(super) fn internal(side: Side, peer: &str, stack: &ErrorStack) -> Self {
        Self(Box::new(Inner {
            reason: Reason::Internal,
            side,
            peer: peer.to_owned(),
            verdict: None,
            wording: Some(format!("OpenSSL: {stack}")),
        }))
    }

    /// A failure of the socket when OpenSSL was not asked.
    pub(super) fn of_socket(side: Side, peer: &str, reason: Reason, error: &io::Error) -> Self {
        Self::of_reason(side, peer, reason, format!("the operating system: {error}"))
    }

    /// A failure that was found here and not by OpenSSL, in our words.
    pub(super) fn of_reason(side: Side, peer: &str, reason: Reason, wording: String) -> Self {
        let (peer, wording) = (peer.to_owned(), Some(wording));
        Self(Box::new(Inner { reason, side, peer, verdict: None, wording }))
    }

    /// The failure that travels inside an I/O error, if it is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// The reason.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self.0.reason {
            Reason::Closed | Reason::Deadline | Reason::Io(_) => Blame::Network,
            Reason::NoSharedApplicationProtocol
            | Reason::NoSharedParameters
            | Reason::NoSharedVersion => Blame::Both,
            Reason::OwnCertificateMissing
            | Reason::OwnCertificateRefused(_)
            | Reason::NotByModule
            | Reason::Internal => Blame::Own,
            _ => Blame::Peer,
        }
    }

    /// The certificate that was refused, its depth in the chain (0 is the peer's own) and the rule.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.0.verdict.as_ref()
    }

    /// How a program ends over this.
    pub fn exit(&self) -> Exit {
        match self.0.reason {
            Reason::Closed | Reason::Io(_) => Exit::Connect,
            Reason::Deadline => Exit::Deadline,
            Reason::NotByModule => Exit::Fips,
            Reason::Alert(_)
            | Reason::NoExtendedMasterSecret
            | Reason::NoSharedApplicationProtocol
            | Reason::NoSharedParameters
            | Reason::NoSharedVersion => Exit::Handshake,
            Reason::NotTls { .. } | Reason::Protocol => Exit::Protocol,
            Reason::OwnCertificateMissing
            | Reason::OwnCertificateRefused(_)
            | Reason::PeerCertificateMissing => Exit::ClientCertificate,
            Reason::PeerCertificateIssuerUnknown
            | Reason::PeerCertificateRootUntrusted
            | Reason::PeerCertificateSelfSigned => Exit::CertificateUntrusted,
            Reason::PeerCertificateExpired | Reason::PeerCertificateNotYetValid => {
                Exit::CertificateTime
            }
            Reason::PeerCertificateName => Exit::CertificateName,
            Reason::PeerCertificateRevoked | Reason::PeerCertificateRevocationUnknown => {
                Exit::CertificateRevoked
            }
            Reason::PeerCertificateUnfit => Exit::CertificateUnfit,
            Reason::PeerCertificatePin => Exit::CertificatePin,
            Reason::Internal => Exit::Unexpected,
        }
    }

    /// The stable word for the reason.
    pub fn kind(&self) -> &'static str {
        self.0.reason.kind()
    }

    /// The failure as people and scripts see it.
    pub fn report(&self) -> Report {
        let inner = &*self.0;
        let mut report = Report::new(self.exit(), self.kind(), self.message())
            .detail("peer", inner.peer.as_str())
            .detail(
                "blame",
                match self.blame() {
                    Blame::Peer => "peer",
                    Blame::Own => "own",
                    Blame::Both => "both",
                    Blame::Network => "network",
                },
            );
        if let Some(verdict) = &inner.verdict {
            report = verdict.describe(report);
        } else if let Reason::Alert(alert) | Reason::OwnCertificateRefused(alert) = inner.reason {
            report = report.explain(format!("alert {alert}, {}", alert_name(alert)));
            report = report.detail("alert", alert).detail("alert_name", alert_name(alert));
        } else if let Some(wording) = &inner.wording {
            report = report.explain(wording.as_str());
        }
        match self.remedy() {
            Some(remedy) => report.remedy(remedy),
            None => report,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report().fmt(f)
    }
}

impl fmt::Debug for Failure {
    /// As it is displayed: a `main` that returns an error prints it in this form, and the explanation
    /// is what whoever sees it needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure.reason() {
            Reason::Closed => io::ErrorKind::UnexpectedEof,
            Reason::Deadline => io::ErrorKind::TimedOut,
            Reason::Io(kind) => kind,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, failure)
    }
}

/// The deepest reason of an error queue, in OpenSSL's words.
fn of_stack(stack: &ErrorStack) -> Option<String> {
    let error = stack.errors().first()?;
    let reason = error.reason().unwrap_or("unknown error");
    Some(match error.data() {
        Some(data) if !data.is_empty() => format!("OpenSSL: {reason} ({data})"),
        _ => format!("OpenSSL: {reason}"),
    })
}

/// The words for a verify result that OpenSSL has, without its capital letters.
pub(super) fn rule_of(code: X509VerifyResult) -> String {
    code.error_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_for_a_reason_is_in_the_list_and_once() {
        // `kind` has no wildcard, so a new reason has a word; its arms and the list are of one length.
        let source = include_str!("failure.rs");
        let kind = source.split_once("pub const fn kind").unwrap().1;
        let kind = kind.split_once("\n    }\n").unwrap().0;
        let words: Vec<&str> = kind.split('"').skip(1).step_by(2).collect();
        assert_eq!(words, Reason::KINDS);
        let distinct: std::collections::BTreeSet<&str> = words.iter().copied().collect();
        assert_eq!(distinct.len(), words.len());
    }
}
