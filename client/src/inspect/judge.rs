//! An endpoint held against a policy, rule by rule. The rules are read from the policy's own table
//! ([`Parameters`]), so that what is judged is what both of our ends enforce.

use super::chain::Chain;
use super::facts::{Inspection, Offer};
use super::handshake::ClientCertificate;
use super::registry::{GROUPS, SCHEMES, Suite, Version};
use openssl::nid::Nid;
use openssl::x509::X509;
use sealpair_common::tls::{ConfigError, Parameters, Policy, Protocol};
use serde::Serialize;

/// What a policy says of an endpoint.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Judgement {
    /// The policy; `name` in JSON.
    #[serde(rename = "name")]
    pub policy: &'static str,
    /// Where its values come from.
    pub source: &'static str,
    /// Whether every rule passes.
    pub passed: bool,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One rule of a policy.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rule {
    /// A stable word for it.
    pub rule: &'static str,
    /// Whether it passes.
    pub passed: bool,
    /// The value found.
    pub found: String,
    /// What is allowed or wanted.
    pub wanted: String,
    /// Where the rule comes from.
    pub source: String,
}

/// Holds an endpoint against a policy.
///
/// # Errors
///
/// [`ConfigError::PolicyNotBuilt`] for a policy that this version does not have.
pub(super) fn judge(inspection: &Inspection, policy: Policy) -> Result<Judgement, ConfigError> {
    let parameters = policy.parameters()?;
    let mut judge = Judge { inspection, policy, parameters, rules: Vec::new() };
    judge.versions();
    judge.suites();
    judge.groups();
    judge.schemes();
    judge.connection();
    judge.certificates();
    let passed = judge.rules.iter().all(|rule| rule.passed);
    let rules = judge.rules;
    Ok(Judgement { policy: policy.name(), source: parameters.source, passed, rules })
}

struct Judge<'a> {
    inspection: &'a Inspection,
    policy: Policy,
    parameters: &'static Parameters,
    rules: Vec<Rule>,
}

/// Names of a policy in those of the registry.
fn group_name(openssl: &str) -> &str {
    GROUPS.iter().find(|group| group.openssl == openssl).map_or(openssl, |group| group.name)
}

