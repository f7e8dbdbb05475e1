//! Reading certificates, keys and passphrases from files.

use super::PkiError;
use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest file that is read: 16 MiB, about a hundred times a system's whole trust store.
///
/// Without a limit a device file would be read until memory runs out.
pub const FILE_MAX: u64 = 16 << 20;

/// Every certificate of a file: PEM, one DER certificate, or PKCS#12 (the leaf first).
///
/// A PEM file may hold keys and remarks as well; they are skipped. The passphrase matters for
/// PKCS#12 only; without one, the empty passphrase is tried.
///
/// # Errors
///
/// A file that cannot be read, holds no certificate or a broken one, or needs another passphrase.
pub fn read_certificates(path: &Path, passphrase: Option<&str>) -> Result<Vec<X509>, PkiError> {
    let contents = read(path)?;
    let parse =
        |source| PkiError::Parse { path: path.to_owned(), expected: "a certificate", source };
    let certificates = if contains(&contents, b"-----BEGIN ") {
        X509::stack_from_pem(&contents).map_err(|source| parse(Some(source)))?
    } else if let Ok(certificate) = X509::from_der(&contents) {
        vec![certificate]
    } else {
        let archive = Pkcs12::from_der(&contents).map_err(|source| parse(Some(source)))?;
        open(&archive, path, passphrase.unwrap_or_default())?
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
    let mut encrypted = false;
    // Without a callback OpenSSL would ask on the terminal.
    PKey::private_key_from_pem_callback(&contents, |_| {
        encrypted = true;
        Ok(0)
    })
    .map_err(|source| {
        if encrypted {
            PkiError::EncryptedKey { path: path.to_owned() }
        } else {
            PkiError::Parse {
                path: path.to_owned(),
                expected: "a private key in PEM",
                source: Some(source),
            }
        }
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
pub fn read_passphrase(path: &Path) -> Result<String, PkiError> {
    let contents = read(path)?;
    let line = contents.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(PkiError::Parse {
            path: path.to_owned(),
            expected: "a passphrase in UTF-8",
            source: None,
        }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    let read = || {
        let mut contents = Vec::new();
        File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut contents)?;
        if contents.len() as u64 > FILE_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the file is larger than 16 MiB",
            ));
        }
        Ok(contents)
    };
    read().map_err(|source| PkiError::Read { path: path.to_owned(), source })
}

fn open(archive: &Pkcs12, path: &Path, passphrase: &str) -> Result<Vec<X509>, PkiError> {
    if passphrase.contains('\0') {
        return Err(PkiError::Text { what: "the passphrase" });
    }
    let contents = archive.parse2(passphrase).map_err(|source| {
        if is_wrong_passphrase(&source) {
            PkiError::Passphrase { path: path.to_owned() }
        } else {
            PkiError::Parse {
                path: path.to_owned(),
                expected: "a PKCS#12 archive that this OpenSSL can decrypt",
                source: Some(source),
            }
        }
    })?;
    let issuers = contents.ca.into_iter().flatten();
    Ok(contents.cert.into_iter().chain(issuers).collect())
}

/// PKCS12_R_MAC_VERIFY_FAILURE of `openssl/pkcs12err.h`, by its text, as the crate has no constant.
fn is_wrong_passphrase(stack: &ErrorStack) -> bool {
    stack.errors().iter().any(|error| error.reason() == Some("mac verify failure"))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
