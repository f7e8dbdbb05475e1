//! The requests of one connection, one after the other, over its TLS stream.

use crate::connection::{Heard, LINGER, Service, Turn, one_line};
use crate::http::body::BodyDecoder;
use crate::http::head::RequestHead;
use crate::http::{Framing, Rejection};
use crate::message::{BodyError, ConnectionInfo, Request, RequestBody, Response};
use crate::send::{Answers, Sent, send};
use crate::table::{Awaited, Wait};
use crate::wire::{Content, Heading, NoRequest, Wire};
use crate::workers::step_aside;
use ::http::{Method, StatusCode, Version};
use sealpair_common::escape::Escaped;
use sealpair_common::tls::{Patience, TlsStream};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// Content of this length in bytes is taken in larger pieces.
const BULK: u64 = 256 << 10;

/// An open connection: its stream, and the facts that handlers see.
#[derive(Debug)]
pub(crate) struct Exchange {
    wire: Wire,
    info: ConnectionInfo,
}

impl Exchange {
    /// A connection whose handshake is done.
    pub(crate) fn new(stream: TlsStream, peer: SocketAddr) -> Self {
        let info = ConnectionInfo::of(peer, Arc::clone(stream.tcp()), stream.session());
        log::debug!("{peer}: connected, {}", info.session());
        Self { wire: Wire::new(stream), info }
    }

    /// Answers a request if there is a whole head, and says what is next. `wait` is what the connection
    /// waited for; `ended` tells that its peer has ended it, so that waiting for more is in vain.
    pub(crate) fn proceed(
        &mut self,
        service: &Service,
        wait: Wait,
        ended: bool,
        heard: &Heard<'_>,
    ) -> Turn {
        let limits = &service.limits;
        // A drop in the middle of this, or the word that a head is refused, has to wait for nobody.
        self.wire.stream.before_waiting(step_aside);
        let head = match self.wire.read_head(&limits.request_head) {
            Ok(Heading::Whole(head)) => head,
            Ok(Heading::Ended) => return Turn::End,
            Ok(Heading::Nothing) => {
                self.wire.rest();
                return Turn::Wait(wait);
            }
            Ok(Heading::Begun) => {
                return Turn::Wait(match wait.what {
                    Awaited::Next => Wait::until(Awaited::Rest, limits.head),
                    // The first head is due since the handshake.
                    Awaited::First => Wait { what: Awaited::Rest, ..wait },
                    Awaited::Rest => wait,
                });
            }
            Err(NoRequest::Refused(rejection)) => return self.refuse(rejection),
            Err(NoRequest::Lost(failure)) => {
                log::info!("{}: {}", self.info.peer(), one_line(&failure));
                return Turn::End;
            }
        };
        match self.answer(service, head, heard) {
            After::KeepAlive => {
                let wait = Wait::until(Awaited::Next, limits.idle);
                if ended || self.wire.may_have_input() {
                    return Turn::Again(wait);
                }
                self.wire.rest();
                Turn::Wait(wait)
            }
            After::Linger => Turn::Linger,
            After::End => Turn::End,
        }
    }

    /// The deadline of a wait has passed.
    pub(crate) fn late(&mut self, wait: Wait) -> Turn {
        match wait.what {
            // Nothing was asked, so there is nothing to answer.
            Awaited::First | Awaited::Next => Turn::End,
            Awaited::Rest => self.refuse(Rejection {
                status: StatusCode::REQUEST_TIMEOUT,
                reason: "the request head took too long",
            }),
        }
    }

    /// Ends this direction with a word, where nothing has been said yet.
    pub(crate) fn end(&mut self) {
        self.wire.stream.set_writing(Patience::for_next(LINGER));
        if let Err(error) = self.wire.stream.end() {
            log::debug!("{}: closing: {error}", self.info.peer());
        }
    }

