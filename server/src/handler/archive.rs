//! A folder as one tar archive, made while it is sent.
//!
//! ```text
//! folder ─ Names ─┬─ file ── header, content, padding ─▶ a piece at a time, as the client takes it
//!                 └─ folder ─ header, Names of its own …
//! ```
//!
//! The archive has what would be served one by one, sorted by name, each folder before what is in it. Of the
//! tree, only the names in the folders on the way to the current file are in memory; of files, nothing. Each
//! name is looked up from the root when its turn comes, so nothing that is renamed or linked meanwhile leads
//! out.
//!
//! A symbolic link to a file is stored as that file. One to a folder is left out: what it leads to is in the
//! archive by its own name if it is below the folder, and links in a circle would make an archive without end.
//!
//! A file that changes while it is read ends the archive, and the connection, without the missing part: a
//! header has announced its length, and to fill up what is not there with zeros would be a lie.

use super::beneath::{Folder, Resolved};
use super::failure;
use super::names::{Kind, Names, Order, Walk};
use super::path::{FilePath, PathError, encode_name};
use super::ustar::{self, Member};
use crate::http::Rejection;
use crate::message::{Body, Response};
use crate::open_file::OpenFile;
use ::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use ::http::{Method, StatusCode};
use rustix::fs::fstat;
use sealpair_common::escape::EscapedBytes;
use std::ffi::OsStr;
use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// The name of an archive of the root, which has no name itself.
const OF_ROOT: &str = "files";

/// Whether a query asks for an archive: `archive=tar`.
pub(super) fn is_asked(query: Option<&str>) -> Result<bool, Rejection> {
    let parameters = query.unwrap_or_default().split('&');
    let asked = parameters.filter_map(|parameter| match parameter.split_once('=') {
        Some(("archive", form)) => Some(form),
        _ => (parameter == "archive").then_some(""),
    });
    asked.into_iter().try_fold(false, |_, form| match form {
        "tar" => Ok(true),
        _ => Err(Rejection::bad_request("the only archive is tar: ?archive=tar")),
    })
}

/// An archive of a folder.
pub(super) fn respond(
    walk: Walk,
    path: &FilePath,
    folder: &Folder,
    method: &Method,
) -> Result<Response, Rejection> {
    let name = path.split().map(|(_, name)| name.as_bytes());
    let response = Response::new(StatusCode::OK)
        .with_header(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"))
        .with_header(CONTENT_DISPOSITION, disposition(name));
    if *method == Method::HEAD {
        // RFC 9110 section 9.3.2: nobody knows the length before the archive is made.
        folder.open()?;
        return Ok(response);
    }
    let mut archive = Archive {
        walk,
        // The root is `.`, which is no part of a name.
        path: if path.is_root() {
            Vec::new()
        } else {
            path.as_path().as_os_str().as_bytes().to_vec()
        },
        above: path.split().map_or(0, |(_, name)| path.as_path().as_os_str().len() - name.len()),
        levels: Vec::new(),
        piece: Cursor::default(),
        content: None,
        done: false,
    };
    // What is wrong with the folder itself is still an answer with a status.
    archive.enter(folder).map_err(|error| match error {
        Stop::LeaveOut(error) => error.into(),
        Stop::Failed(error) => failure::unexpected("archive a folder", &error),
    })?;
    Ok(response.with_body(Body::Stream { reader: Box::new(archive), length: None }))
}

/// The name under which a client saves the archive (RFC 6266): once in ASCII, for old ones, and once exactly
/// (RFC 8187).
fn disposition(name: Option<&[u8]>) -> HeaderValue {
    let name = name.map_or_else(|| OF_ROOT.into(), String::from_utf8_lossy);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ' ');
    let ascii: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let exact = encode_name(name.as_bytes());
    let value = format!("attachment; filename=\"{ascii}.tar\"; filename*=UTF-8''{exact}.tar");
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("attachment"))
}

/// An archive that is made as it is read.
#[derive(Debug)]
struct Archive {
    walk: Walk,
    /// The path, relative to the root, of what is being archived.
    path: Vec<u8>,
    /// How much of it is not part of the names in the archive: what is above the folder.
    above: usize,
    /// The folders on the way there.
    levels: Vec<Level>,
    /// Headers and padding, and how much of them has been read.
    piece: Cursor<Vec<u8>>,
    /// What comes after them.
    content: Option<Content>,
    done: bool,
}

