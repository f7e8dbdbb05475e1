//! The data of uploads on the disk: begun, gone on with, completed, removed.
//!
//! | step | what makes it durable |
//! |---|---|
//! | begin | fsync of the record, fsync of the folder, before anybody learns the URL |
//! | append | fdatasync of the data, then its length in the record, before an offset is told |
//! | complete | `placed` in the record (fsync, fsync of the folder), then [`Names::place`] |
//! | remove | the record first: data without a record are swept |

use super::super::beneath::Folder;
use super::super::digest_fields::{self, Declared, REPR_DIGEST};
use super::super::failure;
use super::super::path::FilePath;
use super::super::place::Placed;
use super::super::problem::Refused;
use super::super::temporary::sync_folder;
use super::super::upload::{folder_to_write, learn};
use super::receive::{Cut, Receiving, Watch, hash, receive};
use super::record::Record;
use super::registry::{Held, NO_SPACE, Stop};
use super::token::Token;
use super::{UploadLimits, Uploads};
use crate::http::Rejection;
use crate::message::{ConnectionInfo, RequestBody};
use ::http::StatusCode;
use ::http::header::RETRY_AFTER;
use rustix::fs::{
    AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, fallocate, fdatasync, flock, openat,
    unlinkat,
};
use rustix::io::Errno;
use sealpair_common::digest::{Hasher, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long it is remembered that an upload is complete, for a client that has missed the answer.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// No upload, or none for this client.
pub(super) const NOT_FOUND: Rejection =
    Rejection::new(StatusCode::NOT_FOUND, "no such upload; it may have expired");

/// Someone else works on it, and cannot be told to stop.
pub(super) const BUSY: Rejection =
    Rejection::new(StatusCode::CONFLICT, "another request works on this upload; try again");

/// An upload in the hands of one request.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) token: Token,
    pub(super) record: Record,
    folder: Folder,
    /// Its data; nothing once it is complete.
    data: Option<File>,
    /// How much of it is there, in bytes.
    pub(super) offset: u64,
    /// When it is removed unless something is added.
    pub(super) expires: SystemTime,
    /// The digest of what was there before this request.
    before: Option<Hasher>,
    stop: Stop,
    held: Held,
}

impl Upload {
    /// Whether the file has its name.
    pub(super) fn is_complete(&self) -> bool {
        self.data.is_none()
    }

    /// Adds content to its end, as much as comes.
    pub(super) fn receive(
        &mut self,
        uploads: &Uploads,
        body: &mut RequestBody<'_>,
        watch: &mut dyn Watch,
    ) -> Result<(), Cut> {
        let Some(file) = &self.data else { return Err(Cut::TooLong) };
        let limit = self.record.length.unwrap_or(uploads.limits.max_size);
        let mut hasher = match self.held.hasher(self.offset) {
            Some(hasher) => hasher,
            None => hash(file, self.offset, Some(&self.stop)).map_err(Cut::Write)?,
        };
        let before = self.offset;
        self.before = Some(hasher.clone());
        let received = receive(
            Receiving {
                file,
                offset: &mut self.offset,
                limit,
                hasher: &mut hasher,
                stop: &self.stop,
                may_take: &|space| uploads.registry.may_take(self.token, space, &uploads.limits),
            },
            body,
            watch,
        );
        // As will be seen from the time of the data.
        if self.offset > before {
            self.expires = expiry(SystemTime::now(), &uploads.limits);
        }
        self.held.keep(Some(hasher));
        received
    }

    /// Brings the data to the disk, after which the offset may be told. An upload of which something may
    /// be lost is removed.
    ///
    /// How much there is, is noted then: after a loss of power, the length of a file may be of more
    /// than its content. Where even that has no room, it has to be believed.
    pub(super) fn sync(&mut self, uploads: &Uploads) -> Result<(), Refused> {
        if self.data.is_none() {
            return Ok(());
        }
        self.flush(uploads)?;
        if self.record.note_durable(self.offset)
            && let Err(error) = self.record.write(&self.folder, self.token)
        {
            log::warn!("could not note how far an upload is: {error}");
        }
        Ok(())
    }

    /// Brings the data to the disk, and nothing else.
    fn flush(&self, uploads: &Uploads) -> Result<(), Refused> {
        let Some(file) = &self.data else { return Ok(()) };
        fdatasync(file).map_err(|errno| {
            // The kernel may have dropped what it could not write, and tells so only once.
            log::error!("an upload is given up: its data could not be brought to the disk");
            self.discard(uploads);
            failure::writing("bring an upload to the disk", &errno.into()).into()
        })
    }

    /// Goes back to what is certain, if the machine was started anew since. Whether all is there that was
    /// acknowledged: if not, there is no going on (the draft, section 4.1.1).
    fn recover(&mut self) -> io::Result<bool> {
        let Some(file) = &self.data else { return Ok(true) };
        let durable = self.record.durable;
        if self.offset > durable && self.record.is_of_another_boot() {
            file.set_len(durable)?;
            self.offset = durable;
        }
        Ok(self.offset >= durable)
    }

