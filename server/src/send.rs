//! Sending a response: the head and a small body in one write, bulk in large pieces.

use crate::http::Framing;
use crate::http::response::{ChunkedEncoder, begin_head, end_head, framing, has_content};
use crate::message::{Body, FilePart, Response};
use crate::open_file::OpenFile;
use ::http::{Method, Version};
use sealpair_common::memory::{self, Spare};
use sealpair_common::tls::TlsStream;
use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A body up to this size goes out together with its head: one TLS record (RFC 8446 section 5.1 allows
/// 2^14 bytes) and one system call.
const SMALL: u64 = 14 << 10;

/// The most that the buffer of heads keeps: a usual head, and a small body behind it.
const KEEP: usize = 32 << 10;

/// What is read from a file or a stream at a time: a few records, so that the copy stays in the cache.
const PIECE: usize = 64 << 10;

thread_local! {
    /// The buffer of the next head, with a small body behind it, that this thread sends.
    static SPARE: Spare = const { Cell::new(Vec::new()) };
}

/// How a response went out.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Bytes of content.
    pub(crate) bytes: u64,
    /// The connection cannot go on: the body ended early, or its end is the connection's end.
    pub(crate) ends_connection: bool,
    /// What went wrong, if something did.
    pub(crate) error: Option<io::Error>,
}

/// What the response answers.
pub(crate) struct Answers<'r> {
    pub(crate) method: &'r Method,
    pub(crate) version: Version,
    pub(crate) close: bool,
}

/// Sends a response.
///
/// A body that turns out shorter than announced, or fails, cuts the connection without TLS's
/// close_notify: the client must not take what came for the whole.
pub(crate) fn send(stream: &mut TlsStream, answers: &Answers<'_>, response: Response) -> Sent {
    let Response { status, fields, body } = response;
    let with_content = has_content(answers.method, status);
    let framing = match &body {
        // Nobody knows here what length a GET would have had, and another must not be named
        // (RFC 9110 section 8.6).
        Body::Empty if !with_content => Framing::None,
        _ => framing(answers.version, body.length()),
    };
    // Without a length and without chunks, the end of the connection is the end of the content.
    let until_close = with_content && framing == Framing::None;
    let close = answers.close || until_close;
    let mut out = memory::take(&SPARE);
    out.clear();
    with_date(|date| begin_head(&mut out, status, date));
    fields.write(&mut out);
    end_head(&mut out, status, framing, close);

    let mut sent = Sent { ends_connection: close, ..Sent::default() };
    let result = match body {
        Body::Empty => stream.write_all(&out),
        _ if !with_content => stream.write_all(&out),
        Body::Bytes(bytes) => {
            let written = if bytes.len() as u64 <= SMALL {
                out.extend_from_slice(&bytes);
                stream.write_all(&out)
            } else {
                stream.write_all(&out).and_then(|()| stream.write_all(&bytes))
            };
            written.inspect(|()| sent.bytes = bytes.len() as u64)
        }
        Body::File { file, offset, length } => {
            let part = offset..offset.saturating_add(length);
            send_file(stream, &mut out, &file, part, &mut sent.bytes)
        }
        Body::FileParts { file, parts, end } => {
            send_parts(stream, &out, &file, &parts, &end, &mut sent.bytes)
        }
        Body::Stream { reader, .. } => send_stream(stream, &out, reader, framing, &mut sent.bytes),
    };
    memory::keep(&SPARE, out, KEEP);
    // Where this is the last response, close_notify leaves with it.
    let done = result.and_then(|()| if close { stream.end() } else { stream.flush() });
    if let Err(error) = done {
        stream.abort();
        sent.ends_connection = true;
        sent.error = Some(error);
    }
    sent
}

