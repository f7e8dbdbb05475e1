//! A client's context: whom it believes, whom it expects, what it proves. Validated when it is built, immutable
//! afterwards, cheap to clone.

use super::context::TlsBuilder;
use super::demands::Demands;
use super::end::Side;
use super::error::ConfigError;
use super::failure::Failure;
use super::fips::Module;
use super::fitness::Fitness;
use super::name::ServerName;
use super::patience::Patience;
use super::policy::Policy;
use super::resume::Resumption;
use super::revocation;
use super::stream::{BULK, Peer, TlsStream};
use super::trust::{Pin, Trust};
use super::verify::Rules;
use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode};
use openssl::x509::verify::X509CheckFlags;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

/// HTTP/1.1 in ALPN's wire format (RFC 7301 section 3.1): it is all that either end speaks.
const ALPN: &[u8] = b"\x08http/1.1";

/// A client's TLS configuration.
///
/// ```no_run
/// use sealpair_common::tls::ClientTls;
/// let tls = ClientTls::builder().trust_file("ca.pem").build()?;
/// # Ok::<(), sealpair_common::tls::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<ClientInner>);

#[derive(Debug)]
struct ClientInner {
    context: SslContext,
    policy: Policy,
    demands: Arc<Demands>,
    verify: bool,
    server_name: Option<ServerName>,
    rules: Arc<Rules>,
    /// Nothing where the server's certificate must be proved not to be revoked each time.
    resumption: Option<Resumption>,
    /// Whether only a stapled OCSP response can prove it.
    staple_required: bool,
}

/// What only a client is told.
#[derive(Clone, Debug, Default)]
pub struct ClientEnd {
    trust: Trust,
    server_name: Option<ServerName>,
    accept_any_certificate: bool,
    require_revocation: bool,
}

impl ClientTls {
    /// Starts with the policy `intermediate`, the system's trust store, and no identity.
    pub fn builder() -> TlsBuilder<ClientEnd> {
        TlsBuilder::default()
    }

    /// The policy.
    pub fn policy(&self) -> Policy {
        self.0.policy
    }

    /// The FIPS module that does the cryptography, if one must.
    pub fn module(&self) -> Option<&'static Module> {
        self.0.demands.module()
    }

    /// Whether servers' certificates are verified.
    pub fn verifies(&self) -> bool {
        self.0.verify
    }

    /// Performs the handshake with the server that `tcp` is connected to.
    ///
    /// The certificate must be for `name`, unless the configuration names another.
    ///
    /// # Errors
    ///
    /// The reason why there is no connection.
    pub fn connect(
        &self,
        tcp: Arc<TcpStream>,
        name: &ServerName,
        patience: Patience,
    ) -> Result<TlsStream, Failure> {
        let inner = &*self.0;
        let name = inner.server_name.as_ref().unwrap_or(name);
        let peer = name.to_string();
        let internal = |stack| Failure::internal(Side::Client, &peer, &stack);
        let mut ssl = Ssl::new(&inner.context).map_err(internal)?;
        let verdict = self.expect(&mut ssl, name).map_err(internal)?;
        revocation::ask(&mut ssl, verdict.clone(), inner.staple_required).map_err(internal)?;
        if let Some(resumption) = &inner.resumption {
            let port = tcp.peer_addr().map(|address| address.port()).unwrap_or_default();
            resumption.offer(&mut ssl, name, port);
        }
        let demands = Arc::clone(&inner.demands);
        let peer = Peer { name: peer.clone(), verdict, verified: inner.verify, demands };
        TlsStream::handshake(ssl, tcp, Side::Client, peer, patience)
    }

    /// Tells OpenSSL whom to expect: as the name to indicate and the name to find.
    fn expect(
        &self,
        ssl: &mut Ssl,
        name: &ServerName,
    ) -> Result<Option<super::verify::VerdictSlot>, ErrorStack> {
        let inner = &*self.0;
        if let ServerName::Dns(name) = name {
            ssl.set_hostname(name)?;
        }
        if !inner.verify {
            return Ok(None);
        }
        let param = ssl.param_mut();
        // RFC 9525 section 6: subject alternative names only, and a wildcard is a whole label.
        param.set_hostflags(
            X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT,
        );
        match name {
            ServerName::Dns(name) => param.set_host(name)?,
            ServerName::Ip(ip) => param.set_ip(*ip)?,
        }
        Ok(Some(inner.rules.watch(ssl, SslVerifyMode::PEER, Some(name.to_string()))))
    }
}

