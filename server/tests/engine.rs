//! The engine as a library, with handlers that misbehave: what one request costs the others.

#![allow(clippy::unwrap_used, missing_docs)]

mod running;

use running::{PATIENCE, Running};
use sealpair_server::{Body, Limits, Request, Response};
use std::io::{self, Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// One request on a connection of its own: all that comes back, and whether TLS was ended.
fn ask(server: &Running, path: &str) -> (String, bool) {
    let mut stream = server.connect();
    let close = "Host: localhost\r\nConnection: close\r\n\r\n";
    write!(stream, "GET {path} HTTP/1.1\r\n{close}").unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer).is_ok();
    (String::from_utf8(answer).unwrap(), ended)
}

/// One connection at a time: a worker that is lost shows at once.
fn one_worker() -> Limits {
    Limits { max_connections: 1, drain: PATIENCE, ..Limits::default() }
}

#[test]
fn a_panic_in_a_handler_is_500_and_the_server_goes_on() {
    let server = Running::start(one_worker(), |request: &mut Request<'_>| match request.path() {
        "/panic" => panic!("a handler that panics"),
        _ => Response::text("fine"),
    });
    for _ in 0..3 {
        assert!(ask(&server, "/panic").0.starts_with("HTTP/1.1 500 "));
        assert!(ask(&server, "/").0.ends_with("\r\n\r\nfine"));
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_panic_in_a_body_cuts_that_response_and_the_server_goes_on() {
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("a body that panics")
        }
    }
    let server = Running::start(one_worker(), |request: &mut Request<'_>| {
        let stream = Body::Stream { reader: Box::new(Panics), length: None };
        match request.path() {
            "/panic" => Response::text("").with_body(stream),
            _ => Response::text("fine"),
        }
    });
    for _ in 0..3 {
        let (answer, ended) = ask(&server, "/panic");
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
        assert!(!ended, "the client must be able to tell");
        assert!(ask(&server, "/").0.ends_with("\r\n\r\nfine"));
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_body_that_ends_early_cuts_the_connection_without_close_notify() {
    let server = Running::start(Limits::default(), |_: &mut Request<'_>| {
        let short = Box::new(&b"short"[..]);
        Response::text("").with_body(Body::Stream { reader: short, length: Some(100) })
    });
    let (answer, ended) = ask(&server, "/");
    assert!(answer.contains("Content-Length: 100"), "{answer}");
    assert!(!ended, "the client must be able to tell");
    server.stop();
}

#[test]
fn a_live_stream_arrives_as_it_is_made() {
    struct Live(Receiver<&'static [u8]>);
    impl Read for Live {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.recv().unwrap_or_default();
            buf[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }
    let (send, receive) = channel();
    let receive = Mutex::new(Some(receive));
    let server = Running::start(Limits::default(), move |_: &mut Request<'_>| {
        let reader = Box::new(Live(receive.lock().unwrap().take().unwrap()));
        Response::text("").with_body(Body::Stream { reader, length: None })
    });
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.flush().unwrap();
    let mut seen = String::new();
    for piece in ["one", "two"] {
        send.send(piece.as_bytes()).unwrap();
        // The next piece is made only when this one has arrived.
        while !seen.ends_with(&format!("{piece}\r\n")) && !seen.ends_with(piece) {
            let mut buf = [0; 256];
            let count = stream.read(&mut buf).unwrap();
            assert!(count > 0, "{seen}");
            seen.push_str(std::str::from_utf8(&buf[..count]).unwrap());
        }
    }
    drop(send);
    let mut rest = Vec::new();
    let mut buf = [0; 256];
    while !rest.ends_with(b"0\r\n\r\n") {
        let count = stream.read(&mut buf).unwrap();
        rest.extend_from_slice(&buf[..count]);
    }
    drop(stream);
    assert_eq!(server.stop(), 0);
}

#[test]
fn bounds_that_overflow_the_clock_are_no_bounds() {
    let limits = Limits {
        idle: Duration::MAX,
        head: Duration::MAX,
        handshake: Duration::MAX,
        ..one_worker()
    };
    let server = Running::start(limits, |_: &mut Request<'_>| Response::text("fine"));
    for _ in 0..3 {
        assert!(ask(&server, "/").0.ends_with("fine"));
    }
    assert_eq!(server.stop(), 0);
}
