use super::super::files::FileHandler;
use super::super::path::UPLOAD_PREFIX;
use super::super::place::umask;
use super::super::testing::{ask, content, field, send, text};
use super::*;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::io::Errno;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::PathBuf;
use tempfile::TempDir;

/// `root/old` with content `old`, and `root/folder/`; a secret outside.
fn tree() -> (TempDir, PathBuf, FileHandler) {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path().join("root");
    fs::create_dir_all(root.join("folder")).unwrap();
    fs::write(root.join("old"), "old").unwrap();
    fs::write(tree.path().join("secret"), "outside").unwrap();
    let handler = FileHandler::open(&root).unwrap().writable(true);
    (tree, root, handler)
}

fn put_text(handler: &FileHandler, path: &str, text: &str) -> Response {
    let length = Some(text.len() as u64);
    send(handler, "PUT", path, "", &mut text.as_bytes(), length)
}

#[track_caller]
fn refused(handler: &FileHandler, path: &str, status: u16, reason: &str) {
    let response = put_text(handler, path, "new");
    assert_eq!(response.status(), status, "{path}");
    let text = text(response);
    assert!(text.contains(reason), "{path}: {text}");
}

/// No unfinished upload is left below `root`.
#[track_caller]
fn nothing_left(root: &Path) {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(!name.starts_with(UPLOAD_PREFIX), "{name}");
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

/// Yields some bytes, then fails.
struct Failing(usize, Option<BodyError>);

impl Read for Failing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.0.min(buf.len()).min(1000);
        if count == 0 {
            return Err(match self.1 {
                Some(error) => error.into(),
                None => ErrorKind::ConnectionReset.into(),
            });
        }
        buf[..count].fill(b'x');
        self.0 -= count;
        Ok(count)
    }
}

/// A body that must not be read.
struct Unread;

impl Read for Unread {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("the content was read");
    }
}

#[test]
fn a_new_file_is_created_and_an_old_one_replaced() {
    let (_tree, root, handler) = tree();
    let response = put_text(&handler, "/folder/new%20one.txt", "new");
    assert_eq!(response.status(), 201);
    assert_eq!(fs::read(root.join("folder/new one.txt")).unwrap(), b"new");
    let got = ask(&handler, "GET", "/folder/new%20one.txt");
    assert_eq!(field(&response, "etag"), field(&got, "etag"));
    assert!(!field(&response, "etag").is_empty());

    let response = put_text(&handler, "/old", "newer");
    assert_eq!(response.status(), 204);
    assert_eq!(fs::read(root.join("old")).unwrap(), b"newer");
    let got = ask(&handler, "GET", "/old");
    assert_eq!(field(&response, "etag"), field(&got, "etag"));

    assert_eq!(put_text(&handler, "/empty", "").status(), 201);
    assert_eq!(content(ask(&handler, "GET", "/empty")), b"");
    nothing_left(&root);
}

#[test]
fn content_of_every_size_and_of_unknown_length_arrives_whole() {
    let (_tree, root, handler) = tree();
    for size in [1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 7] {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        for length in [Some(size as u64), None] {
            let response = send(&handler, "PUT", "/f", "", &mut bytes.as_slice(), length);
            assert!(response.status().is_success());
            assert!(fs::read(root.join("f")).unwrap() == bytes, "{size}");
        }
    }
}

#[test]
fn a_body_that_fails_leaves_everything_as_it_was() {
    let (_tree, root, handler) = tree();
    for (error, status) in [
        (Some(BodyError::Stalled), 408),
        (Some(BodyError::Malformed("x")), 400),
        (Some(BodyError::TooLarge { limit: 1 }), 413),
        (Some(BodyError::Truncated), 400),
        (None, 400),
    ] {
        for size in [0, 10, BUFFER + 10] {
            for path in ["/old", "/absent"] {
                let mut body = Failing(size, error);
                let response = send(&handler, "PUT", path, "", &mut body, None);
                assert_eq!(response.status(), status);
                assert!(text(response).contains("nothing was stored"));
            }
            assert_eq!(fs::read(root.join("old")).unwrap(), b"old");
            assert!(!root.join("absent").exists());
            nothing_left(&root);
        }
    }
}

#[test]
fn a_body_that_ends_early_without_an_error_is_not_stored() {
    let (_tree, root, handler) = tree();
    let response = send(&handler, "PUT", "/old", "", &mut &b"ne"[..], Some(3));
    assert_eq!(response.status(), 400);
    assert_eq!(fs::read(root.join("old")).unwrap(), b"old");
    nothing_left(&root);
}

#[test]
fn a_panic_while_the_body_is_read_leaves_nothing() {
    let (_tree, root, handler) = tree();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        send(&handler, "PUT", "/old", "", &mut Unread, None)
    }));
    assert!(panicked.is_err());
    assert_eq!(fs::read(root.join("old")).unwrap(), b"old");
    nothing_left(&root);
}

