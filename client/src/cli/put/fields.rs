//! The header fields of resumable uploads (draft-ietf-httpbis-resumable-upload, interop version 8).

use super::super::digest_fields::joined;
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};
use ureq::http::header::ACCEPT;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// What is appended to an upload.
pub(super) const PARTIAL_UPLOAD: &str = "application/partial-upload";

pub(super) const NOT_YET: HeaderValue = HeaderValue::from_static("?0");
pub(super) const COMPLETE: HeaderValue = HeaderValue::from_static("?1");

/// Problems are asked for in the form that says which they are (RFC 9457).
pub(super) fn accept_problems() -> (HeaderName, HeaderValue) {
    (ACCEPT, HeaderValue::from_static("application/problem+json, */*;q=0.5"))
}

/// `Upload-Limit`: what the server takes. Bytes, and seconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Limits {
    pub(super) max_size: Option<u64>,
    pub(super) min_size: Option<u64>,
    pub(super) max_append: Option<u64>,
    pub(super) min_append: Option<u64>,
    pub(super) max_age: Option<u64>,
}

impl Limits {
    /// The limits that an answer tells; `None` where it tells none, or something that has to be ignored
    /// as a whole (a known key with a value of another type).
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let dictionary: Dictionary = Parser::new(&joined(headers, &UPLOAD_LIMIT)?).parse().ok()?;
        let limit = |key: &str| match dictionary.get(key) {
            None => Ok(None),
            Some(ListEntry::Item(Item { bare_item: BareItem::Integer(value), .. })) => {
                u64::try_from(i64::from(*value)).map(Some).map_err(drop)
            }
            Some(_) => Err(()),
        };
        let read = || -> Result<Self, ()> {
            Ok(Self {
                max_size: limit("max-size")?,
                min_size: limit("min-size")?,
                max_append: limit("max-append-size")?,
                min_append: limit("min-append-size")?,
                max_age: limit("max-age")?,
            })
        };
        read().ok()
    }

    /// Newer limits; what they do not mention stays.
    pub(super) fn update(&mut self, headers: &HeaderMap) {
        if let Some(new) = Self::of(headers) {
            self.max_size = new.max_size.or(self.max_size);
            self.min_size = new.min_size.or(self.min_size);
            self.max_append = new.max_append.or(self.max_append);
            self.min_append = new.min_append.or(self.min_append);
            self.max_age = new.max_age.or(self.max_age);
        }
    }
}

/// Whether the answer to OPTIONS announces resumable uploads: with limits, or with the media type of
/// what is appended in `Accept-Patch`. A wildcard there promises no such thing.
pub(super) fn announces_uploads(headers: &HeaderMap) -> bool {
    let patches = joined(headers, &ACCEPT_PATCH).unwrap_or_default();
    let patches = String::from_utf8_lossy(&patches).to_ascii_lowercase();
    let is_partial =
        |part: &str| part.split(';').next().is_some_and(|t| t.trim() == PARTIAL_UPLOAD);
    Limits::of(headers).is_some() || patches.split(',').any(is_partial)
}

/// `Upload-Offset`.
pub(super) fn offset(headers: &HeaderMap) -> Option<u64> {
    integer(headers, &UPLOAD_OFFSET)
}

/// `Upload-Length`.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    integer(headers, &UPLOAD_LENGTH)
}

/// `Upload-Complete`.
pub(super) fn complete(headers: &HeaderMap) -> Option<bool> {
    match item(headers, &UPLOAD_COMPLETE)? {
        BareItem::Boolean(complete) => Some(complete),
        _ => None,
    }
}

fn integer(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    match item(headers, name)? {
        BareItem::Integer(value) => u64::try_from(i64::from(value)).ok(),
        _ => None,
    }
}

fn item(headers: &HeaderMap, name: &HeaderName) -> Option<BareItem> {
    let item: Item = Parser::new(&joined(headers, name)?).parse().ok()?;
    Some(item.bare_item)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn numbers_that_are_none_are_ignored() {
        assert_eq!(offset(&with(UPLOAD_OFFSET, "0")), Some(0));
        assert_eq!(offset(&with(UPLOAD_OFFSET, "999999999999999")), Some(999_999_999_999_999));
        for bad in ["-1", "1.5", "?1", "", "1, 2", "99999999999999999999", "abc"] {
            assert_eq!(offset(&with(UPLOAD_OFFSET, bad)), None, "{bad}");
        }
        assert_eq!(complete(&with(UPLOAD_COMPLETE, "?1")), Some(true));
        assert_eq!(complete(&with(UPLOAD_COMPLETE, "1")), None);
    }

    #[test]
    fn limits_are_read_whole_or_not_at_all() {
        let limits = Limits::of(&with(UPLOAD_LIMIT, "max-size=5, max-age=60, other=?0")).unwrap();
        assert_eq!((limits.max_size, limits.max_age, limits.max_append), (Some(5), Some(60), None));
        for bad in ["max-size=?1", "max-size=-1", "max-append-size=1.0", ",", "max-size=(1)"] {
            assert_eq!(Limits::of(&with(UPLOAD_LIMIT, bad)), None, "{bad}");
        }
    }

    #[test]
    fn support_has_to_be_announced_by_name() {
        assert!(announces_uploads(&with(UPLOAD_LIMIT, "max-size=5")));
        assert!(announces_uploads(&with(ACCEPT_PATCH, "text/a, Application/Partial-Upload;v=1")));
        for not in ["*/*", "application/*", "application/partial-uploads", ""] {
            assert!(!announces_uploads(&with(ACCEPT_PATCH, not)), "{not}");
        }
        assert!(!announces_uploads(&HeaderMap::new()));
    }
}
