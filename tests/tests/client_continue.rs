//! `sealpair get --continue`: what came is used when it is proved to be of the same version, and only
//! then.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_common::digest::Hasher;
use sealpair_tests::peers::{Ending, answer};
use sealpair_tests::{Ended, Nginx, Pki, Run, ScriptedServer, settles};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

const CONTENT: &[u8] = b"0123456789abcdefghij";
const ETAG: &str = "ETag: \"v1\"\r\n";

/// A place to download to.
struct Fixture {
    pki: Pki,
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { pki: Pki::new(), dir: tempfile::tempdir().unwrap() }
    }

    fn run(&self, url: &str, args: &[&str]) -> Run {
        let run = Run::of("sealpair").args(["get", url, "-o", "f"]).args(args);
        run.arg("--ca").arg(self.pki.ca()).current_dir(self.dir.path())
    }

    fn get(&self, server: &ScriptedServer) -> Ended {
        self.run(&server.url("/f"), &["--continue"]).run()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Leaves the first eight bytes of [`CONTENT`], as an interrupted download does, and then downloads
    /// from a server that gives this answer. Returns that run and its request.
    fn after_eight(&self, answer: impl Into<Vec<u8>>) -> (Ended, Vec<String>) {
        self.after_eight_of(&whole(ETAG, CONTENT), answer)
    }

    fn after_eight_of(&self, first: &[u8], answer: impl Into<Vec<u8>>) -> (Ended, Vec<String>) {
        let head = first.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let cut = first[..head + 8].to_vec();
        let answer = answer.into();
        let fresh = whole("ETag: \"v2\"\r\n", b"another version");
        let server =
            ScriptedServer::playing(&self.pki.server(), move |number, head| match number {
                0 => (cut.clone(), Ending::Cut),
                _ if head.contains("range: bytes=") => (answer.clone(), Ending::Close),
                _ if head.starts_with("HEAD") => (answer.clone(), Ending::Close),
                _ => (fresh.clone(), Ending::Repeat),
            });
        self.get(&server).expect_code(24);
        assert!(!self.file("f").exists());
        (self.get(&server), server.requests())
    }
}

fn whole(fields: &str, content: &[u8]) -> Vec<u8> {
    answer("200 OK", fields, content)
}

fn part(range: &str, etag: &str, content: &[u8]) -> Vec<u8> {
    let fields = format!("Content-Range: {range}\r\n{etag}");
    answer("206 Partial Content", &fields, content)
}

#[test]
fn it_goes_on_where_it_ended_under_the_condition_that_nothing_has_changed() {
    let fixture = Fixture::new();
    let (ended, requests) = fixture.after_eight(part("bytes 8-19/20", ETAG, &CONTENT[8..]));
    ended.expect_success();
    assert_eq!(fs::read(fixture.file("f")).unwrap(), CONTENT);
    assert_eq!(fixture.names(), ["f"]);
    let last = requests[1].to_lowercase();
    assert!(last.contains("\r\nrange: bytes=8-\r\n"), "{last}");
    assert!(last.contains("\r\nif-range: \"v1\"\r\n"), "{last}");
}

#[test]
fn a_server_that_sends_less_than_was_asked_for_is_asked_for_the_rest() {
    let fixture = Fixture::new();
    let server = ScriptedServer::playing(&fixture.pki.server(), |number, head| match number {
        0 => (whole(ETAG, CONTENT)[..70].to_vec(), Ending::Cut),
        _ => {
            let (_, range) = head.split_once("range: bytes=").unwrap();
            let first: usize = range.split_once('-').unwrap().0.parse().unwrap();
            let last = (first + 2).min(19);
            let range = format!("bytes {first}-{last}/20");
            (part(&range, ETAG, &CONTENT[first..=last]), Ending::Repeat)
        }
    });
    fixture.get(&server).expect_code(24);
    fixture.get(&server).expect_success();
    assert_eq!(fs::read(fixture.file("f")).unwrap(), CONTENT);
    assert_eq!(server.connections(), 2, "the parts came over one connection");
}

#[test]
fn a_part_that_does_not_fit_is_not_used() {
    let fixture = Fixture::new();
    for (range, etag) in [
        ("bytes 7-18/20", ETAG),
        ("bytes 9-20/21", ETAG),
        ("bytes 8-19/21", ETAG),
        ("bytes 8-19/20", "ETag: \"v2\"\r\n"),
        ("bytes 8-19/20", "ETag: W/\"v1\"\r\n"),
        ("bytes 8-19/20", ""),
        ("nonsense", ETAG),
    ] {
        let (ended, _) = fixture.after_eight(part(range, etag, &CONTENT[8..]));
        let ended = ended.expect_success();
        assert!(ended.stderr.contains("starting again"), "{range} {etag}: {ended:?}");
        assert_eq!(fs::read(fixture.file("f")).unwrap(), b"another version", "{range} {etag}");
        fs::remove_file(fixture.file("f")).unwrap();
    }
}