#[test]
fn while_content_arrives_the_old_file_is_served() {
    struct Watching<'w>(&'w Path, bool);
    impl Read for Watching<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            assert_eq!(fs::read(self.0.join("old")).unwrap(), b"old");
            if std::mem::replace(&mut self.1, true) {
                return Ok(0);
            }
            buf[..3].copy_from_slice(b"new");
            Ok(3)
        }
    }
    let (_tree, root, handler) = tree();
    let mut body = Watching(&root, false);
    assert_eq!(send(&handler, "PUT", "/old", "", &mut body, None).status(), 204);
    assert_eq!(fs::read(root.join("old")).unwrap(), b"new");
}

#[test]
fn the_mode_is_that_of_the_old_file_or_the_usual_one() {
    let (_tree, root, handler) = tree();
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
    for (old, new) in [(0o600, 0o600), (0o755, 0o755), (0o4711, 0o711)] {
        fs::set_permissions(root.join("old"), fs::Permissions::from_mode(old)).unwrap();
        put_text(&handler, "/old", "new");
        assert_eq!(mode("old"), new);
    }
    // As any program's new file.
    fs::write(root.join("usual"), "").unwrap();
    put_text(&handler, "/new", "new");
    assert_eq!(mode("new"), mode("usual"));
}

#[test]
fn what_cannot_be_a_file_is_refused_before_the_content_is_read() {
    let (_tree, root, handler) = tree();
    symlink("old", root.join("link")).unwrap();
    symlink("../secret", root.join("outside")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    mkfifoat(CWD, root.join("fifo"), Mode::from_raw_mode(0o666)).unwrap();
    let long = format!("/{}", "n".repeat(256));
    for (path, status) in [
        ("/", 409),
        ("/folder", 409),
        ("/folder/", 409),
        ("/absent/", 409),
        ("/absent/file", 409),
        ("/old/file", 409),
        ("/link", 409),
        ("/outside", 409),
        ("/parent/secret", 409),
        ("/fifo", 409),
        ("/.hidden", 403),
        ("/.hidden/file", 403),
        ("/.sealpair-upload-1", 403),
        ("/../secret", 400),
        ("/%2e%2e/secret", 400),
        ("/a%2fb", 400),
        ("/a%00", 400),
        ("//a", 400),
        (long.as_str(), 414),
    ] {
        let response = send(&handler, "PUT", path, "", &mut Unread, Some(3));
        assert_eq!(response.status(), status, "{path}");
    }
    refused(&handler, "/absent/file", 409, "folder of this file does not exist");
    refused(&handler, "/folder", 409, "a folder has this name");
    refused(&handler, "/link", 409, "symbolic link");
    assert_eq!(fs::read(root.join("old")).unwrap(), b"old");
    assert_eq!(fs::read(root.join("../secret")).unwrap(), b"outside");
    assert!(!root.join("absent").exists());
    nothing_left(&root);
}

#[test]
fn fields_that_make_the_content_something_else_are_refused() {
    let (_tree, root, handler) = tree();
    for (line, status) in
        [("Content-Range: bytes 0-2/10\r\n", 400), ("Content-Encoding: gzip\r\n", 415)]
    {
        let response = send(&handler, "PUT", "/old", line, &mut Unread, Some(3));
        assert_eq!(response.status(), status, "{line}");
    }
    assert_eq!(fs::read(root.join("old")).unwrap(), b"old");
}

#[test]
fn content_that_cannot_fit_is_refused_before_it_is_read() {
    let (_tree, root, handler) = tree();
    let response = send(&handler, "PUT", "/new", "", &mut Unread, Some(1 << 60));
    assert_eq!(response.status(), 507);
    nothing_left(&root);
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    // A file system of its own would take a privilege, so this stands in for it: the mapping from
    // the error, and the guard that the other tests show.
    for (kind, status) in [
        (ErrorKind::StorageFull, 507),
        (ErrorKind::QuotaExceeded, 507),
        (ErrorKind::PermissionDenied, 403),
        (ErrorKind::ReadOnlyFilesystem, 403),
        (ErrorKind::FileTooLarge, 413),
        (ErrorKind::InvalidFilename, 414),
        (ErrorKind::IsADirectory, 409),
        (ErrorKind::Other, 500),
    ] {
        assert_eq!(write_failed(kind.into()).status, status, "{kind}");
    }
    let busy = io::Error::from(Errno::MFILE);
    assert_eq!(write_failed(busy).status, 503);
}

#[test]
fn a_folder_that_is_not_writable_is_told() {
    // This file system takes no new files from anybody, the administrator included, whom permission
    // bits would not stop.
    let handler = FileHandler::open("/sys").unwrap().writable(true);
    refused(&handler, "/kernel/new", 403, "may not write");

    if rustix::process::geteuid().is_root() {
        return; // Root may write everywhere, so the rest would show nothing.
    }
    let (_tree, root, handler) = tree();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o555)).unwrap();
    refused(&handler, "/new", 403, "may not write");
    assert_eq!(ask(&handler, "DELETE", "/old").status(), 403);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn two_uploads_of_one_name_leave_one_whole_file() {
    let (_tree, root, handler) = tree();
    std::thread::scope(|scope| {
        for letter in [b'a', b'b', b'c', b'd'] {
            let handler = &handler;
            scope.spawn(move || {
                for _ in 0..10 {
                    let bytes = vec![letter; 100_000];
                    let response = send(handler, "PUT", "/f", "", &mut &bytes[..], None);
                    assert!(response.status().is_success());
                }
            });
        }
    });
    let bytes = fs::read(root.join("f")).unwrap();
    assert_eq!(bytes.len(), 100_000);
    assert!(bytes.iter().all(|&byte| byte == bytes[0]));
    nothing_left(&root);
}

