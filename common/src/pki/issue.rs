//! Issuing a leaf certificate: the request, and what comes out of it.

use super::authority::{Authority, KeyAlgorithm, add};
use super::error::crypto;
use super::files::{Output, Overwrite, write_together};
use super::name::{COMMON_NAME_MAX, LeafName, Usage};
use super::template::{self, CLOCK_SKEW};
use super::{CertificateFacts, Passphrase, PkiError};
use jiff::{SignedDuration, Timestamp};
use openssl::error::{Error, ErrorStack};
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::stack::Stack;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Ref};
use std::fmt;
use std::path::Path;

/// What a leaf certificate is to be.
///
/// ```
/// use sealpair_common::pki::{Authority, AuthorityOptions, LeafRequest};
/// # fn main() -> Result<(), sealpair_common::pki::PkiError> {
/// let authority = Authority::create(&AuthorityOptions::new())?;
/// let issued = authority.issue(&LeafRequest::server(["localhost", "127.0.0.1", "::1"])?)?;
/// # let _ = issued;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LeafRequest {
    usage: Usage,
    /// Invariant: not empty; without duplicates.
    names: Vec<LeafName>,
    key_algorithm: KeyAlgorithm,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

impl LeafRequest {
    /// How long a leaf is valid by default: 90 days, after which a forgotten key is of no use.
    pub const DEFAULT_VALIDITY: SignedDuration = SignedDuration::from_hours(90 * 24);

    /// A certificate for a server with these names (see [`LeafName::parse`]).
    ///
    /// # Errors
    ///
    /// [`PkiError::Name`] for the first name that cannot be used, or when there is none.
    pub fn server<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, PkiError> {
        Self::new(Usage::Server, names)
    }

    /// A certificate for a client with these names (see [`LeafName::parse`]).
    ///
    /// # Errors
    ///
    /// As [`LeafRequest::server`], and when there is more than one common name.
    pub fn client<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, PkiError> {
        Self::new(Usage::Client, names)
    }

