//! Conditional requests (RFC 9110 section 13), as curl makes them and as they can be made.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::{RawClient, RawResponse, SealpairServer, settles, settles_at};
use std::fs;
use std::path::Path;

fn server() -> SealpairServer {
    SealpairServer::start(|server| {
        server.writable().file("small", "content").file("large", vec![b'x'; 200_000])
    })
}

fn ask(client: &mut RawClient, method: &str, path: &str, fields: &str) -> RawResponse {
    client.exchange(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"))
}

#[test]
fn curl_fetches_again_only_what_has_changed() {
    let server = server();
    for path in ["/small", "/large"] {
        let (tag, copy) = (server.dir().join("tag"), server.dir().join("copy"));
        let fetch = || {
            let _ = fs::remove_file(&copy);
            let curl = server
                .curl()
                .arg("--etag-compare")
                .arg(&tag)
                .arg("--etag-save")
                .arg(&tag)
                .args(["-w", "%{http_code} %{size_download}", "-o"])
                .arg(&copy)
                .arg(server.url(path));
            curl.run().expect_success().text()
        };
        let size = fs::metadata(server.root().join(&path[1..])).unwrap().len();
        let _ = fs::remove_file(&tag);
        fs::write(&tag, "").unwrap();
        assert_eq!(fetch(), format!("200 {size}"));
        assert_eq!(fetch(), "304 0");
        assert_eq!(fetch(), "304 0");
        fs::write(server.root().join(&path[1..]), "other").unwrap();
        assert_eq!(fetch(), "200 5");
        assert_eq!(fs::read(&copy).unwrap(), b"other");

        let since = |date: &str| {
            let curl = server.curl().args(["-z", date, "-w", "%{http_code}", "-o"]);
            curl.arg(&copy).arg(server.url(path)).run().expect_success().text()
        };
        assert_eq!(since("9 Sep 2001"), "200");
        assert_eq!(since("1 Jan 2100"), "304");
        // The date of a copy that was fetched with its date.
        let curl = server.curl().args(["-R", "-o"]).arg(&copy).arg(server.url(path));
        curl.run().expect_success();
        assert_eq!(since(copy.to_str().unwrap()), "304");
        // If-Unmodified-Since
        assert_eq!(since("-9 Sep 2001"), "412");
        assert_eq!(since("-1 Jan 2100"), "200");
    }
}

#[test]
fn reading_is_conditional_in_the_order_of_the_rfc() {
    const PAST: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const FUTURE: &str = "Fri, 31 Dec 2100 23:59:59 GMT";
    let server = server();
    let mut client = RawClient::connect(&server);
    for path in ["/small", "/large"] {
        let whole = client.get(path);
        let tag = whole.header("ETag").unwrap();
        let date = whole.header("Last-Modified").unwrap();
        for (fields, status) in [
            (format!("If-None-Match: {tag}"), 304),
            (format!("If-None-Match: W/{tag}"), 304),
            (format!("If-None-Match: \"a,b\", {tag}"), 304),
            (format!("If-None-Match: \"x\"\r\nIf-None-Match: {tag}"), 304),
            ("If-None-Match: *".to_owned(), 304),
            ("If-None-Match: \"x\"".to_owned(), 200),
            // Not in quotes: it matches nothing.
            (format!("If-None-Match: {}", tag.trim_matches('"')), 200),
            (format!("If-Modified-Since: {date}"), 304),
            (format!("If-Modified-Since: {FUTURE}"), 304),
            (format!("If-Modified-Since: {PAST}"), 200),
            ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT".to_owned(), 200),
            ("If-Modified-Since: Sun Nov  6 08:49:37 1994".to_owned(), 200),
            ("If-Modified-Since: then".to_owned(), 200),
            (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {FUTURE}"), 200),
            (format!("If-Match: {tag}"), 200),
            (format!("If-Match: W/{tag}"), 412),
            ("If-Match: \"x\"".to_owned(), 412),
            (format!("If-Match: {tag}\r\nIf-Unmodified-Since: {PAST}"), 200),
            (format!("If-Unmodified-Since: {PAST}"), 412),
            (format!("If-Unmodified-Since: {date}"), 200),
            (format!("If-Match: \"x\"\r\nIf-None-Match: {tag}"), 412),
        ] {
            for method in ["GET", "HEAD"] {
                let response = ask(&mut client, method, path, &format!("{fields}\r\n"));
                assert_eq!(response.status, status, "{method} {path} {fields}");
                if status == 304 {
                    assert_eq!(response.header("ETag"), Some(tag));
                    assert_eq!(response.header("Last-Modified"), Some(date));
                    assert_eq!(response.header("Content-Length"), None);
                    assert_eq!(response.header("Content-Type"), None);
                }
            }
        }
        // Nothing stood between those responses, and nothing of a condition is remembered.
        assert_eq!(client.get(path).body, whole.body);
    }
}

#[test]
fn a_change_on_a_condition_that_does_not_hold_is_not_made() {
    let server = server();
    let mut client = RawClient::connect(&server);
    let tag = client.get("/small").header("ETag").unwrap().to_owned();
    let bare = tag.trim_matches('"');
    for (condition, status) in [
        (format!("If-Match: W/{tag}"), 412),
        (format!("If-Match: {bare}"), 400),
        (format!("If-Match: {tag}, \""), 400),
        ("If-Match:".to_owned(), 400),
        (format!("If-None-Match: \"x\", W/{tag}"), 412),
        (format!("If-None-Match: {bare}"), 400),
        ("If-None-Match: *, *".to_owned(), 400),
        ("If-Unmodified-Since: Sun Nov  6 08:49:37 1994".to_owned(), 412),
    ] {
        for method in ["PUT", "DELETE"] {
            let fields = format!("{condition}\r\nContent-Length: 0\r\n");
            let response = ask(&mut client, method, "/small", &fields);
            assert_eq!(response.status, status, "{method} {condition}");
            assert_eq!(fs::read(server.root().join("small")).unwrap(), b"content");
        }
    }
    // The tag that comes with a change is good for the next one at once.
    let mut tag = tag;
    for content in ["one", "two", "six", "ten"] {
        let head = format!("If-Match: {tag}\r\nContent-Length: 3\r\n");
        let response = client
            .exchange(format!("PUT /small HTTP/1.1\r\nHost: localhost\r\n{head}\r\n{content}"));
        assert_eq!(response.status, 204);
        let next = response.header("ETag").unwrap().to_owned();
        assert_ne!(next, tag);
        assert_eq!(client.get("/small").header("ETag"), Some(&*next));
        tag = next;
    }
    assert_eq!(ask(&mut client, "DELETE", "/small", &format!("If-Match: {tag}\r\n")).status, 204);
}

/// Two changes within one tick of the clock that leave the size as it is cannot be told apart by the times of
/// a file.
#[test]
fn a_file_that_has_just_been_written_has_no_tag_that_proves_anything() {
    let server = server();
    let mut client = RawClient::connect(&server);
    let path = server.root().join("small");
    let mut weak = String::new();
    settles("the tag is weak", || {
        rewrite(&path);
        weak = client.get("/small").header("ETag").unwrap().to_owned();
        weak.starts_with("W/\"")
    });
    for fields in [
        format!("If-None-Match: {weak}\r\n"),
        format!("Range: bytes=1-2\r\nIf-Range: {weak}\r\n"),
        format!("Range: bytes=1-2\r\nIf-Range: {}\r\n", &weak[2..]),
    ] {
        rewrite(&path);
        let response = ask(&mut client, "GET", "/small", &fields);
        assert_eq!((response.status, response.text().as_str()), (200, "content"), "{fields}");
    }
    rewrite(&path);
    assert_eq!(ask(&mut client, "GET", "/small", &format!("If-Match: {weak}\r\n")).status, 412);
    let mut tag = || client.get("/small").header("ETag").unwrap().to_owned();
    let strong = settles_at("the tag is strong", &mut tag, |tag| tag.starts_with('"'));
    assert!(!weak.contains(&strong));
    assert_eq!(tag(), strong);
}

fn rewrite(path: &Path) {
    fs::write(path, "content").unwrap();
}
