//! The only unsafe code of the workspace: thin wrappers over OpenSSL functions that the `openssl`
//! crate does not have (or marks unsafe), and the adoption of descriptors that another program has opened.
//! Each names its C function and says why the call is sound.
//!
//! What belongs together is in a module of its own below: providers, what an inspection asks, and the callbacks
//! for session tickets. All of it is in this one file, long as it is, so that there is one to be audited.

#![allow(unsafe_code)]

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

pub(crate) mod provider {
    //! OpenSSL's providers: what they are, and which of them does what.

    use foreign_types::{ForeignType, ForeignTypeRef};
    use openssl::error::ErrorStack;
    use openssl::pkey::{HasParams, PKey, PKeyRef, Private};
    use openssl::provider::Provider;
    use openssl_sys::{OSSL_LIB_CTX, OSSL_PARAM, OSSL_PROVIDER};
    use std::ffi::{CStr, c_char, c_int, c_void};
    use std::ptr;

    /// `EVP_RAND_CTX`, which the `openssl` crate does not have.
    enum EvpRandCtx {}

    /// `EVP_PKEY_KEYPAIR` of <openssl/evp.h>: private key, public key and all parameters.
    const EVP_PKEY_KEYPAIR: c_int = 0x87;

    unsafe extern "C" {
        fn EVP_PKEY_get0_type_name(key: *const openssl_sys::EVP_PKEY) -> *const c_char;
        fn RAND_get_rand_method() -> *const c_void;
        fn RAND_OpenSSL() -> *const c_void;
        fn RAND_get0_primary(context: *mut OSSL_LIB_CTX) -> *mut EvpRandCtx;
        fn RAND_get0_public(context: *mut OSSL_LIB_CTX) -> *mut EvpRandCtx;
        fn RAND_get0_private(context: *mut OSSL_LIB_CTX) -> *mut EvpRandCtx;
        fn EVP_RAND_CTX_get0_rand(generator: *mut EvpRandCtx) -> *mut c_void;
        fn EVP_PKEY_get0_provider(key: *const openssl_sys::EVP_PKEY) -> *const OSSL_PROVIDER;
        fn OSSL_PROVIDER_get0_name(provider: *const OSSL_PROVIDER) -> *const c_char;
        fn OSSL_PROVIDER_get_params(
            provider: *const OSSL_PROVIDER,
            params: *mut OSSL_PARAM,
        ) -> c_int;
        fn OSSL_PROVIDER_self_test(provider: *const OSSL_PROVIDER) -> c_int;
        fn OSSL_PARAM_construct_utf8_ptr(
            key: *const c_char,
            value: *mut *mut c_char,
            size: usize,
        ) -> OSSL_PARAM;
    }

    /// A `EVP_…_fetch`, `EVP_…_get0_provider` and `EVP_…_free`, for any kind of algorithm: all of them are
    /// handled through one pointer.
    type Fetch =
        unsafe extern "C" fn(*mut OSSL_LIB_CTX, *const c_char, *const c_char) -> *mut c_void;
    type ProviderOf = unsafe extern "C" fn(*const c_void) -> *const OSSL_PROVIDER;
    type Free = unsafe extern "C" fn(*mut c_void);

    macro_rules! fetchable {
    ($($fetch:ident $provider:ident $free:ident;)*) => {
        unsafe extern "C" {
            $(
                fn $fetch(c: *mut OSSL_LIB_CTX, n: *const c_char, p: *const c_char) -> *mut c_void;
                fn $provider(algorithm: *const c_void) -> *const OSSL_PROVIDER;
                fn $free(algorithm: *mut c_void);
            )*
        }
    };
}

    fetchable! {
        EVP_CIPHER_fetch EVP_CIPHER_get0_provider EVP_CIPHER_free;
        EVP_MD_fetch EVP_MD_get0_provider EVP_MD_free;
        EVP_MAC_fetch EVP_MAC_get0_provider EVP_MAC_free;
        EVP_KDF_fetch EVP_KDF_get0_provider EVP_KDF_free;
        EVP_RAND_fetch EVP_RAND_get0_provider EVP_RAND_free;
        EVP_KEYEXCH_fetch EVP_KEYEXCH_get0_provider EVP_KEYEXCH_free;
        EVP_KEYMGMT_fetch EVP_KEYMGMT_get0_provider EVP_KEYMGMT_free;
        EVP_SIGNATURE_fetch EVP_SIGNATURE_get0_provider EVP_SIGNATURE_free;
    }

