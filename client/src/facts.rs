//! What comes with every response: a check that it means what it says, and the facts of its connection.
//!
//! ureq has no place for what a transport knows. But a call runs on one thread from beginning to end,
//! and the last transport that read on that thread is the one that the response came from: the
//! transport notes its session for the thread, and a middleware moves the note into the response.

use crate::error::BadResponse;
use sealpair_common::tls::TlsSession;
use std::cell::RefCell;
use std::sync::Arc;
use ureq::http::header::{CONTENT_LENGTH, RANGE, TRANSFER_ENCODING};
use ureq::http::{Request, Response, StatusCode, Version};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::{Body, Error, SendBody};

thread_local! {
    static LAST: RefCell<Option<Arc<TlsSession>>> = const { RefCell::new(None) };
}

/// The connection that this thread reads from.
pub(crate) fn note(session: &Arc<TlsSession>) {
    LAST.with_borrow_mut(|last| {
        if !last.as_ref().is_some_and(|last| Arc::ptr_eq(last, session)) {
            *last = Some(Arc::clone(session));
        }
    });
}

/// Checks each response and puts the connection's facts into it.
#[derive(Debug)]
pub(crate) struct CheckAndPublish;

impl Middleware for CheckAndPublish {
    fn handle(
        &self,
        request: Request<SendBody<'_>>,
        next: MiddlewareNext<'_>,
    ) -> Result<Response<Body>, Error> {
        LAST.with_borrow_mut(Option::take);
        let ranged = request.headers().contains_key(RANGE);
        let mut response = next.handle(request)?;
        check(&response, ranged).map_err(|bad| Error::Other(bad.into()))?;
        if let Some(session) = LAST.with_borrow_mut(Option::take) {
            response.extensions_mut().insert(session);
        }
        Ok(response)
    }
}

/// Refuses a response whose content would be taken for something that it is not. ureq reads on where
/// RFC 9112 section 6.3 says to give up.
fn check(response: &Response<Body>, ranged: bool) -> Result<(), BadResponse> {
    let mut codings = response.headers().get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
            return Err(BadResponse(
                "its transfer coding is not chunked, and nothing else is known",
            ));
        }
        if response.version() != Version::HTTP_11 {
            return Err(BadResponse("it is chunked, but not HTTP/1.1"));
        }
        if response.headers().contains_key(CONTENT_LENGTH) {
            return Err(BadResponse("it has a length and is chunked: where it ends is ambiguous"));
        }
    }
    if response.status() == StatusCode::PARTIAL_CONTENT && !ranged {
        return Err(BadResponse("it is a part, and the whole was asked for"));
    }
    Ok(())
}

/// The TLS session that a response came over.
///
/// `None` for a response that no agent of this crate has received.
pub fn session<B>(response: &Response<B>) -> Option<&TlsSession> {
    response.extensions().get::<Arc<TlsSession>>().map(|session| &**session)
}
