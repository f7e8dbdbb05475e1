//! A file that is not there yet: written under a hidden name, then put in its place, or gone.

use super::beneath::Folder;
use super::path::UPLOAD_PREFIX;
use super::place::{Names, Placed};
use crate::http::Rejection;
use ::http::HeaderMap;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fsync, openat, unlinkat};
use rustix::io::Errno;
use sealpair_common::random;
use std::ffi::OsStr;
use std::fs::File;
use std::io;

/// How many names are tried. With 64 random bits, a second is needed only if somebody guesses.
const ATTEMPTS: usize = 8;

/// A file under a random hidden name. Unless it is [put in its place](Self::persist), it is removed
/// when this is dropped: after an error and in a panic alike.
#[derive(Debug)]
pub(super) struct TemporaryFile<'f> {
    folder: &'f Folder,
    name: String,
    file: File,
    persisted: bool,
}

impl<'f> TemporaryFile<'f> {
    /// Makes a new file that only this user can read.
    pub(super) fn create(folder: &'f Folder) -> io::Result<Self> {
        for _ in 1..ATTEMPTS {
            match Self::create_as(folder, random_name()?) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result,
            }
        }
        Self::create_as(folder, random_name()?)
    }

    fn create_as(folder: &'f Folder, name: String) -> io::Result<Self> {
        // `O_EXCL` makes it ours: neither a file nor a link that somebody put there is taken.
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(folder, &name, flags, Mode::RUSR | Mode::WUSR)?;
        // Who sweeps what dead servers have left (`uploads::sweep`) leaves alone what is locked. Where
        // there are no locks, only what has not been written to for long is taken for left.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { folder, name, file: file.into(), persisted: false })
    }

    /// The file, for writing.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its mode and its name, durably, where the preconditions hold: [`Names::place`].
    pub(super) fn persist(
        mut self,
        name: &OsStr,
        names: &Names,
        conditions: &HeaderMap,
    ) -> Result<Placed, Rejection> {
        let placed = names.place(self.folder, &self.name, &self.file, name, conditions)?;
        self.persisted = true;
        Ok(placed)
    }
}

impl Drop for TemporaryFile<'_> {
    fn drop(&mut self) {
        if self.persisted {
            return;
        }
        match unlinkat(self.folder, &self.name, AtFlags::empty()) {
            // What could not be made durable has taken its name nevertheless.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => {
                log::warn!("could not remove the unfinished upload {}: {error}", self.name)
            }
        }
    }
}

/// Makes a change of names in a folder durable, where this process may read the folder; in one that
/// it may only write, the file system does that in its own time.
pub(super) fn sync_folder(folder: &Folder) -> io::Result<()> {
    let Ok(readable) = folder.open() else {
        return Ok(());
    };
    match fsync(readable.as_fd()) {
        // A file system that has no such thing.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        result => Ok(result?),
    }
}

/// A name that nobody can foresee. `O_EXCL` protects the file; this makes sure that two uploads do not meet.
fn random_name() -> io::Result<String> {
    Ok(format!("{UPLOAD_PREFIX}{}", random::digits::<8>()?))
}

#[cfg(test)]
mod tests {
    use super::super::beneath::{Resolved, Root};
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use tempfile::TempDir;

    fn folder() -> (TempDir, Folder) {
        let path = tempfile::tempdir().unwrap();
        match Root::open(path.path()).unwrap().resolve(Path::new(".")) {
            Ok(Resolved::Folder(folder)) => (path, folder),
            other => panic!("{other:?}"),
        }
    }

    fn names(path: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(path.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn it_is_hidden_and_private_until_it_is_persisted() {
        let (path, folder) = folder();
        let mut temporary = TemporaryFile::create(&folder).unwrap();
        temporary.file().write_all(b"content").unwrap();
        let name = names(&path).pop().unwrap();
        assert!(name.starts_with(UPLOAD_PREFIX), "{name}");
        let metadata = fs::metadata(path.path().join(&name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);

        fs::write(path.path().join("final"), "old").unwrap();
        fs::set_permissions(path.path().join("final"), PermissionsExt::from_mode(0o4640)).unwrap();
        temporary.persist(OsStr::new("final"), &Names::default(), &HeaderMap::new()).unwrap();
        assert_eq!(names(&path), ["final"]);
        let metadata = fs::metadata(path.path().join("final")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read(path.path().join("final")).unwrap(), b"content");
    }

    #[test]
    fn it_is_removed_when_it_is_dropped_and_in_a_panic() {
        let (path, folder) = folder();
        drop(TemporaryFile::create(&folder).unwrap());
        assert!(names(&path).is_empty());
        let result = std::panic::catch_unwind(|| {
            let _temporary = TemporaryFile::create(&folder).unwrap();
            assert_eq!(names(&path).len(), 1);
            std::panic::resume_unwind(Box::new("handler"));
        });
        assert!(result.is_err());
        assert!(names(&path).is_empty());
    }

    #[test]
    fn it_is_removed_when_it_cannot_be_persisted() {
        let (path, folder) = folder();
        fs::create_dir(path.path().join("taken")).unwrap();
        let temporary = TemporaryFile::create(&folder).unwrap();
        let names_ = Names::default();
        assert!(temporary.persist(OsStr::new("taken"), &names_, &HeaderMap::new()).is_err());
        assert_eq!(names(&path), ["taken"]);
    }

    #[test]
    fn a_name_that_is_taken_is_never_written_through() {
        let (path, folder) = folder();
        fs::write(path.path().join("file"), "old").unwrap();
        symlink("file", path.path().join("link")).unwrap();
        for name in ["file", "link"] {
            let error = TemporaryFile::create_as(&folder, name.to_owned()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(path.path().join("file")).unwrap(), b"old");
        assert_eq!(names(&path).len(), 2);
    }

    #[test]
    fn names_differ() {
        assert_ne!(random_name().unwrap(), random_name().unwrap());
    }
}
