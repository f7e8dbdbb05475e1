//! How long a read or a write may wait.
//!
//! A single deadline is right for a handshake, a request head and a client's whole request. A transfer
//! needs something else: nothing may stand still for long, and on average it must keep a minimum rate,
//! or a peer that moves one byte a second holds a thread for days (see "slow read" and "slow post").
//! What counts is the time spent waiting for the peer, not the time that this end takes for itself: a
//! handler that computes for a minute must not be the client's fault.

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

    /// The moment at which a wait that begins now ends; `None` if never.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Forever => None,
            Self::Now => Some(now),
            Self::Until(deadline) => Some(*deadline),
            Self::Pace(pace) => now.checked_add(pace.patience()),
        }
    }

    /// Takes note of bytes that moved without a wait.
    pub(super) fn moved(&mut self, bytes: usize) {
        if let Self::Pace(pace) = self {
            pace.waited(Duration::ZERO, bytes);
        }
    }

    /// Takes note that of all bytes that moved, so many have not reached the peer yet: they have only moved
    /// into the system's buffer. What has left it meanwhile is no stall, and what is in it no rate.
    pub(super) fn still_here(&mut self, bytes: u64) {
        if let Self::Pace(pace) = self {
            pace.still_here(bytes);
        }
    }

    /// Takes note of a wait that began at `since`, and of the bytes that moved at its end.
    pub(super) fn waited(&mut self, since: Instant, bytes: usize) {
        if let Self::Pace(pace) = self {
            pace.waited(since.elapsed(), bytes);
        }
    }
}

/// A transfer's minimum: no single wait longer than `stall`, and after a `grace` at least `rate` bytes a
/// second on average over the time spent waiting.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    stall: Duration,
    grace: Duration,
    rate: u64,
    /// Time spent waiting so far.
    waited: Duration,
    /// Waiting since the last byte moved.
    stalled: Duration,
    bytes: u64,
    /// Of these, what has not reached the peer as far as is known.
    behind: u64,
    /// What had reached it when that was last asked.
    arrived: u64,
}

impl Pace {
    /// A transfer that begins now. `rate` is in bytes a second; 0 means none.
    pub fn begin(stall: Duration, grace: Duration, rate: u64) -> Self {
        Self {
            stall,
            grace,
            rate,
            waited: Duration::ZERO,
            stalled: Duration::ZERO,
            bytes: 0,
            behind: 0,
            arrived: 0,
        }
    }

    /// How much longer it may wait.
    fn patience(&self) -> Duration {
        let still = self.stall.saturating_sub(self.stalled);
        if self.rate == 0 {
            return still;
        }
        // Saturating: a count that overflows here is far ahead of any rate.
        let arrived = self.bytes.saturating_sub(self.behind);
        let due = Duration::from_millis(arrived.saturating_mul(1000) / self.rate);
        still.min(self.grace.saturating_add(due).saturating_sub(self.waited))
    }

    fn still_here(&mut self, bytes: u64) {
        self.behind = bytes;
        let arrived = self.bytes.saturating_sub(bytes);
        if arrived > self.arrived {
            self.arrived = arrived;
            self.stalled = Duration::ZERO;
        }
    }

    fn waited(&mut self, span: Duration, bytes: usize) {
        self.waited = self.waited.saturating_add(span);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.stalled = if bytes > 0 { Duration::ZERO } else { self.stalled.saturating_add(span) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_stall_ends_it_even_when_the_average_is_good() {
        let mut pace = Pace::begin(10 * S, 5 * S, 100);
        pace.waited(S, 1_000_000);
        assert_eq!(pace.patience(), 10 * S);
        pace.waited(4 * S, 0);
        assert_eq!(pace.patience(), 6 * S);
        pace.waited(20 * S, 0);
        assert_eq!(pace.patience(), Duration::ZERO);
    }

    #[test]
    fn a_trickle_ends_it_although_it_never_stalls() {
        let mut pace = Pace::begin(10 * S, 5 * S, 100);
        for _ in 0..4 {
            pace.waited(S, 1);
        }
        // Four bytes are due after 40 ms; of the grace one second is left.
        assert_eq!(pace.patience(), S + Duration::from_millis(40));
    }

    #[test]
    fn time_that_this_end_takes_does_not_count() {
        let mut patience = Patience::Pace(Pace::begin(10 * S, 5 * S, 100));
        patience.waited(Instant::now(), 1);
        let later = Instant::now() + 3600 * S;
        assert!(patience.deadline(later).unwrap() > later + 4 * S);
    }

    #[test]
    fn without_a_rate_only_a_stall_counts() {
        let mut pace = Pace::begin(10 * S, 5 * S, 0);
        pace.waited(9 * S, 1);
        assert_eq!(pace.patience(), 10 * S);
    }

    #[test]
    fn what_leaves_the_systems_buffer_is_no_stall_and_what_stays_in_it_no_rate() {
        let mut pace = Pace::begin(10 * S, 5 * S, 100);
        pace.waited(Duration::ZERO, 4000);
        pace.waited(9 * S, 0);
        assert_eq!(pace.patience(), S);
        // A thousand bytes have left: ten seconds of the rate, and no stall.
        pace.still_here(3000);
        assert_eq!(pace.patience(), 6 * S);
        pace.waited(2 * S, 0);
        pace.still_here(3000);
        assert_eq!(pace.patience(), 4 * S);
        pace.still_here(2999);
        pace.waited(4 * S, 0);
        assert!(pace.patience() < S);
    }

    #[test]
    fn huge_values_do_not_overflow() {
        let mut pace = Pace::begin(Duration::MAX, Duration::MAX, 1);
        pace.waited(Duration::MAX, usize::MAX);
        pace.waited(Duration::MAX, usize::MAX);
        let now = Instant::now();
        assert!(Patience::Pace(pace).deadline(now).is_none_or(|deadline| deadline >= now));
        let pace = Pace::begin(Duration::MAX, Duration::MAX, 0);
        assert!(Patience::Pace(pace).deadline(Instant::now()).is_none());
    }
}
