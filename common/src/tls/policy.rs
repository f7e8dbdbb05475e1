//! The named TLS policies: one table of parameters, used by both ends, and the only place that holds
//! them.
//!
//! | policy | source |
//! |---|---|
//! | `intermediate`, `modern` | Mozilla's server-side TLS guideline 6.0 (2026-04-06, `guidelines/6.0.json` of ssl-config-generator) |
//! | `fips` | SP 800-52r2; key establishment SP 800-56A r3 and SP 800-56C r2, FIPS 203; signatures FIPS 186-5, FIPS 204 |
//! | `cnsa1` | RFC 9151; certificates RFC 8603 |
//! | `cnsa2` | draft-becker-cnsa2-tls-profile-05 |
//!
//! Where this table has a name, OpenSSL must have it too: what the linked library cannot do is an error
//! that names it, never a silent fallback (`offer.rs`). The one exception is marked
//! [`Availability::WhereBuilt`].

use openssl::nid::Nid;
use std::fmt;
use std::str::FromStr;

/// The name of a set of TLS parameters.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Policy {
    /// Mozilla's "Modern": TLS 1.3 only, ECDSA certificates.
    Modern,
    /// Mozilla's "Intermediate": TLS 1.2 and 1.3 with forward secrecy and AEAD only.
    #[default]
    Intermediate,
    /// SP 800-52r2, with a proved FIPS module.
    Fips,
    /// CNSA 1.0 (RFC 9151): 192 bits.
    Cnsa1,
    /// CNSA 2.0: post-quantum only.
    Cnsa2,
}

impl Policy {
    /// Every policy, in the order in which they are listed to people.
    pub const ALL: [Self; 5] =
        [Self::Intermediate, Self::Modern, Self::Fips, Self::Cnsa1, Self::Cnsa2];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Intermediate => "intermediate",
            Self::Fips => "fips",
            Self::Cnsa1 => "cnsa1",
            Self::Cnsa2 => "cnsa2",
        }
    }

    /// The parameters of this policy.
    pub const fn parameters(self) -> &'static Parameters {
        match self {
            Self::Modern => &MODERN,
            Self::Intermediate => &INTERMEDIATE,
            Self::Fips => &FIPS,
            Self::Cnsa1 => &CNSA1,
            Self::Cnsa2 => &CNSA2,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL.into_iter().find(|policy| policy.name() == text).ok_or(UnknownPolicy)
    }
}

/// Text that names no policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownPolicy;

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a policy; the policies are ")?;
        for (at, policy) in Policy::ALL.into_iter().enumerate() {
            write!(f, "{}{policy}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownPolicy {}

/// What a policy allows. Anything that is not named here is refused.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parameters {
    /// Where the values come from.
    pub source: &'static str,
    /// The oldest protocol version; the newest is always TLS 1.3.
    pub oldest: Protocol,
    /// TLS 1.3 cipher suites, in order of preference.
    pub suites: &'static [&'static str],
    /// TLS 1.2 cipher suites by their OpenSSL names; empty where TLS 1.2 is not allowed.
    pub ciphers: &'static [&'static str],
    /// Key-exchange groups, in order of preference.
    pub groups: &'static [Algorithm],
    /// Signature schemes of the handshake (RFC 8446 section 4.2.3).
    pub signatures: &'static [Algorithm],
    /// OpenSSL's security level: 2 is 112 bits, 3 is 128 bits (SSL_CTX_set_security_level(3)); it bounds
    /// the keys and digests of every certificate in a chain.
    pub security_level: u32,
    /// The keys of an end's own certificate.
    pub keys: Keys,
    /// The keys of its issuers, up to the root; `None` for whatever the security level allows.
    pub issuer_keys: Option<Keys>,
    /// The digests with which certificates may be signed; `None` for whatever the security level allows.
    /// ML-DSA and EdDSA have none of their own.
    pub certificate_digests: Option<&'static [Nid]>,
    /// The longest validity of a server's certificate, in days; `None` where the source sets none.
    pub lifetime_days: Option<u32>,
    /// Whether TLS 1.2 needs the extended master secret (RFC 7627).
    pub extended_master_secret: bool,
    /// Whether certificates must be verified: the policy is there to prove something.
    pub must_verify: bool,
    /// Whether everything must come from a proved FIPS module.
    pub fips_module: bool,
}

