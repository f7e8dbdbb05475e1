//! What the threads share: which connections there are, what is to be done, and who is there to do it.
//!
//! All of it is under one lock, which is held for as long as it takes to look at it and never while
//! something is done (see [`workers`](crate::workers)).

use crate::connection::{Connection, Why};
use crate::listener::Listeners;
use crate::poller::Poller;
use crate::table::{Awaited, Table, Token, Wait};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many connections at a time leave memory behind that is worth giving back.
const BURST: usize = 256;

/// A connection that has just been accepted and asks nothing gets this long once a drain has begun.
pub(crate) const FRESH_GRACE: Duration = Duration::from_secs(1);

/// Connections, tasks and threads.
pub(crate) struct State {
    pub(crate) table: Table<Box<Connection>>,
    /// What is to be done next.
    pub(crate) ready: VecDeque<Job>,
    /// Connections that were served just now and may have more: their turn comes when everybody else
    /// has been looked at.
    pub(crate) again: VecDeque<Job>,
    pub(crate) listeners: Listeners,
    pub(crate) threads: usize,
    /// Threads that wait for all connections, or serve one without having waited.
    pub(crate) active: usize,
    /// Active threads that are in [`Poller::wait`].
    pub(crate) polling: usize,
    /// One of them has been woken up to look at `ready`.
    pub(crate) woken: bool,
    pub(crate) standing_by: usize,
    /// How many of those who stand by have been called and have not woken up yet.
    pub(crate) calls: usize,
    /// The most connections that were open since memory was given back.
    pub(crate) most: usize,
    /// When the poller's alarm goes off.
    pub(crate) alarm: Option<Instant>,
    pub(crate) draining: bool,
    pub(crate) stopped: bool,
}

/// Something for an active thread to do.
pub(crate) enum Job {
    Accept(usize),
    Serve(Token, Box<Connection>, Why),
}

impl State {
    pub(crate) fn new(listeners: Listeners) -> Self {
        Self {
            table: Table::new(),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            listeners,
            threads: 0,
            active: 0,
            polling: 0,
            woken: false,
            standing_by: 0,
            calls: 0,
            most: 0,
            alarm: None,
            draining: false,
            stopped: false,
        }
    }
}

/// Where one more active thread comes from.
pub(crate) enum More {
    StandingBy,
    New,
}

impl State {
    /// One more active thread, if there are too few and nobody waits for connections. It is counted.
    pub(crate) fn one_more(&mut self, wanted: usize, max_connections: usize) -> Option<More> {
        if self.polling > 0 || self.active >= wanted || self.stopped {
            return None;
        }
        let more = if self.standing_by > self.calls {
            self.calls += 1;
            More::StandingBy
        } else if self.threads < max_connections + wanted {
            More::New
        } else {
            return None;
        };
        self.active += 1;
        Some(more)
    }

    /// Wakes one of those who wait for connections: they do not see what has become ready otherwise.
    pub(crate) fn wake_one(&mut self, poller: &Poller) {
        if self.polling > 0 && !self.woken {
            self.woken = true;
            poller.wake();
        }
    }

    /// Something has arrived for a connection.
    pub(crate) fn arrived(&mut self, token: Token, ended: bool) {
        if let Some(mut connection) = self.table.arrived(token) {
            if ended {
                connection.note_end();
            }
            self.ready.push_back(Job::Serve(token, connection, Why::Ready));
        }
    }

    pub(crate) fn look_at_deadlines(&mut self, poller: &Poller) {
        let now = Instant::now();
        self.alarm = None;
        while let Some((token, connection)) = self.table.expired(now) {
            self.ready.push_back(Job::Serve(token, connection, Why::Late));
        }
        self.listeners.resume(now, poller);
        self.set_alarm(poller);
    }

    /// Sees to it that the next deadline is looked at in time.
    pub(crate) fn set_alarm(&mut self, poller: &Poller) {
        let next = [self.table.next_look(), self.listeners.next_look()].into_iter().flatten().min();
        if let Some(next) = next
            && self.alarm.is_none_or(|alarm| alarm > next)
        {
            self.alarm = Some(next);
            poller.set_alarm(next.saturating_duration_since(Instant::now()));
        }
    }

    pub(crate) fn park(&mut self, token: Token, connection: Box<Connection>, mut wait: Wait) {
        if self.draining {
            match wait.what {
                Awaited::Next => {
                    return self.ready.push_back(Job::Serve(token, connection, Why::Drain));
                }
                Awaited::First => {
                    let soon = Instant::now() + FRESH_GRACE;
                    wait.until = Some(wait.until.map_or(soon, |until| until.min(soon)));
                }
                Awaited::Rest => {}
            }
        }
        if let Some(connection) = self.table.park(token, connection, wait) {
            self.ready.push_back(Job::Serve(token, connection, Why::Ready));
        }
    }

    /// Whether most of many connections have ended since this was last so.
    pub(crate) fn burst_is_over(&mut self) -> bool {
        let over = self.most >= BURST && self.table.len() <= self.most / 8;
        if over {
            self.most = self.table.len();
        }
        over
    }

    /// Accepts again when there is room again.
    pub(crate) fn make_room(&mut self, poller: &Poller, max_connections: usize) {
        if self.table.len() < max_connections {
            self.listeners.room(poller);
        }
    }
}
