//! The threads, and what they take up: connections that have something to do.
//!
//! ```text
//!            ┌───────────── parked: table, poller ◀──────────────┐
//!            ▼ something has arrived, or a deadline has passed    │ nothing more to do now
//!   an active thread takes it ─▶ handshake, head, quick answer ──┤
//!                                      │                         │
//!                                      ▼ about to wait           │
//!                        the thread steps aside and waits for ───┘
//!                        this one connection, blocking
//! ```
//!
//! A few threads are *active*, one for each processor: they wait for all connections at once, and serve
//! what is ready without waiting. Before one waits (for a client that is slower than it, for a handler
//! that may take its time) it *steps aside*: it stops being active, another takes its place, and from
//! then on it is that connection's own thread, until the request is done. So a connection that has
//! nothing to do holds no thread, small requests cost no change of threads, and whatever blocks, blocks
//! one connection alone.
//!
//! There is at most one thread for each connection, besides the active ones; a thread that is not needed
//! stands by for a while, and ends.

use crate::connection::{Connection, Next, Service, Why};
use crate::listener::{Accepted, Listeners};
use crate::poller::{Event, Events, Poller, Watch};
use crate::roster::{self, Job, More, State};
use crate::server::BACKLOG;
use crate::table::Token;
use sealpair_common::memory;
use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Threads that may stand by. More end at once.
const STAND_BY: usize = 32;

/// A thread that nobody has called for so long ends, so that a burst does not leave its threads behind.
const STAND_BY_FOR: Duration = Duration::from_secs(5);

/// The stack of a thread in bytes. Only what is touched takes memory; handlers and OpenSSL's deepest
/// paths (a chain of certificates with RSA keys) stay below a quarter of it.
const STACK: usize = 1 << 20;

/// Events that the only active thread takes at a time. Where there are several, each takes one: what one
/// has taken, the others cannot.
const BATCH: usize = 64;

/// How long a connection that is cut off gets to remove its unfinished upload, and a thread to end.
const LAST_ORDERS: Duration = Duration::from_secs(1);

thread_local! {
    /// The pool that this thread is active in.
    static ACTIVE: RefCell<Option<Arc<Pool>>> = const { RefCell::new(None) };
}

/// Asks whether this thread may wait now, and lets another take its place. Nothing happens on a thread that
/// is not active: it may.
///
/// It may not when it is the last that is active and no other can be made: then it would be everybody who
/// waits.
pub(crate) fn step_aside() -> bool {
    // Where the thread ends, it serves nobody.
    let Some(pool) = ACTIVE.try_with(RefCell::take).ok().flatten() else { return true };
    let may_wait = pool.step_aside();
    if !may_wait {
        ACTIVE.set(Some(pool));
    }
    may_wait
}

/// The connections and the threads that serve them.
pub(crate) struct Pool {
    service: Service,
    poller: Poller,
    state: Mutex<State>,
    /// Somebody who stands by is called, or all are to end.
    called: Condvar,
    /// A connection or a thread has ended.
    ended: Condvar,
    /// How many threads are to be active.
    wanted: usize,
    max_connections: usize,
}

