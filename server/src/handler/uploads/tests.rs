use super::super::FileHandler;
use super::super::path::UPLOAD_PREFIX;
use super::super::testing::{field, send, text};
use super::*;
use sealpair_common::digest::Hasher;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;
use tempfile::TempDir;

/// `root/old` with content `old`, and `root/folder/`.
pub(super) fn tree() -> (TempDir, PathBuf, FileHandler) {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path().join("root");
    fs::create_dir_all(root.join("folder")).unwrap();
    fs::write(root.join("old"), "old").unwrap();
    let handler = handler(&root);
    (tree, root, handler)
}

pub(super) fn handler(root: &std::path::Path) -> FileHandler {
    FileHandler::open(root).unwrap().writable(true)
}

pub(super) fn ask(
    handler: &FileHandler,
    method: &str,
    path: &str,
    lines: &str,
    content: &str,
) -> Response {
    let lines: String = lines.lines().map(|line| format!("{}\r\n", line.trim())).collect();
    send(handler, method, path, &lines, &mut content.as_bytes(), Some(content.len() as u64))
}

/// Begins an upload; its URL.
#[track_caller]
pub(super) fn begin(handler: &FileHandler, path: &str, lines: &str) -> String {
    let response = ask(handler, "PUT", path, &format!("Upload-Complete: ?0\n{lines}"), "");
    assert_eq!(response.status(), 201);
    assert_eq!(field(&response, "upload-offset"), "0");
    assert_eq!(field(&response, "upload-complete"), "?0");
    assert!(field(&response, "upload-limit").starts_with("max-size=10737418240, max-age="));
    field(&response, "location").to_owned()
}

pub(super) fn append(
    handler: &FileHandler,
    url: &str,
    at: u64,
    complete: bool,
    content: &str,
) -> Response {
    append_with(handler, url, at, complete, "", content)
}

pub(super) fn append_with(
    handler: &FileHandler,
    url: &str,
    at: u64,
    complete: bool,
    lines: &str,
    content: &str,
) -> Response {
    let complete = u8::from(complete);
    let lines = format!(
        "Content-Type: application/partial-upload\nUpload-Offset: {at}\nUpload-Complete: ?{complete}\n{lines}"
    );
    ask(handler, "PATCH", url, &lines, content)
}

/// How far an upload is, and whether it is complete.
#[track_caller]
pub(super) fn offset(handler: &FileHandler, url: &str) -> (u64, bool) {
    let response = ask(handler, "HEAD", url, "", "");
    assert_eq!(response.status(), 204);
    assert_eq!(field(&response, "cache-control"), "no-store");
    let complete = field(&response, "upload-complete") == "?1";
    (field(&response, "upload-offset").parse().unwrap(), complete)
}

/// The names below `root` that clients do not see.
pub(super) fn hidden(root: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if name.starts_with(UPLOAD_PREFIX) {
                found.push(name);
            }
        }
    }
    found
}

fn digest(text: &str) -> String {
    let mut hasher = Hasher::new().unwrap();
    hasher.update(text.as_bytes()).unwrap();
    hasher.finish().unwrap().to_field()
}

#[test]
fn an_upload_is_begun_gone_on_with_and_completed() {
    let (_tree, root, handler) = tree();
    let url = begin(&handler, "/folder/a%20b", "Upload-Length: 11\nWant-Repr-Digest: sha-256=1");
    assert!(url.starts_with("/folder/.sealpair-upload-"), "{url}");
    assert_eq!(hidden(&root).len(), 2);
    let response = append(&handler, &url, 0, false, "hello ");
    assert_eq!(response.status(), 204);
    assert_eq!(field(&response, "upload-offset"), "6");
    assert_eq!(offset(&handler, &url), (6, false));
    assert!(!root.join("folder/a b").exists());
    assert_eq!(ask(&handler, "GET", &url, "", "").status(), 404);

    let response = append(&handler, &url, 6, true, "world");
    assert_eq!(response.status(), 201);
    assert_eq!(field(&response, "upload-offset"), "11");
    assert_eq!(field(&response, "upload-complete"), "?1");
    assert_eq!(field(&response, "repr-digest"), digest("hello world"));
    assert_eq!(fs::read(root.join("folder/a b")).unwrap(), b"hello world");
    let served = ask(&handler, "GET", "/folder/a%20b", "", "");
    assert!(!field(&response, "etag").is_empty());
    assert_eq!(field(&served, "etag").trim_start_matches("W/"), field(&response, "etag"));

    // Who has missed the answer finds out; nothing can be added.
    assert_eq!(offset(&handler, &url), (11, true));
    let response = append(&handler, &url, 11, true, "");
    assert_eq!(response.status(), 400);
    assert!(text(response).contains("#completed-upload\""));
    let response = append(&handler, &url, 11, true, "!");
    assert!(text(response).contains("#inconsistent-upload-length\""));
    assert_eq!(ask(&handler, "DELETE", &url, "", "").status(), 204);
    assert_eq!(ask(&handler, "HEAD", &url, "", "").status(), 404);
    assert_eq!(fs::read(root.join("folder/a b")).unwrap(), b"hello world");
    assert!(hidden(&root).is_empty());
}