fn suite_name(openssl: &str) -> &str {
    Suite::all().find(|suite| suite.openssl == Some(openssl)).map_or(openssl, |suite| suite.iana)
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Judge<'_> {
    fn rule(&mut self, rule: &'static str, passed: bool, found: String, wanted: String) {
        let source = self.parameters.source.to_owned();
        self.rules.push(Rule { rule, passed, found, wanted, source });
    }

    fn rule_of(&mut self, rule: &'static str, passed: bool, found: String, wanted: &str, of: &str) {
        let (wanted, source) = (wanted.to_owned(), of.to_owned());
        self.rules.push(Rule { rule, passed, found, wanted, source });
    }

    fn offer(&self, version: Version) -> Option<&Offer> {
        self.inspection.offer(version)
    }

    /// Everything found is allowed. What could not be told to its end does not pass.
    fn subset(
        &mut self,
        rule: &'static str,
        offer: Option<&Offer>,
        found: &[&str],
        allowed: &[&str],
    ) {
        let others: Vec<&str> =
            found.iter().copied().filter(|name| !allowed.contains(name)).collect();
        let complete = offer.is_none_or(|offer| offer.complete);
        let told = match (others.is_empty(), complete) {
            (true, true) => list(found.iter().copied()),
            (true, false) => {
                format!("{}, and perhaps more: it stopped answering", list(found.iter().copied()))
            }
            (false, _) => format!("not allowed: {}", others.join(", ")),
        };
        let passed = others.is_empty() && complete;
        self.rule(rule, passed, told, list(allowed.iter().copied()));
    }

    /// Something of what the policy wants is there.
    fn shared(&mut self, rule: &'static str, found: &[&str], allowed: &[&str]) {
        let common = found.iter().copied().filter(|name| allowed.contains(name));
        let common: Vec<&str> = common.collect();
        let wanted = format!("at least one of {}", list(allowed.iter().copied()));
        self.rule(rule, !common.is_empty(), list(common.iter().copied()), wanted);
    }

    fn versions(&mut self) {
        let allowed: Vec<&str> = match self.parameters.oldest {
            Protocol::Tls12 => vec!["TLSv1.2", "TLSv1.3"],
            Protocol::Tls13 => vec!["TLSv1.3"],
        };
        let offered = self.inspection.protocols.iter().filter(|(_, offer)| offer.offered);
        let found: Vec<&str> = offered.filter_map(|(version, _)| version.name()).collect();
        let undecided = self.inspection.protocols.values().any(|offer| !offer.decided);
        let others: Vec<&str> =
            found.iter().copied().filter(|name| !allowed.contains(name)).collect();
        let told = match (others.is_empty(), undecided) {
            (false, _) => format!("not allowed: {}", others.join(", ")),
            (true, true) => format!("{}, and perhaps others", list(found.iter().copied())),
            (true, false) => list(found.iter().copied()),
        };
        let passed = others.is_empty() && !undecided;
        self.rule("protocols", passed, told, list(allowed));
        let tls13 = found.contains(&"TLSv1.3");
        let told = if tls13 { "offered" } else { "not offered" };
        self.rule("tls13-offered", tls13, told.to_owned(), "TLSv1.3".to_owned());
    }

    fn suites(&mut self) {
        let parameters = self.parameters;
        let names = |offer: &Offer| -> Vec<&'static str> {
            offer.suites.iter().map(|suite| suite.iana).collect()
        };
        if let Some(offer) = self.offer(Version::TLS13).cloned() {
            let found = names(&offer);
            self.subset("tls13-suites", Some(&offer), &found, parameters.suites);
            self.shared("tls13-suites-offered", &found, parameters.suites);
        }
        let Some(offer) = self.offer(Version::TLS12).cloned() else {
            return;
        };
        // Where the policy has none, the version itself is what is not allowed.
        if !parameters.ciphers.is_empty() {
            let allowed: Vec<&str> =
                parameters.ciphers.iter().map(|name| suite_name(name)).collect();
            let found = names(&offer);
            self.subset("tls12-suites", Some(&offer), &found, &allowed);
            self.shared("tls12-suites-offered", &found, &allowed);
        }
        let without = offer.suites.iter().filter(|suite| !suite.forward_secrecy);
        let without: Vec<&str> = without.map(|suite| suite.iana).collect();
        let told = match without.is_empty() {
            true => "every suite".to_owned(),
            false => format!("not {}", without.join(", ")),
        };
        let wanted = "forward secrecy with every suite".to_owned();
        self.rule("forward-secrecy", without.is_empty(), told, wanted);
    }

    fn groups(&mut self) {
        let allowed: Vec<&str> =
            self.parameters.groups.iter().map(|group| group_name(group.name)).collect();
        for (version, rule, shared) in [
            (Version::TLS13, "tls13-groups", Some("tls13-groups-offered")),
            (Version::TLS12, "tls12-groups", None),
        ] {
            let Some(offer) = self.offer(version).cloned() else { continue };
            let found: Vec<&str> = offer.groups.iter().map(|group| group.name).collect();
            self.subset(rule, Some(&offer), &found, &allowed);
            if let Some(rule) = shared {
                self.shared(rule, &found, &allowed);
            }
            if let Some(prime) = offer.prime {
                let told = format!("a prime of {} bits", prime.bits);
                let wanted = "at least 2048 bits".to_owned();
                self.rule("tls12-prime", prime.bits >= 2048, told, wanted);
            }
        }
    }

    fn schemes(&mut self) {
        for (version, rule) in
            [(Version::TLS13, "tls13-signatures"), (Version::TLS12, "tls12-signatures")]
        {
            let Some(offer) = self.offer(version).cloned() else { continue };
            match &offer.signature_schemes {
                Some(found) => {
                    self.subset(rule, Some(&offer), found, self.parameters.signatures);
                }
                None => {
                    let wanted = list(self.parameters.signatures.iter().copied());
                    self.rule(rule, false, "cannot be told".to_owned(), wanted);
                }
            }
        }
    }

    fn connection(&mut self) {
        let inspection = self.inspection;
        if inspection.newest_before_tls13().is_some() {
            let told = match inspection.compression {
                Some(true) => "DEFLATE",
                Some(false) => "none",
                None => "cannot be told",
            };
            let passed = inspection.compression == Some(false);
            self.rule_of("compression", passed, told.to_owned(), "none", "RFC 9325 section 3.3");
        }
        if let Some(found) = &inspection.renegotiation {
            let passed = found.secure;
            let told = if passed { "supported" } else { "not supported" };
            let of = "RFC 9325 section 3.5, RFC 5746";
            self.rule_of("secure-renegotiation", passed, told.to_owned(), "supported", of);
            // Who cannot connect cannot renegotiate either.
            let closed = inspection.client_certificate == Some(ClientCertificate::Required);
            let passed = found.client_initiated.map_or(closed, |accepted| !accepted);
            let told = found.explanation.clone();
            let of = "CVE-2011-1473";
            self.rule_of("client-renegotiation", passed, told, "refused", of);
        }
        if let Some(found) = &inspection.extended_master_secret {
            // SP 800-140Dr2 and FIPS 140-3 IG D.Q: a module may not derive keys without it.
            let demanded = self.policy == Policy::Fips;
            let passed = found.supported && (!demanded || found.required == Some(true));
            let told = match (found.supported, found.required) {
                (false, _) => "not supported",
                (true, Some(true)) => "required",
                (true, Some(false)) => "supported, and not required",
                (true, None) => "supported; whether it is required cannot be told",
            };
            let (wanted, of) = match demanded {
                true => ("required", "FIPS 140-3 IG D.Q, RFC 7627"),
                false => ("supported", "RFC 7627"),
            };
            self.rule_of("extended-master-secret", passed, told.to_owned(), wanted, of);
        }
        if let Some(early) = inspection.early_data {
            let told = format!("tickets allow {early} bytes");
            let of = "RFC 8446 section 8";
            self.rule_of("early-data", early == 0, told, "none", of);
        }
    }

    fn certificates(&mut self) {
        let inspection = self.inspection;
        if inspection.certificates.is_empty() {
            let told = match &inspection.handshake_problem {
                Some(problem) => format!("could not be seen: {problem}"),
                None => "none".to_owned(),
            };
            return self.rule("certificate", false, told, "a certificate".to_owned());
        }
        for chain in &inspection.certificates {
            self.chain(chain);
        }
    }

    fn chain(&mut self, chain: &Chain) {
        for check in &chain.checks {
            let (rule, wanted, of) = match check.check {
                "trust" => ("certificate-trust", "a trusted chain", "RFC 5280 section 6"),
                "dates" => ("certificate-dates", "valid now", "RFC 5280 section 4.1.2.5"),
                "name" => ("certificate-name", "the server's name", "RFC 9525 section 6"),
                "usage" => ("certificate-usage", "serverAuth", "RFC 5280 section 4.2.1.12"),
                "order" => ("certificate-order", "in order, complete", "RFC 8446 section 4.4.2"),
                "revocation" => ("certificate-revocation", "not revoked", "RFC 5280 section 6.3"),
                "standard" => ("certificate-standard", "nothing against it", "RFC 5280"),
                // The policy has rules of its own for keys and signatures.
                _ => continue,
            };
            self.rule_of(rule, check.passed, check.explanation.clone(), wanted, of);
        }
        let Some((leaf, facts)) = chain.sent.first().zip(chain.certificates.first()) else {
            return;
        };
        // What is weak by any measure, in the whole chain; then what the policy says of the leaf.
        let failed = |check: &str| {
            let found = chain.checks.iter().find(|c| c.check == check && !c.passed);
            found.map(|check| check.explanation.clone())
        };
        let verdict = match leaf.public_key() {
            _ if failed("key").is_some() => Err(failed("key").unwrap_or_default()),
            Ok(key) => self.parameters.check_key(&key),
            Err(_) => Err("it has a key that cannot be read".to_owned()),
        };
        let wanted = format!("a key that {} allows", self.parameters.source);
        let passed = verdict.is_ok();
        self.rule(
            "certificate-key",
            passed,
            verdict.err().unwrap_or_else(|| facts.key.clone()),
            wanted,
        );
        self.signatures(chain, failed("signature"));
        let days = facts.starts().zip(facts.ends()).map(|(starts, ends)| {
            // As the server's own warning counts.
            ends.duration_since(starts).as_hours() / 24
        });
        let most = self.parameters.lifetime_days;
        let passed = days.is_some_and(|days| days <= i64::from(most));
        let told = days.map_or_else(|| "unreadable".to_owned(), |days| format!("{days} days"));
        self.rule("certificate-lifetime", passed, told, format!("at most {most} days"));
    }

    /// How the certificates are signed. Nobody relies on the signature of a root.
    fn signatures(&mut self, chain: &Chain, weak: Option<String>) {
        let allowed = self.parameters.signatures;
        let mut wrong = Vec::from_iter(weak);
        let mut found = Vec::new();
        for (at, (certificate, facts)) in chain.sent.iter().zip(&chain.certificates).enumerate() {
            if at > 0 && facts.subject == facts.issuer {
                continue;
            }
            found.push(facts.signature_algorithm.as_str());
            let schemes = schemes_of(certificate);
            if !schemes.iter().any(|scheme| allowed.contains(scheme)) {
                wrong.push(format!("certificate {at}: {}", facts.signature_algorithm));
            }
        }
        let told = match wrong.is_empty() {
            true => found.join(", "),
            false => format!("not allowed: {}", wrong.join(", ")),
        };
        let wanted = list(allowed.iter().copied());
        self.rule("certificate-signatures", wrong.is_empty(), told, wanted);
    }
}

