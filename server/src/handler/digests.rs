//! The digests of files that are known, each for one version of a file.
//!
//! A digest counts for the [`Identity`] of the file that it was computed of, and for nothing else: a file that
//! is replaced or changed has another identity, so what stands here is never stale, only unused.

use super::beneath::Identity;
use sealpair_common::digest::Sha256;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What is known of files' content.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: Mutex<HashMap<Identity, Sha256>>,
}

impl Digests {
    /// The digest of this version of a file, if it is known.
    pub(super) fn known(&self, identity: &Identity) -> Option<Sha256> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(identity).copied()
    }

    /// Notes the digest of this version of a file. Whoever calls this has seen that the file did not change
    /// while its content was digested.
    pub(super) fn learn(&self, identity: Identity, digest: Sha256) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(identity, digest);
    }
}
