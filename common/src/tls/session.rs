//! The facts of one TLS connection: what was negotiated, with whom, by which OpenSSL.

use super::end::Side;
use super::fips::{Module, ModuleName};
use super::ocsp::StapledStatus;
use super::registry::canonical_group;
use super::stapled;
use crate::ffi::{self, SignatureNids};
use crate::pki::CertificateFacts;
use openssl::nid::Nid;
use openssl::pkey::Id;
use openssl::ssl::{NameType, SslRef, SslVersion};
use serde::Serialize;
use std::fmt;

/// The facts of one TLS connection.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: &'static str,
    /// The cipher suite by its IANA name.
    pub suite: String,
    /// The key-exchange group; `None` for a TLS 1.2 session that was resumed.
    pub group: Option<String>,
    /// The scheme with which the server signed the handshake (RFC 8446 section 4.2.3); `None` when
    /// the session was resumed and nothing was signed.
    pub signature: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The application protocol that was agreed on (ALPN).
    pub alpn: Option<String>,
    /// The server name that the client indicated (SNI).
    pub sni: Option<String>,
    /// The peer's certificates as it sent them, its own first. Empty when it sent none; on a resumed
    /// session a server knows only the client's own.
    pub peer: Vec<CertificateFacts>,
    /// Whether the peer's chain was verified; `false` where verification is switched off.
    pub verified: bool,
    /// The OCSP response that the server stapled to this handshake, as the client has checked it or as
    /// the server has sent it; nothing where there was none, and on a resumed session, which brings none.
    /// Where `verified` is false nobody relies on it: see [`StapledStatus::problem`].
    pub ocsp: Option<StapledStatus>,
    /// The OpenSSL that did all this.
    pub openssl: &'static str,
    /// The FIPS module that did the cryptography of it, where one must: proved, and seen to hold this
    /// connection's keys.
    pub fips: Option<ModuleName>,
}

impl TlsSession {
    pub(super) fn of(
        ssl: &SslRef,
        side: Side,
        verified: bool,
        module: Option<&'static Module>,
    ) -> Self {
        let cipher = ssl.current_cipher();
        let signature = match side {
            Side::Client => ffi::peer_signature(ssl).and_then(|nids| {
                let key = ssl.peer_certificate().and_then(|leaf| leaf.public_key().ok());
                scheme(nids, key.map(|key| key.id()))
            }),
            Side::Server => ffi::own_signature(ssl)
                .and_then(|nids| scheme(nids, ssl.private_key().map(|key| key.id()))),
        };
        let resumed = ssl.session_reused();
        Self {
            protocol: match ssl.version2() {
                Some(SslVersion::TLS1_3) => "TLSv1.3",
                Some(SslVersion::TLS1_2) => "TLSv1.2",
                _ => ssl.version_str(),
            },
            suite: cipher
                .map(|cipher| cipher.standard_name().unwrap_or_else(|| cipher.name()))
                .unwrap_or_default()
                .to_owned(),
            group: ffi::negotiated_group(ssl).as_deref().map(canonical_group),
            signature: signature.filter(|_| !resumed),
            resumed,
            alpn: ssl
                .selected_alpn_protocol()
                .map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
            sni: ssl
                .servername_raw(NameType::HOST_NAME)
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            peer: peer_chain(ssl, side),
            verified,
            ocsp: stapled::of(ssl),
            openssl: openssl::version::version(),
            fips: module.map(Module::name),
        }
    }
}

impl fmt::Display for TlsSession {
    /// One line: `TLSv1.3, TLS_AES_128_GCM_SHA256, X25519, ecdsa_secp256r1_sha256, OCSP good`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.protocol, self.suite)?;
        for fact in [&self.group, &self.signature].into_iter().flatten() {
            write!(f, ", {fact}")?;
        }
        if let Some(stapled) = &self.ocsp {
            write!(f, ", OCSP {}", stapled.status.name())?;
        }
        if self.resumed {
            f.write_str(", resumed")?;
        }
        if let Some(module) = &self.fips {
            write!(f, ", {} {}", module.name, module.version)?;
        }
        Ok(())
    }
}

