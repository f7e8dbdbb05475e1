//! Paths of URLs in a tree whose links lead in and out: what is found is below the root, and is what
//! the operating system finds by the same name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustix::fs::{CWD, FileType, Mode, fstat, mknodat};
use sealpair_server::handler::beneath::{Resolved, Root};
use sealpair_server::handler::path::{FilePath, PathError};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

const INSIDE: &str = "inside";

struct Tree {
    root: Root,
    /// The same directory by its name, without symbolic links.
    path: PathBuf,
}

// libFuzzer ends without dropping anything, so the tree stays; scripts/fuzz gives it a place that it
// removes.
static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let outside = tempfile::tempdir().unwrap().keep().canonicalize().unwrap();
    let path = outside.join("root");
    plant(&outside, &path).unwrap();
    Tree { root: Root::open(&path).unwrap(), path }
});

/// Names are short, so that they are found by chance.
fn plant(outside: &Path, root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("a/b"))?;
    fs::create_dir(root.join(".h"))?;
    fs::create_dir(outside.join("rootless"))?;
    for file in ["f", "a/f", "a/b/f", ".h/f", "a/.f", "a b", "%61", "é", "a/.sealpair-upload-f"] {
        fs::write(root.join(file), INSIDE)?;
    }
    for file in ["s", "rootless/s"] {
        fs::write(outside.join(file), "outside")?;
    }
    let absolute = root.join("f");
    for (link, to) in [
        // Inside, by detours.
        ("i", Path::new("a/b")),
        ("a/i", Path::new("../a/b/f")),
        ("a/u", Path::new("..")),
        ("j", Path::new("i/f")),
        // Out, by every way there is.
        ("o", Path::new("..")),
        ("p", Path::new("../s")),
        ("q", Path::new("a/../../s")),
        ("r", Path::new("../rootless")),
        ("a/o", Path::new("../..")),
        ("k", Path::new("o/s")),
        ("back", Path::new("../root/f")),
        ("/etc", Path::new("/etc")),
        ("x", Path::new("/")),
        ("y", &absolute),
        ("z", Path::new("/proc/self/root")),
        ("l", Path::new("l")),
        ("n", Path::new("nothing")),
    ] {
        symlink(to, root.join(link.trim_start_matches('/')))?;
    }
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    Ok(())
}

fuzz_target!(|input: &[u8]| {
    // A request's target is checked before: it holds ASCII only. Any text is more than that.
    let Ok(text) = str::from_utf8(input) else { return };
    for dotfiles in [false, true] {
        match FilePath::decode(text, dotfiles) {
            Ok(path) => {
                check_path(&path, dotfiles);
                check_lookup(&path);
            }
            Err(PathError::Hidden | PathError::Malformed(_) | PathError::NotFound) => {}
            Err(error) => panic!("{error:?} without having looked"),
        }
    }
    // Whatever a path holds that did not pass the first check, the second lets nothing out.
    if !input.contains(&0) {
        let path = Path::new(text);
        if let Ok(found) = TREE.root.resolve(path) {
            is_inside(&found, path);
        }
    }
});

fn check_path(path: &FilePath, dotfiles: bool) {
    for component in path.as_path().components() {
        match component {
            Component::CurDir => assert!(path.is_root()),
            Component::Normal(name) => {
                let name = name.as_encoded_bytes();
                assert!(!name.contains(&0) && !name.starts_with(b".sealpair-upload-"));
                assert!(dotfiles || !name.starts_with(b"."), "{path:?}");
            }
            other => panic!("{other:?} in {path:?}"),
        }
    }
    assert!(!path.is_root() || path.is_folder());
    match path.split() {
        Some((folder, name)) => {
            let whole = if folder == Path::new(".") { name.into() } else { folder.join(name) };
            // Text, not paths: those compare as equal with more slashes.
            assert_eq!(whole.as_os_str(), path.as_path().as_os_str());
        }
        None => assert!(path.is_root()),
    }
    // The way back leads to the same names.
    let again = FilePath::decode(&path.to_folder_url(), dotfiles).unwrap();
    assert_eq!(again.as_path().as_os_str(), path.as_path().as_os_str());
}

fn check_lookup(path: &FilePath) {
    let named = TREE.path.join(path.as_path());
    match TREE.root.resolve(path.as_path()) {
        Ok(found) => {
            is_inside(&found, path.as_path());
            let truth = named.canonicalize().unwrap();
            assert!(truth.starts_with(&TREE.path), "{path:?} leads to {truth:?}");
            let metadata = fs::metadata(&truth).unwrap();
            let (device, inode, is_file) = identity(&found);
            assert_eq!((device, inode), (metadata.dev(), metadata.ino()), "{path:?}");
            assert_eq!(is_file, metadata.is_file());
        }
        Err(PathError::NotFound) => {
            // What is refused is not there, or outside, or no file, or behind one of the two links that
            // come back from outside: those are refused for the way they take.
            let served = named.canonicalize().is_ok_and(|truth| {
                let plain = fs::metadata(&truth).is_ok_and(|data| data.is_file() || data.is_dir());
                truth.starts_with(&TREE.path) && plain
            });
            let detour = path.as_path().components().any(|part| {
                ["back", "o", "x", "y", "z"].iter().any(|name| part.as_os_str() == *name)
            });
            assert!(!served || detour, "{path:?} is not found");
        }
        Err(PathError::TooLong) => assert!(path.as_path().as_os_str().len() > 255),
        Err(error) => panic!("{path:?}: {error:?}"),
    }
}

fn identity(found: &Resolved) -> (u64, u64, bool) {
    match found {
        Resolved::File(file) => (file.metadata().dev(), file.metadata().ino(), true),
        Resolved::Folder(folder) => {
            let data = fstat(folder).unwrap();
            (data.st_dev, data.st_ino, false)
        }
    }
}

/// The content of a file says where it is; a folder's descriptor has a name.
fn is_inside(found: &Resolved, path: &Path) {
    match found {
        Resolved::File(file) => {
            let mut text = String::new();
            file.open().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, INSIDE, "{path:?}");
        }
        Resolved::Folder(folder) => {
            let descriptor = folder.as_fd().as_raw_fd();
            let name = fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
            assert!(name.starts_with(&TREE.path), "{path:?} leads to {name:?}");
        }
    }
}
