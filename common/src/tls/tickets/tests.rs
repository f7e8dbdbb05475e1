use super::*;
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A key whose parts all come from one byte, as a file has it.
fn bytes(seed: u8) -> Vec<u8> {
    (0..80).map(|at| seed.wrapping_add(at).wrapping_mul(83)).collect()
}

fn write(directory: &TempDir, name: &str, content: &[u8], mode: u32) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn count(keys: &TicketKeys) -> usize {
    match &*keys.0 {
        Keys::Own(ring) => ring.lock().unwrap().0.len(),
        Keys::Files(files) => files.len(),
    }
}

fn name_at(keys: &TicketKeys, now: Instant) -> TicketKeyName {
    *keys.sealing(now).unwrap().name()
}

/// Whether the key of that name opens at that time, and if so, whether it seals.
fn opens(keys: &TicketKeys, name: &TicketKeyName, now: Instant) -> Option<bool> {
    keys.opening(name, now).map(|(key, seals)| {
        assert_eq!(key.name(), name);
        seals
    })
}

#[test]
fn a_key_of_our_own_seals_for_two_hours_and_opens_as_long_as_its_tickets_count() {
    let keys = TicketKeys::random().unwrap();
    let begin = Instant::now();
    let first = name_at(&keys, begin);
    assert_eq!(name_at(&keys, begin + 2 * HOUR - SECOND), first);
    assert_eq!(opens(&keys, &first, begin + 2 * HOUR - SECOND), Some(true));

    // Replaced: it opens, and the ticket is renewed.
    assert_eq!(opens(&keys, &first, begin + 2 * HOUR), Some(false));
    let second = name_at(&keys, begin + 2 * HOUR);
    assert_ne!(first, second);
    assert_eq!(opens(&keys, &second, begin + 2 * HOUR), Some(true));

    // Its last ticket was sealed just before two hours had passed, and counts for two more.
    assert_eq!(opens(&keys, &first, begin + 4 * HOUR), Some(false));
    assert_eq!(opens(&keys, &first, begin + 4 * HOUR + SECOND), None);
    assert_eq!(opens(&keys, &second, begin + 4 * HOUR + SECOND), Some(false));
}

#[test]
fn a_ticket_of_another_server_is_unknown() {
    let (ours, theirs) = (TicketKeys::random().unwrap(), TicketKeys::random().unwrap());
    let now = Instant::now();
    assert_eq!(opens(&ours, &name_at(&theirs, now), now), None);
    assert_eq!(opens(&ours, &[0; 16], now), None);
}

#[test]
fn keys_of_our_own_do_not_accumulate() {
    let keys = TicketKeys::random().unwrap();
    let mut now = Instant::now();
    let mut names = std::collections::BTreeSet::new();
    for minutes in [1, 7, 59, 119, 120, 121, 600].iter().cycle().take(2000) {
        now += Duration::from_secs(minutes * 60);
        names.insert(name_at(&keys, now));
        assert!(count(&keys) <= 3, "{}", count(&keys));
    }
    assert!(names.len() > 1000, "{}", names.len());
    // Nobody came for long: none of the old ones is left, and a new one is there.
    let last = name_at(&keys, now);
    now += 100 * HOUR;
    assert_eq!(opens(&keys, &last, now), None);
    assert_eq!(count(&keys), 1);
}

#[test]
fn a_server_that_was_idle_does_not_seal_with_the_key_from_before() {
    let keys = TicketKeys::random().unwrap();
    let begin = Instant::now();
    let first = name_at(&keys, begin);
    assert_ne!(name_at(&keys, begin + 3 * HOUR), first);
    assert_eq!(opens(&keys, &first, begin + 3 * HOUR), Some(false));
}

#[test]
fn the_first_file_seals_and_all_open() {
    let directory = tempfile::tempdir().unwrap();
    let files = [1, 2, 3].map(|seed| write(&directory, &format!("{seed}"), &bytes(seed), 0o600));
    let keys = TicketKeys::from_files(files).unwrap();
    let now = Instant::now();
    for (seed, seals) in [(1, true), (2, false), (3, false)] {
        let name: TicketKeyName = bytes(seed)[..16].try_into().unwrap();
        assert_eq!(opens(&keys, &name, now), Some(seals));
    }
    let key = keys.sealing(now).unwrap();
    // nginx's order.
    assert_eq!(key.0.name, bytes(1)[..16]);
    assert_eq!(key.0.mac_key, bytes(1)[16..48]);
    assert_eq!(key.0.cipher_key, bytes(1)[48..]);
    // Files are never replaced by the time that passes.
    assert_eq!(name_at(&keys, now + 1000 * HOUR), bytes(1)[..16]);
}

