//! The only unsafe code of the workspace: thin wrappers over OpenSSL functions that the `openssl`
//! crate does not have (or marks unsafe), and the adoption of descriptors that another program has opened.
//! Each names its C function and says why the call is sound.

#![allow(unsafe_code)]

use crate::handover::{FIRST_DESCRIPTOR, announced};
use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::ssl::{SslContextBuilder, SslMode, SslRef, SslSessionRef};
use openssl::x509::store::X509StoreBuilderRef;
use openssl::x509::verify::X509VerifyParamRef;
use openssl::x509::{X509, X509Crl, X509StoreContextRef, X509VerifyResult};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_int, c_long, c_uchar, c_ulong, c_void};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::{Mutex, PoisonError};

// Control numbers from OpenSSL 3.0's <openssl/ssl.h>; they are part of its ABI.
const SSL_CTRL_CLEAR_MODE: c_int = 78;
const SSL_CTRL_CHAIN_CERT: c_int = 89;
const SSL_CTRL_GET_CLIENT_CERT_TYPES: c_int = 103;
const SSL_CTRL_GET_PEER_SIGNATURE_NID: c_int = 108;
const SSL_CTRL_GET_SIGNATURE_NID: c_int = 132;
const SSL_CTRL_GET_NEGOTIATED_GROUP: c_int = 134;

unsafe extern "C" {
    fn SSL_CTX_set_default_read_buffer_len(context: *mut openssl_sys::SSL_CTX, length: usize);
    fn SSL_set_default_read_buffer_len(ssl: *mut openssl_sys::SSL, length: usize);
    fn SSL_has_pending(ssl: *const openssl_sys::SSL) -> c_int;
    fn SSL_group_to_name(ssl: *mut openssl_sys::SSL, id: c_int) -> *const c_char;
    fn SSL_get_peer_signature_type_nid(ssl: *const openssl_sys::SSL, nid: *mut c_int) -> c_int;
    fn SSL_get_signature_type_nid(ssl: *const openssl_sys::SSL, nid: *mut c_int) -> c_int;
    fn X509_STORE_add_crl(
        store: *mut openssl_sys::X509_STORE,
        crl: *mut openssl_sys::X509_CRL,
    ) -> c_int;
    fn SSL_renegotiate(ssl: *mut openssl_sys::SSL) -> c_int;
    fn SSL_CTX_set_cert_cb(
        context: *mut openssl_sys::SSL_CTX,
        callback: Option<unsafe extern "C" fn(*mut openssl_sys::SSL, *mut c_void) -> c_int>,
        argument: *mut c_void,
    );
    fn X509_STORE_CTX_get0_param(
        context: *mut openssl_sys::X509_STORE_CTX,
    ) -> *mut openssl_sys::X509_VERIFY_PARAM;
    fn X509_STORE_CTX_set_verify_cb(
        context: *mut openssl_sys::X509_STORE_CTX,
        callback: Option<unsafe extern "C" fn(c_int, *mut openssl_sys::X509_STORE_CTX) -> c_int>,
    );
}

/// `SSL_CTX_add1_chain_cert`: appends an intermediate to the chain of the certificate that was set
/// last, so that several certificates (RSA beside ECDSA) each keep their own chain.
pub(crate) fn add_chain_certificate(
    context: &mut SslContextBuilder,
    certificate: &X509,
) -> Result<(), ErrorStack> {
    // SAFETY: both pointers are valid for the call; `larg` 1 makes OpenSSL take a reference of its
    // own, so the certificate may be dropped afterwards.
    let done = unsafe {
        openssl_sys::SSL_CTX_ctrl(
            context.as_ptr(),
            SSL_CTRL_CHAIN_CERT,
            1,
            certificate.as_ptr().cast::<c_void>(),
        )
    };
    if done > 0 { Ok(()) } else { Err(ErrorStack::get()) }
}

/// `SSL_CTX_clear_mode` with `SSL_MODE_AUTO_RETRY`, which is on by default: a read returns after each
/// record, also after one that carried no data.
pub(crate) fn clear_auto_retry(context: &mut SslContextBuilder) {
    let mode = SslMode::AUTO_RETRY.bits() as c_long;
    // SAFETY: the pointer is valid; this control changes the context's flags and takes no pointer.
    unsafe {
        openssl_sys::SSL_CTX_ctrl(context.as_ptr(), SSL_CTRL_CLEAR_MODE, mode, ptr::null_mut())
    };
}

