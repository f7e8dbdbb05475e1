//! What was found, as a library gives it out and as JSON has it.

use super::chain::{Chain, Staple};
use super::enumerate::{Alpn, Preference};
use super::handshake::{ClientCertificate, HttpHead};
use super::judge::Judgement;
use super::registry::{Group, Suite, Version};
use super::reply::Prime;
use sealpair_common::exit::Exit;
use sealpair_common::tls::TlsSession;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What was found. As JSON it is described in `docs/inspect.md`.
///
/// Text is as the endpoint has it: show it through [`Escaped`](sealpair_common::escape::Escaped).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// `sealpair.inspect/1`.
    pub schema: &'static str,
    /// The name that was indicated and expected.
    pub name: String,
    /// The address that was asked.
    pub address: SocketAddr,
    /// Every version, oldest first.
    pub protocols: BTreeMap<Version, Offer>,
    /// Extended master secret (RFC 7627); nothing where no version has it.
    pub extended_master_secret: Option<ExtendedMasterSecret>,
    /// Renegotiation; nothing where no version has it.
    pub renegotiation: Option<Renegotiation>,
    /// Whether DEFLATE is chosen when it is offered; nothing if it cannot be told or no version has it.
    pub compression: Option<bool>,
    /// How sessions can be resumed.
    pub resumption: Resumption,
    /// How many bytes of early data the tickets of TLS 1.3 allow; nothing if none came.
    pub early_data: Option<u32>,
    /// Application protocols: what the endpoint does with each.
    pub alpn: BTreeMap<&'static str, Option<Alpn>>,
    /// The stapled OCSP response: of several one that is refused; nothing if no chain was seen.
    pub ocsp_stapling: Option<Staple>,
    /// Whether a client certificate is wanted; nothing if that is not clear.
    pub client_certificate: Option<ClientCertificate>,
    /// The answer to a request for `/`, if it was one of HTTP.
    pub http: Option<HttpHead>,
    /// The session over which that was asked.
    pub session: Option<TlsSession>,
    /// Why no handshake could be finished, or no answer had.
    pub handshake_problem: Option<String>,
    /// The certificate chains that are presented; several where there are keys of several kinds.
    pub certificates: Vec<Chain>,
    /// What the policy says; `policy` in JSON.
    #[serde(rename = "policy")]
    pub judgement: Option<Judgement>,
    /// What could not be found out.
    pub notes: Vec<String>,
    /// How many connections it took.
    pub connections: usize,
    /// And how long.
    pub seconds: f64,
}

impl Inspection {
    /// Nothing found yet.
    pub(super) fn new(name: String, address: SocketAddr) -> Self {
        Self {
            schema: "sealpair.inspect/1",
            name,
            address,
            protocols: BTreeMap::new(),
            extended_master_secret: None,
            renegotiation: None,
            compression: None,
            resumption: Resumption::default(),
            early_data: None,
            alpn: BTreeMap::new(),
            ocsp_stapling: None,
            client_certificate: None,
            http: None,
            session: None,
            handshake_problem: None,
            certificates: Vec::new(),
            judgement: None,
            notes: Vec::new(),
            connections: 0,
            seconds: 0.0,
        }
    }

    /// What is offered in a version, if it is spoken.
    pub fn offer(&self, version: Version) -> Option<&Offer> {
        self.protocols.get(&version).filter(|offer| offer.offered)
    }

    /// The newest version before TLS 1.3 that is spoken.
    pub fn newest_before_tls13(&self) -> Option<(Version, &Offer)> {
        let spoken = self.protocols.iter().rev().filter(|(_, offer)| offer.offered);
        let mut before = spoken.filter(|(version, _)| **version < Version::TLS13);
        before.next().map(|(version, offer)| (*version, offer))
    }

    /// How a program ends over this: 31 if the policy is violated, 8 if no version is spoken, else 0.
    pub fn exit(&self) -> Exit {
        match &self.judgement {
            Some(judgement) if !judgement.passed => Exit::PolicyViolated,
            _ if !self.protocols.values().any(|offer| offer.offered) => Exit::Handshake,
            _ => Exit::Done,
        }
    }
}

/// What an endpoint offers in one version.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Offer {
    /// Whether the version is spoken.
    pub offered: bool,
    /// Whether that is certain.
    pub decided: bool,
    /// Whether the lists are complete.
    pub complete: bool,
    /// What was answered where it is not spoken.
    pub answer: Option<String>,
    /// The suites, in the endpoint's order where it has one.
    pub suites: Vec<SuiteFacts>,
    /// Who chooses among them; nothing if there is no choice.
    pub preference: Option<Preference>,
    /// The groups, likewise.
    pub groups: Vec<GroupFacts>,
    /// The prime of a key exchange with finite fields, before TLS 1.3.
    pub prime: Option<Prime>,
    /// The signature schemes; nothing where the version has none or it cannot be told.
    pub signature_schemes: Option<Vec<&'static str>>,
}

/// A suite that an endpoint offers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SuiteFacts {
    /// Its number, as `0x1301`.
    pub id: String,
    /// IANA's name.
    pub iana: &'static str,
    /// OpenSSL's name.
    pub openssl: Option<&'static str>,
    /// Whether recorded traffic stays secret when the key is stolen.
    pub forward_secrecy: bool,
    /// What is wrong with it.
    pub weakness: Option<&'static str>,
    #[serde(skip)]
    number: u16,
}

/// A group that an endpoint offers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GroupFacts {
    /// Its number.
    pub id: String,
    /// Its name.
    pub name: &'static str,
    /// OpenSSL's name.
    pub openssl: &'static str,
    /// Whether recorded traffic withstands a quantum computer.
    pub post_quantum: bool,
    #[serde(skip)]
    number: u16,
}

/// Extended master secret in TLS 1.2 and older.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExtendedMasterSecret {
    /// Whether it is agreed on.
    pub supported: bool,
    /// Whether clients without it are refused; nothing if that is not clear.
    pub required: Option<bool>,
}

/// Renegotiation in TLS 1.2 and older.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Renegotiation {
    /// Whether it is bound to the session before it (RFC 5746).
    pub secure: bool,
    /// Whether a client may ask for it; nothing if that is not clear.
    pub client_initiated: Option<bool>,
    /// How that was found out.
    pub explanation: String,
}

/// How sessions can be resumed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Resumption {
    /// Tickets in TLS 1.2 and older (RFC 5077).
    pub tls12_tickets: Option<bool>,
    /// Session ids in TLS 1.2 and older: the endpoint gives one.
    pub tls12_session_ids: Option<bool>,
    /// How many tickets came with one connection in TLS 1.3.
    pub tls13_tickets: Option<usize>,
}

impl Offer {
    /// The numbers of the suites.
    pub(super) fn suite_ids(&self) -> Vec<u16> {
        self.suites.iter().map(|suite| suite.number).collect()
    }
}

impl SuiteFacts {
    pub(super) fn of(number: u16) -> Option<Self> {
        Suite::of(number).map(|suite| Self {
            id: format!("{number:#06x}"),
            iana: suite.iana,
            openssl: suite.openssl,
            forward_secrecy: suite.has_forward_secrecy(),
            weakness: suite.weakness(),
            number,
        })
    }
}

impl GroupFacts {
    pub(super) fn of(number: u16) -> Option<Self> {
        Group::of(number).map(|group| Self {
            id: format!("{number:#06x}"),
            name: group.name,
            openssl: group.openssl,
            post_quantum: group.is_post_quantum(),
            number,
        })
    }
}
