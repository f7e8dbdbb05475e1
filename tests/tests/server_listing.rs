//! Listings: exact for every name, and of any length in little memory.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::{RawClient, Run, SealpairServer, settles};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;

const FILES: usize = 100_000;

/// What the server may have in memory at most, in KiB: less than two listings of this length had before they
/// were rendered while they are sent.
const MEMORY: u64 = 64 << 10;

fn request(method: &str, accept: &str) -> String {
    format!("{method} /all/ HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n")
}

#[test]
fn a_hundred_thousand_files_are_listed_to_many_slow_clients_in_little_memory() {
    // Names of this length take eight megabytes, and there is room for thirty-two.
    const READERS: usize = 4;
    // In memory, where making so many takes a second instead of a minute.
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    let expected: Vec<String> = (0..FILES).map(|number| format!("file-{number:065}")).collect();
    fs::create_dir(root.path().join("all")).unwrap();
    for name in &expected {
        File::create(root.path().join("all").join(name)).unwrap();
    }
    let server = SealpairServer::start(|server| server.serving(root.path()));
    let tls = RawClient::context(&server, |_| {});
    let mut clients: Vec<_> = (0..=READERS).map(|_| RawClient::over(server.tcp(), &tls)).collect();
    let mut client = clients.pop().unwrap();

    // HEAD does not read the folder, so its answer is short of a length, and of nothing else.
    let head = client.exchange(request("HEAD", "text/html"));
    assert_eq!((head.status, head.header("Content-Length")), (200, None));
    assert_eq!(head.header("Content-Type"), Some("text/html; charset=utf-8"));

    // They ask, see that it begins, and take nothing more for now.
    for slow in &mut clients {
        slow.send(request("GET", "text/html"));
        assert_eq!(slow.status(), Ok(200));
    }
    // So there is no room to sort names in for somebody else. What comes first is what the folder has first.
    client.send(request("GET", "application/json"));
    assert_eq!(client.response_to_head().header("Transfer-Encoding"), Some("chunked"));
    settles("entries come", || {
        assert_eq!(client.look(), None);
        client.unused().len() > 2000
    });
    let begin = String::from_utf8_lossy(client.unused()).into_owned();
    assert!(begin.contains("\"entries\":[{\"name\":\"file-"), "{begin}");
    assert!(!begin.contains(&format!("\"entries\":[{{\"name\":\"{}\"", expected[0])), "{begin}");
    // One of those who waited gets all of it, in order.
    let page = clients.pop().unwrap().response().text();
    let links = page.split("<tr><td><a href=\"").skip(2);
    let links: Vec<&str> = links.map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(links == expected, "not in order, or not all");
    assert!(page.ends_with("</html>\n"));
    assert!(server.peak_rss_kib() < MEMORY, "{} KiB", server.peak_rss_kib());
}

/// Names that would be something else if they were not encoded, and characters of every plane.
fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "line\nfeed",
        "return\r",
        "tab\t",
        "\"quotes'`",
        "<b>&amp;",
        "a?b=c#d",
        "%41%2f%00",
        "a+b c",
        "http:x",
        "\\..\\x",
        "-rf",
        "~",
        "*",
        "{a,b}[1-2]",
        "trailing.",
        "e\u{301}",
        "\u{202e}txt",
        "\u{7f}\u{85}",
        "\u{feff}",
    ]
    .map(|name| name.as_bytes().to_vec())
    .to_vec();
    for plane in 0..=16_u32 {
        let characters =
            [0x0101, 0x4e00, 0xfffd].map(|low| char::from_u32(plane << 16 | low).unwrap());
        names.push(characters.iter().collect::<String>().into_bytes());
    }
    for invalid in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf"] {
        names.push(invalid.to_vec());
    }
    names
}

/// Everything that curl and our client get from these links is what is in the file that is meant.
fn fetch_all(server: &SealpairServer, hrefs: &[String], expected: &[Vec<u8>]) {
    assert_eq!(hrefs.len(), expected.len());
    let out = |number: usize| server.dir().join(format!("out-{number}"));
    let mut curl = server.curl().arg("--fail");
    for (number, href) in hrefs.iter().enumerate() {
        curl = curl.arg(server.url(&format!("/{href}"))).arg("-o").arg(out(number));
    }
    curl.run().expect_success();
    for (number, name) in expected.iter().enumerate() {
        assert_eq!(&fs::read(out(number)).unwrap(), name, "{}", hrefs[number]);
        fs::remove_file(out(number)).unwrap();
    }
    for (href, name) in hrefs.iter().zip(expected) {
        let get = Run::of("sealpair").arg("get").arg("--ca").arg(server.ca());
        let got = get.arg(server.url(&format!("/{href}"))).run().expect_success();
        assert_eq!(&got.stdout, name, "{href}");
    }
}

#[test]
fn every_name_is_got_back_by_its_link() {
    let server = SealpairServer::start(|server| server);
    let mut expected = names();
    for name in &expected {
        fs::write(server.root().join(OsStr::from_bytes(name)), name).unwrap();
    }
    expected.sort_unstable();

    let json = server.curl().args(["-H", "Accept: application/json"]).arg(server.url("/"));
    let listing = json.run().expect_success().json();
    let entries = listing["entries"].as_array().unwrap();
    let from_json: Vec<String> =
        entries.iter().map(|entry| entry["href"].as_str().unwrap().to_owned()).collect();
    for (entry, name) in entries.iter().zip(&expected) {
        assert_eq!(entry["name"].as_str().unwrap(), String::from_utf8_lossy(name));
    }
    fetch_all(&server, &from_json, &expected);

    let page = server.curl_get("/").text();
    let links = page.split("<tr><td><a href=\"").skip(1);
    let from_page: Vec<&str> = links.map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(from_page, from_json);
}
