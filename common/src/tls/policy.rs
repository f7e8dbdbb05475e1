//! The named TLS policies: one table of parameters, used by both ends, and the only place that holds
//! them.
//!
//! `modern` and `intermediate` are Mozilla's server-side TLS guideline 6.0 (2026-04-06,
//! `guidelines/6.0.json` of ssl-config-generator). Where this table has a name, OpenSSL must have it
//! too: what the linked library cannot do is an error that names it, never a silent fallback. The one
//! exception is marked [`Availability::WhereBuilt`].

use super::error::ConfigError;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKeyRef, Public};
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslOptions, SslVersion};
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
    /// SP 800-52r2 with a FIPS module.
    Fips,
    /// CNSA 1.0 (RFC 9151).
    Cnsa1,
    /// CNSA 2.0.
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
    ///
    /// # Errors
    ///
    /// [`ConfigError::PolicyNotBuilt`] for a policy that this version does not have yet.
    pub fn parameters(self) -> Result<&'static Parameters, ConfigError> {
        match self {
            Self::Modern => Ok(&MODERN),
            Self::Intermediate => Ok(&INTERMEDIATE),
            Self::Fips | Self::Cnsa1 | Self::Cnsa2 => Err(ConfigError::PolicyNotBuilt(self)),
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
    pub groups: &'static [Group],
    /// Signature schemes, for the handshake and for certificates.
    pub signatures: &'static [&'static str],
    /// OpenSSL's security level: 2 is 112 bits (SSL_CTX_set_security_level(3)); it bounds the keys
    /// and digests of every certificate in a chain.
    pub security_level: u32,
    /// The smallest RSA key of an end's own certificate in bits; `None` where RSA is not allowed.
    pub rsa_bits: Option<u32>,
    /// The curves an end's own certificate may have.
    pub curves: &'static [Nid],
    /// The longest lifetime of a server certificate that the source recommends, in days.
    pub lifetime_days: u32,
}

/// A protocol version that a policy may name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A key-exchange group and when it is offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Group {
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
    /// Offered wherever the linked OpenSSL has it. Only post-quantum hybrids are of this kind: Mozilla's
    /// generator leaves X25519MLKEM768 out for OpenSSL before 3.5.
    WhereBuilt,
}

const fn required(name: &'static str) -> Group {
    Group { name, availability: Availability::Required }
}

const fn where_built(name: &'static str) -> Group {
    Group { name, availability: Availability::WhereBuilt }
}

const SUITES: &[&str] =
    &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

const GROUPS: &[Group] = &[
    where_built("X25519MLKEM768"),
    where_built("SecP256r1MLKEM768"),
    required("X25519"),
    required("prime256v1"),
    required("secp384r1"),
];

/// Everything RFC 8446 section 4.2.3 lists without SHA-1, so that any chain above the security level
/// can be checked; which *keys* an end may have is a separate rule.
const SIGNATURES: &[&str] = &[
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512",
    "ed25519",
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
    "rsa_pss_pss_sha256",
    "rsa_pss_pss_sha384",
    "rsa_pss_pss_sha512",
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha384",
    "rsa_pkcs1_sha512",
];

const CURVES: &[Nid] = &[Nid::X9_62_PRIME256V1, Nid::SECP384R1];

static MODERN: Parameters = Parameters {
    source: "Mozilla guideline 6.0, modern",
    oldest: Protocol::Tls13,
    suites: SUITES,
    ciphers: &[],
    groups: GROUPS,
    signatures: SIGNATURES,
    security_level: 2,
    rsa_bits: None,
    curves: CURVES,
    lifetime_days: 90,
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
    rsa_bits: Some(2048),
    curves: CURVES,
    lifetime_days: 366,
};

impl Parameters {
    /// Whether a certificate with this key may be presented under the policy. The answer says what is
    /// allowed instead.
    ///
    /// # Errors
    ///
    /// A sentence for a person: which key this is, and which keys the policy allows.
    pub fn check_key(&self, key: &PKeyRef<Public>) -> Result<(), String> {
        let found = match key.id() {
            Id::RSA | Id::RSA_PSS => {
                let bits = key.bits();
                if self.rsa_bits.is_some_and(|least| bits >= least) {
                    return Ok(());
                }
                format!("an RSA key of {bits} bits")
            }
            Id::EC => {
                let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
                if curve.is_some_and(|curve| self.curves.contains(&curve)) {
                    return Ok(());
                }
                let name = curve.and_then(|curve| curve.long_name().ok()).unwrap_or("unnamed");
                format!("an ECDSA key on the curve {name}")
            }
            Id::ED25519 => "an Ed25519 key".to_owned(),
            Id::ED448 => "an Ed448 key".to_owned(),
            Id::DSA => "a DSA key".to_owned(),
            other => format!("a key of type {}", other.as_raw()),
        };
        let rsa = self.rsa_bits.map(|bits| format!(" or RSA from {bits} bits")).unwrap_or_default();
        Err(format!("it has {found}; {} allows ECDSA on P-256 or P-384{rsa}", self.source))
    }

