use super::super::super::FileHandler;
use super::super::super::beneath::Root;
use super::super::super::testing::{field, send};
use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

struct Tree {
    dir: TempDir,
    handler: FileHandler,
    uploads: Uploads,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let handler = FileHandler::open(dir.path()).unwrap().writable(true);
        let uploads = Uploads::new(Arc::new(root), Arc::default(), UploadLimits::default());
        Self { dir, handler, uploads }
    }

    /// Begins an upload of three bytes below `folder`; the path of its data.
    fn begin(&self, folder: &str) -> PathBuf {
        let lines = "Upload-Complete: ?0\r\n";
        let path = format!("{folder}/file");
        let response = send(&self.handler, "PUT", &path, lines, &mut b"abc".as_slice(), Some(3));
        assert_eq!(response.status(), 201);
        self.dir.path().join(&field(&response, "location")[1..])
    }

    fn left(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, "left").unwrap();
        path
    }

    fn sweep(&self) {
        self.uploads.sweep_tree(&|| false);
    }
}

fn age(path: &Path, age: Duration) {
    let file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

fn record(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

#[test]
fn an_upload_expires_after_its_last_byte_wherever_it_is() {
    let tree = Tree::new();
    for folder in ["", "/a", "/a/b"] {
        let (old, new) = (tree.begin(folder), tree.begin(folder));
        age(&old, DAY + HOUR);
        // When its record was written does not matter.
        age(&record(&new), DAY + HOUR);
        tree.sweep();
        assert!(!old.exists() && !record(&old).exists(), "{folder}");
        assert!(new.exists() && record(&new).exists(), "{folder}");
    }
    assert_eq!(tree.uploads.registry.folders().len(), 3);
    // A clock that was set back makes nothing older.
    let future = tree.begin("");
    let file = fs::OpenOptions::new().append(true).open(&future).unwrap();
    file.set_modified(SystemTime::now() + DAY).unwrap();
    tree.sweep();
    assert!(future.exists());
}

#[test]
fn what_a_killed_server_has_left_is_removed_when_it_is_old() {
    let tree = Tree::new();
    let plain = tree.left("a/.sealpair-upload-0123456789abcdef");
    let data = tree.left(&format!("a/.sealpair-upload-{}", "0".repeat(32)));
    let half = tree.left(&format!("a/.sealpair-upload-{}.json.new", "1".repeat(32)));
    let broken = tree.left(&format!("a/.sealpair-upload-{}.json", "2".repeat(32)));
    let theirs = tree.left("a/.sealpair-other");
    let all = [&plain, &data, &half, &broken];
    tree.sweep();
    assert!(all.iter().all(|path| path.exists()));
    all.iter().for_each(|path| age(path, HOUR));
    age(&theirs, 2 * DAY);
    // Somebody works on one of them, who takes long.
    let busy = File::open(&plain).unwrap();
    flock(&busy, FlockOperation::NonBlockingLockExclusive).unwrap();
    tree.sweep();
    let there: Vec<_> = all.iter().map(|path| path.exists()).collect();
    assert_eq!(there, [true, false, false, false]);
    drop(busy);
    tree.sweep();
    assert!(!plain.exists() && theirs.exists());
}

#[test]
fn an_upload_that_another_server_works_on_is_left_alone() {
    let tree = Tree::new();
    let data = tree.begin("");
    age(&data, 2 * DAY);
    let busy = File::open(&data).unwrap();
    flock(&busy, FlockOperation::NonBlockingLockExclusive).unwrap();
    tree.sweep();
    assert!(data.exists() && record(&data).exists());
    drop(busy);
    tree.sweep();
    assert!(!data.exists() && !record(&data).exists());
}

#[test]
fn that_an_upload_is_complete_is_forgotten_after_an_hour() {
    let tree = Tree::new();
    let data = tree.begin("");
    let url = format!("/{}", data.file_name().unwrap().to_str().unwrap());
    let lines =
        "Content-Type: application/partial-upload\r\nUpload-Offset: 3\r\nUpload-Complete: ?1\r\n";
    let response = send(&tree.handler, "PATCH", &url, lines, &mut b"".as_slice(), Some(0));
    assert_eq!(response.status(), 201);
    tree.sweep();
    assert!(record(&data).exists());
    age(&record(&data), HOUR + HOUR);
    tree.sweep();
    assert!(!record(&data).exists());
    assert_eq!(fs::read(tree.dir.path().join("file")).unwrap(), b"abc");
    assert!(tree.uploads.registry.folders().is_empty());
}

#[test]
fn links_are_not_followed() {
    let tree = Tree::new();
    let outside = tempfile::tempdir().unwrap();
    let left = outside.path().join(".sealpair-upload-0123456789abcdef");
    fs::write(&left, "theirs").unwrap();
    age(&left, 2 * DAY);
    symlink(outside.path(), tree.dir.path().join("link")).unwrap();
    symlink(&left, tree.dir.path().join(".sealpair-upload-fedcba9876543210")).unwrap();
    symlink("..", tree.dir.path().join("a/circle")).unwrap();
    tree.sweep();
    assert!(left.exists());
}

#[test]
fn the_thread_ends_with_its_handler() {
    let tree = Tree::new();
    let data = tree.begin("/a/b");
    age(&data, 2 * DAY);
    let uploads = Arc::new(tree.uploads);
    let weak = Arc::downgrade(&uploads);
    let sweeper = Sweeper::start(uploads).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while data.exists() {
        assert!(Instant::now() < until, "nothing was swept");
        thread::yield_now();
    }
    drop(sweeper);
    while weak.strong_count() > 0 {
        assert!(Instant::now() < until, "the thread goes on");
        thread::yield_now();
    }
}
