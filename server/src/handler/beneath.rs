//! Files below one directory, and nothing else.
//!
//! A [`Root`] holds the directory open, so renaming it or changing the process's working directory
//! moves nothing. A path is looked up in one step that cannot leave it (`lookup`);
//! what was found is asked what it is, by its handle; and only a regular file is then opened for
//! reading. Between these steps no name is looked up twice, so no symbolic link that is swapped
//! meanwhile matters.
//!
//! Symbolic links are followed as long as they are relative and stay below the root. Mount points
//! are crossed: who mounts something below the root wants it served.

use super::lookup::{self, Lookup};
use super::path::PathError;
pub(super) use crate::open_file::Identity;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Component, Path};

/// A directory whose files are served.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    lookup: Lookup,
}

/// What a path leads to.
#[derive(Debug)]
pub enum Resolved {
    /// A regular file.
    File(FoundFile),
    /// A directory.
    Folder(Folder),
}

/// A regular file that has been found and is not open yet.
#[derive(Debug)]
pub struct FoundFile {
    /// With `O_PATH`: it can be asked about, not read.
    handle: File,
    metadata: Metadata,
}

/// A directory that has been found.
#[derive(Debug)]
pub struct Folder {
    handle: OwnedFd,
}

impl Root {
    /// Opens a directory.
    ///
    /// # Errors
    ///
    /// `path` is not a directory or cannot be looked into; or `/proc`, by which files are opened,
    /// is not mounted.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let folder = openat(
            CWD,
            path.as_ref(),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        if !lookup::can_reopen() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "files cannot be opened without /proc; mount it",
            ));
        }
        let lookup = Lookup::probe(folder.as_fd());
        if lookup == Lookup::Walk {
            log::warn!("openat2 is not available here: symbolic links are not followed");
        }
        Ok(Self { folder, lookup })
    }

    /// Opens a directory for lookups of one kind.
    #[cfg(test)]
    pub(super) fn open_with(path: &Path, lookup: Lookup) -> Self {
        let root = Self::open(path).unwrap();
        Self { lookup, ..root }
    }

    /// Looks up a path relative to this directory, such as
    /// [`FilePath::as_path`](super::path::FilePath::as_path) gives.
    ///
    /// # Errors
    ///
    /// [`PathError::NotFound`] also for what is neither file nor folder and for links that lead
    /// out.
    pub fn resolve(&self, path: &Path) -> Result<Resolved, PathError> {
        let handle = self.lookup.open(self.folder.as_fd(), path).map_err(path_error)?;
        let handle = File::from(handle);
        let metadata = handle.metadata().map_err(PathError::Io)?;
        if metadata.is_file() {
            Ok(Resolved::File(FoundFile { handle, metadata }))
        } else if metadata.is_dir() {
            Ok(Resolved::Folder(Folder { handle: handle.into() }))
        } else {
            Err(PathError::NotFound)
        }
    }

    /// Which file, in which state, a path leads to now; `None` for everything else. It leads there by the
    /// way that cannot leave the root; a symbolic link directly below it is not followed.
    ///
    /// A path of one name needs no handle: nothing stands between the root and what has that name.
    pub(super) fn identity(&self, path: &Path) -> Option<Identity> {
        let mut components = path.components();
        let one_name =
            matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
        let stat = match one_name {
            true => statat(&self.folder, path, AtFlags::SYMLINK_NOFOLLOW),
            false => self.lookup.open(self.folder.as_fd(), path).and_then(fstat),
        };
        let stat = stat.ok()?;
        Identity::of_stat(&stat)
    }
}

impl FoundFile {
    /// Which file it is.
    pub(super) fn identity(&self) -> Identity {
        Identity::of(&self.metadata)
    }

    /// What is known of the file.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Opens the file for reading.
    ///
    /// # Errors
    ///
    /// [`PathError::Forbidden`] where this process may not read it.
    pub fn open(&self) -> Result<File, PathError> {
        lookup::reopen(self.handle.as_fd()).map(File::from).map_err(path_error)
    }
}

impl Folder {
    /// Opens the directory for reading its entries, or for making changes in it durable.
    ///
    /// # Errors
    ///
    /// [`PathError::Forbidden`] where this process may not list it.
    pub fn open(&self) -> Result<OwnedFd, PathError> {
        lookup::reopen_folder(self.handle.as_fd()).map_err(path_error)
    }
}

impl AsFd for Folder {
    /// A descriptor for the `*at` functions alone: it cannot be read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

fn path_error(errno: Errno) -> PathError {
    match errno {
        Errno::ACCESS | Errno::PERM => PathError::Forbidden,
        // XDEV and LOOP: the path leads out of the root, by `..` or an absolute link, or through a
        // magic link, or in a circle. Which of them is not for a client to know.
        Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP => PathError::NotFound,
        Errno::NAMETOOLONG => PathError::TooLong,
        errno => PathError::Io(errno.into()),
    }
}

#[cfg(test)]
#[path = "beneath_tests.rs"]
mod tests;
