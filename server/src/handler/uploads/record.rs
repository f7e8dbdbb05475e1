//! What an upload is for, as it stands beside its data: enough to go on with it after a restart.

use super::super::beneath::Folder;
use super::super::path::{FilePath, encode_name};
use super::super::temporary::sync_folder;
use super::token::Token;
use ::http::HeaderMap;
use ::http::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use rustix::fs::{AtFlags, Mode, OFlags, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
use sealpair_common::boot;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

/// The longest record in bytes: a head's worth of preconditions and metadata. Another is not ours.
const LONGEST: u64 = 128 << 10;

/// The version of the format.
const SCHEMA: &str = "sealpair.upload/1";

/// The preconditions that are checked again when the upload is complete.
const CONDITIONS: [HeaderName; 3] = [IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE];

/// What an upload is for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Record {
    schema: String,
    /// The name that the file is to have, percent-encoded.
    target: String,
    /// The length in bytes that the client has declared.
    pub(super) length: Option<u64>,
    /// The SHA-256 of the certificate that alone may go on, where the client presented one.
    pub(super) creator: Option<String>,
    /// The preconditions of the request that began the upload.
    conditions: Vec<(String, String)>,
    /// The SHA-256 that the whole must have, in hexadecimal.
    pub(super) digest: Option<String>,
    /// Whether the client wants to know the digest of the whole.
    pub(super) wants_digest: bool,
    /// The `Upload-Metadata` of tus, as sent.
    pub(super) metadata: Option<String>,
    /// How many bytes of the data were on the disk for certain when this was written.
    pub(super) durable: u64,
    /// Since which start of the machine more than that can be believed.
    boot: String,
    /// Whether the file is in its place: so it is where this is true and there are no data any more.
    pub(super) placed: bool,
}

