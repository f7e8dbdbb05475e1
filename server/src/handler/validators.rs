//! What tells the versions of a file apart: its entity tag and the time of its modification (RFC 9110
//! section 8.8).

use super::entity_tag::EntityTag;
use crate::open_file::Identity;
use ::http::header::HeaderValue;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// How long after a change another one may leave the same times, where the file system keeps fractions of a
/// second.
///
/// Linux stamps files with the time of the last tick of its clock, at most 10 ms ago (`CONFIG_HZ` of 100, its
/// lowest). The rest is for a single write(2), which is stamped once, when it begins, and for clocks that do
/// not run exactly alike.
const FINE: Duration = Duration::from_millis(100);

/// The same where the time of change is a whole second. FAT knows every second one, ext3, HFS+ and NFS on top
/// of them every one; one more, because it is not known how they round.
const COARSE: Duration = Duration::from_secs(3);

/// The validators of one version of a file.
#[derive(Clone, Debug)]
pub(super) struct Validators {
    etag: HeaderValue,
    modified: Option<u64>,
    /// Whether the time of modification is a strong validator.
    strong_date: bool,
    settled: bool,
}

impl Validators {
    /// The validators of a file that has this metadata now.
    pub(super) fn of(metadata: &Metadata, now: SystemTime) -> Self {
        let settled = is_settled(&Identity::of(metadata), now);
        let modified = modified(metadata);
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            etag: etag(metadata, settled, now),
            modified,
            // RFC 9110 section 8.8.2.2: it must be known that the content did not change twice during the
            // second that the date names. Where the last change was in that second, and it is over, whoever
            // was given the date later has the last of its versions. A time of modification that somebody
            // set proves nothing.
            strong_date: settled
                && metadata.mtime() == metadata.ctime()
                && modified.is_some_and(|modified| modified < second),
            settled,
        }
    }

    /// The entity tag as a field value.
    pub(super) fn etag(&self) -> &HeaderValue {
        &self.etag
    }

    /// The entity tag for comparisons.
    pub(super) fn tag(&self) -> Option<EntityTag<'_>> {
        EntityTag::parse(self.etag.as_bytes())
    }

    /// The second since the epoch in which the file was modified; `None` where HTTP cannot say it.
    pub(super) fn modified(&self) -> Option<u64> {
        self.modified
    }

    /// The same where it tells versions apart as surely as a strong entity tag.
    pub(super) fn strong_date(&self) -> Option<u64> {
        self.modified.filter(|_| self.strong_date)
    }

    /// Whether a further change would show in the times of the file.
    pub(super) fn are_settled(&self) -> bool {
        self.settled
    }

    /// `Last-Modified`, never later than the response itself (RFC 9110 section 8.8.2.1).
    pub(super) fn last_modified(&self, now: SystemTime) -> Option<HeaderValue> {
        let modified =
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.modified?))?.min(now);
        HeaderValue::from_str(&httpdate::fmt_http_date(modified)).ok()
    }
}

/// The entity tag of a file that has this metadata now.
pub(super) fn entity_tag(metadata: &Metadata) -> Option<HeaderValue> {
    Some(Validators::of(metadata, SystemTime::now()).etag)
}

/// An entity tag (RFC 9110 section 8.8.3): a digest of inode, size, time of modification and time of change,
/// the times in nanoseconds.
///
/// A file that is replaced has another inode or another time of change; one that is written in place has
/// another time of both, as exactly as the file system keeps time. The time of change is in it because that
/// of modification can be set at will. The device is not: its number may change when the machine restarts.
///
/// As long as another change could leave all of that as it is, the tag is weak and differs each time: it
/// proves nothing, neither that a part belongs to the rest nor that a copy is still good.
///
/// It is digested because an inode number is nobody's business outside.
fn etag(metadata: &Metadata, settled: bool, now: SystemTime) -> HeaderValue {
    let facts = [
        metadata.ino(),
        metadata.size(),
        nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    ];
    let digest = fnv(FNV_BASIS, &facts);
    let text = match settled {
        true => format!("\"{digest:032x}\""),
        false => {
            let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let facts = [now.as_secs(), u64::from(now.subsec_nanos()), 1];
            format!("W/\"{:032x}\"", fnv(digest, &facts))
        }
    };
    // Digits and quotes are valid in a field.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// The offset basis of FNV-1a of 128 bits (Fowler, Noll, Vo).
const FNV_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;

fn fnv(basis: u128, facts: &[u64]) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = facts.iter().flat_map(|fact| fact.to_le_bytes());
    bytes.fold(basis, |digest, byte| (digest ^ u128::from(byte)).wrapping_mul(PRIME))
}

/// Only ever compared, so it may wrap around.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds).cast_unsigned()
}

