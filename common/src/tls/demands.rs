//! What a context demands of its connections beyond what OpenSSL sees to by itself: the extended master
//! secret, and that a FIPS module did the work. And what it offers, for the words when a peer has nothing
//! in common with it.

use super::end::Side;
use super::failure::Reason;
use super::fips::Module;
use super::offer::Offer;
use super::registry::canonical_group;
use crate::ffi;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{ClientHelloResponse, Ssl, SslAlert, SslContextBuilder, SslRef, SslVersion};
use std::sync::OnceLock;

/// Extension numbers (IANA, TLS ExtensionType Values).
const EXTENDED_MASTER_SECRET: u32 = 23;
const SUPPORTED_VERSIONS: u32 = 43;

/// What one context demands; by default nothing, for whoever only looks.
#[derive(Debug, Default)]
pub(super) struct Demands {
    offer: Option<Offer>,
    module: Option<&'static Module>,
}

impl Demands {
    pub(super) fn new(offer: Offer, module: Option<&'static Module>) -> Self {
        Self { offer: Some(offer), module }
    }

    /// The module that does the cryptography of these connections.
    pub(super) fn module(&self) -> Option<&'static Module> {
        self.module
    }

    /// Has a server refuse a client that offers TLS 1.2 without the extended master secret, with the alert
    /// handshake_failure (RFC 7627 section 5.2). Otherwise the refusal would come from a module that
    /// checks it, as internal_error, or from nobody.
    pub(super) fn install(&self, context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        if !self.needs_extended_master_secret() {
            return Ok(());
        }
        let index = refused_index()?;
        context.set_client_hello_callback(move |ssl, alert| {
            let has = |number| ffi::client_hello_extension(ssl, number);
            if has(EXTENDED_MASTER_SECRET).is_some() || has(SUPPORTED_VERSIONS).is_some_and(tls13) {
                return Ok(ClientHelloResponse::SUCCESS);
            }
            ssl.set_ex_data(index, ());
            *alert = SslAlert::HANDSHAKE_FAILURE;
            Err(ErrorStack::get())
        });
        Ok(())
    }

    /// Looks at a connection whose handshake OpenSSL has found good.
    pub(super) fn check(&self, ssl: &SslRef) -> Result<(), (Reason, String)> {
        if self.needs_extended_master_secret()
            && ssl.version2() == Some(SslVersion::TLS1_2)
            && ssl.extms_support() != Some(true)
        {
            let rule = "the session of TLS 1.2 has no extended master secret (RFC 7627)";
            return Err((Reason::NoExtendedMasterSecret, rule.to_owned()));
        }
        match self.module.map(|module| module.check(ssl)) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err((Reason::NotByModule, why)),
        }
    }

    fn needs_extended_master_secret(&self) -> bool {
        self.offer.as_ref().is_some_and(Offer::needs_extended_master_secret)
    }

    /// What the two ends have to offer, when it was not the same; a client does not learn what the server
    /// has.
    pub(super) fn difference(&self, side: Side, ssl: &SslRef) -> Option<String> {
        let offer = self.offer.as_ref()?;
        let groups: Vec<String> = offer.groups().iter().map(|it| canonical_group(it)).collect();
        let suites: Vec<&str> = offer.all_suites().collect();
        let own = format!("{}; {}", groups.join(", "), suites.join(", "));
        Some(match side {
            Side::Client => format!("we offer {own}"),
            Side::Server => {
                let groups: Vec<String> =
                    ffi::peer_groups(ssl).iter().map(|it| canonical_group(it)).collect();
                // What OpenSSL does not have enabled it leaves out.
                let suites = ffi::client_suites(ssl);
                let theirs = [listed(&groups), listed(&suites)];
                let theirs: Vec<String> = theirs.into_iter().flatten().collect();
                match theirs.is_empty() {
                    true => format!("the client offers nothing that we know; we take {own}"),
                    false => format!("the client offers {}; we take {own}", theirs.join("; ")),
                }
            }
        })
    }
}

/// A client may offer hundreds; a line of text may not.
fn listed(names: &[impl AsRef<str>]) -> Option<String> {
    const MOST: usize = 16;
    let mut text = names.iter().take(MOST).map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    (!names.is_empty()).then_some(text)
}

/// Whether a client's supported_versions (RFC 8446 section 4.2.1) has TLS 1.3, which needs no extended
/// master secret and is what we choose then.
fn tls13(extension: &[u8]) -> bool {
    extension.get(1..).unwrap_or_default().chunks_exact(2).any(|version| version == [3, 4])
}

/// Where the callback leaves word that it has refused a client.
fn refused_index() -> Result<Index<Ssl, ()>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, ()>> = OnceLock::new();
    match INDEX.get() {
        Some(index) => Ok(*index),
        None => {
            let index = Ssl::new_ex_index::<()>()?;
            Ok(*INDEX.get_or_init(|| index))
        }
    }
}

/// Whether a client was refused for want of an extended master secret.
pub(super) fn lacked_extended_master_secret(ssl: &SslRef) -> bool {
    refused_index().ok().and_then(|index| ssl.ex_data(index)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_1_3_is_found_among_the_versions_that_a_client_supports() {
        assert!(tls13(&[4, 3, 4, 3, 3]));
        assert!(tls13(&[6, 0x0a, 0x0a, 3, 3, 3, 4]));
        assert!(!tls13(&[2, 3, 3]));
        assert!(!tls13(&[2, 0, 3, 4]), "not between two versions");
        assert!(!tls13(&[]));
        assert!(!tls13(&[1, 3]));
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..20).map(|at| at.to_string()).collect();
        assert!(listed(&names).unwrap().ends_with("15 and 4 more"));
        assert_eq!(listed(&names[..2]).as_deref(), Some("0, 1"));
        assert_eq!(listed(&[""; 0]), None);
    }
}
