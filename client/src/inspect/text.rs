//! What was found, for people: complete lines, with everything that came from the network escaped.

use super::chain::{Chain, shorten};
use super::enumerate::{Alpn, Preference};
use super::facts::{Inspection, Offer};
use super::handshake::ClientCertificate;
use super::judge::Judgement;
use super::registry::Version;
use sealpair_common::escape::Escaped;
use sealpair_common::tls::CertStatus;
use std::fmt::Write as _;

/// The label column.
const WIDTH: usize = 24;

/// The text of an inspection.
pub fn text(found: &Inspection) -> String {
    let mut out = Out(String::new());
    out.line(&format!(
        "{} at {}: {} connections in {:.2} s",
        found.name, found.address, found.connections, found.seconds
    ));
    out.heading("Protocols");
    for (version, offer) in &found.protocols {
        out.row(&version.to_string(), &protocol(offer));
    }
    for (version, offer) in found.protocols.iter().rev().filter(|(_, offer)| offer.offered) {
        lists(&mut out, *version, offer);
    }
    out.heading("Connection");
    connection(&mut out, found);
    for chain in &found.certificates {
        certificates(&mut out, chain);
    }
    if found.certificates.is_empty() {
        out.heading("Certificates");
        out.row("", "none could be seen");
    }
    if let Some(judgement) = &found.judgement {
        rules(&mut out, judgement);
    }
    for note in &found.notes {
        out.heading("Note");
        out.row("", note);
    }
    out.0
}

struct Out(String);

impl Out {
    fn line(&mut self, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{}", Escaped(text));
    }

    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.0, "\n{}", Escaped(text));
    }

    fn row(&mut self, label: &str, value: &str) {
        let value = if value.is_empty() { "-" } else { value };
        match label.is_empty() {
            true => _ = writeln!(self.0, "  {}", Escaped(value)),
            false => _ = writeln!(self.0, "  {label:<WIDTH$} {}", Escaped(value)),
        }
    }
}

fn protocol(offer: &Offer) -> String {
    match (offer.offered, &offer.answer) {
        (true, _) => "offered".to_owned(),
        (false, Some(answer)) if offer.decided => format!("not offered ({answer})"),
        (false, Some(answer)) => format!("cannot be told ({answer})"),
        (false, None) => "not offered".to_owned(),
    }
}

fn lists(out: &mut Out, version: Version, offer: &Offer) {
    out.heading(&format!("{version}"));
    for (at, suite) in offer.suites.iter().enumerate() {
        let name = match suite.openssl {
            Some(openssl) if openssl != suite.iana => format!("{} ({openssl})", suite.iana),
            _ => suite.iana.to_owned(),
        };
        let weakness = suite.weakness.map(|weak| format!(": {weak}")).unwrap_or_default();
        out.row(if at == 0 { "suites" } else { " " }, &format!("{name}{weakness}"));
    }
    if let Some(preference) = offer.preference {
        let text = match preference {
            Preference::Client => "the client's",
            Preference::Server => "the server's",
        };
        out.row("order", text);
    }
    if !offer.groups.is_empty() {
        let names: Vec<&str> = offer.groups.iter().map(|group| group.name).collect();
        out.row("groups", &names.join(", "));
    }
    if let Some(prime) = offer.prime {
        let origin = prime.origin.map(|origin| format!(" ({origin})")).unwrap_or_default();
        out.row("prime", &format!("{} bits{origin}", prime.bits));
    }
    if let Some(schemes) = &offer.signature_schemes {
        let names = if schemes.is_empty() { "none".to_owned() } else { schemes.join(", ") };
        out.row("signatures", &names);
    }
    if !offer.complete {
        out.row("incomplete", "it stopped answering: there may be more");
    }
}

