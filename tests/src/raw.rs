//! A TLS client that sends what it is told, byte by byte, and tells how the connection ended.
//!
//! It is made of the `openssl` crate alone, so that it shares no code with what it tests.

use crate::server::SealpairServer;
use crate::shape::{Shape, Shaped};
use crate::waiting::DEADLINE;
use openssl::ssl::{
    ErrorCode, ShutdownState, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream,
    SslVerifyMode,
};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// With TLS's close_notify.
    CloseNotify,
    /// The TCP connection was closed without it.
    Cut,
    /// The TCP connection was reset.
    Reset,
}

impl End {
    /// What an error that is not about waiting says.
    #[track_caller]
    fn of(error: &openssl::ssl::Error) -> Self {
        match (error.code(), error.io_error().map(io::Error::kind)) {
            (ErrorCode::ZERO_RETURN, _) => Self::CloseNotify,
            (_, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)) => Self::Reset,
            (_, None) => Self::Cut,
            (_, Some(kind)) => panic!("the connection failed: {kind:?}"),
        }
    }
}

/// A response, as it came.
#[derive(Clone, Debug, Default)]
pub struct RawResponse {
    /// The status code.
    pub status: u16,
    /// The head, with its empty line.
    pub head: String,
    /// The content, without its framing.
    pub body: Vec<u8>,
}

impl RawResponse {
    /// The value of a header field; the name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A TLS connection to a server under test.
#[derive(Debug)]
pub struct RawClient {
    stream: SslStream<Shaped>,
    /// What was read and not used yet.
    ahead: Vec<u8>,
    end: Option<End>,
}

impl RawClient {
    /// Connects, with the server's authority as the only one trusted.
    #[track_caller]
    pub fn connect(server: &SealpairServer) -> Self {
        Self::connect_with(server, |_| {})
    }

    /// Connects with other settings.
    #[track_caller]
    pub fn connect_with(
        server: &SealpairServer,
        configure: impl FnOnce(&mut SslContextBuilder),
    ) -> Self {
        Self::over(server.tcp(), &Self::context(server, configure))
    }

    /// A context for many connections.
    #[track_caller]
    pub fn context(
        server: &SealpairServer,
        configure: impl FnOnce(&mut SslContextBuilder),
    ) -> SslContext {
        // Not `SslConnector`: it reads the system's authorities each time.
        let mut tls = SslContext::builder(SslMethod::tls_client()).unwrap();
        tls.set_ca_file(server.ca()).unwrap();
        tls.set_verify(SslVerifyMode::PEER);
        configure(&mut tls);
        tls.build()
    }

    /// Connects over a TCP connection.
    #[track_caller]
    pub fn over(tcp: TcpStream, tls: &SslContext) -> Self {
        Self::try_over(tcp, tls).unwrap()
    }

    /// Connects over a TCP connection to a server that may refuse.
    ///
    /// # Errors
    ///
    /// When the handshake fails.
    pub fn try_over(tcp: TcpStream, tls: &SslContext) -> Result<Self, openssl::ssl::Error> {
        Self::try_with(tcp, Shape::Plain, ssl(tls))
    }

    /// Connects over a TCP connection, on which all that is sent is cut to a shape.
    #[track_caller]
    pub fn shaped(tcp: TcpStream, tls: &SslContext, shape: Shape) -> Self {
        Self::try_with(tcp, shape, ssl(tls)).unwrap()
    }

    /// Connects with a TLS state of its own, from [`ssl`].
    ///
    /// # Errors
    ///
    /// When the handshake fails.
    pub fn try_with(tcp: TcpStream, shape: Shape, ssl: Ssl) -> Result<Self, openssl::ssl::Error> {
        let mut stream = SslStream::new(ssl, Shaped::new(tcp, shape)).unwrap();
        stream.connect()?;
        Ok(Self { stream, ahead: Vec::new(), end: None })
    }

    /// The TLS stream below.
    pub fn tls(&self) -> &SslStream<Shaped> {
        &self.stream
    }

    /// The TCP connection below.
    pub fn tcp(&self) -> &TcpStream {
        self.stream.get_ref().tcp()
    }

    /// How long each read may take from now on.
    pub fn set_read_timeout(&self, span: Duration) {
        self.tcp().set_read_timeout(Some(span)).unwrap();
    }

    /// Sends bytes, in as few records as they fit in.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends bytes to a server that may have gone.
    ///
    /// # Errors
    ///
    /// When it has.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a request and reads its response.
    #[track_caller]
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> RawResponse {
        let request = request.as_ref();
        self.send(request);
        if request.starts_with(b"HEAD ") { self.response_to_head() } else { self.response() }
    }

    /// `GET path` on this connection.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> RawResponse {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Reads the next response; an interim one (1xx) is one of them.
    #[track_caller]
    pub fn response(&mut self) -> RawResponse {
        let mut response = self.response_to_head();
        response.body = match (response.status, response.header("Content-Length")) {
            (100..200 | 204 | 304, _) => Vec::new(),
            (_, Some(length)) => {
                let length = length.parse().unwrap();
                self.take(length)
            }
            _ if response.header("Transfer-Encoding") == Some("chunked") => self.chunks(),
            _ => self.rest().0,
        };
        response
    }

