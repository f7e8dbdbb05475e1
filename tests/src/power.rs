//! Loss of power, replayed: the system calls of a program, as strace(1) has recorded them, on a disk that keeps
//! only what it was told to keep.
//!
//! Between any two calls the power may fail. What is on the disk then is the least that the standards promise
//! (POSIX fsync; ext4, XFS and Btrfs keep more): the content of a file is as it was at its last fsync(2) or
//! fdatasync(2), anything newer may be there, or be lost, or be zeros; a change of names is there if the
//! directory has been synced since, and otherwise each one may be there or not, independently of all others.
//!
//! ```text
//! strace ─▶ Call (parsed) ─▶ Disk (what is durable, what is pending) ─▶ after_a_crash: what a name may stand for
//! ```

use crate::peers::find;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// What runs a program so that its system calls are recorded in a file. The program keeps its process id.
pub fn recorder(trace: &Path) -> Vec<String> {
    let strace = find("strace", "strace");
    let calls = "openat,creat,write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,linkat,unlink,\
                 unlinkat,ftruncate,sendto,sendmsg,dup,copy_file_range";
    let calls: String = calls.split_whitespace().collect();
    let line = [
        strace.to_str().unwrap(),
        "-D",
        "-f",
        "-y",
        "-qq",
        "--signal=none",
        "-s0",
        "-e",
        &format!("trace={calls}"),
        "-o",
        trace.to_str().unwrap(),
    ];
    line.map(str::to_owned).to_vec()
}

/// A system call that matters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Call {
    /// A new file, or an old one that is emptied.
    Create(PathBuf),
    /// Content of a file changes; how many bytes.
    Write(PathBuf, u64),
    /// What has been written to this file or directory is to stay.
    Sync(PathBuf),
    /// A name becomes another.
    Rename(PathBuf, PathBuf),
    /// A file gets a second name.
    Link(PathBuf, PathBuf),
    /// A name goes.
    Unlink(PathBuf),
    /// Something leaves through a socket: whatever it was, the other end may rely on it from now on.
    Say,
}

/// The successful calls of a trace, in the order in which they ended.
///
/// # Panics
///
/// When there is no trace, or a line of it cannot be understood.
pub fn calls(trace: &Path) -> Vec<Call> {
    let text = fs::read_to_string(trace).unwrap();
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (pid, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        let rest = rest.trim_start();
        let whole = if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, start.to_owned());
            continue;
        } else if rest.starts_with("<... ") {
            let (_, end) = rest.split_once(" resumed>").unwrap_or_else(|| panic!("{line}"));
            begun.remove(pid).unwrap_or_else(|| panic!("{line}")) + end
        } else {
            rest.to_owned()
        };
        calls.extend(parse(&whole));
    }
    assert!(!calls.is_empty(), "strace has recorded nothing in {}", trace.display());
    calls
}

/// One line of strace; `None` for a call that failed or does not matter.
fn parse(line: &str) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let result = result.split(['<', ' ']).next()?;
    if result.starts_with('-') || result == "?" {
        return None;
    }
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let written = || result.parse().ok();
    Some(match name {
        "openat" => {
            let flags = arguments.rsplit_once("\", ")?.1;
            if !flags.contains("O_CREAT") && !flags.contains("O_TRUNC") {
                return None;
            }
            Call::Create(at(arguments, 0)?)
        }
        "write" | "pwrite64" | "writev" | "copy_file_range" => match descriptor(arguments)? {
            Descriptor::Socket => Call::Say,
            Descriptor::Path(path) => Call::Write(path, written()?),
        },
        "ftruncate" => match descriptor(arguments)? {
            Descriptor::Path(path) => Call::Write(path, 0),
            Descriptor::Socket => return None,
        },
        "sendto" | "sendmsg" => match descriptor(arguments)? {
            Descriptor::Socket => Call::Say,
            Descriptor::Path(_) => return None,
        },
        "fsync" | "fdatasync" => match descriptor(arguments)? {
            Descriptor::Path(path) => Call::Sync(path),
            Descriptor::Socket => return None,
        },
        "rename" | "renameat" | "renameat2" => Call::Rename(at(arguments, 0)?, at(arguments, 1)?),
        "linkat" => Call::Link(at(arguments, 0)?, at(arguments, 1)?),
        "unlink" | "unlinkat" => Call::Unlink(at(arguments, 0)?),
        _ => return None,
    })
}