#[test]
fn keys_that_move_from_file_to_file_are_never_lost() {
    let directory = tempfile::tempdir().unwrap();
    let [current, next, previous] = [("current", 2), ("next", 3), ("previous", 1)]
        .map(|(name, seed)| write(&directory, name, &bytes(seed), 0o600));
    let keys = TicketKeys::from_files([&current, &next, &previous]).unwrap();
    let mut now = Instant::now();
    let [two, three, four] =
        [2, 3, 4].map(|seed| TicketKeyName::try_from(&bytes(seed)[..16]).unwrap());
    let mut see = |what: &str, current: &TicketKeyName, others: &[&TicketKeyName]| {
        now += 2 * SECOND;
        assert_eq!(name_at(&keys, now), *current, "{what}");
        for name in others {
            assert!(opens(&keys, name, now).is_some(), "{what}");
        }
    };
    see("before", &two, &[&three]);
    fs::rename(&current, &previous).unwrap();
    see("the current one is the previous one", &two, &[&three]);
    fs::rename(&next, &current).unwrap();
    see("the next one is the current one", &three, &[&two]);
    let fresh = write(&directory, "fresh", &bytes(4), 0o600);
    fs::rename(fresh, &next).unwrap();
    see("a new one is the next one", &three, &[&two, &four]);
}

#[test]
fn a_replacement_that_cannot_be_used_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(&directory, "key", &bytes(1), 0o600);
    let keys = TicketKeys::from_files([&path]).unwrap();
    let mut now = Instant::now();
    let mut see = |seed: u8| {
        now += 2 * SECOND;
        assert_eq!(name_at(&keys, now), bytes(seed)[..16]);
    };
    write(&directory, "key", &bytes(2)[..48], 0o600);
    see(1);
    write(&directory, "key", &bytes(2), 0o640);
    see(1);
    // Now it is right, and only the mode has changed.
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    see(2);
    fs::remove_file(&path).unwrap();
    see(2);
}

#[test]
fn what_is_no_key_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let mut zeros = bytes(1);
    zeros[16..48].fill(0);
    let mut ones = bytes(1);
    ones[48..].fill(0xff);
    let text = "0123456789abcdef".repeat(5);
    for (content, reason) in [
        (vec![], "it has 0 bytes"),
        (bytes(1)[..48].to_vec(), "48 bytes, nginx's older form"),
        (bytes(1)[..79].to_vec(), "it has 79 bytes, and a ticket key has 80"),
        ([bytes(1), vec![b'\n']].concat(), "it has 81 bytes"),
        (vec![b'x'; 1 << 20], "it has 1048576 bytes"),
        (text.into_bytes(), "it holds text"),
        (zeros, "the same byte over and over"),
        (ones, "the same byte over and over"),
        (vec![0; 80], "the same byte over and over"),
    ] {
        let path = write(&directory, "key", &content, 0o600);
        let said = TicketKeys::from_files([&path]).unwrap_err().to_string();
        assert!(said.contains(reason) && said.contains(&path.display().to_string()), "{said}");
        assert!(said.contains("openssl rand 80 >"), "{said}");
    }
}

#[test]
fn a_key_that_others_may_read_or_change_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for mode in [0o640, 0o604, 0o644, 0o620, 0o602, 0o666] {
        let path = write(&directory, "key", &bytes(1), mode);
        let said = TicketKeys::from_files([&path]).unwrap_err().to_string();
        assert!(said.contains(&format!("chmod 600 {}", path.display())), "{said}");
        assert!(said.contains(&format!("{mode:04o}")), "{said}");
    }
    for mode in [0o400, 0o600, 0o700] {
        let path = write(&directory, "key", &bytes(1), mode);
        assert!(TicketKeys::from_files([&path]).is_ok(), "{mode:o}");
    }
}

#[test]
fn two_keys_of_one_name_and_no_key_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let one = write(&directory, "one", &bytes(1), 0o600);
    let mut other = bytes(2);
    other[..16].copy_from_slice(&bytes(1)[..16]);
    let two = write(&directory, "two", &other, 0o600);
    for pair in [[&one, &two], [&one, &one]] {
        let said = TicketKeys::from_files(pair).unwrap_err().to_string();
        assert!(said.contains("two ticket keys have the same name"), "{said}");
        assert!(said.contains(&pair[1].display().to_string()), "{said}");
    }
    assert!(TicketKeys::from_files::<PathBuf>([]).is_err());
}

#[test]
fn nothing_of_a_key_is_shown() {
    assert_eq!(format!("{:?}", TicketKeys::random().unwrap()), "TicketKeys(own)");
    let directory = tempfile::tempdir().unwrap();
    let path = write(&directory, "key", &bytes(1), 0o600);
    let keys = TicketKeys::from_files([&path]).unwrap();
    assert_eq!(format!("{keys:?}"), format!("[{path:?}]"));
}

#[test]
fn a_secret_is_overwritten() {
    let mut secret = bytes(1);
    cleanse(&mut secret);
    assert_eq!(secret, [0; 80]);
}
