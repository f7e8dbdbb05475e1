//! Stopping, and peers that hold a connection without using it.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_tests::{End, RawClient, SealpairServer, ServerBuilder, settles, settles_at};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

fn server(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> SealpairServer {
    SealpairServer::start(|server| configure(server.writable().file("a", "A")))
}

/// An upload of ten bytes of which five have been sent and are being waited for.
fn upload(server: &SealpairServer) -> RawClient {
    let mut client = RawClient::connect(server);
    client.send("PUT /new HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello");
    settles("the upload has begun", || uploads(server) == 1);
    client
}

/// Uploads that are not complete.
fn uploads(server: &SealpairServer) -> usize {
    let entries = fs::read_dir(server.root()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".sealpair-upload-")).count()
}

/// The server has ended a TCP connection that never became a TLS connection.
#[track_caller]
fn closed(mut tcp: &TcpStream) {
    match tcp.read(&mut [0; 256]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        // An alert may come first.
        Ok(_) => closed(tcp),
        Err(error) => panic!("the connection is still open: {error}"),
    }
}

/// The beginning of a ClientHello.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half of it";

#[test]
fn sigterm_lets_a_request_finish_and_ends_idle_connections_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = server(|server| server);
        let mut idle = RawClient::connect(&server);
        assert_eq!(idle.get("/a").text(), "A");
        let mut busy = upload(&server);
        server.signal(signal);
        assert_eq!(idle.end(), End::CloseNotify);
        assert!(!server.ready_file().exists(), "it is not ready any more");
        assert!(!server.has_ended());
        let response = busy.exchange("world");
        assert_eq!((response.status, response.header("Connection")), (201, Some("close")));
        assert_eq!(busy.end(), End::CloseNotify);
        let ended = server.wait().expect_code(0);
        assert_eq!(fs::read(server.root().join("new")).unwrap(), b"helloworld");
        assert!(!server.ready_file().exists(), "{ended}");
    }
}

#[test]
fn a_server_that_stops_takes_no_new_connections() {
    let mut server = server(|server| server);
    let mut busy = upload(&server);
    server.signal(Signal::TERM);
    settles("connections are refused", || TcpStream::connect(server.address()).is_err());
    assert_eq!(busy.exchange("world").status, 201);
    server.wait().expect_code(0);
}

#[test]
fn an_idle_server_stops_at_once() {
    let server = server(|server| server.args(["--drain-timeout", "1h"]));
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_client_that_has_said_nothing_does_not_hold_up_the_end() {
    let server = server(|server| {
        server.args(["--drain-timeout", "1h", "--handshake-timeout", "1h", "--head-timeout", "1h"])
    });
    let silent = server.tcp();
    let mut half = server.tcp();
    half.write_all(HALF_A_HELLO).unwrap();
    let mut fresh = RawClient::connect(&server);
    assert_eq!(server.stop(), 0);
    closed(&silent);
    closed(&half);
    assert_eq!(fresh.end(), End::CloseNotify);
}

#[test]
fn the_drain_deadline_cuts_off_who_is_still_there() {
    let mut server = server(|server| server.args(["--drain-timeout", "500ms"]));
    let mut busy = upload(&server);
    server.signal(Signal::TERM);
    let ended = server.wait().expect_code(1);
    assert!(ended.stderr.contains("cut off at the drain deadline: 1 open"), "{ended}");
    // What was cut cannot be taken for a response.
    assert_ne!(busy.end(), End::CloseNotify);
    assert!(!server.root().join("new").exists());
    assert_eq!(uploads(&server), 0, "nothing half is left");
    assert!(!server.ready_file().exists());
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut server = server(|server| server.args(["--drain-timeout", "1h"]));
        let _busy = upload(&server);
        server.signal(Signal::TERM);
        settles("the first signal is taken", || server.log().contains("stopping"));
        server.signal(signal);
        let ended = server.wait().expect_code(code);
        assert!(!server.root().join("new").exists());
        assert!(!server.ready_file().exists(), "{ended}");
    }
}

