//! The names in a folder that would be served, in order, for whoever walks over them at a client's pace.
//!
//! A client may take minutes for a listing or an archive, and many may do so at once. So a name costs its
//! bytes and eight more, everything else is asked for when the name's turn comes, and all folders that are
//! being walked share one [`Room`]. Where it does not suffice, a folder is walked in the order in which the
//! file system has it: that needs no memory, however large the folder is.

use super::beneath::{Folder, Resolved, Root};
use super::path::{PathError, is_hidden};
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, statat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the names of all folders that are being walked may take together, in bytes: a dozen folders of a
/// hundred thousand files each.
const ROOM: usize = 32 << 20;

/// The part of it that one folder may have.
const PART: usize = 2;

/// What a folder begins with, in bytes.
const FIRST: usize = 4 << 10;

/// Memory that is shared by all who walk over folders.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    taken: AtomicUsize,
}

impl Room {
    pub(super) fn new() -> Arc<Self> {
        Self::of(ROOM)
    }

    pub(super) fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0) })
    }
}

/// A part of a [`Room`], given back when this is dropped.
#[derive(Debug)]
struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Share {
    /// Changes the size of the share; `false`, and no change, if there is not as much.
    fn resize(&mut self, bytes: usize) -> bool {
        if bytes <= self.bytes {
            self.room.taken.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        } else {
            let (more, most) = (bytes - self.bytes, self.room.most);
            let taken = |taken: usize| taken.checked_add(more).filter(|&sum| sum <= most);
            let fits = bytes <= most / PART
                && self
                    .room
                    .taken
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
                    .is_ok();
            if !fits {
                return false;
            }
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}

/// What walking over folders needs, wherever it goes.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    pub(super) root: Arc<Root>,
    pub(super) room: Arc<Room>,
    /// Whether names that begin with a dot are served.
    pub(super) dotfiles: bool,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A symbolic link to a file below the root.
    FileLink,
    /// A symbolic link to a folder below the root.
    FolderLink,
}

impl Kind {
    /// Whether it is served as a folder.
    pub(super) fn is_folder(self) -> bool {
        matches!(self, Self::Folder | Self::FolderLink)
    }
}

/// How names are ordered, where there is room for that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    /// By their bytes.
    Bytes,
    /// Folders first, then by their bytes.
    FoldersFirst,
}

/// The names in one folder. [`Names::next`] gives each once.
#[derive(Debug)]
pub(super) enum Names {
    Sorted(Sorted),
    /// As the file system has them.
    Unsorted(Box<Dir>),
}

#[derive(Debug)]
pub(super) struct Sorted {
    /// All names, one behind the other.
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    next: usize,
    share: Share,
}

/// Where a name stands.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    length: u16,
    kind: Kind,
}

impl Names {
    /// Reads the names in the folder that has this path below the root.
    ///
    /// # Errors
    ///
    /// When the folder cannot be opened or read.
    pub(super) fn read(
        walk: &Walk,
        path: &Path,
        folder: &Folder,
        order: Order,
    ) -> Result<Self, PathError> {
        let failed = |errno: Errno| PathError::Io(errno.into());
        let mut dir = Dir::new(folder.open()?).map_err(failed)?;
        let share = Share { room: Arc::clone(&walk.room), bytes: 0 };
        let mut sorted = Sorted { bytes: Vec::new(), slots: Vec::new(), next: 0, share };
        while let Some(item) = dir.read() {
            let item = item.map_err(failed)?;
            let Some(kind) = kind(walk, path, &dir, &item).map_err(PathError::Io)? else {
                continue;
            };
            if sorted.push(item.file_name().to_bytes(), kind).is_break() {
                dir.rewind();
                return Ok(Self::Unsorted(Box::new(dir)));
            }
        }
        sorted.sort(order);
        Ok(Self::Sorted(sorted))
    }

