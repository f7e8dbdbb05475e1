//! What a server says to a ClientHello: the reader of the inspection against itself with the same bytes in
//! other pieces, and its key exchange messages as those of every suite.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealpair_client::inspect::registry::{Suite, Version};
use sealpair_client::inspect::reply::{Event, KeyExchange, Malformed, Reader};
use sealpair_fuzz::fragmentations;

fuzz_target!(|input: &[u8]| {
    let whole = read(input, &[input.len()]);
    for arrivals in fragmentations(input) {
        let (events, error) = read(input, &arrivals);
        assert_eq!(events, whole.0, "in pieces that end at {arrivals:?}");
        match (&error, &whole.1) {
            // What it shows of what is no TLS depends on how much there was.
            (Some(Malformed::NotTls(some)), Some(Malformed::NotTls(all))) => {
                assert!(all.starts_with(some));
            }
            (one, other) => assert_eq!(one, other, "in pieces that end at {arrivals:?}"),
        }
    }
    for event in whole.0 {
        let Event::ServerKeyExchange(body) = event else { continue };
        for suite in Suite::all() {
            for version in Version::ALL {
                if let Ok(Some(exchange)) = KeyExchange::parse(suite, version, &body) {
                    assert!(exchange.group.is_some() != exchange.prime.is_some());
                }
            }
        }
    }
});

fn read(input: &[u8], arrivals: &[usize]) -> (Vec<Event>, Option<Malformed>) {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    let mut at = 0;
    for &arrived in arrivals {
        if let Err(error) = reader.feed(&input[at..arrived]) {
            return (events, Some(error));
        }
        at = arrived;
        loop {
            match reader.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}
