//! `sealpair put` and `get` of many files and of folders: all that is there and nothing else, in its place
//! and nowhere else, whatever a server lists.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_common::digest::Sha256;
use sealpair_tests::peers::{Ending, ScriptedServer};
use sealpair_tests::{Ended, Pki, Run, SealpairServer};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn sealpair(dir: &Path, ca: &Path, args: &[&str]) -> Ended {
    let run = Run::of("sealpair").args(args).arg("--ca").arg(ca).current_dir(dir);
    run.env("XDG_STATE_HOME", dir.join("state")).run()
}

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256::of(bytes).unwrap()
}

/// All files below a folder with the digests of their content, and the folders.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Sha256>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            // What the server remembers of an upload, for a while.
            if path.file_name().unwrap().as_bytes().starts_with(b".sealpair-upload-") {
                continue;
            }
            match path.is_dir() {
                true => {
                    found.insert(name, None);
                    folders.push(path);
                }
                false => drop(found.insert(name, Some(digest(&fs::read(path).unwrap())))),
            }
        }
    }
    found
}

#[test]
fn a_folder_comes_back_as_it_went() {
    let dir = TempDir::new().unwrap();
    let source = dir.path().join("source");
    for folder in ["in/deep", "empty", "per % cent"] {
        fs::create_dir_all(source.join(folder)).unwrap();
    }
    for (at, name) in [
        "a",
        "in/index.html",
        "in/b c",
        "in/deep/ä\u{1f512}",
        "in/deep/q\"'<&>",
        "per % cent/%2e%2e",
        "-x",
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(source.join(name), vec![at as u8; at * 1000]).unwrap();
    }
    fs::write(source.join(OsStr::from_bytes(b"\xff\xfe")), "not UTF-8").unwrap();
    let big: Vec<u8> = (0..400_000_u32).flat_map(|at| at.to_le_bytes()).collect();
    fs::write(source.join("big"), &big).unwrap();
    let expected = tree(&source);
    symlink("..", source.join("loop")).unwrap();
    fs::write(source.join(".hidden"), "x").unwrap();

    let server = SealpairServer::start(|s| s.writable());
    let ca = server.ca();
    let put = ["--json", "put", "-r", "source", &server.url("/to/")];
    let ended = sealpair(dir.path(), &ca, &put).expect_success();
    let document = ended.json();
    assert_eq!(document["schema"], "sealpair.transfers/1");
    assert_eq!((&document["files"], &document["failed"]), (&9.into(), &0.into()), "{ended}");
    assert_eq!(document["skipped"], 2, "{ended}");
    assert!(ended.stderr.contains(".hidden was skipped"), "{ended}");
    assert!(ended.stderr.contains("9 files"), "{ended}");
    assert_eq!(tree(&server.root().join("to/source")), expected);

    sealpair(dir.path(), &ca, &["get", "-r", &server.url("/to/source/"), "-o", "back"])
        .expect_success();
    assert_eq!(tree(&dir.path().join("back")), expected);
    let time = |path: &Path| fs::metadata(path.join("in/b c")).unwrap().mtime();
    assert_eq!(time(&dir.path().join("back")), time(&server.root().join("to/source")));

    // What is there already is not fetched again; what has changed is.
    fs::write(server.root().join("to/source/a"), "another").unwrap();
    let again = ["--json", "get", "-rc", &server.url("/to/source/"), "-o", "back"];
    let document = sealpair(dir.path(), &ca, &again).expect_success().json();
    assert_eq!((&document["files"], &document["unchanged"]), (&1.into(), &8.into()), "{document}");
    assert_eq!(fs::read(dir.path().join("back/a")).unwrap(), b"another");

    // Without -o the folder has its name; a folder with a slash goes without it.
    sealpair(dir.path(), &ca, &["put", "-r", "back/", &server.url("/flat/")]).expect_success();
    assert!(server.root().join("flat/in/deep").is_dir());
    sealpair(dir.path(), &ca, &["get", "-r", &server.url("/flat/")]).expect_success();
    assert_eq!(tree(&dir.path().join("flat")), tree(&server.root().join("flat")));
}

#[test]
fn a_file_that_is_called_like_the_beginning_of_another_is_another() {
    let dir = TempDir::new().unwrap();
    let server = SealpairServer::start(|s| {
        // The short one arrives while the long one is on its way.
        s.file("a", vec![b'a'; 16 << 20]).file("a.part", "b").file("a.part.part", "c")
    });
    for _ in 0..2 {
        let get = ["get", "-rc", &server.url("/"), "-o", "back"];
        sealpair(dir.path(), &server.ca(), &get).expect_success();
        assert_eq!(tree(&dir.path().join("back")), tree(&server.root()));
        // As somebody would who wants it again, and has forgotten the other.
        fs::remove_file(dir.path().join("back/a")).unwrap();
    }
}

