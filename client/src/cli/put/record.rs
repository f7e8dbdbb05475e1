//! Where unfinished uploads are remembered, so that another run can go on with them.
//!
//! Each is a file in `$XDG_STATE_HOME/sealpair/uploads` (else `~/.local/state/…`), named by a digest of
//! the target and the path of the source. It holds the URL of the upload, and who knows that may write to
//! the upload or end it: so the folder is for its owner alone, and the URL is told to nobody.
//!
//! While a run uses a record it holds a lock on it. Another run of the same upload at the same time makes
//! an upload of its own, which nobody remembers.

use super::source::{FileSource, Identity};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::process::geteuid;
use sealpair_common::digest::Hasher;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::Builder;
use url::Url;

const SCHEMA: &str = "sealpair.upload/1";
/// A record is a few hundred bytes; a URL may be long.
const LONGEST: u64 = 64 << 10;
/// How long a record is kept where the server does not say how long it keeps the upload.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many records are looked at when old ones are removed.
const SWEPT: usize = 10_000;

/// One unfinished upload.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Content {
    schema: String,
    target: String,
    source: Identity,
    upload: String,
    /// Seconds since 1970 after which there is no use in asking for it.
    expires: u64,
}

/// The folder of records.
#[derive(Debug)]
pub(super) struct Records {
    folder: PathBuf,
}

/// The place of the record of one upload, and perhaps the record.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    target: String,
    source: Identity,
    /// The record that is in place and ours; its lock is held by this.
    held: Option<File>,
}

/// What is remembered of an upload.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Found {
    Nothing,
    /// Where it can be gone on with.
    Same(Url),
    /// Where another version of the source was sent to, which nobody wants any more.
    Other(Url),
}

impl Records {
    /// The user's records, without those that are too old; `None` if they cannot be kept, which the log
    /// says.
    pub(super) fn open() -> Option<Self> {
        let records = folder().and_then(|folder| Self::at(&folder));
        match records {
            Ok(records) => {
                records.sweep();
                Some(records)
            }
            Err(error) => {
                log::warn!("unfinished uploads cannot be remembered: {error}");
                None
            }
        }
    }

    fn at(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let metadata = fs::symlink_metadata(folder)?;
        // Whoever else can write there could have content sent to another upload.
        let private = metadata.is_dir()
            && metadata.uid() == geteuid().as_raw()
            && metadata.mode() & 0o077 == 0;
        match private {
            true => Ok(Self { folder: folder.to_owned() }),
            false => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} is not a folder of this user alone", folder.display()),
            )),
        }
    }

    /// The record of an upload, and what it says. `None` while another run has it.
    pub(super) fn claim(&self, target: &Url, source: &FileSource) -> Option<(Record, Found)> {
        let path = self.path(target, source)?;
        let mut record = Record {
            path,
            target: target.to_string(),
            source: source.identity().clone(),
            held: None,
        };
        let Ok(mut file) = read_only(&record.path) else {
            return Some((record, Found::Nothing));
        };
        if !Self::lock(&file) {
            log::info!("another run uploads {} to the same place", source.name().display());
            return None;
        }
        let content = read(&mut file);
        record.held = Some(file);
        let usable = |content: &Content| {
            content.schema == SCHEMA && content.target == record.target && content.expires > now()
        };
        let found = content.filter(usable).and_then(|content| {
            let upload = same_origin(target, &content.upload)?;
            Some(match content.source == record.source {
                true => Found::Same(upload),
                false => Found::Other(upload),
            })
        });
        Some((record, found.unwrap_or(Found::Nothing)))
    }

    fn path(&self, target: &Url, source: &FileSource) -> Option<PathBuf> {
        let canonical = fs::canonicalize(source.name()).ok()?;
        let mut hasher = Hasher::new().ok()?;
        for part in [target.as_str().as_bytes(), b"\0", canonical.as_os_str().as_bytes()] {
            hasher.update(part).ok()?;
        }
        Some(self.folder.join(format!("{}.json", hasher.finish().ok()?)))
    }

    fn lock(file: &File) -> bool {
        flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Removes what is of no use: records that have expired, and what was left when a run was killed.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten().take(SWEPT) {
            let path = entry.path();
            let Ok(mut file) = read_only(&path) else {
                continue;
            };
            let age = || file.metadata().ok()?.modified().ok()?.elapsed().ok();
            let old = age().is_some_and(|age| age > KEPT);
            let content = if old { None } else { read(&mut file) };
            let useless = match content {
                Some(content) => content.expires <= now(),
                // One that is being written is not whole yet.
                None => old,
            };
            if useless && Self::lock(&file) {
                remove(&path, &file);
            }
        }
    }
}

