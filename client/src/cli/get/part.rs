//! `--continue`: the beginning of a file in `FILE.part`, and what it is of in `FILE.part.json`.
//!
//! ```text
//! FILE.part absent             ─▶ made (O_EXCL), empty
//! state absent, or of another  ─▶ emptied: nothing says what the bytes are
//! same boot                    ─▶ all bytes are good: the kernel has kept what was written
//! another boot                 ─▶ the bytes up to the last fsync are good: what came after may be holes
//! ```
//!
//! The state is written before the first byte, and again after each [`CHECKPOINT`] has been synced.
//! Two processes cannot write one file: the second finds it locked.

use super::super::interrupt;
use super::super::output::{directory_of, failed, settle};
use super::plan::{Range, Ranges};
use super::version::Version;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use sealpair_common::boot;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use url::Url;

/// How much may be lost to a power failure. A sync of less costs more than it saves.
const CHECKPOINT: u64 = 64 << 20;

/// What follows the name of a file while it comes.
pub(super) const PART: &str = ".part";

/// A state that is longer is none of ours.
const LONGEST_STATE: u64 = 64 << 10;

/// The format of the state.
const SCHEMA: &str = "sealpair.partial/1";

/// What is known about the bytes in a partial file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct State {
    schema: String,
    /// What was asked for, before redirects.
    url: String,
    version: Version,
    /// So many bytes from the start were on the disk when this was written.
    synced: u64,
    /// Which run of the kernel wrote them.
    boot: String,
    /// Where ranges came in parallel: those that are on the disk, from the first byte to the end
    /// (exclusive). The file's length says nothing then.
    #[serde(default)]
    ranges: Option<Vec<Range>>,
}

/// A file of which the beginning may be there.
#[derive(Debug)]
pub(crate) struct PartialFile {
    file: File,
    /// The name it will have.
    target: PathBuf,
    path: PathBuf,
    state_path: PathBuf,
    url: String,
    mode: Option<u32>,
    /// `None` where nothing can be resumed: the bytes are of no use to a later run.
    state: Option<State>,
    length: u64,
    finished: bool,
}

impl PartialFile {
    /// Opens or makes the partial file of a target, and locks it. What came in parallel is kept behind
    /// the first gap, too, if the rest is to come in `parallel`.
    pub(crate) fn open(
        target: PathBuf,
        mode: Option<u32>,
        url: &Url,
        parallel: bool,
    ) -> Result<Self, Report> {
        let path = part_path(&target);
        let state_path = state_path(&target);
        let file = lock(&path)?;
        let (url, state, length) = (url.to_string(), None, 0);
        let mut partial =
            Self { file, target, path, state_path, url, mode, state, length, finished: false };
        partial.recover(parallel).map_err(|error| failed(&partial.path, &error))?;
        Ok(partial)
    }

    /// Keeps what is proved to be good of what is there.
    fn recover(&mut self, parallel: bool) -> io::Result<()> {
        let there = self.file.metadata()?.len();
        let state = read_state(&self.state_path).filter(|state| state.url == self.url);
        let Some(mut state) = state else {
            return self.begin_again();
        };
        let ranges = state.ranges.as_ref().map(|ranges| Ranges::new(ranges, there));
        let good = match &ranges {
            Some(ranges) if parallel => ranges.sum(),
            Some(ranges) => ranges.prefix(),
            None if state.boot == boot::id() && !state.boot.is_empty() => there,
            None => state.synced.min(there),
        };
        if good == 0 || state.version.length.is_some_and(|length| good > length) {
            return self.begin_again();
        }
        match ranges {
            Some(ranges) if parallel => state.ranges = Some(ranges.as_slice().to_vec()),
            _ => self.file.set_len(good)?,
        }
        if !parallel && state.ranges.take().is_some() {
            // From now on the file's length says how much is good; it has been cut to that.
            state.synced = good;
            self.file.sync_data()?;
            write_state(&self.state_path, &state)?;
        }
        self.file.seek(SeekFrom::Start(good))?;
        self.length = good;
        self.state = Some(state);
        self.note_interruption();
        Ok(())
    }

    /// The ranges that are there, of a version whose length is known.
    pub(super) fn ranges(&self) -> Option<(&Version, Vec<Range>)> {
        let state = self.state.as_ref()?;
        let ranges = state.ranges.clone().unwrap_or_else(|| vec![(0, self.length)]);
        Some((&state.version, ranges))
    }

    /// Takes note of the ranges that are there, once they are on the disk.
    pub(super) fn note_ranges(&mut self, version: &Version, there: &[Range]) -> Result<(), Report> {
        let state = State {
            schema: SCHEMA.to_owned(),
            url: self.url.clone(),
            version: version.clone(),
            synced: 0,
            boot: boot::id().to_owned(),
            ranges: Some(there.to_vec()),
        };
        self.length = Ranges::new(there, u64::MAX).sum();
        let saved = self.file.sync_data().and_then(|()| self.save(state));
        saved.map_err(|error| failed(&self.path, &error))
    }

    /// What there is from an earlier attempt: the version, and how many bytes of it.
    pub(crate) fn resumable(&self) -> Option<(&Version, u64)> {
        self.state.as_ref().map(|state| (&state.version, self.length))
    }

    /// Takes note of the version of which bytes will be written. They can only be resumed if it has a
    /// strong validator.
    pub(crate) fn note(&mut self, version: &Version) -> Result<(), Report> {
        if version.validator().is_none() {
            // What an earlier answer has left must not vouch for the bytes of this one.
            return self.begin_again().map_err(|error| failed(&self.path, &error));
        }
        let state = State {
            schema: SCHEMA.to_owned(),
            url: self.url.clone(),
            version: version.clone(),
            synced: self.state.as_ref().map_or(0, |state| state.synced),
            boot: boot::id().to_owned(),
            ranges: None,
        };
        self.save(state).map_err(|error| failed(&self.state_path, &error))
    }

