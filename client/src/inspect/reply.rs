//! What a server says to a ClientHello, as far as it is not encrypted: records (RFC 8446 section 5.1)
//! and handshake messages (RFC 8446 section 4, RFC 5246 section 7.4), with no socket in it.
//!
//! The other end may be anything, so this is strict and bounded: a byte that does not fit is an error, and
//! what is kept has a limit.

use super::hello::extension;
use super::registry::{Suite, Version};
use serde::Serialize;
use std::fmt;

/// The longest handshake message that is taken in. OpenSSL's own limit for a chain is 100 KiB
/// (SSL_CTX_set_max_cert_list(3)).
pub const LONGEST_MESSAGE: usize = 128 << 10;
/// The most bytes that are taken in from one connection.
pub const LONGEST_ANSWER: usize = 256 << 10;
/// RFC 8446 section 5.1, and RFC 5246 section 6.2.3 for what is encrypted.
const LONGEST_PLAIN: usize = 1 << 14;
const LONGEST_ENCRYPTED: usize = (1 << 14) + 2048;

/// RFC 8446 section 4.1.3: the SHA-256 of "HelloRetryRequest" in place of the random.
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What was said.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A ServerHello, or a HelloRetryRequest.
    ServerHello(ServerHello),
    /// A Certificate message of TLS 1.2 or older: the certificates in DER, the server's own first.
    Certificate(Vec<Vec<u8>>),
    /// A ServerKeyExchange message; its form depends on the suite ([`KeyExchange::parse`]).
    ServerKeyExchange(Vec<u8>),
    /// The server asks for a client certificate.
    CertificateRequest,
    /// A stapled OCSP response in DER.
    CertificateStatus(Vec<u8>),
    /// The end of the server's first flight in TLS 1.2 and older.
    ServerHelloDone,
    /// Another handshake message, of this type.
    Other(u8),
    /// An alert.
    Alert {
        /// 1 is a warning, 2 is fatal.
        level: u8,
        /// RFC 8446 section 6.
        description: u8,
    },
    /// Something encrypted, or the message before it (change_cipher_spec): nothing more can be read.
    Encrypted,
}

/// A ServerHello.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ServerHello {
    /// The version that was chosen, from the extension in TLS 1.3.
    pub version: Version,
    /// The suite that was chosen.
    pub suite: u16,
    /// Whether it is a HelloRetryRequest.
    pub retry: bool,
    /// The compression method; 0 is none.
    pub compression: u8,
    /// The length of the session id that the server gave.
    pub session_id: usize,
    /// The group, in TLS 1.3.
    pub group: Option<u16>,
    /// The application protocol (ALPN), in TLS 1.2 and older.
    pub alpn: Option<Vec<u8>>,
    /// The numbers of all extensions.
    pub extensions: Vec<u16>,
}

impl ServerHello {
    /// Whether it has this extension.
    pub fn has(&self, number: u16) -> bool {
        self.extensions.contains(&number)
    }
}

