//! Heads of requests: the scanner and the parser against a search for the empty line, against
//! themselves with the same bytes in other pieces, and against `httparse`.

#![no_main]

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, Version};
use libfuzzer_sys::fuzz_target;
use sealpair_fuzz::{TIGHT, fragmentations, read_head};
use sealpair_server::http::Framing;
use sealpair_server::http::head::{HeadLimits, RequestHead};

fuzz_target!(|input: &[u8]| {
    for limits in [HeadLimits::default(), TIGHT] {
        let whole = read_head(input, &[input.len()], &limits);
        let expected = format!("{whole:?}");
        for arrivals in fragmentations(input) {
            let answer = read_head(input, &arrivals, &limits);
            assert_eq!(format!("{answer:?}"), expected, "in pieces that end at {arrivals:?}");
        }
        match whole {
            Ok(Some((head, end))) => {
                assert!(end <= limits.head && field_lines(&input[..end]) <= limits.fields);
                assert_eq!(naive_end(input), Some(end), "where the head ends");
                check_framing(&head);
                agrees_with_httparse(&head, &input[..end]);
            }
            Ok(None) => assert_eq!(naive_end(input), None, "there is an end"),
            Err(rejection) => {
                assert!(rejection.status.is_client_error() | rejection.status.is_server_error())
            }
        }
    }
});

/// Where the first empty line ends that follows a line.
fn naive_end(input: &[u8]) -> Option<usize> {
    input.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The field lines that arrived. The head may hold one field more: from an absolute target, `Host` is
/// added where none was sent, as HTTP/1.0 permits.
fn field_lines(head: &[u8]) -> usize {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    // All lines but the first and the empty one.
    head.windows(2).filter(|pair| pair == b"\r\n").count() - 2
}

/// What the head says of its content is what its fields say, and they leave no choice.
fn check_framing(head: &RequestHead) {
    let lengths: Vec<_> = head.headers.get_all(CONTENT_LENGTH).iter().collect();
    let codings: Vec<_> = head.headers.get_all(TRANSFER_ENCODING).iter().collect();
    match head.framing {
        Framing::None => assert!(lengths.is_empty() && codings.is_empty()),
        Framing::Length(length) => {
            assert!(lengths.len() == 1 && codings.is_empty());
            let digits = lengths[0].to_str().unwrap().trim_start_matches('0');
            assert_eq!(digits, if length == 0 { String::new() } else { length.to_string() });
        }
        Framing::Chunked => {
            assert!(lengths.is_empty() && codings.len() == 1);
            assert!(codings[0].as_bytes().eq_ignore_ascii_case(b"chunked"));
            assert_eq!(head.version, Version::HTTP_11);
        }
    }
    assert!(head.version == Version::HTTP_10 || head.authority().is_some());
    assert!(head.headers.get_all(HOST).iter().count() <= 1);
}

/// Whatever passes here has to pass there, and mean the same.
fn agrees_with_httparse(head: &RequestHead, bytes: &[u8]) {
    // It knows no minor version above 1, which RFC 9110 section 2.5 wants taken for 1.
    let mut bytes = bytes.to_vec();
    let line_end = bytes.windows(2).skip(2).position(|pair| pair == b"\r\n").unwrap() + 2;
    if head.version == Version::HTTP_11 {
        bytes[line_end - 1] = b'1';
    }
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Request::new(&mut fields);
    assert_eq!(theirs.parse(&bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(theirs.method, Some(head.method.as_str()));
    assert_eq!(theirs.version, Some(u8::from(head.version == Version::HTTP_11)));

    let target = theirs.path.unwrap();
    let absolute = !target.starts_with('/') && target != "*";
    if absolute {
        let (scheme, rest) = target.split_once("://").unwrap();
        assert!(scheme.eq_ignore_ascii_case("https"));
        let authority = rest.split(['/', '?']).next().unwrap();
        assert_eq!(head.authority(), Some(authority), "the target's authority counts");
        let path = &rest[authority.len()..];
        assert!(
            head.target == path || head.target == format!("/{path}") || head.target == "*",
            "{:?} of {target:?}",
            head.target
        );
    } else {
        assert_eq!(target, head.target);
    }

    // The order counts among fields of one name only (RFC 9110 section 5.3).
    let lines = || {
        theirs.headers.iter().filter(|field| !absolute || !field.name.eq_ignore_ascii_case("host"))
    };
    for field in lines() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).unwrap();
        let ours = head.headers.get_all(&name).iter().map(|value| value.as_bytes());
        let same = lines().filter(|other| other.name.eq_ignore_ascii_case(field.name));
        assert!(ours.eq(same.map(|field| field.value)), "the values of {name}");
    }
    let ours = head.headers.iter().filter(|(name, _)| !absolute || **name != HOST).count();
    assert_eq!(ours, lines().count(), "the number of fields");
}
