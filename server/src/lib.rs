//! A blocking HTTPS server on OpenSSL, with a thread for each request that has to wait.
//!
//! ```text
//! Server ─ listener ─ accept ─ connection ─┬─ http (framing, no sockets)
//!                                          ├─ handler (files, uploads, yours)
//!                                          └─ sealpair_common::tls
//! ```
//!
//! [`Server::bind`] and [`Server::serve`] are all that a program needs; a [`Handler`] is any function
//! from a [`Request`] to a [`Response`], or a type of one's own. What can be answered without waiting is
//! best answered in [`Handler::answer_at_once`], which saves a change of threads. A panic in either costs
//! that request (500), not the server. Status codes and header fields are those of the crate `http`, which
//! a program needs as a dependency of its own (`http = "1"`).
//!
//! ```
//! use http::StatusCode;
//! use sealpair_server::{Handler, Request, Response};
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! #[derive(Default)]
//! struct Counter {
//!     answered: AtomicU64,
//! }
//!
//! impl Handler for Counter {
//!     // On a thread of the request's own: this may block, and read the content.
//!     fn handle(&self, request: &mut Request<'_>) -> Response {
//!         match request.path() {
//!             "/slow" => Response::text("done\n"),
//!             _ => Response::error(StatusCode::NOT_FOUND, "there are /count and /slow"),
//!         }
//!     }
//!
//!     // On one of the few threads that wait for all connections: nothing here may take long.
//!     fn answer_at_once(&self, request: &Request<'_>) -> Option<Response> {
//!         (request.path() == "/count").then(|| {
//!             Response::text(format!("{}\n", self.answered.fetch_add(1, Ordering::Relaxed)))
//!         })
//!     }
//! }
//! # fn serves(_: impl Handler) {}
//! # serves(Counter::default());
//! ```

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
mod open_file;
mod poller;
mod prepared;
mod roster;
mod send;
mod server;
mod table;
mod wire;
mod workers;

pub use handler::Handler;
pub use limits::Limits;
pub use message::{Body, BodyError, ConnectionInfo, FilePart, Request, RequestBody, Response};
pub use open_file::OpenFile;
pub use server::{Server, ServerHandle, listen, listen_with};
