use super::super::super::FileHandler;
use super::super::super::testing::{field, send};
use super::super::UploadLimits;
use super::*;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

fn tree() -> (TempDir, PathBuf, FileHandler) {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path().to_owned();
    fs::create_dir(root.join("folder")).unwrap();
    let handler = FileHandler::open(&root).unwrap().writable(true);
    (tree, root, handler)
}

#[track_caller]
fn ask(handler: &FileHandler, method: &str, path: &str, lines: &str, content: &str) -> Response {
    let lines: String = lines.lines().map(|line| format!("{}\r\n", line.trim())).collect();
    let lines = format!("Tus-Resumable: 1.0.0\r\n{lines}");
    let length = Some(content.len() as u64);
    let response = send(handler, method, path, &lines, &mut content.as_bytes(), length);
    assert_eq!(field(&response, "tus-resumable"), "1.0.0");
    response
}

fn append(handler: &FileHandler, url: &str, at: u64, lines: &str, content: &str) -> Response {
    let lines =
        format!("Content-Type: application/offset+octet-stream\nUpload-Offset: {at}\n{lines}");
    ask(handler, "PATCH", url, &lines, content)
}

#[test]
fn an_upload_is_begun_in_a_folder_and_completed_when_all_is_there() {
    let (_tree, root, handler) = tree();
    let lines = "Upload-Length: 6\nUpload-Metadata: filename YSBiLnR4dA==,secret";
    for path in ["/folder", "/folder/"] {
        let response = ask(&handler, "POST", path, lines, "");
        assert_eq!(response.status(), 201);
        assert_eq!(field(&response, "upload-offset"), "0");
        assert!(field(&response, "upload-expires").ends_with(" GMT"));
        let url = field(&response, "location").to_owned();
        let response = append(&handler, &url, 0, "", "abc");
        assert_eq!((response.status().as_u16(), field(&response, "upload-offset")), (204, "3"));
        assert!(field(&response, "upload-expires").ends_with(" GMT"));
        let response = ask(&handler, "HEAD", &url, "", "");
        assert_eq!((response.status().as_u16(), field(&response, "upload-offset")), (200, "3"));
        assert_eq!(field(&response, "upload-length"), "6");
        assert_eq!(field(&response, "cache-control"), "no-store");
        assert_eq!(field(&response, "upload-metadata"), "filename YSBiLnR4dA==,secret");
        assert_eq!(append(&handler, &url, 4, "", "def").status(), 409);
        assert_eq!(append(&handler, &url, 3, "", "defg").status(), 400);
        assert!(!root.join("folder/a b.txt").exists());
        let override_ = "Content-Type: application/offset+octet-stream\nUpload-Offset: 3
            X-HTTP-Method-Override: PATCH";
        let response = ask(&handler, "POST", &url, override_, "def");
        assert_eq!((response.status().as_u16(), field(&response, "upload-offset")), (204, "6"));
        assert_eq!(fs::read(root.join("folder/a b.txt")).unwrap(), b"abcdef");
        fs::remove_file(root.join("folder/a b.txt")).unwrap();
        assert_eq!(append(&handler, &url, 6, "", "").status(), 204);
        assert_eq!(append(&handler, &url, 6, "", "!").status(), 409);
    }
}

#[test]
fn content_may_come_with_the_creation_and_the_length_later() {
    let (_tree, root, handler) = tree();
    let typed = "Content-Type: application/offset+octet-stream";
    let response = ask(&handler, "POST", "/a", &format!("{typed}\nUpload-Length: 3"), "abc");
    assert_eq!((response.status().as_u16(), field(&response, "upload-offset")), (201, "3"));
    assert_eq!(fs::read(root.join("a")).unwrap(), b"abc");
    assert_eq!(ask(&handler, "POST", "/a", "Upload-Length: 3", "abc").status(), 415);
    assert_eq!(ask(&handler, "POST", "/empty", "Upload-Length: 0", "").status(), 201);
    assert_eq!(fs::read(root.join("empty")).unwrap(), b"");

    let lines = format!("{typed}\nUpload-Defer-Length: 1");
    let response = ask(&handler, "POST", "/b", &lines, "ab");
    let url = field(&response, "location").to_owned();
    let response = ask(&handler, "HEAD", &url, "", "");
    assert_eq!(field(&response, "upload-defer-length"), "1");
    assert_eq!(append(&handler, &url, 2, "Upload-Length: 3", "").status(), 204);
    assert_eq!(append(&handler, &url, 2, "Upload-Length: 4", "").status(), 400);
    assert_eq!(append(&handler, &url, 2, "", "c").status(), 204);
    assert_eq!(fs::read(root.join("b")).unwrap(), b"abc");
    for bad in [
        "",
        "Upload-Length: x",
        "Upload-Length: 1\nUpload-Defer-Length: 1",
        "Upload-Defer-Length: 2",
        "Upload-Length: 1\nUpload-Concat: partial",
    ] {
        assert_eq!(ask(&handler, "POST", "/c", bad, "").status(), 400, "{bad}");
    }
}

