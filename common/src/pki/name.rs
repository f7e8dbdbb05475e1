//! The names that a leaf certificate can be issued for, parsed from text in one place.
//!
//! What is accepted here is what peers will match: LDH host names with an optional wildcard (RFC
//! 9525, section 6.3) and IP addresses; for clients also an e-mail address or a plain common name.
//! Being strict here turns a certificate that would never match into an error at the time of
//! issuing.

use super::PkiError;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// What a leaf certificate is for: its extended key usage.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Usage {
    /// `clientAuth`: a client shows it to a server.
    Client,
    /// `serverAuth`: a server shows it to its clients.
    Server,
}

/// One name of a leaf certificate.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum LeafName {
    /// The subject's common name, with no subject alternative name; for clients.
    CommonName(String),
    /// A DNS name in lower case, possibly with `*` as its first label.
    Dns(String),
    /// An e-mail address; for clients.
    Email(String),
    /// An IP address.
    Ip(IpAddr),
}

/// ub-common-name of RFC 5280, appendix A.1, in characters.
pub(super) const COMMON_NAME_MAX: usize = 64;
/// RFC 1035, section 2.3.4: 255 octets on the wire are 253 as text without the root's dot.
const DNS_NAME_MAX: usize = 253;
/// RFC 1035, section 2.3.4, in octets.
const LABEL_MAX: usize = 63;
/// RFC 5321, section 4.5.3.1.1, in octets.
const LOCAL_PART_MAX: usize = 64;

impl LeafName {
    /// Parses a name: `localhost`, `*.example.org`, `127.0.0.1`, `::1`; for clients also
    /// `alice@example.org`, and any other text as a common name: `alice`, `Backup host 3`.
    ///
    /// For clients a text with a dot that is a DNS name is one; a single label is a common name.
    /// The kind can be forced with a prefix, as [`CertificateFacts`](super::CertificateFacts) shows
    /// it: `DNS:`, `IP:`, `EMAIL:`, `CN:`.
    ///
    /// ```
    /// use sealpair_common::pki::{LeafName, Usage};
    /// let name = LeafName::parse("*.Example.org", Usage::Server).unwrap();
    /// assert_eq!(name, LeafName::Dns("*.example.org".to_owned()));
    /// assert!(LeafName::parse("w*.example.org", Usage::Server).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`PkiError::Name`] with the rule that the text breaks.
    pub fn parse(text: &str, usage: Usage) -> Result<Self, PkiError> {
        Self::parse_as(text, usage)
            .map_err(|reason| PkiError::Name { text: text.to_owned(), reason })
    }

    fn parse_as(text: &str, usage: Usage) -> Result<Self, &'static str> {
        if let Some(text) = text.strip_prefix("DNS:") {
            return dns_name(text, Wildcard::Allow).map(Self::Dns);
        }
        if let Some(text) = text.strip_prefix("IP:") {
            return ip_address(text).map(Self::Ip).ok_or("It is not an IPv4 or IPv6 address.");
        }
        if let Some(address) = ip_address(text) {
            return Ok(Self::Ip(address));
        }
        if let Some(text) = text.strip_prefix("EMAIL:") {
            return client_only(usage).and_then(|()| email(text)).map(Self::Email);
        }
        if let Some(text) = text.strip_prefix("CN:") {
            return client_only(usage).and_then(|()| common_name(text)).map(Self::CommonName);
        }
        match usage {
            _ if text.contains('@') => {
                client_only(usage).and_then(|()| email(text)).map(Self::Email)
            }
            Usage::Server => dns_name(text, Wildcard::Allow).map(Self::Dns),
            Usage::Client => match dns_name(text, Wildcard::Allow) {
                Ok(name) if name.contains('.') => Ok(Self::Dns(name)),
                _ => common_name(text).map(Self::CommonName),
            },
        }
    }
}

impl fmt::Display for LeafName {
    /// The name alone, without a prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommonName(text) | Self::Dns(text) | Self::Email(text) => f.write_str(text),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Wildcard {
    Allow,
    Refuse,
}

fn client_only(usage: Usage) -> Result<(), &'static str> {
    match usage {
        Usage::Client => Ok(()),
        Usage::Server => {
            Err("A server is recognized by its DNS names and IP addresses only (RFC 9525).")
        }
    }
}

/// An address, also in the brackets that a URL puts around it.
fn ip_address(text: &str) -> Option<IpAddr> {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    text.parse().ok()
}

/// A DNS name as certificates hold it (RFC 5280, section 4.2.1.6; RFC 1123, section 2.1),
/// lower-cased.
fn dns_name(text: &str, wildcard: Wildcard) -> Result<String, &'static str> {
    if text.is_empty() {
        return Err("It is empty.");
    }
    if text.chars().any(char::is_control) {
        return Err("It contains a control character.");
    }
    if !text.is_ascii() {
        return Err("An internationalized name has to be given as A-labels (`xn--...`).");
    }
    if text.contains("://") || text.contains('/') {
        return Err("It is a URL or a path; give the host name alone.");
    }
    if text.contains(':') {
        return Err("It is neither an IPv6 address nor a host name; give no port.");
    }
    if text.len() > DNS_NAME_MAX {
        return Err("A DNS name has at most 253 characters.");
    }
    if text.ends_with('.') {
        return Err("In a certificate a DNS name has no dot at its end.");
    }
    let (star, host) = match text.strip_prefix("*.") {
        Some(_) if wildcard == Wildcard::Refuse => return Err("A wildcard is not possible here."),
        Some(host) => (true, host),
        None => (false, text),
    };
    if host.contains('*') {
        return Err("A wildcard can only be the whole left-most label, as in `*.example.org`.");
    }
    // OpenSSL, as browsers, matches no wildcard directly below a top-level domain, so that nobody
    // gets `*.org` by mistake.
    if star && !host.contains('.') {
        return Err("A wildcard needs at least two labels after it, as in `*.example.org`.");
    }
    for label in host.split('.') {
        if label.is_empty() {
            return Err("It has an empty label: two dots in a row, or one at the front.");
        }
        if label.len() > LABEL_MAX {
            return Err("A label of a DNS name has at most 63 characters.");
        }
        if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err("A label of a DNS name has letters, digits and hyphens only.");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("A label of a DNS name neither begins nor ends with a hyphen.");
        }
    }
    // No top-level domain is all digits (RFC 3696, section 2): this is an address with a typing
    // error, and clients would treat it as an address.
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("It looks like an IPv4 address but is none.");
    }
    Ok(text.to_ascii_lowercase())
}

