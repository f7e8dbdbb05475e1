//! The keys of session tickets.
//!
//! A ticket (RFC 5077 section 4, RFC 8446 section 4.6.1) holds the state of a session, sealed by the
//! server and kept by the client. OpenSSL makes and reads tickets, and asks here for the keys:
//!
//! ```text
//! keys of our own, replaced on a schedule ──┐
//! files that servers share ─────────────────┴─ TicketKeys ─ seal, open ─▶ OpenSSL's callback
//! ```
//!
//! Whoever has a key reads the TLS 1.2 connections that were resumed or begun with it, and may resume
//! sessions in either version. So no key of our own outlives the tickets that it has sealed, none is
//! shown, and each is overwritten when it is dropped.
//!
//! Where a ticket counts is not decided here, but by the session-id context (`server.rs`), and how long
//! after a full handshake by `ticket_age.rs`.

use super::error::ConfigError;
use super::ticket_age::Age;
use super::watched::Watched;
use crate::ffi::cleanse;
use crate::ffi::tickets::{
    Opening, TicketContexts, TicketIv, TicketKeeper, TicketKeyName, set_session_timeout,
    set_ticket_judge, set_ticket_keeper,
};
use openssl::cipher::Cipher;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::rand::{rand_bytes, rand_priv_bytes};
use openssl::ssl::{SslContext, SslContextBuilder, SslRef, SslVersion};
use std::collections::VecDeque;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a session may be resumed, in seconds: two hours, which is OpenSSL's default
/// (SSL_CTX_set_timeout(3), `tls1_default_timeout`). RFC 8446 section 4.6.1 allows seven days at most.
const SESSION_SECONDS: u32 = 2 * 60 * 60;

/// How long a key of our own seals: two hours. RFC 5077 section 5.5 asks for keys to be changed regularly
/// and leaves the period open; with that of a session, two keys are enough.
const SEALS_FOR: Duration = Duration::from_secs(SESSION_SECONDS as u64);

/// How long a key of our own opens: until the last ticket that it can have sealed has ended. A second more,
/// because OpenSSL 3.0 counts in whole seconds.
const OPENS_FOR: Duration = Duration::from_secs(2 * SESSION_SECONDS as u64 + 1);

const NAME: usize = size_of::<TicketKeyName>();
const MAC_KEY: usize = 32;
const CIPHER_KEY: usize = 32;
/// A whole key, and so a file.
const KEY: usize = NAME + MAC_KEY + CIPHER_KEY;

/// The keys that a server seals and opens session tickets with. Clones share them.
#[derive(Clone)]
pub struct TicketKeys(Arc<Keys>);

enum Keys {
    Own(Mutex<Ring>),
    /// The first seals, all open.
    Files(Vec<Watched<TicketKey>>),
}

impl TicketKeys {
    /// Random keys of this process, replaced every two hours.
    ///
    /// # Errors
    ///
    /// When OpenSSL has no random numbers.
    pub fn random() -> Result<Self, ConfigError> {
        let ring = Ring::new(Instant::now())?;
        Ok(Self(Arc::new(Keys::Own(Mutex::new(ring)))))
    }

    /// The keys in these files: the first seals, all open. Each is read again when it has been replaced;
    /// a replacement that cannot be used is logged, and the key that was read before stays.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, that others may read or change, or that is not a key of 80 bytes; two
    /// keys of the same name; no file at all.
    pub fn from_files<P: Into<PathBuf>>(
        paths: impl IntoIterator<Item = P>,
    ) -> Result<Self, ConfigError> {
        let mut files: Vec<Watched<TicketKey>> = Vec::new();
        for path in paths {
            let path = path.into();
            let named = path.clone();
            let file = Watched::open(path, WHAT, move |content, metadata| {
                TicketKey::parse(&named, content, metadata)
            })?;
            let name = *file.current().name();
            if let Some(same) = files.iter().find(|other| *other.current().name() == name) {
                return Err(ConfigError::TicketKeyTwice {
                    first: same.path().to_owned(),
                    second: file.path().to_owned(),
                });
            }
            files.push(file);
        }
        if files.is_empty() {
            return Err(ConfigError::Incompatible("no file with a ticket key is named"));
        }
        Ok(Self(Arc::new(Keys::Files(files))))
    }

    /// Sees to it that the context's tickets are sealed and opened with these keys.
    pub(super) fn install(&self, context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        set_session_timeout(context, SESSION_SECONDS);
        let cipher = Cipher::fetch(None, "AES-256-CBC", None)?;
        context.set_ex_data(index()?, Keeper { keys: self.clone(), cipher });
        set_ticket_keeper::<Keeper>(context)?;
        set_ticket_judge::<Age>(context)
    }