    /// Gives the next name to `take`, with what it stood for when it was read.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read any more, and those of `take`.
    pub(super) fn next<R>(
        &mut self,
        walk: &Walk,
        path: &Path,
        take: impl FnOnce(&[u8], Kind) -> io::Result<R>,
    ) -> io::Result<Option<R>> {
        match self {
            Self::Sorted(sorted) => {
                let Some((name, kind)) = sorted.name(sorted.next) else {
                    return Ok(None);
                };
                let taken = take(name, kind).map(Some);
                sorted.next += 1;
                taken
            }
            Self::Unsorted(dir) => {
                while let Some(item) = dir.read() {
                    let item = item?;
                    if let Some(kind) = kind(walk, path, dir, &item)? {
                        return take(item.file_name().to_bytes(), kind).map(Some);
                    }
                }
                Ok(None)
            }
        }
    }
}

impl Sorted {
    /// Adds a name; breaks if there is no room for it.
    fn push(&mut self, name: &[u8], kind: Kind) -> ControlFlow<()> {
        let (Ok(start), Ok(length)) = (u32::try_from(self.bytes.len()), u16::try_from(name.len()))
        else {
            return ControlFlow::Break(());
        };
        let grown = |capacity: usize, needed: usize, first: usize| match needed <= capacity {
            true => capacity,
            false => needed.max(capacity * 2).max(first),
        };
        let bytes = grown(self.bytes.capacity(), self.bytes.len() + name.len(), FIRST);
        let slots = grown(self.slots.capacity(), self.slots.len() + 1, FIRST / size_of::<Slot>());
        if bytes > self.bytes.capacity() || slots > self.slots.capacity() {
            if !self.share.resize(bytes + slots * size_of::<Slot>()) {
                return ControlFlow::Break(());
            }
            self.bytes.reserve_exact(bytes - self.bytes.len());
            self.slots.reserve_exact(slots - self.slots.len());
        }
        self.bytes.extend_from_slice(name);
        self.slots.push(Slot { start, length, kind });
        ControlFlow::Continue(())
    }

    /// Orders the names, and gives back what they do not need.
    fn sort(&mut self, order: Order) {
        let Self { bytes, slots, .. } = self;
        let name = |slot: &Slot| slot.of(bytes);
        slots.sort_unstable_by(|a, b| {
            let by_kind = match order {
                Order::Bytes => std::cmp::Ordering::Equal,
                Order::FoldersFirst => b.kind.is_folder().cmp(&a.kind.is_folder()),
            };
            by_kind.then_with(|| name(a).cmp(name(b)))
        });
        self.bytes.shrink_to_fit();
        self.slots.shrink_to_fit();
        self.share.resize(self.bytes.capacity() + self.slots.capacity() * size_of::<Slot>());
    }

    fn name(&self, at: usize) -> Option<(&[u8], Kind)> {
        let slot = self.slots.get(at)?;
        Some((slot.of(&self.bytes), slot.kind))
    }
}

impl Slot {
    fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        bytes.get(start..start + usize::from(self.length)).unwrap_or_default()
    }
}

