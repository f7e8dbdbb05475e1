//! The only unsafe code of the workspace: thin wrappers over OpenSSL functions that the `openssl`
//! crate does not have (or marks unsafe), and the adoption of descriptors that another program has opened.
//! Each names its C function and says why the call is sound.
//!
//! What belongs together has a file of its own in the module's folder: providers, the callbacks for session
//! tickets, and what an inspection asks.

#![allow(unsafe_code)]

pub(crate) mod provider;
pub(crate) mod survey;
pub(crate) mod tickets;

use crate::handover::{FIRST_DESCRIPTOR, announced};
use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::asn1::{Asn1GeneralizedTimeRef, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKeyRef, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::ssl::{SslCipher, SslCipherRef, SslContextBuilder, SslMode, SslRef, SslSessionRef};
use openssl::stack::StackRef;
use openssl::x509::store::X509StoreBuilderRef;
use openssl::x509::{
    X509, X509Builder, X509Crl, X509CrlRef, X509Ref, X509StoreContextRef, X509VerifyResult,
};
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uchar, c_ulong, c_void};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::{Mutex, PoisonError};

// Control numbers from OpenSSL 3.0's <openssl/ssl.h>; they are part of its ABI.
const SSL_CTRL_CLEAR_MODE: c_int = 78;
const SSL_CTRL_CHAIN_CERT: c_int = 89;
const SSL_CTRL_GET_GROUPS: c_int = 90;
const SSL_CTRL_SET_CLIENT_SIGALGS_LIST: c_int = 102;
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
    fn OPENSSL_cleanse(bytes: *mut c_void, length: usize);
    fn X509_STORE_CTX_get0_current_crl(
        context: *const openssl_sys::X509_STORE_CTX,
    ) -> *mut openssl_sys::X509_CRL;
    fn X509_STORE_add_crl(
        store: *mut openssl_sys::X509_STORE,
        crl: *mut openssl_sys::X509_CRL,
    ) -> c_int;
    fn X509_check_purpose(x509: *mut openssl_sys::X509, purpose: c_int, ca: c_int) -> c_int;
    fn X509_get_signature_info(
        x509: *mut openssl_sys::X509,
        digest: *mut c_int,
        key: *mut c_int,
        bits: *mut c_int,
        flags: *mut u32,
    ) -> c_int;
    fn SSL_get_client_ciphers(
        ssl: *const openssl_sys::SSL,
    ) -> *mut openssl_sys::stack_st_SSL_CIPHER;
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