    /// The key for a new ticket.
    fn sealing(&self, now: Instant) -> Result<Arc<TicketKey>, ErrorStack> {
        match &*self.0 {
            Keys::Own(ring) => ring.lock().unwrap_or_else(PoisonError::into_inner).sealing(now),
            // There is one: see `from_files`.
            Keys::Files(files) => {
                files.first().map(|file| file.at(now)).ok_or_else(ErrorStack::get)
            }
        }
    }

    /// The key of that name, and whether it is the one that seals.
    fn opening(&self, name: &TicketKeyName, now: Instant) -> Option<(Arc<TicketKey>, bool)> {
        match &*self.0 {
            Keys::Own(ring) => {
                ring.lock().unwrap_or_else(PoisonError::into_inner).opening(name, now)
            }
            Keys::Files(files) => {
                // All of them at once: keys that wander from file to file must not be lost on the way.
                // Two may have the same one meanwhile, and the first counts.
                let keys: Vec<_> = files.iter().map(|file| file.at(now)).collect();
                let at = keys.iter().position(|key| key.name() == name)?;
                keys.into_iter().nth(at).map(|key| (key, at == 0))
            }
        }
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Keys::Own(_) => f.write_str("TicketKeys(own)"),
            Keys::Files(files) => f.debug_list().entries(files.iter().map(Watched::path)).finish(),
        }
    }
}

/// Where a server's keys will come from.
#[derive(Clone, Debug, Default)]
pub(super) enum TicketSource {
    #[default]
    Own,
    Files(Vec<PathBuf>),
    Given(TicketKeys),
}

impl TicketSource {
    /// One more file; it takes the place of anything but files.
    pub(super) fn file(self, path: PathBuf) -> Self {
        let mut files = if let Self::Files(files) = self { files } else { Vec::new() };
        files.push(path);
        Self::Files(files)
    }

    pub(super) fn load(&self) -> Result<TicketKeys, ConfigError> {
        match self {
            Self::Own => TicketKeys::random(),
            Self::Files(paths) => TicketKeys::from_files(paths),
            Self::Given(keys) => Ok(keys.clone()),
        }
    }
}

/// What the callback finds at its context.
struct Keeper {
    keys: TicketKeys,
    cipher: Cipher,
}

/// Where the keeper is kept. One index for all contexts: OpenSSL never gives one back.
fn index() -> Result<Index<SslContext, Keeper>, ErrorStack> {
    static INDEX: OnceLock<Index<SslContext, Keeper>> = OnceLock::new();
    match INDEX.get() {
        Some(index) => Ok(*index),
        None => {
            let index = SslContext::new_ex_index::<Keeper>()?;
            Ok(*INDEX.get_or_init(|| index))
        }
    }
}

impl Keeper {
    fn of(ssl: &SslRef) -> Option<&Self> {
        ssl.ssl_context().ex_data(index().ok()?)
    }
}

impl TicketKeeper for Keeper {
    fn seal(ssl: &SslRef, contexts: &mut TicketContexts<'_>) -> Option<(TicketKeyName, TicketIv)> {
        let keeper = Self::of(ssl)?;
        let key = keeper.keys.sealing(Instant::now()).ok()?;
        let mut iv = TicketIv::default();
        rand_bytes(&mut iv).ok()?;
        contexts
            .cipher
            .encrypt_init(Some(&keeper.cipher), Some(&key.0.cipher_key), Some(&iv))
            .ok()?;
        contexts.authenticate(&key.0.mac_key).then_some((*key.name(), iv))
    }

    fn open(
        ssl: &SslRef,
        name: &TicketKeyName,
        iv: &TicketIv,
        contexts: &mut TicketContexts<'_>,
    ) -> Opening {
        let Some(keeper) = Self::of(ssl) else {
            return Opening::Failed;
        };
        let Some((key, seals)) = keeper.keys.opening(name, Instant::now()) else {
            return Opening::Unknown;
        };
        let decrypts =
            contexts.cipher.decrypt_init(Some(&keeper.cipher), Some(&key.0.cipher_key), Some(iv));
        if decrypts.is_err() || !contexts.authenticate(&key.0.mac_key) {
            return Opening::Failed;
        }
        // A TLS 1.3 client uses a ticket once (RFC 8446 appendix C.4), so it needs the next one.
        if seals && ssl.version2() != Some(SslVersion::TLS1_3) {
            Opening::Known
        } else {
            Opening::Renew
        }
    }
}

