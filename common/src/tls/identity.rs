//! Who we are: a certificate, the chain that leads to its issuer, and the private key.
//!
//! Everything is read and checked when it is loaded: that the key belongs to the certificate, that an
//! encrypted key comes with its passphrase, and (when a context is built) that the policy allows the
//! key.

use super::error::ConfigError;
use super::policy::{Parameters, Policy};
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslContextBuilder;
use openssl::x509::X509;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No certificate, key or passphrase file is longer; a file that is, is the wrong file. System bundles
/// with every public authority are below 1 MiB.
const LONGEST_FILE: u64 = 16 << 20;

/// A passphrase. It is never shown.
#[derive(Clone)]
pub struct Passphrase(Vec<u8>);

impl Passphrase {
    /// The first line of a file, without its line end (as nginx's `ssl_password_file` has it).
    ///
    /// # Errors
    ///
    /// [`ConfigError::File`] when it cannot be read, [`ConfigError::Malformed`] when the line holds a
    /// NUL, which OpenSSL would take for its end.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let mut bytes = read_file(path, "passphrase")?;
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        bytes.truncate(end);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if bytes.contains(&0) {
            return Err(malformed(path, "passphrase", None));
        }
        Ok(Self(bytes))
    }

    /// A passphrase given as text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into_bytes())
    }

    /// The bytes of the passphrase.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

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
            return Err(malformed(certificate_path, "certificate", None));
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
        let file = Pkcs12::from_der(&der).map_err(|stack| malformed(path, WHAT, Some(stack)))?;
        let passphrase = std::str::from_utf8(passphrase.map_or(&[][..], Passphrase::as_bytes))
            .map_err(|_| ConfigError::WrongPassphrase(path.to_owned()))?;
        let parsed =
            file.parse2(passphrase).map_err(|_| ConfigError::WrongPassphrase(path.to_owned()))?;
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
        policy: Policy,
        parameters: &Parameters,
    ) -> Result<(), ConfigError> {
        let not_allowed = |reason: String| ConfigError::KeyNotAllowed {
            certificate: self.file.clone(),
            policy,
            reason,
        };
        parameters.check_key(&*self.certificate.public_key()?).map_err(not_allowed)?;
        // Fails for what the security level forbids: a short key, a weak digest.
        context
            .set_certificate(&self.certificate)
            .map_err(|stack| not_allowed(stack.to_string()))?;
        context.set_private_key(&self.key)?;
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
    // Without a callback OpenSSL would ask on the terminal. It calls this one only for a key that is
    // encrypted, so having been called is what tells the causes apart.
    let mut asked = false;
    let key = PKey::private_key_from_pem_callback(&pem, |buffer| {
        asked = true;
        match passphrase.map(Passphrase::as_bytes) {
            Some(bytes) if bytes.len() <= buffer.len() => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            _ => Ok(0),
        }
    });
    key.map_err(|stack| match (asked, passphrase) {
        (true, None) => ConfigError::KeyEncrypted(path.to_owned()),
        (true, Some(_)) => ConfigError::WrongPassphrase(path.to_owned()),
        (false, _) => malformed(path, WHAT, Some(stack)),
    })
}

/// Reads a whole file that must be small.
pub(super) fn read_file(path: &Path, what: &'static str) -> Result<Vec<u8>, ConfigError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST_FILE {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is longer than {} MiB", LONGEST_FILE >> 20),
            ));
        }
        Ok(bytes)
    };
    read().map_err(|source| ConfigError::File { path: path.to_owned(), what, source })
}

pub(super) fn malformed(
    path: &Path,
    what: &'static str,
    source: Option<openssl::error::ErrorStack>,
) -> ConfigError {
    ConfigError::Malformed { path: path.to_owned(), what, source }
}
