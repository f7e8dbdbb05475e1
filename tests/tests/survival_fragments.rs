//! Requests and hellos in the smallest pieces that TLS and TCP allow, and heads that never end.
//!
//! Where a piece ends says nothing: each request is answered, or refused, as if it had come whole, and
//! what follows a refused one is not taken for a request.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::ssl::{SslContextBuilder, SslVersion};
use sealpair_tests::raw::client_hello;
use sealpair_tests::{End, RawClient, SealpairServer, Shape, Survival, settles};

const HEAD: &str =
    "PUT /new HTTP/1.1\r\nHost: localhost\r\nX-Folded: no\r\nContent-Length: 5\r\n\r\n";

const SMUGGLED: &str = "PUT /smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx\
     GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn server() -> SealpairServer {
    SealpairServer::start(|server| server.writable().file("a", "A"))
}

/// One response with this status, the end, and nothing of what followed.
#[track_caller]
fn refused(client: &mut RawClient, status: u16, shown: &str) {
    let response = client.response();
    assert_eq!(response.status, status, "{shown:?}: {}", response.text());
    assert_eq!(response.header("Connection"), Some("close"), "{shown:?}");
    assert_eq!(client.end(), End::CloseNotify, "{shown:?}");
}

#[test]
fn a_head_may_be_cut_anywhere() {
    let server = server();
    let survival = Survival::begin(&server);
    let tls = RawClient::context(&server, |_| {});
    let mut client = RawClient::over(server.tcp(), &tls);
    let request = format!("{HEAD}hello");
    for cut in 1..request.len() {
        let (first, second) = request.split_at(cut);
        client.send(first);
        let response = client.exchange(second);
        assert_eq!(response.status, if cut == 1 { 201 } else { 204 }, "{cut}");
    }
    client.close();
    survival.end();
}

#[test]
fn a_record_may_hold_one_byte() {
    let server = server();
    let survival = Survival::begin(&server);
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let tls = RawClient::context(&server, |tls| {
            tls.set_max_proto_version(Some(version)).unwrap();
        });
        let mut client = RawClient::over(server.tcp(), &tls);
        for _ in 0..3 {
            let chunked = "PUT /new HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\n\r\n";
            for request in [HEAD.to_owned() + "hello", chunked.to_owned()] {
                request.as_bytes().chunks(1).for_each(|byte| client.send(byte));
                assert!(matches!(client.response().status, 201 | 204));
            }
            assert_eq!(client.get("/new").text(), "hello");
        }
        client.close();
    }
    survival.end();
}

#[test]
fn a_segment_may_hold_one_byte() {
    let server = server();
    let survival = Survival::begin(&server);
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let tls = RawClient::context(&server, |tls| {
            tls.set_max_proto_version(Some(version)).unwrap();
        });
        // The handshake, too, in either version.
        let mut client = RawClient::shaped(server.tcp(), &tls, Shape::Segments(1));
        for _ in 0..3 {
            assert!(matches!(client.exchange(HEAD.to_owned() + "hello").status, 201 | 204));
            assert_eq!(client.get("/new").text(), "hello");
        }
        client.close();
    }
    survival.end();
}

#[test]
fn a_client_hello_may_be_cut_into_records() {
    let server = server();
    let survival = Survival::begin(&server);
    for size in [1, 2, 3, 4, 5, 16, 100, 255] {
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let tls = RawClient::context(&server, |tls| {
                tls.set_max_proto_version(Some(version)).unwrap();
            });
            let mut client = RawClient::shaped(server.tcp(), &tls, Shape::HelloRecords(size));
            assert_eq!(client.get("/a").text(), "A", "{size} {version:?}");
            client.close();
        }
    }
    survival.end();
}