fn connection(out: &mut Out, found: &Inspection) {
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let told = |told: Option<bool>| told.map_or("cannot be told", yes);
    if let Some(secret) = found.extended_master_secret {
        let text = match (secret.supported, secret.required) {
            (false, _) => "no",
            (true, Some(true)) => "yes, and required",
            (true, _) => "yes",
        };
        out.row("extended master secret", text);
    }
    if let Some(renegotiation) = &found.renegotiation {
        out.row("secure renegotiation", yes(renegotiation.secure));
        let text =
            format!("{} ({})", told(renegotiation.client_initiated), renegotiation.explanation);
        out.row("client may renegotiate", &text);
    }
    if found.newest_before_tls13().is_some() {
        out.row("compression", told(found.compression));
    }
    let resumption = &found.resumption;
    if let Some(tickets) = resumption.tls12_tickets {
        let ids = told(resumption.tls12_session_ids);
        out.row(
            "resumption",
            &format!("tickets {}, session ids {ids}, up to TLSv1.2", yes(tickets)),
        );
    }
    if let Some(tickets) = resumption.tls13_tickets {
        let early = match found.early_data {
            Some(0) | None => "no early data".to_owned(),
            Some(bytes) => format!("{bytes} bytes of early data"),
        };
        out.row("tickets of TLSv1.3", &format!("{tickets}, {early}"));
    }
    for (protocol, told) in &found.alpn {
        let text = match told {
            Some(Alpn::Agreed) => "agreed on",
            Some(Alpn::Ignored) => "passed over",
            Some(Alpn::Refused) => "refused",
            None => "cannot be told",
        };
        out.row(&format!("ALPN {protocol}"), text);
    }
    if let Some(staple) = &found.ocsp_stapling {
        let mut text = yes(staple.stapled).to_owned();
        for part in [staple.certificate.map(CertStatus::name), staple.problem.as_deref()]
            .into_iter()
            .flatten()
        {
            let _ = write!(text, ", {part}");
        }
        if let Some(next) = &staple.next_update {
            let _ = write!(text, ", until {next}");
        }
        out.row("OCSP stapled", &text);
    }
    let wanted = match found.client_certificate {
        Some(ClientCertificate::None) => "not asked for",
        Some(ClientCertificate::Asked) => "asked for; whether it is required cannot be told",
        Some(ClientCertificate::Optional) => "asked for, not required",
        Some(ClientCertificate::Required) => "required",
        None => "cannot be told",
    };
    out.row("client certificate", wanted);
    let hsts = match &found.http {
        Some(head) => match &head.strict_transport_security {
            Some(value) => shorten(value),
            None => format!("none (HTTP status {})", head.status),
        },
        None => "cannot be told".to_owned(),
    };
    out.row("HSTS", &hsts);
    if let Some(problem) = &found.handshake_problem {
        out.row(if found.session.is_some() { "request" } else { "handshake" }, problem);
    }
}

fn certificates(out: &mut Out, chain: &Chain) {
    let versions: Vec<String> = chain.versions.iter().map(ToString::to_string).collect();
    let verdict = if chain.valid { "valid" } else { "NOT VALID" };
    out.heading(&format!("Certificates in {}: {verdict}", versions.join(", ")));
    for (at, facts) in chain.certificates.iter().enumerate() {
        let subject = match facts.subject.is_empty() {
            true => "(no subject)".to_owned(),
            false => shorten(&facts.subject),
        };
        out.row(&at.to_string(), &format!("{subject}, from {}", shorten(&facts.issuer)));
    }
    for check in &chain.checks {
        let mark = if check.passed { "pass" } else { "FAIL" };
        out.row(&format!("{mark}  {}", check.check), &check.explanation);
    }
}

fn rules(out: &mut Out, judgement: &Judgement) {
    let failed = judgement.rules.iter().filter(|rule| !rule.passed).count();
    let verdict = match failed {
        0 => "passed".to_owned(),
        1 => "VIOLATED by 1 rule".to_owned(),
        count => format!("VIOLATED by {count} rules"),
    };
    let Judgement { policy, source, .. } = judgement;
    out.heading(&format!("Policy {policy} ({source}): {verdict}"));
    for rule in &judgement.rules {
        let mark = if rule.passed { "pass" } else { "FAIL" };
        let mut text = rule.found.clone();
        if !rule.passed {
            let _ = write!(text, "; wanted: {}", rule.wanted);
        }
        if rule.source != *source {
            let _ = write!(text, " [{}]", rule.source);
        }
        out.row(&format!("{mark}  {}", rule.rule), &text);
    }
}
