//! Clients whose machine is gone: no FIN, no RST, and nobody acknowledges anything any more.
//!
//! A kernel that lives answers for a program that has died. So this runs in a network of its own
//! (`unshare`), in which the route to the clients' address becomes a black hole once they are
//! connected: what they have sent has arrived, what is sent to them vanishes.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::geteuid;
use sealpair_tests::peers::find;
use sealpair_tests::{DEADLINE, RawClient, Run, SealpairServer, Survival, settles};
use socket2::{Domain, Socket, Type};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

/// Set where the test runs inside of its own network.
const INSIDE: &str = "SEALPAIR_TEST_OWN_NETWORK";

/// The address of the clients that vanish. All of 127.0.0.0/8 is this machine.
const LOST: &str = "127.9.9.9";

#[test]
fn who_vanishes_is_given_up_at_the_deadlines() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let mut unshare = Command::new(find("unshare", "util-linux"));
    unshare.arg("--net");
    if !geteuid().is_root() {
        // Whoever has no rights has them in a user namespace.
        unshare.args(["--user", "--map-root-user"]);
    }
    let run = Run::new(unshare).arg("--").arg(std::env::current_exe().unwrap());
    let run = run.args(["--exact", "who_vanishes_is_given_up_at_the_deadlines", "--nocapture"]);
    // What waits inside must be able to say what it waited for.
    let ended = run.env(INSIDE, "1").deadline(DEADLINE * 3).run();
    println!("{ended}");
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert!(ended.text().contains("all have been given up"), "it did not run: {ended}");
}

fn ip(line: &str) {
    let ip = Command::new(find("ip", "iproute2"));
    Run::new(ip).args(line.split(' ')).run().expect_success();
}

/// A connection from the address that will be lost.
fn lost(server: &SealpairServer) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(LOST.parse().unwrap(), 0).into()).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let tcp = TcpStream::from(socket);
    tcp.set_nodelay(true).unwrap();
    tcp
}

fn inside() {
    ip("link set lo up");
    let server = SealpairServer::start(|server| {
        let args = ["--handshake-timeout", "3s", "--head-timeout", "3s", "--idle-timeout", "3s"];
        server.writable().args(args)
    });
    File::create(server.root().join("big")).unwrap().set_len(64 << 20).unwrap();
    const EACH: usize = 40;
    let survival = Survival::begin_for(&server, 5 * EACH);
    let tls = RawClient::context(&server, |_| {});
    let connect = || RawClient::over(lost(&server), &tls);

    let silent: Vec<TcpStream> = (0..EACH).map(|_| lost(&server)).collect();
    let mut clients: Vec<RawClient> = (0..EACH).map(|_| connect()).collect();
    clients.extend((0..EACH).map(|_| {
        let mut idle = connect();
        assert_eq!(idle.get("/").status, 200);
        idle
    }));
    clients.extend((0..EACH).map(|at| {
        let mut writing = connect();
        let head = format!("PUT /{at} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n");
        writing.send(head + "hello");
        writing
    }));
    clients.extend((0..EACH).map(|_| {
        let mut reading = connect();
        reading.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(reading.response_to_head().status, 200);
        reading
    }));
    ip(&format!("route add blackhole {LOST}/32 table local"));
    settles("each transfer that vanished is told of", || {
        let log = server.log();
        log.matches(" GET /big 200 ").count() == EACH
            && log.lines().filter(|line| line.contains(" PUT /")).count() == EACH
    });
    // `at_rest`: the server has closed all of them, though no client knows.
    survival.end();
    assert_eq!(fs::read_dir(server.root()).unwrap().count(), 2, "no upload is left");
    for client in &clients {
        // As far as the client's kernel knows, all is as it was.
        assert!(client.tcp().take_error().unwrap().is_none());
    }
    drop(silent);
    println!("all have been given up");
    assert_eq!(server.stop(), 0);
}
