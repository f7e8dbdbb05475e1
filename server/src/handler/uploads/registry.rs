//! The uploads that this process knows: whose turn it is, and how much they may be.
//!
//! What is here can be lost: all that an upload needs is on the disk. The lock on the data file
//! (flock(2)) keeps other processes away; here it is decided who of this process goes on.

use super::super::problem::Refused;
use super::UploadLimits;
use super::token::Token;
use crate::http::Rejection;
use crate::message::ConnectionInfo;
use ::http::StatusCode;
use ::http::header::RETRY_AFTER;
use sealpair_common::digest::Hasher;
use std::collections::{HashMap, HashSet};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a request waits for the one before it to let go: it may be bringing gigabytes to the disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// When to ask again, in seconds, where there are too many uploads.
const LATER: u32 = 60;

/// How many complete uploads are remembered at most: each leaves a record for a while.
const REMEMBERED: usize = 1000;

/// The uploads that are known.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<HashMap<Token, Known>>);

#[derive(Debug)]
struct Known {
    entry: Arc<Entry>,
    /// Where it is, relative to the root.
    folder: PathBuf,
    /// What it takes or is to take on the disk, in bytes.
    space: u64,
    /// Whether it is one of those that are counted: a part of a file, not a memory of one.
    counted: bool,
    /// Since when it is known.
    since: Instant,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<Token, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a new upload, if there is room for one more.
    pub(super) fn admit(
        &self,
        token: Token,
        folder: &Path,
        space: u64,
        limits: &UploadLimits,
    ) -> Result<Arc<Entry>, Refused> {
        let mut known = self.lock();
        let counted = known.values().filter(|upload| upload.counted);
        let (count, taken) =
            counted.fold((0, 0_u64), |(n, sum), it| (n + 1, sum.saturating_add(it.space)));
        if count >= limits.max_uploads {
            let rejection = Rejection::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many uploads have been begun and not completed; try again later",
            );
            return Err(Refused::from(rejection).with(RETRY_AFTER, LATER));
        }
        if taken.saturating_add(space) > limits.max_space {
            return Err(NO_SPACE.into());
        }
        let entry = Arc::<Entry>::default();
        let upload = Known {
            entry: Arc::clone(&entry),
            folder: folder.to_owned(),
            space,
            counted: true,
            since: Instant::now(),
        };
        known.insert(token, upload);
        Ok(entry)
    }

    /// The entry of an upload that was found on the disk.
    pub(super) fn adopt(
        &self,
        token: Token,
        folder: &Path,
        space: u64,
        counted: bool,
    ) -> Arc<Entry> {
        let mut known = self.lock();
        let upload = known.entry(token).or_insert_with(|| Known {
            entry: Arc::default(),
            folder: folder.to_owned(),
            space,
            counted,
            since: Instant::now(),
        });
        // The folder may have been renamed.
        if upload.folder != folder {
            folder.clone_into(&mut upload.folder);
        }
        Arc::clone(&upload.entry)
    }

    /// Whether an upload may take so much space, which is noted then.
    pub(super) fn may_take(&self, token: Token, space: u64, limits: &UploadLimits) -> bool {
        let mut known = self.lock();
        if known.get(&token).is_none_or(|upload| upload.space >= space) {
            return true;
        }
        let others = known.iter().filter(|(other, upload)| upload.counted && **other != token);
        let taken = others.fold(0_u64, |sum, (_, upload)| sum.saturating_add(upload.space));
        if taken.saturating_add(space) > limits.max_space {
            return false;
        }
        if let Some(upload) = known.get_mut(&token) {
            upload.space = space;
        }
        true
    }

    /// The upload is complete: it takes no room any more, but is remembered. Where too many are, the one
    /// that is to be forgotten, and its folder.
    pub(super) fn completed(&self, token: Token) -> Option<(PathBuf, Token)> {
        let mut known = self.lock();
        if let Some(upload) = known.get_mut(&token) {
            (upload.space, upload.counted, upload.since) = (0, false, Instant::now());
        }
        let complete = || known.iter().filter(|(_, upload)| !upload.counted);
        if complete().count() <= REMEMBERED {
            return None;
        }
        let (oldest, _) = complete().min_by_key(|(_, upload)| upload.since)?;
        let oldest = *oldest;
        known.remove(&oldest).map(|upload| (upload.folder, oldest))
    }

    /// The upload is gone.
    pub(super) fn forget(&self, token: Token) {
        self.lock().remove(&token);
    }

    /// A folder is gone, and all that was in it.
    pub(super) fn forget_folder(&self, folder: &Path) {
        self.lock().retain(|_, upload| upload.folder != folder);
    }

    /// Only these were in a folder when it was looked at.
    pub(super) fn retain(&self, folder: &Path, left: &HashSet<Token>, looked: Instant) {
        self.lock().retain(|token, upload| {
            upload.folder != folder || left.contains(token) || upload.since >= looked
        });
    }

    /// The folders, relative to the root, in which uploads are known.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<_> = self.lock().values().map(|it| it.folder.clone()).collect();
        folders.sort_unstable();
        folders.dedup();
        folders
    }
}

