//! Small files that are kept open, so that they need not be looked up for each request.
//!
//! What is kept is the way to a file and the open file itself, never its content. Each time, its bytes are
//! read, and then the path is asked what it leads to now; only if that is the very file that is open,
//! unchanged, are they served. So nothing replaced, changed, renamed or forbidden before they were read is
//! ever served from here: such a path leads to another inode, another time of change, or nowhere, and is
//! looked up anew. Because the file is open, its inode number cannot become another file's meanwhile. A
//! file whose times prove nothing yet is not kept.

use super::beneath::{Identity, Root};
use super::representation::Representation;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Files that are kept open at most. For each, a descriptor is.
const MOST: usize = 256;

/// The part of all descriptors that files may be kept open with: the others are for connections.
const PART: u64 = 16;

/// The longest file that is kept, in bytes. For a longer one, looking it up is little against sending
/// it; and as long as it is open, the disk keeps the room of a file that was deleted.
const LONGEST: u64 = 64 << 10;

/// Small files by the path of the request target, as it stood on the wire.
#[derive(Debug)]
pub(super) struct Cache {
    files: RwLock<HashMap<Box<str>, Arc<Kept>>>,
    most: usize,
}

/// A file that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// Where it was found, relative to the root.
    path: PathBuf,
    identity: Identity,
    representation: Representation,
    /// Whether it was asked for since the last time that room was made.
    used: AtomicBool,
}

impl Kept {
    /// Where it was found, relative to the root.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file.
    pub(super) fn representation(&self) -> &Representation {
        &self.representation
    }
}

impl Cache {
    pub(super) fn new() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(descriptors / PART).unwrap_or(MOST).min(MOST);
        Self { files: RwLock::default(), most }
    }

    /// The file that `target` led to when it was kept. What was read of it is to be served only if it then
    /// still [is](Self::is_current) what the path leads to.
    pub(super) fn find(&self, target: &str) -> Option<Arc<Kept>> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(target).map(Arc::clone)
    }

    /// Whether `target` still leads to this file, in the state in which it was kept.
    pub(super) fn is_current(&self, root: &Root, target: &str, kept: &Arc<Kept>) -> bool {
        if root.identity(&kept.path) != Some(kept.identity) {
            self.forget(target, kept);
            return false;
        }
        if !kept.used.load(Ordering::Relaxed) {
            kept.used.store(true, Ordering::Relaxed);
        }
        true
    }

    /// Keeps a file that `target` led to, and that was found at `path`.
    pub(super) fn keep(
        &self,
        root: &Root,
        target: &str,
        path: &Path,
        identity: Identity,
        representation: &Representation,
    ) {
        let keeps = representation.length() <= LONGEST
            && representation.is_settled()
            && self.most > 0
            // Not so for a symbolic link directly below the root.
            && root.identity(path) == Some(identity);
        if !keeps {
            return;
        }
        let kept = Kept {
            path: path.to_owned(),
            identity,
            representation: representation.clone(),
            used: AtomicBool::new(true),
        };
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= self.most {
            make_room(&mut files);
        }
        files.insert(target.into(), Arc::new(kept));
    }

    fn forget(&self, target: &str, stale: &Arc<Kept>) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have looked it up anew meanwhile.
        if files.get(target).is_some_and(|kept| Arc::ptr_eq(kept, stale)) {
            files.remove(target);
        }
    }
}