/// The signature schemes that the signature on a certificate may count as: a scheme of TLS 1.3 names the
/// curve as well, which belongs to the issuer's key (RFC 8446 section 4.2.3).
fn schemes_of(certificate: &X509) -> Vec<&'static str> {
    let object = certificate.signature_algorithm().object();
    let algorithms = object.nid().signature_algorithms();
    let schemes = SCHEMES.iter().map(|scheme| scheme.name);
    let family = match algorithms.as_ref().map(|algorithms| algorithms.pkey) {
        Some(Nid::RSAENCRYPTION) => "rsa_pkcs1",
        Some(Nid::RSASSAPSS) => "rsa_pss",
        Some(Nid::X9_62_ID_ECPUBLICKEY) => "ecdsa",
        // EdDSA and ML-DSA have schemes of their own names.
        _ => {
            let name = object.to_string().to_ascii_lowercase().replace('-', "");
            return schemes.filter(|scheme| *scheme == name).collect();
        }
    };
    let digest = match algorithms.map(|algorithms| algorithms.digest) {
        Some(Nid::SHA1) => "_sha1",
        Some(Nid::SHA224) => "_sha224",
        Some(Nid::SHA256) => "_sha256",
        Some(Nid::SHA384) => "_sha384",
        Some(Nid::SHA512) => "_sha512",
        Some(Nid::MD5) => "_md5",
        // RSASSA-PSS has it in its parameters; what is weak there, the check of the chain finds.
        _ => "",
    };
    schemes.filter(|scheme| scheme.starts_with(family) && scheme.ends_with(digest)).collect()
}
