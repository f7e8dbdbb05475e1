//! Writing the head of a response, and the chunks of content whose length is not known.
//!
//! The fields that belong to the connection are written here and nowhere else; what a handler set
//! in their place is dropped. Names and values come from the `http` crate's types, which hold
//! neither CR nor LF nor NUL, so nothing that a handler sets can begin another field or another
//! response.

use super::Framing;
use ::http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use ::http::{HeaderMap, Method, StatusCode, Version};

/// The interim response that asks for the content (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How a response announces the end of its content, whose length is `length` where that is known.
///
/// An HTTP/1.0 client does not know chunks: [`Framing::None`] is for it then, and the connection
/// has to be closed after the content (RFC 9112 section 6.3).
pub fn framing(version: Version, length: Option<u64>) -> Framing {
    match length {
        Some(length) => Framing::Length(length),
        None if version == Version::HTTP_10 => Framing::None,
        None => Framing::Chunked,
    }
}

/// Whether content follows the head of a response (RFC 9112 section 6.3). Where it does not, the
/// fields still describe what a GET would have sent.
pub fn has_content(method: &Method, status: StatusCode) -> bool {
    *method != Method::HEAD && !is_bodiless(status) && status != StatusCode::NOT_MODIFIED
}

/// The statuses that forbid Content-Length and Transfer-Encoding (RFC 9110 section 8.6, RFC 9112
/// section 6.1).
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

/// Appends the head of a response to `out`, with the empty line that ends it.
///
/// `framing` is left out where the status forbids it. `date` is the current time as an IMF-fixdate
/// (RFC 9110 section 5.6.7); the connection formats it once a second and not for every response.
pub fn write_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    connection_close: bool,
    date: &str,
) {
    begin_head(out, status, date);
    write_fields(out, headers);
    end_head(out, status, framing, connection_close);
}

/// Appends the status line and the date.
pub(crate) fn begin_head(out: &mut Vec<u8>, status: StatusCode, date: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    // RFC 9112 section 4: the space stands even where no reason phrase follows.
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    if !status.is_informational() {
        write_field(out, b"Date", date.as_bytes());
    }
}

/// What stands behind the status, for people.
fn reason_phrase(status: StatusCode) -> &'static str {
    match status.as_u16() {
        // draft-ietf-httpbis-resumable-upload, which the `http` crate does not know.
        104 => "Upload Resumption Supported",
        _ => status.canonical_reason().unwrap_or_default(),
    }
}