    /// Answers one request.
    fn answer(&mut self, service: &Service, head: RequestHead, heard: &Heard<'_>) -> After {
        let began = Instant::now();
        let Self { wire, info } = self;
        let limits = &service.limits;
        let version = head.version;
        let keep_alive = head.keep_alive;
        wire.stream.set_writing(limits.pace());
        let decoder = match BodyDecoder::new(head.framing, limits.max_body) {
            Ok(decoder) => decoder,
            Err(error) => return self.refuse_content(began, &head, error),
        };
        let length = content_length(&head);
        let muted = !decoder.is_done() && heard.mute().is_ok();
        let bulk = length.is_none_or(|length| length >= BULK);
        if bulk {
            wire.stream.expect_bulk(true);
        }
        let without_content = decoder.is_done();
        let mut content = Content::new(wire, decoder, head.expect_continue, limits.pace());
        let body = RequestBody::new(&mut content, length);
        let mut request = Request::new(head, body, info);
        let response = catch_unwind(AssertUnwindSafe(|| {
            if without_content && let Some(response) = service.handler.answer_at_once(&request) {
                return response;
            }
            step_aside();
            service.handler.handle(&mut request)
        }));
        let head = request.into_head();
        let response = response.unwrap_or_else(|_| {
            let RequestHead { method, target, .. } = &head;
            log::error!("{}: a handler panicked over {method} {target}", info.peer());
            Response::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        });
        let received = content.received();
        let in_step = content.finish();
        let close = !keep_alive || !in_step || service.is_draining();
        let status = response.status();
        wire.stream.set_writing(limits.pace());
        let answers = Answers { method: &head.method, version, close };
        let sent = send(&mut wire.stream, &answers, response);
        if bulk {
            wire.stream.expect_bulk(false);
        }
        // What has come behind the content is told again, so it may be told twice.
        let heard_again = !muted || heard.hear().is_ok();
        let after = match sent.ends_connection || !heard_again {
            false => After::KeepAlive,
            // The client may still be sending; it must be able to read the answer all the same.
            true if sent.error.is_none() && (!in_step || wire.may_have_input()) => After::Linger,
            true => After::End,
        };
        log_request(info, &head, status, received, &sent, began);
        after
    }

    /// Answers a request whose content is too long.
    fn refuse_content(&mut self, began: Instant, head: &RequestHead, error: BodyError) -> After {
        let response = Response::error(error.status(), error);
        let status = response.status();
        let answers = Answers { method: &head.method, version: head.version, close: true };
        let sent = send(&mut self.wire.stream, &answers, response);
        log_request(&self.info, head, status, 0, &sent, began);
        match sent.error {
            None => After::Linger,
            Some(_) => After::End,
        }
    }

    /// Ends a connection that has no next request, with a word.
    fn refuse(&mut self, rejection: Rejection) -> Turn {
        log::info!("{}: refused: {rejection}", self.info.peer());
        self.wire.stream.set_writing(Patience::for_next(LINGER));
        let answers = Answers { method: &Method::GET, version: Version::HTTP_11, close: true };
        let response = Response::error(rejection.status, rejection.reason);
        match send(&mut self.wire.stream, &answers, response).error {
            None => Turn::Linger,
            Some(_) => Turn::End,
        }
    }
}

/// What follows a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum After {
    KeepAlive,
    Linger,
    End,
}

fn log_request(
    info: &ConnectionInfo,
    head: &RequestHead,
    status: StatusCode,
    received: u64,
    sent: &Sent,
    began: Instant,
) {
    log::info!(
        target: "sealpair_server::access",
        "{} {} {} {} {} {received} {} {:.1}ms {}{}",
        info.peer(), Escaped(info.subject().unwrap_or("-")), head.method, head.target,
        status.as_u16(), sent.bytes, began.elapsed().as_secs_f64() * 1e3, info.session().protocol,
        sent.error.as_ref().map(|error| format!(" cut: {}", one_line(error))).unwrap_or_default(),
    );
}

/// The length that the head declares, if it does.
fn content_length(head: &RequestHead) -> Option<u64> {
    match head.framing {
        Framing::Length(length) => Some(length),
        Framing::None => Some(0),
        Framing::Chunked => None,
    }
}

/// The answer to a request whose content could not be read, for handlers that read it.
impl From<BodyError> for Response {
    fn from(error: BodyError) -> Self {
        Self::error(error.status(), error)
    }
}
