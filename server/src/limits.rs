//! The bounds that the engine sets to every peer.

use crate::http::head::HeadLimits;
use sealpair_common::tls::{Pace, Patience};
use std::time::Duration;

/// How much and how long: every wait of a connection has a bound here.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; more wait in the listen backlog. 10,000 unless set.
    pub max_connections: usize,
    /// The whole TLS handshake. 10 s unless set.
    pub handshake: Duration,
    /// A whole request head, from its first byte; for the first request of a connection, from the end
    /// of the handshake, so that a client that says nothing is not idle but late. 20 s unless set.
    pub head: Duration,
    /// Without a byte moving: between requests, while content arrives, while a response is taken.
    /// 75 s unless set (nginx's `keepalive_timeout`).
    pub idle: Duration,
    /// The least average rate of content in either direction, in bytes a second, after
    /// [`Limits::GRACE`]; 0 for none. 1 KiB/s unless set.
    pub min_rate: u64,
    /// How long open connections get when the server is told to stop. 30 s unless set.
    pub drain: Duration,
    /// The longest request content in bytes. 10 GiB unless set.
    pub max_body: u64,
    /// The bounds of a request head.
    pub request_head: HeadLimits,
}

impl Limits {
    /// How long a transfer may take to get going before its average rate counts.
    pub const GRACE: Duration = Duration::from_secs(10);

    /// The patience with content, from now on.
    pub(crate) fn pace(&self) -> Patience {
        Patience::Pace(Pace::begin(self.idle, Self::GRACE, self.min_rate))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(20),
            idle: Duration::from_secs(75),
            min_rate: 1 << 10,
            drain: Duration::from_secs(30),
            max_body: 10 << 30,
            request_head: HeadLimits::default(),
        }
    }
}
