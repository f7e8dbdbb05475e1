//! A local certificate authority: creating it, issuing from it, inspecting certificates.
//!
//! ```text
//! AuthorityOptions -> Authority (ca.pem, ca.key) -> issue(LeafRequest) -> Issued (PEM, PKCS#12)
//! any X509Ref ------> CertificateFacts -> renewal
//! ```
//!
//! It is meant for a pair of hosts, a laboratory, a test: one root that signs leaves directly, so
//! that what is served is one certificate. It keeps no database and revokes nothing; leaves are
//! short-lived instead. Nothing here prints, and nothing here panics on what it reads:
//! [`CertificateFacts`] is made for the certificates of strangers.
//!
//! Keys are made through OpenSSL's EVP interface, so an active FIPS provider makes them.

pub mod authority;
pub(crate) mod der;
pub mod distinguished_name;
pub mod error;
pub mod files;
pub mod inspect;
pub mod issue;
pub mod name;
pub mod read;
mod template;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use crate::material::Passphrase;
pub use authority::{Authority, AuthorityOptions, KeyAlgorithm};
pub use error::PkiError;
pub use files::Overwrite;
pub use inspect::{CertificateFacts, Renewal, renewal};
pub use issue::{Issued, LeafRequest};
pub use name::{LeafName, Usage};
