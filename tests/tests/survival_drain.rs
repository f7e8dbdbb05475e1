//! SIGTERM while there is much to do.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_tests::{End, RawClient, SealpairServer, raw, settles};
use std::fs::{self, File};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Uploads that are not complete.
fn uploads(server: &SealpairServer) -> usize {
    let entries = fs::read_dir(server.root()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".sealpair-upload-")).count()
}

#[test]
fn no_request_that_was_begun_is_lost_and_five_hundred_idle_connections_end_at_once() {
    const IDLE: usize = 500;
    const EACH: usize = 20;
    const SIZE: usize = 16 << 20;
    let mut server = SealpairServer::start(|server| {
        let args = ["--drain-timeout", "1h", "--idle-timeout", "1h", "--head-timeout", "1h"];
        server.writable().file("a", "A").args(args)
    });
    File::create(server.root().join("big")).unwrap().set_len(SIZE as u64).unwrap();
    let tls = RawClient::context(&server, |_| {});
    let connect = || RawClient::over(server.tcp(), &tls);
    let mut idle: Vec<RawClient> = (0..IDLE).map(|_| connect()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.get("/a").text(), "A"));
    let mut writing: Vec<RawClient> = (0..EACH)
        .map(|at| {
            let mut client = connect();
            let head =
                format!("PUT /{at} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n");
            client.send(head + "hello");
            client
        })
        .collect();
    settles("all uploads have begun", || uploads(&server) == EACH);
    let mut reading: Vec<RawClient> = (0..EACH)
        .map(|_| {
            let mut client = connect();
            client.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(client.response_to_head().status, 200);
            client
        })
        .collect();

    let began = Instant::now();
    server.signal(Signal::TERM);
    for client in &mut idle {
        assert_eq!(client.end(), End::CloseNotify);
    }
    println!("{IDLE} idle connections have ended after {:?}", began.elapsed());
    assert!(!server.has_ended(), "it waits for those who are busy");
    for client in &mut writing {
        let response = client.exchange("world");
        assert_eq!((response.status, response.header("Connection")), (201, Some("close")));
        assert_eq!(client.end(), End::CloseNotify);
    }
    for client in &mut reading {
        let (rest, end) = client.rest();
        assert_eq!((rest.len(), end), (SIZE, End::CloseNotify));
    }
    let ended = server.wait().expect_code(0);
    for at in 0..EACH {
        assert_eq!(fs::read(server.root().join(at.to_string())).unwrap(), b"helloworld", "{ended}");
    }
    assert_eq!(uploads(&server), 0);
}

/// What became of a request under load.
#[derive(Debug, Eq, PartialEq)]
enum Fate {
    /// Answered in full.
    Answered,
    /// The connection ended before a byte of the answer.
    NotBegun,
}

#[test]
fn under_load_an_answer_is_whole_or_not_begun() {
    const CLIENTS: usize = 8;
    let mut server = SealpairServer::start(|server| {
        server.file("a", vec![b'a'; 100_000]).args(["--drain-timeout", "1h"])
    });
    let address = server.address();
    let tls = RawClient::context(&server, |_| {});
    let answered = AtomicUsize::new(0);
    let request = |client: &mut RawClient| {
        if client.try_send("GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n").is_err() {
            return Fate::NotBegun;
        }
        // Everything up to the end of this answer, or of the connection.
        let until = Instant::now() + sealpair_tests::DEADLINE;
        loop {
            let end = client.look();
            let came = client.unused();
            let whole =
                came.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 100_004);
            match (whole, end) {
                (Some(whole), _) if came.len() >= whole => {
                    assert_eq!(client.response().body.len(), 100_000);
                    return Fate::Answered;
                }
                (_, Some(end)) => {
                    assert!(client.unused().is_empty(), "an answer was cut: {end:?}");
                    return Fate::NotBegun;
                }
                _ => {
                    assert!(Instant::now() < until);
                    thread::sleep(Duration::from_micros(200));
                }
            }
        }
    };
    thread::scope(|scope| {
        for kept in (0..CLIENTS).map(|at| at % 2 == 0) {
            let (tls, answered, request) = (&tls, &answered, &request);
            scope.spawn(move || {
                let mut client = None;
                loop {
                    let current = client.take().or_else(|| {
                        let tcp = TcpStream::connect(address).ok()?;
                        tcp.set_read_timeout(Some(sealpair_tests::DEADLINE)).unwrap();
                        RawClient::try_over(tcp, tls).ok()
                    });
                    // Nobody listens any more.
                    let Some(mut current) = current else { return };
                    match request(&mut current) {
                        Fate::Answered => answered.fetch_add(1, Ordering::SeqCst),
                        Fate::NotBegun => continue,
                    };
                    if kept {
                        client = Some(current);
                    } else {
                        current.close();
                    }
                }
            });
        }
        settles("there is a load", || answered.load(Ordering::SeqCst) > 200);
        server.signal(Signal::TERM);
    });
    println!("{} requests were answered", answered.load(Ordering::SeqCst));
    server.wait().expect_code(0);
}

#[test]
fn the_drain_deadline_holds_with_clients_that_are_stuck_in_every_way() {
    let mut server = SealpairServer::start(|server| {
        let args = ["--handshake-timeout", "1h", "--head-timeout", "1h", "--idle-timeout", "1h"];
        server.writable().args(args).args(["--drain-timeout", "2s"])
    });
    File::create(server.root().join("big")).unwrap().set_len(256 << 20).unwrap();
    let mut stuck = Vec::new();
    for at in 0..10 {
        let mut reading = RawClient::connect(&server);
        reading.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut writing = RawClient::connect(&server);
        let head = format!("PUT /{at} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n");
        writing.send(head + "hello");
        let mut asking = RawClient::connect(&server);
        asking.send("GET /big HTTP/1.1\r\nHost: loc");
        stuck.extend([reading, writing, asking]);
    }
    let silent: Vec<TcpStream> = (0..10).map(|_| raw::tcp(server.address())).collect();
    settles("all uploads have begun", || uploads(&server) == 10);
    let began = Instant::now();
    server.signal(Signal::TERM);
    let ended = server.wait().expect_code(1);
    assert!(began.elapsed() >= Duration::from_secs(2), "{ended}");
    assert!(ended.stderr.contains("cut off at the drain deadline"), "{ended}");
    assert_eq!(uploads(&server), 0, "nothing half is left");
    for mut client in stuck {
        // What was cut cannot be taken for a whole.
        let (part, _) = client.rest();
        assert!(part.len() < 256 << 20);
    }
    drop(silent);
}
