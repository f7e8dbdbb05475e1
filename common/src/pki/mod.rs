//! A local certificate authority, issuing and inspection.
mod inspect;
pub use inspect::CertificateFacts;
