//! How long things took, in buckets with fixed bounds.

use super::Counter;
use std::time::Duration;

/// Upper bounds of the buckets for TLS handshakes, in microseconds: from a resumed session in the same
/// rack to the default deadline of ten seconds.
pub const HANDSHAKE_BUCKETS: [u64; 13] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// Upper bounds of the buckets for requests, in microseconds: from a small file in the page cache to a
/// transfer of an hour.
pub const REQUEST_BUCKETS: [u64; 16] = [
    100,
    500,
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    30_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
];

/// Counts of times by upper bound.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// In microseconds, ascending.
    bounds: &'static [u64; N],
    buckets: [Counter; N],
    beyond: Counter,
    /// In nanoseconds: enough for five centuries in all.
    sum: Counter,
}

/// What a histogram held at one moment.
pub(super) struct Snapshot<const N: usize> {
    /// Upper bound in seconds, and how many times were not longer.
    pub(super) buckets: [(f64, u64); N],
    pub(super) count: u64,
    /// In seconds.
    pub(super) sum: f64,
}

impl<const N: usize> Histogram<N> {
    pub(super) fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            buckets: std::array::from_fn(|_| Counter::default()),
            beyond: Counter::default(),
            sum: Counter::default(),
        }
    }

    /// Counts one time.
    pub(super) fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Most times are short, so the first bounds decide.
        let at = self.bounds.iter().position(|bound| nanos <= bound * 1_000);
        at.map_or(&self.beyond, |at| &self.buckets[at]).add(1);
        self.sum.add(nanos);
    }

    /// Cumulative, as Prometheus wants it. The count is the sum of what the buckets held, so that the
    /// two always agree.
    pub(super) fn snapshot(&self) -> Snapshot<N> {
        let mut count = 0;
        let buckets = std::array::from_fn(|at| {
            count += self.buckets[at].value();
            (self.bounds[at] as f64 / 1e6, count)
        });
        count += self.beyond.value();
        Snapshot { buckets, count, sum: self.sum.value() as f64 / 1e9 }
    }
}