#[test]
fn an_upload_outlives_the_process() {
    let (_tree, root, first) = tree();
    let url = begin(&first, "/old", &format!("Repr-Digest: {}", digest("abcdef")));
    append(&first, &url, 0, false, "abc");
    drop(first);
    let second = handler(&root);
    assert_eq!(offset(&second, &url), (3, false));
    drop(second);
    let third = handler(&root);
    // The digest is checked over what an earlier process has taken.
    assert_eq!(append(&third, &url, 3, true, "def").status(), 204);
    assert_eq!(fs::read(root.join("old")).unwrap(), b"abcdef");
    drop(third);
    assert_eq!(offset(&handler(&root), &url), (6, true));
}

#[test]
fn everything_at_once_is_an_upload_only_for_who_can_be_told() {
    let (_tree, root, handler) = tree();
    let response = ask(&handler, "PUT", "/new", "Upload-Complete: ?1", "one");
    assert_eq!((response.status().as_u16(), field(&response, "upload-complete")), (201, ""));
    let lines = "Upload-Complete: ?1\nUpload-Draft-Interop-Version: 8";
    let response = ask(&handler, "PUT", "/new", lines, "two");
    assert_eq!((response.status().as_u16(), field(&response, "upload-complete")), (204, "?1"));
    assert_eq!(fs::read(root.join("new")).unwrap(), b"two");
    let response = ask(&handler, "POST", "/new", "Upload-Complete: ?1", "three");
    assert_eq!((response.status().as_u16(), field(&response, "location")), (204, "/new"));
    assert_eq!(fs::read(root.join("new")).unwrap(), b"three");
    assert_eq!(ask(&handler, "POST", "/new", "", "four").status(), 405);
}

#[test]
fn content_belongs_where_the_upload_ends_and_nowhere_else() {
    let (_tree, _root, handler) = tree();
    let url = begin(&handler, "/a", "");
    append(&handler, &url, 0, false, "abc");
    for wrong in [0, 2, 4, 999_999] {
        let response = append(&handler, &url, wrong, false, "x");
        assert_eq!(response.status(), 409);
        assert_eq!(field(&response, "upload-offset"), "3");
        let text = text(response);
        assert!(text.contains("#mismatching-upload-offset\""), "{text}");
        assert!(text.contains("\"expected-offset\":3"), "{text}");
        assert!(text.contains(&format!("\"provided-offset\":{wrong}")), "{text}");
    }
    let plain = "Upload-Offset: 3\nUpload-Complete: ?0";
    assert_eq!(ask(&handler, "PATCH", &url, plain, "x").status(), 415);
    let partial = "Content-Type: application/partial-upload";
    let without_offset = format!("{partial}\nUpload-Complete: ?0");
    assert_eq!(ask(&handler, "PATCH", &url, &without_offset, "x").status(), 400);
    let without_complete = format!("{partial}\nUpload-Offset: 3");
    assert_eq!(ask(&handler, "PATCH", &url, &without_complete, "x").status(), 400);
    assert_eq!(offset(&handler, &url), (3, false));
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    let (_tree, root, handler) = tree();
    let lines = "Upload-Complete: ?1\nUpload-Length: 4\nUpload-Draft-Interop-Version: 8";
    assert_eq!(ask(&handler, "PUT", "/a", lines, "abc").status(), 400);
    let lines = "Upload-Complete: ?0\nUpload-Length: 2";
    assert_eq!(ask(&handler, "PUT", "/a", lines, "abc").status(), 400);
    assert!(hidden(&root).is_empty());

    let url = begin(&handler, "/a", "Upload-Length: 4");
    for (complete, lines, content) in [
        (true, "", "abc"),
        (true, "", "abcde"),
        (false, "", "abcde"),
        (false, "Upload-Length: 5", "abc"),
    ] {
        let response = append_with(&handler, &url, 0, complete, lines, content);
        assert_eq!(response.status(), 400);
        assert!(text(response).contains("#inconsistent-upload-length\""));
        assert_eq!(offset(&handler, &url), (0, false));
    }
    // Told late, it counts from then on.
    let url = begin(&handler, "/b", "");
    assert_eq!(append_with(&handler, &url, 0, false, "Upload-Length: 4", "ab").status(), 204);
    let response = ask(&handler, "HEAD", &url, "", "");
    assert_eq!(field(&response, "upload-length"), "4");
    assert_eq!(append(&handler, &url, 2, true, "c").status(), 400);
    assert_eq!(append(&handler, &url, 2, true, "cd").status(), 201);
}

