//! Requests that another recipient might frame differently, through a real TLS connection.
//!
//! Every refusal is one response with `Connection: close`, then close_notify, and no byte that
//! followed the offending request is taken for a request. The cases are those over which other
//! servers have been attacked (request smuggling, CL.TE, TE.TE), and the classes of h1spec.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::{End, RawClient, SealpairServer};
use std::fs;

/// What must never be taken for a request of its own.
const SMUGGLED: &str = "PUT /smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx\
     GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn server() -> SealpairServer {
    SealpairServer::start(|server| server.writable().file("a", "A"))
}

/// Sends each request with the smuggled one behind it, on a connection of its own.
#[track_caller]
fn refused(cases: &[(u16, &[u8])]) {
    let server = server();
    for (status, request) in cases {
        let shown = String::from_utf8_lossy(request).into_owned();
        let mut client = RawClient::connect(&server);
        client.send([*request, SMUGGLED.as_bytes()].concat());
        let response = client.response();
        assert_eq!(response.status, *status, "{shown:?}: {}", response.text());
        assert_eq!(response.header("Connection"), Some("close"), "{shown:?}");
        assert!(response.text().starts_with(&format!("{status} ")), "{}", response.text());
        assert_eq!(client.end(), End::CloseNotify, "{shown:?}");
    }
    assert!(!server.root().join("smuggled").exists());
    assert!(!server.log().contains("/smuggled"), "{}", server.log());
    assert_eq!(fs::read_dir(server.root()).unwrap().count(), 1, "nothing was stored");
    assert_eq!(server.curl_get("/a").text(), "A");
}

/// The head of a PUT with these fields, and a body that several framings could end.
macro_rules! put {
    ($fields:literal) => {
        concat!("PUT /new HTTP/1.1\r\nHost: localhost\r\n", $fields, "\r\n\r\n").as_bytes()
    };
}

macro_rules! get {
    ($fields:literal) => {
        concat!("GET /a HTTP/1.1\r\n", $fields, "\r\n\r\n").as_bytes()
    };
}

