//! `sealpair put` and resumable uploads: what was acknowledged is not sent again, whatever happens to the
//! connection, the server or the client; and a server that does not keep to the protocol gets nothing.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_common::digest::Sha256;
use sealpair_tests::peers::{Act, Asked, Script};
use sealpair_tests::{Credentials, Ended, Pki, Run, SealpairServer, settles};
use std::fs;
use std::hash::{BuildHasher, Hasher as _, RandomState};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

const SIZE: usize = 1_500_000;
const OFFERED: Act = Act::Answer("204 No Content\r\nUpload-Limit: max-age=3600");
const CREATED: Act =
    Act::Answer("201 Created\r\nLocation: /u/secret\r\nUpload-Limit: max-age=3600");
const APPENDED: Act = Act::Answer("204 No Content\r\nUpload-Complete: ?0");
const STORED: Act = Act::Answer("201 Created\r\nUpload-Complete: ?1");

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
        Self { pki: Pki::new(), dir, content }
    }

    fn credentials(&self) -> Credentials {
        self.pki.server()
    }

    fn script(&self, acts: impl IntoIterator<Item = Act>) -> Script {
        Script::run(&self.credentials(), acts)
    }

    fn put(&self, server: &Script, more: &[&str]) -> Ended {
        let run = Run::of("sealpair").args(["put", "big", &server.url("/big")]).args(more);
        let run = run.arg("--ca").arg(self.pki.ca()).current_dir(self.dir.path());
        run.env("XDG_STATE_HOME", self.dir.path().join("state")).run()
    }

    fn records(&self) -> Vec<PathBuf> {
        let folder = self.dir.path().join("state/sealpair/uploads");
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn digest(&self) -> Sha256 {
        Sha256::of(&self.content).unwrap()
    }
}

/// What the server has in the end of what was appended: each request at its offset.
fn assembled(asked: &[Asked]) -> Vec<u8> {
    let mut content = Vec::new();
    for append in asked.iter().filter(|asked| asked.line().starts_with("PATCH")) {
        let offset: usize = append.field("upload-offset").parse().unwrap();
        assert!(offset <= content.len(), "a gap before {offset}");
        content.truncate(offset);
        content.extend_from_slice(&append.content);
    }
    content
}

#[test]
fn content_is_appended_and_then_completed_with_its_digest() {
    let fixture = Fixture::new();
    let server = fixture.script([OFFERED, CREATED, APPENDED, STORED]);
    let ended = fixture.put(&server, &["-H", "Content-Type: text/x-a", "-v"]).expect_success();
    assert!(!ended.stderr.contains("secret"), "who knows the place can write there: {ended}");
    let asked = server.asked();
    let lines = ["OPTIONS /big", "PUT /big", "PATCH /u/secret", "PATCH /u/secret"];
    assert_eq!(server.lines(), lines);
    let [_, create, append, complete] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(create.field("upload-complete"), "?0");
    assert_eq!(create.field("upload-length"), SIZE.to_string());
    assert_eq!(create.field("content-length"), "0");
    assert_eq!(create.field("content-type"), "text/x-a", "the file's type");
    assert_eq!(append.field("upload-complete"), "?0");
    assert_eq!(append.field("upload-offset"), "0");
    assert_eq!(append.field("content-type"), "application/partial-upload");
    assert_eq!(append.field("expect"), "100-continue");
    assert_eq!(complete.field("upload-complete"), "?1");
    assert_eq!(complete.field("upload-offset"), SIZE.to_string());
    assert_eq!(complete.field("content-length"), "0");
    assert_eq!(complete.field("repr-digest"), fixture.digest().to_field());
    assert!(assembled(&asked) == fixture.content);
    assert!(fixture.records().is_empty(), "what is complete is forgotten");
}

#[test]
fn an_interrupted_upload_goes_on_from_what_the_server_has() {
    let fixture = Fixture::new();
    let at = Act::Answer("204 No Content\r\nUpload-Complete: ?0\r\nUpload-Offset: 400000");
    let unready = Act::Answer("503 Service Unavailable\r\nRetry-After: 0");
    let server =
        fixture.script([OFFERED, CREATED, Act::Cut(700_000), unready, at, APPENDED, STORED]);
    let ended = fixture.put(&server, &["--retry", "3", "--json"]).expect_success();
    let asked = server.asked();
    assert_eq!(asked[4].line(), "HEAD /u/secret");
    assert_eq!(asked[5].field("upload-offset"), "400000");
    assert_eq!(asked[6].field("repr-digest"), fixture.digest().to_field());
    assert!(assembled(&asked) == fixture.content);
    assert_eq!(ended.json()["url"], server.url("/big"));
}

