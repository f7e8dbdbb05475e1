//! Resumable uploads as tus 1.0 has them (<https://tus.io/protocols/resumable-upload>): the core, and the
//! extensions creation, creation-with-upload, creation-defer-length, checksum, termination and
//! expiration.

use super::super::digest_fields::Declared;
use super::super::path::FilePath;
use super::super::problem::{Refused, with};
use super::super::upload::stored;
use super::Uploads;
use super::draft::{Begun, begin};
use super::fields::{Said, UPLOAD_LENGTH, UPLOAD_OFFSET, inconsistent_length};
use super::receive::{Cut, Watch, cut};
use super::store::{Upload, failed};
use super::target::UPLOAD_METADATA;
use super::token::Token;
use crate::http::Rejection;
use crate::message::{Request, Response};
use ::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use ::http::{HeaderMap, HeaderName, Method, StatusCode};
use sealpair_common::checksum::{Checksum, decode_base64};
use std::io;

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_CONCAT: HeaderName = HeaderName::from_static("upload-concat");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// The only version.
const VERSION: &str = "1.0.0";

const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration";

/// The media type of what is appended.
const OFFSET_OCTET_STREAM: &str = "application/offset+octet-stream";

/// 460 Checksum Mismatch (tus 1.0, checksum).
const CHECKSUM_MISMATCH: u16 = 460;

/// Whether a request is one of this protocol.
pub(super) fn speaks(request: &Request<'_>) -> bool {
    request.headers().contains_key(TUS_RESUMABLE) && *request.method() != Method::OPTIONS
}

/// Begins an upload: POST to the file's own URL, or to its folder with the file's name in the metadata.
pub(super) fn create(uploads: &Uploads, request: &mut Request<'_>, dotfiles: bool) -> Response {
    finish(check_version(request).and_then(|()| try_create(uploads, request, dotfiles)))
}

/// Answers a request to an upload resource; nothing if the method is none of this protocol.
pub(super) fn resource(
    uploads: &Uploads,
    request: &mut Request<'_>,
    folder: &FilePath,
    token: Token,
) -> Option<Response> {
    let method = match (request.method(), request.headers().get(METHOD_OVERRIDE)) {
        (&Method::POST, Some(method)) => Method::from_bytes(method.as_bytes()).ok()?,
        (method, _) => method.clone(),
    };
    let answer = |request: &mut Request<'_>| {
        check_version(request)?;
        match method {
            Method::HEAD => offset(uploads, request, folder, token),
            Method::PATCH => append(uploads, request, folder, token),
            _ => {
                open(uploads, request, folder, token)?.discard(uploads);
                Ok(Response::new(StatusCode::NO_CONTENT))
            }
        }
    };
    match method {
        Method::HEAD | Method::PATCH | Method::DELETE => Some(finish(answer(request))),
        _ => None,
    }
}

/// Tells that this protocol is spoken.
pub(super) fn announce(uploads: &Uploads, response: Response) -> Response {
    let algorithms: Vec<_> = Checksum::available().collect();
    let response = response
        .with_header(TUS_RESUMABLE, HeaderValue::from_static(VERSION))
        .with_header(TUS_VERSION, HeaderValue::from_static(VERSION))
        .with_header(TUS_EXTENSION, HeaderValue::from_static(EXTENSIONS));
    let response = with(response, TUS_MAX_SIZE, uploads.limits.max_size);
    with(response, TUS_CHECKSUM_ALGORITHM, algorithms.join(","))
}

fn finish(answer: Result<Response, Refused>) -> Response {
    let response = answer.unwrap_or_else(Refused::into_response);
    response.with_header(TUS_RESUMABLE, HeaderValue::from_static(VERSION))
}

