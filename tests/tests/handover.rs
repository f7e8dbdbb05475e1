//! Sockets that are handed over, and a restart that no client notices.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::ssl::{Ssl, SslContext, SslStream};
use rustix::process::Signal;
use sealpair_tests::{DEADLINE, RawClient, SealpairServer, ServerBuilder, settles, settles_at};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A server that serves one small file, with the state of another, if there is one.
fn server(state: Option<PathBuf>) -> ServerBuilder {
    let server = SealpairServer::builder().file("a", "A");
    match state {
        Some(state) => server.state_dir(state),
        None => server,
    }
}

#[test]
fn a_socket_that_is_handed_over_is_served() {
    let listener = listener();
    let server = server(None).inheriting(&listener).start();
    assert_eq!(server.address(), listener.local_addr().unwrap());
    assert_eq!(server.curl_get("/a").text(), "A");
    let address = server.address();
    assert_eq!(server.stop(), 0);
    // It is its owner's, and outlives the server: who connects now waits for the next one.
    TcpStream::connect(address).unwrap();
}

#[test]
fn flags_about_listening_contradict_a_socket_that_is_handed_over() {
    let listener = listener();
    for flags in [&["--listen", "127.0.0.1:0"][..], &["--reuse-port"]] {
        let refused = server(None).inheriting(&listener).args(flags).refused().0.expect_code(2);
        assert!(refused.stderr.contains(&format!("{} has no effect", flags[0])), "{refused}");
    }
}

#[test]
fn variables_for_another_process_are_not_for_this_one() {
    let server = server(None).env("LISTEN_PID", "1").env("LISTEN_FDS", "1").start();
    assert_eq!(server.curl_get("/a").text(), "A");
}

#[test]
fn nonsense_for_this_process_is_refused_instead_of_served_elsewhere() {
    for count in ["x", "", "0", "-1", "1025", "\\0377"] {
        // The shell becomes the server, so the process id is the one that it has written.
        let line = format!("export LISTEN_PID=$$ LISTEN_FDS=$(printf %b '{count}'); exec \"$@\"");
        let refused = server(None).through(["/bin/sh", "-c", &line, "sh"]).refused().0;
        let refused = refused.expect_code(3);
        assert_eq!(refused.stderr.lines().count(), 3, "{refused}");
        assert!(refused.stderr.contains("LISTEN_FDS is `"), "{refused}");
    }
}

#[test]
fn a_port_can_be_shared_only_if_both_ask_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = || server(Some(dir.path().to_owned()));
    let first = state().arg("--reuse-port").start();
    let address = first.address().to_string();
    let refused = state().listen(&address).refused().0.expect_code(3);
    assert!(refused.stderr.contains("stop the program that uses it"), "{refused}");
    let second = state().listen(&address).arg("--reuse-port").start();
    assert_eq!(second.address(), first.address());
    assert_eq!(first.stop(), 0);
    assert_eq!(second.curl_get("/a").text(), "A");
}

/// Clients that each make one new connection and request after the other.
struct Load {
    address: SocketAddr,
    tls: SslContext,
    over: AtomicBool,
    answered: AtomicUsize,
    errors: Mutex<Vec<String>>,
}

const CLIENTS: usize = 6;

impl Load {
    fn new(server: &SealpairServer) -> Self {
        Self {
            address: server.address(),
            tls: RawClient::context(server, |_| {}),
            over: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            errors: Mutex::default(),
        }
    }

    fn run(&self) {
        while !self.over.load(Ordering::SeqCst) {
            match self.fetch() {
                Ok(()) => drop(self.answered.fetch_add(1, Ordering::SeqCst)),
                Err(error) => self.errors.lock().unwrap().push(error),
            }
        }
    }

    fn fetch(&self) -> Result<(), String> {
        let told = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let tcp = TcpStream::connect(self.address).map_err(|e| told("connect", &e))?;
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut ssl = Ssl::new(&self.tls).unwrap();
        ssl.set_hostname("localhost").unwrap();
        let mut stream = SslStream::new(ssl, tcp).unwrap();
        stream.connect().map_err(|e| told("handshake", &e))?;
        let request = b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).map_err(|e| told("request", &e))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|e| told("answer", &e))?;
        match answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nA") {
            true => Ok(()),
            false => Err(format!("answer: {answer:?}")),
        }
    }

    /// Waits until so many more requests have been answered.
    fn goes_on(&self, more: usize) {
        let wanted = self.answered.load(Ordering::SeqCst) + more;
        settles_at(
            "requests are answered",
            || self.answered.load(Ordering::SeqCst),
            |answered| *answered >= wanted,
        );
    }
}

/// How many requests a server has logged.
fn served(server: &SealpairServer) -> usize {
    server.log().matches(" GET /a 200 ").count()
}

/// Replaces the server under load again and again, and expects that no client has seen anything.
fn restart(mut current: SealpairServer, next: impl Fn(&SealpairServer) -> SealpairServer) {
    let load = Load::new(&current);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| load.run());
        }
        load.goes_on(50);
        for _ in 0..5 {
            let new = next(&current);
            let mut old = std::mem::replace(&mut current, new);
            settles("both serve, or could", || served(&old) > 0);
            old.signal(Signal::TERM);
            old.wait().expect_code(0);
            load.goes_on(50);
            settles("the next one serves", || served(&current) > 0);
        }
        load.over.store(true, Ordering::SeqCst);
    });
    let errors = load.errors.into_inner().unwrap();
    let answered = load.answered.into_inner();
    assert!(errors.is_empty(), "{} errors, {answered} answered: {:#?}", errors.len(), errors);
    assert_eq!(current.stop(), 0);
}

#[test]
fn a_restart_with_an_inherited_socket_loses_nothing() {
    let listener = listener();
    let dir = tempfile::tempdir().unwrap();
    let start = || server(Some(dir.path().to_owned())).inheriting(&listener).start();
    restart(start(), |_| start());
}

#[test]
fn a_restart_on_a_shared_port_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_owned();
    let start =
        |address: &str| server(Some(state.clone())).listen(address).arg("--reuse-port").start();
    restart(start("127.0.0.1:0"), |old| start(&old.address().to_string()));
}
