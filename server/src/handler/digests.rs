//! The digests of files that are known, each for one version of a file.
//!
//! ```text
//! upload ────────────┐                       ┌─ Repr-Digest
//! sent as a whole ───┼─▶ learn ─▶ Digests ───┤
//! computed, if asked ┘              │        └─ (a line in) IndexFile ─▶ the next start
//! ```
//!
//! A digest counts for the [`Identity`] of the file that it was computed of, and for nothing else: a file that
//! is replaced or changed has another identity, so what stands here is never stale, only unused. That holds as
//! exactly as the file system keeps time, so a digest is learned only of a version that no later change can
//! share its identity with ([`is_settled`]), and only if the file was in that state before and after it was read.

use super::digest_index::IndexFile;
use super::validators::is_settled;
use crate::open_file::{Identity, OpenFile};
use sealpair_common::digest::{Hasher, Sha256};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Digests that are known at most; each takes some 150 bytes of memory and of the index.
pub(super) const MOST: usize = 1 << 16;

/// Up to this length in bytes, a digest that is asked for is computed while the request waits: a tenth of a
/// second, two where the processor has no instructions for SHA-256.
pub(super) const SMALL: u64 = 64 << 20;

/// Files above [`SMALL`] that are read for their digests at a time. More would not be faster: they share a
/// disk and the processors with the transfers.
const LARGE_AT_ONCE: usize = 2;

/// How long a request waits for the digest of a large file. It goes on being computed, so a later one has it.
/// Below what clients usually wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is read at a time, in bytes.
const PIECE: usize = 256 << 10;

/// What is known of files' content.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: Mutex<Known>,
    work: Mutex<Work>,
    index: Option<IndexFile>,
}

#[derive(Debug, Default)]
struct Known {
    digests: HashMap<Identity, Entry>,
}

#[derive(Debug)]
struct Entry {
    digest: Sha256,
    /// Whether it was asked for since the last time that room was made.
    used: bool,
}

/// What is being computed.
#[derive(Debug, Default)]
struct Work {
    flights: HashMap<Identity, Arc<Flight>>,
    /// How many flights are of large files.
    large: usize,
    /// What is learned while it is sent.
    passing: HashSet<Identity>,
}

/// A digest that is being computed for everybody who asks for it meanwhile.
#[derive(Debug, Default)]
struct Flight {
    landed: Mutex<Option<Option<Sha256>>>,
    changed: Condvar,
}

impl Digests {
    /// Digests that are kept in a directory, too, and those that an earlier run has left there.
    pub(super) fn kept_in(directory: PathBuf) -> Self {
        let index = IndexFile::new(directory);
        let mut known = Known::default();
        index.load(|identity, digest| known.insert(identity, digest));
        Self { known: Mutex::new(known), index: Some(index), ..Self::default() }
    }

    /// The digest of this version of a file, if it is known.
    pub(super) fn known(&self, identity: &Identity) -> Option<Sha256> {
        let mut known = lock(&self.known);
        let entry = known.digests.get_mut(identity)?;
        entry.used = true;
        Some(entry.digest)
    }

    /// Notes the digest of this version of a file. Whoever calls this has seen that the file did not change
    /// while its content was digested. It is not noted if a change from now on would not show.
    pub(super) fn learn(&self, identity: Identity, digest: Sha256) {
        if is_settled(&identity, SystemTime::now()) {
            self.note(identity, digest);
        }
    }

    fn note(&self, identity: Identity, digest: Sha256) {
        let is_new = {
            let mut known = lock(&self.known);
            known.insert(identity, digest)
        };
        if let Some(index) = &self.index
            && is_new
            && index.append(&identity, &digest).is_break()
        {
            // Too long by now. What is known is what is worth keeping.
            let all = lock(&self.known).all();
            // Without the lock: those who only look must not wait for the disk.
            index.replace(&all);
        }
    }

    /// The digest of a file that is open: known, or computed now. `None` if it would take too long, or the
    /// file changes meanwhile. `wait_for_large` tells whether a file above [`SMALL`] is read for it.
    pub(super) fn find(
        self: &Arc<Self>,
        file: &Arc<OpenFile>,
        wait_for_large: bool,
    ) -> Option<Sha256> {
        let identity = file.identity();
        if let Some(digest) = self.known(&identity) {
            return Some(digest);
        }
        let is_large = file.length() > SMALL;
        if is_large && !wait_for_large {
            return None;
        }
        if !is_settled(&identity, SystemTime::now()) {
            // Somebody else's digest may be that of another state with the same identity.
            return if is_large { None } else { compute(file).ok() };
        }
        let flight = {
            let mut work = lock(&self.work);
            // It may have landed just now.
            if let Some(digest) = self.known(&identity) {
                return Some(digest);
            }
            match work.flights.get(&identity) {
                Some(flight) => Err(Arc::clone(flight)),
                None if is_large && work.large >= LARGE_AT_ONCE => return None,
                None => {
                    let (file, flight) = (Arc::clone(file), Arc::<Flight>::default());
                    work.flights.insert(identity, Arc::clone(&flight));
                    work.large += usize::from(is_large);
                    Ok(Landing { digests: Arc::clone(self), flight, file, digest: None })
                }
            }
        };
        let landing = match flight {
            Err(flight) => return flight.wait(),
            Ok(landing) => landing,
        };
        let flight = Arc::clone(&landing.flight);
        if is_large {
            // Where no thread can be made, the landing is dropped, and nobody waits.
            let thread = thread::Builder::new().name("digest".to_owned());
            let _ = thread.spawn(move || landing.compute());
        } else {
            landing.compute();
        }
        flight.wait()
    }

