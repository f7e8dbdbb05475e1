//! `sealpair get` and digests: content that is not what it should be does not get its name.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_common::digest::Sha256;
use sealpair_tests::peers::{Ending, answer};
use sealpair_tests::{Ended, Pki, Run, ScriptedServer};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const CONTENT: &[u8] = b"0123456789abcdefghij";
const ETAG: &str = "ETag: \"v1\"\r\n";

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

    fn server(&self, answers: &[(Vec<u8>, Ending)]) -> ScriptedServer {
        let answers = answers.to_vec();
        ScriptedServer::playing(&self.pki.server(), move |number, _| {
            answers.get(number).or_else(|| answers.last()).unwrap().clone()
        })
    }

    fn get(&self, server: &ScriptedServer, args: &[&str]) -> Ended {
        let run = Run::of("sealpair").args(["get", &server.url("/f"), "-o", "f"]).args(args);
        run.arg("--ca").arg(self.pki.ca()).current_dir(self.dir.path()).run()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.dir.path()).unwrap().count() == 0
    }
}

#[test]
fn a_digest_of_the_server_or_of_the_user_decides() {
    let fixture = Fixture::new();
    let (right, wrong) = (digest(CONTENT), digest(b"something else"));
    let field = |name: &str, digest: Sha256| format!("{name}: {}\r\n", digest.to_field());
    let (repr, lie) = (field("Repr-Digest", right), field("Repr-Digest", wrong));
    let (content, content_lie) = (field("Content-Digest", right), field("Content-Digest", wrong));
    let (right, wrong) = (right.to_string(), wrong.to_string());
    for (fields, sha256, code) in [
        ("".to_owned(), None, 0),
        (repr.clone(), None, 0),
        (content.clone(), Some(&right), 0),
        (repr.clone() + &content, Some(&right), 0),
        ("".to_owned(), Some(&right), 0),
        (lie.clone(), None, 25),
        (content_lie.clone(), None, 25),
        (repr.clone() + &content_lie, None, 25),
        ("".to_owned(), Some(&wrong), 25),
        (repr, Some(&wrong), 25),
        (lie.clone(), Some(&right), 25),
        ("Repr-Digest: sha-512=:AAAA:\r\n".to_owned(), None, 0),
        ("Repr-Digest: nonsense=(\r\n".to_owned(), None, 0),
    ] {
        let whole = answer("200 OK", &(fields.clone() + ETAG), CONTENT);
        let server = fixture.server(&[(whole, Ending::Repeat)]);
        // Every way of writing a file comes to the same check; each has a lie to find.
        let ways: &[&[&str]] = match code {
            25 if fields.is_empty() || fields == lie => &[&[], &["-c"], &["--parallel", "4"]],
            _ => &[&[]],
        };
        for way in ways {
            let mut args = way.to_vec();
            args.push("--json");
            if let Some(sha256) = sha256 {
                args.extend(["--sha256", sha256.as_str()]);
            }
            let ended = fixture.get(&server, &args).expect_code(code);
            match code {
                0 => {
                    assert_eq!(fs::read(fixture.file("f")).unwrap(), CONTENT);
                    fs::remove_file(fixture.file("f")).unwrap();
                    let known = fields.contains("Repr-Digest: sha-256") || sha256.is_some();
                    assert_eq!(ended.json()["sha256"].is_string(), known, "{fields}");
                    let warned = ended.stderr.contains("cannot be read, and is not checked");
                    assert_eq!(warned, fields.contains("nonsense"), "{ended:?}");
                }
                _ => assert!(fixture.is_empty(), "{fields}"),
            }
        }
    }
    let server = fixture.server(&[(answer("200 OK", "", CONTENT), Ending::Repeat)]);
    fixture.get(&server, &["--sha256", "abc"]).expect_code(2);
}

