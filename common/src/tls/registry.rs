//! The numbers of TLS and their names: versions, cipher suites, groups, signature schemes.
//!
//! All are from IANA's "Transport Layer Security (TLS) Parameters". What the linked OpenSSL can do has
//! no influence here: an endpoint is asked for everything that has a number.

mod suites;

use serde::{Serialize, Serializer};
use std::fmt;

/// A protocol version by its number on the wire.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version(pub u16);

impl Version {
    /// RFC 6101.
    pub const SSL3: Self = Self(0x0300);
    /// RFC 2246.
    pub const TLS10: Self = Self(0x0301);
    /// RFC 4346.
    pub const TLS11: Self = Self(0x0302);
    /// RFC 5246.
    pub const TLS12: Self = Self(0x0303);
    /// RFC 8446.
    pub const TLS13: Self = Self(0x0304);

    /// Those that are asked for, oldest first.
    pub const ALL: [Self; 5] = [Self::SSL3, Self::TLS10, Self::TLS11, Self::TLS12, Self::TLS13];

    /// `TLSv1.2`, as in a session's facts; `None` for a number that is no version.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::SSL3 => Some("SSLv3"),
            Self::TLS10 => Some("TLSv1.0"),
            Self::TLS11 => Some("TLSv1.1"),
            Self::TLS12 => Some("TLSv1.2"),
            Self::TLS13 => Some("TLSv1.3"),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:04x}", self.0),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A cipher suite.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Suite {
    /// Its number.
    pub id: u16,
    /// IANA's name; for a number without one, `0x` and the number.
    pub iana: &'static str,
    /// OpenSSL's name, if it has one.
    pub openssl: Option<&'static str>,
}

impl Suite {
    /// The suite of a number.
    pub fn of(id: u16) -> Option<Self> {
        let at = suites::SUITES.binary_search_by_key(&id, |suite| suite.0).ok()?;
        suites::SUITES.get(at).map(|suite| Self::from_row(*suite))
    }

    /// Every suite that can be asked for.
    pub fn all() -> impl Iterator<Item = Self> {
        suites::SUITES.into_iter().map(Self::from_row)
    }

    fn from_row((id, iana, openssl): (u16, &'static str, &'static str)) -> Self {
        Self { id, iana, openssl: Some(openssl).filter(|name| !name.is_empty()) }
    }

    /// Whether it is one of TLS 1.3's, which name no key exchange (RFC 8446 appendix B.4).
    pub fn is_tls13(self) -> bool {
        !self.iana.contains("_WITH_")
    }

    /// Whether a version can use it: AEAD and digests other than MD5 and SHA-1 came with TLS 1.2.
    pub fn fits(self, version: Version) -> bool {
        const TLS12_ONLY: [&str; 6] = ["GCM", "CCM", "SHA256", "SHA384", "OMAC", "IMIT"];
        match version {
            Version::TLS13 => self.is_tls13(),
            Version::TLS12 => !self.is_tls13(),
            _ => !self.is_tls13() && !TLS12_ONLY.iter().any(|part| self.iana.contains(part)),
        }
    }