#[test]
fn another_run_goes_on_where_the_first_was_interrupted() {
    let fixture = Fixture::new();
    let at = Act::Answer("204 No Content\r\nUpload-Complete: ?0\r\nUpload-Offset: 600000");
    let server = fixture.script([OFFERED, CREATED, Act::Cut(700_000), at, APPENDED, STORED]);
    let ended = fixture.put(&server, &[]);
    assert!(ended.code().is_some_and(|code| [6, 24].contains(&code)), "{ended}");
    assert!(ended.stderr.contains("the same command goes on"), "{ended}");
    assert!(!ended.stderr.contains("secret"), "{ended}");
    let records = fixture.records();
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(fs::metadata(record).unwrap().permissions().mode() & 0o777, 0o600);

    let ended = fixture.put(&server, &["--json"]).expect_success();
    assert!(ended.stderr.contains("going on at"), "{ended}");
    assert_eq!(ended.json()["bytes"], (SIZE - 600_000) as u64, "{ended}");
    let asked = server.asked();
    assert_eq!(asked[3].line(), "HEAD /u/secret", "nothing is assumed, nothing is asked twice");
    assert_eq!(asked[5].field("repr-digest"), fixture.digest().to_field());
    assert!(assembled(&asked) == fixture.content);
    assert!(fixture.records().is_empty());
}

#[test]
fn another_version_of_the_file_is_another_upload() {
    let mut fixture = Fixture::new();
    let server = fixture.script([
        OFFERED,
        CREATED,
        Act::Cut(700_000),
        Act::Answer("204 No Content"),
        OFFERED,
        Act::Answer("201 Created\r\nLocation: /u/second"),
        APPENDED,
        STORED,
    ]);
    assert_ne!(fixture.put(&server, &[]).code(), Some(0));
    fixture.content[7] ^= 1;
    fs::write(fixture.dir.path().join("big"), &fixture.content).unwrap();
    fixture.put(&server, &[]).expect_success();
    let expected = ["DELETE /u/secret", "OPTIONS /big", "PUT /big"];
    assert_eq!(server.lines()[3..6], expected, "the old one is of no use");
    assert!(assembled(&server.asked()[6..]) == fixture.content);
}

#[test]
fn an_upload_is_begun_again_when_it_is_told_to_or_the_server_has_lost_it() {
    for (more, middle, lines) in [
        (vec!["--no-resume"], Act::Answer("204 No Content"), ["DELETE /u/secret", "OPTIONS /big"]),
        (vec![], Act::Answer("404 Not Found"), ["HEAD /u/secret", "PUT /big"]),
    ] {
        let fixture = Fixture::new();
        let asks = !more.is_empty();
        let mut acts = vec![OFFERED, CREATED, Act::Cut(9), middle];
        acts.extend(asks.then_some(OFFERED));
        acts.extend([Act::Answer("201 Created\r\nLocation: /u/second"), APPENDED, STORED]);
        let server = fixture.script(acts);
        assert_ne!(fixture.put(&server, &[]).code(), Some(0));
        fixture.put(&server, &more).expect_success();
        assert_eq!(server.lines()[3..5], lines);
        assert!(assembled(&server.asked()[4..]) == fixture.content);
        assert!(fixture.records().is_empty());
    }
}

#[test]
fn an_offset_that_does_not_fit_is_asked_for_and_never_assumed() {
    let fixture = Fixture::new();
    let problem = "409 Conflict\r\nUpload-Offset: 5\r\nContent-Type: application/problem+json";
    let document = r#"{"type":"https://iana.org/assignments/http-problem-types#mismatching-upload-offset",
        "expected-offset":5,"provided-offset":0}"#;
    let at = Act::Answer("204 No Content\r\nUpload-Complete: ?0\r\nUpload-Offset: 5");
    let conflict = Act::Content(problem, document.to_owned());
    let server = fixture.script([OFFERED, CREATED, conflict, at, APPENDED, STORED]);
    fixture.put(&server, &[]).expect_success();
    let asked = server.asked();
    assert_eq!(asked[4].field("upload-offset"), "5");
    assert!(asked[4].content == fixture.content[5..]);
}

