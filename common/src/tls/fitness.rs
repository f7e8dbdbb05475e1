//! Whether a policy allows a certificate: its key, its signature, how long it is valid, what it is for.
//!
//! One set of rules, for what this end loads and for what the peer presents. Each answers with a sentence
//! for a person: what was found, and what the policy allows.

use super::end::Side;
use super::policy::{Keys, Parameters, Policy};
use crate::ffi;
use openssl::bn::BigNum;
use openssl::nid::Nid;
use openssl::pkey::{Id, KeyType, PKeyRef, Public};
use openssl::x509::{X509ExtendedKeyUsage, X509KeyUsage, X509Ref};

/// The parameter sets of FIPS 204.
const ML_DSA: [(KeyType, &str); 3] = [
    (KeyType::ML_DSA_44, "ML-DSA-44"),
    (KeyType::ML_DSA_65, "ML-DSA-65"),
    (KeyType::ML_DSA_87, "ML-DSA-87"),
];

/// Why a server does not load a certificate that is not for servers.
pub(super) const NOT_FOR_SERVERS: &str =
    "its extended key usage is not server authentication: every peer would refuse it";
/// Why a client does not load a certificate that is not for clients.
pub(super) const NOT_FOR_CLIENTS: &str =
    "its extended key usage is not client authentication: every peer would refuse it";

/// The policies that certificates must satisfy: the one that was chosen and, where a module does the work,
/// `fips` besides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fitness {
    policy: Policy,
    module: bool,
}

impl Fitness {
    pub(super) fn new(policy: Policy, module: bool) -> Self {
        Self { policy, module }
    }

    /// The policy that was chosen.
    pub(super) fn policy(self) -> Policy {
        self.policy
    }

    fn each(self, check: impl Fn(&Parameters) -> Result<(), String>) -> Result<(), String> {
        check(self.policy.parameters())?;
        if self.module { check(Policy::Fips.parameters()) } else { Ok(()) }
    }

    /// All rules for the own certificate of an end; `owner` is the end whose certificate it is.
    pub(super) fn check_own(self, certificate: &X509Ref, owner: Side) -> Result<(), String> {
        check_usage(certificate, owner)?;
        self.each(|parameters| parameters.check_own(certificate, owner))
    }

    /// All rules for a certificate that has issued another.
    pub(super) fn check_issuer(self, certificate: &X509Ref) -> Result<(), String> {
        self.each(|parameters| parameters.check_issuer(certificate))
    }
}

impl Parameters {
    /// Whether an end's own certificate may have this key.
    ///
    /// # Errors
    ///
    /// Which key this is, and which keys the policy allows.
    pub fn check_key(&self, key: &PKeyRef<Public>) -> Result<(), String> {
        self.keys.check(key, self.source)
    }

    /// Whether an issuer may have this key.
    ///
    /// # Errors
    ///
    /// As [`check_key`](Self::check_key).
    pub fn check_issuer_key(&self, key: &PKeyRef<Public>) -> Result<(), String> {
        self.issuer_keys.map_or(Ok(()), |keys| keys.check(key, self.source))
    }

    /// Whether a certificate may be signed like this. A root's signature says nothing: nobody relies on
    /// it.
    ///
    /// # Errors
    ///
    /// Which signature this is, and which digests the policy allows.
    pub fn check_signature(&self, certificate: &X509Ref) -> Result<(), String> {
        let Some(allowed) = self.certificate_digests else { return Ok(()) };
        let signature = ffi::certificate_signature(certificate);
        if signature.is_some_and(|nids| allowed.contains(&nids.digest)) {
            return Ok(());
        }
        // Ed25519 and Ed448, where the policy leaves issuers' keys to the security level.
        let kind = signature.map(|nids| Id::from_raw(nids.kind.as_raw()));
        if self.issuer_keys.is_none() && matches!(kind, Some(Id::ED25519 | Id::ED448)) {
            return Ok(());
        }
        let name = certificate.signature_algorithm().object().to_string();
        // OpenSSL before 3.5 has no name for ML-DSA, and could not have verified it.
        let ml_dsa = self.keys.ml_dsa.iter().any(|set| name.eq_ignore_ascii_case(set));
        if ml_dsa || is_self_signed(certificate) {
            return Ok(());
        }
        let mut allowed: Vec<&str> =
            allowed.iter().filter_map(|nid| nid.long_name().ok()).collect();
        allowed.extend(self.keys.ml_dsa);
        let allowed = allowed.join(", ").to_uppercase();
        Err(format!("it is signed with {name}; {} allows {allowed}", self.source))
    }

