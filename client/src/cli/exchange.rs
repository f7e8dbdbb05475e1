//! One request and its answer, with the redirects in between.
//!
//! Redirects are followed for GET and HEAD, within https, at most ten. As soon as one leads to another
//! scheme, host or port, everything that could be a credential stays behind: the header fields that the
//! user gave (but for a few that are known to carry none), the client certificate, and the expected
//! name. ureq's own rule strips two header names and ignores the port.

use super::Voice;
use super::tls_args::{Defaults, TlsArgs, Towards};
use super::url_arg::{parse_url, without_password};
use clap::Args;
use sealpair_client::{Phase, report, session};
use sealpair_common::escape::Escaped;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::tls::{TlsSession, read_file};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use ureq::http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LENGTH, HOST, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE, RETRY_AFTER, TRANSFER_ENCODING, USER_AGENT,
};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use ureq::{Agent, Body, SendBody, Timeout};
use url::Url;

/// curl follows 50, browsers 20, ureq 10; more than a few is a loop.
const MAX_REDIRECTS: usize = 10;

/// How much of an error page is shown, and how long is waited for it.
const MAX_COMPLAINT: u64 = 64 << 10;
const COMPLAINT_TIME: Duration = Duration::from_secs(3);

/// Fields of the user's that go along to another origin: none of them says who is asking.
/// A range goes nowhere without its condition.
const HARMLESS: [HeaderName; 10] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    RANGE,
    USER_AGENT,
    WANT_REPR_DIGEST,
];

/// RFC 9530 section 4.
pub(crate) const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// Flags of every command that makes a request.
#[derive(Debug, Args)]
pub(crate) struct HttpArgs {
    /// Header field `Name: value`, or `@FILE` with one on each line (repeatable). `Name:` leaves a
    /// field out. Tokens belong into a file: others on this machine can read the command line
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,

    #[command(flatten)]
    tls: TlsArgs,
}

/// What all requests of one command have in common: what the user wants of them, and the connections, which
/// are kept and used again. It may be shared by threads.
pub(crate) struct Requester<'a> {
    args: &'a HttpArgs,
    voice: Voice,
    /// When the command has to be done (--max-time), with all attempts.
    deadline: Option<Instant>,
    /// The user's fields.
    fields: HeaderMap,
    /// Towards the origin that the user named.
    named: Agent,
    /// Towards others, to which a redirect has led: it tells them nothing of who is asking.
    redirected: OnceLock<Agent>,
}

/// Which of the requests of a resumable upload it is.
pub(crate) enum UploadRequest<'u> {
    /// The one that makes an upload for this target: all fields of the user's are about it.
    Create(&'u Url),
    /// One to the upload's own place, which takes only the fields that may say who is asking.
    Existing { target: &'u Url, place: &'u Url },
}

/// An answer whose content has not been read yet.
pub(crate) struct Answer {
    pub(crate) method: Method,
    /// Where it finally came from.
    pub(crate) url: Url,
    pub(crate) redirects: Vec<Url>,
    pub(crate) response: Response<Body>,
    pub(crate) began: Instant,
    /// Whether the user asked on a condition.
    conditional: bool,
}

impl<'a> Requester<'a> {
    pub(crate) fn new(args: &'a HttpArgs, voice: Voice) -> Result<Self, Report> {
        let fields = user_fields(args)?;
        let named = args.tls.agent(Towards::Named, defaults(args))?;
        let deadline = args.tls.max_time().and_then(|time| Instant::now().checked_add(time));
        Ok(Self { args, voice, deadline, fields, named, redirected: OnceLock::new() })
    }

    /// When the command has to be done.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the user has given this field, so that it cannot be set by a command.
    pub(crate) fn is_given(&self, name: &HeaderName) -> bool {
        self.fields.contains_key(name)
    }