#[test]
fn content_that_is_encoded_is_not_appended() {
    let (_tree, _root, handler) = tree();
    let url = begin(&handler, "/a", "");
    let response = append_with(&handler, &url, 0, false, "Content-Encoding: gzip", "abc");
    assert_eq!(response.status(), 415);
    let tus =
        "Tus-Resumable: 1.0.0\nContent-Type: application/offset+octet-stream\nUpload-Offset: 0";
    let response = ask(&handler, "PATCH", &url, &format!("{tus}\nContent-Encoding: gzip"), "abc");
    assert_eq!(response.status(), 415);
    assert_eq!(offset(&handler, &url), (0, false));
}

#[test]
fn content_of_unknown_length_that_is_too_long_ends_the_upload() {
    let (_tree, root, handler) = tree();
    let url = begin(&handler, "/a", "Upload-Length: 4");
    let lines =
        "Content-Type: application/partial-upload\r\nUpload-Offset: 0\r\nUpload-Complete: ?0\r\n";
    let response = send(&handler, "PATCH", &url, lines, &mut b"abcde".as_slice(), None);
    assert_eq!(response.status(), 400);
    assert_eq!(ask(&handler, "HEAD", &url, "", "").status(), 404);
    assert!(hidden(&root).is_empty());
}

#[test]
fn the_digest_of_an_upload_goes_to_the_index() {
    let (_tree, root, _) = tree();
    let state = tempfile::tempdir().unwrap();
    // In whatever order it is set up.
    let early = handler(&root).digests_in(state.path()).upload_limits(UploadLimits::default());
    let late = handler(&root).upload_limits(UploadLimits::default()).digests_in(state.path());
    for (handler, lines) in [(early, 1), (late, 2)] {
        let url = begin(&handler, "/new", "");
        assert!(append(&handler, &url, 0, true, "content").status().is_success());
        let index = fs::read_to_string(state.path().join("digests")).unwrap_or_default();
        assert_eq!(index.lines().filter(|line| !line.starts_with('#')).count(), lines, "{index}");
    }
}

#[test]
fn a_digest_that_lies_stores_nothing() {
    let (_tree, root, handler) = tree();
    let put = |lines: &str| ask(&handler, "PUT", "/old", lines, "new");
    for name in ["Content-Digest", "Repr-Digest"] {
        let response = put(&format!("{name}: {}", digest("other")));
        assert_eq!(response.status(), 400);
        assert_eq!(field(&response, "content-type"), "application/problem+json");
        let text = text(response);
        assert!(text.contains("#digest-mismatching-values\""), "{text}");
        assert!(text.contains(name), "{text}");
        assert!(!text.contains(digest("new").trim_start_matches("sha-256=")), "{text}");
        assert_eq!(put(&format!("{name}: sha-256=:AAAA:")).status(), 400);
        assert_eq!(put(&format!("{name}: sha-256")).status(), 400);
        assert_eq!(fs::read(root.join("old")).unwrap(), b"old");
        assert!(hidden(&root).is_empty());
        assert_eq!(put(&format!("{name}: md5=:AAAA:")).status(), 204);
        assert_eq!(put(&format!("{name}: {}", digest("new"))).status(), 204);
        fs::write(root.join("old"), "old").unwrap();
    }

    // Of the whole: told at the beginning or at the end.
    for (first, last) in [(digest("abx"), String::new()), (String::new(), digest("abx"))] {
        let line = |digest: &str| match digest {
            "" => String::new(),
            digest => format!("Repr-Digest: {digest}"),
        };
        let url = begin(&handler, "/old", &line(&first));
        append(&handler, &url, 0, false, "ab");
        let response = append_with(&handler, &url, 2, true, &line(&last), "c");
        assert_eq!((response.status().as_u16(), field(&response, "upload-complete")), (400, "?1"));
        assert_eq!(ask(&handler, "HEAD", &url, "", "").status(), 404);
        assert_eq!(fs::read(root.join("old")).unwrap(), b"old");
        assert!(hidden(&root).is_empty());
    }

    // Of one request: what it has brought is taken away again.
    let url = begin(&handler, "/old", &format!("Repr-Digest: {}", digest("abc")));
    append(&handler, &url, 0, false, "ab");
    let lie = format!("Content-Digest: {}", digest("c"));
    let response = append_with(&handler, &url, 2, true, &lie, "x");
    assert_eq!((response.status().as_u16(), field(&response, "upload-offset")), (400, "2"));
    assert_eq!(offset(&handler, &url), (2, false));
    assert_eq!(append_with(&handler, &url, 2, true, &lie, "c").status(), 204);
    assert_eq!(fs::read(root.join("old")).unwrap(), b"abc");
}

