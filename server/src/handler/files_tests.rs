use super::super::testing::{ask, content, field, send, text, write};
use super::*;
use crate::message::Body;
use rustix::fs::{CWD, Mode, mkfifoat};
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// `hello.txt`, `folder/` with a file, `site/` with an index, some that are not served, and a
/// secret outside.
fn tree() -> (TempDir, FileHandler) {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path().join("root");
    fs::create_dir_all(root.join("folder")).unwrap();
    fs::create_dir_all(root.join("site/inner")).unwrap();
    fs::create_dir_all(root.join("odd/index.html")).unwrap();
    fs::create_dir(root.join(".git")).unwrap();
    write(root.join("hello.txt"), "Hello, HTTPS!\n");
    write(root.join("empty"), "");
    write(root.join("folder/a b.bin"), [0; 10]);
    write(root.join("site/index.html"), "<p>index</p>");
    fs::write(root.join(".git/config"), "hidden").unwrap();
    fs::write(root.join(".sealpair-upload-0"), "unfinished").unwrap();
    fs::write(tree.path().join("secret"), "outside").unwrap();
    symlink("../secret", root.join("outside")).unwrap();
    symlink("hello.txt", root.join("inside")).unwrap();
    mkfifoat(CWD, root.join("fifo"), Mode::from_raw_mode(0o666)).unwrap();
    let handler = FileHandler::open(&root).unwrap();
    (tree, handler)
}

#[test]
fn a_file_is_sent_with_what_describes_it() {
    let (_tree, handler) = tree();
    for method in ["GET", "HEAD"] {
        let response = ask(&handler, method, "/hello.txt");
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "content-type"), "text/plain; charset=utf-8");
        assert_eq!(field(&response, "x-content-type-options"), "nosniff");
        assert!(field(&response, "etag").starts_with('"'));
        assert!(field(&response, "last-modified").ends_with(" GMT"));
        assert_eq!(response.body().length(), Some(14));
        assert!(matches!(response.body(), Body::File { offset: 0, .. }));
        assert_eq!(content(response), b"Hello, HTTPS!\n");
    }
    assert_eq!(ask(&handler, "GET", "/empty").body().length(), Some(0));
    assert_eq!(ask(&handler, "GET", "/folder/a%20b.bin").body().length(), Some(10));
    assert_eq!(text(ask(&handler, "GET", "/hello.txt?query=../")), "Hello, HTTPS!\n");
    assert_eq!(text(ask(&handler, "GET", "/inside")), "Hello, HTTPS!\n");
}

#[test]
fn what_is_not_served_is_not_found() {
    let (_tree, handler) = tree();
    for path in [
        "/absent",
        "/hello.txt/",
        "/hello.txt/more",
        "/folder/absent",
        "/outside",
        "/fifo",
        "/.git",
        "/.git/config",
        "/.git/",
        "/%2egit/config",
        "/.sealpair-upload-0",
        "//",
        "//hello.txt",
        "/folder//a%20b.bin",
        "/outside/",
    ] {
        let response = ask(&handler, "GET", path);
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(text(response), "404 nothing is here\n", "{path}");
    }
    let (_tree, handler) = tree();
    let handler = handler.dotfiles(true);
    assert_eq!(text(ask(&handler, "GET", "/.git/config")), "hidden");
    assert_eq!(ask(&handler, "GET", "/.sealpair-upload-0").status(), 404);
}

#[test]
fn paths_that_try_to_leave_are_refused() {
    let (_tree, handler) = tree();
    for path in [
        "/../secret",
        "/folder/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/.%2e/secret",
        "/folder/%2E%2E/%2E%2E/secret",
        "/hello.txt%00",
        "/%00",
        "/..",
        "/folder/..",
        "/.",
        "/%2f",
        "/%2fetc/passwd",
    ] {
        assert_eq!(ask(&handler, "GET", path).status(), 400, "{path}");
    }
    // Decoded once: these are names, and nobody has them.
    for path in ["/%252e%252e/secret", "/..%5csecret", "/%5c..%5csecret", "/%c0%ae%c0%ae/secret"] {
        assert_eq!(ask(&handler, "GET", path).status(), 404, "{path}");
    }
    let long = format!("/{}", "n".repeat(256));
    assert_eq!(ask(&handler, "GET", &long).status(), 414);
}

