//! Which parts of a file a request asks for (RFC 9110 section 14).
//!
//! What cannot be understood is ignored: the client gets the whole, which is always right (section 14.2). So
//! is a request for many parts: it may cost no more than the whole (section 17.15), and the whole is what
//! a client that asks for hundreds has to be ready for anyway. 416 would tell it that there is nothing.

use std::ops::Range;

/// The most ranges that are taken. Programs that download ask for one; those that repair a copy ask for as
/// many as they get and lower the number when they get the whole. Each costs a head of its own, a look at
/// the file and a TLS record, so the number bounds what a request can cost beyond the bytes themselves.
pub(super) const MOST: usize = 16;

/// What is to be sent of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Selection {
    /// All of it: 200.
    Whole,
    /// One part: 206.
    One(Range<u64>),
    /// Several parts that have nothing in common, in the order in which they were asked for: 206, multipart.
    Several(Vec<Range<u64>>),
    /// Nothing of what was asked for is there: 416.
    Unsatisfiable,
}

/// One range-spec (RFC 9110 section 14.1.1). Numbers that do not fit are as good as the largest: no file is
/// that long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Spec {
    /// From the first to the last of these, or to the end.
    From(u64, Option<u64>),
    /// The last so many.
    Last(u64),
}

/// Selects what a `Range` field asks for of a file of `length` bytes.
pub(super) fn select(field: &[u8], length: u64) -> Selection {
    let Some(specs) = parse(field) else {
        return Selection::Whole;
    };
    let mut parts: Vec<Range<u64>> = Vec::with_capacity(specs.len());
    for spec in specs {
        match spec.within(length) {
            Within::Part(part) => add(&mut parts, part),
            Within::Nothing => {}
            // Content-Range cannot say that the whole is empty.
            Within::Empty => return Selection::Whole,
        }
    }
    match parts.as_slice() {
        [] => Selection::Unsatisfiable,
        [part] => Selection::One(part.clone()),
        _ => Selection::Several(parts),
    }
}

/// Adds a part. It is joined with those that it overlaps or touches (RFC 9110 section 15.3.7.2 allows it), and
/// stands where the first of them stood.
fn add(parts: &mut Vec<Range<u64>>, mut part: Range<u64>) {
    let mut place = parts.len();
    // To join with one may reach another.
    while let Some(at) =
        parts.iter().position(|other| other.start <= part.end && part.start <= other.end)
    {
        let other = parts.remove(at);
        part = part.start.min(other.start)..part.end.max(other.end);
        place = place.min(at);
    }
    let place = place.min(parts.len());
    parts.insert(place, part);
}

enum Within {
    Part(Range<u64>),
    Empty,
    Nothing,
}

impl Spec {
    fn within(self, length: u64) -> Within {
        match self {
            Self::From(first, _) if first >= length => Within::Nothing,
            Self::From(first, last) => {
                // `last` is inclusive.
                let end = last.map_or(length, |last| last.saturating_add(1).min(length));
                Within::Part(first..end)
            }
            Self::Last(0) => Within::Nothing,
            Self::Last(_) if length == 0 => Within::Empty,
            Self::Last(count) => Within::Part(length.saturating_sub(count)..length),
        }
    }
}