/// RFC 4918 section 11.5.
pub(super) const NO_SPACE: Rejection = Rejection::new(
    StatusCode::INSUFFICIENT_STORAGE,
    "uploads that are not complete take all the room that they may have",
);

/// One upload: whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Entry {
    turns: Mutex<Turns>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Turns {
    /// How many have asked for a turn.
    asked: u64,
    holder: Option<Holder>,
    /// The digest of what is there, so that it is not read again to go on.
    hasher: Option<Hasher>,
}

#[derive(Debug)]
struct Holder {
    number: u64,
    stop: Option<Stop>,
}

/// How a request is ended that a newer one replaces.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    asked: Arc<AtomicBool>,
    tcp: Option<Arc<TcpStream>>,
}

impl Stop {
    pub(super) fn of(connection: &ConnectionInfo) -> Self {
        Self { asked: Arc::default(), tcp: connection.tcp().cloned() }
    }

    /// Whether the request is to end.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn ask(&self) {
        if self.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        // It may be waiting for content that will never come: the draft lets a server end the connection
        // (section 4.6).
        if let Some(tcp) = &self.tcp {
            let _ = tcp.shutdown(Shutdown::Both);
        }
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn, if nobody has it and nobody waits for long: who asks meanwhile gets the next.
    pub(super) fn try_turn(self: Arc<Self>) -> Option<Held> {
        let mut turns = self.lock();
        if turns.holder.is_some() {
            return None;
        }
        let number = turns.asked;
        turns.holder = Some(Holder { number, stop: None });
        drop(turns);
        Some(Held { entry: self, number })
    }

    /// Waits until nobody else works on the upload; whoever does is told to stop. Nothing for whom a
    /// newer request replaces meanwhile, or whose patience ends.
    pub(super) fn take_turn(self: Arc<Self>, stop: Stop) -> Option<Held> {
        let deadline = Instant::now() + PATIENCE;
        let mut turns = self.lock();
        turns.asked += 1;
        let number = turns.asked;
        // Whoever waits already need not wait any longer: it is this request's turn next.
        self.freed.notify_all();
        loop {
            match &turns.holder {
                _ if turns.asked != number => return None,
                None => break,
                Some(holder) => {
                    if let Some(stop) = &holder.stop {
                        stop.ask();
                    }
                }
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let (woken, _) =
                self.freed.wait_timeout(turns, left).unwrap_or_else(PoisonError::into_inner);
            turns = woken;
        }
        turns.holder = Some(Holder { number, stop: Some(stop) });
        drop(turns);
        Some(Held { entry: self, number })
    }
}

/// The turn of one request.
#[derive(Debug)]
pub(super) struct Held {
    entry: Arc<Entry>,
    number: u64,
}

impl Held {
    /// From now on nobody ends this request: what it does is nearly done, and somebody wants to know.
    pub(super) fn go_through(&self) {
        if let Some(holder) = &mut self.entry.lock().holder {
            holder.stop = None;
        }
    }

    /// The digest of the first `length` bytes, if it is known.
    pub(super) fn hasher(&self, length: u64) -> Option<Hasher> {
        self.entry.lock().hasher.take().filter(|hasher| hasher.length() == length)
    }

