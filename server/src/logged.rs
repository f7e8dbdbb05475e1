//! What of a request target stands in a log.
//!
//! The URL of an unfinished upload is the right to go on with it (`handler::uploads`), so whoever reads a log must
//! not find it there. Eight of its 32 digits tell one upload from another.

use crate::handler::path::UPLOAD_PREFIX;
use memchr::memmem;
use std::borrow::Cow;

/// How many of its digits are shown.
const SHOWN: usize = 8;

/// The target, without what must not stand in a log. A client that hides its own secret in another spelling shows
/// it itself.
pub(crate) fn logged(target: &str) -> Cow<'_, str> {
    let mut places = memmem::find_iter(target.as_bytes(), UPLOAD_PREFIX).peekable();
    if places.peek().is_none() {
        return Cow::Borrowed(target);
    }
    let (mut out, mut done) = (String::with_capacity(target.len()), 0);
    for place in places {
        let digits = place + UPLOAD_PREFIX.len();
        let rest = target.get(digits..).unwrap_or_default();
        let count = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if count > SHOWN {
            out.push_str(target.get(done..digits + SHOWN).unwrap_or_default());
            out.push('~');
            done = digits + count;
        }
    }
    out.push_str(target.get(done..).unwrap_or_default());
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_of_an_upload_is_cut_short_and_nothing_else_is() {
        let secret = "2fac3f48cd04247e2650b3453b0d768e";
        for (target, expected) in [
            ("/", "/"),
            ("/a/.sealpair-upload-", "/a/.sealpair-upload-"),
            ("/.sealpair-upload-2fac3f48", "/.sealpair-upload-2fac3f48"),
            (&format!("/a/.sealpair-upload-{secret}"), "/a/.sealpair-upload-2fac3f48~"),
            (&format!("/.sealpair-upload-{secret}.json?x"), "/.sealpair-upload-2fac3f48~.json?x"),
            (
                &format!("/.sealpair-upload-{secret}/.sealpair-upload-{secret}é"),
                "/.sealpair-upload-2fac3f48~/.sealpair-upload-2fac3f48~é",
            ),
        ] {
            assert_eq!(logged(target), expected, "{target}");
        }
    }
}
