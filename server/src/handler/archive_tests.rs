use super::super::files::FileHandler;
use super::super::testing::{ask, content, field, text};
use super::*;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// `a`, `b/c`, an empty folder, and some that are not served.
fn served() -> (TempDir, FileHandler) {
    let tree = tempfile::tempdir().unwrap();
    let path = |name: &str| tree.path().join(name);
    fs::create_dir_all(path("top/b/.git")).unwrap();
    fs::create_dir(path("top/empty")).unwrap();
    fs::write(path("top/a"), vec![b'a'; 1000]).unwrap();
    fs::write(path("top/b/c"), "c").unwrap();
    fs::write(path("top/.hidden"), "hidden").unwrap();
    fs::write(path("top/.sealpair-upload-1"), "unfinished").unwrap();
    symlink("a", path("top/file-link")).unwrap();
    symlink("b", path("top/folder-link")).unwrap();
    symlink("../top", path("top/circle")).unwrap();
    symlink("/etc/passwd", path("top/outside")).unwrap();
    symlink("absent", path("top/dangling")).unwrap();
    let handler = FileHandler::open(tree.path()).unwrap();
    (tree, handler)
}

fn reader(response: Response) -> Box<dyn Read + Send> {
    match response.body {
        Body::Stream { reader, length: None } => reader,
        other => panic!("{other:?}"),
    }
}

/// Names, kinds and contents of an archive without pax headers.
fn members(archive: &[u8]) -> Vec<(String, u8, Vec<u8>)> {
    let mut members = Vec::new();
    let mut rest = archive;
    while rest[0] != 0 {
        let (header, behind) = rest.split_at(ustar::BLOCK);
        let name = header[..100].split(|&byte| byte == 0).next().unwrap();
        let size = std::str::from_utf8(&header[124..135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let name = String::from_utf8(name.to_vec()).unwrap();
        members.push((name, header[156], behind[..size].to_vec()));
        rest = &behind[size.next_multiple_of(ustar::BLOCK)..];
    }
    assert_eq!(rest, ustar::END);
    members
}

fn names(archive: &[u8]) -> Vec<String> {
    members(archive).into_iter().map(|(name, _, _)| name).collect()
}

#[test]
fn an_archive_has_what_would_be_served_sorted_by_name() {
    let (_tree, handler) = served();
    let response = ask(&handler, "GET", "/top/?archive=tar");
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "content-type"), "application/x-tar");
    assert_eq!(field(&response, "x-content-type-options"), "nosniff");
    let archive = content(response);
    let expected = ["top/", "top/a", "top/b/", "top/b/c", "top/empty/", "top/file-link"];
    assert_eq!(names(&archive), expected);
    let members = members(&archive);
    assert_eq!((members[0].1, members[1].1, members[5].1), (b'5', b'0', b'0'));
    assert_eq!(members[1].2, vec![b'a'; 1000]);
    assert_eq!(members[5].2, members[1].2, "a link to a file is that file");

    // One that is deeper is called by its own name.
    assert_eq!(names(&content(ask(&handler, "GET", "/top/b/?archive=tar"))), ["b/", "b/c"]);
    // The root has none.
    let root = content(ask(&handler, "GET", "/?archive=tar"));
    assert_eq!(names(&root), expected);
    let with_dotfiles = content(ask(&handler.dotfiles(true), "GET", "/top/?archive=tar"));
    let with_dotfiles = names(&with_dotfiles);
    assert!(with_dotfiles.contains(&"top/.hidden".to_owned()));
    assert!(with_dotfiles.contains(&"top/b/.git/".to_owned()));
    assert!(!with_dotfiles.contains(&"top/.sealpair-upload-1".to_owned()));
}

#[test]
fn the_same_comes_out_however_it_is_read() {
    let (_tree, handler) = served();
    let whole = content(ask(&handler, "GET", "/?archive=tar"));
    let mut reader = reader(ask(&handler, "GET", "/?archive=tar"));
    let mut slowly = Vec::new();
    for size in [1, 7, 511, 513].into_iter().cycle() {
        let mut piece = vec![0; size];
        let count = reader.read(&mut piece).unwrap();
        slowly.extend_from_slice(&piece[..count]);
        if count == 0 {
            break;
        }
    }
    assert_eq!(slowly, whole);
}

