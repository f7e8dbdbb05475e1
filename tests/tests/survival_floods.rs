//! Clients that send without end, or ask without end, so that there is always something to do for them:
//! others are answered *while* they do, and every deadline is kept.
//!
//! No flood here stops before what is to happen meanwhile has happened, however fast or slow the
//! machine is; where it never does, the test fails after [`PATIENCE`].

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::ssl::SslContext;
use sealpair_tests::key_updates::{KeyLog, KeyUpdates};
use sealpair_tests::{
    End, RawClient, SealpairServer, ServerBuilder, Survival, proc, raw, settles, settles_at,
};
use socket2::{Domain, Socket, Type};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long somebody else may have to wait while a flood goes on.
const PATIENCE: Duration = Duration::from_secs(30);

const FAR: &str = "1h";

/// Requests that leave in one record.
const PIPELINED: usize = 256;

/// KeyUpdates that are sent at once.
const BATCH: usize = 512;

/// Which processors the server may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Processors {
    One,
    All,
}

use Processors::{All, One};

fn server(processors: Processors, args: [&str; 6]) -> SealpairServer {
    SealpairServer::start(|server| {
        let server: ServerBuilder = server.file("a", "A").args(args);
        match processors {
            One => server.on_one_processor(),
            All => server,
        }
    })
}

/// These deadlines, for the handshake and for heads; no other is near.
fn deadlines<'a>(handshake: &'a str, head: &'a str) -> [&'a str; 6] {
    ["--handshake-timeout", handshake, "--head-timeout", head, "--idle-timeout", FAR]
}

/// A client that sends until it is told to stop, or cannot.
#[derive(Debug)]
struct Flood {
    tcp: TcpStream,
    enough: Arc<AtomicBool>,
    /// How often it has sent.
    sent: Arc<AtomicU64>,
    /// How many bytes it was sent, if it looks.
    heard: Arc<AtomicU64>,
    sending: Option<JoinHandle<io::Result<()>>>,
}