    /// Whether a server's certificate may be valid for so long. What is over a whole number of days does not
    /// count: an authority dates its certificates back for clocks that are behind.
    ///
    /// # Errors
    ///
    /// For how many days it is valid, and how many the policy allows.
    pub fn check_lifetime(&self, certificate: &X509Ref) -> Result<(), String> {
        let Some(longest) = self.lifetime_days else { return Ok(()) };
        // Dates that cannot be read are a matter for the verification of the chain.
        let Ok(span) = certificate.not_before().diff(certificate.not_after()) else {
            return Ok(());
        };
        if i64::from(span.days) <= i64::from(longest) {
            return Ok(());
        }
        Err(format!("it is valid for {} days; {} allows {longest} at most", span.days, self.source))
    }

    fn check_own(&self, certificate: &X509Ref, owner: Side) -> Result<(), String> {
        let key = certificate.public_key().map_err(|_| "its key cannot be read".to_owned())?;
        self.check_key(&key)?;
        self.check_signature(certificate)?;
        match owner {
            Side::Server => self.check_lifetime(certificate),
            Side::Client => Ok(()),
        }
    }

    fn check_issuer(&self, certificate: &X509Ref) -> Result<(), String> {
        let key = certificate.public_key().map_err(|_| "its key cannot be read".to_owned())?;
        self.check_issuer_key(&key)?;
        self.check_signature(certificate)
    }
}

/// Whether a certificate is for this end: OpenSSL's rule for its extensions (RFC 5280 section 4.2.1.12).
/// That a peer's is, the verification of its chain has found.
///
/// # Errors
///
/// What it is not for.
pub(super) fn check_purpose(certificate: &X509Ref, owner: Side) -> Result<(), String> {
    let (server, reason) = match owner {
        Side::Server => (true, NOT_FOR_SERVERS),
        Side::Client => (false, NOT_FOR_CLIENTS),
    };
    match ffi::is_for_purpose(certificate, server) {
        true => Ok(()),
        false => Err(reason.to_owned()),
    }
}

/// What the standards ask of an end's certificate and OpenSSL does not: that its key signs (RFC 8446 section
/// 4.4.2.2; no suite of ours has any other use for it), and that an extended key usage names this very
/// purpose, and not one that a browser of the 1990s took for it.
fn check_usage(certificate: &X509Ref, owner: Side) -> Result<(), String> {
    let signs = |usage: X509KeyUsage| usage.contains(X509KeyUsage::DIGITAL_SIGNATURE);
    if !certificate.key_usage().is_none_or(signs) {
        return Err("its key usage does not include digitalSignature".to_owned());
    }
    let (purpose, reason) = match owner {
        Side::Server => (X509ExtendedKeyUsage::SSL_SERVER, NOT_FOR_SERVERS),
        Side::Client => (X509ExtendedKeyUsage::SSL_CLIENT, NOT_FOR_CLIENTS),
    };
    match certificate.extended_key_usage().is_none_or(|usage| usage.contains(purpose)) {
        true => Ok(()),
        false => Err(reason.to_owned()),
    }
}

fn is_self_signed(certificate: &X509Ref) -> bool {
    let own = certificate.public_key().ok();
    own.is_some_and(|key| certificate.verify(&key).unwrap_or(false))
}

