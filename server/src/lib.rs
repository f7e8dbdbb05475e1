//! A blocking, thread-per-connection HTTPS server on OpenSSL.

pub mod handler;
pub mod http;
mod message;

pub use handler::Handler;
pub use message::{Body, BodyError, Request, RequestBody, Response};
