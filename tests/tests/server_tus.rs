//! Uploads by tus 1.0, with curl as the client.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::SealpairServer;
use sealpair_tests::uploads::{content, sha256, unfinished};
use std::fs;

/// What curl sends, and the head of what it gets.
#[track_caller]
fn tus(server: &SealpairServer, method: &str, path: &str, lines: &[&str], body: &[u8]) -> String {
    let file = server.dir().join("body");
    fs::write(&file, body).unwrap();
    let mut curl = server.curl().args(["-i", "-H", "Tus-Resumable: 1.0.0", "-H", "Expect:"]);
    for line in lines {
        curl = curl.args(["-H", line]);
    }
    curl = match method {
        "HEAD" => curl.arg("-I"),
        "OPTIONS" | "DELETE" => curl.args(["-X", method]),
        _ => curl.args(["-X", method, "--data-binary", &format!("@{}", file.display())]),
    };
    curl.arg(server.url(path)).run().expect_success().text()
}

#[track_caller]
fn field<'h>(head: &'h str, name: &str) -> &'h str {
    let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.unwrap_or_else(|| panic!("no {name}: {head}"))
}

#[test]
fn curl_uploads_a_file_in_parts_with_checksums() {
    let server = SealpairServer::start(|server| server.writable());
    fs::create_dir(server.root().join("folder")).unwrap();
    let whole = content(200_000, 5);
    let options = tus(&server, "OPTIONS", "/folder/", &[], b"");
    assert!(field(&options, "tus-extension").contains("checksum"), "{options}");
    assert!(field(&options, "tus-checksum-algorithm").contains("sha1"), "{options}");

    // The name is `data.bin`.
    let lines =
        ["Upload-Length: 200000", "Upload-Metadata: filename ZGF0YS5iaW4=", "Content-Type:"];
    let begun = tus(&server, "POST", "/folder/", &lines, b"");
    assert!(begun.starts_with("HTTP/1.1 201 "), "{begun}");
    let url = field(&begun, "location").to_owned();
    let (type_, at) = ("Content-Type: application/offset+octet-stream", "Upload-Offset: 0");
    let checksum = |bytes: &[u8]| {
        let digest = openssl::hash::hash(openssl::hash::MessageDigest::sha1(), bytes).unwrap();
        format!("Upload-Checksum: sha1 {}", openssl::base64::encode_block(&digest))
    };
    let lie = checksum(b"something else");
    let answer = tus(&server, "PATCH", &url, &[type_, at, &lie], &whole[..100_000]);
    assert!(answer.starts_with("HTTP/1.1 460 "), "{answer}");
    assert_eq!(field(&tus(&server, "HEAD", &url, &[], b""), "upload-offset"), "0");
    let truth = checksum(&whole[..100_000]);
    let answer = tus(&server, "PATCH", &url, &[type_, at, &truth], &whole[..100_000]);
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(field(&answer, "upload-offset"), "100000");
    let answer = tus(&server, "PATCH", &url, &[type_, "Upload-Offset: 100000"], &whole[100_000..]);
    assert_eq!(field(&answer, "upload-offset"), "200000");
    let stored = fs::read(server.root().join("folder/data.bin")).unwrap();
    assert_eq!(sha256(&stored), sha256(&whole));

    let begun = tus(&server, "POST", "/other", &["Upload-Length: 10", "Content-Type:"], b"");
    let url = field(&begun, "location").to_owned();
    assert!(tus(&server, "DELETE", &url, &[], b"").starts_with("HTTP/1.1 204 "));
    assert!(tus(&server, "HEAD", &url, &[], b"").starts_with("HTTP/1.1 404 "));
    assert!(unfinished(&server.root()).is_empty());
}
