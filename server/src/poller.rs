//! Waiting for many sockets at once: epoll, and nothing else that is particular to Linux here.
//!
//! Connections are watched *edge-triggered*: each arrival is told once, to one of the threads that wait.
//! So a connection whose thread is at work needs no system call to be left alone, and none to be
//! watched again: who finds that a connection is busy only notes that something has come (see
//! [`table`](crate::table)). Listeners are watched level-triggered: as long as somebody waits in a
//! backlog, the next thread is told.

use crate::table::Token;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The number of listeners there can be; their events stand above those of all connections.
const LISTENERS: u64 = 1 << 16;

/// What the event of the waker carries.
const WAKER: u64 = u64::MAX;

/// What the event of the alarm carries.
const ALARM: u64 = WAKER - 1;

/// What the event of the first listener carries; the others count down from it.
const FIRST_LISTENER: u64 = ALARM - 1;

/// A set of sockets, an alarm, and a way to wake up who waits for them.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    waker: OwnedFd,
    alarm: OwnedFd,
}

/// Something that has happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// A listener, by its number, has a connection.
    Listener(usize),
    /// A connection can be read.
    Connection {
        /// Which.
        token: Token,
        /// Whether its peer has ended it: the end is to be read although nothing more will arrive.
        ended: bool,
    },
    /// The moment of [`Poller::set_alarm`] has come.
    Alarm,
    /// Somebody called [`Poller::wake`].
    Wake,
}

/// Room for the events of one wait, so that no wait allocates.
pub(crate) struct Events(Vec<epoll::Event>);

impl Events {
    /// Room for `most` events.
    pub(crate) fn with_room(most: usize) -> Self {
        Self(Vec::with_capacity(most))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.0.iter().map(|event| {
            // The kernel's structure is packed: no references to its fields.
            let (flags, data) = (event.flags, event.data.u64());
            match data {
                WAKER => Event::Wake,
                ALARM => Event::Alarm,
                // `LISTENERS` fits any usize.
                _ if data > FIRST_LISTENER - LISTENERS => {
                    Event::Listener((FIRST_LISTENER - data) as usize)
                }
                _ => Event::Connection {
                    token: Token::from_u64(data),
                    ended: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
                },
            }
        })
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered, each call of `wake` wakes one thread, and nobody has to read the counter.
        epoll::add(&epoll, &waker, EventData::new_u64(WAKER), EventFlags::IN | EventFlags::ET)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let alarm = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &alarm, EventData::new_u64(ALARM), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, waker, alarm })
    }

    /// Watches a listener from now on, or again.
    pub(crate) fn watch_listener(&self, listener: &TcpListener, number: usize) -> io::Result<()> {
        let data = EventData::new_u64(FIRST_LISTENER - number as u64);
        match epoll::add(&self.epoll, listener, data, EventFlags::IN) {
            Err(rustix::io::Errno::EXIST) => {
                epoll::modify(&self.epoll, listener, data, EventFlags::IN)?;
            }
            done => done?,
        }
        Ok(())
    }

    /// Watches a listener no more.
    pub(crate) fn ignore_listener(&self, listener: &TcpListener) {
        // It fails only for one that is not watched.
        let _ = epoll::delete(&self.epoll, listener);
    }

    /// Watches a connection. What has arrived before is told as well.
    pub(crate) fn watch(&self, tcp: &TcpStream, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, tcp, EventData::new_u64(token.to_u64()), INTEREST)?)
    }

    /// Says nothing about a connection until [`Poller::hear`]: while its thread takes in a long body,
    /// every segment would be told to somebody else.
    pub(crate) fn mute(&self, tcp: &TcpStream, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token.to_u64());
        Ok(epoll::modify(&self.epoll, tcp, data, EventFlags::empty())?)
    }

    /// Watches a connection again. What has arrived meanwhile is told as well.
    pub(crate) fn hear(&self, tcp: &TcpStream, token: Token) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, tcp, EventData::new_u64(token.to_u64()), INTEREST)?)
    }

    /// Takes the events that there are; where there are none, waits for some if it is to `wait`.
    pub(crate) fn wait(&self, events: &mut Events, wait: bool) -> io::Result<()> {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.wait_for(events, if wait { None } else { Some(&NOW) })
    }

    fn wait_for(&self, events: &mut Events, timeout: Option<&Timespec>) -> io::Result<()> {
        events.0.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events.0), timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells one thread after `span`, instead of at the moment that was set before.
    pub(crate) fn set_alarm(&self, span: Duration) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: span.as_secs().try_into().unwrap_or(i64::MAX),
            // Zero would switch it off.
            tv_nsec: i64::from(span.subsec_nanos()).max(1),
        };
        let value = Itimerspec { it_interval: zero, it_value: value };
        if let Err(error) = timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &value) {
            // It fails only for values that are none.
            log::error!("cannot set the alarm: {error}");
        }
    }

    /// Wakes one thread that waits, or else the next that wants to.
    pub(crate) fn wake(&self) {
        // A counter that is full has been added to just as well.
        let _ = rustix::io::write(&self.waker, &1u64.to_ne_bytes());
    }
}