#[test]
fn a_client_hello_that_is_too_large_is_refused_and_a_large_one_is_not() {
    let server = server();
    let survival = Survival::begin(&server);
    let with_protocols = |count: usize| {
        move |tls: &mut SslContextBuilder| {
            // ALPN is what a client can fill a hello with: 255 bytes a name, and ours at the end.
            let name = [&[255][..], &[b'x'; 255]].concat();
            let protocols = [name.repeat(count), b"\x08http/1.1".to_vec()].concat();
            tls.set_alpn_protos(&protocols).unwrap();
        }
    };
    // In several records where it is longer than one can be (16 KiB).
    for count in [10, 60, 63] {
        let tls = RawClient::context(&server, with_protocols(count));
        match RawClient::try_over(server.tcp(), &tls) {
            Ok(mut client) => {
                assert_eq!(client.tls().ssl().selected_alpn_protocol(), Some(&b"http/1.1"[..]));
                assert_eq!(client.get("/a").text(), "A");
                client.close();
            }
            Err(error) => panic!("{count}: {error}"),
        }
    }
    // OpenSSL takes 128 KiB at most; whatever is refused must not hold a thread or memory.
    let header = |length: usize| {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        [&[1][..], &length[1..]].concat()
    };
    for length in [132 << 10, (1 << 24) - 1] {
        let mut tcp = server.tcp();
        let hello = [header(length), vec![0; length.min(1 << 20)]].concat();
        for piece in hello.chunks(16 << 10) {
            let size = u16::try_from(piece.len()).unwrap().to_be_bytes();
            let record = [&[22, 3, 1][..], &size, piece].concat();
            if std::io::Write::write_all(&mut tcp, &record).is_err() {
                break;
            }
        }
        let _ = std::io::Read::read_to_end(&mut tcp, &mut Vec::new());
    }
    settles("the log tells", || server.log().matches("no TLS connection").count() >= 2);
    survival.end();
}

#[test]
fn garbage_behind_a_client_hello_ends_the_connection() {
    let server = server();
    let survival = Survival::begin(&server);
    let hello = client_hello(&RawClient::context(&server, |_| {}));
    let garbage: [&[u8]; 6] = [
        b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0; 64],
        &[255; 64],
        // Application data, a Finished and an unknown type before there are keys.
        b"\x17\x03\x03\x00\x10AAAAAAAAAAAAAAAA",
        b"\x16\x03\x03\x00\x10\x14\x00\x00\x0cAAAAAAAAAAAA",
        b"\x63\x03\x03\x00\x01A",
    ];
    for bytes in garbage {
        let mut tcp = server.tcp();
        std::io::Write::write_all(&mut tcp, &[&hello, bytes].concat()).unwrap();
        // The answer is a ServerHello at most, then an alert; the server ends it by itself.
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut tcp, &mut answer);
        assert!(!answer.windows(5).any(|bytes| bytes == b"HTTP/"), "{answer:?}");
    }
    assert!(!server.log().contains(" GET /a "), "{}", server.log());
    survival.end();
}

