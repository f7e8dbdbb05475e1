//! The listening sockets: taking connections from them, and pausing when there is no room.

use crate::poller::Poller;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The first pause after a failed accept; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection that has been accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) tcp: TcpStream,
    pub(crate) peer: SocketAddr,
}

/// The listeners of a server. Their numbers are their places.
#[derive(Debug)]
pub(crate) struct Listeners {
    sockets: Vec<TcpListener>,
    paused: Option<Pause>,
    /// The length of the last pause, as long as no connection has been accepted since.
    last: Option<Duration>,
}

/// Why nothing is accepted at the moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pause {
    /// As many connections as there may be: who comes waits in the backlog.
    Full,
    /// Descriptors or memory have run out.
    Until(Instant),
}

impl Listeners {
    pub(crate) fn new(sockets: Vec<TcpListener>, poller: &Poller) -> io::Result<Self> {
        for (number, socket) in sockets.iter().enumerate() {
            // Another thread or process may take the connection that was announced.
            socket.set_nonblocking(true)?;
            poller.watch_listener(socket, number)?;
        }
        Ok(Self { sockets, paused: None, last: None })
    }

    /// Takes a connection, if there is one.
    pub(crate) fn accept(&mut self, number: usize, poller: &Poller) -> Option<Accepted> {
        match accept(self.sockets.get(number)?) {
            Ok(accepted) => {
                if accepted.is_some() {
                    self.last = None;
                }
                accepted
            }
            Err(error) => {
                self.back_off(&error, poller);
                None
            }
        }
    }

    /// Takes a connection from whichever listener has one.
    pub(crate) fn accept_any(&mut self, poller: &Poller) -> Option<Accepted> {
        (0..self.sockets.len()).find_map(|number| self.accept(number, poller))
    }

    /// Accepts nothing until [`Listeners::room`].
    pub(crate) fn pause_for_room(&mut self, poller: &Poller) {
        self.pause(Pause::Full, poller);
    }

    /// There is room for another connection.
    pub(crate) fn room(&mut self, poller: &Poller) {
        if self.paused == Some(Pause::Full) {
            self.watch_all(poller);
        }
    }

    /// When to call [`Listeners::resume`].
    pub(crate) fn next_look(&self) -> Option<Instant> {
        match self.paused {
            Some(Pause::Until(until)) => Some(until),
            Some(Pause::Full) | None => None,
        }
    }

    /// Ends a pause that has lasted long enough.
    pub(crate) fn resume(&mut self, now: Instant, poller: &Poller) {
        if matches!(self.paused, Some(Pause::Until(until)) if until <= now) {
            self.watch_all(poller);
        }
    }

    /// Closes all.
    pub(crate) fn close(&mut self, poller: &Poller) {
        for socket in self.sockets.drain(..) {
            poller.ignore_listener(&socket);
        }
        self.paused = None;
    }

    /// Descriptors or memory have run out: wait, and try again. Giving up would end the service for
    /// good over a moment's shortage.
    fn back_off(&mut self, error: &io::Error, poller: &Poller) {
        let pause = match self.last {
            None => {
                log::warn!("cannot accept a connection, trying again: {error}");
                FIRST_PAUSE
            }
            Some(last) => (last * 2).min(LONGEST_PAUSE),
        };
        self.last = Some(pause);
        self.pause(Pause::Until(Instant::now() + pause), poller);
    }

    fn pause(&mut self, pause: Pause, poller: &Poller) {
        self.paused = Some(pause);
        for socket in &self.sockets {
            poller.ignore_listener(socket);
        }
    }

    fn watch_all(&mut self, poller: &Poller) {
        self.paused = None;
        for (number, socket) in self.sockets.iter().enumerate() {
            if let Err(error) = poller.watch_listener(socket, number) {
                // It was watched before, so this is memory.
                log::warn!("cannot wait for connections, trying again: {error}");
                self.paused = Some(Pause::Until(Instant::now() + LONGEST_PAUSE));
            }
        }
    }
}

fn accept(socket: &TcpListener) -> io::Result<Option<Accepted>> {
    match acceptfrom_with(socket, SocketFlags::CLOEXEC) {
        Ok((fd, Some(peer))) => {
            let peer = SocketAddr::try_from(peer).ok();
            Ok(peer.map(|peer| Accepted { tcp: TcpStream::from(fd), peer }))
        }
        // A connection without an address has ended already.
        Ok((_, None)) => Ok(None),
        // Gone before it was accepted (accept(2) lists network errors that are to be treated like
        // EAGAIN), or taken by another thread or process.
        Err(
            Errno::AGAIN
            | Errno::INTR
            | Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH,
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
