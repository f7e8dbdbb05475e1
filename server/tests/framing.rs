//! Properties of the framing, on requests that nobody wrote by hand: however a client's bytes arrive,
//! they mean the same; and what we frame, we read.
//!
//! `fuzz/` has the same properties for bytes of any kind, for as long as one likes; this runs in seconds,
//! and begins where a fuzzer has to get first: with requests that are almost right.

#![allow(clippy::unwrap_used, missing_docs)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use sealpair_server::BodyError;
use sealpair_server::http::Framing;
use sealpair_server::http::body::BodyDecoder;
use sealpair_server::http::head::{HeadLimits, parse};
use sealpair_server::http::response::ChunkedEncoder;
use sealpair_server::http::scan::HeadScanner;

/// Limits that the requests below pass now and then.
const TIGHT: HeadLimits = HeadLimits { head: 160, target: 24, fields: 5 };

/// Bytes of content in these tests, at most.
const LIMIT: u64 = 64;

/// One of these texts.
fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(texts).prop_map(str::to_owned)
}

fn request_line() -> impl Strategy<Value = String> {
    let method = prop_oneof![
        9 => one_of(&["GET", "HEAD", "POST", "PUT", "OPTIONS", "M-SEARCH"]),
        1 => one_of(&["CONNECT", "G(T", ""]),
    ];
    let target = prop_oneof![
        9 => "/[a-c/.0-9?]{0,12}",
        1 => "/[a-c%0-9]{0,12}",
        1 => one_of(&["*", "https://a/b", "HTTPS://a?b", "http://a/", "https://a@b/", "a:443", " "]),
        1 => "/[a-c]{20,30}",
    ];
    let version = prop_oneof![
        9 => Just("HTTP/1.1".to_owned()),
        1 => one_of(&["HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ", "http/1.1"]),
    ];
    (method, target, version)
        .prop_map(|(method, target, version)| format!("{method} {target} {version}"))
}

/// A line that may stand beside `Host`.
fn field_line() -> impl Strategy<Value = String> {
    prop_oneof![
        16 => "[a-cA-C-]{1,6}:[ \t]{0,2}[ -~]{0,12}",
        4 => one_of(&["Content-Length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue"]),
        1 => one_of(&["Host: b", "Content-Length: +5", "Content-Length: 5, 5"]),
        1 => one_of(&[" folded", "no colon", "a : b", ": c", "a: \0", "Transfer-Encoding: gzip"]),
    ]
}

/// A head that is right about as often as not.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let line_end = || prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
    let start = prop_oneof![16 => Just(""), 2 => Just("\r\n"), 1 => Just("\r\n\r\n")];
    let lines = (request_line(), vec(field_line(), 0..6));
    (start, lines, line_end(), line_end()).prop_map(|(start, (line, fields), end, last)| {
        let mut head = format!("{start}{line}{end}Host: a\r\n");
        for field in fields {
            head += &field;
            head += "\r\n";
        }
        (head + last).into_bytes()
    })
}

/// A chunked body that is right more often than not, with something behind it.
fn chunked() -> impl Strategy<Value = Vec<u8>> {
    let extension =
        prop_oneof![6 => Just(""), 1 => Just(";a=b"), 1 => Just(" ;a"), 1 => Just(";\n")];
    let chunk = (vec(any::<u8>(), 1..20), extension, 0..40).prop_map(|(data, extension, odd)| {
        // One size in forty is wrong.
        let size = data.len() + usize::from(odd == 0);
        [format!("{size:x}{extension}\r\n").as_bytes(), &data, b"\r\n"].concat()
    });
    let end =
        one_of(&["0\r\n\r\n", "0\r\na: b\r\n\r\n", "00;e\r\n\r\n", "0\r\n", "+0\r\n\r\n", "0\n\n"]);
    (vec(chunk, 0..5), end, "[ -~]{0,9}").prop_map(|(chunks, end, rest)| {
        [&chunks.concat(), end.as_bytes(), rest.as_bytes()].concat()
    })
}

/// Places at which bytes are cut, whatever their number turns out to be.
fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    vec(any::<prop::sample::Index>(), 0..6)
}

/// What has arrived after each read, for every fragmentation that is tried: whole, byte by byte, in two
/// pieces at every place, and at these cuts.
fn arrivals(length: usize, cuts: &[prop::sample::Index]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![length], (0..=length).collect()];
    all.extend((0..length).map(|cut| vec![cut, length]));
    let mut some: Vec<usize> = cuts.iter().map(|cut| cut.index(length + 1)).collect();
    some.push(length);
    some.sort_unstable();
    all.push(some);
    all
}

/// What a connection makes of the head that these bytes begin with, and how long that is.
fn read_head(bytes: &[u8], arrivals: &[usize], limits: &HeadLimits) -> String {
    let mut scanner = HeadScanner::new();
    for &arrived in arrivals {
        match scanner.scan(&bytes[..arrived], limits) {
            Ok(Some(end)) => return format!("{end}: {:?}", parse(&bytes[..end], limits)),
            Ok(None) => {}
            Err(rejection) => return rejection.to_string(),
        }
    }
    format!("more, begun: {}", scanner.has_begun())
}

