//! A resumable upload (draft-ietf-httpbis-resumable-upload): what was acknowledged is not sent again.
//!
//! ```text
//! create ──▶ append ──▶ … ──▶ complete ──▶ done
//!              ▲  │ interrupted   │
//!              │  ▼               ▼
//!             locate: where is the server?
//! ```
//!
//! The upload is created without content first ("careful creation" in the draft), because ureq hides
//! interim responses, from which the place of an upload would be learned otherwise. All content is then
//! appended and hashed on its way; only the request that completes the upload has none, and the digest of
//! everything: the server checks it before the file takes its name. A server that tells its own digest
//! before is checked here as well (section "Integrity Digests").

mod setback;

use super::super::digest_fields::{REPR_DIGEST, want_digest};
use super::super::exchange::{Answer, UploadRequest};
use super::super::interrupt;
use super::super::progress::{self, Progress};
use super::super::retry::Retries;
use super::fields::{
    self, COMPLETE, Limits, NOT_YET, PARTIAL_UPLOAD, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_OFFSET,
    accept_problems,
};
use super::plain::Field;
use super::problem::busy;
use super::record::{Record, same_origin};
use super::source::FileSource;
use super::transfer::{ASK_FIRST, Done, Transfers, check_digest};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::units::Size;
use std::time::Instant;
use ureq::SendBody;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, LOCATION};
use ureq::http::{HeaderValue, Method, StatusCode};
use url::Url;

/// One upload under way.
pub(super) struct Upload<'t> {
    transfers: &'t Transfers<'t>,
    file: &'t mut FileSource,
    target: &'t Url,
    progress: &'t Progress,
    record: Option<Record>,
    began: Instant,
    limits: Limits,
    /// Where the upload is, once it has been created.
    place: Option<Url>,
    /// What the server has acknowledged.
    offset: u64,
    /// What was sent by this run.
    sent: u64,
    /// Whether the server has been told that this is all.
    completing: bool,
    /// Surprises since something last went forward.
    surprises: u32,
}

/// What to do next.
enum Next {
    Create,
    Locate,
    Append,
    Complete,
    Done(Box<Answer>),
}

/// Why a step failed.
enum Trouble {
    /// Perhaps it passes; what the server has can be gone on with, now or later.
    Passing(Report),
    /// The upload is of no use any more.
    Final(Report),
}

impl From<Report> for Trouble {
    fn from(report: Report) -> Self {
        Self::Passing(report)
    }
}

type Step = Result<Next, Trouble>;

impl<'t> Upload<'t> {
    pub(super) fn new(
        transfers: &'t Transfers<'t>,
        file: &'t mut FileSource,
        target: &'t Url,
        progress: &'t Progress,
        record: Option<Record>,
    ) -> Self {
        Self {
            transfers,
            file,
            target,
            progress,
            record,
            began: Instant::now(),
            limits: Limits::default(),
            place: None,
            offset: 0,
            sent: 0,
            completing: false,
            surprises: 0,
        }
    }

    /// Goes on with an upload that an earlier run has made.
    pub(super) fn resume(&mut self, place: Url) {
        self.place = Some(place);
        self.note_kept();
    }

    /// Takes what OPTIONS has told of limits, and fails where the file is beyond them.
    pub(super) fn announced(&mut self, limits: Limits) -> Result<(), Report> {
        self.limits = limits;
        let length = self.file.length();
        let message = match limits {
            Limits { max_size: Some(most), .. } if length > most => {
                format!("the server takes files up to {}", Size(most))
            }
            Limits { min_size: Some(least), .. } if length < least => {
                format!("the server takes files from {} on", Size(least))
            }
            _ => return Ok(()),
        };
        Err(Report::new(Exit::HttpClientError, "size-limit", message)
            .explain(format!("{} has {length} bytes", self.file.name().display()))
            .detail("url", self.target.as_str()))
    }

