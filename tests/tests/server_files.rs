//! Files over HTTPS, as curl and a client that writes its requests by hand see them.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_tests::{End, RawClient, RawResponse, SealpairServer, settles};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The names in a folder, hidden ones included.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn writable() -> SealpairServer {
    SealpairServer::start(|server| server.writable())
}

#[test]
fn curl_gets_a_file_with_its_type_length_time_and_tag() {
    let server = SealpairServer::start(|server| {
        server.file("page.html", "<p>hello</p>\n").file("data.unknown", [0, 1, 2, 255])
    });
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let page = File::options().append(true).open(server.root().join("page.html")).unwrap();
    page.set_modified(time).unwrap();

    let answer = server.curl_get("/page.html");
    assert_eq!(answer.stdout, b"<p>hello</p>\n");
    assert_eq!(server.curl_get("/data.unknown").stdout, [0, 1, 2, 255]);

    let mut client = RawClient::connect(&server);
    let page = client.get("/page.html");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("Content-Length"), Some("13"));
    assert_eq!(page.header("Last-Modified"), Some("Sun, 09 Sep 2001 01:46:40 GMT"));
    assert_eq!(page.header("X-Content-Type-Options"), Some("nosniff"));
    assert!(page.header("Date").is_some());
    let data = client.get("/data.unknown");
    assert_eq!(data.header("Content-Type"), Some("application/octet-stream"));
}

#[test]
fn head_says_what_get_would_say_without_the_content() {
    let server = SealpairServer::start(|server| server.file("a.txt", "content"));
    let mut client = RawClient::connect(&server);
    let get = client.get("/a.txt");
    let head = client.exchange("HEAD /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let fields = |response: &RawResponse| {
        response.head.lines().filter(|line| !line.starts_with("Date:")).collect::<String>()
    };
    assert_eq!(fields(&head), fields(&get));
    // Nothing stands between the two responses.
    assert_eq!(client.get("/a.txt").text(), "content");
    let curl = server.curl().arg("--head").arg(server.url("/a.txt")).run().expect_success();
    assert!(curl.text().contains("Content-Length: 7\r\n"), "{curl}");
}

#[test]
fn the_tag_is_strong_and_changes_with_the_file() {
    let server = SealpairServer::start(|server| server.file("a", "one"));
    let mut client = RawClient::connect(&server);
    let mut tag = || client.get("/a").header("ETag").unwrap().to_owned();
    let first = tag();
    assert!(first.starts_with('"') && first.ends_with('"') && first.len() > 2, "{first}");
    assert_eq!(tag(), first);
    let path = server.root().join("a");
    // The same size, and the same time of modification.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    settles("the tag differs", || {
        fs::write(&path, "two").unwrap();
        File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
        tag() != first
    });
}

#[test]
fn files_of_every_size_around_a_record_arrive_whole() {
    let sizes = [0, 1, 14 << 10, (14 << 10) + 1, 16 << 10, 64 << 10, (64 << 10) + 1, 1_000_003];
    let content = |size: usize| (0..size).map(|at| (at * 7 + at / 251) as u8).collect::<Vec<_>>();
    let server = SealpairServer::start(|server| {
        sizes.iter().fold(server, |server, size| server.file(&size.to_string(), content(*size)))
    });
    let mut client = RawClient::connect(&server);
    for size in sizes {
        let response = client.get(&format!("/{size}"));
        assert_eq!(response.status, 200);
        assert!(response.body == content(size), "{size} bytes");
    }
}

