//! The certificate authority: one self-signed root that signs leaves directly.

use super::error::crypto;
use super::files::{Output, Overwrite, write_together};
use super::issue::{self, Issued, LeafRequest};
use super::read::{read_certificates, read_private_key};
use super::template::{self, CLOCK_SKEW};
use super::{PkiError, name};
use jiff::{SignedDuration, Timestamp};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, PKeyRef, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectKeyIdentifier};
use openssl::x509::{X509, X509KeyUsage, X509Ref};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The kind of a new key.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 (FIPS 186-5): small, fast, and understood everywhere.
    #[default]
    P256,
    /// ECDSA on P-384, as CNSA 1.0 asks for.
    P384,
    /// RSA with 3072 bits, for peers without elliptic curves; 128 bits of security as P-256 has.
    Rsa3072,
}

impl KeyAlgorithm {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::Rsa3072];

    /// The name on the command line: `p256`, `p384`, `rsa3072`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa3072 => "rsa3072",
        }
    }

    /// Makes a key, through EVP so that an active FIPS provider does it.
    pub(super) fn generate(self) -> Result<PKey<Private>, PkiError> {
        match self {
            Self::P256 => PKey::ec_gen("P-256"),
            Self::P384 => PKey::ec_gen("P-384"),
            Self::Rsa3072 => (|| {
                let mut context = PkeyCtx::new_id(Id::RSA)?;
                context.keygen_init()?;
                context.set_rsa_keygen_bits(3072)?;
                context.keygen()
            })(),
        }
        .map_err(crypto("making a key"))
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = UnknownKeyAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownKeyAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or(UnknownKeyAlgorithm(()))
    }
}

/// Text that names no [`KeyAlgorithm`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownKeyAlgorithm(());

impl fmt::Display for UnknownKeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key type is p256, p384 or rsa3072")
    }
}

impl std::error::Error for UnknownKeyAlgorithm {}

/// What a new authority is to be.
#[derive(Clone, Debug, Default)]
pub struct AuthorityOptions {
    common_name: Option<String>,
    key_algorithm: KeyAlgorithm,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

impl AuthorityOptions {
    /// How long an authority is valid by default: 3650 days, about ten years.
    ///
    /// Its certificate is installed by hand at every peer, so that renewing it is laborious.
    pub const DEFAULT_VALIDITY: SignedDuration = SignedDuration::from_hours(3650 * 24);

    /// The defaults: P-256, ten years, a generated name.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the subject's common name, of at most 64 characters.
    ///
    /// Default: `Sealpair local CA` and eight random hexadecimal digits, so that a trust store
    /// shows whether it holds this authority or the one before it.
    #[must_use]
    pub fn common_name(mut self, name: impl Into<String>) -> Self {
        self.common_name = Some(name.into());
        self
    }

    /// Sets the kind of the key. Default: [`KeyAlgorithm::P256`].
    #[must_use]
    pub fn key_algorithm(mut self, algorithm: KeyAlgorithm) -> Self {
        self.key_algorithm = algorithm;
        self
    }

    /// Sets the beginning. Default: one hour ago, for peers whose clock is behind.
    #[must_use]
    pub fn not_before(mut self, time: Timestamp) -> Self {
        self.not_before = Some(time);
        self
    }

    /// Sets the end. Default: [`Self::DEFAULT_VALIDITY`] from now.
    #[must_use]
    pub fn not_after(mut self, time: Timestamp) -> Self {
        self.not_after = Some(time);
        self
    }
}

/// A certificate authority: its certificate and its private key.
#[derive(Clone)]
pub struct Authority {
    /// The issuing certificate first, then whatever issued it. Invariant: not empty.
    certificates: Vec<X509>,
    key: PKey<Private>,
}

impl Authority {
    /// Makes a self-signed authority in memory; [`Authority::save`] writes it.
    ///
    /// Its certificate has a critical `basicConstraints` with `CA:TRUE, pathlen:0` (it signs leaves
    /// and no further authority), a critical `keyUsage` with `keyCertSign` and `cRLSign`, and a
    /// `subjectKeyIdentifier` (RFC 5280, sections 4.2.1.2, 4.2.1.3, 4.2.1.9).
    ///
    /// # Errors
    ///
    /// A name or validity that a certificate cannot hold, or a refusal by OpenSSL.
    pub fn create(options: &AuthorityOptions) -> Result<Self, PkiError> {
        let AuthorityOptions { common_name, key_algorithm, not_before, not_after } = options;
        let common_name = match common_name {
            Some(text) => name::common_name(text)
                .map_err(|reason| PkiError::Name { text: text.clone(), reason })?,
            None => generated_name()?,
        };
        let now = Timestamp::now();
        let not_before = not_before.unwrap_or_else(|| add(now, -CLOCK_SKEW));
        let not_after = not_after.unwrap_or_else(|| add(now, AuthorityOptions::DEFAULT_VALIDITY));
        let key = key_algorithm.generate()?;
        let subject = template::subject(Some(&common_name))?;
        let mut certificate = template::builder(&subject, &subject, &key, (not_before, not_after))?;
        (|| {
            let constraints = BasicConstraints::new().critical().ca().pathlen(0).build()?;
            certificate.append_extension(constraints)?;
            let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build()?;
            certificate.append_extension(usage)?;
            let identifier =
                SubjectKeyIdentifier::new().build(&certificate.x509v3_context(None, None))?;
            certificate.append_extension(identifier)?;
            certificate.sign(&key, digest(&key))
        })()
        .map_err(crypto("signing the authority's certificate"))?;
        Ok(Self { certificates: vec![certificate.build()], key })
    }

