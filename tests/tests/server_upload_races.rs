//! Writers of one file at the same time: one wins, nobody's change is lost unnoticed, nothing is mixed.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::uploads::{append_lines, content, head, sha256, unfinished};
use sealpair_tests::{RawClient, SealpairServer};
use std::fs;
use std::sync::Barrier;
use std::thread;

const WRITERS: u64 = 6;
const ROUNDS: u64 = 5;

fn writable() -> SealpairServer {
    SealpairServer::start(|server| server.writable())
}

/// What each writer is answered, all at the same time.
fn at_once<T: Send>(work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(usize::try_from(WRITERS).unwrap());
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (work, barrier) = (&work, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    work(number)
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

#[test]
fn of_those_who_expect_one_version_only_one_replaces_it() {
    let server = writable();
    fs::write(server.root().join("file"), "0").unwrap();
    for round in 0..ROUNDS {
        let mut client = RawClient::connect(&server);
        let tag = client.request("PUT", "/file", "", format!("{round}").as_bytes());
        let tag = tag.header("ETag").unwrap().trim_start_matches("W/").to_owned();
        let answers = at_once(|number| {
            let mut client = RawClient::connect(&server);
            let whole = content(10_000, number);
            let lines = format!("If-Match: {tag}\r\n");
            match number % 2 {
                0 => client.request("PUT", "/file", &lines, &whole).status,
                // Who sends in parts is one of them.
                _ => {
                    let lines = format!("Upload-Complete: ?0\r\n{lines}");
                    let begun = client.request("PUT", "/file", &lines, b"");
                    match begun.header("Location").map(str::to_owned) {
                        Some(url) => client.append(&url, 0, true, &whole).status,
                        None => begun.status,
                    }
                }
            }
        });
        let won = answers.iter().filter(|status| **status == 204).count();
        let lost = answers.iter().filter(|status| **status == 412).count();
        assert_eq!((won, lost), (1, answers.len() - 1), "{answers:?}");
        let stored = sha256(&fs::read(server.root().join("file")).unwrap());
        let winner = answers.iter().position(|status| *status == 204).unwrap() as u64;
        assert_eq!(stored, sha256(&content(10_000, winner)));
    }
}

#[test]
fn of_those_who_expect_no_file_only_one_makes_it() {
    let server = writable();
    for round in 0..ROUNDS {
        let path = format!("/file{round}");
        let answers = at_once(|number| {
            let whole = content(10_000, number);
            let mut client = RawClient::connect(&server);
            client.request("PUT", &path, "If-None-Match: *\r\n", &whole).status
        });
        let made = answers.iter().position(|status| *status == 201).unwrap() as u64;
        assert_eq!(answers.iter().filter(|status| **status == 412).count(), answers.len() - 1);
        let stored = fs::read(server.root().join(&path[1..])).unwrap();
        assert_eq!(sha256(&stored), sha256(&content(10_000, made)));
    }
    assert!(unfinished(&server.root()).is_empty());
}

#[test]
fn of_those_who_expect_nothing_the_last_one_wins_whole() {
    let server = writable();
    for _ in 0..ROUNDS {
        let answers = at_once(|number| {
            let whole = content(100_000, number);
            RawClient::connect(&server).request("PUT", "/file", "", &whole).status
        });
        assert!(answers.iter().all(|status| matches!(status, 201 | 204)), "{answers:?}");
        let stored = sha256(&fs::read(server.root().join("file")).unwrap());
        assert!((0..WRITERS).any(|number| sha256(&content(100_000, number)) == stored));
    }
}

#[test]
fn two_who_append_to_one_upload_do_not_mix() {
    let server = writable();
    for _ in 0..ROUNDS {
        let url = RawClient::connect(&server).begin_upload("/file", "");
        // The newer ends the older, and finds itself at another offset or at the beginning.
        at_once(|number| {
            let mut client = RawClient::connect(&server);
            let bytes = vec![u8::try_from(number).unwrap() + 1; 600_000];
            let head = head("PATCH", &url, &append_lines(0, false), bytes.len());
            let _ = client.try_send(head);
            for piece in bytes.chunks(50_000) {
                if client.try_send(piece).is_err() {
                    break;
                }
            }
            client.reset();
        });
        let mut client = RawClient::connect(&server);
        let (offset, complete) = client.upload_offset(&url);
        assert!(offset <= 600_000 && !complete);
        let stored = fs::read(server.root().join(&url[1..])).unwrap();
        assert_eq!(stored.len() as u64, offset);
        assert!(stored.windows(2).all(|pair| pair[0] == pair[1]), "two uploads are mixed");
        assert_eq!(client.append(&url, offset, true, b"!").header("Upload-Complete"), Some("?1"));
        let whole = fs::read(server.root().join("file")).unwrap();
        assert_eq!(sha256(&whole), sha256(&[&stored[..], b"!"].concat()));
    }
}

#[test]
fn an_older_request_adds_nothing_once_a_newer_one_has_the_turn() {
    let server = writable();
    let url = RawClient::connect(&server).begin_upload("/file", "");
    let lines = append_lines(0, false) + "Expect: 100-continue\r\n";
    let begin = || {
        let mut client = RawClient::connect(&server);
        client.send(head("PATCH", &url, &lines, 600_000));
        // It has been found to be at the right offset.
        assert_eq!(client.response().status, 100);
        client
    };
    let (mut older, mut newer) = (begin(), begin());
    let _ = older.try_send(vec![1; 300_000]);
    newer.send(vec![2; 600_000]);
    let answer = newer.response();
    assert_eq!((answer.status, answer.header("Upload-Offset")), (204, Some("600000")));
    let _ = older.try_send(vec![1; 300_000]);
    older.rest();
    let stored = fs::read(server.root().join(&url[1..])).unwrap();
    assert_eq!(stored.len(), 600_000);
    assert!(stored.iter().all(|byte| *byte == 2), "two uploads are mixed");
}
