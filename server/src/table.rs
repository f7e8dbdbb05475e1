//! The open connections: who waits and until when, and who is being served.
//!
//! A connection that waits for its client (for a handshake message, for a request, for the client to
//! close) is *parked* here: it holds a descriptor and what it remembers, and no thread. A connection
//! that a thread serves has only its place here, so that a drain can count it and cut it off; what
//! arrives for it meanwhile is noted, and told when it is to be parked.
//!
//! Deadlines cost nothing as long as they move into the future, as those of a busy keep-alive
//! connection do: the queue of deadlines holds for each connection a moment at which to look, and who
//! looks too early looks again later.

use sealpair_common::tls::Patience;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection's place. One that is left is never mistaken for its successor's.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Token {
    index: u32,
    generation: u32,
}

impl Token {
    pub(crate) fn from_u64(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }

    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// Generations count up to here and begin anew: the poller's numbers above belong to listeners.
const GENERATIONS: u32 = 1 << 31;

/// What a connection waits for, and until when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wait {
    pub(crate) what: Awaited,
    /// Never, if there is none.
    pub(crate) until: Option<Instant>,
}

impl Wait {
    /// A wait that begins now and may last for `span`.
    pub(crate) fn until(what: Awaited, span: Duration) -> Self {
        // A span that overflows the clock is one that nobody will wait to see the end of.
        Self { what, until: Instant::now().checked_add(span) }
    }