    /// A reader for a file that is about to be sent as a whole, which learns its digest; `None` if that cannot
    /// be learned, or somebody else does already.
    pub(super) fn pass(self: &Arc<Self>, file: &Arc<OpenFile>) -> Option<Passing> {
        let identity = file.identity();
        if !is_settled(&identity, SystemTime::now()) || self.known(&identity).is_some() {
            return None;
        }
        let hasher = Hasher::new().ok()?;
        if !lock(&self.work).passing.insert(identity) {
            return None;
        }
        let (digests, file) = (Arc::clone(self), Arc::clone(file));
        Some(Passing { digests, file, at: 0, hasher: Some(hasher) })
    }
}

impl Known {
    fn all(&self) -> Vec<(Identity, Sha256)> {
        self.digests.iter().map(|(identity, entry)| (*identity, entry.digest)).collect()
    }

    /// Whether it was not known before.
    fn insert(&mut self, identity: Identity, digest: Sha256) -> bool {
        if self.digests.len() >= MOST && !self.digests.contains_key(&identity) {
            make_room(&mut self.digests);
        }
        let entry = Entry { digest, used: true };
        self.digests.insert(identity, entry).is_none_or(|before| before.digest != digest)
    }
}

/// Drops what nobody asked for since the last time, or else every second one.
fn make_room<K: Eq + Hash>(digests: &mut HashMap<K, Entry>) {
    let before = digests.len();
    digests.retain(|_, entry| std::mem::take(&mut entry.used));
    if digests.len() > before / 2 {
        let mut stays = false;
        digests.retain(|_, _| {
            stays = !stays;
            stays
        });
    }
}

/// Reads a file from its beginning to its end.
fn compute(file: &OpenFile) -> io::Result<Sha256> {
    let mut hasher = Hasher::new()?;
    let mut piece = vec![0; PIECE];
    while hasher.length() < file.length() {
        let rest = usize::try_from(file.length() - hasher.length()).unwrap_or(PIECE).min(PIECE);
        match file.file().read_at(&mut piece[..rest], hasher.length()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => hasher.update(&piece[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    match file.is_unchanged()? {
        true => hasher.finish(),
        false => Err(changed()),
    }
}

fn changed() -> io::Error {
    io::Error::other("the file changed while it was read")
}

/// Whoever computes a digest. Whatever becomes of it, those who wait are told.
#[derive(Debug)]
struct Landing {
    digests: Arc<Digests>,
    flight: Arc<Flight>,
    file: Arc<OpenFile>,
    digest: Option<Sha256>,
}

impl Landing {
    fn compute(mut self) {
        match compute(&self.file) {
            Ok(digest) => {
                log::debug!("computed the digest of a file of {} bytes", self.file.length());
                self.digests.note(self.file.identity(), digest);
                self.digest = Some(digest);
            }
            Err(error) => log::debug!("could not compute a digest: {error}"),
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        {
            let mut work = lock(&self.digests.work);
            work.flights.remove(&self.file.identity());
            work.large -= usize::from(self.file.length() > SMALL);
        }
        *lock(&self.flight.landed) = Some(self.digest);
        self.flight.changed.notify_all();
    }
}

impl Flight {
    /// What was computed; `None` if nothing was, or nothing yet.
    fn wait(&self) -> Option<Sha256> {
        let until = Instant::now() + PATIENCE;
        let mut landed = lock(&self.landed);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match *landed {
                Some(digest) => return digest,
                None if left.is_zero() => return None,
                None => {
                    let waited = self.changed.wait_timeout(landed, left);
                    landed = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

/// Reads a file from its beginning to its end, and learns its digest. The last bytes are given only if all that
/// was read is of the version that was found.
#[derive(Debug)]
pub(super) struct Passing {
    digests: Arc<Digests>,
    file: Arc<OpenFile>,
    at: u64,
    /// `None` once it is certain that nothing will be learned.
    hasher: Option<Hasher>,
}

impl Read for Passing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.file.length() - self.at;
        let room = buf.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let count = self.file.file().read_at(&mut buf[..room], self.at)?;
        self.at += count as u64;
        let is_last = self.at == self.file.length();
        if count > 0 && is_last && !self.file.is_unchanged()? {
            return Err(changed());
        }
        if let Some(mut hasher) = self.hasher.take()
            && hasher.update(&buf[..count]).is_ok()
        {
            if !is_last {
                self.hasher = Some(hasher);
            } else if let Ok(digest) = hasher.finish() {
                self.digests.note(self.file.identity(), digest);
            }
        }
        Ok(count)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        lock(&self.digests.work).passing.remove(&self.file.identity());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "digests_tests.rs"]
mod tests;
