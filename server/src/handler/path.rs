//! From the path of a URL to the names of files below a directory.
//!
//! A path is split at its slashes, each segment decoded once and checked; what comes out is a
//! relative path without `.`, `..`, empty or hidden names. That alone does not keep it below the
//! directory, for a name may be a symbolic link: [`Root`](super::beneath::Root) sees to that.

use crate::http::Rejection;
use ::http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_encode};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How the names of uploads begin that are not complete. They are hidden even where dot-files are
/// not.
pub(crate) const UPLOAD_PREFIX: &str = ".sealpair-upload-";

/// Everything but the unreserved characters of RFC 3986 section 2.3. So a colon never makes a
/// scheme of a name, nor a slash, question mark or number sign something other than a part of it.
const NOT_UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a path leads to nothing that is served.
#[derive(Debug)]
#[non_exhaustive]
pub enum PathError {
    /// The operating system does not let this process there.
    Forbidden,
    /// A name that is kept from clients: a dot-file or an upload that is not complete.
    Hidden,
    /// The operating system failed otherwise.
    Io(io::Error),
    /// No file can have this path.
    Malformed(&'static str),
    /// Nothing is there, or nothing that is served: a device, or a link that leads out of the root.
    NotFound,
    /// A name or the path is longer than the file system takes.
    TooLong,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the path could not be opened: {error}"),
            Self::Malformed(reason) => f.write_str(reason),
            Self::Forbidden => f.write_str("the server may not read this"),
            Self::Hidden | Self::NotFound => f.write_str("nothing is here"),
            Self::TooLong => f.write_str("a name in the path is too long"),
        }
    }
}

impl std::error::Error for PathError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Forbidden
            | Self::Hidden
            | Self::Malformed(_)
            | Self::NotFound
            | Self::TooLong => None,
        }
    }
}

impl From<PathError> for Rejection {
    /// The answer to a client that wants to read. That something is hidden is hidden, too.
    fn from(error: PathError) -> Self {
        let (status, reason) = match error {
            PathError::Forbidden => (StatusCode::FORBIDDEN, "the server may not read this"),
            PathError::Hidden | PathError::NotFound => (StatusCode::NOT_FOUND, "nothing is here"),
            PathError::Io(error) => return super::failure::unexpected("open a path", &error),
            PathError::Malformed(reason) => (StatusCode::BAD_REQUEST, reason),
            PathError::TooLong => (StatusCode::URI_TOO_LONG, "a name in the path is too long"),
        };
        Self::new(status, reason)
    }
}

/// A decoded and checked path below some root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilePath {
    /// Names joined by single slashes, none at either end; empty for the root itself.
    names: Vec<u8>,
    /// Whether it ended in a slash.
    folder: bool,
}

impl FilePath {
    /// Decodes the path of a request target.
    ///
    /// ```
    /// use sealpair_server::handler::path::FilePath;
    /// let path = FilePath::decode("/a%20b/c", false).unwrap();
    /// assert_eq!(path.as_path(), std::path::Path::new("a b/c"));
    /// assert!(FilePath::decode("/a/%2e%2e/c", false).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`PathError::Malformed`] for a broken escape, a NUL, an encoded slash, `.` and `..` in any
    /// spelling, but for a plain `.` before a slash, which is left out; [`PathError::NotFound`] for an empty segment, which no file has for a name;
    /// [`PathError::Hidden`] for dot-files unless `dotfiles`, and always for unfinished uploads.
    pub fn decode(path: &str, dotfiles: bool) -> Result<Self, PathError> {
        let path = path
            .strip_prefix('/')
            .ok_or(PathError::Malformed("the path does not begin with a slash"))?;
        let (path, folder) = match path.strip_suffix('/') {
            Some("") => return Err(PathError::NotFound),
            Some(path) => (path, true),
            None => (path, path.is_empty()),
        };
        let mut names = Vec::with_capacity(path.len());
        if !path.is_empty() {
            let mut segments = path.split('/').peekable();
            while let Some(segment) = segments.next() {
                if segment == "." && (folder || segments.peek().is_some()) {
                    // Apt asks for `folder/./file` where a source is named `./`. The folder that it
                    // is in is the only thing that this can mean (RFC 3986 section 5.2.4).
                    continue;
                }
                if !names.is_empty() {
                    names.push(b'/');
                }
                let start = names.len();
                decode_segment(segment.as_bytes(), &mut names)?;
                check_name(&names[start..], dotfiles)?;
            }
        }
        Ok(Self { names, folder })
    }

