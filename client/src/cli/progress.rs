//! A progress bar on a terminal; nothing in a pipe.

use super::Voice;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Read};

/// Shows how far a transfer is.
#[derive(Debug)]
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar of this length, or a counter where the length is unknown. It is shown only where a person
    /// looks at standard error and the content does not go to the same screen.
    pub(crate) fn new(length: Option<u64>, voice: Voice, content_on_screen: bool) -> Self {
        let watched = io::stderr().is_terminal() && !voice.quiet && !voice.json;
        if !watched || content_on_screen {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        bar.set_style(style(length.is_some()));
        Self(Some(bar))
    }

    /// A transfer begins, or goes on, where so much of its length is done.
    pub(crate) fn begin(&self, length: Option<u64>, done: u64) {
        if let Some(bar) = &self.0 {
            if let Some(length) = length
                && bar.length() != Some(length)
            {
                bar.set_length(length);
                bar.set_style(style(true));
            }
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    pub(crate) fn advance(&self, bytes: usize) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes as u64);
        }
    }
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
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
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