#[test]
fn what_is_refused_whole_is_refused_in_pieces() {
    let server = server();
    let survival = Survival::begin(&server);
    let tls = RawClient::context(&server, |_| {});
    let get = |fields: &str| format!("GET /a HTTP/1.1\r\n{fields}\r\n\r\n");
    let put = |fields: &str| format!("PUT /new HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n");
    let cases = [
        (400, get("X: no host")),
        (400, get("Host: localhost\r\nHost: localhost")),
        (400, get("Host: localhost\r\nX: y\r\n folded")),
        (400, get("Host: localhost\r\nX : y")),
        (400, get("Host: localhost\r\nX: a\0b")),
        (400, get("Host: localhost\r\nX: y\n")),
        (400, put("Content-Length: -1")),
        (400, put("Content-Length: +5")),
        (400, put("Content-Length: 5\r\nContent-Length: 6")),
        (400, put("Content-Length: 99999999999999999999")),
        (413, put("Content-Length: 18446744073709551615")),
        (400, put("Content-Length: 5\r\nTransfer-Encoding: chunked")),
        (400, put("Transfer-Encoding: xchunked")),
        (400, put("Transfer-Encoding: chunked") + "10000000000000005\r\nhello"),
        (413, put("Transfer-Encoding: chunked") + "fffffffffffffff0\r\nhello"),
        (400, put("Transfer-Encoding: chunked") + "5\r\nhello\n0\r\n\r\n"),
        (417, put("Content-Length: 1\r\nExpect: the-best")),
        (501, put("Transfer-Encoding: gzip, chunked")),
        (421, "GET http://localhost/a HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()),
        (400, "GET /a\r\n".to_owned()),
        (400, "GET /a HTTP/0.9\r\n\r\n".to_owned()),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        (505, "GET /a HTTP/3.0\r\nHost: localhost\r\n\r\n".to_owned()),
    ];
    for (status, request) in &cases {
        // One byte in each record, then one byte in each segment.
        let mut records = RawClient::over(server.tcp(), &tls);
        for byte in request.as_bytes().chunks(1) {
            // It may be refused before its end.
            let _ = records.try_send(byte);
        }
        let _ = records.try_send(SMUGGLED);
        refused(&mut records, *status, request);
        let mut segments = RawClient::shaped(server.tcp(), &tls, Shape::Segments(1));
        let _ = segments.try_send(request.to_owned() + SMUGGLED);
        refused(&mut segments, *status, request);
    }
    assert!(!server.root().join("smuggled").exists());
    assert!(!server.log().contains("/smuggled"), "{}", server.log());
    survival.end();
}

#[test]
fn a_head_without_end_is_refused_and_takes_no_memory() {
    let server = server();
    let survival = Survival::begin(&server);
    let before = server.peak_rss_kib();
    let endless: [(u16, &str, Vec<u8>); 5] = [
        (431, "a line of 64 MiB", [b"X: ".to_vec(), vec![b'y'; 64 << 20]].concat()),
        (431, "10,000 fields", "X: y\r\n".repeat(10_000).into_bytes()),
        (431, "64 MiB of fields", b"X: y\r\n".repeat((64 << 20) / 6)),
        (431, "a name of 64 MiB", vec![b'y'; 64 << 20]),
        (414, "a target of 64 MiB", vec![b'/'; 64 << 20]),
    ];
    for (status, what, bytes) in endless {
        let refusals = || server.log().matches(&format!("refused: {status}")).count();
        let refused = refusals();
        let mut client = RawClient::connect(&server);
        client.send(if status == 414 { "GET " } else { "GET /a HTTP/1.1\r\nHost: localhost\r\n" });
        // The server does not wait for the end.
        let _ = client.try_send(&bytes);
        let _ = client.try_send(SMUGGLED);
        client.look();
        let told = String::from_utf8_lossy(client.unused()).into_owned();
        settles(what, || refusals() == refused + 1);
        // Whoever goes on sending for longer than the server listens may lose the answer to a reset.
        assert!(told.is_empty() || told.starts_with(&format!("HTTP/1.1 {status} ")), "{told:?}");
    }
    let grown = server.peak_rss_kib() - before;
    assert!(grown < 8 << 10, "{grown} KiB for heads that were refused");
    assert!(!server.log().contains("/smuggled"), "{}", server.log());
    survival.end();
}

#[test]
fn a_head_of_the_greatest_length_is_served_and_one_that_is_a_little_longer_is_told_why() {
    let server = server();
    let survival = Survival::begin(&server);
    for (length, status) in [(30_000, 200), (40_000, 431), (200_000, 431)] {
        let mut client = RawClient::connect(&server);
        let field = "y".repeat(length);
        let _ =
            client.try_send(format!("GET /a HTTP/1.1\r\nHost: localhost\r\nX: {field}\r\n\r\n"));
        assert_eq!(client.response().status, status, "{length}");
    }
    survival.end();
}
