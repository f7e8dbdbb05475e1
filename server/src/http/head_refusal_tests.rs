//! What is refused, and with which status.

use super::*;

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