    /// Puts the parameters into a context.
    ///
    /// # Errors
    ///
    /// [`ConfigError::PolicyUnavailable`] with the names that the linked OpenSSL does not have.
    pub(super) fn apply(
        &self,
        policy: Policy,
        context: &mut SslContextBuilder,
    ) -> Result<(), ConfigError> {
        // One context to try all names on.
        let mut probe = probe()?;
        let groups = self.groups_built_in(&mut probe);
        self.try_apply(context, &groups).map_err(|cause| match self.missing(&mut probe) {
            missing if missing.is_empty() => ConfigError::Library(cause),
            missing => ConfigError::PolicyUnavailable { policy, missing },
        })?;
        // set_cipher_list skips names it does not know as long as it knows one of them.
        let missing = self.missing_ciphers(&mut probe);
        if missing.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::PolicyUnavailable { policy, missing })
        }
    }

    fn try_apply(&self, context: &mut SslContextBuilder, groups: &str) -> Result<(), ErrorStack> {
        let oldest = match self.oldest {
            Protocol::Tls12 => SslVersion::TLS1_2,
            Protocol::Tls13 => SslVersion::TLS1_3,
        };
        context.set_min_proto_version(Some(oldest))?;
        context.set_max_proto_version(Some(SslVersion::TLS1_3))?;
        context.set_security_level(self.security_level);
        context.set_ciphersuites(&self.suites.join(":"))?;
        if !self.ciphers.is_empty() {
            context.set_cipher_list(&self.ciphers.join(":"))?;
        }
        context.set_groups_list(groups)?;
        context.set_sigalgs_list(&self.signatures.join(":"))?;
        // Mozilla: the client chooses among these suites, since all of them are good and only it knows
        // whether it has AES in hardware.
        context.clear_options(SslOptions::CIPHER_SERVER_PREFERENCE);
        Ok(())
    }

    /// The groups that can be offered, as a list for OpenSSL.
    fn groups_built_in(&self, probe: &mut SslContextBuilder) -> String {
        let offered: Vec<&str> = self
            .groups
            .iter()
            .filter(|group| {
                group.availability == Availability::Required
                    || probe.set_groups_list(group.name).is_ok()
            })
            .map(|group| group.name)
            .collect();
        offered.join(":")
    }

    /// What the linked OpenSSL lacks, by name.
    fn missing(&self, probe: &mut SslContextBuilder) -> Vec<&'static str> {
        let mut missing = self.missing_ciphers(probe);
        let required = self.groups.iter().filter(|g| g.availability == Availability::Required);
        missing.extend(required.map(|g| g.name).filter(|n| probe.set_groups_list(n).is_err()));
        missing.extend(self.signatures.iter().filter(|n| probe.set_sigalgs_list(n).is_err()));
        missing
    }

    fn missing_ciphers(&self, probe: &mut SslContextBuilder) -> Vec<&'static str> {
        let mut missing = Vec::new();
        missing.extend(self.suites.iter().filter(|name| probe.set_ciphersuites(name).is_err()));
        missing.extend(self.ciphers.iter().filter(|name| probe.set_cipher_list(name).is_err()));
        missing
    }
}

/// A context to try names on.
fn probe() -> Result<SslContextBuilder, ConfigError> {
    let mut probe = SslContext::builder(SslMethod::tls()).map_err(ConfigError::Library)?;
    probe.set_security_level(0);
    Ok(probe)
}

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
    fn built_policies_apply_to_this_openssl() {
        for policy in [Policy::Modern, Policy::Intermediate] {
            let parameters = policy.parameters().unwrap();
            let mut context = SslContext::builder(SslMethod::tls()).unwrap();
            parameters.apply(policy, &mut context).unwrap();
            assert_eq!(parameters.missing(&mut probe().unwrap()), Vec::<&str>::new());
        }
    }

    #[test]
    fn a_policy_of_a_later_version_is_an_error_that_says_so() {
        let error = Policy::Cnsa2.parameters().unwrap_err();
        assert!(error.to_string().contains("cnsa2"), "{error}");
    }

    #[test]
    fn what_the_library_lacks_is_named() {
        static ODD: Parameters = Parameters {
            groups: &[required("X25519"), required("no-such-group"), where_built("nor-this")],
            ciphers: &["ECDHE-ECDSA-AES128-GCM-SHA256", "NO-SUCH-CIPHER"],
            source: "",
            oldest: Protocol::Tls12,
            suites: SUITES,
            signatures: SIGNATURES,
            security_level: 2,
            rsa_bits: None,
            curves: CURVES,
            lifetime_days: 1,
        };
        let mut context = SslContext::builder(SslMethod::tls()).unwrap();
        let error = ODD.apply(Policy::Modern, &mut context).unwrap_err();
        let ConfigError::PolicyUnavailable { missing, .. } = error else { panic!("{error}") };
        assert_eq!(missing, ["NO-SUCH-CIPHER", "no-such-group"]);
    }
}
