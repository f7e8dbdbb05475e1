//! Listening sockets that are handed over: by systemd (socket activation), or by any launcher that keeps
//! the sockets open while one server follows the other.
//!
//! A socket that was handed over is as others have left it, so everything is checked that the engine
//! relies on.

use sealpair_common::handover::{self, Descriptor};
use socket2::{Domain, Socket, Type};
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::RawFd;

/// Why a descriptor that was handed over cannot be served.
#[derive(Debug)]
#[non_exhaustive]
pub enum InheritError {
    /// It could not be taken.
    Io(io::Error),
    /// It is not what is needed.
    Unfit {
        /// Its number.
        number: RawFd,
        /// Its name, where it has one.
        name: Option<String>,
        /// What it is or is not.
        what: &'static str,
    },
}

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Unfit { number, name, what } => {
                write!(f, "descriptor {number}")?;
                if let Some(name) = name {
                    write!(f, " ({name})")?;
                }
                write!(f, " {what}")
            }
        }
    }
}

impl std::error::Error for InheritError {}

/// The listeners that were handed over to this process; none when it was started without. To be called
/// once, before anything else is opened.
///
/// # Errors
///
/// When a descriptor is not open, or is no listening TCP socket.
pub fn inherited_listeners() -> Result<Vec<TcpListener>, InheritError> {
    let descriptors = handover::take().map_err(InheritError::Io)?;
    descriptors.into_iter().map(listener).collect()
}

fn listener(descriptor: Descriptor) -> Result<TcpListener, InheritError> {
    let Descriptor { fd, number, name } = descriptor;
    let socket = Socket::from(fd);
    match unfit(&socket) {
        Some(what) => Err(InheritError::Unfit { number, name, what }),
        None => {
            // As for a listener of our own: accepted sockets inherit it.
            socket.set_tcp_nodelay(true).map_err(InheritError::Io)?;
            Ok(socket.into())
        }
    }
}

/// What keeps a descriptor from being served.
fn unfit(socket: &Socket) -> Option<&'static str> {
    let Ok(domain) = socket.domain() else { return Some("is not a socket") };
    if domain != Domain::IPV4 && domain != Domain::IPV6 {
        return Some("is not an Internet socket");
    }
    if socket.r#type().ok() != Some(Type::STREAM) {
        return Some("is not a stream socket");
    }
    // systemd passes connections instead with Accept=yes.
    if !socket.is_listener().unwrap_or(false) {
        return Some("does not listen");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::net::{TcpStream, UdpSocket};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;

    fn check(fd: impl Into<OwnedFd>) -> Result<TcpListener, String> {
        let descriptor = Descriptor { fd: fd.into(), number: 3, name: Some("x".to_owned()) };
        listener(descriptor).map_err(|error| error.to_string())
    }

    #[test]
    fn a_listening_tcp_socket_is_served() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let bound = TcpListener::bind(address).unwrap();
            let address = bound.local_addr().unwrap();
            assert_eq!(check(bound).unwrap().local_addr().unwrap(), address);
        }
    }

    #[test]
    fn anything_else_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(dir.path().join("socket")).unwrap();
        let said = [
            check(connection).unwrap_err(),
            check(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap_err(),
            check(unix).unwrap_err(),
            check(File::open("/dev/null").unwrap()).unwrap_err(),
        ];
        assert_eq!(
            said,
            [
                "descriptor 3 (x) does not listen",
                "descriptor 3 (x) is not a stream socket",
                "descriptor 3 (x) is not an Internet socket",
                "descriptor 3 (x) is not a socket",
            ]
        );
    }
}
