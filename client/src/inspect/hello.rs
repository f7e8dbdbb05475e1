//! The client's first message (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2), made of numbers: it can
//! offer what the linked OpenSSL cannot do.
//!
//! Nothing here is secret: the handshake it begins is never finished.

use super::registry::Version;

/// What a ClientHello offers. Extensions that a version does not know are left out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hello {
    /// The only version that is offered.
    pub version: Version,
    /// The cipher suites, in order of preference.
    pub suites: Vec<u16>,
    /// The groups, in order of preference; without any, the extension is left out.
    pub groups: Vec<u16>,
    /// The signature schemes, likewise.
    pub schemes: Vec<u16>,
    /// The groups that a key share is sent for, in TLS 1.3. Without any, a server answers with
    /// HelloRetryRequest and names the group that it wants (RFC 8446 section 4.2.8).
    pub shares: Vec<u16>,
    /// The DNS name that is indicated.
    pub server_name: Option<String>,
    /// Whether DEFLATE (RFC 3749) is offered besides no compression.
    pub compression: bool,
    /// Whether extended master secret is offered (RFC 7627).
    pub extended_master_secret: bool,
    /// Application protocols (RFC 7301).
    pub alpn: Vec<&'static str>,
    /// Whether a stapled OCSP response is asked for (RFC 6066 section 8).
    pub status_request: bool,
}

/// Extension numbers (IANA "TLS ExtensionType Values").
pub(super) mod extension {
    pub(in crate::inspect) const SERVER_NAME: u16 = 0;
    pub(in crate::inspect) const STATUS_REQUEST: u16 = 5;
    pub(in crate::inspect) const SUPPORTED_GROUPS: u16 = 10;
    pub(in crate::inspect) const EC_POINT_FORMATS: u16 = 11;
    pub(in crate::inspect) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(in crate::inspect) const ALPN: u16 = 16;
    pub(in crate::inspect) const PADDING: u16 = 21;
    pub(in crate::inspect) const EXTENDED_MASTER_SECRET: u16 = 23;
    pub(in crate::inspect) const SESSION_TICKET: u16 = 35;
    pub(in crate::inspect) const SUPPORTED_VERSIONS: u16 = 43;
    pub(in crate::inspect) const SIGNATURE_ALGORITHMS_CERT: u16 = 50;
    pub(in crate::inspect) const KEY_SHARE: u16 = 51;
    pub(in crate::inspect) const RENEGOTIATION_INFO: u16 = 0xff01;
}

/// TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746 section 3.3), for a hello without extensions.
const RENEGOTIATION_SCSV: u16 = 0x00ff;
/// Only servers of before 2014 need it, and they take it by length alone: some hang on a hello of 256 to
/// 511 bytes (RFC 7685).
const PADDED_TO: usize = 512;

impl Hello {
    /// The message in one record. `random` is 32 bytes of random and 32 of a session id.
    pub fn encode(&self, random: &[u8; 64]) -> Vec<u8> {
        let extensions = self.version != Version::SSL3;
        let (random, session) = random.split_at(32);
        let mut body = Vec::with_capacity(1024);
        // TLS 1.3 calls itself 1.2 here (RFC 8446 section 4.1.2).
        put(&mut body, self.version.min(Version::TLS12).0);
        body.extend_from_slice(random);
        match self.version {
            // Middleboxes want one (RFC 8446 appendix D.4).
            Version::TLS13 => vector8(&mut body, session),
            _ => vector8(&mut body, &[]),
        }
        let mut suites = numbers(&self.suites);
        if !extensions {
            put(&mut suites, RENEGOTIATION_SCSV);
        }
        vector16(&mut body, &suites);
        match self.compression {
            true => vector8(&mut body, &[1, 0]),
            false => vector8(&mut body, &[0]),
        }
        if extensions {
            let mut list = self.extensions();
            // Header of the message, the length of the list, and the header of the extension.
            let length = 4 + body.len() + 2 + list.len();
            if (256..PADDED_TO).contains(&length) {
                let padding = PADDED_TO.saturating_sub(length + 4);
                put_extension(&mut list, extension::PADDING, &vec![0; padding]);
            }
            vector16(&mut body, &list);
        }
        // RFC 5246 appendix E.1: the oldest version for the record of a first message.
        let record = self.version.min(Version::TLS10);
        let mut message = vec![1, 0];
        vector16(&mut message, &body);
        let mut out = vec![22];
        put(&mut out, record.0);
        vector16(&mut out, &message);
        out
    }