impl Pool {
    /// A pool that is not at work yet.
    pub(crate) fn new(listeners: Vec<TcpListener>, service: Service) -> io::Result<Arc<Self>> {
        let poller = Poller::new()?;
        let max_connections = service.limits.max_connections.max(1);
        // What this process may use, which can be less than what the machine has.
        let wanted = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Arc::new(Self {
            state: Mutex::new(State::new(Listeners::new(listeners, &poller)?)),
            service,
            poller,
            called: Condvar::new(),
            ended: Condvar::new(),
            wanted,
            max_connections,
        }))
    }

    /// Starts the active threads.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        for started in 0..self.wanted {
            self.lock().active += 1;
            match self.spawn() {
                Ok(()) => {}
                Err(error) if started == 0 => return Err(error),
                Err(error) => {
                    log::warn!("{started} threads instead of {}: {error}", self.wanted);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Starts a thread that has been counted as active.
    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        self.lock().threads += 1;
        let pool = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("connection".to_owned())
            .stack_size(STACK)
            .spawn(move || pool.work());
        spawned.map(drop).inspect_err(|_| {
            let mut state = self.lock();
            state.threads -= 1;
            state.active -= 1;
        })
    }

    fn work(self: Arc<Self>) {
        ACTIVE.set(Some(Arc::clone(&self)));
        let mut events = Events::with_room(if self.wanted == 1 { BATCH } else { 1 });
        while let Some(job) = self.next(&mut events) {
            match job {
                Job::Accept(listener) => self.accept(listener),
                Job::Serve(token, connection, why) => self.serve(token, connection, why),
            }
        }
        let mut state = self.lock();
        state.threads -= 1;
        if ACTIVE.take().is_some() {
            state.active -= 1;
        }
        let (stopped, last_of_burst) = (state.stopped, state.standing_by == 0);
        drop(state);
        if stopped {
            // Who stops, stops everybody: a wake-up wakes one.
            self.poller.wake();
            self.ended.notify_all();
        } else if last_of_burst {
            memory::give_back();
        }
    }

    /// Waits for something to do; `None` when this thread is to end.
    fn next(self: &Arc<Self>, events: &mut Events) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if !is_active() {
                state = self.come_back(state)?;
                continue;
            }
            if let Some(job) = state.ready.pop_front() {
                return Some(self.take_up(state, job));
            }
            // Those who have more to do at once must not keep this thread from looking at all others.
            let wait = state.again.is_empty();
            state.polling += usize::from(wait);
            drop(state);
            if let Err(error) = self.poller.wait(events, wait) {
                // Nothing that is known; but a loop over it must not take the processor.
                log::error!("cannot wait for connections: {error}");
                std::thread::sleep(LAST_ORDERS);
            }
            state = self.lock();
            state.polling -= usize::from(wait);
            state.woken = false;
            for event in events.iter() {
                match event {
                    Event::Wake => {}
                    Event::Alarm => state.look_at_deadlines(&self.poller),
                    Event::Listener(number) => state.ready.push_back(Job::Accept(number)),
                    Event::Connection { token, ended } => state.arrived(token, ended),
                }
            }
            if state.ready.is_empty()
                && let Some(job) = state.again.pop_front()
            {
                return Some(self.take_up(state, job));
            }
        }
    }

    /// This thread has something to do: whatever else there is must not wait for it.
    fn take_up(self: &Arc<Self>, mut state: MutexGuard<'_, State>, job: Job) -> Job {
        if !state.ready.is_empty() {
            state.wake_one(&self.poller);
        }
        if let Some(more) = state.one_more(self.wanted, self.max_connections) {
            drop(state);
            // Where no thread can be made, there is one less for a while.
            let _ = self.call(more);
        }
        job
    }

    /// A thread that had stepped aside becomes active again, or stands by, or ends.
    fn come_back<'a>(
        self: &Arc<Self>,
        mut state: MutexGuard<'a, State>,
    ) -> Option<MutexGuard<'a, State>> {
        if state.active < self.wanted {
            state.active += 1;
        } else {
            if state.standing_by >= STAND_BY {
                return None;
            }
            state.standing_by += 1;
            state = self
                .called
                .wait_timeout_while(state, STAND_BY_FOR, |state| state.calls == 0 && !state.stopped)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.standing_by -= 1;
            if state.calls == 0 {
                return None;
            }
            // Who called has counted this thread as active.
            state.calls -= 1;
        }
        ACTIVE.set(Some(Arc::clone(self)));
        Some(state)
    }

    /// The calling thread stops being active, unless nobody else would be.
    fn step_aside(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        state.active -= 1;
        if !state.ready.is_empty() {
            state.wake_one(&self.poller);
        }
        let Some(more) = state.one_more(self.wanted, self.max_connections) else {
            if state.active == 0 && !state.stopped {
                // As many threads as there may be, each with a connection that has to wait.
                state.active += 1;
                return false;
            }
            return true;
        };
        drop(state);
        let Err(error) = self.call(more) else { return true };
        let mut state = self.lock();
        if state.active > 0 {
            return true;
        }
        log::warn!("no thread for a connection that has to wait: {error}");
        state.active += 1;
        false
    }

    /// Calls who stands by, or makes a thread; it has been counted as active.
    fn call(self: &Arc<Self>, more: More) -> io::Result<()> {
        match more {
            More::StandingBy => {
                self.called.notify_one();
                Ok(())
            }
            More::New => self.spawn(),
        }
    }

    fn serve(self: &Arc<Self>, token: Token, mut connection: Box<Connection>, why: Why) {
        let peer = connection.peer();
        // A thread that is lost to a panic would be lost for good.
        let served = catch_unwind(AssertUnwindSafe(move || {
            let tcp = connection.tcp();
            let watch = Watch { poller: &self.poller, token, tcp: &tcp };
            let mut next = connection.proceed(&self.service, why, &watch);
            // A thread that has stepped aside is this connection's own; nobody else waits for it.
            while matches!(next, Next::Again) && !is_active() {
                next = connection.proceed(&self.service, Why::Ready, &watch);
            }
            (connection, next)
        }));
        let Ok((connection, next)) = served else {
            log::error!("{peer}: the connection ended in a panic");
            return self.end(token);
        };
        let mut state = self.lock();
        match next {
            Next::End => {
                drop(state);
                drop(connection);
                return self.end(token);
            }
            Next::Again => state.again.push_back(Job::Serve(token, connection, Why::Ready)),
            Next::Wait(wait) => state.park(token, connection, wait),
        }
        state.set_alarm(&self.poller);
        // A thread that is not active does not look itself.
        let unseen = !(state.ready.is_empty() && state.again.is_empty());
        if unseen && !is_active() {
            state.wake_one(&self.poller);
        }
    }

    /// The connection is over.
    fn end(&self, token: Token) {
        let mut state = self.lock();
        let Some(tcp) = state.table.remove(token) else { return };
        state.make_room(&self.poller, self.max_connections);
        self.service.observer.metrics.connection_closed();
        let last = state.draining && state.table.len() == 0;
        let burst_is_over = state.burst_is_over();
        drop(state);
        // Here the socket closes.
        drop(tcp);
        if last {
            self.ended.notify_all();
        } else if burst_is_over && step_aside() {
            memory::give_back();
        }
    }

    /// Takes one connection from a listener.
    fn accept(&self, listener: usize) {
        let mut state = self.lock();
        if state.table.len() >= self.max_connections {
            return state.listeners.pause_for_room(&self.poller);
        }
        match state.listeners.accept(listener, &self.poller) {
            Some(accepted) => self.admit(state, accepted),
            // It may have to pause.
            None => state.set_alarm(&self.poller),
        }
    }

    /// A new connection: its client's first message is waited for.
    fn admit(&self, mut state: MutexGuard<'_, State>, accepted: Accepted) {
        let Accepted { tcp, peer } = accepted;
        self.service.observer.metrics.connection_opened();
        let tcp = Arc::new(tcp);
        let token = state.table.insert(Arc::clone(&tcp));
        state.most = state.most.max(state.table.len());
        let (connection, wait) = Connection::new(Arc::clone(&tcp), peer, &self.service);
        state.park(token, Box::new(connection), wait);
        state.set_alarm(&self.poller);
        drop(state);
        if let Err(error) = self.poller.watch(&tcp, token) {
            // Memory, or the user's limit of watches (/proc/sys/fs/epoll/max_user_watches).
            log::warn!("{peer}: cannot wait for this connection: {error}");
            let connection = self.lock().table.arrived(token);
            // If another thread has it, it ends it.
            if connection.is_some() {
                drop(connection);
                self.end(token);
            }
        }
    }

    /// No connection is accepted from now on, and idle ones end.
    pub(crate) fn begin_drain(&self) {
        // Connections that are complete in the backlog have been promised to their clients; with the
        // listeners closed they would be reset. Who connects later is refused and can go elsewhere.
        for _ in 0..BACKLOG {
            let mut state = self.lock();
            if state.table.len() >= self.max_connections {
                break;
            }
            match state.listeners.accept_any(&self.poller) {
                Some(accepted) => self.admit(state, accepted),
                None => break,
            }
        }
        let mut state = self.lock();
        state.draining = true;
        self.service.begin_drain();
        state.listeners.close(&self.poller);
        for (token, connection) in state.table.take_idle() {
            state.ready.push_back(Job::Serve(token, connection, Why::Drain));
        }
        state.table.hurry_first(Instant::now() + roster::FRESH_GRACE);
        state.set_alarm(&self.poller);
        drop(state);
        self.poller.wake();
    }

    /// Waits until no connection is open or the time is over; returns how many were cut off. Then all
    /// threads end, but those whose handlers do not.
    pub(crate) fn finish_drain(&self, span: Duration) -> usize {
        let state = self.lock();
        let (mut state, waited) = self
            .ended
            .wait_timeout_while(state, span, |state| state.table.len() > 0)
            .unwrap_or_else(PoisonError::into_inner);
        let cut_off = if waited.timed_out() { state.table.len() } else { 0 };
        if cut_off > 0 {
            state.table.cut();
            let parked = state.table.take_parked();
            for (token, connection) in parked {
                drop(connection);
                state.table.remove(token);
                self.service.observer.metrics.connection_closed();
            }
            // Those who serve find out at once, and put away what they have begun.
            state = self
                .ended
                .wait_timeout_while(state, LAST_ORDERS, |state| state.table.len() > 0)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.stopped = true;
        self.called.notify_all();
        self.poller.wake();
        let ended = self.ended.wait_timeout_while(state, LAST_ORDERS, |state| state.threads > 0);
        drop(ended);
        cut_off
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_active() -> bool {
    ACTIVE.with_borrow(Option::is_some)
}
