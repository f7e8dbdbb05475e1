//! An endpoint held against a policy, rule by rule. The rules are read from the policy's own table
//! ([`Parameters`]), so that what is judged is what both of our ends enforce.

use super::chain::{Chain, shorten};
use super::facts::{Inspection, Offer};
use super::handshake::ClientCertificate;
use super::registry::{Group, Suite, Version};
use sealpair_common::pki::CertificateFacts;
use sealpair_common::tls::{Parameters, Policy, Protocol};
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

/// Holds an endpoint against a policy. `identified` is whether it was shown a client certificate.
pub(super) fn judge(inspection: &Inspection, policy: Policy, identified: bool) -> Judgement {
    let parameters = policy.parameters();
    // Who was not let in is not asked for more than that.
    let closed = inspection.client_certificate == Some(ClientCertificate::Required) && !identified;
    let mut judge = Judge { inspection, parameters, closed, rules: Vec::new() };
    judge.versions();
    judge.suites();
    judge.groups();
    judge.schemes();
    judge.connection();
    judge.certificates();
    let passed = judge.rules.iter().all(|rule| rule.passed);
    let rules = judge.rules;
    Judgement { policy: policy.name(), source: parameters.source, passed, rules }
}

/// What is said of what could not be found out. It does not pass.
const CANNOT_BE_TOLD: &str = "cannot be told";

struct Judge<'a> {
    inspection: &'a Inspection,
    parameters: &'static Parameters,
    /// Whether a client certificate is required, and none was shown.
    closed: bool,
    rules: Vec<Rule>,
}

