//! Uploads that are interrupted and gone on with, as draft-ietf-httpbis-resumable-upload has them.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::ssl::SslFiletype;
use rustix::process::Signal;
use sealpair_tests::uploads::{append_lines, content, head, sha256, unfinished};
use sealpair_tests::{Credentials, Pki, RawClient, SealpairServer, settles};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

fn writable() -> SealpairServer {
    SealpairServer::start(|server| server.writable())
}

/// A server that goes on where another one was killed.
fn successor(mut server: SealpairServer) -> (SealpairServer, SealpairServer) {
    server.signal(Signal::KILL);
    server.wait();
    let next = SealpairServer::start(|next| next.writable().serving(server.root()));
    (server, next)
}

#[track_caller]
fn is_there(server: &SealpairServer, name: &str, content: &[u8]) {
    let stored = fs::read(server.root().join(name)).unwrap();
    assert_eq!(sha256(&stored), sha256(content));
    assert_eq!(sha256(&server.curl_get(&format!("/{name}")).stdout), sha256(content));
}

#[test]
fn curl_uploads_a_file_in_parts() {
    let server = writable();
    let whole = content(300_000, 1);
    let parts = [&whole[..100_000], &whole[100_000..]].map(<[u8]>::to_vec);
    let [first, second] = ["first", "second"].map(|name| server.dir().join(name));
    fs::write(&first, &parts[0]).unwrap();
    fs::write(&second, &parts[1]).unwrap();
    let from = |path: &Path| format!("@{}", path.display());

    let options = server.curl().args(["-i", "-X", "OPTIONS", &server.url("/file")]).run().text();
    let options = options.to_lowercase();
    assert!(options.contains("accept-patch: application/partial-upload"), "{options}");
    assert!(options.contains("upload-limit: max-size=10737418240, max-age=86400"), "{options}");

    let begun = server
        .curl()
        .args(["-i", "-X", "PUT", "-H", "Upload-Complete: ?0", "-H", "Upload-Length: 300000"])
        .args(["-H", "Upload-Draft-Interop-Version: 8", "-H", "Expect:", "--data-binary"])
        .args([&from(&first), &server.url("/file")])
        .run()
        .expect_success()
        .text();
    let (early, answer) = begun.split_once("HTTP/1.1 201 Created\r\n").unwrap();
    assert!(early.starts_with("HTTP/1.1 104 Upload Resumption Supported\r\n"), "{begun}");
    let location = |head: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix("location: "));
        line.map(str::to_owned).unwrap_or_else(|| panic!("{begun}"))
    };
    let url = location(answer);
    assert_eq!(location(early), url);

    let head = server.curl().args(["-I", &server.url(&url)]).run().text();
    assert!(head.contains("upload-offset: 100000\r\n"), "{head}");
    assert!(head.contains("upload-length: 300000\r\n"), "{head}");
    assert!(head.contains("upload-complete: ?0\r\n"), "{head}");
    assert!(head.contains("cache-control: no-store\r\n"), "{head}");
    let status = server.curl_status(
        &url,
        &[
            "-X",
            "PATCH",
            "-H",
            "Content-Type: application/partial-upload",
            "-H",
            "Upload-Offset: 100000",
            "-H",
            "Upload-Complete: ?1",
            "--data-binary",
            &from(&second),
        ],
    );
    assert_eq!(status, 201);
    is_there(&server, "file", &whole);
}

#[test]
fn where_to_go_on_is_told_before_the_content_is_sent() {
    let server = writable();
    let whole = content(50_000, 2);
    for (version, age) in [("8", "max-age="), ("6", "expires=")] {
        let mut client = RawClient::connect(&server);
        let lines = format!(
            "Upload-Complete: ?1\r\nUpload-Draft-Interop-Version: {version}\r\n\
             Expect: 100-continue\r\n"
        );
        client.send(head("PUT", "/file", &lines, whole.len()));
        let early = client.response();
        assert_eq!(early.status, 104);
        assert_eq!(early.header("Upload-Draft-Interop-Version"), Some(version));
        assert!(early.header("Upload-Limit").unwrap().contains(age), "{early:?}");
        assert_eq!(early.header("Date"), None);
        let url = early.header("Location").unwrap().to_owned();
        assert_eq!(client.response().status, 100);
        client.send(&whole[..20_000]);
        client.reset();

        let mut client = RawClient::connect(&server);
        // What the kernel had not handed over when the connection was lost has to be sent again.
        let (offset, complete) = client.upload_offset(&url);
        assert!(offset <= 20_000 && !complete, "{offset}");
        let rest = &whole[usize::try_from(offset).unwrap()..];
        let answer = client.append(&url, offset, true, rest);
        assert!(matches!(answer.status, 201 | 204), "{answer:?}");
        assert_eq!(answer.header("Upload-Complete"), Some("?1"));
        is_there(&server, "file", &whole);
        assert_eq!(client.upload_offset(&url), (50_000, true));
    }
}

