//! `Repr-Digest` for who asks for it with `Want-Repr-Digest` (RFC 9530 sections 3 and 4).
//!
//! It is the digest of the whole selected representation, so it is the same in 200, in every 206, and in the
//! response to HEAD. 304 has none: it brings nothing that could be checked, and RFC 9110 section 15.4.5 wants no
//! more in it than a cache needs. Nor has an error, whose content is not the file.
//!
//! Who does not ask does not get it, even if it is known: the same request has the same answer whatever was asked
//! before, and most clients have no use for it.

use super::digest_fields::REPR_DIGEST;
use super::digests::{Digests, SMALL};
use super::representation::Representation;
use crate::message::{Body, Response};
use ::http::header::HeaderValue;
use ::http::{Method, StatusCode};
use sealpair_common::digest::Sha256;
use std::sync::Arc;

/// Adds the digest to a response that brings the representation or a part of it, or would.
///
/// A file that is too long for everybody to wait for is read only for HEAD, which is what one asks who wants to
/// know the digest. GET learns it while the file is sent, so that the next one has it.
pub(super) fn add(
    digests: &Arc<Digests>,
    method: &Method,
    representation: &Representation,
    response: Response,
) -> Response {
    if !brings(&response) {
        return response;
    }
    let file = representation.file();
    if let Some(digest) = digests.find(file, *method == Method::HEAD) {
        return with(response, &digest);
    }
    let is_whole = response.status() == StatusCode::OK;
    if *method == Method::GET
        && is_whole
        && file.length() > SMALL
        && let Some(passing) = digests.pass(file)
    {
        let length = Some(file.length());
        return response.with_body(Body::Stream { reader: Box::new(passing), length });
    }
    response
}

/// Adds the digest if it is known; `None` if it is still to be found.
pub(super) fn add_known(
    digests: &Digests,
    representation: &Representation,
    response: Response,
) -> Option<Response> {
    if !brings(&response) {
        return Some(response);
    }
    let digest = digests.known(&representation.file().identity())?;
    Some(with(response, &digest))
}

fn brings(response: &Response) -> bool {
    matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT)
}

fn with(response: Response, digest: &Sha256) -> Response {
    match HeaderValue::from_str(&digest.to_field()) {
        Ok(value) => response.with_header(REPR_DIGEST, value),
        Err(_) => response,
    }
}
