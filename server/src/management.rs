//! The management listener: health and metrics over plain HTTP, on loopback or a Unix socket only.
//!
//! ```text
//! tiny_http (its own accept thread and connection threads) ─▶ queue ─▶ our handler threads ─▶ /healthz …
//!                                                   keeper: notices that the accept thread has died
//! ```
//!
//! tiny_http is small and known, and not fit for the network: it has no timeouts and no limits, an accept
//! error ends its accept thread, and some requests end or block the thread that answers them
//! (docs/operations.md, "Why the management listener is not public"). So it is bound where only this machine, or only this user, can reach it; nothing
//! in the path of a public request waits for anything here; and what can be defended is:
//!
//! - A request that announces more content than tiny_http has read already is never dropped: dropping it
//!   would allocate all that it announces, which ends the process when the number is large enough. It is
//!   leaked, with its connection; after `MOST_LEAKED` of them the listener is given up.
//! - A panic over one request ends that request.
//! - When the accept thread has died (out of descriptors, out of threads), connections wait in the
//!   backlog that nobody looks at. The keeper sees that and starts another accept thread on the same
//!   socket.
//! - A peer that does not read its answer holds up a handler no longer than `WRITE_TIMEOUT` on TCP.

mod address;

pub use address::{Address, BindError};

use crate::metrics::Metrics;
use address::Bound;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tiny_http::{Header, Method, Request, Response, StatusCode};

/// Handlers: a peer that holds one up must not make the server look dead.
const HANDLERS: usize = 3;

/// How often the keeper looks, and how long a handler waits for a request before it looks whether it is
/// still needed.
const LOOK: Duration = Duration::from_millis(500);

/// Looks at a backlog with somebody in it, one after the other, that mean that nobody accepts.
const DEAD_AFTER: u32 = 3;

/// Requests that may be leaked before the listener is given up.
const MOST_LEAKED: usize = 64;

/// How long a write may wait for a peer that does not read. Accepted TCP sockets inherit it from the
/// listener; Unix sockets do not.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// tiny_http reads content up to this length before it hands a request over.
const READ_AHEAD: usize = 1024;

/// The management listener. It ends when this is dropped.
pub struct Management {
    shared: Arc<Shared>,
}

struct Shared {
    bound: Bound,
    metrics: Arc<Metrics>,
    /// Never dropped: its destructor would remove a Unix socket's path, whoever has it by then.
    server: Mutex<Arc<ManuallyDrop<tiny_http::Server>>>,
    leaked: AtomicUsize,
    closed: AtomicBool,
}

impl Management {
    /// Binds the address and begins to answer.
    ///
    /// # Errors
    ///
    /// When the address is not for this machine alone, is in use, or is a file that is no socket; or
    /// when a thread cannot be started.
    pub fn start(address: &Address, metrics: Arc<Metrics>) -> Result<Self, BindError> {
        let bound = address.bind(WRITE_TIMEOUT)?;
        let server = Mutex::new(Arc::new(ManuallyDrop::new(bound.serve()?)));
        let (leaked, closed) = Default::default();
        let shared = Arc::new(Shared { bound, metrics, server, leaked, closed });
        // From here on, dropping it undoes what was begun.
        let management = Self { shared };
        for _ in 0..HANDLERS {
            management.spawn(Shared::handle_all)?;
        }
        management.spawn(Shared::keep)?;
        Ok(management)
    }

    /// Ends it: the address is free, and a Unix socket's path removed, when this returns.
    pub fn close(&self) {
        self.shared.close();
    }

    fn spawn(&self, work: fn(&Shared)) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("management".to_owned());
        thread.spawn(move || work(&shared)).map(drop)
    }
}

impl fmt::Display for Management {
    /// What was bound: `127.0.0.1:9090` or `unix:/run/sealpair.sock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.bound.fmt(f)
    }
}

impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Management").field(&self.to_string()).finish()
    }
}

