//! The data of uploads on the disk: begun, gone on with, completed, removed.
//!
//! | step | what makes it durable |
//! |---|---|
//! | begin | fsync of the record, fsync of the folder, before anybody learns the URL |
//! | append | fdatasync of the data, before an offset is told |
//! | complete | `placed` in the record (fsync, fsync of the folder), then [`Names::place`] |
//! | remove | the record first: data without a record are swept |

use super::super::beneath::{Folder, Identity};
use super::super::digest_fields::{self, Declared, REPR_DIGEST};
use super::super::failure;
use super::super::path::FilePath;
use super::super::place::Placed;
use super::super::problem::Refused;
use super::super::temporary::sync_folder;
use super::super::upload::folder_to_write;
use super::record::Record;
use super::registry::{Held, NO_SPACE, Stop};
use super::token::Token;
use super::{UploadLimits, Uploads};
use crate::http::Rejection;
use crate::message::{BodyError, ConnectionInfo, RequestBody};
use ::http::StatusCode;
use ::http::header::RETRY_AFTER;
use rustix::fs::{
    AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, fallocate, fdatasync, flock, openat,
    unlinkat,
};
use rustix::io::Errno;
use sealpair_common::digest::{Hasher, Sha256};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, SystemTime};

/// What is written at a time, in bytes; as for a plain PUT.
const BUFFER: usize = 256 << 10;

/// How long it is remembered that an upload is complete, for a client that has missed the answer.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// No upload, or none for this client.
pub(super) const NOT_FOUND: Rejection =
    Rejection::new(StatusCode::NOT_FOUND, "no such upload; it may have expired");

/// Someone else works on it, and cannot be told to stop.
const BUSY: Rejection =
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
    stop: Stop,
    held: Held,
}