    /// Reads the head of the next response; a response to HEAD has no more.
    #[track_caller]
    pub fn response_to_head(&mut self) -> RawResponse {
        let length = self.until(b"\r\n\r\n");
        let head = String::from_utf8(self.take(length)).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a response: {head:?}"));
        RawResponse { status, head, body: Vec::new() }
    }

    /// Reads the status code of the next response, and hardly more, so that a server that sends much is
    /// still stuck afterwards.
    ///
    /// # Errors
    ///
    /// How the connection ended instead.
    #[track_caller]
    pub fn status(&mut self) -> Result<u16, End> {
        const LENGTH: usize = "HTTP/1.1 200".len();
        while self.ahead.len() < LENGTH {
            if let Some(end) = self.read() {
                return Err(end);
            }
        }
        let line = String::from_utf8_lossy(&self.ahead[..LENGTH]);
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|status| status.parse().ok());
        Ok(status.unwrap_or_else(|| panic!("not a response: {line:?}")))
    }

    #[track_caller]
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let length = self.until(b"\r\n");
            let line = String::from_utf8(self.take(length)).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            body.extend(self.take(size));
            assert_eq!(self.take(2), b"\r\n");
            if size == 0 {
                return body;
            }
        }
    }

    /// How many bytes there are up to the end of this mark.
    #[track_caller]
    fn until(&mut self, mark: &[u8]) -> usize {
        loop {
            if let Some(at) = self.ahead.windows(mark.len()).position(|window| window == mark) {
                return at + mark.len();
            }
            self.read_or_panic();
        }
    }

    #[track_caller]
    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            self.read_or_panic();
        }
        let rest = self.ahead.split_off(length);
        std::mem::replace(&mut self.ahead, rest)
    }

    #[track_caller]
    fn read_or_panic(&mut self) {
        if let Some(end) = self.read() {
            let ahead = String::from_utf8_lossy(&self.ahead);
            panic!("the connection ended ({end:?}) after {ahead:?}");
        }
    }

    /// Reads once; what came is in `ahead`, unless this was the end.
    #[track_caller]
    fn read(&mut self) -> Option<End> {
        if self.end.is_some() {
            return self.end;
        }
        let mut piece = [0; 16 << 10];
        self.end = match self.stream.ssl_read(&mut piece) {
            Ok(count) => {
                self.ahead.extend_from_slice(&piece[..count]);
                None
            }
            Err(error) if error.code() == ErrorCode::WANT_READ => {
                let ahead = String::from_utf8_lossy(&self.ahead);
                panic!("nothing came in time; so far: {ahead:?}");
            }
            Err(error) => {
                let end = End::of(&error);
                let told = self.stream.get_shutdown().contains(ShutdownState::RECEIVED);
                assert_eq!(told, end == End::CloseNotify);
                Some(end)
            }
        };
        self.end
    }

    /// Takes what has arrived, without waiting for more; how the connection ended, if it has.
    #[track_caller]
    pub fn look(&mut self) -> Option<End> {
        self.tcp().set_nonblocking(true).unwrap();
        let mut piece = [0; 16 << 10];
        while self.end.is_none() {
            match self.stream.ssl_read(&mut piece) {
                Ok(count) => self.ahead.extend_from_slice(&piece[..count]),
                Err(error) if error.code() == ErrorCode::WANT_READ => break,
                Err(error) => self.end = Some(End::of(&error)),
            }
        }
        self.tcp().set_nonblocking(false).unwrap();
        self.end
    }

    /// What came and was not used yet.
    pub fn unused(&self) -> &[u8] {
        &self.ahead
    }

    /// Reads to the end: what came, and how it ended.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Some(end) = self.read() {
                return (std::mem::take(&mut self.ahead), end);
            }
        }
    }

    /// Reads to the end, where nothing must come any more, and returns how it ended.
    #[track_caller]
    pub fn end(&mut self) -> End {
        let (rest, end) = self.rest();
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
        end
    }

    /// Says close_notify, and waits until the server has closed, too.
    #[track_caller]
    pub fn close(mut self) {
        let _ = self.stream.shutdown();
        let _ = self.tcp().shutdown(Shutdown::Write);
        self.rest();
    }

    /// Ends the connection with a reset, as a client does that is killed with unread data.
    pub fn reset(self) {
        reset(self.tcp());
    }
}

/// The state of a TLS client that wants `localhost`.
pub fn ssl(tls: &SslContext) -> Ssl {
    let mut ssl = Ssl::new(tls).unwrap();
    ssl.set_hostname("localhost").unwrap();
    ssl.param_mut().set_host("localhost").unwrap();
    ssl
}

/// A TCP connection whose reads and writes fail at the deadline.
#[track_caller]
pub fn tcp(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    tcp.set_write_timeout(Some(DEADLINE)).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

/// The record with the ClientHello (RFC 8446 section 4.1.2) that a client of this context begins with.
pub fn client_hello(tls: &SslContext) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(RawClient::try_over(tcp(address), tls).is_err()));
        let (mut tcp, _) = listener.accept().unwrap();
        let mut header = [0; 5];
        tcp.read_exact(&mut header).unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        tcp.read_exact(&mut hello).unwrap();
        [&header[..], &hello].concat()
    })
}

/// Makes the closing of a connection a reset.
pub fn reset(tcp: &TcpStream) {
    socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO)).unwrap();
}

/// The time that a test client waits.
pub const PATIENCE: Duration = DEADLINE;
