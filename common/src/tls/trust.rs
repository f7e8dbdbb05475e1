//! Whom we believe: trust anchors, revocation lists, and pinned keys.
//!
//! A pin narrows trust, it does not replace it: the chain must verify, *and* one of its certificates
//! must have a pinned key.

use super::digest::Digest;
use super::error::ConfigError;
use super::identity::{malformed, read_file};
use super::policy::Policy;
use super::signed::Signature;
use crate::pki::inspect::{instant, pin_of};
use jiff::Timestamp;
use openssl::asn1::Asn1Time;
use openssl::base64;
use openssl::hash::MessageDigest;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Crl, X509Name, X509Ref};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

const CRL: &str = "certificate revocation list";

/// Whom to believe.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// CA files; with none of them, the system's store.
    files: Vec<PathBuf>,
    certificates: Vec<X509>,
    crls: Vec<PathBuf>,
    pins: Vec<Pin>,
}

impl Trust {
    /// The system's trust store. `SSL_CERT_FILE` and `SSL_CERT_DIR` move it, as everywhere with
    /// OpenSSL.
    pub fn system() -> Self {
        Self::default()
    }

    /// The certificates of a PEM file are trust anchors, instead of the system's store (as curl's
    /// `--cacert`). May be called again for more.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// A certificate in memory is a trust anchor, instead of the system's store.
    #[must_use]
    pub fn certificate(mut self, certificate: X509) -> Self {
        self.certificates.push(certificate);
        self
    }

    /// The revocation lists of a PEM file are consulted. Once there is one, every certificate of a
    /// chain needs a current list of its issuer, and the chain must end at a root (as with curl's
    /// `--crlfile` and nginx's `ssl_crl`).
    #[must_use]
    pub fn crl_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.crls.push(path.into());
        self
    }

    /// A certificate of the chain must have this key. May be called again for alternatives.
    #[must_use]
    pub fn pin(mut self, pin: Pin) -> Self {
        self.pins.push(pin);
        self
    }

    /// The pins.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Whether there is a revocation list.
    pub fn has_crls(&self) -> bool {
        !self.crls.is_empty()
    }

    /// Whether the system's store is used.
    pub fn is_system(&self) -> bool {
        self.files.is_empty() && self.certificates.is_empty()
    }

    /// Where trust comes from, for messages: the files, or "the system's trust store".
    pub(super) fn describe(&self) -> String {
        if self.is_system() {
            return "the system's trust store".to_owned();
        }
        let files: Vec<String> = self.files.iter().map(|path| path.display().to_string()).collect();
        match files.is_empty() {
            true => "the certificates given".to_owned(),
            false => files.join(", "),
        }
    }

    /// Reads everything and makes a certificate store of it, for who looks at chains without a policy.
    pub(super) fn load(&self) -> Result<LoadedTrust, ConfigError> {
        self.load_under(Policy::Intermediate)
    }

    /// The same under a policy: revocation lists must be signed as it has it for certificates.
    pub(super) fn load_under(&self, policy: Policy) -> Result<LoadedTrust, ConfigError> {
        let mut anchors = self.certificates.clone();
        for path in &self.files {
            anchors.extend(certificates(path)?);
        }
        let mut list_ends = Vec::new();
        let mut digest = Digest::new()?;
        let mut store = X509StoreBuilder::new()?;
        if self.is_system() {
            add_system_anchors(&mut store)?;
        }
        for anchor in &anchors {
            digest.add("anchor", &anchor.digest(MessageDigest::sha256())?)?;
            store.add_cert(anchor.clone())?;
        }
        let mut flags = X509VerifyFlags::TRUSTED_FIRST;
        if self.crls.is_empty() {
            // An intermediate or a leaf that was named as an anchor is one, without its root. Not
            // beside revocation lists: a chain that stops at an intermediate has no issuer for its
            // list. curl makes the same distinction.
            flags |= X509VerifyFlags::PARTIAL_CHAIN;
        }
        for path in &self.crls {
            let (lists, bytes) = crls(path)?;
            digest.add("revocation list", &bytes)?;
            for list in &lists {
                check_signature(path, list, policy)?;
                warn_if_ended(path, list);
                crate::ffi::add_crl(&mut store, list)?;
            }
            let ends = lists.iter().filter_map(|list| list.next_update().and_then(instant)).min();
            list_ends.extend(ends.map(|ends| (path.clone(), ends)));
            flags |= X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL;
        }
        store.set_flags(flags)?;
        Ok(LoadedTrust { store, anchors, list_ends, digest: digest.finish()? })
    }
}

/// A store, and what identifies its content.
pub(super) struct LoadedTrust {
    pub(super) store: X509StoreBuilder,
    pub(super) anchors: Vec<X509>,
    /// When the first list of each file of revocation lists ends. Not those that do not say.
    pub(super) list_ends: Vec<(PathBuf, Timestamp)>,
    /// Changes whenever an anchor or a revocation list does.
    pub(super) digest: Vec<u8>,
}

