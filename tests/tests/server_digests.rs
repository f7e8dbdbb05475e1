//! `Repr-Digest`: right, never stale, and computed once.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_common::digest::{Hasher, Sha256};
use sealpair_tests::{RawClient, RawResponse, Run, SealpairServer, ServerBuilder, peers};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Longer than what is computed while GET waits.
const LARGE: u64 = (64 << 20) + 1;

/// What the log says of each computation.
const COMPUTED: &str = "computed the digest of a file";

/// The digest in a response, as sha256sum would print it.
fn digest(response: &RawResponse) -> Option<String> {
    let field = response.header("Repr-Digest")?;
    Some(Sha256::in_field(field).unwrap().unwrap().to_string())
}

fn sha256sum(path: &Path) -> String {
    let sum = Run::new(Command::new(peers::find("sha256sum", "coreutils"))).arg("-b").arg(path);
    sum.run().expect_success().text().split(' ').next().unwrap().to_owned()
}

fn of(content: &[u8]) -> String {
    let mut hasher = Hasher::new().unwrap();
    hasher.update(content).unwrap();
    hasher.finish().unwrap().to_string()
}

fn ask(client: &mut RawClient, method: &str, path: &str, more: &str) -> RawResponse {
    let want = "Want-Repr-Digest: sha-512=3, sha-256=10\r\n";
    client.exchange(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{want}{more}\r\n"))
}

/// A sparse file with something in it, from an hour ago.
fn large(path: &Path, text: &str) {
    let file = File::create(path).unwrap();
    file.set_len(LARGE).unwrap();
    file.write_all_at(text.as_bytes(), LARGE / 2).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

/// Stops a server, and says how many digests it has computed. Only then is its log complete.
fn computed(mut server: SealpairServer) -> usize {
    server.signal(Signal::TERM);
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{ended}");
    ended.stderr.matches(COMPUTED).count()
}

fn talkative(server: ServerBuilder) -> ServerBuilder {
    server.env("RUST_LOG", "info,sealpair_server=debug")
}

#[test]
fn who_asks_gets_the_digest_of_the_whole_representation() {
    let content = b"0123456789".repeat(10_000);
    let server = SealpairServer::start(|server| server.file("a", &content).writable());
    let expected = sha256sum(&server.root().join("a"));
    let mut client = RawClient::connect(&server);
    let get = ask(&mut client, "GET", "/a", "");
    assert_eq!((get.status, digest(&get)), (200, Some(expected.clone())));
    assert!(get.body == content);
    let tag = get.header("ETag").unwrap().to_owned();
    for (method, more, status, has) in [
        ("HEAD", "", 200, true),
        ("GET", "Range: bytes=5-9\r\n", 206, true),
        ("GET", "Range: bytes=0-1,50-51\r\n", 206, true),
        ("GET", "Range: bytes=999999999-\r\n", 416, false),
        ("GET", &format!("If-None-Match: {tag}\r\n"), 304, false),
        ("GET", "If-Match: \"other\"\r\n", 412, false),
    ] {
        let response = ask(&mut client, method, "/a", more);
        let found = digest(&response);
        assert_eq!((response.status, found), (status, has.then(|| expected.clone())), "{more}");
    }
    assert_eq!(digest(&ask(&mut client, "GET", "/absent", "")), None);
    // Who does not ask does not get it, whether it is known or not.
    assert_eq!(digest(&client.get("/a")), None);
    for want in ["sha-256=0", "md5=10", "sha-256", "]["] {
        let request =
            format!("GET /a HTTP/1.1\r\nHost: localhost\r\nWant-Repr-Digest: {want}\r\n\r\n");
        assert_eq!(digest(&client.exchange(request)), None, "{want}");
    }
    // As curl's users would check a download.
    let saved = server.dir().join("saved");
    let curl = server.curl().args(["-H", "Want-Repr-Digest: sha-256=1", "-D", "-", "-o"]);
    let head = curl.arg(&saved).arg(server.url("/a")).run().expect_success().text();
    let head = RawResponse { head, ..RawResponse::default() };
    assert_eq!(digest(&head), Some(sha256sum(&saved)));
}

#[test]
fn a_large_file_is_digested_once_while_it_is_sent_or_for_head() {
    let server = SealpairServer::start(|server| talkative(server).writable());
    let (sent, asked) = (server.root().join("sent"), server.root().join("asked"));
    large(&sent, "sent");
    large(&asked, "asked");
    let mut client = RawClient::connect(&server);

    // The first download does not wait for it. What it has learned is there for the next request.
    let output = server.dir().join("output");
    let curl = server.curl().args(["--fail", "-H", "Want-Repr-Digest: sha-256=1", "-D", "-", "-o"]);
    let head = curl.arg(&output).arg(server.url("/sent")).run().expect_success().text();
    assert!(!head.to_lowercase().contains("repr-digest"), "{head}");
    assert!(head.contains(&format!("Content-Length: {LARGE}\r\n")), "{head}");
    let expected = sha256sum(&sent);
    assert_eq!(sha256sum(&output), expected);
    assert_eq!(digest(&ask(&mut client, "HEAD", "/sent", "")), Some(expected.clone()));
    let part = ask(&mut client, "GET", "/sent", "Range: bytes=0-0\r\n");
    assert_eq!((part.status, digest(&part)), (206, Some(expected)));

    let part = ask(&mut client, "GET", "/asked", "Range: bytes=0-0\r\n");
    assert_eq!((part.status, digest(&part)), (206, None));
    let expected = Some(sha256sum(&asked));
    let mut others: Vec<_> = (0..3).map(|_| RawClient::connect(&server)).collect();
    for other in &mut others {
        let head = "HEAD /asked HTTP/1.1\r\nHost: localhost\r\nWant-Repr-Digest: sha-256=1\r\n\r\n";
        other.send(head);
    }
    for other in &mut others {
        assert_eq!(digest(&other.response_to_head()), expected);
    }

    // What is uploaded has been digested on its way.
    let upload = fs::read(&output).unwrap().split_off(usize::try_from(LARGE / 2).unwrap() - 1000);
    let curl = server.curl().args(["--fail", "-T", "-"]).arg(server.url("/up"));
    curl.input(&upload[..5000]).run().expect_success();
    assert_eq!(digest(&ask(&mut client, "HEAD", "/up", "")), Some(of(&upload[..5000])));
    drop((client, others));
    assert_eq!(computed(server), 1, "only the one that was not sent, and once for all who asked");
}

#[test]
fn overwriting_in_place_never_leaves_the_old_digest() {
    let server = SealpairServer::start(|server| server);
    let path = server.root().join("a");
    let mut client = RawClient::connect(&server);
    for number in 0..150_u32 {
        // The same length, as fast as it goes: many within a tick of the file system's clock.
        let content = number.to_le_bytes().repeat(3);
        fs::write(&path, &content).unwrap();
        for method in ["HEAD", "GET"] {
            let response = ask(&mut client, method, "/a", "");
            assert_eq!(digest(&response), Some(of(&content)), "{method} of version {number}");
        }
    }
}

#[test]
fn digests_outlive_the_server_and_the_loss_of_their_index_costs_only_time() {
    let tree = TempDir::new().unwrap();
    let (root, state) = (tree.path().join("root"), tree.path().join("state"));
    fs::create_dir(&root).unwrap();
    let past = SystemTime::now() - Duration::from_secs(3600);
    for name in ["a", "b", "c"] {
        fs::write(root.join(name), name.repeat(1000)).unwrap();
        File::options().write(true).open(root.join(name)).unwrap().set_modified(past).unwrap();
    }
    let start = || {
        let server = |server: ServerBuilder| talkative(server).serving(&root).state_dir(&state);
        SealpairServer::start(server)
    };
    let check = |server: &SealpairServer| {
        let mut client = RawClient::connect(server);
        for name in ["a", "b", "c"] {
            let response = ask(&mut client, "HEAD", &format!("/{name}"), "");
            assert_eq!(digest(&response), Some(of(name.repeat(1000).as_bytes())), "{name}");
        }
    };
    // How many digests a run has to compute.
    let run = || {
        let server = start();
        check(&server);
        check(&server);
        computed(server)
    };
    assert_eq!(run(), 3);
    assert_eq!(run(), 0, "all are known");
    // A file that was written to is another version.
    let file = File::options().write(true).open(root.join("b")).unwrap();
    file.write_all_at(b"b", 0).unwrap();
    file.set_modified(past).unwrap();
    assert_eq!(run(), 1);

    // The second line is damaged, and a third was torn by a loss of power.
    let index = state.join("digests");
    let text = fs::read_to_string(&index).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() >= 3, "{text}");
    let damaged = lines[1].replacen(lines[1].split(' ').nth(8).unwrap(), &of(b"forged"), 1);
    assert_ne!(damaged, lines[1]);
    fs::write(&index, format!("{}\n{damaged}\n{}", lines[0], &lines[2][..50])).unwrap();
    assert_eq!(run(), 2, "what was damaged is computed again");
    fs::write(&index, [0xff; 10_000]).unwrap();
    assert_eq!(run(), 3);
    assert_eq!(run(), 0);

    // Where there is no place for it, it is said once, and nothing else changes.
    fs::remove_file(&index).unwrap();
    fs::create_dir(&index).unwrap();
    let mut server = start();
    check(&server);
    check(&server);
    server.signal(Signal::TERM);
    let log = server.wait().stderr;
    assert_eq!(log.matches("digests are not kept beyond this run").count(), 1, "{log}");
    assert_eq!(log.matches(COMPUTED).count(), 3, "{log}");
}
