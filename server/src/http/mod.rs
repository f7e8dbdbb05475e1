//! HTTP/1.1 framing (RFC 9112) with no socket in it.
//!
//! Everything here works on bytes that the connection hands over and says what they mean; nothing
//! reads, waits or logs. In the order in which a request passes through:
//!
//! 1. [`scan`] finds the end of the head in a buffer that grows, and refuses early what can never
//!    become a request;
//! 2. [`head`] parses the finished head: `target` its request target, `fields` its field
//!    lines; what they mean for the framing is decided there and nowhere else;
//! 3. [`body`] takes the content out of its framing;
//! 4. [`response`] writes the head of the answer and frames its content.
//!
//! The parsers are strict: where RFC 9112 lets a recipient choose between repair and refusal, they
//! refuse, because two recipients that repair differently are what request smuggling is made of.
//! There is no option to relax them.

pub mod body;
mod fields;
pub mod head;
pub mod response;
pub mod scan;
mod syntax;
mod target;

use ::http::StatusCode;
use std::fmt;

/// Why a request is refused.
///
/// Where the head itself is refused, the connection answers and closes: nobody knows then where the
/// next request begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rejection {
    /// The status that tells the client.
    pub status: StatusCode,
    /// What is wrong, for a person. It holds nothing that the client sent.
    pub reason: &'static str,
}

impl Rejection {
    pub(crate) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(crate) const fn bad_request(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.reason)
    }
}

impl std::error::Error for Rejection {}

/// How the end of the content is found (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// By `Transfer-Encoding: chunked`.
    Chunked,
    /// By `Content-Length`, in bytes.
    Length(u64),
    /// Not declared: a request has no content then; a response has none, or ends with the
    /// connection.
    None,
}
