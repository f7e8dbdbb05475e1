//! `sealpair` and the local side: files that cannot be read, places that cannot be written, and outputs
//! that are not files.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::peers::read_head;
use sealpair_tests::{Ended, Pki, Run, ScriptedServer, SealpairServer};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use tempfile::TempDir;

struct Fixture {
    server: SealpairServer,
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let server = SealpairServer::start(|s| s.writable().file("a", "hello"));
        Self { server, dir: tempfile::tempdir().unwrap() }
    }

    fn run(&self, args: &[&str]) -> Ended {
        let run = Run::of("sealpair").args(args).arg("--ca").arg(self.server.ca());
        run.current_dir(self.dir.path()).run()
    }

    fn get(&self, path: &str, output: &str) -> Ended {
        self.run(&["get", &self.server.url(path), "-o", output])
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

#[test]
fn a_download_takes_its_name_and_the_umasks_mode() {
    let fixture = Fixture::new();
    fixture.get("/a", "out").expect_success();
    assert_eq!(fs::read(fixture.file("out")).unwrap(), b"hello");
    let usual = fixture.file("usual");
    File::create(&usual).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&fixture.file("out")), mode(&usual));

    fs::set_permissions(fixture.file("out"), fs::Permissions::from_mode(0o600)).unwrap();
    fixture.get("/a", "out").expect_success();
    assert_eq!(mode(&fixture.file("out")) & 0o777, 0o600, "an existing file keeps its mode");
}

#[test]
fn a_link_is_followed_and_not_replaced() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.file("elsewhere")).unwrap();
    for (link, target) in [("live", "elsewhere/live"), ("dangling", "elsewhere/new")] {
        symlink(target, fixture.file(link)).unwrap();
    }
    fs::write(fixture.file("elsewhere/live"), "old").unwrap();
    for link in ["live", "dangling"] {
        fixture.get("/a", link).expect_success();
        assert!(fixture.file(link).is_symlink());
        assert_eq!(fs::read(fixture.file(link)).unwrap(), b"hello");
    }
}

#[test]
fn a_device_is_written_through() {
    let fixture = Fixture::new();
    fixture.get("/a", "/dev/null").expect_success();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert_eq!(fixture.get("/a", "/dev/stdout").expect_success().stdout, b"hello");
    assert_eq!(fixture.get("/a", "-").expect_success().stdout, b"hello");
}

#[test]
fn a_fifo_is_written_through() {
    let fixture = Fixture::new();
    let fifo = fixture.file("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let reader = thread::spawn({
        let fifo = fifo.clone();
        move || {
            let mut text = String::new();
            File::open(fifo).unwrap().read_to_string(&mut text).unwrap();
            text
        }
    });
    fixture.get("/a", "fifo").expect_success();
    assert_eq!(reader.join().unwrap(), "hello");
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
}

#[test]
fn who_reads_a_fifo_gets_at_once_what_there_is() {
    let pki = Pki::new();
    let (go_on, told) = channel::<()>();
    let told = Mutex::new(told);
    let server = ScriptedServer::tls(&pki.server(), move |stream| {
        assert!(read_head(stream).is_some());
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello ").unwrap();
        // The rest comes when the beginning has been read.
        told.lock().unwrap().recv().unwrap();
        stream.write_all(b"world").unwrap();
        let _ = stream.shutdown();
    });
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let get = Run::of("sealpair").args(["get", &server.url("/"), "--timeout", "5s", "--ca"]);
    let get = get.arg(pki.ca()).arg("-o").arg(&fifo).start();
    let mut reader = File::open(&fifo).unwrap();
    let mut beginning = [0; 6];
    reader.read_exact(&mut beginning).unwrap();
    go_on.send(()).unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    get.wait().expect_success();
    assert_eq!((&beginning[..], rest.as_str()), (&b"hello "[..], "world"));
}

#[test]
fn a_full_disk_is_4() {
    let fixture = Fixture::new();
    let ended = fixture.get("/a", "/dev/full").expect_code(4);
    assert!(ended.stderr.contains("/dev/full"), "{ended}");
    let to_full = Run::of("sealpair").args(["get", &fixture.server.url("/a")]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    to_full.arg("--ca").arg(fixture.server.ca()).output_file(full).run().expect_code(4);
}

/// A real disk that fills up: a small tmpfs in a mount namespace of its own.
#[test]
fn a_disk_that_fills_up_is_4_and_leaves_nothing() {
    let fixture = Fixture::new();
    File::create(fixture.server.root().join("big")).unwrap().set_len(8 << 20).unwrap();
    let mount = fixture.file("small");
    fs::create_dir(&mount).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=2m tmpfs '{mount}' && echo old > '{mount}/file' || exit 99; \
         '{sealpair}' get '{url}' --ca '{ca}' -o '{mount}/file'; echo \"exit $?\"; \
         ls -A '{mount}'; cat '{mount}/file'",
        mount = mount.display(),
        sealpair = sealpair_tests::program::program("sealpair").display(),
        url = fixture.server.url("/big"),
        ca = fixture.server.ca().display(),
    );
    let mut unshare = std::process::Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        // Needs no privilege where user namespaces are allowed.
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--mount", "sh", "-c", &script]);
    let ended = Run::new(unshare).run().expect_success();
    assert_eq!(ended.text(), "exit 4\nfile\nold\n", "{ended}");
    assert!(ended.stderr.contains("No space left"), "{ended}");
}

