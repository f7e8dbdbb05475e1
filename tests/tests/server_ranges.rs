//! Parts of files (RFC 9110 section 14), as curl asks for them and as somebody who means no good does.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::{RawClient, RawResponse, SealpairServer};
use std::fs;
use std::ops::Range;

/// Kept open by the server, and asked for without another thread once it is.
const SMALL: usize = 10_000;
/// Longer than what is kept open, and than what is read at a time.
const LARGE: usize = 3_000_003;

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn server() -> SealpairServer {
    SealpairServer::start(|server| {
        server.file("small.txt", content(SMALL)).file("large", content(LARGE)).file("empty", "")
    })
}

fn ask(client: &mut RawClient, path: &str, fields: &str) -> RawResponse {
    client.exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"))
}

/// The parts of a multipart response, each with its range.
fn parts(response: &RawResponse, media_type: &str, length: usize) -> Vec<(Range<usize>, Vec<u8>)> {
    let boundary = response.header("Content-Type").unwrap();
    let boundary = boundary.strip_prefix("multipart/byteranges; boundary=").unwrap();
    assert_eq!(response.header("Content-Range"), None);
    let delimiter = format!("--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: bytes ");
    let mut rest = &response.body[..];
    let mut parts = Vec::new();
    while let Some(part) = rest.strip_prefix(delimiter.as_bytes()) {
        let end = part.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let range = std::str::from_utf8(&part[..end]).unwrap();
        let range = range.strip_suffix(&format!("/{length}")).unwrap();
        let (first, last) = range.split_once('-').unwrap();
        let range = first.parse::<usize>().unwrap()..last.parse::<usize>().unwrap() + 1;
        let (bytes, after) = part[end + 4..].split_at(range.len());
        parts.push((range, bytes.to_vec()));
        rest = after.strip_prefix(b"\r\n").unwrap();
    }
    assert_eq!(rest, format!("--{boundary}--\r\n").as_bytes());
    parts
}

#[test]
fn curl_gets_parts_and_goes_on_with_what_it_has() {
    let server = server();
    for (path, size) in [("/small.txt", SMALL), ("/large", LARGE)] {
        let whole = content(size);
        for (range, expected) in [
            ("0-0".to_owned(), 0..1),
            ("1-4095".to_owned(), 1..4096),
            (format!("{}-", size - 1), size - 1..size),
            (format!("{}-{}", size / 2, size * 2), size / 2..size),
            ("-100".to_owned(), size - 100..size),
            (format!("-{}", size * 2), 0..size),
        ] {
            let curl = server.curl().args(["-r", &range]).arg(server.url(path)).run();
            assert!(curl.expect_success().stdout == whole[expected], "{path} {range}");
        }
        let target = server.dir().join("copy");
        for have in [0, size / 3, size - 1] {
            fs::write(&target, &whole[..have]).unwrap();
            let curl = server.curl().args(["-C", "-", "-o"]).arg(&target).arg(server.url(path));
            curl.run().expect_success();
            assert!(fs::read(&target).unwrap() == whole, "{path} after {have}");
        }
        // It has everything: the server says that there is no more, and curl leaves its file alone.
        let curl = server.curl().args(["-C", "-", "-o"]).arg(&target).arg(server.url(path));
        curl.run().expect_success();
        assert!(fs::read(&target).unwrap() == whole);
    }
}

#[test]
fn each_request_for_parts_gets_what_the_rfc_says() {
    let server = server();
    let mut client = RawClient::connect(&server);
    for (path, size) in [("/small.txt", SMALL), ("/large", LARGE)] {
        let whole = content(size);
        let last = size - 1;
        for (range, status, content_range, expected) in [
            ("bytes=0-9", 206, format!("bytes 0-9/{size}"), 0..10),
            ("Bytes=5-", 206, format!("bytes 5-{last}/{size}"), 5..size),
            ("bytes=-1", 206, format!("bytes {last}-{last}/{size}"), last..size),
            ("bytes=0-3,4-5,2-3", 206, format!("bytes 0-5/{size}"), 0..6),
            ("bytes=0-0,99999999999999999999999-", 206, format!("bytes 0-0/{size}"), 0..1),
            ("bytes=99999999999999999999999-", 416, format!("bytes */{size}"), 0..0),
            ("bytes=-0", 416, format!("bytes */{size}"), 0..0),
            ("bytes=9-5", 200, String::new(), 0..size),
            ("bytes=a-b", 200, String::new(), 0..size),
            ("lines=1-2", 200, String::new(), 0..size),
            ("bytes=0-1\r\nRange: bytes=4-5", 200, String::new(), 0..size),
        ] {
            let response = ask(&mut client, path, &format!("Range: {range}\r\n"));
            assert_eq!(response.status, status, "{path} {range}");
            assert_eq!(response.header("Content-Range").unwrap_or_default(), content_range);
            assert_eq!(response.header("Accept-Ranges"), Some("bytes"), "{path} {range}");
            if status != 416 {
                assert!(response.body == whole[expected], "{path} {range}");
                assert!(
                    response.header("ETag").is_some() && response.header("Last-Modified").is_some()
                );
            }
        }
        // Only for GET.
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-9\r\n\r\n");
        let head = client.exchange(head);
        assert_eq!((head.status, head.header("Content-Range")), (200, None));
        assert_eq!(head.header("Content-Length"), Some(&*size.to_string()));
        assert_eq!(head.header("Accept-Ranges"), Some("bytes"));
    }
    for (range, status) in [("bytes=0-", 416), ("bytes=-5", 200), ("bytes=-0", 416)] {
        let response = ask(&mut client, "/empty", &format!("Range: {range}\r\n"));
        assert_eq!(response.status, status, "{range}");
        let expected = (status == 416).then_some("bytes */0");
        assert_eq!(response.header("Content-Range"), expected);
    }
}

