//! DELETE: one file, durably (RFC 9110 section 9.3.5).

use super::beneath::{Resolved, Root};
use super::failure;
use super::path::{FilePath, PathError};
use super::place::{self, Names};
use super::precondition;
use super::temporary::sync_folder;
use super::upload::{split, write_path_error};
use crate::http::Rejection;
use crate::message::{Request, Response};
use ::http::StatusCode;
use rustix::fs::{AtFlags, FileType, statat, unlinkat};
use rustix::io::Errno;
use std::io;

/// Removes the file that the request's path names.
///
/// Folders and symbolic links are refused. What is neither is not served, so it is not found here
/// either.
pub(super) fn delete(
    root: &Root,
    names: &Names,
    dotfiles: bool,
    request: &Request<'_>,
) -> Result<Response, Rejection> {
    const NOT_FOUND: Rejection = Rejection::new(StatusCode::NOT_FOUND, "nothing is here");
    let conflict = |reason| Err(Rejection::new(StatusCode::CONFLICT, reason));

    let path = FilePath::decode(request.path(), dotfiles).map_err(write_path_error)?;
    let (folder, name) = split(&path)?;
    let folder = match root.resolve(folder) {
        Ok(Resolved::Folder(folder)) => folder,
        Ok(Resolved::File(_)) | Err(PathError::NotFound) => return Err(NOT_FOUND),
        Err(error) => return Err(write_path_error(error)),
    };
    {
        // Nobody may put another version there between the look and the removal.
        let _alone = names.lock();
        let stat = match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(NOT_FOUND),
            Err(errno) => return Err(failed(errno.into())),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return conflict("a folder is not deleted"),
            FileType::Symlink => return conflict("a symbolic link is not deleted"),
            _ => return Err(NOT_FOUND),
        }
        precondition::check(request.headers(), place::current(&folder, name)?.as_ref())?;
        match unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(NOT_FOUND),
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    sync_folder(&folder).map_err(failed)?;
    Ok(Response::new(StatusCode::NO_CONTENT))
}

fn failed(error: io::Error) -> Rejection {
    failure::writing("delete a file", &error)
}
