//! What of a policy this OpenSSL can offer, and putting it into a context.
//!
//! Under a FIPS module a policy is what both the policy and `fips` allow: `--fips` goes with any policy,
//! and X25519 or ChaCha20 are then neither offered nor missed.

use super::error::ConfigError;
use super::fips;
use super::policy::{Algorithm, Availability, Parameters, Policy, Protocol};
use openssl::error::ErrorStack;
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslOptions, SslVersion};

impl Policy {
    /// Whether contexts with this policy can be built here: whoever is about to make keys for one asks
    /// first. Activates the FIPS module if `fips` or the policy needs it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Fips`] without a proved module, [`ConfigError::PolicyUnavailable`] with the names
    /// of what the linked OpenSSL lacks.
    pub fn ensure_available(self, fips: bool) -> Result<(), ConfigError> {
        let module = fips || self.parameters().fips_module;
        if module {
            fips::require()?;
        }
        Offer::new(self, module).map(drop)
    }
}

/// The parameters of a policy that a context offers.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    parameters: &'static Parameters,
    suites: Vec<&'static str>,
    ciphers: Vec<&'static str>,
    groups: Vec<&'static str>,
    signatures: Vec<&'static str>,
    extended_master_secret: bool,
}

impl Offer {
    /// What of a policy can be offered; `module` says whether all of it comes from a FIPS module.
    ///
    /// # Errors
    ///
    /// [`ConfigError::PolicyUnavailable`] with the names that this OpenSSL, or the module, does not have.
    pub(super) fn new(policy: Policy, module: bool) -> Result<Self, ConfigError> {
        Self::of(policy, policy.parameters(), module)
    }

    fn of(
        policy: Policy,
        parameters: &'static Parameters,
        module: bool,
    ) -> Result<Self, ConfigError> {
        let approved = module.then(|| Policy::Fips.parameters());
        // One context to try all names on, each by itself: a list may be taken for one good name in it.
        let mut probe = probe()?;
        let mut missing = Vec::new();
        let mut having = |names: Vec<Algorithm>, has: &mut dyn FnMut(&str) -> bool| {
            let mut had = Vec::new();
            for Algorithm { name, availability } in names {
                match (has(name), availability) {
                    (true, _) => had.push(name),
                    (false, Availability::Required) => missing.push(name),
                    (false, Availability::WhereBuilt) => {}
                }
            }
            had
        };
        let needed = |names: &[&'static str]| names.iter().map(|&name| required(name)).collect();
        let suites = having(
            approved_names(needed(parameters.suites), approved.map(|fips| needed(fips.suites))),
            &mut |name| probe.set_ciphersuites(name).is_ok(),
        );
        let ciphers = having(
            approved_names(needed(parameters.ciphers), approved.map(|fips| needed(fips.ciphers))),
            &mut |name| probe.set_cipher_list(name).is_ok(),
        );
        let groups = having(
            approved_names(parameters.groups.to_vec(), approved.map(|fips| fips.groups.to_vec())),
            &mut |name| probe.set_groups_list(name).is_ok(),
        );
        let signatures = having(
            approved_names(
                parameters.signatures.to_vec(),
                approved.map(|fips| fips.signatures.to_vec()),
            ),
            &mut |name| probe.set_sigalgs_list(name).is_ok(),
        );
        if !missing.is_empty() {
            return Err(ConfigError::PolicyUnavailable { policy, missing });
        }
        let extended_master_secret = parameters.extended_master_secret || module;
        Ok(Self { parameters, suites, ciphers, groups, signatures, extended_master_secret })
    }

    /// Whether a TLS 1.2 session must have an extended master secret.
    pub(super) fn needs_extended_master_secret(&self) -> bool {
        self.extended_master_secret && self.parameters.oldest == Protocol::Tls12
    }

    /// The groups, by their names in OpenSSL.
    pub(super) fn groups(&self) -> &[&'static str] {
        &self.groups
    }

    /// The suites of TLS 1.3 and 1.2, by their names in OpenSSL.
    pub(super) fn all_suites(&self) -> impl Iterator<Item = &'static str> {
        self.suites.iter().chain(&self.ciphers).copied()
    }

    /// Puts the offer into a context.
    pub(super) fn apply(&self, context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        let oldest = match self.parameters.oldest {
            Protocol::Tls12 => SslVersion::TLS1_2,
            Protocol::Tls13 => SslVersion::TLS1_3,
        };
        context.set_min_proto_version(Some(oldest))?;
        context.set_max_proto_version(Some(SslVersion::TLS1_3))?;
        context.set_security_level(self.parameters.security_level);
        context.set_ciphersuites(&self.suites.join(":"))?;
        if !self.ciphers.is_empty() {
            context.set_cipher_list(&self.ciphers.join(":"))?;
        }
        // OpenSSL before 3.5 sends one key share and does not know the stars.
        if context.set_groups_list(&self.groups_with_shares()).is_err() {
            context.set_groups_list(&self.groups.join(":"))?;
        }
        let signatures = self.signatures.join(":");
        context.set_sigalgs_list(&signatures)?;
        // Clients' have a list of their own where OpenSSL's configuration sets one.
        crate::ffi::set_client_signatures(context, &signatures)?;
        // Mozilla: the client chooses among these suites, since all of them are good and only it knows
        // whether it has AES in hardware.
        context.clear_options(SslOptions::CIPHER_SERVER_PREFERENCE);
        Ok(())
    }

