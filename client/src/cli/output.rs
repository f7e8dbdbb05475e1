//! Where content goes: a file that takes its name only when it is complete, a device that is written
//! through, or standard output.

use super::interrupt;
use rustix::fs::{Access, access};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// A place for content.
#[derive(Debug)]
pub(crate) enum Output {
    /// A regular file: written beside its place, renamed when complete.
    File {
        /// What is written to.
        temporary: NamedTempFile,
        /// The name it will have, with symbolic links followed.
        target: PathBuf,
    },
    /// A device, FIFO, terminal or descriptor, such as standard output: written through, never
    /// replaced.
    Through {
        /// What is written to.
        file: File,
        /// Its name.
        path: PathBuf,
    },
}

/// Standard output, as `-o` names it.
const STANDARD: &str = "-";

impl Output {
    /// Opens the place that `-o` names; standard output for none and for `-`.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Report> {
        let path = path.unwrap_or_else(|| Path::new(STANDARD));
        Self::open_file(path).map_err(|error| failed(path, &error))
    }

    fn open_file(path: &Path) -> io::Result<Self> {
        let through = |file: File| Ok(Self::Through { file, path: path.to_owned() });
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
        let directory = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // A signal that comes now waits until the file is noted.
        let mut unfinished = interrupt::unfinished();
        let temporary = Builder::new()
            .prefix(".sealpair-download-")
            // As for any new file: what the umask leaves.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)
            // tempfile adds a name to its errors that means nothing to anybody.
            .map_err(|error| io::Error::new(error.kind(), root_cause(&error)))?;
        if let Some(metadata) = metadata {
            let mode = metadata.permissions().mode() & 0o777;
            temporary.as_file().set_permissions(Permissions::from_mode(mode))?;
        }
        *unfinished = Some(temporary.path().to_owned());
        Ok(Self::File { temporary, target })
    }

    /// The content is complete: it gets its name.
    pub(crate) fn finish(self) -> Result<(), Report> {
        match self {
            Self::File { mut temporary, target } => {
                let saved = temporary
                    .flush()
                    // The name must not be there before the bytes are.
                    .and_then(|()| temporary.as_file().sync_all())
                    .and_then(|()| {
                        let mut unfinished = interrupt::unfinished();
                        *unfinished = None;
                        temporary.persist(&target).map(drop).map_err(|error| error.error)
                    });
                saved.map_err(|error| failed(&target, &error))
            }
            Self::Through { mut file, path } => file.flush().map_err(|error| failed(&path, &error)),
        }
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> &Path {
        match self {
            Self::File { target, .. } => target,
            Self::Through { path, .. } => path,
        }
    }

    pub(crate) fn is_standard(&self) -> bool {
        self.name() == Path::new(STANDARD)
    }

    /// Whether somebody may be reading what is written.
    pub(crate) fn is_through(&self) -> bool {
        matches!(self, Self::Through { .. })
    }

    /// Writes all of it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Report> {
        let written = match self {
            Self::File { temporary, .. } => temporary.write_all(bytes),
            Self::Through { file, .. } => file.write_all(bytes),
        };
        written.map_err(|error| failed(self.name(), &error))
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

fn failed(path: &Path, error: &io::Error) -> Report {
    let name = if path == Path::new(STANDARD) {
        "standard output".to_owned()
    } else {
        path.display().to_string()
    };
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
