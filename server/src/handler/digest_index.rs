//! The file in which digests outlive the server.
//!
//! It lies in the state directory, never beside the files that it is about: many trees that are served cannot
//! be written to, and none should get files that nobody put there. Device and inode say which file is meant, so
//! it does not matter from where that is served, and several servers may use one index.
//!
//! Each digest is a line that is appended in one write, with a checksum at its end. Nothing is brought to the
//! disk by force: what is lost is computed again. A line that was torn, or changed, does not have its checksum,
//! and is passed over. When the file has become too long, it is replaced by a shorter one in one step. It is
//! opened anew for each line, so nobody appends to one that has been replaced, and no descriptor is kept.

use super::digests::MOST;
use crate::open_file::Identity;
use rustix::fs::OFlags;
use sealpair_common::digest::Sha256;
use sealpair_common::escape::Escaped;
use sealpair_common::pki::Overwrite;
use sealpair_common::pki::files::{self, Output};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::str;
use std::sync::{Mutex, PoisonError};

/// The name of the file.
const NAME: &str = "digests";

/// What a line begins with. It changes with the meaning of the rest.
const VERSION: &str = "1";

/// No line is longer, in bytes: seven numbers of twenty digits and two of sixteen bytes fit.
const LINE: u64 = 320;

/// How many lines the file may have before it is replaced, and how many are read of it.
const LINES: usize = 2 * MOST;

/// An index in a directory.
#[derive(Debug)]
pub(super) struct IndexFile {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// So many lines are in it, as far as this server knows.
    lines: usize,
    /// Whether it has been said that it cannot be used. What was in the way may go: a full disk, too many
    /// descriptors.
    said: bool,
}

