//! The program's log: written to standard error by a thread of its own.
//!
//! Whoever serves must not wait for whoever reads the log: a pipe that nobody empties would stop everybody
//! who has something to say, and anybody can make the server say something. So lines are queued, and what
//! does not fit is lost, counted, and the number told when there is room again.

use log::LevelFilter;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Lines that may wait to be written.
const QUEUE: usize = 4096;

/// How long the end waits for lines that are queued.
const LAST_LINES: Duration = Duration::from_millis(200);

static QUEUED: OnceLock<Queued> = OnceLock::new();

/// What is in the queue.
#[derive(Clone, Debug, Default)]
struct Queued {
    lines: Arc<(Mutex<usize>, Condvar)>,
    lost: Arc<AtomicU64>,
}

/// Begins to log, as `RUST_LOG` says. Without a thread for it, whoever logs writes.
pub(crate) fn begin() {
    let mut builder = env_logger::Builder::new();
    builder
        // tiny_http reports the orderly end of its listener as an error; what matters of it, our own code
        // says. RUST_LOG may name it.
        .filter_module("tiny_http", LevelFilter::Off)
        // As without that line, where RUST_LOG is empty.
        .filter_level(LevelFilter::Error)
        .parse_env(env_logger::Env::default().default_filter_or("info"))
        .format_target(false);
    let queued = Queued::default();
    let (sender, receiver) = sync_channel(QUEUE);
    let writer = queued.clone();
    let thread = std::thread::Builder::new().name("log".to_owned());
    if thread.spawn(move || write_lines(&receiver, &writer, &mut io::stderr())).is_ok() {
        // The choice that env_logger makes for standard error itself.
        if std::env::var_os("RUST_LOG_STYLE").is_none() {
            builder.write_style(match io::stderr().is_terminal() {
                true => env_logger::WriteStyle::Always,
                false => env_logger::WriteStyle::Never,
            });
        }
        let queue = Queue { sender, queued: queued.clone() };
        builder.target(env_logger::Target::Pipe(Box::new(queue)));
        let _ = QUEUED.set(queued);
    }
    builder.init();
}

/// Waits, for a moment, until everything that was logged is written.
pub(crate) fn finish() {
    let Some(queued) = QUEUED.get() else { return };
    let (lines, written) = &*queued.lines;
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    drop(written.wait_timeout_while(lines, LAST_LINES, |lines| *lines > 0));
}

/// Where env_logger writes; it does so a whole line at a time.
struct Queue {
    sender: SyncSender<Vec<u8>>,
    queued: Queued,
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        *self.queued.lock() += 1;
        if self.sender.try_send(line.to_vec()).is_err() {
            *self.queued.lock() -= 1;
            self.queued.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queued {
    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.lines.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_lines(lines: &Receiver<Vec<u8>>, queued: &Queued, out: &mut impl Write) {
    for line in lines {
        // Nobody is left to tell when this fails.
        let _ = out.write_all(&line);
        let lost = queued.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} lines of the log were lost: they were not read in time");
        }
        *queued.lock() -= 1;
        queued.lines.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_nobody_takes_are_lost_and_counted_and_keep_nobody_waiting() {
        let queued = Queued::default();
        let (sender, receiver) = sync_channel(2);
        let mut queue = Queue { sender, queued: queued.clone() };
        for line in ["a\n", "b\n", "c\n", "d\n"] {
            queue.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(*queued.lock(), 2);
        drop(queue);
        let mut out = Vec::new();
        write_lines(&receiver, &queued, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "a\n2 lines of the log were lost: they were not read in time\nb\n");
        assert_eq!(*queued.lock(), 0);
    }
}
