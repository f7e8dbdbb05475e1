//! A listing as the server has it (`sealpair.listing/1`), and the names in it, which may be anything.

use super::names::STATES;
use percent_encoding::percent_decode_str;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// Files and folders together.
pub(super) const MOST: usize = 1_000_000;
/// NAME_MAX of Linux's file systems.
const LONGEST_NAME: usize = 255;

#[derive(Deserialize)]
pub(super) struct Listing {
    pub(super) schema: String,
    #[serde(deserialize_with = "bounded")]
    pub(super) entries: Vec<Entry>,
}

#[derive(Deserialize)]
pub(super) struct Entry {
    pub(super) href: String,
    pub(super) r#type: String,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<String>,
}

/// Entries up to [`MOST`]: in memory they are several times as long as in a listing.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    struct Bounded;
    impl<'de> Visitor<'de> for Bounded {
        type Value = Vec<Entry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "up to {MOST} entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<Entry>, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = from.next_element()? {
                if entries.len() == MOST {
                    return Err(A::Error::invalid_length(MOST + 1, &self));
                }
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_seq(Bounded)
}

/// The name that an entry has here; what is no name of one file or folder is refused.
pub(super) fn checked(entry: &Entry, folder: bool) -> Result<Vec<u8>, &'static str> {
    if !folder && entry.r#type != "file" {
        return Err("an entry is neither file nor folder");
    }
    let name = match folder {
        true => {
            entry.href.strip_suffix('/').ok_or("the link to a folder has no slash at its end")?
        }
        false => entry.href.as_str(),
    };
    // What our server writes: unreserved characters (RFC 3986 section 2.3), all else encoded. So nothing
    // in it is a path, a query, a scheme or another server.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    if !name.bytes().all(plain) {
        return Err("a link is more than a name");
    }
    let name: Vec<u8> = percent_decode_str(name).collect();
    if name.is_empty() || name == b"." || name == b".." {
        return Err("a link leads to no entry of its folder");
    }
    if name.iter().any(|byte| matches!(byte, b'/' | 0..=0x1f | 0x7f)) {
        return Err("a name has a slash or a control character");
    }
    // From a state that a server has made up, a download of another's file would go on.
    let lower = name.to_ascii_lowercase();
    if STATES.iter().any(|end| lower.ends_with(end)) {
        return Err("a name is that of the state of an interrupted download");
    }
    if name.len() > LONGEST_NAME {
        return Err("a name is too long");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(href: &str, kind: &str) -> Option<Vec<u8>> {
        let entry =
            Entry { href: href.to_owned(), r#type: kind.to_owned(), size: None, modified: None };
        checked(&entry, kind == "folder").ok()
    }

    #[test]
    fn a_name_is_one_name_and_nothing_else() {
        assert_eq!(name("a%20b%25.txt", "file").unwrap(), b"a b%.txt");
        assert_eq!(name("%FF%C3%A4", "file").unwrap(), b"\xff\xc3\xa4");
        assert_eq!(name("d/", "folder").unwrap(), b"d");
        assert_eq!(name("..%2E", "file").unwrap(), b"...");
        for bad in [
            "",
            ".",
            "..",
            "%2e%2E",
            "a/b",
            "/a",
            "//h/a",
            "a%2fb",
            "..%2Fa",
            "https:a",
            "?a",
            "a?b",
            "a#b",
            "a%00",
            "a%0Ab",
            "a%1b",
            "a%7f",
            "a\\b",
            "a b",
            "\u{e4}",
            "a.part.json",
        ] {
            assert_eq!(name(bad, "file"), None, "{bad}");
        }
        for bad in ["d", "/", "../", "./", "%2e%2e/", "a/b/", "a//"] {
            assert_eq!(name(bad, "folder"), None, "{bad}");
        }
        assert_eq!(name(&"a".repeat(256), "file"), None);
        assert_eq!(name("a", "link"), None);
    }

    #[test]
    fn a_listing_has_no_more_entries_than_are_used() {
        let listing = |count: usize| {
            let entries = vec!["{\"href\":\"\",\"type\":\"\"}"; count].join(",");
            let text = format!("{{\"schema\":\"\",\"entries\":[{entries}]}}");
            serde_json::from_str::<Listing>(&text)
        };
        assert_eq!(listing(3).unwrap().entries.len(), 3);
        let error = listing(MOST + 1).err().unwrap().to_string();
        assert!(error.contains("up to 1000000 entries"), "{error}");
    }
}
