//! A network that fails: a proxy between a client and a server that cuts, resets, delays, stalls, repeats or
//! damages a connection at a given byte.
//!
//! It moves the bytes of TCP, so it counts those of TLS: a cut falls into handshakes, heads and content alike,
//! whatever the two ends think they are doing.

use rustix::net::connect_unspec;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a connection pauses: longer than any of TCP's own delays.
const PAUSE: Duration = Duration::from_millis(500);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What becomes of a connection when so many bytes have gone one way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Both ends see the end of the connection, in order.
    Cut,
    /// Both ends see a reset.
    Reset,
    /// Nothing moves this way for a moment; then everything goes on.
    Pause,
    /// Nothing moves this way any more.
    Stall,
    /// The last piece comes twice.
    Repeat,
    /// A byte is changed.
    Damage,
}

/// What happens to one connection.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What, when so many bytes have gone this way; `None` for a connection that works.
    pub fault: Option<(Fault, Way, u64)>,
    /// Bytes that are moved at a time, at most.
    pub piece: usize,
}

impl Plan {
    /// A connection that works.
    pub const GOOD: Self = Self { fault: None, piece: 64 << 10 };

    /// A connection that fails so.
    pub fn bad(fault: Fault, way: Way, after: u64) -> Self {
        Self { fault: Some((fault, way, after)), ..Self::GOOD }
    }
}

/// A proxy in this process. Its connections end when this is dropped.
#[derive(Debug)]
pub struct LossyProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    connections: AtomicUsize,
    /// Where connections go; a server that is started again has another port.
    target: Mutex<Option<SocketAddr>>,
    open: Mutex<Vec<TcpStream>>,
    moved: [AtomicU64; 2],
}

impl LossyProxy {
    /// Passes connections on to `target`; `plan` says what becomes of each, counted from zero.
    pub fn new(target: SocketAddr, plan: impl Fn(usize) -> Plan + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { target: Mutex::new(Some(target)), ..Shared::default() });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener, &plan)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://localhost:PORT` and a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes that have gone this way so far, on all connections.
    pub fn moved(&self, way: Way) -> u64 {
        self.shared.moved[way as usize].load(Ordering::SeqCst)
    }

    /// Passes further connections on to another server.
    pub fn redirect(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = Some(target);
    }
}

impl Drop for LossyProxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // So that it accepts once more, and looks.
        drop(TcpStream::connect(self.address));
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener, plan: &(impl Fn(usize) -> Plan + Sync)) {
        thread::scope(|scope| {
            while let Ok((client, _)) = listener.accept() {
                if self.stopping.load(Ordering::SeqCst) {
                    // Whoever was accepted meanwhile has been noted by now.
                    for stream in self.open.lock().unwrap().drain(..) {
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                    return;
                }
                let plan = plan(self.connections.fetch_add(1, Ordering::SeqCst));
                let target = *self.target.lock().unwrap();
                let Some(Ok(server)) = target.map(TcpStream::connect) else {
                    // Nobody is there, as it would be without the proxy.
                    reset(&client);
                    continue;
                };
                for stream in [&client, &server] {
                    let _ = stream.set_nodelay(true);
                    self.open.lock().unwrap().push(stream.try_clone().unwrap());
                }
                let (client, server) = (Arc::new(client), Arc::new(server));
                for (way, from, to) in [(Way::Up, &client, &server), (Way::Down, &server, &client)]
                {
                    let (from, to) = (Arc::clone(from), Arc::clone(to));
                    scope.spawn(move || self.pump(way, &from, &to, plan));
                }
            }
        });
    }

    /// Moves bytes one way until the connection ends or fails.
    fn pump(&self, way: Way, from: &TcpStream, to: &TcpStream, mut plan: Plan) {
        let mut piece = vec![0; plan.piece];
        let mut moved = 0;
        loop {
            let due = plan.fault.filter(|(_, affected, _)| *affected == way);
            let left = due.map_or(u64::MAX, |(.., after)| after.saturating_sub(moved));
            let room = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if let (Some((fault, ..)), 0) = (due, left) {
                match fault {
                    Fault::Pause => {
                        thread::sleep(PAUSE);
                        plan.fault = None;
                        continue;
                    }
                    Fault::Cut => {
                        let _ = to.shutdown(Shutdown::Both);
                        let _ = from.shutdown(Shutdown::Both);
                    }
                    Fault::Reset => {
                        reset(to);
                        reset(from);
                    }
                    // Not read any more: what is sent stays in the kernel's buffers.
                    Fault::Stall => {}
                    Fault::Repeat | Fault::Damage => self.spoil(fault, from, to),
                }
                return;
            }
            match { from }.read(&mut piece[..room]) {
                Ok(0) | Err(_) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) => {
                    if { to }.write_all(&piece[..count]).is_err() {
                        // As when it is closed with something unread: who sends must not wait.
                        reset(from);
                        return;
                    }
                    moved += count as u64;
                    self.moved[way as usize].fetch_add(count as u64, Ordering::SeqCst);
                }
            }
        }
    }

    /// Passes the next piece on as it should not be, and then the rest as it is.
    fn spoil(&self, fault: Fault, mut from: &TcpStream, mut to: &TcpStream) {
        let mut piece = [0; 4 << 10];
        let Ok(count @ 1..) = from.read(&mut piece) else {
            let _ = to.shutdown(Shutdown::Write);
            return;
        };
        if fault == Fault::Damage {
            piece[count / 2] ^= 1;
        } else {
            let _ = to.write_all(&piece[..count]);
        }
        let _ = to.write_all(&piece[..count]);
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    }
}

/// Ends a connection with a reset, however many descriptors of it are open: connect(2) with AF_UNSPEC.
fn reset(stream: &TcpStream) {
    let _ = connect_unspec(stream);
}
