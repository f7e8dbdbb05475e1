//! Removing what nobody goes on with: uploads that have expired, and what servers have left that were
//! killed.
//!
//! The whole tree is walked once, in the background, when the server starts: so it learns which uploads
//! there are. Afterwards only the folders are looked at that are known to have some. Symbolic links are
//! not followed, and nothing is touched that somebody has locked: another server may be at work here, as
//! while one hands over to the next.

use super::super::beneath::{Folder, Resolved};
use super::super::path::UPLOAD_PREFIX;
use super::record::Record;
use super::store::{later, removal, remove};
use super::token::Token;
use super::{UploadLimits, Uploads};
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, openat, statat, unlinkat,
};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How old a file must be that belongs to no upload, or it may be about to.
const LEFT: Duration = Duration::from_secs(10 * 60);

/// How often folders with uploads are looked at, at least.
const SELDOM: Duration = Duration::from_secs(60 * 60);

/// And at most.
const OFTEN: Duration = Duration::from_secs(1);

/// The thread that sweeps; it ends when this is dropped.
#[derive(Debug)]
pub(in super::super) struct Sweeper(Arc<(Mutex<bool>, Condvar)>);

impl Sweeper {
    /// Begins to sweep.
    pub(in super::super) fn start(uploads: Arc<Uploads>) -> io::Result<Self> {
        let stop = Arc::<(Mutex<bool>, Condvar)>::default();
        let pause = pause(&uploads.limits);
        let stopped = Arc::clone(&stop);
        thread::Builder::new().name("sweeper".to_owned()).spawn(move || {
            uploads.sweep_tree(&|| is_set(&stopped));
            while !wait(&stopped, pause) {
                uploads.sweep_known(&|| is_set(&stopped));
            }
        })?;
        Ok(Self(stop))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        let (stop, changed) = &*self.0;
        *stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }
}