    /// The groups as a list for OpenSSL 3.5, in which a client sends a key share for each that has a star:
    /// the first post-quantum group, and the first of the others, so that a server that has not heard of
    /// the former needs no second round trip (RFC 8446 section 4.1.4). The stroke has a server prefer any
    /// post-quantum group to the others, also where that takes a second round trip.
    fn groups_with_shares(&self) -> String {
        let is_post_quantum = |name: &str| name.contains("MLKEM");
        let first = |wanted| self.groups.iter().position(|name| is_post_quantum(name) == wanted);
        let starred = [first(true), first(false)];
        let with_star = |(at, name): (usize, &&str)| match starred.contains(&Some(at)) {
            true => format!("*{name}"),
            false => (*name).to_string(),
        };
        let names = |wanted| {
            let each = self.groups.iter().enumerate();
            let each = each.filter(|(_, name)| is_post_quantum(name) == wanted).map(with_star);
            each.collect::<Vec<String>>().join(":")
        };
        let lists = [names(true), names(false)];
        let lists: Vec<&str> =
            lists.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
        lists.join("/")
    }
}

const fn required(name: &'static str) -> Algorithm {
    Algorithm { name, availability: Availability::Required }
}

/// Those of the names that are approved, too; all where nothing needs an approval.
fn approved_names(names: Vec<Algorithm>, approved: Option<Vec<Algorithm>>) -> Vec<Algorithm> {
    let is_approved = |name: &str| match &approved {
        None => true,
        Some(approved) => approved.iter().any(|algorithm| algorithm.name == name),
    };
    names.into_iter().filter(|algorithm| is_approved(algorithm.name)).collect()
}

/// A context to try names on.
fn probe() -> Result<SslContextBuilder, ConfigError> {
    let mut probe = SslContext::builder(SslMethod::tls()).map_err(ConfigError::Library)?;
    probe.set_security_level(0);
    Ok(probe)
}

#[cfg(test)]
mod tests {
    use super::super::policy::Keys;
    use super::*;

    #[test]
    fn what_every_openssl_has_can_be_offered() {
        for policy in [Policy::Modern, Policy::Intermediate, Policy::Cnsa1] {
            let mut context = SslContext::builder(SslMethod::tls()).unwrap();
            Offer::new(policy, false).unwrap().apply(&mut context).unwrap();
        }
    }

    #[test]
    fn what_the_library_lacks_is_named() {
        static ODD: Parameters = Parameters {
            groups: &[
                required("X25519"),
                required("no-such-group"),
                Algorithm { name: "nor-this", availability: Availability::WhereBuilt },
            ],
            ciphers: &["ECDHE-ECDSA-AES128-GCM-SHA256", "NO-SUCH-CIPHER"],
            source: "",
            oldest: Protocol::Tls12,
            suites: &["TLS_AES_128_GCM_SHA256"],
            signatures: &[required("ecdsa_secp256r1_sha256")],
            security_level: 2,
            keys: Keys { rsa_bits: None, rsa_exponent: 3, curves: &[], ml_dsa: &[] },
            issuer_keys: None,
            certificate_digests: None,
            lifetime_days: None,
            extended_master_secret: false,
            must_verify: false,
            fips_module: false,
        };
        let error = Offer::of(Policy::Modern, &ODD, false).unwrap_err();
        match error {
            ConfigError::PolicyUnavailable { missing, .. } => {
                assert_eq!(missing, ["NO-SUCH-CIPHER", "no-such-group"]);
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn under_a_module_only_what_is_approved_is_offered_and_the_rest_is_not_missed() {
        let offer = Offer::new(Policy::Intermediate, true).unwrap();
        assert!(!offer.groups.contains(&"X25519"));
        assert!(offer.groups.contains(&"prime256v1"));
        assert!(offer.all_suites().all(|suite| !suite.contains("CHACHA20")));
        assert!(!offer.signatures.contains(&"ed25519"));
        assert!(offer.needs_extended_master_secret());
    }

    #[test]
    fn a_key_share_is_sent_for_the_first_group_of_either_kind() {
        let groups = vec!["X25519MLKEM768", "SecP256r1MLKEM768", "X25519", "prime256v1"];
        let offer = Offer { groups, ..Offer::new(Policy::Modern, false).unwrap() };
        let list = "*X25519MLKEM768:SecP256r1MLKEM768/*X25519:prime256v1";
        assert_eq!(offer.groups_with_shares(), list);
    }
}
