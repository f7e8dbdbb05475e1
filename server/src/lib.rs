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

mod connection;
mod exchange;
pub mod handler;
pub mod http;
mod limits;
mod listener;
mod message;
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
pub use server::{Server, ServerHandle, listen};