#[test]
fn a_client_of_version_6_ends_an_upload_with_the_length_that_it_declared() {
    let server = writable();
    let whole = content(9_000, 7);
    for (version, status, complete) in [(6, 201, true), (8, 204, false)] {
        let mut client = RawClient::connect(&server);
        let name = format!("of-{version}");
        let url = client.begin_upload(&format!("/{name}"), "Upload-Length: 9000\r\n");
        let said = format!("Upload-Draft-Interop-Version: {version}\r\n");
        let first =
            client.request("PATCH", &url, &(append_lines(0, false) + &said), &whole[..4_000]);
        assert_eq!((first.status, first.header("Upload-Complete")), (204, Some("?0")));
        // tus-js-client says so of the last chunk of a stream, too.
        let lines = append_lines(4_000, false) + &said;
        assert_eq!(client.request("PATCH", &url, &lines, &whole[4_000..]).status, status);
        assert_eq!(client.upload_offset(&url), (9_000, complete));
        match complete {
            true => is_there(&server, &name, &whole),
            false => assert!(!server.root().join(&name).exists()),
        }
    }
}

#[test]
fn whoever_cannot_be_told_early_is_not() {
    let server = writable();
    let mut client = RawClient::connect(&server);
    for lines in ["Upload-Complete: ?0\r\n", "Upload-Complete: ?1\r\n"] {
        for version in
            ["", "Upload-Draft-Interop-Version: 5\r\n", "Upload-Draft-Interop-Version: 9\r\n"]
        {
            client.send(head("PUT", "/a", &format!("{lines}{version}"), 3) + "abc");
            assert!(matches!(client.response().status, 201 | 204));
        }
    }
    // HTTP/1.0 knows no interim responses (RFC 9110 section 15.2).
    client.send(
        "PUT /a HTTP/1.0\r\nHost: localhost\r\nContent-Length: 3\r\nUpload-Complete: ?0\r\n\
         Upload-Draft-Interop-Version: 8\r\n\r\nabc",
    );
    assert_eq!(client.response().status, 201);
}

#[test]
fn an_upload_goes_on_after_the_server_was_killed() {
    let server = writable();
    let whole = content(3_000_000, 3);
    let url = RawClient::connect(&server).begin_upload("/file", "");
    let mut client = RawClient::connect(&server);
    client.append(&url, 0, false, &whole[..1_000_000]);
    // In the middle of a request: so far as it came.
    client.send(head("PATCH", &url, &append_lines(1_000_000, true), 2_000_000));
    client.send(&whole[1_000_000..2_000_000]);
    settles("something of it is there", || {
        let data = server.root().join(&url[1..]);
        fs::metadata(data).unwrap().len() > 1_000_000
    });
    let (_killed, server) = successor(server);
    let mut client = RawClient::connect(&server);
    let (offset, complete) = client.upload_offset(&url);
    assert!((1_000_001..=2_000_000).contains(&offset) && !complete, "{offset}");
    assert!(!server.root().join("file").exists());
    let rest = &whole[usize::try_from(offset).unwrap()..];
    assert_eq!(client.append(&url, offset, true, rest).status, 201);
    is_there(&server, "file", &whole);
    let (_killed, server) = successor(server);
    assert_eq!(RawClient::connect(&server).upload_offset(&url), (3_000_000, true));
}

#[test]
fn a_newer_request_ends_one_that_waits_for_a_client_that_has_gone() {
    // Nothing else would end it.
    let server = SealpairServer::start(|server| {
        server.writable().args(["--min-rate", "0", "--idle-timeout", "1h"])
    });
    let whole = content(100_000, 4);
    let mut client = RawClient::connect(&server);
    let url = client.begin_upload("/file", "");
    for ask in ["HEAD", "PATCH"] {
        let (before, _) = client.upload_offset(&url);
        let from = usize::try_from(before).unwrap();
        let mut gone = RawClient::connect(&server);
        let lines = append_lines(before, true) + "Expect: 100-continue\r\n";
        gone.send(head("PATCH", &url, &lines, 100_000 - from));
        // Now it is its turn, and it waits.
        assert_eq!(gone.response().status, 100);
        gone.send(&whole[from..from + 10_000]);
        let (offset, _) = match ask {
            "HEAD" => client.upload_offset(&url),
            _ => {
                let answer = client.append(&url, 99_999, false, b"x");
                assert_eq!(answer.status, 409);
                (answer.header("Upload-Offset").unwrap().parse().unwrap(), false)
            }
        };
        assert!(offset >= before && offset <= before + 10_000, "{before} {offset}");
        // Its connection is ended, one way or the other.
        gone.rest();
    }
    let (offset, _) = client.upload_offset(&url);
    let rest = &whole[usize::try_from(offset).unwrap()..];
    assert_eq!(client.append(&url, offset, true, rest).status, 201);
    is_there(&server, "file", &whole);
}

