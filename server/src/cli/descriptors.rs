//! Descriptors: as many as the system permits, and a word where that is too few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the server needs beside its connections: the program's own descriptors (listeners, epoll, logs, the
/// management listener) and a few files for requests that read or write one.
const BESIDE: usize = 64;

/// Raises the limit of open descriptors as far as this process may. The soft limit is low (1024 nearly
/// everywhere) for programs that use select(2); this one uses epoll.
pub(super) fn raise_limit(max_connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit != raised
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        log::debug!("cannot raise the limit of open descriptors: {error}");
    }
    let Some(most) = getrlimit(Resource::Nofile).current else { return };
    if most < max_connections.saturating_add(BESIDE) as u64 {
        log::warn!(
            "at most {most} descriptors may be open, fewer than {max_connections} connections need \
             (--max-connections): raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
}
