//! The questions: what an endpoint offers is what it chooses when it is offered less and less.
//!
//! Every list is found in the same way: offer all of it, note what is chosen, offer the rest, until nothing
//! is chosen any more. That takes one connection more than there are answers, whatever the list's length.

use super::chain::Presented;
use super::hello::{Hello, share};
use super::probe::{Answer, Endpoint, Reply, Until};
use super::registry::{Group, Scheme, Suite, Version};
use super::reply::KeyExchange;
use sealpair_common::tls::ServerName;
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Older servers stumble over more suites than this in one hello.
const SUITES_AT_A_TIME: usize = 64;

/// What was found of one list.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// What was chosen, in the order in which it was.
    pub chosen: Vec<u16>,
    /// Why the last question ended without a choice; `None` if there was nothing left to offer.
    pub end: Option<Answer>,
}

impl Found {
    /// Whether there may be more than was found.
    pub(super) fn is_incomplete(&self) -> bool {
        self.end.as_ref().is_some_and(Answer::is_undecided)
    }
}

/// A hello that offers everything of a version but compression.
pub(super) fn everything(endpoint: &Endpoint, version: Version) -> Hello {
    let server_name = match endpoint.name() {
        ServerName::Dns(name) => Some(name.clone()),
        ServerName::Ip(_) => None,
    };
    Hello {
        version,
        suites: Suite::all().filter(|suite| suite.fits(version)).map(|suite| suite.id).collect(),
        groups: Group::of_version(version).map(|group| group.id).collect(),
        schemes: Scheme::of_version(version).map(|scheme| scheme.id).collect(),
        shares: Vec::new(),
        server_name,
        compression: false,
        extended_master_secret: true,
        alpn: Vec::new(),
        status_request: false,
    }
}