    fn extensions(&self) -> Vec<u8> {
        let mut list = Vec::with_capacity(512);
        let is_13 = self.version == Version::TLS13;
        if let Some(name) = &self.server_name {
            let mut entry = vec![0];
            vector16(&mut entry, name.as_bytes());
            put_extension(&mut list, extension::SERVER_NAME, &vectored16(&entry));
        }
        if self.status_request {
            // Type OCSP, no responders, no extensions.
            put_extension(&mut list, extension::STATUS_REQUEST, &[1, 0, 0, 0, 0]);
        }
        if !self.groups.is_empty() {
            let groups = vectored16(&numbers(&self.groups));
            put_extension(&mut list, extension::SUPPORTED_GROUPS, &groups);
        }
        if !self.schemes.is_empty() && self.version >= Version::TLS12 {
            let schemes = vectored16(&numbers(&self.schemes));
            put_extension(&mut list, extension::SIGNATURE_ALGORITHMS, &schemes);
            // Which schemes sign certificates is not what is asked: all may.
            let all: Vec<u16> = super::registry::SCHEMES.iter().map(|scheme| scheme.id).collect();
            let all = vectored16(&numbers(&all));
            put_extension(&mut list, extension::SIGNATURE_ALGORITHMS_CERT, &all);
        }
        if !self.alpn.is_empty() {
            let mut names = Vec::new();
            for name in &self.alpn {
                vector8(&mut names, name.as_bytes());
            }
            put_extension(&mut list, extension::ALPN, &vectored16(&names));
        }
        if is_13 {
            let mut versions = Vec::new();
            vector8(&mut versions, &numbers(&[self.version.0]));
            put_extension(&mut list, extension::SUPPORTED_VERSIONS, &versions);
            let mut shares = Vec::new();
            for group in &self.shares {
                put(&mut shares, *group);
                vector16(&mut shares, &share(*group).unwrap_or_default());
            }
            put_extension(&mut list, extension::KEY_SHARE, &vectored16(&shares));
            return list;
        }
        if !self.groups.is_empty() {
            // Uncompressed points (RFC 8422 section 5.1.2).
            put_extension(&mut list, extension::EC_POINT_FORMATS, &[1, 0]);
        }
        if self.extended_master_secret {
            put_extension(&mut list, extension::EXTENDED_MASTER_SECRET, &[]);
        }
        put_extension(&mut list, extension::SESSION_TICKET, &[]);
        put_extension(&mut list, extension::RENEGOTIATION_INFO, &[0]);
        list
    }
}

/// A key share that is well-formed, for who will never finish the exchange: the base point of an
/// elliptic curve, and an ML-KEM key of zeros, which passes the check of FIPS 203 section 7.2.
///
/// `None` for a group for which there is none here.
pub fn share(group: u16) -> Option<Vec<u8>> {
    const MLKEM768: usize = 1184;
    const MLKEM1024: usize = 1568;
    // RFC 7748 section 4.1: the base point of Curve25519 is 9, little-endian.
    let x25519 = || {
        let mut point = vec![0; 32];
        point[0] = 9;
        point
    };
    // SEC 2 version 2.0, sections 2.4.2 and 2.5.1.
    let p256 = || {
        hex("046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
             4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
    };
    let p384 = || {
        hex(
            "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e\
             3872760ab73617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e81\
             9d7a431d7c90ea0e5f",
        )
    };
    let zeros = |length: usize| vec![0; length];
    Some(match group {
        0x0201 => zeros(MLKEM768),
        0x0202 => zeros(MLKEM1024),
        23 => p256(),
        24 => p384(),
        29 => x25519(),
        // The order differs: draft-ietf-tls-ecdhe-mlkem section 3.1.1.
        0x11eb => [p256(), zeros(MLKEM768)].concat(),
        0x11ec => [zeros(MLKEM768), x25519()].concat(),
        0x11ed => [p384(), zeros(MLKEM1024)].concat(),
        _ => return None,
    })
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, c| byte << 4 | digit(*c)))
        .collect()
}

fn put(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn numbers(list: &[u16]) -> Vec<u8> {
    list.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// A vector of at most 255 bytes behind its length. What is longer is cut: nothing here is.
fn vector8(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len().min(usize::from(u8::MAX));
    out.push(length as u8);
    out.extend_from_slice(&bytes[..length]);
}

/// A vector of at most 65535 bytes behind its length, likewise.
fn vector16(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len().min(usize::from(u16::MAX));
    put(out, length as u16);
    out.extend_from_slice(&bytes[..length]);
}

fn vectored16(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    vector16(&mut out, bytes);
    out
}

fn put_extension(out: &mut Vec<u8>, number: u16, content: &[u8]) {
    put(out, number);
    vector16(out, content);
}
