//! `sealpair` against servers that are not there, do not speak TLS or HTTP, or stop in the middle.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::peers::Ending;
use sealpair_tests::{Ended, Pki, Run, ScriptedServer};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use tempfile::TempDir;

/// A client that trusts a test authority, with a directory for what it downloads.
struct Client {
    pki: Pki,
    dir: TempDir,
}

impl Client {
    fn new() -> Self {
        Self { pki: Pki::new(), dir: tempfile::tempdir().unwrap() }
    }

    fn get(&self, url: &str, more: &[&str]) -> Ended {
        let run = Run::of("sealpair").args(["get", url, "-o", "file", "--ca"]).arg(self.pki.ca());
        run.args(more).current_dir(self.dir.path()).run()
    }

    /// Fails the test unless the download directory is as empty as it was.
    #[track_caller]
    fn kept_nothing(&self) {
        let left: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap()).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    fn answering(&self, answer: &[u8], ending: Ending) -> ScriptedServer {
        ScriptedServer::answering(&self.pki.server(), answer, ending)
    }
}

#[test]
fn an_unknown_host_is_5() {
    let client = Client::new();
    let ended = client.get("https://no-such-host.invalid/", &[]).expect_code(5);
    assert!(ended.stderr.contains("cannot resolve no-such-host.invalid"), "{ended}");
    assert!(ended.stderr.contains("--resolve"), "{ended}");
}

#[test]
fn a_refused_port_is_6() {
    let client = Client::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ended = client.get(&format!("https://localhost:{port}/"), &[]).expect_code(6);
    assert!(ended.stderr.contains("cannot connect"), "{ended}");
}

#[test]
fn silence_is_7_at_every_stage() {
    let client = Client::new();
    let short = ["--timeout", "300ms"];
    client.get(&ScriptedServer::silent().url("/"), &short).expect_code(7);
    client.get(&client.answering(b"", Ending::Hold).url("/"), &short).expect_code(7);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    client.get(&client.answering(head, Ending::Hold).url("/"), &short).expect_code(7);
    client.kept_nothing();
}

#[test]
fn plain_http_and_garbage_are_23_and_told_apart() {
    let client = Client::new();
    let http = ScriptedServer::plain(b"HTTP/1.1 400 Bad Request\r\n\r\n", Ending::Close);
    let ended = client.get(&http.url("/"), &[]).expect_code(23);
    assert!(ended.stderr.contains("plain HTTP"), "{ended}");
    let ssh = ScriptedServer::plain(b"SSH-2.0-OpenSSH_9.2p1\r\n", Ending::Close);
    let ended = client.get(&ssh.url("/"), &[]).expect_code(23);
    assert!(ended.stderr.contains("does not speak TLS"), "{ended}");
}

#[test]
fn a_connection_that_closes_before_tls_is_6() {
    let client = Client::new();
    client.get(&ScriptedServer::plain(b"", Ending::Close).url("/"), &[]).expect_code(6);
    client.get(&ScriptedServer::plain(b"", Ending::Reset).url("/"), &[]).expect_code(6);
}

#[test]
fn a_connection_that_closes_instead_of_answering_is_6() {
    let client = Client::new();
    for ending in [Ending::Close, Ending::Cut, Ending::Reset] {
        let ended = client.get(&client.answering(b"", ending).url("/"), &[]);
        assert_eq!(ended.code(), Some(6), "{ending:?}: {ended}");
        let ended = client.get(&client.answering(b"HTTP/1.1 200 OK\r\n", ending).url("/"), &[]);
        assert!(matches!(ended.code(), Some(6 | 23)), "{ending:?}: {ended}");
    }
    client.kept_nothing();
}

#[test]
fn garbage_instead_of_http_is_23() {
    let client = Client::new();
    for answer in
        [&b"this is not HTTP\r\n\r\n"[..], b"HTTP/1.1 2xx OK\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        client.get(&client.answering(answer, Ending::Close).url("/"), &[]).expect_code(23);
    }
}

#[test]
fn an_endless_head_is_23() {
    let client = Client::new();
    let server = ScriptedServer::tls(&client.pki.server(), |stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-More: and more and more and more\r\n").is_ok() {}
    });
    client.get(&server.url("/"), &[]).expect_code(23);
}

#[test]
fn a_body_that_is_cut_is_24_with_and_without_a_length() {
    let client = Client::new();
    let length = &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it"[..];
    let chunked = &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf of it"[..];
    let neither = &b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it"[..];
    for (answer, ending) in [
        (length, Ending::Close),
        (length, Ending::Cut),
        (length, Ending::Reset),
        (chunked, Ending::Close),
        (chunked, Ending::Cut),
        (chunked, Ending::Reset),
        // Only close_notify tells the end here; with it, this is a whole body: see the next test.
        (neither, Ending::Cut),
        (neither, Ending::Reset),
    ] {
        let ended = client.get(&client.answering(answer, ending).url("/"), &[]);
        assert_eq!(ended.code(), Some(24), "{ending:?}: {ended}");
        assert!(ended.stderr.contains("cut short"), "{ended}");
        client.kept_nothing();
    }
}

#[test]
fn a_body_without_a_length_ends_with_close_notify() {
    let client = Client::new();
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it";
    client.get(&client.answering(answer, Ending::Close).url("/"), &[]).expect_success();
    assert_eq!(fs::read(client.dir.path().join("file")).unwrap(), b"all of it");
}

#[test]
fn a_cut_download_leaves_the_old_file_alone() {
    let client = Client::new();
    let file = client.dir.path().join("file");
    fs::write(&file, "old").unwrap();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnew";
    client.get(&client.answering(answer, Ending::Cut).url("/"), &[]).expect_code(24);
    assert_eq!(fs::read(&file).unwrap(), b"old");
    assert_eq!(fs::read_dir(client.dir.path()).unwrap().count(), 1);
}

#[test]
fn no_common_tls_version_is_8() {
    let client = Client::new();
    // An alert protocol_version, as a server that only knows TLS 1.0 would send it.
    let old = ScriptedServer::plain(b"\x15\x03\x01\x00\x02\x02\x46", Ending::Close);
    let ended = client.get(&old.url("/"), &[]).expect_code(8);
    assert!(ended.stderr.contains("no TLS version in common"), "{ended}");
}

#[test]
fn what_the_server_says_reaches_the_terminal_without_control_characters() {
    let client = Client::new();
    let answer = b"HTTP/1.1 404 Not Found\r\nX-Bad: \x1b[31mred\r\nContent-Length: 16\r\n\r\n\
        \x1b]0;title\x07\r\nok\n";
    let server = client.answering(answer, Ending::Close);
    let ended = client.get(&server.url("/"), &["--verbose"]);
    assert!(matches!(ended.code(), Some(20 | 23)), "{ended}");
    let control = |c: char| c.is_control() && c != '\n';
    assert!(!ended.stderr.contains(control), "{:?}", ended.stderr);
}
