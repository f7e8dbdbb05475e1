//! What an upload is called: 128 random bits, in the names of its files and in its URL.
//!
//! Whoever knows the URL may go on with the upload, so it is nothing that could be guessed
//! (draft-ietf-httpbis-resumable-upload, security considerations).

use super::super::path::{FilePath, UPLOAD_PREFIX};
use sealpair_common::random;
use std::fmt;
use std::io;

/// How the name of a record differs from that of the data.
const RECORD_SUFFIX: &str = ".json";

/// The name of one upload.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(super) struct Token([u8; 16]);

impl Token {
    /// One that nobody has and nobody can foresee.
    pub(super) fn random() -> io::Result<Self> {
        random::bytes().map(Self)
    }

    /// Reads the token in the name of data: written in one way only, so that nothing else has two URLs.
    pub(super) fn of_data(name: &[u8]) -> Option<Self> {
        let digits = name.strip_prefix(UPLOAD_PREFIX.as_bytes())?;
        let mut bytes = [0; 16];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| match pair.get(at) {
                Some(digit @ b'0'..=b'9') => Some(digit - b'0'),
                Some(digit @ b'a'..=b'f') => Some(digit - b'a' + 10),
                _ => None,
            };
            *byte = digit(0)? << 4 | digit(1)?;
        }
        Some(Self(bytes))
    }

    /// Reads the token in the name of a record.
    pub(super) fn of_record(name: &[u8]) -> Option<Self> {
        Self::of_data(name.strip_suffix(RECORD_SUFFIX.as_bytes())?)
    }

    /// The name of the file that has the data.
    pub(super) fn data(self) -> String {
        let mut name = UPLOAD_PREFIX.to_owned();
        for byte in self.0 {
            name.push_str(&format!("{byte:02x}"));
        }
        name
    }

    /// The name of the file that says what the data are for.
    pub(super) fn record(self) -> String {
        self.data() + RECORD_SUFFIX
    }
}

impl fmt::Debug for Token {
    /// Without what lets somebody in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The folder and the token that the path of an upload resource names; nothing for every other path.
pub(super) fn parse(path: &str, dotfiles: bool) -> Option<(FilePath, Token)> {
    let (folder, name) = path.rsplit_once('/')?;
    let token = Token::of_data(name.as_bytes())?;
    let folder = FilePath::decode(&format!("{folder}/"), dotfiles).ok()?;
    Some((folder, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_the_token_and_nothing_else_does() {
        let token = Token::random().unwrap();
        assert!(Token::of_data(token.data().as_bytes()) == Some(token));
        assert!(Token::of_record(token.record().as_bytes()) == Some(token));
        assert!(token != Token::random().unwrap());
        let name = token.data();
        for bad in [
            name.to_uppercase(),
            format!("{name}0"),
            name[..name.len() - 1].to_owned(),
            token.record(),
            format!("{UPLOAD_PREFIX}0123456789abcdef"),
            format!("{UPLOAD_PREFIX}{}", "g".repeat(32)),
        ] {
            assert!(Token::of_data(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_upload_is_in_a_folder_that_clients_may_see() {
        let name = Token::random().unwrap().data();
        let (folder, _) = parse(&format!("/a%20b/{name}"), false).unwrap();
        assert_eq!(folder.to_folder_url(), "/a%20b/");
        assert!(parse(&format!("/{name}"), false).unwrap().0.is_root());
        assert!(parse(&format!("/.git/{name}"), false).is_none());
        assert!(parse(&format!("/../{name}"), true).is_none());
        assert!(parse(&format!("//{name}"), true).is_none());
        assert!(parse(&format!("/%2e{}", &name[1..]), true).is_none());
    }
}
