//! One connection, from accept to close_notify.
//!
//! ```text
//! accept ─▶ handshake ─▶ head ─▶ handler (reads content) ─▶ response ─┬─▶ close_notify ─▶ linger
//!               ┊          ▲                                           │
//!               ┊          └┄┄┄┄┄┄┄┄┄┄┄┄┄ keep-alive ───────────────────┘
//! ```
//!
//! Up to the handler nothing here waits: where the next bytes are not there yet, [`proceed`] says what
//! the connection waits for and until when, and is called again. From the handler on, the thread is the
//! connection's own and every wait is a blocking call with a deadline. What goes wrong is logged here,
//! once, and nowhere below.
//!
//! [`proceed`]: Connection::proceed

use crate::exchange::Exchange;
use crate::handler::Handler;
use crate::limits::Limits;
use crate::observe::Observer;
use crate::poller::Watch;
use crate::table::{Awaited, Wait};
use crate::workers::step_aside;
use sealpair_common::tls::{Accepting, Advance, Failure, Patience, Reason, ServerTls};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a refused client may take to read why.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// What all connections share.
pub(crate) struct Service {
    pub(crate) tls: ServerTls,
    pub(crate) handler: Box<dyn Handler>,
    pub(crate) limits: Limits,
    pub(crate) observer: Observer,
    draining: AtomicBool,
}

impl Service {
    pub(crate) fn new(
        tls: ServerTls,
        handler: Box<dyn Handler>,
        limits: Limits,
        observer: Observer,
    ) -> Self {
        Self { tls, handler, limits, observer, draining: AtomicBool::new(false) }
    }

    /// From now on every response is the last of its connection.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    tcp: Arc<TcpStream>,
    peer: SocketAddr,
    accepted: Instant,
    phase: Phase,
    /// What it waits for, or waited for last.
    wait: Wait,
    /// The peer has ended its side: whatever it has sent is here, with the end behind it.
    ended: bool,
}

#[derive(Debug)]
enum Phase {
    /// Nothing has come: there is not even a TLS state, so that who says nothing costs next to nothing.
    Accepted,
    Handshake(Accepting),
    Open(Box<Exchange>),
    /// Everything has been said; the client gets time to read it. Closing a socket with unread data
    /// would make the kernel send a reset, and a reset can overtake the alert or the response that says
    /// why (RFC 9112 section 9.6).
    Lingering,
}

/// Why a connection's turn has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Why {
    /// Something has arrived, or may have.
    Ready,
    /// Its deadline has passed.
    Late,
    /// The server is to stop, and the connection waits for a next request.
    Drain,
}

/// What is next for a connection.
#[derive(Debug)]
pub(crate) enum Next {
    /// It waits.
    Wait(Wait),
    /// There may be more to do at once; others come first.
    Again,
    /// It is over.
    End,
}