/// The second of modification; `None` where HTTP cannot say it.
fn modified(metadata: &Metadata) -> Option<u64> {
    // RFC 9110 section 5.6.7: four digits for the year, and no year before the epoch makes sense.
    const YEAR_10000: u64 = 253_402_300_800;
    u64::try_from(metadata.mtime()).ok().filter(|&seconds| seconds < YEAR_10000)
}

/// Whether a further change of the content would show in the times of a file. It is what git asks of its
/// index ("racy git", Documentation/technical/racy-git.txt).
pub(super) fn is_settled(identity: &Identity, now: SystemTime) -> bool {
    let Identity { modified, changed, .. } = *identity;
    // A write sets both to the same. Where they differ, something else has changed since the last one, such as
    // the name, and a write would show even if it were in the same tick. An upload is such a file.
    if changed > modified && modified.0 > 0 {
        return true;
    }
    // Some file systems have no time of change.
    let latest = if changed.0 > 0 { changed } else { modified };
    let bound = if latest.1 == 0 { COARSE } else { FINE };
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(latest.0), u32::try_from(latest.1)) else {
        return false;
    };
    // A time in the future means that the clock was set back: there may come another such time.
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::new(seconds, nanoseconds))
        .and_then(|latest| now.duration_since(latest).ok())
        .is_some_and(|age| age >= bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;

    fn later() -> SystemTime {
        SystemTime::now() + COARSE
    }

    fn tag(path: &Path, now: SystemTime) -> HeaderValue {
        Validators::of(&fs::metadata(path).unwrap(), now).etag
    }

    #[test]
    fn the_tag_follows_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let first = tag(&path, later());
        assert_eq!(tag(&path, later()), first);
        assert_eq!(first.len(), 34);

        // Another size.
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"!").unwrap();
        assert_ne!(tag(&path, later()), first);

        // Another file of the same size, even with the same time of modification.
        let other = folder.path().join("b");
        fs::write(&other, "one!").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        file.set_modified(time).unwrap();
        File::open(&other).unwrap().set_modified(time).unwrap();
        assert_ne!(tag(&path, later()), tag(&other, later()));
    }

    #[test]
    fn a_tag_that_another_change_could_leave_as_it_is_is_weak_and_never_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        // Until the last write has set both times to the same.
        let metadata = loop {
            fs::write(&path, "one").unwrap();
            let metadata = fs::metadata(&path).unwrap();
            if metadata.ctime_nsec() != 0 && metadata.modified().unwrap() == changed(&metadata) {
                break metadata;
            }
        };
        let changed = changed(&metadata);
        let at = |now: SystemTime| Validators::of(&metadata, now);
        let strong = at(changed + FINE);
        assert!(strong.are_settled());
        for now in [
            changed,
            changed + FINE - Duration::from_nanos(1),
            // The clock has been set back.
            changed - Duration::from_nanos(1),
            changed - Duration::from_secs(86_400),
        ] {
            let weak = at(now);
            assert!(!weak.are_settled());
            assert!(weak.etag().as_bytes().starts_with(b"W/\""), "{now:?}");
            assert_eq!(weak.strong_date(), None);
            let (weak, strong) = (weak.tag().unwrap(), strong.tag().unwrap());
            assert!(!weak.matches_strongly(strong) && !weak.matches_weakly(strong));
            let other = at(now + Duration::from_nanos(1));
            assert!(!other.tag().unwrap().matches_weakly(weak));
        }
    }

    fn changed(metadata: &Metadata) -> SystemTime {
        let nanoseconds = metadata.ctime_nsec().try_into().unwrap();
        SystemTime::UNIX_EPOCH + Duration::new(metadata.ctime().try_into().unwrap(), nanoseconds)
    }

    #[test]
    fn a_file_that_got_its_name_after_its_content_is_settled_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_millis(20)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert!(Validators::of(&metadata, SystemTime::now()).are_settled());
    }

    #[test]
    fn a_date_is_strong_only_if_the_last_change_was_in_its_second_and_that_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        if metadata.mtime() == metadata.ctime() {
            let second = metadata.mtime().cast_unsigned();
            let at = |seconds: u64, millis: u64| {
                let now = SystemTime::UNIX_EPOCH
                    + Duration::from_secs(second + seconds)
                    + Duration::from_millis(millis);
                Validators::of(&metadata, now).strong_date()
            };
            assert_eq!(at(0, 999), None);
            assert_eq!(at(4, 0), Some(second));
        }
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
        let validators = Validators::of(&fs::metadata(&path).unwrap(), later());
        assert!(validators.modified().is_some());
        assert_eq!(validators.strong_date(), None);
    }

    #[test]
    fn times_that_http_cannot_say_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = File::create(&path).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let modified = |time: SystemTime| {
            file.set_modified(time).unwrap();
            Validators::of(&fs::metadata(&path).unwrap(), now).last_modified(now)
        };
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(modified(epoch).unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(modified(now).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        let later = now + Duration::from_secs(1000);
        assert_eq!(modified(later).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(modified(epoch - Duration::from_secs(10)), None);
    }
}