#[test]
fn content_that_is_taken_back_has_nothing_read_again() {
    let (_tree, root, handler) = tree();
    let url = begin(&handler, "/a", "");
    assert_eq!(append(&handler, &url, 0, false, "abc").status(), 204);
    // Whoever reads it again gets another digest.
    fs::write(root.join(&url[1..]), "xyz").unwrap();
    let lie = format!("Content-Digest: {}", digest("f"));
    assert_eq!(append_with(&handler, &url, 3, false, &lie, "d").status(), 400);
    let whole = format!("Repr-Digest: {}", digest("abcd"));
    assert_eq!(append_with(&handler, &url, 3, true, &whole, "d").status(), 201);
}

#[test]
fn what_is_reserved_stays_so_when_content_is_taken_back() {
    let (_tree, root, handler) = tree();
    let url = begin(&handler, "/a", "Upload-Length: 1000000");
    let reserved = || fs::metadata(root.join(&url[1..])).unwrap().blocks();
    let before = reserved();
    let lie = format!("Content-Digest: {}", digest("b"));
    assert_eq!(append_with(&handler, &url, 0, false, &lie, "a").status(), 400);
    // Nothing, where the file system cannot reserve.
    assert_eq!(reserved(), before);
}

#[test]
fn an_append_of_nothing_promises_no_more_time() {
    let (_tree, root, handler) = tree();
    let url = begin(&handler, "/a", "");
    let data = fs::File::options().write(true).open(root.join(&url[1..])).unwrap();
    data.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let left = |response: &Response| -> u64 {
        field(response, "upload-limit").rsplit_once('=').unwrap().1.parse().unwrap()
    };
    assert!(left(&append(&handler, &url, 0, false, "")) < 23 * 3600);
    assert!(left(&append(&handler, &url, 0, false, "a")) > 23 * 3600);
    assert!(left(&ask(&handler, "HEAD", &url, "", "")) > 23 * 3600);
}

#[test]
fn preconditions_hold_at_the_beginning_and_at_the_end() {
    let (_tree, root, handler) = tree();
    let create = |path: &str, lines: &str| {
        ask(&handler, "PUT", path, &format!("Upload-Complete: ?0\n{lines}"), "")
    };
    assert_eq!(create("/old", "If-None-Match: *").status(), 412);
    assert_eq!(create("/old", "If-Match: \"x\"").status(), 412);
    let url = field(&create("/new", "If-None-Match: *"), "location").to_owned();
    fs::write(root.join("new"), "theirs").unwrap();
    let response = append(&handler, &url, 0, true, "ours");
    assert_eq!((response.status().as_u16(), field(&response, "upload-complete")), (412, "?1"));
    assert_eq!(fs::read(root.join("new")).unwrap(), b"theirs");
    assert_eq!(ask(&handler, "HEAD", &url, "", "").status(), 404);
    assert!(hidden(&root).is_empty());
}

#[test]
fn what_cannot_be_a_file_begins_no_upload() {
    let (_tree, root, handler) = tree();
    for (path, lines, status) in [
        ("/folder", "", 409),
        ("/folder/", "", 409),
        ("/none/a", "", 409),
        ("/.hidden", "", 403),
        ("/.sealpair-upload-1", "", 403),
        ("/a/../b", "", 400),
        ("/a", "Content-Encoding: gzip", 415),
        ("/a", "Content-Range: bytes 0-1/2", 400),
        ("/a", "Repr-Digest: x=", 400),
    ] {
        let response = ask(&handler, "PUT", path, &format!("Upload-Complete: ?0\n{lines}"), "");
        assert_eq!(response.status(), status, "{path} {lines}");
    }
    assert!(hidden(&root).is_empty());
}

