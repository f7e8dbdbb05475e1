//! Clocks that are set back or forward: the server's between two parts of an upload, and that by which files
//! are stamped between two parts of a download.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::moments::Moments;
use sealpair_tests::peers::{Fault, LossyProxy, Plan, Way, find};
use sealpair_tests::{Run, SealpairServer, ServerBuilder, settles};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const LENGTH: usize = 4 << 20;

/// A folder with what outlives a server: its root and its state, and a client's files.
struct Place {
    dir: TempDir,
    content: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        let content = Moments::new().bytes(LENGTH);
        fs::write(dir.path().join("source"), &content).unwrap();
        Self { dir, content }
    }

    /// A server whose clock is off by as much as faketime(1) is told.
    fn serve(&self, offset: Option<&str>) -> SealpairServer {
        let (root, state) = (self.dir.path().join("root"), self.dir.path().join("server-state"));
        let builder = SealpairServer::builder().writable().serving(root).state_dir(state);
        match offset {
            None => builder,
            Some(offset) => with_clock(builder, offset),
        }
        .start()
    }

    fn client(&self, server: &SealpairServer, args: &[&str]) -> Run {
        let run = Run::of("sealpair").args(args).arg("--ca").arg(server.ca());
        run.env("XDG_STATE_HOME", self.dir.path().join("state")).current_dir(self.dir.path())
    }

    /// Files of uploads that have begun and not ended.
    fn unfinished(&self) -> usize {
        let entries = fs::read_dir(self.dir.path().join("root")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".sealpair-upload-")).count()
    }
}

/// The server sees another time than everybody else; files keep the time of the machine.
fn with_clock(builder: ServerBuilder, offset: &str) -> ServerBuilder {
    find("faketime", "faketime");
    let libraries = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
    let library = libraries.map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"));
    let library = library.iter().find(|path| path.exists()).expect("apt-get install faketime");
    builder
        .env("LD_PRELOAD", library)
        .env("FAKETIME", offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1")
}

/// Interrupts an upload, starts the server again with another clock, and goes on. Gives the place and how
/// many bytes the second try has moved.
fn upload_across(offset: &str) -> (Place, u64) {
    let place = Place::new();
    let server = place.serve(None);
    let (ca, failing) = (server.ca(), Arc::new(AtomicBool::new(true)));
    let proxy = LossyProxy::new(server.address(), {
        let failing = Arc::clone(&failing);
        move |_| match failing.load(Ordering::SeqCst) {
            // In order, so that the server reads what has come.
            true => Plan::bad(Fault::Cut, Way::Up, LENGTH as u64 / 2),
            false => Plan::GOOD,
        }
    });
    let url = proxy.url("/copy");
    place.client(&server, &["put", "source", &url]).run().expect_code(6);
    server.stop();
    assert!(place.unfinished() >= 2, "data, and what it is for");

    failing.store(false, Ordering::SeqCst);
    let mut server = place.serve(Some(offset));
    if offset.starts_with('+') {
        settles("what has expired is swept at the start", || place.unfinished() == 0);
        // With a clock that is ahead of that of the disk, new uploads would be old as well.
        server.stop();
        server = place.serve(None);
    }
    assert_eq!(server.ca(), ca);
    proxy.redirect(server.address());
    let before = proxy.moved(Way::Up);
    place.client(&server, &["put", "source", &url]).run().expect_success();
    let moved = proxy.moved(Way::Up) - before;
    assert_eq!(fs::read(place.dir.path().join("root/copy")).unwrap(), place.content);
    (place, moved)
}

#[test]
fn an_upload_goes_on_although_the_servers_clock_was_set_back() {
    let (place, moved) = upload_across("-10d");
    assert!(moved < LENGTH as u64 * 3 / 4, "{moved} bytes: it began again");
    let left = place.unfinished();
    // For who has missed the answer, it is remembered for a while.
    assert!(left <= 1, "{left} files are left");
}

#[test]
fn an_upload_begins_again_when_it_has_expired_by_the_servers_clock() {
    let (_, moved) = upload_across("+10d");
    assert!(moved >= LENGTH as u64, "{moved} bytes: it went on with what had expired");
}

#[test]
fn two_versions_are_told_apart_although_the_clock_gave_them_the_same_time() {
    let place = Place::new();
    let root = place.dir.path().join("root");
    let time = SystemTime::now() - Duration::from_secs(3600);
    let write = |name: &str, content: &[u8]| {
        fs::write(root.join(name), content).unwrap();
        File::options().write(true).open(root.join(name)).unwrap().set_modified(time).unwrap();
    };
    write("file", &place.content);
    let server = place.serve(None);
    // The validator is a strong one only when the file could not change again unseen.
    settles("the entity tag is strong", || {
        !server.curl().arg("--head").arg(server.url("/file")).run().text().contains("W/")
    });
    let proxy = LossyProxy::new(server.address(), |connection| match connection {
        0 => Plan::bad(Fault::Cut, Way::Down, LENGTH as u64 / 2),
        _ => Plan::GOOD,
    });
    let url = proxy.url("/file");
    let get = ["get", "--continue", "-o", "copy", &url];
    place.client(&server, &get).run().expect_code(24);
    let part = place.dir.path().join("copy.part");
    assert!(fs::metadata(&part).unwrap().len() > 0);

    // Another version, of the same length, with the same time of modification.
    let other = Moments::new().bytes(LENGTH);
    write("new", &other);
    fs::rename(root.join("new"), root.join("file")).unwrap();
    place.client(&server, &get).run().expect_success();
    assert_eq!(fs::read(place.dir.path().join("copy")).unwrap(), other);
    assert!(!part.exists());
}
