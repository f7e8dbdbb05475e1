//! One question to an endpoint: a ClientHello, and what comes back, on a connection of its own under a
//! deadline.
//!
//! An endpoint is asked many questions, so it is treated with care: never more than [`AT_A_TIME`]
//! connections at once, never more than [`MOST_CONNECTIONS`] in all, and when it stops answering it is
//! left alone.

use super::chain::Status;
use super::hello::Hello;
use super::reply::{Event, Malformed, Reader, ServerHello};
use sealpair_common::tls::ServerName;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections that are open at the same time.
pub const AT_A_TIME: usize = 8;
/// Connections in all. An endpoint that speaks everything that OpenSSL has takes about half of them.
pub const MOST_CONNECTIONS: usize = 600;
/// How often an endpoint may let a deadline pass until it is not asked any more.
const MOST_SILENCES: usize = 8;
/// The time for all questions, in deadlines of one.
const MOST_DEADLINES: u32 = 6;

/// An endpoint that is asked.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: SocketAddr,
    name: ServerName,
    timeout: Duration,
    until: Instant,
    connections: AtomicUsize,
    silences: AtomicUsize,
    open: Mutex<usize>,
    closed: Condvar,
}

/// How far the answer is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Until {
    /// Up to the ServerHello.
    Hello,
    /// Up to the end of what is not encrypted.
    Flight,
}

/// What came back.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub(super) enum Answer {
    /// A ServerHello.
    Hello(Box<Reply>),
    /// A fatal alert instead.
    Alert(u8),
    /// The connection was closed or reset without a word.
    Closed,
    /// Nothing, until the deadline.
    Silent,
    /// Something that is no TLS, or none that can be read.
    Malformed(Malformed),
    /// No connection could be made.
    Unreachable(io::ErrorKind),
    /// It was not asked: a limit was reached.
    Unasked,
}

/// A ServerHello, and what came after it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Reply {
    /// The ServerHello.
    pub hello: ServerHello,
    /// The certificates in DER, the server's own first.
    pub certificates: Vec<Vec<u8>>,
    /// The ServerKeyExchange message.
    pub key_exchange: Option<Vec<u8>>,
    /// Whether a client certificate is asked for; `None` when the answer was not read that far.
    pub asks_for_certificate: Option<bool>,
    /// The stapled OCSP response in DER.
    pub staple: Option<Vec<u8>>,
}

impl Reply {
    fn new(hello: ServerHello) -> Self {
        Self {
            hello,
            certificates: Vec::new(),
            key_exchange: None,
            asks_for_certificate: None,
            staple: None,
        }
    }

    /// What was stapled. It comes before the key exchange (RFC 6066 section 8), so what came after it says
    /// that there was nothing.
    pub(super) fn status(&self) -> Status {
        match &self.staple {
            Some(der) => Status::Stapled(der.clone()),
            None if self.key_exchange.is_some() || self.asks_for_certificate.is_some() => {
                Status::Absent
            }
            None => Status::Untold,
        }
    }
}

impl Answer {
    /// The reply, if it is one.
    pub(super) fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Hello(reply) => Some(reply),
            _ => None,
        }
    }

    /// Whether only TLS can have said this.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Hello(_) | Self::Alert(_))
            || matches!(self, Self::Malformed(what) if !matches!(what, Malformed::NotTls(_)))
    }

    /// Whether it leaves open what the endpoint would have said.
    pub(super) fn is_undecided(&self) -> bool {
        matches!(self, Self::Silent | Self::Unasked | Self::Unreachable(_) | Self::Malformed(_))
    }
}

/// A connection that counts until it is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a Endpoint);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_sub(1);
        self.0.closed.notify_one();
    }
}