/// What an entry stands for; `None` for what is not served, or gone by now.
fn kind(walk: &Walk, path: &Path, dir: &Dir, item: &DirEntry) -> io::Result<Option<Kind>> {
    let name = item.file_name();
    if matches!(name.to_bytes(), b"." | b"..") || is_hidden(name.to_bytes(), walk.dotfiles) {
        return Ok(None);
    }
    let file_type = match item.file_type() {
        // Not every file system says it here.
        FileType::Unknown => match statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(errno) => return gone(errno),
        },
        known => known,
    };
    match file_type {
        FileType::RegularFile => Ok(Some(Kind::File)),
        FileType::Directory => Ok(Some(Kind::Folder)),
        // What it leads to is what is served, if it stays below the root.
        FileType::Symlink => {
            match walk.root.resolve(&path.join(OsStr::from_bytes(name.to_bytes()))) {
                Ok(Resolved::File(_)) => Ok(Some(Kind::FileLink)),
                Ok(Resolved::Folder(_)) => Ok(Some(Kind::FolderLink)),
                Err(PathError::Io(error)) => Err(error),
                Err(_) => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// Nothing for what is not there any more or may not be looked at; an error for everything else, so that
/// nothing is missing without a word.
pub(super) fn gone<T>(errno: Errno) -> io::Result<Option<T>> {
    match errno {
        Errno::NOENT | Errno::ACCESS | Errno::PERM => Ok(None),
        errno => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn tree() -> (TempDir, Arc<Root>) {
        let tree = tempfile::tempdir().unwrap();
        for name in ["b", "a", ".hidden", "Z", "c"] {
            fs::write(tree.path().join(name), name).unwrap();
        }
        for name in ["y", "x"] {
            fs::create_dir(tree.path().join(name)).unwrap();
        }
        symlink("a", tree.path().join("k")).unwrap();
        symlink("x", tree.path().join("l")).unwrap();
        symlink("/etc/passwd", tree.path().join("m")).unwrap();
        let root = Arc::new(Root::open(tree.path()).unwrap());
        (tree, root)
    }

    fn read(root: &Arc<Root>, order: Order, room: &Arc<Room>) -> (Names, Vec<(String, Kind)>) {
        let path = Path::new(".");
        let Ok(Resolved::Folder(folder)) = root.resolve(path) else { panic!("no folder") };
        let walk = Walk { root: Arc::clone(root), room: Arc::clone(room), dotfiles: false };
        let mut names = Names::read(&walk, path, &folder, order).unwrap();
        let take = |name: &[u8], kind| Ok((String::from_utf8(name.to_vec()).unwrap(), kind));
        let mut all = Vec::new();
        while let Some(name) = names.next(&walk, path, take).unwrap() {
            all.push(name);
        }
        (names, all)
    }

    #[test]
    fn names_come_in_order_with_what_they_stand_for() {
        let (_tree, root) = tree();
        let room = Room::new();
        let names = |order| {
            let (_, all) = read(&root, order, &room);
            all.into_iter().map(|(name, _)| name).collect::<String>()
        };
        assert_eq!(names(Order::Bytes), "Zabcklxy");
        assert_eq!(names(Order::FoldersFirst), "lxyZabck");
        let (_, all) = read(&root, Order::Bytes, &room);
        let kind = |wanted: &str| all.iter().find(|(name, _)| name == wanted).unwrap().1;
        assert_eq!((kind("a"), kind("x")), (Kind::File, Kind::Folder));
        assert_eq!((kind("k"), kind("l")), (Kind::FileLink, Kind::FolderLink));
    }

    #[test]
    fn what_finds_no_room_comes_unsorted_and_whole() {
        let (_tree, root) = tree();
        let room = Room::of(2 * FIRST);
        let (_, mut all) = read(&root, Order::Bytes, &room);
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let (names, sorted) = read(&root, Order::Bytes, &Room::new());
        assert!(matches!(names, Names::Sorted(_)));
        assert_eq!(all, sorted);
    }

    #[test]
    fn room_is_shared_and_given_back() {
        let (_tree, root) = tree();
        // For two at the moment when each asks for the most: before it gives back what it does not need.
        let room = Room::of(4 * FIRST + 1000);
        let (first, _) = read(&root, Order::Bytes, &room);
        let taken = room.taken.load(Ordering::Relaxed);
        assert!((8..FIRST).contains(&taken), "{taken}");
        let others: Vec<_> = (0..200).map(|_| read(&root, Order::Bytes, &room)).collect();
        let is_sorted = |names: &Names| matches!(names, Names::Sorted(_));
        let sorted = others.iter().filter(|(names, _)| is_sorted(names)).count();
        assert!(is_sorted(&first) && sorted > 0 && sorted < others.len(), "{sorted}");
        assert!(others.iter().all(|(_, names)| names.len() == 8));
        assert!(room.taken.load(Ordering::Relaxed) <= room.most);
        drop((first, others));
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }
}
