//! Paths in every spelling, and a root in which somebody else moves things while it is served.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::fs::{CWD, FileType, Mode, mknodat};
use sealpair_tests::{RawClient, SealpairServer, Survival};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SECRET: &str = "what stands outside of the root";

/// How long things are moved about.
const SPAN: Duration = Duration::from_secs(4);

/// A writable server with a secret beside its root.
fn server() -> SealpairServer {
    let builder = SealpairServer::builder().writable().file("in/file", "inside");
    let outside = builder.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), SECRET).unwrap();
    fs::write(builder.dir().join("secret"), SECRET).unwrap();
    builder.start()
}

/// Everything outside of the root, by name and content.
fn outside(server: &SealpairServer) -> BTreeSet<(String, Vec<u8>)> {
    let dirs = [server.dir().to_owned(), server.dir().join("outside")];
    let entries = dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap());
    let entries = entries.map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), fs::read(&path).unwrap_or_default())).collect()
}

#[test]
fn dots_in_every_spelling_with_every_separator() {
    const DOTS: [&str; 12] = [
        "..",
        "%2e%2e",
        "%2E%2E",
        ".%2e",
        "%2e.",
        "%252e%252e",
        "%25%32%65%25%32%65",
        "%c0%ae%c0%ae",
        "%e0%80%ae%e0%80%ae",
        "..%00",
        "..;",
        "..%20",
    ];
    const SEPARATORS: [&str; 9] = ["/", "//", "%2f", "%2F", "%5c", "\\", "%252f", "%c0%af", "/./"];
    let server = server();
    let survival = Survival::begin(&server);
    let before = outside(&server);
    let mut client = RawClient::connect(&server);
    for prefix in ["/", "/in/", "/in/file/", "//", "/in/../", "https://localhost/"] {
        for dots in DOTS {
            for separator in SEPARATORS {
                for (depth, target) in [(1, "secret"), (2, "secret"), (2, "outside/file")] {
                    let up = format!("{dots}{separator}").repeat(depth);
                    for method in ["GET", "PUT", "DELETE"] {
                        let body = if method == "PUT" { "new" } else { "" };
                        let response = client.exchange(format!(
                            "{method} {prefix}{up}{target} HTTP/1.1\r\nHost: localhost\r\n\
                             Content-Length: {}\r\n\r\n{body}",
                            body.len()
                        ));
                        let shown = format!("{method} {prefix}{up}{target}");
                        assert!(!response.text().contains(SECRET), "{shown}");
                        assert!(method != "GET" || response.status >= 400, "{shown}");
                        assert!(response.status < 500, "{shown}: {}", response.status);
                        if response.header("Connection") == Some("close") {
                            client = RawClient::connect(&server);
                        }
                    }
                }
            }
        }
    }
    client.close();
    assert_eq!(outside(&server), before);
    survival.end();
}

/// While `swap` changes the root as fast as it can, three clients send requests that `check` judges.
fn while_swapped(
    server: &SealpairServer,
    mut swap: impl FnMut(usize) + Send,
    requests: &[&str],
    check: impl Fn(&str, u16, &str) + Sync,
) {
    let enough = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let mut round = 0;
            while !enough.load(Ordering::SeqCst) {
                swap(round);
                round += 1;
            }
            round
        });
        let asking: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let until = Instant::now() + SPAN;
                    let mut client = RawClient::connect(server);
                    while Instant::now() < until {
                        for request in requests {
                            let response = client.exchange(request);
                            check(request, response.status, &response.text());
                            asked.fetch_add(1, Ordering::SeqCst);
                            if response.header("Connection") == Some("close") {
                                client = RawClient::connect(server);
                            }
                        }
                    }
                })
            })
            .collect();
        // Also when one of them fails.
        let ended: Vec<_> = asking.into_iter().map(|asking| asking.join()).collect();
        enough.store(true, Ordering::SeqCst);
        let rounds = swapping.join().unwrap();
        assert!(ended.iter().all(Result::is_ok));
        println!("{} requests during {rounds} swaps", asked.load(Ordering::SeqCst));
        assert!(rounds > 100 && asked.load(Ordering::SeqCst) > 100);
    });
}

