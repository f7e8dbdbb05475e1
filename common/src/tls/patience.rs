//! How long a read or a write may wait.
//!
//! A single deadline is right for a handshake, a request head and a client's whole request. A transfer
//! needs something else: nothing may stand still for long, and on average it must keep a minimum rate,
//! or a peer that moves one byte a second holds a thread for days (see "slow read" and "slow post").

use std::time::{Duration, Instant};

/// How long one direction of a stream may wait.
#[derive(Clone, Copy, Debug, Default)]
pub enum Patience {
    /// As long as it takes.
    #[default]
    Forever,
    /// Not at all: only what can be done at once.
    Now,
    /// Up to this moment, however many system calls it takes.
    Until(Instant),
    /// As long as bytes keep moving.
    Pace(Pace),
}

impl Patience {
    /// From now on for this long.
    pub fn for_next(span: Duration) -> Self {
        // A span that overflows the clock is one that nobody will wait to see the end of.
        Instant::now().checked_add(span).map_or(Self::Forever, Self::Until)
    }

    /// The moment at which waiting ends; `None` if never.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Forever => None,
            Self::Now => Some(now),
            Self::Until(deadline) => Some(*deadline),
            Self::Pace(pace) => Some(pace.deadline()),
        }
    }

    /// Takes note of bytes that moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        if let Self::Pace(pace) = self {
            pace.moved(bytes, Instant::now());
        }
    }
}

/// A transfer's minimum: never still for longer than `stall`, and after a `grace` at least `rate`
/// bytes a second on average since it began.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    stall: Duration,
    grace: Duration,
    rate: u64,
    began: Instant,
    last: Instant,
    bytes: u64,
}

impl Pace {
    /// A transfer that begins now. `rate` is in bytes a second; 0 means none.
    pub fn begin(stall: Duration, grace: Duration, rate: u64) -> Self {
        let now = Instant::now();
        Self { stall, grace, rate, began: now, last: now, bytes: 0 }
    }

    fn deadline(&self) -> Instant {
        let still = self.last + self.stall;
        if self.rate == 0 {
            return still;
        }
        // Saturating: a count that overflows here is far ahead of any rate.
        let due = Duration::from_millis(self.bytes.saturating_mul(1000) / self.rate);
        self.began.checked_add(self.grace + due).map_or(still, |slow| still.min(slow))
    }

    fn moved(&mut self, bytes: usize, now: Instant) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_stall_ends_it_even_when_the_average_is_good() {
        let mut pace = Pace::begin(10 * S, 5 * S, 100);
        pace.moved(1_000_000, pace.began + S);
        assert_eq!(pace.deadline(), pace.began + 11 * S);
    }

    #[test]
    fn a_trickle_ends_it_although_it_never_stalls() {
        let mut pace = Pace::begin(10 * S, 5 * S, 100);
        for second in 1..=8 {
            pace.moved(1, pace.began + second * S);
        }
        // Eight bytes are due after 80 ms, so the grace is all that is left.
        assert_eq!(pace.deadline(), pace.began + 5 * S + Duration::from_millis(80));
    }

    #[test]
    fn without_a_rate_only_a_stall_counts() {
        let mut pace = Pace::begin(10 * S, 5 * S, 0);
        pace.moved(1, pace.began + 9 * S);
        assert_eq!(pace.deadline(), pace.began + 19 * S);
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        let mut pace = Pace::begin(10 * S, 5 * S, 1);
        pace.moved(usize::MAX, pace.began);
        assert_eq!(pace.deadline(), pace.began + 10 * S);
    }
}
