//! One connection, from accept to close_notify.
//!
//! ```text
//! handshake ─▶ read head ─▶ handler (reads content) ─▶ send response ─┬─▶ close_notify
//!               ▲                                                     │
//!               └───────────────── keep-alive ───────────────────────┘
//! ```
//!
//! Every arrow has a deadline. What goes wrong is logged here, once, and nowhere below.

use crate::handler::Handler;
use crate::http::Rejection;
use crate::http::body::BodyDecoder;
use crate::http::head::RequestHead;
use crate::limits::Limits;
use crate::listener::Accepted;
use crate::message::{BodyError, ConnectionInfo, Request, RequestBody, Response};
use crate::observe::{Exchange, Observer};
use crate::registry::Registration;
use crate::send::{Answers, Sent, send};
use crate::wire::{Content, HeadWait, NoRequest, Wire};
use ::http::{Method, StatusCode, Version};
use sealpair_common::escape::Escaped;
use sealpair_common::tls::{Failure, Patience, Reason, ServerTls, TlsStream, linger};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a refused client may take to read why.
const LINGER: Duration = Duration::from_secs(2);

/// What all connections share.
pub(crate) struct Service {
    pub(crate) tls: ServerTls,
    pub(crate) handler: Box<dyn Handler>,
    pub(crate) limits: Limits,
    pub(crate) observer: Observer,
}

impl Service {
    /// Serves one connection until it ends.
    pub(crate) fn serve(&self, accepted: Accepted<'_>) {
        let Accepted { tcp, peer, place } = accepted;
        let _open = self.observer.metrics.connection();
        let began = Instant::now();
        let patience = Patience::for_next(self.limits.handshake);
        match self.tls.accept(Arc::clone(&tcp), &peer.to_string(), patience) {
            Ok(stream) => self.exchange(stream, began.elapsed(), &tcp, peer, &place),
            Err(failure) => {
                self.observer.metrics.handshake_failed(failure.reason());
                refuse(&tcp, &failure);
            }
        }
    }

    /// The requests of a connection, one after the other.
    fn exchange(
        &self,
        stream: TlsStream,
        took: Duration,
        tcp: &TcpStream,
        peer: SocketAddr,
        place: &Registration<'_>,
    ) {
        let info = ConnectionInfo::new(peer, tcp.local_addr().unwrap_or(peer), stream.session());
        let session = info.session();
        self.observer.metrics.handshake_done(took, session.protocol, session.resumed);
        log::debug!("{peer}: connected, {}", info.session());
        let mut wire = Wire::new(stream);
        let Limits { request_head, head, idle, .. } = &self.limits;
        // A client that has just connected has something to ask: its first head is due at once.
        let mut wait = HeadWait::Whole(Patience::for_next(*head));
        loop {
            let begun = || place.begin_request();
            let request = match wire.read_head(request_head, wait, begun) {
                Ok(request) => request,
                Err(reason) => {
                    self.no_request(&mut wire, &info, reason);
                    break;
                }
            };
            if !self.answer(&mut wire, &info, request, place) {
                break;
            }
            wait = HeadWait::Idle { idle: *idle, head: *head };
            if !wire.has_input() && !place.begin_idle() {
                break;
            }
        }
        wire.stream.set_writing(Patience::for_next(LINGER));
        if let Err(error) = wire.stream.close() {
            log::debug!("{peer}: closing: {error}");
        }
    }

