//! Giving content that is whole the name that a request meant for it.
//!
//! ```text
//! fsync ─┬─ lock ─ what has the name now? ─ preconditions ─ fchmod ─ rename ─ unlock ─┬─ fsync (folder)
//!        └─ slow, so before the lock                                                  └─ slow, so after
//! ```
//!
//! First the content is brought to the disk, then the name is changed in one step, then the change of
//! the name is brought to the disk: after a loss of power the name stands for the old content or the
//! new, never for a part. Looking and renaming are two system calls, so a lock makes them one for
//! everybody in this process: of two writers that expect the same version, the second finds another.

use super::beneath::Folder;
use super::precondition;
use super::temporary::sync_folder;
use super::upload::write_failed;
use crate::http::Rejection;
use ::http::{HeaderMap, StatusCode};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, fsync, linkat, openat, renameat, renameat_with,
    unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How much earlier the time of modification is set than that of the change of the name will be: two ticks of
/// the clock by which Linux stamps files, which are 10 ms at most. Because the two differ, and the former is
/// exact to the nanosecond, a later change shows even if it is in the same tick, and the entity tag of the
/// upload is strong at once.
const EARLIER: Duration = Duration::from_millis(20);

/// Makes changes of names one after the other.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<()>);

/// What a file is that has its name now.
#[derive(Debug)]
pub(super) struct Placed {
    /// As it is with its name.
    pub(super) metadata: Metadata,
    /// Whether another file had the name before.
    pub(super) replaced: bool,
    /// Whether the content is what was put there: somebody may have written to it as soon as it had its name.
    pub(super) unchanged: bool,
}

impl Names {
    /// Keeps all others from changing names.
    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the file `from` in a folder its mode and its `name` there, durably, if the preconditions
    /// in `conditions` hold for what has this name.
    ///
    /// The mode is that of the file that it replaces, else as for any new file.
    pub(super) fn place(
        &self,
        folder: &Folder,
        from: &str,
        file: &File,
        name: &OsStr,
        conditions: &HeaderMap,
    ) -> Result<Placed, Rejection> {
        // What cannot be replaced is found out before anything is waited for.
        current(folder, name)?;
        file.set_modified(SystemTime::now() - EARLIER).map_err(write_failed)?;
        fsync(file).map_err(|errno| write_failed(errno.into()))?;
        let content =
            |metadata: &Metadata| (metadata.size(), metadata.mtime(), metadata.mtime_nsec());
        // As the file system keeps them.
        let placed = content(&file.metadata().map_err(write_failed)?);
        let replaced = {
            let _alone = self.lock();
            let current = current(folder, name)?;
            if precondition::is_conditional(conditions) {
                precondition::check(conditions, current.as_ref())?;
            }
            // Not before: until it has its name, it is nobody else's to read.
            fchmod(file, mode(current.as_ref())).map_err(|errno| write_failed(errno.into()))?;
            let must_be_new = precondition::must_be_new(conditions);
            let renamed = match must_be_new {
                true => rename_new(folder, from, name),
                false => renameat(folder, from, folder, name),
            };
            if let Err(errno) = renamed {
                let _ = fchmod(file, Mode::RUSR | Mode::WUSR);
                return Err(match errno {
                    // Somebody else was faster, who is not of this process.
                    Errno::EXIST if must_be_new => precondition::FAILED,
                    errno => write_failed(errno.into()),
                });
            }
            current.is_some()
        };
        // From here on the new content is there, whatever happens.
        sync_folder(folder).map_err(write_failed)?;
        let metadata = file.metadata().map_err(write_failed)?;
        let unchanged = content(&metadata) == placed;
        Ok(Placed { metadata, replaced, unchanged })
    }
}

/// Gives a file a name that nothing has.
fn rename_new(folder: &Folder, from: &str, name: &OsStr) -> Result<(), Errno> {
    match renameat_with(folder, from, folder, name, RenameFlags::NOREPLACE) {
        // A file system that knows no such renames, such as NFS: a second name is as exclusive.
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(folder, from, folder, name, AtFlags::empty())?;
            // Should this fail, the first name is swept as what is left of an upload.
            let _ = unlinkat(folder, from, AtFlags::empty());
            Ok(())
        }
        renamed => renamed,
    }
}

/// The file that a change of `name` would change; `None` if there is none.
///
/// Refuses what is no file.
pub(super) fn current(folder: &Folder, name: &OsStr) -> Result<Option<Metadata>, Rejection> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let metadata = match openat(folder, name, flags, Mode::empty()) {
        Ok(handle) => File::from(handle).metadata().map_err(write_failed)?,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(write_failed(errno.into())),
    };
    let conflict = |reason| Err(Rejection::new(StatusCode::CONFLICT, reason));
    let kind = metadata.file_type();
    if kind.is_file() {
        Ok(Some(metadata))
    } else if kind.is_dir() {
        conflict("a folder has this name")
    } else if kind.is_symlink() {
        // To follow it would write to a file that the path does not name; to replace it would leave
        // that file as it was, where everybody expects it changed.
        conflict("a symbolic link has this name")
    } else {
        conflict("something that is not a file has this name")
    }
}

fn mode(replaced: Option<&Metadata>) -> Mode {
    Mode::from_raw_mode(match replaced {
        // Without the bits that make a program run as its owner: this content is somebody else's.
        Some(metadata) => metadata.mode() & 0o777,
        None => 0o666 & !umask(),
    })
}

/// The process's file mode creation mask. umask(2) can only be asked by setting it, for all threads
/// at once; Linux tells it here since 4.7. Elsewhere the usual one is assumed.
pub(super) fn umask() -> u32 {
    const USUAL: u32 = 0o022;
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(mask.trim(), 8).ok()
        })
        .unwrap_or(USUAL)
}
