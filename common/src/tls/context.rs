//! The contexts of both ends: validated when they are built, immutable afterwards, cheap to clone.
//!
//! A builder collects choices and does nothing; `build` reads every file, checks everything against the
//! policy and makes one `SSL_CTX`, shared by all connections and threads. To reload, build another.

use super::accepting::{Accepting, Advance};
use super::demands::Demands;
use super::digest::Digest;
use super::end::Side;
use super::error::ConfigError;
use super::failure::Failure;
use super::fips::{self, Module};
use super::identity::{Identity, IdentitySource};
use super::name::ServerName;
use super::offer::Offer;
use super::patience::Patience;
use super::policy::Policy;
use super::resume::Resumption;
use super::revocation;
use super::staple;
use super::stream::{BULK, Peer, TlsStream};
use super::tickets::{TicketKeys, TicketSource};
use super::trust::{Pin, Trust};
use super::verify::Rules;
use crate::material::Passphrase;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::ssl::{
    AlpnError, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslVerifyMode, select_next_proto,
};
use openssl::x509::verify::X509CheckFlags;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

/// HTTP/1.1 in ALPN's wire format (RFC 7301 section 3.1): it is all that either end speaks.
const ALPN: &[u8] = b"\x08http/1.1";

/// What a server takes: HTTP/1.0 has a name of its own in ALPN, and a client that offers nothing
/// else (`curl --http1.0`) is served as one that does not speak ALPN would be.
const SERVER_ALPN: &[u8] = b"\x08http/1.1\x08http/1.0";

/// Whether a server asks its clients for a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientAuth {
    /// It does not.
    #[default]
    None,
    /// It asks; a client may have none, but one that it presents must verify.
    Optional,
    /// It asks, and refuses a client that has none.
    Required,
}