/// Appends field lines, but for those that belong to the connection.
pub(crate) fn write_fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, DATE].contains(name) {
            continue;
        }
        write_field(out, name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Appends how the content is framed, whether the connection closes, and the empty line.
pub(crate) fn end_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    framing: Framing,
    connection_close: bool,
) {
    match framing {
        Framing::Chunked if !is_bodiless(status) => {
            write_field(out, b"Transfer-Encoding", b"chunked");
        }
        Framing::Length(length) if !is_bodiless(status) => {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked | Framing::Length(_) | Framing::None => {}
    }
    if connection_close {
        write_field(out, b"Connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_decimal(out: &mut Vec<u8>, number: u64) {
    // 64 bits have twenty decimal digits at most.
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Frames content in chunks (RFC 9112 section 7.1). The data itself never passes through: the
/// caller sends what [`chunk`](Self::chunk) wrote, then the data.
///
/// ```
/// use sealpair_server::http::response::ChunkedEncoder;
/// let (mut encoder, mut out) = (ChunkedEncoder::default(), Vec::new());
/// for data in ["Hello, ", "HTTPS!"] {
///     encoder.chunk(&mut out, data.len() as u64);
///     out.extend_from_slice(data.as_bytes());
/// }
/// encoder.finish(&mut out);
/// assert_eq!(out, b"7\r\nHello, \r\n6\r\nHTTPS!\r\n0\r\n\r\n");
/// ```
#[derive(Clone, Debug, Default)]
pub struct ChunkedEncoder {
    /// Whether the CRLF of an earlier chunk is still to be written.
    open: bool,
}

impl ChunkedEncoder {
    /// Appends what stands before a chunk of `length` bytes. Writes nothing for an empty one: a
    /// chunk of length zero would end the content.
    pub fn chunk(&mut self, out: &mut Vec<u8>, length: u64) {
        if length == 0 {
            return;
        }
        self.close(out);
        let digits = length.ilog2() / 4 + 1;
        for at in (0..digits).rev() {
            out.push(b"0123456789abcdef"[(length >> (4 * at) & 0xf) as usize]);
        }
        out.extend_from_slice(b"\r\n");
        self.open = true;
    }

    /// Appends what ends the content. A body that was cut short must not get it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        out.extend_from_slice(b"0\r\n\r\n");
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open {
            out.extend_from_slice(b"\r\n");
            self.open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn head(status: u16, headers: &HeaderMap, framing: Framing, close: bool) -> String {
        let mut out = Vec::new();
        let status = StatusCode::from_u16(status).unwrap();
        write_head(&mut out, status, headers, framing, close, NOW);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_has_status_fields_and_length() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(
            head(200, &headers, Framing::Length(12), false),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-type: text/plain\r\n\
             Content-Length: 12\r\n\r\n"
        );
    }

    #[test]
    fn every_length_is_written_as_it_is() {
        for length in [0, 9, 10, 4096, u64::MAX] {
            let head = head(200, &HeaderMap::new(), Framing::Length(length), true);
            assert!(
                head.ends_with(&format!("Content-Length: {length}\r\nConnection: close\r\n\r\n"))
            );
        }
    }

    #[test]
    fn content_of_unknown_length_is_chunked_but_not_for_http_1_0() {
        assert_eq!(framing(Version::HTTP_11, None), Framing::Chunked);
        assert_eq!(framing(Version::HTTP_10, None), Framing::None);
        assert_eq!(framing(Version::HTTP_10, Some(3)), Framing::Length(3));
        let head = head(200, &HeaderMap::new(), Framing::Chunked, false);
        assert!(head.ends_with("Transfer-Encoding: chunked\r\n\r\n"));
    }

    #[test]
    fn a_status_without_content_has_no_framing() {
        for status in [100, 103, 204] {
            for framing in [Framing::Length(0), Framing::Chunked] {
                let head = head(status, &HeaderMap::new(), framing, false).to_lowercase();
                assert!(!head.contains("content-length"), "{head}");
                assert!(!head.contains("transfer-encoding"), "{head}");
            }
        }
        assert!(head(304, &HeaderMap::new(), Framing::Length(7), false).contains("Length: 7"));
        assert!(head(205, &HeaderMap::new(), Framing::Length(0), false).contains("Length: 0"));
    }

    #[test]
    fn what_belongs_to_the_connection_is_not_the_handlers_to_set() {
        let mut headers = HeaderMap::new();
        for name in ["content-length", "transfer-encoding", "connection", "date"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("forged"));
        }
        let head = head(200, &headers, Framing::Length(0), false);
        assert!(!head.contains("forged"), "{head}");
    }

    #[test]
    fn a_status_without_a_name_keeps_its_space() {
        assert!(
            head(299, &HeaderMap::new(), Framing::None, false).starts_with("HTTP/1.1 299 \r\n")
        );
    }

    #[test]
    fn content_follows_except_where_the_method_or_the_status_says_no() {
        assert!(has_content(&Method::GET, StatusCode::OK));
        assert!(has_content(&Method::GET, StatusCode::NOT_FOUND));
        assert!(!has_content(&Method::HEAD, StatusCode::OK));
        assert!(!has_content(&Method::GET, StatusCode::NO_CONTENT));
        assert!(!has_content(&Method::GET, StatusCode::NOT_MODIFIED));
        assert!(!has_content(&Method::GET, StatusCode::CONTINUE));
    }

    #[test]
    fn chunk_sizes_are_hexadecimal_and_an_empty_chunk_is_none() {
        for length in [1, 9, 15, 16, 255, 256, 0x1_0000, u64::MAX] {
            let mut out = Vec::new();
            ChunkedEncoder::default().chunk(&mut out, length);
            assert_eq!(out, format!("{length:x}\r\n").into_bytes());
        }
        let (mut encoder, mut out) = (ChunkedEncoder::default(), Vec::new());
        encoder.chunk(&mut out, 0);
        assert!(out.is_empty());
        encoder.finish(&mut out);
        assert_eq!(out, b"0\r\n\r\n");
    }
}
