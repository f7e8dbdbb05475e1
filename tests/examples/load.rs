//! The load and the measuring instrument of `scripts/bench`.
//!
//! ```text
//! load requests PORT CONNECTIONS MILLISECONDS PID         µs of server CPU for each request
//! load connections PORT full|resumed MILLISECONDS PID     µs of server CPU for each connection
//! load idle PORT PID COUNT...                             KiB for each idle connection, at each count
//! load cpu PID                                            µs of CPU so far
//! load port                                               a free port
//! ```
//!
//! PID is the server's first process; its descendants count with it. Each command prints numbers and
//! nothing else, or fails: a load in which one request went wrong is no measurement.
//!
//! Towards every server it uses the same suite and the same group. The server's certificate is not
//! verified: that would cost this end only.

#![allow(missing_docs)]

use openssl::ssl::{
    Ssl, SslContext, SslMethod, SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion,
};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use sealpair_common::tls::{ClientTls, Patience, ServerName, TlsStream};
use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Connections that are opened at a time, so that no backlog overflows.
const OPENERS: usize = 8;

/// A server that has said nothing for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server may still have to do after its last answer: freeing buffers, closing.
const SETTLE: Duration = Duration::from_millis(300);

const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["requests", port, connections, millis, pid] => {
            let span = Duration::from_millis(millis.parse()?);
            println!("{:.3}", requests(port.parse()?, connections.parse()?, span, pid.parse()?)?);
        }
        ["connections", port, kind @ ("full" | "resumed"), millis, pid] => {
            let span = Duration::from_millis(millis.parse()?);
            println!("{:.3}", connections(port.parse()?, *kind == "resumed", span, pid.parse()?)?);
        }
        ["idle", port, pid, counts @ ..] => {
            let counts: Result<Vec<usize>, _> = counts.iter().map(|count| count.parse()).collect();
            for kib in idle(port.parse()?, pid.parse()?, &counts?)? {
                println!("{kib:.3}");
            }
        }
        ["cpu", pid] => println!("{:.0}", cpu(pid.parse()?)?),
        ["port"] => println!("{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()),
        _ => return Err("usage: see the head of tests/examples/load.rs".into()),
    }
    Ok(())
}

/// A connection with the response that is being read.
struct Connection<S> {
    stream: S,
    response: Vec<u8>,
}

type Full = Connection<SslStream<TcpStream>>;

impl Full {
    /// Connects with a full handshake.
    fn full(tls: &SslContext, port: u16) -> Outcome<Self> {
        let tcp = dial(port)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let mut ssl = Ssl::new(tls)?;
        ssl.set_hostname("localhost")?;
        let mut stream = SslStream::new(ssl, tcp)?;
        stream.connect()?;
        Ok(Self { stream, response: Vec::new() })
    }
}

type Resuming = Connection<TlsStream>;

impl Resuming {
    /// Connects with the newest ticket that `tls` has, and without one the first time.
    fn resuming(tls: &ClientTls, port: u16) -> Outcome<Self> {
        let tcp = Arc::new(dial(port)?);
        let name = ServerName::parse("localhost")?;
        let mut stream = tls.connect(tcp, &name, Patience::for_next(PATIENCE))?;
        stream.set_reading(Patience::for_next(PATIENCE));
        stream.set_writing(Patience::for_next(PATIENCE));
        Ok(Self { stream, response: Vec::new() })
    }
}

fn dial(port: u16) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(("127.0.0.1", port))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

impl<S: Read + Write> Connection<S> {
    fn send(&mut self, request: &[u8]) -> Outcome<()> {
        self.response.clear();
        self.stream.write_all(request)?;
        Ok(self.stream.flush()?)
    }