#[test]
fn a_place_that_cannot_be_written_is_4() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.file("directory")).unwrap();
    for place in ["directory", "missing/file", "/proc/file", "a\u{0}b".trim_end_matches("\0b")] {
        let ended = fixture.get("/a", place);
        // The last one is an ordinary name: what comes after it could not be given at all.
        assert_eq!(ended.code(), Some(if place == "a" { 0 } else { 4 }), "{place}: {ended}");
    }
}

#[test]
fn a_file_that_cannot_be_uploaded_is_4() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.file("directory")).unwrap();
    for file in ["missing", "directory"] {
        let ended = fixture.run(&["put", file, &fixture.server.url("/b")]).expect_code(4);
        assert!(ended.stderr.contains(file), "{ended}");
    }
    assert!(!fixture.server.root().join("b").exists());
}

#[test]
fn uploads_of_all_kinds_arrive_whole() {
    let fixture = Fixture::new();
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(fixture.file("file"), &content).unwrap();
    fixture.run(&["put", "file", &fixture.server.url("/b")]).expect_success();
    assert_eq!(fs::read(fixture.server.root().join("b")).unwrap(), content);
    fixture.run(&["put", "file", &fixture.server.url("/")]).expect_success();
    assert_eq!(fs::read(fixture.server.root().join("file")).unwrap(), content);
    let put = Run::of("sealpair").args(["put", "-", &fixture.server.url("/c")]);
    put.arg("--ca").arg(fixture.server.ca()).input(content.clone()).run().expect_success();
    assert_eq!(fs::read(fixture.server.root().join("c")).unwrap(), content);
    fs::write(fixture.file("empty"), "").unwrap();
    fixture.run(&["put", "empty", &fixture.server.url("/d")]).expect_success();
    assert_eq!(fs::read(fixture.server.root().join("d")).unwrap(), b"");
    let post = ["request", "PUT", &fixture.server.url("/e"), "--data", "text"];
    fixture.run(&post).expect_success();
    assert_eq!(fs::read(fixture.server.root().join("e")).unwrap(), b"text");
}

#[test]
fn key_files_that_cannot_be_used_are_3_and_named() {
    let fixture = Fixture::new();
    let pki = Pki::new();
    let (alice, bob) = (pki.client("alice"), pki.client("bob"));
    let encrypted = pki.encrypted_key(&alice, "correct horse");
    let right = pki.write(".pass", "correct horse\n");
    let wrong = pki.write(".pass", "wrong\n");
    let garbage = pki.write(".key", "not a key");
    let cert = alice.cert.to_str().unwrap();
    let url = fixture.server.url("/a");
    let with = |key: &Path, more: &[&Path]| {
        let mut args = vec!["get", &url, "--cert", cert, "--key", key.to_str().unwrap()];
        if let [pass] = more {
            args.extend(["--key-pass-file", pass.to_str().unwrap()]);
        }
        fixture.run(&args)
    };
    with(&encrypted, &[&right]).expect_success();
    for (ended, file) in [
        (with(Path::new("missing.key"), &[]), "missing.key"),
        (with(pki.dir(), &[]), pki.dir().to_str().unwrap()),
        (with(&garbage, &[]), garbage.to_str().unwrap()),
        (with(&encrypted, &[]), encrypted.to_str().unwrap()),
        (with(&encrypted, &[&wrong]), encrypted.to_str().unwrap()),
        (with(&encrypted, &[Path::new("missing.pass")]), "missing.pass"),
        (with(&bob.key, &[]), bob.key.to_str().unwrap()),
    ] {
        let ended = ended.expect_code(3);
        assert!(ended.stderr.contains(file), "{file}: {ended}");
        assert!(!ended.stderr.contains("correct horse"), "{ended}");
    }
    let mismatch = with(&bob.key, &[]);
    assert!(mismatch.stderr.contains(cert), "both files are named: {mismatch}");
    let run = Run::of("sealpair").args(["get", &url, "--ca", "missing.pem"]);
    run.run().expect_code(3);
    let bundle = pki.client_pkcs12("secret");
    let pass = pki.write(".pass", "secret");
    let p12 = ["get", &url, "--pkcs12", bundle.to_str().unwrap()];
    fixture.run(&p12).expect_code(3);
    fixture
        .run(&[&p12[..], &["--key-pass-file", pass.to_str().unwrap()]].concat())
        .expect_success();
}

#[test]
fn a_policy_that_nobody_knows_is_a_matter_of_usage() {
    let fixture = Fixture::new();
    let url = fixture.server.url("/a");
    let ended = fixture.run(&["get", &url, "--policy", "none"]).expect_code(2);
    assert!(ended.stderr.contains("intermediate, modern, fips, cnsa1, cnsa2"), "{ended}");
}
