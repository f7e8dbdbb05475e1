//! Resumable uploads as the IETF has them: draft-ietf-httpbis-resumable-upload, interop version 8; clients
//! of versions 6 and 7 are served, too.

use super::super::digest_fields::{self, CONTENT_DIGEST, Declared, wants_digest};
use super::super::path::{FilePath, encode_name};
use super::super::place;
use super::super::precondition;
use super::super::problem::{self, Problem, Refused, with};
use super::super::upload::{check_fields, check_room, folder_to_write, split, stored};
use super::Uploads;
use super::fields::{
    ACCEPT_PATCH, INTEROP_VERSION, Said, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_LIMIT,
    UPLOAD_OFFSET, inconsistent_length,
};
use super::receive::{Cut, Watch, cut};
use super::record::Record;
use super::store::{Upload, failed};
use super::target::target;
use super::token::Token;
use crate::http::Rejection;
use crate::message::{Request, Response};
use ::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use ::http::{HeaderMap, Method, StatusCode};
use sealpair_common::digest::Hasher;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

/// The media type of what is appended.
const PARTIAL_UPLOAD: &str = "application/partial-upload";

/// 104 (Upload Resumption Supported).
const RESUMPTION_SUPPORTED: u16 = 104;

/// The last version in which `max-age` was called `expires`.
const WITH_EXPIRES: u64 = 6;

/// Whether a request begins an upload that can be gone on with.
///
/// One that sends everything at once, and whose client cannot be told where to go on, is a plain PUT.
pub(super) fn begins(request: &Request<'_>) -> bool {
    let said = Said::by(request.headers());
    match (request.method(), said.complete) {
        (&Method::PUT, Some(true)) => said.takes_interim(),
        (&Method::PUT, Some(false)) | (&Method::POST, Some(_)) => true,
        _ => false,
    }
}

/// An upload that has just been begun.
pub(super) struct Begun {
    pub(super) upload: Upload,
    /// Its URL.
    pub(super) location: String,
    /// The URL of the file that it is to become.
    pub(super) file: String,
}

/// Begins the upload that a request asks for: of `length` bytes, if that is known, and of `least` at
/// least. `note` completes its record.
pub(super) fn begin(
    uploads: &Uploads,
    request: &Request<'_>,
    dotfiles: bool,
    length: Option<u64>,
    least: Option<u64>,
    note: impl FnOnce(&mut Record, &HeaderMap),
) -> Result<Begun, Refused> {
    let headers = request.headers();
    check_fields(headers)?;
    let path = target(&uploads.root, request, dotfiles)?;
    let (parent, name) = split(&path)?;
    let folder = folder_to_write(&uploads.root, parent)?;
    let declared = Declared::of(headers)?;
    precondition::check(headers, place::current(&folder, name)?.as_ref())?;
    check_length(uploads, &Said::by(headers), length.max(least))?;
    check_room(&folder, length.or(least))?;
    let mut record = Record::new(name, headers);
    record.length = length;
    record.digest = declared.whole.map(|digest| digest.to_string());
    record.wants_digest = wants_digest(headers);
    note(&mut record, headers);
    let parent = path.parent().to_folder_url();
    let upload = uploads.begin(request.connection(), &path, folder, record)?;
    let location = format!("{parent}{}", upload.token.data());
    Ok(Begun { upload, location, file: format!("{parent}{}", encode_name(name.as_bytes())) })
}

/// Begins an upload, with its first content.
pub(super) fn create(
    uploads: &Uploads,
    request: &mut Request<'_>,
    dotfiles: bool,
) -> Result<Response, Refused> {
    let said = Said::by(request.headers());
    let content = request.body().length();
    let length = said.length_of_whole(0, content)?;
    if content.zip(length).is_some_and(|(content, length)| content > length) {
        return Err(inconsistent_length());
    }
    let declared = Declared::of(request.headers())?;
    let Begun { mut upload, location, file } =
        begin(uploads, request, dotfiles, length, content, |_, _| {})?;
    if said.takes_interim() {
        let fields = Response::new(StatusCode::CONTINUE);
        let fields = with(fields, LOCATION, &location);
        let fields = with(fields, UPLOAD_LIMIT, limit(uploads, &said, Some(&upload)));
        let fields = with(fields, INTEROP_VERSION, said.version.unwrap_or_default());
        announce_early(request, fields.headers());
    }
    let answer = take(uploads, &mut upload, &said, &declared, request);
    match answer {
        // Who has sent something to a folder does not know the URL of the file.
        Ok(response) if upload.is_complete() => Ok(match *request.method() {
            Method::POST => with(response, LOCATION, file),
            _ => response,
        }),
        Ok(response) => Ok(with(response.with_status(StatusCode::CREATED), LOCATION, &location)),
        Err(refused) => Err(refused.with(LOCATION, &location)),
    }
}