#[test]
fn a_folder_is_listed_as_a_page_or_as_json() {
    let server = SealpairServer::start(|server| {
        server.file("b <&\">.txt", "12345").file("folder/inner", "").file("a", "")
    });
    let page = server.curl_get("/").text();
    assert!(page.contains("b &lt;&amp;"), "{page}");
    assert!(page.contains("href=\"./b%20%3C%26%22%3E.txt\"") || page.contains("b%20%3C%26%22%3E"));
    assert!(!page.contains("b <&"), "{page}");

    let json = server.curl().args(["-H", "Accept: application/json"]).arg(server.url("/")).run();
    let json = json.expect_success().json();
    assert_eq!(json["schema"], "sealpair.listing/1");
    let entries = json["entries"].as_array().unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["folder", "a", "b <&\">.txt"]);
    assert_eq!(entries[0]["type"], "folder");
    assert_eq!(entries[2]["size"], 5);
    // Every link leads to its file.
    let url = server.url(&format!("/{}", entries[2]["href"].as_str().unwrap()));
    let file = server.curl().arg(url).run().expect_success();
    assert_eq!(file.text(), "12345");

    assert_eq!(server.curl_status("/folder", &[]), 308);
    let followed = server.curl().arg("--location").arg(server.url("/folder")).run();
    assert!(followed.expect_success().text().contains("inner"));
    let index = server.root().join("folder/index.html");
    fs::write(index, "the index").unwrap();
    // Also when it is kept open.
    for _ in 0..2 {
        assert_eq!(server.curl_get("/folder/").text(), "the index");
        let json = server.curl().args(["-H", "Accept: application/json", "-D", "-"]);
        let json = json.arg(server.url("/folder/")).run().expect_success().text();
        assert!(json.contains("\"index.html\"") && json.contains("\"inner\""), "{json}");
        assert!(json.to_lowercase().contains("vary: accept"), "{json}");
    }
    let head = server.curl().arg("--head").arg(server.url("/folder/")).run().expect_success();
    assert!(head.text().contains("vary: Accept, Accept-Encoding"), "{}", head.text());
}

#[test]
fn dotfiles_are_neither_listed_nor_served_unless_asked_for() {
    let fill = |server: sealpair_tests::ServerBuilder| {
        server.file(".hidden", "secret").file(".git/config", "secret").file("shown", "")
    };
    let server = SealpairServer::start(|server| fill(server).writable());
    for path in ["/.hidden", "/.git/", "/.git/config", "/%2ehidden"] {
        assert_eq!(server.curl_status(path, &[]), 404, "{path}");
    }
    let listing = server.curl_get("/").text();
    assert!(listing.contains("shown") && !listing.contains("hidden") && !listing.contains("git"));
    assert_eq!(server.curl_status("/.new", &["-X", "PUT", "-d", "x"]), 403);
    assert_eq!(server.curl_status("/.hidden", &["-X", "DELETE"]), 403);
    assert_eq!(names(&server.root()), [".git", ".hidden", "shown"]);

    let server = SealpairServer::start(|server| fill(server).arg("--dotfiles"));
    assert_eq!(server.curl_get("/.hidden").text(), "secret");
    assert_eq!(server.curl_get("/.git/config").text(), "secret");
    assert!(server.curl_get("/").text().contains(".hidden"));
}

#[test]
fn curl_uploads_a_new_file_and_replaces_an_old_one() {
    let server = writable();
    let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let local = server.dir().join("local");
    fs::write(&local, &content).unwrap();
    let local = local.to_str().unwrap();
    assert_eq!(server.curl_status("/up.bin", &["-T", local]), 201);
    assert!(fs::read(server.root().join("up.bin")).unwrap() == content);
    assert_eq!(server.curl_status("/up.bin", &["-T", local]), 204);

    let put = |input: &str| {
        let run = server.curl().args(["--write-out", "%{http_code}", "-T", "-"]);
        run.arg(server.url("/up.bin")).input(input).run().expect_success().text()
    };
    assert_eq!(put("from a pipe, so chunked"), "204");
    assert_eq!(fs::read(server.root().join("up.bin")).unwrap(), b"from a pipe, so chunked");
    assert_eq!(put(""), "204");
    assert_eq!(fs::read(server.root().join("up.bin")).unwrap(), b"");
    assert_eq!(names(&server.root()), ["up.bin"]);
}

#[test]
fn the_tag_of_an_upload_is_the_tag_of_the_file() {
    let server = writable();
    let mut client = RawClient::connect(&server);
    let put = client.exchange("PUT /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab");
    assert_eq!((put.status, put.header("Content-Length")), (201, Some("0")));
    assert_eq!(put.header("ETag").unwrap(), client.get("/a").header("ETag").unwrap());
}

