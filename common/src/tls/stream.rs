//! A blocking TLS stream with deadlines, gathered writes and a truthful end.
//!
//! ```text
//! read  ── SSL_read ── Socket ── recv
//! write ── SSL_write ── Socket (gathers records) ── send, on flush or when enough has gathered
//! ```
//!
//! The end of the stream is the peer's close_notify and nothing else: a TCP connection that is cut
//! looks the same to `read(2)`, so it is an error here ([`Reason::Closed`]). The `openssl` crate's own
//! stream reports it as a clean end.

use super::demands::Demands;
use super::end::{Side, Situation};
use super::failure::{Failure, Reason};
use super::patience::Patience;
use super::session::TlsSession;
use super::socket::Socket;
use super::verify::VerdictSlot;
use openssl::ssl::{ErrorCode, ShutdownState, Ssl, SslRef, SslStream};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a drop may take to tell the peer that the connection ends.
const FAREWELL: Duration = Duration::from_millis(200);

/// What is taken from the network at a time, in bytes, where much is expected: several records. One at a
/// time costs a system call and an acknowledgement for each.
pub(super) const BULK: usize = 128 << 10;

/// A TLS connection.
pub struct TlsStream {
    inner: SslStream<Socket>,
    side: Side,
    peer: String,
    verdict: Option<VerdictSlot>,
    verified: bool,
    demands: Arc<Demands>,
    /// Set by a failure after which OpenSSL must not be asked for more.
    broken: bool,
    /// Set when close_notify has been sent.
    closed: bool,
}

/// What [`TlsStream::read_now`] has found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrived {
    /// So many bytes; none after the peer's close_notify.
    Bytes(usize),
    /// A record that carried no data, such as a key update. There may be more behind it.
    NoData,
    /// Nothing, or a part of a record.
    Nothing,
}

/// What the builder of a stream knows about the peer.
pub(super) struct Peer {
    /// The server's name or the client's address, for messages.
    pub(super) name: String,
    pub(super) verdict: Option<VerdictSlot>,
    /// Whether a chain that the peer sends is verified.
    pub(super) verified: bool,
    pub(super) demands: Arc<Demands>,
}

impl TlsStream {
    /// Performs the handshake; all of it, in both directions, under one deadline.
    pub(super) fn handshake(
        ssl: Ssl,
        tcp: Arc<TcpStream>,
        side: Side,
        peer: Peer,
        patience: Patience,
    ) -> Result<Self, Failure> {
        let mut stream = Self::before_handshake(ssl, tcp, side, peer)?;
        stream.shake_hands(patience)?;
        Ok(stream)
    }

    /// A stream that has not said anything yet.
    pub(super) fn before_handshake(
        ssl: Ssl,
        tcp: Arc<TcpStream>,
        side: Side,
        peer: Peer,
    ) -> Result<Self, Failure> {
        let Peer { name, verdict, verified, demands } = peer;
        let inner = SslStream::new(ssl, Socket::new(tcp))
            .map_err(|stack| Failure::internal(side, &name, &stack))?;
        let (broken, closed) = (false, false);
        Ok(Self { inner, side, peer: name, verdict, verified, demands, broken, closed })
    }

    /// Goes on with the handshake. False when the peer's next message is not there yet and the
    /// patience is [`Patience::Now`].
    pub(super) fn shake_hands(&mut self, patience: Patience) -> Result<bool, Failure> {
        let socket = self.inner.get_mut();
        socket.set_reading(patience);
        if !matches!(patience, Patience::Now) {
            socket.set_writing(patience);
        }
        let done = match self.side {
            Side::Client => self.inner.connect(),
            Side::Server => self.inner.accept(),
        };
        let Err(error) = done else {
            if let Err((reason, why)) = self.demands.check(self.inner.ssl()) {
                return Err(Failure::of_reason(self.side, &self.peer, reason, why));
            }
            if self.side == Side::Client {
                // The server waits for it. What a server says last are tickets: they can leave with its
                // first response.
                self.send()?;
            }
            return Ok(true);
        };
        if matches!(patience, Patience::Now) && is_wait(&error) {
            return Ok(false);
        }
        let failure = self.fail(&error);
        // OpenSSL has put its alert into the socket's hands; let the peer have the reason.
        let _ = self.inner.get_mut().send();
        Err(failure)
    }

