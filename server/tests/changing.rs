//! Files that have changed between the moment a handler opened them and the moment they are sent: nothing of
//! them is taken for what the head speaks of.

#![allow(clippy::unwrap_used, missing_docs)]

mod running;

use running::Running;
use sealpair_server::{Body, FilePart, Limits, OpenFile, Request, Response};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Small enough to leave together with its head, one piece, and several.
const SIZES: [usize; 3] = [100, 40_000, 200_000];

fn open(path: &Path, change: bool) -> Arc<OpenFile> {
    let file = File::options().read(true).write(true).open(path).unwrap();
    // Some while before the change below, whatever the clock of the file system ticks like.
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let open = Arc::new(OpenFile::new(file).unwrap());
    if change {
        // The same length.
        fs::write(path, vec![b'n'; usize::try_from(open.length()).unwrap()]).unwrap();
    }
    open
}

#[test]
fn nothing_that_has_changed_since_it_was_opened_arrives_as_complete() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let server = Running::start(Limits::default(), move |request: &mut Request<'_>| {
        let mut words = request.path()[1..].split('/');
        let (kind, change) = (words.next().unwrap(), words.next() == Some("changed"));
        let size: u64 = words.next().unwrap().parse().unwrap();
        let path = root.join(size.to_string());
        fs::write(&path, vec![b'o'; usize::try_from(size).unwrap()]).unwrap();
        let file = open(&path, change);
        let parts = |parts: &[(u64, u64)]| {
            let parts = parts.iter().map(|&(offset, length)| FilePart {
                head: b"head".to_vec(),
                offset,
                length,
            });
            Body::FileParts { file: Arc::clone(&file), parts: parts.collect(), end: Vec::new() }
        };
        Response::text("").with_body(match kind {
            "file" => Body::File { file, offset: 0, length: size },
            "parts" => parts(&[(0, size / 2), (size / 2 + 1, size / 2 - 1)]),
            other => panic!("{other}"),
        })
    });
    for size in SIZES {
        for kind in ["file", "parts"] {
            for change in ["kept", "changed"] {
                let mut stream = server.connect();
                write!(
                    stream,
                    "GET /{kind}/{change}/{size} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                .unwrap();
                stream.flush().unwrap();
                let mut received = Vec::new();
                let end = stream.read_to_end(&mut received);
                let text = String::from_utf8(received).unwrap();
                let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                let expected = match kind {
                    "file" => size,
                    _ => size - 1 + 2 * "head".len(),
                };
                if change == "kept" {
                    assert!(end.is_ok(), "{kind} {size}: {end:?}");
                    assert_eq!(body.len(), expected);
                } else {
                    // The connection is cut: no close_notify.
                    assert!(end.is_err(), "{kind} {size}");
                    assert!(body.len() < expected, "{kind} {size}: {} bytes", body.len());
                }
            }
        }
    }
    server.stop();
}