/// The ranges of a field; `None` if it is to be ignored: another unit, malformed, or too many.
fn parse(field: &[u8]) -> Option<Vec<Spec>> {
    let (unit, set) = field.split_at_checked(field.iter().position(|&byte| byte == b'=')?)?;
    // Names of units are case-insensitive (RFC 9110 section 14.1).
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for element in set.get(1..)?.split(|&byte| byte == b',') {
        let element = trim(element);
        // RFC 9110 section 5.6.1.2: empty elements count for nothing.
        if element.is_empty() {
            continue;
        }
        if specs.len() == MOST {
            return None;
        }
        specs.push(spec(element)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn spec(text: &[u8]) -> Option<Spec> {
    let (first, last) = text.split_at_checked(text.iter().position(|&byte| byte == b'-')?)?;
    match (first, last.get(1..)?) {
        ([], count) => number(count).map(Spec::Last),
        (first, []) => Some(Spec::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            // RFC 9110 section 14.1.1: invalid, and with it the whole field.
            (first <= last).then_some(Spec::From(first, Some(last)))
        }
    }
}

/// A decimal number of any length.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number: u64, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    }))
}

fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let from = text.iter().take_while(|byte| blank(byte)).count();
    let text = text.get(from..).unwrap_or_default();
    let behind = text.iter().rev().take_while(|byte| blank(byte)).count();
    text.get(..text.len() - behind).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_form_selects_what_the_rfc_says() {
        use Selection::{Several, Unsatisfiable, Whole};
        #[allow(clippy::single_range_in_vec_init)]
        let one = |start, end| Selection::One(start..end);
        let huge = "9".repeat(400);
        let huge_last = format!("bytes=5-{huge}");
        let huge_first = format!("bytes={huge}-");
        let huge_both = format!("bytes={huge}-{huge}");
        let huge_suffix = format!("bytes=-{huge}");
        let sixteen = format!("bytes={}", ["0-0"; MOST].join(","));
        let seventeen = format!("bytes={}", ["0-0"; MOST + 1].join(","));
        let cases = [
            ("bytes=0-0", one(0, 1)),
            ("bytes=0-9", one(0, 10)),
            ("bytes=2-5", one(2, 6)),
            ("bytes=9-9", one(9, 10)),
            ("bytes=4-", one(4, 10)),
            ("bytes=0-", one(0, 10)),
            ("bytes=8-100", one(8, 10)),
            ("bytes=-3", one(7, 10)),
            ("bytes=-10", one(0, 10)),
            ("bytes=-11", one(0, 10)),
            ("bytes=-0", Unsatisfiable),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-11", Unsatisfiable),
            ("bytes=18446744073709551615-", Unsatisfiable),
            ("bytes=5-18446744073709551615", one(5, 10)),
            ("bytes=-18446744073709551615", one(0, 10)),
            (&huge_last, one(5, 10)),
            (&huge_first, Unsatisfiable),
            (&huge_both, Unsatisfiable),
            (&huge_suffix, one(0, 10)),
            ("bytes=007-08", one(7, 9)),
            ("Bytes=1-1", one(1, 2)),
            // Several: in the order of the request, without what is not there.
            ("bytes=0-0,5-5", Several(vec![0..1, 5..6])),
            ("bytes=5-5, 0-0", Several(vec![5..6, 0..1])),
            ("bytes=,0-0 ,\t, -1,", Several(vec![0..1, 9..10])),
            ("bytes=0-0,20-30", one(0, 1)),
            ("bytes=20-30,-0", Unsatisfiable),
            // What overlaps or touches becomes one, where the first of it stood.
            ("bytes=0-3,2-5", one(0, 6)),
            ("bytes=0-3,4-5", one(0, 6)),
            ("bytes=4-5,0-3", one(0, 6)),
            ("bytes=0-3,5-5", Several(vec![0..4, 5..6])),
            ("bytes=0-0,9-9,2-2,1-1", Several(vec![0..3, 9..10])),
            ("bytes=9-9,0-1,4-5,2-3", Several(vec![9..10, 0..6])),
            ("bytes=0-,0-,0-", one(0, 10)),
            (&sixteen, one(0, 1)),
            // Ignored.
            (&seventeen, Whole),
            ("", Whole),
            ("bytes", Whole),
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1", Whole),
            ("bytes=5-2", Whole),
            ("bytes=0-0,5-2", Whole),
            ("bytes=0-0,x", Whole),
            ("bytes=0x0-0x1", Whole),
            ("bytes=1--2", Whole),
            ("bytes=--2", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=0 - 1", Whole),
            ("bytes =0-1", Whole),
            ("bytes:0-1", Whole),
            ("items=0-1", Whole),
            ("bytes=0-1, bytes=3-4", Whole),
        ];
        for (field, expected) in cases {
            assert_eq!(select(field.as_bytes(), 10), expected, "{field}");
        }
    }

    #[test]
    fn an_empty_file_has_no_part() {
        for (field, expected) in [
            ("bytes=0-", Selection::Unsatisfiable),
            ("bytes=0-0", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=-1", Selection::Whole),
        ] {
            assert_eq!(select(field.as_bytes(), 0), expected, "{field}");
        }
    }

    proptest! {
        #[test]
        fn anything_selects_parts_within_the_file_and_no_byte_twice(
            field in prop_oneof![
                "bytes=[0-9, -]{0,60}",
                "bytes=([0-9]{0,3}-[0-9]{0,3},){0,20}",
                "\\PC{0,40}",
            ],
            length in prop_oneof![0..200_u64, any::<u64>()],
        ) {
            let parts = match select(field.as_bytes(), length) {
                Selection::Whole | Selection::Unsatisfiable => Vec::new(),
                Selection::One(part) => vec![part],
                Selection::Several(parts) => {
                    prop_assert!(parts.len() > 1);
                    parts
                }
            };
            prop_assert!(parts.len() <= MOST);
            for (at, part) in parts.iter().enumerate() {
                prop_assert!(part.start < part.end && part.end <= length, "{part:?}");
                for other in &parts[at + 1..] {
                    prop_assert!(part.end < other.start || other.end < part.start);
                }
            }
        }

        /// Against the obvious way: mark the bytes.
        #[test]
        fn exactly_the_bytes_that_were_asked_for_are_selected(
            ranges in prop::collection::vec((0..40_u64, 0..40_u64), 1..=MOST),
            length in 0..40_u64,
        ) {
            let mut wanted = vec![false; length as usize];
            let mut specs = Vec::new();
            for (from, count) in ranges {
                specs.push(format!("{from}-{}", from + count));
                for at in from..=from + count {
                    if let Some(byte) = wanted.get_mut(at as usize) {
                        *byte = true;
                    }
                }
            }
            let mut selected = vec![false; length as usize];
            let parts = match select(format!("bytes={}", specs.join(",")).as_bytes(), length) {
                Selection::Whole => panic!("not ignored"),
                Selection::Unsatisfiable => Vec::new(),
                Selection::One(part) => vec![part],
                Selection::Several(parts) => parts,
            };
            for part in parts {
                for at in part {
                    selected[at as usize] = true;
                }
            }
            prop_assert_eq!(selected, wanted);
        }
    }
}
