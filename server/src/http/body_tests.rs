//! Every example is decoded whole, byte by byte and split in two at every place, into outputs of
//! several sizes, and has to give the same answer each time.

use super::*;

const LIMIT: u64 = 1000;

/// The content, how many bytes of the input it took, and whether it ended.
type Answer = Result<(Vec<u8>, usize, bool), BodyError>;

/// What a connection does that reads `input` in `pieces` and content `room` bytes at a time.
fn decode_pieces(framing: Framing, input: &[u8], pieces: &[usize], room: usize) -> Answer {
    let mut decoder = BodyDecoder::new(framing, LIMIT)?;
    let mut content = Vec::new();
    let mut output = vec![0; room];
    let mut at = 0;
    for &end in pieces {
        loop {
            let decoded = decoder.decode(&input[at..end], &mut output)?;
            at += decoded.consumed;
            content.extend_from_slice(&output[..decoded.produced]);
            if decoded.done || at == end {
                break;
            }
            assert!(decoded.consumed > 0, "no progress");
        }
    }
    Ok((content, at, decoder.is_done()))
}

/// As above, with content read past the decoder wherever that is possible.
fn decode_directly(framing: Framing, input: &[u8]) -> Answer {
    let mut decoder = BodyDecoder::new(framing, LIMIT)?;
    let mut content = Vec::new();
    let mut at = 0;
    while at < input.len() && !decoder.is_done() {
        let ahead = usize::try_from(decoder.content_ahead()).unwrap();
        if ahead > 0 {
            let count = ahead.min(input.len() - at).min(2);
            content.extend_from_slice(&input[at..at + count]);
            decoder.consumed_directly(count as u64);
            at += count;
        } else {
            at += decoder.decode(&input[at..=at], &mut [])?.consumed;
        }
    }
    Ok((content, at, decoder.is_done()))
}

fn decode(framing: Framing, input: &[u8]) -> Answer {
    let whole = decode_pieces(framing, input, &[input.len()], 4096);
    let single: Vec<usize> = (1..=input.len()).collect();
    for room in [1, 3, 4096] {
        assert_eq!(decode_pieces(framing, input, &single, room), whole, "byte by byte");
        for at in (0..input.len()).step_by(1 + input.len() / 1024 * 96) {
            let split = decode_pieces(framing, input, &[at, input.len()], room);
            assert_eq!(split, whole, "split at {at}, room {room}");
        }
    }
    assert_eq!(decode_directly(framing, input), whole, "directly");
    whole
}

#[track_caller]
fn malformed(input: impl AsRef<[u8]>) {
    let input = input.as_ref();
    let answer = decode(Framing::Chunked, input);
    assert!(
        matches!(answer, Err(BodyError::Malformed(_))),
        "{:?} gave {answer:?}",
        String::from_utf8_lossy(&input[..input.len().min(80)])
    );
}

#[test]
fn a_length_counts_bytes() {
    assert_eq!(decode(Framing::Length(5), b"helloGET /"), Ok((b"hello".to_vec(), 5, true)));
    assert_eq!(decode(Framing::Length(5), b"hel"), Ok((b"hel".to_vec(), 3, false)));
    assert_eq!(decode(Framing::Length(0), b"GET /"), Ok((Vec::new(), 0, true)));
    assert_eq!(decode(Framing::None, b"GET /"), Ok((Vec::new(), 0, true)));
}

#[test]
fn chunks_are_joined() {
    for (input, content) in [
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
        ("5;\r\nhello\r\n0;a=b;c=\"d e\"\r\n\r\n", "hello"),
        ("1\r\nx\r\n0\r\nDigest: a b\t\r\nEmpty:\r\n\r\n", "x"),
        ("0\r\nX:caf\u{e9}\r\n\r\n", ""),
    ] {
        let input = input.as_bytes();
        let expected = (content.as_bytes().to_vec(), input.len(), true);
        assert_eq!(decode(Framing::Chunked, input), Ok(expected.clone()));
        // The next request is left alone.
        let followed = [input, b"GET / HTTP/1.1"].concat();
        assert_eq!(decode(Framing::Chunked, &followed), Ok(expected));
    }
}

#[test]
fn a_body_that_has_not_ended_is_waited_for() {
    let input = b"5;e\r\nhello\r\n0\r\nX: y\r\n\r\n";
    for end in 0..input.len() {
        let (_, consumed, done) = decode(Framing::Chunked, &input[..end]).unwrap();
        assert_eq!((consumed, done), (end, false));
    }
}

