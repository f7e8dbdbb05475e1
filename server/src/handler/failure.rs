//! What a failure of the file system tells the client, and what it tells the log.

use crate::http::Rejection;
use ::http::StatusCode;
use rustix::io::Errno;
use std::io::{self, ErrorKind};

/// The answer to a failure to write.
pub(super) fn writing(doing: &'static str, error: &io::Error) -> Rejection {
    let (status, reason) = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (
            // RFC 4918 section 11.5
            StatusCode::INSUFFICIENT_STORAGE,
            "the server has no room for this",
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (StatusCode::FORBIDDEN, "the server may not write in this folder")
        }
        ErrorKind::FileTooLarge => {
            (StatusCode::PAYLOAD_TOO_LARGE, "the content is longer than a file can be here")
        }
        ErrorKind::InvalidFilename => (StatusCode::URI_TOO_LONG, "the name is too long for a file"),
        // What was checked before has changed since: somebody else works in the same folder.
        ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::NotFound => {
            (StatusCode::CONFLICT, "the folder changed while the request was worked on; try again")
        }
        _ => return unexpected(doing, error),
    };
    Rejection::new(status, reason)
}

/// The answer to a failure that nobody expects. Its cause is the operator's to know, not the
/// client's.
pub(super) fn unexpected(doing: &'static str, error: &io::Error) -> Rejection {
    log::error!("could not {doing}: {error}");
    match Errno::from_io_error(error) {
        // Descriptors and memory come back when other connections end.
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Rejection::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server has too much to do; try again later",
        ),
        _ => Rejection::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server could not do this; its log says why",
        ),
    }
}
