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
//! share its identity with: see [`is_settled`].

use super::beneath::Identity;
use super::digest_index::IndexFile;
use sealpair_common::digest::{Hasher, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::Hash;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// The longest time in which the clock that stamps files does not move: a jiffy of Linux, 10 ms where
/// `CONFIG_HZ` is 100, and as much again for whatever stands between that clock and this one.
const TICK: Duration = Duration::from_millis(20);

/// The same where the file system keeps whole seconds, or pairs of them (ext3, FAT).
const COARSE_TICK: Duration = Duration::from_secs(4);

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

    /// Notes the digest of what has just been written to a file that had no other writer until it got this
    /// identity.
    ///
    /// Mostly it has just been renamed, so its time of change is no older than a tick of the clock. But where
    /// its time of modification is older, whoever writes to it shows in that. What does not show is a write
    /// within that tick after which the time of modification is set back to the nanosecond.
    pub(super) fn learn(&self, identity: Identity, digest: Sha256) {
        let written_before = identity.modified < identity.changed && identity.modified.1 != 0;
        if written_before || is_settled(&identity, SystemTime::now()) {
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
            let known = lock(&self.known);
            let known: Vec<_> = known.digests.iter().map(|(id, it)| (*id, it.digest)).collect();
            index.replace(&known);
        }
    }

    /// The digest of a file that is open: known, or computed now. `None` if it would take too long, or the
    /// file changes meanwhile. `wait_for_large` tells whether a file above [`SMALL`] is read for it.
    pub(super) fn find(
        self: &Arc<Self>,
        file: &Arc<File>,
        identity: &Identity,
        wait_for_large: bool,
    ) -> Option<Sha256> {
        if let Some(digest) = self.known(identity) {
            return Some(digest);
        }
        let is_large = identity.size > SMALL;
        if is_large && !wait_for_large {
            return None;
        }
        let Some(reading) = Reading::begin(*identity) else {
            // Somebody else's digest may be that of a state with the same identity.
            return if is_large { None } else { compute(file, identity).ok() };
        };
        let flight = {
            let mut work = lock(&self.work);
            // It may have landed just now.
            if let Some(digest) = self.known(identity) {
                return Some(digest);
            }
            match work.flights.get(identity) {
                Some(flight) => Err(Arc::clone(flight)),
                None if is_large && work.large >= LARGE_AT_ONCE => return None,
                None => {
                    let flight = Arc::<Flight>::default();
                    work.flights.insert(*identity, Arc::clone(&flight));
                    work.large += usize::from(is_large);
                    Ok(Landing { digests: Arc::clone(self), flight, reading, digest: None })
                }
            }
        };
        let landing = match flight {
            Err(flight) => return flight.wait(),
            Ok(landing) => landing,
        };
        let flight = Arc::clone(&landing.flight);
        if is_large {
            let file = Arc::clone(file);
            let job = move || landing.compute(&file);
            // Where no thread can be made, the landing is dropped, and nobody waits.
            let _ = thread::Builder::new().name("digest".to_owned()).spawn(job);
        } else {
            landing.compute(file);
        }
        flight.wait()
    }

    /// Begins to learn the digest of a file that is about to be sent as a whole; `None` if that cannot be
    /// learned, or somebody else does already.
    pub(super) fn pass(self: &Arc<Self>, identity: &Identity) -> Option<Passing> {
        let reading = Reading::begin(*identity)?;
        let hasher = Hasher::new().ok()?;
        if self.known(identity).is_some() || !lock(&self.work).passing.insert(*identity) {
            return None;
        }
        Some(Passing { digests: Arc::clone(self), reading, hasher: Some(hasher) })
    }
}

impl Known {
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

/// A version of a file that is read from now on, and whose digest can be learned.
#[derive(Clone, Copy, Debug)]
struct Reading {
    identity: Identity,
}

impl Reading {
    fn begin(identity: Identity) -> Option<Self> {
        is_settled(&identity, SystemTime::now()).then_some(Self { identity })
    }

    /// Whether what has been read was of this version to the end.
    fn is_of(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|metadata| Identity::of(&metadata) == self.identity)
    }
}

/// Whether every change from `now` on gives a file another identity: it was changed last in an earlier tick of
/// the clock that stamps it. The time of modification does not count, for it can be set.
///
/// On a file system of another machine, its clock is meant, of which nothing is known here; there, an identity
/// is as true as that system's cache of attributes anyway.
fn is_settled(identity: &Identity, now: SystemTime) -> bool {
    let (seconds, nanoseconds) = identity.changed;
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds))
    else {
        // Before 1970, so long ago.
        return true;
    };
    let tick = if nanoseconds == 0 { COARSE_TICK } else { TICK };
    UNIX_EPOCH
        .checked_add(Duration::new(seconds, nanoseconds))
        .and_then(|changed| now.duration_since(changed).ok())
        .is_some_and(|age| age > tick)
}

/// Reads a file from its beginning to its end.
fn compute(file: &File, identity: &Identity) -> io::Result<Sha256> {
    let mut hasher = Hasher::new()?;
    let mut piece = vec![0; PIECE];
    while hasher.length() < identity.size {
        let rest = usize::try_from(identity.size - hasher.length()).unwrap_or(PIECE).min(PIECE);
        match file.read_at(&mut piece[..rest], hasher.length()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => hasher.update(&piece[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    match Identity::of(&file.metadata()?) == *identity {
        true => hasher.finish(),
        false => Err(io::Error::other("the file changed")),
    }
}

/// Whoever computes a digest. Whatever becomes of it, those who wait are told.
#[derive(Debug)]
struct Landing {
    digests: Arc<Digests>,
    flight: Arc<Flight>,
    reading: Reading,
    digest: Option<Sha256>,
}

impl Landing {
    fn compute(mut self, file: &File) {
        match compute(file, &self.reading.identity) {
            Ok(digest) => {
                log::debug!(
                    "computed the digest of a file of {} bytes",
                    self.reading.identity.size
                );
                self.digests.note(self.reading.identity, digest);
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
            work.flights.remove(&self.reading.identity);
            work.large -= usize::from(self.reading.identity.size > SMALL);
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

/// Learns the digest of a file while it passes, from its beginning to its end.
#[derive(Debug)]
pub(super) struct Passing {
    digests: Arc<Digests>,
    reading: Reading,
    /// `None` once it is certain that nothing will be learned.
    hasher: Option<Hasher>,
}

impl Passing {
    /// Takes the next bytes; with the last of them, the digest is known.
    pub(super) fn update(&mut self, bytes: &[u8], file: &File) {
        let Some(mut hasher) = self.hasher.take() else { return };
        if hasher.update(bytes).is_err() {
            return;
        }
        if hasher.length() < self.reading.identity.size {
            self.hasher = Some(hasher);
        } else if self.reading.is_of(file)
            && let Ok(digest) = hasher.finish()
        {
            self.digests.note(self.reading.identity, digest);
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        lock(&self.digests.work).passing.remove(&self.reading.identity);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "digests_tests.rs"]
mod tests;