/// Why bytes are no TLS, or no TLS that can be taken in.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Malformed {
    /// The first bytes are no record. Up to 16 of them.
    NotTls(Vec<u8>),
    /// A record or message that breaks the protocol: which rule.
    Protocol(&'static str),
    /// More than is taken in.
    TooLong,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls(_) => f.write_str("it does not speak TLS"),
            Self::Protocol(rule) => write!(f, "it breaks the TLS protocol: {rule}"),
            Self::TooLong => f.write_str("its answer is too long to be taken in"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Takes bytes in as they come, and gives out what they say.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reader {
    /// Bytes of records; those before `at` have been taken out.
    record: Vec<u8>,
    at: usize,
    /// Bytes of handshake messages from complete records.
    handshake: Vec<u8>,
    taken: usize,
    /// Whether a record has been seen.
    begun: bool,
    encrypted: bool,
}

impl Reader {
    /// Takes in what has arrived.
    ///
    /// # Errors
    ///
    /// [`Malformed::TooLong`] when it is more than [`LONGEST_ANSWER`] in all.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > LONGEST_ANSWER {
            return Err(Malformed::TooLong);
        }
        self.record.drain(..self.at);
        self.at = 0;
        self.record.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether nothing has arrived yet.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// The next thing that was said; `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// See [`Malformed`]. After an error there is nothing more to be had.
    pub fn next_event(&mut self) -> Result<Option<Event>, Malformed> {
        loop {
            if self.encrypted {
                return Ok(None);
            }
            if let Some(event) = self.next_message()? {
                return Ok(Some(event));
            }
            let Some((kind, content)) = self.next_record()? else {
                return Ok(None);
            };
            match kind {
                22 if content.is_empty() => return Err(Malformed::Protocol("an empty record")),
                22 => self.handshake.extend_from_slice(&content),
                _ if !self.handshake.is_empty() => {
                    return Err(Malformed::Protocol("a message that another record interrupts"));
                }
                21 => {
                    let [level @ (1 | 2), description] = content[..] else {
                        return Err(Malformed::Protocol("an alert that is none"));
                    };
                    return Ok(Some(Event::Alert { level, description }));
                }
                _ => {
                    self.encrypted = true;
                    return Ok(Some(Event::Encrypted));
                }
            }
        }
    }

    fn next_record(&mut self) -> Result<Option<(u8, Vec<u8>)>, Malformed> {
        let waiting = self.record.get(self.at..).unwrap_or_default();
        // A content type and the major version 3 are enough to tell TLS from anything else.
        if !self.begun {
            let not_tls = match waiting {
                [] => false,
                [kind] => !matches!(kind, 20..=23),
                [kind, major, ..] => !matches!(kind, 20..=23) || *major != 3,
            };
            if not_tls {
                return Err(Malformed::NotTls(waiting.iter().copied().take(16).collect()));
            }
        }
        let [kind, major, minor, high, low, rest @ ..] = waiting else {
            return Ok(None);
        };
        if !matches!(kind, 20..=23) || *major != 3 || *minor > 4 {
            return Err(Malformed::Protocol("a record of an unknown type or version"));
        }
        self.begun = true;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length > if *kind == 23 { LONGEST_ENCRYPTED } else { LONGEST_PLAIN } {
            return Err(Malformed::Protocol("a record that is too long"));
        }
        let Some(content) = rest.get(..length) else {
            return Ok(None);
        };
        let record = (*kind, content.to_vec());
        self.at += 5 + length;
        Ok(Some(record))
    }

    fn next_message(&mut self) -> Result<Option<Event>, Malformed> {
        let [kind, a, b, c, rest @ ..] = &self.handshake[..] else {
            return Ok(None);
        };
        let kind = *kind;
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if length > LONGEST_MESSAGE {
            return Err(Malformed::TooLong);
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let event = message(kind, body)?;
        self.handshake.drain(..4 + length);
        Ok(Some(event))
    }
}

fn message(kind: u8, body: &[u8]) -> Result<Event, Malformed> {
    let bad = |rule| move || Malformed::Protocol(rule);
    Ok(match kind {
        2 => Event::ServerHello(server_hello(body)?),
        11 => Event::Certificate(
            certificates(body).ok_or_else(bad("a Certificate message that is none"))?,
        ),
        12 => Event::ServerKeyExchange(body.to_vec()),
        13 => Event::CertificateRequest,
        14 if body.is_empty() => Event::ServerHelloDone,
        14 => return Err(Malformed::Protocol("a ServerHelloDone with content")),
        22 => {
            let mut input = Input(body);
            let status = input
                .byte()
                .filter(|kind| *kind == 1)
                .and_then(|_| input.vector24())
                .filter(|_| input.is_empty());
            let status = status.ok_or_else(bad("a CertificateStatus message that is none"))?;
            Event::CertificateStatus(status.to_vec())
        }
        other => Event::Other(other),
    })
}

fn server_hello(body: &[u8]) -> Result<ServerHello, Malformed> {
    parse_server_hello(body).ok_or(Malformed::Protocol("a ServerHello that is none"))?
}

fn parse_server_hello(body: &[u8]) -> Option<Result<ServerHello, Malformed>> {
    let mut input = Input(body);
    let legacy = Version(input.number()?);
    let random = input.take(32)?;
    let session_id = input.vector8().filter(|id| id.len() <= 32)?.len();
    let suite = input.number()?;
    let compression = input.byte()?;
    let mut hello = ServerHello {
        version: legacy,
        suite,
        retry: random == RETRY,
        compression,
        session_id,
        group: None,
        alpn: None,
        extensions: Vec::new(),
    };
    // A server that knows no extensions sends no list, not even an empty one.
    let mut list = match input.is_empty() {
        true => Input(&[]),
        false => Input(input.vector16()?),
    };
    if !input.is_empty() {
        return None;
    }
    while !list.is_empty() {
        let number = list.number()?;
        let mut content = Input(list.vector16()?);
        if hello.has(number) {
            return Some(Err(Malformed::Protocol("an extension that is there twice")));
        }
        hello.extensions.push(number);
        match number {
            extension::SUPPORTED_VERSIONS => {
                hello.version = Version(content.number().filter(|_| content.is_empty())?);
            }
            extension::KEY_SHARE => hello.group = Some(key_share(content, hello.retry)?),
            extension::ALPN => {
                // A list of exactly one name (RFC 7301 section 3.1).
                let mut names = Input(content.vector16().filter(|_| content.is_empty())?);
                let name = names.vector8().filter(|_| names.is_empty())?;
                hello.alpn = Some(name.to_vec());
            }
            _ => {}
        }
    }
    Some(Ok(hello))
}

fn key_share(mut content: Input<'_>, retry: bool) -> Option<u16> {
    let group = content.number()?;
    if !retry {
        content.vector16().filter(|share| !share.is_empty())?;
    }
    Some(group).filter(|_| content.is_empty())
}

/// RFC 5246 section 7.4.2.
fn certificates(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut input = Input(body);
    let mut list = Input(input.vector24().filter(|_| input.is_empty())?);
    let mut found = Vec::new();
    while !list.is_empty() {
        found.push(list.vector24().filter(|certificate| !certificate.is_empty())?.to_vec());
    }
    Some(found)
}

/// What a server chose for the key exchange in TLS 1.2 and older.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeyExchange {
    /// The group, with an elliptic curve.
    pub group: Option<u16>,
    /// The prime, with finite fields.
    pub prime: Option<Prime>,
    /// The signature scheme, in TLS 1.2.
    pub scheme: Option<u16>,
}

/// A prime of Diffie-Hellman.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Prime {
    /// Its length in bits.
    pub bits: usize,
    /// Where it comes from, if it is a well-known one.
    pub origin: Option<&'static str>,
}

