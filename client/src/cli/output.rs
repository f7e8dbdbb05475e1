//! Where content goes: a file that takes its name only when it is complete, a device that is written
//! through, or standard output.

use super::get::PartialFile;
use super::interrupt;
use rustix::fs::{Access, access};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempfile::{Builder, NamedTempFile};
use url::Url;

/// A place for content.
#[derive(Debug)]
pub(crate) enum Output {
    /// A regular file: written beside its place, renamed when complete.
    File {
        /// What is written to.
        temporary: NamedTempFile,
        /// Removes it on an interruption.
        noted: Noted,
        /// The name it will have, with symbolic links followed.
        target: PathBuf,
        /// It must be a new one.
        fresh: bool,
    },
    /// A device, FIFO, terminal or descriptor, such as standard output: written through, never
    /// replaced.
    Through {
        /// What is written to.
        file: File,
        /// Its name.
        path: PathBuf,
    },
    /// A regular file whose beginning may be there from an earlier attempt.
    Partial(Box<PartialFile>),
}

/// Standard output, as `-o` names it.
const STANDARD: &str = "-";

/// The prefix of temporary files' names.
const TEMPORARY: &str = ".sealpair-download-";

/// Stands for the name of a file that has none yet.
const UNNAMED: &str = "";

/// Where a name leads.
pub(super) enum Place {
    /// A descriptor, or the like.
    Through(File),
    /// A regular file, or the place for one, with symbolic links followed; and the mode of what is
    /// there.
    File { target: PathBuf, mode: Option<u32> },
}

/// A temporary file that is removed when the program is interrupted.
#[derive(Debug)]
pub(crate) struct Noted(PathBuf);

impl Drop for Noted {
    fn drop(&mut self) {
        interrupt::unfinished().temporary.remove(&self.0);
    }
}

impl Output {
    /// Opens the place that `-o` names; standard output for none and for `-`.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Report> {
        let path = path.unwrap_or_else(|| Path::new(STANDARD));
        let open = || match place(path)? {
            Place::Through(file) => Ok(Self::Through { file, path: path.to_owned() }),
            Place::File { target, mode } => Self::temporary(target, mode, false),
        };
        open().map_err(|error| failed(path, &error))
    }

    /// Opens the place that `-o` names for a download that may go on where an earlier one ended, and
    /// may fetch ranges of it in parallel.
    pub(crate) fn resume(path: Option<&Path>, url: &Url, parallel: bool) -> Result<Self, Report> {
        let path = path.unwrap_or_else(|| Path::new(STANDARD));
        match place(path).map_err(|error| failed(path, &error))? {
            Place::Through(_) => Err(Report::new(Exit::Usage, "continue", "nothing to continue")
                .explain(format!("{} is no regular file", name_of(path)))
                .remedy("give a file with -o or -O, or leave --continue out")),
            Place::File { target, mode } => PartialFile::open(target, mode, url, parallel)
                .map(|file| Self::Partial(Box::new(file))),
        }
    }

    /// A new file in the current folder, whose name the answer will tell.
    pub(crate) fn unnamed() -> Result<Self, Report> {
        let here = Path::new(UNNAMED);
        Self::temporary(here.to_owned(), None, true).map_err(|error| failed(Path::new("."), &error))
    }

    /// Gives the name that a file will have which has none yet. What is there is not replaced.
    pub(crate) fn name_it(&mut self, name: Option<OsString>) -> Result<(), Report> {
        let Self::File { target, fresh: true, .. } = self else { return Ok(()) };
        if target != Path::new(UNNAMED) {
            return Ok(());
        }
        *target = name.ok_or_else(no_name)?.into();
        match fs::symlink_metadata(&target) {
            Ok(_) => Err(exists(target)),
            Err(_) => Ok(()),
        }
    }

    fn temporary(target: PathBuf, mode: Option<u32>, fresh: bool) -> io::Result<Self> {
        // A signal that comes now waits until the file is noted.
        let mut unfinished = interrupt::unfinished();
        let temporary = Builder::new()
            .prefix(TEMPORARY)
            // As for any new file: what the umask leaves.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory_of(&target))
            // tempfile adds a name to its errors that means nothing to anybody.
            .map_err(|error| io::Error::new(error.kind(), root_cause(&error)))?;
        unfinished.temporary.insert(temporary.path().to_owned());
        drop(unfinished);
        let noted = Noted(temporary.path().to_owned());
        if let Some(mode) = mode {
            temporary.as_file().set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(Self::File { temporary, noted, target, fresh })
    }

    /// The content is complete: it gets its name, and the time of its last modification where that is
    /// known.
    pub(crate) fn finish(self, modified: Option<SystemTime>) -> Result<(), Report> {
        match self {
            Self::File { temporary, noted, target, fresh } => {
                let saved = settle(temporary.as_file(), modified).and_then(|()| {
                    let mut unfinished = interrupt::unfinished();
                    unfinished.temporary.remove(temporary.path());
                    let persisted = match fresh {
                        true => temporary.persist_noclobber(&target),
                        false => temporary.persist(&target),
                    };
                    persisted.map(drop).map_err(|error| error.error)
                });
                drop(noted);
                saved.map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => exists(&target),
                    _ => failed(&target, &error),
                })
            }
            Self::Through { mut file, path } => file.flush().map_err(|error| failed(&path, &error)),
            Self::Partial(file) => file.finish(modified),
        }
    }

    /// The content is not what it should be, and cannot become it: nothing of it is kept.
    pub(crate) fn discard(self) {
        if let Self::Partial(file) = self {
            file.discard();
        }
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> &Path {
        match self {
            Self::File { target, .. } => target,
            Self::Through { path, .. } => path,
            Self::Partial(file) => file.name(),
        }
    }

    pub(crate) fn is_standard(&self) -> bool {
        self.name() == Path::new(STANDARD)
    }

    /// Whether somebody may be reading what is written.
    pub(crate) fn is_through(&self) -> bool {
        matches!(self, Self::Through { .. })
    }

    /// The regular file that is written to, if it is one.
    pub(crate) fn file(&self) -> Option<&File> {
        match self {
            Self::File { temporary, .. } => Some(temporary.as_file()),
            Self::Partial(file) => Some(file.file()),
            Self::Through { .. } => None,
        }
    }

    /// Writes all of it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Report> {
        let written = match self {
            Self::File { temporary, .. } => temporary.as_file_mut().write_all(bytes),
            Self::Through { file, .. } => file.write_all(bytes),
            Self::Partial(file) => file.write(bytes),
        };
        written.map_err(|error| failed(self.name(), &error))
    }

    /// Takes everything back that was written; says whether it could. What somebody has read already
    /// cannot be taken back, and what was thrown away need not be.
    pub(crate) fn begin_again(&mut self) -> Result<bool, Report> {
        let emptied = match self {
            Self::File { temporary, .. } => {
                let file = temporary.as_file_mut();
                file.set_len(0).and_then(|()| file.rewind()).map(|()| true)
            }
            Self::Partial(file) => file.begin_again().map(|()| true),
            Self::Through { file, .. } => is_null(file),
        };
        emptied.map_err(|error| failed(self.name(), &error))
    }
}

