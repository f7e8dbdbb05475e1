//! `-O`: a file name out of what a server or a URL says, such that nothing but a new file in the current
//! folder can come of it.
//!
//! The name is the server's, in `Content-Disposition` (RFC 6266), or the last segment of the URL that
//! the user gave: never that of a redirect, whose target another server chooses.
//!
//! RFC 6266 section 4.3: only the last segment of a path is taken, and what could mean more than a name
//! is replaced.

use percent_encoding::percent_decode_str;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use ureq::http::HeaderMap;
use ureq::http::header::CONTENT_DISPOSITION;
use url::Url;

/// NAME_MAX of Linux's file systems is 255 bytes; `.part.json` and another download's ` (99)` have to
/// fit, too.
const LONGEST: usize = 240;

/// How names end that say of what a partial download is: from one that a server has made up, a download
/// of another file would go on.
pub(super) const STATES: [&[u8]; 2] = [b".part.json", b".part.json.new"];

/// The name for what came from this URL with these fields, if either has one to offer.
pub(crate) fn name_for(url: &Url, headers: &HeaderMap) -> Option<OsString> {
    suggested(headers).and_then(|name| safe(name.as_bytes())).or_else(|| name_in(url))
}

/// The name in a URL's path.
pub(crate) fn name_in(url: &Url) -> Option<OsString> {
    let last = url.path_segments()?.next_back()?;
    safe(&percent_decode_str(last).collect::<Vec<u8>>())
}

/// Makes a name harmless; `None` where nothing is left of it.
fn safe(name: &[u8]) -> Option<OsString> {
    // A path of either kind of system: what follows the last separator.
    let last = name.rsplit(|byte| matches!(byte, b'/' | b'\\')).next()?;
    let last = last.trim_ascii();
    // A dotfile may configure something, and `.` and `..` are folders; a `-` at the start is an option
    // to whatever is called with the name later.
    let start = last.iter().position(|byte| !matches!(byte, b'.' | b'-' | b' '))?;
    let harmless = |byte: &u8| match byte {
        0..=0x1f | 0x7f => b'_',
        byte => *byte,
    };
    let mut clean: Vec<u8> = last.get(start..)?.iter().map(harmless).collect();
    // C1 control characters are control characters in UTF-8, too: a terminal obeys some.
    if let Ok(text) = std::str::from_utf8(&clean)
        && text.chars().any(is_deceptive)
    {
        let text: String = text.chars().map(|c| if is_deceptive(c) { '_' } else { c }).collect();
        clean = text.into_bytes();
    }
    if clean.len() > LONGEST {
        clean = shortened(&clean);
    }
    // For file systems that do not tell case, too.
    let lower = clean.to_ascii_lowercase();
    for end in STATES.into_iter().filter(|end| lower.ends_with(end)) {
        let dot = clean.len() - end.len() + b".part".len();
        clean.get_mut(dot..=dot).unwrap_or_default().fill(b'_');
    }
    Some(OsString::from_vec(clean))
}

/// Characters that control a terminal, or let a name look like another: controls, and those that change
/// the direction of text (Unicode, Bidi_Control; `exe.txt` may be `txt.exe`).
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Keeps a short suffix, which says what kind of file it is.
fn shortened(name: &[u8]) -> Vec<u8> {
    const LONGEST_SUFFIX: usize = 16;
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    let suffix = dot.and_then(|dot| name.get(dot..)).filter(|it| it.len() <= LONGEST_SUFFIX);
    let suffix = suffix.unwrap_or_default();
    let mut end = LONGEST - suffix.len();
    // Not in the middle of a character of UTF-8.
    while end > 0 && name.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    [name.get(..end).unwrap_or_default(), suffix].concat()
}

/// The name that `Content-Disposition` suggests: `filename*` before `filename` (RFC 6266 section 4.3).
fn suggested(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(CONTENT_DISPOSITION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    // Not ISO 8859-1, as RFC 9110 has it for old times' sake: what is not ASCII is UTF-8 in practice.
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let parameters = parameters(&text);
    let of = |wanted: &str| {
        let mut found = parameters.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| value.as_str())
    };
    of("filename*").and_then(extended).or_else(|| of("filename").map(str::to_owned))
}

/// The parameters behind the type: tokens or quoted strings (RFC 9110 section 5.6.6).
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Some((_, mut rest)) = text.split_once(';') else {
        return found;
    };
    loop {
        let Some((name, after)) = rest.split_once('=') else {
            return found;
        };
        let name = name.trim().trim_start_matches(';').trim().to_owned();
        let after = after.trim_start();
        let (value, behind) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (token, behind) = after.split_once(';').unwrap_or((after, ""));
                (token.trim().to_owned(), behind)
            }
        };
        found.push((name, value));
        rest = behind;
    }
}