    fn key_exchange(self) -> &'static str {
        let name = self.iana.strip_prefix("TLS_").unwrap_or(self.iana);
        name.split_once("_WITH_").map_or("", |(exchange, _)| exchange)
    }

    /// Whether a recorded session stays secret when the server's key is stolen: an ephemeral key
    /// exchange (RFC 9325 section 4.1).
    pub fn has_forward_secrecy(self) -> bool {
        let exchange = self.key_exchange();
        // Export suites are ephemeral with keys that a laptop breaks.
        let ephemeral = exchange.starts_with("ECDHE_") || exchange.starts_with("DHE_");
        self.is_tls13() || ephemeral && !exchange.contains("EXPORT")
    }

    /// Whether the server's key exchange message names a group ([`Group`]).
    pub fn is_ecdhe(self) -> bool {
        let exchange = self.key_exchange();
        matches!(exchange, "ECDHE_RSA" | "ECDHE_ECDSA" | "ECDH_anon")
    }

    /// Whether the server's key exchange message has parameters of its own choice.
    pub fn is_dhe(self) -> bool {
        let exchange = self.key_exchange();
        matches!(exchange, "DHE_RSA" | "DHE_DSS" | "DH_anon")
    }

    /// Whether the server's key exchange message is signed with the key of an RSA certificate.
    pub fn signs_with_rsa(self) -> bool {
        matches!(self.key_exchange(), "ECDHE_RSA" | "DHE_RSA")
    }

    /// Whether it is signed with the key of an ECDSA (or EdDSA, RFC 8422) certificate.
    pub fn signs_with_ecdsa(self) -> bool {
        self.key_exchange() == "ECDHE_ECDSA"
    }

    /// Whether the server authenticates with a certificate.
    pub fn has_certificate(self) -> bool {
        let exchange = self.key_exchange();
        let without = exchange.contains("anon")
            || matches!(exchange, "PSK" | "DHE_PSK" | "ECDHE_PSK" | "SRP_SHA");
        !self.is_tls13() && !without
    }

    /// What is wrong with it, if something is, in a few words.
    pub fn weakness(self) -> Option<&'static str> {
        let exchange = self.key_exchange();
        let has = |part: &str| self.iana.contains(part);
        Some(match () {
            () if has("_NULL_") => "no encryption",
            () if exchange.contains("anon") => "no authentication",
            () if has("EXPORT") => "export grade",
            () if has("_RC4_") => "RC4 (RFC 7465)",
            () if has("_RC2_") || has("WITH_DES_") => "56 bits or less",
            () if has("3DES") || has("IDEA") || has("28147") || has("MAGMA") => {
                "blocks of 64 bits (Sweet32)"
            }
            () if has("_MD5") => "MD5",
            () if self.is_tls13() => return None,
            () if !self.has_forward_secrecy() => "no forward secrecy",
            () if has("_CBC_") => "CBC",
            () => return None,
        })
    }

    /// Whether nearly every server that speaks TLS at all has one of these.
    pub fn is_common(self) -> bool {
        let exchange =
            matches!(self.key_exchange(), "RSA" | "ECDHE_RSA" | "ECDHE_ECDSA" | "DHE_RSA");
        let cipher = ["_AES_", "CHACHA20", "3DES", "RC4_128"].iter().any(|c| self.iana.contains(c));
        exchange && cipher && !self.iana.contains("CCM")
    }
}

/// A named group (RFC 8446 section 4.2.7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Group {
    /// Its number.
    pub id: u16,
    /// The name of a session's facts: IANA's, with X25519 and X448 as their RFC writes them.
    pub name: &'static str,
    /// OpenSSL's name, which is the policies'.
    pub openssl: &'static str,
    /// Whether it is for TLS 1.3, for older versions, or both.
    pub scope: Scope,
}

/// Which versions a number is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// TLS 1.3 only.
    Tls13,
    /// TLS 1.2 (and older) only.
    Tls12,
    /// Both.
    Both,
}

impl Scope {
    fn covers(self, version: Version) -> bool {
        match self {
            Self::Both => true,
            Self::Tls13 => version == Version::TLS13,
            Self::Tls12 => version != Version::TLS13,
        }
    }
}

const fn group(id: u16, name: &'static str, openssl: &'static str, scope: Scope) -> Group {
    Group { id, name, openssl, scope }
}

