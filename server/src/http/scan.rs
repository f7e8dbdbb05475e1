//! Finding the end of a request head in a buffer that grows.
//!
//! The connection appends what it read and asks again. The scanner looks at every byte once,
//! however small the pieces are in which a client sends them, and refuses as soon as the bytes
//! cannot become a request that the server would take: so a client that speaks something else, or
//! too much, gets its answer at the offending byte and not at the deadline. What it lets through is
//! parsed by [`parse`](super::head::parse), which checks everything again that a head alone can
//! show.

use super::Rejection;
use super::fields;
use super::head::{self, HeadLimits};
use super::syntax::is_token;

/// Where in the head the next byte stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Part {
    #[default]
    Start,
    Method,
    Target,
    Version,
    Fields,
}

/// Finds the end of one request head. Each request needs a new one.
#[derive(Clone, Debug, Default)]
pub struct HeadScanner {
    part: Part,
    /// How many bytes have been looked at.
    at: usize,
    /// Where the method, target, version or field line began.
    start: usize,
    /// Whether the byte before was a CR that ends a line.
    cr: bool,
    /// Whether an empty line has been skipped.
    skipped: bool,
    /// How many field lines have begun.
    fields: usize,
}

impl HeadScanner {
    /// A scanner at the beginning of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether any byte of a request has been seen: a connection that ends before that ended
    /// between two requests.
    pub fn has_begun(&self) -> bool {
        self.part != Part::Start
    }

    /// Looks at what was appended to `buf` since the last call. `buf` begins where the request
    /// begins, and holds everything that earlier calls were given.
    ///
    /// Gives the length of the head, with the empty line that ends it, once that is known; what
    /// follows in `buf` is content, or the next request.
    ///
    /// # Errors
    ///
    /// Bytes that cannot become a request that the server takes.
    pub fn scan(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Rejection> {
        loop {
            self.skip_plain(buf, limits);
            let Some(&byte) = buf.get(self.at) else {
                return Ok(None);
            };
            if self.step(byte, buf, limits)? {
                return Ok(Some(self.at));
            }
            if self.at >= limits.head {
                return Err(head::TOO_LONG);
            }
        }
    }

    /// Passes over the inside of the target and of a field line, where most bytes of a head are, faster
    /// than byte by byte: up to the next byte that means something, or to the last that may be there.
    fn skip_plain(&mut self, buf: &[u8], limits: &HeadLimits) {
        if self.cr || !matches!(self.part, Part::Target | Part::Fields) {
            return;
        }
        let end = buf.len().min(limits.head.saturating_sub(1));
        if self.part == Part::Target {
            let end = end.min(self.start.saturating_add(limits.target));
            if let Some(rest) = buf.get(self.at..end) {
                let special = |&byte: &u8| matches!(byte, b' ' | b'\r' | b'\n' | 0);
                self.at += rest.iter().position(special).unwrap_or(rest.len());
            }
            return;
        }
        if self.at == self.start {
            return;
        }
        if let Some(rest) = buf.get(self.at..end) {
            self.at += memchr::memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
        }
    }

    /// Takes one byte; says whether it is the last of the head.
    fn step(&mut self, byte: u8, buf: &[u8], limits: &HeadLimits) -> Result<bool, Rejection> {
        let at = self.at;
        self.at += 1;
        if self.cr {
            if byte != b'\n' {
                return Err(Rejection::bad_request("the request head has a bare CR"));
            }
            self.cr = false;
            return self.line_end(at, buf);
        }
        match byte {
            b'\n' => return Err(Rejection::bad_request("the request head has a bare LF")),
            0 => return Err(Rejection::bad_request("the request head has a NUL byte")),
            b'\r' => return self.carriage_return(),
            _ => {}
        }
        match self.part {
            Part::Start => {
                if !is_token(byte) {
                    return Err(not_http(byte));
                }
                self.part = Part::Method;
                self.start = at;
            }
            Part::Method => match byte {
                b' ' => self.enter(Part::Target),
                _ if !is_token(byte) => return Err(not_http(byte)),
                _ if at - self.start >= head::MAX_METHOD => return Err(head::UNKNOWN_METHOD),
                _ => {}
            },
            Part::Target => match byte {
                b' ' => self.enter(Part::Version),
                _ if at - self.start >= limits.target => return Err(head::TARGET_TOO_LONG),
                _ => {}
            },
            Part::Version => {
                if at - self.start >= head::VERSION_LENGTH {
                    return Err(head::BAD_REQUEST_LINE);
                }
            }
            Part::Fields => {
                if at == self.start {
                    self.fields += 1;
                    if self.fields > limits.fields {
                        return Err(fields::TOO_MANY);
                    }
                }
            }
        }
        Ok(false)
    }

    fn enter(&mut self, part: Part) {
        self.part = part;
        self.start = self.at;
    }

    fn carriage_return(&mut self) -> Result<bool, Rejection> {
        match self.part {
            // RFC 9112 section 2.2: at least one empty line before the request line should be
            // ignored. One is what an old client sends after content; more is somebody holding the
            // connection open.
            Part::Start if self.skipped => {
                Err(Rejection::bad_request("more than one empty line before the request"))
            }
            // This is also how an HTTP/0.9 request looks: it has no version, and sends no more.
            Part::Method | Part::Target => Err(head::BAD_REQUEST_LINE),
            Part::Start | Part::Version | Part::Fields => {
                self.cr = true;
                Ok(false)
            }
        }
    }

    /// Ends the line whose LF stands at `at`.
    fn line_end(&mut self, at: usize, buf: &[u8]) -> Result<bool, Rejection> {
        match self.part {
            Part::Start => self.skipped = true,
            Part::Fields if at == self.start + 1 => return Ok(true),
            Part::Fields => self.start = self.at,
            Part::Method | Part::Target | Part::Version => {
                // Another version is told at once: its client may wait for an answer to this line
                // alone. The preface of HTTP/2, `PRI * HTTP/2.0`, is such a line (RFC 9113 section
                // 3.4).
                head::parse_version(buf.get(self.start..at - 1).unwrap_or_default())?;
                self.enter(Part::Fields);
            }
        }
        Ok(false)
    }
}

/// Bytes that no method holds.
fn not_http(byte: u8) -> Rejection {
    // A TLS record of the handshake (RFC 8446 section 5.1): somebody wraps TLS in TLS.
    const TLS_HANDSHAKE: u8 = 22;
    Rejection::bad_request(match byte {
        TLS_HANDSHAKE => "the bytes are a TLS handshake inside this TLS connection, not HTTP",
        _ => "the bytes are not an HTTP request",
    })
}
