//! Where the access log goes.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use sealpair_common::escape::Escaped;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Where the lines go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destination {
    /// Appended to a file, which is made with mode 0640 if it is not there.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// An open destination.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    path: Option<PathBuf>,
}

impl Output {
    pub(super) fn open(destination: Destination) -> io::Result<Self> {
        match destination {
            Destination::File(path) => Ok(Self { file: open(&path)?, path: Some(path) }),
            Destination::Stdout => {
                // Past the buffer and the lock of `io::stdout`, which others may hold.
                let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                Ok(Self { file, path: None })
            }
        }
    }

    /// Opens the file anew. Where that fails, the one that is open stays.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = open(path).map_err(|error| {
                let path = path.display().to_string();
                io::Error::new(error.kind(), format!("{}: {error}", Escaped(&path)))
            })?;
        }
        Ok(())
    }

    /// Writes what can be written; waits where the reader of a pipe is slow.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                result => return result,
            }
        }
    }

    /// Waits a moment for a pipe to take more. That it does not is an error like others: the caller
    /// tries again, and sees in between what it has been told to do.
    fn wait(&self) -> io::Result<()> {
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&second));
        match ready {
            Ok(0) => Err(io::Error::new(io::ErrorKind::TimedOut, "the reader does not read")),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Symbolic links are followed: where the log goes is the administrator's word.
fn open(path: &PathBuf) -> io::Result<File> {
    // A FIFO without a reader is an error instead of a wait without end, and a terminal does not become
    // the one that this process takes signals from. Files do not know O_NONBLOCK.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}