#[test]
fn silence_in_a_handshake_ends_at_its_deadline_and_delays_nobody() {
    let server = server(|server| server.args(["--handshake-timeout", "2s"]));
    // The file that is asked for stays open.
    assert_eq!(server.curl_get("/a").text(), "A");
    let (_, before) = server.at_rest();
    let silent: Vec<TcpStream> = (0..50).map(|_| server.tcp()).collect();
    let half: Vec<TcpStream> = (0..10)
        .map(|_| {
            let mut tcp = server.tcp();
            tcp.write_all(HALF_A_HELLO).unwrap();
            tcp
        })
        .collect();
    assert_eq!(server.curl_get("/a").text(), "A");
    assert_eq!(RawClient::connect(&server).get("/a").text(), "A");
    silent.iter().chain(&half).for_each(closed);
    assert_eq!(server.at_rest().1, before);
}

#[test]
fn a_client_that_sends_its_hello_byte_by_byte_has_one_deadline_for_all() {
    let server = server(|server| server.args(["--handshake-timeout", "1s"]));
    let mut tcp = server.tcp();
    tcp.write_all(&HALF_A_HELLO[..5]).unwrap();
    settles("the server closes", || tcp.write_all(b"\x01").is_err());
    assert_eq!(server.curl_get("/a").text(), "A");
}

#[test]
fn silence_after_the_handshake_ends_at_the_deadline_of_a_head() {
    let server = server(|server| server.args(["--head-timeout", "1s", "--idle-timeout", "1h"]));
    let mut silent = RawClient::connect(&server);
    let mut half = RawClient::connect(&server);
    half.send("GET /a HTTP/1.1\r\nHost: local");
    assert_eq!(RawClient::connect(&server).get("/a").text(), "A");
    assert_eq!(silent.end(), End::CloseNotify);
    let response = half.response();
    assert_eq!((response.status, response.header("Connection")), (408, Some("close")));
    assert_eq!(half.end(), End::CloseNotify);
}

#[test]
fn a_head_that_trickles_has_one_deadline_for_all() {
    let server = server(|server| server.args(["--head-timeout", "1s", "--idle-timeout", "1h"]));
    let mut client = RawClient::connect(&server);
    assert_eq!(client.get("/a").text(), "A");
    client.send("GET /a HTTP/1.1\r\nX: ");
    settles("the server ends it", || {
        client.try_send("y").is_err() || { server.log().contains("408") }
    });
    assert_eq!(client.response().status, 408);
}

#[test]
fn an_idle_connection_ends_at_its_deadline() {
    let server = server(|server| server.args(["--head-timeout", "1h", "--idle-timeout", "1s"]));
    let mut client = RawClient::connect(&server);
    assert_eq!(client.get("/a").text(), "A");
    assert_eq!(client.end(), End::CloseNotify);
}

#[test]
fn content_that_stalls_is_cut_with_408() {
    let server = server(|server| server.args(["--idle-timeout", "1s"]));
    let mut client = upload(&server);
    let response = client.response();
    assert_eq!((response.status, response.header("Connection")), (408, Some("close")));
    assert_eq!(client.end(), End::CloseNotify);
    settles("nothing half is left", || uploads(&server) == 0);
    assert!(!server.root().join("new").exists());
}

#[test]
fn content_below_the_least_rate_is_cut_with_408() {
    let server = server(|server| server.args(["--min-rate", "1MiB/s", "--idle-timeout", "1h"]));
    let mut client = RawClient::connect(&server);
    client.send("PUT /new HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n");
    // It never stands still, but is far too slow.
    settles("the server ends it", || {
        let _ = client.try_send("slow");
        server.log().contains(" PUT /new 408 ")
    });
    assert_eq!(client.response().status, 408);
    assert_eq!(uploads(&server), 0);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = server(|server| server.args(["--idle-timeout", "1s"]));
    File::create(server.root().join("big")).unwrap().set_len(256 << 20).unwrap();
    // The file that is asked for stays open.
    assert_eq!(server.curl_get("/a").text(), "A");
    let (_, before) = server.at_rest();
    let mut client = RawClient::connect(&server);
    client.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
    settles("the server gives up", || server.log().contains(" cut: "));
    assert_eq!(server.at_rest().1, before);
    // A part must not look like the whole.
    let (part, end) = client.rest();
    assert!(part.len() < 256 << 20);
    assert_ne!(end, End::CloseNotify);
}