    /// The patience with what this side has to say meanwhile.
    pub(crate) fn patience(&self) -> Patience {
        self.until.map_or(Patience::Forever, Patience::Until)
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

/// What a connection waits for: a drain treats them differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Awaited {
    /// The handshake or the first request: a client that has just connected may be about to ask.
    First,
    /// The next request, of which nothing has come.
    Next,
    /// The rest of something that has begun.
    Rest,
}

/// All open connections; `C` is what is parked.
#[derive(Debug)]
pub(crate) struct Table<C> {
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
    /// When to look at whom, soonest first.
    looks: BinaryHeap<Reverse<(Instant, Token)>>,
    open: usize,
}

#[derive(Debug)]
struct Slot<C> {
    generation: u32,
    tcp: Option<Arc<TcpStream>>,
    state: State<C>,
    /// The soonest moment in `looks` for this connection.
    look: Option<Instant>,
}

#[derive(Debug)]
enum State<C> {
    Free,
    /// A thread has it.
    Served {
        /// Something has arrived since.
        arrived: bool,
    },
    Parked(C, Wait),
}

impl<C> Table<C> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), looks: BinaryHeap::new(), open: 0 }
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.open
    }

    /// Adds a connection, as one that is being served.
    pub(crate) fn insert(&mut self, tcp: Arc<TcpStream>) -> Token {
        self.open += 1;
        let state = State::Served { arrived: false };
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.tcp = Some(tcp);
            slot.state = state;
            return Token { index, generation: slot.generation };
        }
        // There are fewer descriptors than 32 bits can count.
        let index = self.slots.len() as u32;
        self.slots.push(Slot { generation: 0, tcp: Some(tcp), state, look: None });
        Token { index, generation: 0 }
    }

    /// Removes a connection that is being served. Its socket closes when the caller drops it.
    pub(crate) fn remove(&mut self, token: Token) -> Option<Arc<TcpStream>> {
        let slot = self.slot(token)?;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        slot.state = State::Free;
        slot.look = None;
        let tcp = slot.tcp.take();
        self.free.push(token.index);
        self.open -= 1;
        tcp
    }

    /// Parks a connection that was served. Gives it back when something has arrived meanwhile.
    pub(crate) fn park(&mut self, token: Token, connection: C, wait: Wait) -> Option<C> {
        let Some(slot) = self.slot(token) else {
            return Some(connection);
        };
        if matches!(slot.state, State::Served { arrived: true }) {
            slot.state = State::Served { arrived: false };
            return Some(connection);
        }
        slot.state = State::Parked(connection, wait);
        if let Some(until) = wait.until
            && slot.look.is_none_or(|look| look > until)
        {
            slot.look = Some(until);
            self.looks.push(Reverse((until, token)));
            self.forget_looks();
        }
        None
    }

    /// Drops the moments that stand for connections which have ended, when they are the most: short
    /// connections must not pile them up until their deadlines.
    fn forget_looks(&mut self) {
        const FEW: usize = 1024;
        if self.looks.len() > 2 * self.open + FEW {
            let slots = &self.slots;
            self.looks.retain(|Reverse((look, token))| {
                slots.get(token.index as usize).is_some_and(|slot| {
                    slot.generation == token.generation && slot.look == Some(*look)
                })
            });
        }
    }

    /// Takes a parked connection because something has arrived for it. When a thread has it already,
    /// that is noted instead.
    pub(crate) fn arrived(&mut self, token: Token) -> Option<C> {
        let slot = self.slot(token)?;
        slot.take().or_else(|| {
            slot.state = State::Served { arrived: true };
            None
        })
    }

    /// The next moment at which [`Table::expired`] is to be called.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.looks.peek().map(|Reverse((look, _))| *look)
    }

    /// Takes a parked connection whose deadline has passed.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<(Token, C)> {
        while let Some(Reverse((look, token))) = self.looks.peek().copied() {
            if look > now {
                return None;
            }
            self.looks.pop();
            let Some(slot) = self.slot(token).filter(|slot| slot.look == Some(look)) else {
                continue;
            };
            slot.look = None;
            let State::Parked(_, Wait { until: Some(until), .. }) = &slot.state else {
                continue;
            };
            let until = *until;
            if until <= now {
                return slot.take().map(|connection| (token, connection));
            }
            slot.look = Some(until);
            self.looks.push(Reverse((until, token)));
        }
        None
    }

    /// Takes the parked connections that wait for their next request.
    pub(crate) fn take_idle(&mut self) -> Vec<(Token, C)> {
        self.take_where(|wait| wait.what == Awaited::Next)
    }

    /// Takes all parked connections.
    pub(crate) fn take_parked(&mut self) -> Vec<(Token, C)> {
        self.take_where(|_| true)
    }

    fn take_where(&mut self, chosen: impl Fn(&Wait) -> bool) -> Vec<(Token, C)> {
        let slots = self.slots.iter_mut().enumerate();
        slots
            .filter_map(|(index, slot)| match &slot.state {
                State::Parked(_, wait) if chosen(wait) => {
                    let token = Token { index: index as u32, generation: slot.generation };
                    slot.take().map(|connection| (token, connection))
                }
                _ => None,
            })
            .collect()
    }

    /// Lets no connection that has not asked anything yet wait beyond `until`.
    pub(crate) fn hurry_first(&mut self, until: Instant) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let State::Parked(_, wait) = &mut slot.state
                && wait.what == Awaited::First
                && wait.until.is_none_or(|old| old > until)
            {
                wait.until = Some(until);
                slot.look = Some(until);
                let token = Token { index: index as u32, generation: slot.generation };
                self.looks.push(Reverse((until, token)));
            }
        }
    }

    /// Cuts all connections: whoever serves one finds out at its next read or write.
    pub(crate) fn cut(&self) {
        for tcp in self.slots.iter().filter_map(|slot| slot.tcp.as_ref()) {
            let _ = tcp.shutdown(Shutdown::Both);
        }
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot<C>> {
        self.slots
            .get_mut(token.index as usize)
            .filter(|slot| slot.generation == token.generation && slot.tcp.is_some())
    }
}

impl<C> Slot<C> {
    /// Takes the connection to serve it, if it is parked.
    fn take(&mut self) -> Option<C> {
        match &self.state {
            State::Parked(..) => {
                match std::mem::replace(&mut self.state, State::Served { arrived: false }) {
                    State::Parked(connection, _) => Some(connection),
                    State::Free | State::Served { .. } => None,
                }
            }
            State::Free | State::Served { .. } => None,
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