impl Keys {
    fn check(&self, key: &PKeyRef<Public>, source: &str) -> Result<(), String> {
        let found = match key.id() {
            Id::RSA | Id::RSA_PSS => {
                let bits = key.bits();
                let exponent = self.has_allowed_exponent(key);
                if exponent && self.rsa_bits.is_some_and(|least| bits >= least) {
                    return Ok(());
                }
                match exponent {
                    true => format!("an RSA key of {bits} bits"),
                    false => "an RSA key with a small or even public exponent".to_owned(),
                }
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
            other => match ML_DSA.into_iter().find(|(kind, _)| key.is_a(*kind)) {
                Some((_, name)) => {
                    if self.ml_dsa.contains(&name) {
                        return Ok(());
                    }
                    format!("an {name} key")
                }
                None => format!("a key of type {}", other.as_raw()),
            },
        };
        Err(format!("it has {found}; {source} allows {}", self.allowed()))
    }

    /// FIPS 186-5 section 5.1: odd, and above 2^16.
    fn has_allowed_exponent(&self, key: &PKeyRef<Public>) -> bool {
        let least = BigNum::from_u32(self.rsa_exponent);
        match (key.rsa(), least) {
            (Ok(rsa), Ok(least)) => rsa.e().is_bit_set(0) && *rsa.e() >= *least,
            // RSASSA-PSS keys have no such view; OpenSSL bounds what it verifies with.
            _ => key.id() == Id::RSA_PSS,
        }
    }

    /// What is allowed, in words.
    fn allowed(&self) -> String {
        let mut kinds = Vec::new();
        let curves: Vec<&str> = self.curves.iter().map(|&curve| curve_name(curve)).collect();
        if let Some((last, others)) = curves.split_last() {
            kinds.push(match others {
                [] => format!("ECDSA on {last}"),
                others => format!("ECDSA on {} or {last}", others.join(", ")),
            });
        }
        kinds.extend(self.rsa_bits.map(|bits| format!("RSA from {bits} bits")));
        kinds.extend(self.ml_dsa.iter().map(ToString::to_string));
        match kinds.split_last() {
            None => "none".to_owned(),
            Some((only, [])) => only.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
        }
    }
}

/// The name of FIPS 186-5 for a curve.
fn curve_name(curve: Nid) -> &'static str {
    match curve {
        Nid::X9_62_PRIME256V1 => "P-256",
        Nid::SECP384R1 => "P-384",
        Nid::SECP521R1 => "P-521",
        other => other.short_name().unwrap_or("another curve"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::x509::X509Builder;

    fn ec(curve: Nid) -> PKey<Public> {
        let group = EcGroup::from_curve_name(curve).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        PKey::public_key_from_pem(&key.public_key_to_pem().unwrap()).unwrap()
    }

    #[test]
    fn each_policy_has_its_curves() {
        let (p256, p384, p521) =
            (ec(Nid::X9_62_PRIME256V1), ec(Nid::SECP384R1), ec(Nid::SECP521R1));
        let allowed = |policy: Policy| {
            [&p256, &p384, &p521].map(|key| policy.parameters().check_key(key).is_ok())
        };
        assert_eq!(allowed(Policy::Intermediate), [true, true, false]);
        assert_eq!(allowed(Policy::Modern), [true, true, false]);
        assert_eq!(allowed(Policy::Fips), [true, true, true]);
        assert_eq!(allowed(Policy::Cnsa1), [false, true, false]);
        assert_eq!(allowed(Policy::Cnsa2), [false, false, false]);
    }

    #[test]
    fn a_refusal_says_what_is_allowed() {
        let key = ec(Nid::SECP256K1);
        let refusal = Policy::Intermediate.parameters().check_key(&key).unwrap_err();
        assert!(refusal.contains("secp256k1"), "{refusal}");
        assert!(refusal.ends_with("ECDSA on P-256 or P-384 or RSA from 2048 bits"), "{refusal}");
        let refusal = Policy::Cnsa2.parameters().check_key(&key).unwrap_err();
        assert!(refusal.ends_with("allows ML-DSA-87"), "{refusal}");
    }

    #[test]
    fn a_digest_that_is_not_allowed_is_named_but_a_roots_own_does_not_count() {
        let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
        let key = || PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let (own, issuer) = (key(), key());
        let signed = |by: &PKey<openssl::pkey::Private>, digest| {
            let mut builder = X509Builder::new().unwrap();
            builder.set_pubkey(&own).unwrap();
            builder.sign(by, digest).unwrap();
            builder.build()
        };
        let cnsa1 = Policy::Cnsa1.parameters();
        cnsa1.check_signature(&signed(&issuer, MessageDigest::sha384())).unwrap();
        let refusal = cnsa1.check_signature(&signed(&issuer, MessageDigest::sha256())).unwrap_err();
        assert!(refusal.contains("ecdsa-with-SHA256"), "{refusal}");
        assert!(refusal.ends_with("allows SHA384, SHA512"), "{refusal}");
        cnsa1.check_signature(&signed(&own, MessageDigest::sha256())).unwrap();
        Policy::Intermediate
            .parameters()
            .check_signature(&signed(&issuer, MessageDigest::sha256()))
            .unwrap();
    }
}