    fn new<N: AsRef<str>>(
        usage: Usage,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, PkiError> {
        let mut parsed = Vec::new();
        for text in names {
            let name = LeafName::parse(text.as_ref(), usage)?;
            let common_names =
                parsed.iter().any(|earlier| matches!(earlier, LeafName::CommonName(_)));
            if parsed.contains(&name) {
                continue;
            }
            if common_names && matches!(name, LeafName::CommonName(_)) {
                return Err(PkiError::Name {
                    text: text.as_ref().to_owned(),
                    reason: "A certificate has one common name, and there is one already.",
                });
            }
            parsed.push(name);
        }
        if parsed.is_empty() {
            return Err(PkiError::Name {
                text: String::new(),
                reason: "A certificate needs at least one name.",
            });
        }
        Ok(Self {
            usage,
            names: parsed,
            key_algorithm: KeyAlgorithm::default(),
            not_before: None,
            not_after: None,
        })
    }

    /// Sets the kind of the key. Default: [`KeyAlgorithm::P256`].
    #[must_use]
    pub fn key_algorithm(mut self, algorithm: KeyAlgorithm) -> Self {
        self.key_algorithm = algorithm;
        self
    }

    /// Sets the beginning, in the past or in the future.
    ///
    /// Default: one hour ago, for peers whose clock is behind.
    #[must_use]
    pub fn not_before(mut self, time: Timestamp) -> Self {
        self.not_before = Some(time);
        self
    }

    /// Sets the end, in the past or in the future, even after the authority's own.
    ///
    /// Default: [`Self::DEFAULT_VALIDITY`] from now or from a later beginning, but not after the
    /// end of the authority, because no peer accepts the leaf beyond that.
    #[must_use]
    pub fn not_after(mut self, time: Timestamp) -> Self {
        self.not_after = Some(time);
        self
    }

    /// The names, parsed, without duplicates.
    pub fn names(&self) -> &[LeafName] {
        &self.names
    }

    /// The subject's common name.
    ///
    /// For a server it is a courtesy to people and old programs: the first DNS name, unless it is
    /// too long (RFC 9525 matches alternative names only). For a client it is what logs usually
    /// show: the common name given, else the first name.
    fn common_name(&self) -> Option<String> {
        let chosen = match self.usage {
            Usage::Server => self.names.iter().find(|name| matches!(name, LeafName::Dns(_))),
            Usage::Client => self
                .names
                .iter()
                .find(|name| matches!(name, LeafName::CommonName(_)))
                .or_else(|| self.names.first()),
        };
        chosen.map(LeafName::to_string).filter(|text| text.chars().count() <= COMMON_NAME_MAX)
    }

    fn validity(&self, authority: &X509Ref) -> Result<(Timestamp, Timestamp), PkiError> {
        let now = Timestamp::now();
        let not_before = self.not_before.unwrap_or_else(|| add(now, -CLOCK_SKEW));
        if let Some(not_after) = self.not_after {
            return Ok((not_before, not_after));
        }
        let default = add(not_before.max(now), Self::DEFAULT_VALIDITY);
        // An end that cannot be read limits nothing here; peers will have their say.
        let Some(end) = CertificateFacts::of(authority).ends() else {
            return Ok((not_before, default));
        };
        if end <= not_before.max(now) {
            return Err(PkiError::AuthorityEnded { not_after: end });
        }
        Ok((not_before, default.min(end)))
    }
}

/// Signs a certificate for a new key.
pub(super) fn issue(authority: &Authority, request: &LeafRequest) -> Result<Issued, PkiError> {
    let issuer = authority.certificate();
    let validity = request.validity(issuer)?;
    let common_name = request.common_name();
    let key = request.key_algorithm.generate()?;
    let subject = template::subject(common_name.as_deref())?;
    let mut certificate = template::builder(&subject, issuer.subject_name(), &key, validity)?;
    let certificate = (|| {
        add_extensions(&mut certificate, issuer, request, common_name.is_none())?;
        template::sign(certificate, authority.key())
    })()
    .map_err(crypto("signing a certificate"))?;
    let (roots, chain) = authority
        .certificates()
        .iter()
        .cloned()
        .partition(|certificate| is_self_issued(certificate));
    Ok(Issued { certificate, chain, roots, key })
}

fn add_extensions(
    certificate: &mut X509Builder,
    issuer: &X509Ref,
    request: &LeafRequest,
    empty_subject: bool,
) -> Result<(), ErrorStack> {
    certificate.append_extension(BasicConstraints::new().critical().build()?)?;
    // TLS 1.3 and the ECDHE suites of TLS 1.2 only sign with the key; RSA key transport would need
    // keyEncipherment, and no policy here has it.
    let usage = KeyUsage::new().critical().digital_signature().build()?;
    certificate.append_extension(usage)?;
    let mut purpose = ExtendedKeyUsage::new();
    match request.usage {
        Usage::Client => purpose.client_auth(),
        Usage::Server => purpose.server_auth(),
    };
    certificate.append_extension(purpose.build()?)?;

    let mut names = SubjectAlternativeName::new();
    let mut any = false;
    for name in &request.names {
        match name {
            LeafName::CommonName(_) => continue,
            LeafName::Dns(text) => names.dns(text),
            LeafName::Email(text) => names.email(text),
            LeafName::Ip(address) => names.ip(&address.to_string()),
        };
        any = true;
    }
    if empty_subject {
        // RFC 5280, section 4.2.1.6: whoever does not understand the names has nothing else to go
        // by.
        names.critical();
    }
    if any {
        let names = names.build(&certificate.x509v3_context(Some(issuer), None))?;
        certificate.append_extension(names)?;
    }

    let context = certificate.x509v3_context(Some(issuer), None);
    let subject_key = SubjectKeyIdentifier::new().build(&context)?;
    // The issuer's name and serial number stand in when it has no key identifier of its own.
    let authority_key = AuthorityKeyIdentifier::new().keyid(false).issuer(false).build(&context)?;
    certificate.append_extension(subject_key)?;
    certificate.append_extension(authority_key)
}

/// A leaf certificate, its private key, and what issued it.
#[derive(Clone)]
pub struct Issued {
    certificate: X509,
    chain: Vec<X509>,
    roots: Vec<X509>,
    key: PKey<Private>,
}

impl Issued {
    /// The leaf.
    pub fn certificate(&self) -> &X509Ref {
        &self.certificate
    }

