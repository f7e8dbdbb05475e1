//! `sealpair get` and `put` against servers that mean harm: no file is made of two versions or of a part,
//! nothing that was there is lost, and there is an end to everything.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_tests::peers::{Act, Ending, Script, answer, read_head};
use sealpair_tests::{Ended, Pki, Run, ScriptedServer, settles};
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

const CONTENT: &[u8] = b"0123456789abcdefghij";
const V1: &str = "ETag: \"v1\"\r\n";
const OFFERED: Act = Act::Answer("204 No Content\r\nUpload-Limit: max-age=3600");

struct Fixture {
    pki: Pki,
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { pki: Pki::new(), dir: tempfile::tempdir().unwrap() }
    }

    /// A server that plays a script, with the content of `/f` in version 1 where that says nothing.
    fn server(
        &self,
        script: impl Fn(usize, &str) -> Option<(Vec<u8>, Ending)> + Send + Sync + 'static,
    ) -> ScriptedServer {
        ScriptedServer::playing(&self.pki.server(), move |number, head| {
            script(number, head).unwrap_or_else(|| match head.contains("range: bytes=8-") {
                true => {
                    let fields = format!("Content-Range: bytes 8-19/20\r\n{V1}");
                    (answer("206 Partial Content", &fields, &CONTENT[8..]), Ending::Repeat)
                }
                false => (answer("200 OK", V1, CONTENT), Ending::Repeat),
            })
        })
    }

    fn run(&self, args: &[&str]) -> Run {
        let run = Run::of("sealpair").args(args).arg("--ca").arg(self.pki.ca());
        let run = run.env("XDG_STATE_HOME", self.dir.path().join("state"));
        run.current_dir(self.dir.path())
    }

    fn get(&self, server: &ScriptedServer, args: &[&str]) -> Ended {
        self.run(&["get", &server.url("/f"), "-o", "f", "--continue"]).args(args).run()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[track_caller]
    fn expect_content(&self) {
        assert_eq!(fs::read(self.file("f")).unwrap(), CONTENT);
        assert!(!self.file("f.part").exists() && !self.file("f.part.json").exists());
    }
}

/// The beginning of an answer, up to so many bytes of its content.
fn cut(mut answer: Vec<u8>, content: usize) -> Option<(Vec<u8>, Ending)> {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    answer.truncate(head + content);
    Some((answer, Ending::Cut))
}

