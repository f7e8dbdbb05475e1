//! Who we are: a certificate, the chain that leads to its issuer, and the private key.
//!
//! Everything is read and checked when it is loaded: that the key belongs to the certificate, that an
//! encrypted key comes with its passphrase, and (when a context is built) that the policy allows the
//! key.

use super::end::Side;
use super::error::ConfigError;
use super::fips::Module;
use super::fitness::{Fitness, check_purpose};
use crate::material::{self, Locked, Passphrase};
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslContextBuilder;
use openssl::x509::X509;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A certificate with its chain and its private key.
#[derive(Clone)]
pub struct Identity {
    certificate: X509,
    chain: Vec<X509>,
    key: PKey<Private>,
    /// Where it came from, for messages.
    file: PathBuf,
}

impl Identity {
    /// Loads a PEM chain (the end's certificate first) and its PEM key (PKCS#8, SEC 1 or PKCS#1;
    /// encrypted or not). Both may be in one file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or does not hold what it should, an encrypted key without its
    /// passphrase, a key that belongs to another certificate.
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, ConfigError> {
        let (certificate_path, key_path) = (certificate.as_ref(), key.as_ref());
        let pem = read_file(certificate_path, "certificate")?;
        let mut certificates = X509::stack_from_pem(&pem)
            .map_err(|stack| malformed(certificate_path, "certificate", Some(stack)))?
            .into_iter();
        let Some(certificate) = certificates.next() else {
            return Err(match has_block(&pem, "PRIVATE KEY") {
                true => mistaken(certificate_path, "certificate", "private key"),
                false => malformed(certificate_path, "certificate", None),
            });
        };
        let key = private_key(key_path, passphrase)?;
        let identity = Self {
            certificate,
            chain: certificates.collect(),
            key,
            file: certificate_path.to_owned(),
        };
        identity.check_pair(key_path)?;
        Ok(identity)
    }

    /// Loads a PKCS#12 file: the key, its certificate and the others as the chain.
    ///
    /// # Errors
    ///
    /// As [`Identity::from_pem_files`].
    pub fn from_pkcs12_file(
        path: impl AsRef<Path>,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, ConfigError> {
        const WHAT: &str = "PKCS#12 key and certificate";
        let path = path.as_ref();
        let der = read_file(path, WHAT)?;
        let parsed =
            material::pkcs12(&der, passphrase).map_err(|locked| locked_file(path, WHAT, locked))?;
        let (Some(certificate), Some(key)) = (parsed.cert, parsed.pkey) else {
            return Err(malformed(path, WHAT, None));
        };
        let chain = parsed.ca.map(|stack| stack.into_iter().collect()).unwrap_or_default();
        let identity = Self { certificate, chain, key, file: path.to_owned() };
        identity.check_pair(path)?;
        Ok(identity)
    }

    /// Makes an identity of parts that are in memory; `file` names it in messages.
    ///
    /// # Errors
    ///
    /// [`ConfigError::KeyMismatch`] when the key belongs to another certificate.
    pub fn from_parts(
        certificate: X509,
        chain: Vec<X509>,
        key: PKey<Private>,
        file: impl Into<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let file = file.into();
        let identity = Self { certificate, chain, key, file: file.clone() };
        identity.check_pair(&file)?;
        Ok(identity)
    }

    /// The end's own certificate.
    pub fn certificate(&self) -> &X509 {
        &self.certificate
    }

    /// The certificates that lead from it towards its root, as loaded.
    pub fn chain(&self) -> &[X509] {
        &self.chain
    }

    /// The private key.
    pub fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// The file that the certificate came from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    fn check_pair(&self, key_path: &Path) -> Result<(), ConfigError> {
        let public = self
            .certificate
            .public_key()
            .map_err(|stack| malformed(&self.file, "certificate", Some(stack)))?;
        if public.public_eq(&self.key) {
            Ok(())
        } else {
            Err(ConfigError::KeyMismatch {
                certificate: self.file.clone(),
                key: key_path.to_owned(),
            })
        }
    }

