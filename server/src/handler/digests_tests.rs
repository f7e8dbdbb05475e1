use super::*;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A file whose identity no later change shares.
fn settled(content: &[u8]) -> (TempDir, Arc<File>, Identity) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), content).unwrap();
    let file = Arc::new(File::open(folder.path().join("a")).unwrap());
    let identity = Identity::of(&file.metadata().unwrap());
    while !is_settled(&identity, SystemTime::now()) {
        thread::yield_now();
    }
    (folder, file, identity)
}

fn of(content: &[u8]) -> Sha256 {
    let mut hasher = Hasher::new().unwrap();
    hasher.update(content).unwrap();
    hasher.finish().unwrap()
}

fn writable(folder: &TempDir) -> File {
    File::options().write(true).open(folder.path().join("a")).unwrap()
}

#[test]
fn a_digest_is_computed_once_for_each_version() {
    let content = b"0123456789".repeat(100_000);
    let (folder, file, identity) = settled(&content);
    let digests = Arc::<Digests>::default();
    assert_eq!(digests.known(&identity), None);
    assert_eq!(digests.find(&file, &identity, false), Some(of(&content)));
    assert_eq!(digests.known(&identity), Some(of(&content)));
    // From memory by now.
    digests.note(identity, of(b"other"));
    assert_eq!(digests.find(&file, &identity, false), Some(of(b"other")));

    writable(&folder).write_all_at(b"x", 0).unwrap();
    let changed = Identity::of(&file.metadata().unwrap());
    assert_eq!(digests.known(&changed), None);
    assert_eq!(digests.find(&file, &changed, false).unwrap(), of(&[b"x", &content[1..]].concat()));
    assert_eq!(Digests::default().known(&identity), None);
}

#[test]
fn a_file_that_is_not_what_it_was_has_no_digest() {
    let (folder, file, identity) = settled(b"content");
    let digests = Arc::<Digests>::default();
    writable(&folder).write_all_at(b"C", 0).unwrap();
    assert_eq!(digests.find(&file, &identity, true), None);
    writable(&folder).set_len(3).unwrap();
    assert_eq!(digests.find(&file, &identity, true), None);
    assert_eq!(digests.known(&identity), None);
    assert!(lock(&digests.work).flights.is_empty());
}

#[test]
fn overwriting_within_a_tick_of_the_clock_never_yields_the_old_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let digests = Arc::<Digests>::default();
    let write = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        Identity::of(&fs::metadata(&path).unwrap())
    };
    let mut unsettled = 0;
    for number in 0..300_u32 {
        let content = number.to_le_bytes().repeat(2);
        let identity = write(&content);
        let file = Arc::new(File::open(&path).unwrap());
        // None, if it was written to since.
        if let Some(digest) = digests.find(&file, &identity, false) {
            assert_eq!(digest, of(&content));
        }
        if let Some(mut passing) = digests.pass(&identity) {
            passing.update(&content, &file);
        }
        // What is not settled now was not settled then. Where the file system's clock is too fine for
        // anything to happen within its tick, this is all that can be seen.
        if !is_settled(&identity, SystemTime::now()) {
            assert_eq!(digests.known(&identity), None);
            unsettled += 1;
        }
    }
    assert!(unsettled > 0);
}

#[test]
fn a_version_is_settled_when_the_clock_has_gone_on() {
    let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let changed = |before: Duration| {
        let time = now.duration_since(UNIX_EPOCH).unwrap() - before;
        let changed = (time.as_secs() as i64, i64::from(time.subsec_nanos()));
        // The time of modification says nothing.
        let modified = (1, 1);
        is_settled(&Identity { device: 1, inode: 1, size: 1, modified, changed }, now)
    };
    let millisecond = Duration::from_millis(1);
    assert!(!changed(millisecond) && !changed(TICK));
    assert!(changed(TICK + millisecond));
    // Whole seconds only.
    assert!(!changed(Duration::ZERO) && !changed(Duration::from_secs(3)));
    assert!(changed(Duration::from_secs(5)));
    // The clock has been set back since.
    let later =
        Identity { device: 1, inode: 1, size: 1, modified: (1, 1), changed: (2_000_000, 5) };
    assert!(!is_settled(&later, now));
}

#[test]
fn what_was_uploaded_is_known_if_a_later_write_would_show() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let just_now = (now.as_secs() as i64, i64::from(now.subsec_nanos().max(1)));
    let known = |modified, changed| {
        let digests = Digests::default();
        let identity = Identity { device: 1, inode: 1, size: 1, modified, changed };
        digests.learn(identity, of(b"a"));
        digests.known(&identity).is_some()
    };
    let future = (just_now.0 + 1000, 1);
    assert!(!known(future, future), "written and renamed within a tick");
    assert!(known((just_now.0, 1), (just_now.0 + 1000, 1)), "renamed in a later tick");
    assert!(!known((just_now.0, 0), (just_now.0 + 1000, 0)), "ticks of a second");
    assert!(known((just_now.0 - 10, 1), (just_now.0 - 10, 1)), "both are past");
}

