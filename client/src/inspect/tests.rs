//! The hello and the reader against OpenSSL, against what breaks the rules, and against anything at all.

#![allow(clippy::unwrap_used)]

use super::hello::{Hello, extension, share};
use super::registry::{GROUPS, Group, SCHEMES, Suite, Version};
use super::reply::{Event, KeyExchange, LONGEST_ANSWER, Malformed, Reader, ServerHello};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVersion};
use openssl::x509::{X509, X509NameBuilder};
use proptest::prelude::*;
use std::io::{self, Read, Write};

fn hello(version: Version) -> Hello {
    Hello {
        version,
        suites: Suite::all().filter(|suite| suite.fits(version)).map(|suite| suite.id).collect(),
        groups: Group::of_version(version).map(|group| group.id).collect(),
        schemes: SCHEMES.iter().map(|scheme| scheme.id).collect(),
        shares: Vec::new(),
        server_name: Some("localhost".to_owned()),
        compression: false,
        extended_master_secret: true,
        alpn: Vec::new(),
        status_request: true,
    }
}

/// Bytes in, bytes out, and no more.
#[derive(Debug, Default)]
struct Memory {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buf.len().min(self.input.len());
        buf[..count].copy_from_slice(&self.input[..count]);
        self.input.drain(..count);
        Ok(count)
    }
}

