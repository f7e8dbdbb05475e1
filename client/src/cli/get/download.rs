//! One file from one URL: attempts, each of which goes on where the one before ended.
//!
//! ```text
//! attempt ─ request (Range, If-Range from the second on) ─ judge ─┬─ whole: from the start
//!    ▲                                                            ├─ part: from where it was needed
//!    │                                                            ├─ complete: done
//!    └── retries.again ◀── failure that passes                    └─ unusable: from the start, once
//! ```
//!
//! Whatever the server does, the file is right or it does not get its name.

use super::super::Voice;
use super::super::digest_fields::{CONTENT_DIGEST, digest_in, want_digest};
use super::super::exchange::{Answer, Requester};
use super::super::output::Output;
use super::super::pace::Pace;
use super::super::progress::{self, Progress};
use super::super::retry::Retries;
use super::super::summary::Summary;
use super::integrity::{add_from, coding, compare, malformed};
use super::names::name_for;
use super::receive::in_pieces;
use super::version::{Verdict, Version, judge_answer};
use sealpair_common::digest::{Hasher, Sha256};
use sealpair_common::escape::Escaped;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::units::Size;
use std::io;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};
use ureq::http::header::{CONTENT_LENGTH, IF_RANGE, RANGE};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

/// What the user wants of every file of a command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// More is refused, and not kept.
    pub(crate) max_size: Option<u64>,
    /// What the file must have.
    pub(crate) sha256: Option<Sha256>,
    /// The file gets the time of its last modification at the server.
    pub(crate) keep_time: bool,
    /// How many connections there may be for one file.
    pub(crate) parallel: usize,
}

/// What all downloads of a command share. It may be shared by threads.
#[derive(Clone, Copy)]
pub(crate) struct Downloader<'a> {
    pub(crate) requester: &'a Requester<'a>,
    pub(crate) pace: &'a Pace,
    pub(crate) wishes: &'a Wishes,
    pub(crate) voice: Voice,
}

/// A download that went well.
pub(crate) struct Downloaded {
    /// Of the last answer, with what the download adds to it.
    pub(crate) summary: Summary,
    /// How much content came, in all attempts.
    pub(crate) bytes: u64,
    /// Where it is, if something was written.
    pub(crate) name: Option<PathBuf>,
}

impl Downloader<'_> {
    /// Downloads what is at a URL to an output: all of it, proved to be of one version, or nothing.
    ///
    /// # Errors
    ///
    /// The last failure, when there were attempts enough; the output has not got its name then.
    pub(crate) fn download(
        &self,
        url: &Url,
        output: Output,
        retries: Retries,
        progress: &Progress,
    ) -> Result<Downloaded, Report> {
        let mut retries = retries.until(self.requester.deadline());
        let began = Instant::now();
        let mut download = Download {
            shared: self,
            url,
            progress,
            have: 0,
            version: None,
            resumed_from: 0,
            bytes: 0,
            hasher: None,
            in_parallel: self.wishes.parallel > 1
                && output.file().is_some()
                && ![RANGE, IF_RANGE].iter().any(|name| self.requester.is_given(name)),
            output,
        };
        download.take_up();
        let ended = loop {
            match download.attempt(&mut retries) {
                Ok(Some(ended)) => break Ok(ended),
                Ok(None) => retries.went_forward(),
                Err(failure) => match retries.again(failure) {
                    Ok(()) => {}
                    Err(failure) => break Err(failure),
                },
            }
        };
        match ended {
            Ok(ended) => download.finish(ended, &retries, began),
            Err(failure) => Err(download.fail(failure)),
        }
    }
}

/// The answer that completed a download.
pub(super) struct Ended {
    pub(super) summary: Summary,
    /// The user asked on a condition, and what is there is good.
    pub(super) not_modified: bool,
}

pub(super) struct Download<'a> {
    pub(super) shared: &'a Downloader<'a>,
    pub(super) url: &'a Url,
    pub(super) progress: &'a Progress,
    pub(super) output: Output,
    /// How much of the version is in the output.
    pub(super) have: u64,
    /// The version that the output has the beginning of.
    pub(super) version: Option<Version>,
    pub(super) resumed_from: u64,
    pub(super) bytes: u64,
    /// Of what is in the output, where there is something to compare it with.
    pub(super) hasher: Option<Hasher>,
    /// Whether several connections are to be tried.
    pub(super) in_parallel: bool,
}

