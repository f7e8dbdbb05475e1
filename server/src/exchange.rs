//! The requests of one connection, one after the other, over its TLS stream.

use crate::connection::{LINGER, Service, Turn, one_line};
use crate::http::body::BodyDecoder;
use crate::http::head::RequestHead;
use crate::http::{Framing, Rejection};
use crate::limits::Limits;
use crate::message::{BodyError, ConnectionInfo, Request, RequestBody, Response};
use crate::observe::{Exchanged, Fields};
use crate::poller::Watch;
use crate::send::{Answers, Sent, send};
use crate::table::{Awaited, Wait};
use crate::wire::{Content, Heading, NoRequest, Wire};
use crate::workers::step_aside;
use ::http::{Method, StatusCode, Version};
use sealpair_common::escape::Escaped;
use sealpair_common::tls::{Patience, TlsSession, TlsStream};
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

    /// How the connection's thread is to go about waiting: it asks first, and what this side has to say
    /// is as late as what the client has to say.
    pub(crate) fn before_waiting(&mut self, wait: Wait) {
        self.wire.stream.before_waiting(step_aside);
        self.wire.stream.set_writing(wait.patience());
    }

    /// What was negotiated.
    pub(crate) fn session(&self) -> &TlsSession {
        self.info.session()
    }

    /// Answers a request if there is a whole head, and says what is next. `wait` is what the connection
    /// waited for; `ended` tells that its peer has ended it, so that waiting for more is in vain.
    pub(crate) fn proceed(
        &mut self,
        service: &Service,
        wait: Wait,
        ended: bool,
        watch: &Watch<'_>,
    ) -> Turn {
        let limits = &service.limits;
        let waits = match self.wire.read_head(&limits.request_head) {
            Ok(Heading::Whole(head)) => return self.next(service, head, ended, watch),
            Ok(Heading::Ended) => return Turn::End,
            Ok(Heading::Nothing) => {
                self.wire.rest();
                Turn::Wait(wait)
            }
            Ok(Heading::Begun) => Turn::Wait(rest_of_head(wait, limits)),
            Ok(Heading::More { begun: true }) => Turn::Again(rest_of_head(wait, limits)),
            Ok(Heading::More { begun: false }) => Turn::Again(wait),
            Err(NoRequest::Refused(rejection)) => return self.refuse(service, rejection),
            Err(NoRequest::Lost(failure)) => {
                log::info!("{}: {}", self.info.peer(), one_line(&failure));
                return Turn::End;
            }
        };
        match &waits {
            // Whoever keeps a thread busy is not parked, where deadlines are looked at.
            Turn::Wait(wait) | Turn::Again(wait) if wait.has_passed() => self.late(service, *wait),
            _ => waits,
        }
    }

    /// Answers a request, and says what is next.
    fn next(
        &mut self,
        service: &Service,
        head: RequestHead,
        ended: bool,
        watch: &Watch<'_>,
    ) -> Turn {
        match self.answer(service, head, watch) {
            After::KeepAlive => {
                let wait = Wait::until(Awaited::Next, service.limits.idle);
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
    pub(crate) fn late(&mut self, service: &Service, wait: Wait) -> Turn {
        match wait.what {
            // Nothing was asked, so there is nothing to answer.
            Awaited::First | Awaited::Next => Turn::End,
            Awaited::Rest => {
                let status = StatusCode::REQUEST_TIMEOUT;
                self.refuse(service, Rejection { status, reason: "the request head took too long" })
            }
        }
    }

    /// Answers one request.
    fn answer(&mut self, service: &Service, head: RequestHead, watch: &Watch<'_>) -> After {
        let began = Instant::now();
        let limits = &service.limits;
        let fields = service.observer.fields(&head.headers);
        self.wire.stream.set_writing(limits.pace());
        let decoder = match BodyDecoder::new(head.framing, limits.max_body) {
            Ok(decoder) => decoder,
            Err(error) => {
                let response = Response::error(error.status(), error);
                return self.respond(
                    service,
                    &head,
                    Asked { began, fields, received: 0, in_step: false },
                    response,
                );
            }
        };
        let length = content_length(&head);
        let muted = !decoder.is_done() && watch.mute().is_ok();
        let bulk = length.is_none_or(|length| length >= BULK);
        if bulk {
            self.wire.stream.expect_bulk(true);
        }
        let without_content = decoder.is_done();
        let Self { wire, info } = self;
        let mut content = Content::new(wire, decoder, head.expect_continue, limits.pace());
        let body = RequestBody::of_connection(&mut content, length);
        let mut request = Request::new(head, body, info);
        let response = catch_unwind(AssertUnwindSafe(|| {
            if without_content && let Some(response) = service.handler.answer_at_once(&request) {
                return response;
            }
            if !step_aside() {
                return Response::error(StatusCode::SERVICE_UNAVAILABLE, "no thread is free");
            }
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
        let asked = Asked { began, fields, received, in_step };
        let after = self.respond(service, &head, asked, response);
        if bulk {
            self.wire.stream.expect_bulk(false);
        }
        // What has come behind the content is told again, so it may be told twice.
        match after {
            After::KeepAlive if muted && watch.hear().is_err() => After::End,
            after => after,
        }
    }

    /// Sends the response to a request, counts and logs it, and says what follows.
    fn respond(
        &mut self,
        service: &Service,
        head: &RequestHead,
        asked: Asked,
        response: Response,
    ) -> After {
        let Self { wire, info } = self;
        let Asked { began, fields, received, in_step } = asked;
        let RequestHead { method, target, version, keep_alive, .. } = head;
        let (version, status) = (*version, response.status());
        let close = !keep_alive || !in_step || service.is_draining();
        wire.stream.set_writing(service.limits.pace());
        let to_first_byte = began.elapsed();
        let sent = send(&mut wire.stream, &Answers { method, version, close }, response);
        let Sent { bytes, ends_connection, error } = sent;
        let whole = began.elapsed();
        let after = match ends_connection {
            false => After::KeepAlive,
            // The client may still be sending; it must be able to read the answer all the same.
            true if error.is_none() && (!in_step || wire.may_have_input()) => After::Linger,
            true => After::End,
        };
        let error = error.as_ref().map(|error| one_line(error));
        service.observer.answered(
            info,
            &Exchanged {
                method,
                target,
                version,
                fields: &fields,
                status,
                received,
                sent: bytes,
                to_first_byte,
                whole,
                error: error.as_deref(),
            },
        );
        // Whoever has an access log has no need of the same on standard error.
        let level = match service.observer.access_log {
            None => log::Level::Info,
            Some(_) => log::Level::Debug,
        };
        log::log!(
            target: "sealpair_server::access",
            level,
            "{} {} {method} {target} {} {received} {bytes} {:.1}ms {}{}",
            info.peer(), Escaped(info.subject().unwrap_or("-")), status.as_u16(),
            whole.as_secs_f64() * 1e3, info.session().protocol,
            error.map(|error| format!(" cut: {error}")).unwrap_or_default(),
        );
        after
    }

    /// Ends a connection that has no next request, with a word.
    fn refuse(&mut self, service: &Service, rejection: Rejection) -> Turn {
        log::info!("{}: refused: {rejection}", self.info.peer());
        self.wire.stream.set_writing(Patience::for_next(LINGER));
        let answers = Answers { method: &Method::GET, version: Version::HTTP_11, close: true };
        let response = Response::error(rejection.status, rejection.reason);
        let sent = send(&mut self.wire.stream, &answers, response);
        service.observer.head_refused(&self.info, &rejection, sent.bytes);
        match sent.error {
            None => Turn::Linger,
            Some(_) => Turn::End,
        }
    }
}

/// The wait for the rest of a head, where `wait` was for its beginning or for more of it.
fn rest_of_head(wait: Wait, limits: &Limits) -> Wait {
    match wait.what {
        Awaited::Next => Wait::until(Awaited::Rest, limits.head),
        // The first head is due since the handshake.
        Awaited::First => Wait { what: Awaited::Rest, ..wait },
        Awaited::Rest => wait,
    }
}

/// What follows a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum After {
    KeepAlive,
    Linger,
    End,
}

/// What is known of a request, besides its head, when it is to be answered.
struct Asked {
    began: Instant,
    /// What the access log wants of the head.
    fields: Fields,
    /// Bytes of content that the handler has taken.
    received: u64,
    /// Whether it is known where the next request begins.
    in_step: bool,
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
