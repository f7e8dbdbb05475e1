//! Uploads on a condition (RFC 9110 section 13): not over what is there, or only over a known version.

use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use ureq::http::header::{IF_MATCH, IF_NONE_MATCH};
use ureq::http::{HeaderName, HeaderValue, StatusCode};
use url::Url;

/// What has to be so for the file to be replaced.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    None,
    /// Nothing is there.
    Absent,
    /// The version with this ETag is there.
    Version(String),
}

impl Condition {
    pub(super) fn of(no_clobber: bool, if_match: Option<&str>) -> Self {
        match (no_clobber, if_match) {
            (true, _) => Self::Absent,
            (false, Some(tag)) => Self::Version(tag.to_owned()),
            (false, None) => Self::None,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The field that says it.
    pub(super) fn field(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::None => None,
            Self::Absent => Some((IF_NONE_MATCH, HeaderValue::from_static("*"))),
            Self::Version(tag) => Some((IF_MATCH, HeaderValue::from_str(tag).ok()?)),
        }
    }

    /// The report of an answer that was no success, in the words of what the user asked for.
    pub(super) fn explain(&self, report: Report, status: StatusCode, url: &Url) -> Report {
        if status != StatusCode::PRECONDITION_FAILED {
            return report;
        }
        let (kind, message, remedy) = match self {
            Self::None => return report,
            Self::Absent => {
                ("exists", format!("{url} exists already"), "leave out --no-clobber to replace it")
            }
            Self::Version(tag) => (
                "other-version",
                format!("{url} is not the version {tag}"),
                "look at what is there now, and upload with its ETag",
            ),
        };
        Report::new(Exit::HttpClientError, kind, message)
            .explain("nothing was replaced")
            .remedy(remedy)
            .detail("status", status.as_u16())
            .detail("url", url.as_str())
    }
}

/// An ETag as the command line has it; the quotes, which shells take away, may be missing.
pub(super) fn entity_tag(text: &str) -> Result<String, String> {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    // RFC 9110 section 8.8.3: etagc.
    let good = |byte: u8| byte == 0x21 || (0x23..=0x7e).contains(&byte);
    match inner.bytes().all(good) && !inner.is_empty() {
        _ if text == "*" => Ok(text.to_owned()),
        _ if text.starts_with("W/") => {
            Err("a weak ETag proves no version (RFC 9110 section 13.1.1)".to_owned())
        }
        true => Ok(format!("\"{inner}\"")),
        false => Err("an ETag is visible characters, as `sealpair head` shows it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_has_quotes_in_the_end() {
        assert_eq!(entity_tag("a-1").unwrap(), "\"a-1\"");
        assert_eq!(entity_tag("\"a-1\"").unwrap(), "\"a-1\"");
        assert_eq!(entity_tag("*").unwrap(), "*");
        for bad in ["", "\"\"", "a b", "a\"b", "W/\"a\"", "\"a", "a\r\nb"] {
            assert!(entity_tag(bad).is_err(), "{bad:?}");
        }
    }
}
