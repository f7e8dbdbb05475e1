//! The access log: a line for each request, in a format that other programs read.
//!
//! ```text
//! request ─ format ─▶ queue (bytes, bounded) ─▶ writer thread ─ large writes ─▶ file, pipe, standard output
//! ```
//!
//! A request never waits for a disk or for whoever reads a pipe. When nobody takes the lines, the queue
//! fills up and further lines are dropped and counted; when writing works again, the program's own log
//! says how many. A write that fails (a full disk, a pipe without a reader) is tried again every second
//! with the same bytes, so a short trouble loses nothing.
//!
//! The file is opened for appending, and opened anew when it is asked to: for log rotation by rename.

mod line;
mod output;

pub use line::{Format, Record};
pub use output::Destination;

use crate::metrics::Metrics;
use output::Output;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may wait for the writer: some thousand lines.
const QUEUE: usize = 1 << 20;

/// This much is written without waiting for more.
const LARGE: usize = 64 << 10;

/// A line that follows another closely waits this long for more, so that a busy server makes few large
/// writes instead of many small ones.
const GATHER: Duration = Duration::from_millis(20);

/// How long after a failed write the next is tried.
const RETRY: Duration = Duration::from_secs(1);

/// A log of requests. Cheap to clone; all clones are one log.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    format: Format,
    limit: usize,
    metrics: Arc<Metrics>,
    queue: Mutex<Queue>,
    /// For the writer: there is something to do.
    wake: Condvar,
    /// For whoever closes the log: the writer has ended.
    ended: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Lines that were dropped and not told of yet.
    dropped: u64,
    reopen: bool,
    closing: bool,
    ended: bool,
    /// The writer has given up with lines in its hands.
    lost: bool,
}

impl AccessLog {
    /// Opens the destination and starts the writer.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or the thread not be started.
    pub fn open(
        destination: Destination,
        format: Format,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        Self::with_limit(destination, format, metrics, QUEUE)
    }

    fn with_limit(
        destination: Destination,
        format: Format,
        metrics: Arc<Metrics>,
        limit: usize,
    ) -> io::Result<Self> {
        let output = Output::open(destination)?;
        let queue = Mutex::default();
        let (wake, ended) = Default::default();
        let shared = Arc::new(Shared { format, limit, metrics, queue, wake, ended });
        let writer = Writer { shared: Arc::clone(&shared), output, failing: false };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
        Ok(Self(shared))
    }

    /// Puts a request's line into the queue, or drops it when the queue is full.
    pub fn record(&self, record: &Record<'_>) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            record.write(self.0.format, line);
            self.0.push(line);
            // A head may be long; a thread that lives long must not keep its longest line.
            line.shrink_to(1 << 10);
        });
    }

    /// Opens the file anew, after it has been renamed. Done by the writer: this does not wait.
    pub fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.wake.notify_one();
    }

    /// Writes what is in the queue and ends the log; gives up after `span`. Whether all was written.
    pub fn close(&self, span: Duration) -> bool {
        let mut queue = self.0.lock();
        queue.closing = true;
        self.0.wake.notify_one();
        queue = self
            .0
            .ended
            .wait_timeout_while(queue, span, |queue| !queue.ended)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        queue.ended && !queue.lost && queue.lines.is_empty()
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("format", &self.0.format).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.lock();
        if queue.ended || queue.lines.len() + line.len() > self.limit {
            queue.dropped += 1;
            drop(queue);
            self.metrics.access_log_dropped.add(1);
            return;
        }
        let before = queue.lines.len();
        queue.lines.extend_from_slice(line);
        let after = queue.lines.len();
        drop(queue);
        self.metrics.access_log_lines.add(1);
        // The writer waits for a first line, or gathers until there is much.
        if before == 0 || (before < LARGE && after >= LARGE) {
            self.wake.notify_one();
        }
    }

    /// Waits as long as the condition holds and the time is not over.
    fn wait<'q>(
        &self,
        queue: MutexGuard<'q, Queue>,
        span: Option<Duration>,
        mut while_: impl FnMut(&Queue) -> bool,
    ) -> MutexGuard<'q, Queue> {
        match span {
            None => self
                .wake
                .wait_while(queue, |queue| while_(queue))
                .unwrap_or_else(PoisonError::into_inner),
            Some(span) => {
                self.wake
                    .wait_timeout_while(queue, span, |queue| while_(queue))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        }
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    output: Output,
    /// The last write has failed, and that has been said.
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        let mut piece = Vec::new();
        let mut written_at: Option<Instant> = None;
        loop {
            let shared = Arc::clone(&self.shared);
            let mut queue = shared.lock();
            let nothing = |q: &Queue| q.lines.is_empty() && !q.reopen && !q.closing;
            queue = shared.wait(queue, None, nothing);
            let since = written_at.map_or(GATHER, |at| at.elapsed());
            let little = |q: &Queue| q.lines.len() < LARGE && !q.reopen && !q.closing;
            queue = shared.wait(queue, Some(GATHER.saturating_sub(since)), little);
            std::mem::swap(&mut queue.lines, &mut piece);
            let reopen = std::mem::take(&mut queue.reopen);
            drop(queue);
            // What was queued before the order belongs into the old file.
            let written = self.write_all(&piece);
            if reopen && written {
                self.reopen();
            }
            if written {
                written_at = Some(Instant::now());
            }
            piece.clear();
            piece.shrink_to(LARGE);
            let mut queue = shared.lock();
            if !written || (queue.closing && queue.lines.is_empty()) {
                queue.ended = true;
                queue.lost = !written;
                shared.ended.notify_all();
                return;
            }
        }
    }

    /// Writes a piece, trying again until it is out; `false` when the log is closed before.
    fn write_all(&mut self, piece: &[u8]) -> bool {
        let mut done = 0;
        while done < piece.len() {
            match self.output.write(&piece[done..]) {
                Ok(count) => {
                    done += count;
                    self.recovered();
                }
                Err(error) => {
                    self.failed(&error);
                    let shared = Arc::clone(&self.shared);
                    let mut queue = shared.lock();
                    queue = shared.wait(queue, Some(RETRY), |q| !q.reopen && !q.closing);
                    if queue.closing {
                        return false;
                    }
                    if std::mem::take(&mut queue.reopen) {
                        drop(queue);
                        // A line that the old file has half of goes whole into the new one.
                        let whole = piece[..done].iter().rposition(|byte| *byte == b'\n');
                        if self.reopen() {
                            done = whole.map_or(0, |at| at + 1);
                        }
                    }
                }
            }
        }
        self.say_dropped();
        true
    }

    fn reopen(&mut self) -> bool {
        match self.output.reopen() {
            Ok(()) => true,
            Err(error) => {
                log::error!("cannot reopen the access log, it goes on where it was: {error}");
                false
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.shared.metrics.access_log_failures.add(1);
        if !std::mem::replace(&mut self.failing, true) {
            log::error!("cannot write the access log, trying again every second: {error}");
        }
    }

    fn recovered(&mut self) {
        if std::mem::replace(&mut self.failing, false) {
            log::info!("the access log is written again");
        }
    }

    fn say_dropped(&self) {
        let dropped = std::mem::take(&mut self.shared.lock().dropped);
        if dropped > 0 {
            log::warn!("the access log has lost {dropped} lines: they were not written in time");
        }
    }
}

#[cfg(test)]
mod tests;