    fn save(&mut self, state: State) -> io::Result<()> {
        // An interruption waits until the new state has the name.
        let mut unfinished = interrupt::unfinished();
        write_state(&self.state_path, &state)?;
        self.state = Some(state);
        unfinished.resumable.insert(self.target.clone());
        Ok(())
    }

    fn note_interruption(&self) {
        interrupt::unfinished().resumable.insert(self.target.clone());
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        let due = |state: &State| self.length - state.synced.min(self.length) >= CHECKPOINT;
        if let Some(state) = self.state.clone().filter(due) {
            self.file.sync_data()?;
            self.save(State { synced: self.length, boot: boot::id().to_owned(), ..state })?;
        }
        Ok(())
    }

    /// Forgets everything.
    pub(crate) fn begin_again(&mut self) -> io::Result<()> {
        // In this order: a state whose bytes are gone is harmless, bytes with a wrong state are not.
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.length = 0;
        let synced =
            self.state.take().is_some_and(|state| state.synced > 0 || state.ranges.is_some());
        interrupt::unfinished().resumable.remove(&self.target);
        match fs::remove_file(&self.state_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match synced {
            // After a power failure the state must not come back and vouch for other bytes.
            true => File::open(directory_of(&self.target))?.sync_all(),
            false => Ok(()),
        }
    }

    pub(crate) fn finish(mut self, modified: Option<SystemTime>) -> Result<(), Report> {
        let saved = self.try_finish(modified);
        saved.map_err(|error| failed(&self.target, &error))
    }

    fn try_finish(&mut self, modified: Option<SystemTime>) -> io::Result<()> {
        if let Some(mode) = self.mode {
            self.file.set_permissions(Permissions::from_mode(mode))?;
        }
        settle(&self.file, modified)?;
        let mut unfinished = interrupt::unfinished();
        // Whatever somebody has put in its place has other bytes than those that were checked.
        if !is_at(&self.file, &self.path) {
            let message = format!("{} is another file by now", self.path.display());
            return Err(io::Error::other(message));
        }
        fs::rename(&self.path, &self.target)?;
        self.finished = true;
        unfinished.resumable.remove(&self.target);
        // A state without a file says nothing. It goes last, or a failure in between would lose the
        // file's bytes.
        let _ = fs::remove_file(&self.state_path);
        Ok(())
    }

    /// The bytes can never become right.
    pub(crate) fn discard(mut self) {
        let _ = self.begin_again();
    }

    pub(crate) fn name(&self) -> &Path {
        &self.target
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // Of no use to a later run: as with any download, nothing incomplete stays.
        if !self.finished
            && (self.state.is_none() || self.length == 0)
            && is_at(&self.file, &self.path)
        {
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_file(&self.state_path);
        }
        interrupt::unfinished().resumable.remove(&self.target);
    }
}

/// Opens a partial file that nobody else writes, and nobody else can have put there.
fn lock(path: &Path) -> Result<File, Report> {
    // Each time around, somebody else has finished in between.
    for _ in 0..16 {
        let file = open_own(path).map_err(|error| failed(path, &error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let name = path.display().to_string();
                return Err(Report::new(Exit::LocalIo, "busy", format!("{name} is being written"))
                    .explain("another download of the same file is under way")
                    .remedy("wait for it, or give another name with -o")
                    .detail("file", name));
            }
            Err(error) => return Err(failed(path, &error.into())),
        }
        // It may have got its name, or gone, before it was locked.
        if is_at(&file, path) {
            return Ok(file);
        }
    }
    let message = format!("{} comes and goes", path.display());
    Err(Report::new(Exit::LocalIo, "busy", message).remedy("give another name with -o"))
}

/// Whether a path leads to this very file.
fn is_at(file: &File, path: &Path) -> bool {
    let same = fs::symlink_metadata(path).ok().zip(file.metadata().ok());
    same.is_some_and(|(there, here)| (there.dev(), there.ino()) == (here.dev(), here.ino()))
}

fn open_own(path: &Path) -> io::Result<File> {
    // As for any new file: what the umask leaves.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let new = flags | OFlags::CREATE | OFlags::EXCL;
    let file: File = match open(path, new, Mode::from_raw_mode(0o666)) {
        Ok(file) => return Ok(file.into()),
        Err(Errno::EXIST) => open(path, flags, Mode::empty())?.into(),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    let refused = |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if !metadata.is_file() {
        return refused("it is there, and no regular file");
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refused("it is there, and somebody else's");
    }
    if metadata.nlink() != 1 {
        return refused("it is there, and has other names");
    }
    Ok(file)
}

/// The name of a file's beginning.
pub(super) fn part_path(target: &Path) -> PathBuf {
    with_suffix(target, PART)
}

/// The name of what says of what that is.
pub(super) fn state_path(target: &Path) -> PathBuf {
    with_suffix(target, ".part.json")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The state, if there is one that can be relied on.
fn read_state(path: &Path) -> Option<State> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file: File = open(path, flags, Mode::empty()).ok()?.into();
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    let mut text = String::new();
    file.take(LONGEST_STATE).read_to_string(&mut text).ok()?;
    let state: State = serde_json::from_str(&text).ok()?;
    (state.schema == SCHEMA && state.version.validator().is_some()).then_some(state)
}

/// Replaces the state as a whole. Whoever calls has locked the partial file: nobody else does this.
fn write_state(path: &Path, state: &State) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    // What a killed run has left.
    let _ = fs::remove_file(&new);
    // URLs may have secrets in them: for the owner only.
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(serde_json::to_string_pretty(state)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
#[path = "part_tests.rs"]
mod tests;