/// How a connection says what is to be told about it.
pub(crate) struct Watch<'c> {
    pub(crate) poller: &'c Poller,
    pub(crate) token: Token,
    pub(crate) tcp: &'c TcpStream,
}

impl Watch<'_> {
    /// What arrives is taken in by this thread; nobody else is to be told.
    pub(crate) fn mute(&self) -> io::Result<()> {
        self.poller.mute(self.tcp, self.token)
    }

    /// What arrives is to be told again.
    pub(crate) fn hear(&self) -> io::Result<()> {
        self.poller.hear(self.tcp, self.token)
    }
}

const INTEREST: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const SOON: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

    fn told(poller: &Poller, timeout: Timespec) -> Vec<Event> {
        let mut events = Events::with_room(8);
        poller.wait_for(&mut events, Some(&timeout)).unwrap();
        events.iter().collect()
    }

    #[test]
    fn the_alarm_goes_off_each_time_it_was_set() {
        let poller = Poller::new().unwrap();
        poller.set_alarm(Duration::from_secs(3600));
        assert_eq!(told(&poller, NOW), []);
        for span in [Duration::ZERO, Duration::from_millis(2)] {
            poller.set_alarm(span);
            assert_eq!(told(&poller, SOON), [Event::Alarm]);
            assert_eq!(told(&poller, NOW), []);
        }
    }

    #[test]
    fn each_arrival_is_told_once_and_what_came_while_muted_afterwards() {
        let poller = Poller::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        poller.watch_listener(&listener, 3).unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(told(&poller, SOON), [Event::Listener(3)]);
        assert_eq!(told(&poller, NOW), [Event::Listener(3)]);
        let (near, _) = listener.accept().unwrap();
        assert_eq!(told(&poller, NOW), []);

        let token = Token::from_u64(7);
        far.write_all(b"a").unwrap();
        poller.watch(&near, token).unwrap();
        let arrival = Event::Connection { token, ended: false };
        assert_eq!(told(&poller, SOON), [arrival]);
        assert_eq!(told(&poller, NOW), []);
        far.write_all(b"b").unwrap();
        assert_eq!(told(&poller, SOON), [arrival]);

        poller.mute(&near, token).unwrap();
        far.write_all(b"c").unwrap();
        assert_eq!(told(&poller, NOW), []);
        poller.hear(&near, token).unwrap();
        assert_eq!(told(&poller, SOON), [arrival]);
        drop(far);
        assert_eq!(told(&poller, SOON), [Event::Connection { token, ended: true }]);
    }

    #[test]
    fn a_wake_up_is_kept_for_who_waits_next() {
        let poller = Poller::new().unwrap();
        assert_eq!(told(&poller, NOW), []);
        poller.wake();
        assert_eq!(told(&poller, SOON), [Event::Wake]);
        assert_eq!(told(&poller, NOW), []);
        poller.wake();
        assert_eq!(told(&poller, SOON), [Event::Wake]);
    }

    #[test]
    fn a_listener_can_be_left_alone_for_a_while() {
        let poller = Poller::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        poller.watch_listener(&listener, 0).unwrap();
        poller.watch_listener(&listener, 0).unwrap();
        let _far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        poller.ignore_listener(&listener);
        poller.ignore_listener(&listener);
        assert_eq!(told(&poller, NOW), []);
        poller.watch_listener(&listener, 0).unwrap();
        assert_eq!(told(&poller, SOON), [Event::Listener(0)]);
    }
}
