//! Problem details (RFC 9457): errors that a program can tell apart.

use crate::http::Rejection;
use crate::message::{Body, Response};
use ::http::StatusCode;
use ::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// draft-ietf-httpbis-resumable-upload section 7.1.
pub(super) const MISMATCHING_OFFSET: &str = "mismatching-upload-offset";
/// draft-ietf-httpbis-resumable-upload section 7.2.
pub(super) const COMPLETED_UPLOAD: &str = "completed-upload";
/// draft-ietf-httpbis-resumable-upload section 7.3.
pub(super) const INCONSISTENT_LENGTH: &str = "inconsistent-upload-length";
/// draft-ietf-httpapi-digest-fields-problem-types section 3.3.
pub(super) const MISMATCHING_DIGEST: &str = "digest-mismatching-values";

/// An error of a type that is registered.
#[derive(Debug)]
pub(super) struct Problem<const N: usize> {
    pub(super) status: StatusCode,
    /// The last part of the type's URI.
    pub(super) kind: &'static str,
    /// What is wrong, for a person.
    pub(super) title: &'static str,
    /// The members that the type defines.
    pub(super) members: [(&'static str, Value); N],
}

/// The answer to a request that is refused.
#[derive(Debug)]
pub(super) struct Refused(Box<Response>);

impl Refused {
    /// The same with a header field; a value that cannot be one is left out.
    pub(super) fn with(self, name: HeaderName, value: impl fmt::Display) -> Self {
        Self(Box::new(with(*self.0, name, value)))
    }

    pub(super) fn into_response(self) -> Response {
        *self.0
    }
}

impl From<Rejection> for Refused {
    fn from(Rejection { status, reason }: Rejection) -> Self {
        Response::error(status, reason).into()
    }
}

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

/// A response with a header field more; a value that cannot be one is left out.
pub(super) fn with(response: Response, name: HeaderName, value: impl fmt::Display) -> Response {
    match HeaderValue::from_str(&value.to_string()) {
        Ok(value) => response.with_header(name, value),
        Err(_) => response,
    }
}

impl<const N: usize> Problem<N> {
    pub(super) fn refuse(self) -> Refused {
        let Self { status, kind, title, members } = self;
        let mut problem = Map::new();
        let kind = format!("https://iana.org/assignments/http-problem-types#{kind}");
        problem.insert("type".to_owned(), kind.into());
        problem.insert("title".to_owned(), title.into());
        problem.insert("status".to_owned(), status.as_u16().into());
        for (name, value) in members {
            problem.insert(name.to_owned(), value);
        }
        let mut text = Value::Object(problem).to_string();
        text.push('\n');
        Response::new(status)
            .with_header(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))
            .with_body(Body::Bytes(Cow::Owned(text.into_bytes())))
            .into()
    }
}
