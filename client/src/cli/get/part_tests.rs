use super::*;
use tempfile::TempDir;

fn url() -> Url {
    Url::parse("https://h/a").unwrap()
}

fn version(length: u64) -> Version {
    Version { etag: Some("\"v\"".to_owned()), length: Some(length), ..Version::default() }
}

fn open(folder: &TempDir) -> Result<PartialFile, Report> {
    PartialFile::open(folder.path().join("f"), None, &url(), false)
}

/// A folder with six bytes of ten from an earlier run.
fn six_of_ten() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut partial = open(&folder).unwrap();
    partial.note(&version(10)).unwrap();
    partial.write(b"sixsix").unwrap();
    drop(partial);
    folder
}

fn edit_state(folder: &TempDir, edit: impl Fn(&mut State)) {
    let path = folder.path().join("f.part.json");
    let mut state = read_state(&path).unwrap();
    edit(&mut state);
    write_state(&path, &state).unwrap();
}

fn there(folder: &TempDir) -> Option<u64> {
    open(folder).unwrap().resumable().map(|(_, length)| length)
}

#[test]
fn what_one_run_left_the_next_goes_on_with() {
    let folder = six_of_ten();
    let mut partial = open(&folder).unwrap();
    assert_eq!(partial.resumable(), Some((&version(10), 6)));
    partial.write(b"four").unwrap();
    partial.finish(None).unwrap();
    let names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["f"]);
    assert_eq!(fs::read(folder.path().join("f")).unwrap(), b"sixsixfour");
}

#[test]
fn another_file_in_the_place_of_the_partial_one_does_not_get_the_name() {
    for note in [true, false] {
        let folder = TempDir::new().unwrap();
        let mut partial = open(&folder).unwrap();
        if note {
            partial.note(&version(3)).unwrap();
        }
        partial.write(b"six").unwrap();
        fs::write(folder.path().join("other"), "other").unwrap();
        fs::rename(folder.path().join("other"), folder.path().join("f.part")).unwrap();
        assert_eq!(partial.finish(None).unwrap_err().exit(), Exit::LocalIo);
        assert!(!folder.path().join("f").exists());
        assert_eq!(fs::read(folder.path().join("f.part")).unwrap(), b"other");
    }
}

#[test]
fn bytes_of_which_nothing_is_known_are_not_used() {
    let folder = six_of_ten();
    fs::remove_file(folder.path().join("f.part.json")).unwrap();
    assert_eq!(there(&folder), None);

    let folder = six_of_ten();
    fs::write(folder.path().join("f.part.json"), "{\"schema\":").unwrap();
    assert_eq!(there(&folder), None);

    let edits: [fn(&mut State); 4] = [
        |state| state.url = "https://h/b".to_owned(),
        |state| state.schema = "sealpair.partial/2".to_owned(),
        |state| state.version.length = Some(5),
        |state| state.version.etag = None,
    ];
    for edit in edits {
        let folder = six_of_ten();
        edit_state(&folder, edit);
        assert_eq!(there(&folder), None);
        assert!(!folder.path().join("f.part").exists());
    }
}

#[test]
fn after_a_power_failure_only_what_was_synced_counts() {
    let folder = six_of_ten();
    edit_state(&folder, |state| (state.boot, state.synced) = ("another".to_owned(), 4));
    assert_eq!(there(&folder), Some(4));
    let folder = six_of_ten();
    edit_state(&folder, |state| state.boot = "another".to_owned());
    assert_eq!(there(&folder), None);
}

#[test]
fn of_ranges_in_parallel_only_the_first_serves_one_connection() {
    let folder = TempDir::new().unwrap();
    let mut partial = open(&folder).unwrap();
    partial.note_ranges(&version(10), &[(0, 3), (6, 8)]).unwrap();
    partial.file().set_len(10).unwrap();
    drop(partial);
    let again = |parallel| {
        let target = folder.path().join("f");
        let partial = PartialFile::open(target, None, &url(), parallel).unwrap();
        partial.ranges().map(|(_, ranges)| ranges)
    };
    assert_eq!(again(true).unwrap(), [(0, 3), (6, 8)]);
    assert_eq!(again(false).unwrap(), [(0, 3)]);
    assert_eq!(fs::metadata(folder.path().join("f.part")).unwrap().len(), 3);
    assert_eq!(again(true).unwrap(), [(0, 3)]);
}

#[test]
fn two_cannot_write_one_file() {
    let folder = six_of_ten();
    let first = open(&folder).unwrap();
    assert_eq!(open(&folder).unwrap_err().kind(), "busy");
    drop(first);
    assert_eq!(there(&folder), Some(6));
}

#[test]
fn what_somebody_else_may_have_put_there_is_not_touched() {
    let folder = six_of_ten();
    let (part, other) = (folder.path().join("f.part"), folder.path().join("other"));
    fs::hard_link(&part, &other).unwrap();
    assert_eq!(open(&folder).unwrap_err().exit(), Exit::LocalIo);
    fs::remove_file(&part).unwrap();
    std::os::unix::fs::symlink(&other, &part).unwrap();
    assert_eq!(open(&folder).unwrap_err().exit(), Exit::LocalIo);
    fs::remove_file(&part).unwrap();
    fs::create_dir(&part).unwrap();
    assert_eq!(open(&folder).unwrap_err().exit(), Exit::LocalIo);
    assert_eq!(fs::read(other).unwrap(), b"sixsix");
}

#[test]
fn without_a_strong_validator_nothing_stays() {
    let folder = TempDir::new().unwrap();
    let mut partial = open(&folder).unwrap();
    partial.note(&Version { length: Some(10), ..Version::default() }).unwrap();
    partial.write(b"six").unwrap();
    drop(partial);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}
