//! A file as a client gets it: media type, length, validators, content.
//!
//! Conditional and range requests (RFC 9110 sections 13 and 14) are to be decided between
//! [`Representation::of`] and [`Representation::into_response`], where everything they need is at
//! hand.

use super::beneath::FoundFile;
use super::path::PathError;
use crate::message::{Body, Response};
use crate::prepared::PreparedFields;
use ::http::HeaderMap;
use ::http::header::{CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The selected representation of a resource (RFC 9110 section 3.2).
#[derive(Clone, Debug)]
pub(super) struct Representation {
    file: Arc<File>,
    length: u64,
    fields: Arc<PreparedFields>,
}

impl Representation {
    /// Opens a file; `name` tells its media type.
    pub(super) fn of(found: &FoundFile, name: &OsStr) -> Result<Self, PathError> {
        let metadata = found.metadata();
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, media_type(name));
        if let Some(etag) = entity_tag(metadata) {
            fields.insert(ETAG, etag);
        }
        if let Some(modified) = last_modified(metadata, SystemTime::now()) {
            fields.insert(LAST_MODIFIED, modified);
        }
        fields.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
        Ok(Self {
            file: Arc::new(found.open()?),
            length: metadata.len(),
            fields: PreparedFields::new(fields),
        })
    }

    /// The length of the content in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// 200 with the whole content.
    pub(super) fn into_response(self) -> Response {
        let Self { file, length, fields } = self;
        Response::prepared(fields, Body::File { file, offset: 0, length })
    }
}

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

/// A strong entity tag (RFC 9110 section 8.8.3): a digest of inode, size, time of modification and
/// time of change, the times in nanoseconds.
///
/// A file that is replaced has another inode or another time of change; one that is written in
/// place has another time of both, as exactly as the file system keeps time: two changes within one
/// tick of its clock (some milliseconds) that leave the size as it was cannot be told apart. The
/// time of change is in it because that of modification can be set at will. The device is not: its
/// number may change when the machine restarts.
///
/// It is digested because an inode number is nobody's business outside.
pub(super) fn entity_tag(metadata: &Metadata) -> Option<HeaderValue> {
    let facts = [
        metadata.ino(),
        metadata.size(),
        nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    ];
    // FNV-1a of 128 bits (Fowler, Noll, Vo): offset basis and prime.
    let digest = facts.iter().flat_map(|fact| fact.to_le_bytes()).fold(
        0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128,
        |digest, byte| {
            (digest ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        },
    );
    HeaderValue::from_str(&format!("\"{digest:032x}\"")).ok()
}

/// Only ever compared, so it may wrap around.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds).cast_unsigned()
}

/// The time of modification; `None` where HTTP cannot say it.
fn last_modified(metadata: &Metadata, now: SystemTime) -> Option<HeaderValue> {
    // RFC 9110 section 5.6.7: four digits for the year, and no year before the epoch makes sense.
    const YEAR_10000: u64 = 253_402_300_800;
    let seconds = u64::try_from(metadata.mtime()).ok()?;
    if seconds >= YEAR_10000 {
        return None;
    }
    let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    // RFC 9110 section 8.8.2.1: never later than the response itself.
    HeaderValue::from_str(&httpdate::fmt_http_date(modified.min(now))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

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

    #[test]
    fn the_tag_follows_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let tag = |path: &Path| entity_tag(&fs::metadata(path).unwrap()).unwrap();
        fs::write(&path, "one").unwrap();
        let first = tag(&path);
        assert_eq!(tag(&path), first);
        assert_eq!(first.len(), 34);

        // Another size.
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"!").unwrap();
        assert_ne!(tag(&path), first);

        // Another file of the same size, even with the same time of modification.
        let other = folder.path().join("b");
        fs::write(&other, "one!").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        file.set_modified(time).unwrap();
        File::open(&other).unwrap().set_modified(time).unwrap();
        assert_ne!(tag(&path), tag(&other));
    }

    #[test]
    fn times_that_http_cannot_say_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = File::create(&path).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let modified = |time: SystemTime| {
            file.set_modified(time).unwrap();
            last_modified(&fs::metadata(&path).unwrap(), now)
        };
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(modified(epoch).unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(modified(now).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        let later = now + Duration::from_secs(1000);
        assert_eq!(modified(later).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(modified(epoch - Duration::from_secs(10)), None);
    }
}
