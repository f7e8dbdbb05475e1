//! The words for a failure: what failed, and what to do. Which rule it was, and which certificate, stands
//! between them ([`Failure::report`]).

use super::classify::alert_name;
use super::end::Side;
use super::failure::{Failure, Inner, Reason};
use super::verify::Verdict;

impl Failure {
    /// The first line: what failed.
    pub(super) fn message(&self) -> String {
        let Inner { reason, peer, side, verdict, .. } = &*self.0;
        let whose = match side {
            Side::Client => format!("the certificate of {peer}"),
            Side::Server => format!("the certificate of the client {peer}"),
        };
        match reason {
            Reason::Alert(alert) => {
                format!("{peer} refused the TLS handshake: {}", alert_name(*alert))
            }
            Reason::Closed => format!("{peer} closed the connection without ending TLS"),
            Reason::Deadline => format!("{peer} did not answer in time"),
            Reason::Io(_) => format!("the connection to {peer} was lost"),
            Reason::NoExtendedMasterSecret => {
                format!("{peer} does not protect the session as the policy demands")
            }
            Reason::NotByModule => {
                format!("the connection to {peer} was not made by the FIPS module alone")
            }
            Reason::NoSharedApplicationProtocol => {
                format!("{peer} does not offer HTTP/1.1 (ALPN)")
            }
            Reason::NoSharedParameters => {
                format!("{peer} has no cipher suite, group or signature scheme in common with us")
            }
            Reason::NoSharedVersion => format!("{peer} has no TLS version in common with us"),
            Reason::NotTls { http: true } => format!("{peer} speaks plain HTTP, not HTTPS"),
            Reason::NotTls { http: false } => format!("{peer} does not speak TLS"),
            Reason::OwnCertificateMissing => {
                format!("{peer} requires a client certificate, and none was sent")
            }
            Reason::OwnCertificateRefused(_) => match side {
                Side::Client => format!("{peer} refused our client certificate"),
                Side::Server => format!("the client {peer} refused our certificate"),
            },
            Reason::PeerCertificateMissing => {
                format!("the client {peer} sent no certificate, and one is required")
            }
            Reason::PeerCertificateName => format!("{whose} is for another name"),
            Reason::PeerCertificatePin => format!("{whose} does not have a pinned key"),
            Reason::PeerCertificateRevoked => format!("{whose} is revoked"),
            Reason::PeerCertificateRevocationUnknown => match verdict {
                Some(verdict) => {
                    format!("whether {whose} is revoked cannot be determined: {}", verdict.rule())
                }
                None => format!("whether {whose} is revoked cannot be determined"),
            },
            Reason::PeerCertificateSelfSigned => {
                format!("{whose} is self-signed and not trusted")
            }
            Reason::PeerCertificateExpired => format!("{whose} has expired"),
            Reason::PeerCertificateNotYetValid => format!("{whose} is not yet valid"),
            Reason::PeerCertificateUnfit => match verdict {
                Some(verdict) => format!("{whose} is not fit for use: {}", verdict.rule()),
                None => format!("{whose} is not fit for use"),
            },
            Reason::PeerCertificateIssuerUnknown => {
                format!("{whose} is not trusted: its issuer is unknown")
            }
            Reason::PeerCertificateRootUntrusted => {
                format!("{whose} is not trusted: its root is not a trust anchor")
            }
            Reason::Protocol => format!("{peer} broke the TLS protocol"),
            Reason::Internal => "OpenSSL could not begin the handshake".to_owned(),
        }
    }

    /// The third line: what to do. On the server's side the peer must do it, so it says who.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        let client = self.0.side == Side::Client;
        if let Some(remedy) = self.0.verdict.as_ref().and_then(Verdict::remedy) {
            return Some(remedy);
        }
        Some(match self.0.reason {
            Reason::Closed | Reason::Io(_) if client => {
                "check that the server is up and serves TLS on this port, then try again"
            }
            Reason::Deadline if client => "check the server and the network, or raise --timeout",
            Reason::NotTls { http: true } if client => "use the server's HTTPS port",
            Reason::NotTls { http: true } => "the client must use https://",
            Reason::NotTls { http: false } if client => "check the host and the port",
            Reason::NoSharedVersion | Reason::NoSharedParameters if client => {
                "let the server offer what the policy names, or use another --policy"
            }
            Reason::NoExtendedMasterSecret if client => {
                "let the server support TLS 1.3, or the extended master secret with TLS 1.2"
            }
            Reason::NoExtendedMasterSecret => {
                "the client must support TLS 1.3, or the extended master secret with TLS 1.2"
            }
            Reason::NotByModule => {
                "activate no other provider than fips and base in OpenSSL's configuration \
                 (OPENSSL_CONF)"
            }
            Reason::Alert(_) if client => "look at the server's log: it knows why it refused",
            Reason::OwnCertificateMissing => "give --cert FILE and --key FILE",
            // RFC 8446 section 6.2 has the meanings.
            Reason::OwnCertificateRefused(43) if client => {
                "use one that is for client authentication (sealpair cert issue --client)"
            }
            Reason::OwnCertificateRefused(44) if client => "it is revoked: get a new one",
            Reason::OwnCertificateRefused(45) if client => {
                "renew it if it has ended (sealpair cert check); otherwise the server's revocation \
                 list may have"
            }
            Reason::OwnCertificateRefused(_) if client => {
                "use a certificate from an authority that the server trusts, and look at its log"
            }
            Reason::OwnCertificateRefused(44) => "our certificate is revoked: get a new one",
            Reason::OwnCertificateRefused(45) => {
                "our certificate, or the client's revocation list, has ended: sealpair cert check"
            }
            Reason::OwnCertificateRefused(48) => {
                "the client does not trust our authority: give it the CA file"
            }
            Reason::OwnCertificateRefused(113) => {
                "it objects to our OCSP response, or wants one: see --ocsp-response"
            }
            Reason::OwnCertificateRefused(_) => {
                "often a name or a pin that the client did not find: its own message says which"
            }
            Reason::PeerCertificateMissing => {
                "the client must present a certificate from an authority in --client-ca"
            }
            Reason::PeerCertificateName => {
                "use a name from the certificate, or have one issued for this name"
            }
            Reason::PeerCertificatePin => {
                "if the server's key was changed on purpose, pin the new one (--pin)"
            }
            Reason::PeerCertificateRevoked => "do not trust it; its owner must get a new one",
            // OpenSSL 3.6 has refused the response before it got here.
            Reason::PeerCertificateRevocationUnknown if self.0.verdict.is_none() => {
                "the server must staple the response of its certificate's authority, or none"
            }
            Reason::PeerCertificateRevocationUnknown => {
                "give a current revocation list of this issuer with --crl"
            }
            Reason::PeerCertificateSelfSigned if client => {
                "if it is the one you expect, trust it with --ca FILE"
            }
            Reason::PeerCertificateIssuerUnknown if client => {
                "give the issuer's certificate with --ca FILE; if it is an intermediate, the server \
                 should send it"
            }
            Reason::PeerCertificateRootUntrusted if client => {
                "if you trust this root, give its certificate with --ca FILE"
            }
            Reason::PeerCertificateSelfSigned
            | Reason::PeerCertificateIssuerUnknown
            | Reason::PeerCertificateRootUntrusted => {
                "if its authority is to be trusted, add it to --client-ca"
            }
            Reason::PeerCertificateExpired => "its owner must renew it; also check this clock",
            Reason::PeerCertificateNotYetValid => "check this machine's clock, and its owner's",
            Reason::PeerCertificateUnfit => "its owner must get one that is fit for this use",
            _ => return None,
        })
    }
}