#[test]
fn a_client_that_is_killed_leaves_the_old_file_and_nothing_else() {
    let server = SealpairServer::start(|server| server.writable().file("file", "old"));
    let big = server.dir().join("big");
    fs::write(&big, vec![b'n'; 8_000_000]).unwrap();
    for chunked in [true, false] {
        let curl = server.curl().args(["--limit-rate", "1M", "-T"]);
        let curl = if chunked { curl.arg("-").input_held() } else { curl.arg(&big) };
        let mut curl = curl.arg(server.url("/file")).start();
        if chunked {
            curl.send(vec![b'n'; 600_000]);
        }
        settles("the upload has begun", || {
            let temporary = names(&server.root()).into_iter().find(|name| name.starts_with('.'));
            let length = |name| fs::metadata(server.root().join(name)).map_or(0, |file| file.len());
            temporary.map_or(0, length) > 0
        });
        assert_eq!(server.curl_get("/file").text(), "old");
        curl.signal(Signal::KILL);
        assert_eq!(curl.wait().signal(), Some(9));
        settles("the unfinished upload is removed", || names(&server.root()) == ["file"]);
        assert_eq!(fs::read(server.root().join("file")).unwrap(), b"old");
    }
}

#[test]
fn an_upload_that_ends_early_with_close_notify_stores_nothing() {
    let server = writable();
    for body in [
        "Content-Length: 10\r\n\r\nshort",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
    ] {
        let mut client = RawClient::connect(&server);
        client.send(format!("PUT /file HTTP/1.1\r\nHost: localhost\r\n{body}"));
        client.close();
        settles("nothing is stored", || names(&server.root()).is_empty());
    }
}

#[test]
fn a_condition_that_does_not_hold_keeps_the_file_as_it_is() {
    let server = SealpairServer::start(|server| server.writable().file("file", "old"));
    let mut client = RawClient::connect(&server);
    let tag = client.get("/file").header("ETag").unwrap().to_owned();
    let mut ask = |method: &str, path: &str, condition: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n");
        client.exchange(format!("{head}{condition}\r\n\r\n")).status
    };
    for (method, condition) in [
        ("PUT", "If-None-Match: *"),
        ("PUT", "If-Match: \"another\""),
        ("DELETE", "If-Match: \"another\""),
        ("PUT", "If-Unmodified-Since: Sun, 09 Sep 2001 01:46:40 GMT"),
    ] {
        assert_eq!(ask(method, "/file", condition), 412, "{method} {condition}");
    }
    assert_eq!(ask("PUT", "/none", "If-Match: *"), 412);
    assert_eq!(fs::read(server.root().join("file")).unwrap(), b"old");
    assert_eq!(names(&server.root()), ["file"]);
    assert_eq!(ask("PUT", "/file", &format!("If-Match: {tag}")), 204);
    assert_eq!(ask("PUT", "/new", "If-None-Match: *"), 201);
}

#[test]
fn delete_removes_a_file_once() {
    let server =
        SealpairServer::start(|server| server.writable().file("file", "").file("folder/inner", ""));
    assert_eq!(server.curl_status("/file", &["-X", "DELETE"]), 204);
    assert_eq!(server.curl_status("/file", &["-X", "DELETE"]), 404);
    assert_eq!(server.curl_status("/folder/", &["-X", "DELETE"]), 409);
    assert_eq!(names(&server.root()), ["folder"]);
}

#[test]
fn a_server_that_is_not_writable_says_405_and_what_it_allows() {
    let server = SealpairServer::start(|server| server.file("file", "old"));
    let mut client = RawClient::connect(&server);
    for method in ["PUT", "DELETE", "POST", "PATCH", "TRACE"] {
        let response = client.exchange(format!(
            "{method} /file HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nnew"
        ));
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.header("Allow"), Some("GET, HEAD, OPTIONS"));
    }
    let options = client.exchange("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((options.status, options.header("Allow")), (204, Some("GET, HEAD, OPTIONS")));
    assert_eq!(fs::read(server.root().join("file")).unwrap(), b"old");
}

