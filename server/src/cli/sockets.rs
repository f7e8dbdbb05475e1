//! The sockets that are served: handed over by whoever started this process, or bound here.

use super::args::ServeArgs;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_server::inherit::{InheritError, inherited_listeners};
use sealpair_server::listen_with;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// Where to listen if nothing is said.
const DEFAULT: &str = "127.0.0.1:8443";

/// What is to be served.
#[derive(Debug)]
pub(super) enum Sockets {
    /// They listen already.
    Inherited(Vec<TcpListener>),
    /// For every `--listen`, the addresses that it stands for.
    Wanted(Vec<Vec<SocketAddr>>),
}

impl Sockets {
    /// Finds out which. Before anything else is opened: what was handed over is taken here.
    pub(super) fn find(args: &ServeArgs) -> Result<Self, Report> {
        let inherited = inherited_listeners().map_err(|error| {
            let remedy = match &error {
                InheritError::Io(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    "set LISTEN_FDS to the number of sockets, or start the server without LISTEN_PID"
                }
                _ => "hand over listening TCP sockets (in systemd: ListenStream=, Accept=no)",
            };
            Report::new(Exit::Configuration, "inherited", "cannot serve what was handed over")
                .explain(error.to_string())
                .remedy(remedy)
        })?;
        if inherited.is_empty() {
            let texts = match args.listen.as_slice() {
                [] => vec![DEFAULT],
                listen => listen.iter().map(String::as_str).collect(),
            };
            return texts.into_iter().map(addresses).collect::<Result<_, _>>().map(Self::Wanted);
        }
        let given = [(!args.listen.is_empty(), "--listen"), (args.reuse_port, "--reuse-port")];
        match given.into_iter().find(|(given, _)| *given) {
            None => Ok(Self::Inherited(inherited)),
            Some((_, flag)) => {
                let count = inherited.len();
                let message = format!("{flag} has no effect on sockets that are handed over");
                Err(Report::new(Exit::Usage, "inherited", message)
                    .explain(format!("LISTEN_FDS hands over {count}"))
                    .remedy(format!("leave out {flag}, or start the server without LISTEN_FDS")))
            }
        }
    }

    /// The addresses that a certificate is to name.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Inherited(listeners) => {
                listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
            }
            Self::Wanted(wanted) => wanted.concat(),
        }
    }

    /// Binds what is not bound yet.
    pub(super) fn bind(self, reuse_port: bool) -> Result<Vec<TcpListener>, Report> {
        match self {
            Self::Inherited(listeners) => Ok(listeners),
            Self::Wanted(wanted) => {
                wanted.iter().map(|addresses| bind_first(addresses, reuse_port)).collect()
            }
        }
    }
}

/// The addresses that a `--listen` stands for.
fn addresses(text: &str) -> Result<Vec<SocketAddr>, Report> {
    let cause = match text.to_socket_addrs().map(Iterator::collect::<Vec<_>>) {
        Ok(found) if !found.is_empty() => return Ok(found),
        Ok(_) => "no address".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Report::new(Exit::Usage, "listen", format!("cannot listen on {text}"))
        .explain(cause)
        .remedy("give ADDR:PORT, such as 127.0.0.1:8443 or [::]:443"))
}

/// Binds the first that can be bound.
fn bind_first(addresses: &[SocketAddr], reuse_port: bool) -> Result<TcpListener, Report> {
    let mut last = None;
    for address in addresses {
        match listen_with(*address, reuse_port) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some((address, error)),
        }
    }
    // `addresses` is never empty, so there is a last error.
    let Some((address, error)) = last else {
        return Err(Report::new(Exit::Configuration, "listen", "no address to listen on"));
    };
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse if reuse_port => {
            "start the program that uses it with --reuse-port, too, as the same user"
        }
        io::ErrorKind::AddrInUse => "stop the program that uses it, or use another port",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE; use another port"
        }
        _ => "use an address of this machine",
    };
    let message = format!("cannot listen on {address}");
    Err(Report::new(Exit::Configuration, "listen", message)
        .explain(error.to_string())
        .remedy(remedy))
}

/// The URL to reach a listener by, under a name that its certificate has. `localhost` is 127.0.0.1
/// everywhere; whether it is also ::1 depends on the machine.
pub(super) fn url(address: &SocketAddr) -> String {
    let port = address.port();
    match address.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST | Ipv4Addr::UNSPECIFIED) => {
            format!("https://localhost:{port}")
        }
        IpAddr::V4(ip) => format!("https://{ip}:{port}"),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("https://[::1]:{port}"),
        IpAddr::V6(ip) => format!("https://[{ip}]:{port}"),
    }
}
