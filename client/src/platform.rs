//! The native-tls alternative (`--tls-backend platform`): the operating system's TLS and trust store, for
//! hosts that have no OpenSSL policy to obey.
//!
//! It knows neither policies nor pins nor revocation lists, and tells less of why a handshake failed.
//! What it cannot do is refused when it is built, never ignored.

use crate::transport::Channel;
use native_tls::{Certificate, HandshakeError, Identity, Protocol, TlsStream};
use openssl::x509::X509;
use sealpair_common::exit::Exit;
use sealpair_common::pki::CertificateFacts;
use sealpair_common::report::Report;
use sealpair_common::tls::{ConfigError, Patience, ServerName, Socket, TlsSession, read_file};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::{Error, Timeout};

/// A client's TLS configuration of the operating system.
#[derive(Clone)]
pub struct PlatformTls {
    connector: native_tls::TlsConnector,
    server_name: Option<ServerName>,
}

/// What the operating system's TLS can be told.
#[derive(Clone, Debug, Default)]
pub struct PlatformOptions {
    /// PEM files of authorities to trust instead of the system's.
    pub trust_files: Vec<PathBuf>,
    /// The client's certificate chain and its key (PKCS#8), both PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name to indicate and expect, whatever the URL says.
    pub server_name: Option<ServerName>,
    /// Do not verify the server's certificate at all.
    pub dangerous_accept_any_certificate: bool,
}

impl PlatformTls {
    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// Files that cannot be read or that the platform cannot use.
    pub fn new(options: &PlatformOptions) -> Result<Self, Report> {
        let PlatformOptions { trust_files, identity, server_name, .. } = options;
        let mut builder = native_tls::TlsConnector::builder();
        builder.min_protocol_version(Some(Protocol::Tlsv12));
        builder.request_alpns(&["http/1.1"]);
        for path in trust_files {
            builder.disable_built_in_roots(true);
            for certificate in certificates(path)? {
                builder.add_root_certificate(certificate);
            }
        }
        if let Some((certificate, key)) = identity {
            let chain = read(certificate, "certificate")?;
            let key_pem = read(key, "private key")?;
            let identity = Identity::from_pkcs8(&chain, &key_pem).map_err(|error| {
                Report::new(
                    Exit::Configuration,
                    "identity",
                    format!("cannot use {} with {}", certificate.display(), key.display()),
                )
                .explain(error.to_string())
                .remedy(
                    "the key must belong to the certificate and be unencrypted PKCS#8: \
                     openssl pkcs8 -topk8 -nocrypt",
                )
            })?;
            builder.identity(identity);
        }
        if options.dangerous_accept_any_certificate {
            builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        }
        let connector = builder.build().map_err(|error| {
            Report::new(Exit::Configuration, "platform-tls", "the platform's TLS cannot be used")
                .explain(error.to_string())
        })?;
        Ok(Self { connector, server_name: server_name.clone() })
    }

    pub(crate) fn connect(
        &self,
        tcp: Arc<TcpStream>,
        name: &ServerName,
        patience: Patience,
    ) -> Result<(Box<dyn Channel>, TlsSession), PlatformError> {
        let name = self.server_name.as_ref().unwrap_or(name).to_string();
        let mut socket = Socket::new(tcp);
        socket.set_reading(patience);
        socket.set_writing(patience);
        let stream = self.connector.connect(&name, socket).map_err(|error| match error {
            HandshakeError::WouldBlock(_) => PlatformError {
                server: name.clone(),
                text: "the deadline passed".to_owned(),
                io: Some(io::ErrorKind::WouldBlock),
            },
            HandshakeError::Failure(error) => PlatformError::new(&name, &error),
        })?;
        let mut session = TlsSession::default();
        session.protocol = "not reported";
        session.suite = "not reported".to_owned();
        session.openssl = "none: the platform's TLS";
        session.alpn = stream
            .negotiated_alpn()
            .ok()
            .flatten()
            .map(|name| String::from_utf8_lossy(&name).into_owned());
        let leaf = stream.peer_certificate().ok().flatten().and_then(|leaf| leaf.to_der().ok());
        if let Some(leaf) = leaf.and_then(|der| X509::from_der(&der).ok()) {
            session.peer.push(CertificateFacts::of(&leaf));
        }
        Ok((Box::new(PlatformStream { stream, server: name }), session))
    }
}

impl fmt::Debug for PlatformTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformTls").finish_non_exhaustive()
    }
}

/// Why a connection of the platform's TLS failed: all that the platform says is a text.
#[derive(Clone, Debug)]
pub struct PlatformError {
    server: String,
    text: String,
    io: Option<io::ErrorKind>,
}

