//! MKCOL: one new folder, durably (RFC 4918 section 9.3).
//!
//! It is all of WebDAV that is here: whoever uploads a tree of files needs the folders first, and PUT does
//! not make them (section 9.7.1 forbids it).

use super::beneath::{Resolved, Root};
use super::failure;
use super::path::{FilePath, PathError};
use super::temporary::sync_folder;
use super::upload::write_path_error;
use crate::http::Rejection;
use crate::message::{Request, Response};
use ::http::StatusCode;
use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;
use std::io;

/// The method.
pub(super) const MKCOL: &str = "MKCOL";

/// Makes the folder that the request's path names; the folder that it is in has to be there.
pub(super) fn make(
    root: &Root,
    dotfiles: bool,
    request: &mut Request<'_>,
) -> Result<Response, Rejection> {
    const EXISTS: Rejection =
        Rejection::new(StatusCode::METHOD_NOT_ALLOWED, "something has this name already");

    // Section 9.3.1: content would say more about the folder than that it is to be one.
    if request.body().length() != Some(0) {
        return Err(Rejection::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a folder is made by a request without content",
        ));
    }
    let path = FilePath::decode(request.path(), dotfiles).map_err(write_path_error)?;
    let Some((parent, name)) = path.split() else {
        return Err(EXISTS);
    };
    let parent = match root.resolve(parent) {
        Ok(Resolved::Folder(folder)) => folder,
        Ok(Resolved::File(_)) | Err(PathError::NotFound) => {
            return Err(Rejection::new(
                StatusCode::CONFLICT,
                "the folder that this one would be in does not exist",
            ));
        }
        Err(error) => return Err(write_path_error(error)),
    };
    // As for any new folder: what the umask leaves.
    match mkdirat(&parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => {}
        // A link that leads nowhere has the name as well.
        Err(Errno::EXIST) => return Err(EXISTS),
        Err(errno) => return Err(failed(errno.into())),
    }
    sync_folder(&parent).map_err(failed)?;
    Ok(Response::new(StatusCode::CREATED))
}

fn failed(error: io::Error) -> Rejection {
    failure::writing("make a folder", &error)
}

#[cfg(test)]
mod tests {
    use super::super::files::FileHandler;
    use super::super::testing::{ask, send};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_is_made_once_and_in_its_place_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("file"), "x").unwrap();
        symlink("..", root.join("out")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let handler = FileHandler::open(&root).unwrap().writable(true);
        for (path, status) in [
            ("/a", 201),
            ("/a", 405),
            ("/a/", 405),
            ("/a/b%20c/", 201),
            ("/file", 405),
            ("/dangling", 405),
            ("/", 405),
            ("/absent/b", 409),
            ("/file/b", 409),
            ("/out/b", 409),
            ("/.hidden", 403),
            ("/a/%2e%2e/%2e%2e/b", 400),
        ] {
            assert_eq!(ask(&handler, "MKCOL", path).status(), status, "{path}");
        }
        assert!(root.join("a/b c").is_dir());
        assert!(!dir.path().join("b").exists());
        let response = send(&handler, "MKCOL", "/d", "", &mut &b"x"[..], Some(1));
        assert_eq!(response.status(), 415);
        assert!(!root.join("d").exists());

        let handler = FileHandler::open(&root).unwrap();
        assert_eq!(ask(&handler, "MKCOL", "/e").status(), 405, "where nothing may be written");
    }
}
