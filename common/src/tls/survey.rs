//! A client's handshake with anything that an endpoint offers, and with nothing verified: to look at
//! it, never to use it.
//!
//! What is encrypted in TLS 1.3 (the certificate, ALPN, the stapled response, the request for a client
//! certificate, tickets) can only be seen by who finishes the handshake. A policy would be in the way of
//! that, so here there is none: every suite and group that the linked OpenSSL has, down to TLS 1.0 and
//! security level 0, and servers without secure renegotiation. No data but a request for a page that
//! anybody may see belongs on such a connection.

use super::end::Side;
use super::failure::Failure;
use super::identity::Identity;
use super::name::ServerName;
use super::patience::Patience;
use super::session::TlsSession;
use super::stream::{Peer, TlsStream};
use openssl::error::ErrorStack;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode,
    SslVersion, StatusType,
};
use openssl::x509::X509;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

/// SSL_OP_LEGACY_SERVER_CONNECT of <openssl/ssl.h>: also servers without RFC 5746, which OpenSSL 3
/// refuses by default.
const LEGACY_SERVER_CONNECT: u64 = 1 << 2;
/// SSL_OP_NO_EXTENDED_MASTER_SECRET of <openssl/ssl.h> (OpenSSL 3.0 and later).
const NO_EXTENDED_MASTER_SECRET: u64 = 1;

/// What a survey asks with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SurveyOptions {
    /// The only protocol version that is offered; any from TLS 1.0 on if `None`.
    pub version: Option<SslVersion>,
    /// The groups that are offered, by OpenSSL's names; OpenSSL's default if empty. Those that it does
    /// not have are left out.
    pub groups: Vec<String>,
    /// The signature schemes that are offered, likewise.
    pub signatures: Vec<String>,
    /// The application protocols that are offered; none if empty.
    pub alpn: Vec<Vec<u8>>,
    /// The client's certificate, for servers that ask.
    pub identity: Option<Identity>,
    /// Whether extended master secret is offered (RFC 7627).
    pub extended_master_secret: bool,
}

impl Default for SurveyOptions {
    fn default() -> Self {
        Self {
            version: None,
            groups: Vec::new(),
            signatures: Vec::new(),
            alpn: Vec::new(),
            identity: None,
            extended_master_secret: true,
        }
    }
}

/// The names of groups that the linked OpenSSL can use for a key exchange.
pub fn groups_built_in<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    known(names, |context, name| context.set_groups_list(name))
}

/// The names of signature schemes that the linked OpenSSL can check.
pub fn signatures_built_in<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    known(names, |context, name| context.set_sigalgs_list(name))
}

fn known<'a>(
    names: impl IntoIterator<Item = &'a str>,
    try_name: impl Fn(&mut SslContextBuilder, &str) -> Result<(), ErrorStack>,
) -> Vec<String> {
    let Ok(mut context) = SslContext::builder(SslMethod::tls_client()) else {
        return Vec::new();
    };
    let names = names.into_iter().filter(|name| try_name(&mut context, name).is_ok());
    names.map(str::to_owned).collect()
}

/// A ticket or session that a server gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Ticket {
    /// How many bytes of early data it allows (RFC 8446 section 4.6.1); 0 is none.
    pub max_early_data: u32,
}

/// A finished handshake of which nothing was verified.
#[derive(Debug)]
pub struct Survey {
    stream: TlsStream,
    tickets: Arc<Mutex<Vec<Ticket>>>,
    requested: bool,
}

impl Survey {
    /// Performs the handshake. `name` is indicated if it is a DNS name, and not checked.
    ///
    /// # Errors
    ///
    /// Whatever ended the handshake; [`Reason::Internal`](super::Reason::Internal) when this OpenSSL
    /// could not even begin.
    pub fn connect(
        options: &SurveyOptions,
        tcp: TcpStream,
        name: &ServerName,
        patience: Patience,
    ) -> Result<Self, Failure> {
        let tickets = Arc::<Mutex<Vec<Ticket>>>::default();
        let internal =
            |stack: ErrorStack| Failure::internal(Side::Client, &name.to_string(), &stack);
        let ssl = prepare(options, name, &tickets).map_err(internal)?;
        let peer = Peer {
            name: name.to_string(),
            verdict: None,
            verified: false,
            demands: Arc::default(),
        };
        // What an earlier handshake of this thread has left.
        let _ = crate::ffi::survey::take_certificate_request();
        let stream = TlsStream::handshake(ssl, Arc::new(tcp), Side::Client, peer, patience)?;
        let requested = crate::ffi::survey::take_certificate_request();
        Ok(Self { stream, tickets, requested })
    }

