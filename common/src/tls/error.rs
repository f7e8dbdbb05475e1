//! Why a TLS configuration cannot be used.
//!
//! These errors are found when a context is built, before anything is connected or accepted. They
//! name the file, and never what is in a key or a passphrase.

use super::fips::FipsError;
use super::fitness::{NOT_FOR_CLIENTS, NOT_FOR_SERVERS};
use super::policy::Policy;
use crate::exit::Exit;
use crate::material::is_unsupported;
use crate::report::Report;
use openssl::error::{Error, ErrorStack};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a TLS configuration cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A pin is not `sha256/` and the base64 of 32 bytes.
    BadPin(String),
    /// A server name is neither a DNS name nor an IP address.
    BadServerName(String),
    /// A file could not be read.
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold: "certificate", "private key" ….
        what: &'static str,
        /// Why it could not be read.
        source: io::Error,
    },
    /// FIPS is required, and there is no proved module.
    Fips(FipsError),
    /// The options exclude each other.
    Incompatible(&'static str),
    /// The key is encrypted and no passphrase was given.
    KeyEncrypted(PathBuf),
    /// The private key does not belong to the certificate.
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The policy does not allow this certificate.
    KeyNotAllowed {
        /// The certificate's file.
        certificate: PathBuf,
        /// The policy.
        policy: Policy,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
    /// OpenSSL failed for a reason of its own.
    Library(ErrorStack),
    /// A secret lies in a file that others may read or change.
    Loose {
        /// The file.
        path: PathBuf,
        /// What it holds.
        what: &'static str,
        /// Its permission bits.
        mode: u32,
    },
    /// A file was read but does not hold what it should.
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What OpenSSL says.
        source: Option<ErrorStack>,
    },
    /// A file holds a private key where a certificate is expected, or the other way round.
    Mistaken {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What it holds.
        holds: &'static str,
    },
    /// A server has no certificate.
    NoIdentity,
    /// An OCSP response is not one that can be stapled.
    OcspResponse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The linked OpenSSL lacks something that the policy needs.
    PolicyUnavailable {
        /// The policy.
        policy: Policy,
        /// The names of what is missing.
        missing: Vec<&'static str>,
    },
    /// A revocation list proves nothing under the policy.
    RevocationList {
        /// The file.
        path: PathBuf,
        /// The policy.
        policy: Policy,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
    /// A file cannot be the key of session tickets.
    TicketKey {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Two keys of session tickets have the same name, so a ticket does not say which it was sealed with.
    TicketKeyTwice {
        /// A file.
        first: PathBuf,
        /// Another, or the same again.
        second: PathBuf,
    },
    /// The passphrase does not open the key or the PKCS#12 file.
    WrongPassphrase(PathBuf),
}

impl ConfigError {
    /// The failure as people and scripts see it.
    pub fn report(&self) -> Report {
        let new = |kind, message: String| Report::new(Exit::Configuration, kind, message);
        match self {
            Self::BadPin(pin) => Report::new(Exit::Usage, "bad-pin", format!("not a pin: {pin}"))
                .explain(
                    "a pin is sha256/ and the base64 of the SHA-256 of a public key (RFC 7469)",
                )
                .remedy("`sealpair cert show FILE` prints the pin of a certificate"),
            Self::BadServerName(name) => {
                Report::new(Exit::Usage, "bad-server-name", format!("not a server name: {name}"))
                    .explain(
                        "it must be a DNS name (A-labels for international names) or an IP address",
                    )
            }
            Self::File { path, what, source } => {
                let path = path.display();
                new("file", format!("cannot read the {what} {path}"))
                    .explain(source.to_string())
                    .remedy(match source.kind() {
                        io::ErrorKind::NotFound => "check the path",
                        io::ErrorKind::PermissionDenied => {
                            "run as a user who may read it, or change its owner or mode"
                        }
                        _ => "check the file",
                    })
                    .detail("file", path.to_string())
            }
            Self::Fips(error) => error.report(),
            Self::Incompatible(what) => Report::new(Exit::Usage, "incompatible", *what),
            Self::KeyEncrypted(path) => {
                let path = path.display();
                new(
                    "key-encrypted",
                    format!("the private key {path} is encrypted"),
                )
                .explain("it cannot be used without its passphrase, and none was given")
                .remedy(
                    "put the passphrase into a file of its own and name it with --key-pass-file",
                )
                .detail("file", path.to_string())
            }
            Self::KeyMismatch { certificate, key } => {
                let (certificate, key) = (certificate.display(), key.display());
                new("key-mismatch", "the private key does not belong to the certificate".to_owned())
                    .explain(format!("certificate {certificate}, key {key}"))
                    .remedy("name the key that the certificate was made with (--cert, --key)")
                    .detail("certificate", certificate.to_string())
                    .detail("key", key.to_string())
            }
            Self::KeyNotAllowed { certificate, policy, reason } => {
                let path = certificate.display();
                new("key-not-allowed", format!("the policy {policy} does not allow {path}"))
                    .explain(reason.clone())
                    .remedy(match reason.as_str() {
                        // Of every policy.
                        NOT_FOR_SERVERS => {
                            "use another: `sealpair cert issue` makes it without --client"
                        }
                        NOT_FOR_CLIENTS => {
                            "use another: `sealpair cert issue` makes it with --client"
                        }
                        _ => "use a certificate that it allows, or another --policy",
                    })
                    .detail("file", path.to_string())
                    .detail("policy", policy.name())
            }
            Self::Library(stack) => {
                Report::new(Exit::Configuration, "openssl", "OpenSSL refused the configuration")
                    .explain(stack.to_string())
            }
            Self::Loose { path, what, mode } => {
                let path = path.display();
                new("loose-permissions", format!("others may read or change the {what} {path}"))
                    .explain(format!(
                        "its mode is {mode:04o}, and whoever has the {what} has what it protects"
                    ))
                    .remedy(format!("chmod 600 {path}"))
                    .detail("file", path.to_string())
                    .detail("mode", format!("{mode:04o}"))
            }
            Self::Malformed { path, what, source } => {
                let path = path.display();
                let errors = source.as_ref().map(ErrorStack::errors).unwrap_or_default();
                let unsupported = source.as_ref().is_some_and(is_unsupported);
                let report = new("malformed", format!("{path} holds no usable {what}"))
                    .detail("file", path.to_string())
                    .remedy(match unsupported {
                        true => {
                            "it is encrypted with an algorithm that this OpenSSL, or the FIPS module, does \
                             not have (old PKCS#12 and PEM files; with FIPS all PKCS#12 files): convert it \
                             elsewhere with `openssl pkcs12 -legacy` or `openssl pkcs8 -topk8`"
                        }
                        false => "check that it is the right file, in the format that is asked for",
                    });
                match errors {
                    [] => report,
                    errors => report.explain(words(errors)),
                }
            }
            Self::Mistaken { path, what, holds } => {
                let path = path.display();
                new("malformed", format!("{path} holds a {holds} and no {what}"))
                    .explain("--cert names the certificate, --key its private key")
                    .remedy("check whether the two are swapped")
                    .detail("file", path.to_string())
            }
            Self::NoIdentity => new("no-certificate", "a server needs a certificate".to_owned())
                .remedy("give --cert and --key"),
            Self::OcspResponse { path, problem, remedy } => {
                let path = path.display();
                new("ocsp-response", format!("cannot staple the OCSP response {path}"))
                    .explain(problem.clone())
                    .remedy(*remedy)
                    .detail("file", path.to_string())
            }
            Self::PolicyUnavailable { policy, missing } => new(
                "policy-unavailable",
                format!("this OpenSSL cannot provide the policy {policy}"),
            )
            .explain(format!("{} lacks: {}", openssl::version::version(), missing.join(", ")))
            .remedy(match missing.contains(&"X25519") {
                // Every OpenSSL has it; a FIPS module has not, or not as approved.
                true => {
                    "OpenSSL is configured for FIPS here: add --fips, which takes what is approved of \
                     this policy, or use --policy fips"
                }
                false => {
                    "use another --policy, or a build with another OpenSSL (3.5 or later has what is \
                     post-quantum; --features vendored)"
                }
            })
            .detail("policy", policy.name())
            .detail("missing", missing.clone()),
            Self::RevocationList { path, policy, reason } => {
                let path = path.display();
                let message = format!("the revocation list {path} proves nothing");
                new("revocation-list", message)
                    .explain(format!("{reason} (policy: {policy})"))
                    .remedy("its authority must sign it with another digest: get a new list")
                    .detail("file", path.to_string())
                    .detail("policy", policy.name())
            }
            Self::TicketKey { path, reason } => {
                let path = path.display();
                new("ticket-key", format!("{path} is no ticket key"))
                    .explain(reason.clone())
                    .remedy(format!("make one with: openssl rand 80 >{path}; chmod 600 {path}"))
                    .detail("file", path.to_string())
            }
            Self::TicketKeyTwice { first, second } => {
                let (first, second) = (first.display(), second.display());
                new("ticket-key", "two ticket keys have the same name".to_owned())
                    .explain(format!("{first} and {second} begin with the same 16 bytes"))
                    .remedy("name each key once with --ticket-key; the first seals, all open")
                    .detail("first", first.to_string())
                    .detail("second", second.to_string())
            }
            Self::WrongPassphrase(path) => {
                let path = path.display();
                new("wrong-passphrase", format!("the passphrase does not open {path}"))
                    .remedy("check --key-pass-file: its first line is the passphrase")
                    .detail("file", path.to_string())
            }
        }
    }
}

/// What OpenSSL says, without the places in its source.
fn words(errors: &[Error]) -> String {
    let words = errors.iter().map(|error| {
        let reason = error.reason().unwrap_or("unknown error");
        match error.data() {
            Some(data) if !data.is_empty() => format!("{reason} ({data})"),
            _ => reason.to_owned(),
        }
    });
    format!("OpenSSL: {}", words.collect::<Vec<_>>().join(", "))
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report().fmt(f)
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Fips(error) => Some(error),
            Self::Library(stack) => Some(stack),
            Self::Malformed { source: Some(stack), .. } => Some(stack),
            _ => None,
        }
    }
}

impl From<FipsError> for ConfigError {
    fn from(error: FipsError) -> Self {
        Self::Fips(error)
    }
}

impl From<ErrorStack> for ConfigError {
    fn from(stack: ErrorStack) -> Self {
        Self::Library(stack)
    }
}