#[test]
fn too_much_is_refused_before_the_client_sends_it() {
    let server = SealpairServer::start(|server| server.writable().args(["--max-body", "1KiB"]));
    let mut client = RawClient::connect(&server);
    let response = client.exchange(
        "PUT /file HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1025\r\n\
         Expect: 100-continue\r\n\r\n",
    );
    assert_eq!((response.status, response.header("Connection")), (413, Some("close")));
    assert_eq!(client.end(), End::CloseNotify);

    // A client that sends all the same can read the answer.
    let big = server.dir().join("big");
    File::create(&big).unwrap().set_len(8 << 20).unwrap();
    let big = big.to_str().unwrap();
    assert_eq!(server.curl_status("/file", &["-H", "Expect:", "-T", big]), 413);
    assert_eq!(server.curl_status("/file", &["-T", big]), 413);
    // Where no length is declared, the limit shows only as the content comes.
    let mut client = RawClient::connect(&server);
    client.send("PUT /file HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("400\r\n{}\r\n1\r\n", "x".repeat(1024)));
    assert_eq!(client.response().status, 413);
    assert_eq!(client.end(), End::CloseNotify);
    assert!(names(&server.root()).is_empty());
    let exactly = format!(
        "PUT /file HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1024\r\n\r\n{}",
        "x".repeat(1024)
    );
    assert_eq!(RawClient::connect(&server).exchange(exactly).status, 201);
}

#[test]
fn a_client_that_waits_is_told_to_continue() {
    let server = writable();
    let mut client = RawClient::connect(&server);
    for (name, status) in [("a", 201), ("a", 204)] {
        let head = format!("PUT /{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n");
        let interim = client.exchange(format!("{head}Expect: 100-continue\r\n\r\n"));
        assert_eq!(interim.head, "HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(client.exchange("body").status, status);
    }
    // A refusal comes instead of it, and the client sends nothing in vain.
    let head = "PUT /no/such/folder HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n";
    let response = client.exchange(format!("{head}Expect: 100-continue\r\n\r\n"));
    assert_eq!((response.status, response.header("Connection")), (409, Some("close")));
    assert_eq!(client.end(), End::CloseNotify);
}

#[test]
fn one_connection_carries_many_requests_and_pipelined_ones() {
    let server = SealpairServer::start(|server| server.writable().file("a", "A").file("b", "B"));
    let mut client = RawClient::connect(&server);
    for _ in 0..3 {
        assert_eq!(client.get("/a").text(), "A");
    }
    let pipelined = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n\
                     PUT /c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nC\
                     PUT /d HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                     1\r\nD\r\n0\r\n\r\n\
                     HEAD /b HTTP/1.1\r\nHost: localhost\r\n\r\n\
                     GET /c HTTP/1.1\r\nHost: localhost\r\n\r\n\
                     GET /d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n\
                     GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.send(pipelined);
    assert_eq!(client.response().text(), "A");
    assert_eq!(client.response().status, 201);
    assert_eq!(client.response().status, 201);
    assert_eq!(client.response_to_head().header("Content-Length"), Some("1"));
    assert_eq!(client.response().text(), "C");
    let last = client.response();
    assert_eq!((last.text().as_str(), last.header("Connection")), ("D", Some("close")));
    assert_eq!(client.end(), End::CloseNotify);
    assert!(!server.log().contains("/never"), "{}", server.log());
}

#[test]
fn pipelining_may_be_cut_anywhere() {
    let server = SealpairServer::start(|server| server.file("a", "A"));
    let mut client = RawClient::connect(&server);
    let request = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3);
    for piece in [1, 7, 41] {
        for bytes in request.as_bytes().chunks(piece) {
            client.send(bytes);
        }
        for _ in 0..3 {
            assert_eq!(client.response().text(), "A");
        }
    }
}

#[test]
fn curl_keeps_its_connection() {
    let server = SealpairServer::start(|server| server.file("a", "A"));
    let urls = vec![server.url("/a"); 5];
    let curl = server.curl().arg("--verbose").args(urls).run().expect_success();
    assert_eq!(curl.text(), "AAAAA");
    assert_eq!(curl.stderr.matches("Re-using existing connection").count(), 4, "{curl}");
}

#[test]
fn an_http_1_0_client_gets_one_response_and_the_end() {
    let server = SealpairServer::start(|server| server.file("a", "A"));
    let mut client = RawClient::connect(&server);
    let response = client.exchange("GET /a HTTP/1.0\r\n\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, "A"));
    assert_eq!(client.end(), End::CloseNotify);
    let curl = server.curl().arg("--http1.0").arg(server.url("/")).run().expect_success();
    assert!(curl.text().contains("href"), "{curl}");
}

#[test]
fn many_clients_upload_and_download_at_once() {
    let server = writable();
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let server = &server;
            scope.spawn(move || {
                let content = vec![number; 300_000 + usize::from(number)];
                let mut client = RawClient::connect(server);
                for _ in 0..5 {
                    client.send(format!(
                        "PUT /{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                        content.len()
                    ));
                    client.send(&content);
                    assert!(matches!(client.response().status, 201 | 204));
                    assert!(client.get(&format!("/{number}")).body == content);
                }
            });
        }
    });
    assert_eq!(names(&server.root()).len(), 8);
}
