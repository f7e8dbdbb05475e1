//! Paths that try to leave the root, or lead to what is not a file.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::fs::{CWD, FileType, Mode, mknodat};
use sealpair_tests::{RawClient, SealpairServer};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

const SECRET: &str = "what stands outside of the root";

/// A writable server with a secret beside its root.
fn server() -> SealpairServer {
    let builder = SealpairServer::builder().writable().file("in/file", "inside");
    fs::write(builder.dir().join("secret"), SECRET).unwrap();
    builder.start()
}

fn names(folder: &Path) -> BTreeSet<OsString> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// Asks for each path in every way, and nothing of the secret comes out or changes.
#[track_caller]
fn harmless(server: &SealpairServer, paths: &[(&str, u16)]) {
    let before = names(server.dir());
    for (path, status) in paths {
        let mut client = RawClient::connect(server);
        for (method, body) in [("GET", ""), ("HEAD", ""), ("PUT", "new"), ("DELETE", "")] {
            let fields = format!("Host: localhost\r\nContent-Length: {}", body.len());
            let request = format!("{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n{body}");
            let response = client.exchange(request);
            match method {
                "GET" | "HEAD" => assert_eq!(response.status, *status, "{method} {path}"),
                // A strange name in the root may be written, and is deleted again.
                _ => assert!(matches!(response.status, 201 | 204 | 400..500), "{method} {path}"),
            }
            assert!(!response.text().contains(SECRET), "{method} {path}");
            if response.header("Connection") == Some("close") {
                client = RawClient::connect(server);
            }
        }
    }
    assert_eq!(names(server.dir()), before);
    assert_eq!(fs::read_to_string(server.dir().join("secret")).unwrap(), SECRET);
    assert_eq!(fs::read_to_string(server.root().join("in/file")).unwrap(), "inside");
}

#[test]
fn dots_lead_nowhere_in_any_spelling() {
    harmless(
        &server(),
        &[
            ("/../secret", 400),
            ("/in/../../secret", 400),
            ("/in/../in/file", 400),
            ("/%2e/in/file", 400),
            ("/in/.", 400),
            ("/in/./../../secret", 400),
            ("/..", 400),
            ("/../", 400),
            ("/%2e%2e/secret", 400),
            ("/.%2E/secret", 400),
            ("/%2e./secret", 400),
            ("/in/%2e%2e/%2e%2e/secret", 400),
            ("/..;/secret", 404),
            ("/...//secret", 404),
        ],
    );
}

#[test]
fn encoded_separators_and_nul_are_refused() {
    harmless(
        &server(),
        &[
            ("/..%2fsecret", 400),
            ("/%2e%2e%2fsecret", 400),
            ("/in%2ffile", 400),
            ("/in%2Ffile", 400),
            ("/in/file%00", 400),
            ("/in/file%00.html", 400),
            ("/%00", 400),
            ("/..%5csecret", 404),
            ("/..%5c..%5csecret", 404),
        ],
    );
}

#[test]
fn a_path_is_decoded_once() {
    harmless(
        &server(),
        &[
            ("/%252e%252e/secret", 404),
            ("/%252e%252e%252fsecret", 404),
            ("/in%252ffile", 404),
            ("/%25%32%65%25%32%65/secret", 404),
            // Overlong forms of `.` and `/` are bytes of a name, not characters.
            ("/%c0%ae%c0%ae/secret", 404),
            ("/%c0%ae%c0%ae%c0%afsecret", 404),
            ("/%e0%80%ae%e0%80%ae/secret", 404),
            ("/%uff0e%uff0e/secret", 400),
            ("/%2/secret", 400),
            ("/%zz", 400),
        ],
    );
}

#[test]
fn absolute_and_empty_names_lead_nowhere() {
    let server = server();
    let secret = server.dir().join("secret");
    let absolute = secret.to_str().unwrap();
    harmless(
        &server,
        &[
            (absolute, 404),
            (&format!("/{absolute}"), 404),
            ("//in/file", 404),
            ("/in//file", 404),
            ("///", 404),
            ("/file:///etc/passwd", 404),
            ("/in/file/", 404),
            ("/in/file/more", 404),
            ("https://localhost/../secret", 400),
        ],
    );
}

