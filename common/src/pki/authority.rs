//! The certificate authority: one self-signed root that signs leaves directly.

use super::error::crypto;
use super::files::{Output, Overwrite, write_together};
use super::issue::{self, Issued, LeafRequest};
use super::read::{read_certificates, read_private_key};
use super::template::{self, CLOCK_SKEW};
use super::{CertificateFacts, PkiError, inspect, name};
use crate::ffi;
use crate::tls::Policy;
use jiff::{SignedDuration, Timestamp};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
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
    /// ECDSA on P-521, where a rule asks for it; the named policies have no need of it.
    P521,
    /// RSA with 3072 bits, for peers without elliptic curves; 128 bits of security as P-256 has.
    Rsa3072,
    /// RSA with 4096 bits, where a rule asks for it.
    Rsa4096,
    /// ML-DSA-87 (FIPS 204), as CNSA 2.0 asks for: the highest of its three sizes. OpenSSL has it from
    /// 3.5 on.
    MlDsa87,
}

impl KeyAlgorithm {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::P256, Self::P384, Self::P521, Self::Rsa3072, Self::Rsa4096, Self::MlDsa87];

    /// The kind that a policy allows for an end's own certificate: the usual one if it does.
    pub fn for_policy(policy: Policy) -> Self {
        let curves = policy.parameters().keys.curves;
        if curves.contains(&Nid::X9_62_PRIME256V1) {
            Self::P256
        } else if curves.contains(&Nid::SECP384R1) {
            Self::P384
        } else {
            Self::MlDsa87
        }
    }

    /// The name on the command line: `p256`, `p384`, `p521`, `rsa3072`, `rsa4096`, `mldsa87`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::P521 => "p521",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
            Self::MlDsa87 => "mldsa87",
        }
    }

    /// Makes a key, through EVP so that an active FIPS provider does it.
    pub(super) fn generate(self) -> Result<PKey<Private>, PkiError> {
        match self {
            Self::P256 => PKey::ec_gen("P-256"),
            Self::P384 => PKey::ec_gen("P-384"),
            Self::P521 => PKey::ec_gen("P-521"),
            Self::Rsa3072 => rsa(3072),
            Self::Rsa4096 => rsa(4096),
            Self::MlDsa87 => return ml_dsa_87(),
        }
        .map_err(crypto("making a key"))
    }
}

fn rsa(bits: u32) -> Result<PKey<Private>, ErrorStack> {
    let mut context = PkeyCtx::new_id(Id::RSA)?;
    context.keygen_init()?;
    context.set_rsa_keygen_bits(bits)?;
    context.keygen()
}

fn ml_dsa_87() -> Result<PKey<Private>, PkiError> {
    let unavailable = |source| PkiError::Unavailable { algorithm: "ML-DSA-87", source };
    let mut context = ffi::key_context(c"ML-DSA-87").map_err(unavailable)?;
    let key =
        context.keygen_init().and_then(|()| context.keygen()).map_err(crypto("making a key"))?;
    // With a newer FIPS provider an older OpenSSL makes such keys, but cannot write them down.
    key.public_key_to_der().map_err(unavailable)?;
    Ok(key)
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
        f.write_str("the key types are ")?;
        for (at, algorithm) in KeyAlgorithm::ALL.into_iter().enumerate() {
            write!(f, "{}{algorithm}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
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
        let certificate = (|| {
            let constraints = BasicConstraints::new().critical().ca().pathlen(0).build()?;
            certificate.append_extension(constraints)?;
            let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build()?;
            certificate.append_extension(usage)?;
            let identifier =
                SubjectKeyIdentifier::new().build(&certificate.x509v3_context(None, None))?;
            certificate.append_extension(identifier)?;
            template::sign(certificate, &key)
        })()
        .map_err(crypto("signing the authority's certificate"))?;
        Ok(Self { certificates: vec![certificate], key })
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
        let not_authority =
            |reason| PkiError::NotAuthority { path: certificate.to_owned(), reason };
        let issuer = certificates.first().ok_or_else(|| PkiError::Parse {
            path: certificate.to_owned(),
            expected: "a certificate",
            source: None,
        })?;
        let facts = CertificateFacts::of(issuer);
        // Before the key file, which an OpenSSL that does not know the algorithm cannot read either.
        let public = issuer.public_key().map_err(|source| {
            match inspect::ML_DSA.into_iter().find(|(_, name)| *name == facts.key) {
                Some((_, algorithm)) => PkiError::Unavailable { algorithm, source },
                None => PkiError::Parse {
                    path: certificate.to_owned(),
                    expected: "a certificate with a key that this OpenSSL knows",
                    source: Some(source),
                },
            }
        })?;
        let private = read_private_key(key)?;
        if !public.public_eq(&private) {
            // Comparing keys of different kinds leaves an error behind.
            drop(ErrorStack::get());
            return Err(PkiError::KeyMismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            });
        }
        if !facts.is_ca {
            return Err(not_authority(
                "Its basicConstraints do not say CA:TRUE (RFC 5280, section 4.2.1.9).",
            ));
        }
        if issuer.key_usage().is_some_and(|usage| !usage.contains(X509KeyUsage::KEY_CERT_SIGN)) {
            return Err(not_authority(
                "Its keyUsage does not include keyCertSign (RFC 5280, section 4.2.1.3).",
            ));
        }
        if !matches!(private.id(), Id::RSA | Id::EC) && !template::is_ml_dsa(&private) {
            return Err(not_authority(
                "Its key is neither RSA, ECDSA nor ML-DSA; other kinds cannot sign here.",
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

/// The sum, or the end of what a [`Timestamp`] can hold.
pub(super) fn add(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.saturating_add(span).unwrap_or(time)
}

fn generated_name() -> Result<String, PkiError> {
    let mut random = [0; 4];
    openssl::rand::rand_bytes(&mut random).map_err(crypto("drawing random numbers"))?;
    Ok(format!("Sealpair local CA {}", super::der::hex(&random)))
}
