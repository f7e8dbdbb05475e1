//! Trying again: which failures pass by themselves, how long to wait, and how often.
//!
//! The wait grows exponentially with full jitter (Brooker, "Exponential Backoff And Jitter", AWS
//! Architecture Blog, 2015): anywhere from nothing to 1 s after the first failure, to 2 s after the
//! second, and so on. Clients that failed at the same moment then do not come back at the same moment.
//! What the server asks for in `Retry-After` (RFC 9110 section 10.2.3) is waited for in any case.
//!
//! ```text
//! loop {
//!     match attempt() {
//!         Ok(done) => return Ok(done),
//!         Err(report) => retries.again(report)?, // waits, or hands a final failure back
//!     }
//! }
//! ```

use super::Voice;
use super::progress::say;
use sealpair_common::escape::Escaped;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

/// The longest wait after the first failure; it doubles with each that follows. curl's first wait, too.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The wait does not grow beyond this: long enough for a server to restart, short enough to notice.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A server that asks for more than this gets no second attempt: a script that seems to hang for a day
/// helps nobody.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// How much of a transfer is worth an attempt, in bytes: more than what a connection costs by far.
const WORTH: u64 = 1 << 20;

/// Statuses that say "not now" (curl's list, without 500, which says "broken").
const TRANSIENT: [u64; 5] = [408, 429, 502, 503, 504];

/// The attempts at one transfer.
#[derive(Clone, Debug)]
pub(crate) struct Retries {
    allowed: u32,
    used: u32,
    /// Attempts that count against those that are allowed.
    counted: u32,
    /// Failures since something last went forward.
    row: u32,
    /// Where the transfer was when its attempts were last given back.
    mark: u64,
    quiet: bool,
    /// No attempt begins after this.
    deadline: Option<Instant>,
    pause: fn(Duration),
    now: fn() -> SystemTime,
    /// From 0 up to 1.
    random: fn() -> f64,
}

impl Retries {
    /// At most `allowed` attempts after the first. Each wait is said on standard error unless the voice
    /// is quiet.
    pub(crate) fn new(allowed: u32, voice: Voice) -> Self {
        Self {
            allowed,
            used: 0,
            counted: 0,
            row: 0,
            mark: 0,
            quiet: voice.quiet,
            deadline: None,
            pause: std::thread::sleep,
            now: SystemTime::now,
            random,
        }
    }

    /// Begins no attempt after this (--max-time).
    #[must_use]
    pub(crate) fn until(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }

    /// Waits until the time for another attempt at an idempotent request (RFC 9110 section 9.2.2).
    ///
    /// # Errors
    ///
    /// The failure itself, when it is none that passes, or when there were attempts enough.
    pub(crate) fn again(&mut self, failure: Report) -> Result<(), Report> {
        match is_transient(&failure) {
            true => self.wait(failure),
            false => Err(self.give_up(failure)),
        }
    }

    /// Something went forward: the next wait is a short one again. The number of attempts that are left stays the
    /// same, or a server that sends a byte each time would keep the client for ever: see [`reached`](Self::reached).
    pub(crate) fn went_forward(&mut self) {
        self.row = 0;
    }

    /// The transfer has come so far, in bytes of the whole. Where that is farther than ever by what is worth an
    /// attempt, all attempts are there again: over a line that breaks every minute, a large file takes many. A
    /// transfer that begins again has to pass where it was first, so that it cannot go on for ever.
    pub(crate) fn reached(&mut self, position: u64) {
        self.went_forward();
        if position >= self.mark.saturating_add(WORTH) {
            self.mark = position;
            self.counted = 0;
        }
    }

    /// How often was waited.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// Counts what others have used, each of whom had as many.
    pub(crate) fn add_used(&mut self, used: u32) {
        self.used = self.used.saturating_add(used);
    }

    fn wait(&mut self, failure: Report) -> Result<(), Report> {
        if self.counted >= self.allowed {
            return Err(self.give_up(failure));
        }
        let asked = match failure.detail_of("retry_after").and_then(|value| value.as_str()) {
            None => None,
            Some(text) => retry_after(text, (self.now)()),
        };
        if let Some(asked) = asked.filter(|asked| *asked > LONGEST_ASKED) {
            let remedy = format!(
                "the server asks to wait for {} s, which is too long to wait here; try again later",
                asked.as_secs()
            );
            return Err(self.give_up(failure).remedy(remedy));
        }
        let wait = wait(self.row, asked, (self.random)());
        let begins = Instant::now().checked_add(wait);
        if self.deadline.is_some_and(|deadline| begins.is_none_or(|begins| begins >= deadline)) {
            return Err(self.give_up(failure).remedy("there is no time for another attempt"));
        }
        self.used = self.used.saturating_add(1);
        self.counted += 1;
        self.row = self.row.saturating_add(1);
        if !self.quiet {
            // Up to the first line's end: what failed.
            let text = failure.to_string();
            let what = text.lines().next().unwrap_or_default();
            let seconds = wait.as_secs_f64();
            let (used, allowed) = (self.counted, self.allowed);
            say(format_args!(
                "sealpair: {}; trying again in {seconds:.1} s ({used} of {allowed})\n",
                Escaped(what)
            ));
        }
        (self.pause)(wait);
        Ok(())
    }

    fn give_up(&self, failure: Report) -> Report {
        match self.used {
            0 => failure,
            used => failure.detail("retries", used),
        }
    }
}

/// Whether a failure may have passed by the next attempt.
pub(crate) fn is_transient(failure: &Report) -> bool {
    match failure.exit() {
        // Whoever made the report knows better.
        _ if failure.detail_of("final").is_some() => false,
        // Certificates, policies, local files, digests: the next attempt would end the same.
        Exit::Resolve | Exit::Connect | Exit::Deadline | Exit::Truncated => true,
        Exit::HttpClientError | Exit::HttpServerError => {
            status(failure).is_some_and(|status| TRANSIENT.contains(&status))
        }
        _ => false,
    }
}