/// An ASCII address with a dot-atom before the `@` (RFC 5321, section 4.1.2).
///
/// Certificates need another name form for others (RFC 9598), which hardly anyone matches.
fn email(text: &str) -> Result<String, &'static str> {
    let (local, domain) = text.rsplit_once('@').ok_or("It is not an e-mail address.")?;
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    if local.len() > LOCAL_PART_MAX
        || !local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom))
    {
        return Err("The part before the @ is not an ASCII mailbox name of at most 64 characters.");
    }
    // The local part is case-sensitive by the standard; the domain is not.
    let domain = dns_name(domain, Wildcard::Refuse)?;
    Ok(format!("{local}@{domain}"))
}

/// Any text that a subject can hold.
pub(super) fn common_name(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        return Err("It is empty.");
    }
    if text.trim() != text {
        return Err("A common name has no space at its beginning or end.");
    }
    if text.chars().any(char::is_control) {
        return Err("It contains a control character.");
    }
    if text.chars().count() > COMMON_NAME_MAX {
        return Err("A common name has at most 64 characters.");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn server_names() {
        let long = format!("{}.example", ["a".repeat(63), "b".repeat(63)].join("."));
        for (text, name) in [
            ("127.0.0.1", LeafName::Ip([127, 0, 0, 1].into())),
            ("::1", LeafName::Ip(Ipv6Addr::LOCALHOST.into())),
            ("[::1]", LeafName::Ip(Ipv6Addr::LOCALHOST.into())),
            ("IP:::1", LeafName::Ip(Ipv6Addr::LOCALHOST.into())),
            ("localhost", LeafName::Dns("localhost".into())),
            ("DNS:localhost", LeafName::Dns("localhost".into())),
            ("*.Example.ORG", LeafName::Dns("*.example.org".into())),
            ("xn--mnchen-3ya.de", LeafName::Dns("xn--mnchen-3ya.de".into())),
            ("3com.com", LeafName::Dns("3com.com".into())),
            (&long, LeafName::Dns(long.clone())),
        ] {
            assert_eq!(LeafName::parse(text, Usage::Server).unwrap(), name);
        }
    }

    #[test]
    fn names_that_no_client_would_match_are_refused() {
        let label = format!("{}.org", "a".repeat(64));
        let name = format!("{}org", "abcdefg.".repeat(32));
        for (text, reason) in [
            ("", "empty"),
            ("*", "wildcard"),
            ("*.org", "two labels"),
            ("*.*.example.org", "wildcard"),
            ("w*.example.org", "wildcard"),
            ("www.*.org", "wildcard"),
            ("münchen.de", "A-labels"),
            ("a\0.example.org", "control"),
            ("a\n.example.org", "control"),
            ("a b.example.org", "letters"),
            ("a_b.example.org", "letters"),
            ("-a.example.org", "hyphen"),
            ("a-.example.org", "hyphen"),
            ("a..example.org", "empty label"),
            (".example.org", "empty label"),
            ("example.org.", "dot at its end"),
            ("127.0.0.256", "IPv4"),
            ("10.1", "IPv4"),
            ("localhost:8443", "port"),
            ("https://localhost", "URL"),
            ("fe80::1%eth0", "neither"),
            ("alice@example.org", "RFC 9525"),
            ("EMAIL:alice@example.org", "RFC 9525"),
            ("CN:alice", "RFC 9525"),
            ("IP:localhost", "not an IPv4"),
            (&label, "63"),
            (&name, "253"),
        ] {
            match LeafName::parse(text, Usage::Server) {
                Err(PkiError::Name { reason: found, .. }) => {
                    assert!(found.contains(reason), "{text}: {found}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn client_names() {
        for (text, name) in [
            ("alice", LeafName::CommonName("alice".into())),
            ("CN:a.example", LeafName::CommonName("a.example".into())),
            ("Jürgen K.", LeafName::CommonName("Jürgen K.".into())),
            ("host.example", LeafName::Dns("host.example".into())),
            ("DNS:host", LeafName::Dns("host".into())),
            ("192.0.2.1", LeafName::Ip([192, 0, 2, 1].into())),
            ("a.B@Example.org", LeafName::Email("a.B@example.org".into())),
        ] {
            assert_eq!(LeafName::parse(text, Usage::Client).unwrap(), name);
        }
        let long = "x".repeat(65);
        for text in ["", " a", "a\0b", "@example.org", "a@", "a@*.example.org", &long] {
            assert!(LeafName::parse(text, Usage::Client).is_err(), "{text:?}");
        }
    }
}
