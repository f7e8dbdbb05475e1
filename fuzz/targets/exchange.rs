//! Several requests on one connection: however the bytes arrive, they are the same requests with the same
//! content, and the connection ends for the same reason. The loop mirrors the one of `wire.rs`, which needs a
//! socket; the scanner, the parser and the decoder are the server's own.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealpair_fuzz::{End, Exchange, Numbers, TIGHT, fragmentations};
use sealpair_server::http::body::BodyDecoder;
use sealpair_server::http::head::{HeadLimits, parse};
use sealpair_server::http::scan::HeadScanner;

/// Bytes of content in one request.
const LIMIT: u64 = 1 << 10;

fuzz_target!(|input: &[u8]| {
    for limits in [HeadLimits::default(), TIGHT] {
        let whole = read(input, &[input.len()], &limits, || input.len() + 1);
        for arrivals in fragmentations(input) {
            let mut numbers = Numbers::of(input);
            let pieces = read(input, &arrivals, &limits, || 1 + numbers.below(9));
            assert_eq!(pieces, whole, "in pieces that end at {arrivals:?}");
        }
    }
});

/// Reads requests until the bytes end or nothing more can be told.
fn read(
    input: &[u8],
    arrivals: &[usize],
    limits: &HeadLimits,
    mut room: impl FnMut() -> usize,
) -> (Vec<Exchange>, End) {
    let mut exchanges = Vec::new();
    let mut arrivals = arrivals.iter().copied();
    let (mut at, mut arrived) = (0, 0);
    loop {
        let mut scanner = HeadScanner::new();
        let head = loop {
            match scanner.scan(&input[at..arrived], limits) {
                Ok(Some(length)) => match parse(&input[at..at + length], limits) {
                    Ok(head) => {
                        at += length;
                        break head;
                    }
                    Err(rejection) => return (exchanges, End::Refused(rejection)),
                },
                Ok(None) => match arrivals.next() {
                    Some(more) => arrived = more,
                    None => return (exchanges, End::Ended(at)),
                },
                Err(rejection) => return (exchanges, End::Refused(rejection)),
            }
        };
        let mut decoder = match BodyDecoder::new(head.framing, LIMIT) {
            Ok(decoder) => decoder,
            Err(error) => return (exchanges, End::Content(error)),
        };
        let mut content = Vec::new();
        let mut output = Vec::new();
        while !decoder.is_done() {
            output.resize(room(), 0);
            match decoder.decode(&input[at..arrived], &mut output) {
                Ok(decoded) => {
                    at += decoded.consumed;
                    content.extend_from_slice(&output[..decoded.produced]);
                }
                Err(error) => return (exchanges, End::Content(error)),
            }
            if at == arrived && !decoder.is_done() {
                match arrivals.next() {
                    Some(more) => arrived = more,
                    None => return (exchanges, End::Ended(at)),
                }
            }
        }
        exchanges.push(Exchange {
            line: format!("{} {}", head.method, head.target),
            version: head.version,
            framing: head.framing,
            content,
        });
        if !head.keep_alive {
            return (exchanges, End::Close(at));
        }
    }
}
