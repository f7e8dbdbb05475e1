//! The names of key-exchange groups: IANA's "TLS Supported Groups", whatever OpenSSL calls them.

/// The groups that peers offer, by number. OpenSSL has no name for one that its context does not have.
const NUMBERS: [(u16, &str); 17] = [
    (23, "secp256r1"),
    (24, "secp384r1"),
    (25, "secp521r1"),
    (26, "brainpoolP256r1"),
    (27, "brainpoolP384r1"),
    (28, "brainpoolP512r1"),
    (29, "X25519"),
    (30, "X448"),
    (256, "ffdhe2048"),
    (257, "ffdhe3072"),
    (258, "ffdhe4096"),
    (512, "MLKEM512"),
    (513, "MLKEM768"),
    (514, "MLKEM1024"),
    (4587, "SecP256r1MLKEM768"),
    (4588, "X25519MLKEM768"),
    (4589, "SecP384r1MLKEM1024"),
];

/// The IANA name of a group that OpenSSL names like this: by another name, or `0x001d`.
pub(super) fn canonical_group(name: &str) -> String {
    match name {
        "x25519" => return "X25519".to_owned(),
        "x448" => return "X448".to_owned(),
        "prime256v1" => return "secp256r1".to_owned(),
        _ => {}
    }
    let number = name.strip_prefix("0x").and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let known = NUMBERS.iter().find(|(known, _)| Some(*known) == number);
    known.map_or(name, |(_, name)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_and_numbers_become_ianas_names_and_the_rest_stays() {
        for (openssl, iana) in [
            ("prime256v1", "secp256r1"),
            ("x25519", "X25519"),
            ("0x001d", "X25519"),
            ("0x11ec", "X25519MLKEM768"),
            ("X25519MLKEM768", "X25519MLKEM768"),
            ("0xfafa", "0xfafa"),
            ("0x", "0x"),
        ] {
            assert_eq!(canonical_group(openssl), iana);
        }
    }
}
