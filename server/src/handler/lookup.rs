//! How a path is walked without leaving a directory: the part that is particular to an operating
//! system.
//!
//! A lookup gives a handle that can be asked about but not read: `O_PATH`. To open a device or a
//! FIFO for reading can rewind a tape, or wake up whoever waits at the other end; with this handle
//! nothing has happened yet when it is found not to be a file. [`reopen`] makes a readable one of
//! it afterwards, of the very same file: the name is not looked up again, so nobody can put
//! something else in its place meanwhile.
//!
//! Another Unix needs a variant of [`Lookup`] and its own way to reopen: FreeBSD has
//! `O_RESOLVE_BENEATH`, `O_PATH` and `O_EMPTY_PATH`.

use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, stat};
use rustix::io::{Errno, Result};
use std::path::{Component, Path};

/// How often a lookup is repeated that the kernel could not finish safely because something was
/// renamed meanwhile (openat2(2), `EAGAIN`). Whoever renames faster than that does it on purpose.
const ATTEMPTS: usize = 16;

/// A way to look up a path below a directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lookup {
    /// openat2(2): the kernel resolves the whole path and refuses to leave. Relative symbolic links
    /// work as long as they stay; absolute ones never do.
    Kernel,
    /// One openat(2) for each name, following no symbolic link at all: for kernels before Linux 5.6
    /// and for sandboxes that do not know the other.
    Walk,
}

impl Lookup {
    /// The best way that there is.
    pub(super) fn probe(root: BorrowedFd<'_>) -> Self {
        match Self::Kernel.open(root, Path::new(".")) {
            // Old sandboxes answer EPERM to a system call they do not know, where the kernel says
            // ENOSYS; later kernels than this was written for may say the others.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::TOOBIG) => Self::Walk,
            Ok(_) | Err(_) => Self::Kernel,
        }
    }

    /// Looks up `path` below `root`; the result can be asked about, but not read.
    ///
    /// # Errors
    ///
    /// `EXDEV` or `ELOOP` where the path would leave the root, besides those of openat(2).
    pub(super) fn open(self, root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
        match self {
            Self::Kernel => {
                for _ in 1..ATTEMPTS {
                    match open_beneath(root, path) {
                        Err(Errno::AGAIN | Errno::INTR) => {}
                        result => return result,
                    }
                }
                open_beneath(root, path)
            }
            Self::Walk => walk(root, path),
        }
    }
}

fn open_beneath(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        // A magic link, such as those below /proc, leads anywhere.
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
}

fn walk(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut handle = openat(root, ".", flags | OFlags::DIRECTORY, Mode::empty())?;
    for component in path.components() {
        let name = match component {
            Component::CurDir => continue,
            Component::Normal(name) => name,
            Component::ParentDir | Component::Prefix(_) | Component::RootDir => {
                return Err(Errno::XDEV);
            }
        };
        // What was found so far is looked into, so it has to be a directory; a link is none.
        handle = openat(&handle, name, flags, Mode::empty())?;
    }
    // `O_NOFOLLOW` with `O_PATH` opens a link instead of refusing it.
    match FileType::from_raw_mode(fstat(&handle)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP),
        _ => Ok(handle),
    }
}

/// Opens for reading what `handle` stands for, which was seen to be a regular file.
///
/// `O_NONBLOCK` means nothing for a regular file; it is here in case that was seen wrongly.
pub(super) fn reopen(handle: BorrowedFd<'_>) -> Result<OwnedFd> {
    openat(
        CWD,
        format!("/proc/self/fd/{}", handle.as_raw_fd()),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Opens for reading the directory that `handle` stands for.
pub(super) fn reopen_folder(handle: BorrowedFd<'_>) -> Result<OwnedFd> {
    openat(handle, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether [`reopen`] can work: it needs `/proc`.
pub(super) fn can_reopen() -> bool {
    stat("/proc/self/fd").is_ok()
}