#[test]
fn several_parts_come_as_multipart_in_the_order_of_the_request() {
    let server = server();
    let mut client = RawClient::connect(&server);
    for (path, size, media_type) in [
        ("/small.txt", SMALL, "text/plain; charset=utf-8"),
        ("/large", LARGE, "application/octet-stream"),
    ] {
        let whole = content(size);
        let middle = size / 2;
        for _ in 0..2 {
            for (ranges, expected) in [
                ("0-0,-1".to_owned(), vec![0..1, size - 1..size]),
                (format!("{middle}-,0-9"), vec![middle..size, 0..10]),
                (
                    format!("5-6, 1-2 ,{middle}-{},3-4,{size}-", middle + 1),
                    vec![1..7, middle..middle + 2],
                ),
            ] {
                let response = ask(&mut client, path, &format!("Range: bytes={ranges}\r\n"));
                assert_eq!(response.status, 206);
                let expected: Vec<_> = expected
                    .into_iter()
                    .map(|range| (range.clone(), whole[range].to_vec()))
                    .collect();
                assert!(parts(&response, media_type, size) == expected, "{path} {ranges}");
            }
        }
    }
}

#[test]
fn a_part_is_only_sent_of_the_version_that_if_range_names() {
    let server = server();
    let mut client = RawClient::connect(&server);
    for path in ["/small.txt", "/large"] {
        let tag = client.get(path).header("ETag").unwrap().to_owned();
        let date = client.get(path).header("Last-Modified").unwrap().to_owned();
        for (condition, status) in [
            (tag.clone(), 206),
            (format!("W/{tag}"), 200),
            (format!("{tag}, \"x\""), 200),
            ("\"another\"".to_owned(), 200),
            ("Sun, 09 Sep 2001 01:46:40 GMT".to_owned(), 200),
            ("Fri, 31 Dec 2100 23:59:59 GMT".to_owned(), 200),
            ("not a date".to_owned(), 200),
        ] {
            let fields = format!("Range: bytes=1-2\r\nIf-Range: {condition}\r\n");
            assert_eq!(ask(&mut client, path, &fields).status, status, "{path} {condition}");
        }
        // Of another version there is no part that would be out of range.
        let fields = "Range: bytes=9999999-\r\nIf-Range: \"another\"\r\n";
        assert_eq!(ask(&mut client, path, fields).status, 200);
        // A condition without a range means nothing, and the other conditions come first.
        assert_eq!(ask(&mut client, path, "If-Range: \"another\"\r\n").status, 200);
        let fields = format!("If-None-Match: {tag}\r\nRange: bytes=1-2\r\nIf-Range: {tag}\r\n");
        assert_eq!(ask(&mut client, path, &fields).status, 304);
        let fields = "If-Match: \"another\"\r\nRange: bytes=1-2\r\n";
        assert_eq!(ask(&mut client, path, fields).status, 412);
        // The time of modification was set to something else than the time of the change, or may be in
        // another second for all that is known: in doubt the whole.
        let fields = format!("Range: bytes=1-2\r\nIf-Range: {date}\r\n");
        let response = ask(&mut client, path, &fields);
        assert!(matches!(response.status, 200 | 206));
    }
}

/// CVE-2011-3192: thousands of overlapping ranges, each of which a server prepared in memory.
#[test]
fn a_storm_of_ranges_costs_no_more_than_the_file() {
    let server = server();
    let mut client = RawClient::connect(&server);
    let storm = |count: usize, range: &dyn Fn(usize) -> String| {
        let ranges = (0..count).map(range).collect::<Vec<_>>().join(",");
        format!("Range: bytes={ranges}\r\n")
    };
    client.get("/large");
    let before = server.peak_rss_kib();
    for (count, range, status) in [
        // As the attack did it.
        (4_000, &(|at: usize| format!("5-{}", at + 5)) as &dyn Fn(usize) -> String, 200),
        (4_000, &|_| "0-".to_owned(), 200),
        (4_000, &|at| format!("-{at}"), 200),
        (3_000, &|at| format!("{}-{}", at * 3, at * 3), 200),
        (17, &|at| format!("{}-{}", at * 2, at * 2), 200),
        (16, &|at| format!("{at}-"), 206),
        (16, &|_| "0-".to_owned(), 206),
        // The most that anybody gets: a part of each piece.
        (16, &|at| format!("{}-{}", at * 100_000, at * 100_000 + 99_990), 206),
    ] {
        for path in ["/large", "/small.txt"] {
            let fields = storm(count, range);
            let response = ask(&mut client, path, &fields);
            let size = if path == "/large" { LARGE } else { SMALL };
            if path == "/large" {
                assert_eq!(response.status, status, "{}", &fields[..40]);
            }
            // 16 heads of parts, of some 150 bytes each.
            assert!(response.body.len() <= size + 16 * 200, "{} bytes", response.body.len());
        }
    }
    let grown = server.peak_rss_kib().saturating_sub(before);
    assert!(grown < 4 << 10, "{grown} KiB more");
}
