use super::super::files::FileHandler;
use super::super::testing::{content, field, send, text};
use super::*;
use crate::message::Response;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

fn accepted(field: &'static str) -> Accepted {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(field));
    Accepted::of(&headers)
}

#[test]
fn a_field_says_what_is_accepted() {
    // br, zstd, gzip, as it is.
    for (field, codings, identity) in [
        ("", [0, 0, 0], 0),
        ("gzip", [0, 0, 1000], 0),
        ("x-gzip, BR;q=0.5", [500, 0, 1000], 0),
        ("gzip, deflate, br, zstd", [1000, 1000, 1000], 0),
        ("*", [1000, 1000, 1000], 1000),
        ("*;q=0.3, zstd", [300, 1000, 300], 300),
        ("*, gzip;q=0", [1000, 1000, 0], 1000),
        ("*;q=0", [0, 0, 0], 0),
        ("identity", [0, 0, 0], 1000),
        ("gzip;q=0.2, identity;q=0.7", [0, 0, 200], 700),
        ("gzip;q=0", [0, 0, 0], 0),
        ("gzip;q=2, br;q=x, zstd;q=-1", [0, 0, 0], 0),
        ("gzip;q=0.2, gzip;q=0.9", [0, 0, 900], 0),
        ("gzipx, compress, ;;, q=1", [0, 0, 0], 0),
    ] {
        let found = accepted(field);
        assert_eq!((found.codings, found.identity), (codings, identity), "{field}");
        assert_eq!(found.nothing(), codings == [0; 3]);
    }
    for (field, without) in [
        ("", false),
        ("gzip", false),
        ("identity;q=0", true),
        ("*;q=0", true),
        ("*;q=0, identity", false),
    ] {
        assert_eq!(accepted(field).without_identity, without, "{field}");
    }
    assert_eq!(Accepted::of(&HeaderMap::new()), Accepted::default());
    let mut lines = HeaderMap::new();
    lines.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    lines.append(ACCEPT_ENCODING, HeaderValue::from_static("br;q=0.1"));
    assert_eq!(Accepted::of(&lines).codings, [100, 0, 1000]);
}

#[test]
fn a_file_in_an_encoding_is_not_looked_at_a_second_time() {
    for (name, chosen) in [
        ("a", true),
        ("a.gz", false),
        ("a.br", false),
        ("a.zst", false),
        (".gz", false),
        ("a.gzip", true),
    ] {
        assert_eq!(is_chosen_by(OsStr::new(name)), chosen, "{name}");
    }
}

/// `a.txt` of 100 bytes and files in three encodings, each shorter than the one before.
fn served() -> (TempDir, FileHandler) {
    let tree = tempfile::tempdir().unwrap();
    let time = SystemTime::now() - Duration::from_secs(1000);
    for (name, length) in [("a.txt", 100), ("a.txt.gz", 50), ("a.txt.zst", 40), ("a.txt.br", 30)] {
        let path = tree.path().join(name);
        fs::write(&path, name.repeat(20).get(..length).unwrap()).unwrap();
        File::open(&path).unwrap().set_modified(time).unwrap();
    }
    let handler = FileHandler::open(tree.path()).unwrap();
    (tree, handler)
}

fn get(handler: &FileHandler, path: &str, field: &str) -> Response {
    send(handler, "GET", path, field, &mut std::io::empty(), Some(0))
}

/// The encoding in which a client gets `a.txt` the first time, and the same when it is asked again.
fn coding(handler: &FileHandler, accept: &str) -> String {
    let line = format!("Accept-Encoding: {accept}\r\n");
    let coding = || {
        let response = get(handler, "/a.txt", &line);
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "vary"), "Accept-Encoding");
        assert_eq!(field(&response, "content-type"), "text/plain; charset=utf-8");
        field(&response, "content-encoding").to_owned()
    };
    let first = coding();
    // From what is kept, if it is.
    get(handler, "/a.txt", "");
    assert_eq!(coding(), first, "{accept}");
    first
}

#[test]
fn the_best_of_what_is_accepted_is_sent() {
    let (_tree, handler) = served();
    for (accept, expected) in [
        ("", ""),
        ("identity", ""),
        ("deflate", ""),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("br", "br"),
        // The shortest.
        ("gzip, zstd, br", "br"),
        ("gzip, zstd", "zstd"),
        ("*", "br"),
        ("br;q=0, *", "zstd"),
        // The highest quality.
        ("gzip, br;q=0.9", "gzip"),
        ("gzip;q=0.5, identity;q=0.6", ""),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("gzip;q=0.5, identity;q=0.6, br;q=0.7", "br"),
        ("gzip;q=0.001, identity;q=0", "gzip"),
        // Better than nothing.
        ("identity;q=0", ""),
        ("*;q=0", ""),
    ] {
        assert_eq!(coding(&handler, accept), expected, "{accept}");
    }
    let response = get(&handler, "/a.txt", "");
    assert_eq!(field(&response, "content-encoding"), "");
    assert_eq!(field(&response, "vary"), "Accept-Encoding", "there was something to choose");
}

