//! The exit codes of both programs.
//!
//! They are stable: scripts branch on them. Every error type of the workspace maps to exactly one of
//! them, in one `match`, through [`Report::exit`](crate::report::Report).

use std::fmt;
use std::process::ExitCode;

/// How a program ended.
///
/// Codes 10 to 15 say which rule a peer's certificate broke, 20 to 25 what was wrong with the HTTP
/// answer, so that a script never has to parse text.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: unexpected; a bug, or a failure that has no code of its own. For `cert check`: renewal is
    /// due. For the server: the drain deadline cut someone off.
    Unexpected,
    /// 2: the command line cannot be understood.
    Usage,
    /// 3: the configuration cannot be used: a missing or unreadable file, a key that does not belong
    /// to its certificate, a policy that this OpenSSL cannot provide, an address already in use.
    Configuration,
    /// 4: a local read or write failed: disk full, permission denied.
    LocalIo,
    /// 5: the host name could not be resolved.
    Resolve,
    /// 6: could not connect, or the connection was lost.
    Connect,
    /// 7: a deadline passed.
    Deadline,
    /// 8: the TLS handshake failed: nothing in common, or an alert.
    Handshake,
    /// 10: the certificate's issuer is not trusted, the chain is incomplete, or it is self-signed.
    CertificateUntrusted,
    /// 11: the certificate has expired or is not yet valid.
    CertificateTime,
    /// 12: the certificate is for another name.
    CertificateName,
    /// 13: the certificate is revoked, or that could not be determined although it was required.
    CertificateRevoked,
    /// 14: the certificate's key, signature or usage is not allowed.
    CertificateUnfit,
    /// 15: no certificate of the chain has a pinned key.
    CertificatePin,
    /// 16: the server wants another client certificate, or one at all.
    ClientCertificate,
    /// 17: FIPS is required but no FIPS provider is active.
    Fips,
    /// 20: HTTP status 4xx.
    HttpClientError,
    /// 21: HTTP status 5xx.
    HttpServerError,
    /// 22: a redirect was refused.
    Redirect,
    /// 23: the peer broke the protocol.
    Protocol,
    /// 24: the body was cut short.
    Truncated,
    /// 25: a digest did not match.
    Digest,
    /// 30: an expectation was not met.
    Expectation,
    /// 31: `inspect` found the policy violated.
    PolicyViolated,
    /// 130: interrupted (SIGINT).
    Interrupted,
    /// 143: terminated (SIGTERM).
    Terminated,
}

impl Exit {
    /// Every exit, in the order of the codes; the table in the README is checked against it.
    pub const ALL: [Self; 27] = [
        Self::Done,
        Self::Unexpected,
        Self::Usage,
        Self::Configuration,
        Self::LocalIo,
        Self::Resolve,
        Self::Connect,
        Self::Deadline,
        Self::Handshake,
        Self::CertificateUntrusted,
        Self::CertificateTime,
        Self::CertificateName,
        Self::CertificateRevoked,
        Self::CertificateUnfit,
        Self::CertificatePin,
        Self::ClientCertificate,
        Self::Fips,
        Self::HttpClientError,
        Self::HttpServerError,
        Self::Redirect,
        Self::Protocol,
        Self::Truncated,
        Self::Digest,
        Self::Expectation,
        Self::PolicyViolated,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number that the process exits with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::LocalIo => 4,
            Self::Resolve => 5,
            Self::Connect => 6,
            Self::Deadline => 7,
            Self::Handshake => 8,
            Self::CertificateUntrusted => 10,
            Self::CertificateTime => 11,
            Self::CertificateName => 12,
            Self::CertificateRevoked => 13,
            Self::CertificateUnfit => 14,
            Self::CertificatePin => 15,
            Self::ClientCertificate => 16,
            Self::Fips => 17,
            Self::HttpClientError => 20,
            Self::HttpServerError => 21,
            Self::Redirect => 22,
            Self::Protocol => 23,
            Self::Truncated => 24,
            Self::Digest => 25,
            Self::Expectation => 30,
            Self::PolicyViolated => 31,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code().fmt(f)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_in_order() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
    }
}
