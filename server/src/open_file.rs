//! An open file in the state in which it was found, and whether it still is in that state.
//!
//! A response names a length and an entity tag before its content is read. What is read later belongs to
//! them only if the file has not changed meanwhile, which is seen by looking at it again *after* reading: Linux
//! sets the times of a file before a write touches its bytes (file_update_time()), so whoever has read a
//! changed byte sees another time; and a truncation shows in the size.
//!
//! Two things are not seen: a write through a memory mapping into a page that was written to before and has
//! not been stored yet, whose time is not kept until then (mmap(2), `MAP_SHARED`); and whoever sets the time
//! of modification back to what it was, and makes or removes a link, while the file is being sent.

use crate::workers::step_aside;
use rustix::fs::{Stat, fstat};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::{File, Metadata};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};

/// Which file something is, and in which state: two that are equal are the same bytes, as exactly as the file
/// system keeps time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// In bytes.
    pub(crate) size: u64,
    /// When the content was modified, in seconds since 1970 and nanoseconds.
    pub(crate) modified: (i64, i64),
    /// When anything was changed.
    pub(crate) changed: (i64, i64),
}

impl Identity {
    /// Which file it is that has this metadata.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The same from what stat(2) says; `None` for what is no file.
    pub(crate) fn of_stat(stat: &Stat) -> Option<Self> {
        // The types of these fields differ between architectures.
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
        Some(Self {
            device: stat.st_dev.into(),
            inode: stat.st_ino.into(),
            size: u64::try_from(stat.st_size).ok()?,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        })
    }
}

/// A file that is open for reading, and the state in which it was found.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    identity: Identity,
    /// The number of names that it has.
    links: u64,
}

impl OpenFile {
    /// Takes an open file in the state in which it is now.
    ///
    /// # Errors
    ///
    /// The file cannot be asked about.
    pub fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self::found(file, &metadata))
    }

    /// Takes an open file in the state in which it was when it was found.
    pub(crate) fn found(file: File, metadata: &Metadata) -> Self {
        Self { file, identity: Identity::of(metadata), links: metadata.nlink() }
    }

    /// The file. It is read at offsets: its position does not matter, and others may read it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The state in which it was found.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The length that it had, in bytes.
    pub fn length(&self) -> u64 {
        self.identity.size
    }

    /// Whether what was read until now is of the version that was found.
    ///
    /// A file that gets or loses a name, as when another takes its place, has another time of change and the
    /// same content.
    ///
    /// # Errors
    ///
    /// The file cannot be asked about.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        let stat = fstat(&self.file)?;
        let Some(now) = Identity::of_stat(&stat) else {
            return Ok(false);
        };
        if now == self.identity {
            return Ok(true);
        }
        #[allow(clippy::useless_conversion)]
        let links: u64 = stat.st_nlink.into();
        Ok(links != self.links
            && Identity { changed: self.identity.changed, ..now } == self.identity)
    }

    /// Reads a small part: at once where the system has it in its cache. Where it has not, the thread steps
    /// aside before it waits for the disk.
    pub(crate) fn read_small(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        /// Set where the file system does not say whether a read would wait.
        static UNKNOWN: AtomicBool = AtomicBool::new(false);
        if !UNKNOWN.load(Ordering::Relaxed) {
            let flags = ReadWriteFlags::NOWAIT;
            match preadv2(&self.file, &mut [IoSliceMut::new(buf)], offset, flags) {
                Ok(count) if count == buf.len() => return Ok(()),
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => UNKNOWN.store(true, Ordering::Relaxed),
                Err(error) => return Err(error.into()),
            }
            // Where no other thread can be made, everybody waits for the disk.
            let _ = step_aside();
        }
        self.file.read_exact_at(buf, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::{Duration, SystemTime};

    #[test]
    fn every_change_of_the_content_is_seen_and_a_change_of_names_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let open = || {
            fs::write(&path, "content").unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            // Not the tick of the clock in which the changes below are made.
            file.set_modified(SystemTime::now() - Duration::from_secs(5)).unwrap();
            OpenFile::new(file).unwrap()
        };
        let changes: [&dyn Fn(&OpenFile); 4] = [
            &|_| fs::write(&path, "CONTENT").unwrap(),
            &|_| fs::write(&path, "").unwrap(),
            &|_| fs::write(&path, "content and more").unwrap(),
            &|open| {
                let modified = open.file().metadata().unwrap().modified().unwrap();
                // Until the clock by which the file system stamps has moved on.
                loop {
                    fs::write(&path, "CONTENT").unwrap();
                    open.file().set_modified(modified).unwrap();
                    if !open.is_unchanged().unwrap() {
                        break;
                    }
                }
            },
        ];
        for change in changes {
            let open = open();
            assert!(open.is_unchanged().unwrap());
            change(&open);
            assert!(!open.is_unchanged().unwrap());
        }
        let open = open();
        fs::hard_link(&path, dir.path().join("b")).unwrap();
        assert!(open.is_unchanged().unwrap());
        fs::remove_file(dir.path().join("b")).unwrap();
        fs::write(dir.path().join("new"), "another").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(open.is_unchanged().unwrap());
    }
}
