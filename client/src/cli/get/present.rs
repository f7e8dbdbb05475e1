//! `--continue` where the file is complete already: nothing is downloaded again (curl#6740).
//!
//! A file that has its name was complete when it got it. Whether it is still what the server has is
//! asked with HEAD, and proved by its digest where the user or the server knows one; otherwise a file
//! of the same length with the time of the server's is believed, as `wget -N` and rsync do.

use super::super::digest_fields::want_digest;
use super::super::exchange::Requester;
use super::super::summary::Summary;
use super::download::Wishes;
use super::integrity::add_from;
use super::part::part_path;
use super::version::Version;
use sealpair_common::digest::{Hasher, Sha256};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use ureq::http::{Method, StatusCode};
use url::Url;

/// What is said of a file that is there as the server has it. `None` where it is not, or where that
/// cannot be told: the download finds out.
pub(super) fn present(
    requester: &Requester<'_>,
    url: &Url,
    path: &Path,
    wishes: &Wishes,
) -> Option<Summary> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.is_file())?;
    if fs::symlink_metadata(part_path(path)).is_ok() {
        return None;
    }
    let answer = requester.fetch(&Method::HEAD, url, &[want_digest()]).ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let version = Version::of(answer.response.headers(), answer.length());
    let mut summary = Summary::of(&answer);
    match version.digest().or(wishes.sha256) {
        Some(_) => {
            let found = digest_of(path).ok()?;
            let wanted = wishes.sha256.is_none_or(|wanted| wanted == found);
            if !wanted || version.digest().is_some_and(|theirs| theirs != found) {
                return None;
            }
            summary.add("sha256", found.to_string());
        }
        None => {
            // Fields have whole seconds.
            let whole = |time: Duration| time.as_secs();
            let mine = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok().map(whole)?;
            let theirs = version.modified()?.duration_since(UNIX_EPOCH).ok().map(whole)?;
            if version.length? != metadata.len() || mine != theirs {
                return None;
            }
        }
    }
    summary.add("size", metadata.len());
    summary.add("resumed_from", metadata.len());
    summary.add("retries", 0);
    Some(summary)
}

fn digest_of(path: &Path) -> io::Result<Sha256> {
    let file = File::open(path)?;
    let mut hasher = Hasher::new()?;
    add_from(&mut hasher, &file, file.metadata()?.len())?;
    hasher.finish()
}
