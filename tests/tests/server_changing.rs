//! Files that change while they are sent: what arrives as complete is one version, whole.
//!
//! The client does not read, so the server is stuck somewhere before the end, which it cannot have sent:
//! the file is longer than all buffers between the two (tcp_wmem and tcp_rmem of Linux: 4 and 6 MiB).

use sealpair_tests::{End, RawClient, SealpairServer};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SIZE: usize = 20 << 20;

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
    let mut client = RawClient::connect(server);
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
