//! Sessions a client may resume.
//!
//! A store belongs to one context, and so to one set of verification rules and one identity: a session
//! that was made under other rules cannot come back here (the class of CVE-2016-5419). A TLS 1.3
//! ticket is used once (RFC 8446 appendix C.4), so it is taken out of the store when it is offered.
//!
//! A resumption looks at no certificate, and brings a new ticket. So that this does not go on for ever,
//! what comes of one full handshake is offered for a day, and no longer than everything held that was
//! looked at in it: each certificate of the chain, the revocation lists, and the stapled response if there
//! was one, even though nobody has asked for that. Then a full handshake looks at everything again.

use super::name::ServerName;
use super::{stapled, ticket_age};
use crate::pki::inspect::instant;
use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslContextBuilder, SslRef, SslSession, SslSessionCacheMode, SslVersion};
use openssl::x509::X509Ref;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Sessions kept for one server. Servers send two tickets a handshake; a few more serve parallel
/// connections.
const PER_SERVER: usize = 4;
/// Servers remembered. When one more comes, an arbitrary other is forgotten: it costs one handshake.
const SERVERS: usize = 64;

/// A server as sessions are kept for it.
type Server = (ServerName, u16);

/// The time in which a session may be resumed, in Unix seconds. It is that of the full handshake from
/// which the session comes, in however many steps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Span {
    began: u64,
    ends: u64,
}

impl Span {
    /// That of a full handshake, of which every certificate, and so on, has been looked at just now.
    fn of(ssl: &SslRef, lists: Option<Timestamp>, now: u64) -> Self {
        // Where nothing is verified there is no verified chain.
        let chain = ssl.verified_chain().or_else(|| ssl.peer_cert_chain());
        let certificates = chain.into_iter().flatten().map(end);
        let others = [lists, stapled::ends(ssl)].into_iter().flatten().map(seconds);
        Self { began: now, ends: certificates.chain(others).min().unwrap_or(0) }
    }

    fn holds(self, now: u64) -> bool {
        ticket_age::is_recent(self.began, now) && now < self.ends
    }
}

/// When a certificate ends. Nobody can tell of an unreadable end that it is not over.
fn end(certificate: &X509Ref) -> u64 {
    instant(certificate.not_after()).map_or(0, seconds)
}

/// Unix seconds; a time before 1970 is over.
fn seconds(time: Timestamp) -> u64 {
    time.as_second().try_into().unwrap_or(0)
}

/// A session that may be resumed, and when.
struct Kept {
    session: SslSession,
    span: Span,
}

/// The sessions that one client context may resume.
#[derive(Clone, Default)]
pub(super) struct Resumption {
    store: Arc<Mutex<HashMap<Server, VecDeque<Kept>>>>,
    /// When the first of the revocation lists ends, if there are any.
    lists: Option<Timestamp>,
}

/// Whose a connection is, and the time of the session that it offers.
struct Offered {
    server: Server,
    span: Option<Span>,
}

/// Finds it where only the connection is at hand. One index for all contexts: OpenSSL never gives one
/// back.
fn index() -> Result<Index<Ssl, Offered>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Offered>> = OnceLock::new();
    match INDEX.get() {
        Some(index) => Ok(*index),
        None => {
            let index = Ssl::new_ex_index::<Offered>()?;
            Ok(*INDEX.get_or_init(|| index))
        }
    }
}

impl Resumption {
    /// Sees to it that sessions of the context's connections are kept. `lists` is when the first of the
    /// revocation lists ends, if there are any.
    pub(super) fn install(
        context: &mut SslContextBuilder,
        lists: Option<Timestamp>,
    ) -> Result<Self, ErrorStack> {
        index()?;
        let resumption = Self { lists, ..Self::default() };
        context
            .set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        let keeper = resumption.clone();
        context.set_new_session_callback(move |ssl, session| {
            keeper.keep(ssl, session, ticket_age::now());
        });
        Ok(resumption)
    }

    /// Offers a session of this server, if there is one, and remembers whose the connection is.
    pub(super) fn offer(&self, ssl: &mut SslRef, name: &ServerName, port: u16) {
        self.offer_at(ssl, name, port, ticket_age::now());
    }

    fn offer_at(&self, ssl: &mut SslRef, name: &ServerName, port: u16, now: u64) {
        let Ok(index) = index() else {
            return;
        };
        let server = (name.clone(), port);
        let mut span = None;
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = store.get_mut(&server) {
            sessions.retain(|kept| kept.span.holds(now));
            if let Some(kept) = sessions.pop_back() {
                // A session that cannot be offered costs a full handshake and nothing else.
                let _ = crate::ffi::offer_session(ssl, &kept.session);
                span = Some(kept.span);
                // A TLS 1.2 server need not hand out another when it resumes one.
                if kept.session.protocol_version() == SslVersion::TLS1_2 {
                    sessions.push_back(kept);
                }
            }
        }
        drop(store);
        ssl.set_ex_data(index, Offered { server, span });
    }

    /// Runs inside OpenSSL when a server hands out a session: must not panic.
    fn keep(&self, ssl: &SslRef, session: SslSession, now: u64) {
        let Some(offered) = index().ok().and_then(|index| ssl.ex_data(index)) else {
            return;
        };
        let span = match (ssl.session_reused(), offered.span) {
            (true, Some(span)) => span,
            // Resumed from nowhere: nobody knows what was looked at.
            (true, None) => return,
            (false, _) => Span::of(ssl, self.lists, now),
        };
        let server = &offered.server;
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.len() >= SERVERS && !store.contains_key(server) {
            let other = store.keys().next().cloned();
            other.map(|other| store.remove(&other));
        }
        let sessions = store.entry(server.clone()).or_default();
        if sessions.len() >= PER_SERVER {
            sessions.pop_front();
        }
        sessions.push_back(Kept { session, span });
    }
}

impl std::fmt::Debug for Resumption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resumption").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