    /// The failure of waiting too long.
    pub(super) fn late(&self) -> Failure {
        let error = io::Error::from(io::ErrorKind::TimedOut);
        Failure::of_socket(self.side, &self.peer, Reason::Deadline, &error)
    }

    /// What OpenSSL knows of the connection.
    pub(super) fn ssl(&self) -> &SslRef {
        self.inner.ssl()
    }

    /// Asks the server to negotiate anew, over the connection that there is (TLS 1.2 and older).
    pub(super) fn renegotiate(&mut self, patience: Patience) -> Result<(), Failure> {
        crate::ffi::survey::renegotiate(self.inner.ssl())
            .map_err(|stack| Failure::internal(self.side, &self.peer, &stack))?;
        self.shake_hands(patience).map(drop)
    }

    /// The facts of the connection.
    pub fn session(&self) -> TlsSession {
        let module = self.demands.module();
        TlsSession::of(self.inner.ssl(), self.side, self.verified, module)
    }

    /// Whether the peer presented a certificate.
    pub fn has_peer_certificate(&self) -> bool {
        self.inner.ssl().peer_certificate().is_some()
    }

    /// The peer as messages name it.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The TCP connection below. Reading from it or writing to it breaks the TLS session; it is here
    /// to be shut down from another thread.
    pub fn tcp(&self) -> &Arc<TcpStream> {
        self.inner.get_ref().tcp()
    }

    /// How long reads may wait from now on.
    pub fn set_reading(&mut self, patience: Patience) {
        self.inner.get_mut().set_reading(patience);
    }

    /// How long writes may wait from now on.
    pub fn set_writing(&mut self, patience: Patience) {
        self.inner.get_mut().set_writing(patience);
    }

    /// Asks `may_wait` before this thread waits for the peer from now on: what can be done at once
    /// is then done first. When the answer is no, it is as if the deadline had passed.
    pub fn before_waiting(&mut self, may_wait: fn() -> bool) {
        self.inner.get_mut().before_waiting(may_wait);
    }

    /// Whether much is expected from the peer from now on: then more is taken from the network at a time.
    /// A client's stream begins so, a server's does not.
    pub fn expect_bulk(&mut self, bulk: bool) {
        crate::ffi::set_read_buffer(self.inner.ssl(), if bulk { BULK } else { 0 });
    }

    /// Whether a read could give something although nothing more arrives: bytes that have been decrypted
    /// or taken in, or that the last read may have left in the kernel.
    pub fn may_have_input(&self) -> bool {
        !self.inner.get_ref().is_drained() || crate::ffi::has_pending(self.inner.ssl())
    }

    /// Reads what has arrived and does not wait. Otherwise as [`read`](Read::read).
    ///
    /// # Errors
    ///
    /// As [`read`](Read::read).
    pub fn read_now(&mut self, buf: &mut [u8]) -> io::Result<Arrived> {
        self.set_reading(Patience::Now);
        match self.inner.ssl_read(buf) {
            Ok(count) => Ok(Arrived::Bytes(count)),
            Err(error) if is_wait(&error) => Ok(Arrived::Nothing),
            Err(error) => match error.code() {
                ErrorCode::ZERO_RETURN => Ok(Arrived::Bytes(0)),
                ErrorCode::WANT_READ if error.io_error().is_none() => Ok(Arrived::NoData),
                _ => Err(self.fail(&error).into()),
            },
        }
    }

    /// Whether a connection that should be idle still is: open, and with nothing to read. What the
    /// peer sent besides data (session tickets, key updates) is taken in on the way.
    pub fn is_idle(&mut self) -> bool {
        if self.broken || self.closed {
            return false;
        }
        let patience = self.inner.get_ref().reading();
        self.set_reading(Patience::Now);
        let idle = match self.inner.ssl_read(&mut [0; 1]) {
            Ok(_) => false,
            Err(error) => error.code() == ErrorCode::WANT_READ,
        };
        self.set_reading(patience);
        self.broken = !idle;
        idle
    }

    /// Ends this direction of the TLS connection: sends what is left, then close_notify.
    ///
    /// # Errors
    ///
    /// When the peer is gone or does not take it in time.
    pub fn end(&mut self) -> io::Result<()> {
        if self.closed || self.broken {
            return Ok(());
        }
        self.closed = true;
        if let Err(error) = self.inner.shutdown() {
            return Err(self.fail(&error).into());
        }
        self.flush()
    }