#[test]
fn two_ways_to_end_the_content_are_refused() {
    refused(&[
        (400, put!("Content-Length: 5\r\nTransfer-Encoding: chunked")),
        (400, put!("Transfer-Encoding: chunked\r\nContent-Length: 5")),
        (400, put!("Transfer-Encoding: chunked\r\nContent-Length: 0")),
        (400, put!("Content-Length: 0\r\nTransfer-Encoding: identity")),
        (400, put!("Content-Length: 5\r\nContent-Length: 6")),
        (400, put!("Content-Length: 5\r\nContent-Length: 5")),
        (400, put!("Content-Length: 5, 5")),
        (400, put!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
        (400, put!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")),
    ]);
}

#[test]
fn a_length_that_is_no_number_is_refused() {
    refused(&[
        (400, put!("Content-Length: -1")),
        (400, put!("Content-Length: +5")),
        (400, put!("Content-Length: 5 5")),
        (400, put!("Content-Length: 0x5")),
        (400, put!("Content-Length: 5.0")),
        (400, put!("Content-Length: 1e1")),
        (400, put!("Content-Length: five")),
        (400, put!("Content-Length:")),
        (400, put!("Content-Length: ,5")),
        (400, put!("Content-Length: 5;a=b")),
        (400, put!("Content-Length: 18446744073709551616")),
        (400, put!("Content-Length: 99999999999999999999999999999999")),
        (413, put!("Content-Length: 18446744073709551615")),
        (413, put!("Content-Length: 9223372036854775808")),
    ]);
}

#[test]
fn a_transfer_coding_other_than_chunked_is_refused() {
    refused(&[
        (400, put!("Transfer-Encoding: xchunked")),
        (400, put!("Transfer-Encoding: identity")),
        (400, put!("Transfer-Encoding: chunked, identity")),
        (400, put!("Transfer-Encoding: chunked, chunked")),
        (400, put!("Transfer-Encoding: identity, chunked")),
        (400, put!("Transfer-Encoding: \"chunked\"")),
        (400, put!("Transfer-Encoding: chunked;q=1")),
        (400, put!("Transfer-Encoding: chunked\x0b")),
        (400, put!("Transfer-Encoding:")),
        (400, put!("Transfer-Encoding: ,chunked")),
        (400, put!("Transfer-Encoding : chunked")),
        (400, put!(" Transfer-Encoding: chunked")),
        (400, put!("X: y\r\n Transfer-Encoding: chunked")),
        (501, put!("Transfer-Encoding: gzip, chunked")),
        (400, b"PUT /new HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ]);
}

#[test]
fn broken_chunks_end_the_connection() {
    const HEAD: &str = "PUT /new HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bodies: [&str; 19] = [
        "z\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "-1\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5;\x01\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
        "5\r\nhello\r\n0\r\n folded: x\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
    ];
    let requests: Vec<Vec<u8>> =
        bodies.iter().map(|body| (HEAD.to_owned() + body).into()).collect();
    refused(&requests.iter().map(|request| (400, &request[..])).collect::<Vec<_>>());
    let huge = format!("{HEAD}ffffffffffffffff\r\nhello");
    let long = format!("{HEAD}5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(300));
    refused(&[(413, huge.as_bytes()), (400, long.as_bytes())]);
}

#[test]
fn bare_line_ends_and_control_characters_are_refused() {
    refused(&[
        (400, b"GET /a HTTP/1.1\nHost: localhost\n\n"),
        (400, b"GET /a HTTP/1.1\r\nHost: localhost\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nHost: localhost\r\n\n"),
        (400, b"GET /a HTTP/1.1\rHost: localhost\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nX: a\rb\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nX: a\nContent-Length: 5\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nX: a\0b\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nX: a\x1b[31m\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a HTTP/1.1\r\nX: a\x7fb\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"\r\n\r\nGET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"\nGET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ]);
}

#[test]
fn odd_header_fields_are_refused() {
    refused(&[
        (400, get!("Host: localhost\r\nX : y")),
        (400, get!("Host: localhost\r\nX\t: y")),
        (400, get!("Host: localhost\r\n X: y")),
        (400, get!("Host: localhost\r\nX: y\r\n folded")),
        (400, get!("Host: localhost\r\nX: y\r\n\tfolded")),
        (400, get!("Host: localhost\r\nno colon")),
        (400, get!("Host: localhost\r\n: no name")),
        (400, get!("Host: localhost\r\nN@me: y")),
        (400, b"GET /a HTTP/1.1\r\nHost: localhost\r\nN\xc3\xa4me: y\r\n\r\n"),
        (417, put!("Content-Length: 1\r\nExpect: 200-ok")),
    ]);
    let many = format!("GET /a HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(100));
    let long = format!("GET /a HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(33_000));
    let target = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(9_000));
    refused(&[(431, many.as_bytes()), (431, long.as_bytes()), (414, target.as_bytes())]);
}

#[test]
fn a_request_without_exactly_one_good_host_is_refused() {
    refused(&[
        (400, get!("X: y")),
        (400, get!("Host: localhost\r\nHost: localhost")),
        (400, get!("Host: localhost\r\nHost: elsewhere")),
        (400, get!("Host:")),
        (400, get!("Host: a b")),
        (400, get!("Host: a,b")),
        (400, get!("Host: a/b")),
        (400, get!("Host: user@localhost")),
        (400, get!("Host: localhost:port")),
        (400, get!("Host: localhost:99999")),
        (400, get!("Host: [::1")),
    ]);
}

#[test]
fn odd_request_lines_are_refused() {
    refused(&[
        (400, b"GET /a\r\n\r\n"),
        (400, b"GET\r\n\r\n"),
        (400, b"GET  /a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a  HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a HTTP/1.1 \r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a HTTP/1.1 junk\r\nHost: localhost\r\n\r\n"),
        (400, b" GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET\t/a\tHTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a http/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a HTTP/1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a HTTP/0.9\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a HTTP/1.10\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a FTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"G(T /a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /a#fragment HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /\xc3\xa4 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (505, b"GET /a HTTP/2.0\r\nHost: localhost\r\n\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (501, b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (421, b"GET http://localhost/a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET https://user@localhost/a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ]);
}

#[test]
fn what_is_unusual_and_allowed_is_answered_in_step() {
    let server = server();
    for request in [
        "\r\nGET /a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /a HTTP/1.1\r\nhOsT:localhost\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: \t localhost \t\r\nX:\r\nY: \u{e4}\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: localhost:1234\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: [::1]:1234\r\n\r\n",
        "GET /a HTTP/1.2\r\nHost: localhost\r\n\r\n",
        "GET /a?query=1&x=%20/?: HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /%61 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET https://elsewhere/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: TLS/1.2\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        "GET /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: CHUNKED\r\n\r\n\
         5;ext=\"a b\";b\r\nhello\r\n000\r\nTrailer: x\r\nAnother:\r\n\r\n",
    ] {
        let mut client = RawClient::connect(&server);
        for _ in 0..2 {
            let response = client.exchange(request);
            assert_eq!((response.status, response.text().as_str()), (200, "A"), "{request:?}");
            assert_eq!(response.header("Connection"), None, "{request:?}");
        }
        client.close();
    }
}

#[test]
fn content_that_nobody_reads_is_not_taken_for_a_request() {
    let server = server();
    let request = "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
    // A little is read and dropped, and the connection goes on.
    let mut client = RawClient::connect(&server);
    client.send(format!("{request}{}\r\n\r\n{SMUGGLED}", SMUGGLED.len()));
    assert_eq!(client.response().status, 405);
    assert_eq!(client.get("/a").text(), "A");
    // For much, the connection ends, and the client can still read why.
    let mut client = RawClient::connect(&server);
    let much = SMUGGLED.repeat(20_000);
    client.send(format!("{request}{}\r\n\r\n", much.len()));
    let _ = client.try_send(much);
    let response = client.response();
    assert_eq!((response.status, response.header("Connection")), (405, Some("close")));
    assert_eq!(client.end(), End::CloseNotify);
    assert!(!server.log().contains("/smuggled"), "{}", server.log());
}

#[test]
fn text_from_the_network_is_harmless_in_the_log() {
    let server = server();
    let mut client = RawClient::connect(&server);
    client.get("/%1b%5b31m%0d%0aforged?x=%00");
    client.send("GET /a HTTP/1.1\r\nX: \x1b[31mforged\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let log = server.log();
    assert!(!log.contains('\x1b') && !log.contains("\nforged"), "{log:?}");
}
