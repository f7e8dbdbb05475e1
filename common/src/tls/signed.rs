//! How a revocation list or an OCSP response is signed. OpenSSL applies its security levels to certificates
//! and to nothing else, so that here a digest without collision resistance would be as good as any.

use super::policy::Parameters;
use crate::pki::der::{self, Reader, tag};
use openssl::asn1::Asn1Object;
use openssl::nid::Nid;

/// The algorithm of a signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Signature {
    /// As OpenSSL calls it.
    name: String,
    /// `UNDEF` where the algorithm has its own.
    digest: Nid,
}

impl Signature {
    /// Reads the contents of an AlgorithmIdentifier (RFC 5280 section 4.1.1.2).
    pub(super) fn of(algorithm: &[u8]) -> Option<Self> {
        let mut algorithm = Reader(algorithm);
        let object = object(algorithm.read(tag::OID)?)?;
        let digest = match object.nid() {
            // RFC 4055 section 3.1: the digest is a parameter, and SHA-1 when it is left out.
            Nid::RSASSAPSS => {
                let mut parameters = Reader(algorithm.read(tag::SEQUENCE)?);
                match parameters.read(tag::CONTEXT_0) {
                    Some(hash) => {
                        let mut hash = Reader(Reader(hash).read(tag::SEQUENCE)?);
                        self::object(hash.read(tag::OID)?)?.nid()
                    }
                    None => Nid::SHA1,
                }
            }
            nid => nid.signature_algorithms().map_or(Nid::UNDEF, |algorithms| algorithms.digest),
        };
        Some(Self { name: object.to_string(), digest })
    }

    /// That of a CertificateList in DER (RFC 5280 section 5.1).
    pub(super) fn of_list(der: &[u8]) -> Option<Self> {
        let mut list = Reader(Reader(der).read(tag::SEQUENCE)?);
        let _content = list.read(tag::SEQUENCE)?;
        Self::of(list.read(tag::SEQUENCE)?)
    }

    /// Whether it is strong enough, and one with which the policy lets certificates be signed.
    ///
    /// # Errors
    ///
    /// Which it is.
    pub(super) fn check(&self, parameters: &Parameters) -> Result<(), String> {
        let strong = match self.digest {
            // The algorithm has its own.
            Nid::UNDEF => true,
            Nid::SHA256 | Nid::SHA384 | Nid::SHA512 => true,
            Nid::SHA3_256 | Nid::SHA3_384 | Nid::SHA3_512 => true,
            _ => false,
        };
        let Some(allowed) = parameters.certificate_digests.filter(|_| strong) else {
            return if strong { Ok(()) } else { Err(self.words()) };
        };
        let sets = parameters.keys.ml_dsa;
        let ml_dsa = sets.iter().any(|set| self.name.eq_ignore_ascii_case(set));
        // EdDSA, where the policy leaves issuers' keys to the security level.
        let own = self.digest == Nid::UNDEF && parameters.issuer_keys.is_none();
        if ml_dsa || own || allowed.contains(&self.digest) {
            return Ok(());
        }
        let names =
            allowed.iter().filter_map(|nid| nid.long_name().ok()).chain(sets.iter().copied());
        let names = names.collect::<Vec<_>>().join(", ").to_uppercase();
        Err(format!("{}; {} allows {names}", self.words(), parameters.source))
    }

    fn words(&self) -> String {
        match self.digest {
            Nid::UNDEF => self.name.clone(),
            digest => digest
                .long_name()
                .map_or_else(|_| "an unknown digest".to_owned(), str::to_uppercase),
        }
    }
}

fn object(oid: &[u8]) -> Option<Asn1Object> {
    Asn1Object::from_str(&der::dotted(oid)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Policy;

    /// An AlgorithmIdentifier without parameters: the last octets of an OID below 1.2.840.10045.4 (ECDSA).
    fn ecdsa(rest: &[u8]) -> Signature {
        let oid = [&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4], rest].concat();
        let length = u8::try_from(oid.len()).unwrap();
        Signature::of(&[&[tag::OID, length][..], &oid].concat()).unwrap()
    }

    #[test]
    fn a_weak_digest_is_refused_by_every_policy_and_any_other_by_those_that_name_theirs() {
        let (sha1, sha256, sha384) = (ecdsa(&[1]), ecdsa(&[3, 2]), ecdsa(&[3, 3]));
        for policy in Policy::ALL {
            let parameters = policy.parameters();
            assert_eq!(sha1.check(parameters), Err("SHA1".to_owned()), "{policy}");
            let allowed = [&sha256, &sha384].map(|signature| signature.check(parameters).is_ok());
            let expected = match policy {
                Policy::Cnsa1 => [false, true],
                Policy::Cnsa2 => [false, false],
                _ => [true, true],
            };
            assert_eq!(allowed, expected, "{policy}");
        }
        // md5WithRSAEncryption, 1.2.840.113549.1.1.4.
        let oid = [tag::OID, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4];
        let md5 = Signature::of(&oid).unwrap();
        assert_eq!(md5.check(Policy::Intermediate.parameters()), Err("MD5".to_owned()));
        let refusal = sha256.check(Policy::Cnsa1.parameters()).unwrap_err();
        assert!(
            refusal.starts_with("SHA256; ") && refusal.ends_with("SHA384, SHA512"),
            "{refusal}"
        );
    }

    #[test]
    fn the_digest_of_rsa_pss_is_a_parameter() {
        let pss = [tag::OID, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
        let sha256 = [tag::OID, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
        let hash = [&[tag::CONTEXT_0, 13, tag::SEQUENCE, 11][..], &sha256].concat();
        let given = [&pss[..], &[tag::SEQUENCE, 15], &hash].concat();
        assert_eq!(Signature::of(&given).unwrap().digest, Nid::SHA256);
        let absent = [&pss[..], &[tag::SEQUENCE, 0]].concat();
        assert_eq!(Signature::of(&absent).unwrap().digest, Nid::SHA1);
    }

    #[test]
    fn an_algorithm_with_a_digest_of_its_own_is_for_those_that_name_none() {
        let ed25519 = Signature::of(&[tag::OID, 3, 0x2b, 0x65, 0x70]).unwrap();
        assert!(ed25519.check(Policy::Intermediate.parameters()).is_ok());
        let refusal = ed25519.check(Policy::Cnsa1.parameters()).unwrap_err();
        assert!(refusal.starts_with("ED25519; "), "{refusal}");
    }
}
