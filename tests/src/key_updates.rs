//! KeyUpdate messages (RFC 8446 section 4.6.3) as fast as a client can send them.
//!
//! OpenSSL sends one at a time and tlslite-ng takes long for each. But there is little to them: the
//! secret of a connection is what the key log says, and each message has a key of its own that follows
//! from the one before. So they are made here, below an ordinary client's TLS, which goes on reading
//! and must not write any more.

use crate::raw::RawClient;
use crate::server::SealpairServer;
use openssl::sha::Sha256;
use openssl::ssl::{SslContext, SslVersion};
use openssl::symm::{Cipher, encrypt_aead};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

/// The one cipher suite that is spoken here.
const SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// Content types (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// What a client sends on a connection whose handshake is done.
#[derive(Debug)]
pub struct KeyUpdates {
    secret: [u8; 32],
}

/// A client that knows the secrets of its connections; it makes one at a time.
#[derive(Debug)]
pub struct KeyLog {
    tls: SslContext,
    said: Arc<Mutex<Option<[u8; 32]>>>,
}

impl KeyLog {
    /// A client of this server.
    #[track_caller]
    pub fn of(server: &SealpairServer) -> Self {
        let said = Arc::<Mutex<Option<[u8; 32]>>>::default();
        let tls = RawClient::context(server, |tls| {
            tls.set_min_proto_version(Some(SslVersion::TLS1_3)).unwrap();
            tls.set_ciphersuites(SUITE).unwrap();
            let said = Arc::clone(&said);
            tls.set_keylog_callback(move |_, line| {
                if let Some(rest) = line.strip_prefix("CLIENT_TRAFFIC_SECRET_0 ") {
                    let secret = rest.split_whitespace().nth(1).unwrap();
                    *said.lock().unwrap() = Some(from_hex(secret));
                }
            });
        });
        Self { tls, said }
    }

    /// Connects over a TCP connection.
    #[track_caller]
    pub fn connect(&self, tcp: TcpStream) -> (RawClient, KeyUpdates) {
        let client = RawClient::over(tcp, &self.tls);
        let secret = self.said.lock().unwrap().take().expect("the key log tells the secret");
        (client, KeyUpdates { secret })
    }
}

impl KeyUpdates {
    /// Records with so many KeyUpdates; each asks for one in return, or none does.
    pub fn records(&mut self, count: usize, update_requested: bool) -> Vec<u8> {
        const KEY_UPDATE: u8 = 24;
        let message = [KEY_UPDATE, 0, 0, 1, u8::from(update_requested)];
        let mut records = Vec::new();
        for _ in 0..count {
            records.extend(self.record(HANDSHAKE, &message));
            self.secret = expand::<32>(&self.secret, "traffic upd");
        }
        records
    }

    /// A record with application data, behind which there must be no other.
    pub fn last(self, data: impl AsRef<[u8]>) -> Vec<u8> {
        self.record(APPLICATION_DATA, data.as_ref())
    }

    /// The first record of its key, so that the nonce is the vector as it is (RFC 8446 section 5.3).
    fn record(&self, kind: u8, content: &[u8]) -> Vec<u8> {
        let key = expand::<16>(&self.secret, "key");
        let vector = expand::<12>(&self.secret, "iv");
        let plain = [content, &[kind]].concat();
        let mut tag = [0; 16];
        let length = u16::try_from(plain.len() + tag.len()).unwrap().to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, length[0], length[1]];
        let cipher = Cipher::aes_128_gcm();
        let sealed = encrypt_aead(cipher, &key, Some(&vector), &header, &plain, &mut tag).unwrap();
        [&header[..], &sealed, &tag].concat()
    }
}

/// HKDF-Expand-Label with an empty context, where one block is enough (RFC 8446 section 7.1).
fn expand<const LENGTH: usize>(secret: &[u8; 32], label: &str) -> [u8; LENGTH] {
    let length = u16::try_from(LENGTH).unwrap().to_be_bytes();
    let label_length = u8::try_from("tls13 ".len() + label.len()).unwrap();
    let info = [&length[..], &[label_length], b"tls13 ", label.as_bytes(), &[0, 1]].concat();
    hmac(secret, &info)[..LENGTH].try_into().unwrap()
}

/// HMAC-SHA-256 (RFC 2104), without the detours that make OpenSSL's take microseconds.
fn hmac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let hash = |pad: u8, text: &[u8]| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        let mut hash = Sha256::new();
        hash.update(&block);
        hash.update(text);
        hash.finish()
    };
    hash(0x5c, &hash(0x36, text))
}

fn from_hex(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    assert_eq!(text.len(), 2 * bytes.len(), "the hash of the suite is SHA-256");
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap();
        *byte = u8::from_str_radix(digits, 16).unwrap();
    }
    bytes
}
