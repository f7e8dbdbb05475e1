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
        callback: Option<unsafe extern "C" fn(c_int, *mut openssl_sys::X509_STORE_CTX) -> c_int>,
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
