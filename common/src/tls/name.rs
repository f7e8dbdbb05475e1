//! The name of a server, as it is checked against its certificate.

use super::error::ConfigError;
use std::fmt;
use std::net::IpAddr;

/// A DNS name or an IP address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ServerName {
    /// A DNS name in lower case, without the root's trailing dot.
    Dns(String),
    /// An IP address. It is never sent as a server name indication (RFC 6066 section 3).
    Ip(IpAddr),
}

impl ServerName {
    /// Parses a host as it stands in a URL: a name, an IPv4 address, or an IPv6 address with or
    /// without brackets.
    ///
    /// # Errors
    ///
    /// [`ConfigError::BadServerName`] for anything else; international names must be given as A-labels
    /// (RFC 5890).
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::BadServerName(text.to_owned());
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
            return Ok(Self::Ip(ip));
        }
        // One trailing dot is the root. More, or nothing else, is no name.
        let name = text.strip_suffix('.').unwrap_or(text);
        // RFC 1035 section 2.3.4: 255 octets on the wire, which leaves 253 characters of text.
        let fits = name.len() <= 253 && name.split('.').all(is_label);
        if fits { Ok(Self::Dns(name.to_ascii_lowercase())) } else { Err(bad()) }
    }
}

/// Letters, digits, hyphens, and the underscore that is common inside private networks.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        for (text, name) in [
            ("localhost", "localhost"),
            ("Example.ORG.", "example.org"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("my_host", "my_host"),
        ] {
            assert_eq!(ServerName::parse(text).unwrap().to_string(), name);
        }
        for bad in
            ["", ".", "a..b", "a\0b", "a b", "ü.example", "[localhost]", "a.b..", "*.a", "a/b"]
        {
            assert!(ServerName::parse(bad).is_err(), "{bad}");
        }
    }
}
