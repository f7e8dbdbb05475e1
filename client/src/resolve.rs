//! Name resolution: the system's, with fixed answers for single hosts and ports.

use crate::agent::config;
use crate::error::{ResolveError, UsageError};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Resolves names.
#[derive(Debug, Default)]
pub struct NameResolver {
    system: DefaultResolver,
    fixed: HashMap<(String, u16), IpAddr>,
}

/// A fixed answer, as `HOST:PORT:ADDR` (curl's `--resolve`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FixedAnswer {
    host: String,
    port: u16,
    address: IpAddr,
}

impl FromStr for FixedAnswer {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        let parse = || {
            let (host, rest) = text.split_once(':')?;
            let (port, address) = rest.split_once(':')?;
            let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
            Some(Self {
                // There is no wildcard: it would never match.
                host: Some(host)
                    .filter(|host| !host.is_empty() && !host.contains('*'))?
                    .to_ascii_lowercase(),
                port: port.parse().ok()?,
                address: bare.unwrap_or(address).parse().ok()?,
            })
        };
        parse().ok_or(UsageError("not HOST:PORT:ADDR, such as example.org:443:192.0.2.1"))
    }
}

impl NameResolver {
    /// The system's resolver, with these answers first.
    pub fn new(fixed: impl IntoIterator<Item = FixedAnswer>) -> Self {
        let fixed =
            fixed.into_iter().map(|FixedAnswer { host, port, address }| ((host, port), address));
        Self { system: DefaultResolver::default(), fixed: fixed.collect() }
    }
}

impl NameResolver {
    /// The addresses of a host and port, in the order in which they are to be tried.
    ///
    /// # Errors
    ///
    /// A name that has none, or a deadline; [`report`](crate::report) says what it means.
    pub fn addresses(
        &self,
        host: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>, Error> {
        let uri = Uri::builder().scheme("https").authority(format!("{host}:{port}"));
        let uri = uri.path_and_query("/").build()?;
        let limit = NextTimeout {
            after: timeout.into(),
            reason: ureq::Timeout::Resolve,
            ..NextTimeout::default()
        };
        let found = self.resolve(&uri, &config(timeout).build(), limit)?;
        Ok(found.iter().copied().collect())
    }
}

impl Resolver for NameResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(443);
        if let Some(address) = self.fixed.get(&(host.clone(), port)) {
            let mut answer = self.empty();
            answer.push(SocketAddr::new(*address, port));
            return Ok(answer);
        }
        self.system.resolve(uri, config, timeout).map_err(|error| match error {
            Error::Io(cause) => Error::Other(ResolveError::new(host, cause.to_string()).into()),
            Error::HostNotFound => {
                Error::Other(ResolveError::new(host, "no address".to_owned()).into())
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_answers() {
        let answer: FixedAnswer = "Example.org:443:[::1]".parse().unwrap();
        assert_eq!(answer.host, "example.org");
        assert_eq!(answer.address, "::1".parse::<IpAddr>().unwrap());
        for bad in
            ["", "a", "a:1", "a:x:1.2.3.4", ":1:1.2.3.4", "a:1:b", "a:70000:1.2.3.4", "*:1:1.2.3.4"]
        {
            assert!(bad.parse::<FixedAnswer>().is_err(), "{bad}");
        }
    }
}
