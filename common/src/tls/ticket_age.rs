//! How long after a full handshake its session may be resumed, in whatever number of steps.
//!
//! Each resumption of a TLS 1.3 session hands out a ticket that counts for the whole time again, and none
//! looks at a certificate. Without a limit, a client that comes back in time is never asked again, not even
//! when its certificate has ended; RFC 8446 section 4.6.1 recommends one. So a ticket carries when its
//! session began, and that is looked at, and the client's certificate in the session, when it comes back.
//! A client keeps to the same limit with the sessions that it offers (`resume.rs`).

use crate::ffi::tickets::{TicketJudge, TicketMark};
use openssl::asn1::Asn1Time;
use openssl::x509::X509Ref;
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest time from a full handshake to a resumption in seconds: a day, the upper limit that RFC 5246
/// appendix F.1.4 suggests for the lifetime of a session.
const LONGEST: u64 = 24 * 60 * 60;

/// How far the clocks of servers that share keys may be apart, in seconds. A ticket from beyond that was not
/// sealed by one of them in its right mind.
const SKEW: u64 = 5 * 60;

/// Judges tickets by their age.
pub(super) struct Age;

impl TicketJudge for Age {
    fn mark() -> TicketMark {
        now().to_be_bytes()
    }

    fn counts(mark: TicketMark, peer: Option<&X509Ref>) -> bool {
        is_recent(u64::from_be_bytes(mark), now()) && peer.is_none_or(is_current)
    }
}

/// Unix seconds.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Whether a session that began then may still be resumed, both in Unix seconds.
pub(super) fn is_recent(began: u64, now: u64) -> bool {
    now.saturating_sub(began) <= LONGEST && began.saturating_sub(now) <= SKEW
}

fn is_current(certificate: &X509Ref) -> bool {
    // Where the time cannot be had, a full handshake looks at everything.
    Asn1Time::days_from_now(0).is_ok_and(|now| now < certificate.not_after())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_resumed_for_a_day_and_not_longer() {
        let began = 1_800_000_000;
        for now in [began, began + LONGEST, began - SKEW] {
            assert!(is_recent(began, now), "{now}");
        }
        for now in [began + LONGEST + 1, began - SKEW - 1, 0, u64::MAX] {
            assert!(!is_recent(began, now), "{now}");
        }
        assert!(!is_recent(u64::MAX, began));
        assert!(Age::counts(Age::mark(), None));
        assert!(!Age::counts([0; 8], None));
        assert!(!Age::counts([0xff; 8], None));
    }
}