    /// Takes away again what this request has added behind `offset`.
    pub(super) fn take_back(&mut self, offset: u64) -> io::Result<()> {
        // Without it, who lies about one byte would have all that came before read again each time.
        self.held.keep(self.before.take().filter(|hasher| hasher.length() == offset));
        if let Some(file) = &self.data {
            file.set_len(offset)?;
            self.offset = offset;
            // To shorten a file gives back what is reserved behind its end. If somebody else has taken that
            // meanwhile, the next append will tell.
            let _ = reserve(file, self.record.length.unwrap_or(0));
            // It could be that a part of it was noted already.
            self.record.durable = self.record.durable.min(offset);
        }
        Ok(())
    }

    /// Notes the length of the whole, which may be told late but only once, and reserves room for it.
    pub(super) fn set_length(&mut self, uploads: &Uploads, length: u64) -> Result<(), Refused> {
        if self.record.length == Some(length) {
            return Ok(());
        }
        if !uploads.registry.may_take(self.token, length, &uploads.limits) {
            return Err(NO_SPACE.into());
        }
        if let Some(file) = &self.data {
            reserve(file, length).map_err(failed)?;
        }
        self.record.length = Some(length);
        self.record.write(&self.folder, self.token).map_err(failed)
    }

    /// All of it is there: checks it and gives it its name. Whatever is not what it must be is removed.
    pub(super) fn complete(
        &mut self,
        uploads: &Uploads,
        declared: &Declared,
    ) -> Result<(Placed, Sha256), Refused> {
        let (Some(file), Some(target)) = (&self.data, self.record.target()) else {
            return Err(NOT_FOUND.into());
        };
        self.held.go_through();
        let hasher = match self.held.hasher(self.offset) {
            Some(hasher) => hasher,
            None => hash(file, self.offset, None).map_err(failed)?,
        };
        self.held.keep(Some(hasher.clone()));
        let digest = hasher.finish().map_err(failed)?;
        let recorded = self.record.digest.as_ref().and_then(|digest| digest.parse().ok());
        let checked = digest_fields::check(&REPR_DIGEST, declared.whole, digest)
            .and_then(|()| digest_fields::check(&REPR_DIGEST, recorded, digest));
        if let Err(mismatch) = checked {
            // Nothing that could be added would make it right.
            self.discard(uploads);
            return Err(mismatch);
        }
        // Not only when it takes its name: what fails there is tried again.
        self.flush(uploads)?;
        self.record.length = Some(self.offset);
        self.record.placed = true;
        self.record.write(&self.folder, self.token).map_err(failed)?;
        let conditions = self.record.conditions();
        let data = self.token.data();
        match uploads.names.place(&self.folder, &data, file, &target, &conditions) {
            Ok(placed) => {
                learn(&uploads.digests, &placed, digest);
                if let Some((folder, oldest)) = uploads.registry.completed(self.token) {
                    uploads.forget(&folder, oldest);
                }
                self.held.keep(None);
                self.data = None;
                Ok((placed, digest))
            }
            Err(rejection) => {
                // Full disks and folders that may not be written pass; that a precondition is false, or that
                // something else has the name, does not.
                let final_ = [StatusCode::CONFLICT, StatusCode::PRECONDITION_FAILED];
                if final_.contains(&rejection.status) {
                    self.discard(uploads);
                }
                Err(rejection.into())
            }
        }
    }

    /// Removes it, and all that it has on the disk.
    pub(super) fn discard(&self, uploads: &Uploads) {
        if let Err(error) = remove(&self.folder, self.token) {
            log::warn!("could not remove an upload: {error}");
        }
        self.held.keep(None);
        uploads.registry.forget(self.token);
    }
}