/// A listing of files, each with the fields behind its name.
fn listing(entries: &[(&str, &str)]) -> Option<(Vec<u8>, Ending)> {
    let entries = entries
        .iter()
        .map(|(href, more)| format!(r#"{{"name":"","href":"{href}","type":"file"{more}}}"#));
    let entries = entries.collect::<Vec<_>>().join(",");
    let text = format!(r#"{{"schema":"sealpair.listing/1","entries":[{entries}]}}"#);
    Some((answer("200 OK", "Content-Type: application/json\r\n", text.as_bytes()), Ending::Repeat))
}

#[test]
fn bytes_of_a_version_without_a_validator_are_not_kept_under_the_name_of_another() {
    let fixture = Fixture::new();
    let server = fixture.server(|number, _| match number {
        0 => cut(answer("200 OK", V1, CONTENT), 0),
        1 => cut(answer("200 OK", "", &[b'B'; 20]), 8),
        _ => None,
    });
    fixture.get(&server, &["--retry", "1"]).expect_code(24);
    fixture.get(&server, &[]).expect_success();
    fixture.expect_content();
}

#[test]
fn a_file_that_is_said_to_be_shorter_than_before_is_not_complete() {
    let fixture = Fixture::new();
    let server = fixture.server(|number, head| match number {
        0 => cut(answer("200 OK", V1, CONTENT), 8),
        _ if head.contains("range: bytes=8-") || head.starts_with("HEAD") => {
            let fields = format!("{V1}Content-Range: bytes */8\r\n");
            Some((answer("416 Range Not Satisfiable", &fields, b""), Ending::Repeat))
        }
        _ => None,
    });
    fixture.get(&server, &[]).expect_code(24);
    fixture.get(&server, &[]).expect_success();
    fixture.expect_content();
}

#[test]
fn a_part_of_a_whole_of_unknown_length_is_not_the_end_of_it() {
    let fixture = Fixture::new();
    let server = fixture.server(|number, head| match number {
        0 => {
            let head = format!("HTTP/1.1 200 OK\r\n{V1}Transfer-Encoding: chunked\r\n\r\n");
            let chunk = b"14\r\n0123456789abcdefghij";
            cut([head.as_bytes(), chunk].concat(), 12)
        }
        _ if head.contains("range: bytes=8-") => {
            let fields = format!("{V1}Content-Range: bytes 8-9/*\r\n");
            Some((answer("206 Partial Content", &fields, b"89"), Ending::Repeat))
        }
        _ => None,
    });
    fixture.get(&server, &[]).expect_code(24);
    fixture.get(&server, &[]).expect_success();
    fixture.expect_content();
}

#[test]
fn the_same_entity_tag_at_another_place_proves_nothing() {
    let fixture = Fixture::new();
    for more in [&[][..], &["--parallel", "2"]] {
        let server = fixture.server(|number, head| match number {
            _ if head.starts_with("GET /f ") => {
                let to = format!("Location: /mirror-{}/f\r\n", number.min(1));
                Some((answer("302 Found", &to, b""), Ending::Repeat))
            }
            _ if head.starts_with("GET /mirror-0/") => cut(answer("200 OK", V1, &[b'B'; 20]), 8),
            _ => None,
        });
        fixture.get(&server, &[]).expect_code(24);
        fixture.get(&server, more).expect_success();
        fixture.expect_content();
        fs::remove_file(fixture.file("f")).unwrap();
    }
}

#[test]
fn what_is_too_large_is_refused_when_it_is_continued_too() {
    let fixture = Fixture::new();
    let server = fixture.server(|number, head| match number {
        0 => cut(answer("200 OK", V1, CONTENT), 8),
        _ if head.starts_with("HEAD") => Some((answer("200 OK", V1, b""), Ending::Close)),
        _ => None,
    });
    fixture.get(&server, &[]).expect_code(24);
    fixture.get(&server, &["--parallel", "2", "--max-size", "12"]).expect_code(30);
    assert!(!fixture.file("f").exists());
    assert!(!fixture.file("f.part").exists());
}

#[test]
fn no_file_of_a_listing_becomes_the_beginning_of_another() {
    let fixture = Fixture::new();
    // What is left of `a`, and then a server that lists a file with the name of that.
    let server = fixture.server(|number, head| match (number, head.split(' ').nth(1)) {
        (0, _) => listing(&[("a", "")]),
        (1, _) => cut(answer("200 OK", V1, CONTENT), 8),
        (2, _) => listing(&[("a.part", "")]),
        (_, Some("/d/")) => listing(&[("a", ""), ("a.part", "")]),
        (_, Some("/d/a.part")) => Some((answer("200 OK", "", b"XXXXXXXX"), Ending::Repeat)),
        _ => None,
    });
    let get = || fixture.run(&["get", "-rc", &server.url("/d/"), "-o", "d", "--jobs", "1"]).run();
    get().expect_code(24);
    let ended = get().expect_code(4);
    assert!(ended.stderr.contains("a.part"), "{ended}");
    // Once `a` is there, the name is free for the other.
    get().expect_success();
    assert_eq!(fs::read(fixture.file("d/a")).unwrap(), CONTENT);
    assert_eq!(fs::read(fixture.file("d/a.part")).unwrap(), b"XXXXXXXX");
}

#[test]
fn sizes_that_no_number_can_sum_up_are_no_trouble() {
    let fixture = Fixture::new();
    let server = fixture.server(|number, _| match number {
        0 => {
            let size = r#","size":18446744073709551615"#;
            listing(&[("a", size), ("b", size)])
        }
        _ => None,
    });
    fixture.run(&["get", "-r", &server.url("/d/"), "-o", "d"]).run().expect_success();
    assert_eq!(fs::read(fixture.file("d/b")).unwrap(), CONTENT);
}

#[test]
fn a_state_that_a_server_has_made_up_is_not_stored_as_one() {
    let fixture = Fixture::new();
    let server = fixture.server(|_, _| {
        let fields = "Content-Disposition: attachment; filename=\"f.part.json\"\r\n";
        Some((answer("200 OK", fields, b"{}"), Ending::Repeat))
    });
    fixture.run(&["get", "-O", &server.url("/x")]).run().expect_success();
    assert!(!fixture.file("f.part.json").exists());
    assert_eq!(fs::read(fixture.file("f.part_json")).unwrap(), b"{}");
}

#[test]
fn the_time_for_all_is_the_time_for_all_attempts() {
    let fixture = Fixture::new();
    fs::write(fixture.file("small"), "x").unwrap();
    fs::create_dir(fixture.file("folder")).unwrap();
    let busy = || Act::Answer("503 Service Unavailable\r\nRetry-After: 3000");
    for args in [&["put", "small"][..], &["get", "-r", "-o", "d"]] {
        let server = Script::run(&fixture.pki.server(), [busy(), busy()]);
        let mut args = args.to_vec();
        let url = server.url("/d/");
        args.extend([&*url, "--retry", "3", "--max-time", "5"]);
        let ended = fixture.run(&args).run().expect_code(21);
        assert!(ended.stderr.contains("no time for another attempt"), "{ended}");
    }
}

#[test]
fn interim_responses_without_an_end_have_one() {
    let fixture = Fixture::new();
    let server = ScriptedServer::tls(&fixture.pki.server(), |stream| {
        read_head(stream);
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").is_ok() {
            sleep(Duration::from_millis(50));
        }
    });
    let url = server.url("/x");
    let put = fixture.run(&["put", "-", &url, "--max-time", "1"]).input("content");
    put.deadline(Duration::from_secs(20)).run().expect_code(7);
    let get = fixture.run(&["get", &url, "--max-time", "1"]);
    get.deadline(Duration::from_secs(20)).run().expect_code(7);
}

#[test]
fn an_upload_is_not_the_file_itself() {
    let fixture = Fixture::new();
    fs::write(fixture.file("big"), vec![b'x'; 1_500_000]).unwrap();
    // What a server says that takes the request for a plain PUT.
    let server = Script::run(
        &fixture.pki.server(),
        [OFFERED, Act::Answer("201 Created\r\nLocation: /big"), Act::Answer("405 No")],
    );
    fixture.run(&["put", "big", &server.url("/big")]).run().expect_code(23);
    assert_eq!(server.lines(), ["OPTIONS /big", "PUT /big"], "it must not be deleted");
}

#[test]
fn a_file_that_does_not_tell_its_length_is_sent_all_the_same() {
    let fixture = Fixture::new();
    let server = Script::run(&fixture.pki.server(), [Act::Answer("201 Created")]);
    fixture.run(&["put", "/proc/version", &server.url("/v")]).run().expect_success();
    let mut version = String::new();
    fs::File::open("/proc/version").unwrap().read_to_string(&mut version).unwrap();
    assert_eq!(String::from_utf8_lossy(&server.asked()[0].content), version);
}

#[test]
fn a_success_before_the_content_was_taken_is_none() {
    let fixture = Fixture::new();
    fs::write(fixture.file("big"), vec![b'x'; 1_500_000]).unwrap();
    let server = fixture.server(|_, head| {
        let answered = match head.starts_with("OPTIONS") {
            true => answer("405 Method Not Allowed", "", b""),
            false => answer("201 Created", "", b""),
        };
        Some((answered, Ending::Close))
    });
    fixture.run(&["put", "big", &server.url("/x")]).run().expect_code(23);
    fixture.run(&["put", "-", &server.url("/x")]).input("content").run().expect_code(23);
}

#[test]
fn a_folder_that_could_not_be_made_is_a_failure() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.file("folder/empty")).unwrap();
    let refused = || Act::Answer("403 Forbidden");
    for (first, second, code) in [
        (Act::Answer("201 Created"), refused(), 20),
        (refused(), refused(), 20),
        // There already.
        (Act::Answer("405 Method Not Allowed"), Act::Answer("405 Method Not Allowed"), 0),
    ] {
        let server = Script::run(&fixture.pki.server(), [first, second]);
        fixture.run(&["put", "-r", "folder", &server.url("/")]).run().expect_code(code);
    }
}