impl Connection {
    /// A connection that has just been accepted, and what it waits for.
    pub(crate) fn new(tcp: Arc<TcpStream>, peer: SocketAddr, service: &Service) -> (Self, Wait) {
        let wait = Wait::until(Awaited::First, service.limits.handshake);
        let accepted = Instant::now();
        (Self { tcp, peer, accepted, phase: Phase::Accepted, wait, ended: false }, wait)
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn tcp(&self) -> Arc<TcpStream> {
        Arc::clone(&self.tcp)
    }

    /// The peer has ended its side.
    pub(crate) fn note_end(&mut self) {
        self.ended = true;
    }

    /// Does what can be done.
    pub(crate) fn proceed(&mut self, service: &Service, why: Why, watch: &Watch<'_>) -> Next {
        // Whatever is said or awaited below, this thread asks before it waits, and no longer than the
        // connection may.
        match &mut self.phase {
            Phase::Handshake(accepting) => accepting.before_waiting(step_aside),
            Phase::Open(exchange) => exchange.before_waiting(self.wait),
            Phase::Accepted | Phase::Lingering => {}
        }
        match std::mem::replace(&mut self.phase, Phase::Lingering) {
            Phase::Accepted if why != Why::Ready => {
                service.observer.metrics.handshake_failed(Reason::Deadline);
                Next::End
            }
            Phase::Accepted => {
                match service.tls.begin(Arc::clone(&self.tcp), &self.peer.to_string()) {
                    Ok(mut accepting) => {
                        accepting.before_waiting(step_aside);
                        accepting.set_writing(self.wait.patience());
                        self.shake_hands(service, accepting, watch)
                    }
                    Err(failure) => self.refuse(service, &failure),
                }
            }
            Phase::Handshake(accepting) if why != Why::Ready => {
                self.refuse(service, &accepting.late())
            }
            Phase::Handshake(accepting) => self.shake_hands(service, accepting, watch),
            Phase::Open(exchange) => self.exchange(service, exchange, why, watch),
            Phase::Lingering if why != Why::Ready => Next::End,
            Phase::Lingering => self.hear_out(),
        }
    }

    fn shake_hands(&mut self, service: &Service, accepting: Accepting, watch: &Watch<'_>) -> Next {
        match accepting.advance(Patience::Now) {
            // Whoever keeps a thread busy is not parked, where deadlines are looked at.
            Ok(Advance::Waiting(accepting)) if self.wait.has_passed() => {
                self.refuse(service, &accepting.late())
            }
            Ok(Advance::Waiting(accepting)) => {
                self.phase = Phase::Handshake(accepting);
                Next::Wait(self.wait)
            }
            Ok(Advance::Done(stream)) => {
                let mut exchange = Box::new(Exchange::new(stream, self.peer));
                let session = exchange.session();
                let took = self.accepted.elapsed();
                service.observer.metrics.handshake_done(took, session.protocol, session.resumed);
                // A client that has just connected has something to ask: its first head is due at once.
                self.wait = Wait::until(Awaited::First, service.limits.head);
                exchange.before_waiting(self.wait);
                self.exchange(service, exchange, Why::Ready, watch)
            }
            Err(failure) => self.refuse(service, &failure),
        }
    }

    fn exchange(
        &mut self,
        service: &Service,
        mut exchange: Box<Exchange>,
        why: Why,
        watch: &Watch<'_>,
    ) -> Next {
        let next = match why {
            Why::Ready => exchange.proceed(service, self.wait, self.ended, watch),
            Why::Late => exchange.late(service, self.wait),
            Why::Drain => Turn::End,
        };
        match next {
            Turn::Wait(wait) => {
                self.wait = wait;
                self.phase = Phase::Open(exchange);
                Next::Wait(wait)
            }
            Turn::Again(wait) => {
                self.wait = wait;
                self.phase = Phase::Open(exchange);
                Next::Again
            }
            Turn::Linger => {
                // close_notify has been sent, or is now.
                drop(exchange);
                self.linger()
            }
            // close_notify is sent when it is dropped.
            Turn::End => Next::End,
        }
    }

    /// Logs why there is no TLS connection and sees to it that the client can know.
    fn refuse(&mut self, service: &Service, failure: &Failure) -> Next {
        service.observer.metrics.handshake_failed(failure.reason());
        match failure.reason() {
            // A port scan, a health check of a balancer, a browser that changed its mind.
            Reason::Closed | Reason::Io(_) => {
                log::debug!("no TLS connection: {}", one_line(&failure));
                return Next::End;
            }
            Reason::Deadline => {
                log::info!("no TLS connection: {}", one_line(&failure));
                return Next::End;
            }
            _ => log::warn!("no TLS connection: {}", one_line(&failure)),
        }
        if failure.reason() == (Reason::NotTls { http: true }) {
            // Without a length: the end of the connection is the end of the text.
            const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
                Connection: close\r\n\r\n400 this port speaks HTTPS: the URL is https://\n";
            // It fits into any send buffer; a client that it does not reach has lost nothing.
            let _ = self.tcp.set_write_timeout(Some(Duration::from_millis(1)));
            let _ = (&mut &*self.tcp).write_all(ANSWER);
        }
        self.linger()
    }

    /// Everything has been said: the client may read it, for a while.
    fn linger(&mut self) -> Next {
        let _ = self.tcp.shutdown(std::net::Shutdown::Write);
        self.wait = Wait::until(Awaited::Rest, LINGER);
        self.hear_out()
    }

    /// Discards what still comes, until the client closes.
    fn hear_out(&self) -> Next {
        /// Who sends faster than it is discarded must not keep others waiting.
        const AT_A_TIME: usize = 64;
        let mut waste = [0; 16 << 10];
        for _ in 0..AT_A_TIME {
            let flags = rustix::net::RecvFlags::DONTWAIT;
            match rustix::net::recv(&*self.tcp, &mut waste, flags) {
                Ok((0, _)) => return Next::End,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Next::Wait(self.wait),
                Err(_) => return Next::End,
            }
        }
        if self.wait.has_passed() { Next::End } else { Next::Again }
    }
}

/// What is next for an open connection.
#[derive(Debug)]
pub(crate) enum Turn {
    Wait(Wait),
    /// There may be a request already; if not, this is what it waits for.
    Again(Wait),
    /// Everything has been said, and the client may not have heard it.
    Linger,
    End,
}

/// A log has one line for each event.
pub(crate) fn one_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
