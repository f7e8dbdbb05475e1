//! What is uploaded: a regular file, read from any place and hashed as it passes; or a stream.

use super::super::pace::Pace;
use super::super::progress::Progress;
use sealpair_common::digest::{Hasher, Sha256};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// One read of what is only hashed.
const PIECE: usize = 256 << 10;

/// Which file it is, and which version of it: with another one of these it is not resumed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// What the command line names.
pub(super) enum Source {
    File(FileSource),
    /// Something that can be read once: standard input, a FIFO, a device; and its name.
    Stream(Box<dyn Read>, PathBuf),
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, Report> {
        if path == Path::new("-") {
            return Ok(Self::Stream(Box::new(io::stdin()), path.to_owned()));
        }
        let open = || -> io::Result<Self> {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
            }
            // Files of /proc have no length, but content.
            let endless = metadata.is_file() && metadata.len() == 0;
            if !metadata.is_file() || (endless && file.read_at(&mut [0], 0)? > 0) {
                return Ok(Self::Stream(Box::new(file), path.to_owned()));
            }
            let identity = Identity::of(&metadata);
            let name = path.to_owned();
            Ok(Self::File(FileSource { file, name, identity, hasher: Hasher::new()? }))
        };
        open().map_err(|error| unreadable(path, &error))
    }

    /// The length, where it is known before the end.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::File(file) => Some(file.length()),
            Self::Stream(..) => None,
        }
    }
}

/// A regular file. Its digest is that of the bytes that were read here, each of them once and in order:
/// what has to be sent again is not hashed again.
pub(super) struct FileSource {
    file: File,
    name: PathBuf,
    identity: Identity,
    hasher: Hasher,
}

impl FileSource {
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The length that it had when it was opened. No more is sent, and no less.
    pub(super) fn length(&self) -> u64 {
        self.identity.size
    }

    /// Fails if it is not any more what was opened.
    pub(super) fn check_unchanged(&self) -> Result<(), Report> {
        let metadata = self.file.metadata().map_err(|error| self.unreadable(&error))?;
        match Identity::of(&metadata) == self.identity {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }

    /// The report about a file that changes while it is sent.
    fn changed(&self) -> Report {
        let name = self.name.display();
        Report::new(Exit::LocalIo, "source-changed", format!("{name} changed while it was sent"))
            .explain("what would be stored is neither the old version nor the new one")
            .remedy("try again when nobody writes to it")
            .detail("file", name.to_string())
    }

    pub(super) fn unreadable(&self, error: &io::Error) -> Report {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.changed(),
            _ => unreadable(&self.name, error),
        }
    }

    /// Hashes what is before `offset` and has not been read yet: what another run has sent.
    pub(super) fn catch_up(&mut self, offset: u64) -> Result<(), Report> {
        let mut piece = vec![0; PIECE];
        while self.hasher.length() < offset {
            let at = self.hasher.length();
            let count = read_at(&self.file, &mut piece, at, offset)
                .and_then(|count| self.hasher.update(&piece[..count]).map(|()| count));
            count.map_err(|error| self.unreadable(&error))?;
        }
        Ok(())
    }

    /// How much of it, from the beginning, [`digest`](Self::digest) covers.
    pub(super) fn hashed(&self) -> u64 {
        self.hasher.length()
    }

    /// The digest of what has been read.
    pub(super) fn digest(&self) -> Result<Sha256, Report> {
        self.hasher.clone().finish().map_err(|error| self.unreadable(&error))
    }

    /// A reader of the bytes from `from` to before `to`.
    /// What is before them is hashed first, if it has not been.
    pub(super) fn part<'s>(
        &'s mut self,
        from: u64,
        to: u64,
        pace: &'s Pace,
        progress: &'s Progress,
    ) -> Result<Part<'s>, Report> {
        self.catch_up(from)?;
        progress.begin(Some(self.length()), from);
        Ok(Part { source: self, from, at: from, end: to, pace, progress, failed: None })
    }
}

/// A part of a file on its way.
pub(super) struct Part<'s> {
    source: &'s mut FileSource,
    from: u64,
    at: u64,
    end: u64,
    pace: &'s Pace,
    progress: &'s Progress,
    failed: Option<io::Error>,
}

impl Part<'_> {
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() || self.at == self.end {
            return Ok(0);
        }
        let portion = self.pace.portion(buf.len());
        let count = read_at(&self.source.file, &mut buf[..portion], self.at, self.end)?;
        let next = self.at + count as u64;
        // What is sent again has been hashed already.
        let known = self.source.hasher.length().clamp(self.at, next) - self.at;
        let known = usize::try_from(known).unwrap_or(count);
        self.source.hasher.update(&buf[known..count])?;
        self.at = next;
        self.progress.advance(count);
        self.pace.moved(count);
        Ok(count)
    }

    /// How many bytes of it have been read.
    pub(super) fn sent(&self) -> u64 {
        self.at - self.from
    }

    /// What went wrong here comes back as an error of the transfer; the cause counts.
    pub(super) fn failure(self) -> Option<Report> {
        let error = self.failed?;
        Some(self.source.unreadable(&error))
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_read(buf).map_err(|error| {
            let copy = io::Error::other(error.to_string());
            self.failed = Some(error);
            copy
        })
    }
}

/// Reads at least one byte at `at`, and nothing from `end` on.
fn read_at(file: &File, buf: &mut [u8], at: u64, end: u64) -> io::Result<usize> {
    let left = usize::try_from(end - at).unwrap_or(usize::MAX);
    let room = buf.len().min(left);
    loop {
        match file.read_at(&mut buf[..room], at) {
            Ok(0) => {
                let text = "it became shorter while it was sent";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The report about a source that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Report {
    let name = path.display();
    let remedy = match error.kind() {
        io::ErrorKind::IsADirectory => "upload it with put -r",
        _ => "check the file to be uploaded",
    };
    Report::new(Exit::LocalIo, "input", format!("cannot read {name}"))
        .explain(error.to_string())
        .remedy(remedy)
        .detail("file", name.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::super::Voice;
    use super::*;
    use std::fs;

    const SILENT: Voice = Voice { json: false, quiet: true, verbose: false };

    fn source(path: &Path) -> FileSource {
        match Source::open(path).unwrap() {
            Source::File(source) => source,
            Source::Stream(..) => panic!("a stream"),
        }
    }

    fn digest(bytes: &[u8]) -> Sha256 {
        let mut hasher = Hasher::new().unwrap();
        hasher.update(bytes).unwrap();
        hasher.finish().unwrap()
    }

    #[test]
    fn bytes_that_are_sent_again_are_hashed_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "0123456789").unwrap();
        let progress = Progress::new(None, SILENT, false);
        let pace = Pace::default();
        let mut source = source(&path);
        for (from, to, expected) in [(2, 7, "23456"), (4, 9, "45678"), (9, 9, ""), (9, 10, "9")] {
            let mut text = String::new();
            source.part(from, to, &pace, &progress).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
        }
        assert_eq!(source.hashed(), 10);
        assert_eq!(source.digest().unwrap(), digest(b"0123456789"));
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "0123456789").unwrap();
        let progress = Progress::new(None, SILENT, false);
        let mut source = source(&path);
        source.check_unchanged().unwrap();
        fs::write(&path, "0123").unwrap();
        assert_eq!(source.check_unchanged().unwrap_err().kind(), "source-changed");
        let pace = Pace::default();
        let mut part = source.part(0, 10, &pace, &progress).unwrap();
        assert!(part.read_to_end(&mut Vec::new()).is_err());
        assert_eq!(part.failure().unwrap().exit(), Exit::LocalIo);
    }
}
