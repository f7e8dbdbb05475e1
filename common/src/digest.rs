//! SHA-256 of content, and the fields of RFC 9530 that carry it between the two ends.
//!
//! A digest is computed while the content passes, never in a second pass over it: a [`Hasher`] stands
//! beside whatever is read or written. With FIPS it is the module's, like everything else.
//!
//! ```
//! use sealpair_common::digest::{Hasher, Sha256};
//! let mut hasher = Hasher::new()?;
//! hasher.update(b"hello")?;
//! let digest = hasher.finish()?;
//! assert_eq!(digest.to_field(), "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:");
//! assert_eq!(Sha256::in_field(digest.to_field())?, Some(digest));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use openssl::error::ErrorStack;
use openssl::hash::{self, MessageDigest};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use std::fmt;
use std::io;
use std::str::FromStr;

/// The name of SHA-256 in digest fields (RFC 9530 section 5).
const SHA_256: &str = "sha-256";

/// A SHA-256 digest (FIPS 180-4). It is displayed as 64 hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// A digest of its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of bytes that are in memory.
    ///
    /// # Errors
    ///
    /// As [`Hasher::new`].
    pub fn of(bytes: impl AsRef<[u8]>) -> io::Result<Self> {
        let mut hasher = Hasher::new()?;
        hasher.update(bytes.as_ref())?;
        hasher.finish()
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The value of a `Repr-Digest` or `Content-Digest` field: `sha-256=:BASE64:`.
    pub fn to_field(&self) -> String {
        format!("{SHA_256}=:{}:", openssl::base64::encode_block(&self.0))
    }

    /// The digest in the value of a `Repr-Digest` or `Content-Digest` field, with several lines joined
    /// by commas; `None` where the field has other algorithms only.
    ///
    /// # Errors
    ///
    /// [`MalformedField`] for what is no dictionary (RFC 9651 section 3.2), or has a SHA-256 that is not
    /// one: whoever sent it wanted something to be checked.
    pub fn in_field(field: impl AsRef<[u8]>) -> Result<Option<Self>, MalformedField> {
        match dictionary(field.as_ref())?.get(SHA_256) {
            None => Ok(None),
            Some(ListEntry::Item(item)) => match &item.bare_item {
                BareItem::ByteSequence(bytes) => {
                    let bytes = bytes.as_slice().try_into().map_err(|_| MalformedField)?;
                    Ok(Some(Self(bytes)))
                }
                _ => Err(MalformedField),
            },
            Some(ListEntry::InnerList(_)) => Err(MalformedField),
        }
    }
}

/// Whether the value of a `Want-Repr-Digest` or `Want-Content-Digest` field asks for SHA-256: with a
/// preference from 1 to 10 (RFC 9530 section 4). What is malformed asks for nothing.
pub fn is_wanted(field: impl AsRef<[u8]>) -> bool {
    let Ok(dictionary) = dictionary(field.as_ref()) else {
        return false;
    };
    match dictionary.get(SHA_256) {
        Some(ListEntry::Item(item)) => {
            matches!(item.bare_item, BareItem::Integer(preference)
                if (1..=10).contains(&i64::from(preference)))
        }
        _ => false,
    }
}

fn dictionary(field: &[u8]) -> Result<Dictionary, MalformedField> {
    Parser::new(field).parse().map_err(|_| MalformedField)
}

/// The value of a digest field cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MalformedField;

impl fmt::Display for MalformedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the digest field is malformed (RFC 9530 section 2)")
    }
}

impl std::error::Error for MalformedField {}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = NotADigest;

    /// Reads 64 hexadecimal digits, as sha256sum(1) prints them.
    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(NotADigest);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| pair.get(at).and_then(|&digit| char::from(digit).to_digit(16));
            let (high, low) = digit(0).zip(digit(1)).ok_or(NotADigest)?;
            *byte = u8::try_from(high << 4 | low).map_err(|_| NotADigest)?;
        }
        Ok(Self(bytes))
    }
}

/// A text that is not a SHA-256 digest in hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotADigest;

