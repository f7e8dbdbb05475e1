//! ureq's connector and transport over a TLS stream that owns its socket.
//!
//! ureq's own chain stacks a TLS transport on a TCP transport, each with its buffers, and copies every
//! byte between them. Here the decrypted bytes go from OpenSSL straight into ureq's input buffer.
//!
//! ```text
//! ureq ─ TlsConnector::connect ─ TCP (each address in turn) ─ handshake ─ TlsTransport
//! ```
//!
//! The traits are `unversioned` in ureq; its exact version is pinned in the workspace.

use crate::error::{ConnectError, EarlyAnswer};
use crate::facts;
use crate::platform::{PlatformError, PlatformTls};
use sealpair_common::tls::{
    ClientTls, Failure, Patience, Reason, ServerName, TlsSession, TlsStream,
};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use ureq::unversioned::transport::time::Duration as Span;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

/// How long to listen for the reason after a write has failed: it is in the receive buffer already, or
/// it never comes.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// More than this of it is not read.
const LONGEST_WORDS: usize = 64 << 10;
/// An interim response that is longer is none.
const LONGEST_INTERIM: usize = 16 << 10;

/// Makes TLS connections for ureq. One agent per configuration: ureq's pool does not look at it.
#[derive(Clone, Debug)]
pub struct TlsConnector(Backend);

#[derive(Clone, Debug)]
enum Backend {
    OpenSsl(ClientTls),
    Platform(PlatformTls),
}

impl TlsConnector {
    /// Connects with OpenSSL and a policy.
    pub fn new(tls: ClientTls) -> Self {
        Self(Backend::OpenSsl(tls))
    }

    /// Connects with the operating system's TLS and trust store.
    pub fn platform(tls: PlatformTls) -> Self {
        Self(Backend::Platform(tls))
    }
}

/// What a transport needs of a stream.
pub(crate) trait Channel: Read + Write + fmt::Debug + Send + Sync {
    fn set_reading(&mut self, patience: Patience);
    fn set_writing(&mut self, patience: Patience);
    /// Whether a connection without a request is still open, with nothing to read.
    fn is_idle(&mut self) -> bool;
}

impl Channel for TlsStream {
    fn set_reading(&mut self, patience: Patience) {
        Self::set_reading(self, patience);
    }

    fn set_writing(&mut self, patience: Patience) {
        Self::set_writing(self, patience);
    }

    fn is_idle(&mut self) -> bool {
        Self::is_idle(self)
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = TlsTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<In>,
    ) -> Result<Option<TlsTransport>, Error> {
        let host = details.uri.host().unwrap_or_default();
        let name = ServerName::parse(host).map_err(|error| Error::Other(error.into()))?;
        let deadline =
            exact(details.timeout.after).and_then(|span| Instant::now().checked_add(span));
        let tcp = Arc::new(connect_tcp(&details.addrs, deadline, details)?);
        if details.config.no_delay() {
            tcp.set_nodelay(true)?;
        }
        let handle = Arc::new(Interrupt(Arc::clone(&tcp)));
        let weak: Weak<Interrupt> = Arc::downgrade(&handle);
        (details.register_shutdown)(weak)?;
        let patience = deadline.map_or(Patience::Forever, Patience::Until);
        let late = |reason| matches!(reason, Reason::Deadline);
        let failed = |failure: Failure| match late(failure.reason()) {
            true => Error::Timeout(details.timeout.reason),
            false => Error::Other(failure.into()),
        };
        let (stream, session): (Box<dyn Channel>, TlsSession) = match &self.0 {
            Backend::OpenSsl(tls) => {
                let stream = tls.connect(tcp, &name, patience).map_err(failed)?;
                let session = stream.session();
                (Box::new(stream), session)
            }
            Backend::Platform(tls) => tls
                .connect(tcp, &name, patience)
                .map_err(|error| error.into_ureq(details.timeout.reason))?,
        };
        log::debug!("connected to {host}: {session}");
        let config = details.config;
        Ok(Some(TlsTransport {
            stream,
            session: Arc::new(session),
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            expecting: false,
            unseen: false,
            _handle: handle,
        }))
    }
}

/// Lets `Agent::shutdown` end what another thread waits for.
struct Interrupt(Arc<TcpStream>);

