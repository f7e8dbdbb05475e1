//! Uploads that can be interrupted and gone on with.
//!
//! ```text
//! request ─┬─ draft ─┐          ┌─ registry (whose turn, how much)
//!          └─ tus ───┴─ store ──┼─ record   (what for: .sealpair-upload-<token>.json)
//!                               ├─ data     (.sealpair-upload-<token>)
//! sweep ────────────────────────┘
//! ```
//!
//! An upload is two hidden files in the folder of the file that it is to become, so the last step is a
//! rename on one file system, and nothing else has to be found after a restart. How far it is, is the
//! length of its data: nothing is noted twice that could contradict. `docs/uploads.md` tells what is
//! brought to the disk when.

mod draft;
mod fields;
mod receive;
mod record;
mod registry;
mod store;
mod sweep;
mod target;
mod token;
mod tus;

use super::beneath::Root;
use super::digests::Digests;
use super::place::Names;
use super::problem::Refused;
use crate::message::{Request, Response};
use ::http::Method;
use registry::Registry;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
pub(super) use sweep::Sweeper;

/// How much may be uploaded, and for how long it is kept while it is not complete.
#[derive(Clone, Debug)]
pub struct UploadLimits {
    /// The longest file, in bytes. 10 GiB unless set, as [`Limits::max_body`](crate::Limits::max_body).
    pub max_size: u64,
    /// Uploads at a time that are not complete. 1000 unless set.
    pub max_uploads: usize,
    /// Bytes that they may take together, as far as they have declared or sent them. As many as there
    /// is room for unless set.
    pub max_space: u64,
    /// How long an upload is kept after its last byte. A day unless set.
    pub expiry: Duration,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            max_size: 10 << 30,
            max_uploads: 1000,
            max_space: u64::MAX,
            expiry: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// The uploads below a root.
#[derive(Debug)]
pub(super) struct Uploads {
    root: Arc<Root>,
    digests: Arc<Digests>,
    names: Names,
    limits: UploadLimits,
    registry: Registry,
    /// When it was swept because somebody would have been refused.
    made_room: Mutex<Option<Instant>>,
}

impl Uploads {
    pub(super) fn new(root: Arc<Root>, digests: Arc<Digests>, limits: UploadLimits) -> Self {
        let (names, registry) = (Names::default(), Registry::default());
        Self { root, digests, names, limits, registry, made_room: Mutex::default() }
    }

    pub(super) fn limits(&self) -> &UploadLimits {
        &self.limits
    }

    /// By which names are changed one after the other.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Answers a request that has to do with an upload that can be gone on with; nothing for all others.
    pub(super) fn respond(&self, request: &mut Request<'_>, dotfiles: bool) -> Option<Response> {
        let answer = match token::parse(request.path(), dotfiles) {
            Some((folder, token)) if tus::speaks(request) => {
                return tus::resource(self, request, &folder, token);
            }
            Some((folder, token)) => self.resource(request, &folder, token)?,
            None if tus::speaks(request) && *request.method() == Method::POST => {
                return Some(tus::create(self, request, dotfiles));
            }
            None if draft::begins(request) => draft::create(self, request, dotfiles),
            None => return None,
        };
        Some(answer.unwrap_or_else(Refused::into_response))
    }

    /// Answers a request to an upload resource.
    fn resource(
        &self,
        request: &mut Request<'_>,
        folder: &super::path::FilePath,
        token: token::Token,
    ) -> Option<Result<Response, Refused>> {
        Some(match *request.method() {
            Method::HEAD => draft::offset(self, request, folder, token),
            Method::PATCH => draft::append(self, request, folder, token),
            Method::DELETE => draft::cancel(self, request, folder, token),
            Method::OPTIONS => Ok(self.announce(draft::options_of_resource())),
            // To everybody else it is hidden.
            _ => return None,
        })
    }

    /// What a client learns that asks what it can do with a file or a folder (OPTIONS).
    pub(super) fn announce(&self, response: Response) -> Response {
        tus::announce(self, draft::announce(self, response))
    }
}

#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod tests;
