//! OpenSSL's two callbacks for session tickets: one asks for the keys, the other says what goes into a
//! ticket and whether what comes out of it still counts.
//!
//! Whoever answers is a type, not a value: the callbacks reach what they need by way of the connection.

use foreign_types::ForeignTypeRef;
use openssl::cipher_ctx::CipherCtxRef;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl::x509::X509Ref;
use std::ffi::{c_char, c_int, c_long, c_uchar, c_void};
use std::ptr;

unsafe extern "C" {
    fn SSL_CTX_set_tlsext_ticket_key_evp_cb(
        context: *mut openssl_sys::SSL_CTX,
        callback: Option<TicketKeyCallback>,
    ) -> c_int;
    fn SSL_CTX_set_timeout(context: *mut openssl_sys::SSL_CTX, seconds: c_long) -> c_long;
    fn SSL_CTX_set_session_ticket_cb(
        context: *mut openssl_sys::SSL_CTX,
        generate: Option<GenerateTicketCallback>,
        decrypt: Option<DecryptTicketCallback>,
        argument: *mut c_void,
    ) -> c_int;
    fn SSL_SESSION_set1_ticket_appdata(
        session: *mut openssl_sys::SSL_SESSION,
        bytes: *const c_void,
        length: usize,
    ) -> c_int;
    fn SSL_SESSION_get0_ticket_appdata(
        session: *mut openssl_sys::SSL_SESSION,
        bytes: *mut *mut c_void,
        length: *mut usize,
    ) -> c_int;
    fn SSL_SESSION_get0_peer(session: *mut openssl_sys::SSL_SESSION) -> *mut openssl_sys::X509;
    fn OSSL_PARAM_construct_utf8_string(
        key: *const c_char,
        text: *mut c_char,
        length: usize,
    ) -> openssl_sys::OSSL_PARAM;
}

type TicketKeyCallback = unsafe extern "C" fn(
    *mut openssl_sys::SSL,
    *mut c_uchar,
    *mut c_uchar,
    *mut openssl_sys::EVP_CIPHER_CTX,
    *mut openssl_sys::EVP_MAC_CTX,
    c_int,
) -> c_int;

/// The name of a ticket's key, in front of the ticket (RFC 5077 section 4).
pub(crate) type TicketKeyName = [u8; 16];

/// The initialization vector of a ticket, behind the name: `EVP_MAX_IV_LENGTH` bytes, as many as
/// AES-CBC has.
pub(crate) type TicketIv = [u8; 16];

/// What OpenSSL hands to whoever chooses a ticket's key: the cipher and the MAC, to be given their keys.
pub(crate) struct TicketContexts<'c> {
    pub(crate) cipher: &'c mut CipherCtxRef,
    mac: *mut openssl_sys::EVP_MAC_CTX,
}

impl TicketContexts<'_> {
    /// `EVP_MAC_init`: the MAC is HMAC with SHA-256 under this key. OpenSSL has fetched HMAC with the
    /// context's properties; the digest is fetched by its name, from the same provider.
    pub(crate) fn authenticate(&mut self, key: &[u8]) -> bool {
        let digest = c"SHA256";
        // SAFETY: both strings are static, and OpenSSL only reads the second: EVP_MAC_init takes the
        // parameters as constants. 0: the string ends with its NUL.
        let parameters = unsafe {
            [
                OSSL_PARAM_construct_utf8_string(c"digest".as_ptr(), digest.as_ptr().cast_mut(), 0),
                openssl_sys::OSSL_PARAM_construct_end(),
            ]
        };
        // SAFETY: the context is valid as long as `self`; key and parameters are copied by the call.
        let done = unsafe {
            openssl_sys::EVP_MAC_init(self.mac, key.as_ptr(), key.len(), parameters.as_ptr())
        };
        done == 1
    }
}

/// What becomes of a ticket that a client has sent. The numbers are those of
/// SSL_CTX_set_tlsext_ticket_key_evp_cb(3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Opening {
    /// The handshake ends: something is wrong here, not with the ticket.
    Failed = -1,
    /// Nobody has the key: a full handshake, and a new ticket.
    Unknown = 0,
    /// The contexts have their keys.
    Known = 1,
    /// The same, and the client gets a new ticket.
    Renew = 2,
}

