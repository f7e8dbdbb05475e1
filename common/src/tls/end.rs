//! Which end this is, and what it knows when something fails.

use super::demands::Demands;
use super::verify::{Verdict, VerdictSlot};
use openssl::ssl::{SslRef, SslVersion};

/// The end of a connection that this program is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// This end connected.
    Client,
    /// This end accepted.
    Server,
}

/// Everything that is known at the moment of a failure.
pub(super) struct Situation<'a> {
    pub(super) side: Side,
    pub(super) peer: &'a str,
    pub(super) ssl: &'a SslRef,
    pub(super) first_bytes: &'a [u8],
    pub(super) verdict: Option<&'a VerdictSlot>,
    pub(super) demands: &'a Demands,
}

impl Situation<'_> {
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.and_then(VerdictSlot::get)
    }

    /// Whether the server of a TLS 1.2 handshake asked this client for a certificate and got none.
    pub(super) fn was_asked_in_vain(&self) -> bool {
        self.side == Side::Client
            && self.ssl.version2() != Some(SslVersion::TLS1_3)
            && self.ssl.certificate().is_none()
            && crate::ffi::client_certificate_was_requested(self.ssl)
    }
}
