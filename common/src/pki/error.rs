//! Why a certificate could not be made, read or written, and what to do about it.

use crate::escape::Escaped;
use crate::exit::Exit;
use crate::report::Report;
use jiff::Timestamp;
use openssl::error::ErrorStack;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of this module.
///
/// No variant holds a key or a passphrase, and the sources are OpenSSL's reason codes and the
/// system's error numbers, so an error may be logged as it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum PkiError {
    /// The authority ends before a certificate with the default validity could begin.
    AuthorityEnded {
        /// The end of the authority's certificate.
        not_after: Timestamp,
    },
    /// OpenSSL could not do something that needs no input; with a FIPS provider, mostly because the
    /// algorithm is not approved.
    Crypto {
        /// What was being done: `making a key`.
        doing: &'static str,
        /// OpenSSL's reasons.
        source: ErrorStack,
    },
    /// A PKCS#12 file cannot be made, because a FIPS module does all cryptography.
    Pkcs12UnderFips {
        /// OpenSSL's reasons.
        source: ErrorStack,
    },
    /// The private key is encrypted; an authority's key has to be in the clear.
    EncryptedKey {
        /// The key file.
        path: PathBuf,
    },
    /// There is a file already, and it was not allowed to replace it.
    Exists {
        /// The file that is in the way.
        path: PathBuf,
    },
    /// The private key does not belong to the certificate.
    KeyMismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// A name that cannot stand in a certificate.
    Name {
        /// The name as it was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The certificate cannot sign others, or not with its kind of key.
    NotAuthority {
        /// The certificate file.
        path: PathBuf,
        /// What it lacks.
        reason: &'static str,
    },
    /// A file's contents are not what they should be.
    Parse {
        /// The file.
        path: PathBuf,
        /// What it should hold: `a certificate`.
        expected: &'static str,
        /// OpenSSL's reasons, if it was OpenSSL that refused.
        source: Option<ErrorStack>,
    },
    /// The passphrase does not open the file, or one is needed and none was given.
    Passphrase {
        /// The PKCS#12 file.
        path: PathBuf,
    },
    /// A file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Two outputs have the same path.
    SamePath {
        /// The path given twice.
        path: PathBuf,
    },
    /// A text for a PKCS#12 file that such a file cannot hold.
    Text {
        /// Which one: `the passphrase`. Never the text.
        what: &'static str,
    },
    /// This OpenSSL, or the FIPS provider that it uses, does not have the algorithm.
    Unavailable {
        /// The algorithm's name: `ML-DSA-87`.
        algorithm: &'static str,
        /// OpenSSL's reasons.
        source: ErrorStack,
    },
    /// The validity is empty, or cannot be written into a certificate (RFC 5280, section 4.1.2.5:
    /// the years 0 to 9999).
    Validity {
        /// The beginning asked for.
        not_before: Timestamp,
        /// The end asked for.
        not_after: Timestamp,
    },
    /// A file could not be written.
    Write {
        /// The file that was to be there in the end.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl PkiError {
    /// The failure as the programs show it, with its exit code.
    pub fn report(&self) -> Report {
        let report = Report::new(self.exit(), self.kind(), self.message());
        let report = match self.path() {
            Some(path) => report.detail("path", path.to_string_lossy()),
            None => report,
        };
        match self {
            Self::AuthorityEnded { not_after } => report
                .explain(format!("The certificate authority ends at {not_after:.0}."))
                .remedy("Make a new authority, or give the validity explicitly."),
            Self::Crypto { source, .. } => report.explain(reasons(source)).remedy(
                "With a FIPS provider, choose an approved algorithm; otherwise check the OpenSSL \
                 installation with `openssl version -a`.",
            ),
            Self::Pkcs12UnderFips { .. } => report
                .explain("Its integrity hangs on a key derivation that is not approved.")
                .remedy(
                    "Leave out --pkcs12, or make the file elsewhere with `openssl pkcs12 -export`.",
                ),
            Self::EncryptedKey { path } => {
                report.explain("Nobody can be asked for a passphrase here.").remedy(format!(
                    "Decrypt it with `openssl pkey -in {}` into a file of mode 0600.",
                    path.display()
                ))
            }
            Self::Exists { .. } => report
                .explain("Replacing it would make what relies on it unusable.")
                .remedy("Choose another place, or use --force to replace it."),
            Self::KeyMismatch { key, .. } => report
                .detail("key", key.to_string_lossy())
                .explain("The public key in the certificate is not the one of this private key.")
                .remedy("Give the key that was made together with this certificate."),
            Self::Name { text, reason } => report
                .detail("name", text.as_str())
                .explain(*reason)
                .remedy("Give names such as `host.example.org`, `*.example.org` or `192.0.2.1`."),
            Self::NotAuthority { reason, .. } => report
                .explain(*reason)
                .remedy("Give the certificate of an authority, as `sealpair cert init` makes it."),
            Self::Parse { expected, source, .. } => match source {
                Some(source) => report.explain(reasons(source)),
                None => report,
            }
            .remedy(format!("Check that the file is complete and holds {expected}.")),
            Self::Passphrase { .. } => report
                .explain(
                    "PKCS#12 files are encrypted, and their integrity hangs on the passphrase.",
                )
                .remedy("Give the file with the right passphrase on its first line."),
            Self::Read { source, .. } => report
                .explain(source.to_string())
                .remedy("Check that the file exists and may be read by this user."),
            Self::SamePath { .. } => report
                .explain("One would overwrite the other.")
                .remedy("Give each output, and what it is made from, a path of its own."),
            Self::Text { .. } => report
                .explain("It contains a NUL character, at which other programs would cut it off.")
                .remedy("Choose another text."),
            Self::Unavailable { .. } => report
                .explain(format!(
                    "It came with OpenSSL 3.5, and under FIPS the provider has to have it, too. \
                     This is {}.",
                    openssl::version::version()
                ))
                .remedy(
                    "Use a build with OpenSSL 3.5 or later (`--features vendored` makes one), or \
                     another kind of key.",
                ),
            Self::Validity { .. } => report
                .explain("A certificate has to begin before it ends, within the years 0 to 9999.")
                .remedy("Give a later end or an earlier beginning."),
            Self::Write { source, .. } => report
                .explain(source.to_string())
                .remedy("Check that the directory exists, has space, and may be written to."),
        }
    }

    /// The exit code of each failure.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Name { .. }
            | Self::SamePath { .. }
            | Self::Text { .. }
            | Self::Validity { .. } => Exit::Usage,
            Self::AuthorityEnded { .. }
            | Self::EncryptedKey { .. }
            | Self::Exists { .. }
            | Self::KeyMismatch { .. }
            | Self::NotAuthority { .. }
            | Self::Parse { .. }
            | Self::Passphrase { .. }
            | Self::Pkcs12UnderFips { .. }
            | Self::Read { .. }
            | Self::Unavailable { .. } => Exit::Configuration,
            Self::Write { .. } => Exit::LocalIo,
            Self::Crypto { .. } => Exit::Unexpected,
        }
    }

    /// The stable word of each failure.
    fn kind(&self) -> &'static str {
        match self {
            Self::AuthorityEnded { .. } => "authority-ended",
            Self::Crypto { .. } => "crypto",
            Self::EncryptedKey { .. } => "encrypted-key",
            Self::Exists { .. } => "file-exists",
            Self::KeyMismatch { .. } => "key-mismatch",
            Self::Name { .. } => "invalid-name",
            Self::NotAuthority { .. } => "not-an-authority",
            Self::Parse { .. } => "unreadable-contents",
            Self::Passphrase { .. } => "passphrase",
            Self::Pkcs12UnderFips { .. } => "pkcs12-under-fips",
            Self::Read { .. } => "file-read",
            Self::SamePath { .. } => "same-path",
            Self::Text { .. } => "invalid-text",
            Self::Unavailable { .. } => "algorithm-unavailable",
            Self::Validity { .. } => "invalid-validity",
            Self::Write { .. } => "file-write",
        }
    }

    /// The file that the failure is about.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::AuthorityEnded { .. }
            | Self::Crypto { .. }
            | Self::Name { .. }
            | Self::Pkcs12UnderFips { .. }
            | Self::Text { .. }
            | Self::Unavailable { .. }
            | Self::Validity { .. } => None,
            Self::KeyMismatch { certificate, .. } => Some(certificate),
            Self::EncryptedKey { path }
            | Self::Exists { path }
            | Self::NotAuthority { path, .. }
            | Self::Parse { path, .. }
            | Self::Passphrase { path }
            | Self::Read { path, .. }
            | Self::SamePath { path }
            | Self::Write { path, .. } => Some(path),
        }
    }

    /// One line, not yet escaped: a report escapes it when it is shown.
    fn message(&self) -> String {
        match self {
            Self::AuthorityEnded { .. } => {
                "the authority ends before the certificate would begin".to_owned()
            }
            Self::Crypto { doing, .. } => format!("OpenSSL failed at {doing}"),
            Self::EncryptedKey { path } => {
                format!("the private key in {} is encrypted", path.display())
            }
            Self::Exists { path } => format!("{} exists already", path.display()),
            Self::KeyMismatch { certificate, key } => format!(
                "the key in {} does not belong to the certificate in {}",
                key.display(),
                certificate.display()
            ),
            Self::Name { text, .. } => format!("`{text}` cannot be a name in this certificate"),
            Self::NotAuthority { path, .. } => {
                format!("the certificate in {} cannot be used as an authority", path.display())
            }
            Self::Parse { path, expected, .. } => {
                format!("{} does not hold {expected}", path.display())
            }
            Self::Passphrase { path } => {
                format!("{} cannot be opened with this passphrase", path.display())
            }
            Self::Pkcs12UnderFips { .. } => {
                "a PKCS#12 file is not possible with a FIPS module".to_owned()
            }
            Self::Read { path, .. } => format!("cannot read {}", path.display()),
            Self::SamePath { path } => format!("{} is used twice", path.display()),
            Self::Text { what } => format!("{what} cannot be used"),
            Self::Unavailable { algorithm, .. } => format!("this OpenSSL has no {algorithm}"),
            Self::Validity { not_before, not_after } => {
                format!("the validity from {not_before:.0} to {not_after:.0} is not possible")
            }
            Self::Write { path, .. } => format!("cannot write {}", path.display()),
        }
    }
}