impl Download<'_> {
    /// Goes on with what an earlier run has left.
    fn take_up(&mut self) {
        if let Output::Partial(partial) = &self.output
            && let Some((version, length)) = partial.resumable()
        {
            self.version = Some(version.clone());
            self.have = length;
            self.resumed_from = length;
        }
    }

    /// Makes one request and takes what it brings. `None`: it brought something, and more is missing.
    fn attempt(&mut self, retries: &mut Retries) -> Result<Option<Ended>, Report> {
        if self.in_parallel {
            return self.attempt_in_parallel(retries);
        }
        let Some(condition) = self.condition()? else {
            let answer = self.ask(&[])?;
            return self.take_whole(answer, retries);
        };
        let first = self.have;
        let range = HeaderValue::from_str(&format!("bytes={first}-")).map_err(|_| unexpected())?;
        let answer = self.ask(&[(RANGE, range), (IF_RANGE, condition)])?;
        let version = self.version.clone().unwrap_or_default();
        match judge_answer(&answer, first, None, &version) {
            Verdict::Part { end, length } => self.take_part(answer, end, length, retries),
            Verdict::Whole => {
                self.begin_again("the server has another version, or sends no parts")?;
                self.take_whole(answer, retries)
            }
            Verdict::Beyond { proved, .. } if proved || self.is_complete(&version)? => {
                let summary = Summary::of(&answer);
                Ok(Some(Ended { summary, not_modified: false }))
            }
            Verdict::Beyond { .. } => {
                self.begin_again("the server does not say that its version is the same")?;
                Ok(None)
            }
            Verdict::Unusable(why) => {
                self.begin_again(why)?;
                Ok(None)
            }
            Verdict::Other => {
                answer.success()?;
                Err(strange("the answer to a request for a part is neither part nor whole"))
            }
        }
    }

    /// What the next request goes on under, if it goes on. Makes room for a start from the beginning
    /// where it cannot.
    fn condition(&mut self) -> Result<Option<HeaderValue>, Report> {
        if self.have == 0 {
            // Perhaps there is a version of which nothing has come yet; the next answer says.
            self.begin_again("")?;
            return Ok(None);
        }
        let given = |name| self.shared.requester.is_given(name);
        let validator = match given(&RANGE) || given(&IF_RANGE) {
            // The user's own range is not the one that is needed.
            true => None,
            false => self.version.as_ref().and_then(Version::validator),
        };
        if validator.is_none() {
            self.begin_again("the server has given no strong validator")?;
        }
        Ok(validator)
    }

    pub(super) fn ask(&self, more: &[(HeaderName, HeaderValue)]) -> Result<Answer, Report> {
        let mut fields = vec![want_digest()];
        fields.extend_from_slice(more);
        self.shared.requester.fetch(&Method::GET, self.url, &fields)
    }

    /// Whether the whole is there already, as HEAD tells.
    fn is_complete(&self, version: &Version) -> Result<bool, Report> {
        let answer = self.shared.requester.fetch(&Method::HEAD, self.url, &[])?;
        let length = answer.length();
        let now = Version::in_answer(&answer, length);
        // A date says when, not what: of two versions in one second, both would have it.
        Ok(answer.status().is_success()
            && length == Some(self.have)
            && now.etag.is_some()
            && (&now.etag, &now.place) == (&version.etag, &version.place))
    }

    /// Throws away what there is. What has been handed on already cannot be thrown away.
    pub(super) fn begin_again(&mut self, why: &str) -> Result<(), Report> {
        if self.have > 0 {
            if !self.output.begin_again()? {
                return Err(cannot_go_on(why, self.have));
            }
            self.say(&format!("{why}: starting again"));
        }
        self.have = 0;
        self.resumed_from = 0;
        self.version = None;
        self.hasher = None;
        Ok(())
    }

    pub(super) fn take_whole(
        &mut self,
        answer: Answer,
        retries: &mut Retries,
    ) -> Result<Option<Ended>, Report> {
        let answer = answer.success()?;
        if answer.is_not_modified() {
            let summary = Summary::of(&answer);
            return Ok(Some(Ended { summary, not_modified: true }));
        }
        let headers = answer.response.headers();
        let asked_for_part = self.shared.requester.is_given(&RANGE);
        if answer.status().as_u16() == 206 && !asked_for_part {
            return Err(strange("it sent a part although the whole was asked for"));
        }
        let length = headers.contains_key(CONTENT_LENGTH).then(|| answer.length()).flatten();
        let mut version = Version::in_answer(&answer, length);
        if asked_for_part {
            // The digest is the whole's, and so is the version.
            version.sha256 = None;
            version.etag = None;
            version.settled = false;
        }
        self.note_headers(headers);
        self.refuse_too_much(length.unwrap_or(0))?;
        self.output.name_it(name_for(self.url, headers))?;
        if let Output::Partial(partial) = &mut self.output {
            partial.note(&version)?;
        }
        self.version = Some(version);
        self.pour(answer, length, retries)
    }

    /// Says what is strange about the fields of a first answer.
    pub(super) fn note_headers(&self, headers: &HeaderMap) {
        if let Some(coding) = coding(headers) {
            let coding = Escaped(&coding).to_string();
            self.say(&format!("the content is kept as it came, encoded as {coding}"));
        }
        if let Some(name) = malformed(headers) {
            self.say(&format!("{name} cannot be read, and is not checked"));
        }
    }

    fn take_part(
        &mut self,
        answer: Answer,
        end: u64,
        length: Option<u64>,
        retries: &mut Retries,
    ) -> Result<Option<Ended>, Report> {
        self.refuse_too_much(length.unwrap_or(end))?;
        if let Some(version) = &mut self.version {
            version.length = length;
            if version.sha256.is_none() {
                version.sha256 = Version::of(answer.response.headers(), None).sha256;
            }
        }
        self.pour(answer, Some(end), retries)
    }

    /// Reads the content of an answer to where it belongs, up to an offset where that is known.
    fn pour(
        &mut self,
        answer: Answer,
        end: Option<u64>,
        retries: &mut Retries,
    ) -> Result<Option<Ended>, Report> {
        let summary = Summary::of(&answer);
        let headers = answer.response.headers();
        let of_content = digest_in(headers, &CONTENT_DIGEST).ok().flatten();
        let mut content = match of_content {
            None => None,
            Some(expected) => Some((Hasher::new().map_err(hash_failed)?, expected)),
        };
        self.prepare_hasher()?;
        let length = self.version.as_ref().and_then(|version| version.length);
        self.progress.begin(length, self.have);
        let mut body = answer.response.into_body();
        let mut reader = self.shared.pace.read(body.as_reader());
        let prompt = self.output.is_through();
        in_pieces(&mut reader, prompt, &mut |piece| {
            self.write(piece, end)?;
            if let Some((hasher, _)) = &mut content {
                hasher.update(piece).map_err(hash_failed)?;
            }
            retries.reached(self.have);
            Ok(())
        })?;
        if let Some((hasher, expected)) = content {
            let found = hasher.finish().map_err(hash_failed)?;
            compare(found, expected, "the server's Content-Digest")?;
        }
        match end {
            Some(end) if self.have < end => {
                Err(Report::new(Exit::Truncated, "truncated", "the content was cut short")
                    .explain("it ended before the announced length"))
            }
            _ if length.is_some_and(|length| self.have < length) => Ok(None),
            _ => Ok(Some(Ended { summary, not_modified: false })),
        }
    }

    fn write(&mut self, bytes: &[u8], end: Option<u64>) -> Result<(), Report> {
        let after = self.have.saturating_add(bytes.len() as u64);
        if end.is_some_and(|end| after > end) {
            return Err(strange("it sent more than it announced"));
        }
        self.refuse_too_much(after)?;
        self.output.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes).map_err(hash_failed)?;
        }
        self.have = after;
        self.bytes += bytes.len() as u64;
        self.progress.advance(bytes.len());
        Ok(())
    }

    pub(super) fn refuse_too_much(&self, length: u64) -> Result<(), Report> {
        let limit = self.shared.wishes.max_size.unwrap_or(u64::MAX);
        if length <= limit {
            return Ok(());
        }
        Err(Report::new(Exit::Expectation, "too-large", "the content is larger than it may be")
            .explain(format!("--max-size is {}", Size(limit)))
            .remedy("no file was made of it; allow more if that is what you want")
            .detail("max_size", limit)
            .detail("url", self.url.as_str()))
    }

    /// A hasher, if there is something to compare its digest with.
    pub(super) fn wanted_hasher(&self) -> Result<Option<Hasher>, Report> {
        let announced = self.version.as_ref().and_then(Version::digest);
        match announced.or(self.shared.wishes.sha256) {
            None => Ok(None),
            Some(_) => Hasher::new().map(Some).map_err(hash_failed),
        }
    }

    /// Makes the hasher that is needed, and lets it see what is in the output already.
    fn prepare_hasher(&mut self) -> Result<(), Report> {
        if self.hasher.is_some() {
            return Ok(());
        }
        let Some(mut hasher) = self.wanted_hasher()? else { return Ok(()) };
        match self.output.file() {
            Some(file) => add_from(&mut hasher, file, self.have).map_err(hash_failed)?,
            None if self.have == 0 => {}
            // The beginning is gone; the digest came too late.
            None => return Ok(()),
        }
        self.hasher = Some(hasher);
        Ok(())
    }

    /// Compares the whole with what is known of it.
    fn check(&mut self) -> Result<Option<Sha256>, Report> {
        self.prepare_hasher()?;
        let Some(hasher) = self.hasher.take() else {
            return Ok(None);
        };
        let found = hasher.finish().map_err(hash_failed)?;
        if let Some(expected) = self.shared.wishes.sha256 {
            compare(found, expected, "--sha256")?;
        }
        if let Some(expected) = self.version.as_ref().and_then(Version::digest) {
            compare(found, expected, "the server's Repr-Digest")?;
        }
        Ok(Some(found))
    }

    fn finish(
        mut self,
        ended: Ended,
        retries: &Retries,
        began: Instant,
    ) -> Result<Downloaded, Report> {
        let Ended { mut summary, not_modified } = ended;
        summary.began(began);
        summary.add("retries", retries.used());
        if not_modified {
            // What the user has is good: nothing is written.
            return Ok(Downloaded { summary, bytes: 0, name: None });
        }
        match self.refuse_too_much(self.have).and_then(|()| self.check()) {
            Ok(None) => {}
            Ok(Some(digest)) => summary.add("sha256", digest.to_string()),
            Err(failure) => return Err(self.fail(failure)),
        }
        summary.add("size", self.have);
        summary.add("resumed_from", self.resumed_from);
        let modified = self.version.as_ref().and_then(Version::modified);
        // A time to come is a wrong clock (RFC 9110 section 8.8.2.1).
        let modified = modified
            .filter(|modified| self.shared.wishes.keep_time && *modified <= SystemTime::now());
        let name = Some(self.output.name().to_owned());
        self.output.finish(modified)?;
        Ok(Downloaded { summary, bytes: self.bytes, name })
    }

    /// Leaves behind only what can become right.
    fn fail(self, failure: Report) -> Report {
        if matches!(failure.exit(), Exit::Digest | Exit::Expectation) {
            self.output.discard();
            return failure;
        }
        let kept = match &self.output {
            Output::Partial(partial) => partial.resumable().filter(|(_, length)| *length > 0),
            _ => None,
        };
        match kept {
            None => failure,
            Some((_, length)) => failure
                .detail("kept", length)
                .remedy(format!("{} were kept; the same command goes on from there", Size(length))),
        }
    }

    pub(super) fn say(&self, text: &str) {
        if !self.shared.voice.quiet {
            progress::say(format_args!("sealpair: {}: {text}\n", Escaped(self.url.as_str())));
        }
    }
}

fn cannot_go_on(why: &str, have: u64) -> Report {
    Report::new(Exit::Truncated, "truncated", "the content was cut short, and cannot be completed")
        .explain(format!("{why}, and {} have been handed on already", Size(have)))
        .remedy("try again into a file (-o): what is in a file can be taken back")
        .detail("final", true)
}

fn strange(why: &str) -> Report {
    Report::new(Exit::Protocol, "http-protocol", "the server broke the HTTP protocol").explain(why)
}

pub(super) fn hash_failed(error: io::Error) -> Report {
    Report::new(Exit::LocalIo, "digest", "the digest cannot be computed").explain(error.to_string())
}

pub(super) fn unexpected() -> Report {
    Report::new(Exit::Unexpected, "unexpected", "the request cannot be made")
}
