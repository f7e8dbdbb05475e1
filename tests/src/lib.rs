//! The harness of the integration tests: the real programs against real peers, on loopback.
//!
//! ```text
//! program   the built programs, and any program run to its end under a deadline
//! server    a running `sealpair-server` in a directory of its own
//! pki       certificates of every kind, good and bad, in files
//! ocsp      what an authority says of a certificate, true or not, signed by whom the test wants
//! raw       a TLS client that sends what it is told, byte by byte
//! shape     how a client's bytes are cut into segments and records
//! key_updates  a client's KeyUpdate messages, faster than any library sends them
//! fips      with a FIPS module, or a broken copy of it
//! inspection  what `sealpair inspect` says of an endpoint
//! crowd     many clients at a time that misbehave
//! survival  what a server has, and how it serves others, before, while and after it is abused
//! peers     curl, openssl, nginx; and servers that misbehave as told
//! uploads   what a client of resumable uploads says, written by hand
//! moments   random numbers, which a failed test can have again
//! power     loss of power, replayed on the system calls of a program
//! waiting   until something is so, or a deadline has passed
//! ```
//!
//! Nothing here skips: a peer that is not installed fails the test that needs it, with the name of
//! its package. Everything that is started is ended by its own process id when it is dropped.

#![allow(clippy::unwrap_used)]

pub mod crowd;
pub mod fips;
pub mod inspection;
pub mod key_updates;
pub mod moments;
pub mod ocsp;
pub mod peers;
pub mod pki;
pub mod power;
pub mod proc;
pub mod program;
pub mod raw;
pub mod server;
pub mod shape;
pub mod survival;
pub mod uploads;
pub mod waiting;

pub use crowd::{Crowd, Manner};
pub use ocsp::{Issue, Ocsp};
pub use peers::{Nginx, OpensslServer, ScriptedServer, curl, openssl};
pub use pki::{Credentials, Pki};
pub use program::{Ended, Run, Running};
pub use raw::{End, RawClient, RawResponse};
pub use server::{SealpairServer, ServerBuilder};
pub use shape::Shape;
pub use survival::Survival;
pub use waiting::{DEADLINE, settles, settles_at};

/// The Rust of the README, as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
