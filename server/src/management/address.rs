//! Where the management listener may be: loopback, or a Unix socket of this user.

use crate::server::listen;
use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Connections that may wait. Few ask, and each has an answer within a moment.
const BACKLOG: i32 = 64;

/// How often the lock of a socket's directory is tried for.
const LOCK_TRIES: u32 = 50;

/// An address for the management listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// Addresses of the loopback interface, to be tried in turn.
    Loopback(Vec<SocketAddr>),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    /// Reads `ADDR:PORT` or `unix:PATH`; refuses what other machines could reach.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("there is no path after unix:".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let addresses: Vec<SocketAddr> =
            text.to_socket_addrs().map_err(|error| error.to_string())?.collect();
        match addresses.iter().find(|address| !address.ip().to_canonical().is_loopback()) {
            Some(address) => Err(format!("{} is not a loopback address", address.ip())),
            None if addresses.is_empty() => Err("no address".to_owned()),
            None => Ok(Self::Loopback(addresses)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(addresses) => match addresses.first() {
                Some(address) => address.fmt(f),
                None => f.write_str("no address"),
            },
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why an address cannot be bound.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody listens there.
    InUse,
    /// There is a file, and it is no socket.
    NotASocket,
    /// The operating system says no.
    Io(io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("another program listens there"),
            Self::NotASocket => f.write_str("there is a file that is not a socket"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BindError {}

impl From<io::Error> for BindError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse,
            _ => Self::Io(error),
        }
    }
}

impl From<rustix::io::Errno> for BindError {
    fn from(error: rustix::io::Errno) -> Self {
        io::Error::from(error).into()
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp {
        listener: TcpListener,
        address: SocketAddr,
    },
    Unix {
        listener: UnixListener,
        path: PathBuf,
        /// Which file it is: device and inode.
        identity: Option<(u64, u64)>,
    },
}

impl Address {
    /// Binds and listens. Accepted TCP connections have this write timeout.
    pub(super) fn bind(&self, write_timeout: Duration) -> Result<Bound, BindError> {
        match self {
            Self::Loopback(addresses) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in addresses {
                    match listen(*address) {
                        Ok(listener) => {
                            // accept(2) does not look at it, and every accepted socket has it.
                            SockRef::from(&listener).set_write_timeout(Some(write_timeout))?;
                            let address = listener.local_addr()?;
                            return Ok(Bound::Tcp { listener, address });
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last.into())
            }
            Self::Unix(path) => {
                let listener = bind_unix(path)?;
                Ok(Bound::Unix { listener, path: path.clone(), identity: identity(path) })
            }
        }
    }
}

impl Bound {
    /// Starts a server on a duplicate of the socket: when its accept thread dies and closes the
    /// duplicate, the socket goes on to listen.
    pub(super) fn serve(&self) -> io::Result<tiny_http::Server> {
        let server = match self {
            Self::Tcp { listener, .. } => {
                tiny_http::Server::from_listener(listener.try_clone()?, None)
            }
            Self::Unix { listener, .. } => {
                tiny_http::Server::from_listener(listener.try_clone()?, None)
            }
        };
        server.map_err(io::Error::other)
    }

    /// Ends the listening, which all duplicates share, and removes a Unix socket's path, if it is still
    /// this one.
    pub(super) fn close(&self) {
        // On Linux this also ends the wait in accept(2): the accept thread sees an error, and ends.
        let _ = rustix::net::shutdown(self, rustix::net::Shutdown::Both);
        if let Self::Unix { path, identity: own @ Some(_), .. } = self
            && identity(path) == *own
        {
            let _ = fs::remove_file(path);
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, .. } => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp { listener, .. } => listener.as_fd(),
            Self::Unix { listener, .. } => listener.as_fd(),
        }
    }
}

/// Binds a Unix socket that only this user can connect to. What a dead server has left is replaced.
fn bind_unix(path: &Path) -> Result<UnixListener, BindError> {
    // Two servers that start at once must not take each other's socket for a dead one's.
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let dir = File::open(dir)?;
    for _ in 0..LOCK_TRIES {
        // Whoever holds it for longer is no server that starts, and does not keep this one from it.
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(20)),
            _ => break,
        }
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(BindError::NotASocket),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            // Somebody listens, or may: a full backlog, or a socket of somebody else's.
            _ => return Err(BindError::InUse),
        },
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Before it has a name: the kernel gives the file the mode of the socket (unix_bind), so there is
    // no moment in which others could connect.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