impl KeyExchange {
    /// Reads a ServerKeyExchange message (RFC 5246 section 7.4.3, RFC 8422 section 5.4).
    ///
    /// # Errors
    ///
    /// A message that is none for this suite; `None` for a suite of a kind that is not read here.
    pub fn parse(suite: Suite, version: Version, body: &[u8]) -> Result<Option<Self>, Malformed> {
        if !suite.is_ecdhe() && !suite.is_dhe() {
            return Ok(None);
        }
        Self::read(suite, version, body)
            .map(Some)
            .ok_or(Malformed::Protocol("a ServerKeyExchange message that is none"))
    }

    fn read(suite: Suite, version: Version, body: &[u8]) -> Option<Self> {
        let mut input = Input(body);
        let mut found = Self::default();
        if suite.is_ecdhe() {
            // named_curve
            input.byte().filter(|kind| *kind == 3)?;
            found.group = Some(input.number()?);
            input.vector8()?;
        } else {
            found.prime = Some(Prime::of(input.vector16()?));
            input.vector16()?;
            input.vector16()?;
        }
        if suite.has_certificate() {
            if version == Version::TLS12 {
                found.scheme = Some(input.number()?);
            }
            input.vector16()?;
        }
        Some(found).filter(|_| input.is_empty())
    }
}

impl Prime {
    fn of(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let significant = bytes.get(zeros..).unwrap_or_default();
        let lead = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = (significant.len() * 8).saturating_sub(lead);
        // The primes of RFC 7919 and of RFC 2409 and 3526 begin so: the digits of e and of pi.
        let origin = match significant.get(8..16) {
            Some([0xad, 0xf8, 0x54, 0x58, 0xa2, 0xbb, 0x4a, 0x9a]) => Some("RFC 7919"),
            Some([0xc9, 0x0f, 0xda, 0xa2, 0x21, 0x68, 0xc2, 0x34]) => Some(match bits {
                // RFC 3526 begins at 1536 bits.
                0..1536 => "RFC 2409",
                _ => "RFC 3526",
            }),
            _ => None,
        };
        Self { bits, origin }
    }
}

/// Bytes that are read from their beginning; `None` where there are too few.
#[derive(Clone, Copy)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?;
        self.take(length.into())
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }

    fn vector24(&mut self) -> Option<&'a [u8]> {
        let high = self.byte()?;
        let low = self.number()?;
        self.take(usize::from(high) << 16 | usize::from(low))
    }
}