impl Drop for Management {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Nobody is answered any more; the socket is closed, and a Unix socket loses its name.
    fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            self.bound.close();
        }
    }

    fn server(&self) -> Arc<ManuallyDrop<tiny_http::Server>> {
        Arc::clone(&self.server.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One handler: answers until the listener is closed.
    fn handle_all(&self) {
        while !self.is_closed() {
            // An error is the accept thread's last word. The keeper will see.
            if let Ok(Some(request)) = self.server().recv_timeout(LOOK) {
                let answered = catch_unwind(AssertUnwindSafe(|| self.handle(request)));
                if answered.is_err() {
                    log::warn!("management: tiny_http panicked over a request");
                }
            }
        }
    }

    fn handle(&self, request: Request) {
        let expects = request.headers().iter().any(|header| header.field.equiv("Expect"));
        let announced = request.body_length().unwrap_or(0);
        if announced > READ_AHEAD || (announced > 0 && expects) {
            return self.refuse_content(request);
        }
        let response = answer(request.method(), request.url(), &self.metrics);
        if let Err(error) = request.respond(response) {
            log::debug!("management: answering: {error}");
        }
    }

    /// Nobody asks for health with that much content. The request cannot be dropped (see above), so it
    /// is answered and leaked.
    fn refuse_content(&self, request: Request) {
        let response = text(413, "no content is taken here\n".to_owned());
        std::mem::forget(request.upgrade("none", response));
        let leaked = self.leaked.fetch_add(1, Ordering::SeqCst) + 1;
        if leaked == 1 {
            log::warn!("management: a request with content was refused, its connection is lost");
        }
        if leaked >= MOST_LEAKED && !self.is_closed() {
            log::error!(
                "management: {leaked} requests with content were refused; the listener is given up, \
                 the server goes on"
            );
            self.close();
        }
    }

    /// Sees to it that somebody accepts.
    fn keep(&self) {
        let mut waiting = 0;
        while !self.is_closed() {
            std::thread::sleep(LOOK);
            waiting = if somebody_waits(&self.bound) { waiting + 1 } else { 0 };
            if waiting < DEAD_AFTER {
                continue;
            }
            // With descriptors exhausted this fails as well, and is tried again at the next look.
            match self.bound.serve() {
                Ok(server) => {
                    waiting = 0;
                    log::warn!("management: nobody accepted connections any more; started again");
                    // The old one is leaked: a few hundred bytes. A handler may still hold it.
                    *self.server.lock().unwrap_or_else(PoisonError::into_inner) =
                        Arc::new(ManuallyDrop::new(server));
                }
                Err(error) => log::debug!("management: cannot start again yet: {error}"),
            }
        }
    }
}

/// Whether a connection is in the backlog at this moment. An accept thread that lives takes it at once.
fn somebody_waits(socket: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// The response to a request.
fn answer(method: &Method, url: &str, metrics: &Metrics) -> Response<io::Cursor<Vec<u8>>> {
    let path = url.split('?').next().unwrap_or_default();
    if !matches!(path, "/healthz" | "/readyz" | "/metrics") {
        return text(404, "there are /healthz, /readyz and /metrics\n".to_owned());
    }
    if !matches!(method, Method::Get | Method::Head) {
        return header(text(405, "only GET and HEAD\n".to_owned()), "Allow", "GET, HEAD");
    }
    match path {
        // As long as the process lives, draining or not: a restart would not help.
        "/healthz" => text(200, "ok\n".to_owned()),
        "/readyz" if metrics.is_serving() => text(200, "ok\n".to_owned()),
        "/readyz" if metrics.is_draining() => text(503, "draining\n".to_owned()),
        "/readyz" => text(503, "starting\n".to_owned()),
        _ => with_type(200, metrics.render(), "text/plain; version=0.0.4; charset=utf-8"),
    }
}

fn text(status: u16, text: String) -> Response<io::Cursor<Vec<u8>>> {
    with_type(status, text, "text/plain; charset=utf-8")
}

fn with_type(status: u16, text: String, kind: &str) -> Response<io::Cursor<Vec<u8>>> {
    let response = Response::from_data(text.into_bytes()).with_status_code(StatusCode(status));
    header(header(response, "Content-Type", kind), "Cache-Control", "no-store")
}

fn header<R: io::Read>(response: Response<R>, name: &str, value: &str) -> Response<R> {
    match Header::from_bytes(name, value) {
        Ok(header) => response.with_header(header),
        // The names and values are ours, and ASCII.
        Err(()) => response,
    }
}

#[cfg(test)]
mod tests;
