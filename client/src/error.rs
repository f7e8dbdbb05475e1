//! What ureq's errors mean: one `match` from each to an exit code, with an explanation and a remedy.
//!
//! The library's functions return ureq's own `Error`; [`report`] says what it means. What this crate
//! adds to it (a TLS [`Failure`], a refused connection, an unknown name) travels in `Error::Other`.

use crate::platform::PlatformError;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::tls::{ConfigError, Failure, Reason};
use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use ureq::Error;

/// No TCP connection could be made.
#[derive(Debug)]
pub struct ConnectError {
    address: SocketAddr,
    source: io::Error,
}

impl ConnectError {
    pub(crate) fn new(address: SocketAddr, source: io::Error) -> Self {
        Self { address, source }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect to {}", self.address)
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The server answered before it had taken the whole request, and took no more of it.
#[derive(Clone, Debug)]
pub struct EarlyAnswer {
    status: u16,
    text: String,
}

impl EarlyAnswer {
    /// Reads an answer of which perhaps only the beginning is there.
    pub(crate) fn parse(said: &[u8]) -> Option<Self> {
        let rest = said.strip_prefix(b"HTTP/1.1 ").or_else(|| said.strip_prefix(b"HTTP/1.0 "))?;
        let status = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
        let end = said.windows(4).position(|window| window == b"\r\n\r\n");
        let text = end.and_then(|end| {
            let head = String::from_utf8_lossy(&said[..end]).to_ascii_lowercase();
            // Chunks, or whatever it is, would have to be decoded to be shown.
            let plain = !head.contains("\r\ntransfer-encoding:");
            plain.then(|| String::from_utf8_lossy(&said[end + 4..]).into_owned())
        });
        Some(Self { status, text: text.unwrap_or_default() })
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        self.status
    }

    fn report(&self) -> Report {
        let exit = match self.status {
            400..500 => Exit::HttpClientError,
            500..600 => Exit::HttpServerError,
            _ => Exit::Protocol,
        };
        let message = format!("the server answered {} before it had taken all of it", self.status);
        let words: Vec<&str> = self.text.split_whitespace().collect();
        let report = Report::new(exit, "status", message).detail("status", self.status);
        match words.is_empty() {
            true => report,
            false => report.explain(words.join(" ")).detail("content", self.text.as_str()),
        }
    }
}

impl fmt::Display for EarlyAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report().fmt(f)
    }
}

impl std::error::Error for EarlyAnswer {}

/// A response that means something else than it says, or nothing that can be relied on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadResponse(pub(crate) &'static str);

impl fmt::Display for BadResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadResponse {}

/// A host name has no address.
#[derive(Debug)]
pub struct ResolveError {
    host: String,
    cause: String,
}

impl ResolveError {
    pub(crate) fn new(host: String, cause: String) -> Self {
        Self { host, cause }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot resolve {}", self.host)
    }
}

impl std::error::Error for ResolveError {}

/// Text on the command line that does not say what it should.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsageError(pub(crate) &'static str);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UsageError {}

/// When a failure happened: a connection that is lost before the answer is one thing, one that is lost
/// in the middle of it another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Up to the head of the response.
    Request,
    /// While its content was read.
    Body,
}

/// What an error of ureq means.
pub fn report(error: &Error, phase: Phase) -> Report {
    match error {
        Error::Other(inner) => report_inner(&**inner, phase),
        Error::Io(io) => report_io(io, phase),
        Error::Timeout(which) => {
            let (wait, kind) = match phase {
                Phase::Request => (which.to_string(), "deadline"),
                Phase::Body => (format!("{which}, in the middle of the content"), "deadline"),
            };
            Report::new(Exit::Deadline, kind, "the server did not answer in time")
                .explain(format!("the deadline for: {wait}"))
                .remedy("check the server and the network, or raise --timeout")
        }
        Error::StatusCode(status) => {
            let exit = if *status >= 500 { Exit::HttpServerError } else { Exit::HttpClientError };
            Report::new(exit, "status", format!("the server answered {status}"))
        }
        Error::HostNotFound => {
            Report::new(Exit::Resolve, "name-not-resolved", "the host has no address")
                .remedy("check the name in the URL, or give its address with --resolve")
        }
        Error::ConnectionFailed => Report::new(Exit::Connect, "not-connected", "cannot connect")
            .remedy("check that the server is up and listens on this port"),
        Error::BadUri(_) | Error::Http(_) => {
            Report::new(Exit::Usage, "bad-request", "the request cannot be made")
                .explain(error.to_string())
                .remedy("check the URL and the header fields")
        }
        Error::RequireHttpsOnly(_) => Report::new(Exit::Usage, "not-https", "only https is spoken")
            .explain(error.to_string())
            .remedy("use an https:// URL"),
        Error::RedirectFailed | Error::TooManyRedirects => {
            Report::new(Exit::Redirect, "redirect", "a redirect was refused")
                .explain(error.to_string())
        }
        Error::Protocol(_) | Error::LargeResponseHeader(..) | Error::BodyStalled => {
            Report::new(Exit::Protocol, "http-protocol", "the server broke the HTTP protocol")
                .explain(error.to_string())
                .remedy("check that the URL's port is that of an HTTP/1.1 server")
        }
        _ => Report::new(Exit::Unexpected, "unexpected", "the request failed")
            .explain(error.to_string()),
    }
}

