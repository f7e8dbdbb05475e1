//! `sealpair get --parallel`: several connections, one version of one file.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_common::digest::Sha256;
use sealpair_tests::peers::Ending;
use sealpair_tests::{Ended, Nginx, Pki, Run, ScriptedServer, SealpairServer, settles};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// Bytes of which no two ranges are the same.
fn content(length: usize, seed: u32) -> Vec<u8> {
    let words =
        (0..length.div_ceil(4) as u32).map(|at| (at ^ seed << 24).wrapping_mul(2_654_435_761));
    let mut bytes = Vec::with_capacity(length + 4);
    words.for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    bytes.truncate(length);
    bytes
}

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256::of(bytes).unwrap()
}

struct Fixture {
    pki: Pki,
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { pki: Pki::new(), dir: tempfile::tempdir().unwrap() }
    }

    fn run(&self, url: &str, ca: &Path, args: &[&str]) -> Run {
        let run = Run::of("sealpair").args(["get", url, "-o", "f", "--json", "--parallel", "4"]);
        run.args(args).arg("--ca").arg(ca).current_dir(self.dir.path())
    }

    fn get(&self, server: &ScriptedServer, args: &[&str]) -> Ended {
        self.run(&server.url("/f"), &self.pki.ca(), args).run()
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("f")
    }

    #[track_caller]
    fn expect(&self, content: &[u8]) {
        let file = fs::read(self.file()).unwrap();
        assert_eq!(file.len(), content.len());
        assert_eq!(digest(&file), digest(content));
        fs::remove_file(self.file()).unwrap();
        self.expect_nothing();
    }

    #[track_caller]
    fn expect_nothing(&self) {
        let names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(names.is_empty(), "{names:?}");
    }
}

/// A whole or a part, as an honest server answers.
fn honest(head: &str, etag: &str, content: &[u8]) -> Vec<u8> {
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let range = field("range: bytes=").and_then(|range| {
        let (first, last) = range.split_once('-')?;
        Some((first.parse().ok()?, last.parse().unwrap_or(usize::MAX).min(content.len() - 1)))
    });
    let holds = field("if-range: ").is_none_or(|condition| condition == etag);
    let (status, range, bytes) = match range {
        Some((first, last)) if holds => {
            let range = format!("Content-Range: bytes {first}-{last}/{}\r\n", content.len());
            ("206 Partial Content", range, &content[first..=last])
        }
        _ => ("200 OK", String::new(), content),
    };
    let length = bytes.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{range}ETag: {etag}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), bytes].concat()
}

#[test]
fn real_servers_send_ranges_that_make_the_file() {
    let fixture = Fixture::new();
    let content = content(13 * MIB + 12_345, 1);
    let sealpair = SealpairServer::start(|s| s.file("f", &content));
    let nginx = Nginx::start(&fixture.pki.server(), "");
    fs::write(nginx.root().join("f"), &content).unwrap();
    let sha256 = digest(&content).to_string();
    for (url, ca) in [(sealpair.url("/f"), sealpair.ca()), (nginx.url("/f"), fixture.pki.ca())] {
        let ended = fixture.run(&url, &ca, &["--sha256", &sha256]).run().expect_success();
        let document = ended.json();
        assert_eq!(document["connections"], 4);
        assert_eq!(document["bytes"], content.len());
        assert_eq!(document["sha256"], sha256);
        fixture.expect(&content);
        let wrong = digest(b"").to_string();
        fixture.run(&url, &ca, &["--sha256", &wrong]).run().expect_code(25);
        fixture.expect_nothing();
    }
    let requests = nginx.log().lines().filter(|line| line.contains(" 206 ")).count();
    assert!(requests > 4, "{}", nginx.log());
}

#[test]
fn after_a_kill_only_what_is_missing_is_fetched() {
    let fixture = Fixture::new();
    let content = content(10 * MIB, 2);
    let server = SealpairServer::start(|s| s.file("f", &content));
    let (url, ca) = (server.url("/f"), server.ca());
    let part = fixture.dir.path().join("f.part");
    for (signal, more) in [(Signal::INT, "--parallel=3"), (Signal::KILL, "--parallel=1")] {
        let run = Run::of("sealpair").args(["get", &url, "-o", "f", "-c", "--parallel", "4"]);
        let run = run.args(["--limit-rate", "4MiB"]).arg("--ca").arg(&ca);
        let run = run.current_dir(fixture.dir.path()).start();
        settles("ranges are written", || {
            part.exists() && part.with_extension("part.json").exists()
        });
        run.signal(signal);
        run.wait();
        assert!(!fixture.file().exists());
        let run =
            Run::of("sealpair").args(["get", &url, "-o", "f", "-c", more]).arg("--ca").arg(&ca);
        run.current_dir(fixture.dir.path()).run().expect_success();
        fixture.expect(&content);
    }
}