    /// Does all of it.
    pub(super) fn run(mut self, mut retries: Retries) -> Result<Done, Report> {
        let resumed = self.place.is_some();
        let mut next = if resumed { Next::Locate } else { Next::Create };
        let mut offset = 0;
        loop {
            let step = match next {
                Next::Create => self.create(),
                Next::Locate => self.locate(),
                Next::Append => self.append(),
                Next::Complete => self.complete(),
                Next::Done(answer) => {
                    self.forget();
                    return Ok(Done::new(*answer, self.target, self.began, self.sent));
                }
            };
            if self.offset > offset {
                if resumed && offset == 0 && self.sent == 0 {
                    self.say_resumed();
                }
                offset = self.offset;
                self.surprises = 0;
                retries.reached(offset);
            }
            next = match step {
                Ok(next) => next,
                Err(Trouble::Passing(report)) => {
                    retries.again(report).map_err(|report| self.explain_kept(report))?;
                    if self.place.is_some() { Next::Locate } else { Next::Create }
                }
                Err(Trouble::Final(report)) => {
                    if let Some(place) = self.place.take() {
                        self.abandon(&place);
                    }
                    self.forget();
                    return Err(report);
                }
            };
        }
    }

    /// Makes the upload, without content.
    fn create(&mut self) -> Step {
        self.unchanged()?;
        let mut headers = vec![
            (CONTENT_LENGTH, HeaderValue::from(0)),
            (UPLOAD_COMPLETE, NOT_YET),
            (UPLOAD_LENGTH, self.file.length().into()),
            want_digest(),
        ];
        headers.extend(self.transfers.condition.field());
        let request = UploadRequest::Create(self.target);
        let requester = &self.transfers.requester;
        let answer = requester.upload(&Method::PUT, &request, &headers, SendBody::none())?;
        if !answer.status().is_success() {
            return Err(self.transfers.failed(answer, self.target).into());
        }
        let headers = answer.response.headers();
        let Some(location) = headers.get(LOCATION).and_then(|place| place.to_str().ok()) else {
            return Err(self.broken("it does not say where the upload is"));
        };
        let Some(place) = same_origin(self.target, location) else {
            return Err(
                self.broken("the upload would be at another server, or where the file is to be")
            );
        };
        self.limits.update(headers);
        if let Some(record) = &mut self.record {
            record.keep(&place, self.limits.max_age);
        }
        self.note_kept();
        self.offset = 0;
        self.completing = false;
        self.place = Some(place);
        Ok(Next::Append)
    }

