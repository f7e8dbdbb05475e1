//! `sealpair put` towards servers that offer no resumable uploads: a plain PUT, never a request that such a
//! server would take for an empty file; and uploads on a condition.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_common::digest::Sha256;
use sealpair_tests::peers::{Act, Script};
use sealpair_tests::{Ended, Nginx, Pki, Run, SealpairServer};
use std::fs;
use tempfile::TempDir;

const SIZE: usize = 1_500_000;

struct Fixture {
    pki: Pki,
    dir: TempDir,
    content: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> =
            (0..SIZE as u32).flat_map(|at| at.to_le_bytes()).take(SIZE).collect();
        fs::write(dir.path().join("big"), &content).unwrap();
        fs::write(dir.path().join("small"), "hello").unwrap();
        Self { pki: Pki::new(), dir, content }
    }

    fn put(&self, file: &str, url: &str, more: &[&str]) -> Ended {
        let run =
            Run::of("sealpair").args(["put", file, url]).args(more).arg("--ca").arg(self.pki.ca());
        let run = run.current_dir(self.dir.path());
        run.env("XDG_STATE_HOME", self.dir.path().join("state")).run()
    }
}

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256::of(bytes).unwrap()
}

#[test]
fn nginx_takes_files_in_one_piece() {
    let fixture = Fixture::new();
    let nginx = Nginx::start(&fixture.pki.server(), "");
    fixture.put("big", &nginx.url("/"), &[]).expect_success();
    fixture.put("small", &nginx.url("/other"), &["--retry", "1"]).expect_success();
    assert!(fs::read(nginx.root().join("big")).unwrap() == fixture.content);
    assert_eq!(fs::read(nginx.root().join("other")).unwrap(), b"hello");
    let methods: Vec<_> =
        nginx.log().lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(methods, ["OPTIONS", "PUT", "PUT"], "asked once, for the large file");
}

#[test]
fn without_an_announcement_nothing_is_begun() {
    for answer in [
        "405 Method Not Allowed",
        "501 Not Implemented",
        "404 Not Found",
        "200 OK\r\nAllow: GET, PUT",
        "200 OK\r\nAccept-Patch: */*, application/json",
        "204 No Content\r\nUpload-Limit: max-size=?1",
        "301 Moved Permanently\r\nLocation: /other\r\nUpload-Limit: max-age=1",
    ] {
        let fixture = Fixture::new();
        let server =
            Script::run(&fixture.pki.server(), [Act::Answer(answer), Act::Answer("201 Created")]);
        fixture.put("big", &server.url("/big"), &[]).expect_success();
        let asked = server.asked();
        assert_eq!(server.lines(), ["OPTIONS /big", "PUT /big"], "{answer}");
        assert_eq!(asked[1].field("upload-complete"), "");
        assert!(asked[1].content == fixture.content, "{answer}");
    }
}

#[test]
fn a_small_file_comes_with_its_digest() {
    let fixture = Fixture::new();
    let server = Script::run(&fixture.pki.server(), [Act::Answer("201 Created")]);
    fixture.put("small", &server.url("/"), &[]).expect_success();
    let asked = server.asked();
    assert_eq!(server.lines(), ["PUT /small"]);
    assert_eq!(asked[0].field("repr-digest"), digest(b"hello").to_field());
}

#[test]
fn a_server_that_has_something_else_is_found_out() {
    let fixture = Fixture::new();
    let other: &'static str = Box::leak(
        format!("201 Created\r\nRepr-Digest: {}", digest(b"x").to_field()).into_boxed_str(),
    );
    let acts = [Act::Answer("501 Not Implemented"), Act::Answer(other)];
    let server = Script::run(&fixture.pki.server(), acts);
    fixture.put("big", &server.url("/"), &[]).expect_code(25);
}

#[test]
fn a_put_is_repeated_as_a_whole_when_the_file_can_be_read_again() {
    let fixture = Fixture::new();
    let acts = [
        Act::Answer("501 Not Implemented"),
        Act::Cut(700_000),
        Act::Answer("503 Service Unavailable\r\nRetry-After: 0"),
        Act::Answer("201 Created"),
    ];
    let server = Script::run(&fixture.pki.server(), acts);
    fixture.put("big", &server.url("/"), &["--retry", "2"]).expect_success();
    assert!(server.asked()[3].content == fixture.content);

    // What was read from a pipe is gone.
    let acts = [Act::Cut(2), Act::Answer("201 Created")];
    let server = Script::run(&fixture.pki.server(), acts);
    let run = Run::of("sealpair").args(["put", "-", &server.url("/x"), "--retry", "2"]);
    let ended = run.arg("--ca").arg(fixture.pki.ca()).input("hello").run();
    assert_ne!(ended.code(), Some(0), "{ended}");
    assert_eq!(server.lines(), ["PUT /x"], "{ended}");
}

#[test]
fn what_is_there_is_kept_when_it_shall_be() {
    let fixture = Fixture::new();
    let server =
        SealpairServer::start(|s| s.writable().identity(&fixture.pki.server()).file("a", "old"));
    let ended = fixture.put("small", &server.url("/a"), &["--no-clobber"]).expect_code(20);
    assert!(ended.stderr.contains("exists already"), "{ended}");
    let ended = fixture.put("small", &server.url("/a"), &["--if-match", "another"]).expect_code(20);
    assert!(ended.stderr.contains("is not the version"), "{ended}");
    assert_eq!(fs::read(server.root().join("a")).unwrap(), b"old");

    fixture.put("small", &server.url("/new"), &["--no-clobber"]).expect_success();
    let head = server.curl().args(["-I", &server.url("/a")]).run().expect_success().text();
    let tag = head
        .lines()
        .find_map(|line| line.strip_prefix("etag: ").or_else(|| line.strip_prefix("ETag: ")));
    let tag = tag.unwrap().trim().trim_matches('"').to_owned();
    fixture.put("small", &server.url("/a"), &["--if-match", &tag]).expect_success();
    assert_eq!(fs::read(server.root().join("a")).unwrap(), b"hello");
}

#[test]
fn a_conflict_with_ones_own_lost_success_is_none() {
    let fixture = Fixture::new();
    let right: &'static str = Box::leak(
        format!("200 OK\r\nRepr-Digest: {}", digest(b"hello").to_field()).into_boxed_str(),
    );
    let lost = "412 Precondition Failed";
    for (found, code) in [(right, 0), ("200 OK", 20)] {
        let acts = [Act::Cut(5), Act::Answer(lost), Act::Answer(found)];
        let server = Script::run(&fixture.pki.server(), acts);
        let more = ["--no-clobber", "--retry", "1"];
        let ended = fixture.put("small", &server.url("/a"), &more).expect_code(code);
        assert_eq!(server.lines(), ["PUT /a", "PUT /a", "HEAD /a"], "{ended}");
    }
    // Without an attempt before, it is somebody else's.
    let server = Script::run(&fixture.pki.server(), [Act::Answer(lost)]);
    fixture.put("small", &server.url("/a"), &["--no-clobber", "--retry", "1"]).expect_code(20);
    assert_eq!(server.lines(), ["PUT /a"]);
}
