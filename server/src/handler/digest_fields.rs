//! The fields of digests (RFC 9530): those that a request to write declares, the answer when they lie, and who
//! wants to know one.

use super::problem::{self, Problem, Refused};
use crate::http::Rejection;
use ::http::{HeaderMap, HeaderName, StatusCode};
use sealpair_common::digest::{MalformedField, Sha256, is_wanted};
use serde_json::json;

/// RFC 9530 section 2.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// RFC 9530 section 3.
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// RFC 9530 section 4.
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// What a request says of its content.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Declared {
    /// The digest of the content of this request.
    pub(super) content: Option<Sha256>,
    /// The digest of the whole representation.
    pub(super) whole: Option<Sha256>,
}

impl Declared {
    /// Reads the fields. Algorithms other than SHA-256 are ignored (RFC 9530 section 2).
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Rejection> {
        let read = |name| {
            in_field(headers, name).map_err(|MalformedField| {
                Rejection::bad_request("a digest field is malformed; nothing was stored")
            })
        };
        Ok(Self { content: read(&CONTENT_DIGEST)?, whole: read(&REPR_DIGEST)? })
    }

    /// Checks content that is the whole representation.
    pub(super) fn check_whole(&self, digest: Sha256) -> Result<(), Refused> {
        check(&CONTENT_DIGEST, self.content, digest)?;
        check(&REPR_DIGEST, self.whole, digest)
    }
}

/// Checks a digest against the one that a field has declared.
pub(super) fn check(
    name: &HeaderName,
    declared: Option<Sha256>,
    digest: Sha256,
) -> Result<(), Refused> {
    match declared {
        Some(declared) if declared != digest => Err(mismatch(name, declared)),
        _ => Ok(()),
    }
}

/// Whether the client wants to know the digest of what it gets, or has written.
pub(super) fn wants_digest(headers: &HeaderMap) -> bool {
    joined(headers, &WANT_REPR_DIGEST).is_some_and(is_wanted)
}

fn in_field(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Sha256>, MalformedField> {
    joined(headers, name).map_or(Ok(None), Sha256::in_field)
}

/// The lines of a field as one (RFC 9110 section 5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(name).iter().map(|value| value.as_bytes()).peekable();
    lines.peek()?;
    Some(lines.collect::<Vec<_>>().join(&b", "[..]))
}

/// 400 as draft-ietf-httpapi-digest-fields-problem-types section 3.3 has it. It does not tell the digest
/// that was computed: whoever does not know the content must not learn about it.
fn mismatch(name: &HeaderName, declared: Sha256) -> Refused {
    let header = match *name == CONTENT_DIGEST {
        true => "Content-Digest",
        false => "Repr-Digest",
    };
    let field = declared.to_field();
    let value = field.split_once('=').map_or("", |(_, value)| value);
    Problem {
        status: StatusCode::BAD_REQUEST,
        kind: problem::MISMATCHING_DIGEST,
        title: "the content is not what its digest says; it was not stored",
        members: [(
            "mismatching-digests",
            json!([{ "algorithm": "sha-256", "provided-digest": value, "header": header }]),
        )],
    }
    .refuse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::HeaderValue;

    #[test]
    fn lines_of_a_field_are_one_and_others_are_ignored() {
        let abc = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
        let mut headers = HeaderMap::new();
        assert!(Declared::of(&headers).unwrap().whole.is_none());
        headers.append(&REPR_DIGEST, HeaderValue::from_static("md5=:AAAA:"));
        assert!(Declared::of(&headers).unwrap().whole.is_none());
        headers.append(&REPR_DIGEST, HeaderValue::from_static(abc));
        let whole = Declared::of(&headers).unwrap().whole.unwrap();
        assert_eq!(whole.to_field(), abc);
        headers.append(&CONTENT_DIGEST, HeaderValue::from_static("sha-256=:AAAA:"));
        assert_eq!(Declared::of(&headers).unwrap_err().status, 400);
    }
}