    /// Reads what there is; whether the response is complete.
    fn receive(&mut self) -> Outcome<bool> {
        let mut piece = [0; 4 << 10];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err("the server has closed the connection".into()),
                Ok(count) => self.response.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if is_complete(&self.response)? {
                return Ok(true);
            }
        }
    }

    /// One request and its response, blocking.
    fn ask(&mut self, request: &[u8]) -> Outcome<()> {
        self.send(request)?;
        match self.receive()? {
            true => Ok(()),
            false => Err("no answer in time".into()),
        }
    }

    /// The last request of a connection, to its end.
    fn ask_and_close(mut self) -> Outcome<()> {
        self.ask(LAST_REQUEST)?;
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => Ok(()),
            Ok(_) => Err("more than the response".into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether these bytes are a whole response: 200, with a length.
fn is_complete(response: &[u8]) -> Outcome<bool> {
    let Some(end) = response.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = std::str::from_utf8(&response[..end])?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("not the answer that was expected: {head}").into());
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.ok_or("a response without a length")??;
    match response.len().cmp(&(end + 4 + length)) {
        std::cmp::Ordering::Less => Ok(false),
        std::cmp::Ordering::Equal => Ok(true),
        std::cmp::Ordering::Greater => Err("more than the response".into()),
    }
}

/// TLS 1.3 with one suite and one group, and no resumption.
fn context() -> Outcome<SslContext> {
    let mut tls = SslContext::builder(SslMethod::tls_client())?;
    tls.set_verify(SslVerifyMode::NONE);
    tls.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    tls.set_ciphersuites("TLS_AES_128_GCM_SHA256")?;
    tls.set_groups_list("X25519")?;
    tls.set_session_cache_mode(SslSessionCacheMode::OFF);
    Ok(tls.build())
}

/// Requests on connections that stay: opened and used once before the measurement begins.
fn requests(port: u16, count: usize, span: Duration, pid: u32) -> Outcome<f64> {
    let mut connections = open(port, count)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (at, connection) in connections.iter().enumerate() {
        let tcp = connection.stream.get_ref();
        tcp.set_nonblocking(true)?;
        epoll::add(&epoll, tcp, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
    }
    thread::sleep(SETTLE);
    let before = cpu(pid)?;
    let until = Instant::now() + span;
    let mut answered = 0_u64;
    let mut open = connections.len();
    for connection in &mut connections {
        connection.send(REQUEST)?;
    }
    let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let mut events = Vec::with_capacity(256);
    while open > 0 {
        events.clear();
        if epoll::wait(&epoll, spare_capacity(&mut events), Some(&patience))? == 0 {
            return Err(format!("{open} of {count} requests were not answered").into());
        }
        let going_on = Instant::now() < until;
        for event in &events {
            let at = usize::try_from(event.data.u64())?;
            let connection = connections.get_mut(at).ok_or("an event of nothing")?;
            if connection.receive()? {
                answered += 1;
                match going_on {
                    true => connection.send(REQUEST)?,
                    false => open -= 1,
                }
            }
        }
    }
    Ok((cpu(pid)? - before) / answered as f64)
}

/// Connections with one request each: the handshake, the request, the end.
fn connections(port: u16, resumed: bool, span: Duration, pid: u32) -> Outcome<f64> {
    let tls = context()?;
    // Resumption is the client library's; its first suite and group are those of the other context.
    // A ticket is used once (RFC 8446 appendix C.4): each thread has those of its last connection.
    let resuming: Result<Vec<ClientTls>, _> = (0..OPENERS)
        .map(|_| ClientTls::builder().dangerous_accept_any_certificate().build())
        .collect();
    let resuming = resuming?;
    for again in &resuming {
        // Towards a server that never says close_notify, as tiny_http, only the first kind is possible.
        match resumed {
            false => Connection::full(&tls, port)?.ask_and_close()?,
            true => Connection::resuming(again, port)?.ask_and_close()?,
        }
    }
    thread::sleep(SETTLE);
    let before = cpu(pid)?;
    let until = Instant::now() + span;
    let done: Outcome<Vec<u64>> = thread::scope(|scope| {
        let one_by_one = |again: &ClientTls| -> Outcome<u64> {
            let mut done = 0;
            while Instant::now() < until {
                if resumed {
                    let connection = Connection::resuming(again, port)?;
                    if !connection.stream.session().resumed {
                        return Err("the server stopped resuming sessions".into());
                    }
                    connection.ask_and_close()?;
                } else {
                    Connection::full(&tls, port)?.ask_and_close()?;
                }
                done += 1;
            }
            Ok(done)
        };
        let threads: Vec<_> =
            resuming.iter().map(|again| scope.spawn(move || one_by_one(again))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect()
    });
    let done: u64 = done?.iter().sum();
    thread::sleep(SETTLE);
    Ok((cpu(pid)? - before) / done as f64)
}

/// The memory of connections that have had one request and wait for the next.
fn idle(port: u16, pid: u32, counts: &[usize]) -> Outcome<Vec<f64>> {
    // What the first connection of a process costs is not a matter of how many there are.
    drop(open(port, OPENERS)?);
    thread::sleep(2 * SETTLE);
    let baseline = memory(pid)?;
    let mut held = Vec::new();
    let mut each = Vec::new();
    for count in counts {
        held.extend(open(port, count.saturating_sub(held.len()))?);
        thread::sleep(2 * SETTLE);
        // One of the first must still be there, or something else was measured.
        held.first_mut().ok_or("no connections")?.ask(REQUEST)?;
        each.push((memory(pid)? - baseline) / held.len() as f64);
    }
    Ok(each)
}

/// Opens connections and sends one request over each.
fn open(port: u16, count: usize) -> Outcome<Vec<Full>> {
    let tls = context()?;
    let tls = &tls;
    let parts: Outcome<Vec<Vec<Full>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..OPENERS)
            .map(|part| {
                let count = (count + part) / OPENERS;
                scope.spawn(move || -> Outcome<Vec<Full>> {
                    (0..count)
                        .map(|_| {
                            let mut connection = Connection::full(tls, port)?;
                            connection.ask(REQUEST)?;
                            Ok(connection)
                        })
                        .collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect()
    });
    Ok(parts?.into_iter().flatten().collect())
}

/// CPU time of a process and its descendants in microseconds, user and system, threads and children
/// that have ended included (proc_pid_stat(5)).
fn cpu(pid: u32) -> Outcome<f64> {
    let mut ticks = 0;
    for pid in family(pid)? {
        // Fields 14 to 17: utime, stime, cutime, cstime.
        for field in &stat(pid)?[11..15] {
            ticks += field.parse::<u64>()?;
        }
    }
    Ok(ticks as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64)
}

/// Memory of a process and its descendants in KiB: what is theirs alone, and their share of the rest.
fn memory(pid: u32) -> Outcome<f64> {
    let mut kib = 0;
    for pid in family(pid)? {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss")?;
        kib += line.trim().trim_end_matches(" kB").parse::<u64>()?;
    }
    Ok(kib as f64)
}

/// A process and its descendants.
fn family(pid: u32) -> Outcome<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() {
            // It may have ended since.
            if let Ok(fields) = stat(pid) {
                parents.push((pid, fields[1].parse::<u32>()?));
            }
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        at += 1;
    }
    Ok(family)
}

/// The fields of /proc/PID/stat from the third on: the second, a name, may contain anything.
fn stat(pid: u32) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let fields: Vec<String> = fields.split_whitespace().map(str::to_owned).collect();
    match fields.len() {
        0..15 => Err(ErrorKind::InvalidData.into()),
        _ => Ok(fields),
    }
}
