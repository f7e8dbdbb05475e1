//! One inspection: which questions are asked when, and where the answers go.
//!
//! ```text
//! versions and suites ─▶ lists (groups, schemes), preference, the flight of TLS 1.2 ─▶ finished handshakes
//!                                                                                  ─▶ chains explained
//! ```

use super::chain::{Presented, Staple, Status, explain};
use super::enumerate::{self, Alpn, Found, Greeting, Preference, parallel};
use super::facts::{
    ExtendedMasterSecret, GroupFacts, Inspection, Offer, Renegotiation, SuiteFacts,
};
use super::handshake::{self, Renegotiated, Seen};
use super::hello::extension;
use super::probe::{Answer, Endpoint, Reply};
use super::registry::{SCHEMES, Scheme, Version};
use super::reply::Prime;
use super::{ClientCertificate, Options};
use jiff::Timestamp;
use openssl::x509::X509;
use sealpair_common::tls::examine::Examiner;
use sealpair_common::tls::survey::{SurveyOptions, groups_built_in, signatures_built_in};

/// The application protocols that are asked for.
const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// An inspection under way.
pub(super) struct Look<'a> {
    endpoint: &'a Endpoint,
    options: &'a Options,
    /// Groups for which a first hello must have a key share; empty where the server does without.
    shares: Vec<u16>,
    found: Inspection,
    /// The chains that were presented.
    chains: Vec<Presented>,
}

/// A question to a version of which the suites are known.
#[derive(Clone, Copy, Debug)]
enum Question {
    Lists(Version),
    Preference(Version),
    Flight(Version),
    WithoutExtendedMasterSecret(Version),
    Compression(Version),
    Alpn(Version, &'static str),
    Prime(Version),
    Chains(Version),
}

/// And its answer.
enum Told {
    Lists(Version, Found, Option<Found>),
    /// Whether the schemes of TLS 1.3 cannot be told.
    Untold(Version, Found),
    Preference(Version, Option<Preference>),
    Flight(Option<Box<Reply>>),
    WithoutExtendedMasterSecret(Option<bool>),
    Compression(Option<bool>),
    Alpn(&'static str, Option<Alpn>),
    Prime(Version, Option<Prime>),
    Chains(Vec<Presented>),
}

/// A handshake that is to be finished.
#[derive(Clone, Debug)]
enum Finish {
    See(SurveyOptions),
    Renegotiate(SurveyOptions),
    WithoutExtendedMasterSecret(SurveyOptions),
    Alpn(SurveyOptions, &'static str),
    Chain(SurveyOptions),
    /// As somebody without a certificate.
    Unidentified(SurveyOptions),
}

/// And what it shows.
enum Shown {
    Seen(Box<Seen>),
    Renegotiated(Renegotiated),
    WithoutExtendedMasterSecret(Option<bool>),
    Alpn(&'static str, Option<Alpn>),
    Chain(Option<(Vec<X509>, Option<Vec<u8>>)>),
    Unidentified(Option<ClientCertificate>),
}

impl<'a> Look<'a> {
    /// A look at an endpoint.
    pub(super) fn new(endpoint: &'a Endpoint, options: &'a Options) -> Self {
        let found = Inspection::new(options.name.to_string(), endpoint.address());
        Self { endpoint, options, shares: Vec::new(), found, chains: Vec::new() }
    }

    /// Asks everything.
    pub(super) fn run(mut self, greetings: &[Greeting], examiner: &Examiner) -> Inspection {
        self.versions(greetings);
        self.ask();
        self.finish();
        self.explain(examiner);
        self.found
    }

    /// Which versions are spoken, with which suites.
    fn versions(&mut self, greetings: &[Greeting]) {
        let asked: Vec<(Version, &Greeting)> = Version::ALL.into_iter().zip(greetings).collect();
        let endpoint = self.endpoint;
        let offers = parallel(&asked, |(version, greeting)| offer(endpoint, *version, greeting));
        self.shares = greetings.last().map(|last| last.shares.clone()).unwrap_or_default();
        self.found.protocols = Version::ALL.into_iter().zip(offers).collect();
    }

