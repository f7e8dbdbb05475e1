use super::*;
use std::fs::{self, File};
use std::path::Path;
use tempfile::TempDir;

/// A file whose identity no later change shares.
fn settled(content: &[u8]) -> (TempDir, Arc<OpenFile>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), content).unwrap();
    let past = SystemTime::now() - Duration::from_secs(10);
    writable(&folder).set_modified(past).unwrap();
    let file = open(&folder.path().join("a"));
    assert!(is_settled(&file.identity(), SystemTime::now()));
    (folder, file)
}

fn open(path: &Path) -> Arc<OpenFile> {
    Arc::new(OpenFile::new(File::open(path).unwrap()).unwrap())
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
    let (folder, file) = settled(&content);
    let identity = file.identity();
    let digests = Arc::<Digests>::default();
    assert_eq!(digests.known(&identity), None);
    assert_eq!(digests.find(&file, false), Some(of(&content)));
    assert_eq!(digests.known(&identity), Some(of(&content)));
    // From memory by now.
    digests.note(identity, of(b"other"));
    assert_eq!(digests.find(&file, false), Some(of(b"other")));

    writable(&folder).write_all_at(b"x", 0).unwrap();
    let changed = open(&folder.path().join("a"));
    assert_eq!(digests.known(&changed.identity()), None);
    assert_eq!(digests.find(&changed, false), Some(of(&[b"x", &content[1..]].concat())));
    assert_eq!(Digests::default().known(&identity), None);
}

#[test]
fn a_file_that_is_not_what_it_was_has_no_digest() {
    let (folder, file) = settled(b"content");
    let digests = Arc::<Digests>::default();
    writable(&folder).write_all_at(b"C", 0).unwrap();
    assert_eq!(digests.find(&file, true), None);
    writable(&folder).set_len(3).unwrap();
    assert_eq!(digests.find(&file, true), None);
    assert_eq!(digests.known(&file.identity()), None);
    assert!(lock(&digests.work).flights.is_empty());
}

#[test]
fn overwriting_within_a_tick_of_the_clock_never_yields_the_old_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let digests = Arc::<Digests>::default();
    let mut unsettled = 0;
    for number in 0..300_u32 {
        let content = number.to_le_bytes().repeat(2);
        fs::write(&path, &content).unwrap();
        let file = open(&path);
        assert_eq!(digests.find(&file, false), Some(of(&content)));
        if let Some(mut passing) = digests.pass(&file) {
            passing.read_to_end(&mut Vec::new()).unwrap();
        }
        digests.learn(file.identity(), of(&content));
        // What is not settled now was not settled then. Where the file system's clock is too fine for
        // anything to happen within its tick, this is all that can be seen.
        if !is_settled(&file.identity(), SystemTime::now()) {
            assert_eq!(digests.known(&file.identity()), None);
            unsettled += 1;
        }
    }
    assert!(unsettled > 0);
}

#[test]
fn who_asks_for_what_is_being_computed_waits_for_it() {
    let (_folder, file) = settled(b"content");
    let digests = Arc::<Digests>::default();
    let flight = Arc::<Flight>::default();
    lock(&digests.work).flights.insert(file.identity(), Arc::clone(&flight));
    let landing = Landing {
        digests: Arc::clone(&digests),
        flight,
        file: Arc::clone(&file),
        // What nobody would compute.
        digest: Some(of(b"sentinel")),
    };
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| digests.find(&file, false))).collect();
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
    let (_folder, file) = settled(b"content");
    let digests = Arc::<Digests>::default();
    let flight = Arc::<Flight>::default();
    drop(Landing { digests, flight: Arc::clone(&flight), file, digest: None });
    assert_eq!(flight.wait(), None);
}

#[test]
fn a_large_file_is_read_only_for_who_waits_and_a_few_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let file = File::create(&path).unwrap();
    file.set_len(SMALL + 1).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(10)).unwrap();
    let file = open(&path);
    let digests = Arc::<Digests>::default();
    assert_eq!(digests.find(&file, false), None);
    lock(&digests.work).large = LARGE_AT_ONCE;
    assert_eq!(digests.find(&file, true), None);
    lock(&digests.work).large = 0;
    let digest = digests.find(&file, true).unwrap();
    assert_eq!(digest, compute(&file).unwrap());
    assert_eq!(digests.find(&file, false), Some(digest), "it is known by now");
    assert_eq!(lock(&digests.work).large, 0);
}

#[test]
fn what_passes_is_learned_with_its_last_byte_unless_it_changed() {
    let (folder, file) = settled(b"content");
    let digests = Arc::<Digests>::default();
    let known = |digests: &Digests| digests.known(&file.identity());
    let mut passing = digests.pass(&file).unwrap();
    assert!(digests.pass(&file).is_none(), "one is enough");
    passing.read_exact(&mut [0; 4]).unwrap();
    drop(passing);
    assert_eq!(known(&digests), None);
    let mut passing = digests.pass(&file).unwrap();
    let mut content = Vec::new();
    passing.read_to_end(&mut content).unwrap();
    assert_eq!(content, b"content");
    assert_eq!(known(&digests), Some(of(b"content")));
    drop(passing);
    assert!(digests.pass(&file).is_none(), "it is known");

    let changes: [&dyn Fn(&File); 2] =
        [&|file| file.write_all_at(b"x", 6).unwrap(), &|file| file.set_len(5).unwrap()];
    for change in changes {
        let (folder, file) = settled(b"content");
        let digests = Arc::<Digests>::default();
        let mut passing = digests.pass(&file).unwrap();
        passing.read_exact(&mut [0; 4]).unwrap();
        change(&writable(&folder));
        let mut rest = Vec::new();
        // The sender takes a premature end for what it is.
        assert!(passing.read_to_end(&mut rest).is_err() || rest.len() < 3);
        assert_eq!(digests.known(&file.identity()), None);
    }
    drop(folder);
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
    let (_folder, file) = settled(b"content");
    let identity = file.identity();
    let state = tempfile::tempdir().unwrap();
    let open = || Digests::kept_in(state.path().to_owned());
    open().note(identity, of(b"content"));
    let digests = open();
    assert_eq!(digests.known(&identity), Some(of(b"content")));
    // What is known already is not written again.
    let length = || fs::metadata(state.path().join("digests")).unwrap().len();
    let before = length();
    digests.note(identity, of(b"content"));
    assert_eq!(length(), before);
}