#[test]
fn content_that_stalls_is_kept() {
    let server =
        SealpairServer::start(|server| server.writable().args(["--idle-timeout", "500ms"]));
    let mut client = RawClient::connect(&server);
    let url = client.begin_upload("/file", "");
    client.send(head("PATCH", &url, &append_lines(0, true), 6));
    client.send("abc");
    let answer = client.response();
    assert_eq!((answer.status, answer.header("Upload-Offset")), (408, Some("3")));
    assert!(answer.text().contains("what has come is kept"), "{answer:?}");
    let mut client = RawClient::connect(&server);
    assert_eq!(client.append(&url, 3, true, b"def").status, 201);
    is_there(&server, "file", b"abcdef");
}

#[test]
fn an_upload_is_its_creators() {
    let pki = Pki::new();
    let server = SealpairServer::start(|server| {
        server.writable().identity(&pki.server()).client_auth("optional", &pki.ca())
    });
    let as_client = |credentials: Option<&Credentials>| {
        RawClient::connect_with(&server, |tls| {
            if let Some(credentials) = credentials {
                tls.set_certificate_chain_file(&credentials.cert).unwrap();
                tls.set_private_key_file(&credentials.key, SslFiletype::PEM).unwrap();
            }
        })
    };
    let (alice, bob) = (pki.client("alice"), pki.client("bob"));
    let url = as_client(Some(&alice)).begin_upload("/file", "");
    for other in [Some(&bob), None] {
        let mut other = as_client(other);
        assert_eq!(other.request("HEAD", &url, "", b"").status, 404);
        assert_eq!(other.append(&url, 0, true, b"theirs").status, 404);
        assert_eq!(other.request("DELETE", &url, "", b"").status, 404);
        let tus = "Tus-Resumable: 1.0.0\r\n";
        assert_eq!(other.request("HEAD", &url, tus, b"").status, 404);
    }
    let mut alice = as_client(Some(&alice));
    assert_eq!(alice.upload_offset(&url), (0, false));
    assert_eq!(alice.append(&url, 0, true, b"hers").status, 201);
    assert_eq!(fs::read(server.root().join("file")).unwrap(), b"hers");
}

#[test]
fn uploads_expire() {
    let server = SealpairServer::start(|server| server.writable().args(["--upload-expiry", "1s"]));
    let mut client = RawClient::connect(&server);
    let url = client.begin_upload("/file", "");
    assert_eq!(unfinished(&server.root()).len(), 2);
    settles("it is swept", || unfinished(&server.root()).is_empty());
    assert_eq!(client.request("HEAD", &url, "", b"").status, 404);
}

#[test]
fn two_servers_on_one_tree_do_not_mix() {
    let first = writable();
    let second = SealpairServer::start(|server| server.writable().serving(first.root()));
    let mut client = RawClient::connect(&first);
    let url = client.begin_upload("/file", "");
    client.send(head("PATCH", &url, &append_lines(0, false), 6));
    client.send("abc");
    let mut other = RawClient::connect(&second);
    settles("the first works on it", || other.request("HEAD", &url, "", b"").status == 409);
    assert_eq!(other.append(&url, 0, false, b"x").status, 409);
    assert_eq!(other.request("DELETE", &url, "", b"").status, 409);
    client.send("def");
    assert_eq!(client.response().status, 204);
    assert_eq!(other.upload_offset(&url), (6, false));
    assert_eq!(other.append(&url, 6, true, b"ghi").status, 201);
    assert_eq!(client.upload_offset(&url), (9, true));
    is_there(&first, "file", b"abcdefghi");
}

#[test]
fn what_a_killed_server_has_left_is_swept_when_the_next_one_starts() {
    let server = writable();
    let mut client = RawClient::connect(&server);
    client.send(head("PUT", "/file", "", 100) + "abc");
    settles("the upload has begun", || unfinished(&server.root()).len() == 1);
    let (killed, next) = successor(server);
    let [name] = &unfinished(&next.root())[..] else { panic!("nothing is left") };
    let left = next.root().join(name);
    let hours_ago = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    File::options().append(true).open(&left).unwrap().set_modified(hours_ago).unwrap();
    let (_killed, _next) = successor(next);
    settles("it is swept", || !left.exists());
    drop(killed);
}
