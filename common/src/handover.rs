//! Descriptors that whoever started this process has opened for it: systemd's socket activation, and every
//! other launcher that keeps to sd_listen_fds(3).
//!
//! The variables stay in the environment: they are for this process id alone, so a child would not take
//! them for its own, and this program starts none.

use crate::ffi;
use std::env;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

/// The first descriptor that is handed over (SD_LISTEN_FDS_START).
pub(crate) const FIRST_DESCRIPTOR: RawFd = 3;

/// More than anybody hands over; a count beyond it is a mistake.
const MOST: usize = 1024;

/// What the environment announces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Announced {
    pub(crate) count: usize,
    /// May be fewer than descriptors.
    names: Vec<String>,
}

/// A descriptor that was handed over.
#[derive(Debug)]
pub struct Descriptor {
    /// The descriptor, now owned, with close-on-exec set.
    pub fd: OwnedFd,
    /// Its number.
    pub number: RawFd,
    /// Its name where the launcher has given one (`FileDescriptorName=`).
    pub name: Option<String>,
}

/// What was announced to this process; `None` when nothing was, or to another, or nothing that makes sense.
pub(crate) fn announced() -> Option<Announced> {
    from_environment().ok().flatten()
}

fn from_environment() -> Result<Option<Announced>, String> {
    // What is no UTF-8 is no number either, and must not pass for a variable that is not set.
    let variable = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    parse(
        std::process::id(),
        variable("LISTEN_PID").as_deref(),
        variable("LISTEN_FDS").as_deref(),
        variable("LISTEN_FDNAMES").as_deref(),
    )
}

fn parse(
    own: u32,
    pid: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
) -> Result<Option<Announced>, String> {
    // Without a process id it may be meant for anybody: for the parent of this process, say.
    let (Some(pid), Some(count)) = (pid, count) else { return Ok(None) };
    if pid.parse() != Ok(own) {
        return Ok(None);
    }
    // As sd_listen_fds(3), which fails as well: to go on without would serve another address than the one
    // that somebody waits at.
    match count.parse() {
        Ok(count @ 1..=MOST) => {
            let names = names.unwrap_or_default().split(':').map(str::to_owned).collect();
            Ok(Some(Announced { count, names }))
        }
        _ => Err(format!("LISTEN_FDS is `{count}`, not a number from 1 to {MOST}")),
    }
}

/// Takes all descriptors that were handed over to this process, in their order: none when it was started
/// without. To be called once, before anything else is opened.
///
/// # Errors
///
/// When one is not open, or they have been taken before; [`io::ErrorKind::InvalidInput`] when what is
/// announced to this process is not a number of descriptors.
pub fn take() -> io::Result<Vec<Descriptor>> {
    let announced =
        from_environment().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    let Some(Announced { count, names }) = announced else { return Ok(Vec::new()) };
    let mut names = names.into_iter();
    let numbers = (FIRST_DESCRIPTOR..).take(count);
    let taken = numbers.map(|number| {
        let name = names.next().filter(|name| !name.is_empty());
        match ffi::inherited_descriptor(number) {
            Ok(fd) => Ok(Descriptor { fd, number, name }),
            Err(error) => {
                Err(io::Error::new(error.kind(), format!("descriptor {number}: {error}")))
            }
        }
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_for_this_process_counts() {
        let found = parse(7, Some("7"), Some("2"), Some("https:admin")).unwrap().unwrap();
        assert_eq!((found.count, found.names), (2, vec!["https".to_owned(), "admin".to_owned()]));
        assert_eq!(parse(7, Some("7"), Some("1"), None).unwrap().unwrap().count, 1);
        for (pid, count) in [
            (None, Some("1")),
            (None, Some("x")),
            (Some("8"), Some("1")),
            (Some("8"), Some("x")),
            (Some(""), Some("1")),
            (Some("7"), None),
        ] {
            assert_eq!(parse(7, pid, count, None), Ok(None), "{pid:?} {count:?}");
        }
    }

    #[test]
    fn nonsense_for_this_process_is_an_error() {
        for count in ["0", "-1", "99999999999999999999", "1025", "x", "", " 1"] {
            let error = parse(7, Some("7"), Some(count), None).unwrap_err();
            assert!(error.contains(&format!("`{count}`")), "{error}");
        }
        assert_eq!(parse(7, Some("7"), Some("1024"), None).unwrap().unwrap().count, 1024);
    }

    #[test]
    fn what_was_not_handed_over_cannot_be_taken() {
        // The tests are started without LISTEN_PID, so that nothing is announced; descriptor 1 is open.
        assert!(ffi::inherited_descriptor(1).is_err());
        assert!(ffi::inherited_descriptor(3).is_err());
        assert!(ffi::inherited_descriptor(-1).is_err());
        assert!(take().unwrap().is_empty());
    }
}