    /// What is not encrypted.
    fn ask(&mut self) {
        let mut questions = Vec::new();
        for (version, offer) in self.found.protocols.iter().rev() {
            if !offer.offered {
                continue;
            }
            questions.push(Question::Lists(*version));
            questions.push(Question::Preference(*version));
            if *version != Version::TLS13 {
                questions.extend([Question::Prime(*version), Question::Chains(*version)]);
            }
        }
        if let Some((version, _)) = self.found.newest_before_tls13() {
            questions.extend([
                Question::Flight(version),
                Question::WithoutExtendedMasterSecret(version),
                Question::Compression(version),
            ]);
            questions.extend(PROTOCOLS.map(|protocol| Question::Alpn(version, protocol)));
        }
        for told in parallel(&questions, |question| self.tell(*question)) {
            self.note(told);
        }
    }

    fn tell(&self, question: Question) -> Told {
        let endpoint = self.endpoint;
        let suites = |version| self.found.offer(version).map(Offer::suite_ids).unwrap_or_default();
        match question {
            Question::Lists(Version::TLS13) => {
                let groups = enumerate::groups_tls13(endpoint, !self.shares.is_empty());
                match enumerate::schemes_tls13(endpoint, &groups.chosen) {
                    Some(schemes) => Told::Lists(Version::TLS13, groups, Some(schemes)),
                    None => Told::Untold(Version::TLS13, groups),
                }
            }
            Question::Lists(version) => {
                let suites = suites(version);
                let groups = match version {
                    Version::SSL3 => Found::default(),
                    version => enumerate::groups_before(endpoint, version, &suites),
                };
                let schemes = (version == Version::TLS12)
                    .then(|| enumerate::schemes_tls12(endpoint, &suites));
                Told::Lists(version, groups, schemes)
            }
            Question::Preference(version) => {
                let shares = if version == Version::TLS13 { &self.shares[..] } else { &[] };
                let preference = enumerate::preference(endpoint, version, &suites(version), shares);
                Told::Preference(version, preference)
            }
            Question::Flight(version) => {
                Told::Flight(enumerate::flight(endpoint, version, &suites(version)))
            }
            Question::WithoutExtendedMasterSecret(version) => {
                let suites = suites(version);
                let told = enumerate::without_extended_master_secret(endpoint, version, &suites);
                Told::WithoutExtendedMasterSecret(told)
            }
            Question::Compression(version) => {
                Told::Compression(enumerate::compression(endpoint, version, &suites(version)))
            }
            Question::Alpn(version, protocol) => {
                let told = enumerate::alpn(endpoint, version, &suites(version), protocol);
                Told::Alpn(protocol, told)
            }
            Question::Prime(version) => {
                Told::Prime(version, enumerate::prime(endpoint, version, &suites(version)))
            }
            Question::Chains(version) => {
                Told::Chains(enumerate::chains(endpoint, version, &suites(version)))
            }
        }
    }