/// Puts a link in the place of another, atomically.
fn relink(target: &Path, link: &Path) {
    let new = link.with_extension("new");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

const GET_FILE: &str = "GET /swapped HTTP/1.1\r\nHost: localhost\r\n\r\n";
const GET_INNER: &str = "GET /folder/file HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LIST: &str = "GET /folder/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PUT: &str = "PUT /folder/new HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nnew";
const PUT_FILE: &str = "PUT /folder/file HTTP/1.1\r\nHost: localhost\r\n\
     If-Match: \"none\"\r\nContent-Length: 3\r\n\r\nnew";
const DELETE: &str = "DELETE /folder/new HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn a_link_that_changes_its_mind_never_leads_out() {
    let server = server();
    let survival = Survival::begin(&server);
    let before = outside(&server);
    let root = server.root();
    let (link, folder) = (root.join("swapped"), root.join("folder"));
    relink(Path::new("in/file"), &link);
    relink(Path::new("in"), &folder);
    let inside = AtomicUsize::new(0);
    while_swapped(
        &server,
        |round| {
            let out = round % 2 == 0;
            relink(Path::new(if out { "../secret" } else { "in/file" }), &link);
            relink(Path::new(if out { "../outside" } else { "in" }), &folder);
        },
        &[GET_FILE, GET_INNER, LIST, PUT, PUT_FILE, DELETE],
        |request, status, body| {
            assert!(!body.contains(SECRET), "{request}: {status} {body}");
            assert!(status < 500, "{request}: {status} {body}");
            if request == GET_FILE && status == 200 {
                assert_eq!(body, "inside");
                inside.fetch_add(1, Ordering::SeqCst);
            }
        },
    );
    assert!(inside.load(Ordering::SeqCst) > 0, "it was never caught leading inside");
    assert_eq!(outside(&server), before);
    survival.end();
}

#[test]
fn a_folder_that_becomes_a_link_out_never_leads_out() {
    let server = server();
    let survival = Survival::begin(&server);
    let before = outside(&server);
    let root = server.root();
    let (folder, aside) = (root.join("folder"), root.join("aside"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "inside").unwrap();
    while_swapped(
        &server,
        |_| {
            fs::rename(&folder, &aside).unwrap();
            symlink("../outside", &folder).unwrap();
            fs::remove_file(&folder).unwrap();
            fs::rename(&aside, &folder).unwrap();
        },
        &[GET_INNER, LIST, PUT, PUT_FILE, DELETE],
        |request, status, body| {
            assert!(!body.contains(SECRET), "{request}: {status} {body}");
            assert!(status < 500, "{request}: {status} {body}");
        },
    );
    assert_eq!(outside(&server), before);
    survival.end();
}

#[test]
fn a_file_that_becomes_a_fifo_or_a_device_holds_up_nobody() {
    let server = server();
    let survival = Survival::begin(&server);
    let root = server.root();
    let (path, new) = (root.join("swapped"), root.join("swapped.new"));
    fs::write(&path, "inside").unwrap();
    while_swapped(
        &server,
        |round| {
            match round % 3 {
                0 => mknodat(CWD, &new, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap(),
                1 => symlink("/dev/zero", &new).unwrap(),
                _ => fs::write(&new, "inside").unwrap(),
            }
            fs::rename(&new, &path).unwrap();
        },
        &[
            GET_FILE,
            "HEAD /swapped HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ],
        |request, status, body| {
            assert!(matches!(status, 200 | 404), "{request}: {status} {body}");
            assert!(request != GET_FILE || status == 404 || body == "inside", "{request}: {body}");
        },
    );
    survival.end();
}
