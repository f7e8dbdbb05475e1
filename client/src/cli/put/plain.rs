//! The whole content in one PUT: what every server understands.

use super::super::digest_fields::{REPR_DIGEST, digest_in, want_digest};
use super::super::exchange::Answer;
use super::super::progress::{Progress, Watched};
use super::super::retry::Retries;
use super::source::{self, FileSource};
use super::transfer::{ASK_FIRST, Done, Transfers, check_digest};
use sealpair_common::digest::Sha256;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;
use ureq::SendBody;
use ureq::http::header::{CONTENT_LENGTH, EXPECT};
use ureq::http::{HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

/// After a plain PUT there is nothing left to refuse.
const STORED: &str = "the SHA-256 digests differ, and what is there now is not the file";

impl Transfers<'_> {
    /// A regular file. PUT is idempotent (RFC 9110 section 9.2.2), and the file can be read again.
    pub(super) fn put_file(
        &self,
        file: &mut FileSource,
        url: &Url,
        progress: &Progress,
        mut retries: Retries,
    ) -> Result<Done, Report> {
        let began = Instant::now();
        let length = file.length();
        let mut bytes = 0;
        let mut headers = vec![(CONTENT_LENGTH, length.into()), want_digest()];
        headers.extend(self.condition.field());
        if length < ASK_FIRST {
            // It stays in the cache for the second reading, and the server can check it in time.
            file.catch_up(length)?;
            if let Ok(value) = HeaderValue::from_str(&file.digest()?.to_field()) {
                headers.push((REPR_DIGEST, value));
            }
        } else {
            headers.push((EXPECT, HeaderValue::from_static("100-continue")));
        }
        loop {
            file.check_unchanged()?;
            let mut part = file.part(0, length, &self.pace, progress)?;
            let body = SendBody::from_reader(&mut part);
            let answer = self.requester.submit(&Method::PUT, url, &headers, body);
            let sent = part.sent();
            bytes += sent;
            if let Some(failure) = part.failure() {
                return Err(failure);
            }
            // Where it was hashed on its way, it has been read to the end when the server says so.
            let failure = match answer {
                Ok(answer) if answer.status().is_success() && sent < length => {
                    return Err(not_taken(url));
                }
                Ok(answer) if answer.status().is_success() => {
                    file.check_unchanged()?;
                    if file.hashed() == length {
                        check_digest(answer.response.headers(), &file.digest()?, url)
                            .map_err(|report| report.explain(STORED))?;
                    }
                    return Ok(Done::new(answer, url, began, bytes));
                }
                Ok(answer) if self.may_be_our_own(&answer, &retries) => {
                    file.catch_up(length)?;
                    let digest = file.digest()?;
                    match self.stored(url, &digest)? {
                        Some(stored) => return Ok(Done::new(stored, url, began, bytes)),
                        None => return Err(self.failed(answer, url)),
                    }
                }
                Ok(answer) => self.failed(answer, url),
                Err(report) => report,
            };
            retries.again(failure)?;
        }
    }

    /// What can be read only once. It is sent again only if nothing of it has been read.
    pub(super) fn put_stream(
        &self,
        mut stream: Box<dyn Read>,
        name: &Path,
        url: &Url,
        progress: &Progress,
        mut retries: Retries,
    ) -> Result<Done, Report> {
        let began = Instant::now();
        let mut headers = vec![(EXPECT, HeaderValue::from_static("100-continue"))];
        headers.extend(self.condition.field());
        let mut bytes = 0;
        loop {
            let mut stream = Noting { reader: &mut stream, failed: None, ended: false };
            let mut watched = Watched { reader: &mut stream, progress, bytes: &mut bytes };
            let mut paced = self.pace.read(&mut watched);
            let body = SendBody::from_reader(&mut paced);
            let answer = self.requester.submit(&Method::PUT, url, &headers, body);
            if let Some(error) = stream.failed {
                return Err(source::unreadable(name, &error));
            }
            let failure = match answer {
                Ok(answer) if answer.status().is_success() && !stream.ended => {
                    return Err(not_taken(url));
                }
                Ok(answer) if answer.status().is_success() => {
                    return Ok(Done::new(answer, url, began, bytes));
                }
                Ok(answer) => self.failed(answer, url),
                Err(report) => report,
            };
            if bytes > 0 {
                return Err(failure);
            }
            retries.again(failure)?;
        }
    }

    /// What an answer that is no success means.
    pub(super) fn failed(&self, answer: Answer, url: &Url) -> Report {
        let status = answer.status();
        match answer.success() {
            Ok(_) => Report::new(Exit::Unexpected, "unexpected", "a success was no success"),
            Err(report) => self.condition.explain(report, status, url),
        }
    }

    /// Whether a condition failed that an earlier attempt, whose answer was lost, may have made fail.
    fn may_be_our_own(&self, answer: &Answer, retries: &Retries) -> bool {
        answer.status() == StatusCode::PRECONDITION_FAILED
            && !self.condition.is_none()
            && retries.used() > 0
    }

    /// Asks what the target has now: an answer if that is what was sent, `None` if it is something else
    /// or the server does not say.
    pub(super) fn stored(&self, url: &Url, sent: &Sha256) -> Result<Option<Answer>, Report> {
        let place = [want_digest()];
        let answer = self.requester.submit(&Method::HEAD, url, &place, SendBody::none())?;
        let digest = digest_in(answer.response.headers(), &REPR_DIGEST).ok().flatten();
        Ok((answer.status().is_success() && digest.as_ref() == Some(sent)).then_some(answer))
    }
}

/// A success that came instead of "100 Continue", or in the middle.
fn not_taken(url: &Url) -> Report {
    Report::new(Exit::Protocol, "http-protocol", "the server broke the HTTP protocol")
        .explain("it says that it has stored what it has not taken")
        .remedy("look at what is there now")
        .detail("url", url.as_str())
}

/// A reader whose error is kept: what comes back is an error of the transfer. Its end is noted, too.
struct Noting<R> {
    reader: R,
    failed: Option<io::Error>,
    ended: bool,
}

impl<R: Read> Read for Noting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buf).map_err(|error| {
            let copy = io::Error::other(error.to_string());
            self.failed = Some(error);
            copy
        })?;
        self.ended = count == 0 && !buf.is_empty();
        Ok(count)
    }
}

/// A field of a request.
pub(super) type Field = (HeaderName, HeaderValue);