/// OpenSSL leaves the leaf out of the chain on the server's side, and has no chain on a resumed
/// session.
fn peer_chain(ssl: &SslRef, side: Side) -> Vec<CertificateFacts> {
    let sent = ssl.peer_cert_chain().into_iter().flatten().map(CertificateFacts::of);
    let leaf = ssl.peer_certificate().map(|leaf| CertificateFacts::of(&leaf));
    match side {
        Side::Client if ssl.peer_cert_chain().is_some() => sent.collect(),
        _ => leaf.into_iter().chain(sent).collect(),
    }
}

/// The name of a signature scheme (IANA "TLS SignatureScheme") from the two numbers OpenSSL has for
/// it. In TLS 1.2 the same code points stand for the same names, with the curve left open.
fn scheme(nids: SignatureNids, key: Option<Id>) -> Option<String> {
    let bits = match nids.digest {
        Nid::SHA1 => "sha1",
        Nid::SHA256 => "sha256",
        Nid::SHA384 => "sha384",
        Nid::SHA512 => "sha512",
        _ => "",
    };
    Some(match nids.kind {
        Nid::X9_62_ID_ECPUBLICKEY => match bits {
            "sha256" => "ecdsa_secp256r1_sha256".to_owned(),
            "sha384" => "ecdsa_secp384r1_sha384".to_owned(),
            "sha512" => "ecdsa_secp521r1_sha512".to_owned(),
            other => format!("ecdsa_{other}"),
        },
        Nid::RSASSAPSS if key == Some(Id::RSA_PSS) => format!("rsa_pss_pss_{bits}"),
        Nid::RSASSAPSS => format!("rsa_pss_rsae_{bits}"),
        Nid::RSAENCRYPTION => format!("rsa_pkcs1_{bits}"),
        other => {
            let name = other.short_name().ok()?.to_ascii_lowercase();
            // OpenSSL names the key (RFC 9881), TLS the scheme: mldsa87.
            match name.strip_prefix("id-ml-dsa-") {
                Some(size) => format!("mldsa{size}"),
                None => name,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Authority, AuthorityOptions, KeyAlgorithm, LeafRequest, PkiError};
    use openssl::ssl::{Ssl, SslContext, SslMethod};
    use std::os::unix::net::UnixStream;
    use std::thread;

    /// A handshake with a certificate of this kind, as both ends see it. Without a policy, because these
    /// are not about what one allows.
    fn handshake(issued: &crate::pki::Issued) -> [TlsSession; 2] {
        let mut context = SslContext::builder(SslMethod::tls_server()).unwrap();
        context.set_certificate(issued.certificate()).unwrap();
        context.set_private_key(issued.key()).unwrap();
        let server = Ssl::new(&context.build()).unwrap();
        let context = SslContext::builder(SslMethod::tls_client()).unwrap();
        let client = Ssl::new(&context.build()).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                let stream = server.accept(far).unwrap();
                TlsSession::of(stream.ssl(), Side::Server, false, None)
            });
            let stream = client.connect(near).unwrap();
            let session = TlsSession::of(stream.ssl(), Side::Client, false, None);
            [session, server.join().unwrap()]
        })
    }

    #[test]
    fn both_ends_name_the_scheme_of_every_kind_of_key() {
        let authority = Authority::create(&AuthorityOptions::new()).unwrap();
        for algorithm in KeyAlgorithm::ALL {
            let request = LeafRequest::server(["localhost"]).unwrap().key_algorithm(algorithm);
            let issued = match authority.issue(&request) {
                Err(PkiError::Unavailable { .. }) if algorithm == KeyAlgorithm::MlDsa87 => {
                    assert!(openssl::version::number() < 0x3050_0000);
                    continue;
                }
                issued => issued.unwrap(),
            };
            let expected = match algorithm {
                KeyAlgorithm::P256 => "ecdsa_secp256r1_sha256",
                KeyAlgorithm::P384 => "ecdsa_secp384r1_sha384",
                KeyAlgorithm::P521 => "ecdsa_secp521r1_sha512",
                KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => "rsa_pss_rsae_sha256",
                KeyAlgorithm::MlDsa87 => "mldsa87",
            };
            for session in handshake(&issued) {
                assert_eq!(session.signature.as_deref(), Some(expected), "{algorithm}");
            }
        }
    }
}
