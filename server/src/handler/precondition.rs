//! Preconditions (RFC 9110 section 13), in the order of section 13.2.2.
//!
//! When one is false for a request that changes a file, the request must not be performed, or somebody's
//! change is lost. For reading they save a transfer, or keep the parts of two versions from being put
//! together.

use super::entity_tag::{EntityTag, Tags};
use super::validators::Validators;
use crate::http::Rejection;
use ::http::header::{
    HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};
use ::http::{HeaderMap, StatusCode};
use std::fs::Metadata;
use std::time::SystemTime;

pub(super) const FAILED: Rejection = Rejection::new(
    StatusCode::PRECONDITION_FAILED,
    "the file is not what the request expects; nothing was changed",
);

/// The same for a request that changes nothing anyway.
pub(super) const NOT_THIS_VERSION: Rejection =
    Rejection::new(StatusCode::PRECONDITION_FAILED, "the file is not what the request expects");

/// A condition that cannot be understood cannot be said to hold.
const MALFORMED: Rejection =
    Rejection::bad_request("If-Match or If-None-Match is no list of entity tags in quotes");

/// Whether a request has any precondition, so that the current file matters.
pub(super) fn is_conditional(headers: &HeaderMap) -> bool {
    [IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE].iter().any(|name| headers.contains_key(name))
}

/// Whether a request demands that there is no file yet: nobody may make one meanwhile either.
pub(super) fn must_be_new(headers: &HeaderMap) -> bool {
    Tags::parse(headers.get_all(IF_NONE_MATCH).iter()) == Ok(Tags::Any)
}

/// Checks the preconditions of a request that changes a file against the current one, if there is one.
///
/// `If-Modified-Since` means nothing here (RFC 9110 section 13.1.3).
pub(super) fn check(headers: &HeaderMap, current: Option<&Metadata>) -> Result<(), Rejection> {
    let validators = current.map(|metadata| Validators::of(metadata, SystemTime::now()));
    check_at(headers, validators.as_ref())
}

fn check_at(headers: &HeaderMap, current: Option<&Validators>) -> Result<(), Rejection> {
    if headers.contains_key(IF_MATCH) {
        let tags = Tags::parse(headers.get_all(IF_MATCH).iter()).map_err(|_| MALFORMED)?;
        if !any_matches(&tags, current, |tag, current| tag.matches_strongly(current)) {
            return Err(FAILED);
        }
    } else if is_modified_since(headers, current) {
        return Err(FAILED);
    }
    if headers.contains_key(IF_NONE_MATCH) {
        let tags = Tags::parse(headers.get_all(IF_NONE_MATCH).iter()).map_err(|_| MALFORMED)?;
        if any_matches(&tags, current, |tag, current| tag.matches_weakly(current)) {
            return Err(FAILED);
        }
    }
    Ok(())
}

/// What the preconditions of a request to read say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reading {
    /// The client gets what it asks for.
    Proceed,
    /// The client has this version already: 304.
    NotModified,
    /// The client wants another version only: 412.
    Failed,
}

/// Evaluates the preconditions of GET and HEAD.
///
/// A list that is malformed matches nothing: the client gets the whole in doubt, or no part.
pub(super) fn for_reading(headers: &HeaderMap, current: &Validators) -> Reading {
    let current = Some(current);
    if headers.contains_key(IF_MATCH) {
        let tags = Tags::parse(headers.get_all(IF_MATCH).iter());
        if !tags.is_ok_and(|tags| {
            any_matches(&tags, current, |tag, current| tag.matches_strongly(current))
        }) {
            return Reading::Failed;
        }
    } else if is_modified_since(headers, current) {
        return Reading::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        let tags = Tags::parse(headers.get_all(IF_NONE_MATCH).iter());
        if tags.is_ok_and(|tags| {
            any_matches(&tags, current, |tag, current| tag.matches_weakly(current))
        }) {
            return Reading::NotModified;
        }
    } else if headers.contains_key(IF_MODIFIED_SINCE) {
        let mut lines = headers.get_all(IF_MODIFIED_SINCE).iter();
        let date = lines.next().and_then(seconds);
        let modified = current.and_then(Validators::modified);
        if let (Some(date), Some(modified), None) = (date, modified, lines.next())
            && modified <= date
        {
            return Reading::NotModified;
        }
    }
    Reading::Proceed
}

/// Whether a part may be sent of what the client has the rest of (RFC 9110 section 13.1.5). Only what tells
/// versions apart for certain counts, or parts of two would be put together.
pub(super) fn permits_parts(headers: &HeaderMap, current: &Validators) -> bool {
    let mut lines = headers.get_all(IF_RANGE).iter();
    let Some(value) = lines.next() else {
        return true;
    };
    if lines.next().is_some() {
        return false;
    }
    match EntityTag::parse(value.as_bytes()) {
        Some(tag) => current.tag().is_some_and(|current| tag.matches_strongly(current)),
        None => seconds(value).is_some_and(|date| current.strong_date() == Some(date)),
    }
}

fn any_matches(
    tags: &Tags<'_>,
    current: Option<&Validators>,
    matches: fn(EntityTag<'_>, EntityTag<'_>) -> bool,
) -> bool {
    match tags {
        Tags::Any => current.is_some(),
        Tags::Listed(tags) => current
            .and_then(Validators::tag)
            .is_some_and(|current| tags.iter().any(|&tag| matches(tag, current))),
    }
}

/// Whether `If-Unmodified-Since` is false. A date that cannot be read is ignored, and so is the field where
/// there is no date to compare with (RFC 9110 section 13.1.4). Of several lines each counts, because a change
/// that should not be made is the worse mistake.
fn is_modified_since(headers: &HeaderMap, current: Option<&Validators>) -> bool {
    if !headers.contains_key(IF_UNMODIFIED_SINCE) {
        return false;
    }
    let Some(modified) = current.and_then(Validators::modified) else {
        return false;
    };
    let mut dates = headers.get_all(IF_UNMODIFIED_SINCE).iter().filter_map(seconds);
    dates.any(|date| modified > date)
}

/// A date in any of the three forms of RFC 9110 section 5.6.7.
fn seconds(value: &HeaderValue) -> Option<u64> {
    let date = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    date.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
#[path = "precondition_tests.rs"]
mod tests;
