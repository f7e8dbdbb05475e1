//! Uploads to a disk that is full: a small tmpfs in a mount namespace of the server's own.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::geteuid;
use sealpair_tests::uploads::{content, sha256};
use sealpair_tests::{RawClient, SealpairServer};

const MIB: usize = 1 << 20;

/// A server whose root has room for 4 MiB.
fn small() -> SealpairServer {
    SealpairServer::start(|server| {
        let root = server.root().display().to_string();
        let mount = r#"mount -t tmpfs -o size=4m tmpfs "$1" && shift && exec "$@""#;
        // Needs no privilege where user namespaces are allowed.
        let user: &[&str] = if geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
        let server = server.through(["unshare"]).through(user);
        server.through(["--mount", "sh", "-c", mount, "sh", &root]).writable()
    })
}

#[track_caller]
fn status(client: &mut RawClient, method: &str, path: &str, content: &[u8]) -> u16 {
    client.request(method, path, "", content).status
}

/// What is served at a path.
#[track_caller]
fn served(server: &SealpairServer, path: &str) -> String {
    sha256(&RawClient::connect(server).get(path).body)
}

#[test]
fn what_cannot_fit_is_refused_before_it_is_sent() {
    let server = small();
    let mut client = RawClient::connect(&server);
    assert_eq!(status(&mut client, "PUT", "/filler", &content(2 * MIB, 1)), 201);
    let expecting = |lines: &str, length: usize| {
        format!(
            "PUT /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{lines}\
             Expect: 100-continue\r\n\r\n"
        )
    };
    for lines in ["", "Upload-Complete: ?1\r\nUpload-Draft-Interop-Version: 8\r\n"] {
        let answer = RawClient::connect(&server).exchange(expecting(lines, 3 * MIB));
        assert_eq!(answer.status, 507, "{answer:?}");
    }
    // Of what is to come, too, and of what others have been promised.
    let lines = |length: usize| format!("Upload-Complete: ?0\r\nUpload-Length: {length}\r\n");
    assert_eq!(client.request("PUT", "/a", &lines(3 * MIB), b"").status, 507);
    let promised = client.request("PUT", "/a", &lines(MIB + MIB / 2), b"");
    assert_eq!(promised.status, 201);
    assert_eq!(client.request("PUT", "/b", &lines(MIB), b"").status, 507);
    assert_eq!(status(&mut client, "PUT", "/b", &content(MIB, 1)), 507);
    let url = promised.header("Location").unwrap().to_owned();
    let mut client = RawClient::connect(&server);
    let whole = content(MIB + MIB / 2, 2);
    assert_eq!(client.append(&url, 0, true, &whole).status, 201);
    assert_eq!(served(&server, "/a"), sha256(&whole));
}

#[test]
fn a_disk_that_fills_up_in_the_middle_keeps_what_fits() {
    let server = small();
    let mut client = RawClient::connect(&server);
    assert_eq!(status(&mut client, "PUT", "/filler", &content(2 * MIB, 1)), 201);
    let whole = content(3 * MIB, 3);
    let url = client.begin_upload("/a", "");
    let answer = client.append(&url, 0, false, &whole);
    assert_eq!(answer.status, 507, "{answer:?}");
    let offset: u64 = answer.header("Upload-Offset").unwrap().parse().unwrap();
    assert!(offset > MIB as u64 && offset < 3 * MIB as u64, "{offset}");

    let mut client = RawClient::connect(&server);
    assert_eq!(client.upload_offset(&url), (offset, false));
    let rest = &whole[usize::try_from(offset).unwrap()..];
    // Still full: refused, this time before it is sent, because the length is known.
    assert_eq!(client.append(&url, offset, true, rest).status, 507);
    let mut client = RawClient::connect(&server);
    assert_eq!(client.upload_offset(&url), (offset, false));
    assert_eq!(status(&mut client, "DELETE", "/filler", b""), 204);
    assert_eq!(client.append(&url, offset, true, rest).status, 201);
    assert_eq!(served(&server, "/a"), sha256(&whole));
}

#[test]
fn a_disk_that_is_full_at_the_end_loses_nothing() {
    let server = small();
    let mut client = RawClient::connect(&server);
    assert_eq!(status(&mut client, "PUT", "/filler", &content(MIB, 1)), 201);
    let whole = content(MIB, 4);
    let url = client.begin_upload("/a", "");
    assert_eq!(client.append(&url, 0, false, &whole).status, 204);
    // Takes the rest, to the last page.
    let other = client.begin_upload("/rest", "");
    assert_eq!(client.append(&other, 0, false, &content(3 * MIB, 5)).status, 507);
    let mut client = RawClient::connect(&server);
    let answer = client.append(&url, MIB as u64, true, b"");
    // Not over: whoever is told so forgets where to go on.
    assert_eq!((answer.status, answer.header("Upload-Complete")), (507, Some("?0")), "{answer:?}");
    assert_eq!(client.upload_offset(&url), (MIB as u64, false));
    assert_eq!(status(&mut client, "DELETE", "/filler", b""), 204);
    assert_eq!(client.append(&url, MIB as u64, true, b"").status, 201);
    assert_eq!(served(&server, "/a"), sha256(&whole));
}
