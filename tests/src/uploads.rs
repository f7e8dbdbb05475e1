//! What a client of resumable uploads says, written by hand.

use crate::raw::{RawClient, RawResponse};
use openssl::hash::{MessageDigest, hash};
use std::fs;
use std::path::Path;

/// Bytes that look like nothing, different for each seed.
pub fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        // The generator of L'Ecuyer (1999), table 4: 64 bits.
        state = state.wrapping_mul(3_202_034_522_624_059_733).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = hash(MessageDigest::sha256(), bytes).unwrap();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value of a digest field (RFC 9530).
pub fn digest_field(bytes: &[u8]) -> String {
    let digest = hash(MessageDigest::sha256(), bytes).unwrap();
    format!("sha-256=:{}:", openssl::base64::encode_block(&digest))
}

/// The names in a folder that belong to uploads.
pub fn unfinished(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(".sealpair-upload-")).collect();
    names.sort_unstable();
    names
}

/// The head of a request with content; `lines` end in CRLF each.
pub fn head(method: &str, path: &str, lines: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{lines}\r\n"
    )
}

/// The lines of an append.
pub fn append_lines(at: u64, complete: bool) -> String {
    let complete = u8::from(complete);
    format!(
        "Content-Type: application/partial-upload\r\nUpload-Offset: {at}\r\n\
         Upload-Complete: ?{complete}\r\n"
    )
}

impl RawClient {
    /// Sends a request with content and reads its response, behind any interim ones.
    #[track_caller]
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        lines: &str,
        content: &[u8],
    ) -> RawResponse {
        let head = head(method, path, lines, content.len());
        // The server may refuse, and close, while the content is sent; its answer is there to be read.
        let _ = self.try_send([head.as_bytes(), content].concat());
        loop {
            let response = match method {
                "HEAD" => self.response_to_head(),
                _ => self.response(),
            };
            if !(100..200).contains(&response.status) {
                return response;
            }
        }
    }

    /// Begins an upload without content; its path.
    #[track_caller]
    pub fn begin_upload(&mut self, path: &str, lines: &str) -> String {
        let lines = format!("Upload-Complete: ?0\r\nUpload-Draft-Interop-Version: 8\r\n{lines}");
        let response = self.request("PUT", path, &lines, b"");
        assert_eq!(response.status, 201, "{response:?}");
        response.header("Location").unwrap().to_owned()
    }

    /// Appends content to an upload.
    #[track_caller]
    pub fn append(&mut self, url: &str, at: u64, complete: bool, content: &[u8]) -> RawResponse {
        self.request("PATCH", url, &append_lines(at, complete), content)
    }

    /// How far an upload is, and whether it is complete.
    #[track_caller]
    pub fn upload_offset(&mut self, url: &str) -> (u64, bool) {
        let response = self.request("HEAD", url, "", b"");
        assert_eq!(response.status, 204, "{response:?}");
        let offset = response.header("Upload-Offset").unwrap().parse().unwrap();
        (offset, response.header("Upload-Complete") == Some("?1"))
    }
}