impl ClientAuth {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// Builds a [`ServerTls`] or a [`ClientTls`].
#[derive(Clone, Debug, Default)]
pub struct TlsBuilder<End> {
    policy: Policy,
    fips: bool,
    identities: Vec<IdentitySource>,
    passphrase: Option<Passphrase>,
    end: End,
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
    fn context(
        &self,
        method: SslMethod,
        own: Side,
    ) -> Result<(SslContextBuilder, Demands, Vec<Identity>), ConfigError> {
        // First: what is made before the module is there is not made by it.
        let module = match self.fips || self.policy.parameters().fips_module {
            true => Some(fips::require()?),
            false => None,
        };
        let offer = Offer::new(self.policy, module.is_some())?;
        let mut context = SslContext::builder(method)?;
        offer.apply(&mut context)?;
        // RFC 8996 and RFC 7457 for the rest: no renegotiation (CVE-2009-3555, CVE-2021-3449), no
        // compression (CRIME). Early data is off unless it is switched on.
        context.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
        // An idle connection gives its record buffers back; a read takes all that has arrived.
        context.set_mode(SslMode::RELEASE_BUFFERS);
        context.set_read_ahead(true);
        let identities = self
            .identities
            .iter()
            .map(|source| source.load(self.passphrase.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        for identity in &identities {
            identity.install(&mut context, self.policy, own)?;
        }
        Ok((context, Demands::new(offer, module), identities))
    }
}

/// A server's TLS configuration.
///
/// ```no_run
/// use sealpair_common::tls::ServerTls;
/// let tls = ServerTls::builder().identity_pem("server.pem", "server.key").build()?;
/// # Ok::<(), sealpair_common::tls::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<ServerInner>);

#[derive(Debug)]
struct ServerInner {
    context: SslContext,
    policy: Policy,
    demands: Arc<Demands>,
    client_auth: ClientAuth,
    rules: Arc<Rules>,
    identities: Vec<Identity>,
    tickets: TicketKeys,
}

/// What only a server is told.
#[derive(Clone, Debug, Default)]
pub struct ServerEnd {
    client_auth: ClientAuth,
    client_trust: Trust,
    tickets: TicketSource,
    require_revocation: bool,
    ocsp_responses: Vec<PathBuf>,
    ocsp_issuers: Vec<PathBuf>,
}

impl ServerTls {
    /// Starts with the policy `intermediate`, no identity, and no client certificates.
    pub fn builder() -> TlsBuilder<ServerEnd> {
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

    /// Whether clients are asked for a certificate.
    pub fn client_auth(&self) -> ClientAuth {
        self.0.client_auth
    }

    /// The certificates that are served.
    pub fn identities(&self) -> &[Identity] {
        &self.0.identities
    }

    /// The keys of its session tickets: give them to the configuration that takes its place, and clients
    /// may resume as long as nothing else has changed.
    pub fn ticket_keys(&self) -> &TicketKeys {
        &self.0.tickets
    }

    /// Performs the handshake with a client that has connected. `peer` names the client in messages.
    ///
    /// # Errors
    ///
    /// The reason why there is no connection. The alert that tells the client has been sent, but the
    /// client may only see it if the socket is read until it closes: see
    /// [`linger`](super::linger).
    pub fn accept(
        &self,
        tcp: Arc<TcpStream>,
        peer: &str,
        patience: Patience,
    ) -> Result<TlsStream, Failure> {
        match self.begin(tcp, peer)?.advance(patience)? {
            Advance::Done(stream) => Ok(stream),
            Advance::Waiting(accepting) => Err(accepting.late()),
        }
    }

    /// Begins a handshake that goes on as the client's messages arrive: for a server that does not let a
    /// thread wait for them. `peer` names the client in messages.
    ///
    /// # Errors
    ///
    /// When OpenSSL cannot even begin: memory.
    pub fn begin(&self, tcp: Arc<TcpStream>, peer: &str) -> Result<Accepting, Failure> {
        let inner = &*self.0;
        let mut ssl = Ssl::new(&inner.context)
            .map_err(|stack| Failure::internal(Side::Server, peer, &stack))?;
        let verdict = (inner.client_auth != ClientAuth::None).then(|| {
            let mode = ssl.verify_mode();
            inner.rules.watch(&mut ssl, mode, None)
        });
        let peer = Peer {
            name: peer.to_owned(),
            verified: verdict.is_some(),
            verdict,
            demands: Arc::clone(&inner.demands),
        };
        TlsStream::before_handshake(ssl, tcp, Side::Server, peer).map(Accepting::new)
    }
}

impl TlsBuilder<ServerEnd> {
    /// Whether clients must present a certificate, and which authorities may have issued it.
    #[must_use]
    pub fn client_auth(mut self, client_auth: ClientAuth, trust: Trust) -> Self {
        self.end.client_auth = client_auth;
        self.end.client_trust = trust;
        self
    }

    /// Seals session tickets with the key in this file, which other servers may share, instead of with
    /// keys of its own. May be called again: the first file's key seals, each opens. A file that is
    /// replaced is read again. The format is nginx's (`ssl_session_ticket_key`) with 80 bytes.
    #[must_use]
    pub fn ticket_key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.end.tickets = self.end.tickets.file(path.into());
        self
    }

    /// Seals session tickets with these keys, as another configuration does.
    #[must_use]
    pub fn ticket_keys(mut self, keys: TicketKeys) -> Self {
        self.end.tickets = TicketSource::Given(keys);
        self
    }

    /// A client's certificate must be proved not to be revoked, in every handshake: there must be
    /// revocation lists, and no session is resumed, because that would prove nothing.
    #[must_use]
    pub fn require_revocation(mut self) -> Self {
        self.end.require_revocation = true;
        self
    }

    /// Staples the OCSP response in this file (DER, or PEM) to handshakes with the certificate that it
    /// is for. The file is read again when it has been replaced. May be called again for another
    /// certificate.
    #[must_use]
    pub fn ocsp_response(mut self, path: impl Into<PathBuf>) -> Self {
        self.end.ocsp_responses.push(path.into());
        self
    }

    /// A PEM file with the issuer of a certificate of the server's, for [`Self::ocsp_response`], where the
    /// chain that is sent to clients does not have it.
    #[must_use]
    pub fn ocsp_issuer_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.end.ocsp_issuers.push(path.into());
        self
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// Everything that would otherwise fail when the first client connects.
    pub fn build(self) -> Result<ServerTls, ConfigError> {
        let ServerEnd {
            client_auth,
            client_trust,
            tickets,
            require_revocation,
            ocsp_responses,
            ocsp_issuers,
        } = &self.end;
        let (mut context, demands, identities) =
            self.context(SslMethod::tls_server(), Side::Server)?;
        demands.install(&mut context)?;
        if identities.is_empty() {
            return Err(ConfigError::NoIdentity);
        }
        let mut issuers = Vec::new();
        for path in ocsp_issuers.iter().filter(|_| !ocsp_responses.is_empty()) {
            issuers.extend(staple::issuers(path)?);
        }
        staple::install(&mut context, ocsp_responses, &identities, &issuers)?;
        context.set_alpn_select_callback(|_, offered| {
            select_next_proto(SERVER_ALPN, offered).ok_or(AlpnError::ALERT_FATAL)
        });
        // Tickets carry the state; a cache here would only grow.
        context.set_session_cache_mode(SslSessionCacheMode::OFF);
        // One ticket for each handshake, as Go's crypto/tls: a client that comes back has its next one.
        // Making a second (OpenSSL's default) costs a twentieth of a full handshake.
        context.set_num_tickets(1)?;
        // A record without data must come back to the engine, or a flood of them would keep a thread.
        crate::ffi::clear_auto_retry(&mut context);
        let tickets = tickets.load()?;
        tickets.install(&mut context)?;
        let mut binding = Digest::new()?;
        binding.add("policy", self.policy.name().as_bytes())?;
        // Another version of this program may have another table, and share the key.
        binding.add("parameters", format!("{:?}", self.policy.parameters()).as_bytes())?;
        binding.add("module", format!("{:?}", demands.module().map(Module::name)).as_bytes())?;
        binding.add("client-auth", client_auth.name().as_bytes())?;
        for identity in &identities {
            // A client takes whoever resumes its session for the server that it knows. Where servers with
            // other names share a key, a connection that is led astray must not be resumed.
            binding.add("certificate", &identity.certificate().digest(MessageDigest::sha256())?)?;
        }
        match *client_auth {
            ClientAuth::None => context.set_verify(SslVerifyMode::NONE),
            auth => {
                if client_trust.is_system() {
                    return Err(ConfigError::Incompatible(
                        "client certificates need the authority that issues them (--client-ca): \
                         the system's store would admit anybody's",
                    ));
                }
                let trust = client_trust.load()?;
                binding.add("trust", &trust.digest)?;
                for pin in client_trust.pins() {
                    binding.add("pin", pin.as_bytes())?;
                }
                context.set_client_ca_list(trust.names()?);
                context.set_verify_cert_store(trust.store.build())?;
                context.set_verify(match auth {
                    ClientAuth::Required => {
                        SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT
                    }
                    _ => SslVerifyMode::PEER,
                });
            }
        }
        if *require_revocation {
            if *client_auth == ClientAuth::None || !client_trust.has_crls() {
                return Err(ConfigError::Incompatible(
                    "to require that clients' certificates are proved not to be revoked takes client \
                     certificates and a revocation list (--client-auth, --crl)",
                ));
            }
            context.set_options(SslOptions::NO_TICKET);
            context.set_num_tickets(0)?;
        }
        // A ticket counts only where the rules are those under which it was issued: same policy, same
        // certificates, same mode, same authorities, same revocation lists (the class of CVE-2025-23419).
        // The digest has 32 bytes, which is the most that OpenSSL takes (SSL_MAX_SID_CTX_LENGTH).
        context.set_session_id_context(&binding.finish()?)?;
        let rules = Rules {
            policy: self.policy,
            owner: Side::Client,
            pins: client_trust.pins().to_vec(),
            trust: client_trust.describe(),
        };
        Ok(ServerTls(Arc::new(ServerInner {
            context: context.build(),
            policy: self.policy,
            demands: Arc::new(demands),
            client_auth: *client_auth,
            rules: Arc::new(rules),
            identities,
            tickets,
        })))
    }
}

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
                    "certificates cannot be left unverified under fips, cnsa1 or cnsa2",
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
        if *accept_any_certificate {
            context.set_verify(SslVerifyMode::NONE);
        } else {
            context.set_cert_store(trust.load()?.store.build());
            context.set_verify(SslVerifyMode::PEER);
        }
        crate::ffi::set_default_read_buffer(&mut context, BULK);
        revocation::install(&mut context)?;
        let resumption = match require_revocation {
            true => None,
            false => Some(Resumption::install(&mut context)?),
        };
        let rules = Rules {
            policy: self.policy,
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
