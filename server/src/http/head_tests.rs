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

#[test]
fn bad_request_lines() {
    for (line, status) in [
        ("", 400),
        ("GET", 400),
        ("GET /", 400), // HTTP/0.9
        ("GET / ", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET /  HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET / HTTP/1.1 junk", 400),
        ("GET\t/\tHTTP/1.1", 400),
        ("GET /\tHTTP/1.1", 400),
        ("GET / a HTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.", 400),
        ("GET / HTTP/11", 400),
        ("GET / HTTP/1.10", 400),
        ("GET / HTTP/01.1", 400),
        ("GET / HTTP/1,1", 400),
        ("GET / HTTP/-1.1", 400),
        ("GET / HTTPS/1.1", 400),
        ("GET / HTTP/0.9", 400),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/3.0", 505),
        ("PRI * HTTP/2.0", 505),
        ("G(T / HTTP/1.1", 400),
        ("\"GET\" / HTTP/1.1", 400),
        ("G\u{e9}T / HTTP/1.1", 400),
        ("CONNECT a:443 HTTP/1.1", 501),
        ("CONNECT / HTTP/1.1", 501),
        ("METHODMETHODMETHODMETHODMETHODMETH / HTTP/1.1", 501),
    ] {
        refused(format!("{line}\r\nHost: a\r\n\r\n"), status);
    }
    let longest = "M".repeat(32);
    accepted(format!("{longest} / HTTP/1.1\r\nHost: a\r\n\r\n"));
}

#[test]
fn bad_targets() {
    for target in [
        "a",
        "a/b",
        "*",
        "//\u{e9}",
        "/\u{7f}",
        "/\x01",
        "/\"",
        "/<",
        "/>",
        "/^",
        "/`",
        "/{",
        "/|",
        "/}",
        "/\\",
        "/[",
        "/]",
        "/#a",
        "/?#",
        "/%",
        "/%4",
        "/%zz",
        "/?%",
        "a:443",
        "mailto:a@b",
        "https:/a",
        "https:///a",
        "https://",
        "https://u@a/",
        "https://u:p@a/",
        "https://a b/",
        "https://a:b/",
        "https://[::1/",
        "https://a/#b",
        "https://a\\b/",
        "ht_ps://a/",
    ] {
        refused(with_target(target), 400);
    }
    refused(with_target("http://a/"), 421);
    refused(with_target("ftp://a/"), 421);
    for target in ["/", "//a", "/a;b=c,d!$&'()*+~:@", "/?a/b?c", "/.", "/%00", "/?"] {
        assert_eq!(accepted(with_target(target)).target, target);
    }
}

#[test]
fn bad_fields() {
    for lines in [
        "X",
        "X y",
        ": v",
        "X : v",
        "X\t: v",
        " X: v",
        "\tX: v",
        "X: a\r\n b",  // obs-fold
        "X: a\r\n\tb", // obs-fold
        "X: a\r\n \r\nY: b",
        "X(: v",
        "X\u{e9}: v",
        "X: a\x01b",
        "X: a\x7fb",
        "X: a\x1bb",
        "X: a\0b",
        "X\0: b",
        "X: a\nY: b", // bare LF
        "X: a\rY: b", // bare CR
        "X: a\r",
        "X: a\r\r\nY: b",
        "Host: a", // twice
        "Host: b",
        "host: a",
    ] {
        refused(with_lines(lines), 400);
    }
    refused("GET / HTTP/1.1\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400);
    refused("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
    refused("GET https://a/ HTTP/1.1\r\n\r\n", 400);
}

#[test]
fn bad_framing() {
    // CL.TE, TE.CL, TE.TE and the forms of each that some server was found to take.
    for (lines, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Content-Length:", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length: 5,5", 400),
        ("Content-Length: 5, 5", 400),
        ("Content-Length: 5;", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5.0", 400),
        ("Content-Length: 5e1", 400),
        ("Content-Length: \"5\"", 400),
        ("Content-Length: five", 400),
        ("Content-Length: \u{665}", 400),
        ("Content-Length: 18446744073709551616", 400),
        ("Content-Length: 99999999999999999999999999", 400),
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length : 5", 400),
        ("Content-Length: 5\r\n Content-Length: 6", 400),
        ("Transfer-Encoding:", 400),
        ("Transfer-Encoding: xchunked", 400),
        ("Transfer-Encoding: identity", 400),
        ("Transfer-Encoding: identity, chunked", 400),
        ("Transfer-Encoding: gzip", 400),
        ("Transfer-Encoding: chunked, gzip", 400),
        ("Transfer-Encoding: chunked, chunked", 400),
        ("Transfer-Encoding: chunked,", 400),
        ("Transfer-Encoding: ,chunked", 400),
        ("Transfer-Encoding: chunked;q=1", 400),
        ("Transfer-Encoding: \"chunked\"", 400),
        ("Transfer-Encoding: chunked chunked", 400),
        ("Transfer-Encoding: \x0bchunked", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding\n: chunked", 400),
        ("Transfer-Encoding:\n chunked", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: a, b, chunked", 501),
        ("Expect: 200-ok", 417),
        ("Expect:", 417),
        ("Expect: 100-continue, x", 417),
        ("Expect: 100-continue\r\nExpect: x", 417),
    ] {
        refused(with_lines(lines), status);
    }
    refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

#[test]
fn bytes_of_another_protocol_are_refused_at_the_first() {
    let limits = HeadLimits::default();
    for first in [&b"\x16\x03\x01"[..], b"\x80", b"\x00", b"\n", b" ", b"{", b"(", b"\xef\xbb\xbf"]
    {
        let rejection = HeadScanner::new().scan(&first[..1], &limits).unwrap_err();
        assert_eq!(rejection.status, 400, "{first:?}");
    }
    assert!(HeadScanner::new().scan(b"\x16", &limits).unwrap_err().reason.contains("TLS"));
    refused(b"SSH-2.0-OpenSSH_9.6\r\n", 400);
    refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
}

#[test]
fn another_version_is_told_at_the_end_of_its_line() {
    let limits = HeadLimits::default();
    for (line, status) in [("GET / HTTP/2.0\r\n", 505), ("GET /\r", 400)] {
        let rejection = HeadScanner::new().scan(line.as_bytes(), &limits).unwrap_err();
        assert_eq!(rejection.status, status);
    }
}

#[test]
fn limits_are_kept_exactly() {
    let limits = HeadLimits { head: 200, target: 10, fields: 3 };
    let status = |bytes: &str| {
        read_limited(bytes.as_bytes(), &limits).map_err(|rejection| rejection.status.as_u16())
    };
    assert!(status("GET /345678901 HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    assert_eq!(status("GET /3456789012").unwrap_err(), 414);

    assert!(status("GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nD: e\r\n\r\n").unwrap().is_some());
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nD: e\r\nF").unwrap_err(), 431);

    let head = |length: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
    };
    assert!(status(&head(200)).unwrap().is_some());
    assert_eq!(status(&head(201)).unwrap_err(), 431);
    // At the last byte that fits, not at the next that may never come.
    assert_eq!(status(&head(300)[..200]).unwrap_err(), 431);
}

#[test]
fn the_parser_keeps_the_limits_without_the_scanner() {
    let limits = HeadLimits { head: 60, target: 10, fields: 2 };
    for (head, status) in [
        ("GET /3456789012 HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        ("GET / HTTP/1.1\r\nHost: a\r\nB: c\r\nD: e\r\n\r\n", 431),
        ("GET / HTTP/1.1\r\nHost: a\r\nB: ccccccccccccccccccccccccccccccccccccc\r\n\r\n", 431),
        ("", 400),
        ("\r\n", 400),
        ("GET / HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a", 400),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ] {
        let rejection = parse(head.as_bytes(), &limits).unwrap_err();
        assert_eq!(rejection.status, status, "{head:?}");
    }
}

#[test]
fn large_heads_are_refused_by_default() {
    refused(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8192)), 414);
    refused(with_lines(&format!("X: {}", "a".repeat(32 * 1024))), 431);
    refused(with_lines(&"X: a\r\n".repeat(100)), 431);
    accepted(with_lines("X: a\r\n".repeat(99).trim_end()));
}

#[test]
fn no_single_changed_byte_makes_it_panic_or_disagree() {
    let head =
        b"PUT /a%20b?c HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let limits = HeadLimits::default();
    for at in 0..head.len() {
        for byte in 0..=u8::MAX {
            let mut changed = head.to_vec();
            changed[at] = byte;
            let whole = format!("{:?}", read_pieces([&changed[..]].into_iter(), &limits));
            let single = format!("{:?}", read_pieces(changed.chunks(1), &limits));
            assert_eq!(whole, single);
            // The parser stands alone, too.
            let _ = parse(&changed, &limits);
        }
    }
}
