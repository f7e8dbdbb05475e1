//! `sealpair get -O`: the server may suggest a name, and nothing else; and what a file's time is.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::peers::Ending;
use sealpair_tests::{Ended, Pki, Run, ScriptedServer};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;

struct Fixture {
    pki: Pki,
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("here")).unwrap();
        Self { pki: Pki::new(), dir }
    }

    fn answering(&self, fields: &str) -> ScriptedServer {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 5\r\n\r\n");
        ScriptedServer::playing(&self.pki.server(), move |_, head| {
            let content = if head.starts_with("HEAD") { "" } else { "hello" };
            ([answer.as_bytes(), content.as_bytes()].concat(), Ending::Repeat)
        })
    }

    fn get(&self, url: &str, args: &[&str]) -> Ended {
        let run = Run::of("sealpair").args(["get", url]).args(args).arg("--ca").arg(self.pki.ca());
        run.current_dir(self.dir.path().join("here")).run()
    }

    /// What is in the folder of the downloads, and nothing is beside it.
    fn names(&self) -> Vec<String> {
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 1);
        let entries = fs::read_dir(self.dir.path().join("here")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn the_name_is_the_servers_made_safe_or_the_urls() {
    for (path, disposition, name) in [
        ("/a/b%20c?d=e", None, "b c"),
        ("/a", Some("attachment; filename=x.txt"), "x.txt"),
        ("/a", Some("attachment; filename=\"../../x\""), "x"),
        ("/a", Some("attachment; filename=\"/dev/null\""), "null"),
        ("/a", Some("attachment; filename*=UTF-8''..%2f.ss%0ah"), "ss_h"),
        ("/a", Some("attachment; filename=\"..\""), "a"),
    ] {
        let fixture = Fixture::new();
        let fields = disposition.map(|value| format!("Content-Disposition: {value}\r\n"));
        let server = fixture.answering(&fields.unwrap_or_default());
        let ended = fixture.get(&server.url(path), &["-O", "--json"]).expect_success();
        assert_eq!(fixture.names(), [name], "{disposition:?}");
        assert_eq!(ended.json()["file"], name);
    }
    let fixture = Fixture::new();
    let server = fixture.answering("");
    fixture.get(&server.url("/a/"), &["-O"]).expect_code(2);
    assert!(fixture.names().is_empty());
}

#[test]
fn a_redirect_does_not_name_the_file() {
    let fixture = Fixture::new();
    let server = ScriptedServer::playing(&fixture.pki.server(), |number, _| {
        let answer = match number {
            0 => "HTTP/1.1 302 Found\r\nLocation: /.bashrc\r\nContent-Length: 0\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        };
        (answer.into(), Ending::Repeat)
    });
    fixture.get(&server.url("/mine"), &["-O"]).expect_success();
    assert_eq!(fixture.names(), ["mine"]);
}

#[test]
fn what_is_there_is_not_replaced() {
    let fixture = Fixture::new();
    let server = fixture.answering("");
    let here = fixture.dir.path().join("here");
    fs::write(here.join("file"), "mine").unwrap();
    symlink("nowhere", here.join("link")).unwrap();
    for name in ["file", "link"] {
        let ended = fixture.get(&server.url(&format!("/{name}")), &["-O"]).expect_code(4);
        assert!(ended.stderr.contains("there already"), "{ended:?}");
    }
    assert_eq!(fs::read(here.join("file")).unwrap(), b"mine");
    assert_eq!(fixture.names(), ["file", "link"]);
    fixture.get(&server.url("/file"), &["-o", "file"]).expect_success();
    assert_eq!(fs::read(here.join("file")).unwrap(), b"hello");
}

#[test]
fn the_time_of_the_last_modification_is_kept_unless_it_is_to_come() {
    let fixture = Fixture::new();
    let time = |name: &str| {
        let metadata = fs::metadata(fixture.dir.path().join("here").join(name)).unwrap();
        metadata.modified().unwrap()
    };
    let modified = UNIX_EPOCH + Duration::from_secs(784_111_777);
    let server = fixture.answering("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    fixture.get(&server.url("/a"), &["-O"]).expect_success();
    assert_eq!(time("a"), modified);
    fixture.get(&server.url("/a"), &["-o", "b", "--no-mtime"]).expect_success();
    assert!(time("b") > modified);
    let server = fixture.answering("Last-Modified: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
    fixture.get(&server.url("/c"), &["-O"]).expect_success();
    assert!(time("c") < UNIX_EPOCH + Duration::from_secs(1 << 40));
}

#[test]
fn what_is_complete_is_not_downloaded_again() {
    let fixture = Fixture::new();
    let server = fixture.answering("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    let url = server.url("/a");
    fixture.get(&url, &["-O", "--continue"]).expect_success();
    let ended = fixture.get(&url, &["-O", "--continue"]).expect_success();
    assert!(ended.stderr.contains("complete already"), "{ended:?}");
    fixture.get(&url, &["-o", "a", "--continue"]).expect_success();
    let gets = |server: &ScriptedServer| {
        server.requests().iter().filter(|head| head.starts_with("GET")).count()
    };
    assert_eq!(gets(&server), 1);

    // Of the same length, from another time: it is not believed to be the same.
    let path = fixture.dir.path().join("here/a");
    fs::write(&path, "HELLO").unwrap();
    fixture.get(&url, &["-O", "--continue"]).expect_code(4);
    // A digest proves it, whatever the time is.
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    fixture.get(&url, &["-o", "a", "--continue", "--sha256", sha256]).expect_success();
    assert_eq!(fs::read(&path).unwrap(), b"hello");
    assert_eq!(gets(&server), 2);
    fixture.get(&url, &["-o", "a", "--continue", "--sha256", sha256]).expect_success();
    assert_eq!(gets(&server), 2);
}
