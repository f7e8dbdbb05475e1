//! Both ways of lookup are held to the same rules; where they differ, symbolic links, the test says
//! so.

use super::*;
use rustix::fs::{FileType, mkfifoat, mknodat};
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const LOOKUPS: [Lookup; 2] = [Lookup::Kernel, Lookup::Walk];

/// `root/a/b/file` and `root/link` to it, beside a `secret` that is outside of `root`.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("root/a/b")).unwrap();
    fs::write(tree.path().join("root/a/b/file"), "inside").unwrap();
    fs::write(tree.path().join("secret"), "outside").unwrap();
    tree
}

fn roots(tree: &TempDir) -> impl Iterator<Item = Root> {
    LOOKUPS.into_iter().map(|lookup| Root::open_with(&tree.path().join("root"), lookup))
}

fn read(root: &Root, path: &str) -> Result<String, PathError> {
    match root.resolve(Path::new(path))? {
        Resolved::File(found) => {
            let mut text = String::new();
            found.open()?.read_to_string(&mut text).unwrap();
            assert_eq!(found.metadata().len(), text.len() as u64);
            Ok(text)
        }
        Resolved::Folder(_) => Ok("folder".to_owned()),
    }
}

#[track_caller]
fn not_found(root: &Root, path: &str) {
    let result = read(root, path);
    assert!(
        matches!(result, Err(PathError::NotFound)),
        "{path} with {:?}: {result:?}",
        root.lookup
    );
}

#[test]
fn this_kernel_has_the_better_lookup() {
    let tree = tree();
    assert_eq!(Root::open(tree.path()).unwrap().lookup, Lookup::Kernel);
}

#[test]
fn a_root_is_a_directory() {
    let tree = tree();
    assert!(Root::open(tree.path().join("secret")).is_err());
    assert!(Root::open(tree.path().join("absent")).is_err());
}

#[test]
fn files_and_folders_are_found() {
    let tree = tree();
    for root in roots(&tree) {
        assert_eq!(read(&root, "a/b/file").unwrap(), "inside");
        assert_eq!(read(&root, "a/b").unwrap(), "folder");
        assert_eq!(read(&root, ".").unwrap(), "folder");
        not_found(&root, "absent");
        not_found(&root, "a/b/file/more");
        not_found(&root, "absent/more");
    }
}

#[test]
fn the_root_cannot_be_left_by_any_path() {
    let tree = tree();
    let outside = tree.path().join("secret");
    for root in roots(&tree) {
        for path in ["..", "../secret", "a/../../secret", "/etc/passwd", "/", "a/b/../../.."] {
            not_found(&root, path);
        }
        not_found(&root, outside.to_str().unwrap());
    }
}

#[test]
fn links_that_stay_inside_work_and_links_that_leave_do_not() {
    let tree = tree();
    let base = tree.path().join("root");
    symlink("a/b/file", base.join("inside")).unwrap();
    symlink("../a/b/file", base.join("a/up")).unwrap();
    symlink("b", base.join("a/folder")).unwrap();
    symlink("../secret", base.join("outside")).unwrap();
    symlink("..", base.join("parent")).unwrap();
    symlink(tree.path().join("secret"), base.join("absolute")).unwrap();
    symlink(base.join("a/b/file"), base.join("absolute-inside")).unwrap();
    symlink("/", base.join("slash")).unwrap();
    symlink("/proc/self/root", base.join("magic")).unwrap();
    symlink("loop", base.join("loop")).unwrap();
    symlink("absent", base.join("dangling")).unwrap();
    for root in roots(&tree) {
        for path in [
            "outside",
            "parent",
            "parent/secret",
            "absolute",
            "absolute-inside",
            "slash",
            "slash/etc/passwd",
            "magic",
            "magic/etc/passwd",
            "loop",
            "loop/a",
            "dangling",
        ] {
            not_found(&root, path);
        }
        for path in ["inside", "a/up", "a/folder/file"] {
            match root.lookup {
                Lookup::Kernel => assert_eq!(read(&root, path).unwrap(), "inside"),
                Lookup::Walk => not_found(&root, path),
            }
        }
    }
}

#[test]
fn magic_links_below_the_root_lead_nowhere() {
    for lookup in LOOKUPS {
        let root = Root::open_with(Path::new("/proc"), lookup);
        not_found(&root, "self/root/etc/passwd");
        not_found(&root, "self/cwd");
        not_found(&root, "self/fd/0");
    }
}

#[test]
fn a_folder_that_becomes_a_link_while_it_is_served_never_leads_out() {
    let tree = tree();
    let base = tree.path().join("root");
    fs::create_dir(base.join("flip")).unwrap();
    fs::write(base.join("flip/secret"), "inside").unwrap();
    symlink("..", base.join("leave")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Exchange: `flip` is the folder and the link out of the root by turns.
                let (flip, leave) = (base.join("flip"), base.join("leave"));
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, &flip, CWD, &leave, flags).unwrap();
            }
        });
        let seen: Vec<_> = roots(&tree)
            .flat_map(|root| (0..2000).map(move |_| read(&root, "flip/secret")).collect::<Vec<_>>())
            .collect();
        stop.store(true, Ordering::Relaxed);
        for result in seen {
            assert!(
                matches!(result.as_deref(), Ok("inside") | Err(PathError::NotFound)),
                "{result:?}"
            );
        }
    });
}