impl Endpoint {
    /// An endpoint at this address. `timeout` is for each connection, all that is said over it included.
    pub(super) fn new(address: SocketAddr, name: ServerName, timeout: Duration) -> Self {
        let all = timeout.saturating_mul(MOST_DEADLINES);
        let now = Instant::now();
        Self {
            address,
            name,
            timeout,
            // A time that overflows the clock is one that nobody will see the end of.
            until: now.checked_add(all).unwrap_or(now + Duration::from_secs(1 << 30)),
            connections: AtomicUsize::new(0),
            silences: AtomicUsize::new(0),
            open: Mutex::new(0),
            closed: Condvar::new(),
        }
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name that is indicated and expected.
    pub(super) fn name(&self) -> &ServerName {
        &self.name
    }

    /// How many connections have been made.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether questions were left out because a limit was reached.
    pub(super) fn is_exhausted(&self) -> bool {
        self.connections() >= MOST_CONNECTIONS
            || self.silences.load(Ordering::Relaxed) >= MOST_SILENCES
            || Instant::now() >= self.until
    }

    /// The end of a connection that begins now.
    pub(super) fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.timeout).map_or(self.until, |deadline| deadline.min(self.until))
    }

    /// Waits until fewer than [`AT_A_TIME`] connections are open. `None` when a limit was reached.
    pub(super) fn permit(&self) -> Option<Permit<'_>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |open: &mut usize| *open >= AT_A_TIME;
        let mut open = self.closed.wait_while(open, full).unwrap_or_else(PoisonError::into_inner);
        if self.is_exhausted() {
            self.closed.notify_one();
            return None;
        }
        *open += 1;
        self.connections.fetch_add(1, Ordering::Relaxed);
        Some(Permit(self))
    }

    /// Makes a TCP connection.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::connect_timeout`].
    pub(super) fn connect(&self, deadline: Instant) -> io::Result<TcpStream> {
        let tcp = TcpStream::connect_timeout(&self.address, left(deadline)?)?;
        // A server that has closed already may have left nothing to set.
        let _ = tcp.set_nodelay(true);
        Ok(tcp)
    }

    /// Takes note of a deadline that has passed.
    pub(super) fn note_silence(&self) {
        self.silences.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks one question.
    pub(super) fn ask(&self, hello: &Hello, until: Until) -> Answer {
        let Some(_permit) = self.permit() else {
            return Answer::Unasked;
        };
        let mut random = [0; 64];
        // Without randomness the hello is as good: it begins nothing.
        let _ = openssl::rand::rand_bytes(&mut random);
        let answer = self.exchange(&hello.encode(&random), until);
        if answer == Answer::Silent {
            self.note_silence();
        }
        log::debug!("{} {:?}: {}", hello.version, until, summary(&answer));
        answer
    }

    fn exchange(&self, hello: &[u8], until: Until) -> Answer {
        let deadline = self.deadline();
        let mut tcp = match self.connect(deadline) {
            Ok(tcp) => tcp,
            Err(error) if is_late(&error) => return Answer::Silent,
            Err(error) if was_reached(&error) => return Answer::Closed,
            Err(error) => return Answer::Unreachable(error.kind()),
        };
        let sent = left(deadline)
            .and_then(|left| tcp.set_write_timeout(Some(left)))
            .and_then(|()| tcp.write_all(hello));
        // A server that closes at once may have said why.
        if sent.is_err_and(|error| is_late(&error)) {
            return Answer::Silent;
        }
        let mut listener = Listener { reader: Reader::default(), reply: None, until };
        let mut piece = [0; 16 << 10];
        let end = loop {
            let read = left(deadline)
                .and_then(|left| tcp.set_read_timeout(Some(left)))
                .and_then(|()| tcp.read(&mut piece));
            match read {
                Ok(0) => break Answer::Closed,
                Ok(count) => {
                    if let Some(end) = listener.hear(piece.get(..count).unwrap_or_default()) {
                        break end;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_late(&error) => break Answer::Silent,
                Err(_) => break Answer::Closed,
            }
        };
        // What has been said counts, however the rest ended.
        listener.reply.map_or(end, |reply| Answer::Hello(Box::new(reply)))
    }
}

/// An answer as it comes in, with no socket in it.
#[derive(Debug)]
struct Listener {
    reader: Reader,
    reply: Option<Reply>,
    until: Until,
}

impl Listener {
    /// Takes in bytes. Something when there is no more to be heard: what it is if there is no reply.
    fn hear(&mut self, bytes: &[u8]) -> Option<Answer> {
        if let Err(error) = self.reader.feed(bytes) {
            return Some(Answer::Malformed(error));
        }
        loop {
            let event = match self.reader.next_event() {
                Ok(Some(event)) => event,
                Ok(None) => return None,
                Err(error) => return Some(Answer::Malformed(error)),
            };
            if let Some(end) = self.take(event) {
                return Some(end);
            }
        }
    }

    fn take(&mut self, event: Event) -> Option<Answer> {
        const UNEXPECTED: Answer =
            Answer::Malformed(Malformed::Protocol("a message before its ServerHello"));
        let Some(reply) = &mut self.reply else {
            return match event {
                Event::ServerHello(hello) => {
                    let retry = hello.retry;
                    self.reply = Some(Reply::new(hello));
                    (retry || self.until == Until::Hello).then_some(Answer::Closed)
                }
                // close_notify; other warnings (unrecognized_name above all) change nothing.
                Event::Alert { description: 0, .. } => Some(Answer::Closed),
                Event::Alert { level: 2, description } => Some(Answer::Alert(description)),
                Event::Alert { .. } => None,
                _ => Some(UNEXPECTED),
            };
        };
        match event {
            Event::Certificate(certificates) => reply.certificates = certificates,
            Event::ServerKeyExchange(body) => reply.key_exchange = Some(body),
            Event::CertificateRequest => reply.asks_for_certificate = Some(true),
            Event::CertificateStatus(staple) => reply.staple = Some(staple),
            Event::ServerHelloDone => {
                reply.asks_for_certificate.get_or_insert(false);
                return Some(Answer::Closed);
            }
            Event::Alert { level: 1, description: 1.. } | Event::Other(_) => {}
            Event::ServerHello(_) | Event::Alert { .. } | Event::Encrypted => {
                return Some(Answer::Closed);
            }
        }
        None
    }
}

fn summary(answer: &Answer) -> String {
    match answer {
        Answer::Hello(reply) => {
            let ServerHello { version, suite, group, retry, .. } = reply.hello;
            format!("{version}, suite {suite:#06x}, group {group:?}, retry {retry}")
        }
        other => format!("{other:?}"),
    }
}

/// The time until a deadline; an error when there is none.
pub(super) fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Whether an I/O error is a deadline that has passed.
pub(super) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Whether a connection was made that the other end has reset at once.
pub(super) fn was_reached(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