impl IndexFile {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, state: Mutex::default() }
    }

    /// Reads what is in the file. Where there is none, nothing is.
    pub(super) fn load(&self, mut take: impl FnMut(Identity, Sha256) -> bool) {
        let mut read = || -> io::Result<usize> {
            let file = self.options().read(true).open(self.path())?;
            if !file.metadata()?.is_file() {
                return Err(not_a_file());
            }
            let mut reader = BufReader::new(file);
            let mut line = Vec::new();
            let mut lines = 0;
            while lines < LINES {
                line.clear();
                if (&mut reader).take(LINE).read_until(b'\n', &mut line)? == 0 {
                    break;
                }
                lines += 1;
                if let Some((identity, digest)) = parse(&line) {
                    take(identity, digest);
                }
            }
            Ok(lines)
        };
        match read() {
            Ok(lines) => self.state().lines = lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.failed(&mut self.state(), &error),
        }
    }

    /// Adds a line. Breaks when the file is so long that it is to be [replaced](Self::replace).
    pub(super) fn append(&self, identity: &Identity, digest: &Sha256) -> ControlFlow<()> {
        let mut state = self.state();
        let append = || self.open()?.write_all(line(identity, digest).as_bytes());
        match append() {
            Ok(()) => state.lines += 1,
            Err(error) => self.failed(&mut state, &error),
        }
        match state.lines > LINES {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Replaces everything in the file.
    pub(super) fn replace(&self, all: &[(Identity, Sha256)]) {
        let mut state = self.state();
        let text: String = all.iter().map(|(identity, digest)| line(identity, digest)).collect();
        let path = self.path();
        let output = Output::secret(&path, text.as_bytes());
        // Not at once again, whatever becomes of it.
        state.lines = all.len();
        if let Err(error) = files::write_together(&[output], Overwrite::Replace) {
            self.failed(&mut state, &io::Error::other(error));
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    fn options(&self) -> std::fs::OpenOptions {
        let mut options = File::options();
        // Neither follow a link nor wait for the reader of a FIFO that stands here instead.
        options
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        options
    }

    fn open(&self) -> io::Result<File> {
        let open = || self.options().read(true).append(true).create(true).open(self.path());
        let mut file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                files::create_directory(&self.directory).map_err(io::Error::other)?;
                open()?
            }
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        // A line that was torn must not tear the next one.
        if let Some(last) = metadata.len().checked_sub(1) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, last)?;
            if byte != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(file)
    }

    /// Says once that something failed.
    fn failed(&self, state: &mut State, error: &io::Error) {
        if !std::mem::replace(&mut state.said, true) {
            let path = self.path().display().to_string();
            log::warn!("digests are not kept beyond this run: {}: {error}", Escaped(&path));
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")
}

/// Version, device, inode, size, times of modification and of change in seconds and nanoseconds, digest,
/// checksum.
fn line(identity: &Identity, digest: &Sha256) -> String {
    let Identity { device, inode, size, modified, changed } = identity;
    let mut line = format!(
        "{VERSION} {device} {inode} {size} {} {} {} {} {digest} ",
        modified.0, modified.1, changed.0, changed.1
    );
    let checksum = checksum(line.as_bytes());
    // Writing to a String cannot fail.
    let _ = writeln!(line, "{checksum:016x}");
    line
}

fn parse(bytes: &[u8]) -> Option<(Identity, Sha256)> {
    let line = str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let (content, sum) = line.split_at_checked(line.rfind(' ')? + 1)?;
    if sum.len() != 16 || u64::from_str_radix(sum, 16).ok()? != checksum(content.as_bytes()) {
        return None;
    }
    let mut words = content.split(' ');
    if words.next()? != VERSION {
        return None;
    }
    let mut next = || words.next();
    let identity = Identity {
        device: next()?.parse().ok()?,
        inode: next()?.parse().ok()?,
        size: next()?.parse().ok()?,
        modified: (next()?.parse().ok()?, next()?.parse().ok()?),
        changed: (next()?.parse().ok()?, next()?.parse().ok()?),
    };
    Some((identity, next()?.parse().ok()?))
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo): against accidents. Whoever may write here may write the server's keys.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use tempfile::TempDir;

    fn sample(number: u64) -> (Identity, Sha256) {
        let identity = Identity {
            device: number,
            inode: u64::MAX,
            size: 3,
            modified: (-5, 999_999_999),
            changed: (784_111_777, 1),
        };
        (identity, Sha256::new([number.to_le_bytes()[0]; 32]))
    }

    fn loaded(directory: &TempDir) -> Vec<(Identity, Sha256)> {
        let mut all = Vec::new();
        IndexFile::new(directory.path().to_owned()).load(|identity, digest| {
            all.push((identity, digest));
            true
        });
        all
    }

    fn append(index: &IndexFile, sample: &(Identity, Sha256)) {
        assert!(index.append(&sample.0, &sample.1).is_continue());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let parent = tempfile::tempdir().unwrap();
        let index = IndexFile::new(parent.path().join("made"));
        index.load(|_, _| panic!("nothing is there"));
        assert!(!parent.path().join("made").exists(), "nothing is made before it is needed");
        for number in 0..3 {
            append(&index, &sample(number));
        }
        let file = parent.path().join("made").join(NAME);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let mut all = Vec::new();
        let again = IndexFile::new(parent.path().join("made"));
        again.load(|identity, digest| {
            all.push((identity, digest));
            true
        });
        assert_eq!(all, [sample(0), sample(1), sample(2)]);
        append(&again, &sample(3));
        assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 4);
    }

    #[test]
    fn a_line_with_another_byte_or_without_its_end_is_passed_over() {
        let good = line(&sample(1).0, &sample(1).1);
        assert!(good.len() < LINE as usize);
        assert_eq!(parse(good.as_bytes()), Some(sample(1)));
        for at in 0..good.len() {
            assert_eq!(parse(&good.as_bytes()[..at]), None, "cut at {at}");
            for other in [b'0', b'7', b' ', b'-', 0, 0xff] {
                let mut bad = good.clone().into_bytes();
                if bad[at] != other {
                    bad[at] = other;
                    assert_eq!(parse(&bad), None, "{other} at {at}");
                }
            }
        }
        for text in ["", "\n", " \n", "1 2 3\n", "\0\0\0\n"] {
            assert_eq!(parse(text.as_bytes()), None);
        }
    }

    #[test]
    fn a_torn_or_foreign_file_costs_only_what_was_torn() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let (first, torn) = (line(&sample(1).0, &sample(1).1), line(&sample(2).0, &sample(2).1));
        fs::write(&path, format!("{first}{}", &torn[..40])).unwrap();
        let index = IndexFile::new(directory.path().to_owned());
        append(&index, &sample(3));
        assert_eq!(loaded(&directory), [sample(1), sample(3)]);
        // Whatever else is in it, and however long a line is.
        let mut noise = vec![0xa5; 100_000];
        noise.extend_from_slice(b"\n\n\0\n");
        noise.extend_from_slice(first.as_bytes());
        fs::write(&path, noise).unwrap();
        assert_eq!(loaded(&directory), [sample(1)]);
    }

    #[test]
    fn a_file_that_another_server_has_replaced_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let index = IndexFile::new(directory.path().to_owned());
        append(&index, &sample(1));
        let other = IndexFile::new(directory.path().to_owned());
        other.replace(&[sample(1), sample(2)]);
        append(&index, &sample(3));
        append(&other, &sample(4));
        assert_eq!(loaded(&directory), [sample(1), sample(2), sample(3), sample(4)]);
    }

    #[test]
    fn what_has_become_too_long_is_to_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let index = IndexFile::new(directory.path().to_owned());
        let (identity, digest) = sample(1);
        let text = line(&identity, &digest).repeat(LINES);
        fs::write(directory.path().join(NAME), text).unwrap();
        let mut lines = 0;
        index.load(|_, _| {
            lines += 1;
            true
        });
        assert_eq!(lines, LINES);
        assert!(index.append(&identity, &digest).is_break());
        index.replace(&[sample(7)]);
        append(&index, &sample(8));
        assert_eq!(loaded(&directory), [sample(7), sample(8)]);
    }

    #[test]
    fn without_a_place_nothing_is_kept_and_nothing_fails() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        fs::create_dir_all(directory.path().join("taken").join(NAME)).unwrap();
        for place in ["file", "taken"] {
            let index = IndexFile::new(directory.path().join(place));
            index.load(|_, _| panic!("nothing can be there"));
            append(&index, &sample(1));
            append(&index, &sample(2));
            assert!(index.state().said, "{place}");
        }
        // It is tried again.
        let index = IndexFile::new(directory.path().join("file"));
        append(&index, &sample(1));
        fs::remove_file(directory.path().join("file")).unwrap();
        append(&index, &sample(2));
        let text = fs::read_to_string(directory.path().join("file").join(NAME)).unwrap();
        assert_eq!(text, line(&sample(2).0, &sample(2).1));
    }
}