#[test]
fn several_files_go_to_one_folder_and_one_failure_is_told() {
    let dir = TempDir::new().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let server = SealpairServer::start(|s| s.writable().file("b", "old"));
    let ca = server.ca();
    let url = server.url("/");
    sealpair(dir.path(), &ca, &["put", "a", "b", &server.url("/no-folder")]).expect_code(2);

    let args = ["--json", "put", "a", "absent", "b", "c", &url, "--no-clobber"];
    let ended = sealpair(dir.path(), &ca, &args).expect_code(4);
    let document = ended.json();
    let outcomes: BTreeMap<_, _> = document["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["file"].as_str().unwrap(), entry["outcome"].as_str().unwrap()))
        .collect();
    let expected = [("a", "done"), ("absent", "failed"), ("b", "failed"), ("c", "done")];
    assert_eq!(outcomes, BTreeMap::from(expected), "{ended}");
    assert!(ended.stderr.contains("exists already"), "{ended}");
    assert_eq!(fs::read(server.root().join("b")).unwrap(), b"old");
    assert_eq!(fs::read(server.root().join("c")).unwrap(), b"c");
    sealpair(dir.path(), &ca, &["put", "a", "b", &url, "--no-clobber"]).expect_code(20);

    // Flags may stand anywhere, between the files and the URL as well.
    sealpair(dir.path(), &ca, &["put", "a", "-q", "b", "--jobs", "1", &url]).expect_success();
    sealpair(dir.path(), &ca, &["put", "a"]).expect_code(2);

    // A server that nobody can trust is asked once.
    let other = Pki::new();
    let ended =
        sealpair(dir.path(), &other.ca(), &["--json", "put", "a", "b", "c", &url, "--jobs", "1"]);
    let ended = ended.expect_code(10);
    let document = ended.json();
    assert_eq!(document["entries"][1]["outcome"], "not-tried", "{ended}");
    assert_eq!(document["entries"][2]["outcome"], "not-tried", "{ended}");
}

fn listing(entries: &str) -> Vec<u8> {
    let document = format!(r#"{{"schema":"sealpair.listing/1","path":"/","entries":[{entries}]}}"#);
    let length = document.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{document}")
        .into_bytes()
}

#[test]
fn a_listing_that_lies_leads_nowhere() {
    let dir = TempDir::new().unwrap();
    let pki = Pki::new();
    let inner = dir.path().join("in/to");
    fs::create_dir_all(&inner).unwrap();
    fs::write(dir.path().join("in/victim"), "mine").unwrap();
    fs::write(dir.path().join("secret"), "mine").unwrap();
    symlink("../victim", inner.join("link")).unwrap();
    symlink("..", inner.join("up")).unwrap();
    fs::create_dir(inner.join("folder")).unwrap();
    let files = [
        "../victim",
        "..%2fvictim",
        "%2e%2e/victim",
        "/victim",
        "//elsewhere/x",
        "https://elsewhere/x",
        "..",
        ".",
        "",
        "a%00b",
        "a%0ab",
        "a?b",
        "a%2f..%2f..%2fvictim",
        "a.part.json",
        "link",
        "folder",
        "twice",
        "twice",
        "good",
    ];
    let folders = ["../", "%2e%2e/", "/", "up/", "./", "no-slash", "https://elsewhere/"];
    let entry = |kind: &str, href: &str| {
        format!(r#"{{"name":"x","href":"{href}","type":"{kind}","size":1}}"#)
    };
    let mut entries: Vec<String> = files.iter().map(|href| entry("file", href)).collect();
    entries.extend(folders.iter().map(|href| entry("folder", href)));
    entries.push(entry("device", "null"));
    // Every request gets the same: a file is the listing itself.
    let answer = listing(&entries.join(","));
    let server = ScriptedServer::answering(&pki.server(), &answer, Ending::Repeat);
    let args = ["--json", "get", "-r", &server.url("/x/"), "-o", "in/to"];
    let ended = sealpair(dir.path(), &pki.ca(), &args).expect_code(23);
    assert_eq!(fs::read(dir.path().join("in/victim")).unwrap(), b"mine");
    let mut names: Vec<_> =
        fs::read_dir(&inner).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["folder", "good", "link", "twice", "up"], "{ended}");
    assert!(inner.join("link").is_symlink() && inner.join("folder").is_dir());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing beside: {ended}");
    assert_eq!(fs::read_dir(dir.path().join("in")).unwrap().count(), 2, "nothing above: {ended}");
    let document = ended.json();
    assert_eq!(document["files"], 2, "{ended}");
    assert_eq!(document["failed"], files.len() - 2 + folders.len() + 1, "{ended}");
    for request in server.requests() {
        let target = request.split(' ').nth(1).unwrap();
        assert!(["/x/", "/x/good", "/x/twice"].contains(&target), "{target}");
    }
}

#[test]
fn folders_without_an_end_have_one() {
    let dir = TempDir::new().unwrap();
    let pki = Pki::new();
    let answer = listing(r#"{"name":"d","href":"d/","type":"folder"}"#);
    let server = ScriptedServer::answering(&pki.server(), &answer, Ending::Repeat);
    let ended = sealpair(dir.path(), &pki.ca(), &["get", "-r", &server.url("/"), "-o", "to"]);
    let ended = ended.expect_code(23);
    assert!(ended.stderr.contains("too deep"), "{ended}");
    assert!(server.requests().len() <= 65, "{}", server.requests().len());

    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx"[..],
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere/\r\nContent-Length: 0\r\n\r\n",
    ] {
        let server = ScriptedServer::answering(&pki.server(), answer, Ending::Repeat);
        let ended = sealpair(dir.path(), &pki.ca(), &["get", "-r", &server.url("/"), "-o", "to"]);
        assert!([22, 23].contains(&ended.code().unwrap()), "{ended}");
    }
}