#[test]
fn what_is_in_an_encoding_is_a_representation_of_its_own() {
    let (tree, handler) = served();
    let gzip = |more: &str| get(&handler, "/a.txt", &format!("Accept-Encoding: gzip\r\n{more}"));
    let plain = get(&handler, "/a.txt", "");
    let encoded = gzip("");
    let (tag, other) = (field(&encoded, "etag").to_owned(), field(&plain, "etag").to_owned());
    assert!(tag.starts_with('"') && tag != other, "{tag} {other}");
    assert_eq!(content(encoded), fs::read(tree.path().join("a.txt.gz")).unwrap());
    // Itself, it has no encoding.
    let itself = get(&handler, "/a.txt.gz", "Accept-Encoding: gzip\r\n");
    assert_eq!(field(&itself, "content-type"), "application/gzip");
    assert_eq!((field(&itself, "content-encoding"), field(&itself, "vary")), ("", ""));

    // Conditions and ranges are about what is selected.
    let not_modified = gzip(&format!("If-None-Match: {tag}\r\n"));
    assert_eq!(not_modified.status(), 304);
    assert_eq!(field(&not_modified, "vary"), "Accept-Encoding");
    assert_eq!(gzip(&format!("If-None-Match: {other}\r\n")).status(), 200);
    let part = gzip(&format!("Range: bytes=10-\r\nIf-Range: {tag}\r\n"));
    assert_eq!((part.status().as_u16(), field(&part, "content-range")), (206, "bytes 10-49/50"));
    assert_eq!(field(&part, "content-encoding"), "gzip");
    let whole = gzip(&format!("Range: bytes=10-\r\nIf-Range: {other}\r\n"));
    assert_eq!(whole.status(), 200, "a part of another encoding would be put behind it");
}

#[test]
fn an_older_a_longer_or_no_real_file_is_not_taken() {
    let (tree, handler) = served();
    let path = |name: &str| tree.path().join(name);
    let accept = "gzip";
    assert_eq!(coding(&handler, accept), "gzip");
    fs::write(path("a.txt"), "changed since".repeat(10)).unwrap();
    assert_eq!(coding(&handler, accept), "");
    fs::write(path("a.txt.gz"), "new").unwrap();
    // Not before the other by a tick of the clock.
    File::open(path("a.txt.gz")).unwrap().set_modified(SystemTime::now()).unwrap();
    assert_eq!(coding(&handler, accept), "gzip");
    fs::write(path("a.txt.gz"), "longer than the content as it is".repeat(10)).unwrap();
    assert_eq!(coding(&handler, accept), "");
    assert_eq!(coding(&handler, "gzip, identity;q=0"), "gzip");
    fs::remove_file(path("a.txt.gz")).unwrap();
    assert_eq!(coding(&handler, accept), "");
    fs::create_dir(path("a.txt.gz")).unwrap();
    assert_eq!(coding(&handler, accept), "");
    fs::remove_dir(path("a.txt.gz")).unwrap();
    symlink("/etc/passwd", path("a.txt.gz")).unwrap();
    assert_eq!(coding(&handler, "gzip, identity;q=0"), "");
    // Without the file itself, there is nothing that it could stand for.
    fs::remove_file(path("a.txt")).unwrap();
    assert_eq!(get(&handler, "/a.txt", "Accept-Encoding: br\r\n").status(), 404);
}

#[test]
fn an_index_has_encodings_too() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("index.html"), "<p>".repeat(100)).unwrap();
    fs::write(tree.path().join("index.html.gz"), "short").unwrap();
    File::open(tree.path().join("index.html.gz")).unwrap().set_modified(SystemTime::now()).unwrap();
    let handler = FileHandler::open(tree.path()).unwrap();
    let response = get(&handler, "/", "Accept-Encoding: gzip\r\n");
    assert_eq!(field(&response, "content-encoding"), "gzip");
    assert_eq!(field(&response, "content-type"), "text/html; charset=utf-8");
    assert_eq!(text(response), "short");
}