/// Keys of our own, the newest first.
struct Ring(VecDeque<(Arc<TicketKey>, Instant)>);

impl Ring {
    fn new(now: Instant) -> Result<Self, ErrorStack> {
        Ok(Self(VecDeque::from([(Arc::new(TicketKey::random()?), now)])))
    }

    /// Drops the keys whose tickets have all ended, and makes a new one when the newest has sealed for its
    /// time.
    fn turn(&mut self, now: Instant) -> Result<(), ErrorStack> {
        let age = |made: &Instant| now.saturating_duration_since(*made);
        self.0.retain(|(_, made)| age(made) < OPENS_FOR);
        if self.0.front().is_none_or(|(_, made)| age(made) >= SEALS_FOR) {
            self.0.push_front((Arc::new(TicketKey::random()?), now));
        }
        Ok(())
    }

    fn sealing(&mut self, now: Instant) -> Result<Arc<TicketKey>, ErrorStack> {
        self.turn(now)?;
        self.0.front().map(|(key, _)| Arc::clone(key)).ok_or_else(ErrorStack::get)
    }

    fn opening(&mut self, name: &TicketKeyName, now: Instant) -> Option<(Arc<TicketKey>, bool)> {
        self.turn(now).ok()?;
        let at = self.0.iter().position(|(key, _)| key.name() == name)?;
        self.0.get(at).map(|(key, _)| (Arc::clone(key), at == 0))
    }
}

/// One key. It is in one place in memory and is overwritten when it is dropped.
struct TicketKey(Box<Parts>);

/// In nginx's order (ngx_ssl_session_ticket_keys): this is how a file holds them.
#[derive(Default)]
struct Parts {
    name: TicketKeyName,
    /// Of HMAC-SHA256.
    mac_key: [u8; MAC_KEY],
    /// Of AES-256.
    cipher_key: [u8; CIPHER_KEY],
}

impl Drop for Parts {
    fn drop(&mut self) {
        cleanse(&mut self.mac_key);
        cleanse(&mut self.cipher_key);
    }
}

/// What a file holds, for messages.
const WHAT: &str = "ticket key";

impl TicketKey {
    fn random() -> Result<Self, ErrorStack> {
        let mut parts = Box::<Parts>::default();
        rand_bytes(&mut parts.name)?;
        rand_priv_bytes(&mut parts.mac_key)?;
        rand_priv_bytes(&mut parts.cipher_key)?;
        Ok(Self(parts))
    }

    /// What a file holds; the file must be the owner's alone.
    fn parse(path: &Path, content: &[u8], metadata: &Metadata) -> Result<Self, ConfigError> {
        // Whoever may write may put a key there that he knows.
        const OTHERS_READ_OR_WRITE: u32 = 0o066;
        let mode = metadata.mode() & 0o7777;
        if mode & OTHERS_READ_OR_WRITE != 0 {
            return Err(ConfigError::Loose { path: path.to_owned(), what: WHAT, mode });
        }
        let refused =
            |reason: String| Err(ConfigError::TicketKey { path: path.to_owned(), reason });
        let length = content.len();
        if length == 48 {
            let reason =
                "it has 48 bytes, nginx's older form with AES-128: 80 are needed, for AES-256";
            return refused(reason.to_owned());
        }
        let Some((name, mac_key, cipher_key)) = split(content) else {
            return refused(format!("it has {length} bytes, and a ticket key has {KEY}"));
        };
        if content.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
            return refused(
                "it holds text, and a ticket key is random bytes as they are".to_owned(),
            );
        }
        // A key of zeros is what CVE-2020-13777 (GnuTLS) was.
        let monotonous = |key: &[u8]| key.iter().all(|byte| key.first() == Some(byte));
        if monotonous(mac_key) || monotonous(cipher_key) {
            return refused("one of its keys is the same byte over and over".to_owned());
        }
        let mut parts = Box::<Parts>::default();
        parts.name = *name;
        parts.mac_key.copy_from_slice(mac_key);
        parts.cipher_key.copy_from_slice(cipher_key);
        Ok(Self(parts))
    }

    fn name(&self) -> &TicketKeyName {
        &self.0.name
    }
}

type Split<'c> = (&'c TicketKeyName, &'c [u8; MAC_KEY], &'c [u8; CIPHER_KEY]);

/// The parts of a file; `None` unless it has as many bytes as a key.
fn split(content: &[u8]) -> Option<Split<'_>> {
    let (name, rest) = content.split_first_chunk()?;
    let (mac_key, rest) = rest.split_first_chunk()?;
    Some((name, mac_key, rest.try_into().ok()?))
}

#[cfg(test)]
mod tests;