/// `X509_STORE_add_crl`: makes a revocation list available to chain verification.
pub(crate) fn add_crl(store: &mut X509StoreBuilderRef, crl: &X509Crl) -> Result<(), ErrorStack> {
    // SAFETY: both pointers are valid for the call, and the store takes its own reference to the list.
    let done = unsafe { X509_STORE_add_crl(store.as_ptr(), crl.as_ptr()) };
    if done > 0 { Ok(()) } else { Err(ErrorStack::get()) }
}

/// `SSL_set_session`: offers a session for resumption.
///
/// The `openssl` crate marks this unsafe because the session must belong to the same context. The
/// caller, `tls::resume`, keeps one store per context, and hands out nothing from another.
pub(crate) fn offer_session(ssl: &mut SslRef, session: &SslSessionRef) -> Result<(), ErrorStack> {
    // SAFETY: the session was made by a connection of the same SSL_CTX (see above); OpenSSL takes a
    // reference of its own.
    unsafe { ssl.set_session(session) }
}

/// `SSL_CTX_set_default_read_buffer_len`: how much connections of this context take from the network
/// at a time, in bytes. Less than a record is no harm: then it is a record.
pub(crate) fn set_default_read_buffer(context: &mut SslContextBuilder, length: usize) {
    // SAFETY: the pointer is valid, and the function only stores the number.
    unsafe { SSL_CTX_set_default_read_buffer_len(context.as_ptr(), length) }
}

/// `SSL_set_default_read_buffer_len`: the same for one connection, from the next time on that it
/// allocates its buffer. OpenSSL 3.2 and later take it only before the handshake.
pub(crate) fn set_read_buffer(ssl: &SslRef, length: usize) {
    // SAFETY: the pointer is valid, and the function only stores the number. The caller,
    // `TlsStream::expect_bulk`, borrows the connection exclusively, so nobody reads from it meanwhile.
    unsafe { SSL_set_default_read_buffer_len(ssl.as_ptr(), length) }
}

/// `SSL_has_pending`: whether OpenSSL holds bytes that came from the peer, decrypted or not. They may be
/// only a part of a record.
pub(crate) fn has_pending(ssl: &SslRef) -> bool {
    // SAFETY: the pointer is valid, and the function changes nothing.
    unsafe { SSL_has_pending(ssl.as_ptr()) != 0 }
}

/// `SSL_get_negotiated_group` and `SSL_group_to_name`: the key-exchange group of the connection.
pub(crate) fn negotiated_group(ssl: &SslRef) -> Option<String> {
    // SAFETY: the pointer is valid; this control takes no argument and changes nothing.
    let id = unsafe {
        openssl_sys::SSL_ctrl(ssl.as_ptr(), SSL_CTRL_GET_NEGOTIATED_GROUP, 0, ptr::null_mut())
    };
    // 0: no group was negotiated.
    let id = c_int::try_from(id).ok().filter(|id| *id != 0)?;
    // SAFETY: the pointer is valid; the result is null or a string that lives as long as the SSL_CTX,
    // which outlives this call; it is copied at once.
    let name = unsafe {
        let name = SSL_group_to_name(ssl.as_ptr(), id);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    };
    // OpenSSL 3.0 returns a curve it has only as a NID with this bit set (TLSEXT_nid_unknown).
    Some(name.unwrap_or_else(|| format!("0x{:04x}", id & 0xffff)))
}

/// A signature as OpenSSL describes it: the kind of key and the digest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignatureNids {
    pub(crate) kind: Nid,
    pub(crate) digest: Nid,
}

/// `SSL_get_peer_signature_type_nid` and `SSL_get_peer_signature_nid`: how the peer signed the
/// handshake. `None` when it did not (a resumed session, no client certificate).
pub(crate) fn peer_signature(ssl: &SslRef) -> Option<SignatureNids> {
    signature(ssl, SSL_get_peer_signature_type_nid, SSL_CTRL_GET_PEER_SIGNATURE_NID)
}

/// `SSL_get_signature_type_nid` and `SSL_get_signature_nid`: how this end signed the handshake.
pub(crate) fn own_signature(ssl: &SslRef) -> Option<SignatureNids> {
    signature(ssl, SSL_get_signature_type_nid, SSL_CTRL_GET_SIGNATURE_NID)
}

