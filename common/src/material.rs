//! Keys, certificates and passphrases as they stand in files: read here once, for the TLS contexts and
//! for the authority, each of which has its own words for what goes wrong.

use openssl::error::ErrorStack;
use openssl::pkcs12::{ParsedPkcs12_2, Pkcs12};
use openssl::pkey::{PKey, Private};
use rustix::fs::OFlags;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The largest file that is read in bytes: 16 MiB, about a hundred times a system's whole trust store.
///
/// Without a limit a device file would be read until memory runs out.
pub(crate) const LONGEST_FILE: u64 = 16 << 20;

/// Reads a whole file that must be small.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_with_metadata(path).map(|(bytes, _)| bytes)
}

/// Reads a whole file that must be small; the metadata is that of the same open file. Waits for whoever writes
/// to a FIFO, as in `--key-pass-file <(…)`.
pub(crate) fn read_with_metadata(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    read_open(File::open(path)?)
}

/// The same of an ordinary file only, without ever waiting: for whoever serves others meanwhile.
pub(crate) fn read_regular(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file"));
    }
    read_open(file)
}

fn read_open(file: File) -> io::Result<(Vec<u8>, Metadata)> {
    let metadata = file.metadata()?;
    // Room for all of it and the look for its end at once: a buffer that grows leaves pieces of a secret
    // behind. A device has no length, and lies about nothing worse than that.
    let room = metadata.len().min(LONGEST_FILE) as usize + 64;
    let mut bytes = Vec::with_capacity(room);
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_FILE {
        let text = format!("it is longer than {} MiB", LONGEST_FILE >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok((bytes, metadata))
}

/// A passphrase in UTF-8 without NUL, which is where OpenSSL would end it. It is never shown.
#[derive(Clone, Default)]
pub struct Passphrase(String);

impl Passphrase {
    /// A passphrase given as text; `None` when it holds a NUL.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.contains('\0')).then_some(Self(text))
    }

    /// The first line of what a file holds, without its line end (LF or CRLF), as OpenSSL's `file:`
    /// and nginx's `ssl_password_file` have it. An empty line is an empty passphrase.
    pub(crate) fn first_line(bytes: &[u8]) -> Option<Self> {
        let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Self::new(std::str::from_utf8(line).ok()?)
    }

    /// The passphrase itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Why a key or a PKCS#12 file cannot be opened.
#[derive(Debug)]
pub(crate) enum Locked {
    /// It is encrypted and there is no passphrase.
    Encrypted,
    /// It is not what it should be.
    Malformed(ErrorStack),
    /// The passphrase is another one.
    WrongPassphrase,
}

/// A private key in PEM: PKCS#8, SEC 1 or PKCS#1, encrypted or not.
pub(crate) fn private_key(
    pem: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<PKey<Private>, Locked> {
    // Without a callback OpenSSL would ask on the terminal. It calls this one only for a key that is
    // encrypted, so having been called is what tells the causes apart.
    let mut asked = false;
    let key = PKey::private_key_from_pem_callback(pem, |buffer| {
        asked = true;
        match passphrase.map(|passphrase| passphrase.0.as_bytes()) {
            Some(bytes) if bytes.len() <= buffer.len() => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            _ => Ok(0),
        }
    });
    key.map_err(|stack| match (asked, passphrase) {
        (true, None) => Locked::Encrypted,
        (true, Some(_)) if !is_unsupported(&stack) => Locked::WrongPassphrase,
        _ => Locked::Malformed(stack),
    })
}

/// Whether something is encrypted with what this OpenSSL, or a FIPS module, does not have: then no passphrase
/// opens it.
pub(crate) fn is_unsupported(stack: &ErrorStack) -> bool {
    // ERR_LIB_OSSL_DECODER of <openssl/err.h>: it calls everything so in which it does not find a key.
    const DECODER: i32 = 60;
    // ERR_R_UNSUPPORTED and EVP_R_UNSUPPORTED_ALGORITHM, by their texts: the crate has no constants.
    const WORDS: [&str; 2] = ["unsupported", "unsupported algorithm"];
    let mut errors = stack.errors().iter().filter(|error| error.library_code() != DECODER);
    errors.any(|error| error.reason().is_some_and(|reason| WORDS.contains(&reason)))
}

/// What a PKCS#12 file holds; without a passphrase the empty one is tried.
pub(crate) fn pkcs12(
    der: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<ParsedPkcs12_2, Locked> {
    let archive = Pkcs12::from_der(der).map_err(Locked::Malformed)?;
    let text = passphrase.map(Passphrase::as_str).unwrap_or_default();
    archive.parse2(text).map_err(|stack| {
        if is_unsupported(&stack) {
            return Locked::Malformed(stack);
        }
        // PKCS12_R_MAC_VERIFY_FAILURE of <openssl/pkcs12err.h>, by its text: the crate has no constant.
        match stack.errors().iter().any(|error| error.reason() == Some("mac verify failure")) {
            true if passphrase.is_none() => Locked::Encrypted,
            true => Locked::WrongPassphrase,
            false => Locked::Malformed(stack),
        }
    })
}