#[test]
fn a_server_that_contradicts_itself_is_left() {
    let fixture = Fixture::new();
    // It says that it has more than there is, each time.
    let beyond = || Act::Answer("204 No Content\r\nUpload-Complete: ?0\r\nUpload-Offset: 99999999");
    let round = || [CREATED, Act::Answer("409 Conflict"), beyond(), Act::Answer("204 No Content")];
    let acts = [OFFERED].into_iter().chain((0..9).flat_map(|_| round()));
    let server = fixture.script(acts);
    let ended = fixture.put(&server, &["--retry", "9"]).expect_code(23);
    assert!(ended.stderr.contains("protocol of resumable uploads"), "{ended}");
    assert!(server.asked().len() < 20, "not for ever");
    assert!(fixture.records().is_empty());
}

#[test]
fn a_lost_confirmation_is_looked_up() {
    let complete =
        || Act::Answer("204 No Content\r\nUpload-Complete: ?1\r\nUpload-Offset: 1500000");
    for (found, code) in [(true, 0), (false, 24)] {
        let fixture = Fixture::new();
        let digest = fixture.digest().to_field();
        let wrong = "200 OK\r\nRepr-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
        let right: &'static str =
            Box::leak(format!("200 OK\r\nRepr-Digest: {digest}").into_boxed_str());
        let target = Act::Answer(if found { right } else { wrong });
        let acts = [OFFERED, CREATED, APPENDED, Act::Cut(0), complete(), target];
        let server = fixture.script(acts);
        let ended = fixture.put(&server, &["--retry", "1"]).expect_code(code);
        assert_eq!(server.lines()[4..6], ["HEAD /u/secret", "HEAD /big"], "{ended}");
        assert!(fixture.records().is_empty());
    }
}

#[test]
fn content_goes_to_no_other_server() {
    for location in
        ["https://localhost:1/u", "https://elsewhere/u", "//elsewhere/u", "https://a:b@localhost/u"]
    {
        let fixture = Fixture::new();
        let created: &'static str =
            Box::leak(format!("201 Created\r\nLocation: {location}").into_boxed_str());
        let server = fixture.script([OFFERED, Act::Answer(created)]);
        let ended = fixture.put(&server, &["--retry", "3"]).expect_code(23);
        assert_eq!(server.lines(), ["OPTIONS /big", "PUT /big"], "{location}: {ended}");
    }
}

#[test]
fn parts_are_no_larger_than_the_server_takes() {
    let fixture = Fixture::new();
    let limit = "204 No Content\r\nUpload-Limit: max-append-size=600000, min-append-size=400000";
    let server = fixture.script([
        Act::Answer(limit),
        CREATED,
        APPENDED,
        APPENDED,
        Act::Answer("201 Created\r\nUpload-Complete: ?1"),
    ]);
    fixture.put(&server, &[]).expect_success();
    let asked = server.asked();
    let sizes: Vec<usize> = asked[2..].iter().map(|asked| asked.content.len()).collect();
    assert_eq!(sizes, [600_000, 600_000, 300_000]);
    assert_eq!(asked[4].field("upload-complete"), "?1", "too small to be appended only");
    assert!(assembled(&asked) == fixture.content);
}

