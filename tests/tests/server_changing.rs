//! Files that change while they are sent: what arrives as complete is one version, whole.
//!
//! The client does not read, so the server is stuck somewhere before the end, which it cannot have sent:
//! the file is longer than all buffers between the two (4 MiB at the server's end by Linux's tcp_wmem, and
//! what the client sets at its own).

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::{DEADLINE, End, RawClient, SealpairServer, settles};
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const SIZE: usize = 6 << 20;

/// Bytes that tell where they come from, and from which version.
fn content(version: u8) -> Vec<u8> {
    (0..SIZE).map(|at| (at / 4093) as u8 ^ version).collect()
}

fn writable(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

/// Asks, waits until the response has begun, changes the file, and reads the rest.
fn read_while(
    server: &SealpairServer,
    fields: &str,
    change: impl FnOnce(&Path),
) -> (String, Vec<u8>, End) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(512 << 10).unwrap();
    socket.connect(&server.address().into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let tls = RawClient::context(server, |_| {});
    let mut client = RawClient::over(socket.into(), &tls);
    client.send(format!(
        "GET /file HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n"
    ));
    client.status().unwrap();
    change(&server.root().join("file"));
    let (bytes, end) = client.rest();
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let (head, body) = bytes.split_at(head);
    (String::from_utf8(head.to_vec()).unwrap(), body.to_vec(), end)
}

fn announced(head: &str) -> usize {
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    length.parse().unwrap()
}

#[test]
fn a_file_that_changes_while_it_is_sent_never_looks_complete() {
    let server = SealpairServer::start(|server| server.file("file", ""));
    let path = server.root().join("file");
    let (old, new) = (content(0), content(1));
    type Change<'c> = (&'c str, &'c dyn Fn(&Path));
    let changes: [Change<'_>; 7] = [
        ("truncated", &|path| writable(path).set_len(SIZE as u64 / 2).unwrap()),
        ("truncated by one byte", &|path| writable(path).set_len(SIZE as u64 - 1).unwrap()),
        ("emptied", &|path| writable(path).set_len(0).unwrap()),
        ("grown", &|path| {
            File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
        }),
        ("overwritten", &|path| writable(path).write_all_at(&new, 0).unwrap()),
        ("overwritten in its last byte", &|path| {
            writable(path).write_all_at(&new[..1], SIZE as u64 - 1).unwrap();
        }),
        ("overwritten, its time set back", &|path| {
            let file = writable(path);
            let modified = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(&new[..1], SIZE as u64 - 1).unwrap();
            file.set_modified(modified).unwrap();
        }),
    ];
    let half = SIZE / 2;
    let requests = [
        String::new(),
        "Range: bytes=1-\r\n".to_owned(),
        format!("Range: bytes=0-{},{}-\r\n", half - 2, half + 2),
    ];
    // Every kind of change of the whole, and some of parts: what follows is the same for all.
    let cases = changes.iter().map(|change| (&requests[0], change)).chain([
        (&requests[1], &changes[0]),
        (&requests[1], &changes[5]),
        (&requests[2], &changes[0]),
        (&requests[2], &changes[5]),
    ]);
    for (fields, (name, change)) in cases {
        fs::write(&path, &old).unwrap();
        let (head, body, end) = read_while(&server, fields, change);
        assert_eq!(end, End::Cut, "{name} {fields}");
        assert!(body.len() < announced(&head), "{name} {fields}: {} bytes", body.len());
    }
}

#[test]
fn a_file_that_is_replaced_or_removed_while_it_is_sent_arrives_as_it_was() {
    let server = SealpairServer::start(|server| server.file("file", ""));
    let path = server.root().join("file");
    let (old, new) = (content(0), content(1));
    let changes: [&dyn Fn(&Path); 4] = [
        &|path| {
            fs::write(path.with_file_name("new"), &new).unwrap();
            fs::rename(path.with_file_name("new"), path).unwrap();
        },
        &|path| fs::remove_file(path).unwrap(),
        &|path| fs::hard_link(path, path.with_file_name("link")).unwrap(),
        // Nothing: that the others are not cut is no chance.
        &|_| {},
    ];
    for change in changes {
        let _ = fs::remove_file(&path);
        fs::write(&path, &old).unwrap();
        let (head, body, end) = read_while(&server, "", change);
        assert_eq!(end, End::CloseNotify);
        assert_eq!(announced(&head), SIZE);
        assert!(body == old);
    }
    fs::write(&path, &old).unwrap();
    let (_, body, end) = read_while(&server, "Range: bytes=7-\r\n", changes[0]);
    assert_eq!(end, End::CloseNotify);
    assert!(body == old[7..]);
}

/// Small files, which are read before anything is sent: all that arrives is of one version, and a strong tag
/// never stands for two.
#[test]
fn a_small_file_that_is_rewritten_all_the_time_never_arrives_mixed_or_under_another_tag() {
    const LENGTH: usize = 10_000;
    const VERSIONS: u8 = 150;
    let server = SealpairServer::start(|server| server.file("file", vec![0; LENGTH]));
    let path = server.root().join("file");
    // Requests so far: the writer goes on when the readers have had some more.
    let read = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let reader = || {
        let mut client = RawClient::connect(&server);
        let mut strong: Vec<(String, u8)> = Vec::new();
        while !done.load(Ordering::SeqCst) {
            client.send("GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n");
            read.fetch_add(1, Ordering::SeqCst);
            if let Err(end) = client.status() {
                assert_ne!(end, End::CloseNotify);
                client = RawClient::connect(&server);
                continue;
            }
            let response = client.response();
            let tag = response.header("ETag").unwrap();
            if tag.starts_with("W/") {
                continue;
            }
            assert_eq!(response.body.len(), LENGTH);
            let version = response.body[0];
            let other = response.body.iter().find(|&&byte| byte != version);
            assert_eq!(other, None, "parts of two versions under {tag}");
            strong.push((tag.to_owned(), version));
        }
        strong
    };
    let strong: Vec<_> = thread::scope(|scope| {
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        let file = writable(&path);
        let early = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(1000);
        for version in 1..=VERSIONS {
            file.write_all_at(&[version; LENGTH], 0).unwrap();
            // Each version has a time of its own, other than that of the change: its tag is strong at once.
            file.set_modified(early + Duration::from_secs(version.into())).unwrap();
            // Of four further requests one reader has made two, so it has the response to the first.
            let before = read.load(Ordering::SeqCst);
            settles("the readers go on", || read.load(Ordering::SeqCst) > before + 3);
        }
        done.store(true, Ordering::SeqCst);
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    });
    let mut versions = HashMap::new();
    for (tag, version) in strong {
        assert_eq!(*versions.entry(tag).or_insert(version), version);
    }
    assert!(versions.len() >= VERSIONS.into(), "{} tags were strong", versions.len());
}