fn check_version(request: &Request<'_>) -> Result<(), Refused> {
    match request.headers().get(TUS_RESUMABLE).map(HeaderValue::as_bytes) {
        Some(version) if version == VERSION.as_bytes() => Ok(()),
        _ => {
            let reason = "only version 1.0.0 of tus is spoken here";
            let rejection = Rejection::new(StatusCode::PRECONDITION_FAILED, reason);
            Err(Refused::from(rejection).with(TUS_VERSION, VERSION))
        }
    }
}

fn try_create(
    uploads: &Uploads,
    request: &mut Request<'_>,
    dotfiles: bool,
) -> Result<Response, Refused> {
    let headers = request.headers();
    let said = Said::by(headers);
    let deferred = match headers.get(UPLOAD_DEFER_LENGTH).map(HeaderValue::as_bytes) {
        None => false,
        Some(b"1") => true,
        Some(_) => return Err(Rejection::bad_request("Upload-Defer-Length can only be 1").into()),
    };
    if said.length.is_some() == deferred {
        let reason = "either Upload-Length, a number, or Upload-Defer-Length: 1 is needed";
        return Err(Rejection::bad_request(reason).into());
    }
    if headers.contains_key(UPLOAD_CONCAT) {
        return Err(Rejection::bad_request("uploads are not concatenated here").into());
    }
    let content = request.body().length();
    if content != Some(0) {
        check_media_type(request.headers())?;
    }
    let checksum = Watched::of(request.headers())?;
    let Begun { mut upload, location, .. } = begin(
        uploads,
        request,
        dotfiles,
        said.length,
        said.length.or(content),
        |record, headers| {
            let metadata = headers.get(UPLOAD_METADATA).and_then(|value| value.to_str().ok());
            record.metadata = metadata.map(str::to_owned);
        },
    )?;
    let response = take(uploads, &mut upload, checksum, request);
    let response = response.map_err(|refused| refused.with(LOCATION, &location))?;
    Ok(with(response.with_status(StatusCode::CREATED), LOCATION, &location))
}