/// Tells where to go on, should the connection be lost. Whoever does not hear it has lost the connection
/// already, as reading its content will tell.
fn announce_early(request: &mut Request<'_>, fields: &HeaderMap) {
    if let Ok(status) = StatusCode::from_u16(RESUMPTION_SUPPORTED)
        && let Err(error) = request.send_interim(status, fields)
    {
        log::debug!("an interim response could not be sent: {error}");
    }
}

/// Tells how much there is.
pub(super) fn offset(
    uploads: &Uploads,
    request: &Request<'_>,
    folder: &FilePath,
    token: Token,
) -> Result<Response, Refused> {
    let said = Said::by(request.headers());
    let mut upload = uploads.open(request.connection(), folder, token)?;
    upload.sync(uploads)?;
    let response = state(Response::new(StatusCode::NO_CONTENT), &upload);
    let response = with(response, UPLOAD_LIMIT, limit(uploads, &said, Some(&upload)));
    let response = response.with_header(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(match upload.record.length {
        Some(length) => with(response, UPLOAD_LENGTH, length),
        None => response,
    })
}

/// Adds content.
pub(super) fn append(
    uploads: &Uploads,
    request: &mut Request<'_>,
    folder: &FilePath,
    token: Token,
) -> Result<Response, Refused> {
    let said = Said::by(request.headers());
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case(PARTIAL_UPLOAD) {
        let rejection = Rejection::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content is appended with `Content-Type: application/partial-upload`",
        );
        return Err(Refused::from(rejection).with(ACCEPT_PATCH, PARTIAL_UPLOAD));
    }
    let Some(offset) = said.offset else {
        return Err(Rejection::bad_request("Upload-Offset is missing or no number").into());
    };
    if said.complete.is_none() {
        return Err(Rejection::bad_request("Upload-Complete is missing; it is ?0 or ?1").into());
    }
    check_fields(request.headers())?;
    let declared = Declared::of(request.headers())?;
    let content = request.body().length();
    let mut upload = uploads.open(request.connection(), folder, token)?;
    if upload.is_complete() {
        return Err(already_complete(&upload, content));
    }
    if offset != upload.offset {
        upload.sync(uploads)?;
        let problem = Problem {
            status: StatusCode::CONFLICT,
            kind: problem::MISMATCHING_OFFSET,
            title: "the offset of the request is not the offset of the upload",
            members: [
                ("expected-offset", upload.offset.into()),
                ("provided-offset", offset.into()),
            ],
        };
        return Err(refused_state(problem.refuse(), &upload));
    }
    let length = said.length_of_whole(offset, content)?;
    if length.zip(upload.record.length).is_some_and(|(now, before)| now != before) {
        return Err(refused_state(inconsistent_length(), &upload));
    }
    let whole = length.or(upload.record.length);
    let end = content.map(|content| offset.saturating_add(content));
    if end.zip(whole).is_some_and(|(end, whole)| end > whole)
        || whole.is_some_and(|whole| whole < offset)
    {
        return Err(refused_state(inconsistent_length(), &upload));
    }
    check_length(uploads, &said, whole.or(end))?;
    if let Some(length) = length {
        upload.set_length(uploads, length).map_err(|refused| refused_state(refused, &upload))?;
    }
    take(uploads, &mut upload, &said, &declared, request)
}

/// Removes an upload.
pub(super) fn cancel(
    uploads: &Uploads,
    request: &Request<'_>,
    folder: &FilePath,
    token: Token,
) -> Result<Response, Refused> {
    uploads.open(request.connection(), folder, token)?.discard(uploads);
    Ok(Response::new(StatusCode::NO_CONTENT))
}

/// What can be done with an upload resource.
pub(super) fn options_of_resource() -> Response {
    Response::new(StatusCode::NO_CONTENT)
        .with_header(ALLOW, HeaderValue::from_static("DELETE, HEAD, OPTIONS, PATCH"))
}

/// Tells that uploads can be gone on with here, and what limits they have.
pub(super) fn announce(uploads: &Uploads, response: Response) -> Response {
    let response = response.with_header(ACCEPT_PATCH, HeaderValue::from_static(PARTIAL_UPLOAD));
    with(response, UPLOAD_LIMIT, limit(uploads, &Said::default(), None))
}