impl PlatformError {
    fn new(server: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self { server: server.to_owned(), text: deep(error), io: io_kind(error) }
    }

    /// The failure that travels inside an I/O error, if it is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(crate) fn into_ureq(self, timeout: Timeout) -> Error {
        match self.io {
            // The socket reports a deadline as "would block".
            Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Error::Timeout(timeout),
            _ => Error::Other(self.into()),
        }
    }

    /// Whether the server has said why.
    pub(crate) fn is_alert(&self) -> bool {
        self.text.contains("alert")
    }

    /// How a program ends over this.
    pub fn exit(&self) -> Exit {
        self.classify().0
    }

    /// What can be told from the platform's words; where it is OpenSSL, those are known. The more
    /// specific ones come first.
    fn classify(&self) -> (Exit, &'static str) {
        const RULES: [(&[&str], Exit, &str); 6] = [
            (
                &[
                    "certificate required",
                    "alert bad certificate",
                    "alert unknown ca",
                    "alert unsupported certificate",
                    "alert certificate",
                ],
                Exit::ClientCertificate,
                "client-certificate",
            ),
            (
                &["self-signed certificate", "get local issuer certificate"],
                Exit::CertificateUntrusted,
                "certificate-untrusted",
            ),
            (
                &["certificate has expired", "certificate is not yet valid"],
                Exit::CertificateTime,
                "certificate-time",
            ),
            (
                &["hostname mismatch", "IP address mismatch"],
                Exit::CertificateName,
                "certificate-name",
            ),
            (
                &["unsuitable certificate purpose", "key too weak", "md too weak"],
                Exit::CertificateUnfit,
                "certificate-unfit",
            ),
            (&["wrong version number", "http request", "packet length"], Exit::Protocol, "not-tls"),
        ];
        let says = |words: &[&str]| words.iter().any(|words| self.text.contains(words));
        let known = RULES.iter().find(|(words, ..)| says(words));
        match (known, self.io) {
            (Some((_, exit, kind)), _) => (*exit, *kind),
            (None, Some(_)) => (Exit::Connect, "connection-lost"),
            (None, None) => (Exit::Handshake, "handshake"),
        }
    }

    /// The failure as people and scripts see it.
    pub fn report(&self) -> Report {
        let (exit, kind) = self.classify();
        Report::new(exit, kind, format!("the TLS connection to {} failed", self.server))
            .explain(self.text.clone())
            .remedy("for a full explanation, try again without --tls-backend platform")
            .detail("backend", "platform")
    }
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report().fmt(f)
    }
}

impl std::error::Error for PlatformError {}

/// A stream of the platform's TLS.
struct PlatformStream {
    stream: TlsStream<Socket>,
    server: String,
}

impl PlatformStream {
    /// A deadline goes as it is; everything else with the platform's words.
    fn explain(&self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => error,
            kind => io::Error::new(kind, PlatformError::new(&self.server, &error)),
        }
    }
}

impl Read for PlatformStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf).map_err(|error| self.explain(error))
    }
}

impl Write for PlatformStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf).map_err(|error| self.explain(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().map_err(|error| self.explain(error))
    }
}

impl Channel for PlatformStream {
    fn set_reading(&mut self, patience: Patience) {
        self.stream.get_mut().set_reading(patience);
    }

    fn set_writing(&mut self, patience: Patience) {
        self.stream.get_mut().set_writing(patience);
    }

    fn is_idle(&mut self) -> bool {
        self.set_reading(Patience::Now);
        let read = self.stream.read(&mut [0; 1]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Drop for PlatformStream {
    fn drop(&mut self) {
        self.set_writing(Patience::for_next(std::time::Duration::from_millis(200)));
        let _ = self.stream.shutdown();
        let _ = self.stream.get_mut().flush();
    }
}

impl fmt::Debug for PlatformStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlatformStream")
    }
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, Report> {
    read_file(path, what).map_err(|error| error.report())
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Report> {
    const WHAT: &str = "CA certificate";
    let malformed = |source| ConfigError::Malformed { path: path.to_owned(), what: WHAT, source };
    let pem = read(path, WHAT)?;
    let found = X509::stack_from_pem(&pem).map_err(|stack| malformed(Some(stack)).report())?;
    if found.is_empty() {
        return Err(malformed(None).report());
    }
    let convert = |certificate: &X509| {
        let der = certificate.to_der().map_err(|stack| malformed(Some(stack)).report())?;
        Certificate::from_der(&der).map_err(|_| malformed(None).report())
    };
    found.iter().map(convert).collect()
}

/// The kind of the I/O error that is at the bottom, if one is.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.kind() != io::ErrorKind::Other
        {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

/// An error's text with the texts of its causes.
fn deep(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
