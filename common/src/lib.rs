//! What both ends of Sealpair must agree on.
//!
//! This crate opens no socket and has no `main`. It holds
//!
//! - [`tls`]: the OpenSSL context module: policy, identity, trust, contexts, the stream, the facts of a
//!   session, and the reason of a failure;
//! - [`pki`]: a local certificate authority, issuing and inspection;
//! - [`digest`]: SHA-256 of content, computed as it passes, and its fields;
//! - [`checksum`]: what other protocols check content with;
//! - [`random`]: numbers that nobody can foresee;
//! - [`handover`]: descriptors that whoever started the process has opened for it;
//! - [`memory`]: buffers that belong to threads, and giving back what a burst leaves behind;
//! - [`exit`], [`report`], [`escape`], [`units`]: how a failure is numbered, told, and shown safely.
//!
//! The only unsafe code of the workspace is in `ffi`.

pub mod boot;
pub mod checksum;
pub mod digest;
pub mod escape;
pub mod exit;
mod ffi;
pub mod handover;
mod material;
pub mod memory;
pub mod pki;
pub mod random;
pub mod report;
pub mod tls;
pub mod units;