fn is_set(stop: &(Mutex<bool>, Condvar)) -> bool {
    *stop.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits; whether it is to end.
fn wait(stop: &(Mutex<bool>, Condvar), pause: Duration) -> bool {
    let guard = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = stop.1.wait_timeout_while(guard, pause, |stop| !*stop);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}

/// An upload is swept at most this late, and never later than twice its time.
fn pause(limits: &UploadLimits) -> Duration {
    limits.expiry.clamp(OFTEN, SELDOM)
}

impl Uploads {
    /// Looks at every folder.
    pub(super) fn sweep_tree(&self, stopped: &dyn Fn() -> bool) {
        let mut folders = vec![PathBuf::from(".")];
        while let Some(path) = folders.pop() {
            if stopped() {
                return;
            }
            self.sweep_and_tell(&path, Some(&mut folders));
        }
    }

    /// Looks at the folders that have uploads.
    pub(super) fn sweep_known(&self, stopped: &dyn Fn() -> bool) {
        for path in self.registry.folders() {
            if stopped() {
                return;
            }
            self.sweep_and_tell(&path, None);
        }
    }

    /// Sweeps before somebody is refused for want of room: what has expired must not keep others out until the next
    /// time. Not more often than each second.
    pub(super) fn make_room(&self) {
        let mut last = self.made_room.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= OFTEN) {
            self.sweep_known(&|| false);
            *last = Some(Instant::now());
        }
    }

    fn sweep_and_tell(&self, path: &Path, below: Option<&mut Vec<PathBuf>>) {
        if let Err(error) = self.sweep(path, below) {
            // It may have been removed meanwhile, or be none of this user's business.
            log::debug!("a folder could not be swept: {error}");
        }
    }

    fn sweep(&self, path: &Path, below: Option<&mut Vec<PathBuf>>) -> io::Result<()> {
        let Ok(Resolved::Folder(folder)) = self.root.resolve(path) else {
            self.registry.forget_folder(path);
            return Ok(());
        };
        let looked = Instant::now();
        let names = look(&folder, path, below)?;
        let mut records = HashSet::new();
        for name in &names {
            if let Some(token) = Token::of_record(name) {
                records.insert(token);
                if let Err(error) = self.look_at_upload(&folder, path, token) {
                    log::warn!("an upload could not be swept: {error}");
                }
            }
        }
        for name in names.iter().map(|name| OsStr::from_bytes(name)) {
            let known = |token| records.contains(&token);
            let bytes = name.as_bytes();
            let belongs =
                Token::of_record(bytes).is_some() || Token::of_data(bytes).is_some_and(known);
            if !belongs && let Err(error) = remove_left(&folder, name) {
                log::warn!("what a server has left could not be removed: {error}");
            }
        }
        self.registry.retain(path, &records, looked);
        Ok(())
    }

    /// Removes an upload that has expired, and knows the others from now on.
    fn look_at_upload(&self, folder: &Folder, path: &Path, token: Token) -> io::Result<()> {
        let now = SystemTime::now();
        let record = Record::read(folder, token)?;
        let data = match openat(folder, token.data(), READ, Mode::empty()) {
            Ok(file) => Some(File::from(file)),
            Err(Errno::NOENT) => None,
            // It may be another user's.
            Err(errno) => return Err(errno.into()),
        };
        let is_over = |data: Option<&File>| -> io::Result<bool> {
            let touched = data.map(|data| data.metadata()?.modified()).transpose()?;
            Ok(match (&record, touched) {
                (Some((record, written)), touched) => {
                    removal(record, *written, touched, &self.limits)
                        .unwrap_or_else(|| later(*written, LEFT))
                        < now
                }
                (None, touched) => {
                    let stat = statat(folder, token.record(), AtFlags::SYMLINK_NOFOLLOW)?;
                    later(touched.unwrap_or_else(|| modified(&stat)), LEFT) < now
                }
            })
        };
        let placed = record.as_ref().is_some_and(|(record, _)| record.placed);
        let here = match &data {
            Some(data) => data.metadata()?.len(),
            None => 0,
        };
        let declared = record.as_ref().and_then(|(record, _)| record.length).unwrap_or(0);
        let counted = !placed || data.is_some();
        let entry = self.registry.adopt(token, path, declared.max(here), counted);
        if !is_over(data.as_ref())? {
            return Ok(());
        }
        // Whoever works on it now keeps it.
        let Some(_held) = entry.try_turn() else { return Ok(()) };
        if let Some(data) = &data
            && flock(data, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            return Ok(());
        }
        if is_over(data.as_ref())? {
            remove(folder, token)?;
            self.registry.forget(token);
            log::info!("removed an upload that had expired, of {here} bytes");
        }
        Ok(())
    }
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// The names in a folder that belong to uploads; the folders in it are added to `below`.
fn look(
    folder: &Folder,
    path: &Path,
    mut below: Option<&mut Vec<PathBuf>>,
) -> io::Result<Vec<Vec<u8>>> {
    let readable = folder.open().map_err(io::Error::other)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&readable)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if name.starts_with(UPLOAD_PREFIX.as_bytes()) {
            names.push(name.to_vec());
        } else if let Some(below) = &mut below {
            let kind = match entry.file_type() {
                FileType::Unknown => statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                kind => kind,
            };
            if kind == FileType::Directory {
                below.push(path.join(OsStr::from_bytes(name)));
            }
        }
    }
    Ok(names)
}

/// Removes a file that no upload has, if it is old and nobody works on it.
fn remove_left(folder: &Folder, name: &OsStr) -> io::Result<()> {
    let Ok(file) = openat(folder, name, READ, Mode::empty()).map(File::from) else {
        return Ok(());
    };
    let metadata = file.metadata()?;
    let old = metadata.modified()?.elapsed().is_ok_and(|age| age > LEFT);
    if !metadata.is_file() || !old {
        return Ok(());
    }
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        unlinkat(folder, name, AtFlags::empty())?;
        log::info!("removed what a server that was killed had left, {} bytes", metadata.len());
    }
    Ok(())
}

// The types of these fields differ between architectures.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
fn modified(stat: &rustix::fs::Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime as i64).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or_else(SystemTime::now)
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