#[test]
fn a_checksum_that_lies_takes_the_content_away_again() {
    let (_tree, root, handler) = tree();
    let response = ask(&handler, "POST", "/a", "Upload-Length: 3", "");
    let url = field(&response, "location").to_owned();
    // SHA-1 and SHA-256 of "abc": FIPS 180-4.
    let sha1 = "Upload-Checksum: sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=";
    let sha256 = "Upload-Checksum: sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    for checksum in [sha1, sha256] {
        let response = append(&handler, &url, 0, checksum, "abd");
        assert_eq!((response.status().as_u16(), field(&response, "upload-offset")), (460, "0"));
    }
    for bad in ["crc32 AAAA", "sha1", "sha1 *", "SHA1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0="] {
        let response = append(&handler, &url, 0, &format!("Upload-Checksum: {bad}"), "abc");
        assert_eq!(response.status(), 400, "{bad}");
    }
    assert_eq!(append(&handler, &url, 0, sha1, "abc").status(), 204);
    assert_eq!(fs::read(root.join("a")).unwrap(), b"abc");
}

#[test]
fn an_upload_is_terminated() {
    let (_tree, root, handler) = tree();
    let response = ask(&handler, "POST", "/a", "Upload-Length: 3", "");
    let url = field(&response, "location").to_owned();
    assert_eq!(ask(&handler, "DELETE", &url, "", "").status(), 204);
    assert_eq!(ask(&handler, "HEAD", &url, "", "").status(), 404);
    assert_eq!(append(&handler, &url, 0, "", "abc").status(), 404);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
}

#[test]
fn names_that_are_no_names_are_refused() {
    let (_tree, root, handler) = tree();
    // `../a`, `.a`, `a/b`, `..`, a NUL, nothing; and none at all.
    for (name, status) in [
        ("filename Li4vYQ==", 400),
        ("filename LmE=", 403),
        ("filename YS9i", 400),
        ("filename Li4=", 400),
        ("filename YQBi", 400),
        ("filename ", 400),
        ("x YQ==", 400),
    ] {
        let lines = format!("Upload-Length: 1\nUpload-Metadata: {name}");
        assert_eq!(ask(&handler, "POST", "/", &lines, "").status(), status, "{name}");
    }
    let lines = "Upload-Length: 1\nUpload-Metadata: filename Zm9sZGVy";
    assert_eq!(ask(&handler, "POST", "/", lines, "").status(), 409);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
}

#[test]
fn the_version_and_the_limits_are_told() {
    let (_tree, root, _) = tree();
    let limits = UploadLimits { max_size: 10, ..UploadLimits::default() };
    let handler = FileHandler::open(root).unwrap().writable(true).upload_limits(limits);
    let old = "Tus-Resumable: 0.2.2\r\nUpload-Length: 1\r\n";
    let response = send(&handler, "POST", "/a", old, &mut b"".as_slice(), Some(0));
    assert_eq!((response.status().as_u16(), field(&response, "tus-version")), (412, "1.0.0"));
    let response = send(&handler, "OPTIONS", "/", "", &mut b"".as_slice(), Some(0));
    assert_eq!(field(&response, "tus-version"), "1.0.0");
    assert_eq!(field(&response, "tus-extension"), EXTENSIONS);
    assert_eq!(field(&response, "tus-max-size"), "10");
    assert_eq!(field(&response, "tus-checksum-algorithm"), "sha256,sha512,sha1");
    assert_eq!(ask(&handler, "POST", "/a", "Upload-Length: 11", "").status(), 413);
}