#[test]
fn a_folder_is_sent_on_to_its_slash() {
    let (tree, handler) = tree();
    fs::create_dir(tree.path().join("root/javascript:x")).unwrap();
    fs::create_dir(tree.path().join("root/a b?")).unwrap();
    for (path, location) in [
        ("/folder", "./folder/"),
        ("/site/inner", "./inner/"),
        ("/folder?a=b", "./folder/?a=b"),
        ("/javascript:x", "./javascript%3Ax/"),
        ("/a%20b%3f", "./a%20b%3F/"),
    ] {
        let response = ask(&handler, "GET", path);
        assert_eq!(response.status(), 308, "{path}");
        assert_eq!(field(&response, "location"), location);
    }
    // Never to another host.
    assert_eq!(ask(&handler, "GET", "//folder").status(), 404);
    assert_eq!(ask(&handler, "GET", "//example.com").status(), 404);
}

#[test]
fn an_index_stands_for_its_folder_if_it_is_a_file() {
    let (_tree, handler) = tree();
    let response = ask(&handler, "GET", "/site/");
    assert_eq!(field(&response, "content-type"), "text/html; charset=utf-8");
    assert_eq!(text(response), "<p>index</p>");
    assert!(text(ask(&handler, "GET", "/odd/")).contains("index.html/"));
    assert!(text(ask(&handler, "GET", "/")).contains("hello.txt"));
}

#[test]
fn methods_are_allowed_or_refused_with_those_that_are() {
    let (_tree, handler) = tree();
    let read_only = "GET, HEAD, OPTIONS";
    for path in ["/hello.txt", "*"] {
        let response = ask(&handler, "OPTIONS", path);
        assert_eq!(response.status(), 204);
        assert_eq!(field(&response, "allow"), read_only);
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
        let response = ask(&handler, method, "/hello.txt");
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(field(&response, "allow"), read_only);
    }
    for method in ["PROPFIND", "get", "BREW"] {
        assert_eq!(ask(&handler, method, "/hello.txt").status(), 501, "{method}");
    }
    let handler = handler.writable(true);
    let response = ask(&handler, "POST", "/hello.txt");
    assert_eq!(field(&response, "allow"), "DELETE, GET, HEAD, MKCOL, OPTIONS, PUT");
}

#[test]
fn an_error_says_neither_where_the_files_are_nor_what_was_asked() {
    let (tree, handler) = tree();
    let root = tree.path().to_str().unwrap().to_owned();
    for path in ["/absent<script>", "/..", "/.x", "//", "/fifo"] {
        let path = path.replace('<', "%3C").replace('>', "%3E");
        let response = send(&handler, "GET", &path, "", &mut io::empty(), None);
        let text = text(response);
        assert!(!text.contains(&root) && !text.contains("script"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}

#[test]
fn requests_leave_only_the_files_open_that_are_kept() {
    let (tree, handler) = tree();
    let handler = handler.writable(true);
    let long = fs::File::create(tree.path().join("long")).unwrap();
    long.set_len(1 << 20).unwrap();
    drop(long);
    // Names the descriptors that lead below this tree: other tests run at the same time.
    let open = || {
        let root = tree.path().to_path_buf();
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.starts_with(&root))
            .count()
    };
    let before = open();
    let paths = ["/hello.txt", "/", "/site/", "/folder", "/absent", "/fifo", "/outside", "/long"];
    for method in ["GET", "HEAD", "GET"] {
        for path in paths {
            drop(ask(&handler, method, path));
        }
        // The text and the index.
        assert_eq!(open(), before + 2);
    }
    for method in ["PUT", "GET", "DELETE", "GET"] {
        for path in paths {
            drop(ask(&handler, method, path));
        }
    }
    // What is kept is known not to be there any more once it is asked for.
    assert_eq!(open(), before + 1);
}
