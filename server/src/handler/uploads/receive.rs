//! Taking in the content of a request, as much as comes, and its digest as it passes.

use super::super::failure;
use super::super::upload::fill;
use super::registry::{NO_SPACE, Stop};
use super::store::BUSY;
use crate::http::Rejection;
use crate::message::{BodyError, RequestBody};
use ::http::StatusCode;
use sealpair_common::digest::Hasher;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// What is written at a time, in bytes; as for a plain PUT.
const BUFFER: usize = 256 << 10;

/// Something that looks at content as it passes.
pub(super) trait Watch {
    fn update(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Why not all content of a request was added.
#[derive(Debug)]
pub(super) enum Cut {
    /// It did not come.
    Body(Option<BodyError>),
    /// It could not be written.
    Write(io::Error),
    /// It may not take so much room.
    NoSpace,
    /// There is more of it than there may be.
    TooLong,
    /// A newer request is there.
    Replaced,
}

/// Where content goes.
pub(super) struct Receiving<'r> {
    pub(super) file: &'r File,
    pub(super) offset: &'r mut u64,
    pub(super) limit: u64,
    pub(super) hasher: &'r mut Hasher,
    pub(super) stop: &'r Stop,
    pub(super) may_take: &'r dyn Fn(u64) -> bool,
}

/// Adds content to a file behind an offset, which moves on with it.
pub(super) fn receive(
    to: Receiving<'_>,
    body: &mut RequestBody<'_>,
    watch: &mut dyn Watch,
) -> Result<(), Cut> {
    let size = body.length().and_then(|length| usize::try_from(length).ok());
    let mut buffer = vec![0; size.unwrap_or(BUFFER).clamp(1, BUFFER)];
    loop {
        if to.stop.is_asked() {
            return Err(Cut::Replaced);
        }
        let (filled, end) = fill(body, &mut buffer);
        let mut rest = buffer.get(..filled).unwrap_or_default();
        let after = to.offset.saturating_add(filled as u64);
        if after > to.limit {
            return Err(Cut::TooLong);
        }
        if !(to.may_take)(after) {
            return Err(Cut::NoSpace);
        }
        while !rest.is_empty() {
            match to.file.write_at(rest, *to.offset) {
                Ok(0) => return Err(Cut::Write(ErrorKind::WriteZero.into())),
                Ok(count) => {
                    let (written, left) = rest.split_at(count.min(rest.len()));
                    to.hasher.update(written).map_err(Cut::Write)?;
                    watch.update(written).map_err(Cut::Write)?;
                    *to.offset += written.len() as u64;
                    rest = left;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Cut::Write(error)),
            }
        }
        match end {
            Some(_) if to.stop.is_asked() => return Err(Cut::Replaced),
            Some(Err(error)) => return Err(Cut::Body(BodyError::of(&error))),
            Some(Ok(())) => return Ok(()),
            None => {}
        }
    }
}

/// The answer when content was cut.
pub(super) fn cut(why: Cut) -> Rejection {
    let of_body = |error: BodyError, reason| Rejection::new(error.status(), reason);
    match why {
        Cut::Body(Some(error @ BodyError::Stalled)) => {
            of_body(error, "the content came too slowly; what has come is kept")
        }
        Cut::Body(Some(error @ BodyError::Malformed(_))) => {
            of_body(error, "the content is malformed; what came before is kept")
        }
        Cut::Body(Some(error @ BodyError::TooLarge { .. })) => {
            of_body(error, "the content is too long; what has come is kept")
        }
        Cut::Body(Some(BodyError::Truncated) | None) => {
            Rejection::bad_request("the content is incomplete; what has come is kept")
        }
        Cut::Write(error) => failure::writing("store an upload", &error),
        Cut::NoSpace => NO_SPACE,
        Cut::TooLong => Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "the upload is too long"),
        Cut::Replaced => BUSY,
    }
}

/// The digest of the first `length` bytes of a file: after a restart, once.
pub(super) fn hash(file: &File, length: u64, stop: Option<&Stop>) -> io::Result<Hasher> {
    let mut hasher = Hasher::new()?;
    let mut buffer = vec![0; BUFFER];
    while hasher.length() < length && !stop.is_some_and(Stop::is_asked) {
        let left = usize::try_from(length - hasher.length()).unwrap_or(BUFFER).min(BUFFER);
        let Some(piece) = buffer.get_mut(..left) else { break };
        match file.read_at(piece, hasher.length())? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => hasher.update(piece.get(..count).unwrap_or_default())?,
        }
    }
    Ok(hasher)
}