fn signature(
    ssl: &SslRef,
    kind: unsafe extern "C" fn(*const openssl_sys::SSL, *mut c_int) -> c_int,
    digest: c_int,
) -> Option<SignatureNids> {
    let mut kind_nid: c_int = 0;
    let mut digest_nid: c_int = 0;
    // SAFETY: the pointer is valid and `kind_nid` outlives the call.
    let has_kind = unsafe { kind(ssl.as_ptr(), &raw mut kind_nid) } == 1;
    // SAFETY: as above; this control writes one int through its pointer argument.
    let has_digest = unsafe {
        openssl_sys::SSL_ctrl(ssl.as_ptr(), digest, 0, (&raw mut digest_nid).cast::<c_void>())
    } == 1;
    // Ed25519 and the like have no digest of their own; OpenSSL then reports 0 (NID_undef).
    has_kind.then(|| SignatureNids {
        kind: Nid::from_raw(kind_nid),
        digest: Nid::from_raw(if has_digest { digest_nid } else { 0 }),
    })
}

/// `SSL_get0_certificate_types`: whether the server of this TLS 1.2 handshake asked for a client
/// certificate. TLS 1.3 has no such list; there the alert says it.
pub(crate) fn client_certificate_was_requested(ssl: &SslRef) -> bool {
    let mut types: *const c_uchar = ptr::null();
    // SAFETY: the pointer is valid, and this control writes one pointer to memory that the SSL owns;
    // it is not dereferenced here.
    let count: c_long = unsafe {
        openssl_sys::SSL_ctrl(
            ssl.as_ptr(),
            SSL_CTRL_GET_CLIENT_CERT_TYPES,
            0,
            (&raw mut types).cast::<c_void>(),
        )
    };
    count > 0
}

/// `X509_V_ERR_CERT_REJECTED` (28): a rule of ours refused the certificate. The peer gets the alert
/// bad_certificate for it; for `X509_V_ERR_APPLICATION_VERIFICATION` it would get handshake_failure, and
/// take it for a matter of cipher suites.
pub(crate) fn certificate_rejected() -> X509VerifyResult {
    // SAFETY: the number is one that OpenSSL knows, which is all that the crate asks for.
    unsafe { X509VerifyResult::from_raw(28) }
}

/// `SSL_renegotiate`: the next handshake call asks the server to negotiate anew (TLS 1.2 and older).
pub(crate) fn renegotiate(ssl: &SslRef) -> Result<(), ErrorStack> {
    // SAFETY: the pointer is valid; the function sets a flag. The caller, `TlsStream::renegotiate`,
    // borrows the connection exclusively.
    if unsafe { SSL_renegotiate(ssl.as_ptr()) } == 1 { Ok(()) } else { Err(ErrorStack::get()) }
}

thread_local! {
    /// Whether the handshake that this thread runs was asked for a client certificate.
    static CERTIFICATE_REQUESTED: Cell<bool> = const { Cell::new(false) };
    /// What `verify_all` has found so far, on this thread.
    static PROBLEMS: RefCell<Vec<(c_int, u32)>> = const { RefCell::new(Vec::new()) };
}

/// `SSL_CTX_set_cert_cb`: takes note when a server asks for a certificate, in any version; TLS 1.3 has
/// no list of types that could be asked for afterwards. [`take_certificate_request`] tells.
pub(crate) fn watch_certificate_requests(context: &mut SslContextBuilder) {
    /// Called by OpenSSL on the thread that runs the handshake; 1 goes on with it.
    unsafe extern "C" fn asked(_ssl: *mut openssl_sys::SSL, _argument: *mut c_void) -> c_int {
        CERTIFICATE_REQUESTED.set(true);
        1
    }
    // SAFETY: the pointer is valid, and the callback is a function that lives for ever and uses neither
    // of its arguments.
    unsafe { SSL_CTX_set_cert_cb(context.as_ptr(), Some(asked), ptr::null_mut()) };
}

/// Whether a handshake of this thread was asked for a certificate since this was last called.
pub(crate) fn take_certificate_request() -> bool {
    CERTIFICATE_REQUESTED.take()
}

