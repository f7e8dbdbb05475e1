//! PUT: a whole file or nothing (RFC 9110 section 9.3.4).
//!
//! What can be refused is refused before the content is read, so a client that waits for `100
//! Continue` sends none in vain. The content goes into a [`TemporaryFile`] in the same folder, in
//! constant memory, and takes its name when it is complete.
//!
//! The new file has the mode of the one that it replaces, not its owner, its access control list or
//! its other names (hard links), which keep the old content. Writing needs the right to write in
//! the folder, as rename(2) does; that a file itself is read-only does not protect it.

use super::beneath::{Folder, Identity, Resolved, Root};
use super::digest_fields::{Declared, REPR_DIGEST, wants_digest};
use super::digests::Digests;
use super::failure;
use super::path::{FilePath, PathError};
use super::place::{self, Names, Placed};
use super::precondition;
use super::representation::entity_tag;
use super::temporary::TemporaryFile;
use crate::http::Rejection;
use crate::message::{BodyError, Request, RequestBody, Response};
use ::http::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderValue};
use ::http::{HeaderMap, StatusCode};
use rustix::fs::fstatvfs;
use sealpair_common::digest::{Hasher, Sha256};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// The most that one upload holds in memory, in bytes. Larger writes make no upload faster.
const BUFFER: usize = 256 * 1024;

/// Takes the content of a request for the file that its path names.
pub(super) fn put(
    root: &Root,
    digests: &Digests,
    names: &Names,
    dotfiles: bool,
    request: &mut Request<'_>,
) -> Result<Response, Rejection> {
    check_fields(request.headers())?;
    let path = FilePath::decode(request.path(), dotfiles).map_err(write_path_error)?;
    let (folder, name) = split(&path)?;
    let folder = folder_to_write(root, folder)?;
    let declared = Declared::of(request.headers())?;
    precondition::check(request.headers(), place::current(&folder, name)?.as_ref())?;
    check_room(&folder, request.body().length())?;

    let mut temporary = TemporaryFile::create(&folder).map_err(write_failed)?;
    let digest = copy(request.body(), temporary.file())?;
    if let Err(mismatch) = declared.check_whole(digest) {
        return Ok(mismatch.into_response());
    }
    let placed = temporary.persist(name, names, request.headers())?;
    learn(digests, &placed, digest);
    Ok(stored(&placed, wants_digest(request.headers()).then_some(digest)))
}

/// Notes the digest of content that has its name now.
pub(super) fn learn(digests: &Digests, placed: &Placed, digest: Sha256) {
    if placed.unchanged {
        digests.learn(Identity::of(&placed.metadata), digest);
    }
}

/// The answer when a file has its new content; with its digest where that is wanted.
pub(super) fn stored(placed: &Placed, digest: Option<Sha256>) -> Response {
    let mut response = Response::new(match placed.replaced {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::CREATED,
    });
    // RFC 9110 section 9.3.4 permits a validator because the content is stored as it came.
    if placed.unchanged
        && let Some(etag) = entity_tag(&placed.metadata)
    {
        response = response.with_header(ETAG, etag);
    }
    match digest.and_then(|digest| HeaderValue::from_str(&digest.to_field()).ok()) {
        Some(field) => response.with_header(REPR_DIGEST, field),
        None => response,
    }
}

/// The folder that something is to be written in.
pub(super) fn folder_to_write(root: &Root, folder: &Path) -> Result<Folder, Rejection> {
    match root.resolve(folder) {
        Ok(Resolved::Folder(folder)) => Ok(folder),
        // RFC 4918 section 9.7.1: the folder has to be there before the file.
        Ok(Resolved::File(_)) | Err(PathError::NotFound) => Err(Rejection::new(
            StatusCode::CONFLICT,
            "the folder of this file does not exist; make it first (MKCOL)",
        )),
        Err(error) => Err(write_path_error(error)),
    }
}

/// The folder, relative to the root, and the name in it of the file that a request to write means.
pub(super) fn split(path: &FilePath) -> Result<(&Path, &OsStr), Rejection> {
    match path.split() {
        Some(split) if !path.is_folder() => Ok(split),
        _ => Err(Rejection::new(
            StatusCode::CONFLICT,
            "the path names a folder; only files are written and deleted",
        )),
    }
}