fn report_inner(inner: &(dyn std::error::Error + 'static), phase: Phase) -> Report {
    if let Some(failure) = inner.downcast_ref::<Failure>() {
        return report_failure(failure, phase);
    }
    if let Some(config) = inner.downcast_ref::<ConfigError>() {
        return config.report();
    }
    if let Some(platform) = inner.downcast_ref::<PlatformError>() {
        return platform.report();
    }
    if let Some(io) = inner.downcast_ref::<io::Error>() {
        return report_io(io, phase);
    }
    if let Some(connect) = inner.downcast_ref::<ConnectError>() {
        let cause = connect.source().map(ToString::to_string).unwrap_or_default();
        return Report::new(Exit::Connect, "not-connected", connect.to_string())
            .explain(cause)
            .remedy("check that the server is up and listens on this port")
            .detail("address", connect.address.to_string());
    }
    if let Some(answer) = inner.downcast_ref::<EarlyAnswer>() {
        return answer.report();
    }
    if let Some(BadResponse(why)) = inner.downcast_ref() {
        return Report::new(Exit::Protocol, "http-protocol", "the server broke the HTTP protocol")
            .explain(*why);
    }
    if let Some(resolve) = inner.downcast_ref::<ResolveError>() {
        return Report::new(Exit::Resolve, "name-not-resolved", resolve.to_string())
            .explain(resolve.cause.clone())
            .remedy("check the name in the URL, or give its address with --resolve")
            .detail("host", resolve.host.as_str());
    }
    if let Some(error) = inner.downcast_ref::<Error>() {
        return report(error, phase);
    }
    Report::new(Exit::Unexpected, "unexpected", "the request failed").explain(inner.to_string())
}

fn report_failure(failure: &Failure, phase: Phase) -> Report {
    match (failure.reason(), phase) {
        (Reason::Closed | Reason::Io(_), Phase::Body) => truncated(&failure.to_string()),
        _ => failure.report(),
    }
}

fn report_io(error: &io::Error, phase: Phase) -> Report {
    if let Some(failure) = Failure::of(error) {
        return report_failure(failure, phase);
    }
    if let Some(platform) = PlatformError::of(error) {
        return match platform.exit() {
            Exit::Connect if phase == Phase::Body => truncated(&platform.to_string()),
            _ => platform.report(),
        };
    }
    // ureq carries its own errors through `Read` in an io::Error.
    if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return report(inner, phase);
    }
    match (error.kind(), phase) {
        (io::ErrorKind::UnexpectedEof, Phase::Body) => {
            truncated("the connection ended before the announced length")
        }
        (io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock, _) => {
            Report::new(Exit::Deadline, "deadline", "the server did not answer in time")
        }
        (io::ErrorKind::InvalidData, _) => {
            Report::new(Exit::Protocol, "http-protocol", "the server broke the HTTP protocol")
                .explain(error.to_string())
        }
        (io::ErrorKind::UnexpectedEof, Phase::Request) => {
            Report::new(Exit::Connect, "connection-closed", "the server closed the connection")
                .explain("it ended TLS properly, but sent no complete response head")
                .remedy("look at the server's log, then try again")
        }
        _ => Report::new(Exit::Connect, "connection-lost", "the connection was lost")
            .explain(error.to_string())
            .remedy("check the network, then try again"),
    }
}

fn truncated(cause: &str) -> Report {
    let cause = cause.lines().next().unwrap_or_default();
    Report::new(Exit::Truncated, "truncated", "the content was cut short")
        .explain(cause.to_owned())
        .remedy("try again; with --continue (get) what came is kept, and only the rest is sent")
}
