//! An HTTPS client on OpenSSL: ureq's API over Sealpair's TLS context.
//!
//! [`agent`] hands out ureq's own `Agent`; [`report`] says what its errors mean; [`session`] tells which
//! TLS session a response came over.

mod agent;
mod error;
mod facts;
pub mod inspect;
mod platform;
mod resolve;
mod transport;

pub use agent::{DEFAULT_TIMEOUT, agent, agent_with, config};
pub use error::{BadResponse, ConnectError, EarlyAnswer, Phase, ResolveError, UsageError, report};
pub use facts::session;
pub use platform::{PlatformError, PlatformOptions, PlatformTls};
pub use resolve::{FixedAnswer, NameResolver};
pub use transport::{TlsConnector, TlsTransport};
pub use ureq;
