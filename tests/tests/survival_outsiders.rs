//! Programs of others that were written to bring servers down, or to load them.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::peers::find;
use sealpair_tests::{Run, SealpairServer, Survival};
use std::process::Command;

/// Runs slowhttptest for a few seconds, and reads its verdict.
fn slow(mode: &[&str], path: &str) {
    let server = SealpairServer::start(|server| {
        let args = ["--handshake-timeout", "10s", "--head-timeout", "3s", "--idle-timeout", "3s"];
        server.writable().file("a", vec![b'a'; 4 << 20]).args(args)
    });
    let survival = Survival::begin_for(&server, 200).allow_memory(200 * 128);
    let command = Command::new(find("slowhttptest", "slowhttptest"));
    let slow = Run::new(command).args(mode).args(["-c", "200", "-r", "200", "-i", "1", "-l", "5"]);
    // It probes the service all the time, and calls it down if a probe takes this long.
    let slow = slow.args(["-p", "5", "-u", &server.url(path)]).current_dir(server.dir());
    let ended = slow.run().expect_success();
    let text = ended.text();
    let verdicts: Vec<&str> =
        text.lines().filter(|line| line.contains("service available")).collect();
    assert!(!verdicts.is_empty(), "{ended}");
    assert!(verdicts.iter().all(|line| line.contains("YES")), "{ended}");
    assert!(!text.contains("Service unavailable"), "{ended}");
    println!("{}", text.lines().rev().take(12).collect::<Vec<_>>().join("\n"));
    survival.end();
    assert_eq!(server.stop(), 0);
}

#[test]
fn slowhttptest_with_slow_headers() {
    slow(&["-H"], "/a");
}

#[test]
fn slowhttptest_with_slow_bodies() {
    slow(&["-B", "-t", "PUT", "-s", "8192", "-x", "10"], "/new");
}

#[test]
fn slowhttptest_with_slow_reading() {
    slow(&["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-k", "1"], "/a");
}

#[test]
fn slowhttptest_with_ranges() {
    slow(&["-R", "-t", "HEAD", "-a", "1", "-b", "3000"], "/a");
}

#[test]
fn wrk_sees_no_error() {
    let server = SealpairServer::start(|server| server.file("a", vec![b'a'; 1 << 10]));
    let survival = Survival::begin_for(&server, 100);
    let command = Command::new(find("wrk", "wrk"));
    let wrk = Run::new(command).args(["--threads", "1", "--connections", "100"]);
    let ended = wrk.args(["--duration", "3s", &server.url("/a")]).run().expect_success();
    let text = ended.text();
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{ended}");
    let done = text.lines().find(|line| line.contains(" requests in ")).unwrap().trim().to_owned();
    assert!(!done.starts_with("0 "), "{ended}");
    println!("{done}");
    survival.end();
    assert_eq!(server.stop(), 0);
}

#[test]
fn h2load_with_http_1_1_sees_no_error() {
    let server = SealpairServer::start(|server| server.file("a", vec![b'a'; 100 << 10]));
    let survival = Survival::begin_for(&server, 50);
    let command = Command::new(find("h2load", "nghttp2-client"));
    let load = Run::new(command).args(["--h1", "--requests", "2000", "--clients", "50"]);
    let ended = load.arg(server.url("/a")).run().expect_success();
    let text = ended.text();
    let expected = "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored";
    assert!(text.contains(expected), "{ended}");
    assert!(text.contains("status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{ended}");
    survival.end();
    assert_eq!(server.stop(), 0);
}
