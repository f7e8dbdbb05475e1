//! A request as a handler sees it, and the response that a handler gives back.
//!
//! The names and values are those of the `http` crate, so nothing that cannot stand on the wire can be
//! put into them. The body of a request is read from the connection while the handler reads it; the
//! body of a response is sent after the handler has returned.

use crate::http::Framing;
use crate::http::head::RequestHead;
use crate::http::response::write_head;
use crate::open_file::OpenFile;
use crate::prepared::{Fields, PreparedFields};
use ::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::{HeaderMap, Method, StatusCode, Version};
use sealpair_common::tls::TlsSession;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// A request whose head has been read and whose body is still to come.
#[derive(Debug)]
pub struct Request<'c> {
    head: RequestHead,
    body: RequestBody<'c>,
    connection: &'c ConnectionInfo,
}

impl<'c> Request<'c> {
    /// A request made of its parts.
    pub fn new(head: RequestHead, body: RequestBody<'c>, connection: &'c ConnectionInfo) -> Self {
        Self { head, body, connection }
    }

    /// The connection that the request came on: who, from where, under which cryptography.
    pub fn connection(&self) -> &ConnectionInfo {
        self.connection
    }

    /// The method, as sent.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The path of the request target as it stood on the wire: percent-encoded, starting with `/`
    /// (or `*` for `OPTIONS *`), without the query.
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// What follows `?` in the request target.
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The whole head: target, version, framing.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// Sends an interim response (RFC 9110 section 15.2), such as 104, before the response that the
    /// handler returns. It replaces no `100 Continue`: that is sent when the content is read.
    ///
    /// An HTTP/1.0 client does not know them and is sent none (section 15.2); neither is anybody where
    /// no connection is below.
    ///
    /// # Errors
    ///
    /// When the connection is lost, or does not take it in time.
    pub fn send_interim(&mut self, status: StatusCode, fields: &HeaderMap) -> io::Result<()> {
        match &mut self.body.source {
            Source::Connection(connection) if self.head.version == Version::HTTP_11 => {
                let mut head = Vec::new();
                write_head(&mut head, status, fields, Framing::None, false, "");
                connection.send_interim(&head)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn into_head(self) -> RequestHead {
        self.head
    }

    /// The content. A handler that leaves some of it unread costs the client the connection, unless
    /// the rest is small.
    pub fn body(&mut self) -> &mut RequestBody<'c> {
        &mut self.body
    }
}

/// The facts of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    peer: SocketAddr,
    local: Local,
    session: TlsSession,
}

/// This end's address, which is asked for only when somebody wants to know.
#[derive(Clone, Debug)]
enum Local {
    Known(SocketAddr),
    Of(Arc<TcpStream>),
}

impl ConnectionInfo {
    /// The facts of a connection.
    pub fn new(peer: SocketAddr, local: SocketAddr, session: TlsSession) -> Self {
        Self { peer, local: Local::Known(local), session }
    }

    /// The facts of a connection that is open.
    pub(crate) fn of(peer: SocketAddr, tcp: Arc<TcpStream>, session: TlsSession) -> Self {
        Self { peer, local: Local::Of(tcp), session }
    }

    /// The client's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// This end's address.
    ///
    /// # Errors
    ///
    /// When the connection has ended.
    pub fn local(&self) -> io::Result<SocketAddr> {
        match &self.local {
            Local::Known(address) => Ok(*address),
            Local::Of(tcp) => tcp.local_addr(),
        }
    }

    /// The TCP connection, to be ended from another thread.
    pub(crate) fn tcp(&self) -> Option<&Arc<TcpStream>> {
        match &self.local {
            Local::Known(_) => None,
            Local::Of(tcp) => Some(tcp),
        }
    }

    /// The subject of the client's certificate, if it presented one. It is the client's own text: show
    /// it through [`Escaped`](sealpair_common::escape::Escaped).
    pub fn subject(&self) -> Option<&str> {
        self.session.peer.first().map(|certificate| certificate.subject.as_str())
    }

    /// What was negotiated, and the client's certificate if it has one.
    pub fn session(&self) -> &TlsSession {
        &self.session
    }
}

/// The content of a request, as it arrives.
///
/// The end of the reader is the end of the content as its framing declares it; a connection that ends
/// earlier is an error, never a short body. The error inside is a [`BodyError`].
pub struct RequestBody<'c> {
    source: Source<'c>,
    length: Option<u64>,
}

/// Where content comes from.
enum Source<'c> {
    /// From anywhere: nobody is there who could be told something.
    Reader(&'c mut (dyn Read + 'c)),
    /// From a connection.
    Connection(&'c mut (dyn Interim + 'c)),
}

/// Content whose sender can be told something before the response.
pub(crate) trait Interim: Read {
    /// Sends the head of an interim response now (RFC 9110 section 15.2).
    fn send_interim(&mut self, head: &[u8]) -> io::Result<()>;
}

