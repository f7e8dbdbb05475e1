//! The OpenSSL context module: everything about TLS that both ends share.
//!
//! ```text
//! Policy ──────────┐
//! Identity ────────┼─ build ─▶ ServerTls / ClientTls ─ accept / connect ─▶ TlsStream ─▶ TlsSession
//! Trust ───────────┘                                          └─ or a Failure with its Verdict
//! ```

mod accepting;
mod classify;
mod context;
mod end;
mod error;
pub mod examine;
mod failure;
pub mod fips;
mod identity;
mod name;
mod patience;
mod policy;
mod resume;
mod session;
mod socket;
mod stream;
pub mod survey;
mod trust;
mod verify;
mod watched;

pub use crate::material::Passphrase;
pub use accepting::{Accepting, Advance};
pub use classify::alert_name;
pub use context::{ClientAuth, ClientEnd, ClientTls, ServerEnd, ServerTls, TlsBuilder};
pub use end::Side;
pub use error::ConfigError;
pub use failure::{Blame, Failure, Reason};
pub use identity::{Identity, passphrase_file, read_file};
pub use name::ServerName;
pub use patience::{Pace, Patience};
pub use policy::{Availability, Group, Parameters, Policy, Protocol, UnknownPolicy};
pub use session::TlsSession;
pub use socket::Socket;
pub use stream::{Arrived, TlsStream, linger};
pub use trust::{Pin, Trust};
pub use verify::Verdict;

/// The OpenSSL that is linked, as it names itself: `OpenSSL 3.0.22 …`.
pub fn openssl_version() -> &'static str {
    openssl::version::version()
}

/// A program's `--version` line: its version, and the OpenSSL that it runs on.
pub fn version_line(version: &'static str) -> &'static str {
    static LINE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    LINE.get_or_init(|| format!("{version} ({})", openssl_version()))
}