/// A folder whose names are being gone through.
#[derive(Debug)]
struct Level {
    /// The length of its path.
    path: usize,
    names: Names,
}

/// A file whose content is being read.
#[derive(Debug)]
struct Content {
    file: OpenFile,
    offset: u64,
}

/// Why something does not get into the archive.
enum Stop {
    /// It would not be served either.
    LeaveOut(PathError),
    Failed(io::Error),
}

impl From<PathError> for Stop {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Io(error) => Self::Failed(error),
            error => Self::LeaveOut(error),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Read for Archive {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(room) = buf.get_mut(filled..).filter(|room| !room.is_empty()) {
            let count = self.piece.read(room)?;
            if count > 0 {
                filled += count;
                continue;
            }
            self.piece.get_mut().clear();
            self.piece.set_position(0);
            match &mut self.content {
                Some(content) if content.offset < content.file.length() => {
                    filled += content.read(room)?;
                }
                Some(content) => {
                    content.check()?;
                    self.piece.get_mut().resize(ustar::padding(content.file.length()), 0);
                    self.content = None;
                }
                None if self.done => break,
                None => self.go_on()?,
            }
        }
        Ok(filled)
    }
}

impl Content {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room =
            buf.len().min(usize::try_from(self.file.length() - self.offset).unwrap_or(usize::MAX));
        match self.file.file().read_at(&mut buf[..room], self.offset) {
            Ok(0) => Err(changed()),
            Ok(count) => {
                self.offset += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether all that was read is of one version.
    fn check(&self) -> io::Result<()> {
        match self.file.is_unchanged()? {
            true => Ok(()),
            false => Err(changed()),
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("a file changed while it was archived")
}

impl Archive {
    /// Goes on to the next name.
    fn go_on(&mut self) -> io::Result<()> {
        let Some(level) = self.levels.last_mut() else {
            self.piece.get_mut().extend_from_slice(&ustar::END);
            self.done = true;
            return Ok(());
        };
        self.path.truncate(level.path);
        let next = level
            .names
            .next(&self.walk, relative(&self.path), |name, kind| Ok((name.to_vec(), kind)))?;
        let Some((name, kind)) = next else {
            self.levels.pop();
            return Ok(());
        };
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&name);
        match self.add(kind) {
            Ok(()) => Ok(()),
            Err(Stop::LeaveOut(error)) => {
                log::info!("left out of an archive: {}: {error}", EscapedBytes(&self.path));
                Ok(())
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// Adds what has the current path.
    fn add(&mut self, kind: Kind) -> Result<(), Stop> {
        if kind == Kind::FolderLink {
            return Ok(());
        }
        match self.walk.root.resolve(relative(&self.path))? {
            Resolved::File(found) => {
                let metadata = found.metadata();
                let file = OpenFile::found(found.open()?, metadata);
                let name = self.path.get(self.above..).unwrap_or_default();
                let member = Member::File { size: file.length() };
                ustar::header(self.piece.get_mut(), name, member, metadata.mtime());
                self.content = Some(Content { file, offset: 0 });
                Ok(())
            }
            Resolved::Folder(folder) if kind == Kind::Folder => self.enter(&folder),
            // By now it is a link to a folder, perhaps to one above.
            Resolved::Folder(_) => Ok(()),
        }
    }

    /// Adds the folder that has the current path, and goes on with what is in it.
    fn enter(&mut self, folder: &Folder) -> Result<(), Stop> {
        let names = Names::read(&self.walk, relative(&self.path), folder, Order::Bytes)?;
        // The root has no name.
        if !self.path.is_empty() {
            let modified = fstat(folder).map_err(io::Error::from)?.st_mtime;
            let name = [self.path.get(self.above..).unwrap_or_default(), b"/"].concat();
            ustar::header(self.piece.get_mut(), &name, Member::Folder, modified);
        }
        self.levels.push(Level { path: self.path.len(), names });
        Ok(())
    }
}

/// A path as the root takes it.
fn relative(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(if path.is_empty() { b"." } else { path }))
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
