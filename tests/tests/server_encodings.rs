//! Files in an encoding beside the file that they stand for, as curl sees them.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_common::digest::{Hasher, Sha256};
use sealpair_tests::{RawClient, RawResponse, Run, SealpairServer, peers};
use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, SystemTime};

fn ask(client: &mut RawClient, method: &str, more: &str) -> RawResponse {
    client.exchange(format!("{method} /page.html HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"))
}

#[test]
fn curl_gets_the_encoded_file_and_makes_the_same_of_it() {
    let page = "<p>line of a page</p>\n".repeat(5000);
    let server = SealpairServer::start(|server| server.file("page.html", &page));
    let path = server.root().join("page.html");
    // As people make them: with the time of the file itself.
    let gzip = Run::new(Command::new(peers::find("gzip", "gzip"))).args(["--keep", "-9"]);
    gzip.arg(&path).run().expect_success();
    let encoded = fs::read(server.root().join("page.html.gz")).unwrap();
    let size = encoded.len().to_string();

    let measure = |more: &[&str]| {
        let curl = server.curl().args(["-w", "%{stderr}%{size_download}"]).args(more);
        let ended = curl.arg(server.url("/page.html")).run().expect_success();
        assert!(ended.text() == page, "another content");
        ended.stderr
    };
    assert_eq!(measure(&["--compressed"]), size);
    assert_eq!(measure(&[]), page.len().to_string());
    assert_eq!(measure(&["-H", "Accept-Encoding: gzip;q=0, *;q=0"]), page.len().to_string());

    let mut client = RawClient::connect(&server);
    for method in ["GET", "HEAD"] {
        let plain = ask(&mut client, method, "");
        let gzip = ask(&mut client, method, "Accept-Encoding: gzip\r\n");
        assert_eq!(gzip.header("Content-Encoding"), Some("gzip"));
        assert_eq!(gzip.header("Content-Length"), Some(&*size));
        assert_eq!(plain.header("Content-Encoding"), None);
        for name in ["Vary", "Content-Type"] {
            assert!(plain.header(name).is_some());
            assert_eq!(plain.header(name), gzip.header(name));
        }
        assert_ne!(plain.header("ETag"), gzip.header("ETag"));
    }

    // A range and a digest are of what is selected.
    let more = "Accept-Encoding: gzip\r\nRange: bytes=2-9\r\nWant-Repr-Digest: sha-256=1\r\n";
    let part = ask(&mut client, "GET", more);
    assert_eq!((part.status, &part.body[..]), (206, &encoded[2..10]));
    let mut hasher = Hasher::new().unwrap();
    hasher.update(&encoded).unwrap();
    let digest = Sha256::in_field(part.header("Repr-Digest").unwrap()).unwrap();
    assert_eq!(digest, Some(hasher.finish().unwrap()));

    // A download that goes on with another encoding than it began with begins again.
    let tag = ask(&mut client, "GET", "").header("ETag").unwrap().to_owned();
    let more = format!("Accept-Encoding: gzip\r\nRange: bytes=100-\r\nIf-Range: {tag}\r\n");
    assert_eq!(ask(&mut client, "GET", &more).status, 200);

    // The page is written anew, and what stands beside it is of the old one.
    let new = "<p>new</p>\n".repeat(5000);
    fs::write(&path, &new).unwrap();
    let later = SystemTime::now() + Duration::from_secs(2);
    File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    let got = server.curl().arg("--compressed").arg(server.url("/page.html")).run();
    assert!(got.expect_success().text() == new, "an outdated file was sent");
}