    /// The intermediates to serve after the leaf: empty when a root issued it, because the peer has
    /// to have the root already (RFC 8446, section 4.4.2).
    pub fn chain(&self) -> &[X509] {
        &self.chain
    }

    /// The leaf's private key.
    pub fn key(&self) -> &PKeyRef<Private> {
        &self.key
    }

    /// The leaf and the intermediates, in the order in which a server sends them.
    ///
    /// # Errors
    ///
    /// Only when memory runs out.
    pub fn certificate_pem(&self) -> Result<Vec<u8>, PkiError> {
        pem([&self.certificate].into_iter().chain(&self.chain))
    }

    /// The private key as unencrypted PKCS#8.
    ///
    /// # Errors
    ///
    /// Only when memory runs out.
    pub fn key_pem(&self) -> Result<Vec<u8>, PkiError> {
        key_pem(&self.key)
    }

    /// The leaf, its key, and all issuers up to the root in one PKCS#12 file (RFC 7292).
    ///
    /// Encrypted as OpenSSL 3 does by default: AES-256-CBC with a key from PBKDF2, and a MAC with
    /// SHA-256. An empty passphrase is possible, for programs that insist on this format where the
    /// file's permissions are the protection; it protects nothing.
    ///
    /// # Errors
    ///
    /// A text with a NUL in it; or a FIPS provider, because the MAC's key derivation is not
    /// approved.
    pub fn pkcs12(
        &self,
        passphrase: &Passphrase,
        friendly_name: &str,
    ) -> Result<Vec<u8>, PkiError> {
        if friendly_name.contains('\0') {
            return Err(PkiError::Text { what: "the friendly name" });
        }
        (|| {
            let mut issuers = Stack::new()?;
            for certificate in self.chain.iter().chain(&self.roots) {
                issuers.push(certificate.clone())?;
            }
            Pkcs12::builder()
                .name(friendly_name)
                .pkey(&self.key)
                .cert(&self.certificate)
                .ca(issuers)
                .build2(passphrase.as_str())?
                .to_der()
        })()
        .map_err(|source: ErrorStack| {
            // Only FIPS modules lack the key derivation of RFC 7292 appendix B. OpenSSL's word for what no
            // provider has; whether properties or providers keep it away differs with the configuration.
            let lacks = |error: &Error| error.reason() == Some("unsupported");
            match source.errors().iter().any(lacks) {
                true => PkiError::Pkcs12UnderFips { source },
                false => crypto("making a PKCS#12 file")(source),
            }
        })
    }

    /// Writes the private key (mode 0600) and the certificates (mode 0644), both or none.
    ///
    /// # Errors
    ///
    /// As [`Authority::save`].
    pub fn save(
        &self,
        certificate: &Path,
        key: &Path,
        overwrite: Overwrite,
    ) -> Result<(), PkiError> {
        write_together(
            &[
                Output::secret(key, &self.key_pem()?),
                Output::public(certificate, &self.certificate_pem()?),
            ],
            overwrite,
        )
    }
}

impl fmt::Debug for Issued {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("certificate", &self.certificate)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// Certificates in PEM, one after the other.
pub(super) fn pem<'a>(
    certificates: impl IntoIterator<Item = &'a X509>,
) -> Result<Vec<u8>, PkiError> {
    let mut pem = Vec::new();
    for certificate in certificates {
        pem.extend(certificate.to_pem().map_err(crypto("writing PEM"))?);
    }
    Ok(pem)
}

/// A private key as unencrypted PKCS#8 PEM.
pub(super) fn key_pem(key: &PKeyRef<Private>) -> Result<Vec<u8>, PkiError> {
    key.private_key_to_pem_pkcs8().map_err(crypto("writing PEM"))
}

/// Whether this is a root, as far as names can tell.
fn is_self_issued(certificate: &X509Ref) -> bool {
    certificate.subject_name().try_cmp(certificate.issuer_name()).is_ok_and(|order| order.is_eq())
}
