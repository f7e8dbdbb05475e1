//! What a server has before it is abused, how it serves others meanwhile, and what it has afterwards.
//!
//! A [`Survival`] begins with a burst of good clients, so that whatever the server makes once and
//! keeps (threads that stand ready, caches, memory that the allocator does not give back) is there, and notes its threads,
//! descriptors and memory. From then on one well-behaved client makes a fresh connection and a request
//! every 50 ms. At the end none of its requests has failed, and what the server has is back where it
//! was.

use crate::raw::{self, RawClient};
use crate::server::SealpairServer;
use crate::waiting::settles_at;
use openssl::ssl::SslContext;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The clients of the burst at the beginning, unless there will be more.
const BURST: usize = 64;

/// Between two requests of the well-behaved client.
const PAUSE: Duration = Duration::from_millis(50);

/// Threads that may be there afterwards and were not before: which ones of a burst stay is a race.
const THREADS: usize = 8;

/// Memory that may be there afterwards and was not before, in KiB.
const MEMORY: u64 = 8 << 10;

/// What may be kept besides for each of a crowd, in KiB: a quarter of what an idle connection takes.
const EACH: u64 = 4;

/// The file that the well-behaved client asks for.
const FILE: &str = "well-behaved";

/// What a server has.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Threads.
    pub threads: usize,
    /// Open descriptors, but for files that are kept open.
    pub descriptors: usize,
    /// Resident memory in KiB.
    pub rss_kib: u64,
}

impl Usage {
    /// What it has now.
    pub fn of(server: &SealpairServer) -> Self {
        let (threads, descriptors) = (server.threads(), server.descriptors_without_files());
        Self { threads, descriptors, rss_kib: server.rss_kib() }
    }
}

/// A server that is about to be abused, and the well-behaved client that watches.
#[derive(Debug)]
pub struct Survival<'s> {
    server: &'s SealpairServer,
    before: Usage,
    /// Memory that may be there at the end and was not before, in KiB.
    memory: u64,
    regular: Regular,
}

impl<'s> Survival<'s> {
    /// Warms the server up, takes note of what it has, and begins to ask for a file of its own.
    #[track_caller]
    pub fn begin(server: &'s SealpairServer) -> Self {
        Self::begin_with(server, &RawClient::context(server, |_| {}), BURST)
    }

    /// The same where so many clients will come: an allocator keeps what it once had for as many, and
    /// what is compared is whether it needs more the second time.
    #[track_caller]
    pub fn begin_for(server: &'s SealpairServer, clients: usize) -> Self {
        let tls = RawClient::context(server, |_| {});
        let survival = Self::begin_with(server, &tls, clients.max(BURST));
        // On a slow machine, the first of the burst are gone when the last come.
        survival.allow_memory(EACH * clients as u64)
    }

    /// The same with a client of other settings, such as a certificate, and after a burst of so many.
    #[track_caller]
    pub fn begin_with(server: &'s SealpairServer, tls: &SslContext, burst: usize) -> Self {
        fs::write(server.root().join(FILE), FILE).unwrap();
        let connect = || {
            let mut client = RawClient::over(server.tcp(), tls);
            // At once: deadlines may be short.
            regular_request(&mut client);
            client
        };
        let burst: Vec<_> = (0..burst).map(|_| connect()).collect();
        burst.into_iter().for_each(RawClient::close);
        server.at_rest();
        let mut last = usize::MAX;
        // The threads that the burst has left over are still ending.
        let count = || (std::mem::replace(&mut last, server.threads()), server.threads());
        settles_at("as many threads as before", count, |(last, now)| last == now);
        let before = Usage::of(server);
        let regular = Regular::start(server.address(), tls.clone());
        Self { server, before, memory: MEMORY, regular }
    }

    /// Allows for so much more memory at the end, in KiB, where there is a reason.
    #[must_use]
    pub fn allow_memory(mut self, kib: u64) -> Self {
        self.memory += kib;
        self
    }

    /// What the server had at the beginning.
    pub fn before(&self) -> Usage {
        self.before
    }

    /// How many requests of the well-behaved client have been answered.
    pub fn answered(&self) -> usize {
        self.regular.answered.load(Ordering::SeqCst)
    }

    /// Ends the well-behaved client, and returns how many requests it has made.
    ///
    /// # Panics
    ///
    /// When one of them failed.
    #[track_caller]
    pub fn end_regular(&mut self) -> usize {
        self.regular.stop()
    }

    /// Ends the well-behaved client and compares.
    ///
    /// # Panics
    ///
    /// When one of its requests failed, or when the server does not come back to what it had.
    #[track_caller]
    pub fn end(mut self) {
        self.end_regular();
        let Self { server, before, memory, .. } = &self;
        assert!(!server.log().contains("panicked"), "{}", server.log());
        server.at_rest();
        let back = settles_at(
            &format!("the server has no more than before, which was {before:?}"),
            || Usage::of(server),
            |now| {
                now.threads <= before.threads + THREADS
                    && now.descriptors <= before.descriptors
                    && now.rss_kib <= before.rss_kib + memory
            },
        );
        println!("before: {before:?}");
        println!("after:  {back:?}");
    }
}

/// The well-behaved client.
#[derive(Debug)]
struct Regular {
    enough: Arc<AtomicBool>,
    answered: Arc<std::sync::atomic::AtomicUsize>,
    asking: Option<JoinHandle<Duration>>,
}

impl Regular {
    fn start(address: SocketAddr, tls: SslContext) -> Self {
        let enough = Arc::<AtomicBool>::default();
        let answered = Arc::<std::sync::atomic::AtomicUsize>::default();
        let asking = {
            let (enough, answered) = (Arc::clone(&enough), Arc::clone(&answered));
            thread::spawn(move || {
                let mut slowest = Duration::ZERO;
                while !enough.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    let mut client = RawClient::over(raw::tcp(address), &tls);
                    regular_request(&mut client);
                    client.close();
                    slowest = slowest.max(began.elapsed());
                    answered.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(PAUSE);
                }
                slowest
            })
        };
        Self { enough, answered, asking: Some(asking) }
    }

    #[track_caller]
    fn stop(&mut self) -> usize {
        self.enough.store(true, Ordering::SeqCst);
        let Some(asking) = self.asking.take() else { return 0 };
        let slowest = asking.join().expect("the well-behaved client is served");
        let answered = self.answered.load(Ordering::SeqCst);
        println!("the well-behaved client: {answered} requests, the slowest took {slowest:?}");
        assert!(answered > 0);
        answered
    }
}

impl Drop for Regular {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::SeqCst);
    }
}

#[track_caller]
fn regular_request(client: &mut RawClient) {
    let response = client.get(&format!("/{FILE}"));
    assert_eq!((response.status, response.text().as_str()), (200, FILE));
}