#[test]
fn nobody_sees_uploads_where_nothing_may_be_written() {
    let (_tree, root, handler) = tree();
    let url = begin(&handler, "/a", "");
    let reading = FileHandler::open(&root).unwrap();
    for method in ["HEAD", "GET"] {
        assert_eq!(ask(&reading, method, &url, "", "").status(), 404);
    }
    for method in ["PATCH", "DELETE", "PUT", "POST"] {
        assert_eq!(ask(&reading, method, &url, "Upload-Complete: ?0", "").status(), 405);
    }
    let response = ask(&reading, "OPTIONS", "/a", "", "");
    assert_eq!(field(&response, "accept-patch"), "");
    let response = ask(&handler, "OPTIONS", "/a", "", "");
    assert_eq!(field(&response, "accept-patch"), "application/partial-upload");
    assert_eq!(field(&response, "upload-limit"), "max-size=10737418240, max-age=86400");
    // Their files are no files to anybody.
    let record = format!("{url}.json");
    for method in ["GET", "HEAD"] {
        assert_eq!(ask(&handler, method, &record, "", "").status(), 404);
    }
    for method in ["PUT", "DELETE"] {
        assert_eq!(ask(&handler, method, &record, "", "").status(), 403);
    }
}

/// Yields some bytes, then fails.
struct Failing(&'static [u8]);

impl Read for Failing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => Err(crate::message::BodyError::Stalled.into()),
            count => Ok(count),
        }
    }
}

#[test]
fn an_upload_that_is_cut_keeps_what_has_come() {
    let (_tree, root, handler) = tree();
    let url = begin(&handler, "/a", "");
    let lines =
        "Content-Type: application/partial-upload\r\nUpload-Offset: 0\r\nUpload-Complete: ?1\r\n";
    let response = send(&handler, "PATCH", &url, lines, &mut Failing(b"abc"), Some(6));
    assert_eq!((response.status().as_u16(), field(&response, "upload-offset")), (408, "3"));
    assert_eq!(field(&response, "upload-complete"), "?0");
    assert_eq!(append(&handler, &url, 3, true, "def").status(), 201);
    assert_eq!(fs::read(root.join("a")).unwrap(), b"abcdef");

    // The first request as well: its answer tells where to go on.
    let lines = "Upload-Complete: ?1\r\nUpload-Draft-Interop-Version: 8\r\n";
    let response = send(&handler, "PUT", "/b", lines, &mut Failing(b"abc"), Some(6));
    assert_eq!((response.status().as_u16(), field(&response, "upload-offset")), (408, "3"));
    let url = field(&response, "location").to_owned();
    assert_eq!(append(&handler, &url, 3, true, "def").status(), 201);
    assert_eq!(fs::read(root.join("b")).unwrap(), b"abcdef");
}

#[test]
fn after_a_loss_of_power_only_what_was_acknowledged_is_believed() {
    let (_tree, root, first) = tree();
    let url = begin(&first, "/a", "");
    append(&first, &url, 0, false, "abc");
    drop(first);
    let (data, record) = (root.join(&url[1..]), root.join(format!("{}.json", &url[1..])));
    // What was written and not synced is there by its length alone.
    let lose_power = |content: &str| {
        fs::write(&data, content).unwrap();
        let text = fs::read_to_string(&record).unwrap();
        let boot = text.split("\"boot\":\"").nth(1).unwrap().split('"').next().unwrap();
        fs::write(&record, text.replace(boot, "another")).unwrap();
    };
    lose_power("abc\0\0\0");
    let second = handler(&root);
    assert_eq!(offset(&second, &url), (3, false));
    // From now on, in this life of the machine, all that is there counts.
    fs::write(&data, "abcdef").unwrap();
    assert_eq!(offset(&second, &url), (6, false));
    lose_power("abcdef\0");
    assert_eq!(append(&handler(&root), &url, 6, true, "ghi").status(), 201);
    assert_eq!(fs::read(root.join("a")).unwrap(), b"abcdefghi");

    // Less than was acknowledged: there is no going on.
    let url = begin(&second, "/b", "");
    append(&second, &url, 0, false, "abc");
    fs::write(root.join(&url[1..]), "ab").unwrap();
    assert_eq!(ask(&second, "HEAD", &url, "", "").status(), 404);
    assert!(!root.join(&url[1..]).exists());
}