#[test]
fn a_file_beyond_the_limit_is_not_begun() {
    let fixture = Fixture::new();
    let server = fixture.script([Act::Answer("204 No Content\r\nUpload-Limit: max-size=1000")]);
    let ended = fixture.put(&server, &[]).expect_code(20);
    assert!(ended.stderr.contains("1000 B"), "{ended}");
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn other_content_than_was_sent_does_not_pass() {
    let told = "204 No Content\r\nUpload-Complete: ?0\r\nUpload-Offset: 1500000\r\n\
        Repr-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    let refused =
        "400 Bad Request\r\nUpload-Complete: ?1\r\nContent-Type: application/problem+json";
    let document =
        r#"{"type":"https://iana.org/assignments/http-problem-types#digest-mismatching-values"}"#;
    for (acts, last) in [
        (vec![Act::Answer(told)], "DELETE /u/secret"),
        (vec![APPENDED, Act::Content(refused, document.to_owned())], "PATCH /u/secret"),
    ] {
        let fixture = Fixture::new();
        let server = fixture.script([OFFERED, CREATED].into_iter().chain(acts));
        let ended = fixture.put(&server, &["--retry", "2"]).expect_code(25);
        assert_eq!(server.lines().last().unwrap(), last, "{ended}");
        assert!(fixture.records().is_empty());
    }
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_not_stored() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("big");
    let change = Box::new(move || fs::write(path, vec![b'x'; SIZE]).unwrap());
    let appended = Act::After(change, "204 No Content\r\nUpload-Complete: ?0");
    let server = fixture.script([OFFERED, CREATED, appended, Act::Answer("204 No Content")]);
    let ended = fixture.put(&server, &["--retry", "2"]).expect_code(4);
    assert!(ended.stderr.contains("changed while it was sent"), "{ended}");
    assert_eq!(server.lines()[3..], ["DELETE /u/secret"], "nothing completes it");
    assert!(fixture.records().is_empty());
}

#[test]
fn a_refusal_that_comes_in_the_end_is_final() {
    let fixture = Fixture::new();
    let late = Act::Answer("412 Precondition Failed\r\nUpload-Complete: ?1");
    let server = fixture.script([OFFERED, CREATED, APPENDED, late]);
    let ended = fixture.put(&server, &["--no-clobber", "--retry", "3"]).expect_code(20);
    assert!(ended.stderr.contains("exists already"), "{ended}");
    let asked = server.asked();
    assert_eq!(asked[1].field("if-none-match"), "*");
    assert_eq!(asked[2].field("if-none-match"), "", "the condition is the target's");
    assert_eq!(asked.len(), 4);
    assert!(fixture.records().is_empty());
}

/// What the server has of uploads that are not complete.
fn partial(server: &SealpairServer) -> u64 {
    let files = fs::read_dir(server.root()).unwrap().flatten();
    let files = files.filter(|file| {
        let name = file.file_name().into_string().unwrap();
        name.starts_with(".sealpair-upload-") && !name.contains(".json")
    });
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

#[test]
fn a_killed_client_goes_on_where_it_was() {
    const LENGTH: u64 = 12 << 20;
    let dir = tempfile::tempdir().unwrap();
    let server = SealpairServer::start(|s| s.writable());
    let mut content: Vec<u8> =
        (0..LENGTH as u32 / 4).flat_map(|at| (at * 7).to_le_bytes()).collect();
    let put = |more: &[&str]| {
        let run = Run::of("sealpair").args(["--json", "put", "big", &server.url("/")]).args(more);
        let run = run.arg("--ca").arg(server.ca()).current_dir(dir.path());
        run.env("XDG_STATE_HOME", dir.path().join("state"))
    };
    for round in 0..3_u32 {
        content[0] = round as u8;
        fs::write(dir.path().join("big"), &content).unwrap();
        // Killed twice in each upload, anywhere: within the first third, and within the second.
        let mut least = 0;
        for third in 0..2 {
            let random = u64::from(RandomState::new().build_hasher().finish() as u32);
            let until = third * LENGTH / 3 + random % (LENGTH / 3);
            let mut client = put(&["--limit-rate", "20MiB"]).start();
            settles("so much has arrived", || partial(&server) > until || client.has_ended());
            client.signal(Signal::KILL);
            assert_eq!(client.wait().signal(), Some(9));
            let kept = partial(&server);
            assert!(kept >= until && kept >= least, "{kept}, {until}, {least}");
            least = kept;
        }
        assert!(!server.root().join("big").exists() || round > 0, "nothing has the name yet");
        let ended = put(&[]).run().expect_success();
        let sent = ended.json()["bytes"].as_u64().unwrap();
        assert!(sent <= LENGTH - least, "{sent} of {LENGTH} were sent again, {least} were there");
        assert!(fs::read(server.root().join("big")).unwrap() == content);
        assert_eq!(partial(&server), 0);
    }
    assert_eq!(fs::read_dir(dir.path().join("state/sealpair/uploads")).unwrap().count(), 0);
}

#[test]
fn a_killed_server_is_gone_on_with_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..2_u32 << 20).flat_map(|at| at.to_le_bytes()).collect();
    fs::write(dir.path().join("big"), &content).unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let start = |listen: &str| {
        SealpairServer::start(|s| {
            s.writable().serving(&root).state_dir(dir.path().join("srv")).listen(listen)
        })
    };
    let server = start("127.0.0.1:0");
    let address = server.address().to_string();
    let run = Run::of("sealpair").args(["--json", "put", "big", &server.url("/"), "--retry", "20"]);
    let run = run.args(["--limit-rate", "20MiB"]).arg("--ca").arg(server.ca());
    let run = run.current_dir(dir.path()).env("XDG_STATE_HOME", dir.path().join("state"));
    let client = run.start();
    settles("some of it has arrived", || partial(&server) > 2 << 20);
    server.signal(Signal::KILL);
    drop(server);
    let _server = start(&address);
    let ended = client.wait().expect_success();
    assert!(ended.stderr.contains("trying again"), "{ended}");
    assert!(fs::read(root.join("big")).unwrap() == content);
    assert!(ended.json()["bytes"].as_u64().unwrap() < 2 * content.len() as u64, "{ended}");
}