    /// [Ends](Self::end) this direction, and closes the TCP connection for writing. The peer may still
    /// be sending; read on to hear it out.
    ///
    /// # Errors
    ///
    /// When the peer is gone or does not take it in time.
    pub fn close(&mut self) -> io::Result<()> {
        let ended = self.end();
        if ended.is_ok() && !self.broken {
            // Not connected any more is as good as shut down.
            let _ = self.tcp().shutdown(Shutdown::Write);
        }
        ended
    }

    /// Cuts the connection without close_notify, because what was sent is not all that was promised:
    /// the peer must not take the end of the connection for the end of the content.
    pub fn abort(&mut self) {
        self.broken = true;
        let _ = self.tcp().shutdown(Shutdown::Both);
    }

    /// Whether the peer has said that it sends no more.
    pub fn is_ended(&mut self) -> bool {
        self.inner.get_shutdown().contains(ShutdownState::RECEIVED)
    }

    fn send(&mut self) -> Result<(), Failure> {
        self.inner.get_mut().send().map_err(|error| {
            self.end_writing();
            let reason = match error.kind() {
                io::ErrorKind::WouldBlock => Reason::Deadline,
                kind => Reason::Io(kind),
            };
            Failure::of_socket(self.side, &self.peer, reason, &error)
        })
    }

    /// A record that left in part cannot be followed by anything, not even an alert. Reading goes on:
    /// the peer may have said why.
    fn end_writing(&mut self) {
        self.broken = true;
        self.inner.get_mut().discard();
    }

    fn fail(&mut self, error: &openssl::ssl::Error) -> Failure {
        let situation = Situation {
            side: self.side,
            peer: &self.peer,
            ssl: self.inner.ssl(),
            first_bytes: self.inner.get_ref().first_bytes(),
            verdict: self.verdict.as_ref(),
            demands: &self.demands,
        };
        let failure = Failure::new(&situation, error);
        // After a deadline, or when the peer has closed its side, the TLS state is intact: a server can
        // still say 408, and either end can still say goodbye.
        self.broken |= !matches!(failure.reason(), Reason::Deadline | Reason::Closed)
            || self.inner.get_ref().is_stuck();
        failure
    }
}

/// Whether nothing is wrong but that the peer's next bytes are not there yet.
fn is_wait(error: &openssl::ssl::Error) -> bool {
    error.code() == ErrorCode::WANT_READ
        && error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl Read for TlsStream {
    /// Reads decrypted bytes; 0 only after the peer's close_notify. Every error carries a
    /// [`Failure`].
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.ssl_read(buf) {
                Ok(count) => return Ok(count),
                Err(error) => match error.code() {
                    ErrorCode::ZERO_RETURN => return Ok(0),
                    // A record that carried no data.
                    ErrorCode::WANT_READ if error.io_error().is_none() => {}
                    _ => return Err(self.fail(&error).into()),
                },
            }
        }
    }
}

impl Write for TlsStream {
    /// Encrypts; the records leave on [`flush`](Write::flush), before the next read, or when enough
    /// have gathered. Every error carries a [`Failure`], and ends the connection.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        loop {
            match self.inner.ssl_write(buf) {
                Ok(count) => return Ok(count),
                Err(error)
                    if error.code() == ErrorCode::WANT_READ && error.io_error().is_none() => {}
                Err(error) => {
                    let failure = self.fail(&error);
                    self.end_writing();
                    return Err(failure.into());
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send().map_err(io::Error::from)
    }
}

impl Drop for TlsStream {
    /// close_notify is always sent, so that the peer can tell an end from a cut; but not in a panic,
    /// which is a cut. It may not hold the thread for long.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort();
        } else if !self.closed && !self.broken && !self.inner.get_ref().has_ended() {
            self.set_writing(Patience::for_next(FAREWELL));
            let _ = self.end();
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("side", &self.side)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Lets a peer read our last words: closes the connection for writing and discards what still comes,
/// until the peer closes or `span` is over.
///
/// Closing a socket with unread data makes the kernel send a reset, and a reset can overtake the alert
/// or the response that says why (RFC 9112 section 9.6).
pub fn linger(tcp: &TcpStream, span: Duration) {
    let _ = tcp.shutdown(Shutdown::Write);
    let until = Instant::now() + span;
    let mut waste = [0; 4 << 10];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || tcp.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match (&mut &*tcp).read(&mut waste) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
