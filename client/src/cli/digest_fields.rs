//! The fields that carry digests (RFC 9530), as requests ask for them and answers have them.

use sealpair_common::digest::{MalformedField, Sha256};
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// RFC 9530 section 2.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// RFC 9530 section 3.
pub(crate) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// RFC 9530 section 4.
pub(crate) const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// Asks for the SHA-256 of the whole, and nothing else.
pub(crate) fn want_digest() -> (HeaderName, HeaderValue) {
    (WANT_REPR_DIGEST, HeaderValue::from_static("sha-256=10"))
}

/// The SHA-256 in a digest field; `None` where there is none.
///
/// # Errors
///
/// The field is malformed.
pub(crate) fn digest_in(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<Sha256>, MalformedField> {
    joined(headers, name).map_or(Ok(None), Sha256::in_field)
}

/// The lines of a field as one (RFC 9110 section 5.3); `None` where there is none.
pub(crate) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealpair_common::digest::Hasher;

    #[test]
    fn a_digest_may_stand_on_any_line() {
        let digest = Hasher::new().unwrap().finish().unwrap();
        let name = CONTENT_DIGEST;
        let mut headers = HeaderMap::new();
        assert_eq!(digest_in(&headers, &name), Ok(None));
        headers.append(&name, HeaderValue::from_static("sha-512=:AAAA:"));
        headers.append(&name, HeaderValue::from_str(&digest.to_field()).unwrap());
        assert_eq!(digest_in(&headers, &name), Ok(Some(digest)));
        headers.append(&name, HeaderValue::from_static("sha-256=1"));
        assert_eq!(digest_in(&headers, &name), Err(MalformedField));
    }
}