    /// The facts of the connection.
    pub fn session(&self) -> TlsSession {
        self.stream.session()
    }

    /// The certificates as the server sent them, its own first.
    pub fn certificates(&self) -> Vec<X509> {
        self.stream.ssl().peer_cert_chain().into_iter().flatten().map(ToOwned::to_owned).collect()
    }

    /// The stapled OCSP response in DER, if there was one (RFC 6066 section 8).
    pub fn staple(&self) -> Option<Vec<u8>> {
        self.stream.ssl().ocsp_status().map(<[u8]>::to_vec)
    }

    /// Whether the server asked for a client certificate.
    pub fn asked_for_certificate(&self) -> bool {
        self.requested
    }

    /// The tickets and sessions that have come so far. In TLS 1.3 they come after the handshake, with
    /// some servers only with the first response.
    pub fn tickets(&self) -> Vec<Ticket> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the server to negotiate anew over this connection. Ok is a server that does so.
    ///
    /// # Errors
    ///
    /// How it refused: an alert, a closed connection, or silence until the deadline.
    pub fn renegotiate(&mut self, patience: Patience) -> Result<(), Failure> {
        self.stream.renegotiate(patience)
    }

    /// How long reads and writes may wait from now on.
    pub fn set_patience(&mut self, patience: Patience) {
        self.stream.set_reading(patience);
        self.stream.set_writing(patience);
    }
}

impl Read for Survey {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf)
    }
}

impl Write for Survey {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn prepare(
    options: &SurveyOptions,
    name: &ServerName,
    tickets: &Arc<Mutex<Vec<Ticket>>>,
) -> Result<Ssl, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_security_level(0);
    context.set_cipher_list("ALL:COMPLEMENTOFALL")?;
    context.set_min_proto_version(options.version.or(Some(SslVersion::TLS1)))?;
    context.set_max_proto_version(options.version)?;
    context.set_verify(SslVerifyMode::NONE);
    let mut bits = LEGACY_SERVER_CONNECT;
    if !options.extended_master_secret {
        bits |= NO_EXTENDED_MASTER_SECRET;
    }
    context.set_options(SslOptions::from_bits_retain(bits));
    if !options.groups.is_empty() {
        let names = options.groups.iter().map(String::as_str);
        context.set_groups_list(&groups_built_in(names).join(":"))?;
    }
    if !options.signatures.is_empty() {
        let names = options.signatures.iter().map(String::as_str);
        context.set_sigalgs_list(&signatures_built_in(names).join(":"))?;
    }
    if !options.alpn.is_empty() {
        let names = options.alpn.iter().filter(|name| (1..=255).contains(&name.len()));
        // RFC 7301 section 3.1; the length was checked to fit.
        let wire: Vec<u8> = names.flat_map(|n| [&[n.len() as u8][..], n].concat()).collect();
        context.set_alpn_protos(&wire)?;
    }
    if let Some(identity) = &options.identity {
        context.set_certificate(identity.certificate())?;
        context.set_private_key(identity.key())?;
        for certificate in identity.chain() {
            crate::ffi::add_chain_certificate(&mut context, certificate)?;
        }
    }
    crate::ffi::survey::watch_certificate_requests(&mut context);
    context.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
    let seen = Arc::clone(tickets);
    context.set_new_session_callback(move |_, session| {
        /// Nobody needs to count further.
        const MOST: usize = 64;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MOST {
            seen.push(Ticket { max_early_data: session.max_early_data() });
        }
    });
    let mut ssl = Ssl::new(&context.build())?;
    ssl.set_status_type(StatusType::OCSP)?;
    if let ServerName::Dns(name) = name {
        ssl.set_hostname(name)?;
    }
    Ok(ssl)
}
