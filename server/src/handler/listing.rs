//! The listing of a folder, as a page or as JSON.
//!
//! ```text
//! Names ─ stat ─ Entry ─ page or JSON ─▶ a piece at a time, as the client takes it
//! ```
//!
//! The names are those of files that anybody may have put there. In the page they stand as text,
//! escaped for HTML and with what is not printable made visible; in links they are percent-encoded
//! so that nothing of them is a scheme, a query or a fragment. The page can run no script and load
//! nothing.

use super::accept::prefers_json;
use super::beneath::{Folder, Resolved, Root};
use super::failure;
use super::names::{Kind, Names, Order, Walk, gone};
use super::path::{FilePath, PathError, encode_name};
use crate::http::Rejection;
use crate::message::{Body, Response};
use ::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, VARY};
use ::http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, statat};
use sealpair_common::escape::EscapedBytes;
use sealpair_common::units::Size;
use serde::Serialize;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::{self, Cursor, Read, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// The version of the JSON document. It changes when a field goes or changes its meaning.
const SCHEMA: &str = "sealpair.listing/1";

/// Up to this size in bytes a listing is rendered before it is sent, so that it has a length and its
/// connection can go on with an HTTP/1.0 client.
const AT_ONCE: u64 = 64 << 10;

/// How much is rendered at a time at least, in bytes.
const PIECE: usize = 8 << 10;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem}\
    table{border-collapse:collapse}td,th{padding:.1rem 1.5rem .1rem 0;text-align:left}\
    td{white-space:nowrap}td:first-child{white-space:normal;overflow-wrap:anywhere}\
    :root{color-scheme:light dark}\
    td.n{text-align:right;font-variant-numeric:tabular-nums}";

/// No script, no request, no frame, no form; the style stands in the page.
const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-DyDn/Sgl0sR9LoC/ULvq8MRvjBgHlYg7juuwxgm1kzs='; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// One line of a listing.
#[derive(Debug)]
struct Entry<'n> {
    name: &'n [u8],
    folder: bool,
    size: u64,
    /// `None` for a time that no calendar has.
    modified: Option<Timestamp>,
}

/// Lists a folder in the form that the client prefers.
pub(super) fn respond(
    walk: Walk,
    path: FilePath,
    folder: Folder,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Rejection> {
    let response =
        Response::new(StatusCode::OK).with_header(VARY, HeaderValue::from_static("Accept"));
    let (form, response) = match prefers_json(headers) {
        true => (
            Form::Json,
            response.with_header(CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ),
        false => (
            Form::Page,
            response
                .with_header(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))
                .with_header(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        ),
    };
    if *method == Method::HEAD {
        // RFC 9110 section 9.3.2: without what only rendering would tell, the length.
        folder.open()?;
        return Ok(response);
    }
    let names = Names::read(&walk, path.as_path(), &folder, Order::FoldersFirst)?;
    let mut listing =
        Listing { walk, path, folder, names, form, stage: Stage::Begin, piece: Cursor::default() };
    let mut first = Vec::new();
    (&mut listing)
        .take(AT_ONCE)
        .read_to_end(&mut first)
        .map_err(|error| failure::unexpected("list a folder", &error))?;
    Ok(response.with_body(match listing.is_done() {
        true => Body::Bytes(Cow::Owned(first)),
        false => Body::Stream { reader: Box::new(Cursor::new(first).chain(listing)), length: None },
    }))
}

/// A listing that is rendered as it is read.
#[derive(Debug)]
struct Listing {
    walk: Walk,
    path: FilePath,
    folder: Folder,
    names: Names,
    form: Form,
    stage: Stage,
    /// What has been rendered last, and how much of it has been read.
    piece: Cursor<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Page,
    Json,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Begin,
    Entries { first: bool },
    Done,
}

impl Read for Listing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(room) = buf.get_mut(filled..).filter(|room| !room.is_empty()) {
            let count = self.piece.read(room)?;
            if count > 0 {
                filled += count;
            } else if self.stage == Stage::Done {
                break;
            } else {
                self.piece.get_mut().clear();
                self.piece.set_position(0);
                self.render()?;
            }
        }
        Ok(filled)
    }
}

impl Listing {
    fn is_done(&self) -> bool {
        self.stage == Stage::Done && self.piece.position() == self.piece.get_ref().len() as u64
    }