impl Flood {
    fn start(tcp: &TcpStream, mut send: impl FnMut() -> io::Result<()> + Send + 'static) -> Self {
        let enough = Arc::<AtomicBool>::default();
        let sent = Arc::<AtomicU64>::default();
        let sending = {
            let (enough, sent) = (Arc::clone(&enough), Arc::clone(&sent));
            thread::spawn(move || {
                while !enough.load(Ordering::SeqCst) {
                    send()?;
                    sent.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        };
        Self {
            tcp: tcp.try_clone().unwrap(),
            enough,
            sent,
            heard: Arc::default(),
            sending: Some(sending),
        }
    }

    /// Asks for a small file without end, on a connection on which it was asked for before.
    fn of_requests(mut client: RawClient) -> Self {
        let request = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(PIPELINED);
        let tcp = client.tcp().try_clone().unwrap();
        let flood = Self::start(&tcp, move || client.try_send(&request));
        // Below TLS: the answers are thrown away, and a server that can send is not kept waiting.
        let (mut tcp, heard) = (flood.tcp.try_clone().unwrap(), Arc::clone(&flood.heard));
        thread::spawn(move || {
            let mut waste = vec![0; 256 << 10];
            while let Ok(count @ 1..) = tcp.read(&mut waste) {
                heard.fetch_add(count as u64, Ordering::SeqCst);
            }
        });
        flood
    }

    /// Sends KeyUpdates without end and reads nothing.
    fn of_key_updates(client: RawClient, mut updates: KeyUpdates, update_requested: bool) -> Self {
        let tcp = client.tcp().try_clone().unwrap();
        Self::start(&tcp, move || client.tcp().write_all(&updates.records(BATCH, update_requested)))
    }

    /// The same on one connection after the other: when the server has ended one, there is another.
    fn of_connections_with_key_updates(server: &SealpairServer, update_requested: bool) -> Self {
        const UNTIL_IT_IS_STUCK: Duration = Duration::from_secs(1);
        let (log, address) = (KeyLog::of(server), server.address());
        let mut connected = None;
        let send = move || {
            let (client, updates) = connected.get_or_insert_with(|| {
                let tcp = raw::tcp(address);
                tcp.set_write_timeout(Some(UNTIL_IT_IS_STUCK)).unwrap();
                log.connect(tcp)
            });
            let sent = client.tcp().write_all(&updates.records(BATCH, update_requested));
            // Who asks for updates does not read them; the others see when it is over.
            if sent.is_err() || !update_requested && client.look().is_some() {
                connected = None;
            }
            Ok(())
        };
        Self::start(&server.tcp(), send)
    }

    /// Stops it, and waits until it has.
    fn stop(mut self) {
        self.enough.store(true, Ordering::SeqCst);
        if let Some(sending) = self.sending.take() {
            sending.join().expect("a flood is stopped by nobody else").unwrap();
        }
    }

    fn has_ended(&self) -> bool {
        self.sending.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until what the server takes and gives has gone far beyond what its buffers hold.
    #[track_caller]
    fn is_under_way(&self) {
        settles("the server answers the flood", || self.heard.load(Ordering::SeqCst) > 256 << 10);
    }

    /// It goes on: more answers come.
    #[track_caller]
    fn goes_on(&self) {
        let before = self.heard.load(Ordering::SeqCst);
        settles("more answers come", || self.heard.load(Ordering::SeqCst) > before);
        assert!(!self.has_ended(), "a client that asks and reads is served");
    }

    /// Waits until the server has ended it, which its sending notices.
    #[track_caller]
    fn is_ended(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.has_ended() {
            let sent = self.sent.load(Ordering::SeqCst);
            assert!(Instant::now() < until, "it still sends, or tries to; {sent} times so far");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::SeqCst);
        // Whoever blocks in a read or a write finds out.
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}

/// Somebody who connects, asks and is answered.
#[track_caller]
fn another_is_answered(server: &SealpairServer, tls: &SslContext) {
    let tcp = server.tcp();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = RawClient::try_over(tcp, tls);
    let mut client = client.expect("another's handshake goes on");
    assert_eq!(client.get("/a").text(), "A", "another is answered");
    client.reset();
}

/// Waits until a client that says nothing is disconnected.
#[track_caller]
fn is_disconnected(mut tcp: &TcpStream) {
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        match tcp.read(&mut [0; 1 << 10]) {
            Ok(0) => return,
            // An alert.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("a silent client is still connected: {error}"),
        }
    }
}

/// Clients that have asked for the small file, so that the server keeps it open.
fn who_have_asked(server: &SealpairServer, tls: &SslContext, count: usize) -> Vec<RawClient> {
    let connect = |_| {
        let mut client = RawClient::over(server.tcp(), tls);
        assert_eq!(client.get("/a").text(), "A");
        assert_eq!(client.get("/a").text(), "A");
        client
    };
    (0..count).map(connect).collect()
}

/// Does something while so many clients pipeline requests without end; `early` is for before they begin.
fn beside_pipelining<T>(
    server: SealpairServer,
    floods: usize,
    early: impl FnOnce(&SealpairServer) -> T,
    meanwhile: impl FnOnce(&SealpairServer, &SslContext, T),
) {
    let tls = RawClient::context(&server, |_| {});
    let asked = who_have_asked(&server, &tls, floods);
    let before = early(&server);
    let floods: Vec<Flood> = asked.into_iter().map(Flood::of_requests).collect();
    for flood in &floods {
        flood.is_under_way();
    }
    meanwhile(&server, &tls, before);
    for flood in &floods {
        flood.goes_on();
    }
    drop(floods);
    server.at_rest();
    assert_eq!(server.stop(), 0);
}

fn pipelining(processors: Processors, floods: usize) {
    let server = server(processors, deadlines(FAR, FAR));
    beside_pipelining(
        server,
        floods,
        |_| (),
        |server, tls, ()| {
            for _ in 0..3 {
                another_is_answered(server, tls);
            }
        },
    );
}

#[test]
fn one_client_that_pipelines_without_end_leaves_others_their_turn_on_one_processor() {
    pipelining(One, 1);
}

#[test]
fn four_clients_that_pipeline_without_end_leave_others_their_turn() {
    pipelining(All, 4);
}

/// Who says nothing is ended, whether it was here before or comes when all are busy.
fn silence_beside_pipelining(processors: Processors, floods: usize) {
    let server = server(processors, deadlines("1s", FAR));
    beside_pipelining(server, floods, SealpairServer::tcp, |server, _, early| {
        let late = server.tcp();
        is_disconnected(&early);
        is_disconnected(&late);
    });
}

#[test]
fn beside_one_client_that_pipelines_without_end_deadlines_are_kept_on_one_processor() {
    silence_beside_pipelining(One, 1);
}

#[test]
fn beside_four_clients_that_pipeline_without_end_deadlines_are_kept() {
    silence_beside_pipelining(All, 4);
}

#[test]
fn key_updates_that_are_made_here_are_followed() {
    let server = server(All, deadlines(FAR, FAR));
    for update_requested in [false, true] {
        for count in [0, 1, 50] {
            let (mut client, mut updates) = KeyLog::of(&server).connect(server.tcp());
            client.tcp().write_all(&updates.records(count, update_requested)).unwrap();
            let request = "GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            client.tcp().write_all(&updates.last(request)).unwrap();
            assert_eq!(client.response().text(), "A");
            assert_eq!(client.end(), End::CloseNotify);
        }
    }
}

/// While so many clients send KeyUpdates without end and read nothing.
fn key_updates(processors: Processors, floods: usize, update_requested: bool) {
    let server = server(processors, deadlines(FAR, FAR));
    let tls = RawClient::context(&server, |_| {});
    // The small file is open.
    who_have_asked(&server, &tls, 1).into_iter().for_each(RawClient::close);
    let floods: Vec<Flood> = (0..floods)
        .map(|_| Flood::of_connections_with_key_updates(&server, update_requested))
        .collect();
    // A hundred thousand on the way, and no end.
    let sent = || BATCH as u64 * floods.iter().map(|f| f.sent.load(Ordering::SeqCst)).sum::<u64>();
    settles_at("so many have been sent", sent, |sent| *sent > 100_000);
    for _ in 0..3 {
        another_is_answered(&server, &tls);
        assert!(!floods.iter().any(Flood::has_ended), "the floods go on");
    }
    floods.into_iter().for_each(Flood::stop);
    server.at_rest();
    assert_eq!(server.stop(), 0);
}

#[test]
fn one_client_that_sends_key_updates_without_end_leaves_others_their_turn_on_one_processor() {
    key_updates(One, 1, false);
}

#[test]
fn four_clients_that_send_key_updates_without_end_leave_others_their_turn() {
    key_updates(All, 4, false);
}

#[test]
fn one_client_that_asks_for_key_updates_without_end_leaves_others_their_turn_on_one_processor() {
    key_updates(One, 1, true);
}

/// KeyUpdates are no request: whoever sends nothing else is late, although there is always more.
fn late_with_key_updates(processors: Processors, update_requested: bool) {
    const FLOODS: usize = 3;
    let server = server(processors, deadlines(FAR, "2s"));
    let tls = RawClient::context(&server, |_| {});
    let mut survival = Survival::begin_with(&server, &tls, 16);
    let floods: Vec<Flood> = (0..FLOODS)
        .map(|_| {
            let (client, updates) = KeyLog::of(&server).connect(small_window(&server));
            Flood::of_key_updates(client, updates, update_requested)
        })
        .collect();
    for flood in &floods {
        flood.is_ended();
    }
    let answered = survival.answered();
    settles("others are answered", || survival.answered() > answered);
    survival.end_regular();
    survival.end();
    drop(floods);
    // One that waits for such a client until the end of days is one too many.
    let active = match processors {
        One => 1,
        All => proc::processors().len(),
    };
    settles_at("no thread is left behind", || serving(&server), |now| *now == active);
    assert_eq!(server.stop(), 0);
}

#[test]
fn who_sends_key_updates_without_end_is_late_on_one_processor() {
    late_with_key_updates(One, false);
}

#[test]
fn who_asks_for_key_updates_without_reading_them_is_late() {
    late_with_key_updates(All, true);
}

/// The threads that serve connections, or stand by to do so.
fn serving(server: &SealpairServer) -> usize {
    proc::threads_named(server.pid(), "connection")
}

/// A connection whose kernel takes little that nobody reads.
fn small_window(server: &SealpairServer) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let tcp = TcpStream::from(socket);
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp
}

#[test]
fn a_reader_that_is_stuck_leaves_a_thread_for_each_processor() {
    let server = SealpairServer::start(|server| {
        let server = server.file("a", "A").args(deadlines(FAR, FAR));
        server.args(["--min-rate", "0"])
    });
    File::create(server.root().join("big")).unwrap().set_len(64 << 20).unwrap();
    let tls = RawClient::context(&server, |_| {});
    let processors = proc::processors().len();
    let polling = || proc::threads_in_epoll(server.pid());
    let all_wait = |polling: &Option<usize>| polling.is_none_or(|polling| polling == processors);
    settles_at("one for each processor waits", polling, all_wait);
    let mut stuck = Vec::new();
    for readers in 1..=3 {
        let mut client = RawClient::over(server.tcp(), &tls);
        client.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.response_to_head().status, 200);
        stuck.push(client);
        let clients: Vec<_> = (0..32)
            .map(|_| {
                let (address, tls) = (server.address(), tls.clone());
                thread::spawn(move || {
                    let mut client = RawClient::over(raw::tcp(address), &tls);
                    assert_eq!(client.get("/a").text(), "A");
                    client.close();
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        settles_at("one for each processor waits again", polling, all_wait);
        // Where the kernel does not tell who waits, this is what can be seen.
        let enough = |now: &usize| *now >= processors + readers;
        settles_at("each of those who are stuck has another", || serving(&server), enough);
    }
    stuck.into_iter().for_each(RawClient::reset);
    server.at_rest();
    settles_at("no more serve than before", || serving(&server), |now| *now == processors);
    settles_at("one for each processor waits", polling, all_wait);
    assert_eq!(server.stop(), 0);
}

#[test]
fn where_no_thread_can_be_made_small_files_are_answered_and_deadlines_kept() {
    const THREADS: u32 = 12;
    const STUCK: usize = 24;
    let server = SealpairServer::start(|server| {
        let server = server.file("a", "A").args(deadlines("3s", FAR));
        server.args(["--min-rate", "0"]).thread_limit(61_235, THREADS)
    });
    File::create(server.root().join("big")).unwrap().set_len(64 << 20).unwrap();
    let (_, descriptors) = server.at_rest();
    let tls = RawClient::context(&server, |_| {});
    let mut early = who_have_asked(&server, &tls, 1).remove(0);
    early.set_read_timeout(PATIENCE);
    for _ in 0..2 {
        let mut stuck: Vec<_> = (0..STUCK).map(|_| RawClient::over(server.tcp(), &tls)).collect();
        for client in &mut stuck {
            client.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        // Not before threads have run out, or the server has answered all of them.
        settles("there are no more threads", || {
            server.threads() >= THREADS as usize || stuck.iter().all(has_something)
        });
        let silent = [server.tcp(), server.tcp()];
        assert_eq!(early.get("/a").text(), "A", "a small file needs no thread");
        another_is_answered(&server, &tls);
        for tcp in &silent {
            is_disconnected(tcp);
        }
        assert_eq!(early.get("/a").text(), "A");
        let mut served = 0;
        for client in &mut stuck {
            client.set_read_timeout(PATIENCE);
            match client.status() {
                Ok(200) => served += 1,
                Ok(503) | Err(_) => {}
                Ok(other) => panic!("{other}"),
            }
        }
        println!("{served} of {STUCK} are served");
        assert!((1..THREADS as usize).contains(&served), "{served}");
        stuck.into_iter().for_each(RawClient::reset);
    }
    early.close();
    assert_eq!(server.curl_get("/a").text(), "A");
    assert_eq!(server.at_rest().1, descriptors);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(server.stop(), 0);
}

/// Whether a client has been sent anything, or its connection has ended.
fn has_something(client: &RawClient) -> bool {
    client.tcp().set_nonblocking(true).unwrap();
    let peeked = client.tcp().peek(&mut [0]);
    client.tcp().set_nonblocking(false).unwrap();
    !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// What happens to a root, in which `/d/f`, `/f` and `/link` (to `d/f`) were asked for before.
fn after_moving(target: &str, change: impl FnOnce(&std::path::Path, &std::path::Path)) {
    const SECRET: &str = "it was moved out";
    let server = SealpairServer::start(|server| {
        let server = server.file("d/f", SECRET).file("f", SECRET);
        symlink("d/f", server.root().join("link")).unwrap();
        server
    });
    let outside = server.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    let mut client = RawClient::connect(&server);
    for _ in 0..3 {
        let response = client.get(target);
        assert_eq!((response.status, response.text().as_str()), (200, SECRET), "{target}");
    }
    change(&server.root(), &outside);
    for mut client in [client, RawClient::connect(&server)] {
        for _ in 0..2 {
            let response = client.get(target);
            assert_ne!(response.status, 200, "{target}");
            assert!(!response.text().contains(SECRET), "{target}");
        }
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_directory_that_becomes_a_link_to_the_outside_is_not_served() {
    for target in ["/d/f", "/link"] {
        after_moving(target, |root, outside| {
            fs::rename(root.join("d"), outside.join("d")).unwrap();
            symlink(outside.join("d"), root.join("d")).unwrap();
        });
        after_moving(target, |root, outside| {
            fs::rename(root.join("d"), outside.join("d")).unwrap();
            symlink("../outside/d", root.join("d")).unwrap();
        });
    }
}

#[test]
fn a_file_that_becomes_a_link_to_the_outside_is_not_served() {
    after_moving("/f", |root, outside| {
        fs::rename(root.join("f"), outside.join("f")).unwrap();
        symlink("../outside/f", root.join("f")).unwrap();
    });
    after_moving("/link", |root, outside| {
        fs::rename(root.join("d/f"), outside.join("f")).unwrap();
        fs::remove_file(root.join("link")).unwrap();
        symlink("../outside/f", root.join("link")).unwrap();
    });
    after_moving("/link", |root, outside| {
        // Where the link leads to is a link now.
        fs::rename(root.join("d/f"), outside.join("f")).unwrap();
        symlink("../../outside/f", root.join("d/f")).unwrap();
    });
}
