//! Publishing the facts of the connection beside the response.
//!
//! ureq has no place for what a transport knows. But a call runs on one thread from beginning to end,
//! and the last transport that read on that thread is the one that the response came from: the
//! transport notes its session for the thread, and a middleware moves the note into the response.

use sealpair_common::tls::TlsSession;
use std::cell::RefCell;
use std::sync::Arc;
use ureq::http::{Request, Response};
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

/// Puts the connection's facts into each response.
#[derive(Debug)]
pub(crate) struct PublishSession;

impl Middleware for PublishSession {
    fn handle(
        &self,
        request: Request<SendBody<'_>>,
        next: MiddlewareNext<'_>,
    ) -> Result<Response<Body>, Error> {
        LAST.with_borrow_mut(Option::take);
        let mut response = next.handle(request)?;
        if let Some(session) = LAST.with_borrow_mut(Option::take) {
            response.extensions_mut().insert(session);
        }
        Ok(response)
    }
}

/// The TLS session that a response came over.
///
/// `None` for a response that no agent of this crate has received.
pub fn session<B>(response: &Response<B>) -> Option<&TlsSession> {
    response.extensions().get::<Arc<TlsSession>>().map(|session| &**session)
}