/// Names of a policy in those of the registry.
fn group_name(openssl: &str) -> &str {
    Group::of_openssl(openssl).map_or(openssl, |group| group.name)
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
            let wanted = "at least 2048 bits".to_owned();
            match offer.prime {
                Some(prime) => {
                    let told = format!("a prime of {} bits", prime.bits);
                    self.rule("tls12-prime", prime.bits >= 2048, told, wanted);
                }
                None if offer.suite_ids().into_iter().filter_map(Suite::of).any(Suite::is_dhe) => {
                    self.rule("tls12-prime", false, CANNOT_BE_TOLD.to_owned(), wanted);
                }
                None => {}
            }
        }
    }

    fn schemes(&mut self) {
        for (version, rule) in
            [(Version::TLS13, "tls13-signatures"), (Version::TLS12, "tls12-signatures")]
        {
            let Some(offer) = self.offer(version).cloned() else { continue };
            let allowed = self.parameters.signatures.iter().map(|scheme| scheme.name);
            let allowed: Vec<&str> = allowed.collect();
            match &offer.signature_schemes {
                Some(found) => {
                    self.subset(rule, Some(&offer), found, &allowed);
                }
                None => {
                    let wanted = list(allowed);
                    self.rule(rule, false, CANNOT_BE_TOLD.to_owned(), wanted);
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
                None => CANNOT_BE_TOLD,
            };
            let passed = inspection.compression == Some(false);
            self.rule_of("compression", passed, told.to_owned(), "none", "RFC 9325 section 3.3");
            self.renegotiation();
            self.extended_master_secret();
        }
        if self.offer(Version::TLS13).is_some() {
            let (passed, told) = match (inspection.early_data, inspection.resumption.tls13_tickets)
            {
                (Some(early), _) => (early == 0, format!("tickets allow {early} bytes")),
                (None, Some(0)) => (true, "no ticket comes".to_owned()),
                // Tickets come to who gets in.
                _ if self.closed => (true, "no ticket without a client certificate".to_owned()),
                _ => (false, CANNOT_BE_TOLD.to_owned()),
            };
            self.rule_of("early-data", passed, told, "none", "RFC 8446 section 8");
        }
    }

    fn renegotiation(&mut self) {
        let found = self.inspection.renegotiation.as_ref();
        let secure = found.map(|found| found.secure);
        let told = match secure {
            Some(true) => "supported",
            Some(false) => "not supported",
            None => CANNOT_BE_TOLD,
        };
        let of = "RFC 9325 section 3.5, RFC 5746";
        let passed = secure == Some(true);
        self.rule_of("secure-renegotiation", passed, told.to_owned(), "supported", of);
        // Who cannot connect cannot renegotiate either.
        let accepted = found.and_then(|found| found.client_initiated);
        let passed = accepted.map_or(self.closed, |accepted| !accepted);
        let told = found.map_or(CANNOT_BE_TOLD, |found| found.explanation.as_str()).to_owned();
        self.rule_of("client-renegotiation", passed, told, "refused", "CVE-2011-1473");
    }

    fn extended_master_secret(&mut self) {
        // SP 800-140Dr2 and FIPS 140-3 IG D.Q: a module may not derive keys without it.
        let demanded = self.parameters.extended_master_secret;
        let found = self.inspection.extended_master_secret;
        let passed = found
            .is_some_and(|found| found.supported && (!demanded || found.required == Some(true)));
        let told = match found.map(|found| (found.supported, found.required)) {
            None => CANNOT_BE_TOLD,
            Some((false, _)) => "not supported",
            Some((true, Some(true))) => "required",
            Some((true, Some(false))) => "supported, and not required",
            Some((true, None)) => "supported; whether it is required cannot be told",
        };
        let (wanted, of) = match demanded {
            true => ("required", "FIPS 140-3 IG D.Q, RFC 7627"),
            false => ("supported", "RFC 7627"),
        };
        self.rule_of("extended-master-secret", passed, told.to_owned(), wanted, of);
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
                "status" => ("certificate-status", "good, if stapled", "RFC 6960, RFC 7633"),
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
        if let Some(most) = self.parameters.lifetime_days {
            let verdict = self.parameters.check_lifetime(leaf);
            let days = facts.starts().zip(facts.ends()).map(|(starts, ends)| {
                format!("{} days", ends.duration_since(starts).as_hours() / 24)
            });
            let told = days.unwrap_or_else(|| "unreadable".to_owned());
            let wanted = format!("at most {most} days");
            self.rule("certificate-lifetime", verdict.is_ok(), told, wanted);
        }
    }

    /// How the certificates are signed, and with which keys, up to the trust anchor: that is what a client
    /// of ours relies on, whether it was sent or not. Nobody relies on the signature of a root. Where no
    /// anchor is reached there is nothing but what was sent.
    fn signatures(&mut self, chain: &Chain, weak: Option<String>) {
        let path = chain.path.as_deref().unwrap_or(&chain.sent);
        let mut wrong = Vec::from_iter(weak);
        let mut found = Vec::new();
        let mut keys = Vec::new();
        for (at, certificate) in path.iter().enumerate() {
            let facts = CertificateFacts::of(certificate);
            let which = match chain.sent.contains(certificate) {
                true => format!("certificate {at}"),
                false => format!("{}, which was not sent", shorten(&facts.subject)),
            };
            if at > 0 {
                let verdict =
                    certificate.public_key().map(|key| self.parameters.check_issuer_key(&key));
                keys.push(match verdict {
                    Ok(Ok(())) => Ok(facts.key),
                    Ok(Err(reason)) => Err(format!("{which}: {reason}")),
                    Err(_) => Err(format!("{which}: it has a key that cannot be read")),
                });
            }
            if at == 0 || facts.subject != facts.issuer {
                found.push(facts.signature_algorithm);
            }
            if let Err(reason) = self.parameters.check_signature(certificate) {
                wrong.push(format!("{which}: {reason}"));
            }
        }
        let told = match wrong.is_empty() {
            true => found.join(", "),
            false => format!("not allowed: {}", wrong.join(", ")),
        };
        let wanted = format!("signatures that {} allows", self.parameters.source);
        self.rule("certificate-signatures", wrong.is_empty(), told, wanted);
        if !keys.is_empty() {
            let passed = keys.iter().all(Result::is_ok);
            let told = keys.into_iter().map(|key| key.unwrap_or_else(|why| why));
            let told = told.collect::<Vec<_>>().join(", ");
            let wanted = format!("keys of issuers that {} allows", self.parameters.source);
            self.rule("certificate-issuer-keys", passed, told, wanted);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// An endpoint of which nothing is known but that it speaks these versions.
    fn unknown(versions: &[Version]) -> Inspection {
        let mut inspection =
            Inspection::new("localhost".to_owned(), "127.0.0.1:443".parse().unwrap());
        for version in versions {
            let offer = Offer { offered: true, decided: true, complete: true, ..Offer::default() };
            inspection.protocols.insert(*version, offer);
        }
        inspection
    }

    fn rule<'a>(judgement: &'a Judgement, name: &str) -> Option<&'a Rule> {
        judgement.rules.iter().find(|rule| rule.rule == name)
    }

    const BEFORE_TLS13: [&str; 4] =
        ["compression", "secure-renegotiation", "client-renegotiation", "extended-master-secret"];

    #[test]
    fn what_could_not_be_found_out_does_not_pass() {
        for policy in [Policy::Intermediate, Policy::Modern, Policy::Fips, Policy::Cnsa1] {
            let judgement = judge(&unknown(&[Version::TLS12, Version::TLS13]), policy, false);
            for name in BEFORE_TLS13.into_iter().chain(["early-data"]) {
                let rule = rule(&judgement, name).unwrap_or_else(|| panic!("{name} is missing"));
                assert!(!rule.passed, "{policy:?}: {rule:?}");
                assert_eq!(rule.found, CANNOT_BE_TOLD, "{name}");
            }
        }
    }

    #[test]
    fn a_rule_is_about_versions_that_are_offered() {
        let judgement = judge(&unknown(&[Version::TLS13]), Policy::Modern, false);
        assert!(BEFORE_TLS13.iter().all(|name| rule(&judgement, name).is_none()));
        let judgement = judge(&unknown(&[Version::TLS12]), Policy::Intermediate, false);
        assert!(rule(&judgement, "early-data").is_none());
    }

    #[test]
    fn who_is_not_let_in_is_not_asked_for_tickets_nor_renegotiation() {
        let mut closed = unknown(&[Version::TLS12, Version::TLS13]);
        closed.client_certificate = Some(ClientCertificate::Required);
        for (identified, passed) in [(false, true), (true, false)] {
            let judgement = judge(&closed, Policy::Intermediate, identified);
            for name in ["early-data", "client-renegotiation"] {
                assert_eq!(rule(&judgement, name).unwrap().passed, passed, "{name}");
            }
            assert!(!rule(&judgement, "secure-renegotiation").unwrap().passed);
        }
    }

    #[test]
    fn tickets_say_whether_early_data_is_taken() {
        let mut inspection = unknown(&[Version::TLS13]);
        for (tickets, early, passed) in
            [(Some(0), None, true), (Some(1), Some(0), true), (Some(1), Some(1), false)]
        {
            inspection.resumption.tls13_tickets = tickets;
            inspection.early_data = early;
            let judgement = judge(&inspection, Policy::Modern, false);
            assert_eq!(rule(&judgement, "early-data").unwrap().passed, passed, "{early:?}");
        }
    }

    #[test]
    fn a_prime_that_could_not_be_seen_does_not_pass() {
        let mut inspection = unknown(&[Version::TLS12]);
        let offer = inspection.protocols.get_mut(&Version::TLS12).unwrap();
        // TLS_DHE_RSA_WITH_AES_128_GCM_SHA256
        offer.suites.extend(super::super::facts::SuiteFacts::of(0x009e));
        let judgement = judge(&inspection, Policy::Intermediate, false);
        assert!(!rule(&judgement, "tls12-prime").unwrap().passed);
    }
}
