//! Several parts of a file in one response (RFC 9110 section 14.6).

use crate::message::{Body, FilePart};
use crate::open_file::OpenFile;
use ::http::header::HeaderValue;
use sealpair_common::random;
use std::ops::Range;
use std::sync::Arc;

/// The value of `Content-Range` for a part of a file of `length` bytes (RFC 9110 section 14.4).
pub(super) fn content_range(part: &Range<u64>, length: u64) -> String {
    // A part has one byte at least.
    format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1))
}

/// The value of `Content-Type`, and the content, for parts of a file.
pub(super) fn body(
    file: Arc<OpenFile>,
    parts: &[Range<u64>],
    content_type: Option<&HeaderValue>,
) -> Option<(HeaderValue, Body)> {
    // One that the content does not hold: nobody could foresee it when the file was written, and 128 random bits do
    // not come up by chance.
    let boundary = random::digits::<16>().ok()?;
    let length = file.length();
    let parts = parts.iter().enumerate().map(|(at, part)| {
        let mut head = Vec::new();
        // No line break before the first (RFC 2046 section 5.1.1): it would be a preamble.
        if at > 0 {
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        if let Some(content_type) = content_type {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(content_type.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let range = content_range(part, length);
        head.extend_from_slice(format!("Content-Range: {range}\r\n\r\n").as_bytes());
        FilePart { head, offset: part.start, length: part.end.saturating_sub(part.start) }
    });
    let parts = parts.collect();
    let end = format!("\r\n--{boundary}--\r\n").into_bytes();
    let content_type = format!("multipart/byteranges; boundary={boundary}");
    let content_type = HeaderValue::from_str(&content_type).ok()?;
    Some((content_type, Body::FileParts { file, parts, end }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    #[test]
    fn parts_stand_as_the_rfc_says_and_the_length_is_exact() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let file = Arc::new(OpenFile::new(file).unwrap());
        let text = HeaderValue::from_static("text/plain");
        let (content_type, body) = body(file, &[0..2, 7..8], Some(&text)).unwrap();
        let content_type = content_type.to_str().unwrap();
        let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
        assert_eq!(boundary.len(), 32);
        let length = body.length();
        let response = crate::Response::text("").with_body(body);
        let expected = format!(
            "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n\
             --{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-7/10\r\n\r\n7\r\n\
             --{boundary}--\r\n"
        );
        assert_eq!(length, Some(expected.len() as u64));
        assert_eq!(super::super::testing::text(response), expected);
    }

    #[test]
    fn no_two_boundaries_are_the_same() {
        let empty = || Arc::new(OpenFile::new(File::open("/dev/null").unwrap()).unwrap());
        let types = [(); 2].map(|()| body(empty(), &[0..1, 2..3], None).unwrap().0);
        assert_ne!(types[0], types[1]);
    }
}