/// A path that cannot be written to. Here a hidden name is told from an absent one, or a client
/// would look for its mistake elsewhere.
pub(super) fn write_path_error(error: PathError) -> Rejection {
    match error {
        PathError::Hidden => Rejection::new(
            StatusCode::FORBIDDEN,
            "names that begin with a dot are not for clients here",
        ),
        PathError::NotFound => Rejection::bad_request("the path has an empty name"),
        PathError::Forbidden => {
            Rejection::new(StatusCode::FORBIDDEN, "the server may not write in this folder")
        }
        error => error.into(),
    }
}

/// Refuses what is no whole file as it is.
pub(super) fn check_fields(headers: &HeaderMap) -> Result<(), Rejection> {
    // RFC 9110 section 14.5: taken for the whole, a part would destroy the rest.
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Rejection::bad_request(
            "a part of a file cannot be written; send the whole without Content-Range",
        ));
    }
    // RFC 9110 section 9.3.4: the file would be served without it, so what is stored would be
    // something else than what was sent.
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Rejection::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content would be stored as it is; send it without Content-Encoding",
        ));
    }
    Ok(())
}

/// Refuses content that cannot fit before it is sent. Others may take the room meanwhile, so
/// writing can fail nevertheless.
pub(super) fn check_room(folder: &Folder, length: Option<u64>) -> Result<(), Rejection> {
    let (Some(length), Ok(file_system)) = (length, fstatvfs(folder)) else {
        return Ok(());
    };
    let room = file_system.f_bavail.saturating_mul(file_system.f_frsize.max(1));
    // Some file systems do not know their size and say zero.
    if file_system.f_blocks > 0 && length > room {
        return Err(failure::writing("store an upload", &ErrorKind::StorageFull.into()));
    }
    Ok(())
}

/// Copies the content to its end, and says what its digest is.
fn copy(body: &mut RequestBody<'_>, file: &mut fs::File) -> Result<Sha256, Rejection> {
    let length = body.length();
    let size = length.map_or(BUFFER, |length| {
        usize::try_from(length).map_or(BUFFER, |length| length.clamp(1, BUFFER))
    });
    let mut buffer = vec![0; size];
    let mut hasher = Hasher::new().map_err(write_failed)?;
    loop {
        let (filled, end) = fill(body, &mut buffer);
        if let Some(Err(error)) = &end {
            return Err(read_failed(error));
        }
        file.write_all(&buffer[..filled]).map_err(write_failed)?;
        hasher.update(&buffer[..filled]).map_err(write_failed)?;
        if end.is_some() {
            break;
        }
    }
    // The body answers for this; but a file that is cut short is what this module is to prevent.
    match length {
        Some(length) if length != hasher.length() => Err(read_failed(&BodyError::Truncated.into())),
        _ => hasher.finish().map_err(write_failed),
    }
}

/// Reads until the buffer is full, the content ends or fails: how much there is, and the end. The pieces that
/// arrive are much smaller than the writes should be.
pub(super) fn fill(
    body: &mut RequestBody<'_>,
    buffer: &mut [u8],
) -> (usize, Option<io::Result<()>>) {
    let mut filled = 0;
    while let Some(room @ [_, ..]) = buffer.get_mut(filled..) {
        match body.read(room) {
            Ok(0) => return (filled, Some(Ok(()))),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(Err(error))),
        }
    }
    (filled, None)
}

fn read_failed(error: &io::Error) -> Rejection {
    let cause = BodyError::of(error);
    let status = cause.map_or(StatusCode::BAD_REQUEST, BodyError::status);
    Rejection::new(
        status,
        match cause {
            Some(BodyError::Stalled) => "the content came too slowly; nothing was stored",
            Some(BodyError::Malformed(_)) => "the content is malformed; nothing was stored",
            Some(BodyError::TooLarge { .. }) => "the content is too long; nothing was stored",
            Some(BodyError::Truncated) | None => "the content is incomplete; nothing was stored",
        },
    )
}

pub(super) fn write_failed(error: io::Error) -> Rejection {
    failure::writing("store an upload", &error)
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