/// Removes the files of an upload, so that nobody goes on with it afterwards.
pub(super) fn remove(folder: &Folder, token: Token) -> io::Result<()> {
    Record::remove(folder, token)?;
    match unlinkat(folder, token.data(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => sync_folder(folder),
        Err(errno) => Err(errno.into()),
    }
}

impl Uploads {
    /// Begins an upload of a file in a folder.
    pub(super) fn begin(
        &self,
        connection: &ConnectionInfo,
        path: &FilePath,
        folder: Folder,
        mut record: Record,
    ) -> Result<Upload, Refused> {
        record.creator = fingerprint(connection).map(str::to_owned);
        let token = Token::random().map_err(failed)?;
        let parent = path.parent();
        let space = record.length.unwrap_or(0);
        let admit = || self.registry.admit(token, parent.as_path(), space, &self.limits);
        let entry = admit().or_else(|_| {
            self.make_room();
            admit()
        })?;
        let stop = Stop::of(connection);
        let held = entry.take_turn(stop.clone()).ok_or(BUSY)?;
        let data = create(&folder, token, &record).and_then(|file| {
            // It makes the name of the data durable, too.
            record.write(&folder, token)?;
            Ok(file)
        });
        let data = data.map_err(|error| {
            let _ = remove(&folder, token);
            self.registry.forget(token);
            failed(error)
        })?;
        let expires = expiry(SystemTime::now(), &self.limits);
        let (data, before) = (Some(data), None);
        Ok(Upload { token, record, folder, data, offset: 0, expires, before, stop, held })
    }

    /// Removes the record of a complete upload.
    fn forget(&self, folder: &Path, token: Token) {
        let removed = match folder_to_write(&self.root, folder) {
            Ok(folder) => Record::remove(&folder, token),
            // It is gone with its folder.
            Err(_) => Ok(()),
        };
        if let Err(error) = removed {
            log::warn!("could not forget an upload: {error}");
        }
    }

    /// Takes an upload that was begun; whoever works on it is told to stop.
    pub(super) fn open(
        &self,
        connection: &ConnectionInfo,
        path: &FilePath,
        token: Token,
    ) -> Result<Upload, Refused> {
        let folder = folder_to_write(&self.root, path.as_path()).map_err(|_| NOT_FOUND)?;
        let read = || -> Result<_, Refused> {
            Record::read(&folder, token).map_err(failed)?.ok_or_else(|| NOT_FOUND.into())
        };
        // Before anybody is told to stop: who may not go on with it does not learn that it is there.
        let (record, _) = read()?;
        if record.creator.is_some() && record.creator.as_deref() != fingerprint(connection) {
            return Err(NOT_FOUND.into());
        }
        let space = record.length.unwrap_or(0);
        let entry = self.registry.adopt(token, path.as_path(), space, !record.placed);
        let stop = Stop::of(connection);
        let busy = || Refused::from(BUSY).with(RETRY_AFTER, 1);
        let held = entry.take_turn(stop.clone()).ok_or_else(busy)?;
        // It may have changed while this request waited.
        let gone = |error| {
            self.registry.forget(token);
            error
        };
        let (record, written) = read().map_err(gone)?;
        let data = open_data(&folder, token).map_err(failed)?;
        let (offset, touched) = match &data {
            Some(file) => {
                // On a file system without locks this process is taken to be alone.
                let locked = flock(file, FlockOperation::NonBlockingLockExclusive);
                if locked == Err(Errno::WOULDBLOCK) {
                    return Err(busy());
                }
                let metadata = file.metadata().map_err(failed)?;
                if metadata.nlink() == 0 {
                    return Err(gone(NOT_FOUND.into()));
                }
                let touched = metadata.modified().map_err(failed)?;
                (metadata.len(), Some(touched))
            }
            None => (record.length.unwrap_or(0), None),
        };
        let expires = removal(&record, written, touched, &self.limits)
            .ok_or_else(|| gone(NOT_FOUND.into()))?;
        let before = None;
        let mut upload =
            Upload { token, record, folder, data, offset, expires, before, stop, held };
        if expires < SystemTime::now() || !upload.recover().map_err(failed)? {
            upload.discard(self);
            return Err(NOT_FOUND.into());
        }
        Ok(upload)
    }
}

/// The certificate by which a client is known.
fn fingerprint(connection: &ConnectionInfo) -> Option<&str> {
    connection.session().peer.first().map(|certificate| certificate.sha256.as_str())
}

/// When an upload is to be removed: some time after its last byte, or after its completion. Nothing for
/// one whose data are gone although it was not completed.
pub(super) fn removal(
    record: &Record,
    written: SystemTime,
    touched: Option<SystemTime>,
    limits: &UploadLimits,
) -> Option<SystemTime> {
    match touched {
        Some(touched) => Some(expiry(touched, limits)),
        None if record.placed => Some(later(written, limits.expiry.min(REMEMBERED))),
        None => None,
    }
}

fn expiry(from: SystemTime, limits: &UploadLimits) -> SystemTime {
    later(from, limits.expiry)
}

/// A time so much later, unless no clock can tell it.
pub(super) fn later(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_add(by).unwrap_or(time)
}

fn create(folder: &Folder, token: Token, record: &Record) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(folder, token.data(), flags, Mode::RUSR | Mode::WUSR)?);
    let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
    if let Some(length) = record.length {
        reserve(&file, length)?;
    }
    Ok(file)
}

/// Reserves room for a length of data without changing how much there is of them, so that what cannot
/// fit is refused before it is sent.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
        Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(errno.into()),
        // A file system that cannot reserve.
        Ok(()) | Err(_) => Ok(()),
    }
}

fn open_data(folder: &Folder, token: Token) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(folder, token.data(), flags, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file)).filter(is_file)),
        Err(Errno::NOENT | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn is_file(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}

pub(super) fn failed(error: io::Error) -> Refused {
    failure::writing("store an upload", &error).into()
}
