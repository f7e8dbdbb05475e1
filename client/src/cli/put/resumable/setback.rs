//! When a resumable upload does not go as it should: the server refuses, contradicts what was said, or has
//! lost what it had. Each time it is decided what may still become right, and what must end.

use super::super::problem::{busy, is_problem};
use super::super::transfer::mismatch;
use super::{Next, Step, Trouble, Upload};
use crate::cli::exchange::Answer;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use ureq::http::StatusCode;
use ureq::http::header::RETRY_AFTER;

/// How often an upload is begun again, or looked for, without anything going forward in between. A server
/// that contradicts itself more often than that will go on with it.
const PATIENCE: u32 = 4;

impl Upload<'_> {
    /// What follows when the server does not take what was to be appended.
    pub(super) fn refused(&mut self, answer: Answer) -> Step {
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => self.vanished(),
            StatusCode::CONFLICT if answer.response.headers().contains_key(RETRY_AFTER) => {
                Err(busy(&answer).into())
            }
            // Another offset: asking is the safe way, whatever the document says.
            StatusCode::CONFLICT => self.surprise(),
            StatusCode::BAD_REQUEST => {
                let report = self.explain_refusal(answer);
                match report.exit() {
                    Exit::Digest => Err(Trouble::Final(report)),
                    _ if is_problem(&report, "completed-upload") => self.surprise(),
                    _ => Err(Trouble::Final(report)),
                }
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                let before = self.limits.max_append.unwrap_or(u64::MAX);
                self.limits.update(answer.response.headers());
                match self.limits.max_append.is_some_and(|now| now < before) {
                    true => self.surprise(),
                    false => Err(self.give_up(answer)),
                }
            }
            _ => Err(self.give_up(answer)),
        }
    }

    /// A refusal that is none of the protocol's own. What may be different the next time keeps the upload:
    /// who is asking, and the server's own troubles. Other refusals would come again and again.
    pub(super) fn give_up(&self, answer: Answer) -> Trouble {
        let status = answer.status();
        let report = self.explain_refusal(answer);
        match status.as_u16() {
            400 | 402 | 404..=406 | 409..=428 | 430..=499 => Trouble::Final(report),
            _ => Trouble::Passing(report),
        }
    }

    /// What the server says does not fit what was done here: it is asked again, but not for ever.
    pub(super) fn surprise(&mut self) -> Step {
        self.surprises += 1;
        match self.surprises > PATIENCE {
            true => Err(self.broken("it contradicts itself about how far the upload is")),
            false => Ok(Next::Locate),
        }
    }

    /// The upload is not there any more. If it had been completed, the file may be.
    pub(super) fn vanished(&mut self) -> Step {
        if self.completing
            && let Some(answer) = self.stored()?
        {
            return Ok(Next::Done(Box::new(answer)));
        }
        self.place = None;
        self.begin_again()
    }

    /// The upload is complete, and what the server said to that was lost. It may have refused the file.
    pub(super) fn unheard(&mut self) -> Step {
        if let Some(answer) = self.stored()? {
            return Ok(Next::Done(Box::new(answer)));
        }
        self.place = None;
        let url = self.target;
        let report =
            Report::new(Exit::Truncated, "outcome-unknown", "the outcome of the upload was lost")
                .explain(format!(
                    "all of it was received, but {url} is something else or has no digest"
                ))
                .remedy("look at what is there, and upload again if it is not the file")
                .detail("url", url.as_str());
        Err(Trouble::Final(report))
    }

    /// The answer of the target, if what it has is this file.
    fn stored(&mut self) -> Result<Option<Answer>, Trouble> {
        let length = self.file.length();
        self.file.catch_up(length).map_err(Trouble::Final)?;
        let digest = self.file.digest().map_err(Trouble::Final)?;
        Ok(self.transfers.stored(self.target, &digest)?)
    }

    pub(super) fn begin_again(&mut self) -> Step {
        if let Some(place) = self.place.take() {
            self.abandon(&place);
        }
        self.forget();
        self.offset = 0;
        self.surprises += 1;
        match self.surprises > PATIENCE {
            true => Err(self.broken("it loses what it has received")),
            false => Ok(Next::Create),
        }
    }

    pub(super) fn explain_refusal(&self, answer: Answer) -> Report {
        let report = self.transfers.failed(answer, self.target);
        match is_problem(&report, "digest") {
            true => mismatch(self.target),
            false => report,
        }
    }

    /// A server that does not keep to the protocol gets nothing more.
    pub(super) fn broken(&self, why: &str) -> Trouble {
        let url = self.target;
        let message = format!("the server broke the protocol of resumable uploads at {url}");
        Trouble::Final(
            Report::new(Exit::Protocol, "upload-protocol", message)
                .explain(why.to_owned())
                .remedy("look at what is there now")
                .detail("url", url.as_str()),
        )
    }
}
