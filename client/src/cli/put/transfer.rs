//! One upload, by the way that the server offers and the source allows.

use super::super::Voice;
use super::super::digest_fields::{REPR_DIGEST, digest_in};
use super::super::exchange::{Answer, Requester};
use super::super::pace::Pace;
use super::super::progress::Progress;
use super::super::retry::Retries;
use super::super::summary::Summary;
use super::condition::Condition;
use super::fields::{self, Limits};
use super::record::{Found, Records};
use super::resumable::Upload;
use super::source::{FileSource, Source};
use sealpair_common::digest::Sha256;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::sync::OnceLock;
use std::time::Instant;
use ureq::SendBody;
use ureq::http::{HeaderMap, Method, StatusCode};
use url::Url;

/// From this length on the server is asked before the content is sent (curl's threshold): a refusal then
/// costs one round trip instead of the upload, and an interruption what was not acknowledged instead of
/// all.
pub(super) const ASK_FIRST: u64 = 1 << 20;

/// What all uploads of a command have in common. It may be shared by threads.
pub(super) struct Transfers<'a> {
    pub(super) requester: Requester<'a>,
    pub(super) pace: Pace,
    /// Opened when the first resumable upload is made.
    pub(super) records: OnceLock<Option<Records>>,
    pub(super) condition: Condition,
    /// Whether to go on where an earlier run was interrupted.
    pub(super) resume: bool,
    pub(super) voice: Voice,
}

/// An upload that went well.
pub(super) struct Done {
    pub(super) summary: Summary,
    /// What was sent by this run.
    pub(super) bytes: u64,
}

impl Done {
    /// `answer` is what the server said in the end, by whatever request.
    pub(super) fn new(mut answer: Answer, url: &Url, began: Instant, bytes: u64) -> Self {
        answer.method = Method::PUT;
        answer.url = url.clone();
        answer.began = began;
        Self { summary: Summary::of(&answer), bytes }
    }
}

impl Transfers<'_> {
    /// Uploads a source to a URL.
    pub(super) fn put(
        &self,
        source: Source,
        url: &Url,
        progress: &Progress,
        mut retries: Retries,
    ) -> Result<Done, Report> {
        match source {
            Source::Stream(stream, name) => self.put_stream(stream, &name, url, progress, retries),
            Source::File(mut file) => {
                if file.length() >= ASK_FIRST
                    && !self.requester.is_given(&fields::UPLOAD_COMPLETE)
                    && let Some(upload) = self.resumable(&mut file, url, progress, &mut retries)?
                {
                    return upload.run(retries);
                }
                self.put_file(&mut file, url, progress, retries)
            }
        }
    }

    /// A resumable upload, if the server offers that.
    fn resumable<'t>(
        &'t self,
        file: &'t mut FileSource,
        url: &'t Url,
        progress: &'t Progress,
        retries: &mut Retries,
    ) -> Result<Option<Upload<'t>>, Report> {
        let claim = self
            .records
            .get_or_init(Records::open)
            .as_ref()
            .and_then(|records| records.claim(url, file));
        let (record, found) = match claim {
            Some((record, found)) => (Some(record), found),
            None => (None, Found::Nothing),
        };
        let mut upload = Upload::new(self, file, url, progress, record);
        match found {
            Found::Same(place) if self.resume => {
                upload.resume(place);
                return Ok(Some(upload));
            }
            Found::Same(place) | Found::Other(place) => upload.abandon(&place),
            Found::Nothing => {}
        }
        let Some(limits) = self.offered(url, retries)? else {
            return Ok(None);
        };
        upload.announced(limits)?;
        Ok(Some(upload))
    }

    /// Makes a folder (RFC 4918 section 9.3), if the server can: one that is there already (405) is as good.
    /// Says what the server has against it. Fails only without an answer.
    pub(super) fn make_folder(
        &self,
        url: &Url,
        mut retries: Retries,
    ) -> Result<Option<Report>, Report> {
        let mkcol = Method::from_bytes(b"MKCOL").unwrap_or(Method::OPTIONS);
        loop {
            match self.requester.submit(&mkcol, url, &[], SendBody::none()) {
                Ok(answer) => {
                    let status = answer.status();
                    log::info!("{url} as a folder: {status}");
                    let there = status.is_success() || status == StatusCode::METHOD_NOT_ALLOWED;
                    return Ok((!there).then(|| self.failed(answer, url)));
                }
                Err(report) => retries.again(report)?,
            }
        }
    }

    /// Asks whether resumable uploads are offered for this URL. Without that promise none may be begun:
    /// another server takes the request that begins one for an empty file.
    fn offered(&self, url: &Url, retries: &mut Retries) -> Result<Option<Limits>, Report> {
        loop {
            match self.requester.submit(&Method::OPTIONS, url, &[], SendBody::none()) {
                Ok(answer) if answer.status().is_success() => {
                    let headers = answer.response.headers();
                    return Ok(fields::announces_uploads(headers)
                        .then(|| Limits::of(headers).unwrap_or_default()));
                }
                Ok(_) => return Ok(None),
                Err(report) if is_unanswered(&report) => return Ok(None),
                Err(report) => retries.again(report)?,
            }
        }
    }
}

/// Whether a server was reached that cannot deal with the question. It may take a PUT.
fn is_unanswered(report: &Report) -> bool {
    matches!(report.exit(), Exit::Protocol | Exit::Deadline | Exit::Truncated)
        || report.kind() == "connection-closed"
}

/// Fails if the server says that it has something else than was sent.
pub(super) fn check_digest(headers: &HeaderMap, sent: &Sha256, url: &Url) -> Result<(), Report> {
    // What cannot be read proves nothing, in either direction.
    match digest_in(headers, &REPR_DIGEST) {
        Ok(Some(stored)) if stored != *sent => Err(mismatch(url)
            .detail("sent", sent.to_string())
            .detail("received", stored.to_string())),
        _ => Ok(()),
    }
}

/// Content changed on its way.
pub(super) fn mismatch(url: &Url) -> Report {
    Report::new(Exit::Digest, "digest-mismatch", format!("{url} did not receive what was sent"))
        .explain("the SHA-256 digests differ")
        .remedy("try again; if it happens again, something in between changes content")
        .detail("url", url.as_str())
}