/// A protocol version that a policy may name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A group or a signature scheme, and when it is offered.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Algorithm {
    /// The name that OpenSSL knows it by.
    pub name: &'static str,
    /// Whether the policy can do without it.
    pub availability: Availability,
}

/// Whether a policy can do without an algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Availability {
    /// Without it the policy cannot be provided.
    Required,
    /// Offered wherever the linked OpenSSL, or the module, has it. Only post-quantum algorithms are of this
    /// kind: Mozilla's generator leaves X25519MLKEM768 out for OpenSSL before 3.5.
    WhereBuilt,
}

/// The kinds of keys that certificates may have.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// The smallest RSA key in bits; `None` where RSA is not allowed.
    pub rsa_bits: Option<u32>,
    /// The smallest public exponent of RSA keys.
    pub rsa_exponent: u32,
    /// The curves of ECDSA keys.
    pub curves: &'static [Nid],
    /// The parameter sets of ML-DSA keys, by the names of FIPS 204.
    pub ml_dsa: &'static [&'static str],
}

const fn required(name: &'static str) -> Algorithm {
    Algorithm { name, availability: Availability::Required }
}

const fn where_built(name: &'static str) -> Algorithm {
    Algorithm { name, availability: Availability::WhereBuilt }
}

const SUITES: &[&str] =
    &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

const GROUPS: &[Algorithm] = &[
    where_built("X25519MLKEM768"),
    where_built("SecP256r1MLKEM768"),
    required("X25519"),
    required("prime256v1"),
    required("secp384r1"),
];

/// Everything RFC 8446 section 4.2.3 lists without SHA-1, so that any chain above the security level
/// can be checked; which *keys* an end may have is a separate rule.
const SIGNATURES: &[Algorithm] = &[
    required("ecdsa_secp256r1_sha256"),
    required("ecdsa_secp384r1_sha384"),
    required("ecdsa_secp521r1_sha512"),
    required("ed25519"),
    required("rsa_pss_rsae_sha256"),
    required("rsa_pss_rsae_sha384"),
    required("rsa_pss_rsae_sha512"),
    required("rsa_pss_pss_sha256"),
    required("rsa_pss_pss_sha384"),
    required("rsa_pss_pss_sha512"),
    required("rsa_pkcs1_sha256"),
    required("rsa_pkcs1_sha384"),
    required("rsa_pkcs1_sha512"),
];

const SHA2: &[Nid] = &[Nid::SHA256, Nid::SHA384, Nid::SHA512];

/// The smallest public exponent of RSA that FIPS 186-5 section 5.1 allows is the one above 2^16, 65537.
const APPROVED_EXPONENT: u32 = 65537;

/// The smallest public exponent of RSA at all (RFC 8017 section 3.1).
const ANY_EXPONENT: u32 = 3;

const MOZILLA_CURVES: &[Nid] = &[Nid::X9_62_PRIME256V1, Nid::SECP384R1];

static MODERN: Parameters = Parameters {
    source: "Mozilla guideline 6.0, modern",
    oldest: Protocol::Tls13,
    suites: SUITES,
    ciphers: &[],
    groups: GROUPS,
    signatures: SIGNATURES,
    security_level: 2,
    keys: Keys { rsa_bits: None, rsa_exponent: ANY_EXPONENT, curves: MOZILLA_CURVES, ml_dsa: &[] },
    issuer_keys: None,
    certificate_digests: Some(SHA2),
    lifetime_days: Some(90),
    extended_master_secret: false,
    must_verify: false,
    fips_module: false,
};

static INTERMEDIATE: Parameters = Parameters {
    source: "Mozilla guideline 6.0, intermediate",
    oldest: Protocol::Tls12,
    suites: SUITES,
    ciphers: &[
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ],
    groups: GROUPS,
    signatures: SIGNATURES,
    security_level: 2,
    keys: Keys {
        rsa_bits: Some(2048),
        rsa_exponent: ANY_EXPONENT,
        curves: MOZILLA_CURVES,
        ml_dsa: &[],
    },
    issuer_keys: None,
    certificate_digests: Some(SHA2),
    lifetime_days: Some(366),
    extended_master_secret: false,
    must_verify: false,
    fips_module: false,
};

