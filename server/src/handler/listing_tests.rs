use super::super::files::FileHandler;
use super::super::testing::{ask, content, field, send, text};
use super::STYLE;
use crate::message::Body;
use rustix::fs::{CWD, Mode, mkfifoat};
use sealpair_common::digest::Hasher;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

fn served(names: &[&[u8]]) -> (TempDir, FileHandler) {
    let tree = tempfile::tempdir().unwrap();
    for name in names {
        fs::write(tree.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let handler = FileHandler::open(tree.path()).unwrap();
    (tree, handler)
}

fn json(handler: &FileHandler, path: &str) -> Value {
    let accept = "Accept: application/json\r\n";
    let response = send(handler, "GET", path, accept, &mut std::io::empty(), None);
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "content-type"), "application/json");
    assert_eq!(field(&response, "vary"), "Accept");
    serde_json::from_str(&text(response)).unwrap()
}

fn strings<'v>(listing: &'v Value, key: &str) -> Vec<&'v str> {
    let entries = listing["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry[key].as_str().unwrap()).collect()
}

#[test]
fn a_page_can_run_and_load_nothing() {
    let (_tree, handler) = served(&[b"a"]);
    let response = ask(&handler, "GET", "/");
    assert_eq!(field(&response, "content-type"), "text/html; charset=utf-8");
    assert_eq!(field(&response, "vary"), "Accept");
    let policy = field(&response, "content-security-policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
    // The style is allowed because it is this one.
    let mut hasher = Hasher::new().unwrap();
    hasher.update(STYLE.as_bytes()).unwrap();
    let digest = hasher.finish().unwrap().to_field();
    let digest = digest.trim_start_matches("sha-256=:").trim_end_matches(':');
    assert!(policy.contains(&format!("style-src 'sha256-{digest}'")), "{digest}: {policy}");
    assert_eq!(field(&response, "x-content-type-options"), "nosniff");
}

#[test]
fn names_are_text_and_links_are_links() {
    let (_tree, handler) = served(&[
        b"<script>alert(1)<",
        b"\"onmouseover='x'",
        b"&amp;",
        b"javascript:x",
        b"a b?c#d%41",
        b"line\nbreak\x1b[31m",
        b"\xff\xfe",
        "\u{202e}gpj.exe".as_bytes(),
        "Gr\u{fc}\u{df}e".as_bytes(),
    ]);
    let page = text(ask(&handler, "GET", "/"));
    for line in [
        "<a href=\"%3Cscript%3Ealert%281%29%3C\">&lt;script&gt;alert(1)&lt;</a>",
        "<a href=\"%22onmouseover%3D%27x%27\">&quot;onmouseover=&#39;x&#39;</a>",
        "<a href=\"%26amp%3B\">&amp;amp;</a>",
        "<a href=\"javascript%3Ax\">javascript:x</a>",
        "<a href=\"a%20b%3Fc%23d%2541\">a b?c#d%41</a>",
        "<a href=\"line%0Abreak%1B%5B31m\">line\\nbreak\\x1b[31m</a>",
        "<a href=\"%FF%FE\">\\xff\\xfe</a>",
        "<a href=\"%E2%80%AEgpj.exe\">\\u{202e}gpj.exe</a>",
        "<a href=\"Gr%C3%BC%C3%9Fe\">Gr\u{fc}\u{df}e</a>",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert!(!page.contains("<script"), "{page}");
}

#[test]
fn every_link_leads_to_its_file() {
    let names: Vec<[u8; 2]> =
        (1..=u8::MAX).filter(|&byte| byte != b'/').map(|byte| [b'x', byte]).collect();
    let names: Vec<&[u8]> = names.iter().map(<[u8; 2]>::as_slice).collect();
    let (_tree, handler) = served(&names);
    let listing = json(&handler, "/");
    let mut seen = 0;
    for href in strings(&listing, "href") {
        let response = ask(&handler, "GET", &format!("/{href}"));
        assert_eq!(response.status(), 200, "{href}");
        assert_eq!(content(response), names[seen], "{href}");
        seen += 1;
    }
    assert_eq!(seen, names.len());
}

#[test]
fn folders_come_first_and_only_what_is_served() {
    let (tree, handler) = served(&[b"b", b"a", b"Z", b".hidden", b".sealpair-upload-1"]);
    let path = |name: &str| tree.path().join(name);
    fs::create_dir(path("y")).unwrap();
    fs::create_dir(path("c c")).unwrap();
    fs::create_dir(path(".git")).unwrap();
    mkfifoat(CWD, path("fifo"), Mode::from_raw_mode(0o666)).unwrap();
    symlink("/etc/passwd", path("outside")).unwrap();
    symlink("absent", path("dangling")).unwrap();
    symlink("fifo", path("link-to-fifo")).unwrap();
    symlink("b", path("link")).unwrap();
    symlink("y", path("link-to-folder")).unwrap();

    let listing = json(&handler, "/");
    assert_eq!(strings(&listing, "name"), ["c c", "link-to-folder", "y", "Z", "a", "b", "link"]);
    assert_eq!(strings(&listing, "type")[1..4], ["folder", "folder", "file"]);
    assert_eq!(strings(&listing, "href")[..2], ["c%20c/", "link-to-folder/"]);
    let page = text(ask(&handler, "GET", "/"));
    for absent in ["hidden", "upload", "fifo", "outside", "dangling", ".git"] {
        assert!(!page.contains(absent), "{absent}");
    }

    let listing = json(&handler.dotfiles(true), "/");
    let names = strings(&listing, "name");
    assert!(names.contains(&".hidden") && names.contains(&".git"));
    assert!(!names.contains(&".sealpair-upload-1"), "never what is unfinished");
}

#[test]
fn the_document_has_the_fields_that_scripts_rely_on() {
    let (tree, handler) = served(&[]);
    let folder = tree.path().join("a b");
    fs::create_dir_all(folder.join("inner")).unwrap();
    let file = fs::File::create(folder.join("f")).unwrap();
    file.set_len(3000).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    file.set_modified(time).unwrap();

    let listing = json(&handler, "/a%20b/");
    assert_eq!(listing["schema"], "sealpair.listing/1");
    assert_eq!(listing["path"], "/a%20b/");
    let entry = &listing["entries"][1];
    assert_eq!(entry["name"], "f");
    assert_eq!(entry["href"], "f");
    assert_eq!(entry["type"], "file");
    assert_eq!(entry["size"], 3000);
    assert_eq!(entry["modified"], "1994-11-06T08:49:37Z");
    assert!(listing["entries"][0]["size"].is_null());

    let page = text(ask(&handler, "GET", "/a%20b/"));
    assert!(page.contains("<title>/a b/</title>"), "{page}");
    assert!(page.contains("<a href=\"../\">"), "{page}");
    assert!(page.contains("2.9 KiB</td><td>1994-11-06 08:49:37</td>"), "{page}");
    assert!(!text(ask(&handler, "GET", "/")).contains("../"), "the root has no parent");
}

#[test]
fn an_empty_folder_and_a_large_one_are_listed() {
    let (tree, handler) = served(&[]);
    assert_eq!(json(&handler, "/")["entries"].as_array().unwrap().len(), 0);
    for number in 0..3000 {
        fs::write(tree.path().join(format!("{number}")), "").unwrap();
    }
    let response = ask(&handler, "GET", "/");
    assert_eq!(response.body().length(), None, "it is rendered while it is sent");
    let page = text(response);
    assert_eq!(page.matches("<tr><td><a").count(), 3000);
    assert!(page.ends_with("</html>\n"));
    let listing = json(&handler, "/");
    let mut expected: Vec<_> = (0..3000).map(|number| number.to_string()).collect();
    expected.sort_unstable();
    assert_eq!(strings(&listing, "name"), expected);
}

#[test]
fn head_asks_for_no_names() {
    let (_tree, handler) = served(&[b"a"]);
    let (get, head) = (ask(&handler, "GET", "/"), ask(&handler, "HEAD", "/"));
    assert_eq!(head.headers(), get.headers());
    assert!(matches!(head.body(), Body::Empty));
    assert_ne!(get.body().length(), None, "a small one has a length");
}

#[test]
fn what_vanishes_before_its_turn_is_left_out() {
    let names: Vec<String> = (0..3000).map(|number| format!("{number:04}")).collect();
    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let (tree, handler) = served(&names);
    let accept = "Accept: application/json\r\n";
    let response = send(&handler, "GET", "/", accept, &mut std::io::empty(), None);
    fs::remove_file(tree.path().join("2999")).unwrap();
    let listing: Value = serde_json::from_str(&text(response)).unwrap();
    assert_eq!(strings(&listing, "name").len(), 2999);
}

#[test]
fn a_time_that_no_calendar_has_is_left_out() {
    let (tree, handler) = served(&[b"a"]);
    let file = fs::File::open(tree.path().join("a")).unwrap();
    // Not every file system keeps such a time; what it makes of it has to be listed all the same.
    let _ = file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60));
    assert_eq!(strings(&json(&handler, "/"), "name"), ["a"]);
}
