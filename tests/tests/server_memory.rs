//! A gigabyte in each direction moves through constant memory, and arrives as it was.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::hash::{Hasher, MessageDigest};
use sealpair_tests::SealpairServer;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

const SIZE: u64 = 1 << 30;

/// What the server may have in memory at most, in KiB.
const MEMORY: u64 = 64 << 10;

/// A sparse file of a gigabyte with something to recognize in every 8 MiB and at its end.
fn gigabyte(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(SIZE).unwrap();
    for offset in (0..SIZE).step_by(8 << 20).chain([SIZE - 64]) {
        file.write_all_at(format!("this stands at {offset}").as_bytes(), offset).unwrap();
    }
}

fn sha256(mut source: impl Read) -> (u64, Vec<u8>) {
    let mut hasher = Hasher::new(MessageDigest::sha256()).unwrap();
    let mut piece = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let count = source.read(&mut piece).unwrap();
        if count == 0 {
            return (length, hasher.finish().unwrap().to_vec());
        }
        hasher.update(&piece[..count]).unwrap();
        length += count as u64;
    }
}

#[test]
fn curl_moves_a_gigabyte_both_ways_in_constant_memory() {
    let server = SealpairServer::start(|server| server.writable());
    let source = server.root().join("down");
    gigabyte(&source);
    let expected = sha256(File::open(&source).unwrap());
    assert_eq!(expected.0, SIZE);

    // Through a pipe into the digest: nothing has to be written.
    let (reader, writer) = std::io::pipe().unwrap();
    let writer = File::from(std::os::fd::OwnedFd::from(writer));
    let deadline = Duration::from_secs(300);
    let curl = server.curl().arg("--fail").arg(server.url("/down"));
    let curl = curl.output_file(writer).deadline(deadline).start();
    assert!(sha256(reader) == expected, "the download differs");
    curl.wait().expect_success();
    assert!(server.peak_rss_kib() < MEMORY, "{} KiB after the download", server.peak_rss_kib());

    let curl = server.curl().args(["--fail", "-T"]).arg(&source).arg(server.url("/up"));
    curl.deadline(deadline).run().expect_success();
    assert!(server.peak_rss_kib() < MEMORY, "{} KiB after the upload", server.peak_rss_kib());
    assert!(
        sha256(File::open(server.root().join("up")).unwrap()) == expected,
        "the upload differs"
    );
}

#[test]
fn idle_connections_hold_little_memory() {
    const CLIENTS: usize = 200;
    let server = SealpairServer::start(|server| server.file("a", vec![b'a'; 200_000]));
    let tls = sealpair_tests::RawClient::context(&server, |_| {});
    let connect = || sealpair_tests::RawClient::over(server.tcp(), &tls);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/a").body.len(), 200_000);
    }
    let each = server.rss_kib() / CLIENTS as u64;
    assert!(each < 200, "{each} KiB for each connection");
}
