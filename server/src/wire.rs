//! A connection's TLS stream with its input buffer: request heads and content come out, in order.
//!
//! The buffer holds what was read beyond what has been used: the rest of a head, a pipelined request,
//! the beginning of content. While the connection is idle it is small or gone.

use crate::http::Rejection;
use crate::http::body::BodyDecoder;
use crate::http::head::{HeadLimits, RequestHead, parse};
use crate::http::response::CONTINUE;
use crate::http::scan::HeadScanner;
use crate::message::{BodyError, Interim};
use ::http::StatusCode;
use sealpair_common::memory::{self, Spare};
use sealpair_common::tls::{Arrived, Failure, Patience, Reason, TlsStream};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::ops::Range;

/// What is read at a time while a head or chunked framing is expected. Most heads fit; a longer one
/// makes the buffer grow.
const STEP: usize = 4 << 10;

/// How often a client may send nothing but records without data before a request. A key update is due after
/// millions of records (RFC 8446 section 5.5), and one that asks for another counts twice; more often than
/// this, it is to keep the server busy.
const WITHOUT_DATA: u32 = 256;

/// Less room than this is not worth a system call.
const LEAST: usize = 1 << 10;

/// How many records are read for one head at a time: then others get their turn, so that a client that
/// sends its head in a thousand records, or thousands without data, does not keep a thread for itself.
const RECORDS: usize = 16;

/// Content goes past the buffer, straight to the handler, when the handler takes at least this much.
const DIRECT: usize = 1 << 10;

thread_local! {
    /// The buffer of the next connection that this thread serves.
    static SPARE: Spare = const { Cell::new(Vec::new()) };
}

/// How much content that the handler left is skipped, in bytes: what it costs to read on, against what a
/// new handshake costs both ends.
const LITTLE: u64 = 64 << 10;

/// The stream and the bytes read ahead of it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TlsStream,
    buffer: Vec<u8>,
    /// Where in `buffer` the bytes stand that have been read and not used.
    unused: Range<usize>,
    /// How far the head that is being read has been looked at.
    scanner: HeadScanner,
    /// Content of the last request that comes before the next.
    skip: Option<Skip>,
    /// How often nothing but records without data has come since the last request.
    without_data: u32,
}

/// Content that nobody wants.
#[derive(Debug)]
struct Skip {
    decoder: BodyDecoder,
    /// How many bytes on the wire it may still have.
    left: u64,
}

/// What has been read of the next request.
#[derive(Debug)]
pub(crate) enum Heading {
    /// Its whole head.
    Whole(RequestHead),
    /// Something of it, and nothing more is here now.
    Begun,
    /// Too little in so many records; there may be more.
    More {
        /// Whether something of the head is there.
        begun: bool,
    },
    /// Nothing.
    Nothing,
    /// There will be none: the client has ended the connection between two requests.
    Ended,
}

/// Why there is no next request although the client did not end the connection.
#[derive(Debug)]
pub(crate) enum NoRequest {
    /// The connection failed.
    Lost(Failure),
    /// The head is refused.
    Refused(Rejection),
}

impl Wire {
    pub(crate) fn new(stream: TlsStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            unused: 0..0,
            scanner: HeadScanner::new(),
            skip: None,
            without_data: 0,
        }
    }

    /// Whether something of a next request may be here already, so that waiting for it to arrive could
    /// be in vain.
    pub(crate) fn may_have_input(&self) -> bool {
        !self.unused.is_empty() || self.stream.may_have_input()
    }

    /// Reads what has arrived of the next request's head; does not wait.
    pub(crate) fn read_head(&mut self, limits: &HeadLimits) -> Result<Heading, NoRequest> {
        for _ in 0..RECORDS {
            if self.skip()? {
                match self.read_now()? {
                    None => {}
                    Some(heading) => return Ok(heading),
                }
                continue;
            }
            let unused = &self.buffer[self.unused.clone()];
            match self.scanner.scan(unused, limits) {
                Ok(Some(length)) => {
                    let head = parse(&unused[..length], limits).map_err(NoRequest::Refused)?;
                    self.unused.start += length;
                    self.scanner = HeadScanner::new();
                    self.without_data = 0;
                    return Ok(Heading::Whole(head));
                }
                Ok(None) => {}
                Err(rejection) => return Err(NoRequest::Refused(rejection)),
            }
            if let Some(heading) = self.read_now()? {
                return Ok(heading);
            }
        }
        Ok(Heading::More { begun: !self.unused.is_empty() })
    }

    /// Takes in what has arrived; `Some` when nothing has, or nothing will.
    fn read_now(&mut self) -> Result<Option<Heading>, NoRequest> {
        self.make_room();
        match self.stream.read_now(&mut self.buffer[self.unused.end..]) {
            Ok(Arrived::Bytes(0)) => Ok(Some(Heading::Ended)),
            Ok(Arrived::Bytes(count)) => {
                self.unused.end += count;
                Ok(None)
            }
            Ok(Arrived::NoData) => {
                // OpenSSL has worked through all such records that it had taken in, hundreds perhaps.
                self.without_data += 1;
                match self.without_data > WITHOUT_DATA {
                    false => Ok(Some(Heading::More { begun: !self.unused.is_empty() })),
                    true => Err(NoRequest::Refused(Rejection::bad_request(
                        "too many TLS records without data",
                    ))),
                }
            }
            Ok(Arrived::Nothing) if self.unused.is_empty() => Ok(Some(Heading::Nothing)),
            Ok(Arrived::Nothing) => Ok(Some(Heading::Begun)),
            Err(error) => self.lost(&error).map(Some),
        }
    }

    /// Skips content of the last request that is here; whether more of it is to come.
    fn skip(&mut self) -> Result<bool, NoRequest> {
        let Some(Skip { decoder, left }) = &mut self.skip else { return Ok(false) };
        let mut waste = [0; 4 << 10];
        while !decoder.is_done() && !self.unused.is_empty() {
            let decoded = decoder.decode(&self.buffer[self.unused.clone()], &mut waste);
            let malformed = Rejection::bad_request("the content before this request is malformed");
            let consumed = decoded.map_err(|_| NoRequest::Refused(malformed))?.consumed;
            self.unused.start += consumed;
            *left = left.saturating_sub(consumed as u64);
            if *left == 0 && !decoder.is_done() {
                let endless =
                    Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "the content has no end");
                return Err(NoRequest::Refused(endless));
            }
        }
        let more = !decoder.is_done();
        if !more {
            self.skip = None;
        }
        Ok(more)
    }

    fn lost(&self, error: &io::Error) -> Result<Heading, NoRequest> {
        match Failure::of(error) {
            // Between two requests it does not matter how a client leaves.
            Some(failure) if self.scanner.has_begun() => Err(NoRequest::Lost(failure.clone())),
            _ => Ok(Heading::Ended),
        }
    }

    /// Gives the buffer back if nothing is in it, because the connection is going to wait.
    pub(crate) fn rest(&mut self) {
        if self.unused.is_empty() {
            self.unused = 0..0;
            // A long head or much pipelining may have made it grow.
            memory::keep(&SPARE, std::mem::take(&mut self.buffer), STEP);
        }
    }

    /// Reads once into the buffer, and waits for it.
    fn fill(&mut self) -> io::Result<usize> {
        self.make_room();
        let count = self.stream.read(&mut self.buffer[self.unused.end..])?;
        self.unused.end += count;
        Ok(count)
    }

    /// Makes room for a read behind what has not been used.
    fn make_room(&mut self) {
        if self.unused.is_empty() {
            self.unused = 0..0;
            if self.buffer.is_empty() {
                self.buffer = memory::take(&SPARE);
            } else if self.buffer.len() > STEP {
                self.buffer = Vec::new();
            }
        }
        if self.buffer.len() - self.unused.end < LEAST {
            // What has been used makes room first; only then does the buffer grow.
            self.buffer.copy_within(self.unused.clone(), 0);
            self.unused = 0..self.unused.len();
            let wanted = self.unused.end + STEP;
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
        }
    }
}