#[test]
fn a_server_that_sends_the_whole_has_it_stored_from_the_start() {
    for etag in [ETAG, "ETag: \"v2\"\r\n", ""] {
        let fixture = Fixture::new();
        let (ended, requests) = fixture.after_eight(whole(etag, b"another"));
        ended.expect_success();
        assert_eq!(fs::read(fixture.file("f")).unwrap(), b"another");
        assert_eq!(requests.len(), 2, "the whole was there already");
    }
}

#[test]
fn an_error_page_is_no_content() {
    for status in ["404 Not Found", "500 Internal Server Error", "416 Range Not Satisfiable"] {
        let fixture = Fixture::new();
        let (ended, _) = fixture.after_eight(answer(status, ETAG, b"<html>an error page</html>"));
        match status.starts_with("416") {
            // It does not say how long the file is.
            true => {
                ended.expect_success();
                assert_eq!(fs::read(fixture.file("f")).unwrap(), b"another version");
            }
            false => {
                assert!([Some(20), Some(21)].contains(&ended.code()), "{ended:?}");
                assert!(!fixture.file("f").exists());
                assert_eq!(fs::read(fixture.file("f.part")).unwrap(), &CONTENT[..8]);
            }
        }
    }
}

#[test]
fn what_is_complete_already_gets_its_name() {
    // A length that was not announced: only the server's 416 tells that it is complete.
    let chunked = |content: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{ETAG}Transfer-Encoding: chunked\r\n\r\n8\r\n");
        [head.as_bytes(), content.as_bytes()].concat()
    };
    let beyond = |length: &str, etag: &str| {
        let fields = format!("Content-Range: bytes */{length}\r\n{etag}");
        answer("416 Range Not Satisfiable", &fields, b"")
    };
    for (length, etag, complete) in [
        ("8", ETAG, true),
        ("8", "ETag: \"v2\"\r\n", false),
        ("7", ETAG, false),
        ("9", ETAG, false),
    ] {
        let fixture = Fixture::new();
        let first = chunked("01234567");
        // The head has the size of the first chunk behind it.
        let server = {
            let last = beyond(length, etag);
            ScriptedServer::playing(&fixture.pki.server(), move |number, head| match number {
                0 => (first.clone(), Ending::Cut),
                _ if head.contains("range: bytes=") => (last.clone(), Ending::Repeat),
                _ => (whole(ETAG, b"another"), Ending::Repeat),
            })
        };
        fixture.get(&server).expect_code(24);
        assert_eq!(fs::read(fixture.file("f.part")).unwrap(), b"01234567");
        fixture.get(&server).expect_success();
        let expected: &[u8] = if complete { b"01234567" } else { b"another" };
        assert_eq!(fs::read(fixture.file("f")).unwrap(), expected, "{length} {etag}");
    }
}

#[test]
fn without_a_strong_validator_nothing_is_kept() {
    let weak = "ETag: W/\"v1\"\r\n";
    let dated = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let old = format!("{dated}Date: Sun, 06 Nov 1994 09:49:37 GMT\r\n");
    for (fields, kept) in [(weak, false), (dated, false), ("", false), (&*old, true)] {
        let fixture = Fixture::new();
        let first = whole(fields, CONTENT);
        let (ended, requests) =
            fixture.after_eight_of(&first, part("bytes 8-19/20", "", &CONTENT[8..]));
        ended.expect_success();
        let expected: &[u8] = if kept { CONTENT } else { b"another version" };
        assert_eq!(fs::read(fixture.file("f")).unwrap(), expected, "{fields}");
        let condition = "if-range: sun, 06 nov 1994 08:49:37 gmt";
        assert_eq!(requests[1].to_lowercase().contains(condition), kept, "{fields}");
    }
}

#[test]
fn a_second_download_of_the_same_file_is_refused_and_the_first_interrupted_and_resumed() {
    let fixture = Fixture::new();
    let content = CONTENT.repeat(10_000);
    // Files are written in pieces of 64 KiB.
    let start = whole(ETAG, &content)[..100_000].to_vec();
    let rest = content.clone();
    let server = ScriptedServer::playing(&fixture.pki.server(), move |number, _| match number {
        0 => (start.clone(), Ending::Hold),
        _ => (part("bytes 65536-199999/200000", ETAG, &rest[65536..]), Ending::Repeat),
    });
    let first = fixture.run(&server.url("/f"), &["--continue"]).start();
    settles("the first bytes are there", || fs::metadata(fixture.file("f.part.json")).is_ok());
    let second = fixture.get(&server).expect_code(4);
    assert!(second.stderr.contains("being written"), "{second:?}");
    first.signal(Signal::INT);
    let first = first.wait().expect_code(130);
    assert!(first.stderr.contains("goes on from there"), "{first:?}");
    assert!(fixture.file("f.part").exists() && fixture.file("f.part.json").exists());
    fixture.get(&server).expect_success();
    assert!(fs::read(fixture.file("f")).unwrap() == content);
}

