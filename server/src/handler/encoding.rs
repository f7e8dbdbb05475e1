//! Files that stand beside another with the same content in an encoding: `a.js.gz` beside `a.js`.
//!
//! Where a client takes the encoding (RFC 9110 section 12.5.3) and the encoded file is not older than the other,
//! it is the selected representation: with an entity tag, ranges and a digest of its own, and with the media type
//! of the other. The server itself encodes nothing.
//!
//! Who names none of the encodings costs no look at the file system. So nobody knows, for such a client, whether
//! there is something to choose; `Vary` says that there may be.

use super::accept::quality;
use super::beneath::{FoundFile, Resolved, Root};
use ::http::HeaderMap;
use ::http::header::{ACCEPT_ENCODING, HeaderValue};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A content coding. The order decides between files of the same length.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstandard,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    const ALL: [Self; 3] = [Self::Brotli, Self::Zstandard, Self::Gzip];

    /// Its name in fields.
    pub(super) fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Brotli => "br",
            Self::Zstandard => "zstd",
            Self::Gzip => "gzip",
        })
    }

    /// How the names of files in it end.
    fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstandard => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// The path of the file that stands for `path`.
    fn sibling(self, path: &Path) -> PathBuf {
        let mut sibling = path.as_os_str().to_owned();
        sibling.push(self.suffix());
        sibling.into()
    }
}

/// Whether a file with this name may be replaced by one in an encoding. One that is in an encoding itself is not
/// looked at a second time.
pub(super) fn is_chosen_by(name: &OsStr) -> bool {
    !Coding::ALL.iter().any(|coding| name.as_bytes().ends_with(coding.suffix().as_bytes()))
}

/// What a client takes, in thousandths of quality.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Accepted {
    /// In the order of [`Coding::ALL`]; 0 for what is not accepted.
    codings: [u16; Coding::ALL.len()],
    /// The content as it is: 0 unless it is named. It is never refused: what there is is better than nothing.
    identity: u16,
    /// Whether the content as it is was ruled out.
    without_identity: bool,
}

impl Accepted {
    /// What the fields of a request say. Without any, nothing but the content as it is is accepted: RFC 9110
    /// permits everything then, but who says nothing mostly can decode nothing.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        if !headers.contains_key(ACCEPT_ENCODING) {
            return accepted;
        }
        let mut named = [None; Coding::ALL.len()];
        let (mut identity, mut any) = (None, None);
        let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
        for element in lines.flat_map(|line| line.split(',')) {
            let mut parts = element.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let Some(quality) = quality(parts) else { continue };
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            let place = match () {
                () if is("br") => &mut named[0],
                () if is("zstd") => &mut named[1],
                // RFC 9110 section 8.4.1.3.
                () if is("gzip") || is("x-gzip") => &mut named[2],
                () if is("identity") => &mut identity,
                () if is("*") => &mut any,
                () => continue,
            };
            *place = (*place).max(Some(quality));
        }
        accepted.codings = named.map(|quality| quality.or(any).unwrap_or_default());
        accepted.identity = identity.or(any).unwrap_or_default();
        accepted.without_identity = identity.or(any) == Some(0);
        accepted
    }

    /// Whether there is anything to choose.
    pub(super) fn nothing(&self) -> bool {
        self.codings == [0; Coding::ALL.len()]
    }

    fn codings(&self) -> impl Iterator<Item = (Coding, u16)> {
        Coding::ALL.into_iter().zip(self.codings).filter(|(_, quality)| *quality > 0)
    }

    /// Whether there may be a file that suits better than the one at `path`.
    pub(super) fn may_replace(&self, root: &Root, path: &Path) -> bool {
        !self.nothing()
            && path.file_name().is_some_and(is_chosen_by)
            && self.codings().any(|(coding, _)| root.identity(&coding.sibling(path)).is_some())
    }

    /// The file that suits best instead of the one at `path`: of the highest quality, and of those the shortest.
    /// One that is not shorter than the content as it is has no use, unless that is ruled out.
    pub(super) fn select(
        &self,
        root: &Root,
        path: &Path,
        found: &FoundFile,
    ) -> Option<(FoundFile, Coding)> {
        if self.nothing() || !path.file_name().is_some_and(is_chosen_by) {
            return None;
        }
        let modified = |file: &FoundFile| (file.metadata().mtime(), file.metadata().mtime_nsec());
        self.codings()
            .filter(|(_, quality)| *quality >= self.identity || self.without_identity)
            .filter_map(|(coding, quality)| match root.resolve(&coding.sibling(path)) {
                Ok(Resolved::File(file)) => Some((file, coding, quality)),
                Ok(Resolved::Folder(_)) | Err(_) => None,
            })
            // An older one is of an older version.
            .filter(|(file, _, _)| modified(file) >= modified(found))
            .filter(|(file, _, _)| {
                self.without_identity || file.metadata().size() < found.metadata().size()
            })
            .min_by_key(|(file, coding, quality)| {
                (std::cmp::Reverse(*quality), file.metadata().size(), *coding)
            })
            .map(|(file, coding, _)| (file, coding))
    }
}

#[cfg(test)]
#[path = "encoding_tests.rs"]
mod tests;