#[test]
fn who_asks_for_what_is_being_computed_waits_for_it() {
    let (_folder, file, identity) = settled(b"content");
    let digests = Arc::<Digests>::default();
    let flight = Arc::<Flight>::default();
    lock(&digests.work).flights.insert(identity, Arc::clone(&flight));
    let landing = Landing {
        digests: Arc::clone(&digests),
        flight,
        reading: Reading { identity },
        // What nobody would compute.
        digest: Some(of(b"sentinel")),
    };
    thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..4).map(|_| scope.spawn(|| digests.find(&file, &identity, false))).collect();
        drop(landing);
        for thread in waiting {
            let digest = thread.join().unwrap();
            // One that came only after the landing computes it itself.
            assert!([Some(of(b"sentinel")), Some(of(b"content"))].contains(&digest));
        }
    });
    assert!(lock(&digests.work).flights.is_empty());
}

#[test]
fn nobody_waits_for_a_flight_that_was_given_up() {
    let (_folder, _file, identity) = settled(b"content");
    let digests = Arc::<Digests>::default();
    let flight = Arc::<Flight>::default();
    let reading = Reading { identity };
    drop(Landing { digests, flight: Arc::clone(&flight), reading, digest: None });
    assert_eq!(flight.wait(), None);
}

#[test]
fn a_large_file_is_read_only_for_who_waits_and_a_few_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("a")).unwrap().set_len(SMALL + 1).unwrap();
    let file = Arc::new(File::open(folder.path().join("a")).unwrap());
    let identity = Identity::of(&file.metadata().unwrap());
    while !is_settled(&identity, SystemTime::now()) {
        thread::yield_now();
    }
    let digests = Arc::<Digests>::default();
    assert_eq!(digests.find(&file, &identity, false), None);
    lock(&digests.work).large = LARGE_AT_ONCE;
    assert_eq!(digests.find(&file, &identity, true), None);
    lock(&digests.work).large = 0;
    let digest = digests.find(&file, &identity, true).unwrap();
    assert_eq!(digest, compute(&file, &identity).unwrap());
    assert_eq!(digests.find(&file, &identity, false), Some(digest), "it is known by now");
    assert_eq!(lock(&digests.work).large, 0);
}

#[test]
fn what_passes_is_learned_with_its_last_byte_unless_it_changed() {
    let (folder, file, identity) = settled(b"content");
    let digests = Arc::<Digests>::default();
    let mut passing = digests.pass(&identity).unwrap();
    assert!(digests.pass(&identity).is_none(), "one is enough");
    passing.update(b"cont", &file);
    assert_eq!(digests.known(&identity), None);
    drop(passing);
    let mut passing = digests.pass(&identity).unwrap();
    passing.update(b"cont", &file);
    passing.update(b"ent", &file);
    assert_eq!(digests.known(&identity), Some(of(b"content")));
    drop(passing);
    assert!(digests.pass(&identity).is_none(), "it is known");

    let digests = Arc::<Digests>::default();
    let mut passing = digests.pass(&identity).unwrap();
    passing.update(b"cont", &file);
    writable(&folder).write_all_at(b"x", 6).unwrap();
    passing.update(b"enx", &file);
    assert_eq!(digests.known(&identity), None);
}

#[test]
fn what_is_known_is_bounded_and_what_is_used_stays() {
    let digests = Digests::default();
    let identity = |number: u64| Identity {
        device: 1,
        inode: number,
        size: 1,
        modified: (1, 1),
        changed: (1, 1),
    };
    for number in 0..(MOST + MOST / 2) as u64 {
        digests.note(identity(number), of(b"a"));
        if number % 1000 == 0 {
            digests.known(&identity(1));
        }
    }
    assert!(lock(&digests.known).digests.len() <= MOST);
}

#[test]
fn what_is_learned_outlives_a_run() {
    let (_folder, _file, identity) = settled(b"content");
    let state = tempfile::tempdir().unwrap();
    let open = |path: &Path| Digests::kept_in(path.to_owned());
    open(state.path()).note(identity, of(b"content"));
    let digests = open(state.path());
    assert_eq!(digests.known(&identity), Some(of(b"content")));
    // What is known already is not written again.
    let length = || fs::metadata(state.path().join("digests")).unwrap().len();
    let before = length();
    digests.note(identity, of(b"content"));
    assert_eq!(length(), before);
}