/// Whoever chooses the keys of tickets. Both functions run inside OpenSSL: they must not panic.
pub(crate) trait TicketKeeper {
    /// Gives the contexts the keys of a ticket to be made; `None` ends the handshake.
    fn seal(ssl: &SslRef, contexts: &mut TicketContexts<'_>) -> Option<(TicketKeyName, TicketIv)>;

    /// Gives the contexts the keys of a ticket that a client has sent.
    fn open(
        ssl: &SslRef,
        name: &TicketKeyName,
        iv: &TicketIv,
        contexts: &mut TicketContexts<'_>,
    ) -> Opening;
}

/// `SSL_CTX_set_tlsext_ticket_key_evp_cb`: the keeper chooses the keys of this context's tickets.
pub(crate) fn set_ticket_keeper<K: TicketKeeper>(
    context: &mut SslContextBuilder,
) -> Result<(), ErrorStack> {
    // SAFETY: the pointer is valid, and the callback is a function, so it lives for ever.
    let done = unsafe {
        SSL_CTX_set_tlsext_ticket_key_evp_cb(context.as_ptr(), Some(choose_ticket_key::<K>))
    };
    if done == 1 { Ok(()) } else { Err(ErrorStack::get()) }
}

/// The callback itself.
///
/// # Safety
///
/// As SSL_CTX_set_tlsext_ticket_key_evp_cb(3) has it: all pointers are valid for the call, `name` to 16
/// bytes and `iv` to `EVP_MAX_IV_LENGTH`, to be written when `sealing` is not 0, and otherwise to be
/// read: they are part of the client's message then.
unsafe extern "C" fn choose_ticket_key<K: TicketKeeper>(
    ssl: *mut openssl_sys::SSL,
    name: *mut c_uchar,
    iv: *mut c_uchar,
    cipher: *mut openssl_sys::EVP_CIPHER_CTX,
    mac: *mut openssl_sys::EVP_MAC_CTX,
    sealing: c_int,
) -> c_int {
    if ssl.is_null() || name.is_null() || iv.is_null() || cipher.is_null() || mac.is_null() {
        return Opening::Failed as c_int;
    }
    // SAFETY: both objects are valid for the call (see above). OpenSSL uses neither meanwhile; the
    // connection is only looked at, and the cipher context was made for this very ticket.
    let (ssl, cipher) = unsafe { (SslRef::from_ptr(ssl), CipherCtxRef::from_ptr_mut(cipher)) };
    let mut contexts = TicketContexts { cipher, mac };
    if sealing == 0 {
        // SAFETY: so many bytes of the client's message are there: OpenSSL has compared its length with
        // both together. Arrays of bytes have no alignment.
        let (name, iv) = unsafe { (&*name.cast::<TicketKeyName>(), &*iv.cast::<TicketIv>()) };
        return K::open(ssl, name, iv, &mut contexts) as c_int;
    }
    let Some((chosen_name, chosen_iv)) = K::seal(ssl, &mut contexts) else {
        return Opening::Failed as c_int;
    };
    // SAFETY: OpenSSL has so much room for each.
    unsafe {
        name.cast::<TicketKeyName>().write(chosen_name);
        iv.cast::<TicketIv>().write(chosen_iv);
    }
    Opening::Known as c_int
}

/// `SSL_CTX_set_timeout`: how long a session of this context may be resumed, in seconds.
pub(crate) fn set_session_timeout(context: &mut SslContextBuilder, seconds: u32) {
    // SAFETY: the pointer is valid, and the function only stores the number.
    unsafe { SSL_CTX_set_timeout(context.as_ptr(), c_long::from(seconds)) };
}

type GenerateTicketCallback = unsafe extern "C" fn(*mut openssl_sys::SSL, *mut c_void) -> c_int;

type DecryptTicketCallback = unsafe extern "C" fn(
    *mut openssl_sys::SSL,
    *mut openssl_sys::SSL_SESSION,
    *const c_uchar,
    usize,
    c_int,
    *mut c_void,
) -> c_int;

// SSL_TICKET_STATUS and SSL_TICKET_RETURN of <openssl/ssl.h>.
const SSL_TICKET_SUCCESS: c_int = 5;
const SSL_TICKET_SUCCESS_RENEW: c_int = 6;
const SSL_TICKET_RETURN_IGNORE_RENEW: c_int = 2;
const SSL_TICKET_RETURN_USE: c_int = 3;
const SSL_TICKET_RETURN_USE_RENEW: c_int = 4;

/// What a ticket carries beside the session: it is authentic when it comes back.
pub(crate) type TicketMark = [u8; 8];

/// Whoever judges tickets. Both functions run inside OpenSSL: they must not panic.
pub(crate) trait TicketJudge {
    /// The mark of a session that begins now. One that is resumed keeps its own.
    fn mark() -> TicketMark;

