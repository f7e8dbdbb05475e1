//! Crowds of clients that misbehave: each in its manner, until the server has had enough of it.

use crate::raw::{self, End, RawClient};
use crate::server::SealpairServer;
use crate::waiting::DEADLINE;
use openssl::ssl::SslContext;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// The beginning of a ClientHello.
pub const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half of it";

/// How often a crowd looks whether it is still connected.
const GLANCE: Duration = Duration::from_millis(100);

/// What a client does that should do something else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// Connects and says nothing.
    Silent,
    /// Sends half a ClientHello.
    HalfAHello,
    /// Sends one byte a second of a ClientHello.
    SlowHello,
    /// Finishes the handshake and says nothing.
    Handshaken,
    /// Sends one byte a second of a request head.
    SlowHead,
    /// Sends one byte a second of the content of a PUT.
    SlowBody,
    /// Asks and is answered, and keeps the connection.
    Idle,
}

/// How a client was rid of.
#[derive(Clone, Debug)]
pub struct Departure {
    /// How long the server suffered it.
    pub after: Duration,
    /// How the connection ended; over TLS as TLS sees it.
    pub end: End,
    /// What the server said last.
    pub said: String,
}

/// Clients of one manner.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    manner: Manner,
    line: Line,
    began: Instant,
    /// When it last sent a byte.
    sent: Instant,
    departure: Option<Departure>,
}

#[derive(Debug)]
enum Line {
    Tcp(TcpStream),
    Tls(Box<RawClient>),
}

impl Crowd {
    /// So many clients connect.
    #[track_caller]
    pub fn gather(server: &SealpairServer, manner: Manner, count: usize) -> Self {
        let tls = RawClient::context(server, |_| {});
        let members = (0..count).map(|at| Member::arrive(server, &tls, manner, at)).collect();
        Self { members }
    }

    /// Goes on in its manner until the server has disconnected every one.
    ///
    /// # Panics
    ///
    /// When it does not within [`DEADLINE`].
    #[track_caller]
    pub fn until_gone(mut self) -> Vec<Departure> {
        let until = Instant::now() + DEADLINE;
        loop {
            self.members.iter_mut().for_each(Member::act);
            let here = self.members.iter().filter(|member| member.departure.is_none()).count();
            if here == 0 {
                return self.members.into_iter().filter_map(|member| member.departure).collect();
            }
            assert!(Instant::now() < until, "{here} clients are still connected");
            thread::sleep(GLANCE);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Every one leaves with a reset.
    pub fn reset(self) {
        for member in &self.members {
            raw::reset(member.line.tcp());
        }
    }
}

impl Member {
    #[track_caller]
    fn arrive(server: &SealpairServer, tls: &SslContext, manner: Manner, at: usize) -> Self {
        let began = Instant::now();
        let mut tcp = server.tcp();
        let line = match manner {
            Manner::Silent => Line::Tcp(tcp),
            Manner::HalfAHello => {
                tcp.write_all(HALF_A_HELLO).unwrap();
                Line::Tcp(tcp)
            }
            Manner::SlowHello => {
                tcp.write_all(&HALF_A_HELLO[..9]).unwrap();
                Line::Tcp(tcp)
            }
            _ => {
                let mut client = RawClient::over(tcp, tls);
                match manner {
                    Manner::SlowHead => client.send("GET /a HTTP/1.1\r\nHost: localhost\r\nX: "),
                    Manner::SlowBody => client.send(format!(
                        "PUT /slow-{at} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
                    )),
                    Manner::Idle => assert_eq!(client.get("/").status, 200),
                    _ => {}
                }
                Line::Tls(Box::new(client))
            }
        };
        Self { manner, line, began, sent: Instant::now(), departure: None }
    }

    /// Looks whether it is still connected, and sends the next byte when that is due.
    fn act(&mut self) {
        if self.departure.is_some() {
            return;
        }
        if let Some((end, said)) = self.line.look() {
            let after = self.began.elapsed();
            self.departure = Some(Departure { after, end, said });
            return;
        }
        let slow = matches!(self.manner, Manner::SlowHello | Manner::SlowHead | Manner::SlowBody);
        if slow && self.sent.elapsed() >= Duration::from_secs(1) {
            self.sent = Instant::now();
            // If the server has gone, the next look tells how.
            let _ = match &mut self.line {
                Line::Tcp(tcp) => tcp.write_all(b"\x01"),
                Line::Tls(client) => client.try_send("x"),
            };
        }
    }
}

impl Line {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(client) => client.tcp(),
        }
    }

    fn look(&mut self) -> Option<(End, String)> {
        match self {
            Self::Tls(client) => {
                let end = client.look()?;
                Some((end, String::from_utf8_lossy(client.unused()).into_owned()))
            }
            Self::Tcp(tcp) => {
                tcp.set_nonblocking(true).unwrap();
                let end = loop {
                    match tcp.read(&mut [0; 1 << 10]) {
                        Ok(0) => break Some(End::Cut),
                        // An alert.
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break None,
                        Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                            break Some(End::Reset);
                        }
                        Err(error) => panic!("{error}"),
                    }
                };
                tcp.set_nonblocking(false).unwrap();
                end.map(|end| (end, String::new()))
            }
        }
    }
}