impl Record {
    /// Remembers where the upload is, durably: what is sent from now on need not be sent again.
    pub(super) fn keep(&mut self, upload: &Url, max_age: Option<u64>) {
        let kept = max_age.map_or(KEPT, Duration::from_secs).min(4 * KEPT);
        let content = Content {
            schema: SCHEMA.to_owned(),
            target: self.target.clone(),
            source: self.source.clone(),
            upload: upload.to_string(),
            expires: now().saturating_add(kept.as_secs()),
        };
        match self.write(&content) {
            Ok(file) => self.held = Some(file),
            Err(error) => log::warn!("this upload cannot be remembered: {error}"),
        }
    }

    fn write(&self, content: &Content) -> io::Result<File> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        // tempfile makes files that only their owner can read.
        let mut temporary = Builder::new().prefix(".record-").tempfile_in(folder)?;
        temporary.write_all(&serde_json::to_vec(content)?)?;
        Records::lock(temporary.as_file());
        temporary.as_file().sync_all()?;
        let file = temporary.persist(&self.path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()?;
        Ok(file)
    }

    /// Forgets it: it is complete, or of no use.
    pub(super) fn forget(&mut self) {
        if let Some(file) = self.held.take() {
            remove(&self.path, &file);
        }
    }
}

/// Removes a record, unless another run has put its own in the place.
fn remove(path: &Path, file: &File) {
    let same = |file: &File| {
        let (here, there) = (file.metadata().ok()?, fs::symlink_metadata(path).ok()?);
        Some((here.dev(), here.ino()) == (there.dev(), there.ino()))
    };
    if same(file) == Some(true)
        && let Err(error) = fs::remove_file(path)
    {
        log::warn!("cannot remove {}: {error}", path.display());
    }
}

/// Opens a record; no link is followed, and nothing is waited for.
fn read_only(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(open(path, flags, Mode::empty())?.into())
}

fn read(file: &mut File) -> Option<Content> {
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A URL where the server that was named takes content; another server must not get it. Nor is it the
/// target: what belongs to an upload that is given up is deleted.
pub(super) fn same_origin(target: &Url, upload: &str) -> Option<Url> {
    let mut url = target.join(upload).ok()?;
    url.set_fragment(None);
    let no_password = url.username().is_empty() && url.password().is_none();
    (url.origin() == target.origin() && url != *target && no_password).then_some(url)
}

/// The XDG Base Directory Specification: a relative path is to be ignored.
fn folder() -> io::Result<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .ok_or_else(|| io::Error::other("neither XDG_STATE_HOME nor HOME is set"))?;
    Ok(state.join("sealpair/uploads"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    fn fixture() -> (TempDir, Records, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::at(&dir.path().join("a/uploads")).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "content").unwrap();
        (dir, records, file)
    }

    fn source(path: &Path) -> FileSource {
        match Source::open(path).unwrap() {
            Source::File(source) => source,
            Source::Stream(..) => panic!("a stream"),
        }
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn an_upload_is_found_again_and_forgotten() {
        let (_dir, records, file) = fixture();
        let (target, upload) = (url("https://h/a"), url("https://h/.uploads/secret"));
        let (mut record, found) = records.claim(&target, &source(&file)).unwrap();
        assert_eq!(found, Found::Nothing);
        record.keep(&upload, None);
        assert!(records.claim(&target, &source(&file)).is_none(), "it is in use");
        drop(record);
        let path = fs::read_dir(&records.folder).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&records.folder).unwrap().permissions().mode() & 0o777, 0o700);

        assert_eq!(records.claim(&url("https://h/b"), &source(&file)).unwrap().1, Found::Nothing);
        let (mut record, found) = records.claim(&target, &source(&file)).unwrap();
        assert_eq!(found, Found::Same(upload));
        record.forget();
        assert!(!path.exists());
    }

    #[test]
    fn another_version_of_the_source_is_another_upload() {
        let (_dir, records, file) = fixture();
        let target = url("https://h/a");
        let (mut record, _) = records.claim(&target, &source(&file)).unwrap();
        record.keep(&url("https://h/u"), None);
        drop(record);
        fs::write(&file, "another").unwrap();
        let (_, found) = records.claim(&target, &source(&file)).unwrap();
        assert_eq!(found, Found::Other(url("https://h/u")));
    }

    #[test]
    fn a_record_that_leads_elsewhere_or_is_too_old_is_not_used() {
        let (_dir, records, file) = fixture();
        let target = url("https://h/a");
        for (upload, age) in [("https://evil/u", 60), ("https://h:1/u", 60), ("https://h/u", 0)] {
            let (mut record, _) = records.claim(&target, &source(&file)).unwrap();
            record.keep(&url(upload), Some(age));
            drop(record);
            assert_eq!(
                records.claim(&target, &source(&file)).unwrap().1,
                Found::Nothing,
                "{upload}"
            );
        }
        records.sweep();
        assert_eq!(fs::read_dir(&records.folder).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_others_can_look_into_is_refused() {
        let (_dir, records, _) = fixture();
        fs::set_permissions(&records.folder, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(Records::at(&records.folder).is_err());
    }
}
