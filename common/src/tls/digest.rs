//! The SHA-256 of settings, to tell whether two contexts have the same.

use openssl::error::ErrorStack;
use openssl::hash::{Hasher, MessageDigest};

/// A digest of fields, each with its name and its length, so that no two lists of fields run together
/// into the same bytes.
pub(super) struct Digest(Hasher);

impl Digest {
    pub(super) fn new() -> Result<Self, ErrorStack> {
        Hasher::new(MessageDigest::sha256()).map(Self)
    }

    /// Adds a field.
    pub(super) fn add(&mut self, name: &str, value: &[u8]) -> Result<(), ErrorStack> {
        for part in [name.as_bytes(), value] {
            self.0.update(&(part.len() as u64).to_be_bytes())?;
            self.0.update(part)?;
        }
        Ok(())
    }

    /// The digest of all fields.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, ErrorStack> {
        Ok(self.0.finish()?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &[u8])]) -> Vec<u8> {
        let mut digest = Digest::new().unwrap();
        for (name, value) in fields {
            digest.add(name, value).unwrap();
        }
        digest.finish().unwrap()
    }

    #[test]
    fn fields_do_not_run_together() {
        let fields: &[(&str, &[u8])] = &[("a", b"bc"), ("d", b"")];
        assert_eq!(of(fields), of(fields));
        assert_eq!(of(fields).len(), 32);
        for other in
            [&[("ab", &b"c"[..]), ("d", b"")][..], &[("a", b"b"), ("cd", b"")], &[("a", b"bc")]]
        {
            assert_ne!(of(fields), of(other), "{other:?}");
        }
    }
}
