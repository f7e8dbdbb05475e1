//! One request and its answer, with the redirects in between.
//!
//! Redirects are followed for GET and HEAD, within https, at most ten. As soon as one leads to another
//! scheme, host or port, everything that could be a credential stays behind: the header fields that the
//! user gave (but for a few that are known to carry none), the client certificate, and the expected
//! name. ureq's own rule strips two header names and ignores the port.

mod answer;
mod fields;

use super::Voice;
use super::tls_args::{TlsArgs, Towards};
use super::url_arg::{parse_url, without_password};
use answer::show_head;
pub(crate) use answer::{Answer, body_error};
use clap::Args;
use fields::{Fields as _, HARMLESS, defaults, is_conditional, user_fields};
use sealpair_client::{Phase, report};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::sync::OnceLock;
use std::time::Instant;
use ureq::http::header::LOCATION;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use ureq::{Agent, Body, SendBody, Timeout};
use url::Url;

/// curl follows 50, browsers 20, ureq 10; more than a few is a loop.
const MAX_REDIRECTS: usize = 10;

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
        fields.drop_left_out();
        fields
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