/// `SSL_CTX_set1_client_sigalgs_list`: the schemes with which clients may sign.
pub(crate) fn set_client_signatures(
    context: &mut SslContextBuilder,
    list: &str,
) -> Result<(), ErrorStack> {
    let list = CString::new(list).unwrap_or_default();
    // SAFETY: both pointers are valid for the call, which reads the string.
    let done = unsafe {
        openssl_sys::SSL_CTX_ctrl(
            context.as_ptr(),
            SSL_CTRL_SET_CLIENT_SIGALGS_LIST,
            0,
            list.as_ptr().cast_mut().cast::<c_void>(),
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

/// `X509_STORE_CTX_get0_current_crl`: the revocation list that verification is looking at, for the verify
/// callback.
pub(crate) fn current_crl(context: &X509StoreContextRef) -> Option<&X509CrlRef> {
    // SAFETY: the pointer is valid, and the function changes nothing. The result is null or a list that
    // the context's store holds; it lives at least as long as the context is borrowed.
    unsafe {
        let crl = X509_STORE_CTX_get0_current_crl(context.as_ptr());
        (!crl.is_null()).then(|| X509CrlRef::from_ptr(crl))
    }
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
    group_name(ssl, c_int::try_from(id).ok().filter(|id| *id != 0)?)
}

/// `SSL_group_to_name`.
fn group_name(ssl: &SslRef, id: c_int) -> Option<String> {
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

/// `EVP_PKEY_CTX_new_from_name`: a context for keys of a kind that has a name only, as all have that
/// came with OpenSSL 3.5. Fails where no provider has it.
pub(crate) fn key_context(name: &CStr) -> Result<PkeyCtx<()>, ErrorStack> {
    openssl_sys::init();
    // SAFETY: the name is a string that outlives the call; null stands for the default library context
    // and the default properties. The result is null or a context that nobody else has.
    unsafe {
        let context =
            openssl_sys::EVP_PKEY_CTX_new_from_name(ptr::null_mut(), name.as_ptr(), ptr::null());
        if context.is_null() { Err(ErrorStack::get()) } else { Ok(PkeyCtx::from_ptr(context)) }
    }
}

/// `X509_sign` without a digest, for keys that sign the message itself (RFC 9881, section 3); the
/// `openssl` crate asks for one.
pub(crate) fn sign_without_digest(
    certificate: X509Builder,
    key: &PKeyRef<Private>,
) -> Result<X509, ErrorStack> {
    let certificate = certificate.build();
    // SAFETY: both pointers are valid for the call, and null is a digest that OpenSSL allows here. The
    // certificate may be changed: it was just built, and nobody else has it.
    let length = unsafe { openssl_sys::X509_sign(certificate.as_ptr(), key.as_ptr(), ptr::null()) };
    if length > 0 { Ok(certificate) } else { Err(ErrorStack::get()) }
}

/// `X509_V_ERR_CERT_REJECTED` (28): a rule of ours refused the certificate. The peer gets the alert
/// bad_certificate for it; for `X509_V_ERR_APPLICATION_VERIFICATION` it would get handshake_failure, and
/// take it for a matter of cipher suites.
pub(crate) fn certificate_rejected() -> X509VerifyResult {
    // SAFETY: the number is one that OpenSSL knows, which is all that the crate asks for.
    unsafe { X509VerifyResult::from_raw(28) }
}

/// `X509_check_purpose`: whether a certificate may be used by a TLS server or client, as far as its own
/// extensions say.
pub(crate) fn is_for_purpose(certificate: &X509Ref, server: bool) -> bool {
    // X509_PURPOSE_SSL_CLIENT and X509_PURPOSE_SSL_SERVER.
    let purpose = if server { 2 } else { 1 };
    // SAFETY: the pointer is valid. The function caches what it reads of the extensions in the
    // certificate, under the certificate's own lock.
    unsafe { X509_check_purpose(certificate.as_ptr(), purpose, 0) == 1 }
}

/// `X509_get_signature_info`: the digest and the kind of key of a certificate's signature. The digest is
/// undefined (0) for signatures that have none of their own, such as ML-DSA.
pub(crate) fn certificate_signature(certificate: &X509Ref) -> Option<SignatureNids> {
    let (mut digest, mut kind) = (0, 0);
    // SAFETY: the pointer is valid, and so are those to the two numbers; the others may be null.
    let known = unsafe {
        X509_get_signature_info(
            certificate.as_ptr(),
            &raw mut digest,
            &raw mut kind,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    // 0 also means "not fit for TLS"; the numbers are there all the same.
    let _ = known;
    (kind != 0).then(|| SignatureNids { kind: Nid::from_raw(kind), digest: Nid::from_raw(digest) })
}

/// `SSL_get_client_ciphers`: the suites that the client of this connection offers, on a server, by their
/// IANA names; those that this OpenSSL does not know are left out by it.
pub(crate) fn client_suites(ssl: &SslRef) -> Vec<&'static str> {
    // SAFETY: the pointer is valid; the result is null or a stack that the SSL owns, borrowed here for
    // the length of this function.
    let suites = unsafe {
        let stack = SSL_get_client_ciphers(ssl.as_ptr());
        (!stack.is_null()).then(|| StackRef::<SslCipher>::from_ptr(stack))
    };
    suites.into_iter().flatten().filter_map(SslCipherRef::standard_name).collect()
}

/// `SSL_get1_groups`: the groups that the peer of a server offers, by name.
pub(crate) fn peer_groups(ssl: &SslRef) -> Vec<String> {
    // SAFETY: the pointer is valid; a null argument asks for their number.
    let count =
        unsafe { openssl_sys::SSL_ctrl(ssl.as_ptr(), SSL_CTRL_GET_GROUPS, 0, ptr::null_mut()) };
    let mut ids = vec![0 as c_int; usize::try_from(count).unwrap_or(0)];
    if ids.is_empty() {
        return Vec::new();
    }
    // SAFETY: the array has room for as many as there are, and the list does not change in between: the
    // connection is borrowed, and its handshake does not go on.
    unsafe { openssl_sys::SSL_ctrl(ssl.as_ptr(), SSL_CTRL_GET_GROUPS, 0, ids.as_mut_ptr().cast()) };
    ids.into_iter().filter_map(|id| group_name(ssl, id)).collect()
}

/// `SSL_client_hello_get0_ext`: an extension of the ClientHello that is being looked at. Only inside the
/// callback for it is there one.
pub(crate) fn client_hello_extension(ssl: &SslRef, number: u32) -> Option<&[u8]> {
    let (mut data, mut length): (*const c_uchar, usize) = (ptr::null(), 0);
    // SAFETY: the pointers are valid for the call.
    let found = unsafe {
        openssl_sys::SSL_client_hello_get0_ext(ssl.as_ptr(), number, &raw mut data, &raw mut length)
    };
    if found != 1 {
        return None;
    }
    if length == 0 || data.is_null() {
        return Some(&[]);
    }
    // SAFETY: OpenSSL holds so many bytes there until the callback returns, and the connection is
    // borrowed as long as the slice is used, within it.
    Some(unsafe { std::slice::from_raw_parts(data, length) })
}

/// What OpenSSL says of a peer's certificate that its OCSP response rules out (<openssl/x509_vfy.h> of
/// 3.0).
#[derive(Clone, Copy, Debug)]
pub(crate) enum OcspResult {
    /// `X509_V_ERR_CERT_REVOKED`
    Revoked = 23,
    /// `X509_V_ERR_OCSP_VERIFY_NEEDED`
    Missing = 94,
    /// `X509_V_ERR_OCSP_VERIFY_FAILED`
    Unusable = 95,
    /// `X509_V_ERR_OCSP_CERT_UNKNOWN`
    Unknown = 96,
}

impl From<OcspResult> for X509VerifyResult {
    fn from(result: OcspResult) -> Self {
        // SAFETY: the numbers are ones that OpenSSL knows, which is all that the crate asks for.
        unsafe { Self::from_raw(result as c_int) }
    }
}

/// `ASN1_GENERALIZEDTIME` as the `ASN1_TIME` that it is, too (<openssl/types.h> has both as
/// `ASN1_STRING`): the `openssl` crate can compare and convert only the latter.
pub(crate) fn as_time(time: &Asn1GeneralizedTimeRef) -> &Asn1TimeRef {
    // SAFETY: the pointer is valid as long as the borrow, and both names stand for one C type, whose
    // content says which of the two forms it has.
    unsafe { Asn1TimeRef::from_ptr(time.as_ptr().cast()) }
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

/// `OPENSSL_cleanse`: overwrites a secret in a way that the compiler does not leave out.
pub(crate) fn cleanse(secret: &mut [u8]) {
    // SAFETY: the slice is writable for its length.
    unsafe { OPENSSL_cleanse(secret.as_mut_ptr().cast::<c_void>(), secret.len()) }
}