#[test]
fn malformed_chunks_are_refused() {
    for input in [
        "\r\n",
        "\n",
        " 5\r\nhello",
        "5 \r\nhello",
        "5\t\r\nhello",
        "+5\r\n",
        "-5\r\n",
        "0x5\r\n",
        "5h\r\n",
        "g\r\n",
        ";a\r\n",
        "5 ;a\r\n",
        "5\nhello",
        "5\rhello",
        "5\r\rhello",
        "5,5\r\n",
        "5;a\nhello",
        "5;a\rb\r\n",
        "5;a\0\r\n",
        "5;\x7f\r\n",
        "\u{665}\r\n",
        "00000000000000005\r\nhello", // 17 digits
        "10000000000000005\r\nhello",
        "5\r\nhellox",
        "5\r\nhello\n",
        "5\r\nhello\rx",
        "5\r\nhello\n\r",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\n\r\n",
        "1\r\nx\r\n-0\r\n\r\n",
        "0\r\n\n",
        "0\r\n\rx",
        "0\n\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\nx\r\n\r\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "0\r\nx: y\r\r\n",
        "0\r\nx: \0\r\n\r\n",
        "0\r\nx: y\r\n z\r\n\r\n",
        "0\r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        malformed(input);
    }
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let with_extension = |length: usize| format!("1;{}\r\nx\r\n", "e".repeat(length));
    let end = "0\r\n\r\n";
    assert!(decode(Framing::Chunked, (with_extension(256) + end).as_bytes()).is_ok());
    malformed(with_extension(257) + end);
    assert!(decode(Framing::Chunked, (with_extension(256).repeat(64) + end).as_bytes()).is_ok());
    malformed(with_extension(256).repeat(65) + end);

    let with_trailer = |length: usize| format!("0\r\nX:{}\r\n\r\n", "v".repeat(length));
    assert!(decode(Framing::Chunked, with_trailer(8 * 1024 - 10).as_bytes()).is_ok());
    malformed(with_trailer(8 * 1024));
    malformed(format!("0\r\n{}", "X:\r\n".repeat(3000)));
}

#[test]
fn content_beyond_the_limit_is_refused_before_it_is_read() {
    let too_large = Err(BodyError::TooLarge { limit: LIMIT });
    assert_eq!(decode(Framing::Length(1001), b""), too_large);
    assert_eq!(decode(Framing::Length(u64::MAX), b""), too_large);
    assert!(decode(Framing::Length(1000), b"").is_ok());
    assert!(decode(Framing::Chunked, b"3e8\r\n").is_ok());
    assert_eq!(decode(Framing::Chunked, b"3e9\r\n"), too_large);
    assert_eq!(decode(Framing::Chunked, b"ffffffffffffffff\r\n"), too_large);
    // Chunks that together pass it, even where a sum of 64 bits would not.
    assert_eq!(decode(Framing::Chunked, b"1\r\nx\r\n3e8\r\n"), too_large);
    assert_eq!(decode(Framing::Chunked, b"1\r\nx\r\nffffffffffffffff\r\n"), too_large);
}

#[test]
fn an_error_stays() {
    let mut decoder = BodyDecoder::new(Framing::Chunked, LIMIT).unwrap();
    let error = decoder.decode(b"x", &mut []).unwrap_err();
    assert_eq!(decoder.decode(b"0\r\n\r\n", &mut []), Err(error));
    assert_eq!(decoder.decode(b"", &mut []), Err(error));
    assert_eq!(decoder.content_ahead(), 0);
}

#[test]
fn framing_is_taken_without_room_for_content() {
    let mut decoder = BodyDecoder::new(Framing::Chunked, LIMIT).unwrap();
    let decoded = decoder.decode(b"5\r\nhello", &mut []).unwrap();
    assert_eq!((decoded.consumed, decoded.produced, decoded.done), (3, 0, false));
    assert_eq!(decoder.content_ahead(), 5);
    decoder.consumed_directly(5);
    assert!(decoder.decode(b"\r\n0\r\n\r\n", &mut []).unwrap().done);
}

#[test]
fn no_single_changed_byte_makes_it_panic_or_disagree() {
    let input = b"5;a=b\r\nhello\r\n1\r\nx\r\n0\r\nX: y\r\n\r\n";
    for at in 0..input.len() {
        for byte in 0..=u8::MAX {
            let mut changed = *input;
            changed[at] = byte;
            let single: Vec<usize> = (1..=changed.len()).collect();
            assert_eq!(
                decode_pieces(Framing::Chunked, &changed, &single, 2),
                decode_pieces(Framing::Chunked, &changed, &[changed.len()], 4096)
            );
        }
    }
}
