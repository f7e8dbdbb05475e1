//! The listing of a folder, as a page or as JSON.
//!
//! The names are those of files that anybody may have put there. In the page they stand as text,
//! escaped for HTML and with what is not printable made visible; in links they are percent-encoded
//! so that nothing of them is a scheme, a query or a fragment. The page can run no script and load
//! nothing.

use super::accept::prefers_json;
use super::beneath::{Folder, Resolved, Root};
use super::failure;
use super::path::{FilePath, encode_name, is_hidden};
use crate::http::Rejection;
use crate::message::{Body, Response};
use ::http::HeaderMap;
use ::http::StatusCode;
use ::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, VARY};
use jiff::Timestamp;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;
use sealpair_common::escape::EscapedBytes;
use sealpair_common::units::Size;
use serde::Serialize;
use std::borrow::Cow;
use std::ffi::{CStr, OsStr};
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// The version of the JSON document. It changes when a field goes or changes its meaning.
const SCHEMA: &str = "sealpair.listing/1";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem}\
    table{border-collapse:collapse}td,th{padding:.1rem 1.5rem .1rem 0;text-align:left}\
    td{white-space:nowrap}td:first-child{white-space:normal;overflow-wrap:anywhere}\
    :root{color-scheme:light dark}\
    td.n{text-align:right;font-variant-numeric:tabular-nums}";

/// No script, no request, no frame, no form; the style stands in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// One line of a listing.
#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    folder: bool,
    size: u64,
    /// `None` for a time that no calendar has.
    modified: Option<Timestamp>,
}

/// Lists a folder in the form that the client prefers.
pub(super) fn respond(
    root: &Root,
    path: &FilePath,
    folder: &Folder,
    dotfiles: bool,
    headers: &HeaderMap,
) -> Result<Response, Rejection> {
    let entries = entries(root, path, folder, dotfiles)?;
    let response =
        Response::new(StatusCode::OK).with_header(VARY, HeaderValue::from_static("Accept"));
    if prefers_json(headers) {
        let json = json(path, &entries)
            .map_err(|error| failure::unexpected("list a folder", &error.into()))?;
        return Ok(response
            .with_header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .with_body(Body::Bytes(Cow::Owned(json))));
    }
    let page = Page { path, entries: &entries };
    Ok(response
        .with_header(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))
        .with_header(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))
        .with_body(Body::Bytes(Cow::Owned(page.to_string().into_bytes()))))
}

/// The entries that would be served: folders first, then by the bytes of the name.
fn entries(
    root: &Root,
    path: &FilePath,
    folder: &Folder,
    dotfiles: bool,
) -> Result<Vec<Entry>, Rejection> {
    let failed = |errno: Errno| failure::unexpected("list a folder", &errno.into());
    let folder = folder.open()?;
    let mut entries = Vec::new();
    for item in Dir::read_from(&folder).map_err(failed)? {
        let item = item.map_err(failed)?;
        let name = item.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || is_hidden(name.to_bytes(), dotfiles) {
            continue;
        }
        entries.extend(entry(root, path, folder.as_fd(), name));
    }
    entries.sort_unstable_by(|a, b| b.folder.cmp(&a.folder).then_with(|| a.name.cmp(&b.name)));
    Ok(entries)
}

/// One entry; `None` if it is not served, or gone by now.
fn entry(root: &Root, path: &FilePath, folder: BorrowedFd<'_>, name: &CStr) -> Option<Entry> {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let (is_folder, size, modified) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => (true, 0, stat.st_mtime),
        FileType::RegularFile => (false, u64::try_from(stat.st_size).ok()?, stat.st_mtime),
        // What it leads to is what is served, if it stays below the root.
        FileType::Symlink => match root.resolve(&path.join(OsStr::from_bytes(name.to_bytes()))) {
            Ok(Resolved::File(found)) => (false, found.metadata().len(), found.metadata().mtime()),
            Ok(Resolved::Folder(_)) => (true, 0, stat.st_mtime),
            Err(_) => return None,
        },
        _ => return None,
    };
    Some(Entry {
        name: name.to_bytes().to_vec(),
        folder: is_folder,
        size,
        modified: Timestamp::from_second(modified).ok(),
    })
}

/// The document for scripts.
fn json(path: &FilePath, entries: &[Entry]) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Document<'e> {
        schema: &'static str,
        /// Percent-encoded, so that it is exact for every name.
        path: String,
        entries: Vec<Item<'e>>,
    }

    #[derive(Serialize)]
    struct Item<'e> {
        /// Bytes that are not UTF-8 are replaced here; `href` is exact.
        name: Cow<'e, str>,
        href: String,
        r#type: &'static str,
        size: Option<u64>,
        modified: Option<String>,
    }

    let entries = entries
        .iter()
        .map(|entry| Item {
            name: String::from_utf8_lossy(&entry.name),
            href: Href(entry).to_string(),
            r#type: if entry.folder { "folder" } else { "file" },
            size: (!entry.folder).then_some(entry.size),
            modified: entry.modified.map(|time| time.to_string()),
        })
        .collect();
    let mut document =
        serde_json::to_vec(&Document { schema: SCHEMA, path: path.to_folder_url(), entries })?;
    document.push(b'\n');
    Ok(document)
}

/// The page for people.
struct Page<'p> {
    path: &'p FilePath,
    entries: &'p [Entry],
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.to_folder_name();
        let title = Text(&name);
        write!(
            f,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<table>\n\
             <tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr>\n"
        )?;
        if !self.path.is_root() {
            f.write_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n")?;
        }
        for entry in self.entries {
            let slash = if entry.folder { "/" } else { "" };
            write!(
                f,
                "<tr><td><a href=\"{}\">{}{slash}</a></td><td class=\"n\">",
                Href(entry),
                Text(&entry.name)
            )?;
            if !entry.folder {
                write!(f, "{}", Size(entry.size))?;
            }
            f.write_str("</td><td>")?;
            if let Some(modified) = entry.modified {
                write!(f, "{}", modified.strftime("%Y-%m-%d %H:%M:%S"))?;
            }
            f.write_str("</td></tr>\n")?;
        }
        f.write_str("</table>\n</body>\n</html>\n")
    }
}

/// A link relative to the folder's own URL. It holds unreserved characters, `%` and perhaps a slash
/// at its end, so it needs no escaping in an attribute.
struct Href<'e>(&'e Entry);

impl fmt::Display for Href<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode_name(&self.0.name).fmt(f)?;
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

impl Write for HtmlEscaper<'_, '_> {
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
