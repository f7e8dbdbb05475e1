//! A progress bar on a terminal; nothing in a pipe.

use super::Voice;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use sealpair_common::escape::escaped;
use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::LazyLock;

/// All bars of the process: whoever writes a line has to know of those that are shown.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes to standard error, above the bars if there are any. A courtesy: nobody may be reading.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    BARS.suspend(|| {
        let _ = io::stderr().write_fmt(text);
    });
}

/// Shows how far a transfer is.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// That of all transfers together.
    total: Option<ProgressBar>,
}

impl Progress {
    /// A bar of this length, or a counter where the length is unknown. It is shown only where a person
    /// looks at standard error and the content does not go to the same screen.
    pub(crate) fn new(length: Option<u64>, voice: Voice, content_on_screen: bool) -> Self {
        if !is_watched(voice) || content_on_screen {
            return Self { bar: None, total: None };
        }
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        let bar = BARS.add(bar);
        bar.set_style(style(length.is_some()));
        Self { bar: Some(bar), total: None }
    }

    /// A transfer begins, or goes on, where so much of its length is done.
    pub(crate) fn begin(&self, length: Option<u64>, done: u64) {
        if let Some(bar) = &self.bar {
            if let Some(length) = length
                && bar.length() != Some(length)
            {
                bar.set_length(length);
                if self.total.is_none() {
                    bar.set_style(style(true));
                }
            }
            if let Some(total) = &self.total {
                // Only the difference: back and forth again would be taken for speed.
                let before = bar.position();
                match done >= before {
                    true => total.inc(done - before),
                    false => total.dec(before - done),
                }
            }
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    pub(crate) fn advance(&self, bytes: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes as u64);
        }
        if let Some(total) = &self.total {
            total.inc(bytes as u64);
        }
    }
}

/// The bars of many transfers: one for each file that is being moved, and one for all together.
#[derive(Debug)]
pub(crate) struct Board(Option<ProgressBar>);

impl Board {
    /// `total` is the length of all of it, where that is known.
    pub(crate) fn new(total: Option<u64>, voice: Voice) -> Self {
        if !is_watched(voice) {
            return Self(None);
        }
        let all = BARS.add(ProgressBar::no_length());
        if let Some(total) = total {
            all.set_length(total);
        }
        all.set_style(style(total.is_some()));
        Self(Some(all))
    }

    /// A bar for a file, as long as it is moved.
    pub(crate) fn file(&self, name: &str, length: Option<u64>) -> Progress {
        let Some(all) = &self.0 else {
            return Progress { bar: None, total: None };
        };
        let bar = BARS.insert_before(all, ProgressBar::no_length());
        if let Some(length) = length {
            bar.set_length(length);
        }
        // A template in which the name stood could be one that the name makes.
        let style = ProgressStyle::with_template("{bytes:>12} {prefix}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(escaped(name));
        Progress { bar: Some(bar), total: Some(all.clone()) }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(all) = &self.0 {
            all.finish_and_clear();
            BARS.remove(all);
        }
    }
}

fn is_watched(voice: Voice) -> bool {
    io::stderr().is_terminal() && !voice.quiet && !voice.json
}

fn style(bounded: bool) -> ProgressStyle {
    let template = match bounded {
        true => "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        false => "{spinner} {bytes}, {bytes_per_sec}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            BARS.remove(bar);
        }
    }
}

/// A reader whose progress is shown.
pub(crate) struct Watched<'a, R> {
    pub(crate) reader: R,
    pub(crate) progress: &'a Progress,
    pub(crate) bytes: &'a mut u64,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buf)?;
        self.progress.advance(count);
        *self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn what_was_done_before_is_not_counted_as_speed() {
        let (bar, total) = (ProgressBar::hidden(), ProgressBar::hidden());
        let progress = Progress { bar: Some(bar), total: Some(total.clone()) };
        progress.begin(Some(1_000_000), 0);
        thread::sleep(Duration::from_millis(100));
        progress.advance(1_000_000);
        thread::sleep(Duration::from_millis(100));
        progress.begin(Some(1_000_000), 1_000_000);
        assert_eq!(total.position(), 1_000_000);
        // On a slow machine it is less.
        assert!(total.per_sec() <= 100_000_000.0, "{}", total.per_sec());
    }
}