impl fmt::Display for NotADigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not 64 hexadecimal digits, as sha256sum prints them")
    }
}

impl std::error::Error for NotADigest {}

/// Computes a [`Sha256`] of what passes. A clone goes on from the same state on its own.
#[derive(Clone)]
pub struct Hasher {
    hasher: hash::Hasher,
    length: u64,
}

impl Hasher {
    /// A hasher that has seen nothing.
    ///
    /// # Errors
    ///
    /// When OpenSSL has no SHA-256: a provider that could not be loaded.
    pub fn new() -> io::Result<Self> {
        let hasher = hash::Hasher::new(MessageDigest::sha256()).map_err(failed)?;
        Ok(Self { hasher, length: 0 })
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    ///
    /// When OpenSSL fails: a FIPS module that is in its error state.
    pub fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes).map_err(failed)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// How many bytes it has seen.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of everything that it has seen.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn finish(mut self) -> io::Result<Sha256> {
        let digest = self.hasher.finish().map_err(failed)?;
        let bytes = <[u8; 32]>::try_from(&*digest)
            .map_err(|_| io::Error::other("SHA-256 has another length"))?;
        Ok(Sha256(bytes))
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("length", &self.length).finish_non_exhaustive()
    }
}

fn failed(error: ErrorStack) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-4, example of one block: "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn of(pieces: &[&[u8]]) -> Sha256 {
        let mut hasher = Hasher::new().unwrap();
        pieces.iter().for_each(|piece| hasher.update(piece).unwrap());
        hasher.finish().unwrap()
    }

    #[test]
    fn it_is_sha_256_however_the_bytes_come() {
        assert_eq!(of(&[b"abc"]).to_string(), ABC);
        assert_eq!(of(&[b"a", b"", b"bc"]).to_string(), ABC);
        assert_ne!(of(&[b"abd"]).to_string(), ABC);
    }

    #[test]
    fn a_clone_goes_on_by_itself() {
        let mut first = Hasher::new().unwrap();
        first.update(b"ab").unwrap();
        let mut second = first.clone();
        second.update(b"c").unwrap();
        assert_eq!((first.length(), second.length()), (2, 3));
        assert_eq!(first.finish().unwrap(), of(&[b"ab"]));
        assert_eq!(second.finish().unwrap(), of(&[b"abc"]));
    }

    #[test]
    fn hexadecimal_digits_are_read_as_they_are_written() {
        let digest: Sha256 = ABC.parse().unwrap();
        assert_eq!(digest, of(&[b"abc"]));
        assert_eq!(ABC.to_uppercase().parse(), Ok(digest));
        for bad in
            ["", &ABC[1..], &format!("{ABC}0"), &ABC.replace('b', "g"), &ABC.replace("ba", "é")]
        {
            assert_eq!(bad.parse::<Sha256>(), Err(NotADigest), "{bad}");
        }
    }

    #[test]
    fn a_field_has_the_digest_or_another_or_is_malformed() {
        let digest = of(&[b"abc"]);
        let field = digest.to_field();
        assert_eq!(Sha256::in_field(&field), Ok(Some(digest)));
        assert_eq!(Sha256::in_field(format!("sha-512=:AAAA:, {field}")), Ok(Some(digest)));
        assert_eq!(Sha256::in_field("sha-512=:AAAA:"), Ok(None));
        assert_eq!(Sha256::in_field(""), Ok(None));
        for bad in ["sha-256=:AAAA:", "sha-256", "sha-256=1", "sha-256=(:AAAA:)", ",", "sha-256=:A"]
        {
            assert_eq!(Sha256::in_field(bad), Err(MalformedField), "{bad}");
        }
    }

    #[test]
    fn a_preference_above_zero_asks_for_it() {
        for wanted in ["sha-256=1", "sha-512=3, sha-256=10", "sha-256=5, unixsum=0"] {
            assert!(is_wanted(wanted), "{wanted}");
        }
        for not in
            ["sha-256=0", "sha-256=11", "sha-256=-1", "sha-512=1", "sha-256", "", "sha-256=?1"]
        {
            assert!(!is_wanted(not), "{not}");
        }
    }
}
