//! Why tiny_http is not the public listener: what a stranger does to it with one connection or a few,
//! and the same against `sealpair-server`.
//!
//! Should a test fail because tiny_http has become better, then that is worth knowing: look again.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::ssl::{SslContext, SslMethod, SslVerifyMode};
use rustix::process::Signal;
use sealpair_tests::program::program;
use sealpair_tests::{Pki, RawClient, Run, Running, SealpairServer, settles, settles_at};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long a server gets before it counts as stopped. Ours answers the same request at the same time.
const A_WHILE: Duration = Duration::from_secs(2);

/// A server of tiny_http that serves the file `a`, which holds "A".
struct Tiny {
    process: Running,
    address: SocketAddr,
    tls: SslContext,
    _root: TempDir,
}

impl Tiny {
    #[track_caller]
    fn start() -> Self {
        Self::limited(None)
    }

    /// With so many descriptors.
    #[track_caller]
    fn limited(descriptors: Option<u32>) -> Self {
        let pki = Pki::new();
        let credentials = pki.server();
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a"), "A").unwrap();
        let tiny = program("examples/tiny");
        let command = match descriptors {
            None => Command::new(tiny),
            Some(limit) => {
                let mut command = Command::new("prlimit");
                command.arg(format!("--nofile={limit}:{limit}")).arg("--").arg(tiny);
                command
            }
        };
        let mut process = Run::new(command)
            .arg(root.path())
            .arg(&credentials.cert)
            .arg(&credentials.key)
            .arg("127.0.0.1:0")
            .deadline(Duration::MAX)
            .start();
        let address = settles_at(
            "tiny_http listens",
            || {
                assert!(!process.has_ended(), "it ended: {}", process.stderr());
                listening(&process.stdout())
            },
            Option::is_some,
        );
        let tls = trusting(&credentials.ca);
        Self { process, address: address.unwrap(), tls, _root: root }
    }

    fn tcp(&self) -> io::Result<TcpStream> {
        let tcp = TcpStream::connect(self.address)?;
        tcp.set_read_timeout(Some(A_WHILE))?;
        Ok(tcp)
    }

    /// A connection on which it has answered once.
    fn client(&self) -> Option<RawClient> {
        RawClient::try_over(self.tcp().ok()?, &self.tls).ok()
    }

    #[track_caller]
    fn serves(&self) {
        settles("tiny_http serves", || {
            self.client().is_some_and(|mut client| client.get("/a").text() == "A")
        });
    }
}

fn listening(stdout: &str) -> Option<SocketAddr> {
    stdout.lines().next()?.strip_prefix("listening on ")?.parse().ok()
}

fn trusting(ca: &Path) -> SslContext {
    let mut tls = SslContext::builder(SslMethod::tls_client()).unwrap();
    tls.set_ca_file(ca).unwrap();
    tls.set_verify(SslVerifyMode::PEER);
    tls.build()
}

fn ours() -> SealpairServer {
    SealpairServer::start(|server| server.file("a", "A"))
}

/// Ours serves a new client.
#[track_caller]
fn ours_serves(server: &SealpairServer) {
    let mut client = RawClient::connect(server);
    client.set_read_timeout(A_WHILE * 10);
    assert_eq!(client.get("/a").text(), "A");
}

#[test]
fn one_client_that_says_nothing_stops_it() {
    let (tiny, ours) = (Tiny::start(), ours());
    tiny.serves();
    let silent = (tiny.tcp().unwrap(), ours.tcp());
    // It would take the silent client first, and shake hands on the thread that accepts.
    assert!(tiny.client().is_none(), "tiny_http takes clients besides a silent one now");
    ours_serves(&ours);
    drop(silent);
    tiny.serves();
}

#[test]
fn when_descriptors_run_out_it_is_gone_for_good() {
    const DESCRIPTORS: u32 = 40;
    let mut tiny = Tiny::limited(Some(DESCRIPTORS));
    let ours = SealpairServer::start(|server| {
        server.file("a", "A").descriptor_limit(DESCRIPTORS).args(["--head-timeout", "1h"])
    });
    tiny.serves();
    let crowd: Vec<RawClient> = (0..DESCRIPTORS).map_while(|_| tiny.client()).collect();
    assert!(crowd.len() < DESCRIPTORS as usize, "every client was served");
    drop(crowd);
    settles("tiny_http has stopped listening", || {
        tiny.process.has_ended() || TcpStream::connect(tiny.address).is_err()
    });

    let crowd: Vec<TcpStream> = (0..DESCRIPTORS).map(|_| ours.tcp()).collect();
    settles("ours notices", || ours.log().contains("cannot accept a connection"));
    drop(crowd);
    ours_serves(&ours);
}

#[test]
fn one_request_ends_the_program() {
    // The content that the handler does not read is read for it, into memory of the declared length.
    let request = "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n";
    let (mut tiny, ours) = (Tiny::start(), ours());
    tiny.serves();
    // Not closed before the end: with the server's tickets unread, that would be a reset, which takes the
    // request with it.
    let mut client = tiny.client().unwrap();
    client.send(request);
    settles("tiny_http panics", || tiny.process.has_ended());
    assert!(tiny.process.stderr().contains("capacity overflow"), "{}", tiny.process.stderr());
    drop(client);

    let mut client = RawClient::connect(&ours);
    assert_eq!(client.exchange(request).status, 413);
    ours_serves(&ours);
    assert_eq!(ours.stop(), 0);
}

#[test]
fn content_of_an_unreadable_length_is_run_as_a_request() {
    let request = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: +-23\r\n\r\n\
                   GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let (tiny, ours) = (Tiny::start(), ours());
    let mut client = tiny.client().unwrap();
    assert_eq!(client.exchange(request).status, 404);
    assert_eq!(client.response().text(), "A", "the content was a request");

    let mut client = RawClient::connect(&ours);
    assert_eq!(client.exchange(request).status, 400);
    client.end();
}

#[test]
fn a_head_has_no_end_there() {
    const LENGTH: usize = 4 << 20;
    let (tiny, ours) = (Tiny::start(), ours());
    let long = "a".repeat(LENGTH);
    let request = format!("GET /a HTTP/1.1\r\nHost: a\r\nA: {long}\r\n\r\n");
    let mut client = tiny.client().unwrap();
    assert_eq!(client.exchange(&request).text(), "A");

    let mut client = RawClient::connect(&ours);
    // Refused before it has all been sent.
    let _ = client.try_send(&request);
    assert_eq!(client.response().status, 431);
    ours_serves(&ours);
    ours.signal(Signal::TERM);
}
