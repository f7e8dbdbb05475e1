//! Numbers that nobody can foresee.

use std::io;

/// Random bytes of OpenSSL's public generator (RAND_bytes(3)); with FIPS it is the module's.
///
/// # Errors
///
/// When the generator has no entropy, or is in its error state.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    openssl::rand::rand_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// So many of them, as twice as many hexadecimal digits.
///
/// # Errors
///
/// As [`bytes`].
pub fn digits<const N: usize>() -> io::Result<String> {
    Ok(bytes::<N>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_are_the_same() {
        assert_ne!(super::bytes::<16>().unwrap(), super::bytes::<16>().unwrap());
    }
}