/// IANA "TLS Supported Groups": RFC 8446, 8422, 7919, 7027, 8734, 8998, draft-ietf-tls-mlkem and
/// draft-ietf-tls-ecdhe-mlkem; the last is a draft of the latter that was deployed widely.
pub const GROUPS: [Group; 48] = [
    group(0x11ec, "X25519MLKEM768", "X25519MLKEM768", Scope::Tls13),
    group(0x11eb, "SecP256r1MLKEM768", "SecP256r1MLKEM768", Scope::Tls13),
    group(0x11ed, "SecP384r1MLKEM1024", "SecP384r1MLKEM1024", Scope::Tls13),
    group(0x11ee, "curveSM2MLKEM768", "curveSM2MLKEM768", Scope::Tls13),
    group(0x0200, "MLKEM512", "MLKEM512", Scope::Tls13),
    group(0x0201, "MLKEM768", "MLKEM768", Scope::Tls13),
    group(0x0202, "MLKEM1024", "MLKEM1024", Scope::Tls13),
    group(29, "X25519", "X25519", Scope::Both),
    group(23, "secp256r1", "prime256v1", Scope::Both),
    group(30, "X448", "X448", Scope::Both),
    group(24, "secp384r1", "secp384r1", Scope::Both),
    group(25, "secp521r1", "secp521r1", Scope::Both),
    group(31, "brainpoolP256r1tls13", "brainpoolP256r1tls13", Scope::Tls13),
    group(32, "brainpoolP384r1tls13", "brainpoolP384r1tls13", Scope::Tls13),
    group(33, "brainpoolP512r1tls13", "brainpoolP512r1tls13", Scope::Tls13),
    group(26, "brainpoolP256r1", "brainpoolP256r1", Scope::Tls12),
    group(27, "brainpoolP384r1", "brainpoolP384r1", Scope::Tls12),
    group(28, "brainpoolP512r1", "brainpoolP512r1", Scope::Tls12),
    group(41, "curveSM2", "curveSM2", Scope::Tls13),
    group(256, "ffdhe2048", "ffdhe2048", Scope::Tls13),
    group(257, "ffdhe3072", "ffdhe3072", Scope::Tls13),
    group(258, "ffdhe4096", "ffdhe4096", Scope::Tls13),
    group(259, "ffdhe6144", "ffdhe6144", Scope::Tls13),
    group(260, "ffdhe8192", "ffdhe8192", Scope::Tls13),
    group(22, "secp256k1", "secp256k1", Scope::Tls12),
    group(21, "secp224r1", "secp224r1", Scope::Tls12),
    group(20, "secp224k1", "secp224k1", Scope::Tls12),
    group(19, "secp192r1", "prime192v1", Scope::Tls12),
    group(18, "secp192k1", "secp192k1", Scope::Tls12),
    group(17, "secp160r2", "secp160r2", Scope::Tls12),
    group(16, "secp160r1", "secp160r1", Scope::Tls12),
    group(15, "secp160k1", "secp160k1", Scope::Tls12),
    group(14, "sect571r1", "sect571r1", Scope::Tls12),
    group(13, "sect571k1", "sect571k1", Scope::Tls12),
    group(12, "sect409r1", "sect409r1", Scope::Tls12),
    group(11, "sect409k1", "sect409k1", Scope::Tls12),
    group(10, "sect283r1", "sect283r1", Scope::Tls12),
    group(9, "sect283k1", "sect283k1", Scope::Tls12),
    group(8, "sect239k1", "sect239k1", Scope::Tls12),
    group(7, "sect233r1", "sect233r1", Scope::Tls12),
    group(6, "sect233k1", "sect233k1", Scope::Tls12),
    group(5, "sect193r2", "sect193r2", Scope::Tls12),
    group(4, "sect193r1", "sect193r1", Scope::Tls12),
    group(3, "sect163r2", "sect163r2", Scope::Tls12),
    group(2, "sect163r1", "sect163r1", Scope::Tls12),
    group(1, "sect163k1", "sect163k1", Scope::Tls12),
    group(0x6399, "X25519Kyber768Draft00", "x25519_kyber768", Scope::Tls13),
    group(0xfe30, "X25519Kyber512Draft00", "x25519_kyber512", Scope::Tls13),
];

impl Group {
    /// The group of a number.
    pub fn of(id: u16) -> Option<Self> {
        GROUPS.into_iter().find(|group| group.id == id)
    }

    /// The group that OpenSSL calls so, in upper or lower case.
    pub fn of_openssl(name: &str) -> Option<Self> {
        GROUPS.into_iter().find(|group| group.openssl.eq_ignore_ascii_case(name))
    }