impl ShutdownHandle for Interrupt {
    fn shutdown(&self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Tries the addresses in the resolver's order (RFC 6724). Each gets an equal part of what time is
/// left, so that an address that swallows packets leaves time for the next.
fn connect_tcp(
    addresses: &[SocketAddr],
    deadline: Option<Instant>,
    details: &ConnectionDetails<'_>,
) -> Result<TcpStream, Error> {
    let mut failed = None;
    for (at, address) in addresses.iter().enumerate() {
        let attempt = match deadline {
            None => TcpStream::connect(address),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Error::Timeout(details.timeout.reason));
                }
                // There are at most 16 addresses.
                TcpStream::connect_timeout(address, left / (addresses.len() - at) as u32)
            }
        };
        match attempt {
            Ok(tcp) => return Ok(tcp),
            Err(error) => failed = Some((*address, error)),
        }
    }
    let Some((address, error)) = failed else {
        return Err(Error::HostNotFound);
    };
    if error.kind() == io::ErrorKind::TimedOut {
        return Err(Error::Timeout(details.timeout.reason));
    }
    Err(Error::Other(ConnectError::new(address, error).into()))
}

/// One TLS connection as ureq uses it.
#[derive(Debug)]
pub struct TlsTransport {
    stream: Box<dyn Channel>,
    session: Arc<TlsSession>,
    buffers: LazyBuffers,
    /// The request asks for "100 Continue", and neither that nor an answer has come.
    expecting: bool,
    /// The input buffer holds the beginning of an answer that came instead. ureq looks at it and takes
    /// nothing, which its buffer takes for "more is needed".
    unseen: bool,
    _handle: Arc<Interrupt>,
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupt")
    }
}

impl TlsTransport {
    fn send(&mut self, amount: usize) -> io::Result<()> {
        self.stream.write_all(&self.buffers.output()[..amount])?;
        self.stream.flush()
    }

    fn receive(&mut self) -> io::Result<usize> {
        let room = self.buffers.input_append_buf();
        if room.is_empty() {
            // ureq asks for more than its buffer holds: a head that is too long.
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the response head is too long",
            ));
        }
        let count = self.stream.read(room)?;
        self.buffers.input_appended(count);
        facts::note(&self.session);
        Ok(count)
    }

    /// Waits for "100 Continue" or an answer. Interim responses are taken out of the input here: ureq
    /// stumbles over those that have header fields, which RFC 9110 section 15.2 allows, and over any
    /// before the 100.
    fn await_continue(&mut self, timeout: &NextTimeout) -> Result<bool, Error> {
        // For all of them together: there may be no end to interim responses.
        self.stream.set_reading(patience(timeout)?);
        loop {
            match interim(self.buffers.input()) {
                Interim::Unclear => {}
                Interim::None => {
                    self.expecting = false;
                    self.unseen = true;
                    return Ok(true);
                }
                Interim::Head { status, length } => {
                    self.buffers.input_consume(length);
                    if status == 100 {
                        self.expecting = false;
                        return Err(Error::Timeout(Timeout::Await100));
                    }
                    continue;
                }
            }
            match self.receive() {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                // A server that does not know the expectation: the content is sent all the same, unless
                // it is the time for the whole that is over.
                Err(error) if is_deadline(&error) && timeout.reason == Timeout::PerRead => {
                    return Err(Error::Timeout(Timeout::Await100));
                }
                Err(error) => return Err(into_ureq(error, timeout)),
            }
        }
    }

    /// A write has failed. A server that refuses says why before it closes (413, or under TLS 1.3 an
    /// alert about the client's certificate), and that is the better error: so it is read first. The
    /// rest of the content is not: there may be no end to it.
    fn hear_out(&mut self, error: &io::Error, timeout: &NextTimeout) -> Error {
        self.stream.set_reading(Patience::for_next(LAST_WORDS));
        let mut said = self.buffers.input().to_vec();
        let mut piece = [0; 4 << 10];
        while said.len() <= LONGEST_WORDS {
            match self.stream.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => said.extend_from_slice(&piece[..count]),
                Err(last) if said.is_empty() && is_alert(&last) => return into_ureq(last, timeout),
                Err(_) => break,
            }
        }
        let mut rest = &said[..];
        while let Interim::Head { length, .. } = interim(rest) {
            rest = &rest[length..];
        }
        match EarlyAnswer::parse(rest) {
            Some(answer) => Error::Other(answer.into()),
            None => into_ureq(copy(error), timeout),
        }
    }
}

/// What stands at the beginning of an answer.
#[derive(Debug, Eq, PartialEq)]
enum Interim {
    /// The whole head of an interim response (1xx), of so many bytes.
    Head { status: u16, length: usize },
    /// Something else.
    None,
    /// Too little to tell.
    Unclear,
}

