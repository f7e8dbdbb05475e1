//! Content in its framing: the decoder against itself with the same bytes in other pieces and other
//! room for the content, and against a decoder that has all bytes before it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sealpair_fuzz::{Content, Numbers, fragmentations, read_content};
use sealpair_server::BodyError;
use sealpair_server::http::Framing;
use sealpair_server::http::body::BodyDecoder;

fuzz_target!(|input: &[u8]| {
    let mut numbers = Numbers::of(input);
    let length = numbers.below(input.len() + 3) as u64;
    for framing in [Framing::Chunked, Framing::Length(length), Framing::None] {
        for limit in [u64::MAX, 20] {
            let whole = read_content(framing, limit, input, &[input.len()], || input.len());
            for arrivals in fragmentations(input) {
                // Room that is sometimes none: framing is taken even then. Where content is next, the
                // caller comes back with some.
                let pieces = read_content(framing, limit, input, &arrivals, || numbers.below(9));
                assert_eq!(pieces, whole, "{framing:?}, in pieces that end at {arrivals:?}");
            }
            assert_eq!(past_the_decoder(framing, limit, input, &mut numbers), whole, "{framing:?}");
            match framing {
                Framing::Chunked => check_chunked(&whole, limit, input),
                Framing::Length(length) if length > limit => {
                    assert_eq!(whole, Err(BodyError::TooLarge { limit }));
                }
                Framing::Length(length) => {
                    let taken = input.len().min(length as usize);
                    let done = taken as u64 == length;
                    assert_eq!(whole, Ok((input[..taken].to_vec(), taken, done)));
                }
                Framing::None => assert_eq!(whole, Ok((Vec::new(), 0, true))),
            }
        }
    }
});

/// As a connection reads content that need not pass through its buffer.
fn past_the_decoder(framing: Framing, limit: u64, input: &[u8], numbers: &mut Numbers) -> Content {
    let mut decoder = BodyDecoder::new(framing, limit)?;
    let mut content = Vec::new();
    let mut at = 0;
    while at < input.len() && !decoder.is_done() {
        let ahead = usize::try_from(decoder.content_ahead()).unwrap_or(usize::MAX);
        if ahead > 0 {
            let count = ahead.min(input.len() - at).min(1 + numbers.below(5));
            content.extend_from_slice(&input[at..at + count]);
            decoder.consumed_directly(count as u64);
            at += count;
        } else {
            at += decoder.decode(&input[at..=at], &mut [])?.consumed;
        }
    }
    Ok((content, at, decoder.is_done()))
}

fn check_chunked(answer: &Content, limit: u64, input: &[u8]) {
    match answer {
        Ok((content, consumed, true)) => {
            assert_eq!(naive(input), Some((content.clone(), *consumed)));
            assert!(content.len() as u64 <= limit);
        }
        Ok((content, consumed, false)) => {
            assert_eq!(*consumed, input.len(), "it wants more, and has not taken all");
            assert!(content.len() as u64 <= limit);
            assert_eq!(naive(input), None);
        }
        // What the other takes is refused for its size only.
        Err(BodyError::TooLarge { .. }) => {}
        Err(BodyError::Malformed(reason)) => {
            assert!(naive(input).is_none() || reason.ends_with("too long"), "{reason}");
        }
        Err(error) => panic!("{error} is not the decoder's to say"),
    }
}

/// RFC 9112 section 7.1, line by line: the content and how many bytes it took.
fn naive(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut content = Vec::new();
    let mut rest = input;
    loop {
        let line = line(&mut rest)?;
        let (size, extension) = match line.iter().position(|&byte| byte == b';') {
            Some(at) => (&line[..at], &line[at..]),
            None => (line, &[][..]),
        };
        if size.is_empty() || !size.iter().all(u8::is_ascii_hexdigit) || !extension.iter().all(text)
        {
            return None;
        }
        let size = u64::from_str_radix(str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        content.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let line = line(&mut rest)?;
        if line.is_empty() {
            return Some((content, input.len() - rest.len()));
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        http::HeaderName::from_bytes(&line[..colon]).ok()?;
        if !line[colon..].iter().all(text) {
            return None;
        }
    }
}

fn line<'i>(rest: &mut &'i [u8]) -> Option<&'i [u8]> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    Some(line)
}

/// A byte of a field value.
fn text(byte: &u8) -> bool {
    matches!(byte, b'\t' | b' '..=0x7e | 0x80..)
}
