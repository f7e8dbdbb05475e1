//! Sessions a client may resume.
//!
//! A store belongs to one context, and so to one set of verification rules and one identity: a session
//! that was made under other rules cannot come back here (the class of CVE-2016-5419). A TLS 1.3
//! ticket is used once (RFC 8446 appendix C.4), so it is taken out of the store when it is offered.

use super::name::ServerName;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslContextBuilder, SslRef, SslSession, SslSessionCacheMode, SslVersion};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Sessions kept for one server. Servers send two tickets a handshake; a few more serve parallel
/// connections.
const PER_SERVER: usize = 4;
/// Servers remembered. When one more comes, an arbitrary other is forgotten: it costs one handshake.
const SERVERS: usize = 64;

/// A server as sessions are kept for it.
type Server = (ServerName, u16);

/// The sessions that one client context may resume.
#[derive(Clone, Default)]
pub(super) struct Resumption {
    store: Arc<Mutex<HashMap<Server, VecDeque<SslSession>>>>,
}

/// Says which server a connection is to, where only the connection is at hand. One index for all
/// contexts: OpenSSL never gives one back.
fn index() -> Result<Index<Ssl, Server>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Server>> = OnceLock::new();
    match INDEX.get() {
        Some(index) => Ok(*index),
        None => {
            let index = Ssl::new_ex_index::<Server>()?;
            Ok(*INDEX.get_or_init(|| index))
        }
    }
}

impl Resumption {
    /// Sees to it that sessions of the context's connections are kept.
    pub(super) fn install(context: &mut SslContextBuilder) -> Result<Self, ErrorStack> {
        index()?;
        let resumption = Self::default();
        context
            .set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        let keeper = resumption.clone();
        context.set_new_session_callback(move |ssl, session| keeper.keep(ssl, session));
        Ok(resumption)
    }

    /// Offers a session of this server, if there is one, and remembers whose the connection is.
    pub(super) fn offer(&self, ssl: &mut SslRef, name: &ServerName, port: u16) {
        let Ok(index) = index() else {
            return;
        };
        let server = (name.clone(), port);
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sessions) = store.get_mut(&server)
            && let Some(session) = sessions.pop_back()
        {
            // A session that cannot be offered costs a full handshake and nothing else.
            let _ = crate::ffi::offer_session(ssl, &session);
            // A TLS 1.2 server need not hand out another when it resumes one.
            if session.protocol_version() == SslVersion::TLS1_2 {
                sessions.push_back(session);
            }
        }
        drop(store);
        ssl.set_ex_data(index, server);
    }

    /// Runs inside OpenSSL when a server hands out a session: must not panic.
    fn keep(&self, ssl: &SslRef, session: SslSession) {
        let Some(server) = index().ok().and_then(|index| ssl.ex_data(index)) else {
            return;
        };
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.len() >= SERVERS && !store.contains_key(server) {
            let other = store.keys().next().cloned();
            other.map(|other| store.remove(&other));
        }
        let sessions = store.entry(server.clone()).or_default();
        if sessions.len() >= PER_SERVER {
            sessions.pop_front();
        }
        sessions.push_back(session);
    }
}

impl std::fmt::Debug for Resumption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resumption").finish_non_exhaustive()
    }
}