#[test]
fn ranges_that_fail_are_fetched_again_and_the_rest_is_kept_for_the_next_time() {
    let fixture = Fixture::new();
    let whole = content(7 * MIB, 3);
    let served = whole.clone();
    // Every third answer ends in the middle.
    let server = ScriptedServer::playing(&fixture.pki.server(), move |number, head| {
        let answer = honest(head, "\"v\"", &served);
        match number % 3 {
            1 => (answer[..answer.len() / 2].to_vec(), Ending::Cut),
            _ => (answer, Ending::Repeat),
        }
    });
    let ended = fixture.get(&server, &["--retry", "5"]).expect_success();
    assert!(ended.json()["retries"].as_u64().unwrap() > 0);
    fixture.expect(&whole);

    let ended = fixture.get(&server, &["--continue"]).expect_code(24);
    let kept = ended.json()["error"]["detail"]["kept"].as_u64().unwrap();
    assert!(kept > 0, "{ended:?}");
    let mut last = ended;
    for _ in 0..20 {
        last = fixture.get(&server, &["--continue"]);
        if last.code() == Some(0) {
            break;
        }
    }
    let document = last.expect_success().json();
    assert!(document["resumed_from"].as_u64().unwrap() >= kept);
    fixture.expect(&whole);
}

#[test]
fn a_server_that_takes_no_more_connections_is_left_to_those_that_it_has() {
    let fixture = Fixture::new();
    let whole = content(9 * MIB, 9);
    let served = whole.clone();
    let server = ScriptedServer::playing(&fixture.pki.server(), move |number, head| match number {
        1 | 2 => {
            let busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            (busy.to_vec(), Ending::Close)
        }
        _ => (honest(head, "\"v\"", &served), Ending::Repeat),
    });
    fixture.get(&server, &[]).expect_success();
    fixture.expect(&whole);
    let server = ScriptedServer::playing(&fixture.pki.server(), move |number, head| match number {
        0 => {
            let answer = honest(head, "\"v\"", &whole);
            (answer[..answer.len() - 9].to_vec(), Ending::Cut)
        }
        _ => (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec(), Ending::Close),
    });
    assert!(matches!(fixture.get(&server, &[]).code(), Some(21 | 24)));
    fixture.expect_nothing();
}

#[test]
fn a_version_that_changes_meanwhile_is_fetched_in_one_piece() {
    let fixture = Fixture::new();
    let (old, new) = (content(8 * MIB, 4), content(7 * MIB, 5));
    let served = (old, new.clone());
    let server = ScriptedServer::playing(&fixture.pki.server(), move |number, head| {
        let answer = match number {
            0..3 => honest(head, "\"old\"", &served.0),
            _ => honest(head, "\"new\"", &served.1),
        };
        (answer, Ending::Repeat)
    });
    for more in ["--quiet", "--continue"] {
        let ended = fixture.get(&server, &[more]).expect_success();
        assert!(ended.json()["connections"].is_null() || more == "--continue");
        fixture.expect(&new);
    }
}

#[test]
fn a_server_that_lies_about_the_version_makes_no_file_of_two() {
    let fixture = Fixture::new();
    let (one, other) = (content(6 * MIB, 6), content(6 * MIB, 7));
    for etag in ["\"other\"", "W/\"one\"", "\"one"] {
        let (one, other, whole) = (one.clone(), other.clone(), other.clone());
        let server = ScriptedServer::playing(&fixture.pki.server(), move |number, head| {
            // It does not know the condition.
            let head: String = head
                .lines()
                .filter(|line| !line.starts_with("if-range"))
                .fold(String::new(), |head, line| head + line + "\r\n");
            let answer = match number {
                0 => honest(&head, "\"one\"", &one),
                _ => honest(&head, etag, &other),
            };
            (answer, Ending::Repeat)
        });
        fixture.get(&server, &[]).expect_success();
        fixture.expect(&whole);
    }
}

#[test]
fn where_anything_is_missing_one_connection_does_it() {
    let fixture = Fixture::new();
    let whole = content(5 * MIB, 8);
    for (name, etag, ranges) in
        [("no ranges", "\"v\"", false), ("weak", "W/\"v\"", true), ("neither", "v", false)]
    {
        let served = whole.clone();
        let server = ScriptedServer::playing(&fixture.pki.server(), move |_, head| {
            let head = if ranges { head } else { "" };
            (honest(head, etag, &served), Ending::Repeat)
        });
        let ended = fixture.get(&server, &[]).expect_success();
        assert!(ended.json()["connections"].is_null(), "{name}");
        assert_eq!(server.requests().len(), if ranges { 2 } else { 1 }, "{name}");
        fixture.expect(&whole);
    }
    // Small or empty: one request, or two.
    for length in [0, 10] {
        let served = whole[..length].to_vec();
        let requests = AtomicUsize::new(0);
        let server = ScriptedServer::playing(&fixture.pki.server(), move |_, head| {
            requests.fetch_add(1, Ordering::SeqCst);
            let answer = match length {
                0 if head.contains("range: ") => {
                    let fields = "Content-Range: bytes */0\r\nContent-Length: 0\r\n\r\n";
                    format!("HTTP/1.1 416 Range Not Satisfiable\r\n{fields}").into()
                }
                0 => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
                _ => honest(head, "\"v\"", &served),
            };
            (answer, Ending::Repeat)
        });
        fixture.get(&server, &[]).expect_success();
        assert!(server.requests().len() <= 2);
        fixture.expect(&whole[..length]);
    }
    // Standard output cannot be written in any order.
    let served = whole.clone();
    let server = ScriptedServer::playing(&fixture.pki.server(), move |_, head| {
        (honest(head, "\"v\"", &served), Ending::Repeat)
    });
    let run = Run::of("sealpair").args(["get", &server.url("/f"), "--parallel", "4"]);
    let ended = run.arg("--ca").arg(fixture.pki.ca()).run().expect_success();
    assert_eq!(digest(&ended.stdout), digest(&whole));
}