    fn note(&mut self, told: Told) {
        let found = &mut self.found;
        match told {
            Told::Untold(version, groups) => {
                note_lists(found, version, groups, None);
                let text = "the signature schemes of TLSv1.3 cannot be told without finishing a \
                     handshake with each";
                found.notes.push(text.to_owned());
            }
            Told::Lists(version, groups, schemes) => note_lists(found, version, groups, schemes),
            Told::Preference(version, preference) => {
                if let Some(offer) = found.protocols.get_mut(&version) {
                    offer.preference = preference;
                }
            }
            Told::Flight(Some(reply)) => {
                let hello = &reply.hello;
                found.extended_master_secret = Some(ExtendedMasterSecret {
                    supported: hello.has(extension::EXTENDED_MASTER_SECRET),
                    required: found.extended_master_secret.and_then(|found| found.required),
                });
                found.renegotiation = Some(Renegotiation {
                    secure: hello.has(extension::RENEGOTIATION_INFO),
                    client_initiated: None,
                    explanation: "was not asked".to_owned(),
                });
                found.resumption.tls12_tickets = Some(hello.has(extension::SESSION_TICKET));
                found.resumption.tls12_session_ids = Some(hello.session_id > 0);
                if reply.asks_for_certificate == Some(false) {
                    found.client_certificate = Some(ClientCertificate::None);
                }
            }
            Told::Flight(None) => {}
            Told::WithoutExtendedMasterSecret(accepted) => {
                let required = accepted.map(|accepted| !accepted);
                let supported = found.extended_master_secret.is_some_and(|found| found.supported);
                found.extended_master_secret = Some(ExtendedMasterSecret { supported, required });
            }
            Told::Compression(compression) => found.compression = compression,
            Told::Alpn(protocol, told) => {
                found.alpn.insert(protocol, told);
            }
            Told::Prime(version, prime) => {
                if let Some(offer) = found.protocols.get_mut(&version) {
                    offer.prime = prime;
                }
            }
            Told::Chains(chains) => self.chains.extend(chains),
        }
    }

    /// What only a finished handshake shows.
    fn finish(&mut self) {
        let mut wanted = Vec::new();
        let newest = Version::ALL.into_iter().rev().find_map(|version| self.survey(version));
        match &newest {
            Some((_, options)) => {
                wanted.push(Finish::See(options.clone()));
                if options.identity.is_some() {
                    let mut without = options.clone();
                    without.identity = None;
                    wanted.push(Finish::Unidentified(without));
                }
            }
            None => self.found.handshake_problem = Some(self.why_not()),
        }
        let before = self.found.newest_before_tls13().map(|(version, _)| version);
        if let Some((_, options)) = before.and_then(|version| self.survey(version)) {
            wanted.push(Finish::Renegotiate(options.clone()));
            let secret = self.found.extended_master_secret;
            if secret.is_some_and(|found| found.supported && found.required == Some(false)) {
                wanted.push(Finish::WithoutExtendedMasterSecret(options));
            }
        }
        if let Some((version, options)) = newest {
            if before.is_none() {
                let alpn = PROTOCOLS.map(|protocol| Finish::Alpn(options.clone(), protocol));
                wanted.extend(alpn);
            }
            if version == Version::TLS13 {
                wanted.extend(self.families(&options).map(Finish::Chain));
            }
        }
        let endpoint = self.endpoint;
        let shown = parallel(&wanted, |finish| match finish {
            Finish::See(options) => Shown::Seen(Box::new(handshake::see(endpoint, options))),
            Finish::Renegotiate(options) => {
                Shown::Renegotiated(handshake::renegotiate(endpoint, options))
            }
            Finish::WithoutExtendedMasterSecret(options) => Shown::WithoutExtendedMasterSecret(
                handshake::without_extended_master_secret(endpoint, options),
            ),
            Finish::Alpn(options, protocol) => {
                Shown::Alpn(protocol, handshake::alpn(endpoint, options, protocol))
            }
            Finish::Chain(options) => Shown::Chain(handshake::chain_for(endpoint, options)),
            Finish::Unidentified(options) => {
                Shown::Unidentified(handshake::see(endpoint, options).client_certificate)
            }
        });
        for shown in shown {
            self.take(shown);
        }
    }

    fn take(&mut self, shown: Shown) {
        match shown {
            Shown::Seen(seen) => self.seen(*seen),
            Shown::Renegotiated(Renegotiated { accepted, explanation }) => {
                if let Some(found) = &mut self.found.renegotiation {
                    found.client_initiated = accepted;
                    found.explanation = explanation;
                }
            }
            Shown::WithoutExtendedMasterSecret(accepted) => {
                if let Some(found) = &mut self.found.extended_master_secret {
                    found.required = accepted.map(|accepted| !accepted);
                }
            }
            Shown::Alpn(protocol, told) => {
                self.found.alpn.insert(protocol, told);
            }
            Shown::Chain(Some((chain, staple))) => {
                self.chains.push(presented(Version::TLS13, &chain, staple));
            }
            Shown::Chain(None) => {}
            // That it asks is known already.
            Shown::Unidentified(Some(wanted)) if wanted != ClientCertificate::Asked => {
                self.found.client_certificate = Some(wanted);
            }
            Shown::Unidentified(_) => {}
        }
    }