/// Drops what nobody asked for since the last time, or else every second one: which of many files that
/// are all in use are kept makes no difference.
fn make_room(files: &mut HashMap<Box<str>, Arc<Kept>>) {
    let before = files.len();
    files.retain(|_, kept| kept.used.swap(false, Ordering::Relaxed));
    if files.len() == before {
        let mut stays = false;
        files.retain(|_, _| {
            stays = !stays;
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::beneath::Resolved;
    use super::super::testing::write;
    use super::*;
    use crate::message::Body;
    use ::http::{HeaderMap, Method};
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::{FileExt, symlink};
    use std::time::{Duration, SystemTime};
    use tempfile::TempDir;

    fn tree() -> (TempDir, Root, Cache) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        write(dir.path().join("root/a"), "first");
        let root = Root::open(dir.path().join("root")).unwrap();
        let cache = Cache { files: RwLock::default(), most: 4 };
        (dir, root, cache)
    }

    fn keep(cache: &Cache, root: &Root, target: &str, path: &str) {
        let path = Path::new(path);
        let Ok(Resolved::File(found)) = root.resolve(path) else { panic!("{path:?}") };
        let representation = Representation::of(&found, OsStr::new("a")).unwrap();
        assert!(representation.is_settled());
        cache.keep(root, target, path, found.identity(), &representation);
    }

    fn content(cache: &Cache, root: &Root, target: &str) -> Option<String> {
        let kept = cache.find(target)?;
        let response = kept.representation().respond(&Method::GET, &HeaderMap::new()).unwrap();
        let Body::File { file, length, .. } = response.body() else { panic!("no file") };
        let mut bytes = vec![0; usize::try_from(*length).unwrap()];
        let read = file.file().read_exact_at(&mut bytes, 0);
        cache.is_current(root, target, &kept).then(|| {
            read.unwrap();
            String::from_utf8(bytes).unwrap()
        })
    }

    #[test]
    fn a_file_is_found_again_until_it_changes() {
        let (dir, root, cache) = tree();
        let path = dir.path().join("root/a");
        keep(&cache, &root, "/a", "a");
        assert_eq!(content(&cache, &root, "/a").as_deref(), Some("first"));
        assert_eq!(content(&cache, &root, "/b"), None);

        // Written in place, with the same length: the time of change differs, even if somebody sets
        // that of modification back.
        let old = fs::metadata(&path).unwrap();
        let file = loop {
            // Some file systems' clocks tick only every few milliseconds.
            fs::write(&path, "other").unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(old.modified().unwrap()).unwrap();
            if root.identity(Path::new("a")) != cache_identity(&cache, "/a") {
                break file;
            }
        };
        assert_eq!(file.metadata().unwrap().modified().unwrap(), old.modified().unwrap());
        assert_eq!(content(&cache, &root, "/a"), None);
        keep(&cache, &root, "/a", "a");
        assert_eq!(content(&cache, &root, "/a").as_deref(), Some("other"));
    }

    fn cache_identity(cache: &Cache, target: &str) -> Option<Identity> {
        cache.files.read().unwrap().get(target).map(|kept| kept.identity)
    }

    #[test]
    fn a_file_that_is_replaced_deleted_or_linked_elsewhere_is_not_served() {
        let (dir, root, cache) = tree();
        let path = dir.path().join("root/a");
        let replace: [&dyn Fn(); 4] = [
            &|| {
                fs::write(dir.path().join("root/new"), "newer").unwrap();
                fs::rename(dir.path().join("root/new"), &path).unwrap();
            },
            &|| fs::remove_file(&path).unwrap(),
            &|| {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            },
            &|| {
                fs::write(dir.path().join("outside"), "other").unwrap();
                fs::remove_file(&path).unwrap();
                symlink(dir.path().join("outside"), &path).unwrap();
            },
        ];
        for replace in replace {
            let _ = fs::remove_dir(&path);
            write(&path, "first");
            keep(&cache, &root, "/a", "a");
            assert!(content(&cache, &root, "/a").is_some());
            replace();
            assert_eq!(content(&cache, &root, "/a"), None);
        }
    }

    #[test]
    fn a_file_that_moved_out_of_the_root_is_not_served_through_a_link() {
        let (dir, root, cache) = tree();
        let inside = |name: &str| dir.path().join("root").join(name);
        fs::create_dir(inside("d")).unwrap();
        write(inside("d/f"), "secret");
        for (target, path) in [("/d/f", "d/f"), ("/a", "a")] {
            keep(&cache, &root, target, path);
            assert!(content(&cache, &root, target).is_some(), "{target}");
        }
        // Neither changes the files themselves.
        for name in ["d", "a"] {
            fs::rename(inside(name), dir.path().join(name)).unwrap();
            symlink(dir.path().join(name), inside(name)).unwrap();
        }
        assert_eq!(content(&cache, &root, "/d/f"), None);
        assert_eq!(content(&cache, &root, "/a"), None);
    }

    #[test]
    fn links_are_followed_as_long_as_they_stay_inside() {
        let (dir, root, cache) = tree();
        fs::create_dir(dir.path().join("root/d")).unwrap();
        write(dir.path().join("root/d/f"), "linked");
        symlink("d", dir.path().join("root/link")).unwrap();
        symlink("d/f", dir.path().join("root/file")).unwrap();
        keep(&cache, &root, "/link/f", "link/f");
        assert_eq!(content(&cache, &root, "/link/f").as_deref(), Some("linked"));
        // It would have to be followed each time.
        keep(&cache, &root, "/file", "file");
        assert_eq!(content(&cache, &root, "/file"), None);
    }

    #[test]
    fn the_number_of_open_files_is_bounded_and_those_in_use_stay() {
        let (dir, root, cache) = tree();
        for n in 0..100 {
            write(dir.path().join(format!("root/{n}")), "x");
            keep(&cache, &root, &format!("/{n}"), &n.to_string());
            keep(&cache, &root, "/a", "a");
            assert!(cache.files.read().unwrap().len() <= 4);
        }
        let cache = Cache { files: RwLock::default(), most: 0 };
        keep(&cache, &root, "/a", "a");
        assert!(content(&cache, &root, "/a").is_none());
    }

    #[test]
    fn long_files_are_not_kept_open() {
        let (dir, root, cache) = tree();
        for (length, kept) in [(LONGEST, true), (LONGEST + 1, false)] {
            write(dir.path().join("root/a"), vec![b'x'; length as usize]);
            keep(&cache, &root, "/a", "a");
            assert_eq!(content(&cache, &root, "/a").is_some(), kept);
        }
    }

    #[test]
    fn a_file_whose_times_prove_nothing_yet_is_not_kept() {
        let (dir, root, cache) = tree();
        let path = Path::new("a");
        // In the future, as after the clock was set back: no change can be told from it.
        let file = fs::File::options().write(true).open(dir.path().join("root/a")).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
        let Ok(Resolved::File(found)) = root.resolve(path) else { panic!() };
        let representation = Representation::of(&found, OsStr::new("a")).unwrap();
        cache.keep(&root, "/a", path, found.identity(), &representation);
        assert_eq!(cache.find("/a").is_some(), representation.is_settled());
    }
}