    /// Those of a version.
    pub fn of_version(version: Version) -> impl Iterator<Item = Self> {
        GROUPS.into_iter().filter(move |group| group.scope.covers(version))
    }

    /// Whether recorded traffic withstands a quantum computer.
    pub fn is_post_quantum(self) -> bool {
        self.name.contains("MLKEM") || self.name.contains("Kyber")
    }
}

/// IANA's name of a group that OpenSSL names like this: by a name of its own, in lower case, or, where its
/// context does not have the group, by number (`0x001d`).
pub(super) fn canonical_group(openssl: &str) -> String {
    let digits = openssl.strip_prefix("0x");
    let id = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let group = Group::of_openssl(openssl).or_else(|| id.and_then(Group::of));
    group.map_or(openssl, |group| group.name).to_owned()
}

/// A signature scheme (RFC 8446 section 4.2.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scheme {
    /// Its number.
    pub id: u16,
    /// IANA's name, or in its style where TLS 1.2 has a number without one. Ours and OpenSSL's as well.
    pub name: &'static str,
    /// Which versions may sign a handshake with it.
    pub scope: Scope,
}

const fn scheme(id: u16, name: &'static str, scope: Scope) -> Scheme {
    Scheme { id, name, scope }
}

/// IANA "TLS SignatureScheme" (RFC 8446, 8998, 8734, draft-ietf-tls-mldsa), and TLS 1.2's pairs of digest
/// and key (RFC 5246 section 7.4.1.4.1) that have no name there. RSASSA-PKCS1-v1_5 signs no TLS 1.3
/// handshake.
pub const SCHEMES: [Scheme; 32] = [
    scheme(0x0904, "mldsa44", Scope::Tls13),
    scheme(0x0905, "mldsa65", Scope::Tls13),
    scheme(0x0906, "mldsa87", Scope::Tls13),
    scheme(0x0403, "ecdsa_secp256r1_sha256", Scope::Both),
    scheme(0x0503, "ecdsa_secp384r1_sha384", Scope::Both),
    scheme(0x0603, "ecdsa_secp521r1_sha512", Scope::Both),
    scheme(0x0807, "ed25519", Scope::Both),
    scheme(0x0808, "ed448", Scope::Both),
    scheme(0x081a, "ecdsa_brainpoolP256r1tls13_sha256", Scope::Tls13),
    scheme(0x081b, "ecdsa_brainpoolP384r1tls13_sha384", Scope::Tls13),
    scheme(0x081c, "ecdsa_brainpoolP512r1tls13_sha512", Scope::Tls13),
    scheme(0x0708, "sm2sig_sm3", Scope::Tls13),
    scheme(0x0804, "rsa_pss_rsae_sha256", Scope::Both),
    scheme(0x0805, "rsa_pss_rsae_sha384", Scope::Both),
    scheme(0x0806, "rsa_pss_rsae_sha512", Scope::Both),
    scheme(0x0809, "rsa_pss_pss_sha256", Scope::Both),
    scheme(0x080a, "rsa_pss_pss_sha384", Scope::Both),
    scheme(0x080b, "rsa_pss_pss_sha512", Scope::Both),
    scheme(0x0401, "rsa_pkcs1_sha256", Scope::Tls12),
    scheme(0x0501, "rsa_pkcs1_sha384", Scope::Tls12),
    scheme(0x0601, "rsa_pkcs1_sha512", Scope::Tls12),
    scheme(0x0301, "rsa_pkcs1_sha224", Scope::Tls12),
    scheme(0x0303, "ecdsa_sha224", Scope::Tls12),
    scheme(0x0201, "rsa_pkcs1_sha1", Scope::Tls12),
    scheme(0x0203, "ecdsa_sha1", Scope::Tls12),
    scheme(0x0101, "rsa_pkcs1_md5", Scope::Tls12),
    scheme(0x0103, "ecdsa_md5", Scope::Tls12),
    scheme(0x0602, "dsa_sha512", Scope::Tls12),
    scheme(0x0502, "dsa_sha384", Scope::Tls12),
    scheme(0x0402, "dsa_sha256", Scope::Tls12),
    scheme(0x0302, "dsa_sha224", Scope::Tls12),
    scheme(0x0202, "dsa_sha1", Scope::Tls12),
];

