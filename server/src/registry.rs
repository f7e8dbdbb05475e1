//! The open connections, and what each is doing: what a drain needs to know.
//!
//! A connection that is told to stop while it waits for a request would wait for its whole idle time.
//! So each says when it begins and ends such a wait, and the drain shuts the reading side of those that
//! wait. Both sides write before they read (the connection its state, then the drain flag; the drain the
//! flag, then the states), so one of them always sees the other.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Nothing asked yet: a client that has just connected may be about to.
const FRESH: u8 = 0;
/// Between two requests.
const IDLE: u8 = 1;
/// A request has begun.
const BUSY: u8 = 2;

/// A connection that has just been accepted and asks nothing gets this long once a drain has begun.
const FRESH_GRACE: Duration = Duration::from_secs(1);

/// How long a connection that is cut off gets to remove its unfinished upload.
const LAST_ORDERS: Duration = Duration::from_secs(1);

/// All open connections.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    draining: AtomicBool,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Entry>>>,
    closed: Condvar,
}

#[derive(Debug)]
struct Entry {
    tcp: Arc<TcpStream>,
    state: AtomicU8,
}

/// One connection's place in the registry; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Registration<'r> {
    registry: &'r Registry,
    key: u64,
    entry: Arc<Entry>,
}

impl Registry {
    /// Adds a connection.
    pub(crate) fn enter(&self, tcp: Arc<TcpStream>) -> Registration<'_> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry { tcp, state: AtomicU8::new(FRESH) });
        self.lock().insert(key, Arc::clone(&entry));
        Registration { registry: self, key, entry }
    }

    /// Whether the server is to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Says that the server is to stop. Connections without a request end at once.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.stop_reading(IDLE);
    }

    /// Waits until no connection is open or the time is over; returns how many were cut off.
    pub(crate) fn finish_drain(&self, span: Duration) -> usize {
        let began = Instant::now();
        let deadline = began.checked_add(span);
        let mut fresh_until = Some(began + FRESH_GRACE.min(span));
        let mut open = self.lock();
        while !open.is_empty() {
            let now = Instant::now();
            if fresh_until.is_some_and(|until| now >= until) {
                fresh_until = None;
                drop(open);
                self.stop_reading(FRESH);
                open = self.lock();
                continue;
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                for entry in open.values() {
                    let _ = entry.tcp.shutdown(Shutdown::Both);
                }
                let cut_off = open.len();
                // Their threads find out at once, and put away what they have begun.
                let put_away = self.closed.wait_timeout_while(open, LAST_ORDERS, |o| !o.is_empty());
                drop(put_away);
                return cut_off;
            }
            let until = [fresh_until, deadline].into_iter().flatten().min();
            let wait = until.map_or(span, |until| until.saturating_duration_since(now));
            open = self.closed.wait_timeout(open, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        0
    }

    /// Ends the wait of the connections in a state. A request that has already arrived is still read:
    /// the kernel hands out what it has before it reports the end.
    fn stop_reading(&self, state: u8) {
        for entry in self.lock().values() {
            if entry.state.load(Ordering::SeqCst) == state {
                let _ = entry.tcp.shutdown(Shutdown::Read);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration<'_> {
    /// The connection now waits for its next request. False when it must not, because the server is
    /// to stop.
    pub(crate) fn begin_idle(&self) -> bool {
        self.entry.state.store(IDLE, Ordering::SeqCst);
        !self.registry.is_draining()
    }

    /// A request has begun.
    pub(crate) fn begin_request(&self) {
        self.entry.state.store(BUSY, Ordering::SeqCst);
    }

    /// Whether the server is to stop after this request.
    pub(crate) fn is_draining(&self) -> bool {
        self.registry.is_draining()
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut open = self.registry.lock();
        open.remove(&self.key);
        if open.is_empty() {
            self.registry.closed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    fn pair() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(near), listener.accept().unwrap().0)
    }

    #[test]
    fn an_idle_connection_is_woken_and_a_busy_one_is_waited_for() {
        let registry = Registry::default();
        let (idle, _far) = pair();
        let (busy, _other) = pair();
        let waiting = registry.enter(Arc::clone(&idle));
        let working = registry.enter(busy);
        working.begin_request();
        assert!(waiting.begin_idle());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _held = waiting;
                assert_eq!((&mut &*idle).read(&mut [0; 1]).unwrap(), 0);
                drop(working);
            });
            registry.begin_drain();
            assert_eq!(registry.finish_drain(Duration::from_secs(10)), 0);
        });
    }

    #[test]
    fn who_is_still_busy_at_the_deadline_is_cut_off_and_counted() {
        let registry = Registry::default();
        let (tcp, mut far) = pair();
        let working = registry.enter(tcp);
        working.begin_request();
        registry.begin_drain();
        assert!(!working.begin_idle());
        working.begin_request();
        assert_eq!(registry.finish_drain(Duration::from_millis(10)), 1);
        assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
    }
}