#[test]
fn where_an_upload_is_and_who_asks_is_told_to_nobody() {
    let fixture = Fixture::new();
    fs::write(fixture.file("big"), vec![b'x'; 1_500_000]).unwrap();
    let created = Act::Answer("201 Created\r\nLocation: /u/secret");
    let moved = Act::Answer("307 Temporary Redirect\r\nLocation: https://elsewhere/u/secret");
    let server = Script::run(&fixture.pki.server(), [OFFERED, created, moved]);
    let put = fixture.run(&["--json", "-v", "put", "big", &server.url("/big")]);
    let put = put.args(["-H", "Authorization: Bearer token"]).env("RUST_LOG", "trace");
    let ended = put.run().expect_code(22);
    assert_eq!(server.asked()[2].field("authorization"), "Bearer token");
    assert!(ended.stderr.contains("DEBUG sealpair_client"), "{ended}");
    for text in [ended.stderr.clone(), ended.json().to_string()] {
        assert!(!text.contains("secret") && !text.contains("token"), "{text}");
    }
}

#[test]
fn a_name_from_a_url_leads_through_no_link() {
    let fixture = Fixture::new();
    let server = fixture.server(|_, _| None);
    std::os::unix::fs::symlink("elsewhere", fixture.file("f")).unwrap();
    for more in [&[][..], &["--continue"]] {
        fixture.run(&["get", "-O", &server.url("/f")]).args(more).run().expect_code(4);
        assert!(!fixture.file("elsewhere").exists());
    }
}

#[test]
fn what_came_slowly_over_several_connections_is_kept_too() {
    const MIB: usize = 1 << 20;
    let fixture = Fixture::new();
    let server = fixture.server(|_, _| {
        let range = format!("Content-Range: bytes 0-{}/{}\r\n{V1}", 4 * MIB - 1, 4 * MIB);
        let mut first = answer("206 Partial Content", &range, &vec![0; 4 * MIB]);
        first.truncate(first.len() - 3 * MIB);
        Some((first, Ending::Hold))
    });
    let get = fixture.run(&["get", &server.url("/f"), "-o", "f", "-c", "--parallel", "2"]).start();
    let noted = || {
        let state = fs::read_to_string(fixture.file("f.part.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap_or_default();
        state["ranges"][0][1].as_u64().unwrap_or_default()
    };
    settles("what came is noted", || noted() > 900_000);
    get.signal(Signal::INT);
    get.wait().expect_code(130);
}
