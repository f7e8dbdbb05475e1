//! The head of a request: read strictly, refused with a reason.
//!
//! [`parse`] takes a whole head, as [`HeadScanner`](super::scan::HeadScanner) found it: the request
//! line here, the target in `target`, the header section in `fields`; then the fields that govern
//! the connection are read, so that no later code has to interpret them again.

use super::syntax::is_token;
use super::{Framing, Rejection, fields, target};
use ::http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use ::http::header::{HeaderName, HeaderValue};
use ::http::{HeaderMap, Method, StatusCode, Version};

/// The longest method: longer than any that is registered (RFC 9112 section 3 asks for 501 beyond
/// what a server knows).
pub(super) const MAX_METHOD: usize = 32;

/// The length of `HTTP/1.1`; every version is as long (RFC 9112 section 2.3).
pub(super) const VERSION_LENGTH: usize = 8;

pub(super) const BAD_REQUEST_LINE: Rejection =
    Rejection::bad_request("the request line is not `METHOD TARGET HTTP/1.1`");

pub(super) const UNKNOWN_METHOD: Rejection =
    Rejection::new(StatusCode::NOT_IMPLEMENTED, "the method is not known here");

pub(super) const TARGET_TOO_LONG: Rejection =
    Rejection::new(StatusCode::URI_TOO_LONG, "the request target is too long");

/// RFC 6585 section 5.
pub(super) const TOO_LONG: Rejection =
    Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too long");

/// How much of a head the server takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HeadLimits {
    /// The whole head in bytes, with the empty line that ends it. Default: 32 KiB, what nginx takes
    /// (`large_client_header_buffers 4 8k`).
    pub head: usize,
    /// The request target in bytes. Default: 8 KiB; RFC 9112 section 3 asks for 8000 at least.
    pub target: usize,
    /// The number of field lines. Default: 100, as Apache httpd (`LimitRequestFields`).
    pub fields: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head: 32 * 1024, target: 8 * 1024, fields: 100 }
    }
}

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The request target in origin form, or `*`.
    pub target: String,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The header fields. In a request with an absolute target, `Host` is that target's authority.
    pub headers: HeaderMap,
    /// How the end of the content is found.
    pub framing: Framing,
    /// Whether the client takes another response on this connection: HTTP/1.1 without
    /// `Connection: close`. HTTP/1.0 clients get one response; their keep-alive was never specified
    /// well enough to be safe (RFC 9112 appendix C.2.2).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends its content (RFC 9110 section
    /// 10.1.1).
    pub expect_continue: bool,
}

impl RequestHead {
    /// The path of the target.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// The query of the target.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The host the request is for, with its port if it names one, as sent: compare it without
    /// regard to case. Only HTTP/1.0 requests may have none.
    pub fn authority(&self) -> Option<&str> {
        self.headers.get(HOST)?.to_str().ok()
    }
}

/// Parses a whole request head, with the empty line that ends it.
///
/// ```
/// use sealpair_server::http::head::{HeadLimits, parse};
/// let head = b"GET /a?b HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// assert_eq!(parse(head, &HeadLimits::default()).unwrap().path(), "/a");
/// ```
///
/// # Errors
///
/// Everything that RFC 9112 does not permit, and what it permits but cannot be told apart from an
/// attempt to make two recipients disagree.
pub fn parse(head: &[u8], limits: &HeadLimits) -> Result<RequestHead, Rejection> {
    if head.len() > limits.head {
        return Err(TOO_LONG);
    }
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let (line, rest) = fields::split_line(head)?;
    let section = rest
        .strip_suffix(b"\r\n")
        .ok_or(Rejection::bad_request("the request head is not complete"))?;

    let (method, rest) = split_at_space(line)?;
    let (target, version) = split_at_space(rest)?;
    let version = parse_version(version)?;
    let method = parse_method(method)?;
    if target.len() > limits.target {
        return Err(TARGET_TOO_LONG);
    }
    let target = target::parse(&method, target)?;
    let mut headers = fields::parse(section, limits)?;
    require_host(&headers, version)?;
    if let Some(authority) = target.authority {
        // RFC 9112 section 3.2.2: the target's authority counts, and whatever `Host` says is
        // ignored.
        let value = HeaderValue::from_str(authority)
            .map_err(|_| Rejection::bad_request("the host is not valid"))?;
        headers.insert(HOST, value);
    }
    let framing = framing(&headers, version)?;
    let expects = expects_continue(&headers)?;
    Ok(RequestHead {
        keep_alive: version == Version::HTTP_11 && !lists(&headers, &CONNECTION, "close"),
        // RFC 9110 section 10.1.1: from HTTP/1.0 the expectation is ignored; without content there
        // is nothing to wait for.
        expect_continue: expects
            && version == Version::HTTP_11
            && !matches!(framing, Framing::None | Framing::Length(0)),
        method,
        target: target.origin,
        version,
        headers,
        framing,
    })
}

fn split_at_space(text: &[u8]) -> Result<(&[u8], &[u8]), Rejection> {
    let at = text.iter().position(|&byte| byte == b' ').ok_or(BAD_REQUEST_LINE)?;
    Ok((&text[..at], &text[at + 1..]))
}

