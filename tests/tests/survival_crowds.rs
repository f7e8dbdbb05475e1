//! One, fifty and five hundred clients at a time that connect and do not do what they came for.
//!
//! For each manner the one deadline that is meant for it is short and all others are long, so whoever
//! is disconnected was disconnected by that deadline.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::crowd::Departure;
use sealpair_tests::{Crowd, End, Manner, RawClient, SealpairServer, Survival, settles};
use std::fs::{self, File};
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

const NUMBERS: [usize; 3] = [1, 50, 500];

/// How much later than its deadline a machine may be that has other things to do, too.
const LATENESS: Duration = Duration::from_secs(20);

const DEADLINE: Duration = Duration::from_secs(5);
/// The large file.
const SIZE: u64 = 64 << 20;

const FAR: &str = "1h";

/// Each number of clients at a server of its own, all at once; every departure is checked.
fn in_every_number(
    manner: Manner,
    args: &[&str],
    deadline: Duration,
    check: impl Fn(&Departure) + Sync,
) {
    thread::scope(|scope| {
        for number in NUMBERS {
            let check = &check;
            scope.spawn(move || {
                let server = SealpairServer::start(|server| server.writable().args(args));
                let survival = Survival::begin_for(&server, number);
                let departures = Crowd::gather(&server, manner, number).until_gone();
                assert_eq!(departures.len(), number);
                for departure in &departures {
                    let Departure { after, .. } = departure;
                    assert!(*after >= deadline, "too early: {departure:?}");
                    assert!(*after <= deadline + LATENESS, "too late: {departure:?}");
                    check(departure);
                }
                survival.end();
                assert_eq!(fs::read_dir(server.root()).unwrap().count(), 1, "nothing is left");
                assert_eq!(server.stop(), 0);
            });
        }
    });
}

/// What a client is told whose request is late: once, and then the end.
fn late(departure: &Departure) {
    let Departure { end, said, .. } = departure;
    assert_eq!(*end, End::CloseNotify, "{departure:?}");
    assert!(said.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{departure:?}");
    assert!(said.contains("\r\nConnection: close\r\n"), "{departure:?}");
    assert_eq!(said.matches("HTTP/1.1").count(), 1, "{departure:?}");
}

#[test]
fn who_connects_and_says_nothing() {
    let args = ["--handshake-timeout", "5s", "--head-timeout", FAR, "--idle-timeout", FAR];
    in_every_number(Manner::Silent, &args, DEADLINE, |_| {});
}

#[test]
fn who_sends_half_a_client_hello() {
    let args = ["--handshake-timeout", "5s", "--head-timeout", FAR, "--idle-timeout", FAR];
    in_every_number(Manner::HalfAHello, &args, DEADLINE, |_| {});
}

#[test]
fn who_sends_one_byte_a_second_of_a_client_hello() {
    let args = ["--handshake-timeout", "5s", "--head-timeout", FAR, "--idle-timeout", FAR];
    in_every_number(Manner::SlowHello, &args, DEADLINE, |_| {});
}

#[test]
fn who_finishes_the_handshake_and_says_nothing() {
    let args = ["--handshake-timeout", FAR, "--head-timeout", "5s", "--idle-timeout", FAR];
    in_every_number(Manner::Handshaken, &args, DEADLINE, |departure| {
        assert_eq!(departure.end, End::CloseNotify, "{departure:?}");
    });
}

#[test]
fn who_sends_one_byte_a_second_of_a_head() {
    let args = ["--handshake-timeout", FAR, "--head-timeout", "5s", "--idle-timeout", FAR];
    in_every_number(Manner::SlowHead, &args, DEADLINE, late);
}

#[test]
fn who_asks_once_and_keeps_the_connection() {
    let args = ["--handshake-timeout", FAR, "--head-timeout", FAR, "--idle-timeout", "5s"];
    in_every_number(Manner::Idle, &args, DEADLINE, |departure| {
        assert_eq!(departure.end, End::CloseNotify, "{departure:?}");
        assert!(departure.said.is_empty(), "{departure:?}");
    });
}

#[test]
fn who_sends_one_byte_a_second_of_a_body() {
    // The least rate counts from ten seconds on.
    let args = ["--handshake-timeout", FAR, "--head-timeout", FAR, "--idle-timeout", FAR];
    in_every_number(Manner::SlowBody, &args, Duration::from_secs(10), late);
}

#[test]
fn who_reads_one_byte_a_second_of_a_large_response() {
    thread::scope(|scope| {
        for number in NUMBERS {
            scope.spawn(move || {
                let args = ["--handshake-timeout", FAR, "--head-timeout", FAR];
                let server = SealpairServer::start(|server| {
                    server.args(args).args(["--idle-timeout", "3s"])
                });
                File::create(server.root().join("big")).unwrap().set_len(SIZE).unwrap();
                let survival = Survival::begin_for(&server, number);
                read_slowly(&server, number);
                survival.end();
                assert_eq!(server.stop(), 0);
            });
        }
    });
}

/// So many clients ask for the large file and read a byte a second, until all have been cut.
fn read_slowly(server: &SealpairServer, number: usize) {
    let tls = RawClient::context(server, |_| {});
    let readers: Vec<RawClient> = (0..number)
        .map(|_| {
            let mut client = RawClient::over(small_window(server), &tls);
            client.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client
        })
        .collect();
    let mut read = Instant::now();
    settles("the server cuts every one of them", || {
        if read.elapsed() >= Duration::from_secs(1) {
            read = Instant::now();
            for reader in &readers {
                // Below TLS, which would take a whole record.
                let _ = reader.tcp().read(&mut [0]);
            }
        }
        server.log().matches(" GET /big 200 ").count() == number
    });
    let log = server.log();
    let mut lines = log.lines().filter(|line| line.contains(" GET /big 200 "));
    assert!(lines.all(|line| line.contains(" cut: ")), "{log}");
}

/// A connection whose kernel takes little that nobody reads.
fn small_window(server: &SealpairServer) -> std::net::TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let tcp = std::net::TcpStream::from(socket);
    tcp.set_read_timeout(Some(sealpair_tests::DEADLINE)).unwrap();
    tcp
}

#[test]
fn who_disappears_with_a_reset() {
    let server = SealpairServer::start(|server| {
        let args = ["--handshake-timeout", FAR, "--head-timeout", FAR, "--idle-timeout", FAR];
        server.writable().args(args)
    });
    let survival = Survival::begin_for(&server, 500);
    for (manner, number) in [
        (Manner::Silent, 500),
        (Manner::HalfAHello, 50),
        (Manner::Handshaken, 50),
        (Manner::SlowHead, 50),
        (Manner::SlowBody, 500),
        (Manner::Idle, 1),
    ] {
        Crowd::gather(&server, manner, number).reset();
    }
    survival.end();
    let left = || fs::read_dir(server.root()).unwrap().count();
    settles("nothing half is left", || left() == 1);
    assert_eq!(server.stop(), 0);
}