enum Descriptor {
    Path(PathBuf),
    Socket,
}

/// The first argument, `7</path>` or `9<socket:[123]>`.
fn descriptor(arguments: &str) -> Option<Descriptor> {
    let (_, rest) = arguments.split_once('<')?;
    let (name, _) = rest.split_once('>')?;
    if name.starts_with('/') {
        // strace marks what has lost its name.
        return Some(Descriptor::Path(name.trim_end_matches("(deleted)").into()));
    }
    (name.starts_with("socket:") || name.starts_with("TCP")).then_some(Descriptor::Socket)
}

/// The `index`-th path of the arguments, below the directory that stands before it.
fn at(arguments: &str, index: usize) -> Option<PathBuf> {
    let quoted: Vec<&str> = arguments.split('"').collect();
    let path = quoted.get(2 * index + 1)?;
    let before = quoted.get(2 * index)?;
    let directory = before.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>'));
    // What a descriptor stands for is shown as a path, AT_FDCWD too.
    Some(directory.map_or_else(PathBuf::new, |(directory, _)| directory.into()).join(path))
}

/// What a name stands for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Content {
    /// Nothing: there is no such file.
    Absent,
    /// The file that was there before the program began.
    Old,
    /// A file that the program has made: so many bytes of it are certain to be there, of so many that were
    /// written when the power failed.
    New {
        /// Bytes that have been synced.
        durable: u64,
        /// Bytes that have been written.
        written: u64,
    },
}

#[derive(Clone, Debug, Default)]
struct File {
    written: u64,
    durable: u64,
    made: bool,
}

#[derive(Clone, Debug)]
enum NameChange {
    Appear(PathBuf, usize),
    Move(PathBuf, PathBuf, usize),
    Vanish(PathBuf),
}

impl NameChange {
    fn touches(&self, folder: &Path) -> bool {
        let inside = |path: &PathBuf| path.parent() == Some(folder);
        match self {
            Self::Appear(path, _) | Self::Vanish(path) => inside(path),
            Self::Move(from, to, _) => inside(from) || inside(to),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Appear(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Move(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Vanish(path) => drop(names.remove(path)),
        }
    }
}

/// A disk that keeps what it was told to keep.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    /// As the program sees it.
    names: BTreeMap<PathBuf, usize>,
    /// As it is certain to be after a crash.
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<NameChange>,
}

impl Disk {
    /// A disk with these files, which have been there for long.
    pub fn with(old: &[&Path]) -> Self {
        let mut disk = Self::default();
        for path in old {
            disk.files.push(File::default());
            disk.names.insert((*path).to_owned(), disk.files.len() - 1);
        }
        disk.durable = disk.names.clone();
        disk
    }

