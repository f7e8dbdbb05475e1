//! Uploads whose digests are told, rightly and wrongly (RFC 9530).

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::uploads::{content, digest_field, sha256, unfinished};
use sealpair_tests::{RawClient, SealpairServer};
use std::fs;

#[test]
fn a_digest_that_lies_leaves_the_old_file_and_nothing_else() {
    let server = SealpairServer::start(|server| server.writable().file("file", "old"));
    let whole = content(700_000, 6);
    let (truth, lie) = (digest_field(&whole), digest_field(b"something else"));
    let mut client = RawClient::connect(&server);
    for name in ["Content-Digest", "Repr-Digest"] {
        let answer = client.request("PUT", "/file", &format!("{name}: {lie}\r\n"), &whole);
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
        assert!(answer.text().contains("#digest-mismatching-values"), "{}", answer.text());
        assert_eq!(fs::read(server.root().join("file")).unwrap(), b"old");
        assert!(unfinished(&server.root()).is_empty());
    }

    let lines = format!(
        "Content-Digest: {truth}\r\nRepr-Digest: {truth}\r\nWant-Repr-Digest: sha-256=5\r\n"
    );
    let answer = client.request("PUT", "/file", &lines, &whole);
    assert_eq!((answer.status, answer.header("Repr-Digest")), (204, Some(&*truth)));
    assert_eq!(sha256(&fs::read(server.root().join("file")).unwrap()), sha256(&whole));

    // In parts: the part that lies can be sent again, the whole that lies cannot.
    let url = client.begin_upload("/file", &format!("Repr-Digest: {truth}\r\n"));
    client.append(&url, 0, false, &whole[..300_000]);
    let part = |digest: &str| {
        format!(
            "{}Content-Digest: {digest}\r\n",
            sealpair_tests::uploads::append_lines(300_000, true)
        )
    };
    let answer = client.request("PATCH", &url, &part(&lie), &whole[300_000..]);
    assert_eq!((answer.status, answer.header("Upload-Offset")), (400, Some("300000")));
    let answer =
        client.request("PATCH", &url, &part(&digest_field(&whole[300_000..])), &whole[300_000..]);
    assert_eq!(answer.status, 204);
    assert_eq!(sha256(&fs::read(server.root().join("file")).unwrap()), sha256(&whole));

    let url = client.begin_upload("/file", &format!("Repr-Digest: {truth}\r\n"));
    client.append(&url, 0, false, &whole[..300_000]);
    let answer = client.append(&url, 300_000, true, &vec![0; 400_000]);
    assert_eq!((answer.status, answer.header("Upload-Complete")), (400, Some("?1")));
    assert_eq!(client.request("HEAD", &url, "", b"").status, 404);
    assert_eq!(sha256(&fs::read(server.root().join("file")).unwrap()), sha256(&whole));
}