    /// Answers one request; whether the connection goes on.
    fn answer(
        &self,
        wire: &mut Wire,
        info: &ConnectionInfo,
        head: RequestHead,
        place: &Registration<'_>,
    ) -> bool {
        let began = Instant::now();
        let limits = &self.limits;
        let method = head.method.clone();
        let version = head.version;
        let keep_alive = head.keep_alive;
        let target = head.target.clone();
        let fields = self.observer.fields(&head.headers);
        let mut received = 0;
        wire.stream.set_writing(limits.pace());
        let (response, in_step) = match BodyDecoder::new(head.framing, limits.max_body) {
            Err(error) => (Response::error(error.status(), error), false),
            Ok(decoder) => {
                let length = content_length(&head);
                let expect_continue = head.expect_continue;
                let mut content = Content::new(wire, decoder, expect_continue, limits.pace());
                let response = {
                    let body = RequestBody::new(&mut content, length);
                    let mut request = Request::new(head, body, info);
                    catch_unwind(AssertUnwindSafe(|| self.handler.handle(&mut request)))
                };
                let response = response.unwrap_or_else(|_| {
                    log::error!("{}: a handler panicked over {method} {target}", info.peer());
                    Response::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
                });
                received = content.received();
                (response, content.finish())
            }
        };
        let close = !keep_alive || !in_step || place.is_draining();
        let status = response.status();
        wire.stream.set_writing(limits.pace());
        let to_first_byte = began.elapsed();
        let sent = send(&mut wire.stream, &Answers { method: &method, version, close }, response);
        let Sent { bytes, ends_connection, error } = sent;
        let whole = began.elapsed();
        let millis = whole.as_secs_f64() * 1e3;
        let cut = error.as_ref().map(|error| one_line(error));
        self.observer.answered(
            info,
            &Exchange {
                method: &method,
                target: &target,
                version,
                fields: &fields,
                status,
                received,
                sent: bytes,
                to_first_byte,
                whole,
                error: cut.as_deref(),
            },
        );
        log::info!(
            target: "sealpair_server::access",
            "{} {} {method} {target} {} {received} {bytes} {millis:.1}ms {}{}",
            info.peer(), Escaped(info.subject().unwrap_or("-")), status.as_u16(),
            info.session().protocol, cut.map(|cut| format!(" cut: {cut}")).unwrap_or_default(),
        );
        if error.is_none() && !in_step {
            // The client may still be sending; it must be able to read the answer all the same.
            close_and_linger(wire);
        }
        !ends_connection
    }

    /// Ends a connection that has no next request, with a word where one is due.
    fn no_request(&self, wire: &mut Wire, info: &ConnectionInfo, reason: NoRequest) {
        let peer = info.peer();
        let rejection = match reason {
            NoRequest::Ended | NoRequest::Idle => return,
            NoRequest::Refused(rejection) => rejection,
            NoRequest::Lost(failure) if failure.reason() == Reason::Deadline => Rejection {
                status: StatusCode::REQUEST_TIMEOUT,
                reason: "the request head took too long",
            },
            NoRequest::Lost(failure) => {
                log::info!("{peer}: {}", one_line(&failure));
                return;
            }
        };
        log::info!("{peer}: refused: {rejection}");
        self.observer.head_refused(info, &rejection);
        wire.stream.set_writing(Patience::for_next(LINGER));
        let answers = Answers { method: &Method::GET, version: Version::HTTP_11, close: true };
        let response = Response::error(rejection.status, rejection.reason);
        if send(&mut wire.stream, &answers, response).error.is_none() {
            close_and_linger(wire);
        }
    }
}

fn close_and_linger(wire: &mut Wire) {
    wire.stream.set_writing(Patience::for_next(LINGER));
    if wire.stream.close().is_ok() {
        linger(wire.stream.tcp(), LINGER);
    }
}

/// The length that the head declares, if it does.
fn content_length(head: &RequestHead) -> Option<u64> {
    match head.framing {
        crate::http::Framing::Length(length) => Some(length),
        crate::http::Framing::None => Some(0),
        crate::http::Framing::Chunked => None,
    }
}

/// Logs why there is no TLS connection and sees to it that the client can know.
fn refuse(tcp: &TcpStream, failure: &Failure) {
    match failure.reason() {
        // A port scan, a health check of a balancer, a browser that changed its mind.
        Reason::Closed | Reason::Io(_) => {
            log::debug!("no TLS connection: {}", one_line(&failure));
            return;
        }
        Reason::Deadline => {
            log::info!("no TLS connection: {}", one_line(&failure));
            return;
        }
        _ => log::warn!("no TLS connection: {}", one_line(&failure)),
    }
    if failure.reason() == (Reason::NotTls { http: true }) {
        // Without a length: the end of the connection is the end of the text.
        const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
            Connection: close\r\n\r\n400 this port speaks HTTPS: the URL is https://\n";
        let _ = tcp.set_write_timeout(Some(LINGER));
        let _ = (&mut &*tcp).write_all(ANSWER);
    }
    linger(tcp, LINGER);
}

/// A log has one line for each event.
fn one_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// The answer to a request whose content could not be read, for handlers that read it.
impl From<BodyError> for Response {
    fn from(error: BodyError) -> Self {
        Self::error(error.status(), error)
    }
}
