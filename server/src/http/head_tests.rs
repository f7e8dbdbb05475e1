//! Every example goes through the scanner and the parser whole, byte by byte and split in two at
//! every place, and has to give the same answer each time.

use super::super::scan::HeadScanner;
use super::*;

/// What a connection does that reads `pieces`: the head, and how long it was.
fn read_pieces<'p>(
    pieces: impl Iterator<Item = &'p [u8]>,
    limits: &HeadLimits,
) -> Result<Option<(RequestHead, usize)>, Rejection> {
    let mut buf = Vec::new();
    let mut scanner = HeadScanner::new();
    for piece in pieces {
        buf.extend_from_slice(piece);
        if let Some(end) = scanner.scan(&buf, limits)? {
            return Ok(Some((parse(&buf[..end], limits)?, end)));
        }
    }
    Ok(None)
}

fn read_limited(
    bytes: &[u8],
    limits: &HeadLimits,
) -> Result<Option<(RequestHead, usize)>, Rejection> {
    let whole = read_pieces([bytes].into_iter(), limits);
    let expected = format!("{whole:?}");
    let single = format!("{:?}", read_pieces(bytes.chunks(1), limits));
    assert_eq!(single, expected, "byte by byte");
    // Long examples differ from short ones by their length only: every 97th place will do for them.
    for at in (0..bytes.len()).step_by(1 + bytes.len() / 1024 * 96) {
        let (front, back) = bytes.split_at(at);
        let split = format!("{:?}", read_pieces([front, back].into_iter(), limits));
        assert_eq!(split, expected, "split at {at}");
    }
    whole
}

fn read(bytes: impl AsRef<[u8]>) -> Result<Option<(RequestHead, usize)>, Rejection> {
    read_limited(bytes.as_ref(), &HeadLimits::default())
}

fn accepted(bytes: impl AsRef<[u8]>) -> RequestHead {
    let bytes = bytes.as_ref();
    let (head, end) = read(bytes).unwrap().expect("a complete head");
    assert_eq!(end, bytes.len());
    head
}

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>, status: u16) {
    let bytes = bytes.as_ref();
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
    match read(bytes) {
        Err(rejection) => assert_eq!(rejection.status, status, "{start:?}: {rejection}"),
        Ok(answer) => panic!("{start:?} was let through: {answer:?}"),
    }
}

/// A POST with these additional header lines.
fn with_lines(lines: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").into_bytes()
}

fn with_target(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

#[test]
fn a_usual_request_is_understood() {
    let head = accepted(
        "GET /a%20b?c=d&e HTTP/1.1\r\nHost: localhost:8443\r\nUser-Agent:  x \t\r\nX-A: 1\r\n\
         x-a: 2\r\nEmpty:\r\n\r\n",
    );
    assert_eq!(head.method, Method::GET);
    assert_eq!(head.path(), "/a%20b");
    assert_eq!(head.query(), Some("c=d&e"));
    assert_eq!(head.version, Version::HTTP_11);
    assert_eq!(head.authority(), Some("localhost:8443"));
    assert_eq!(head.headers["user-agent"], "x");
    assert_eq!(head.headers["empty"], "");
    assert_eq!(head.headers.get_all("x-a").iter().count(), 2);
    assert_eq!(head.framing, Framing::None);
    assert!(head.keep_alive);
    assert!(!head.expect_continue);
}

#[test]
fn what_follows_the_head_is_left_alone() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next";
    let (_, end) = read(bytes).unwrap().unwrap();
    assert_eq!(&bytes[end..], b"GET /next");
}

#[test]
fn a_head_that_has_not_ended_is_waited_for() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).unwrap().is_none(), "{end}");
    }
}

