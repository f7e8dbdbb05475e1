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
use sealpair_common::tls::{ConfigError, Patience, ServerName, Socket, TlsSession};
use std::fmt;
use std::fs;
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
            // The socket reports a deadline as "would block".
            HandshakeError::WouldBlock(_) => PlatformError::Deadline,
            HandshakeError::Failure(error) => PlatformError::Handshake { name, text: deep(&error) },
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
        Ok((Box::new(PlatformStream(stream)), session))
    }
}

impl fmt::Debug for PlatformTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformTls").finish_non_exhaustive()
    }
}

/// Why a connection of the platform's TLS failed.
#[derive(Debug)]
pub enum PlatformError {
    /// The deadline passed.
    Deadline,
    /// The handshake failed; the platform says no more than a text.
    Handshake {
        /// The server.
        name: String,
        /// The platform's words.
        text: String,
    },
}

impl PlatformError {
    pub(crate) fn into_ureq(self, timeout: Timeout) -> Error {
        match self {
            Self::Deadline => Error::Timeout(timeout),
            handshake => Error::Other(handshake.into()),
        }
    }

    /// The failure as people and scripts see it. Where the platform is OpenSSL, its words for the
    /// broken rule are recognised.
    pub fn report(&self) -> Report {
        let Self::Handshake { name, text } = self else {
            return Report::new(Exit::Deadline, "deadline", "the server did not answer in time");
        };
        let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
        let (exit, kind) = match () {
            () if says(&["self-signed certificate", "get local issuer certificate"]) => {
                (Exit::CertificateUntrusted, "certificate-untrusted")
            }
            () if says(&["certificate has expired", "certificate is not yet valid"]) => {
                (Exit::CertificateTime, "certificate-time")
            }
            () if says(&["hostname mismatch", "IP address mismatch"]) => {
                (Exit::CertificateName, "certificate-name")
            }
            () if says(&["unsuitable certificate purpose", "key too weak", "md too weak"]) => {
                (Exit::CertificateUnfit, "certificate-unfit")
            }
            () => (Exit::Handshake, "handshake"),
        };
        Report::new(exit, kind, format!("no TLS connection to {name}"))
            .explain(text.clone())
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
struct PlatformStream(TlsStream<Socket>);

impl Read for PlatformStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for PlatformStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Channel for PlatformStream {
    fn set_reading(&mut self, patience: Patience) {
        self.0.get_mut().set_reading(patience);
    }

    fn set_writing(&mut self, patience: Patience) {
        self.0.get_mut().set_writing(patience);
    }

    fn is_idle(&mut self) -> bool {
        self.set_reading(Patience::Now);
        let read = self.0.read(&mut [0; 1]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Drop for PlatformStream {
    fn drop(&mut self) {
        self.set_writing(Patience::for_next(std::time::Duration::from_millis(200)));
        let _ = self.0.shutdown();
        let _ = self.0.get_mut().flush();
    }
}

impl fmt::Debug for PlatformStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlatformStream")
    }
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, Report> {
    fs::read(path)
        .map_err(|source| ConfigError::File { path: path.to_owned(), what, source }.report())
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