impl TlsBuilder<ClientEnd> {
    /// Whom to believe; the system's trust store if not called.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.end.trust = trust;
        self
    }

    /// Believes the authorities of a PEM file instead of the system's store.
    #[must_use]
    pub fn trust_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.end.trust = self.end.trust.file(path);
        self
    }

    /// Also demands this key somewhere in the chain.
    #[must_use]
    pub fn pin(mut self, pin: Pin) -> Self {
        self.end.trust = self.end.trust.pin(pin);
        self
    }

    /// Indicates and expects this name, whatever the URL says.
    #[must_use]
    pub fn server_name(mut self, name: ServerName) -> Self {
        self.end.server_name = Some(name);
        self
    }

    /// Does not verify the server's certificate at all: anybody can be in between. Refused where a
    /// policy is meant to be proved (`fips`, `cnsa1`, `cnsa2`).
    #[must_use]
    pub fn dangerous_accept_any_certificate(mut self) -> Self {
        self.end.accept_any_certificate = true;
        self
    }

    /// The server's certificate must be proved not to be revoked, in every handshake: by a stapled OCSP
    /// response, or by the revocation lists of [`Trust::crl_file`] if there are any. Sessions are not
    /// resumed, because that would prove nothing.
    #[must_use]
    pub fn require_revocation(mut self) -> Self {
        self.end.require_revocation = true;
        self
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// Everything that would otherwise fail with the first connection.
    pub fn build(self) -> Result<ClientTls, ConfigError> {
        let ClientEnd { trust, server_name, accept_any_certificate, require_revocation } =
            &self.end;
        if *accept_any_certificate {
            if self.policy.parameters().must_verify || self.fips {
                return Err(ConfigError::Incompatible(
                    "certificates cannot be left unverified under --fips and the policies fips, cnsa1 and cnsa2",
                ));
            }
            if *require_revocation {
                return Err(ConfigError::Incompatible(
                    "whether a certificate is revoked cannot be proved when certificates are not \
                     verified",
                ));
            }
            if !trust.pins().is_empty() {
                return Err(ConfigError::Incompatible(
                    "a pin cannot be checked when certificates are not verified",
                ));
            }
        }
        let (mut context, demands, _) = self.context(SslMethod::tls_client(), Side::Client)?;
        context.set_alpn_protos(ALPN)?;
        let mut lists_end = None;
        if *accept_any_certificate {
            context.set_verify(SslVerifyMode::NONE);
        } else {
            let trust = trust.load_under(self.policy)?;
            lists_end = trust.list_ends.iter().map(|(_, ends)| *ends).min();
            context.set_cert_store(trust.store.build());
            context.set_verify(SslVerifyMode::PEER);
        }
        crate::ffi::set_default_read_buffer(&mut context, BULK);
        revocation::install(&mut context, self.policy)?;
        let resumption = match require_revocation {
            true => None,
            false => Some(Resumption::install(&mut context, lists_end)?),
        };
        let rules = Rules {
            fitness: Fitness::new(self.policy, demands.module().is_some()),
            owner: Side::Server,
            pins: trust.pins().to_vec(),
            trust: trust.describe(),
        };
        Ok(ClientTls(Arc::new(ClientInner {
            context: context.build(),
            policy: self.policy,
            demands: Arc::new(demands),
            verify: !*accept_any_certificate,
            server_name: server_name.clone(),
            rules: Arc::new(rules),
            resumption,
            // Beside revocation lists every certificate of the chain has been looked up already.
            staple_required: *require_revocation && !trust.has_crls(),
        })))
    }
}