/// `X509_STORE_CTX_set_verify_cb` and `X509_verify_cert`: verifies the whole chain, going on after each
/// rule that it breaks, and returns all of them: OpenSSL's code, and the depth of the certificate.
pub(crate) fn verify_all(
    context: &mut X509StoreContextRef,
    prepare: impl FnOnce(&mut X509VerifyParamRef) -> Result<(), ErrorStack>,
) -> Result<Vec<(c_int, u32)>, ErrorStack> {
    /// A chain with more problems than this has enough of them.
    const MOST: usize = 256;
    /// Called by OpenSSL on the thread that verifies, for every rule and certificate; 1 goes on.
    unsafe extern "C" fn collect(ok: c_int, context: *mut openssl_sys::X509_STORE_CTX) -> c_int {
        if ok != 1 {
            // SAFETY: OpenSSL passes the context of this verification; both functions only read.
            let (code, depth) = unsafe {
                (
                    openssl_sys::X509_STORE_CTX_get_error(context),
                    openssl_sys::X509_STORE_CTX_get_error_depth(context),
                )
            };
            PROBLEMS.with(|problems| {
                // Nothing else holds it: this runs inside OpenSSL only.
                if let Ok(mut problems) = problems.try_borrow_mut()
                    && problems.len() < MOST
                {
                    problems.push((code, u32::try_from(depth).unwrap_or(0)));
                }
            });
        }
        1
    }
    // SAFETY: the context is valid and initialized (`X509StoreContext::init` calls this); the parameters
    // belong to it and live as long.
    let param = unsafe { X509_STORE_CTX_get0_param(context.as_ptr()) };
    if param.is_null() {
        return Err(ErrorStack::get());
    }
    // SAFETY: not null, and nothing else refers to them while `prepare` runs.
    prepare(unsafe { X509VerifyParamRef::from_ptr_mut(param) })?;
    // SAFETY: the pointer is valid, and the callback lives for ever.
    unsafe { X509_STORE_CTX_set_verify_cb(context.as_ptr(), Some(collect)) };
    let take =
        || PROBLEMS.with(|problems| problems.try_borrow_mut().map(|mut p| std::mem::take(&mut *p)));
    let _ = take();
    context.verify_cert()?;
    Ok(take().unwrap_or_default())
}

/// A number that a verification has reported, as the `openssl` crate's type, for its words.
pub(crate) fn verify_result(code: c_int) -> X509VerifyResult {
    // SAFETY: the number comes from X509_STORE_CTX_get_error; only its text is looked up.
    unsafe { X509VerifyResult::from_raw(code) }
}

/// Takes a descriptor that was handed over to this process when it was started (sd_listen_fds(3)), and
/// sets close-on-exec. It must be one of those that the environment announces, be open, and can be taken
/// once.
pub(crate) fn inherited_descriptor(fd: RawFd) -> io::Result<OwnedFd> {
    static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
    let count = announced().map_or(0, |announced| announced.count);
    let at = fd.checked_sub(FIRST_DESCRIPTOR).and_then(|at| usize::try_from(at).ok());
    if at.is_none_or(|at| at >= count) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it was not handed over"));
    }
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&fd) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has been taken before"));
    }
    // SAFETY: the number is not -1. It may be closed, which the call reports as EBADF; the borrow ends
    // with the call.
    let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) })?;
    taken.insert(fd);
    // SAFETY: the descriptor is open (see above), and nothing else in this process owns it: whoever
    // started this process says, for this very process id, that it has opened it for us, and it is
    // handed out here once.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, flags | rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// `malloc_trim` of glibc: gives freed memory back to the system. Elsewhere there is no such thing, and
/// nothing happens.
pub(crate) fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> c_int;
        }
        malloc_trim(0);
    }
}

/// `ioctl` with `SIOCOUTQ` (tcp(7)): the bytes in the send queue that the peer has not acknowledged; `None`
/// where there is no such question.
pub(crate) fn send_queue(tcp: &TcpStream) -> Option<u64> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const SIOCOUTQ: c_ulong = 0x5411;
        unsafe extern "C" {
            fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
        }
        let mut queued: c_int = 0;
        // SAFETY: the descriptor is open as long as it is borrowed, and this request writes one int
        // through its argument, which outlives the call.
        let done = unsafe { ioctl(tcp.as_raw_fd(), SIOCOUTQ, &raw mut queued) } == 0;
        done.then(|| u64::try_from(queued).unwrap_or(0))
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        let _ = tcp;
        None
    }
}