/// The keys of FIPS 186-5 at 112 bits and above, and of FIPS 204.
const FIPS_KEYS: Keys = Keys {
    rsa_bits: Some(2048),
    rsa_exponent: APPROVED_EXPONENT,
    curves: &[Nid::X9_62_PRIME256V1, Nid::SECP384R1, Nid::SECP521R1],
    ml_dsa: &["ML-DSA-44", "ML-DSA-65", "ML-DSA-87"],
};

static FIPS: Parameters = Parameters {
    source: "SP 800-52r2",
    oldest: Protocol::Tls12,
    suites: &["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"],
    ciphers: &[
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-GCM-SHA256",
    ],
    // A hybrid is approved when one of its parts is (SP 800-56C r2 section 2); X25519 alone is not.
    groups: &[
        where_built("X25519MLKEM768"),
        where_built("SecP256r1MLKEM768"),
        where_built("SecP384r1MLKEM1024"),
        where_built("MLKEM1024"),
        required("prime256v1"),
        required("secp384r1"),
        required("secp521r1"),
    ],
    signatures: &[
        where_built("mldsa44"),
        where_built("mldsa65"),
        where_built("mldsa87"),
        required("ecdsa_secp256r1_sha256"),
        required("ecdsa_secp384r1_sha384"),
        required("ecdsa_secp521r1_sha512"),
        required("rsa_pss_rsae_sha256"),
        required("rsa_pss_rsae_sha384"),
        required("rsa_pss_rsae_sha512"),
        required("rsa_pss_pss_sha256"),
        required("rsa_pss_pss_sha384"),
        required("rsa_pss_pss_sha512"),
        required("rsa_pkcs1_sha256"),
        required("rsa_pkcs1_sha384"),
        required("rsa_pkcs1_sha512"),
    ],
    security_level: 2,
    keys: FIPS_KEYS,
    issuer_keys: Some(FIPS_KEYS),
    certificate_digests: Some(SHA2),
    lifetime_days: None,
    // FIPS 140-3 IG D.Q: without it the key derivation of TLS 1.2 is not approved.
    extended_master_secret: true,
    must_verify: true,
    fips_module: true,
};

/// RFC 8603 section 4: RSA from 3072 bits, ECDSA on P-384.
const CNSA1_KEYS: Keys = Keys {
    rsa_bits: Some(3072),
    rsa_exponent: APPROVED_EXPONENT,
    curves: &[Nid::SECP384R1],
    ml_dsa: &[],
};

static CNSA1: Parameters = Parameters {
    source: "CNSA 1.0, RFC 9151",
    oldest: Protocol::Tls12,
    suites: &["TLS_AES_256_GCM_SHA384"],
    ciphers: &["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"],
    groups: &[required("secp384r1")],
    signatures: &[
        required("ecdsa_secp384r1_sha384"),
        required("rsa_pss_pss_sha384"),
        required("rsa_pss_rsae_sha384"),
        required("rsa_pkcs1_sha384"),
    ],
    security_level: 3,
    keys: CNSA1_KEYS,
    issuer_keys: Some(CNSA1_KEYS),
    certificate_digests: Some(&[Nid::SHA384, Nid::SHA512]),
    lifetime_days: None,
    extended_master_secret: false,
    must_verify: true,
    fips_module: false,
};

const CNSA2_KEYS: Keys =
    Keys { rsa_bits: None, rsa_exponent: APPROVED_EXPONENT, curves: &[], ml_dsa: &["ML-DSA-87"] };

static CNSA2: Parameters = Parameters {
    source: "CNSA 2.0, draft-becker-cnsa2-tls-profile-05",
    oldest: Protocol::Tls13,
    suites: &["TLS_AES_256_GCM_SHA384"],
    ciphers: &[],
    // Pure: the draft does not call a hybrid compliant.
    groups: &[required("MLKEM1024")],
    signatures: &[required("mldsa87")],
    security_level: 3,
    keys: CNSA2_KEYS,
    issuer_keys: Some(CNSA2_KEYS),
    certificate_digests: Some(&[]),
    lifetime_days: None,
    extended_master_secret: false,
    must_verify: true,
    fips_module: false,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for policy in Policy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
        }
        assert_eq!("Modern".parse::<Policy>(), Err(UnknownPolicy));
    }

    #[test]
    fn tls_1_2_has_suites_exactly_where_it_is_allowed() {
        for policy in Policy::ALL {
            let parameters = policy.parameters();
            assert_eq!(parameters.ciphers.is_empty(), parameters.oldest == Protocol::Tls13);
        }
    }
}
