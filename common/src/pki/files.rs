//! Writing keys and certificates so that nobody sees, loses or mixes them up.
//!
//! Everything is first written in full to temporary files beside the targets, then moved into
//! place:
//!
//! ```text
//! stage all (O_EXCL, mode, fsync) -> publish in order (renameat2) -> fsync the directories
//!                                         └ on failure: take back what was published
//! ```
//!
//! A private key is never on disk with a wider mode than 0600, not even for a moment; nothing
//! existing is replaced unless asked for; and a failure leaves the old files or none, never half a
//! pair. Only a crash of the whole machine between two renames can leave a new key beside an old
//! certificate, which loading them then reports.

use super::error::crypto;
use super::{PkiError, der};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Whether existing files may be replaced.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Overwrite {
    /// An existing file is an error.
    #[default]
    Refuse,
    /// An existing regular file is replaced, as is a symbolic link (not what it points to).
    Replace,
}

/// A file to be written.
#[derive(Clone, Copy)]
pub struct Output<'a> {
    path: &'a Path,
    contents: &'a [u8],
    mode: u32,
}

impl<'a> Output<'a> {
    /// A file that others may read: mode 0644, narrowed by the umask.
    pub fn public(path: &'a Path, contents: &'a [u8]) -> Self {
        Self { path, contents, mode: 0o644 }
    }

    /// A file that only its owner may read: mode 0600.
    pub fn secret(path: &'a Path, contents: &'a [u8]) -> Self {
        Self { path, contents, mode: 0o600 }
    }
}

/// Writes all files, or none.
///
/// They appear in the order given; put a key before its certificate.
///
/// # Errors
///
/// [`PkiError::Exists`], [`PkiError::SamePath`] or [`PkiError::Write`]; what was there before is
/// there afterwards.
pub fn write_together(outputs: &[Output<'_>], overwrite: Overwrite) -> Result<(), PkiError> {
    for (at, output) in outputs.iter().enumerate() {
        if outputs[..at].iter().any(|other| other.path == output.path) {
            return Err(PkiError::SamePath { path: output.path.to_owned() });
        }
    }
    let mut staged = Vec::with_capacity(outputs.len());
    for output in outputs {
        staged.push(Staged::new(output)?);
    }
    for at in 0..staged.len() {
        if let Err(error) = staged[at].publish(overwrite) {
            staged[..at].iter_mut().rev().for_each(Staged::take_back);
            return Err(error);
        }
    }
    for output in outputs {
        // The files are complete and in place; that not every file system can sync a directory is
        // no reason to call this a failure.
        let _ = File::open(directory(output.path)).and_then(|directory| directory.sync_all());
    }
    Ok(())
}

/// Makes a directory, and those above it, with mode 0700; one that exists is left as it is.
///
/// # Errors
///
/// [`PkiError::Write`].
pub fn create_directory(path: &Path) -> Result<(), PkiError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| PkiError::Write { path: path.to_owned(), source })
}

/// What became of a temporary file.
#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    /// It is in place, where nothing was.
    Created,
    /// It is in place, and the file that was there is under the temporary name.
    Exchanged,
    /// It is in place, and the file that was there is gone.
    Replaced,
    /// It has its temporary name.
    Waiting,
}

/// A complete file under a temporary name, removed when dropped.
struct Staged<'a> {
    target: &'a Path,
    temporary: PathBuf,
    state: State,
}

impl<'a> Staged<'a> {
    fn new(output: &Output<'a>) -> Result<Self, PkiError> {
        let mut random = [0; 8];
        openssl::rand::rand_bytes(&mut random).map_err(crypto("drawing random numbers"))?;
        // Not made from the target's name, which may be as long as the file system allows.
        let name = format!(".sealpair-{}.tmp", der::hex(&random));
        let temporary = directory(output.path).join(name);
        let failed = |source| PkiError::Write { path: output.path.to_owned(), source };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(output.mode)
            .open(&temporary)
            .map_err(failed)?;
        // From here on the file is removed if anything fails.
        let staged = Self { target: output.path, temporary, state: State::Waiting };
        file.write_all(output.contents).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(staged)
    }

    /// Gives the file its name.
    fn publish(&mut self, overwrite: Overwrite) -> Result<(), PkiError> {
        let failed = |source| PkiError::Write { path: self.target.to_owned(), source };
        self.state = match fs::symlink_metadata(self.target) {
            Ok(_) if overwrite == Overwrite::Refuse => return Err(self.exists()),
            Ok(existing) if existing.is_file() || existing.is_symlink() => {
                self.replace().map_err(failed)?
            }
            Ok(_) => {
                return Err(failed(io::Error::other("it exists and is not a regular file")));
            }
            // Anything but "not found" shows itself in the rename.
            Err(_) => match self.create() {
                Ok(()) => State::Created,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(self.exists());
                }
                Err(error) => return Err(failed(error)),
            },
        };
        Ok(())
    }

    fn exists(&self) -> PkiError {
        PkiError::Exists { path: self.target.to_owned() }
    }

    /// Moves the file to a name that must be free.
    fn create(&self) -> io::Result<()> {
        match self.rename(RenameFlags::NOREPLACE) {
            // A link does not replace anything either, and every Unix file system with links has
            // it.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                fs::hard_link(&self.temporary, self.target)?;
                // In place is in place, even if a second name for it should stay behind.
                let _ = fs::remove_file(&self.temporary);
                Ok(())
            }
            done => Ok(done?),
        }
    }

    /// Moves the file over an existing one, keeping that one if the file system can.
    fn replace(&self) -> io::Result<State> {
        match self.rename(RenameFlags::EXCHANGE) {
            Ok(()) => Ok(State::Exchanged),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                fs::rename(&self.temporary, self.target).map(|()| State::Replaced)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self, flags: RenameFlags) -> Result<(), Errno> {
        renameat_with(CWD, &self.temporary, CWD, self.target, flags)
    }

    /// Undoes [`Staged::publish`] because a later file could not be published.
    fn take_back(&mut self) {
        // There is nobody to tell: the failure that led here is the one that gets reported.
        match self.state {
            State::Created => {
                let _ = fs::remove_file(self.target);
            }
            State::Exchanged => {
                // If even this fails, the old file stays under its temporary name rather than be
                // lost.
                self.state = match self.rename(RenameFlags::EXCHANGE) {
                    Ok(()) => State::Waiting,
                    Err(_) => State::Replaced,
                };
            }
            State::Replaced | State::Waiting => {}
        }
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // After an exchange this is the old file, which was to be replaced.
        if matches!(self.state, State::Exchanged | State::Waiting) {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The directory that a file is in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
