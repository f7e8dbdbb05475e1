//! A thousand panics: each costs its own request, and no thread.
//!
//! Alone in its file, because threads are counted and other tests of a process have theirs.

#![allow(clippy::unwrap_used, missing_docs)]

mod running;

use running::Running;
use sealpair_common::tls::TlsStream;
use sealpair_server::{Limits, Request, Response};
use std::io::{Read, Write};
use std::time::Duration;

const PANICS: usize = 1_000;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// The status of the answer, whose content has this length.
fn ask(stream: &mut TlsStream, path: &str) -> u16 {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 1 << 10];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{answer:?}");
        answer.extend_from_slice(&piece[..count]);
        let text = std::str::from_utf8(&answer).unwrap();
        let Some((head, content)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        if content.len() == length.parse::<usize>().unwrap() {
            return head.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

#[test]
fn a_thousand_panics_are_a_thousand_500s_and_cost_no_thread() {
    // A thousand messages of panics would hide that of this test.
    std::panic::set_hook(Box::new(|panic| {
        if !panic.to_string().contains("a handler that panics") {
            eprintln!("{panic}");
        }
    }));
    let server =
        Running::start(Limits::default(), |request: &mut Request<'_>| match request.path() {
            "/panic" => panic!("a handler that panics"),
            _ => Response::text("fine"),
        });

    let mut kept: Vec<TlsStream> = (0..4).map(|_| server.connect()).collect();
    kept.iter_mut().for_each(|stream| assert_eq!(ask(stream, "/"), 200));
    let before = threads();
    // Over connections that live through it, and over new ones.
    for round in 0..PANICS / 10 {
        for stream in &mut kept {
            assert_eq!(ask(stream, "/panic"), 500, "{round}");
            assert_eq!(ask(stream, "/panic"), 500, "{round}");
            assert_eq!(ask(stream, "/"), 200, "{round}");
        }
        for _ in 0..2 {
            let mut stream = server.connect();
            assert_eq!(ask(&mut stream, "/panic"), 500, "{round}");
            assert_eq!(ask(&mut stream, "/"), 200, "{round}");
        }
    }
    drop(kept);
    let patience = std::time::Instant::now() + Duration::from_secs(30);
    // One that waits for the next connection, and one that still closes the last.
    while threads() > before + 2 {
        assert!(std::time::Instant::now() < patience, "{} threads, before {before}", threads());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.stop(), 0);
}