/// What has to happen before a file gets its name: the name must not be there before the bytes are.
pub(super) fn settle(file: &File, modified: Option<SystemTime>) -> io::Result<()> {
    if let Some(modified) = modified {
        file.set_modified(modified)?;
    }
    file.sync_all()
}

/// Whether it is /dev/null, whatever it is called.
fn is_null(file: &File) -> io::Result<bool> {
    let is = file.metadata()?;
    let null = fs::metadata("/dev/null")?;
    Ok(is.file_type().is_char_device() && is.rdev() == null.rdev())
}

/// Finds out where a name leads, and whether it may be written.
fn place(path: &Path) -> io::Result<Place> {
    let through = |file: File| Ok(Place::Through(file));
    // Names of descriptors that are open already: replacing the file behind one would leave
    // whoever opened it with the old one, and opening it again would begin at its start.
    if path == Path::new(STANDARD) || path == Path::new("/dev/stdout") {
        return through(rustix::stdio::stdout().try_clone_to_owned()?.into());
    }
    if path == Path::new("/dev/stderr") {
        return through(rustix::stdio::stderr().try_clone_to_owned()?.into());
    }
    let metadata = match fs::metadata(path) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(metadata) = &metadata {
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        if kind.is_socket() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a socket"));
        }
        if !kind.is_file() {
            return through(File::options().write(true).open(path)?);
        }
        if is_descriptor(path) {
            return through(File::options().append(true).open(path)?);
        }
        // A rename would replace it all the same, but its mode says that nobody should.
        access(path, Access::WRITE_OK)?;
    }
    // Replace what a link points to, not the link.
    let target = match &metadata {
        Some(_) => fs::canonicalize(path)?,
        None => dangling(path)?,
    };
    let mode = metadata.map(|metadata| metadata.permissions().mode() & 0o777);
    Ok(Place::File { target, mode })
}

/// The directory that a file is in.
pub(super) fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Whether a path names a descriptor of a process.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd")
        || (path.starts_with("/proc") && path.iter().any(|part| part == "fd"))
}

/// The place of a file that is not there, possibly named by links that point to nothing yet.
fn dangling(path: &Path) -> io::Result<PathBuf> {
    /// What Linux follows at most (path_resolution(7)).
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = path.with_file_name("").join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

fn root_cause(error: &io::Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn name_of(path: &Path) -> String {
    match path == Path::new(STANDARD) {
        true => "standard output".to_owned(),
        false => path.display().to_string(),
    }
}

/// Nobody has a name to offer.
pub(super) fn no_name() -> Report {
    Report::new(Exit::Usage, "no-name", "the download has no name")
        .explain("neither the server nor the end of the URL has one to offer")
        .remedy("give it one with -o")
}

/// What is there was not meant.
pub(super) fn exists(path: &Path) -> Report {
    let name = path.display().to_string();
    Report::new(Exit::LocalIo, "exists", format!("{name} is there already"))
        .explain("a name that the server or the URL chooses replaces nothing")
        .remedy("move it away, or give a name with -o")
        .detail("file", name)
}

/// A failure to write to a place.
pub(super) fn failed(path: &Path, error: &io::Error) -> Report {
    let name = name_of(path);
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room; nothing incomplete was kept"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "write to a place that this user may write"
        }
        io::ErrorKind::NotFound => "make the directory first",
        io::ErrorKind::BrokenPipe => "the reader of this program's output ended first",
        _ => "check the place that -o names",
    };
    Report::new(Exit::LocalIo, "output", format!("cannot write to {name}"))
        .explain(error.to_string())
        .remedy(remedy)
        .detail("file", name)
}