#[test]
fn what_was_found_is_what_is_opened() {
    let tree = tree();
    let file = tree.path().join("root/a/b/file");
    for root in roots(&tree) {
        let Ok(Resolved::File(found)) = root.resolve(Path::new("a/b/file")) else {
            panic!("not found");
        };
        fs::rename(&file, tree.path().join("moved")).unwrap();
        symlink("../../../secret", &file).unwrap();
        let mut text = String::new();
        found.open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "inside");
        fs::rename(tree.path().join("moved"), &file).unwrap();
    }
}

#[test]
fn fifos_sockets_and_devices_are_not_found_and_not_opened() {
    let tree = tree();
    let base = tree.path().join("root");
    let mode = Mode::from_raw_mode(0o666);
    mkfifoat(CWD, base.join("fifo"), mode).unwrap();
    symlink("fifo", base.join("fifo-link")).unwrap();
    let _listener = UnixListener::bind(base.join("socket")).unwrap();
    // To make a device takes a privilege that root in a container may lack, so the device that is
    // always there is tried as well.
    let device = rustix::fs::makedev(1, 5);
    let _ = mknodat(CWD, base.join("device"), FileType::CharacterDevice, mode, device);
    for root in roots(&tree) {
        for path in ["fifo", "fifo-link", "socket", "device"] {
            not_found(&root, path);
        }
        // A writer that does not wait for a reader would have been let in had the FIFO been opened.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        let writer = openat(CWD, base.join("fifo"), flags, Mode::empty());
        assert_eq!(writer.unwrap_err(), Errno::NXIO);
    }
    for lookup in LOOKUPS {
        let devices = Root::open_with(Path::new("/dev"), lookup);
        for path in ["null", "zero", "tty"] {
            not_found(&devices, path);
        }
    }
}

#[test]
fn names_that_are_too_long_are_told_apart() {
    let tree = tree();
    for root in roots(&tree) {
        for path in ["n".repeat(256), "a/".repeat(3000)] {
            let result = root.resolve(Path::new(&path));
            match (root.lookup, path.len()) {
                // The walk knows no limit of the whole path; it finds that `a/a` is not there.
                (Lookup::Walk, 6000) => assert!(matches!(result, Err(PathError::NotFound))),
                _ => assert!(matches!(result, Err(PathError::TooLong))),
            }
        }
    }
}

#[test]
fn every_name_can_be_looked_up() {
    let tree = tree();
    for byte in (1..=u8::MAX).filter(|&byte| byte != b'/') {
        use std::os::unix::ffi::OsStrExt;
        let name = [b'x', byte];
        let name = Path::new(std::ffi::OsStr::from_bytes(&name));
        fs::write(tree.path().join("root").join(name), [byte]).unwrap();
        for root in roots(&tree) {
            assert!(matches!(root.resolve(name), Ok(Resolved::File(_))), "{name:?}");
        }
    }
}

#[test]
fn a_root_that_is_moved_away_stays_the_root() {
    let tree = tree();
    let open: Vec<Root> = roots(&tree).collect();
    fs::rename(tree.path().join("root"), tree.path().join("elsewhere")).unwrap();
    for root in open {
        assert_eq!(read(&root, "a/b/file").unwrap(), "inside");
    }
}

proptest::proptest! {
    /// `fuzz/targets/path.rs` has more of this, but only one of the two lookups.
    #[test]
    fn no_sequence_of_names_leads_out(
        names in proptest::collection::vec(
            proptest::sample::select(vec!["a", "b", "file", "..", ".", "", "in", "up", "out", "abs", "secret"]),
            1..7,
        ),
    ) {
        static TREE: std::sync::LazyLock<TempDir> = std::sync::LazyLock::new(|| {
            let tree = tree();
            let base = tree.path().join("root");
            symlink("a/b", base.join("in")).unwrap();
            symlink("../..", base.join("a/b/up")).unwrap();
            symlink("..", base.join("out")).unwrap();
            symlink(tree.path(), base.join("abs")).unwrap();
            tree
        });
        let path = names.join("/");
        let truth = TREE.path().join("root").join(&path).canonicalize();
        for root in roots(&TREE) {
            match read(&root, &path) {
                Ok(what) if what == "folder" => {
                    let truth = truth.as_ref().unwrap();
                    proptest::prop_assert!(truth.starts_with(TREE.path().join("root")), "{}", path);
                }
                Ok(text) => proptest::prop_assert_eq!(text, "inside", "{}", path),
                Err(error) => proptest::prop_assert!(matches!(error, PathError::NotFound)),
            }
        }
    }
}