    /// Reads an authority from PEM files.
    ///
    /// The first certificate is the one that issues. More may follow when it is an intermediate;
    /// those that are not self-signed are then served with each leaf.
    ///
    /// # Errors
    ///
    /// Files that cannot be read or parsed, an encrypted key (nobody is asked for a passphrase), a
    /// key that does not belong to the certificate, a certificate that must not sign others.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, PkiError> {
        let certificates = read_certificates(certificate, None)?;
        let private = read_private_key(key)?;
        let not_authority =
            |reason| PkiError::NotAuthority { path: certificate.to_owned(), reason };
        let issuer = certificates.first().ok_or_else(|| PkiError::Parse {
            path: certificate.to_owned(),
            expected: "a certificate",
            source: None,
        })?;
        let public = issuer.public_key().map_err(|source| PkiError::Parse {
            path: certificate.to_owned(),
            expected: "a certificate with a key that this OpenSSL knows",
            source: Some(source),
        })?;
        if !public.public_eq(&private) {
            // Comparing keys of different kinds leaves an error behind.
            drop(ErrorStack::get());
            return Err(PkiError::KeyMismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            });
        }
        if !super::CertificateFacts::of(issuer).is_ca {
            return Err(not_authority(
                "Its basicConstraints do not say CA:TRUE (RFC 5280, section 4.2.1.9).",
            ));
        }
        if issuer.key_usage().is_some_and(|usage| !usage.contains(X509KeyUsage::KEY_CERT_SIGN)) {
            return Err(not_authority(
                "Its keyUsage does not include keyCertSign (RFC 5280, section 4.2.1.3).",
            ));
        }
        if !matches!(private.id(), Id::RSA | Id::EC) {
            return Err(not_authority(
                "Its key is neither RSA nor ECDSA; other kinds cannot sign here.",
            ));
        }
        Ok(Self { certificates, key: private })
    }

    /// Issues a certificate with a new key.
    ///
    /// # Errors
    ///
    /// An empty validity, an authority that has ended while no end was asked for, or a refusal by
    /// OpenSSL.
    pub fn issue(&self, request: &LeafRequest) -> Result<Issued, PkiError> {
        issue::issue(self, request)
    }

    /// The certificate that issues, for trust stores.
    pub fn certificate(&self) -> &X509Ref {
        // Invariant: both constructors see to it that there is a certificate.
        &self.certificates[0]
    }

    /// The certificate and what issued it, in PEM.
    ///
    /// # Errors
    ///
    /// Only when memory runs out.
    pub fn certificate_pem(&self) -> Result<Vec<u8>, PkiError> {
        issue::pem(&self.certificates)
    }

    /// Writes the private key (PKCS#8, mode 0600) and the certificate (mode 0644), both or none.
    ///
    /// # Errors
    ///
    /// [`PkiError::Exists`] if either file exists and `overwrite` refuses, and failures to write.
    pub fn save(
        &self,
        certificate: &Path,
        key: &Path,
        overwrite: Overwrite,
    ) -> Result<(), PkiError> {
        // The key first: a certificate without its key would look complete but serve nobody.
        write_together(
            &[
                Output::secret(key, &issue::key_pem(&self.key)?),
                Output::public(certificate, &self.certificate_pem()?),
            ],
            overwrite,
        )
    }

    pub(super) fn certificates(&self) -> &[X509] {
        &self.certificates
    }

    pub(super) fn key(&self) -> &PKeyRef<Private> {
        &self.key
    }
}

impl fmt::Debug for Authority {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

/// The digest to sign with: as strong as the key, so SHA-256 for P-256 and RSA, SHA-384 for P-384.
pub(super) fn digest(key: &PKeyRef<Private>) -> MessageDigest {
    match (key.id(), key.bits()) {
        (Id::EC, 257..=384) => MessageDigest::sha384(),
        (Id::EC, 385..) => MessageDigest::sha512(),
        _ => MessageDigest::sha256(),
    }
}

/// The sum, or the end of what a [`Timestamp`] can hold.
pub(super) fn add(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.saturating_add(span).unwrap_or(time)
}

fn generated_name() -> Result<String, PkiError> {
    let mut random = [0; 4];
    openssl::rand::rand_bytes(&mut random).map_err(crypto("drawing random numbers"))?;
    Ok(format!("Sealpair local CA {}", super::der::hex(&random)))
}
