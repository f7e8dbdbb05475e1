//! A thousand panics: each costs its own request, and no thread.
//!
//! Alone in its file, because threads are counted and other tests of a process have theirs.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_common::pki::{Authority, AuthorityOptions, LeafRequest};
use sealpair_common::tls::{
    ClientTls, Identity, Patience, ServerName, ServerTls, TlsStream, Trust,
};
use sealpair_server::{Request, Response, Server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const PANICS: usize = 1_000;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn connect(client: &ClientTls, address: SocketAddr) -> TlsStream {
    let tcp = Arc::new(TcpStream::connect(address).unwrap());
    let name = ServerName::parse("localhost").unwrap();
    let patience = Patience::for_next(Duration::from_secs(30));
    let mut stream = client.connect(tcp, &name, patience).unwrap();
    stream.set_reading(patience);
    stream
}

/// The status of the answer, whose content has this length.
fn ask(stream: &mut TlsStream, path: &str) -> u16 {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 1 << 10];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{answer:?}");
        answer.extend_from_slice(&piece[..count]);
        let text = std::str::from_utf8(&answer).unwrap();
        let Some((head, content)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        if content.len() == length.parse::<usize>().unwrap() {
            return head.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

#[test]
fn a_thousand_panics_are_a_thousand_500s_and_cost_no_thread() {
    // A thousand messages of panics would hide that of this test.
    std::panic::set_hook(Box::new(|panic| {
        if !panic.to_string().contains("a handler that panics") {
            eprintln!("{panic}");
        }
    }));
    let authority = Authority::create(&AuthorityOptions::new()).unwrap();
    let issued = authority.issue(&LeafRequest::server(["localhost"]).unwrap()).unwrap();
    let (leaf, key) = (issued.certificate().to_owned(), issued.key().to_owned());
    let identity = Identity::from_parts(leaf, Vec::new(), key, "test").unwrap();
    let tls = ServerTls::builder().identity(identity).build().unwrap();
    let trust = Trust::system().certificate(authority.certificate().to_owned());
    let client = ClientTls::builder().trust(trust).build().unwrap();
    let server = Server::bind("127.0.0.1:0", tls).unwrap();
    let (address, handle) = (server.local_addrs().unwrap()[0], server.handle());
    let serving = std::thread::spawn(move || {
        server.serve(|request: &mut Request<'_>| match request.path() {
            "/panic" => panic!("a handler that panics"),
            _ => Response::text("fine"),
        })
    });

    let mut kept: Vec<TlsStream> = (0..4).map(|_| connect(&client, address)).collect();
    kept.iter_mut().for_each(|stream| assert_eq!(ask(stream, "/"), 200));
    let before = threads();
    // Over connections that live through it, and over new ones.
    for round in 0..PANICS / 10 {
        for stream in &mut kept {
            assert_eq!(ask(stream, "/panic"), 500, "{round}");
            assert_eq!(ask(stream, "/panic"), 500, "{round}");
            assert_eq!(ask(stream, "/"), 200, "{round}");
        }
        for _ in 0..2 {
            let mut stream = connect(&client, address);
            assert_eq!(ask(&mut stream, "/panic"), 500, "{round}");
            assert_eq!(ask(&mut stream, "/"), 200, "{round}");
        }
    }
    drop(kept);
    let patience = std::time::Instant::now() + Duration::from_secs(30);
    // One that waits for the next connection, and one that still closes the last.
    while threads() > before + 2 {
        assert!(std::time::Instant::now() < patience, "{} threads, before {before}", threads());
        std::thread::sleep(Duration::from_millis(5));
    }
    handle.stop();
    assert_eq!(serving.join().unwrap().unwrap(), 0);
}