#[test]
fn links_are_followed_inside_the_root_and_not_out_of_it() {
    let server = server();
    let root = server.root();
    let outside = server.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), SECRET).unwrap();
    symlink("in/file", root.join("inner")).unwrap();
    symlink("in", root.join("inner-folder")).unwrap();
    symlink("../secret", root.join("relative")).unwrap();
    symlink(server.dir().join("secret"), root.join("absolute")).unwrap();
    symlink(root.join("in/file"), root.join("absolute-inside")).unwrap();
    symlink("../outside", root.join("folder")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("/proc/self/root", root.join("proc")).unwrap();
    symlink("/proc/self/cwd", root.join("cwd")).unwrap();

    assert_eq!(server.curl_get("/inner").text(), "inside");
    assert_eq!(server.curl_get("/inner-folder/file").text(), "inside");
    harmless(
        &server,
        &[
            ("/relative", 404),
            ("/absolute", 404),
            ("/folder/", 404),
            ("/folder/secret", 404),
            ("/folder/new", 404),
            ("/loop", 404),
            ("/proc/etc/hostname", 404),
            ("/cwd/", 404),
        ],
    );
    assert!(!outside.join("new").exists());
    let listing = server.curl_get("/").text();
    assert!(listing.contains("inner") && !listing.contains("relative"), "{listing}");
    // A link is neither written through nor replaced nor removed.
    assert_eq!(server.curl_status("/inner", &["-X", "PUT", "-d", "x"]), 409);
    assert_eq!(server.curl_status("/inner", &["-X", "DELETE"]), 409);
    assert_eq!(fs::read_link(root.join("inner")).unwrap(), Path::new("in/file"));
    assert_eq!(fs::read_to_string(root.join("in/file")).unwrap(), "inside");
}

#[test]
fn what_is_neither_file_nor_folder_is_not_there_and_blocks_nobody() {
    let server = server();
    let root = server.root();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    symlink("/dev/zero", root.join("zero")).unwrap();
    // Only root can make a device; the link to one is for everybody.
    let device = rustix::fs::makedev(1, 5);
    let made =
        mknodat(CWD, root.join("device"), FileType::CharacterDevice, Mode::RUSR, device).is_ok();
    assert!(made || !rustix::process::geteuid().is_root() || in_a_user_namespace());

    let fifo = [("/fifo", 404), ("/socket", 404), ("/zero", 404), ("/device", 404)];
    let there = if made { &fifo[..] } else { &fifo[..3] };
    for (path, status) in there {
        let mut client = RawClient::connect(&server);
        assert_eq!(client.get(path).status, *status, "{path}");
        let delete = format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!((400..500).contains(&client.exchange(delete).status), "{path}");
        let put = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(client.exchange(put).status, 409, "{path}");
    }
    let listing = server.curl_get("/").text();
    assert!(!listing.contains("fifo") && !listing.contains("zero"), "{listing}");
}

/// There, root may make no device.
fn in_a_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.contains("4294967295"))
}

#[test]
fn strange_names_are_served_as_they_are() {
    let names = ["a b", "a%b", "a+b", "a?b", "a#b", "a&b<c>", "ümläut", "-", "~", "c:d", "'q'\"r"];
    let server = SealpairServer::start(|server| {
        names.iter().fold(server.writable(), |server, name| server.file(name, name))
    });
    let json = server.curl().args(["-H", "Accept: application/json"]).arg(server.url("/")).run();
    let json = json.expect_success().json();
    let entries = json["entries"].as_array().unwrap();
    assert_eq!(entries.len(), names.len());
    for entry in entries {
        let href = entry["href"].as_str().unwrap().trim_start_matches("./");
        let body = server.curl_get(&format!("/{href}")).text();
        assert_eq!(body, entry["name"].as_str().unwrap());
        let path = format!("/copy-{href}");
        assert_eq!(server.curl_status(&path, &["-X", "PUT", "-d", "x"]), 201, "{path}");
    }
    assert!(names.iter().all(|name| server.root().join(format!("copy-{name}")).is_file()));
    let long = "n".repeat(300);
    assert_eq!(server.curl_status(&format!("/{long}"), &[]), 414);
    assert_eq!(server.curl_status(&format!("/{long}"), &["-X", "PUT", "-d", "x"]), 414);
}
