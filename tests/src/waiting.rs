//! Waiting until something is so. No test sleeps for a time that somebody guessed.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails: generous, because a machine that runs tests is
/// often busy. Nothing waits this long unless it is broken.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until the condition holds.
///
/// # Panics
///
/// When it does not within [`DEADLINE`]; `what` says what was waited for.
#[track_caller]
pub fn settles(what: &str, mut condition: impl FnMut() -> bool) {
    settles_at(what, &mut condition, |holds| *holds);
}

/// Waits until a measured value is accepted, and returns it.
///
/// # Panics
///
/// When it is not within [`DEADLINE`], with the last value.
#[track_caller]
pub fn settles_at<T: Debug>(
    what: &str,
    mut measure: impl FnMut() -> T,
    accept: impl Fn(&T) -> bool,
) -> T {
    let until = Instant::now() + DEADLINE;
    let mut pause = Duration::from_millis(1);
    loop {
        let value = measure();
        if accept(&value) {
            return value;
        }
        assert!(Instant::now() < until, "not in time: {what}; it is {value:?}");
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