#[test]
fn an_archive_comes_before_the_index_and_only_of_a_folder() {
    let (tree, handler) = served();
    fs::write(tree.path().join("top/index.html"), "<p>").unwrap();
    assert_eq!(text(ask(&handler, "GET", "/top/")), "<p>");
    let with_index = content(ask(&handler, "GET", "/top/?archive=tar"));
    assert!(names(&with_index).contains(&"top/index.html".to_owned()));
    let redirect = ask(&handler, "GET", "/top?archive=tar");
    assert_eq!(field(&redirect, "location"), "./top/?archive=tar");
    assert_eq!(ask(&handler, "GET", "/top/a?archive=tar").body().length(), Some(1000));
    for other in ["zip", "", "TAR", "tar&archive=zip"] {
        let response = ask(&handler, "GET", &format!("/top/?archive={other}"));
        assert_eq!(response.status(), 400, "{other}");
    }
    assert_eq!(ask(&handler, "GET", "/top/?archive").status(), 400);
    assert_eq!(text(ask(&handler, "GET", "/top/?archives=zip&x")), "<p>");
    assert_eq!(ask(&handler, "GET", "/absent/?archive=tar").status(), 404);
}

#[test]
fn head_walks_nowhere() {
    let (_tree, handler) = served();
    let response = ask(&handler, "HEAD", "/top/?archive=tar");
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "content-type"), "application/x-tar");
    assert!(matches!(response.body(), Body::Empty));
}

#[test]
fn the_name_to_save_under_is_safe_and_exact() {
    for (name, expected) in [
        (None, "attachment; filename=\"files.tar\"; filename*=UTF-8''files.tar"),
        (
            Some("a \"b\"\n%;\\/é".as_bytes()),
            "attachment; filename=\"a _b_______.tar\"; \
             filename*=UTF-8''a%20%22b%22%0A%25%3B%5C%2F%C3%A9.tar",
        ),
        (
            Some(b"\xff".as_slice()),
            "attachment; filename=\"_.tar\"; filename*=UTF-8''%EF%BF%BD.tar",
        ),
    ] {
        assert_eq!(disposition(name), expected);
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_ends_the_archive() {
    const SIZE: u64 = 200_000;
    type Change = fn(&File);
    let changes: [(&str, Change); 4] = [
        ("shrinks", |file| file.set_len(SIZE / 2).unwrap()),
        ("grows", |file| file.set_len(SIZE * 2).unwrap()),
        ("is written to", |file| file.write_all_at(b"x", 10).unwrap()),
        ("is truncated and grows again", |file| {
            file.set_len(0).unwrap();
            file.set_len(SIZE).unwrap();
        }),
    ];
    for (what, change) in changes {
        let tree = tempfile::tempdir().unwrap();
        let file = File::create(tree.path().join("a")).unwrap();
        file.set_len(SIZE).unwrap();
        // Older than any tick of the file system's clock.
        file.set_modified(SystemTime::now() - Duration::from_secs(10)).unwrap();
        let handler = FileHandler::open(tree.path()).unwrap();
        let mut reader = reader(ask(&handler, "GET", "/?archive=tar"));
        let mut begin = vec![0; 100_000];
        assert_eq!(reader.read(&mut begin).unwrap(), begin.len());
        change(&file);
        let error = reader.read_to_end(&mut Vec::new()).expect_err(what);
        assert!(error.to_string().contains("changed"), "{what}: {error}");
    }
}

#[test]
fn what_vanishes_before_its_turn_is_left_out() {
    let (tree, handler) = served();
    let mut reader = reader(ask(&handler, "GET", "/top/?archive=tar"));
    let mut archive = vec![0; ustar::BLOCK];
    reader.read_exact(&mut archive).unwrap();
    fs::remove_dir_all(tree.path().join("top/b")).unwrap();
    fs::remove_file(tree.path().join("top/a")).unwrap();
    reader.read_to_end(&mut archive).unwrap();
    assert_eq!(names(&archive), ["top/", "top/empty/"]);
}

#[test]
fn times_are_kept() {
    let (tree, handler) = served();
    let file = File::open(tree.path().join("top/b/c")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)).unwrap();
    let archive = content(ask(&handler, "GET", "/top/b/?archive=tar"));
    assert_eq!(&archive[ustar::BLOCK + 136..ustar::BLOCK + 148], b"05657114241\0");
}