    /// `EVP_PKEY_get0_provider`: the name of the provider that holds a key.
    pub(crate) fn key_provider<T: HasParams>(key: &PKeyRef<T>) -> Option<String> {
        // SAFETY: the key is valid, and the provider lives as long as the key.
        unsafe { provider_name(EVP_PKEY_get0_provider(key.as_ptr())) }
    }

    /// `OSSL_PROVIDER_get0_name`, copied.
    ///
    /// # Safety
    ///
    /// The pointer is null or a provider that lives through the call.
    unsafe fn provider_name(provider: *const OSSL_PROVIDER) -> Option<String> {
        if provider.is_null() {
            return None;
        }
        // SAFETY: the provider lives (see above), and so does its name.
        let name = unsafe { OSSL_PROVIDER_get0_name(provider) };
        // SAFETY: null or a string that lives as long as the provider; it is copied at once.
        (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    }

    /// What an algorithm is for: OpenSSL's operations (provider(7)).
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub(crate) enum Operation {
        Cipher,
        Digest,
        KeyDerivation,
        KeyExchange,
        Keys,
        Mac,
        Random,
        Signature,
    }

    /// `EVP_…_fetch` with the default properties, and `OSSL_PROVIDER_get0_name`: the name of the provider
    /// that would do an operation; `None` when none would.
    pub(crate) fn provider_of(operation: Operation, algorithm: &CStr) -> Option<String> {
        let (fetch, provider, free): (Fetch, ProviderOf, Free) = match operation {
            Operation::Cipher => (EVP_CIPHER_fetch, EVP_CIPHER_get0_provider, EVP_CIPHER_free),
            Operation::Digest => (EVP_MD_fetch, EVP_MD_get0_provider, EVP_MD_free),
            Operation::KeyDerivation => (EVP_KDF_fetch, EVP_KDF_get0_provider, EVP_KDF_free),
            Operation::KeyExchange => {
                (EVP_KEYEXCH_fetch, EVP_KEYEXCH_get0_provider, EVP_KEYEXCH_free)
            }
            Operation::Keys => (EVP_KEYMGMT_fetch, EVP_KEYMGMT_get0_provider, EVP_KEYMGMT_free),
            Operation::Mac => (EVP_MAC_fetch, EVP_MAC_get0_provider, EVP_MAC_free),
            Operation::Random => (EVP_RAND_fetch, EVP_RAND_get0_provider, EVP_RAND_free),
            Operation::Signature => {
                (EVP_SIGNATURE_fetch, EVP_SIGNATURE_get0_provider, EVP_SIGNATURE_free)
            }
        };
        // SAFETY: the three functions belong together. A null context is the default one, null properties
        // are the default ones, and the name is a valid string.
        let fetched = unsafe { fetch(ptr::null_mut(), algorithm.as_ptr(), ptr::null()) };
        if fetched.is_null() {
            // What it says of it must not be found by somebody else.
            let _ = ErrorStack::get();
            return None;
        }
        // SAFETY: what was fetched holds on to its provider until it is freed, which is after the copy.
        let name = unsafe { provider_name(provider(fetched)) };
        // SAFETY: it was fetched above, and is not used any more.
        unsafe { free(fetched) };
        name
    }

    /// `RAND_get0_primary`, `RAND_get0_public`, `RAND_get0_private` and `EVP_RAND_get0_provider`: the providers of
    /// the generators that this thread's random numbers come from. They are made when they are first asked
    /// for, and stay what they are.
    pub(crate) fn random_providers() -> Vec<Option<String>> {
        // SAFETY: null is the default library context; the generators belong to it, or to this thread.
        let generators = unsafe {
            [
                RAND_get0_primary(ptr::null_mut()),
                RAND_get0_public(ptr::null_mut()),
                RAND_get0_private(ptr::null_mut()),
            ]
        };
        let provider = |generator: *mut EvpRandCtx| {
            if generator.is_null() {
                return None;
            }
            // SAFETY: the generator lives as long as the thread; it holds on to its algorithm, and that to
            // its provider.
            unsafe { provider_name(EVP_RAND_get0_provider(EVP_RAND_CTX_get0_rand(generator))) }
        };
        generators.into_iter().map(provider).collect()
    }

    /// `ENGINE_get_first` and `ENGINE_get_next`, and `RAND_get_rand_method`: the name of an engine that could do
    /// something instead of a provider. What OpenSSL itself brings along and does not use unasked is none: it
    /// would show as the source of random numbers.
    pub(crate) fn foreign_engine() -> Option<String> {
        // SAFETY: both functions only return pointers to tables.
        if unsafe { RAND_get_rand_method() != RAND_OpenSSL() } {
            return Some("of the random numbers".to_owned());
        }
        engines()
            .into_iter()
            .find(|name| !["dynamic", "rdrand", "padlock"].contains(&name.as_str()))
    }

    /// The vendored OpenSSL is built without engines.
    #[cfg(feature = "vendored")]
    fn engines() -> Vec<String> {
        Vec::new()
    }

    #[cfg(not(feature = "vendored"))]
    fn engines() -> Vec<String> {
        enum Engine {}
        unsafe extern "C" {
            fn ENGINE_get_first() -> *mut Engine;
            fn ENGINE_get_next(engine: *mut Engine) -> *mut Engine;
            fn ENGINE_get_id(engine: *const Engine) -> *const c_char;
        }
        let mut names = Vec::new();
        // SAFETY: the first engine of the list, or null; a reference of ours is with it.
        let mut engine = unsafe { ENGINE_get_first() };
        while !engine.is_null() {
            // SAFETY: the engine lives as long as our reference; its name is null or a string of its own.
            let name = unsafe { ENGINE_get_id(engine) };
            if !name.is_null() {
                // SAFETY: not null; copied at once.
                names.push(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
            }
            // SAFETY: it takes our reference to this engine, and gives one to the next.
            engine = unsafe { ENGINE_get_next(engine) };
        }
        names
    }

    /// `EVP_PKEY_todata` and `EVP_PKEY_fromdata`: the same key in the hands of the provider that the default
    /// properties select.
    pub(crate) fn transfer_key(key: &PKeyRef<Private>) -> Result<PKey<Private>, ErrorStack> {
        let mut params: *mut OSSL_PARAM = ptr::null_mut();
        // SAFETY: the key is valid; on success a list of our own is left in `params`.
        let exported = unsafe {
            openssl_sys::EVP_PKEY_todata(key.as_ptr(), EVP_PKEY_KEYPAIR, &raw mut params)
        };
        if exported != 1 {
            return Err(ErrorStack::get());
        }
        let mut made: *mut openssl_sys::EVP_PKEY = ptr::null_mut();
        // SAFETY: the name belongs to the key; the list ends with its end marker, and is freed here once; the
        // context is checked, used and freed once.
        unsafe {
            let name = EVP_PKEY_get0_type_name(key.as_ptr());
            let context =
                openssl_sys::EVP_PKEY_CTX_new_from_name(ptr::null_mut(), name, ptr::null());
            if !context.is_null() {
                if openssl_sys::EVP_PKEY_fromdata_init(context) == 1 {
                    let slot = &raw mut made;
                    openssl_sys::EVP_PKEY_fromdata(context, slot, EVP_PKEY_KEYPAIR, params);
                }
                openssl_sys::EVP_PKEY_CTX_free(context);
            }
            openssl_sys::OSSL_PARAM_free(params);
        }
        if made.is_null() {
            return Err(ErrorStack::get());
        }
        // SAFETY: a key that was made above, and that nobody else owns.
        Ok(unsafe { PKey::from_ptr(made) })
    }

    /// `EVP_default_properties_enable_fips`: from now on every algorithm of this process that is not asked
    /// for by other properties is one with the property `fips=yes`; or, with `false`, need not be.
    pub(crate) fn set_fips_properties(on: bool) -> Result<(), ErrorStack> {
        // SAFETY: null is the default library context; the function locks what it changes.
        let done =
            unsafe { openssl_sys::EVP_default_properties_enable_fips(ptr::null_mut(), on.into()) };
        if done == 1 { Ok(()) } else { Err(ErrorStack::get()) }
    }

    /// `EVP_default_properties_is_fips_enabled`.
    pub(crate) fn are_fips_properties_enabled() -> bool {
        // SAFETY: as above; it only reads.
        unsafe { openssl_sys::EVP_default_properties_is_fips_enabled(ptr::null_mut()) == 1 }
    }

    /// `OSSL_PROVIDER_self_test`: runs a provider's self-tests.
    pub(crate) fn self_test(provider: &Provider) -> bool {
        // SAFETY: the pointer is valid for the call.
        unsafe { OSSL_PROVIDER_self_test(provider.as_ptr()) == 1 }
    }

    /// `OSSL_PROVIDER_get_params` for a text: `name`, `version`, `buildinfo`.
    pub(crate) fn provider_text(provider: &Provider, key: &CStr) -> Option<String> {
        let mut value: *mut c_char = ptr::null_mut();
        // SAFETY: constructing a parameter dereferences nothing.
        let mut params = unsafe {
            [
                OSSL_PARAM_construct_utf8_ptr(key.as_ptr(), &raw mut value, 0),
                openssl_sys::OSSL_PARAM_construct_end(),
            ]
        };
        // SAFETY: the array ends with the end marker, and `value` outlives the call; the provider leaves a
        // pointer to a string of its own in it.
        let done = unsafe { OSSL_PROVIDER_get_params(provider.as_ptr(), params.as_mut_ptr()) };
        // SAFETY: null or a string that lives as long as the provider, which is borrowed; copied at once.
        (done == 1 && !value.is_null())
            .then(|| unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned())
    }

    /// `OSSL_PROVIDER_get_params` for a number: `status`, `security-checks`. `None` where the provider has
    /// no such parameter.
    pub(crate) fn provider_number(provider: &Provider, key: &CStr) -> Option<u32> {
        let mut value = 0;
        // SAFETY: constructing a parameter dereferences nothing.
        let mut params = unsafe {
            [
                openssl_sys::OSSL_PARAM_construct_uint(key.as_ptr(), &raw mut value),
                openssl_sys::OSSL_PARAM_construct_end(),
            ]
        };
        // SAFETY: the array ends with the end marker, and `value` outlives the call.
        let done = unsafe { OSSL_PROVIDER_get_params(provider.as_ptr(), params.as_mut_ptr()) };
        // SAFETY: the parameter is valid; the function only compares.
        let found = done == 1 && unsafe { openssl_sys::OSSL_PARAM_modified(params.as_ptr()) } == 1;
        found.then_some(value)
    }
}

pub(crate) mod survey {
    //! What an inspection asks of OpenSSL and no transfer does: renegotiation, whether a certificate was asked for,
    //! and every rule that a chain breaks instead of the first.

    use foreign_types::ForeignTypeRef;
    use openssl::error::ErrorStack;
    use openssl::ssl::{SslContextBuilder, SslRef};
    use openssl::x509::verify::X509VerifyParamRef;
    use openssl::x509::{X509StoreContextRef, X509VerifyResult};
    use std::cell::{Cell, RefCell};
    use std::ffi::{c_int, c_void};
    use std::ptr;

    unsafe extern "C" {
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
            callback: Option<
                unsafe extern "C" fn(c_int, *mut openssl_sys::X509_STORE_CTX) -> c_int,
            >,
        );
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
        unsafe extern "C" fn collect(
            ok: c_int,
            context: *mut openssl_sys::X509_STORE_CTX,
        ) -> c_int {
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
        let take = || {
            PROBLEMS.with(|problems| problems.try_borrow_mut().map(|mut p| std::mem::take(&mut *p)))
        };
        let _ = take();
        context.verify_cert()?;
        Ok(take().unwrap_or_default())
    }

    /// A number that a verification has reported, as the `openssl` crate's type, for its words.
    pub(crate) fn verify_result(code: c_int) -> X509VerifyResult {
        // SAFETY: the number comes from X509_STORE_CTX_get_error; only its text is looked up.
        unsafe { X509VerifyResult::from_raw(code) }
    }
}

pub(crate) mod tickets {
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
                    OSSL_PARAM_construct_utf8_string(
                        c"digest".as_ptr(),
                        digest.as_ptr().cast_mut(),
                        0,
                    ),
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
        fn seal(
            ssl: &SslRef,
            contexts: &mut TicketContexts<'_>,
        ) -> Option<(TicketKeyName, TicketIv)>;

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
                unsafe {
                    SSL_SESSION_set1_ticket_appdata(session, mark.as_ptr().cast(), mark.len())
                }
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
        let done =
            unsafe { SSL_SESSION_get0_ticket_appdata(session, &raw mut bytes, &raw mut length) };
        if done != 1 || bytes.is_null() || length != size_of::<TicketMark>() {
            return None;
        }
        // SAFETY: so many bytes are there; they are copied at once.
        Some(unsafe { bytes.cast::<TicketMark>().read() })
    }
}
