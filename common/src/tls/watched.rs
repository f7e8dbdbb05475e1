//! A file that may be replaced while the program runs: read when it is first needed, looked at again at most
//! once a second, and read again when it has changed.
//!
//! A new content that cannot be used is said once and changes nothing: what was read before stays. What was
//! read is overwritten in memory once its meaning is known: it may be a secret.

use super::error::ConfigError;
use crate::material;
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long what was read is taken for current without a look. A handshake asks each time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Makes a value of a file's content; it also sees the file's owner and mode.
type Parse<T> = Box<dyn Fn(&[u8], &Metadata) -> Result<T, ConfigError> + Send + Sync>;

/// How a file is read.
type Source = fn(&Path) -> io::Result<(Vec<u8>, Metadata)>;

/// A file, and what its content means.
pub(super) struct Watched<T> {
    path: PathBuf,
    what: &'static str,
    parse: Parse<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    version: Version,
    looked: Instant,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Version {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl<T> Watched<T> {
    /// Reads a file for the first time; `what` it holds is for messages.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or what `parse` says.
    pub(super) fn open(
        path: impl Into<PathBuf>,
        what: &'static str,
        parse: impl Fn(&[u8], &Metadata) -> Result<T, ConfigError> + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let (path, parse): (_, Parse<T>) = (path.into(), Box::new(parse));
        let (value, version) = read(&path, what, &parse, material::read_with_metadata)?;
        let state = State { value: Arc::new(value), version, looked: Instant::now() };
        Ok(Self { path, what, parse, state: Mutex::new(state) })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says now, or said when it could last be used.
    pub(super) fn current(&self) -> Arc<T> {
        self.at(Instant::now())
    }

    /// The same at a given time: files that belong together are looked at together.
    pub(super) fn at(&self, now: Instant) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.looked) >= LOOK_EVERY {
            state.looked = now;
            self.look(&mut state);
        }
        Arc::clone(&state.value)
    }

    fn look(&self, state: &mut State<T>) {
        // A file that is gone for a moment is being replaced; one that is gone for good changes nothing.
        let Ok(metadata) = std::fs::metadata(&self.path) else { return };
        let version = Version::of(&metadata);
        if version == state.version {
            return;
        }
        if !metadata.is_file() {
            // A FIFO in the file's place would hold whoever opens it until somebody writes.
            state.version = version;
            let path = self.path.display();
            log::warn!(
                "what was read before is kept: the {} {path} is no file any more",
                self.what
            );
            return;
        }
        // Between the look and the opening it may have become one.
        match read(&self.path, self.what, &self.parse, material::read_regular) {
            Ok((value, version)) => {
                state.value = Arc::new(value);
                state.version = version;
                log::info!("the {} {} was read again", self.what, self.path.display());
            }
            Err(error) => {
                // Not again for the same content.
                state.version = version;
                log::warn!("what was read before is kept: {error}");
            }
        }
    }
}

/// Content and version come from one open file, so they belong together.
fn read<T>(
    path: &Path,
    what: &'static str,
    parse: &Parse<T>,
    source: Source,
) -> Result<(T, Version), ConfigError> {
    let (mut content, metadata) =
        source(path).map_err(|source| ConfigError::File { path: path.to_owned(), what, source })?;
    let value = parse(&content, &metadata);
    crate::ffi::cleanse(&mut content);
    Ok((value?, Version::of(&metadata)))
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn number(content: &[u8], _: &Metadata) -> Result<u32, ConfigError> {
        let text = std::str::from_utf8(content).ok();
        text.and_then(|text| text.trim().parse().ok()).ok_or(ConfigError::Malformed {
            path: PathBuf::new(),
            what: "number",
            source: None,
        })
    }

    #[test]
    fn a_changed_file_is_read_again_and_not_more_often_than_once_a_second() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        fs::write(&path, "1").unwrap();
        let watched = Watched::open(&path, "number", number).unwrap();
        let begin = watched.state.lock().unwrap().looked;
        fs::write(&path, "22").unwrap();
        assert_eq!(*watched.at(begin + LOOK_EVERY / 2), 1);
        assert_eq!(*watched.at(begin + LOOK_EVERY), 22);
    }

    #[test]
    fn what_cannot_be_used_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        fs::write(&path, "1").unwrap();
        let watched = Watched::open(&path, "number", number).unwrap();
        let begin = watched.state.lock().unwrap().looked;
        fs::write(&path, "nonsense").unwrap();
        assert_eq!(*watched.at(begin + LOOK_EVERY), 1);
        fs::remove_file(&path).unwrap();
        assert_eq!(*watched.at(begin + LOOK_EVERY * 2), 1);
        // Replaced by a rename, as deployment tools do.
        fs::write(directory.path().join("new"), "3").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        assert_eq!(*watched.at(begin + LOOK_EVERY * 3), 3);
    }

    #[test]
    fn a_fifo_in_its_place_holds_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        fs::write(&path, "1").unwrap();
        let watched = Watched::open(&path, "number", number).unwrap();
        let begin = watched.state.lock().unwrap().looked;
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert_eq!(*watched.at(begin + LOOK_EVERY), 1);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "2").unwrap();
        assert_eq!(*watched.at(begin + LOOK_EVERY * 2), 2);
    }

    #[test]
    fn a_file_that_is_not_there_at_first_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Watched::open(directory.path().join("none"), "number", number).is_err());
    }

    #[test]
    fn a_fifo_that_comes_between_the_look_and_the_opening_holds_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        let error = material::read_regular(&path).unwrap_err();
        assert!(error.to_string().contains("no ordinary file"), "{error}");
    }
}