#[test]
fn one_empty_line_before_the_request_is_skipped() {
    // RFC 9112 section 2.2
    accepted("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refused("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn the_scanner_knows_whether_a_request_has_begun() {
    let limits = HeadLimits::default();
    for (bytes, begun) in [("", false), ("\r", false), ("\r\n", false), ("G", true)] {
        let mut scanner = HeadScanner::new();
        scanner.scan(bytes.as_bytes(), &limits).unwrap();
        assert_eq!(scanner.has_begun(), begun, "{bytes:?}");
    }
}

#[test]
fn versions() {
    // RFC 9110 section 2.5: 1.2 is processed as 1.1.
    for (version, known) in [
        ("1.0", Version::HTTP_10),
        ("1.1", Version::HTTP_11),
        ("1.2", Version::HTTP_11),
        ("1.9", Version::HTTP_11),
    ] {
        let head = accepted(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        assert_eq!(head.version, known);
    }
}

#[test]
fn the_connection_is_kept_only_for_http_1_1_without_close() {
    assert!(accepted(with_lines("Connection: keep-alive")).keep_alive);
    assert!(accepted(with_lines("Connection: closed")).keep_alive);
    assert!(!accepted(with_lines("Connection: CLOSE")).keep_alive);
    assert!(!accepted(with_lines("Connection: te , close")).keep_alive);
    assert!(!accepted(with_lines("Connection: te\r\nConnection: close")).keep_alive);
    assert!(!accepted("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
}

#[test]
fn framing_is_a_length_or_chunks() {
    for (lines, framing) in [
        ("Content-Length: 0", Framing::Length(0)),
        ("Content-Length: 007", Framing::Length(7)),
        ("content-length:18446744073709551615\t", Framing::Length(u64::MAX)),
        ("Transfer-Encoding: chunked", Framing::Chunked),
        ("transfer-encoding:\tCHUNKED ", Framing::Chunked),
    ] {
        assert_eq!(accepted(with_lines(lines)).framing, framing, "{lines}");
    }
    let get = accepted("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(get.framing, Framing::Length(3));
}

#[test]
fn continue_is_expected_only_where_content_follows() {
    // RFC 9110 section 10.1.1
    let expects = |bytes: &[u8]| accepted(bytes).expect_continue;
    assert!(expects(&with_lines("Expect: 100-continue\r\nContent-Length: 1")));
    assert!(expects(&with_lines("Expect: 100-Continue\r\nTransfer-Encoding: chunked")));
    assert!(!expects(&with_lines("Expect: 100-continue")));
    assert!(!expects(&with_lines("Expect: 100-continue\r\nContent-Length: 0")));
    assert!(!expects(b"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"));
}

#[test]
fn an_absolute_target_is_reduced_and_its_authority_replaces_host() {
    // RFC 9112 sections 3.2.2 and 3.2.4
    for (target, origin) in [
        ("https://b:1/c?d", "/c?d"),
        ("HTTPS://b:1", "/"),
        ("https://b:1?d", "/?d"),
        ("https://b:1//c", "//c"),
    ] {
        let head = accepted(with_target(target));
        assert_eq!(head.target, origin, "{target}");
        assert_eq!(head.authority(), Some("b:1"), "{target}");
        assert_eq!(head.headers.get_all(HOST).iter().count(), 1);
    }
    let head = accepted("OPTIONS https://b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.target, "*");
    assert_eq!(accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target, "*");
}

#[test]
fn hosts() {
    for host in
        ["a", "A.example.", "a_b", "127.0.0.1:80", "[::1]", "[::1]:8443", "a:", "a:0", "x%20y"]
    {
        let head = accepted(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(head.authority(), Some(host));
    }
    for host in [
        "",
        " ",
        "a b",
        "a/b",
        "a,b",
        "u@a",
        "a:b",
        "a:65536",
        "a:-1",
        "a:+1",
        "a:1:2",
        "[::1",
        "::1",
        "[::1]x",
        "[fe80::1%25eth0]",
        "[v1.a]",
        "[]",
        ":80",
        "a%2",
        "a\\b",
        "ä",
        "a#",
        "a?",
    ] {
        refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400);
    }
}

#[test]
fn field_values_may_hold_bytes_beyond_ascii() {
    // obs-text, RFC 9110 section 5.5
    let head = accepted(b"GET / HTTP/1.1\r\nHost: a\r\nX: caf\xe9\t \xff\r\n\r\n");
    assert_eq!(head.headers["x"].as_bytes(), b"caf\xe9\t \xff");
}

#[path = "head_refusal_tests.rs"]
mod refusals;