/// The content, how many bytes of the input it took, and whether it ended.
type Content = Result<(Vec<u8>, usize, bool), BodyError>;

/// What a connection takes out of these bytes that reads `room` bytes of content at a time.
fn read_content(framing: Framing, bytes: &[u8], arrivals: &[usize], room: usize) -> Content {
    let mut decoder = BodyDecoder::new(framing, LIMIT)?;
    let (mut content, mut output, mut at) = (Vec::new(), vec![0; room], 0);
    for &arrived in arrivals {
        while at < arrived && !decoder.is_done() {
            let decoded = decoder.decode(&bytes[at..arrived], &mut output)?;
            assert!(decoded.consumed > 0, "no progress at {at}");
            at += decoded.consumed;
            content.extend_from_slice(&output[..decoded.produced]);
        }
    }
    Ok((content, at, decoder.is_done()))
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_head_means_the_same_however_it_arrives(head in head(), rest in "[ -~]{0,5}", cuts in cuts()) {
        let bytes = [&head[..], rest.as_bytes()].concat();
        for limits in [HeadLimits::default(), TIGHT] {
            let whole = read_head(&bytes, &[bytes.len()], &limits);
            for arrivals in arrivals(bytes.len(), &cuts) {
                prop_assert_eq!(&read_head(&bytes, &arrivals, &limits), &whole, "{:?}", arrivals);
            }
        }
    }

    #[test]
    fn what_follows_a_head_does_not_change_it(head in head(), rest in vec(any::<u8>(), 0..20)) {
        let limits = HeadLimits::default();
        let alone = read_head(&head, &[head.len()], &limits);
        // A head that is not complete goes on with what follows.
        if !alone.starts_with("more") {
            let followed = [head, rest].concat();
            prop_assert_eq!(read_head(&followed, &[followed.len()], &limits), alone);
        }
    }

    #[test]
    fn chunked_content_is_the_same_however_it_arrives(bytes in chunked(), cuts in cuts(), room in 1usize..30) {
        let whole = read_content(Framing::Chunked, &bytes, &[bytes.len()], bytes.len().max(1));
        for arrivals in arrivals(bytes.len(), &cuts) {
            let pieces = read_content(Framing::Chunked, &bytes, &arrivals, room);
            prop_assert_eq!(&pieces, &whole, "{:?}", arrivals);
        }
    }

    #[test]
    fn content_of_a_length_is_its_first_bytes(
        bytes in vec(any::<u8>(), 0..80), length in 0u64..80, cuts in cuts(), room in 1usize..30,
    ) {
        let taken = bytes.len().min(length as usize);
        let expected = match length {
            0..=LIMIT => Ok((bytes[..taken].to_vec(), taken, taken as u64 == length)),
            _ => Err(BodyError::TooLarge { limit: LIMIT }),
        };
        for arrivals in arrivals(bytes.len(), &cuts) {
            let pieces = read_content(Framing::Length(length), &bytes, &arrivals, room);
            prop_assert_eq!(&pieces, &expected, "{:?}", arrivals);
        }
    }

    #[test]
    fn what_the_encoder_writes_is_what_the_decoder_reads(
        data in vec(vec(any::<u8>(), 0..20), 0..4), cuts in cuts(), room in 1usize..30,
    ) {
        let (mut encoder, mut bytes) = (ChunkedEncoder::default(), Vec::new());
        for piece in &data {
            encoder.chunk(&mut bytes, piece.len() as u64);
            bytes.extend_from_slice(piece);
        }
        encoder.finish(&mut bytes);
        let length = bytes.len();
        // The next response.
        bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        let content = data.concat();
        for arrivals in arrivals(bytes.len(), &cuts) {
            let read = read_content(Framing::Chunked, &bytes, &arrivals, room);
            prop_assert_eq!(read, Ok((content.clone(), length, true)), "{:?}", arrivals);
        }
        // Whatever is missing at the end, the content is not taken for complete.
        for cut in 0..length {
            let (_, _, done) = read_content(Framing::Chunked, &bytes, &[cut], room).unwrap();
            prop_assert!(!done, "cut at {cut}");
        }
    }
}

/// The properties hold for nothing if the examples are all refused, or all taken.
#[test]
fn the_examples_are_of_both_kinds() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut heads, mut bodies) = ([0; 2], [0; 2]);
    for _ in 0..256 {
        let bytes = head().new_tree(&mut runner).unwrap().current();
        let accepted = read_head(&bytes, &[bytes.len()], &HeadLimits::default()).contains(": Ok(");
        heads[usize::from(accepted)] += 1;
        let bytes = chunked().new_tree(&mut runner).unwrap().current();
        let content = read_content(Framing::Chunked, &bytes, &[bytes.len()], 1000);
        bodies[usize::from(matches!(content, Ok((_, _, true))))] += 1;
    }
    for counts in [heads, bodies] {
        assert!(counts.iter().all(|&count| count >= 60), "{heads:?} {bodies:?}");
    }
}