#[test]
fn nginx_serves_the_rest_of_a_file_after_every_kill() {
    let fixture = Fixture::new();
    let nginx = Nginx::start(&fixture.pki.server(), "");
    let content: Vec<u8> =
        (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(nginx.root().join("f"), &content).unwrap();
    let slow = ["--continue", "--limit-rate", "1MiB"];
    let length = || fs::metadata(fixture.file("f.part")).map_or(0, |part| part.len());
    let mut kept = 0;
    for _ in 0..4 {
        let run = fixture.run(&nginx.url("/f"), &slow).start();
        settles("more of it is there", || length() > kept);
        run.signal(Signal::KILL);
        run.wait();
        kept = length();
    }
    let ended = fixture.run(&nginx.url("/f"), &["--continue", "--json"]).run().expect_success();
    let document = ended.json();
    assert_eq!(document["resumed_from"], kept);
    assert_eq!(document["status"], 206);
    assert_eq!(fs::read(fixture.file("f")).unwrap(), content);
    let times = [fixture.file("f"), nginx.root().join("f")].map(|path| {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    });
    assert_eq!(times[0], times[1], "the time of the last modification is kept");

    // Complete, but killed before it got its name: nginx answers 416, without an entity tag.
    let state = r#"{"schema":"sealpair.partial/1","url":URL,"version":{"etag":ETAG,
        "last_modified":null,"settled":false,"length":null,"sha256":null},"synced":LENGTH,"boot":""}"#;
    let etag = document["headers"]["etag"][0].to_string();
    let state = state.replace("URL", &format!("{:?}", nginx.url("/f"))).replace("ETAG", &etag);
    let state = state.replace("LENGTH", &content.len().to_string());
    fs::rename(fixture.file("f"), fixture.file("f.part")).unwrap();
    fs::write(fixture.file("f.part.json"), state).unwrap();
    let ended = fixture.run(&nginx.url("/f"), &["--continue", "--json"]).run().expect_success();
    assert_eq!(ended.json()["bytes"], 0);
    assert_eq!(fs::read(fixture.file("f")).unwrap(), content);
}

/// A server whose file changes, and whose connections end anywhere.
#[test]
fn whatever_happens_the_file_is_right_or_not_there() {
    const LENGTH: usize = 3000;
    fn content(version: u64) -> Vec<u8> {
        (0..LENGTH as u64).map(|at| (at.wrapping_mul(version + 7) >> 3) as u8).collect()
    }
    fn random(state: &AtomicU64, below: u64) -> u64 {
        // xorshift64 (Marsaglia 2003).
        let next = |mut x: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^ (x << 17)
        };
        let old = state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |x| Some(next(x)));
        next(old.unwrap()) % below
    }
    let digest = |bytes: &[u8]| {
        let mut hasher = Hasher::new().unwrap();
        hasher.update(bytes).unwrap();
        hasher.finish().unwrap()
    };
    let fixture = Fixture::new();
    let seed = AtomicU64::new(0x5ea1_9a12);
    let server = ScriptedServer::playing(&fixture.pki.server(), move |number, head| {
        let version = number as u64 / 3;
        let (content, etag) = (content(version), format!("ETag: \"{version}\"\r\n"));
        let field = |name: &str| {
            head.lines().find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned))
        };
        let first =
            field("range: bytes=").and_then(|range| range.trim_end_matches('-').parse().ok());
        let same = field("if-range: ") == Some(format!("\"{version}\""));
        let answer = match (first, random(&seed, 8)) {
            // An honest server, most of the time.
            (Some(first), 0..4) if same => {
                part(&format!("bytes {first}-{}/{LENGTH}", LENGTH - 1), &etag, &content[first..])
            }
            // One that does not know the condition.
            (Some(first), 4..7) => {
                part(&format!("bytes {first}-{}/{LENGTH}", LENGTH - 1), &etag, &content[first..])
            }
            // One that sends other bytes than were asked for.
            (Some(first), 7) if first > 10 => {
                let first = first - 10;
                part(&format!("bytes {first}-{}/{LENGTH}", LENGTH - 1), &etag, &content[first..])
            }
            _ => whole(&etag, &content),
        };
        match random(&seed, 4) {
            0 => (answer, Ending::Close),
            _ => {
                let end = random(&seed, answer.len() as u64) as usize;
                (answer[..end].to_vec(), Ending::Cut)
            }
        }
    });
    let mut complete = 0;
    let mut resumed = 0;
    for _ in 0..40 {
        let before = server.requests().len();
        let ended = fixture.get(&server);
        let last = (server.requests().len() - 1) as u64 / 3;
        assert!(server.requests().len() > before);
        match ended.code() {
            Some(0) => {
                let file = fs::read(fixture.file("f")).unwrap();
                assert_eq!(digest(&file), digest(&content(last)), "of {} bytes", file.len());
                fs::remove_file(fixture.file("f")).unwrap();
                assert_eq!(fixture.names(), Vec::<String>::new());
                complete += 1;
                let request = server.requests().pop().unwrap();
                resumed += usize::from(request.to_lowercase().contains("if-range"));
            }
            Some(6 | 23 | 24) => assert!(!fixture.file("f").exists()),
            other => panic!("{other:?}: {ended:?}"),
        }
    }
    assert!(complete > 3 && resumed > 1, "{complete} were complete, {resumed} of them resumed");
}