impl Scheme {
    /// The scheme of a number.
    pub fn of(id: u16) -> Option<Self> {
        SCHEMES.into_iter().find(|scheme| scheme.id == id)
    }

    /// Those of a version.
    pub fn of_version(version: Version) -> impl Iterator<Item = Self> {
        SCHEMES.into_iter().filter(move |scheme| scheme.scope.covers(version))
    }

    /// The kind of key that signs with it.
    pub fn family(self) -> &'static str {
        match self.name {
            name if name.starts_with("rsa_pss_pss") => "rsa-pss",
            name if name.starts_with("rsa") => "rsa",
            name if name.starts_with("ecdsa") => "ecdsa",
            name if name.starts_with("mldsa") => "mldsa",
            name if name.starts_with("dsa") => "dsa",
            name if name.starts_with("sm2") => "sm2",
            _ => "eddsa",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use openssl::ssl::{Ssl, SslContext, SslMethod};
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_names_are_there_once_and_in_order() {
        assert!(suites::SUITES.is_sorted_by(|a, b| a.0 < b.0));
        let names: BTreeSet<&str> = Suite::all().map(|suite| suite.iana).collect();
        assert_eq!(names.len(), suites::SUITES.len());
        let groups: BTreeSet<u16> = GROUPS.iter().map(|group| group.id).collect();
        assert_eq!(groups.len(), GROUPS.len());
        let schemes: BTreeSet<u16> = SCHEMES.iter().map(|scheme| scheme.id).collect();
        assert_eq!(schemes.len(), SCHEMES.len());
    }

    #[test]
    fn groups_have_ianas_names_and_what_is_unknown_stays() {
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

    #[test]
    fn the_names_are_those_that_the_linked_openssl_has() {
        let ssl = Ssl::new(&SslContext::builder(SslMethod::tls()).unwrap().build()).unwrap();
        let wire: Vec<u8> = Suite::all().flat_map(|suite| suite.id.to_be_bytes()).collect();
        let known = ssl.bytes_to_cipher_list(&wire, false).unwrap().suites;
        assert!(known.len() > 100, "{}", known.len());
        for cipher in &known {
            let suite = Suite::of(u16::from_be_bytes(cipher.protocol_id())).unwrap();
            // OpenSSL does not tell the names of all.
            assert_eq!(suite.iana, cipher.standard_name().unwrap_or(suite.iana));
            assert_eq!(suite.openssl, Some(cipher.name()));
        }
    }

    #[test]
    fn what_a_suite_is_is_told_from_its_name() {
        let suite = |name: &str| Suite::all().find(|suite| suite.iana == name).unwrap();
        let good = suite("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert!(good.has_forward_secrecy() && good.is_ecdhe() && good.weakness().is_none());
        assert!(good.fits(Version::TLS12) && !good.fits(Version::TLS11) && good.signs_with_rsa());
        for (name, weakness) in [
            ("TLS_RSA_WITH_AES_128_GCM_SHA256", "no forward secrecy"),
            ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "CBC"),
            ("TLS_ECDHE_RSA_WITH_NULL_SHA", "no encryption"),
            ("TLS_DH_anon_WITH_AES_128_CBC_SHA", "no authentication"),
            ("TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA", "blocks of 64 bits (Sweet32)"),
            ("TLS_DHE_RSA_EXPORT_WITH_DES40_CBC_SHA", "export grade"),
        ] {
            assert_eq!(suite(name).weakness(), Some(weakness), "{name}");
        }
        assert!(!suite("TLS_DHE_RSA_EXPORT_WITH_DES40_CBC_SHA").has_forward_secrecy());
        let new = suite("TLS_AES_128_GCM_SHA256");
        assert!(new.fits(Version::TLS13) && !new.fits(Version::TLS12) && new.weakness().is_none());
    }
}
