//! Entity tags (RFC 9110 section 8.8.3) and lists of them, as clients send them.

use ::http::HeaderValue;

/// An entity tag: what stands between the quotes, and whether it is weak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct EntityTag<'t> {
    weak: bool,
    opaque: &'t [u8],
}

impl<'t> EntityTag<'t> {
    /// Reads one entity tag and nothing else.
    pub(super) fn parse(text: &'t [u8]) -> Option<Self> {
        match take_tag(text)? {
            (tag, []) => Some(tag),
            _ => None,
        }
    }

    /// Both are strong and the same (RFC 9110 section 8.8.3.2).
    pub(super) fn matches_strongly(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// The same, whether weak or strong (RFC 9110 section 8.8.3.2).
    pub(super) fn matches_weakly(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Tags<'h> {
    /// `*`: whatever there is.
    Any,
    /// One of these.
    Listed(Vec<EntityTag<'h>>),
}

/// A list that is none: which tags it means cannot be known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

impl<'h> Tags<'h> {
    /// Reads the lines of a field, which mean the same as one with commas between (RFC 9110 section 5.3).
    /// Empty elements count for nothing (section 5.6.1.2); a list of nothing else is malformed.
    pub(super) fn parse(values: impl Iterator<Item = &'h HeaderValue>) -> Result<Self, Malformed> {
        let (mut any, mut tags) = (false, Vec::new());
        for value in values {
            let mut rest = value.as_bytes();
            loop {
                rest = skip(rest, |byte| matches!(byte, b' ' | b'\t' | b','));
                rest = match rest {
                    [] => break,
                    [b'*', after @ ..] if !any => {
                        any = true;
                        after
                    }
                    _ => {
                        let (tag, after) = take_tag(rest).ok_or(Malformed)?;
                        tags.push(tag);
                        after
                    }
                };
                rest = skip(rest, |byte| matches!(byte, b' ' | b'\t'));
                if !matches!(rest, [] | [b',', ..]) {
                    return Err(Malformed);
                }
            }
        }
        match (any, tags.is_empty()) {
            (true, true) => Ok(Self::Any),
            (false, false) => Ok(Self::Listed(tags)),
            (true, false) | (false, true) => Err(Malformed),
        }
    }
}

/// The tag that `text` begins with, and what follows it.
fn take_tag(text: &[u8]) -> Option<(EntityTag<'_>, &[u8])> {
    // Case-sensitive, as RFC 9110 says.
    let (weak, quoted) = match text {
        [b'W', b'/', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let [b'"', opaque @ ..] = quoted else {
        return None;
    };
    let end = opaque.iter().position(|&byte| byte == b'"')?;
    let (opaque, rest) = opaque.split_at_checked(end)?;
    // etagc: visible characters but for the quote, and what is not ASCII.
    if !opaque.iter().all(|&byte| byte > b' ' && byte != 0x7f) {
        return None;
    }
    Some((EntityTag { weak, opaque }, rest.get(1..)?))
}

fn skip(text: &[u8], what: impl Fn(u8) -> bool) -> &[u8] {
    let count = text.iter().take_while(|&&byte| what(byte)).count();
    text.get(count..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(lines: &[&[u8]]) -> Result<Vec<(bool, Vec<u8>)>, Malformed> {
        let values: Vec<_> =
            lines.iter().map(|line| HeaderValue::from_bytes(line).unwrap()).collect();
        Ok(match Tags::parse(values.iter())? {
            Tags::Any => Vec::new(),
            Tags::Listed(tags) => tags.iter().map(|tag| (tag.weak, tag.opaque.to_vec())).collect(),
        })
    }

    #[test]
    fn lists_are_read_as_the_grammar_says() {
        let strong = |tag: &str| (false, tag.as_bytes().to_vec());
        let weak = |tag: &str| (true, tag.as_bytes().to_vec());
        let cases: &[(&[&[u8]], Vec<_>)] = &[
            (&[b"*"], vec![]),
            (&[b", * ,"], vec![]),
            (&[b"\"a\""], vec![strong("a")]),
            (&[b"\"\""], vec![strong("")]),
            (&[b"W/\"a\", \"b\""], vec![weak("a"), strong("b")]),
            // A comma in a tag divides nothing, and neither does what looks like a tag.
            (&[b"\"a,b\",\"W/\""], vec![strong("a,b"), strong("W/")]),
            (&[b"\"a\",\t,\"b\" ,,"], vec![strong("a"), strong("b")]),
            (&[b"\"a\"", b"W/\"b\""], vec![strong("a"), weak("b")]),
            (&[b"\"*\""], vec![strong("*")]),
            (&[b"\"\\\""], vec![strong("\\")]),
            (&[b"\"\xff\""], vec![(false, vec![0xff])]),
        ];
        for (lines, expected) in cases {
            assert_eq!(parse(lines).as_ref(), Ok(expected), "{lines:?}");
        }
        let malformed: &[&[&[u8]]] = &[
            &[b""],
            &[b" , "],
            &[b"a"],
            &[b"\"a"],
            &[b"a\""],
            &[b"'a'"],
            &[b"w/\"a\""],
            &[b"W/ \"a\""],
            &[b"W\"a\""],
            &[b"\"a b\""],
            &[b"\"a\"\"b\""],
            &[b"\"a\" \"b\""],
            &[b"\"a\"; \"b\""],
            &[b"\"a\", b"],
            &[b"*, \"a\""],
            &[b"*", b"*"],
            &[b"**"],
            &[b"\"a\"", b"*"],
            &[b"\"a", b"b\""],
        ];
        for lines in malformed {
            assert_eq!(parse(lines), Err(Malformed), "{lines:?}");
        }
    }

    /// The table of RFC 9110 section 8.8.3.2.
    #[test]
    fn tags_are_compared_as_the_table_of_the_rfc_says() {
        for (one, other, strongly, weakly) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let tag = |text: &'static str| EntityTag::parse(text.as_bytes()).unwrap();
            let (one, other) = (tag(one), tag(other));
            assert_eq!(one.matches_strongly(other), strongly);
            assert_eq!(other.matches_strongly(one), strongly);
            assert_eq!(one.matches_weakly(other), weakly);
            assert_eq!(other.matches_weakly(one), weakly);
        }
        assert_eq!(EntityTag::parse(b"\"a\" "), None);
        assert_eq!(EntityTag::parse(b"\"a\",\"b\""), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(tags in prop::collection::vec(
            (any::<bool>(), "[!#-~]{0,20}"), 1..20,
        )) {
            let text = tags.iter().map(|(weak, opaque)| {
                format!("{}\"{opaque}\"", if *weak { "W/" } else { "" })
            });
            let text = text.collect::<Vec<_>>().join(", ");
            let expected: Vec<_> =
                tags.iter().map(|(weak, opaque)| (*weak, opaque.as_bytes().to_vec())).collect();
            prop_assert_eq!(parse(&[text.as_bytes()]), Ok(expected));
        }

        #[test]
        fn anything_is_read_or_refused(text in prop::collection::vec(b' '..=b'~', 0..100)) {
            let _ = parse(&[&text]);
        }
    }
}
