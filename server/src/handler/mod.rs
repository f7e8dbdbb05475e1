//! What answers requests: the `Handler` trait and the handlers that come with the server.

mod accept;
mod archive;
pub mod beneath;
mod cache;
mod collection;
mod digest_fields;
mod digest_index;
mod digests;
mod encoding;
mod entity_tag;
mod failure;
pub mod files;
mod listing;
mod lookup;
mod multipart;
mod names;
pub mod path;
mod place;
mod precondition;
mod problem;
mod range;
mod remove;
mod repr_digest;
mod representation;
mod temporary;
#[cfg(test)]
mod testing;
mod upload;
mod uploads;
mod ustar;
mod validators;

pub use files::FileHandler;
pub use uploads::UploadLimits;

use crate::message::{Request, Response};

/// Something that answers a request.
///
/// Any function or closure of the right shape is a handler. It runs on the thread of the request's
/// connection and may block. A panic in it costs that request (500), not the server.
pub trait Handler: Send + Sync {
    /// Answers one request.
    fn handle(&self, request: &mut Request<'_>) -> Response;

    /// Answers a request without content if that can be done at once: from what is in memory, or from
    /// files that the system has in its cache. Where this gives nothing, [`handle`](Self::handle) is
    /// called.
    ///
    /// The few threads that wait for all connections call this; what takes long in it keeps others
    /// waiting. It never gives anything unless a handler says otherwise. It saves a change of threads
    /// for each request: a third of what a small file costs.
    fn answer_at_once(&self, request: &Request<'_>) -> Option<Response> {
        let _ = request;
        None
    }
}

impl<F> Handler for F
where
    F: Fn(&mut Request<'_>) -> Response + Send + Sync,
{
    fn handle(&self, request: &mut Request<'_>) -> Response {
        self(request)
    }
}