    /// Whether the path ended in a slash, as that of a folder does.
    pub fn is_folder(&self) -> bool {
        self.folder
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.names.is_empty()
    }

    /// The path relative to the root; `.` for the root itself.
    pub fn as_path(&self) -> &Path {
        match self.names.as_slice() {
            [] => Path::new("."),
            names => Path::new(OsStr::from_bytes(names)),
        }
    }

    /// The folder, relative to the root, and the name in it; `None` for the root itself.
    pub fn split(&self) -> Option<(&Path, &OsStr)> {
        let (folder, name) = match self.names.iter().rposition(|&byte| byte == b'/') {
            _ if self.is_root() => return None,
            Some(slash) => (&self.names[..slash], &self.names[slash + 1..]),
            None => (b".".as_slice(), self.names.as_slice()),
        };
        Some((Path::new(OsStr::from_bytes(folder)), OsStr::from_bytes(name)))
    }

    /// The folder in which this is; that of the root is the root.
    pub(super) fn parent(&self) -> Self {
        let end = self.names.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Self { names: self.names.get(..end).unwrap_or_default().to_vec(), folder: true }
    }

    /// The path, relative to the root, of something in this folder.
    pub fn join(&self, name: &OsStr) -> PathBuf {
        self.as_path().join(name)
    }

    /// The path of the folder as a client would ask for it, with a slash at both ends.
    pub fn to_folder_url(&self) -> String {
        let mut url = String::with_capacity(self.names.len() + 2);
        url.push('/');
        if !self.is_root() {
            for name in self.names.split(|&byte| byte == b'/') {
                url.extend(encode_name(name));
                url.push('/');
            }
        }
        url
    }

    /// The path as bytes, with a slash at both ends, for display.
    pub fn to_folder_name(&self) -> Vec<u8> {
        match self.names.as_slice() {
            [] => b"/".to_vec(),
            names => [b"/", names, b"/"].concat(),
        }
    }
}

/// A name as one segment of a URL's path.
pub(super) fn encode_name(name: &[u8]) -> PercentEncode<'_> {
    percent_encode(name, NOT_UNRESERVED)
}

/// Whether a name is kept from clients.
pub(super) fn is_hidden(name: &[u8], dotfiles: bool) -> bool {
    match name.first() {
        Some(b'.') => !dotfiles || name.starts_with(UPLOAD_PREFIX.as_bytes()),
        _ => false,
    }
}

fn decode_segment(segment: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    const BROKEN: PathError = PathError::Malformed("the path has a broken percent-encoding");
    let mut bytes = segment.iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(*bytes.next()?).to_digit(16);
        let (high, low) = digit().zip(digit()).ok_or(BROKEN)?;
        match u8::try_from(high << 4 | low).map_err(|_| BROKEN)? {
            // It separates names; decoded, it would split one segment in two.
            b'/' => return Err(PathError::Malformed("a name in the path has a slash")),
            decoded => out.push(decoded),
        }
    }
    Ok(())
}

