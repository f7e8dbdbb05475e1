//! The request target and the authority (RFC 9112 section 3.2, RFC 3986 section 3.2).

use super::Rejection;
use super::syntax::{is_reg_name, is_target, valid_percents};
use ::http::{Method, StatusCode};
use std::net::Ipv6Addr;

const BAD_TARGET: Rejection = Rejection::bad_request("the request target is not valid");
const BAD_AUTHORITY: Rejection = Rejection::bad_request("the host is not valid");

/// The scheme of every absolute target that this server answers for.
const SCHEME: &[u8] = b"https://";

/// A request target, reduced to the form that handlers see.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// Path and query, or `*`.
    pub(super) origin: String,
    /// The authority of an absolute target: it stands instead of `Host`.
    pub(super) authority: Option<&'a str>,
}

/// Reads a request target.
///
/// # Errors
///
/// 400 for what RFC 3986 does not permit, 421 for a target of another scheme.
pub(super) fn parse<'a>(method: &Method, target: &'a [u8]) -> Result<Target<'a>, Rejection> {
    if target == b"*" {
        // RFC 9112 section 3.2.4: the asterisk form is for OPTIONS alone.
        return match *method {
            Method::OPTIONS => Ok(Target { origin: "*".to_owned(), authority: None }),
            _ => Err(BAD_TARGET),
        };
    }
    if target.first() == Some(&b'/') {
        let origin = checked(target)?.to_owned();
        return Ok(Target { origin, authority: None });
    }
    absolute(method, target)
}

/// The absolute form, which every server has to take (RFC 9112 section 3.2.2).
fn absolute<'a>(method: &Method, target: &'a [u8]) -> Result<Target<'a>, Rejection> {
    let scheme_end = target.windows(3).position(|window| window == b"://").ok_or(BAD_TARGET)?;
    if !target[..scheme_end + 3].eq_ignore_ascii_case(SCHEME) {
        // RFC 9110 section 7.4: this connection has no authority over resources of another scheme.
        return Err(match target[..scheme_end].iter().all(u8::is_ascii_alphanumeric) {
            true => Rejection::new(
                StatusCode::MISDIRECTED_REQUEST,
                "only https targets are answered here",
            ),
            false => BAD_TARGET,
        });
    }
    let rest = &target[scheme_end + 3..];
    let authority_end =
        rest.iter().position(|&byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let authority = parse_authority(authority)?;
    let path = checked(path)?;
    let origin = match path.as_bytes().first() {
        // RFC 9112 section 3.2.4: OPTIONS for a URI without path and query asks about the server.
        None if *method == Method::OPTIONS => "*".to_owned(),
        // RFC 9112 section 3.2.1: an empty path is sent as `/`.
        None | Some(b'?') => format!("/{path}"),
        Some(_) => path.to_owned(),
    };
    Ok(Target { origin, authority: Some(authority) })
}

/// A path with a query, of permitted characters only.
fn checked(target: &[u8]) -> Result<&str, Rejection> {
    if !target.iter().copied().all(is_target) {
        return Err(Rejection::bad_request(
            "the request target has a character that has to be percent-encoded",
        ));
    }
    if !valid_percents(target) {
        return Err(Rejection::bad_request("the request target has a broken percent-encoding"));
    }
    str::from_utf8(target).map_err(|_| BAD_TARGET)
}

/// Checks `host [":" port]`, as `Host` and an absolute target carry it.
///
/// An empty host is refused: an https URI always has one (RFC 9110 section 4.2.2). So is user
/// information: it has no place in `Host`, and in a target it serves to deceive (section 4.2.4).
pub(super) fn parse_authority(authority: &[u8]) -> Result<&str, Rejection> {
    let host_end = match authority.first() {
        Some(b'[') => authority.iter().position(|&byte| byte == b']').map(|at| at + 1),
        _ => authority.iter().position(|&byte| byte == b':'),
    };
    let (host, port) = authority.split_at(host_end.unwrap_or(authority.len()));
    let valid = valid_host(host)
        && match port {
            [] => true,
            [b':', digits @ ..] => valid_port(digits),
            _ => false,
        };
    if !valid {
        return Err(BAD_AUTHORITY);
    }
    str::from_utf8(authority).map_err(|_| BAD_AUTHORITY)
}

/// A registered name, an IPv4 address or an IPv6 address in brackets (RFC 3986 section 3.2.2).
/// Future versions of addresses and zone identifiers mean nothing at the far end of a connection.
fn valid_host(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', address @ .., b']'] => {
            str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
        }
        name => name.iter().copied().all(is_reg_name) && valid_percents(name),
    }
}

/// A TCP port; RFC 3986 section 3.2.3 lets it be empty.
fn valid_port(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_digit)
        && (digits.is_empty()
            || str::from_utf8(digits).is_ok_and(|text| text.parse::<u16>().is_ok()))
}