    /// Sends a request without content and follows redirects. `headers` are set where the user has not set
    /// them.
    pub(crate) fn fetch(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, Report> {
        let follow = matches!(*method, Method::GET | Method::HEAD);
        let began = Instant::now();
        let mut fields = self.fields(headers);
        let mut agent = &self.named;
        let mut url = url.clone();
        let mut redirects = Vec::new();
        loop {
            let response = self.call(agent, method, &url, &fields, SendBody::none())?;
            let status = response.status();
            let location = response.headers().get(LOCATION).filter(|_| is_redirect(status));
            let Some(location) = location.filter(|_| follow) else {
                let conditional = is_conditional(&fields);
                let method = method.clone();
                return Ok(Answer { method, url, redirects, response, began, conditional });
            };
            let next = next_hop(&url, location)?;
            if redirects.len() == MAX_REDIRECTS {
                return Err(refused(&url, "there were ten redirects already"));
            }
            if next.origin() != url.origin() {
                fields.retain_only(&HARMLESS);
                agent = self.redirected()?;
            }
            redirects.push(std::mem::replace(&mut url, next));
        }
    }

    /// Sends a request with content. Redirects are not followed: the content would have to be sent again, to
    /// somebody else. `headers` are set where the user has not set them.
    pub(crate) fn submit(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        body: SendBody<'_>,
    ) -> Result<Answer, Report> {
        let began = Instant::now();
        let fields = self.fields(headers);
        let response = self.call(&self.named, method, url, &fields, body)?;
        let (conditional, redirects) = (is_conditional(&fields), Vec::new());
        let (method, url) = (method.clone(), url.clone());
        Ok(Answer { method, url, redirects, response, began, conditional })
    }

    /// Sends one of the requests that make up a resumable upload. The place of the upload is a secret: it
    /// is not shown, and in the answer `target` stands instead.
    pub(crate) fn upload(
        &self,
        method: &Method,
        to: &UploadRequest<'_>,
        headers: &[(HeaderName, HeaderValue)],
        body: SendBody<'_>,
    ) -> Result<Answer, Report> {
        let began = Instant::now();
        let fields = match to {
            UploadRequest::Create(_) => self.fields(headers),
            UploadRequest::Existing { .. } => {
                let mut fields = self.fields.clone();
                fields.retain_who_asks();
                headers.iter().for_each(|(name, value)| drop(fields.insert(name, value.clone())));
                fields
            }
        };
        let (UploadRequest::Create(target) | UploadRequest::Existing { target, .. }) = to;
        let place = match to {
            UploadRequest::Create(target) => target,
            UploadRequest::Existing { place, .. } => place,
        };
        let mut response = self.run(&self.named, method, place, &fields, body)?;
        if self.voice.verbose {
            show_head(&response, Some(&LOCATION));
        }
        if matches!(to, UploadRequest::Existing { .. })
            && let Some(location) = response.headers_mut().get_mut(LOCATION)
        {
            // Nobody follows it, and errors would tell it.
            *location = HeaderValue::from_static("(not shown)");
        }
        let (method, url) = (method.clone(), (*target).clone());
        Ok(Answer { method, url, redirects: Vec::new(), response, began, conditional: false })
    }

    fn redirected(&self) -> Result<&Agent, Report> {
        if self.redirected.get().is_none() {
            let agent = self.args.tls.agent(Towards::Redirected, defaults(self.args))?;
            // Another thread's is as good.
            let _ = self.redirected.set(agent);
        }
        Ok(self.redirected.get().unwrap_or(&self.named))
    }

    fn call(
        &self,
        agent: &Agent,
        method: &Method,
        url: &Url,
        fields: &HeaderMap,
        body: SendBody<'_>,
    ) -> Result<Response<Body>, Report> {
        let response = self.run(agent, method, url, fields, body)?;
        if self.voice.verbose {
            show_head(&response, None);
        }
        Ok(response)
    }

    fn run(
        &self,
        agent: &Agent,
        method: &Method,
        url: &Url,
        fields: &HeaderMap,
        body: SendBody<'_>,
    ) -> Result<Response<Body>, Report> {
        let mut request = Request::builder().method(method.clone()).uri(url.as_str());
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(fields);
        }
        let request = request.body(body).map_err(|error| {
            Report::new(Exit::Usage, "bad-request", "the request cannot be made")
                .explain(error.to_string())
                .remedy("check the URL and the method")
        })?;
        let left = self.deadline.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            let late = report(&ureq::Error::Timeout(Timeout::Global), Phase::Request);
            return Err(late.detail("final", true));
        }
        let request = match left {
            None => request,
            Some(_) => agent.configure_request(request).timeout_global(left).build(),
        };
        agent.run(request).map_err(|error| report(&error, Phase::Request))
    }

    /// The fields of a request: the user's, and those of `headers` that the user has not set.
    fn fields(&self, headers: &[(HeaderName, HeaderValue)]) -> HeaderMap {
        let mut fields = self.fields.clone();
        for (name, value) in headers {
            fields.entry(name).or_insert_with(|| value.clone());
        }
        // `Name:` leaves out a field that would be sent otherwise, as with curl.
        let empty = fields.iter().filter(|(_, value)| value.is_empty());
        let empty: Vec<HeaderName> = empty.map(|(name, _)| name.clone()).collect();
        for name in empty {
            fields.remove(name);
        }
        fields
    }
}

/// Which of the fields that ureq adds by itself are wanted.
fn defaults(args: &HttpArgs) -> Defaults {
    let left_out = |name: &str| {
        args.headers.iter().any(|text| {
            let mut parts = text.splitn(2, ':');
            parts.next().is_some_and(|given| given.eq_ignore_ascii_case(name))
                && parts.next().is_some_and(|value| value.trim().is_empty())
        })
    };
    Defaults { user_agent: !left_out("user-agent"), accept: !left_out("accept") }
}