fn interim(input: &[u8]) -> Interim {
    const VERSION: &[u8] = b"HTTP/1.1 1";
    let known = input.len().min(VERSION.len());
    if input[..known] != VERSION[..known] {
        return Interim::None;
    }
    let end = input.windows(4).position(|window| window == b"\r\n\r\n");
    let status = input.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match (end, status) {
        // 101 is an answer: what follows is not HTTP any more.
        (_, Some(101)) => Interim::None,
        (Some(end), Some(status)) => Interim::Head { status, length: end + 4 },
        // A head has its end within a few lines; ureq refuses one that has not.
        (None, _) if input.len() <= LONGEST_INTERIM => Interim::Unclear,
        _ => Interim::None,
    }
}

/// Whether these bytes, which ureq sends, are a request head that asks for "100 Continue".
fn asks_for_continue(output: &[u8]) -> bool {
    const FIELD: &[u8] = b"\r\nexpect: 100-continue\r\n";
    output.ends_with(b"\r\n\r\n")
        && output.windows(FIELD.len()).any(|window| window.eq_ignore_ascii_case(FIELD))
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.unseen = false;
        self.expecting = asks_for_continue(&self.buffers.output()[..amount]);
        let timeout = timeout.for_write();
        self.stream.set_writing(patience(&timeout)?);
        self.send(amount).map_err(|error| self.hear_out(&error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if std::mem::take(&mut self.unseen) && !self.buffers.input().is_empty() {
            return Ok(true);
        }
        let timeout = timeout.for_read();
        if self.expecting {
            return self.await_continue(&timeout);
        }
        self.stream.set_reading(patience(&timeout)?);
        let count = self.receive().map_err(|error| into_ureq(error, &timeout))?;
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.is_idle()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

fn exact(span: Span) -> Option<Duration> {
    match span {
        Span::Exact(span) => Some(span),
        Span::NotHappening => None,
    }
}

fn patience(timeout: &NextTimeout) -> Result<Patience, Error> {
    match exact(timeout.after) {
        None => Ok(Patience::Forever),
        Some(Duration::ZERO) => Err(Error::Timeout(timeout.reason)),
        Some(span) => Ok(Patience::for_next(span)),
    }
}

fn is_deadline(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn is_alert(error: &io::Error) -> bool {
    let lost = |failure: &Failure| matches!(failure.reason(), Reason::Closed | Reason::Io(_));
    let ours = Failure::of(error).is_some_and(|failure| !lost(failure));
    (ours || PlatformError::of(error).is_some_and(PlatformError::is_alert)) && !is_deadline(error)
}

/// As ureq has it. A lost connection goes as `Other`: as `Io` ureq would take some of them for the end
/// of a body without a length, and a body that was cut would pass for whole.
fn into_ureq(error: io::Error, timeout: &NextTimeout) -> Error {
    if is_deadline(&error) {
        return Error::Timeout(timeout.reason);
    }
    Error::Other(error.into())
}

/// An error is not `Clone`; its failure is.
fn copy(error: &io::Error) -> io::Error {
    match Failure::of(error) {
        Some(failure) => failure.clone().into(),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_responses_are_told_from_answers() {
        let head = |status, length| Interim::Head { status, length };
        for (input, expected) in [
            ("", Interim::Unclear),
            ("HTTP/1", Interim::Unclear),
            ("HTTP/1.1 100 Continue\r\n", Interim::Unclear),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP", head(100, 25)),
            ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", head(103, 40)),
            ("HTTP/1.1 101 Switching\r\n\r\n", Interim::None),
            ("HTTP/1.1 200 OK\r\n", Interim::None),
            ("HTTP/1.0 100 Continue\r\n\r\n", Interim::None),
            ("garbage", Interim::None),
        ] {
            assert_eq!(interim(input.as_bytes()), expected, "{input:?}");
        }
        let endless = format!("HTTP/1.1 100 {}", "x".repeat(LONGEST_INTERIM));
        assert_eq!(interim(endless.as_bytes()), Interim::None);
    }

    #[test]
    fn the_expectation_is_seen_in_a_head_only() {
        assert!(asks_for_continue(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nHost: a\r\n\r\n"));
        assert!(!asks_for_continue(b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!asks_for_continue(b"text with\r\nexpect: 100-continue\r\nin it"));
    }
}
