//! Field lines (RFC 9112 section 5): the header section of a request.
//!
//! A line is checked byte by byte against the grammar; what passes goes into a `HeaderMap`.
//! Trailers are checked by the same classes in `body`, without being kept.

use super::syntax::{is_field_value, is_token, trim_whitespace};
use super::{Rejection, head::HeadLimits};
use ::http::StatusCode;
use ::http::header::{HeaderMap, HeaderName, HeaderValue};

/// More field lines than the limit (RFC 6585 section 5).
pub(super) const TOO_MANY: Rejection = Rejection::new(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "the request has too many header fields",
);

/// Parses a header section: lines that each end in CRLF.
pub(super) fn parse(section: &[u8], limits: &HeadLimits) -> Result<HeaderMap, Rejection> {
    // Sixteen hold what usual clients send, so that the map does not grow while it is filled.
    let mut headers = HeaderMap::with_capacity(limits.fields.min(16));
    let mut rest = section;
    let mut count = 0;
    while !rest.is_empty() {
        let (line, after) = split_line(rest)?;
        rest = after;
        count += 1;
        if count > limits.fields {
            return Err(TOO_MANY);
        }
        let (name, value) = split_field(line)?;
        headers.try_append(name, value).map_err(|_| TOO_MANY)?;
    }
    Ok(headers)
}

/// The first line without its CRLF, and what follows it. Neither CR nor LF stands in the line.
pub(super) fn split_line(text: &[u8]) -> Result<(&[u8], &[u8]), Rejection> {
    let end = memchr::memchr2(b'\r', b'\n', text)
        .ok_or(Rejection::bad_request("the request head is not complete"))?;
    // RFC 9112 section 2.2 lets a recipient take a bare LF for a line's end. What one recipient
    // takes for a line's end and another for data is a way to smuggle a field past one of them.
    match &text[end..] {
        [b'\r', b'\n', rest @ ..] => Ok((&text[..end], rest)),
        [b'\r', ..] => Err(Rejection::bad_request("the request head has a bare CR")),
        _ => Err(Rejection::bad_request("the request head has a bare LF")),
    }
}

fn split_field(line: &[u8]) -> Result<(HeaderName, HeaderValue), Rejection> {
    // RFC 9112 section 5.2: a server that does not merge folded lines answers 400. Section 2.2 asks
    // for the same where whitespace stands before the first field.
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Rejection::bad_request("a header line begins with whitespace"));
    }
    let colon = line
        .iter()
        .position(|&byte| byte == b':')
        .ok_or(Rejection::bad_request("a header line has no colon"))?;
    let (name, value) = (&line[..colon], trim_whitespace(&line[colon + 1..]));
    // RFC 9112 section 5.1: whitespace between the name and the colon has to be refused. A space is
    // not a token character, so this covers it.
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Rejection::bad_request("a header field has an invalid name"));
    }
    if !value.iter().copied().all(is_field_value) {
        return Err(Rejection::bad_request("a header field has an invalid value"));
    }
    let name = HeaderName::from_bytes(name)
        .map_err(|_| Rejection::bad_request("a header field has an invalid name"))?;
    let value = HeaderValue::from_bytes(value)
        .map_err(|_| Rejection::bad_request("a header field has an invalid value"))?;
    Ok((name, value))
}
