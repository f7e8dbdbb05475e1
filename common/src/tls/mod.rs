//! The OpenSSL context module: everything about TLS that both ends share.
//!
//! ```text
//! Policy ──────────┐
//! Identity ────────┼─ build ─▶ ServerTls / ClientTls ─ accept / connect ─▶ TlsStream ─▶ TlsSession
//! Trust ───────────┘                                          └─ or a Failure with its Verdict
//! ```

mod accepting;
mod classify;
mod client;
mod cmvp;
mod context;
mod demands;
mod digest;
mod end;
mod error;
pub mod examine;
mod failure;
pub mod fips;
mod fitness;
mod identity;
mod name;
mod ocsp;
mod offer;
mod patience;
mod policy;
pub mod registry;
mod resume;
mod revocation;
mod server;
mod session;
mod signed;
mod socket;
mod staple;
mod stapled;
mod stream;
pub mod survey;
mod ticket_age;
mod tickets;
mod trust;
mod verify;
mod watched;
mod wording;

pub use crate::material::Passphrase;
pub use accepting::{Accepting, Advance};
pub use classify::alert_name;
pub use client::{ClientEnd, ClientTls};
pub use cmvp::{AS_OF as CMVP_AS_OF, Cmvp, REGISTER as CMVP_REGISTER, State as CmvpState};
pub use context::TlsBuilder;
pub use end::Side;
pub use error::ConfigError;
pub use failure::{Blame, Failure, Reason};
pub use identity::{Identity, passphrase_file, read_file};
pub use name::ServerName;
pub use ocsp::{CertStatus, StapledStatus};
pub use patience::{Pace, Patience};
pub use policy::{Algorithm, Availability, Keys, Parameters, Policy, Protocol, UnknownPolicy};
pub use server::{ClientAuth, ServerEnd, ServerTls};
pub use session::TlsSession;
pub use socket::Socket;
pub use stream::{Arrived, TlsStream, linger};
pub use tickets::TicketKeys;
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
