//! `sealpair get --retry`: what passes is tried again, and goes on where it ended.
//!
//! The waits are random and short at first (up to 1 s); nothing here depends on how long they are.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::peers::{Ending, answer};
use sealpair_tests::{Ended, Pki, Run, ScriptedServer};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const CONTENT: &[u8] = b"0123456789abcdefghij";
const ETAG: &str = "ETag: \"v1\"\r\n";

struct Fixture {
    pki: Pki,
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { pki: Pki::new(), dir: tempfile::tempdir().unwrap() }
    }

    /// A server that gives these answers one after the other, and the last one for ever.
    fn server(&self, answers: &[(Vec<u8>, Ending)]) -> ScriptedServer {
        let answers = answers.to_vec();
        ScriptedServer::playing(&self.pki.server(), move |number, _| {
            answers.get(number).or_else(|| answers.last()).unwrap().clone()
        })
    }

    fn get(&self, server: &ScriptedServer, args: &[&str]) -> Ended {
        let run = Run::of("sealpair").args(["get", &server.url("/f")]).args(args);
        run.arg("--ca").arg(self.pki.ca()).current_dir(self.dir.path()).run()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The whole, cut off after eight bytes.
fn eight(fields: &str) -> (Vec<u8>, Ending) {
    let whole = answer("200 OK", fields, CONTENT);
    (whole[..whole.len() - 12].to_vec(), Ending::Cut)
}

fn rest() -> (Vec<u8>, Ending) {
    let fields = format!("Content-Range: bytes 8-19/20\r\n{ETAG}");
    (answer("206 Partial Content", &fields, &CONTENT[8..]), Ending::Repeat)
}

fn whole(fields: &str) -> (Vec<u8>, Ending) {
    (answer("200 OK", fields, CONTENT), Ending::Repeat)
}

#[test]
fn a_file_and_a_pipe_go_on_where_they_ended() {
    let fixture = Fixture::new();
    let server = fixture.server(&[eight(ETAG), rest(), eight(ETAG), rest()]);
    let ended = fixture.get(&server, &["-o", "f", "--json", "--retry", "2"]).expect_success();
    assert_eq!(fs::read(fixture.file("f")).unwrap(), CONTENT);
    let document = ended.json();
    assert_eq!((&document["retries"], &document["bytes"]), (&1.into(), &20.into()));
    assert!(ended.stderr.contains("trying again in"), "{ended:?}");
    assert!(ended.stderr.contains("(1 of 2)"), "{ended:?}");
    let ended = fixture.get(&server, &["--quiet", "--retry", "1"]).expect_success();
    assert_eq!(ended.stdout, CONTENT, "through a pipe, each byte once");
    assert_eq!(ended.stderr, "");
}

#[test]
fn what_was_handed_on_is_never_handed_on_twice() {
    let fixture = Fixture::new();
    for (fields, second) in [
        (ETAG, whole("ETag: \"v2\"\r\n")),
        (ETAG, whole(ETAG)),
        ("ETag: W/\"v1\"\r\n", whole("ETag: W/\"v1\"\r\n")),
        ("", whole("")),
    ] {
        let server = fixture.server(&[eight(fields), second]);
        let ended = fixture.get(&server, &["--retry", "3"]).expect_code(24);
        assert_eq!(ended.stdout, b"01234567");
        assert!(ended.stderr.contains("handed on"), "{ended:?}");
        assert!(server.requests().len() <= 2, "it is final");
    }
}

#[test]
fn a_file_and_dev_null_begin_again_where_nothing_is_proved() {
    let fixture = Fixture::new();
    for target in ["f", "/dev/null"] {
        let server = fixture.server(&[eight(""), whole("")]);
        fixture.get(&server, &["-o", target, "--retry", "1"]).expect_success();
        assert!(!server.requests()[1].contains("range: "));
    }
    assert_eq!(fs::read(fixture.file("f")).unwrap(), CONTENT);
}

#[test]
fn what_the_server_says_passes_is_tried_again() {
    let fixture = Fixture::new();
    let busy = |status: &str, more: &str| (answer(status, more, b"busy"), Ending::Repeat);
    let all = [
        busy("503 Service Unavailable", "Retry-After: 0\r\n"),
        busy("429 Too Many Requests", "Retry-After: 0\r\n"),
        whole(""),
    ];
    let server = fixture.server(&all);
    fixture.get(&server, &["-o", "f", "--retry", "2"]).expect_success();
    assert_eq!(fs::read(fixture.file("f")).unwrap(), CONTENT);
    assert_eq!(server.requests().len(), 3);

    for (answer, code) in [
        (busy("404 Not Found", ""), 20),
        (busy("500 Internal Server Error", ""), 21),
        (busy("503 Service Unavailable", "Retry-After: 1000000000\r\n"), 21),
    ] {
        let server = fixture.server(&[answer, whole("")]);
        fixture.get(&server, &["-o", "g", "--retry", "5"]).expect_code(code);
        assert_eq!(server.requests().len(), 1);
        assert!(!fixture.file("g").exists());
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_not_asked_twice() {
    let fixture = Fixture::new();
    let server = fixture.server(&[whole("")]);
    let other = Pki::new();
    let run = Run::of("sealpair").args(["get", &server.url("/f"), "--retry", "5"]);
    let ended = run.arg("--ca").arg(other.ca()).run().expect_code(10);
    assert_eq!(server.connections(), 1);
    assert!(!ended.stderr.contains("trying again"), "{ended:?}");
}

#[test]
fn attempts_and_time_have_an_end() {
    let fixture = Fixture::new();
    let server = fixture.server(&[(Vec::new(), Ending::Cut)]);
    let ended = fixture.get(&server, &["-o", "f", "--json", "--retry", "2"]).expect_code(6);
    assert_eq!(ended.json()["error"]["detail"]["retries"], 2);
    assert_eq!(server.requests().len(), 3);
    let ended = fixture.get(&server, &["-o", "f", "--retry", "1000", "--max-time", "1s"]);
    assert!(matches!(ended.code(), Some(6 | 7)), "{ended:?}");
    assert_eq!(fs::read_dir(fixture.dir.path()).unwrap().count(), 0);
}
