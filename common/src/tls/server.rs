//! A server's context: who it is, whom it lets in, what it staples, how sessions are resumed. Validated when
//! it is built, immutable afterwards, cheap to clone.

use super::accepting::{Accepting, Advance};
use super::context::TlsBuilder;
use super::demands::Demands;
use super::digest::Digest;
use super::end::Side;
use super::error::ConfigError;
use super::failure::Failure;
use super::fips::Module;
use super::fitness::Fitness;
use super::identity::Identity;
use super::patience::Patience;
use super::policy::Policy;
use super::staple::{self, Staples};
use super::stream::{Peer, TlsStream};
use super::tickets::{TicketKeys, TicketSource};
use super::trust::Trust;
use super::verify::Rules;
use jiff::Timestamp;
use openssl::hash::MessageDigest;
use openssl::ssl::{
    AlpnError, Ssl, SslContext, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode,
    select_next_proto,
};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

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
    crl_ends: Vec<(PathBuf, Timestamp)>,
    staples: Staples,
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

    /// When the first revocation list in each file ends (next update), and clients are refused. A list that
    /// does not say is left out.
    pub fn crl_ends(&self) -> &[(PathBuf, Timestamp)] {
        &self.0.crl_ends
    }

    /// When the OCSP response that each file holds now ends (next update), and is not stapled any more. A
    /// file that withdraws its certificate is left out.
    pub fn ocsp_ends(&self) -> Vec<(PathBuf, Timestamp)> {
        self.0.staples.ends()
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
        let staples =
            staple::install(&mut context, ocsp_responses, &identities, &issuers, self.policy)?;
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
        let mut crl_ends = Vec::new();
        match *client_auth {
            ClientAuth::None => context.set_verify(SslVerifyMode::NONE),
            auth => {
                if client_trust.is_system() {
                    return Err(ConfigError::Incompatible(
                        "client certificates need the authority that issues them (--client-ca): \
                         the system's store would admit anybody's",
                    ));
                }
                let trust = client_trust.load_under(self.policy)?;
                binding.add("trust", &trust.digest)?;
                for pin in client_trust.pins() {
                    binding.add("pin", pin.as_bytes())?;
                }
                context.set_client_ca_list(trust.names()?);
                crl_ends = trust.list_ends;
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
            fitness: Fitness::new(self.policy, demands.module().is_some()),
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
            crl_ends,
            staples,
        })))
    }
}