#[test]
fn ten_thousand_requests_leave_threads_and_descriptors_where_they_were() {
    let server = server(|server| server);
    let tls = RawClient::context(&server, |_| {});
    let connect = || RawClient::over(server.tcp(), &tls);
    // Some clients at once, so that the workers are there that one at a time needs.
    let mut first: Vec<RawClient> = (0..8).map(|_| connect()).collect();
    first.iter_mut().for_each(|client| assert_eq!(client.get("/a").text(), "A"));
    first.into_iter().for_each(RawClient::close);
    let before = server.at_rest();

    let mut requests = 0;
    for _ in 0..9 {
        let mut kept = connect();
        for _ in 0..1_000 {
            assert_eq!(kept.get("/a").text(), "A");
            requests += 1;
        }
        kept.close();
    }
    for _ in 0..1_000 {
        let mut new = connect();
        assert_eq!(new.get("/a").text(), "A");
        requests += 1;
        new.close();
    }
    assert_eq!(requests, 10_000);
    let (threads, descriptors) = server.at_rest();
    // A thread that stood by at first may have ended.
    assert!(threads <= before.0, "{threads} {before:?}");
    assert_eq!(descriptors, before.1);
    assert_eq!(server.stop(), 0);
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let server = server(|server| server);
    File::create(server.root().join("big")).unwrap().set_len(256 << 20).unwrap();
    // The file that is asked for stays open.
    assert_eq!(server.curl_get("/a").text(), "A");
    let (_, before) = server.at_rest();
    for _ in 0..10 {
        let mut reading = RawClient::connect(&server);
        reading.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
        reading.response_to_head();
        reading.reset();
        let mut writing = RawClient::connect(&server);
        writing.send("PUT /new HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhello");
        writing.reset();
        sealpair_tests::raw::reset(&server.tcp());
    }
    // Who comes last is served last: all others have been accepted then.
    assert_eq!(server.curl_get("/a").text(), "A");
    assert_eq!(server.at_rest().1, before);
    settles("uploads are removed", || uploads(&server) == 0);
    assert!(!server.root().join("new").exists());
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn when_descriptors_run_out_the_server_waits_and_recovers() {
    let server = server(|server| {
        server.descriptor_limit(40).args(["--handshake-timeout", "1h", "--head-timeout", "1h"])
    });
    // The file that is asked for stays open.
    assert_eq!(server.curl_get("/a").text(), "A");
    let (_, before) = server.at_rest();
    let crowd: Vec<TcpStream> = (0..60).map(|_| server.tcp()).collect();
    settles("the server notices", || server.log().contains("cannot accept a connection"));
    settles_at("all descriptors are in use", || server.descriptors(), |now| *now >= 40);
    // It waits instead of spinning, and says so once.
    assert_eq!(server.log().matches("cannot accept a connection").count(), 1);
    drop(crowd);
    assert_eq!(server.curl_get("/a").text(), "A");
    assert_eq!(server.at_rest().1, before);
    assert_eq!(server.stop(), 0);
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let server = server(|server| server.args(["--max-connections", "2"]));
    let mut first = RawClient::connect(&server);
    let mut second = RawClient::connect(&server);
    assert_eq!(first.get("/a").text(), "A");
    assert_eq!(second.get("/a").text(), "A");
    std::thread::scope(|scope| {
        let third = scope.spawn(|| RawClient::connect(&server).get("/a").text());
        // It is connected, as far as the kernel is concerned, and not served.
        assert_eq!(first.get("/a").text(), "A");
        assert!(!third.is_finished());
        first.close();
        assert_eq!(third.join().unwrap(), "A");
    });
    assert_eq!(second.get("/a").text(), "A");
}

#[test]
fn sighup_changes_nothing() {
    let mut server = server(|server| server);
    let mut client = RawClient::connect(&server);
    server.signal(Signal::HUP);
    settles("it says so", || server.log().contains("SIGHUP"));
    assert_eq!(client.get("/a").text(), "A");
    assert!(!server.has_ended() && server.ready_file().exists());
    assert_eq!(server.stop(), 0);
}
