//! The character classes of the grammar (RFC 9110 section 5.6, RFC 3986 section 2 and 3), as one
//! table.

const TOKEN: u8 = 1;
const FIELD_VALUE: u8 = 1 << 1;
const TARGET: u8 = 1 << 2;
const REG_NAME: u8 = 1 << 3;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = class(byte as u8);
        byte += 1;
    }
    table
}

const fn class(byte: u8) -> u8 {
    let mut class = 0;
    let alphanumeric = byte.is_ascii_alphanumeric();
    // tchar, RFC 9110 section 5.6.2
    if alphanumeric
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
    {
        class |= TOKEN;
    }
    // field-vchar and the whitespace between them, RFC 9110 section 5.5
    if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
        class |= FIELD_VALUE;
    }
    // unreserved / pct-encoded / sub-delims, RFC 3986 sections 2.1 to 2.3 and 3.2.2. The comma is
    // left out of names: no host has one, and `a,b` is what an intermediary makes of two Host
    // fields.
    if alphanumeric
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
        )
    {
        class |= REG_NAME | TARGET;
    }
    // What a path and a query may hold besides, RFC 3986 sections 3.3 and 3.4
    if matches!(byte, b',' | b':' | b'@' | b'/' | b'?') {
        class |= TARGET;
    }
    class
}

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// A byte of a method, a field name, a transfer coding.
pub(super) fn is_token(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// A byte that may stand in a field value, whitespace included.
pub(super) fn is_field_value(byte: u8) -> bool {
    is(byte, FIELD_VALUE)
}

/// A byte that may stand in a path with a query; `%` has to be checked with [`valid_percents`].
pub(super) fn is_target(byte: u8) -> bool {
    is(byte, TARGET)
}

/// A byte that may stand in a registered name; `%` has to be checked with [`valid_percents`].
pub(super) fn is_reg_name(byte: u8) -> bool {
    is(byte, REG_NAME)
}

/// Whether two hexadecimal digits follow every `%` (RFC 3986 section 2.1).
pub(super) fn valid_percents(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        let Some(&[high, low]) = rest.get(at + 1..at + 3) else {
            return false;
        };
        if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
            return false;
        }
        rest = &rest[at + 3..];
    }
    true
}

/// The value without the optional whitespace around it (RFC 9110 section 5.6.3).
pub(super) fn trim_whitespace(value: &[u8]) -> &[u8] {
    let is_whitespace = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = value.iter().position(|byte| !is_whitespace(byte)) else {
        return &[];
    };
    let end = value.iter().rposition(|byte| !is_whitespace(byte));
    &value[start..=end.unwrap_or(start)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::Method;
    use ::http::header::{HeaderName, HeaderValue};

    #[test]
    fn the_table_and_the_http_crate_agree_on_every_byte() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_token(byte), HeaderName::from_bytes(&[byte]).is_ok(), "{byte:#x}");
            assert_eq!(is_token(byte), Method::from_bytes(&[byte]).is_ok(), "{byte:#x}");
            assert_eq!(is_field_value(byte), HeaderValue::from_bytes(&[byte]).is_ok(), "{byte:#x}");
        }
    }

    #[test]
    fn a_target_holds_what_rfc_3986_permits() {
        let permitted = b"abcxyzABCXYZ0189-._~%!$&'()*+,;=:@/?";
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || permitted.contains(&byte);
            assert_eq!(is_target(byte), expected, "{byte:#x}");
        }
    }

    #[test]
    fn percent_encoding_needs_two_hexadecimal_digits() {
        for good in ["", "a", "%41", "a%2fb%2F", "%00%ff"] {
            assert!(valid_percents(good.as_bytes()), "{good}");
        }
        for bad in ["%", "%4", "a%", "%g1", "%1g", "%%41", "%41%", "% 1", "%+1"] {
            assert!(!valid_percents(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn whitespace_is_trimmed_at_both_ends_only() {
        for (value, trimmed) in [("", ""), (" \t ", ""), (" a b\t", "a b"), ("a", "a")] {
            assert_eq!(trim_whitespace(value.as_bytes()), trimmed.as_bytes());
        }
    }
}