fn status(failure: &Report) -> Option<u64> {
    failure.detail_of("status")?.as_u64()
}

/// The wait after `row` failures before this one. Where the server has asked for a time, the jitter
/// comes on top: many clients were told the same.
fn wait(row: u32, asked: Option<Duration>, random: f64) -> Duration {
    match asked {
        Some(asked) => asked + FIRST_WAIT.mul_f64(random),
        None => {
            FIRST_WAIT.saturating_mul(2_u32.saturating_pow(row)).min(LONGEST_WAIT).mul_f64(random)
        }
    }
}

/// How long `Retry-After` asks to wait: seconds, or until a date. What is neither asks for nothing.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number beyond 64 bits is as good as the largest.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A number from 0 up to 1. It spreads clients in time; nothing secret hangs on it.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    // The 53 bits that an f64 holds exactly.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    thread_local! {
        static WAITS: RefCell<Vec<Duration>> = const { RefCell::new(Vec::new()) };
    }

    /// Retries that note what they would wait, with all of the jitter.
    fn retries(allowed: u32) -> Retries {
        WAITS.take();
        let voice = Voice { json: false, quiet: true, verbose: false };
        Retries {
            pause: |wait| WAITS.with_borrow_mut(|waits| waits.push(wait)),
            now: || SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
            random: || 1.0,
            ..Retries::new(allowed, voice)
        }
    }

    fn waits() -> Vec<u64> {
        WAITS.take().iter().map(Duration::as_secs).collect()
    }

    fn lost() -> Report {
        Report::new(Exit::Connect, "connection-lost", "lost")
    }

    fn answered(status: u16) -> Report {
        let exit = if status < 500 { Exit::HttpClientError } else { Exit::HttpServerError };
        Report::new(exit, "status", "answered").detail("status", status)
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_the_attempts_end() {
        let mut retries = retries(8);
        for _ in 0..8 {
            retries.again(lost()).unwrap();
        }
        let last = retries.again(lost()).unwrap_err();
        assert_eq!(last.detail_of("retries").unwrap(), 8);
        assert_eq!(waits(), [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn what_went_forward_shortens_the_wait_but_gives_no_attempts_back() {
        let mut retries = retries(3);
        retries.again(lost()).unwrap();
        retries.again(lost()).unwrap();
        retries.went_forward();
        retries.again(lost()).unwrap();
        retries.went_forward();
        retries.again(lost()).unwrap_err();
        assert_eq!(waits(), [1, 2, 1]);
    }

    #[test]
    fn attempts_that_bring_the_transfer_farther_than_ever_do_not_count() {
        let mut retries = retries(2);
        for attempt in 1..=10 {
            retries.reached(attempt * WORTH);
            retries.again(lost()).unwrap();
        }
        assert_eq!(retries.used(), 10);
        // Begun again: where it was before is nothing new.
        retries.again(lost()).unwrap();
        retries.reached(10 * WORTH);
        retries.again(lost()).unwrap_err();
        // A little at a time is not worth an attempt.
        retries.reached(10 * WORTH + 1);
        retries.again(lost()).unwrap_err();
    }

    #[test]
    fn jitter_is_anywhere_below_the_bound() {
        assert_eq!(wait(2, None, 0.0), Duration::ZERO);
        assert_eq!(wait(2, None, 0.25), Duration::from_secs(1));
        assert_eq!(wait(u32::MAX, None, 1.0), LONGEST_WAIT);
        for _ in 0..100 {
            assert!((0.0..1.0).contains(&random()));
        }
        assert_ne!(random().to_bits(), random().to_bits());
    }

    #[test]
    fn what_passes_is_tried_again_and_nothing_else() {
        for transient in [408, 429, 502, 503, 504] {
            assert!(is_transient(&answered(transient)), "{transient}");
        }
        for lasting in [400, 401, 403, 404, 410, 412, 416, 451, 500, 501, 505, 507] {
            assert!(!is_transient(&answered(lasting)), "{lasting}");
        }
        let of = |exit| is_transient(&Report::new(exit, "any", "any"));
        let passing: Vec<Exit> = Exit::ALL.into_iter().filter(|exit| of(*exit)).collect();
        assert_eq!(passing, [Exit::Resolve, Exit::Connect, Exit::Deadline, Exit::Truncated]);
    }

    #[test]
    fn retry_after_is_heeded_in_both_forms() {
        let mut retries = retries(9);
        for text in ["7", "Sun, 06 Nov 1994 08:49:47 GMT", "Sun, 06 Nov 1994 08:00:00 GMT", "soon"]
        {
            retries.again(answered(503).detail("retry_after", text)).unwrap();
        }
        // The third is in the past: now. The fourth is nonsense: the fourth failure in a row.
        assert_eq!(waits(), [7 + 1, 10 + 1, 1, 8]);
    }

    #[test]
    fn no_attempt_begins_after_the_deadline() {
        let now = Instant::now();
        retries(1).until(Some(now)).again(lost()).unwrap_err();
        retries(1).until(Some(now + Duration::from_secs(3600))).again(lost()).unwrap();
        assert_eq!(waits(), [1]);
    }

    #[test]
    fn a_server_that_asks_for_years_gets_no_second_attempt() {
        let mut retries = retries(9);
        for text in ["1000000000", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            let failure = answered(503).detail("retry_after", text);
            let failure = retries.again(failure).unwrap_err();
            assert!(failure.to_string().contains("too long"), "{failure}");
        }
        assert!(waits().is_empty());
    }
}
