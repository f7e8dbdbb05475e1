//! The FIPS provider: loaded, made the default of the whole process, and proved.
//!
//! ```text
//! load fips and base ─▶ fips=yes is the default ─▶ self-test ─▶ every algorithm of TLS is fetched:
//!                                  it must come from the module, and what is not approved must not come
//! ```
//!
//! Nothing may run as if it were: a property query that nobody serves, or that another provider serves,
//! ends here ([`FipsError`], exit 17). The effect is on the process, because OpenSSL's default library
//! context is; it cannot be undone, and contexts that were built before keep what they have.

use super::cmvp::{self, Cmvp};
use crate::exit::Exit;
use crate::ffi::provider::{self as ffi, Operation};
use crate::report::Report;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::provider::Provider;
use openssl::ssl::{SslRef, SslVersion};
use serde::Serialize;
use std::ffi::{CStr, CString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The name under which OpenSSL loads the module (fips_module(7)).
const PROVIDER: &str = "fips";

/// What TLS 1.2 and 1.3 are made of under the policy `fips`, the tickets, and the random numbers. Each
/// must come from the module.
const NEEDED: [(Operation, &CStr); 16] = [
    (Operation::Cipher, c"AES-128-GCM"),
    (Operation::Cipher, c"AES-256-GCM"),
    (Operation::Cipher, c"AES-256-CBC"),
    (Operation::Digest, c"SHA2-256"),
    (Operation::Digest, c"SHA2-384"),
    (Operation::Digest, c"SHA2-512"),
    (Operation::Mac, c"HMAC"),
    (Operation::KeyDerivation, c"HKDF"),
    (Operation::KeyDerivation, c"TLS13-KDF"),
    (Operation::KeyDerivation, c"TLS1-PRF"),
    (Operation::Keys, c"EC"),
    (Operation::Keys, c"RSA"),
    (Operation::KeyExchange, c"ECDH"),
    (Operation::Signature, c"ECDSA"),
    (Operation::Signature, c"RSA"),
    (Operation::Random, c"CTR-DRBG"),
];

/// What newer modules have, too (FIPS 203 and 204).
const POST_QUANTUM: [(Operation, &CStr); 5] = [
    (Operation::Keys, c"ML-KEM-768"),
    (Operation::Keys, c"ML-KEM-1024"),
    (Operation::Keys, c"X25519MLKEM768"),
    (Operation::Keys, c"SecP256r1MLKEM768"),
    (Operation::Signature, c"ML-DSA-87"),
];

/// What is not approved (SP 800-140C), and so must not be had at all.
const REFUSED: [(Operation, &CStr); 2] =
    [(Operation::Digest, c"MD5"), (Operation::Cipher, c"ChaCha20-Poly1305")];

/// The module that was proved.
static MODULE: OnceLock<Module> = OnceLock::new();

/// A FIPS module that is loaded, the default of this process, and proved.
pub struct Module {
    name: String,
    version: String,
    build: String,
    algorithms: Vec<Origin>,
    fips: Provider,
    /// Decoders and encoders, which are no cryptography (fips_module(7)).
    _base: Provider,
}

/// A module as reports name it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct ModuleName {
    /// What it calls itself: `OpenSSL FIPS Provider`, or a vendor's name.
    pub name: &'static str,
    /// Its version, which is its own and not the library's.
    pub version: &'static str,
}

/// An algorithm, and the provider that does it.
#[non_exhaustive]
#[derive(Clone, Debug, Serialize)]
pub struct Origin {
    /// The name of the algorithm in OpenSSL.
    pub algorithm: String,
    /// What it is for: `cipher`, `digest`, `keys` ….
    pub operation: &'static str,
    /// The provider.
    pub provider: String,
}

impl Module {
    /// Its name and version.
    pub fn name(&'static self) -> ModuleName {
        ModuleName { name: &self.name, version: &self.version }
    }

    /// How it calls its own build, with a vendor's or a distribution's mark.
    pub fn build(&self) -> &str {
        &self.build
    }

    /// Where the algorithms come from: fetched when the module was proved.
    pub fn algorithms(&self) -> &[Origin] {
        &self.algorithms
    }

    /// What had to be refused, and was.
    pub fn refused(&self) -> impl Iterator<Item = String> {
        REFUSED.iter().map(|(_, name)| name.to_string_lossy().into_owned())
    }

