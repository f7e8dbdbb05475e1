//! A folder as one tar archive, as curl, tar(1) and Python's tarfile see it.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::fs::{CWD, Mode, mkfifoat};
use sealpair_tests::{End, RawClient, Run, SealpairServer, peers, settles};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

fn tool(name: &str) -> Run {
    Run::new(Command::new(peers::find(name, name)))
}

/// A folder with everything that is hard to say in a header.
fn fill(folder: &Path) {
    let write = |name: &[u8], content: &[u8]| {
        let path = folder.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write(b"empty", b"");
    write(b"block", &[b'x'; 512]);
    write(b"plain.txt", b"content\n");
    write(&[b'n'; 100], b"the longest that a header takes with no folder before it");
    write(&[b'n'; 101], b"one more");
    write(&[b'n'; 255], b"the longest of all");
    let deep = [&[b'd'; 120][..], b"/", &[b'e'; 120], b"/", &[b'f'; 120]].concat();
    write(&deep, b"deep");
    write("Gr\u{fc}\u{df}e/\u{4e16}\u{754c} \u{1f600}".as_bytes(), b"names in UTF-8");
    write(b"line\nfeed 'and' \"quotes\" \\ *", b"a newline");
    write(b"\xff\xfe", b"not UTF-8");
    write(&[b"\xff".as_slice(), &[b'n'; 150]].concat(), b"not UTF-8, and long");
    fs::create_dir(folder.join("empty folder")).unwrap();
    let large = File::create(folder.join("sparse")).unwrap();
    large.set_len(3_000_001).unwrap();
    large.write_all_at(b"in the middle", 1_500_000).unwrap();
    let old = File::open(folder.join("plain.txt")).unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
}

#[test]
fn tar_extracts_the_tree_as_it_is_and_has_nothing_to_complain_about() {
    let server = SealpairServer::start(|server| server.file("top/a", "a"));
    let top = server.root().join("top");
    fill(&top);
    let archive = server.dir().join("top.tar");
    let curl = server.curl().args(["--fail", "-o"]).arg(&archive);
    curl.arg(server.url("/top/?archive=tar")).run().expect_success();

    let listed = tool("tar").arg("-tf").arg(&archive).run().expect_success();
    assert_eq!(listed.stderr, "");
    let target = server.dir().join("extracted");
    fs::create_dir(&target).unwrap();
    let extracted = tool("tar").arg("-xf").arg(&archive).arg("-C").arg(&target).run();
    assert_eq!(extracted.expect_success().stderr, "");
    let compared = Run::new(Command::new(peers::find("diff", "diffutils")))
        .arg("-r")
        .arg(&top)
        .arg(target.join("top"));
    assert_eq!(compared.run().expect_success().text(), "");
    let metadata = |path: &str| fs::metadata(target.join("top").join(path)).unwrap();
    assert_eq!(metadata("plain.txt").mtime(), 1_000_000_000);
    assert_eq!(metadata("plain.txt").permissions().mode() & 0o777, 0o644);
    assert_eq!(metadata("empty folder").permissions().mode() & 0o777, 0o755);

    // Another reader.
    const READ: &str = "import sys, tarfile\n\
        with tarfile.open(sys.argv[1], 'r|', errors='surrogateescape') as t:\n\
        \x20   for m in t:\n\
        \x20       assert m.uid == m.gid == 0 and m.uname == m.gname == '', m\n\
        \x20       n = m.name.encode('utf-8', 'surrogateescape')\n\
        \x20       c = t.extractfile(m).read().hex() if m.isfile() else 'folder'\n\
        \x20       print(n.hex(), c)\n";
    let read = tool("python3").args(["-c", READ]).arg(&archive).run().expect_success().text();
    let mut seen = 0;
    for line in read.lines() {
        let (name, content) = line.split_once(' ').unwrap();
        let path = server.root().join(OsStr::from_bytes(&unhex(name)));
        match content {
            "folder" => assert!(path.is_dir(), "{path:?}"),
            content => assert!(fs::read(&path).unwrap() == unhex(content), "{path:?}"),
        }
        seen += 1;
    }
    assert_eq!(seen, listed.text().lines().count());
}

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn only_what_is_served_is_archived_and_nothing_from_outside() {
    let server = SealpairServer::start(|server| {
        let server = server.file("top/a", "a").file("top/.hidden", "").file("top/.git/config", "");
        server.file("top/sub/b", "b").file("top/.sealpair-upload-1", "").file("beside", "beside")
    });
    let top = server.root().join("top");
    fs::write(server.dir().join("secret"), "secret").unwrap();
    symlink("../../secret", top.join("outside")).unwrap();
    symlink("/etc/passwd", top.join("absolute")).unwrap();
    symlink("..", top.join("sub/up")).unwrap();
    symlink("../beside", top.join("link")).unwrap();
    mkfifoat(CWD, top.join("fifo"), Mode::from_raw_mode(0o666)).unwrap();
    let url = server.url("/top/?archive=tar");
    let archive = server.curl().arg("--fail").arg(&url).run().expect_success().stdout;
    let listed = tool("tar").arg("-t").input(archive.clone()).run().expect_success();
    assert_eq!(listed.text(), "top/\ntop/a\ntop/link\ntop/sub/\ntop/sub/b\n");
    let link = tool("tar").args(["-xO", "top/link"]).input(archive).run().expect_success();
    assert_eq!(link.text(), "beside");

    // The page leads there, and a browser saves it under a name of its own.
    assert!(server.curl_get("/top/").text().contains("<a href=\"?archive=tar\">"));
    let into = server.dir().join("into");
    fs::create_dir(&into).unwrap();
    let saved = server.curl().arg("--output-dir").arg(&into).args(["-O", "-J"]);
    saved.arg(&url).run().expect_success();
    assert!(into.join("top.tar").exists());

    assert_eq!(server.curl_status("/top/?archive=zip", &[]), 400);
    let mut client = RawClient::connect(&server);
    let head = client.exchange("HEAD /top/?archive=tar HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((head.status, head.header("Content-Type")), (200, Some("application/x-tar")));
    let expected = "attachment; filename=\"top.tar\"; filename*=UTF-8''top.tar";
    assert_eq!(head.header("Content-Disposition"), Some(expected));
    assert_eq!(client.get("/top/a").text(), "a", "the connection goes on");
}

#[test]
fn a_file_that_shrinks_meanwhile_cuts_the_connection() {
    const SIZE: u64 = 64 << 20;
    let server = SealpairServer::start(|server| server.file("top/b", "b"));
    let path = server.root().join("top/a");
    let file = File::create(&path).unwrap();
    file.set_len(SIZE).unwrap();
    let mut client = RawClient::connect(&server);
    client.send("GET /top/?archive=tar HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.response_to_head().header("Transfer-Encoding"), Some("chunked"));
    // Much more is left than fits into the buffers between the two.
    file.set_len(SIZE - 1).unwrap();
    let (rest, end) = client.rest();
    assert!((rest.len() as u64) < SIZE + (1 << 20), "{}", rest.len());
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it must not look complete");
    assert_ne!(end, End::CloseNotify);
    settles("the log tells", || server.log().contains("changed while it was archived"));
    server.curl_get("/top/b");
}

#[test]
fn a_large_tree_is_archived_in_little_memory() {
    let server = SealpairServer::start(|server| server);
    for folder in 0..5 {
        let folder = server.root().join(format!("{folder}"));
        fs::create_dir(&folder).unwrap();
        for number in 0..100 {
            File::create(folder.join(format!("{number}"))).unwrap().set_len(400_000).unwrap();
        }
    }
    let archive = server.dir().join("all.tar");
    let curl = server.curl().args(["--fail", "-o"]).arg(&archive);
    curl.arg(server.url("/?archive=tar")).run().expect_success();
    // 500 files with a header each, rounded up to blocks, 5 folders, and the end.
    let expected = 500 * (512 + 400_384) + 5 * 512 + 1024;
    assert_eq!(fs::metadata(&archive).unwrap().len(), expected);
    assert!(server.peak_rss_kib() < 48 << 10, "{} KiB", server.peak_rss_kib());
}
