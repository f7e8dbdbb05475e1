//! Whether what came is what was meant: `--sha256`, and the digest fields of RFC 9530.
//!
//! Nothing is hashed unless there is something to compare it with.

use super::super::digest_fields::{CONTENT_DIGEST, REPR_DIGEST, digest_in};
use sealpair_common::digest::{Hasher, Sha256};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use ureq::http::header::CONTENT_ENCODING;
use ureq::http::{HeaderMap, HeaderName};

/// How much is read back at once.
const PIECE: usize = 256 << 10;

/// The name of a digest field that cannot be read, if one cannot.
pub(super) fn malformed(headers: &HeaderMap) -> Option<HeaderName> {
    let names = [REPR_DIGEST, CONTENT_DIGEST];
    names.into_iter().find(|name| digest_in(headers, name).is_err())
}

/// The coding that the content of an answer has although none was asked for.
pub(super) fn coding(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_ENCODING)?;
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    (!text.trim().is_empty() && !text.trim().eq_ignore_ascii_case("identity")).then_some(text)
}

/// Adds bytes of a file to a hash, up to an offset (exclusive).
pub(super) fn add_from(hasher: &mut Hasher, file: &File, to: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    while hasher.length() < to {
        let room = usize::try_from(to - hasher.length()).unwrap_or(PIECE).min(PIECE);
        file.read_exact_at(&mut piece[..room], hasher.length())?;
        hasher.update(&piece[..room])?;
    }
    Ok(())
}

/// Compares digests; `whose` says where the expected one is from.
pub(super) fn compare(found: Sha256, expected: Sha256, whose: &str) -> Result<(), Report> {
    if found == expected {
        return Ok(());
    }
    Err(Report::new(Exit::Digest, "digest-mismatch", "the content is not what it should be")
        .explain(format!("its SHA-256 is {found}, but {whose} says {expected}"))
        .remedy(
            "it must not be used, and no file was made of it: find out which of the two is right",
        )
        .detail("sha256", found.to_string())
        .detail("expected", expected.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    #[test]
    fn a_field_that_cannot_be_read_is_named() {
        let mut headers = HeaderMap::new();
        assert_eq!(malformed(&headers), None);
        headers.append(&CONTENT_DIGEST, HeaderValue::from_static("sha-256=1"));
        assert_eq!(malformed(&headers), Some(CONTENT_DIGEST));
    }

    #[test]
    fn what_is_in_a_file_is_added_from_where_the_hash_is() {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let mut hasher = Hasher::new().unwrap();
        hasher.update(b"a").unwrap();
        add_from(&mut hasher, &file, 3).unwrap();
        assert!(add_from(&mut hasher.clone(), &file, 4).is_err());
        let mut whole = Hasher::new().unwrap();
        whole.update(b"abc").unwrap();
        assert_eq!(hasher.finish().unwrap(), whole.finish().unwrap());
    }
}