    /// A switch in the module's configuration (`security-checks`, `tls1-prf-ems-check`), as the
    /// module reports it; `None` where it has none of this name.
    pub fn setting(&self, name: &str) -> Option<bool> {
        let name = CString::new(name).ok()?;
        ffi::provider_number(&self.fips, &name).map(|value| value != 0)
    }

    /// What is known of its validation.
    pub fn cmvp(&self) -> Option<&'static Cmvp> {
        cmvp::find(&self.name, &self.version)
    }

    /// The same private key in the module's hands: a provider beside the module (Red Hat's configuration has
    /// one) may have decoded the file that it came from.
    pub(super) fn adopt(&self, key: &PKeyRef<Private>) -> Result<PKey<Private>, ErrorStack> {
        if ffi::key_provider(key).as_deref() == Some(PROVIDER) {
            return Ok(key.to_owned());
        }
        ffi::transfer_key(key)
    }

    /// Whether the module has made what this connection's secrets come from: OpenSSL says of every
    /// key which provider holds it. The error names what came from elsewhere.
    pub(super) fn check(&self, ssl: &SslRef) -> Result<(), String> {
        // With a KEM only one end has a public key of the other (ssl_kem, RFC 8446 section 4.2.8).
        let theirs = ssl.peer_tmp_key().ok().map(|key| ffi::key_provider(&key));
        let ours = ssl.tmp_key().ok().map(|key| ffi::key_provider(&key));
        // What those two have to say when there is no such key.
        let _ = ErrorStack::get();
        // After a handshake of TLS 1.2 a server keeps none, and a resumed session has exchanged none.
        if theirs.is_none() && ours.is_none() && ssl.version2() == Some(SslVersion::TLS1_3) {
            return Err("OpenSSL does not say who made the key exchange".to_owned());
        }
        let own = ssl.private_key().map(ffi::key_provider);
        let exchanged = [theirs, ours].into_iter().flatten().map(|it| ("key exchange", it));
        for (what, provider) in exchanged.chain(own.map(|provider| ("private key", provider))) {
            let provider = provider.unwrap_or_else(|| "no provider".to_owned());
            if provider != PROVIDER {
                return Err(format!("the {what} is in the hands of {provider:?}"));
            }
        }
        if ffi::are_fips_properties_enabled() {
            Ok(())
        } else {
            Err("the default properties are not fips=yes any more".to_owned())
        }
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The module, if [`require`] has proved one in this process.
pub fn active() -> Option<&'static Module> {
    MODULE.get()
}

/// Loads the FIPS provider, makes it the default of this process, and proves it. Does nothing when that
/// has been done.
///
/// Call it before anything else that uses OpenSSL: random numbers come from whatever was the default when
/// the first one was drawn.
///
/// # Errors
///
/// What is missing. Then nothing cryptographic may be done in this process for whoever asked.
pub fn require() -> Result<&'static Module, FipsError> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = MODULE.get() {
        return Ok(module);
    }
    let module = load()?;
    Ok(MODULE.get_or_init(|| module))
}

fn load() -> Result<Module, FipsError> {
    openssl::init();
    // The fallback to the default provider ends only if the module is there: whoever asked in vain may go on
    // without it.
    let fips =
        Provider::try_load(None, PROVIDER, false).map_err(|stack| FipsError::not_loaded(&stack))?;
    let base =
        Provider::try_load(None, "base", false).map_err(|stack| FipsError::Base(said(&stack)))?;
    let before = ffi::are_fips_properties_enabled();
    let proved = prove(fips, base);
    if proved.is_err() && !before {
        // What was not proved must not look as if it had been.
        let _ = ffi::set_fips_properties(false);
    }
    proved
}

