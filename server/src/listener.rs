//! Accepting connections, and the threads that serve them.
//!
//! Workers accept for themselves. One of them at a time is the *leader*: it holds the lock and waits for
//! the listeners; the others that have nothing to do wait for the lock. When a connection comes, the
//! leader gives up the lock and serves it, and the next one leads. So one always stands ready, a
//! connection is never handed from thread to thread, and no thread is made while one is free. At the
//! limit nobody leads, and connections wait in the kernel's backlog until a worker comes back.

use crate::registry::{Registration, Registry};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Workers that may stand ready. More end when their connection does, so that a burst does not leave
/// its threads behind.
const SPARE: usize = 32;

/// The stack of a connection's thread in bytes. Only what is touched takes memory; handlers and
/// OpenSSL's deepest paths (a chain of certificates with RSA keys) stay below a quarter of it.
const STACK: usize = 1 << 20;

/// The first wait after a failed accept; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long a pool that is to stop goes on to accept what waits in the backlog.
const BACKLOG_GRACE: Duration = Duration::from_secs(1);

/// What a worker does with a connection.
pub(crate) type Serve = dyn Fn(Accepted<'_>) + Send + Sync;

/// A connection that has been accepted, and its place in the registry.
pub(crate) struct Accepted<'p> {
    pub(crate) tcp: Arc<TcpStream>,
    pub(crate) peer: SocketAddr,
    pub(crate) place: Registration<'p>,
}

/// The listeners and their workers.
pub(crate) struct Pool {
    /// Readable from the moment on at which the pool is to stop.
    stop: OwnedFd,
    lead: Mutex<Lead>,
    /// Workers without a connection.
    ready: AtomicUsize,
    workers: AtomicUsize,
    max_workers: usize,
    registry: Registry,
    serve: Box<Serve>,
}

/// What the leader knows.
#[derive(Default)]
struct Lead {
    /// Empty once the pool has stopped.
    listeners: Vec<TcpListener>,
    /// The listener that is looked at first, so that a busy one cannot starve the others.
    first: usize,
    wait: Option<Duration>,
}

impl Pool {
    /// A pool that is not at work yet.
    pub(crate) fn new(
        listeners: Vec<TcpListener>,
        max_workers: usize,
        serve: Box<Serve>,
    ) -> io::Result<Arc<Self>> {
        for listener in &listeners {
            // Another process may take the connection between poll and accept.
            listener.set_nonblocking(true)?;
        }
        Ok(Arc::new(Self {
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            lead: Mutex::new(Lead { listeners, ..Lead::default() }),
            ready: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
            max_workers: max_workers.max(1),
            registry: Registry::default(),
            serve,
        }))
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Starts the first worker.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        self.spawn()
    }

    /// What waits in the backlog is still accepted, then the listeners are closed; idle connections end.
    pub(crate) fn stop(self: &Arc<Self>) {
        self.registry.begin_drain();
        // It stays readable: nobody reads it. A counter that is full is as readable.
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        // The kernel resets what is in the backlog of a listener that is closed, although for these
        // clients the connection is made. The workers take it (see `next`), as long as there is room.
        let until = Instant::now() + BACKLOG_GRACE;
        loop {
            // The leader has woken up and gives the lock up.
            let mut lead = self.lead.lock().unwrap_or_else(PoisonError::into_inner);
            if !somebody_waits(&lead.listeners) || Instant::now() >= until {
                // Who connects now is refused and can go elsewhere, instead of waiting for nobody.
                lead.listeners.clear();
                return;
            }
            drop(lead);
            let _ = self.spawn();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let grown = self.workers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |workers| {
            (workers < self.max_workers).then_some(workers + 1)
        });
        if grown.is_err() {
            return Ok(());
        }
        let pool = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("connection".to_owned())
            .stack_size(STACK)
            .spawn(move || pool.work());
        spawned.map(drop).inspect_err(|_| {
            self.workers.fetch_sub(1, Ordering::SeqCst);
        })
    }