impl Write for Memory {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn identity() -> (X509, PKey<Private>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

/// What OpenSSL answers.
fn answer(hello: &Hello) -> Vec<u8> {
    answer_of(hello, &[])
}

/// What OpenSSL answers that has these groups only, if any are given.
fn answer_of(hello: &Hello, groups: &[&str]) -> Vec<u8> {
    let (certificate, key) = identity();
    let mut context = SslContext::builder(SslMethod::tls_server()).unwrap();
    context.set_security_level(0);
    context.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
    context.set_cipher_list("ALL:COMPLEMENTOFALL").unwrap();
    if !groups.is_empty() {
        context.set_groups_list(&groups.join(":")).unwrap();
    }
    context.set_certificate(&certificate).unwrap();
    context.set_private_key(&key).unwrap();
    let memory = Memory { input: hello.encode(&[7; 64]), output: Vec::new() };
    let mut stream = SslStream::new(Ssl::new(&context.build()).unwrap(), memory).unwrap();
    let _ = stream.accept();
    std::mem::take(&mut stream.get_mut().output)
}

fn events(bytes: &[u8], piece: usize) -> (Vec<Event>, Option<Malformed>) {
    let mut reader = Reader::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        if let Err(error) = reader.feed(piece) {
            return (found, Some(error));
        }
        loop {
            match reader.next_event() {
                Ok(Some(event)) => found.push(event),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

fn server_hello(bytes: &[u8]) -> ServerHello {
    let (events, _) = events(bytes, 1 << 20);
    match events.into_iter().next() {
        Some(Event::ServerHello(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_prime_of_pi_is_of_the_rfc_that_has_its_length() {
    let suite = Suite::all().find(|suite| suite.iana == "TLS_DHE_RSA_WITH_AES_128_CBC_SHA");
    for (length, origin) in [(96, "RFC 2409"), (128, "RFC 2409"), (192, "RFC 3526")] {
        let digits = [0xc9, 0x0f, 0xda, 0xa2, 0x21, 0x68, 0xc2, 0x34];
        let mut prime = vec![0xff; length];
        prime[8..16].copy_from_slice(&digits);
        // The prime, the generator, the server's share, a signature.
        let body = [&[0, length as u8][..], &prime, &[0, 1, 2], &[0, 1, 2], &[0, 0]].concat();
        let exchange = KeyExchange::parse(suite.unwrap(), Version::TLS10, &body).unwrap().unwrap();
        assert_eq!(exchange.prime.unwrap().origin, Some(origin), "{length} bytes");
    }
}

#[test]
fn openssl_names_its_group_in_a_retry_and_takes_every_share() {
    let asked = Hello { groups: vec![24], ..hello(Version::TLS13) };
    let retry = server_hello(&answer(&asked));
    assert!(retry.retry && retry.version == Version::TLS13 && retry.group == Some(24), "{retry:?}");
    for group in GROUPS.iter().filter(|group| share(group.id).is_some()) {
        let mut probe = SslContext::builder(SslMethod::tls()).unwrap();
        if probe.set_groups_list(group.openssl).is_err() {
            continue;
        }
        let asked =
            Hello { groups: vec![group.id], shares: vec![group.id], ..hello(Version::TLS13) };
        let hello = server_hello(&answer_of(&asked, &[group.openssl]));
        assert_eq!((hello.retry, hello.group), (false, Some(group.id)), "{group:?}");
    }
}

#[test]
fn a_whole_flight_of_openssl_is_understood() {
    let bytes = answer(&hello(Version::TLS12));
    let (found, error) = events(&bytes, 1 << 20);
    assert_eq!(error, None);
    let [
        Event::ServerHello(hello),
        Event::Certificate(chain),
        Event::ServerKeyExchange(body),
        Event::ServerHelloDone,
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!(hello.version, Version::TLS12);
    assert!(hello.has(extension::EXTENDED_MASTER_SECRET));
    assert!(hello.has(extension::RENEGOTIATION_INFO) && hello.has(extension::SESSION_TICKET));
    assert!(X509::from_der(&chain[0]).is_ok());
    let suite = Suite::of(hello.suite).unwrap();
    let exchange = KeyExchange::parse(suite, Version::TLS12, body).unwrap().unwrap();
    assert!(exchange.group.is_some() && exchange.scheme.is_some(), "{exchange:?}");
    // Cut or lengthened, it is none.
    for bad in [&body[..body.len() - 1], &[&body[..], &[0]].concat()] {
        assert!(KeyExchange::parse(suite, Version::TLS12, bad).is_err());
    }
    for piece in [1, 2, 3, 7, 100] {
        assert_eq!(events(&bytes, piece), (found.clone(), None));
    }
}

#[test]
fn versions_that_openssl_speaks_are_understood() {
    for (version, expected) in [(Version::TLS10, 0x0301), (Version::TLS11, 0x0302)] {
        assert_eq!(server_hello(&answer(&hello(version))).version.0, expected);
    }
    let (found, _) = events(&answer(&hello(Version::SSL3)), 100);
    assert!(matches!(found[..], [Event::Alert { level: 2, .. }]), "{found:?}");
}

#[test]
fn shares_are_points_of_their_curves() {
    for (id, nid) in [(23, Nid::X9_62_PRIME256V1), (24, Nid::SECP384R1)] {
        let group = EcGroup::from_curve_name(nid).unwrap();
        let mut context = openssl::bn::BigNumContext::new().unwrap();
        let point = EcPoint::from_bytes(&group, &share(id).unwrap(), &mut context).unwrap();
        assert!(point.is_on_curve(&group, &mut context).unwrap());
    }
    assert_eq!(share(0x11ec).unwrap().len(), 1184 + 32);
    assert_eq!(share(0x11eb).unwrap().len(), 65 + 1184);
    assert_eq!(share(0x11ed).unwrap().len(), 97 + 1568);
}

#[test]
fn hellos_of_an_awkward_length_are_padded() {
    for suites in 1..150 {
        let mut asked = hello(Version::TLS12);
        asked.suites.truncate(suites);
        asked.groups.truncate(2);
        asked.schemes.truncate(1);
        let length = asked.encode(&[0; 64]).len() - 5;
        assert!(!(256..512).contains(&length), "{length}");
    }
}

#[test]
fn what_is_no_tls_is_told_from_what_breaks_it() {
    let first = |bytes: &[u8]| events(bytes, 3).1;
    for words in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"SSH-2.0-x", b"\x15\x02", b"\0"] {
        assert!(matches!(first(words), Some(Malformed::NotTls(_))), "{words:?}");
    }
    for (bytes, why) in [
        (&[22, 3, 3, 0, 0][..], "an empty record"),
        (&[22, 3, 3, 0x40, 1], "a record that is too long"),
        (&[21, 3, 3, 0, 1, 2], "an alert that is none"),
        (&[21, 3, 3, 0, 2, 3, 40], "an alert that is none"),
        (&[22, 3, 9, 0, 1, 2], "a record of an unknown type or version"),
        (&[22, 3, 3, 0, 1, 2, 21, 3, 3, 0, 2, 2, 40], "a message that another record interrupts"),
        (&[22, 3, 3, 0, 4, 2, 0, 0, 0], "a ServerHello that is none"),
        (&[22, 3, 3, 0, 5, 14, 0, 0, 1, 0], "a ServerHelloDone with content"),
        (&[22, 3, 3, 0, 4, 11, 0, 0, 0], "a Certificate message that is none"),
    ] {
        assert_eq!(first(bytes), Some(Malformed::Protocol(why)), "{bytes:?}");
    }
    assert_eq!(first(&[22, 3, 3, 0, 4, 11, 0xff, 0xff, 0xff]), Some(Malformed::TooLong));
}

#[test]
fn an_answer_without_end_is_cut() {
    let record = [&[22, 3, 3, 0, 4][..], &[99, 0, 0, 0]].concat();
    let endless = record.repeat(LONGEST_ANSWER / record.len() + 1);
    let (found, error) = events(&endless, 1 << 10);
    assert_eq!(error, Some(Malformed::TooLong));
    assert!(found.iter().all(|event| *event == Event::Other(99)));
}

#[test]
fn a_server_hello_with_a_wrong_extension_is_refused() {
    let mut body = vec![3, 3];
    body.extend([0; 32]);
    body.extend([0, 0xc0, 0x2b, 0]);
    let with = |extensions: &[u8]| {
        let mut body = body.clone();
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![2, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let mut record = vec![22, 3, 3];
        record.extend((message.len() as u16).to_be_bytes());
        record.extend(message);
        events(&record, 1 << 20)
    };
    assert_eq!(with(&[]).1, None);
    assert_eq!(with(&[0, 23, 0, 0]).1, None);
    let twice = Malformed::Protocol("an extension that is there twice");
    assert_eq!(with(&[0, 23, 0, 0, 0, 23, 0, 0]).1, Some(twice));
    let none = Malformed::Protocol("a ServerHello that is none");
    for bad in [
        &[0, 23, 0, 1][..],
        &[0, 23, 0],
        &[0, 43, 0, 1, 3],
        &[0, 43, 0, 3, 3, 4, 0],
        &[0, 51, 0, 2, 0, 29],
        &[0, 51, 0, 4, 0, 29, 0, 0],
        &[0, 16, 0, 4, 0, 2, 1, 0x61, 0x62],
    ] {
        assert_eq!(with(bad).1, Some(none.clone()), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn anything_at_all_is_read_alike_however_it_is_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        piece in 1usize..50,
    ) {
        let whole = events(&bytes, bytes.len());
        prop_assert_eq!(events(&bytes, piece).0, whole.0);
    }

    #[test]
    fn records_of_anything_are_read_alike_however_they_are_cut(
        parts in prop::collection::vec(
            (20u8..24, prop::collection::vec(any::<u8>(), 0..80)), 0..12),
        piece in 1usize..50,
    ) {
        let record = |(kind, content): &(u8, Vec<u8>)| {
            let length = (content.len() as u16).to_be_bytes();
            [&[*kind, 3, 3][..], &length, content].concat()
        };
        let bytes: Vec<u8> = parts.iter().flat_map(record).collect();
        let whole = events(&bytes, bytes.len().max(1));
        prop_assert_eq!(events(&bytes, piece), whole);
    }

    #[test]
    fn a_flight_in_which_bytes_are_changed_breaks_nothing(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        static FLIGHT: std::sync::LazyLock<Vec<u8>> =
            std::sync::LazyLock::new(|| answer(&hello(Version::TLS12)));
        let mut bytes = FLIGHT.clone();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        for event in events(&bytes, 64).0 {
            if let Event::ServerKeyExchange(body) = event {
                for suite in Suite::all() {
                    let _ = KeyExchange::parse(suite, Version::TLS12, &body);
                }
            }
        }
    }
}
