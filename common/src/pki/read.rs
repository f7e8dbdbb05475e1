//! Reading certificates, keys and passphrases from files.

use super::PkiError;
use crate::material::{self, Locked, Passphrase};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use std::path::Path;

/// Every certificate of a file: PEM, one DER certificate, or PKCS#12 (the leaf first).
///
/// A PEM file may hold keys and remarks as well; they are skipped. The passphrase matters for
/// PKCS#12 only; without one, the empty passphrase is tried.
///
/// # Errors
///
/// A file that cannot be read, holds no certificate or a broken one, or needs another passphrase.
pub fn read_certificates(
    path: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<Vec<X509>, PkiError> {
    let contents = read(path)?;
    let parse =
        |source| PkiError::Parse { path: path.to_owned(), expected: "a certificate", source };
    let certificates = if contains(&contents, b"-----BEGIN ") {
        X509::stack_from_pem(&contents).map_err(|source| parse(Some(source)))?
    } else if let Ok(certificate) = X509::from_der(&contents) {
        vec![certificate]
    } else {
        open(&contents, path, passphrase)?
    };
    if certificates.is_empty() {
        return Err(parse(None));
    }
    Ok(certificates)
}

/// A private key in PEM that is not encrypted.
///
/// # Errors
///
/// A file that cannot be read, holds no private key, or holds an encrypted one. The error never
/// contains what was read.
pub fn read_private_key(path: &Path) -> Result<PKey<Private>, PkiError> {
    let contents = read(path)?;
    material::private_key(&contents, None).map_err(|locked| match locked {
        Locked::Encrypted | Locked::WrongPassphrase => {
            PkiError::EncryptedKey { path: path.to_owned() }
        }
        Locked::Malformed(source) => PkiError::Parse {
            path: path.to_owned(),
            expected: "a private key in PEM",
            source: Some(source),
        },
    })
}

/// A passphrase: the first line of a file, without its line end (LF or CRLF).
///
/// An empty line is an empty passphrase. The rest of the file is ignored, as `openssl`'s `file:`
/// does.
///
/// # Errors
///
/// A file that cannot be read, or whose first line is not UTF-8 or contains NUL.
pub fn read_passphrase(path: &Path) -> Result<Passphrase, PkiError> {
    Passphrase::first_line(&read(path)?).ok_or_else(|| PkiError::Parse {
        path: path.to_owned(),
        expected: "a passphrase in UTF-8",
        source: None,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    material::read(path).map_err(|source| PkiError::Read { path: path.to_owned(), source })
}

fn open(
    archive: &[u8],
    path: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<Vec<X509>, PkiError> {
    let contents = material::pkcs12(archive, passphrase).map_err(|locked| match locked {
        Locked::Encrypted | Locked::WrongPassphrase => {
            PkiError::Passphrase { path: path.to_owned() }
        }
        Locked::Malformed(source) => PkiError::Parse {
            path: path.to_owned(),
            expected: "a certificate, or a PKCS#12 archive that this OpenSSL can decrypt",
            source: Some(source),
        },
    })?;
    let issuers = contents.ca.into_iter().flatten();
    Ok(contents.cert.into_iter().chain(issuers).collect())
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