    /// Whether a ticket with this mark counts, from a client that had this certificate.
    fn counts(mark: TicketMark, peer: Option<&X509Ref>) -> bool;
}

/// `SSL_CTX_set_session_ticket_cb`: the judge decides which of this context's tickets count.
pub(crate) fn set_ticket_judge<J: TicketJudge>(
    context: &mut SslContextBuilder,
) -> Result<(), ErrorStack> {
    // SAFETY: the pointer is valid, the callbacks are functions, so they live for ever, and they do not
    // use the argument.
    let done = unsafe {
        SSL_CTX_set_session_ticket_cb(
            context.as_ptr(),
            Some(mark_ticket::<J>),
            Some(judge_ticket::<J>),
            ptr::null_mut(),
        )
    };
    if done == 1 { Ok(()) } else { Err(ErrorStack::get()) }
}

/// The callback that runs before a ticket is made; 0 ends the handshake.
///
/// # Safety
///
/// As SSL_CTX_set_session_ticket_cb(3) has it: the connection is valid for the call.
unsafe extern "C" fn mark_ticket<J: TicketJudge>(
    ssl: *mut openssl_sys::SSL,
    _: *mut c_void,
) -> c_int {
    if ssl.is_null() {
        return 0;
    }
    // SAFETY: the connection is valid; the session is its own, and lives as long as the call.
    let session = unsafe { openssl_sys::SSL_get_session(ssl) };
    // SAFETY: as above, and the session is that of this ticket: OpenSSL has copied one that is shared.
    match unsafe { mark_of(session) } {
        Some(_) => 1,
        None if session.is_null() => 0,
        None => {
            let mark = J::mark();
            // SAFETY: the session is valid, and OpenSSL copies the bytes.
            unsafe { SSL_SESSION_set1_ticket_appdata(session, mark.as_ptr().cast(), mark.len()) }
        }
    }
}

/// The callback that runs when a ticket has been opened, or could not be.
///
/// # Safety
///
/// As SSL_CTX_set_session_ticket_cb(3) has it: the session is valid for the call when the status is one
/// of success.
unsafe extern "C" fn judge_ticket<J: TicketJudge>(
    _: *mut openssl_sys::SSL,
    session: *mut openssl_sys::SSL_SESSION,
    _: *const c_uchar,
    _: usize,
    status: c_int,
    _: *mut c_void,
) -> c_int {
    let used = match status {
        SSL_TICKET_SUCCESS => SSL_TICKET_RETURN_USE,
        SSL_TICKET_SUCCESS_RENEW => SSL_TICKET_RETURN_USE_RENEW,
        // A full handshake, and a ticket at its end.
        _ => return SSL_TICKET_RETURN_IGNORE_RENEW,
    };
    // SAFETY: the session is valid, or null, which is looked for.
    let Some(mark) = (unsafe { mark_of(session) }) else {
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    };
    // SAFETY: the session is valid, or there would be no mark. The certificate is null or lives as long as
    // the session does, which is longer than this call.
    let peer = unsafe {
        let peer = SSL_SESSION_get0_peer(session);
        (!peer.is_null()).then(|| X509Ref::from_ptr(peer))
    };
    if J::counts(mark, peer) { used } else { SSL_TICKET_RETURN_IGNORE_RENEW }
}

/// `SSL_SESSION_get0_ticket_appdata`: the mark of a session; `None` where it has none.
///
/// # Safety
///
/// The session is valid, or null.
unsafe fn mark_of(session: *mut openssl_sys::SSL_SESSION) -> Option<TicketMark> {
    if session.is_null() {
        return None;
    }
    let mut bytes: *mut c_void = ptr::null_mut();
    let mut length = 0;
    // SAFETY: the session is valid, and both results outlive the call.
    let done = unsafe { SSL_SESSION_get0_ticket_appdata(session, &raw mut bytes, &raw mut length) };
    if done != 1 || bytes.is_null() || length != size_of::<TicketMark>() {
        return None;
    }
    // SAFETY: so many bytes are there; they are copied at once.
    Some(unsafe { bytes.cast::<TicketMark>().read() })
}
