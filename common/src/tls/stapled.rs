//! Where both ends keep what was stapled to a connection's handshake: the client what it has checked, the
//! server what it has sent.

use super::ocsp::StapledStatus;
use super::verify::VerdictSlot;
use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslRef};
use std::sync::OnceLock;

/// What is known of the staple of one connection.
#[derive(Debug, Default)]
pub(super) struct Staple {
    /// Where a refusal goes; nothing where certificates are not verified, and nothing is refused.
    pub(super) verdict: Option<VerdictSlot>,
    /// Whether the leaf must be proved not to be revoked, and nothing else does it.
    pub(super) required: bool,
    pub(super) stapled: Option<StapledStatus>,
    /// From here on nobody relies on it.
    pub(super) ends: Option<Timestamp>,
}

/// Finds it where only the connection is at hand. One index for all contexts: OpenSSL never gives one back.
pub(super) fn index() -> Result<Index<Ssl, Staple>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Staple>> = OnceLock::new();
    match INDEX.get() {
        Some(index) => Ok(*index),
        None => {
            let index = Ssl::new_ex_index::<Staple>()?;
            Ok(*INDEX.get_or_init(|| index))
        }
    }
}

/// What was stapled to this connection's handshake. Nothing on a resumed session.
pub(super) fn of(ssl: &SslRef) -> Option<StapledStatus> {
    if ssl.session_reused() {
        return None;
    }
    ssl.ex_data(index().ok()?)?.stapled.clone()
}

/// When the response that was stapled to this connection's handshake has ended.
pub(super) fn ends(ssl: &SslRef) -> Option<Timestamp> {
    ssl.ex_data(index().ok()?)?.ends
}

/// Notes what a server has stapled.
pub(super) fn note(ssl: &mut SslRef, stapled: StapledStatus) {
    if let Ok(index) = index() {
        ssl.set_ex_data(index, Staple { stapled: Some(stapled), ..Staple::default() });
    }
}