impl<'c> RequestBody<'c> {
    /// A body that `source` yields; `length` is its length where the head declares one.
    pub fn new(source: &'c mut (dyn Read + 'c), length: Option<u64>) -> Self {
        Self { source: Source::Reader(source), length }
    }

    /// The body of a request that a connection is reading.
    pub(crate) fn of_connection(source: &'c mut (dyn Interim + 'c), length: Option<u64>) -> Self {
        Self { source: Source::Connection(source), length }
    }

    /// The length in bytes that the head declares; `None` when it is known only at the end (chunked).
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Read for RequestBody<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Reader(source) => source.read(buf),
            Source::Connection(source) => source.read(buf),
        }
    }
}

impl fmt::Debug for RequestBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Why the content of a request could not be read to its end.
///
/// It travels inside the [`io::Error`] that [`RequestBody`] returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BodyError {
    /// The client sent less than the minimum rate, or nothing for too long (RFC 9110 section 15.5.9).
    Stalled,
    /// The chunked framing is broken (RFC 9112 section 7.1).
    Malformed(&'static str),
    /// The content is longer than the server takes (RFC 9110 section 15.5.14).
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The connection ended before the content did.
    Truncated,
}

impl BodyError {
    /// The cause of an error that reading a [`RequestBody`] returned, where it has one.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }

    /// The status that tells the client.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed(_) | Self::Truncated => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled => f.write_str("the content came too slowly"),
            Self::Malformed(what) => write!(f, "the chunked content is malformed: {what}"),
            Self::TooLarge { limit } => write!(f, "the content is longer than {limit} bytes"),
            Self::Truncated => f.write_str("the connection ended before the content did"),
        }
    }
}

impl std::error::Error for BodyError {}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::Stalled => io::ErrorKind::TimedOut,
            BodyError::Malformed(_) => io::ErrorKind::InvalidData,
            BodyError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            BodyError::Truncated => io::ErrorKind::UnexpectedEof,
        };
        Self::new(kind, error)
    }
}

/// What a handler answers.
///
/// ```
/// use sealpair_server::Response;
/// let response = Response::text("made\n").with_status(http::StatusCode::CREATED);
/// assert_eq!(response.status(), 201);
/// ```
#[derive(Debug)]
pub struct Response {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    pub(crate) body: Body,
}

impl Response {
    /// A response with a status and no content.
    pub fn new(status: StatusCode) -> Self {
        Self { status, fields: Fields::Own(HeaderMap::new()), body: Body::Empty }
    }

    /// 200 with fields that have been prepared.
    pub(crate) fn prepared(fields: Arc<PreparedFields>, body: Body) -> Self {
        Self { status: StatusCode::OK, fields: Fields::Prepared(fields), body }
    }

    /// 200 with plain text in UTF-8.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        let bytes = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self::new(StatusCode::OK)
            .with_header(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
            .with_body(Body::Bytes(bytes))
    }

    /// An error status whose content is one line of text for a person: the reason and, where there is
    /// one, what to do.
    pub fn error(status: StatusCode, reason: impl fmt::Display) -> Self {
        Self::text(format!("{} {reason}\n", status.as_u16())).with_status(status)
    }

    /// The same response with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same response with a header field set. `Content-Length`, `Transfer-Encoding`, `Connection`
    /// and `Date` are the connection's to write; setting them has no effect.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.insert(name, value);
        self
    }

    /// The same response with another body.
    #[must_use]
    pub fn with_body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The header fields set so far.
    pub fn headers(&self) -> &HeaderMap {
        self.fields.map()
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }
}

/// The content of a response.
#[non_exhaustive]
pub enum Body {
    /// No content.
    Empty,
    /// Content in memory.
    Bytes(Cow<'static, [u8]>),
    /// `length` bytes of a file from `offset` on. A file that turns out shorter, or that is not what it
    /// was when it was opened, ends the connection before the last bytes: the client must not take what
    /// came for the whole.
    File {
        /// The open file.
        file: Arc<OpenFile>,
        /// Where to begin, in bytes.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// Parts of a file, each behind some bytes of its own, as in `multipart/byteranges`. Every part ends
    /// as a whole file does.
    FileParts {
        /// The open file.
        file: Arc<OpenFile>,
        /// The parts, in their order.
        parts: Vec<FilePart>,
        /// What follows the last of them.
        end: Vec<u8>,
    },
    /// Whatever the reader yields, `length` bytes where that is known; chunked otherwise.
    Stream {
        /// The reader.
        reader: Box<dyn Read + Send>,
        /// The length in bytes, if known.
        length: Option<u64>,
    },
}

/// A part of a file in a response.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// What stands before it.
    pub head: Vec<u8>,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
}

impl Body {
    /// The length in bytes; `None` when it is known only at the end.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File { length, .. } => Some(*length),
            Self::FileParts { parts, end, .. } => {
                let parts =
                    parts.iter().map(|part| part.length.checked_add(part.head.len() as u64));
                parts
                    .chain([Some(end.len() as u64)])
                    .try_fold(0, |sum: u64, part| sum.checked_add(part?))
            }
            Self::Stream { length, .. } => *length,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Empty => "Empty",
            Self::Bytes(_) => "Bytes",
            Self::File { .. } => "File",
            Self::FileParts { .. } => "FileParts",
            Self::Stream { .. } => "Stream",
        };
        f.debug_struct(name).field("length", &self.length()).finish_non_exhaustive()
    }
}