impl fmt::Display for PkiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.message()).fmt(f)
    }
}

impl std::error::Error for PkiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Crypto { source, .. }
            | Self::Pkcs12UnderFips { source }
            | Self::Unavailable { source, .. } => Some(source),
            Self::Parse { source, .. } => source.as_ref().map(|source| source as _),
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::AuthorityEnded { .. }
            | Self::EncryptedKey { .. }
            | Self::Exists { .. }
            | Self::KeyMismatch { .. }
            | Self::Name { .. }
            | Self::NotAuthority { .. }
            | Self::Passphrase { .. }
            | Self::SamePath { .. }
            | Self::Text { .. }
            | Self::Validity { .. } => None,
        }
    }
}

/// For `map_err`: names what OpenSSL was asked to do.
pub(super) fn crypto(doing: &'static str) -> impl Fn(ErrorStack) -> PkiError {
    move |source| PkiError::Crypto { doing, source }
}

/// OpenSSL's reasons without its file names and line numbers, which help nobody here.
fn reasons(stack: &ErrorStack) -> String {
    let reasons: Vec<&str> = stack.errors().iter().filter_map(|error| error.reason()).collect();
    if reasons.is_empty() {
        "OpenSSL gave no reason.".to_owned()
    } else {
        format!("OpenSSL: {}", reasons.join("; "))
    }
}