fn parse_method(method: &[u8]) -> Result<Method, Rejection> {
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(BAD_REQUEST_LINE);
    }
    if method.len() > MAX_METHOD {
        return Err(UNKNOWN_METHOD);
    }
    match Method::from_bytes(method).map_err(|_| BAD_REQUEST_LINE)? {
        // RFC 9110 section 9.3.6: its target is an authority, and what follows is not HTTP.
        Method::CONNECT => {
            Err(Rejection::new(StatusCode::NOT_IMPLEMENTED, "this server is not a proxy"))
        }
        method => Ok(method),
    }
}

/// Reads `HTTP/1.0` or `HTTP/1.1` (RFC 9112 section 2.3; the name is case-sensitive).
pub(super) fn parse_version(version: &[u8]) -> Result<Version, Rejection> {
    let Some(&[major, b'.', minor]) = version.strip_prefix(b"HTTP/") else {
        return Err(BAD_REQUEST_LINE);
    };
    match (major, minor) {
        (b'1', b'0') => Ok(Version::HTTP_10),
        // RFC 9110 section 2.5: a higher minor version is processed as the highest one known.
        (b'1', b'1'..=b'9') => Ok(Version::HTTP_11),
        (b'2'..=b'9', b'0'..=b'9') => Err(Rejection::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "this server speaks HTTP/1.1",
        )),
        _ => Err(BAD_REQUEST_LINE),
    }
}

/// RFC 9112 section 3.2: 400 unless an HTTP/1.1 request has exactly one valid `Host`.
fn require_host(headers: &HeaderMap, version: Version) -> Result<(), Rejection> {
    match only(headers, &HOST, "more than one Host field")? {
        Some(host) => target::parse_authority(host.as_bytes()).map(|_| ()),
        None if version == Version::HTTP_10 => Ok(()),
        None => Err(Rejection::bad_request("the Host field is missing")),
    }
}

/// RFC 9112 section 6.3, with every case refused in which a recipient might find another end.
fn framing(headers: &HeaderMap, version: Version) -> Result<Framing, Rejection> {
    let length = only(headers, &CONTENT_LENGTH, "more than one Content-Length field")?;
    let coding = only(headers, &TRANSFER_ENCODING, "more than one Transfer-Encoding field")?;
    match (length, coding) {
        (None, None) => Ok(Framing::None),
        (Some(length), None) => parse_length(length.as_bytes()).map(Framing::Length),
        // RFC 9112 section 6.1: both together "ought to be handled as an error".
        (Some(_), Some(_)) => {
            Err(Rejection::bad_request("Content-Length and Transfer-Encoding exclude each other"))
        }
        // RFC 9112 section 6.1: HTTP/1.0 has no transfer codings, so the framing is faulty.
        (None, Some(_)) if version == Version::HTTP_10 => {
            Err(Rejection::bad_request("HTTP/1.0 has no Transfer-Encoding"))
        }
        (None, Some(coding)) => require_chunked(coding.as_bytes()).map(|()| Framing::Chunked),
    }
}

/// Digits that fit 64 bits: no sign, no whitespace, no list, not even of equal values, which RFC
/// 9112 section 6.3 would let pass.
fn parse_length(value: &[u8]) -> Result<u64, Rejection> {
    const BAD_LENGTH: Rejection = Rejection::bad_request("Content-Length is not a length");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(BAD_LENGTH);
    }
    value
        .iter()
        .try_fold(0u64, |length, digit| {
            length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(BAD_LENGTH)
}

/// `chunked` and nothing else.
fn require_chunked(value: &[u8]) -> Result<(), Rejection> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.split(|&byte| byte == b',').map(super::syntax::trim_whitespace);
    let last_is_chunked =
        codings.next_back().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let others_are_codings = codings.all(|coding| {
        !coding.is_empty()
            && coding.iter().copied().all(is_token)
            && !coding.eq_ignore_ascii_case(b"chunked")
            && !coding.eq_ignore_ascii_case(b"identity")
    });
    Err(match last_is_chunked && others_are_codings {
        // RFC 9112 section 6.1: the end could be found, but the content not decoded.
        true => Rejection::new(
            StatusCode::NOT_IMPLEMENTED,
            "no transfer coding but chunked is known here",
        ),
        // RFC 9112 section 6.3: chunked is not the last coding, so the end cannot be found.
        false => Rejection::bad_request("Transfer-Encoding is not `chunked`"),
    })
}

/// RFC 9110 section 10.1.1: 417 for every expectation but the one that is defined.
fn expects_continue(headers: &HeaderMap) -> Result<bool, Rejection> {
    let mut values = headers.get_all(EXPECT).iter().peekable();
    let expects = values.peek().is_some();
    if values.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        Ok(expects)
    } else {
        Err(Rejection::new(
            StatusCode::EXPECTATION_FAILED,
            "no expectation but 100-continue is known here",
        ))
    }
}

/// Whether a field that is a list of tokens has this one (RFC 9110 section 5.6.1).
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|item| super::syntax::trim_whitespace(item).eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// The value of a field that may stand in a request once.
fn only<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    repeated: &'static str,
) -> Result<Option<&'h HeaderValue>, Rejection> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Rejection::bad_request(repeated)),
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
