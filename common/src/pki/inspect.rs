//! Stub until merged.
use openssl::x509::X509Ref;
use serde::Serialize;
/// Facts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CertificateFacts {
    /// s
    pub subject: String,
    /// i
    pub issuer: String,
    /// n
    pub serial: String,
    /// s
    pub sans: Vec<String>,
    /// b
    pub not_before: String,
    /// a
    pub not_after: String,
    /// k
    pub key: String,
    /// s
    pub signature_algorithm: String,
    /// f
    pub sha256: String,
}
impl CertificateFacts {
    /// of
    pub fn of(_: &X509Ref) -> Self {
        todo!()
    }
}
