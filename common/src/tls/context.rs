//! What the contexts of both ends have in common, and the builder for either.
//!
//! A builder collects choices and does nothing; `build` reads every file, checks everything against the
//! policy and makes one `SSL_CTX`, shared by all connections and threads. To reload, build another.

use super::demands::Demands;
use super::end::Side;
use super::error::ConfigError;
use super::fips;
use super::fitness::Fitness;
use super::identity::{Identity, IdentitySource};
use super::offer::Offer;
use super::policy::Policy;
use crate::material::Passphrase;
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions};
use std::path::PathBuf;

/// What a configuration of OpenSSL (`system_default`, config(5)) may have switched on, by <openssl/ssl.h>:
/// SSL_OP_NO_EXTENDED_MASTER_SECRET, LEGACY_SERVER_CONNECT, ALLOW_CLIENT_RENEGOTIATION, ALLOW_NO_DHE_KEX
/// and ALLOW_UNSAFE_LEGACY_RENEGOTIATION.
const LENIENT: SslOptions = SslOptions::from_bits_retain(1 | 1 << 2 | 1 << 8 | 1 << 10 | 1 << 18);

/// Builds a [`ServerTls`](super::ServerTls) or a [`ClientTls`](super::ClientTls).
#[derive(Clone, Debug, Default)]
pub struct TlsBuilder<End> {
    pub(super) policy: Policy,
    pub(super) fips: bool,
    identities: Vec<IdentitySource>,
    passphrase: Option<Passphrase>,
    pub(super) end: End,
}

impl<End> TlsBuilder<End> {
    /// The policy; `intermediate` if not called.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Has everything done by a FIPS module, and fails without one that can be proved: see
    /// [`fips::require`], whose effect is on the whole process. The policy `fips` does so by itself; with
    /// another, what that policy and the module's approval have in common is offered.
    #[must_use]
    pub fn fips(mut self) -> Self {
        self.fips = true;
        self
    }

    /// Adds the end's own certificate chain and key in PEM. A server may have two, for RSA beside
    /// ECDSA; a client needs one only for servers that ask.
    #[must_use]
    pub fn identity_pem(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let source = IdentitySource::Pem { certificate: cert.into(), key: key.into() };
        self.identities.push(source);
        self
    }

    /// Adds the end's own certificate and key in PKCS#12.
    #[must_use]
    pub fn identity_pkcs12(mut self, file: impl Into<PathBuf>) -> Self {
        self.identities.push(IdentitySource::Pkcs12(file.into()));
        self
    }

    /// Adds an identity that has been loaded.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identities.push(IdentitySource::Loaded(identity));
        self
    }

    /// The passphrase of encrypted keys and PKCS#12 files.
    #[must_use]
    pub fn passphrase(mut self, passphrase: Passphrase) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// A context with the policy and the identities, and what holds for both ends always.
    pub(super) fn context(
        &self,
        method: SslMethod,
        own: Side,
    ) -> Result<(SslContextBuilder, Demands, Vec<Identity>), ConfigError> {
        // First: what is made before the module is there is not made by it.
        let module = match self.fips || self.policy.parameters().fips_module {
            true => Some(fips::require()?),
            // Once it is there, it does the work of the whole process.
            false => fips::active(),
        };
        let fitness = Fitness::new(self.policy, module.is_some());
        let offer = Offer::new(self.policy, module.is_some())?;
        let mut context = SslContext::builder(method)?;
        offer.apply(&mut context)?;
        // RFC 8996 and RFC 7457 for the rest: no renegotiation (CVE-2009-3555, CVE-2021-3449), no
        // compression (CRIME). Early data is off unless it is switched on.
        context.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
        context.clear_options(LENIENT);
        // An idle connection gives its record buffers back; a read takes all that has arrived.
        context.set_mode(SslMode::RELEASE_BUFFERS);
        context.set_read_ahead(true);
        let identities = self
            .identities
            .iter()
            .map(|source| source.load(self.passphrase.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        for identity in &identities {
            identity.install(&mut context, fitness, own, module)?;
        }
        Ok((context, Demands::new(offer, module), identities))
    }
}