    fn work(self: Arc<Self>) {
        while let Some(accepted) = self.next() {
            let peer = accepted.peer;
            // A worker that is lost to a panic would be lost for good, and its place in the limit.
            if catch_unwind(AssertUnwindSafe(|| (self.serve)(accepted))).is_err() {
                log::error!("{peer}: the connection ended in a panic");
            }
            if self.ready.load(Ordering::SeqCst) >= SPARE {
                break;
            }
        }
        self.workers.fetch_sub(1, Ordering::SeqCst);
        // Whoever led may have taken a connection since, and have found no room for another worker.
        if self.ready.load(Ordering::SeqCst) == 0 && !self.registry.is_draining() {
            let _ = self.spawn();
        }
    }

    /// Waits for a connection; `None` when the pool is to stop.
    fn next(self: &Arc<Self>) -> Option<Accepted<'_>> {
        self.ready.fetch_add(1, Ordering::SeqCst);
        let mut lead = self.lead.lock().unwrap_or_else(PoisonError::into_inner);
        let accepted = loop {
            // First, so that an empty backlog is one from after the order to stop.
            let draining = self.registry.is_draining();
            match self.accept(&mut lead) {
                Ok(Some((tcp, peer))) => {
                    lead.wait = None;
                    let tcp = Arc::new(tcp);
                    // While the lock is held: a drain must not overlook it.
                    let place = self.registry.enter(Arc::clone(&tcp));
                    break Some(Accepted { tcp, peer, place });
                }
                Ok(None) | Err(_) if draining => break None,
                Ok(None) => {}
                Err(error) => self.back_off(&mut lead, &error),
            }
        };
        let still_ready = self.ready.fetch_sub(1, Ordering::SeqCst) - 1;
        if accepted.is_some() && still_ready == 0 {
            // Before the lock is given up, so that a burst cannot spawn one thread per waiter.
            if let Err(error) = self.spawn() {
                log::warn!("no thread for the next connection, it waits for a free one: {error}");
            }
        }
        accepted
    }

    /// Waits until a listener has a connection and takes it, if nobody else was faster.
    fn accept(&self, lead: &mut Lead) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let mut fds: Vec<PollFd<'_>> =
            lead.listeners.iter().map(|l| PollFd::new(l, PollFlags::IN)).collect();
        fds.push(PollFd::new(&self.stop, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let count = lead.listeners.len();
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let first = lead.first;
        for at in (0..count).map(|n| (first + n) % count).filter(|at| ready[*at]) {
            lead.first = at + 1;
            match acceptfrom_with(&lead.listeners[at], SocketFlags::CLOEXEC) {
                Ok((fd, Some(peer))) => {
                    if let Ok(peer) = SocketAddr::try_from(peer) {
                        return Ok(Some((TcpStream::from(fd), peer)));
                    }
                }
                // A connection without an address has ended already.
                Ok((_, None)) => {}
                // Gone before it was accepted (accept(2) lists network errors that are to be treated
                // like EAGAIN), or taken by another process.
                Err(
                    rustix::io::Errno::AGAIN
                    | rustix::io::Errno::INTR
                    | rustix::io::Errno::CONNABORTED
                    | rustix::io::Errno::PROTO
                    | rustix::io::Errno::NETDOWN
                    | rustix::io::Errno::NETUNREACH
                    | rustix::io::Errno::HOSTDOWN
                    | rustix::io::Errno::HOSTUNREACH,
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Descriptors or memory have run out: wait, and try again. Giving up would end the service for
    /// good over a moment's shortage.
    fn back_off(&self, lead: &mut Lead, error: &io::Error) {
        let wait = match lead.wait {
            None => {
                log::warn!("cannot accept a connection, trying again: {error}");
                FIRST_WAIT
            }
            Some(wait) => (wait * 2).min(LONGEST_WAIT),
        };
        lead.wait = Some(wait);
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        let wait = if wait.tv_nsec == 0 { Timespec { tv_sec: 1, tv_nsec: 0 } } else { wait };
        // Only the order to stop ends the wait early.
        let _ = poll(&mut [PollFd::new(&self.stop, PollFlags::IN)], Some(&wait));
    }
}

/// Whether a connection waits to be accepted.
fn somebody_waits(listeners: &[TcpListener]) -> bool {
    let mut fds: Vec<PollFd<'_>> =
        listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}