/// Takes the content of a request, and completes the upload if that was all.
fn take(
    uploads: &Uploads,
    upload: &mut Upload,
    said: &Said,
    declared: &Declared,
    request: &mut Request<'_>,
) -> Result<Response, Refused> {
    let before = upload.offset;
    let mut watch = Digesting(match declared.content {
        Some(_) => Some(Hasher::new().map_err(failed)?),
        None => None,
    });
    let received = upload.receive(uploads, request.body(), &mut watch);
    match received {
        Ok(()) => {}
        Err(Cut::TooLong) => {
            // The draft, section 4.1.3: once more has come than there may be, nothing is right any more.
            upload.discard(uploads);
            return Err(match upload.record.length {
                Some(_) => inconsistent_length(),
                None => with_limit(cut(Cut::TooLong).into(), uploads, said),
            });
        }
        Err(why) => {
            upload.sync(uploads)?;
            return Err(refused_state(cut(why).into(), upload));
        }
    }
    if let Some(hasher) = watch.0 {
        let digest = hasher.finish().map_err(failed)?;
        if let Err(mismatch) = digest_fields::check(&CONTENT_DIGEST, declared.content, digest) {
            upload.take_back(before).map_err(failed)?;
            upload.sync(uploads)?;
            return Err(refused_state(mismatch, upload));
        }
    }
    if said.complete != Some(true) && !ends_without_a_word(upload, said) {
        upload.sync(uploads)?;
        let response = state(Response::new(StatusCode::NO_CONTENT), upload);
        return Ok(with(response, UPLOAD_LIMIT, limit(uploads, said, Some(upload))));
    }
    if upload.record.length.is_some_and(|length| length != upload.offset) {
        upload.sync(uploads)?;
        return Err(refused_state(inconsistent_length(), upload));
    }
    let wanted = upload.record.wants_digest || wants_digest(request.headers());
    match upload.complete(uploads, declared) {
        Ok((placed, digest)) => Ok(state(stored(&placed, wanted.then_some(digest)), upload)),
        Err(refused) => {
            // What fails on this side can be completed later. Everything else is over: it was transmitted
            // whole, whatever became of it.
            let response = refused.into_response();
            let is_over = !response.status().is_server_error();
            let response = with(response, UPLOAD_OFFSET, upload.offset);
            Err(with(response, UPLOAD_COMPLETE, if is_over { "?1" } else { "?0" }).into())
        }
    }
}

/// Whether this was the last content although the client does not say so. tus-js-client 4.3 in Node says `?0` with
/// the last chunk of a stream, and takes the upload for done; of version 6, with which it comes, the declared length
/// is believed instead. (With version 8, an empty append may still bring the digest.)
fn ends_without_a_word(upload: &Upload, said: &Said) -> bool {
    said.version == Some(6) && upload.record.length == Some(upload.offset)
}

/// The digest of the content of one request.
struct Digesting(Option<Hasher>);

impl Watch for Digesting {
    fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |hasher| hasher.update(bytes))
    }
}

/// Refuses what is too long, before it is sent.
fn check_length(uploads: &Uploads, said: &Said, length: Option<u64>) -> Result<(), Refused> {
    match length.is_some_and(|length| length > uploads.limits.max_size) {
        true => Err(with_limit(cut(Cut::TooLong).into(), uploads, said)),
        false => Ok(()),
    }
}

fn already_complete(upload: &Upload, content: Option<u64>) -> Refused {
    let problem = match content {
        // What the draft has for content that comes too late (section 4.4.2).
        Some(1..) | None => inconsistent_length(),
        Some(0) => Problem {
            status: StatusCode::BAD_REQUEST,
            kind: problem::COMPLETED_UPLOAD,
            title: "the upload is complete",
            members: [],
        }
        .refuse(),
    };
    refused_state(problem, upload)
}

/// How far an upload is, in the fields of a response.
fn state(response: Response, upload: &Upload) -> Response {
    let response = with(response, UPLOAD_OFFSET, upload.offset);
    with(response, UPLOAD_COMPLETE, if upload.is_complete() { "?1" } else { "?0" })
}

fn refused_state(refused: Refused, upload: &Upload) -> Refused {
    state(refused.into_response(), upload).into()
}

fn with_limit(refused: Refused, uploads: &Uploads, said: &Said) -> Refused {
    refused.with(UPLOAD_LIMIT, limit(uploads, said, None))
}

/// The limits of uploads, or of one.
fn limit(uploads: &Uploads, said: &Said, upload: Option<&Upload>) -> String {
    let left = match upload {
        Some(upload) => upload.expires.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO),
        None => uploads.limits.expiry,
    };
    let age = match said.version {
        Some(version) if version <= WITH_EXPIRES => "expires",
        _ => "max-age",
    };
    // The longest Integer of a structured field (RFC 9651 section 3.3.1).
    const LONGEST: u64 = 999_999_999_999_999;
    let size = uploads.limits.max_size.min(LONGEST);
    format!("max-size={size}, {age}={}", left.as_secs().min(LONGEST))
}