/// The content of one request, read from the wire as the handler asks for it.
pub(crate) struct Content<'w> {
    wire: &'w mut Wire,
    decoder: BodyDecoder,
    /// The client waits for "100 Continue" before it sends.
    owes_continue: bool,
    failed: Option<BodyError>,
    received: u64,
}

impl<'w> Content<'w> {
    pub(crate) fn new(
        wire: &'w mut Wire,
        decoder: BodyDecoder,
        expect_continue: bool,
        patience: Patience,
    ) -> Self {
        // A client that has sent content already does not wait (RFC 9110 section 10.1.1).
        let owes_continue = expect_continue && !decoder.is_done() && wire.unused.is_empty();
        wire.stream.set_reading(patience);
        Self { wire, decoder, owes_continue, failed: None, received: 0 }
    }

    /// How many bytes of content the handler has taken.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Leaves what the handler did not read to be skipped before the next request, if it is little, so that
    /// the connection can go on. Whether it can. The response does not wait for it.
    pub(crate) fn finish(self) -> bool {
        if self.decoder.is_done() {
            return true;
        }
        // A client that still waits for "100 Continue" may send the content or not: nobody knows what
        // comes next (RFC 9110 section 10.1.1).
        if self.failed.is_some() || self.owes_continue || self.decoder.content_ahead() > LITTLE {
            return false;
        }
        self.wire.skip = Some(Skip { decoder: self.decoder, left: LITTLE });
        true
    }

    fn try_read(&mut self, buf: &mut [u8]) -> Result<usize, BodyError> {
        if buf.is_empty() || self.decoder.is_done() {
            return Ok(0);
        }
        if self.owes_continue {
            self.owes_continue = false;
            let said = self.wire.stream.write_all(CONTINUE);
            said.and_then(|()| self.wire.stream.flush()).map_err(|e| broken(&e))?;
        }
        loop {
            let wire = &mut *self.wire;
            if wire.unused.is_empty() && self.decoder.content_ahead() > 0 && buf.len() >= DIRECT {
                let ahead = usize::try_from(self.decoder.content_ahead()).unwrap_or(usize::MAX);
                let room = buf.len().min(ahead);
                let count = wire.stream.read(&mut buf[..room]).map_err(|e| broken(&e))?;
                if count == 0 {
                    return Err(BodyError::Truncated);
                }
                self.decoder.consumed_directly(count as u64);
                return Ok(count);
            }
            let input = &wire.buffer[wire.unused.clone()];
            let decoded = self.decoder.decode(input, buf)?;
            wire.unused.start += decoded.consumed;
            if decoded.produced > 0 || decoded.done {
                return Ok(decoded.produced);
            }
            if wire.unused.is_empty() && wire.fill().map_err(|e| broken(&e))? == 0 {
                return Err(BodyError::Truncated);
            }
        }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        match self.try_read(buf) {
            Ok(count) => {
                self.received += count as u64;
                Ok(count)
            }
            Err(error) => {
                self.failed = Some(error);
                Err(error.into())
            }
        }
    }
}

impl Interim for Content<'_> {
    fn send_interim(&mut self, head: &[u8]) -> io::Result<()> {
        self.wire.stream.write_all(head)?;
        self.wire.stream.flush()
    }
}

fn broken(error: &io::Error) -> BodyError {
    match Failure::of(error).map(Failure::reason) {
        Some(Reason::Deadline) => BodyError::Stalled,
        _ => BodyError::Truncated,
    }
}
