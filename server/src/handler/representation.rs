//! A file as a client gets it: media type, length, validators, content.
//!
//! ```text
//! of ─ opens the file and prepares the fields that every response with its content has
//!  └▶ respond ─┬─ preconditions ─────────▶ 304, 412
//!              └─ range ─▶ 200, 206, 206 multipart, 416
//! ```
//!
//! What is to be said of the whole representation whatever part of it is sent, such as a digest or the
//! header fields that it was chosen by, belongs among the fields that [`Representation::of`] prepares. 304 repeats
//! those of them that RFC 9110 section 15.4.5 names.

use super::beneath::FoundFile;
use super::encoding::{self, Coding};
use super::files::INDEX;
use super::path::PathError;
use super::precondition::{self, NOT_THIS_VERSION, Reading};
use super::range::{self, Selection};
use super::validators::Validators;
use super::{multipart, precondition::permits_parts};
use crate::http::Rejection;
use crate::message::{Body, Response};
use crate::open_file::OpenFile;
use crate::prepared::PreparedFields;
use ::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, EXPIRES, HeaderValue, LAST_MODIFIED, RANGE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use ::http::{HeaderMap, HeaderName, Method, StatusCode};
use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

pub(super) use super::validators::entity_tag;

/// The selected representation of a resource (RFC 9110 section 3.2).
#[derive(Clone, Debug)]
pub(super) struct Representation {
    file: Arc<OpenFile>,
    validators: Validators,
    fields: Arc<PreparedFields>,
}

impl Representation {
    /// Opens a file; `name` tells its media type.
    pub(super) fn of(found: &FoundFile, name: &OsStr) -> Result<Self, PathError> {
        Self::encoded(found, name, None)
    }