impl Record {
    /// A record of an upload for the file `target`.
    pub(super) fn new(target: &OsStr, headers: &HeaderMap) -> Self {
        let conditions = CONDITIONS.iter().flat_map(|name| {
            let values = headers.get_all(name).iter();
            // What is no text matches no entity tag, and no more does what stands for it.
            values.map(|value| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        });
        Self {
            schema: SCHEMA.to_owned(),
            target: encode_name(target.as_bytes()).to_string(),
            length: None,
            creator: None,
            conditions: conditions.collect(),
            digest: None,
            wants_digest: false,
            metadata: None,
            durable: 0,
            boot: boot::id().to_owned(),
            placed: false,
        }
    }

    /// Whether the machine was started anew since this was written: then data that were not brought to
    /// the disk may be there by their length alone.
    pub(super) fn is_of_another_boot(&self) -> bool {
        self.boot != boot::id()
    }

    /// Notes how many bytes are on the disk; whether that is news.
    pub(super) fn note_durable(&mut self, length: u64) -> bool {
        let news = self.durable != length || self.is_of_another_boot();
        self.durable = length;
        boot::id().clone_into(&mut self.boot);
        news
    }

    /// The name that the file is to have. Nothing where somebody has written a path into the record.
    pub(super) fn target(&self) -> Option<OsString> {
        let path = FilePath::decode(&format!("/{}", self.target), true).ok()?;
        let (folder, name) = path.split()?;
        (folder == OsStr::new(".") && !path.is_folder()).then(|| name.to_owned())
    }

    /// The preconditions, as they were sent.
    pub(super) fn conditions(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.conditions {
            let name = HeaderName::from_bytes(name.as_bytes()).ok();
            let value = HeaderValue::from_bytes(value.as_bytes());
            // A condition that cannot be read is one that does not hold.
            let unreadable = || (IF_MATCH, HeaderValue::from_static("\"\""));
            let (name, value) = name.zip(value.ok()).unwrap_or_else(unreadable);
            headers.append(name, value);
        }
        headers
    }

    /// Reads the record of an upload, and when it was written; nothing where there is none.
    pub(super) fn read(folder: &Folder, token: Token) -> io::Result<Option<(Self, SystemTime)>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(folder, token.record(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let metadata = file.metadata()?;
        let mut text = Vec::new();
        if !metadata.is_file() || file.take(LONGEST + 1).read_to_end(&mut text)? as u64 > LONGEST {
            return Ok(None);
        }
        let record = serde_json::from_slice::<Self>(&text).ok();
        let record = record.filter(|record| record.schema == SCHEMA && record.target().is_some());
        Ok(record.map(|record| (record, metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH))))
    }

    /// Writes the record in place of an older one, durably: it is there whole, old or new.
    pub(super) fn write(&self, folder: &Folder, token: Token) -> io::Result<()> {
        let name = token.record();
        let new = format!("{name}.new");
        let written = self.write_as(folder, &new);
        let renamed = written.and_then(|()| Ok(renameat(folder, &new, folder, &name)?));
        if renamed.is_err() {
            let _ = unlinkat(folder, &new, AtFlags::empty());
        }
        renamed?;
        sync_folder(folder)
    }

    fn write_as(&self, folder: &Folder, name: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::TRUNC
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let mut file = File::from(openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?);
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        file.write_all(&text)?;
        Ok(fsync(&file)?)
    }

    /// Removes the record of an upload; afterwards its data are nobody's.
    pub(super) fn remove(folder: &Folder, token: Token) -> io::Result<()> {
        match unlinkat(folder, token.record(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::beneath::{Resolved, Root};
    use super::*;
    use ::http::header;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use tempfile::TempDir;

    fn folder() -> (TempDir, Folder) {
        let path = tempfile::tempdir().unwrap();
        match Root::open(path.path()).unwrap().resolve(Path::new(".")) {
            Ok(Resolved::Folder(folder)) => (path, folder),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_is_private() {
        let (path, folder) = folder();
        let token = Token::random().unwrap();
        assert!(Record::read(&folder, token).unwrap().is_none());
        let mut headers = HeaderMap::new();
        headers.append(IF_MATCH, HeaderValue::from_static("\"a\""));
        headers.append(IF_MATCH, HeaderValue::from_bytes(b"\"\xff\"").unwrap());
        headers.append(header::COOKIE, HeaderValue::from_static("secret"));
        let mut record = Record::new(OsStr::from_bytes(b"a b\n\xff"), &headers);
        record.write(&folder, token).unwrap();
        record.length = Some(7);
        record.write(&folder, token).unwrap();

        let (read, _) = Record::read(&folder, token).unwrap().unwrap();
        assert_eq!(read.target().unwrap().as_bytes(), b"a b\n\xff");
        assert_eq!(read.length, Some(7));
        let conditions = read.conditions();
        assert_eq!(conditions.get_all(IF_MATCH).iter().count(), 2);
        assert_eq!(conditions.len(), 2);
        let file = path.path().join(token.record());
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.path()).unwrap().count(), 1);
        Record::remove(&folder, token).unwrap();
        Record::remove(&folder, token).unwrap();
        assert!(Record::read(&folder, token).unwrap().is_none());
    }

    #[test]
    fn what_is_no_record_is_none() {
        let (path, folder) = folder();
        let token = Token::random().unwrap();
        let file = path.path().join(token.record());
        let good = serde_json::to_string(&Record::new(OsStr::new("a"), &HeaderMap::new())).unwrap();
        for bad in [
            String::new(),
            "{}".to_owned(),
            good.replace("upload/1", "upload/2"),
            good.replace("\"a\"", "\"..\""),
            good.replace("\"a\"", "\"a%2fb\""),
            good.replace("\"a\"", "\"a/b\""),
            good.replace("\"a\"", "\"a/\""),
            format!("{good}{}", " ".repeat(128 << 10)),
        ] {
            fs::write(&file, &bad).unwrap();
            assert!(Record::read(&folder, token).unwrap().is_none(), "{bad:.80}");
        }
        fs::write(&file, &good).unwrap();
        assert!(Record::read(&folder, token).unwrap().is_some());
        fs::rename(&file, path.path().join("elsewhere")).unwrap();
        symlink("elsewhere", &file).unwrap();
        assert!(Record::read(&folder, token).unwrap().is_none());
    }
}