/// Runs a function for each input, several at a time; the results are in the order of the inputs.
pub(super) fn parallel<T: Sync, R: Send>(inputs: &[T], ask: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(inputs.len()));
    let work = || {
        while let Some((at, input)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            inputs.get(at).map(|input| (at, input))
        } {
            let result = ask(input);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        // This thread is one of them. Where no other can be had, it does all the work.
        for _ in 1..inputs.len().min(super::probe::AT_A_TIME) {
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Asks with ever less of `offered`, until nothing is chosen. `ask` says what was chosen of it.
fn exhaust(mut offered: Vec<u16>, ask: impl Fn(&[u16]) -> Result<u16, Answer>) -> Found {
    let mut found = Found::default();
    while !offered.is_empty() {
        match ask(&offered) {
            Ok(choice) if offered.contains(&choice) => {
                offered.retain(|other| *other != choice);
                found.chosen.push(choice);
            }
            // What was not offered must not be chosen; asking on would never end.
            Ok(_) => {
                found.end = Some(Answer::Closed);
                break;
            }
            Err(answer) => {
                found.end = Some(answer);
                break;
            }
        }
    }
    found
}

/// The reply of this very version, or what came instead.
fn of_version(answer: Answer, version: Version) -> Result<Box<Reply>, Answer> {
    match answer {
        Answer::Hello(reply) if reply.hello.version == version => Ok(reply),
        // Another version: this one is not spoken with what was offered.
        Answer::Hello(_) => Err(Answer::Closed),
        other => Err(other),
    }
}

/// The groups of the key shares that go to a server which wants some in the first hello.
const SHARES: [u16; 3] = [29, 23, 24];

/// What was answered to the first question for a version.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    /// The answer.
    pub(super) answer: Answer,
    /// The groups for which a hello must have a key share to be answered; none as a rule.
    pub(super) shares: Vec<u16>,
}

/// The first question for a version: with the suites that nearly every server has.
pub(super) fn greet(endpoint: &Endpoint, version: Version) -> Greeting {
    let mut hello = everything(endpoint, version);
    if version != Version::TLS13 {
        hello.suites = common_suites(version).map(|suite| suite.id).collect();
    }
    let answer = endpoint.ask(&hello, Until::Hello);
    if version == Version::TLS13 && matches!(answer, Answer::Alert(_) | Answer::Closed) {
        let shares = SHARES.to_vec();
        let hello = Hello { groups: shares.clone(), shares: shares.clone(), ..hello };
        if let answer @ Answer::Hello(_) = endpoint.ask(&hello, Until::Hello) {
            return Greeting { answer, shares };
        }
    }
    Greeting { answer, shares: Vec::new() }
}

fn common_suites(version: Version) -> impl Iterator<Item = Suite> {
    Suite::all().filter(move |suite| suite.fits(version) && suite.is_common())
}

/// The suites of a version, each with what the first answer said.
pub(super) fn suites(endpoint: &Endpoint, version: Version, shares: &[u16]) -> Found {
    let mut portions: Vec<Vec<u16>> = Vec::new();
    if version == Version::TLS13 {
        portions
            .push(Suite::all().filter(|suite| suite.is_tls13()).map(|suite| suite.id).collect());
    } else {
        portions.push(common_suites(version).map(|suite| suite.id).collect());
        let rest = Suite::all().filter(|suite| suite.fits(version) && !suite.is_common());
        let rest: Vec<u16> = rest.map(|suite| suite.id).collect();
        portions.extend(rest.chunks(SUITES_AT_A_TIME).map(<[u16]>::to_vec));
    }
    let found = parallel(&portions, |portion| {
        exhaust(portion.clone(), |offered| {
            let mut hello = everything(endpoint, version);
            hello.suites = offered.to_vec();
            hello.shares = shares.to_vec();
            if !shares.is_empty() {
                hello.groups.retain(|group| shares.contains(group));
            }
            let answer = endpoint.ask(&hello, Until::Hello);
            of_version(answer, version).map(|reply| reply.hello.suite)
        })
    });
    let mut all = Found::default();
    for portion in found {
        all.chosen.extend(portion.chosen);
        if all.end.is_none() || portion.end.as_ref().is_some_and(Answer::is_undecided) {
            all.end = portion.end;
        }
    }
    all
}

/// Who chooses among the suites.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Preference {
    /// The client's first is taken.
    Client,
    /// The server has an order of its own.
    Server,
}

/// Asks with the suites in one order and in the other.
pub(super) fn preference(
    endpoint: &Endpoint,
    version: Version,
    suites: &[u16],
    shares: &[u16],
) -> Option<Preference> {
    if suites.len() < 2 {
        return None;
    }
    let forward = suites.to_vec();
    let backward: Vec<u16> = suites.iter().rev().copied().collect();
    let chosen = parallel(&[forward, backward], |order| {
        let mut hello = everything(endpoint, version);
        hello.suites.clone_from(order);
        hello.shares = shares.to_vec();
        let reply = of_version(endpoint.ask(&hello, Until::Hello), version).ok()?;
        Some(reply.hello.suite)
    });
    match chosen[..] {
        [Some(one), Some(other)] if one == other => Some(Preference::Server),
        [Some(_), Some(_)] => Some(Preference::Client),
        _ => None,
    }
}

/// The groups of TLS 1.3, from HelloRetryRequests; for a server that wants a key share in the first hello
/// (`shares`), those of the groups for which there is one.
pub(super) fn groups_tls13(endpoint: &Endpoint, shares: bool) -> Found {
    let all = everything(endpoint, Version::TLS13);
    let ask = |hello: &Hello| {
        let reply = of_version(endpoint.ask(hello, Until::Hello), Version::TLS13)?;
        reply.hello.group.ok_or(Answer::Closed)
    };
    if !shares {
        return exhaust(all.groups.clone(), |offered| {
            ask(&Hello { groups: offered.to_vec(), ..all.clone() })
        });
    }
    let possible: Vec<u16> = all.groups.iter().copied().filter(|g| share(*g).is_some()).collect();
    let answers = parallel(&possible, |group| {
        ask(&Hello { groups: vec![*group], shares: vec![*group], ..all.clone() })
    });
    let mut found = Found::default();
    for (group, answer) in possible.into_iter().zip(answers) {
        match answer {
            Ok(choice) if choice == group => found.chosen.push(group),
            Err(answer) if answer.is_undecided() => found.end = Some(answer),
            _ => {}
        }
    }
    found
}

/// What a TLS 1.2 (or older) server chose, with this hello.
fn key_exchange(endpoint: &Endpoint, hello: &Hello) -> Result<(KeyExchange, Box<Reply>), Answer> {
    let reply = of_version(endpoint.ask(hello, Until::Flight), hello.version)?;
    let exchange = match (Suite::of(reply.hello.suite), &reply.key_exchange) {
        (Some(suite), Some(body)) => {
            KeyExchange::parse(suite, hello.version, body).map_err(Answer::Malformed)?
        }
        _ => None,
    };
    Ok((exchange.ok_or(Answer::Closed)?, reply))
}

/// The groups of a version before TLS 1.3, from ServerKeyExchange messages.
///
/// A server with an ECDSA certificate also looks in the list of groups for the curve of its certificate
/// (RFC 8422 section 5.1.1). So where it can be avoided no such suite is offered, and where it cannot, the
/// curve stays at the end of the list.
pub(super) fn groups_before(endpoint: &Endpoint, version: Version, suites: &[u16]) -> Found {
    let all = everything(endpoint, version);
    let ecdhe = || suites.iter().copied().filter_map(Suite::of).filter(|suite| suite.is_ecdhe());
    let free: Vec<u16> = ecdhe().filter(|suite| !suite.signs_with_ecdsa()).map(|s| s.id).collect();
    let bound = free.is_empty();
    let suites = if bound { ecdhe().map(|suite| suite.id).collect() } else { free };
    if suites.is_empty() {
        return Found::default();
    }
    let curve: Mutex<Option<u16>> = Mutex::new(None);
    exhaust(all.groups.clone(), |offered| {
        let mut groups = offered.to_vec();
        let known = *curve.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(curve) = known {
            groups.retain(|group| *group != curve);
            groups.push(curve);
        }
        let hello = Hello { groups, suites: suites.clone(), ..all.clone() };
        let (exchange, reply) = key_exchange(endpoint, &hello)?;
        if bound && known.is_none() {
            let leaf = reply.certificates.first().and_then(|der| certificate_curve(der));
            *curve.lock().unwrap_or_else(PoisonError::into_inner) = leaf;
        }
        exchange.group.ok_or(Answer::Closed)
    })
}

/// The group of an ECDSA certificate's key.
fn certificate_curve(der: &[u8]) -> Option<u16> {
    let key = openssl::x509::X509::from_der(der).ok()?.public_key().ok()?;
    let curve = key.ec_key().ok()?.group().curve_name()?.short_name().ok()?;
    let group = Group::of_openssl(curve);
    group.map(|group| group.id)
}

/// The signature schemes of TLS 1.2, from ServerKeyExchange messages.
pub(super) fn schemes_tls12(endpoint: &Endpoint, suites: &[u16]) -> Found {
    let all = everything(endpoint, Version::TLS12);
    let signed = suites.iter().copied().filter_map(Suite::of);
    let signed =
        signed.filter(|suite| (suite.is_ecdhe() || suite.is_dhe()) && suite.has_certificate());
    let suites: Vec<u16> = signed.map(|suite| suite.id).collect();
    if suites.is_empty() {
        return Found::default();
    }
    exhaust(all.schemes.clone(), |offered| {
        let hello = Hello { schemes: offered.to_vec(), suites: suites.clone(), ..all.clone() };
        key_exchange(endpoint, &hello)?.0.scheme.ok_or(Answer::Closed)
    })
}

/// The signature schemes of TLS 1.3: those with which alone the server goes on to its ServerHello. What
/// it signs is encrypted, so this needs a key share for a group that it takes.
///
/// `None` where it cannot be told: the server goes on with a scheme that does not exist, too.
pub(super) fn schemes_tls13(endpoint: &Endpoint, groups: &[u16]) -> Option<Found> {
    /// A number of the private use range (RFC 8446 section 4.2.3).
    const NONE: u16 = 0xfe0a;
    let group = groups.iter().copied().find(|group| share(*group).is_some())?;
    let all =
        Hello { groups: vec![group], shares: vec![group], ..everything(endpoint, Version::TLS13) };
    let mut questions: Vec<u16> = vec![NONE];
    questions.extend(&all.schemes);
    let accepted = parallel(&questions, |scheme| {
        let hello = Hello { schemes: vec![*scheme], ..all.clone() };
        of_version(endpoint.ask(&hello, Until::Hello), Version::TLS13)
            .map(|reply| !reply.hello.retry)
    });
    if !matches!(accepted.first(), Some(Err(_) | Ok(false))) {
        return None;
    }
    let mut found = Found::default();
    for (scheme, accepted) in questions.into_iter().zip(accepted).skip(1) {
        match accepted {
            Ok(true) => found.chosen.push(scheme),
            Ok(false) => {}
            Err(answer) if answer.is_undecided() => found.end = Some(answer),
            Err(_) => {}
        }
    }
    Some(found)
}

/// What one whole flight of TLS 1.2 (or older) shows.
pub(super) fn flight(endpoint: &Endpoint, version: Version, suites: &[u16]) -> Option<Box<Reply>> {
    let mut hello = everything(endpoint, version);
    hello.suites = suites.to_vec();
    hello.status_request = true;
    of_version(endpoint.ask(&hello, Until::Flight), version).ok()
}

/// Whether TLS 1.2 (or older) is spoken without extended master secret; `None` if that is not clear.
pub(super) fn without_extended_master_secret(
    endpoint: &Endpoint,
    version: Version,
    suites: &[u16],
) -> Option<bool> {
    let mut hello = everything(endpoint, version);
    hello.suites = suites.to_vec();
    hello.extended_master_secret = false;
    match of_version(endpoint.ask(&hello, Until::Flight), version) {
        Ok(_) => Some(true),
        Err(answer) if answer.is_undecided() => None,
        Err(_) => Some(false),
    }
}

/// Whether compression is chosen when it is offered; `None` if that is not clear.
pub(super) fn compression(endpoint: &Endpoint, version: Version, suites: &[u16]) -> Option<bool> {
    let mut hello = everything(endpoint, version);
    hello.suites = suites.to_vec();
    hello.compression = true;
    match of_version(endpoint.ask(&hello, Until::Hello), version) {
        Ok(reply) => Some(reply.hello.compression != 0),
        Err(answer) if answer.is_undecided() => None,
        // It may refuse a hello that offers it; then it is not chosen.
        Err(_) => Some(false),
    }
}

/// What an endpoint does with an application protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Alpn {
    /// It is agreed on.
    Agreed,
    /// It is passed over in silence.
    Ignored,
    /// The handshake is refused because of it (RFC 7301 section 3.2).
    Refused,
}