/// The text up to the closing quote, and what is behind it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// `UTF-8'LANGUAGE'PERCENT-ENCODED` (RFC 8187 section 3.2). Other character sets are obsolete.
fn extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, text) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;
    use ureq::http::HeaderValue;

    fn of(disposition: &str) -> Option<String> {
        let url = Url::parse("https://h/from-the-url?q=/x").unwrap();
        let mut headers = HeaderMap::new();
        headers
            .append(CONTENT_DISPOSITION, HeaderValue::from_bytes(disposition.as_bytes()).unwrap());
        name_for(&url, &headers).map(|name| name.into_string().unwrap())
    }

    #[test]
    fn the_server_may_suggest_a_name() {
        for (disposition, name) in [
            ("attachment; filename=a.txt", "a.txt"),
            ("attachment; filename=\"a b;c.txt\"", "a b;c.txt"),
            ("attachment;filename=\"a\\\"b\"; size=3", "a\"b"),
            ("inline; size=3; FileName = a.txt", "a.txt"),
            ("attachment; filename=a.txt; filename*=UTF-8''%e2%82%ac%20b", "€ b"),
            ("attachment; filename*=UTF-8'en'%e2%82%ac; filename=a", "€"),
            ("attachment; filename=\"ä.txt\"", "ä.txt"),
            // What cannot be read is passed over.
            ("attachment; filename=a; filename*=ISO-8859-1''%a3", "a"),
            ("attachment; filename=a; filename*=UTF-8''%ff", "a"),
            ("attachment; filename*=x", "from-the-url"),
            ("attachment", "from-the-url"),
            ("attachment; filename", "from-the-url"),
            ("attachment; filename=", "from-the-url"),
            ("attachment; filename=\"", "from-the-url"),
        ] {
            assert_eq!(of(disposition).as_deref(), Some(name), "{disposition}");
        }
    }

    #[test]
    fn no_name_leads_elsewhere_or_hides() {
        for (suggested, name) in [
            ("../../etc/passwd", "passwd"),
            ("/etc/passwd", "passwd"),
            ("..\\\\..\\\\boot.ini", "boot.ini"),
            (".bashrc", "bashrc"),
            ("...", "from-the-url"),
            ("..", "from-the-url"),
            ("a/", "from-the-url"),
            ("-rf", "rf"),
            (" . .x ", "x"),
            ("C:\\\\x", "x"),
            ("x.part.json", "x.part_json"),
            ("x.Part.JSON", "x.Part_JSON"),
            ("x.part.json.new", "x.part_json.new"),
        ] {
            assert_eq!(of(&format!("a; filename=\"{suggested}\"")).as_deref(), Some(name));
        }
        assert_eq!(of("a; filename*=UTF-8''..%2f..%2fx%00y%0a%1b%5b31m").unwrap(), "x_y__[31m");
        assert_eq!(of("a; filename*=UTF-8''a%c2%9bb%e2%80%aetxt.exe").unwrap(), "a_b_txt.exe");
    }

    #[test]
    fn a_url_has_a_name_in_its_last_segment_or_none() {
        let of = |url: &str| name_in(&Url::parse(url).unwrap());
        assert_eq!(of("https://h/a/b%20c?d=/e").unwrap(), "b c");
        assert_eq!(of("https://h/a%2f..%2f.ssh").unwrap(), "ssh");
        assert_eq!(of("https://h/%ff").unwrap().as_bytes(), b"\xff");
        assert_eq!(of("https://h/a/"), None);
        assert_eq!(of("https://h"), None);
        assert_eq!(of("https://h/%2e%2e"), None);
    }

    #[test]
    fn a_long_name_keeps_its_suffix() {
        let long = format!("{}.tar.gz", "€".repeat(200));
        let name = safe(long.as_bytes()).unwrap().into_string().unwrap();
        assert!(name.len() <= LONGEST && name.ends_with("€.gz"), "{name}");
        assert_eq!(safe(&[b'x'; 300]).unwrap().len(), LONGEST);
    }

    proptest! {
        #[test]
        fn whatever_is_suggested_the_name_is_one_in_this_folder(name in any::<Vec<u8>>()) {
            if let Some(name) = safe(&name) {
                let name = name.as_bytes();
                prop_assert!(!name.is_empty() && name.len() <= LONGEST);
                prop_assert!(!name.starts_with(b".") && !name.starts_with(b"-"));
                prop_assert!(!name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0..=31 | 127)));
            }
        }
    }
}