    /// Puts the identity into a context. Called once for each, so that an RSA and an ECDSA certificate
    /// can stand side by side; OpenSSL picks by what the peer can verify.
    pub(super) fn install(
        &self,
        context: &mut SslContextBuilder,
        fitness: Fitness,
        owner: Side,
        module: Option<&Module>,
    ) -> Result<(), ConfigError> {
        let policy = fitness.policy();
        let not_allowed = |reason: String| ConfigError::KeyNotAllowed {
            certificate: self.file.clone(),
            policy,
            reason,
        };
        fitness.check_own(&self.certificate, owner).map_err(not_allowed)?;
        check_purpose(&self.certificate, owner).map_err(not_allowed)?;
        for issuer in &self.chain {
            let reason = |reason| not_allowed(format!("one of its issuers: {reason}"));
            fitness.check_issuer(issuer).map_err(reason)?;
        }
        // Fails for what the security level forbids: a short key, a weak digest.
        context
            .set_certificate(&self.certificate)
            .map_err(|stack| not_allowed(stack.to_string()))?;
        match module {
            None => context.set_private_key(&self.key)?,
            Some(module) => {
                let refused = |stack: openssl::error::ErrorStack| {
                    not_allowed(format!("the FIPS module does not take its key: {stack}"))
                };
                context.set_private_key(&*module.adopt(&self.key).map_err(refused)?)?;
            }
        }
        for certificate in &self.chain {
            crate::ffi::add_chain_certificate(context, certificate)
                .map_err(|stack| not_allowed(stack.to_string()))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Where an identity is to be loaded from; builders keep it until they build.
#[derive(Clone, Debug)]
pub(super) enum IdentitySource {
    Loaded(Identity),
    Pem { certificate: PathBuf, key: PathBuf },
    Pkcs12(PathBuf),
}

impl IdentitySource {
    pub(super) fn load(&self, passphrase: Option<&Passphrase>) -> Result<Identity, ConfigError> {
        match self {
            Self::Loaded(identity) => Ok(identity.clone()),
            Self::Pem { certificate, key } => {
                Identity::from_pem_files(certificate, key, passphrase)
            }
            Self::Pkcs12(path) => Identity::from_pkcs12_file(path, passphrase),
        }
    }
}

fn private_key(path: &Path, passphrase: Option<&Passphrase>) -> Result<PKey<Private>, ConfigError> {
    const WHAT: &str = "private key";
    let pem = read_file(path, WHAT)?;
    if has_block(&pem, "CERTIFICATE") && !has_block(&pem, "PRIVATE KEY") {
        return Err(mistaken(path, WHAT, "certificate"));
    }
    warn_if_exposed(path);
    material::private_key(&pem, passphrase).map_err(|locked| locked_file(path, WHAT, locked))
}

/// Whether a PEM text has a block whose label ends so: `ENCRYPTED PRIVATE KEY` is a private key, too.
fn has_block(pem: &[u8], label: &str) -> bool {
    pem.split(|&byte| byte == b'\n').any(|line| {
        let line = line.trim_ascii_end();
        let label =
            line.strip_suffix(b"-----").and_then(|line| line.strip_suffix(label.as_bytes()));
        label.is_some_and(|before| before.starts_with(b"-----BEGIN "))
    })
}

fn mistaken(path: &Path, what: &'static str, holds: &'static str) -> ConfigError {
    ConfigError::Mistaken { path: path.to_owned(), what, holds }
}

/// A key that everybody on the machine can read is a mistake, but not one that stops a service.
fn warn_if_exposed(path: &Path) {
    const OTHERS_READ: u32 = 0o004;
    if std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & OTHERS_READ != 0) {
        log::warn!("everybody on this machine can read the private key {}", path.display());
    }
}

fn locked_file(path: &Path, what: &'static str, locked: Locked) -> ConfigError {
    match locked {
        Locked::Encrypted => ConfigError::KeyEncrypted(path.to_owned()),
        Locked::Malformed(stack) => malformed(path, what, Some(stack)),
        Locked::WrongPassphrase => ConfigError::WrongPassphrase(path.to_owned()),
    }
}

/// The passphrase in the first line of a file.
///
/// # Errors
///
/// [`ConfigError::File`] when it cannot be read, [`ConfigError::Malformed`] when the line is not UTF-8
/// or holds a NUL.
pub fn passphrase_file(path: impl AsRef<Path>) -> Result<Passphrase, ConfigError> {
    const WHAT: &str = "passphrase";
    let path = path.as_ref();
    let bytes = read_file(path, WHAT)?;
    Passphrase::first_line(&bytes).ok_or_else(|| malformed(path, WHAT, None))
}

/// Reads a whole file that must be small; `what` it should hold is for the message.
///
/// # Errors
///
/// [`ConfigError::File`] when it cannot be read or is longer than 16 MiB.
pub fn read_file(path: &Path, what: &'static str) -> Result<Vec<u8>, ConfigError> {
    material::read(path).map_err(|source| ConfigError::File { path: path.to_owned(), what, source })
}

pub(super) fn malformed(
    path: &Path,
    what: &'static str,
    source: Option<openssl::error::ErrorStack>,
) -> ConfigError {
    ConfigError::Malformed { path: path.to_owned(), what, source }
}
