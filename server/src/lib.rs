//! A blocking, thread-per-connection HTTPS server on OpenSSL.
//!
//! ```text
//! Server ─ listener ─ accept ─ connection ─┬─ http (framing, no sockets)
//!                                          ├─ handler (files, uploads, yours)
//!                                          └─ sealpair_common::tls
//! ```
//!
//! [`Server::bind`] and [`Server::serve`] are all that a program needs; a [`Handler`] is any function
//! from a [`Request`] to a [`Response`].

pub mod access_log;
mod connection;
mod exchange;
pub mod handler;
pub mod http;
pub mod inherit;
mod limits;
mod listener;
pub mod management;
mod message;
pub mod metrics;
mod observe;
mod poller;
mod prepared;
mod send;
mod server;
mod table;
mod wire;
mod workers;

pub use handler::Handler;
pub use limits::Limits;
pub use message::{Body, BodyError, ConnectionInfo, Request, RequestBody, Response};
pub use server::{Server, ServerHandle, listen, listen_with};