/// The fields that the user gives.
fn user_fields(args: &HttpArgs) -> Result<HeaderMap, Report> {
    let mut fields = HeaderMap::new();
    for text in &args.headers {
        match text.strip_prefix('@') {
            None => {
                // What follows the name may be a secret.
                let name = text.split([':', ' ']).next().unwrap_or_default();
                add_field(&mut fields, text, &format!("{name} …"))?;
            }
            Some(path) => {
                let bytes =
                    read_file(Path::new(path), "header fields").map_err(|error| error.report())?;
                let lines = String::from_utf8(bytes).map_err(|_| {
                    let message = format!("the header fields in {path} are not UTF-8");
                    Report::new(Exit::Configuration, "header-file", message)
                })?;
                for (at, line) in lines.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
                    // The line itself may be a secret.
                    add_field(&mut fields, line, &format!("line {} of {path}", at + 1))?;
                }
            }
        }
    }
    Ok(fields)
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

fn is_conditional(fields: &HeaderMap) -> bool {
    fields.contains_key(IF_NONE_MATCH) || fields.contains_key(IF_MODIFIED_SINCE)
}

trait RetainOnly {
    fn retain_only(&mut self, names: &[HeaderName]);

    /// Leaves what may say who is asking, and nothing about the content or a condition.
    fn retain_who_asks(&mut self);
}

impl RetainOnly for HeaderMap {
    fn retain_who_asks(&mut self) {
        let of_content = |name: &HeaderName| {
            let name = name.as_str();
            ["content-", "if-", "upload-", "want-"].iter().any(|start| name.starts_with(start))
                || matches!(name, "accept" | "expect" | "range" | "repr-digest")
        };
        let others: Vec<_> = self.keys().filter(|name| of_content(name)).cloned().collect();
        for name in others {
            self.remove(name);
        }
        // `Name:` leaves a field out.
        let empty = self.iter().filter(|(_, value)| value.is_empty());
        let empty: Vec<HeaderName> = empty.map(|(name, _)| name.clone()).collect();
        for name in empty {
            self.remove(name);
        }
    }

    fn retain_only(&mut self, names: &[HeaderName]) {
        let others: Vec<_> = self.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in others {
            self.remove(name);
        }
    }
}

fn add_field(fields: &mut HeaderMap, text: &str, shown: &str) -> Result<(), Report> {
    let bad = || {
        Report::new(Exit::Usage, "bad-header", format!("not a header field: {shown}"))
            .remedy("give it as 'Name: value'")
    };
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    let name: HeaderName = name.parse().map_err(|_| bad())?;
    if [CONTENT_LENGTH, TRANSFER_ENCODING, HOST].contains(&name) {
        return Err(Report::new(Exit::Usage, "bad-header", format!("{name} cannot be set"))
            .explain("it is part of the framing, which the client is responsible for"));
    }
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
    value.set_sensitive(true);
    fields.append(name, value);
    Ok(())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn next_hop(url: &Url, location: &HeaderValue) -> Result<Url, Report> {
    let text = location.to_str().map_err(|_| refused(url, "its target is not text"))?;
    let shown = without_password(url, location);
    let next = url.join(text).map_err(|error| refused(url, &format!("{shown}: {error}")))?;
    parse_url(next.as_str()).map_err(|why| refused(url, &format!("{shown}: {why}")))
}

fn refused(url: &Url, why: &str) -> Report {
    Report::new(Exit::Redirect, "redirect", format!("a redirect of {url} was not followed"))
        .explain(why.to_owned())
        .remedy("if you trust where it leads, ask there")
        .detail("url", url.as_str())
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

fn show_head(response: &Response<Body>, secret: Option<&HeaderName>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_would_break_the_framing_are_refused() {
        let mut fields = HeaderMap::new();
        for bad in
            ["a", "Content-Length: 3", "a b: c", "Transfer-Encoding: chunked", "x: a\r\nb: c"]
        {
            assert!(add_field(&mut fields, bad, bad).is_err(), "{bad}");
        }
        add_field(&mut fields, "X-Token: abc", "").unwrap();
        add_field(&mut fields, "Accept: */*", "").unwrap();
        fields.retain_only(&HARMLESS);
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn redirects_stay_within_https() {
        let url = Url::parse("https://localhost:8443/a/b").unwrap();
        let hop = |to: &str| next_hop(&url, &HeaderValue::from_str(to).unwrap());
        assert_eq!(hop("./c/").unwrap().as_str(), "https://localhost:8443/a/c/");
        assert_eq!(hop("//other/").unwrap().as_str(), "https://other/");
        for bad in ["http://localhost/", "file:///etc/passwd", "https://a:b@c/", "https://"] {
            assert_eq!(hop(bad).unwrap_err().exit(), Exit::Redirect, "{bad}");
        }
    }
}
