//! What runs out: descriptors, threads, places. It comes back, and so does the service.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::{
    Crowd, Manner, RawClient, SealpairServer, ServerBuilder, Survival, settles, settles_at,
};
use std::fs::File;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// No deadline frees anything here.
const PATIENT: [&str; 6] =
    ["--handshake-timeout", "1h", "--head-timeout", "1h", "--idle-timeout", "1h"];

fn server(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> SealpairServer {
    SealpairServer::start(|server| configure(server.file("a", "A").args(PATIENT)))
}

#[test]
fn descriptors_run_out_and_come_back_three_times() {
    const LIMIT: usize = 128;
    let server = server(|server| server.descriptor_limit(LIMIT as u32));
    // Who is served already goes on being served, also when that takes a descriptor.
    let survival = Survival::begin(&server);
    for round in 1..=3 {
        let crowd: Vec<TcpStream> = (0..2 * LIMIT).map(|_| server.tcp()).collect();
        settles_at("descriptors have run out", || server.descriptors(), |now| *now >= LIMIT);
        let noticed = || server.log().matches("cannot accept a connection").count();
        settles_at("the server says so", noticed, |times| *times >= round);
        // It waits instead of trying as fast as it can, and does not fill the log.
        assert!(noticed() < 20 * round, "{}", server.log());
        let served = survival.answered();
        drop(crowd);
        settles("others are served again", || survival.answered() > served + 3);
    }
    survival.end();
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_file_that_cannot_be_opened_for_want_of_descriptors_is_503_and_the_connection_goes_on() {
    const LIMIT: usize = 128;
    let server = server(|server| server.descriptor_limit(LIMIT as u32));
    let survival = Survival::begin(&server);
    std::fs::write(server.root().join("another"), "B").unwrap();
    let mut early = RawClient::connect(&server);
    assert_eq!(early.get("/a").text(), "A");
    let crowd: Vec<TcpStream> = (0..2 * LIMIT).map(|_| server.tcp()).collect();
    settles_at("descriptors have run out", || server.descriptors(), |now| *now >= LIMIT);
    let response = early.get("/another");
    assert_eq!(response.status, 503, "{}", response.head);
    // A small file that was asked for before is open.
    assert_eq!(early.get("/a").text(), "A");
    drop(crowd);
    settles("the same connection is served again", || early.get("/another").status == 200);
    early.close();
    survival.end();
    assert_eq!(server.stop(), 0);
}

#[test]
fn threads_cannot_be_made_and_then_can_again() {
    let server = server(|server| server.thread_limit(61_234, 24));
    File::create(server.root().join("big")).unwrap().set_len(64 << 20).unwrap();
    assert_eq!(server.curl_get("/a").text(), "A");
    let (_, descriptors) = server.at_rest();
    let tls = RawClient::context(&server, |_| {});
    for _ in 0..2 {
        // Connections that each keep a thread busy for as long as they want, in any architecture:
        // nobody reads what they have asked for. More than there can be threads; whoever finds none is
        // told so.
        let mut stuck = Vec::new();
        let mut waiting = Vec::new();
        for _ in 0..60 {
            let tcp = server.tcp();
            if stuck.len() < 12 {
                let mut client = RawClient::over(tcp, &tls);
                client.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
                stuck.push(client);
            } else {
                waiting.push(tcp);
            }
        }
        let late: Vec<_> = waiting
            .into_iter()
            .map(|tcp| {
                let tls = tls.clone();
                thread::spawn(move || {
                    let mut client = RawClient::over(tcp, &tls);
                    client.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
                    let status = client.response_to_head().status;
                    client.reset();
                    status
                })
            })
            .collect();
        let threads = server.threads();
        println!("{threads} threads; {}", server.log().lines().last().unwrap_or_default());
        assert!(threads <= 24);
        for client in stuck {
            client.reset();
        }
        for client in late {
            let status = client.join().unwrap();
            assert!(matches!(status, 200 | 503), "none is lost: {status}");
        }
        assert_eq!(RawClient::connect(&server).get("/a").text(), "A");
    }
    assert_eq!(server.at_rest().1, descriptors);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(server.stop(), 0);
}

#[test]
fn of_those_beyond_the_limit_none_is_lost() {
    const PLACES: usize = 4;
    const CLIENTS: usize = 100;
    let places = PLACES.to_string();
    let server = server(|server| server.args(["--max-connections", &places]));
    assert_eq!(server.curl_get("/a").text(), "A");
    let (_, descriptors) = server.at_rest();
    // All places are taken by clients that say nothing.
    let crowd = Crowd::gather(&server, Manner::Idle, PLACES);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                assert_eq!(RawClient::connect(&server).get("/a").text(), "A");
                answered.fetch_add(1, Ordering::SeqCst);
            });
        }
        settles("all are connected", || server.connections() >= PLACES + CLIENTS);
        assert_eq!(answered.load(Ordering::SeqCst), 0, "they wait");
        assert!(server.descriptors() <= descriptors + 2 * PLACES, "{}", server.descriptors());
        crowd.reset();
    });
    assert_eq!(answered.load(Ordering::SeqCst), CLIENTS);
    assert_eq!(server.at_rest().1, descriptors);
    assert_eq!(server.stop(), 0);
}