    /// Opens a file that stands for another in an encoding; `name` is that of the other.
    pub(super) fn encoded(
        found: &FoundFile,
        name: &OsStr,
        coding: Option<Coding>,
    ) -> Result<Self, PathError> {
        let metadata = found.metadata();
        let now = SystemTime::now();
        let validators = Validators::of(metadata, now);
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, media_type(name));
        fields.insert(ETAG, validators.etag().clone());
        if let Some(modified) = validators.last_modified(now) {
            fields.insert(LAST_MODIFIED, modified);
        }
        fields.insert(ACCEPT_RANGES, BYTES);
        if let Some(coding) = coding {
            fields.insert(CONTENT_ENCODING, coding.name());
        }
        if encoding::is_chosen_by(name) {
            fields.insert(
                VARY,
                match name == INDEX {
                    // In the place of its folder, it is chosen by that as well.
                    true => HeaderValue::from_static("Accept, Accept-Encoding"),
                    false => BY_ENCODING,
                },
            );
        }
        fields.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
        Ok(Self {
            file: Arc::new(OpenFile::found(found.open()?, metadata)),
            validators,
            fields: PreparedFields::new(fields),
        })
    }

    /// The open file.
    pub(super) fn file(&self) -> &Arc<OpenFile> {
        &self.file
    }

    /// The length of the whole content in bytes.
    pub(super) fn length(&self) -> u64 {
        self.file.length()
    }

    /// Whether what is known of the file proves what its content is: a further change would show.
    pub(super) fn is_settled(&self) -> bool {
        self.validators.are_settled()
    }

    /// The response to GET or HEAD with these fields.
    pub(super) fn respond(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, Rejection> {
        match precondition::for_reading(headers, &self.validators) {
            Reading::Proceed => {}
            Reading::NotModified => return Ok(self.not_modified()),
            Reading::Failed => return Err(NOT_THIS_VERSION),
        }
        match self.select(method, headers) {
            Selection::Whole => Ok(self.whole()),
            Selection::One(part) => self.part(&part),
            Selection::Several(parts) => self.parts(&parts),
            Selection::Unsatisfiable => Ok(self.unsatisfiable()),
        }
    }

    /// What is asked for. `Range` means something for GET only (RFC 9110 section 14.2), and is a single value:
    /// several lines of it are malformed.
    fn select(&self, method: &Method, headers: &HeaderMap) -> Selection {
        if *method != Method::GET || !headers.contains_key(RANGE) {
            return Selection::Whole;
        }
        let mut lines = headers.get_all(RANGE).iter();
        match (lines.next(), lines.next()) {
            (Some(field), None) if permits_parts(headers, &self.validators) => {
                range::select(field.as_bytes(), self.length())
            }
            _ => Selection::Whole,
        }
    }

    /// 200 with the whole content.
    fn whole(&self) -> Response {
        self.with_content(0..self.length())
    }

    /// 206 with one part of it.
    fn part(&self, part: &Range<u64>) -> Result<Response, Rejection> {
        let range = multipart::content_range(part, self.length());
        let range = HeaderValue::from_str(&range).map_err(|_| INTERNAL)?;
        Ok(self
            .with_content(part.clone())
            .with_status(StatusCode::PARTIAL_CONTENT)
            .with_header(CONTENT_RANGE, range))
    }

    /// 206 with several parts of it.
    fn parts(&self, parts: &[Range<u64>]) -> Result<Response, Rejection> {
        let content_type = self.fields.map().get(CONTENT_TYPE);
        let (content_type, body) =
            multipart::body(Arc::clone(&self.file), parts, content_type).ok_or(INTERNAL)?;
        Ok(Response::prepared(Arc::clone(&self.fields), body)
            .with_status(StatusCode::PARTIAL_CONTENT)
            .with_header(CONTENT_TYPE, content_type))
    }

    fn with_content(&self, part: Range<u64>) -> Response {
        let length = part.end.saturating_sub(part.start);
        let body = Body::File { file: Arc::clone(&self.file), offset: part.start, length };
        Response::prepared(Arc::clone(&self.fields), body)
    }

    /// 416 with the length that there is (RFC 9110 section 15.5.17).
    fn unsatisfiable(&self) -> Response {
        let length = self.length();
        let response = Response::error(
            StatusCode::RANGE_NOT_SATISFIABLE,
            format_args!("the file has {length} bytes, none of them in the range"),
        )
        .with_header(ACCEPT_RANGES, BYTES);
        match HeaderValue::from_str(&format!("bytes */{length}")) {
            Ok(range) => response.with_header(CONTENT_RANGE, range),
            Err(_) => response,
        }
    }

    /// 304 with what a cache has to know (RFC 9110 section 15.4.5), and the date of the file, by which a client
    /// that has no entity tag finds its copy.
    fn not_modified(&self) -> Response {
        const REPEATED: [HeaderName; 7] = [
            ETAG,
            LAST_MODIFIED,
            VARY,
            CACHE_CONTROL,
            EXPIRES,
            CONTENT_LOCATION,
            X_CONTENT_TYPE_OPTIONS,
        ];
        let mut response = Response::new(StatusCode::NOT_MODIFIED);
        for name in REPEATED {
            if let Some(value) = self.fields.map().get(&name) {
                response = response.with_header(name, value.clone());
            }
        }
        response
    }
}

/// What cannot be: numbers and letters of this program make no valid field.
const INTERNAL: Rejection =
    Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "the parts could not be described");

/// The value of `Vary` where the representation is chosen by what encodings a client takes.
const BY_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

/// The unit of ranges.
const BYTES: HeaderValue = HeaderValue::from_static("bytes");

/// The value of `X-Content-Type-Options` with which a browser takes the media type as it is meant.
pub(super) const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");

/// What the name says; text is taken to be UTF-8.
fn media_type(name: &OsStr) -> HeaderValue {
    let media_type =
        mime_guess::from_path(Path::new(name)).first_raw().unwrap_or("application/octet-stream");
    if media_type.starts_with("text/") {
        let with_charset = format!("{media_type}; charset=utf-8");
        if let Ok(value) = HeaderValue::from_str(&with_charset) {
            return value;
        }
    }
    HeaderValue::from_static(media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_come_from_the_name() {
        for (name, expected) in [
            ("a.html", "text/html; charset=utf-8"),
            ("a.TXT", "text/plain; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.tar.gz", "application/gzip"),
            ("a.png", "image/png"),
            ("a", "application/octet-stream"),
            ("a.unheard-of", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(media_type(OsStr::new(name)), expected, "{name}");
        }
    }
}