fn prove(fips: Provider, base: Provider) -> Result<Module, FipsError> {
    ffi::set_fips_properties(true).map_err(|stack| FipsError::Properties(said(&stack)))?;
    if !ffi::are_fips_properties_enabled() {
        return Err(FipsError::Properties("they are not fips=yes although they were set".into()));
    }
    // `status` is 0 after a self-test or an integrity check that failed.
    if ffi::provider_number(&fips, c"status") != Some(1) || !ffi::self_test(&fips) {
        return Err(FipsError::SelfTest(said(&ErrorStack::get())));
    }
    let mut algorithms = Vec::new();
    for (operation, name) in NEEDED {
        match origin(operation, name) {
            Some(origin) if origin.provider == PROVIDER => algorithms.push(origin),
            Some(Origin { algorithm, provider, .. }) => {
                return Err(FipsError::Elsewhere { algorithm, provider });
            }
            None => return Err(FipsError::Lacks(name.to_string_lossy().into_owned())),
        }
    }
    for (operation, name) in POST_QUANTUM {
        match origin(operation, name) {
            Some(origin) if origin.provider == PROVIDER => algorithms.push(origin),
            Some(Origin { algorithm, provider, .. }) => {
                return Err(FipsError::Elsewhere { algorithm, provider });
            }
            None => {}
        }
    }
    // The generators in use, not those that would be made now: an earlier random number, or a
    // configuration, may have made them elsewhere.
    for provider in ffi::random_providers() {
        let provider = provider.unwrap_or_else(|| "no provider".to_owned());
        if provider != PROVIDER {
            let algorithm = "the random number generator in use".to_owned();
            return Err(FipsError::Elsewhere { algorithm, provider });
        }
    }
    // Engines are asked before any provider, also for what was fetched from one.
    if let Some(engine) = ffi::foreign_engine() {
        return Err(FipsError::Engine(engine));
    }
    for (operation, name) in REFUSED {
        if let Some(Origin { algorithm, provider, .. }) = origin(operation, name) {
            return Err(FipsError::NotApproved { algorithm, provider });
        }
    }
    let text = |key| ffi::provider_text(&fips, key).unwrap_or_default();
    Ok(Module {
        name: text(c"name"),
        version: text(c"version"),
        build: text(c"buildinfo"),
        algorithms,
        fips,
        _base: base,
    })
}

fn origin(operation: Operation, name: &CStr) -> Option<Origin> {
    let provider = ffi::provider_of(operation, name)?;
    let operation = match operation {
        Operation::Cipher => "cipher",
        Operation::Digest => "digest",
        Operation::KeyDerivation => "key derivation",
        Operation::KeyExchange => "key exchange",
        Operation::Keys => "keys",
        Operation::Mac => "MAC",
        Operation::Random => "random numbers",
        Operation::Signature => "signature",
    };
    Some(Origin { algorithm: name.to_string_lossy().into_owned(), operation, provider })
}

/// Why there is no proved FIPS module.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FipsError {
    /// The base provider, which belongs to the library, cannot be loaded; OpenSSL's words.
    Base(String),
    /// An algorithm comes from another provider, which claims to be approved.
    Elsewhere {
        /// The algorithm.
        algorithm: String,
        /// The provider.
        provider: String,
    },
    /// An engine is loaded (config(5), ENGINE), which would be asked before the module; its name.
    Engine(String),
    /// The module's self-test or integrity check failed when it was loaded; OpenSSL's words.
    Integrity(String),
    /// The module lacks an algorithm that TLS needs.
    Lacks(String),
    /// An algorithm that is not approved can still be had.
    NotApproved {
        /// The algorithm.
        algorithm: String,
        /// The provider that has it.
        provider: String,
    },
    /// The module is there, but OpenSSL's configuration does not describe it; OpenSSL's words.
    NotConfigured(String),
    /// The module is not where OpenSSL looks for it, or cannot be loaded; OpenSSL's words.
    NotLoaded(String),
    /// The default properties cannot be set; OpenSSL's words.
    Properties(String),
    /// The module is loaded and does not pass its self-test; OpenSSL's words.
    SelfTest(String),
}

impl FipsError {
    fn not_loaded(stack: &ErrorStack) -> Self {
        let said = said(stack);
        let is = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if is(&["missing config data"]) {
            Self::NotConfigured(format!("{said} (read: {})", configuration()))
        } else if is(&["self test", "integrity", "invalid state", "not in operational state"]) {
            Self::Integrity(said)
        } else {
            Self::NotLoaded(said)
        }
    }