    /// Renders what comes next: a piece, or up to the end.
    fn render(&mut self) -> io::Result<()> {
        if self.stage == Stage::Begin {
            match self.form {
                Form::Page => begin_page(self.piece.get_mut(), &self.path)?,
                Form::Json => begin_json(self.piece.get_mut(), &self.path)?,
            }
            self.stage = Stage::Entries { first: true };
        }
        while self.piece.get_ref().len() < PIECE
            && let Stage::Entries { first } = self.stage
        {
            let Self { walk, path, folder, names, form, piece, .. } = self;
            let piece = piece.get_mut();
            let rendered = names.next(walk, path.as_path(), |name, kind| {
                let Some(entry) = entry(&walk.root, path, folder, name, kind)? else {
                    return Ok(false);
                };
                match form {
                    Form::Page => write!(piece, "{}", Row(&entry))?,
                    Form::Json => {
                        piece.extend_from_slice(if first { b"" } else { b"," });
                        serde_json::to_writer(piece, &Item::of(&entry))?;
                    }
                }
                Ok(true)
            })?;
            match rendered {
                Some(rendered) => self.stage = Stage::Entries { first: first && !rendered },
                None => {
                    self.piece.get_mut().extend_from_slice(match self.form {
                        Form::Page => b"</table>\n</body>\n</html>\n",
                        Form::Json => b"]}\n",
                    });
                    self.stage = Stage::Done;
                }
            }
        }
        Ok(())
    }
}

/// An entry as it is now; `None` if it is not served, or gone by now.
fn entry<'n>(
    root: &Root,
    path: &FilePath,
    folder: &Folder,
    name: &'n [u8],
    kind: Kind,
) -> io::Result<Option<Entry<'n>>> {
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(errno) => return gone(errno),
    };
    let (is_folder, size, modified) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => (true, 0, stat.st_mtime),
        FileType::RegularFile => {
            (false, u64::try_from(stat.st_size).unwrap_or_default(), stat.st_mtime)
        }
        FileType::Symlink if kind == Kind::FolderLink => (true, 0, stat.st_mtime),
        FileType::Symlink => match root.resolve(&path.join(OsStr::from_bytes(name))) {
            Ok(Resolved::File(found)) => (false, found.metadata().len(), found.metadata().mtime()),
            Ok(Resolved::Folder(_)) => (true, 0, stat.st_mtime),
            Err(PathError::Io(error)) => return Err(error),
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    let modified = Timestamp::from_second(modified).ok();
    Ok(Some(Entry { name, folder: is_folder, size, modified }))
}

/// The document for scripts, up to its entries.
fn begin_json(out: &mut Vec<u8>, path: &FilePath) -> io::Result<()> {
    // The path is percent-encoded, so that it is exact for every name and needs no escaping here.
    write!(out, "{{\"schema\":\"{SCHEMA}\",\"path\":\"{}\",\"entries\":[", path.to_folder_url())
}

/// An entry for scripts.
#[derive(Serialize)]
struct Item<'e> {
    /// Bytes that are not UTF-8 are replaced here; `href` is exact.
    name: Cow<'e, str>,
    href: String,
    r#type: &'static str,
    size: Option<u64>,
    modified: Option<String>,
}

impl<'e> Item<'e> {
    fn of(entry: &Entry<'e>) -> Self {
        Self {
            name: String::from_utf8_lossy(entry.name),
            href: Href(entry).to_string(),
            r#type: if entry.folder { "folder" } else { "file" },
            size: (!entry.folder).then_some(entry.size),
            modified: entry.modified.map(|time| time.to_string()),
        }
    }
}

/// The page for people, up to its entries.
fn begin_page(out: &mut Vec<u8>, path: &FilePath) -> io::Result<()> {
    let name = path.to_folder_name();
    let title = Text(&name);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p><a href=\"?archive=tar\">Everything here as a tar archive</a></p>\n<table>\n\
         <tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr>\n"
    )?;
    if !path.is_root() {
        out.extend_from_slice(b"<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    Ok(())
}

/// An entry for people.
struct Row<'e>(&'e Entry<'e>);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(entry) = self;
        let slash = if entry.folder { "/" } else { "" };
        write!(
            f,
            "<tr><td><a href=\"{}\">{}{slash}</a></td><td class=\"n\">",
            Href(entry),
            Text(entry.name)
        )?;
        if !entry.folder {
            write!(f, "{}", Size(entry.size))?;
        }
        f.write_str("</td><td>")?;
        if let Some(modified) = entry.modified {
            write!(f, "{}", modified.strftime("%Y-%m-%d %H:%M:%S"))?;
        }
        f.write_str("</td></tr>\n")
    }
}

/// A link relative to the folder's own URL. It holds unreserved characters, `%` and perhaps a slash
/// at its end, so it needs no escaping in an attribute.
struct Href<'e>(&'e Entry<'e>);

impl fmt::Display for Href<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode_name(self.0.name).fmt(f)?;
        f.write_str(if self.0.folder { "/" } else { "" })
    }
}

/// A name as text of a page.
struct Text<'n>(&'n [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(HtmlEscaper(f), "{}", EscapedBytes(self.0))
    }
}

struct HtmlEscaper<'f, 'g>(&'f mut fmt::Formatter<'g>);

impl fmt::Write for HtmlEscaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(['&', '<', '>', '"', '\'']) {
            let plain = part.trim_end_matches(['&', '<', '>', '"', '\'']);
            self.0.write_str(plain)?;
            self.0.write_str(match &part[plain.len()..] {
                "&" => "&amp;",
                "<" => "&lt;",
                ">" => "&gt;",
                "\"" => "&quot;",
                "'" => "&#39;",
                rest => rest,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
