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
use super::digests::Digests;
use super::failure;
use super::path::{FilePath, PathError};
use super::precondition;
use super::representation::entity_tag;
use super::temporary::TemporaryFile;
use crate::http::Rejection;
use crate::message::{BodyError, Request, RequestBody, Response};
use ::http::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG};
use ::http::{HeaderMap, StatusCode};
use rustix::fs::{AtFlags, FileType, Mode, fstatvfs, statat};
use rustix::io::Errno;
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
    dotfiles: bool,
    request: &mut Request<'_>,
) -> Result<Response, Rejection> {
    check_fields(request.headers())?;
    let path = FilePath::decode(request.path(), dotfiles).map_err(write_path_error)?;
    let (folder, name) = split(&path)?;
    let folder = match root.resolve(folder) {
        Ok(Resolved::Folder(folder)) => folder,
        // RFC 4918 section 9.7.1: the folder has to be there before the file.
        Ok(Resolved::File(_)) | Err(PathError::NotFound) => {
            return Err(Rejection::new(
                StatusCode::CONFLICT,
                "the folder of this file does not exist",
            ));
        }
        Err(error) => return Err(write_path_error(error)),
    };
    let old_mode = replaced_mode(&folder, name)?;
    check_preconditions(root, &path, request.headers())?;
    let must_be_new = precondition::must_be_new(request.headers());
    check_room(&folder, request.body().length())?;

    let mut temporary = TemporaryFile::create(&folder).map_err(write_failed)?;
    let digest = copy(request.body(), temporary.file())?;
    let mode = old_mode.unwrap_or_else(|| Mode::from_raw_mode(0o666 & !umask()));
    let metadata = match temporary.persist(name, mode, must_be_new) {
        // Somebody was faster.
        Err(error) if must_be_new && error.kind() == ErrorKind::AlreadyExists => {
            return Err(precondition::FAILED);
        }
        result => result.map_err(write_failed)?,
    };

    digests.learn(Identity::of(&metadata), digest);

    let mut response = Response::new(match old_mode {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::CREATED,
    });
    // RFC 9110 section 9.3.4 permits a validator because the content is stored as it came.
    if let Some(etag) = entity_tag(&metadata) {
        response = response.with_header(ETAG, etag);
    }
    Ok(response)
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

/// Refuses a change of a file that is not what the request expects.
pub(super) fn check_preconditions(
    root: &Root,
    path: &FilePath,
    headers: &HeaderMap,
) -> Result<(), Rejection> {
    if !precondition::is_conditional(headers) {
        return Ok(());
    }
    match root.resolve(path.as_path()) {
        Ok(Resolved::File(file)) => precondition::check(headers, Some(file.metadata())),
        _ => precondition::check(headers, None),
    }
}

fn check_fields(headers: &HeaderMap) -> Result<(), Rejection> {
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

/// The permissions of the file that would be replaced; `None` if there is none.
fn replaced_mode(folder: &Folder, name: &OsStr) -> Result<Option<Mode>, Rejection> {
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(write_failed(errno.into())),
    };
    let conflict = |reason| Err(Rejection::new(StatusCode::CONFLICT, reason));
    match FileType::from_raw_mode(stat.st_mode) {
        // Without the bits that make a program run as its owner: this content is somebody else's.
        FileType::RegularFile => Ok(Some(Mode::from_raw_mode(stat.st_mode & 0o777))),
        FileType::Directory => conflict("a folder has this name"),
        // To follow it would write to a file that the path does not name; to replace it would leave
        // that file as it was, where everybody expects it changed.
        FileType::Symlink => conflict("a symbolic link has this name"),
        _ => conflict("something that is not a file has this name"),
    }
}

/// Refuses content that cannot fit before it is sent. Others may take the room meanwhile, so
/// writing can fail nevertheless.
fn check_room(folder: &Folder, length: Option<u64>) -> Result<(), Rejection> {
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
        let filled = fill(body, &mut buffer).map_err(|error| read_failed(&error))?;
        if filled == 0 {
            break;
        }
        file.write_all(&buffer[..filled]).map_err(write_failed)?;
        hasher.update(&buffer[..filled]).map_err(write_failed)?;
    }
    // The body answers for this; but a file that is cut short is what this module is to prevent.
    match length {
        Some(length) if length != hasher.length() => Err(read_failed(&BodyError::Truncated.into())),
        _ => hasher.finish().map_err(write_failed),
    }
}

/// Reads until the buffer is full or the content has ended: the pieces that arrive are much smaller
/// than the writes should be.
fn fill(body: &mut RequestBody<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match body.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
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

fn write_failed(error: io::Error) -> Rejection {
    failure::writing("store an upload", &error)
}

/// The process's file mode creation mask. umask(2) can only be asked by setting it, for all threads
/// at once; Linux tells it here since 4.7. Elsewhere the usual one is assumed.
fn umask() -> u32 {
    const USUAL: u32 = 0o022;
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(mask.trim(), 8).ok()
        })
        .unwrap_or(USUAL)
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
