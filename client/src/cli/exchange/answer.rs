//! The answer to a request: whether it is a success, and what is told of one that is not.

use super::{is_redirect, refused};
use crate::cli::url_arg::without_password;
use sealpair_client::{Phase, report, session};
use sealpair_common::escape::Escaped;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::tls::TlsSession;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};
use ureq::Body;
use ureq::http::header::{CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use ureq::http::{HeaderName, Method, Response, StatusCode};
use url::Url;

/// How much of an error page is shown, and how long is waited for it.
const MAX_COMPLAINT: u64 = 64 << 10;
const COMPLAINT_TIME: Duration = Duration::from_secs(3);

/// An answer whose content has not been read yet.
pub(crate) struct Answer {
    pub(crate) method: Method,
    /// Where it finally came from.
    pub(crate) url: Url,
    pub(crate) redirects: Vec<Url>,
    pub(crate) response: Response<Body>,
    pub(crate) began: Instant,
    /// Whether the user asked on a condition.
    pub(super) conditional: bool,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn session(&self) -> Option<&TlsSession> {
        session(&self.response)
    }

    /// Whether the server says that what the user has is still good.
    pub(crate) fn is_not_modified(&self) -> bool {
        self.conditional && self.status() == StatusCode::NOT_MODIFIED
    }

    /// The length that the server announces.
    pub(crate) fn length(&self) -> Option<u64> {
        self.response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The answer, if its status says that it is one: 2xx, or 304 where the user asked on a condition.
    ///
    /// An error status becomes an error that carries what the server has to say about it.
    pub(crate) fn success(mut self) -> Result<Self, Report> {
        let status = self.status();
        if status.is_success() || self.is_not_modified() {
            return Ok(self);
        }
        if is_redirect(status) {
            let to = self
                .response
                .headers()
                .get(LOCATION)
                .map(|to| format!("the server points to {}", without_password(&self.url, to)));
            let why = to.unwrap_or_else(|| "the server does not say where to".to_owned());
            return Err(refused(&self.url, &why).detail("status", status.as_u16()));
        }
        let exit = match status.as_u16() {
            400..500 => Exit::HttpClientError,
            500..600 => Exit::HttpServerError,
            // RFC 9110 section 15: nothing else can be an answer to what was asked.
            _ => Exit::Protocol,
        };
        let retry_after = self.response.headers().get(RETRY_AFTER).cloned();
        let complaint = complaint(&mut self.response);
        let mut report = Report::new(exit, "status", format!("{} answered {status}", self.url))
            .detail("status", status.as_u16())
            .detail("url", self.url.as_str());
        if let Some(value) = retry_after {
            report = report.detail("retry_after", String::from_utf8_lossy(value.as_bytes()));
        }
        if !complaint.is_empty() {
            report = report.explain(one_line(&complaint)).detail("content", complaint);
        }
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                report.remedy("check what this client may do there, and who it says it is")
            }
            StatusCode::NOT_FOUND => report.remedy("check the path in the URL"),
            StatusCode::METHOD_NOT_ALLOWED
                if matches!(self.method, Method::PUT | Method::DELETE) =>
            {
                report.remedy("the server must allow it (sealpair-server serve --writable)")
            }
            _ => report,
        })
    }
}

/// What the server says about an error, as text.
fn complaint(response: &mut Response<Body>) -> String {
    let mut bytes = Vec::new();
    let mut reader = response.body_mut().as_reader().take(MAX_COMPLAINT);
    let mut piece = [0; 4 << 10];
    let deadline = Instant::now() + COMPLAINT_TIME;
    // What can be read in time is shown; the status is the error, not this.
    while let Ok(count @ 1..) = reader.read(&mut piece) {
        bytes.extend_from_slice(&piece[..count]);
        if Instant::now() > deadline {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn one_line(text: &str) -> String {
    const LONGEST: usize = 300;
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

/// Says what came, on standard error (--verbose). The value of the field `secret` is not shown.
pub(super) fn show_head(response: &Response<Body>, secret: Option<&HeaderName>) {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let Some(session) = session(response) {
        let _ = writeln!(text, "* {session}");
        for (depth, certificate) in session.peer.iter().enumerate() {
            let _ = writeln!(
                text,
                "* certificate {depth}: {} from {}, until {}",
                Escaped(&certificate.subject),
                Escaped(&certificate.issuer),
                certificate.not_after.as_deref().unwrap_or("?"),
            );
        }
    }
    if let Some(stapled) = session(response).and_then(|session| session.ocsp.as_ref()) {
        let _ = writeln!(
            text,
            "* OCSP response: {}, this update {}, next update {}{}",
            stapled.status.name(),
            stapled.this_update.as_deref().unwrap_or("?"),
            stapled.next_update.as_deref().unwrap_or("none"),
            stapled.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default(),
        );
    }
    let _ = writeln!(text, "< {}", response.status());
    for (name, value) in response.headers() {
        let value = match secret == Some(name) {
            true => "(not shown: who knows it can write there)".into(),
            false => String::from_utf8_lossy(value.as_bytes()),
        };
        let _ = writeln!(text, "< {name}: {}", Escaped(&value));
    }
    // A courtesy: nobody may be reading.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// An error while content was read, as a report.
pub(crate) fn body_error(error: io::Error) -> Report {
    report(&error.into(), Phase::Body)
}