    /// Does what a system call does.
    pub fn run(&mut self, call: &Call) {
        match call {
            Call::Create(path) => {
                if let Some(&file) = self.names.get(path) {
                    // Emptied: what was there may be lost from now on.
                    self.files[file] = File { made: true, ..File::default() };
                    return;
                }
                self.files.push(File { made: true, ..File::default() });
                let file = self.files.len() - 1;
                self.change(NameChange::Appear(path.clone(), file));
            }
            Call::Write(path, bytes) => {
                if let Some(&file) = self.names.get(path) {
                    self.files[file].written += bytes;
                }
            }
            Call::Sync(path) => match self.names.get(path) {
                Some(&file) => self.files[file].durable = self.files[file].written,
                None => {
                    let (synced, pending): (Vec<_>, Vec<_>) =
                        self.pending.drain(..).partition(|change| change.touches(path));
                    synced.iter().for_each(|change| change.apply(&mut self.durable));
                    self.pending = pending;
                }
            },
            Call::Rename(from, to) => {
                if let Some(&file) = self.names.get(from) {
                    self.change(NameChange::Move(from.clone(), to.clone(), file));
                }
            }
            Call::Link(from, to) => {
                if let Some(&file) = self.names.get(from) {
                    self.change(NameChange::Appear(to.clone(), file));
                }
            }
            Call::Unlink(path) => self.change(NameChange::Vanish(path.clone())),
            Call::Say => {}
        }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    /// What a name stands for as the program sees it.
    pub fn now(&self, path: &Path) -> Content {
        self.content(self.names.get(path))
    }

    /// Everything that a name may stand for if the power fails now.
    pub fn after_a_crash(&self, path: &Path) -> BTreeSet<Content> {
        /// Of more, there would be too many combinations; no program here leaves so many.
        const MOST: usize = 12;
        assert!(self.pending.len() <= MOST, "too much is pending: {:?}", self.pending);
        let kept = |chosen: u32| {
            let mut names = self.durable.clone();
            let changes = self.pending.iter().enumerate();
            changes
                .filter(|(at, _)| chosen & (1 << at) != 0)
                .for_each(|(_, change)| change.apply(&mut names));
            self.content(names.get(path))
        };
        (0..1 << self.pending.len()).map(kept).collect()
    }

    fn content(&self, file: Option<&usize>) -> Content {
        match file.map(|&file| &self.files[file]) {
            None => Content::Absent,
            Some(File { made: false, .. }) => Content::Old,
            Some(File { written, durable, .. }) => {
                Content::New { durable: *durable, written: *written }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [(&str, Option<&str>); 8] = [
        (
            r#"openat(5</srv>, ".tmp", O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600) = 9</srv/.tmp>"#,
            Some(r#"Create("/srv/.tmp")"#),
        ),
        (r#"openat(AT_FDCWD</>, "/srv/a", O_RDONLY|O_CLOEXEC) = 9</srv/a>"#, None),
        (r#"write(9</srv/.tmp>, ""..., 262144) = 262144"#, Some(r#"Write("/srv/.tmp", 262144)"#)),
        (r#"write(9</srv/.tmp>, ""..., 262144) = -1 ENOSPC (No space left on device)"#, None),
        (r"fsync(9</srv/.tmp>) = 0", Some(r#"Sync("/srv/.tmp")"#)),
        (
            r#"renameat2(5</srv>, ".tmp", 5</srv>, "a", 0) = 0"#,
            Some(r#"Rename("/srv/.tmp", "/srv/a")"#),
        ),
        (r#"write(12<socket:[77]>, ""..., 130) = 130"#, Some("Say")),
        (r#"unlinkat(5</srv>, ".tmp", 0) = 0"#, Some(r#"Unlink("/srv/.tmp")"#)),
    ];

    #[test]
    fn lines_of_strace_are_understood() {
        for (line, expected) in LINES {
            let call = parse(line).map(|call| format!("{call:?}"));
            assert_eq!(call.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn the_disk_keeps_no_more_than_it_must() {
        let (target, temporary) = (Path::new("/srv/a"), PathBuf::from("/srv/.tmp"));
        let mut disk = Disk::with(&[target]);
        disk.run(&Call::Create(temporary.clone()));
        disk.run(&Call::Write(temporary.clone(), 5));
        assert_eq!(disk.after_a_crash(target), BTreeSet::from([Content::Old]));
        // Renamed before it was synced: the name may stand for nothing but zeros.
        let mut hasty = disk.clone();
        hasty.run(&Call::Rename(temporary.clone(), target.to_owned()));
        let empty = Content::New { durable: 0, written: 5 };
        assert_eq!(hasty.after_a_crash(target), BTreeSet::from([Content::Old, empty]));
        // In the right order.
        disk.run(&Call::Sync(temporary.clone()));
        disk.run(&Call::Rename(temporary, target.to_owned()));
        let whole = Content::New { durable: 5, written: 5 };
        assert_eq!(disk.now(target), whole);
        assert_eq!(disk.after_a_crash(target), BTreeSet::from([Content::Old, whole.clone()]));
        disk.run(&Call::Sync(PathBuf::from("/srv")));
        assert_eq!(disk.after_a_crash(target), BTreeSet::from([whole]));
    }
}