    /// The failure as people and scripts see it: always [`Exit::Fips`].
    pub fn report(&self) -> Report {
        let report = Report::new(Exit::Fips, self.kind(), "FIPS is required but not active");
        report.explain(self.to_string()).remedy(self.remedy())
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Base(_) | Self::NotLoaded(_) => "fips-not-loaded",
            Self::Elsewhere { .. } | Self::Engine(_) | Self::NotApproved { .. } => {
                "fips-not-exclusive"
            }
            Self::Integrity(_) | Self::SelfTest(_) => "fips-self-test",
            Self::Lacks(_) => "fips-incomplete",
            Self::NotConfigured(_) => "fips-not-configured",
            Self::Properties(_) => "fips-properties",
        }
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Base(_) | Self::Properties(_) => "check the OpenSSL installation",
            Self::Engine(_) => "load no engines in OpenSSL's configuration (OPENSSL_CONF)",
            Self::Elsewhere { .. } | Self::NotApproved { .. } => {
                "activate no other provider than fips and base in OpenSSL's configuration (OPENSSL_CONF)"
            }
            Self::Integrity(_) | Self::SelfTest(_) => {
                "install the module again, and let `openssl fipsinstall -module fips.so -out \
                 fipsmodule.cnf` test it; never edit the file that it writes"
            }
            Self::Lacks(_) => "use a newer module",
            Self::NotConfigured(_) => {
                "run `openssl fipsinstall -module fips.so -out fipsmodule.cnf`, include that file in \
                 an OpenSSL configuration, and name it with OPENSSL_CONF"
            }
            Self::NotLoaded(_) => {
                "install it: `apt install openssl-provider-fips` (Debian 13), `pro enable fips-updates` \
                 (Ubuntu Pro), `fips-mode-setup --enable` (RHEL); or name its folder with \
                 OPENSSL_MODULES and its configuration with OPENSSL_CONF"
            }
        }
    }
}

impl fmt::Display for FipsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(said) => write!(f, "OpenSSL's base provider cannot be loaded: {said}"),
            Self::Elsewhere { algorithm, provider } => {
                write!(
                    f,
                    "{algorithm} comes from the provider {provider:?} and not from the module"
                )
            }
            Self::Engine(name) => {
                write!(f, "the engine {name:?} is loaded, and comes before the module")
            }
            Self::Integrity(said) => write!(f, "the module refuses to work: {said}"),
            Self::Lacks(algorithm) => write!(f, "the module does not have {algorithm}"),
            Self::NotApproved { algorithm, provider } => {
                write!(f, "{algorithm} is not approved, and {provider:?} still has it")
            }
            Self::NotConfigured(said) => {
                write!(f, "OpenSSL's configuration does not describe the module: {said}")
            }
            Self::NotLoaded(said) => write!(f, "the module cannot be loaded: {said}"),
            Self::Properties(said) => write!(f, "OpenSSL's default properties: {said}"),
            Self::SelfTest(said) => write!(f, "the module fails its self-test: {said}"),
        }
    }
}

impl std::error::Error for FipsError {}

/// The configuration that OpenSSL reads (config(5)), and whether it is there.
fn configuration() -> String {
    let named = std::env::var_os("OPENSSL_CONF").filter(|name| !name.is_empty()).map(PathBuf::from);
    let path = named.unwrap_or_else(|| {
        // `OPENSSLDIR: "/usr/lib/ssl"`
        let dir = openssl::version::dir().split('"').nth(1).unwrap_or_default();
        Path::new(dir).join("openssl.cnf")
    });
    match path.metadata() {
        Ok(_) => path.display().to_string(),
        Err(error) => format!("{}: {error}", path.display()),
    }
}

/// All that OpenSSL says, without repetition: where it looked is in another entry than what was wrong.
fn said(stack: &ErrorStack) -> String {
    let mut words: Vec<String> = Vec::new();
    for error in stack.errors() {
        let reason = error.reason().unwrap_or("unknown error");
        let text = match error.data() {
            Some(data) if !data.is_empty() => format!("{reason} ({data})"),
            _ => reason.to_owned(),
        };
        if !words.contains(&text) {
            words.push(text);
        }
    }
    if words.is_empty() { "OpenSSL does not say why".to_owned() } else { words.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_17_and_says_what_to_do() {
        let text = || "x".to_owned();
        for error in [
            FipsError::Base(text()),
            FipsError::Elsewhere { algorithm: text(), provider: text() },
            FipsError::Engine(text()),
            FipsError::Integrity(text()),
            FipsError::Lacks(text()),
            FipsError::NotApproved { algorithm: text(), provider: text() },
            FipsError::NotConfigured(text()),
            FipsError::NotLoaded(text()),
            FipsError::Properties(text()),
            FipsError::SelfTest(text()),
        ] {
            let report = error.report();
            assert_eq!(report.exit(), Exit::Fips);
            assert_eq!(report.to_string().lines().count(), 3, "{report}");
        }
    }
}