impl LoadedTrust {
    /// The names that a server sends to say which client certificates it takes.
    pub(super) fn names(&self) -> Result<Stack<X509Name>, ConfigError> {
        let mut names = Stack::new()?;
        for anchor in &self.anchors {
            names.push(anchor.subject_name().to_owned()?)?;
        }
        Ok(names)
    }
}

/// OpenSSL's own default places, and, for a statically built OpenSSL whose defaults are those of the
/// build machine, the places where distributions keep the store.
pub(super) fn add_system_anchors(store: &mut X509StoreBuilder) -> Result<(), ConfigError> {
    store.set_default_paths()?;
    if cfg!(feature = "vendored") && std::env::var_os("SSL_CERT_FILE").is_none() {
        let found = openssl_probe::probe();
        if let Some(file) = found.cert_file {
            for certificate in certificates(&file)? {
                store.add_cert(certificate)?;
            }
        }
    }
    Ok(())
}

/// Every certificate of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<X509>, ConfigError> {
    const WHAT: &str = "CA certificate";
    let pem = read_file(path, WHAT)?;
    let certificates =
        X509::stack_from_pem(&pem).map_err(|stack| malformed(path, WHAT, Some(stack)))?;
    if certificates.is_empty() {
        return Err(malformed(path, WHAT, None));
    }
    Ok(certificates)
}

/// Every revocation list of a PEM file (at least one), and the bytes of the file.
fn crls(path: &Path) -> Result<(Vec<X509Crl>, Vec<u8>), ConfigError> {
    const WHAT: &str = CRL;
    const BEGIN: &[u8] = b"-----BEGIN X509 CRL-----";
    let pem = read_file(path, WHAT)?;
    let starts = pem.windows(BEGIN.len()).enumerate().filter(|(_, window)| *window == BEGIN);
    let lists = starts
        .map(|(at, _)| X509Crl::from_pem(&pem[at..]))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|stack| malformed(path, WHAT, Some(stack)))?;
    if lists.is_empty() {
        return Err(malformed(path, WHAT, None));
    }
    Ok((lists, pem))
}

/// OpenSSL verifies the signature when the list is needed, but takes any digest.
fn check_signature(path: &Path, list: &X509Crl, policy: Policy) -> Result<(), ConfigError> {
    let Some(signature) = Signature::of_list(&list.to_der()?) else {
        return Err(malformed(path, CRL, None));
    };
    signature.check(policy.parameters()).map_err(|reason| ConfigError::RevocationList {
        path: path.to_owned(),
        policy,
        reason: format!("its signature uses {reason}"),
    })
}

/// With a list that has ended everybody is refused; whoever starts a service with one must know.
fn warn_if_ended(path: &Path, list: &X509Crl) {
    let ended = list.next_update().zip(Asn1Time::days_from_now(0).ok());
    if let Some((end, now)) = ended
        && *end < *now
    {
        log::warn!(
            "the revocation list {} ended on {end}: it will refuse everybody",
            path.display()
        );
    }
}

/// The SHA-256 of a public key (SubjectPublicKeyInfo, as in RFC 7469 and curl's `--pinnedpubkey`).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of a certificate's key; `None` where the key cannot be reached.
    pub fn of(certificate: &X509Ref) -> Option<Self> {
        pin_of(certificate)?.parse().ok()
    }
}

impl Pin {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Pin {
    type Err = ConfigError;

    /// Parses `sha256/BASE64`; curl's `sha256//BASE64` is the same.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::BadPin(text.to_owned());
        let digits = text.strip_prefix("sha256/").ok_or_else(bad)?;
        let digits = digits.strip_prefix('/').filter(|d| d.len() == 44).unwrap_or(digits);
        let bytes = base64::decode_block(digits).map_err(|_| bad())?;
        // The encoder's own output is the only accepted form: 44 characters, one of them padding.
        let pin = Self(bytes.try_into().map_err(|_| bad())?);
        if base64::encode_block(&pin.0) == digits { Ok(pin) } else { Err(bad()) }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", base64::encode_block(&self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_in_both_spellings_and_no_other() {
        let text = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let pin: Pin = text.parse().unwrap();
        assert_eq!(pin.to_string(), text);
        assert_eq!(text.replacen('/', "//", 1).parse::<Pin>().unwrap(), pin);
        let slash = format!("sha256//{}", "/".repeat(42) + "8=");
        assert!(slash.parse::<Pin>().is_ok(), "a pin may itself begin with a slash");
        for bad in [
            "",
            "sha256/",
            "sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "sha256/AAAA",
            "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",
            "sha256/!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ] {
            assert!(bad.parse::<Pin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_without_a_list_or_certificate_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        for trust in [Trust::system().file(file.path()), Trust::system().crl_file(file.path())] {
            let error = trust.load().err().unwrap();
            assert!(error.to_string().contains(&path), "{error}");
        }
    }
}