#[test]
fn what_somebody_changes_as_soon_as_it_has_its_name_is_not_taken_for_the_upload() {
    let (_tree, root, handler) = tree();
    for round in 0..20 {
        let path = root.join(round.to_string());
        let response = std::thread::scope(|scope| {
            scope.spawn(|| {
                // As a script does that waits for new files.
                let file = loop {
                    if let Ok(file) = fs::File::options().write(true).open(&path) {
                        break file;
                    }
                };
                file.write_all_at(b"other", 0).unwrap();
                // Until the times of content and name differ, as they do for an upload.
                loop {
                    file.set_permissions(PermissionsExt::from_mode(0o640)).unwrap();
                    let Identity { modified, changed, .. } =
                        Identity::of(&file.metadata().unwrap());
                    if changed > modified {
                        break;
                    }
                }
            });
            put_text(&handler, &format!("/{round}"), "first")
        });
        assert_eq!(response.status(), 201);
        let lines = "Want-Repr-Digest: sha-256=1\r\n";
        let served = send(&handler, "GET", &format!("/{round}"), lines, &mut io::empty(), Some(0));
        let mut hasher = Hasher::new().unwrap();
        hasher.update(b"other").unwrap();
        assert_eq!(field(&served, "repr-digest"), hasher.finish().unwrap().to_field(), "{round}");
        let (stored, now) = (response.headers().get(ETAG), served.headers().get(ETAG));
        assert_ne!(stored, now, "a client must not take this for what it has sent");
        assert_eq!(content(served), b"other");
    }
}

#[test]
fn of_two_servers_that_are_to_make_one_new_file_one_does() {
    let (_tree, root, one) = tree();
    // They share no lock, as two processes do not.
    let other = FileHandler::open(&root).unwrap().writable(true);
    let start = std::sync::Barrier::new(2);
    for round in 0..50 {
        let put = |handler: &FileHandler| {
            start.wait();
            let (path, lines) = (format!("/{round}"), "If-None-Match: *\r\n");
            send(handler, "PUT", &path, lines, &mut b"x".as_slice(), Some(1)).status().as_u16()
        };
        let mut answers = std::thread::scope(|scope| {
            let first = scope.spawn(|| put(&one));
            [put(&other), first.join().unwrap()]
        });
        answers.sort_unstable();
        assert_eq!(answers, [201, 412], "{round}");
    }
    nothing_left(&root);
}

#[test]
fn other_names_of_a_replaced_file_keep_the_old_content() {
    let (_tree, root, handler) = tree();
    fs::hard_link(root.join("old"), root.join("other")).unwrap();
    assert_eq!(put_text(&handler, "/old", "new").status(), 204);
    assert_eq!(fs::read(root.join("other")).unwrap(), b"old");
}

#[test]
fn a_file_is_deleted_and_nothing_else() {
    let (_tree, root, handler) = tree();
    symlink("old", root.join("link")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    mkfifoat(CWD, root.join("fifo"), Mode::from_raw_mode(0o666)).unwrap();
    for (path, status) in [
        ("/", 409),
        ("/folder", 409),
        ("/folder/", 409),
        ("/link", 409),
        ("/parent/secret", 404),
        ("/fifo", 404),
        ("/absent", 404),
        ("/absent/file", 404),
        ("/old/file", 404),
        ("/.hidden", 403),
        ("/../secret", 400),
        ("/old", 204),
        ("/old", 404),
    ] {
        assert_eq!(ask(&handler, "DELETE", path).status(), status, "{path}");
    }
    assert!(root.join("folder").is_dir() && root.join("fifo").exists());
    assert!(root.join("link").is_symlink() && root.join("../secret").exists());
    assert!(!root.join("old").exists());
}

#[test]
fn dot_files_are_written_where_they_are_allowed() {
    let (_tree, root, handler) = tree();
    let handler = handler.dotfiles(true);
    assert_eq!(put_text(&handler, "/.hidden", "new").status(), 201);
    refused(&handler, "/.sealpair-upload-1", 403, "not for clients");
    assert_eq!(ask(&handler, "DELETE", "/.hidden").status(), 204);
    nothing_left(&root);
}

#[test]
fn the_mask_is_read_without_being_changed() {
    let mask = umask();
    assert_eq!(mask & !0o777, 0);
    assert_eq!(umask(), mask);
}