/// Sends a part of a file, a small one together with the head.
fn send_file(
    stream: &mut TlsStream,
    out: &mut Vec<u8>,
    file: &OpenFile,
    part: Range<u64>,
    sent: &mut u64,
) -> io::Result<()> {
    let length = part.end.saturating_sub(part.start);
    if length > SMALL {
        stream.write_all(out)?;
        return send_bytes(stream, file, part, &mut vec![0; PIECE], sent);
    }
    let head = out.len();
    // At most SMALL, so it fits.
    out.resize(head + length as usize, 0);
    file.read_small(&mut out[head..], part.start)?;
    if !file.is_unchanged()? {
        return Err(changed());
    }
    stream.write_all(out)?;
    *sent = length;
    Ok(())
}

/// Sends the bytes of a part of a file. The last piece leaves only if all that was read is of the version that
/// the head of the response speaks of.
fn send_bytes(
    stream: &mut TlsStream,
    file: &OpenFile,
    part: Range<u64>,
    piece: &mut [u8],
    sent: &mut u64,
) -> io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        let room = usize::try_from(part.end - at).unwrap_or(usize::MAX).min(piece.len());
        let count = match file.file().read_at(&mut piece[..room], at) {
            Ok(0) => return Err(shorter(part.end - part.start)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        at += count as u64;
        if at >= part.end && !file.is_unchanged()? {
            return Err(changed());
        }
        stream.write_all(&piece[..count])?;
        *sent += count as u64;
    }
    Ok(())
}

/// Sends parts of a file, each behind its own head.
fn send_parts(
    stream: &mut TlsStream,
    out: &[u8],
    file: &OpenFile,
    parts: &[FilePart],
    end: &[u8],
    sent: &mut u64,
) -> io::Result<()> {
    stream.write_all(out)?;
    let mut piece = vec![0; PIECE];
    for FilePart { head, offset, length } in parts {
        stream.write_all(head)?;
        *sent += head.len() as u64;
        send_bytes(stream, file, *offset..offset.saturating_add(*length), &mut piece, sent)?;
    }
    stream.write_all(end)?;
    *sent += end.len() as u64;
    Ok(())
}

fn send_stream(
    stream: &mut TlsStream,
    out: &[u8],
    mut reader: Box<dyn Read + Send>,
    framing: Framing,
    sent: &mut u64,
) -> io::Result<()> {
    stream.write_all(out)?;
    let mut encoder = ChunkedEncoder::default();
    let mut frame = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let room = match framing {
            Framing::Length(length) => (length - *sent).min(PIECE as u64) as usize,
            Framing::Chunked | Framing::None => PIECE,
        };
        if room == 0 {
            return Ok(());
        }
        let count = match reader.read(&mut piece[..room]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        match (framing, count) {
            (Framing::Length(length), 0) => return Err(shorter(length)),
            (Framing::None, 0) => return Ok(()),
            (Framing::Chunked, 0) => {
                frame.clear();
                encoder.finish(&mut frame);
                return stream.write_all(&frame);
            }
            (Framing::Chunked, _) => {
                frame.clear();
                encoder.chunk(&mut frame, count as u64);
                stream.write_all(&frame)?;
            }
            (Framing::Length(_) | Framing::None, _) => {}
        }
        stream.write_all(&piece[..count])?;
        *sent += count as u64;
        if count < room {
            // It has no more at the moment: what is there must not wait for what is not.
            stream.flush()?;
        }
    }
}

/// The file is another version than the head of the response speaks of.
fn changed() -> io::Error {
    io::Error::other("the file changed while it was sent")
}

fn shorter(length: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the content ended before its announced length of {length} bytes"),
    )
}

/// The current time as a `Date` field (RFC 9110 section 6.6.1), formatted once a second and thread.
fn with_date<R>(use_it: impl FnOnce(&str) -> R) -> R {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    DATE.with_borrow_mut(|(formatted, date)| {
        if *formatted != second || date.is_empty() {
            *date = httpdate::fmt_http_date(now);
            *formatted = second;
        }
        use_it(date)
    })
}
