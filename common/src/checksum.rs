//! Checksums by the names that the tus protocol has for them (tus 1.0, checksum extension), and the Base64
//! that carries them. What this pair checks itself is [`digest`](crate::digest).

use openssl::hash::{Hasher, MessageDigest};
use std::fmt;
use std::io;

/// The algorithms, best first.
const ALGORITHMS: [&str; 3] = ["sha256", "sha512", "sha1"];

/// Computes a checksum of what passes.
pub struct Checksum(Hasher);

impl Checksum {
    /// A checksum of nothing yet; `None` where the name is unknown, or OpenSSL does not have the
    /// algorithm: a FIPS module may be without SHA-1.
    pub fn new(algorithm: &str) -> Option<Self> {
        let digest = match algorithm {
            "sha256" => MessageDigest::sha256(),
            "sha512" => MessageDigest::sha512(),
            "sha1" => MessageDigest::sha1(),
            _ => return None,
        };
        Hasher::new(digest).ok().map(Self)
    }

    /// The names of the algorithms that are there, best first.
    pub fn available() -> impl Iterator<Item = &'static str> {
        ALGORITHMS.into_iter().filter(|name| Self::new(name).is_some())
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    ///
    /// When OpenSSL fails.
    pub fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.update(bytes).map_err(io::Error::other)
    }

    /// The checksum.
    ///
    /// # Errors
    ///
    /// When OpenSSL fails.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.finish().map_err(io::Error::other)?.to_vec())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checksum").finish_non_exhaustive()
    }
}

/// The bytes that a text of Base64 stands for (RFC 4648 section 4, with its padding); `None` if it is none.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    // OpenSSL skips spaces at the ends.
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    match text.bytes().all(alphabet) {
        true if text.is_empty() => Some(Vec::new()),
        true => openssl::base64::decode_block(text).ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        // FIPS 180-4, example of one block: "abc".
        let mut checksum = Checksum::new("sha1").unwrap();
        checksum.update(b"a").unwrap();
        checksum.update(b"bc").unwrap();
        assert_eq!(decode_base64("qZk+NkcGgWq6PiVxeFDCbJzQ2J0="), Some(checksum.finish().unwrap()));
        assert_eq!(Checksum::new("sha256").unwrap().finish().unwrap().len(), 32);
        assert!(Checksum::new("crc32").is_none());
        assert_eq!(Checksum::available().next(), Some("sha256"));
    }

    #[test]
    fn only_base64_is_decoded() {
        assert_eq!(decode_base64("YWI="), Some(b"ab".to_vec()));
        assert_eq!(decode_base64(""), Some(Vec::new()));
        for bad in ["YW I=", " YWI=", "YWI", "*", "\u{e9}===", "YWI=\n"] {
            assert_eq!(decode_base64(bad), None, "{bad}");
        }
    }
}
