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
    fn OSSL_PROVIDER_get_params(provider: *const OSSL_PROVIDER, params: *mut OSSL_PARAM) -> c_int;
    fn OSSL_PROVIDER_self_test(provider: *const OSSL_PROVIDER) -> c_int;
    fn OSSL_PARAM_construct_utf8_ptr(
        key: *const c_char,
        value: *mut *mut c_char,
        size: usize,
    ) -> OSSL_PARAM;
}

/// A `EVP_…_fetch`, `EVP_…_get0_provider` and `EVP_…_free`, for any kind of algorithm: all of them are
/// handled through one pointer.
type Fetch = unsafe extern "C" fn(*mut OSSL_LIB_CTX, *const c_char, *const c_char) -> *mut c_void;
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
        Operation::KeyExchange => (EVP_KEYEXCH_fetch, EVP_KEYEXCH_get0_provider, EVP_KEYEXCH_free),
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
    engines().into_iter().find(|name| !["dynamic", "rdrand", "padlock"].contains(&name.as_str()))
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
    let exported =
        unsafe { openssl_sys::EVP_PKEY_todata(key.as_ptr(), EVP_PKEY_KEYPAIR, &raw mut params) };
    if exported != 1 {
        return Err(ErrorStack::get());
    }
    let mut made: *mut openssl_sys::EVP_PKEY = ptr::null_mut();
    // SAFETY: the name belongs to the key; the list ends with its end marker, and is freed here once; the
    // context is checked, used and freed once.
    unsafe {
        let name = EVP_PKEY_get0_type_name(key.as_ptr());
        let context = openssl_sys::EVP_PKEY_CTX_new_from_name(ptr::null_mut(), name, ptr::null());
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