#[test]
fn it_is_asked_for_and_a_continued_download_is_checked_as_a_whole() {
    let fixture = Fixture::new();
    let fields = format!("{ETAG}Repr-Digest: {}\r\n", digest(CONTENT).to_field());
    let whole = answer("200 OK", &fields, CONTENT);
    let cut = (whole[..whole.len() - 12].to_vec(), Ending::Cut);
    let range = format!("{fields}Content-Range: bytes 8-19/20\r\n");
    let good = (answer("206 Partial Content", &range, &CONTENT[8..]), Ending::Repeat);
    // The same validator, other bytes: only the digest can tell.
    let bad = (answer("206 Partial Content", &range, b"another rest"), Ending::Repeat);

    let server = fixture.server(&[cut.clone(), good]);
    fixture.get(&server, &["--continue"]).expect_code(24);
    fixture.get(&server, &["--continue"]).expect_success();
    assert_eq!(fs::read(fixture.file("f")).unwrap(), CONTENT);
    assert!(server.requests().iter().all(|head| head.contains("want-repr-digest: sha-256=10")));
    fs::remove_file(fixture.file("f")).unwrap();

    let server = fixture.server(&[cut.clone(), bad.clone()]);
    fixture.get(&server, &["--continue"]).expect_code(24);
    fixture.get(&server, &["--continue"]).expect_code(25);
    assert!(fixture.is_empty(), "it could never become right");

    let server = fixture.server(&[cut.clone(), bad]);
    fixture.get(&server, &["--retry", "1"]).expect_code(25);
    assert!(fixture.is_empty());

    // Somebody has changed the beginning in between.
    let fields = format!("{ETAG}Content-Range: bytes 8-19/20\r\n");
    let plain = (answer("206 Partial Content", &fields, &CONTENT[8..]), Ending::Repeat);
    let server = fixture.server(&[cut, plain]);
    fixture.get(&server, &["--continue"]).expect_code(24);
    fs::write(fixture.file("f.part"), "0123456X").unwrap();
    fixture.get(&server, &["--continue"]).expect_code(25);
    assert!(fixture.is_empty());
}

#[test]
fn the_digest_of_a_part_is_the_parts() {
    let fixture = Fixture::new();
    for (of, code) in [(&CONTENT[8..], 0), (CONTENT, 25)] {
        let whole = answer("200 OK", ETAG, CONTENT);
        let cut = (whole[..whole.len() - 12].to_vec(), Ending::Cut);
        let field = digest(of).to_field();
        let fields = format!("{ETAG}Content-Range: bytes 8-19/20\r\nContent-Digest: {field}\r\n");
        let rest = (answer("206 Partial Content", &fields, &CONTENT[8..]), Ending::Repeat);
        let server = fixture.server(&[cut, rest]);
        fixture.get(&server, &["--retry", "1"]).expect_code(code);
    }
}

#[test]
fn more_than_the_user_allows_is_not_kept() {
    let fixture = Fixture::new();
    let announced = (answer("200 OK", ETAG, CONTENT), Ending::Repeat);
    let chunks =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n0123456789abcdefghij\r\n";
    let unannounced = (chunks.to_vec(), Ending::Cut);
    for (answer, more) in [(&announced, &[][..]), (&announced, &["-c"]), (&unannounced, &[])] {
        let server = fixture.server(std::slice::from_ref(answer));
        let args = [&["--max-size", "19", "--retry", "3"], more].concat();
        fixture.get(&server, &args).expect_code(30);
        assert!(fixture.is_empty());
        assert_eq!(server.requests().len(), 1);
    }
    let server = fixture.server(&[announced]);
    fixture.get(&server, &["--max-size", "20"]).expect_success();
}

#[test]
fn an_encoding_that_nobody_asked_for_is_kept_and_said() {
    let fixture = Fixture::new();
    let whole = answer("200 OK", "Content-Encoding: gzip\r\n", CONTENT);
    let server = fixture.server(&[(whole, Ending::Repeat)]);
    let ended = fixture.get(&server, &[]).expect_success();
    assert!(ended.stderr.contains("encoded as gzip"), "{ended:?}");
    assert_eq!(fs::read(fixture.file("f")).unwrap(), CONTENT);
}