/// Something that looks at content as it passes.
pub(super) trait Watch {
    fn update(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Why not all content of a request was added.
#[derive(Debug)]
pub(super) enum Cut {
    /// It did not come.
    Body(Option<BodyError>),
    /// It could not be written.
    Write(io::Error),
    /// It may not take so much room.
    NoSpace,
    /// There is more of it than there may be.
    TooLong,
    /// A newer request is there.
    Replaced,
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
        self.expires = expiry(SystemTime::now(), &uploads.limits);
        self.held.keep(Some(hasher));
        received
    }

    /// Brings the data to the disk, after which the offset may be told. An upload of which something may
    /// be lost is removed.
    pub(super) fn sync(&self, uploads: &Uploads) -> Result<(), Refused> {
        let Some(file) = &self.data else { return Ok(()) };
        fdatasync(file).map_err(|errno| {
            // The kernel may have dropped what it could not write, and tells so only once.
            log::error!("an upload is given up: its data could not be brought to the disk");
            self.discard(uploads);
            failure::writing("bring an upload to the disk", &errno.into()).into()
        })
    }

    /// Takes away again what this request has added behind `offset`.
    pub(super) fn take_back(&mut self, offset: u64) -> io::Result<()> {
        self.held.keep(None);
        if let Some(file) = &self.data {
            file.set_len(offset)?;
            self.offset = offset;
        }
        Ok(())
    }

    /// Notes the length of the whole, which may be told late but only once.
    pub(super) fn set_length(&mut self, length: u64) -> Result<(), Refused> {
        if self.record.length == Some(length) {
            return Ok(());
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
        self.record.length = Some(self.offset);
        self.record.placed = true;
        self.record.write(&self.folder, self.token).map_err(failed)?;
        let conditions = self.record.conditions();
        let data = self.token.data();
        match uploads.names.place(&self.folder, &data, file, &target, &conditions) {
            Ok(placed) => {
                uploads.digests.learn(Identity::of(&placed.metadata), digest);
                uploads.registry.completed(self.token);
                self.held.keep(None);
                self.data = None;
                Ok((placed, digest))
            }
            Err(rejection) => {
                // Full disks and the like pass; that a precondition is false does not.
                if rejection.status.is_client_error() {
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
        let entry = self.registry.admit(token, parent.as_path(), space, &self.limits)?;
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
        Ok(Upload { token, record, folder, data: Some(data), offset: 0, expires, stop, held })
    }

    /// Takes an upload that was begun; whoever works on it is told to stop.
    pub(super) fn open(
        &self,
        connection: &ConnectionInfo,
        path: &FilePath,
        token: Token,
    ) -> Result<Upload, Refused> {
        let folder = folder_to_write(&self.root, path.as_path()).map_err(|_| NOT_FOUND)?;
        let read = || Record::read(&folder, token).map_err(failed)?.ok_or(Refused::from(NOT_FOUND));
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
                match flock(file, FlockOperation::NonBlockingLockExclusive) {
                    Err(Errno::WOULDBLOCK) => return Err(busy()),
                    // A file system without locks: then this process is taken to be alone.
                    Ok(()) | Err(_) => {}
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
        let upload = Upload { token, record, folder, data, offset, expires, stop, held };
        if expires < SystemTime::now() {
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
        None if record.placed => {
            written.checked_add(limits.expiry.min(REMEMBERED)).or(Some(written))
        }
        None => None,
    }
}

fn expiry(from: SystemTime, limits: &UploadLimits) -> SystemTime {
    from.checked_add(limits.expiry).unwrap_or(from)
}

fn create(folder: &Folder, token: Token, record: &Record) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(folder, token.data(), flags, Mode::RUSR | Mode::WUSR)?);
    let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
    if let Some(length @ 1..) = record.length {
        match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, length) {
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(errno.into()),
            // A file system that cannot reserve.
            Ok(()) | Err(_) => {}
        }
    }
    Ok(file)
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

/// The digest of the first `length` bytes of a file: after a restart, once.
fn hash(file: &File, length: u64, stop: Option<&Stop>) -> io::Result<Hasher> {
    let mut hasher = Hasher::new()?;
    let mut buffer = vec![0; BUFFER];
    while hasher.length() < length && !stop.is_some_and(Stop::is_asked) {
        let left = usize::try_from(length - hasher.length()).unwrap_or(BUFFER).min(BUFFER);
        let Some(piece) = buffer.get_mut(..left) else { break };
        match file.read_at(piece, hasher.length())? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => hasher.update(piece.get(..count).unwrap_or_default())?,
        }
    }
    Ok(hasher)
}

/// Where content goes.
struct Receiving<'r> {
    file: &'r File,
    offset: &'r mut u64,
    limit: u64,
    hasher: &'r mut Hasher,
    stop: &'r Stop,
    may_take: &'r dyn Fn(u64) -> bool,
}

fn receive(
    to: Receiving<'_>,
    body: &mut RequestBody<'_>,
    watch: &mut dyn Watch,
) -> Result<(), Cut> {
    let size = body.length().and_then(|length| usize::try_from(length).ok());
    let mut buffer = vec![0; size.unwrap_or(BUFFER).clamp(1, BUFFER)];
    loop {
        if to.stop.is_asked() {
            return Err(Cut::Replaced);
        }
        let (filled, end) = fill(body, &mut buffer);
        let mut rest = buffer.get(..filled).unwrap_or_default();
        let after = to.offset.saturating_add(filled as u64);
        if after > to.limit {
            return Err(Cut::TooLong);
        }
        if !(to.may_take)(after) {
            return Err(Cut::NoSpace);
        }
        while !rest.is_empty() {
            match to.file.write_at(rest, *to.offset) {
                Ok(0) => return Err(Cut::Write(ErrorKind::WriteZero.into())),
                Ok(count) => {
                    let (written, left) = rest.split_at(count.min(rest.len()));
                    to.hasher.update(written).map_err(Cut::Write)?;
                    watch.update(written).map_err(Cut::Write)?;
                    *to.offset += written.len() as u64;
                    rest = left;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Cut::Write(error)),
            }
        }
        match end {
            Some(_) if to.stop.is_asked() => return Err(Cut::Replaced),
            Some(Err(error)) => return Err(Cut::Body(BodyError::of(&error))),
            Some(Ok(())) => return Ok(()),
            None => {}
        }
    }
}

/// Reads until the buffer is full, the content ends or fails: how much there is, and the end.
fn fill(body: &mut RequestBody<'_>, buffer: &mut [u8]) -> (usize, Option<io::Result<()>>) {
    let mut filled = 0;
    while let Some(room @ [_, ..]) = buffer.get_mut(filled..) {
        match body.read(room) {
            Ok(0) => return (filled, Some(Ok(()))),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(Err(error))),
        }
    }
    (filled, None)
}

/// The answer when content was cut.
pub(super) fn cut(cut: Cut) -> Rejection {
    let of_body = |error: BodyError, reason| Rejection::new(error.status(), reason);
    match cut {
        Cut::Body(Some(error @ BodyError::Stalled)) => {
            of_body(error, "the content came too slowly; what has come is kept")
        }
        Cut::Body(Some(error @ BodyError::Malformed(_))) => {
            of_body(error, "the content is malformed; what came before is kept")
        }
        Cut::Body(Some(error @ BodyError::TooLarge { .. })) => {
            of_body(error, "the content is too long; what has come is kept")
        }
        Cut::Body(Some(BodyError::Truncated) | None) => {
            Rejection::bad_request("the content is incomplete; what has come is kept")
        }
        Cut::Write(error) => failure::writing("store an upload", &error),
        Cut::NoSpace => NO_SPACE,
        Cut::TooLong => Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, "the upload is too long"),
        Cut::Replaced => BUSY,
    }
}

pub(super) fn failed(error: io::Error) -> Refused {
    failure::writing("store an upload", &error).into()
}