    fn seen(&mut self, seen: Seen) {
        let found = &mut self.found;
        let name = seen.session.as_ref().map(|session| session.protocol);
        let version = Version::ALL.into_iter().find(|version| version.name() == name);
        // Tickets come to who gets in, from some with the first answer only.
        let refused = seen.client_certificate == Some(ClientCertificate::Required)
            || (seen.problem.is_some() && seen.tickets.is_empty());
        if version == Some(Version::TLS13) && !refused {
            found.resumption.tls13_tickets = Some(seen.tickets.len());
            found.early_data = seen.tickets.iter().map(|ticket| ticket.max_early_data).max();
        }
        // "It does not ask" of TLS 1.2 is not what counts where TLS 1.3 is spoken, too.
        found.client_certificate = seen.client_certificate.or(found.client_certificate);
        found.session = seen.session;
        found.http = seen.http;
        found.handshake_problem = seen.problem;
        if let Some(version) = version {
            self.chains.push(presented(version, &seen.chain, seen.staple));
        }
    }

    /// With what a handshake of this version can be finished by the linked OpenSSL.
    fn survey(&self, version: Version) -> Option<(Version, SurveyOptions)> {
        let offer = self.found.offer(version)?;
        let mut options = SurveyOptions::default();
        options.version = Some(handshake::ssl_version(version)?);
        options.groups = groups_built_in(offer.groups.iter().map(|group| group.openssl));
        options.identity = self.options.identity.clone();
        let possible = version != Version::TLS13 || !options.groups.is_empty();
        possible.then_some((version, options))
    }

    fn why_not(&self) -> String {
        match self.found.offer(Version::TLS13) {
            Some(offer) => {
                let names: Vec<&str> = offer.groups.iter().map(|group| group.name).collect();
                format!("the linked OpenSSL has no group of {}", names.join(", "))
            }
            None => "the linked OpenSSL speaks no version that is offered".to_owned(),
        }
    }

    /// A server may have a certificate for each kind of key: one handshake for each kind of scheme that it
    /// takes.
    fn families(&self, options: &SurveyOptions) -> impl Iterator<Item = SurveyOptions> {
        let offer = self.found.offer(Version::TLS13);
        let accepted = offer.and_then(|offer| offer.signature_schemes.clone()).unwrap_or_default();
        let schemes = SCHEMES.into_iter().filter(move |scheme| accepted.contains(&scheme.name));
        let mut families: Vec<(&str, Vec<&str>)> = Vec::new();
        for scheme in schemes {
            match families.iter_mut().find(|(family, _)| *family == scheme.family()) {
                Some((_, names)) => names.push(scheme.name),
                None => families.push((scheme.family(), vec![scheme.name])),
            }
        }
        // Of one kind there is nothing but what is seen anyway.
        let several = families.len() > 1;
        let options = options.clone();
        families.into_iter().filter(move |_| several).filter_map(move |(_, names)| {
            let signatures = signatures_built_in(names);
            let possible = !signatures.is_empty();
            let mut options = options.clone();
            options.signatures = signatures;
            possible.then_some(options)
        })
    }