    /// Keeps the digest for who goes on.
    pub(super) fn keep(&self, hasher: Option<Hasher>) {
        self.entry.lock().hasher = hasher;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut turns = self.entry.lock();
        if turns.holder.as_ref().is_some_and(|holder| holder.number == self.number) {
            turns.holder = None;
        }
        drop(turns);
        self.entry.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn stop() -> Stop {
        Stop { asked: Arc::default(), tcp: None }
    }

    #[test]
    fn a_newer_request_tells_the_older_one_to_stop_and_waits_for_it() {
        let entry = Arc::<Entry>::default();
        let first = stop();
        let held = Arc::clone(&entry).take_turn(first.clone()).unwrap();
        assert!(!first.is_asked());
        let newer = thread::spawn({
            let entry = Arc::clone(&entry);
            move || entry.take_turn(stop()).is_some()
        });
        while !first.is_asked() {
            thread::yield_now();
        }
        assert!(!newer.is_finished());
        drop(held);
        assert!(newer.join().unwrap());
        assert!(entry.try_turn().is_some());
    }

    #[test]
    fn of_those_who_wait_only_the_newest_gets_the_turn() {
        let entry = Arc::<Entry>::default();
        let held = Arc::clone(&entry).take_turn(stop()).unwrap();
        let wait = |number: u64| {
            let waiting = Arc::clone(&entry);
            let thread = thread::spawn(move || waiting.take_turn(stop()).map(drop).is_some());
            while entry.lock().asked != number {
                thread::yield_now();
            }
            thread
        };
        let (older, newer) = (wait(2), wait(3));
        assert!(Arc::clone(&entry).try_turn().is_none());
        // The older one keeps no thread until then.
        assert!(!older.join().unwrap());
        drop(held);
        assert!(newer.join().unwrap());
    }

    #[test]
    fn what_is_nearly_done_is_not_told_to_stop() {
        let entry = Arc::<Entry>::default();
        let first = stop();
        let held = Arc::clone(&entry).take_turn(first.clone()).unwrap();
        held.go_through();
        let newer = thread::spawn({
            let entry = Arc::clone(&entry);
            move || entry.take_turn(stop()).is_some()
        });
        while entry.lock().asked != 2 {
            thread::yield_now();
        }
        drop(held);
        assert!(newer.join().unwrap());
        assert!(!first.is_asked());
    }

    #[test]
    fn a_digest_goes_on_only_where_it_ended() {
        let held = Arc::<Entry>::default().take_turn(stop()).unwrap();
        let mut hasher = Hasher::new().unwrap();
        hasher.update(b"abc").unwrap();
        held.keep(Some(hasher.clone()));
        assert!(held.hasher(2).is_none());
        held.keep(Some(hasher));
        assert_eq!(held.hasher(3).unwrap().length(), 3);
    }

    #[test]
    fn only_so_many_complete_uploads_are_remembered() {
        let registry = Registry::default();
        let limits = UploadLimits::default();
        let complete = || {
            let token = Token::random().unwrap();
            registry.admit(token, Path::new("folder"), 5, &limits).unwrap();
            (token, registry.completed(token))
        };
        let (first, none) = complete();
        assert!(none.is_none());
        for _ in 1..REMEMBERED {
            assert!(complete().1.is_none());
        }
        let (folder, forgotten) = complete().1.unwrap();
        assert!(forgotten == first && folder == Path::new("folder"));
    }

    #[test]
    fn what_was_begun_while_a_folder_was_looked_at_stays_known() {
        let registry = Registry::default();
        let limits = UploadLimits::default();
        let begin = || {
            let token = Token::random().unwrap();
            registry.admit(token, Path::new("a"), 5, &limits).unwrap();
            token
        };
        let (gone, there) = (begin(), begin());
        let looked = Instant::now();
        let new = begin();
        registry.retain(Path::new("a"), &HashSet::from([there]), looked);
        registry.retain(Path::new("b"), &HashSet::new(), Instant::now());
        let known = registry.lock();
        assert!(!known.contains_key(&gone));
        assert!(known.contains_key(&there) && known.contains_key(&new));
    }
}