fn offset(
    uploads: &Uploads,
    request: &Request<'_>,
    folder: &FilePath,
    token: Token,
) -> Result<Response, Refused> {
    let mut upload = open(uploads, request, folder, token)?;
    upload.sync(uploads)?;
    let response = state(Response::new(StatusCode::OK), &upload)
        .with_header(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let response = match &upload.record.metadata {
        Some(metadata) => with(response, UPLOAD_METADATA, metadata),
        None => response,
    };
    Ok(match upload.record.length {
        Some(length) => with(response, UPLOAD_LENGTH, length),
        None => with(response, UPLOAD_DEFER_LENGTH, 1),
    })
}

fn append(
    uploads: &Uploads,
    request: &mut Request<'_>,
    folder: &FilePath,
    token: Token,
) -> Result<Response, Refused> {
    let said = Said::by(request.headers());
    check_media_type(request.headers())?;
    let Some(offset) = said.offset else {
        return Err(Rejection::bad_request("Upload-Offset is missing or no number").into());
    };
    let checksum = Watched::of(request.headers())?;
    let mut upload = open(uploads, request, folder, token)?;
    let conflict = |reason| Refused::from(Rejection::new(StatusCode::CONFLICT, reason));
    if offset != upload.offset {
        upload.sync(uploads)?;
        let refused = conflict("the offset of the request is not the offset of the upload");
        return Err(refused.with(UPLOAD_OFFSET, upload.offset));
    }
    let content = request.body().length();
    if upload.is_complete() {
        return match content {
            Some(0) => Ok(state(Response::new(StatusCode::NO_CONTENT), &upload)),
            _ => Err(conflict("the upload is complete")),
        };
    }
    let length = said.length.or(upload.record.length);
    let end = content.map_or(offset, |content| offset.saturating_add(content));
    if length != upload.record.length && upload.record.length.is_some()
        || length.is_some_and(|length| length < end)
    {
        return Err(inconsistent_length());
    }
    if length.unwrap_or(0).max(end) > uploads.limits.max_size {
        return Err(cut(Cut::TooLong).into());
    }
    if let Some(length) = length {
        upload.set_length(uploads, length)?;
    }
    take(uploads, &mut upload, checksum, request)
}

/// Takes the content of a request, and completes the upload if that was all.
fn take(
    uploads: &Uploads,
    upload: &mut Upload,
    mut watched: Option<Watched>,
    request: &mut Request<'_>,
) -> Result<Response, Refused> {
    let before = upload.offset;
    let mut nobody = Nobody;
    let watch: &mut dyn Watch = match &mut watched {
        Some(watched) => watched,
        None => &mut nobody,
    };
    match upload.receive(uploads, request.body(), watch) {
        Ok(()) => {}
        // What has come is kept, unless it was to be checked as a whole: it must be discarded then.
        Err(why) => {
            if watched.is_some() {
                upload.take_back(before).map_err(failed)?;
            }
            upload.sync(uploads)?;
            return Err(Refused::from(cut(why)).with(UPLOAD_OFFSET, upload.offset));
        }
    }
    if let Some(Watched { checksum, declared }) = watched
        && checksum.finish().map_err(failed)? != declared
    {
        upload.take_back(before).map_err(failed)?;
        upload.sync(uploads)?;
        let status = StatusCode::from_u16(CHECKSUM_MISMATCH).unwrap_or(StatusCode::BAD_REQUEST);
        let reason = "the content is not what its checksum says; it was not stored";
        let refused = Refused::from(Rejection::new(status, reason));
        return Err(refused.with(UPLOAD_OFFSET, upload.offset));
    }
    if upload.record.length != Some(upload.offset) {
        upload.sync(uploads)?;
        return Ok(state(Response::new(StatusCode::NO_CONTENT), upload));
    }
    let declared = Declared { content: None, ..Declared::of(request.headers())? };
    let (placed, _) = upload.complete(uploads, &declared)?;
    Ok(state(stored(&placed, None).with_status(StatusCode::NO_CONTENT), upload))
}

/// Takes an upload; where somebody else works on it, that is 423 here.
fn open(
    uploads: &Uploads,
    request: &Request<'_>,
    folder: &FilePath,
    token: Token,
) -> Result<Upload, Refused> {
    let opened = uploads.open(request.connection(), folder, token);
    opened.map_err(|refused| match refused.into_response() {
        response if response.status() == StatusCode::CONFLICT => {
            response.with_status(StatusCode::LOCKED).into()
        }
        response => response.into(),
    })
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refused> {
    match headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) {
        Some(value) if value == OFFSET_OCTET_STREAM.as_bytes() => Ok(()),
        _ => Err(Refused::from(Rejection::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content is sent with `Content-Type: application/offset+octet-stream`",
        ))),
    }
}

/// How far an upload is, in the fields of a response.
fn state(response: Response, upload: &Upload) -> Response {
    let response = with(response, UPLOAD_OFFSET, upload.offset);
    match upload.is_complete() {
        true => response,
        false => with(response, UPLOAD_EXPIRES, httpdate::fmt_http_date(upload.expires)),
    }
}

/// Content whose checksum the client has sent.
struct Watched {
    checksum: Checksum,
    declared: Vec<u8>,
}

impl Watched {
    fn of(headers: &HeaderMap) -> Result<Option<Self>, Refused> {
        const BAD: Rejection =
            Rejection::bad_request("Upload-Checksum is not an algorithm that is known and Base64");
        let Some(value) = headers.get(UPLOAD_CHECKSUM) else { return Ok(None) };
        let value = value.to_str().ok().and_then(|value| value.split_once(' '));
        let (algorithm, text) = value.ok_or(BAD)?;
        let checksum = Checksum::new(algorithm).ok_or(BAD)?;
        let declared = decode_base64(text).ok_or(BAD)?;
        Ok(Some(Self { checksum, declared }))
    }
}

impl Watch for Watched {
    fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.update(bytes)
    }
}

/// Nobody looks.
struct Nobody;

impl Watch for Nobody {
    fn update(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "tus_tests.rs"]
mod tests;
