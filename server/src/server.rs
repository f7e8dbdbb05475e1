//! The server: listeners, a handler, and how it stops.

use crate::access_log::AccessLog;
use crate::connection::Service;
use crate::handler::Handler;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::workers::Pool;
use sealpair_common::tls::ServerTls;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Connections that may wait to be accepted in the kernel. What the system allows at most
/// (`net.core.somaxconn`) is usually less and then counts.
pub(crate) const BACKLOG: i32 = 4096;

/// A server whose sockets are bound and that does not serve yet.
///
/// ```no_run
/// use sealpair_common::tls::ServerTls;
/// use sealpair_server::{Request, Response, Server};
///
/// let tls = ServerTls::builder().identity_pem("server.pem", "server.key").build()?;
/// Server::bind("localhost:4443", tls)?.serve(|_: &mut Request| Response::text("Hello, HTTPS!"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    listeners: Vec<TcpListener>,
    tls: ServerTls,
    limits: Limits,
    metrics: Arc<Metrics>,
    access_log: Option<AccessLog>,
    stop: ServerHandle,
}

impl Server {
    /// Binds the first of the addresses that can be bound.
    ///
    /// # Errors
    ///
    /// When none can be: the name is unknown, the port is in use or needs a privilege.
    pub fn bind(address: impl ToSocketAddrs, tls: ServerTls) -> io::Result<Self> {
        let mut last = None;
        for address in address.to_socket_addrs()? {
            match listen(address) {
                Ok(listener) => return Ok(Self::from_listeners(vec![listener], tls)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address")))
    }

    /// Serves on sockets that are bound already: several, or some that were handed over.
    pub fn from_listeners(listeners: Vec<TcpListener>, tls: ServerTls) -> Self {
        Self {
            listeners,
            tls,
            limits: Limits::default(),
            metrics: Arc::default(),
            access_log: None,
            stop: ServerHandle::default(),
        }
    }

    /// Sets the bounds of every wait and size.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Counts into these numbers, which others may look at; into its own unless set.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Records every request in this log.
    #[must_use]
    pub fn access_log(mut self, log: AccessLog) -> Self {
        self.access_log = Some(log);
        self
    }

    /// The addresses that are bound, with the ports that the system chose where port 0 was asked for.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// What stops the server, from any thread.
    pub fn handle(&self) -> ServerHandle {
        self.stop.clone()
    }

    /// Serves until the handle says stop, then waits for the open connections, and returns how many
    /// had to be cut off.
    ///
    /// # Errors
    ///
    /// When not even one thread can be started.
    pub fn serve(self, handler: impl Handler + 'static) -> io::Result<usize> {
        let Self { listeners, tls, limits, metrics, access_log, stop } = self;
        let drain = limits.drain;
        metrics.set_tls(&tls);
        let observer = Observer { metrics: Arc::clone(&metrics), access_log };
        let service = Service::new(tls, Box::new(handler), limits, observer);
        let pool = Pool::new(listeners, service)?;
        pool.start()?;
        metrics.serving();
        stop.wait();
        metrics.drain_begun();
        pool.begin_drain();
        let cut_off = pool.finish_drain(drain);
        metrics.drain_done(cut_off);
        Ok(cut_off)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// Stops a server.
#[derive(Clone, Debug, Default)]
pub struct ServerHandle(Arc<(Mutex<bool>, Condvar)>);

impl ServerHandle {
    /// Stops accepting, ends idle connections, lets open requests finish.
    pub fn stop(&self) {
        let (stopped, changed) = &*self.0;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    fn wait(&self) {
        let (stopped, changed) = &*self.0;
        let mut stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            stopped = changed.wait(stopped).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Binds an address and listens.
///
/// # Errors
///
/// When it is in use, not this machine's, or privileged.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    listen_with(address, false)
}

/// Binds an address and listens; with `reuse_port` (SO_REUSEPORT) another process of the same user that
/// asks for it, too, can listen on the same port at the same time.
///
/// # Errors
///
/// As [`listen`].
pub fn listen_with(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait until the connections of the previous run have left TIME_WAIT.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `[::]` beside `0.0.0.0` are two listeners; without this the second would be "in use".
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit it on Linux: no system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
