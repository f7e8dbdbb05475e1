//! The fields of resumable uploads (draft-ietf-httpbis-resumable-upload section 4.1).

use super::super::problem::{self, Problem, Refused};
use crate::http::Rejection;
use ::http::StatusCode;
use ::http::{HeaderMap, HeaderName};
use sfv::{BareItem, Item, Parser};

pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");
pub(super) const INTEROP_VERSION: HeaderName =
    HeaderName::from_static("upload-draft-interop-version");
/// RFC 5789 section 3.1.
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// What a request says of the upload. A field that is not what it must be counts as absent, as the draft
/// demands for each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Said {
    pub(super) offset: Option<u64>,
    pub(super) complete: Option<bool>,
    pub(super) length: Option<u64>,
    /// The iteration of the draft.
    pub(super) version: Option<u64>,
}

impl Said {
    pub(super) fn by(headers: &HeaderMap) -> Self {
        Self {
            offset: number(headers, &UPLOAD_OFFSET),
            complete: match item(headers, &UPLOAD_COMPLETE) {
                Some(BareItem::Boolean(complete)) => Some(complete),
                _ => None,
            },
            length: number(headers, &UPLOAD_LENGTH),
            version: number(headers, &INTEROP_VERSION),
        }
    }

    /// Whether the client knows interim responses as they are here: the draft has had 104 with `Location`
    /// and `Upload-Limit` since version 6, and forbids it for versions that the server does not have.
    pub(super) fn takes_interim(&self) -> bool {
        matches!(self.version, Some(6..=8))
    }

    /// The length of the whole that this request tells, where `content` of it follow at an offset.
    pub(super) fn length_of_whole(
        &self,
        offset: u64,
        content: Option<u64>,
    ) -> Result<Option<u64>, Refused> {
        let by_content =
            match (self.complete, content) {
                (Some(true), Some(content)) => Some(offset.checked_add(content).ok_or(
                    Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "the content is too long"),
                )?),
                _ => None,
            };
        match (self.length, by_content) {
            (Some(one), Some(other)) if one != other => Err(inconsistent_length()),
            (one, other) => Ok(one.or(other)),
        }
    }
}

pub(super) fn inconsistent_length() -> Refused {
    Problem {
        status: StatusCode::BAD_REQUEST,
        kind: problem::INCONSISTENT_LENGTH,
        title: "what the request says of the upload's length contradicts itself or earlier requests",
        members: [],
    }
    .refuse()
}

/// A non-negative Integer (RFC 9651 section 3.3.1).
fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    match item(headers, name)? {
        BareItem::Integer(number) => u64::try_from(i64::from(number)).ok(),
        _ => None,
    }
}

/// The value of an Item (RFC 9651 section 3.3). A field that is there twice is none.
fn item(headers: &HeaderMap, name: &HeaderName) -> Option<BareItem> {
    let mut lines = headers.get_all(name).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let item: Item = Parser::new(line.as_bytes()).parse().ok()?;
    Some(item.bare_item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    fn said(lines: &[(&HeaderName, &'static str)]) -> Said {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Said::by(&headers)
    }

    #[test]
    fn fields_that_are_not_what_they_must_be_are_absent() {
        let read = said(&[
            (&UPLOAD_OFFSET, "0"),
            (&UPLOAD_COMPLETE, "?0"),
            (&UPLOAD_LENGTH, "999999999999999;x"),
            (&INTEROP_VERSION, "8"),
        ]);
        let expected = Said {
            offset: Some(0),
            complete: Some(false),
            length: Some(999_999_999_999_999),
            version: Some(8),
        };
        assert_eq!(read, expected);
        for bad in ["-1", "1.0", "?1", "\"1\"", "1, 2", "", "x", "1234567890123456", ":AAAA:"] {
            assert_eq!(said(&[(&UPLOAD_OFFSET, bad)]).offset, None, "{bad}");
        }
        for bad in ["1", "true", "?2", "(?1)", "?1, ?1"] {
            assert_eq!(said(&[(&UPLOAD_COMPLETE, bad)]).complete, None, "{bad}");
        }
        assert_eq!(said(&[(&UPLOAD_LENGTH, "1"), (&UPLOAD_LENGTH, "1")]).length, None);
    }

    #[test]
    fn two_lengths_must_agree() {
        let said = Said { complete: Some(true), length: Some(10), ..Said::default() };
        assert_eq!(said.length_of_whole(4, Some(6)).unwrap(), Some(10));
        assert_eq!(said.length_of_whole(4, None).unwrap(), Some(10));
        assert!(said.length_of_whole(4, Some(7)).is_err());
        assert!(said.length_of_whole(u64::MAX, Some(7)).is_err());
        let part = Said { complete: Some(false), length: None, ..said };
        assert_eq!(part.length_of_whole(4, Some(6)).unwrap(), None);
    }

    #[test]
    fn only_versions_that_are_served_are_told_early() {
        for (version, told) in [(None, false), (Some(5), false), (Some(6), true), (Some(8), true)] {
            assert_eq!(Said { version, ..Said::default() }.takes_interim(), told);
        }
    }
}
