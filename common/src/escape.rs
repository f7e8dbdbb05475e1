//! Text from the network, made safe for a terminal and a log line.
//!
//! Names, paths, header values and certificate subjects come from whoever is at the other end. A line
//! feed in one of them would forge a log line, an escape sequence would drive the terminal, a
//! bidirectional override would show one name and mean another.

use std::fmt::{self, Display, Write};

/// Displays text with everything that is not printable replaced by a visible escape.
///
/// The result has no control character (C0, DEL, C1), no line or paragraph separator and no
/// bidirectional or other invisible formatting character. A backslash is doubled, so the escapes are
/// unambiguous.
///
/// ```
/// use sealpair_common::escape::Escaped;
/// assert_eq!(Escaped("a\nb\x1b").to_string(), "a\\nb\\x1b");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plain = 0;
        for (at, c) in self.0.char_indices() {
            if is_printable(c) {
                continue;
            }
            f.write_str(&self.0[plain..at])?;
            plain = at + c.len_utf8();
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if (c as u32) < 0x100 => write!(f, "\\x{:02x}", c as u32)?,
                c => write!(f, "\\u{{{:x}}}", c as u32)?,
            }
        }
        f.write_str(&self.0[plain..])
    }
}

/// Displays bytes as [`Escaped`] does; bytes that are not UTF-8 become `\xNN`.
#[derive(Clone, Copy, Debug)]
pub struct EscapedBytes<'a>(pub &'a [u8]);

impl Display for EscapedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            Escaped(chunk.valid()).fmt(f)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// The text with its escapes, for where a `String` is needed.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a String cannot fail.
    let _ = write!(out, "{}", Escaped(text));
    out
}

/// A JSON document in one line in which, besides what JSON demands, everything is escaped that
/// [`Escaped`] escapes for a terminal: a document is often looked at in one.
///
/// Empty for what JSON cannot represent (a map whose keys are no strings).
pub fn json_line(document: &impl serde::Serialize) -> String {
    let plain = serde_json::to_string(document).unwrap_or_default();
    if plain.chars().all(|c| c == '\\' || is_printable(c)) {
        return plain;
    }
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        // Outside of strings JSON has nothing of this kind, and a backslash is JSON's own.
        if c == '\\' || is_printable(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

fn is_printable(c: char) -> bool {
    !matches!(c,
        '\\'
        | '\u{0}'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_text_is_left_alone() {
        assert_eq!(escaped("Grüße, 世界 ~"), "Grüße, 世界 ~");
    }

    #[test]
    fn everything_that_moves_a_cursor_is_shown() {
        assert_eq!(escaped("a\r\n\t\0\x1b]0;x\x07\x7f"), "a\\r\\n\\t\\x00\\x1b]0;x\\x07\\x7f");
        assert_eq!(escaped("\u{9b}31m"), "\\x9b31m");
        assert_eq!(escaped("exe\u{202e}gpj"), "exe\\u{202e}gpj");
    }

    #[test]
    fn a_literal_escape_cannot_be_forged() {
        assert_eq!(escaped("\\n"), "\\\\n");
    }

    #[test]
    fn json_stays_json_and_harmless() {
        let document = serde_json::json!({"a\u{9b}": "b\u{202e}\n\\ü\u{e0001}"});
        let line = json_line(&document);
        assert_eq!(line, r#"{"a\u009b":"b\u202e\n\\ü\udb40\udc01"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), document);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_in_hex() {
        assert_eq!(EscapedBytes(b"a\xff\xfeb\n").to_string(), "a\\xff\\xfeb\\n");
    }
}