    /// Asks how far the server is. Nothing else proves it: neither what was sent nor what was said.
    fn locate(&mut self) -> Step {
        let answer = self.send(&Method::HEAD, &[], SendBody::none())?;
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return self.vanished(),
            StatusCode::CONFLICT => return Err(busy(&answer).into()),
            _ => return Err(self.give_up(answer)),
        }
        let headers = answer.response.headers();
        if fields::complete(headers) == Some(true) {
            return self.unheard();
        }
        self.limits.update(headers);
        let length = self.file.length();
        let Some(offset) = fields::offset(headers) else {
            return Err(self.broken("it does not say how far it is"));
        };
        let lost = offset < self.offset;
        let other = offset > length || fields::length(headers).is_some_and(|told| told != length);
        if lost || other {
            log::info!("the server has another upload than was sent: offset {offset}");
            return self.begin_again();
        }
        self.offset = offset;
        Ok(self.after(offset))
    }

    /// Sends what is missing, or as much of it as the server takes at a time.
    fn append(&mut self) -> Step {
        self.unchanged()?;
        let (offset, length) = (self.offset, self.file.length());
        let most = self.limits.max_append.unwrap_or(u64::MAX).max(1);
        let end = offset.saturating_add(most).min(length);
        // The last part may be too small to be appended only, not to complete the upload.
        let least = self.limits.min_append.unwrap_or(0);
        if end == length && end - offset < least {
            return self.complete();
        }
        let count = end - offset;
        let mut headers = self.append_fields(offset, count, NOT_YET);
        if count >= ASK_FIRST {
            headers.push((EXPECT, HeaderValue::from_static("100-continue")));
        }
        let answer = self.send_part(&headers, offset, end)?;
        let status = answer.status();
        if !status.is_success() {
            return self.refused(answer);
        }
        let headers = answer.response.headers();
        self.limits.update(headers);
        let acknowledged = fields::offset(headers).unwrap_or(end);
        if acknowledged <= offset || acknowledged > end || fields::complete(headers) == Some(true) {
            return self.surprise();
        }
        if self.file.hashed() == acknowledged {
            let digest = self.file.digest().map_err(Trouble::Final)?;
            check_digest(headers, &digest, self.target).map_err(Trouble::Final)?;
        }
        self.offset = acknowledged;
        Ok(self.after(acknowledged))
    }

    /// Says that this is all, with the digest of it.
    fn complete(&mut self) -> Step {
        let (offset, length) = (self.offset, self.file.length());
        self.file.catch_up(length).map_err(Trouble::Final)?;
        self.unchanged()?;
        let digest = self.file.digest().map_err(Trouble::Final)?;
        let mut headers = self.append_fields(offset, length - offset, COMPLETE);
        headers.extend(HeaderValue::from_str(&digest.to_field()).map(|it| (REPR_DIGEST, it)));
        self.completing = true;
        let answer = self.send_part(&headers, offset, length)?;
        let said = fields::complete(answer.response.headers());
        if !answer.status().is_success() {
            if said != Some(true) {
                return self.refused(answer);
            }
            // The upload is complete, and the file was refused nevertheless: nothing is left to resume.
            let report = self.explain_refusal(answer);
            self.forget();
            self.place = None;
            return Err(Trouble::Final(report));
        }
        if said == Some(false) {
            return self.surprise();
        }
        check_digest(answer.response.headers(), &digest, self.target).map_err(Trouble::Final)?;
        Ok(Next::Done(Box::new(answer)))
    }

    fn after(&self, offset: u64) -> Next {
        if offset == self.file.length() { Next::Complete } else { Next::Append }
    }

    fn append_fields(&self, offset: u64, count: u64, complete: HeaderValue) -> Vec<Field> {
        vec![
            (CONTENT_LENGTH, count.into()),
            (CONTENT_TYPE, HeaderValue::from_static(PARTIAL_UPLOAD)),
            (UPLOAD_OFFSET, offset.into()),
            (UPLOAD_COMPLETE, complete),
            accept_problems(),
        ]
    }

    /// Sends a part of the file.
    fn send_part(&mut self, headers: &[Field], from: u64, to: u64) -> Result<Answer, Trouble> {
        let Some(place) = &self.place else {
            return Err(self.broken("there is no upload"));
        };
        let request = UploadRequest::Existing { target: self.target, place };
        let (pace, requester) = (&self.transfers.pace, &self.transfers.requester);
        let mut part = self.file.part(from, to, pace, self.progress).map_err(Trouble::Final)?;
        let body = SendBody::from_reader(&mut part);
        let answer = requester.upload(&Method::PATCH, &request, headers, body);
        let sent = part.sent();
        self.sent += sent;
        if let Some(failure) = part.failure() {
            return Err(Trouble::Final(failure));
        }
        let answer = answer?;
        match answer.status().is_success() && sent < to - from {
            true => Err(self.broken("it says that it has what it has not taken")),
            false => Ok(answer),
        }
    }

    fn send(
        &self,
        method: &Method,
        headers: &[Field],
        body: SendBody<'_>,
    ) -> Result<Answer, Trouble> {
        let Some(place) = &self.place else {
            return Err(self.broken("there is no upload"));
        };
        let request = UploadRequest::Existing { target: self.target, place };
        Ok(self.transfers.requester.upload(method, &request, headers, body)?)
    }

    /// Tells the server that an upload is not wanted any more. If that fails, it expires by itself.
    pub(super) fn abandon(&self, place: &Url) {
        let request = UploadRequest::Existing { target: self.target, place };
        let requester = &self.transfers.requester;
        if let Err(report) = requester.upload(&Method::DELETE, &request, &[], SendBody::none()) {
            log::info!("an upload could not be ended: {report}");
        }
    }

    /// Should a signal end the program, it says that the upload can be gone on with.
    fn note_kept(&self) {
        if self.record.is_some() {
            interrupt::unfinished().resumable.insert(self.file.name().to_owned());
        }
    }

    fn forget(&mut self) {
        interrupt::unfinished().resumable.remove(self.file.name());
        if let Some(record) = &mut self.record {
            record.forget();
        }
    }

    fn unchanged(&self) -> Result<(), Trouble> {
        self.file.check_unchanged().map_err(Trouble::Final)
    }

    /// A failure after which the same command goes on.
    fn explain_kept(&self, report: Report) -> Report {
        match (&self.place, &self.record) {
            (Some(_), Some(_)) => report
                .remedy("what was received is kept; the same command goes on from there")
                .detail("acknowledged", self.offset),
            _ => report,
        }
    }

    fn say_resumed(&self) {
        if !self.transfers.voice.quiet {
            let (there, all) = (Size(self.offset), Size(self.file.length()));
            progress::say(format_args!("sealpair: going on at {there} of {all}\n"));
        }
    }
}