/// Whether TLS 1.2 (or older) agrees on this application protocol; `None` if that is not clear.
pub(super) fn alpn(
    endpoint: &Endpoint,
    version: Version,
    suites: &[u16],
    protocol: &'static str,
) -> Option<Alpn> {
    let mut hello = everything(endpoint, version);
    hello.suites = suites.to_vec();
    hello.alpn = vec![protocol];
    match of_version(endpoint.ask(&hello, Until::Hello), version) {
        Ok(reply) if reply.hello.alpn.as_deref() == Some(protocol.as_bytes()) => Some(Alpn::Agreed),
        Ok(_) => Some(Alpn::Ignored),
        Err(Answer::Alert(_)) => Some(Alpn::Refused),
        Err(_) => None,
    }
}

/// The parameters of a key exchange with finite fields.
pub(super) fn prime(
    endpoint: &Endpoint,
    version: Version,
    suites: &[u16],
) -> Option<super::reply::Prime> {
    let mut hello = everything(endpoint, version);
    let dhe = suites.iter().copied().filter_map(Suite::of).filter(|suite| suite.is_dhe());
    hello.suites = dhe.map(|suite| suite.id).collect();
    if hello.suites.is_empty() {
        return None;
    }
    key_exchange(endpoint, &hello).ok()?.0.prime
}

/// The chains that a version before TLS 1.3 presents: for RSA, and for ECDSA.
pub(super) fn chains(endpoint: &Endpoint, version: Version, suites: &[u16]) -> Vec<Presented> {
    let all: Vec<Suite> = suites.iter().copied().filter_map(Suite::of).collect();
    let ids = |wanted: &dyn Fn(&Suite) -> bool| -> Vec<u16> {
        all.iter().filter(|suite| wanted(suite)).map(|suite| suite.id).collect()
    };
    let ecdsa = ids(&|suite| suite.signs_with_ecdsa());
    let others = ids(&|suite| suite.has_certificate() && !suite.signs_with_ecdsa());
    let questions: Vec<Vec<u16>> =
        [ecdsa, others].into_iter().filter(|suites| !suites.is_empty()).collect();
    let replies = parallel(&questions, |suites| flight(endpoint, version, suites));
    let replies = replies.into_iter().flatten();
    let presented = replies.map(|reply| {
        let status = reply.status();
        Presented { version, certificates: reply.certificates, status }
    });
    presented.filter(|presented| !presented.certificates.is_empty()).collect()
}
