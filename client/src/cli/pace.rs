//! `--limit-rate`: a token bucket that all connections of a command draw from.
//!
//! A reader that has taken more than its share sleeps before it takes more; the other end then finds
//! TCP's window closed. In the long run the rate is exact; a burst of [`BURST`] may pass at once.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was not used in this time may be used later.
const BURST: Duration = Duration::from_millis(100);

/// A bound on how fast content moves. It may be shared by threads; the bound is for all of them together.
#[derive(Debug, Default)]
pub(crate) struct Pace(Option<Limit>);

#[derive(Debug)]
struct Limit {
    /// Bytes in a second, at least one.
    rate: u64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// When everything that was taken so far will have been paid for.
    paid: Option<Instant>,
}

impl Pace {
    /// At most so many bytes a second.
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self(rate.map(|rate| Limit { rate: rate.max(1), bucket: Mutex::default() }))
    }

    /// How much to move at once, of what could be: little enough that the pauses are short.
    pub(crate) fn portion(&self, most: usize) -> usize {
        match &self.0 {
            None => most,
            Some(limit) => {
                let eighth = usize::try_from(limit.rate / 8).unwrap_or(usize::MAX);
                most.min(eighth.max(1))
            }
        }
    }

    /// Counts what was moved, and sleeps for as long as that should have taken.
    pub(crate) fn moved(&self, bytes: usize) {
        let Some(limit) = &self.0 else { return };
        let mut bucket = limit.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = bucket.take(Instant::now(), bytes as u64, limit.rate);
        drop(bucket);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    /// A reader that keeps to it.
    pub(crate) fn read<R>(&self, reader: R) -> Paced<'_, R> {
        Paced { reader, pace: self }
    }
}

impl Bucket {
    /// Takes so many bytes, and says how long to wait then.
    fn take(&mut self, now: Instant, bytes: u64, rate: u64) -> Duration {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let from = self.paid.map_or(now, |paid| paid.max(earliest));
        // What f64 rounds away is less than the clock's own error.
        let cost = Duration::try_from_secs_f64(bytes as f64 / rate as f64).unwrap_or(Duration::MAX);
        let paid = from.checked_add(cost).unwrap_or(from);
        self.paid = Some(paid);
        paid.saturating_duration_since(now)
    }
}

/// A reader at a [`Pace`].
#[derive(Debug)]
pub(crate) struct Paced<'a, R> {
    reader: R,
    pace: &'a Pace,
}

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let portion = self.pace.portion(buf.len());
        let count = self.reader.read(&mut buf[..portion])?;
        self.pace.moved(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_reader_that_is_too_fast_waits_for_what_it_took() {
        let mut bucket = Bucket::default();
        let now = Instant::now();
        assert_eq!(bucket.take(now, 1000, 1000), SECOND);
        // Another thread, at the same moment: it pays behind the first.
        assert_eq!(bucket.take(now, 500, 1000), SECOND * 3 / 2);
        assert_eq!(bucket.take(now + SECOND * 3 / 2, 250, 1000), SECOND / 4);
    }

    #[test]
    fn time_that_was_not_used_is_kept_for_a_moment_only() {
        let mut bucket = Bucket::default();
        let now = Instant::now();
        bucket.take(now, 1000, 1000);
        assert_eq!(bucket.take(now + SECOND * 60, 1000, 1000), SECOND - BURST);
    }

    #[test]
    fn portions_are_small_where_the_rate_is() {
        assert_eq!(Pace::new(None).portion(65536), 65536);
        assert_eq!(Pace::new(Some(8 << 20)).portion(65536), 65536);
        assert_eq!(Pace::new(Some(8000)).portion(65536), 1000);
        assert_eq!(Pace::new(Some(1)).portion(65536), 1);
        let pace = Pace::new(Some(u64::MAX));
        let mut reader = pace.read(&b"abc"[..]);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }
}