    /// Holds the chains against every rule, each once.
    fn explain(&mut self, examiner: &Examiner) {
        let now = Timestamp::now();
        let mut distinct: Vec<(Vec<u8>, Vec<Presented>)> = Vec::new();
        for presented in self.chains.drain(..).rev().filter(|it| !it.certificates.is_empty()) {
            let chain = presented.certificates.concat();
            match distinct.iter_mut().find(|(other, _)| *other == chain) {
                Some((_, all)) => all.push(presented),
                None => distinct.push((chain, vec![presented])),
            }
        }
        for (_, all) in distinct {
            let Some(ders) = all.first().map(|first| &first.certificates) else { continue };
            let mut versions: Vec<Version> = all.iter().map(|it| it.version).collect();
            versions.sort_unstable();
            versions.dedup();
            let statuses: Vec<Status> = all.iter().map(|it| it.status.clone()).collect();
            let sent: Result<Vec<X509>, _> = ders.iter().map(|der| X509::from_der(der)).collect();
            let Ok(sent) = sent else {
                let text = format!("a certificate of a chain of {} cannot be read", ders.len());
                self.found.notes.push(text);
                continue;
            };
            match explain(sent, versions, &statuses, examiner, &self.options.name, now) {
                Ok(chain) => self.found.certificates.extend(chain),
                Err(error) => {
                    self.found.notes.push(format!("a chain cannot be verified: {error}"));
                }
            }
        }
        // Of several the first that is refused, else the first that is there.
        let staples = self.found.certificates.iter().rev().map(|chain| &chain.staple);
        let weight = |staple: &&Staple| (staple.is_bad(), staple.stapled);
        self.found.ocsp_stapling = staples.max_by_key(weight).cloned();
    }
}

fn presented(version: Version, chain: &[X509], staple: Option<Vec<u8>>) -> Presented {
    let status = staple.map_or(Status::Absent, Status::Stapled);
    Presented { version, certificates: encoded(chain), status }
}

fn encoded(chain: &[X509]) -> Vec<Vec<u8>> {
    chain.iter().filter_map(|certificate| certificate.to_der().ok()).collect()
}

fn note_lists(found: &mut Inspection, version: Version, groups: Found, schemes: Option<Found>) {
    let Some(offer) = found.protocols.get_mut(&version) else { return };
    offer.complete &= !groups.is_incomplete();
    offer.groups = groups.chosen.into_iter().filter_map(GroupFacts::of).collect();
    if let Some(schemes) = schemes {
        offer.complete &= !schemes.is_incomplete();
        let schemes = schemes.chosen.into_iter().filter_map(Scheme::of);
        offer.signature_schemes = Some(schemes.map(|scheme| scheme.name).collect());
    }
}

/// Whether a version is spoken, and with which suites.
fn offer(endpoint: &Endpoint, version: Version, greeting: &Greeting) -> Offer {
    let Greeting { answer: greeting, shares } = greeting;
    let spoken = greeting.reply().is_some_and(|reply| reply.hello.version == version);
    // It may have none of the suites that nearly everybody has.
    let other_suites = matches!(greeting, Answer::Alert(40 | 71));
    if !spoken && !other_suites {
        return Offer {
            decided: !greeting.is_undecided(),
            complete: true,
            answer: Some(in_words(greeting)),
            ..Offer::default()
        };
    }
    let found = enumerate::suites(endpoint, version, shares);
    let suites: Vec<SuiteFacts> = found.chosen.iter().copied().filter_map(SuiteFacts::of).collect();
    let offered = !suites.is_empty();
    Offer {
        offered,
        decided: offered || !found.is_incomplete(),
        complete: !found.is_incomplete(),
        answer: (!offered).then(|| in_words(greeting)),
        suites,
        ..Offer::default()
    }
}

/// An answer that is no yes, in words.
fn in_words(answer: &Answer) -> String {
    match answer {
        Answer::Hello(reply) => format!("it chooses {} instead", reply.hello.version),
        Answer::Alert(number) => match sealpair_common::tls::alert_name(*number) {
            "an unknown alert" => format!("alert {number}"),
            name => format!("alert {name}"),
        },
        Answer::Closed => "it closes the connection".to_owned(),
        Answer::Silent => "it does not answer".to_owned(),
        Answer::Malformed(what) => what.to_string(),
        Answer::Unreachable(kind) => format!("no connection: {kind}"),
        Answer::Unasked => "not asked: a limit was reached".to_owned(),
    }
}