fn check_name(name: &[u8], dotfiles: bool) -> Result<(), PathError> {
    match name {
        // A client takes these out before it sends (RFC 3986 section 5.2.4). Where one does not, it is
        // more likely up to something.
        b"." | b".." => Err(PathError::Malformed("the path has a dot segment")),
        name if name.contains(&0) => Err(PathError::Malformed("the path has a NUL byte")),
        [] => Err(PathError::NotFound),
        name if is_hidden(name, dotfiles) => Err(PathError::Hidden),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(path: &str) -> (Vec<u8>, bool) {
        let path = FilePath::decode(path, false).unwrap();
        (path.as_path().as_os_str().as_bytes().to_vec(), path.is_folder())
    }

    #[test]
    fn a_path_is_decoded_once() {
        for (path, names, folder) in [
            ("/", ".", true),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("/a/b%20c/d", "a/b c/d", false),
            ("/%41%2e%2E", "A..", false),
            ("/%2541", "%41", false),
            ("/%252e%252e/a", "%2e%2e/a", false),
            ("/%252f", "%2f", false),
            ("/a\\..\\b", "a\\..\\b", false),
            ("/%5c..%5c", "\\..\\", false),
            ("/...", "", false),
            ("/a+b", "a+b", false),
            ("/./", ".", true),
            ("/././a", "a", false),
            ("/a/./b", "a/b", false),
            ("/a/././", "a", true),
        ] {
            match names {
                "" => assert!(matches!(FilePath::decode(path, false), Err(PathError::Hidden))),
                _ => assert_eq!(decoded(path), (names.as_bytes().to_vec(), folder), "{path}"),
            }
        }
        assert_eq!(decoded("/%ff%fe").0, b"\xff\xfe");
    }

    #[test]
    fn what_no_file_can_have_is_malformed() {
        for path in [
            "",
            "a",
            "*",
            "/.",
            "/..",
            "/../",
            "/%2e/",
            "/./..",
            "/././.",
            "/a/.",
            "/a/%2e/b",
            "/a/./../b",
            "/a/..",
            "/a/../b",
            "/%2e",
            "/%2e%2e",
            "/.%2e/a",
            "/%2E./a",
            "/a/%2e%2e/b",
            "/a%2fb",
            "/..%2f..%2fa",
            "/%2F",
            "/a%00",
            "/%00",
            "/%00/a",
            "/..%00",
            "/%",
            "/%4",
            "/%zz",
            "/a%",
            "/%+1",
            "/% 1",
        ] {
            for dotfiles in [false, true] {
                let result = FilePath::decode(path, dotfiles);
                assert!(matches!(result, Err(PathError::Malformed(_))), "{path}: {result:?}");
            }
        }
    }

    #[test]
    fn an_empty_segment_is_not_found() {
        for path in ["//", "//a", "/a//b", "/a//", "///", "//example.com/.."] {
            let result = FilePath::decode(path, true);
            assert!(
                matches!(result, Err(PathError::NotFound | PathError::Malformed(_))),
                "{path}: {result:?}"
            );
        }
    }

    #[test]
    fn hidden_names_are_hidden_in_every_place_and_spelling() {
        for path in ["/.a", "/.a/b", "/b/.a", "/b/.a/c", "/%2ea", "/.git/config", "/..."] {
            assert!(matches!(FilePath::decode(path, false), Err(PathError::Hidden)), "{path}");
            assert!(FilePath::decode(path, true).is_ok(), "{path}");
        }
        for path in ["/.sealpair-upload-1", "/%2esealpair-upload-1", "/a/.sealpair%2dupload-"] {
            for dotfiles in [false, true] {
                assert!(matches!(FilePath::decode(path, dotfiles), Err(PathError::Hidden)));
            }
        }
    }

    #[test]
    fn a_path_splits_into_folder_and_name() {
        let split = |path| {
            let path = FilePath::decode(path, false).unwrap();
            path.split().map(|(folder, name)| (folder.to_owned(), name.to_owned()))
        };
        assert_eq!(split("/"), None);
        assert_eq!(split("/a"), Some((".".into(), "a".into())));
        assert_eq!(split("/a/b/c"), Some(("a/b".into(), "c".into())));
    }

    #[test]
    fn every_name_survives_encoding_and_decoding() {
        for byte in (1..=u8::MAX).filter(|&byte| byte != b'/') {
            let name = [b'x', byte, b'y'];
            let url = format!("/{}", encode_name(&name));
            assert!(url.is_ascii());
            assert_eq!(decoded(&url).0, name, "{url}");
        }
        assert_eq!(encode_name(b"javascript:x").to_string(), "javascript%3Ax");
        let path = FilePath::decode("/a%20b/%ff/", false).unwrap();
        assert_eq!(path.to_folder_url(), "/a%20b/%FF/");
        assert_eq!(path.to_folder_name(), b"/a b/\xff/");
    }
}
