use super::*;
use crate::pki::{Authority, AuthorityOptions, LeafRequest};
use openssl::ssl::{SslContext, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

const DAY: u64 = 24 * 60 * 60;

/// A server whose certificate ends at a time, and a client that believes it.
struct Pair {
    server: SslContext,
    client: SslContext,
    resumption: Resumption,
}

impl Pair {
    fn new(version: SslVersion, ends: Timestamp, lists: Option<Timestamp>) -> Self {
        let authority = Authority::create(&AuthorityOptions::new()).unwrap();
        let request = LeafRequest::server(["localhost"]).unwrap();
        let begins = ends - jiff::SignedDuration::from_hours(24 * 30);
        let issued = authority.issue(&request.not_before(begins).not_after(ends)).unwrap();
        let mut server = SslContext::builder(SslMethod::tls_server()).unwrap();
        server.set_certificate(issued.certificate()).unwrap();
        server.set_private_key(issued.key()).unwrap();
        server.set_max_proto_version(Some(version)).unwrap();
        let mut client = SslContext::builder(SslMethod::tls_client()).unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(authority.certificate().to_owned()).unwrap();
        client.set_cert_store(store.build());
        client.set_verify(SslVerifyMode::PEER);
        let resumption = Resumption::install(&mut client, lists).unwrap();
        Self { server: server.build(), client: client.build(), resumption }
    }

    /// Connects at a time; whether a session was resumed.
    fn connect(&self, now: u64) -> bool {
        let server = Ssl::new(&self.server).unwrap();
        let mut client = Ssl::new(&self.client).unwrap();
        self.resumption.offer_at(&mut client, &ServerName::Dns("localhost".to_owned()), 443, now);
        let (near, far) = UnixStream::pair().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = server.accept(far).unwrap();
                stream.write_all(b"hello").unwrap();
                let _ = stream.read(&mut [0]);
            });
            let mut stream = client.connect(near).unwrap();
            // The tickets of TLS 1.3 are before it.
            stream.read_exact(&mut [0; 5]).unwrap();
            // OpenSSL takes the session of a connection that just breaks off for unusable.
            stream.shutdown().unwrap();
            stream.ssl().session_reused()
        })
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn hours(hours: i64) -> Timestamp {
    now() + jiff::SignedDuration::from_hours(hours)
}

#[test]
fn a_session_is_resumed_until_the_certificate_ends_in_however_many_steps() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let ends = hours(2);
        let pair = Pair::new(version, ends, None);
        let now = seconds(now());
        assert!(!pair.connect(now), "{version:?}");
        for step in 1..4 {
            assert!(pair.connect(now + 1000 * step), "{version:?}");
        }
        assert!(pair.connect(seconds(ends) - 1), "{version:?}");
        assert!(!pair.connect(seconds(ends)), "{version:?}");
    }
}

#[test]
fn a_session_is_resumed_for_a_day_in_however_many_steps() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let pair = Pair::new(version, hours(48), None);
        let now = seconds(now());
        assert!(!pair.connect(now), "{version:?}");
        for step in 1..4 {
            assert!(pair.connect(now + DAY / 4 * step), "{version:?}");
        }
        // Here the full handshake begins another day, by the clock of the test's machine.
        assert!(!pair.connect(now + DAY + 10), "{version:?}");
    }
}

#[test]
fn a_session_is_not_resumed_beyond_the_revocation_lists() {
    let ends = hours(1);
    let pair = Pair::new(SslVersion::TLS1_3, hours(48), Some(ends));
    assert!(!pair.connect(seconds(now())));
    assert!(pair.connect(seconds(ends) - 1));
    assert!(!pair.connect(seconds(ends)));
}
