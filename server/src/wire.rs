//! A connection's TLS stream with its input buffer: request heads and content come out, in order.
//!
//! The buffer holds what was read beyond what has been used: the rest of a head, a pipelined request,
//! the beginning of content. While the connection is idle it is small or gone.

use crate::http::Rejection;
use crate::http::body::BodyDecoder;
use crate::http::head::{HeadLimits, RequestHead, parse};
use crate::http::response::CONTINUE;
use crate::http::scan::HeadScanner;
use crate::message::BodyError;
use sealpair_common::tls::{Failure, Patience, Reason, TlsStream};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::time::Duration;

/// What is read at a time while a head or chunked framing is expected. Most heads fit; a longer one
/// makes the buffer grow, and it shrinks back when the connection is idle.
const STEP: usize = 4 << 10;

/// Less room than this is not worth a system call.
const LEAST: usize = 1 << 10;

/// Content goes past the buffer, straight to the handler, when the handler takes at least this much.
const DIRECT: usize = 1 << 10;

/// The stream and the bytes read ahead of it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TlsStream,
    buffer: Vec<u8>,
    /// Where in `buffer` the bytes stand that have been read and not used.
    unused: Range<usize>,
}

/// How long a head may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeadWait {
    /// All of it, the wait for its first byte included.
    Whole(Patience),
    /// `idle` until its first byte, then `head` for the rest.
    Idle { idle: Duration, head: Duration },
}

/// Why there is no next request.
#[derive(Debug)]
pub(crate) enum NoRequest {
    /// The client has ended the connection, or the network has, between two requests.
    Ended,
    /// Nothing came for too long.
    Idle,
    /// The connection failed in the middle of a head.
    Lost(Failure),
    /// The head is refused.
    Refused(Rejection),
}

impl Wire {
    pub(crate) fn new(stream: TlsStream) -> Self {
        Self { stream, buffer: Vec::new(), unused: 0..0 }
    }

    /// Whether bytes of a next request are here already.
    pub(crate) fn has_input(&self) -> bool {
        !self.unused.is_empty() || self.stream.has_pending()
    }

    /// Waits for a request and reads its head. `begun` is called when the first byte is there.
    pub(crate) fn read_head(
        &mut self,
        limits: &HeadLimits,
        wait: HeadWait,
        begun: impl FnOnce(),
    ) -> Result<RequestHead, NoRequest> {
        let mut scanner = HeadScanner::new();
        let mut begun = Some(begun);
        self.stream.set_reading(match wait {
            HeadWait::Whole(patience) => patience,
            HeadWait::Idle { idle, .. } => Patience::for_next(idle),
        });
        loop {
            if !self.unused.is_empty()
                && let Some(begun) = begun.take()
            {
                begun();
                if let HeadWait::Idle { head, .. } = wait {
                    self.stream.set_reading(Patience::for_next(head));
                }
            }
            let unused = &self.buffer[self.unused.clone()];
            match scanner.scan(unused, limits) {
                Ok(Some(length)) => {
                    let head = parse(&unused[..length], limits).map_err(NoRequest::Refused)?;
                    self.unused.start += length;
                    return Ok(head);
                }
                Ok(None) => {}
                Err(rejection) => return Err(NoRequest::Refused(rejection)),
            }
            match self.fill() {
                Ok(0) => return Err(NoRequest::Ended),
                Ok(_) => {}
                Err(error) => return Err(no_request(&error, scanner.has_begun())),
            }
        }
    }

    /// Reads once into the buffer.
    fn fill(&mut self) -> io::Result<usize> {
        if self.unused.is_empty() {
            self.unused = 0..0;
            // A long head or much pipelining has made it grow; while idle, a page is enough.
            if self.buffer.capacity() > STEP {
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
        let count = self.stream.read(&mut self.buffer[self.unused.end..])?;
        self.unused.end += count;
        Ok(count)
    }
}

fn no_request(error: &io::Error, begun: bool) -> NoRequest {
    match Failure::of(error) {
        Some(failure) if begun => NoRequest::Lost(failure.clone()),
        Some(failure) if failure.reason() == Reason::Deadline => NoRequest::Idle,
        _ => NoRequest::Ended,
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

    /// Reads what the handler left, if it is little, so that the connection can go on. Whether it can.
    pub(crate) fn finish(mut self) -> bool {
        /// What it costs to read on, against what a new handshake costs both ends.
        const LITTLE: u64 = 64 << 10;
        // A client that still waits for "100 Continue" may send the content or not: nobody knows what
        // comes next (RFC 9110 section 10.1.1).
        if self.failed.is_some() || self.owes_continue {
            return self.decoder.is_done();
        }
        let mut waste = [0; 4 << 10];
        let mut wasted = 0;
        while !self.decoder.is_done() {
            if wasted + self.decoder.content_ahead() > LITTLE {
                return false;
            }
            match self.read(&mut waste) {
                Ok(count) => wasted += count as u64,
                Err(_) => return false,
            }
        }
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

fn broken(error: &io::Error) -> BodyError {
    match Failure::of(error).map(Failure::reason) {
        Some(Reason::Deadline) => BodyError::Stalled,
        _ => BodyError::Truncated,
    }
}
