//! Preconditions of requests that change a file (RFC 9110 section 13): when one is false, the request
//! must not be performed, or somebody's change is lost.
//!
//! For reading they only save a transfer; that is not here yet.

use super::representation::entity_tag;
use crate::http::Rejection;
use ::http::header::{IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use ::http::{HeaderMap, HeaderName, StatusCode};
use std::fs::Metadata;

pub(super) const FAILED: Rejection = Rejection::new(
    StatusCode::PRECONDITION_FAILED,
    "the file is not what the request expects; nothing was changed",
);

/// Whether a request has any precondition, so that the current file matters.
pub(super) fn is_conditional(headers: &HeaderMap) -> bool {
    [IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE].iter().any(|name| headers.contains_key(name))
}

/// Whether a request demands that there is no file yet: nobody may make one meanwhile either.
pub(super) fn must_be_new(headers: &HeaderMap) -> bool {
    tags(headers, &IF_NONE_MATCH).any(|tag| tag == "*")
}

/// Checks the preconditions against the current file, if there is one, in the order of section 13.2.2.
pub(super) fn check(headers: &HeaderMap, current: Option<&Metadata>) -> Result<(), Rejection> {
    let etag = current.and_then(entity_tag);
    let etag = etag.as_ref().and_then(|etag| etag.to_str().ok());
    if headers.contains_key(IF_MATCH) {
        // The strong comparison: a weak tag never matches (section 8.8.3.2).
        let matches = |tag: &str| (tag == "*" && current.is_some()) || Some(tag) == etag;
        if !tags(headers, &IF_MATCH).any(matches) {
            return Err(FAILED);
        }
    } else if let Some(since) = headers.get(IF_UNMODIFIED_SINCE) {
        let since = since.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok());
        let modified = current.and_then(|metadata| metadata.modified().ok());
        // A date that cannot be read is ignored (section 13.1.4).
        if let (Some(since), Some(modified)) = (since, modified)
            // The field has whole seconds only.
            && modified >= since + std::time::Duration::from_secs(1)
        {
            return Err(FAILED);
        }
    }
    let matches =
        |tag: &str| (tag == "*" && current.is_some()) || Some(tag.trim_start_matches("W/")) == etag;
    if tags(headers, &IF_NONE_MATCH).any(matches) {
        return Err(FAILED);
    }
    Ok(())
}

/// The entity tags of a field. Ours hold no comma, so a tag that does cannot match whole or in parts.
fn tags<'h>(headers: &'h HeaderMap, name: &'h HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;
    use std::fs;

    #[test]
    fn each_field_against_a_file_and_against_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "a").unwrap();
        let file = fs::metadata(&path).unwrap();
        let etag = entity_tag(&file).unwrap();
        let etag = etag.to_str().unwrap();
        let (list, weak) = (format!("\"x\", {etag}"), format!("W/{etag}"));
        let future = "Fri, 31 Dec 2100 23:59:59 GMT";
        let past = "Sat, 01 Jan 2000 00:00:00 GMT";
        // The field, its value, whether it holds for the file, whether it holds for none.
        let cases = [
            (IF_MATCH, "*", true, false),
            (IF_MATCH, etag, true, false),
            (IF_MATCH, &list, true, false),
            (IF_MATCH, &weak, false, false),
            (IF_MATCH, "\"x\"", false, false),
            (IF_NONE_MATCH, "*", false, true),
            (IF_NONE_MATCH, etag, false, true),
            (IF_NONE_MATCH, &weak, false, true),
            (IF_NONE_MATCH, "\"x\"", true, true),
            (IF_UNMODIFIED_SINCE, future, true, true),
            (IF_UNMODIFIED_SINCE, past, false, true),
            (IF_UNMODIFIED_SINCE, "yesterday", true, true),
        ];
        for (name, value, for_file, for_none) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(&name, HeaderValue::from_str(value).unwrap());
            assert!(is_conditional(&headers));
            assert_eq!(check(&headers, Some(&file)).is_ok(), for_file, "{name}: {value}");
            assert_eq!(check(&headers, None).is_ok(), for_none, "{name}: {value}");
        }
        assert!(check(&HeaderMap::new(), Some(&file)).is_ok());
    }
}
