//! `sealpair inspect`: what an endpoint offers and presents, and whether a policy allows it.

use super::Voice;
use super::summary::print_json;
use super::tls_args::parse_timeout;
use clap::Args;
use sealpair_client::inspect::{DEFAULT_TIMEOUT, Options, inspect, text};
use sealpair_client::{FixedAnswer, NameResolver, Phase, report};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::tls::{Identity, Policy, ServerName, Trust, passphrase_file};
use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Show what a TLS endpoint offers and presents, and judge it by a policy
///
/// Nothing is assumed of the endpoint: it may be expired, incomplete, misnamed or want a client certificate.
/// Exit codes: 0 when it could be looked at, 31 when --policy is violated, 5, 6 or 7 when it cannot be
/// reached or does not answer, 23 when what answers is not TLS, 8 when no handshake is possible.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// HOST or HOST:PORT (default 443); an IPv6 address in brackets
    #[arg(value_name = "HOST[:PORT]")]
    target: Target,

    /// Judge it by this policy: intermediate, modern, fips, cnsa1 or cnsa2
    #[arg(long, value_name = "NAME", help_heading = "TLS options")]
    policy: Option<Policy>,

    /// Authority to trust instead of the system's store, in PEM (repeatable)
    #[arg(long, alias = "cacert", value_name = "FILE", help_heading = "TLS options")]
    ca: Vec<PathBuf>,

    /// Revocation list, in PEM (repeatable); every certificate then needs one of its issuer
    #[arg(long, value_name = "FILE", help_heading = "TLS options")]
    crl: Vec<PathBuf>,

    /// The client's certificate chain in PEM, for servers that ask
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "TLS options")]
    cert: Option<PathBuf>,

    /// Private key of --cert in PEM
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "TLS options")]
    key: Option<PathBuf>,

    /// PKCS#12 file with the client's key and certificates, instead of --cert and --key
    #[arg(long, value_name = "FILE", conflicts_with = "cert", help_heading = "TLS options")]
    pkcs12: Option<PathBuf>,

    /// File whose first line is the passphrase of the key
    #[arg(long, value_name = "FILE", help_heading = "TLS options")]
    key_pass_file: Option<PathBuf>,

    /// Name to indicate and expect, instead of HOST
    #[arg(long, value_name = "NAME", help_heading = "TLS options")]
    server_name: Option<String>,

    /// Address to use for a host and port: HOST:PORT:ADDR (repeatable)
    #[arg(long, value_name = "HOST:PORT:ADDR", help_heading = "TLS options")]
    resolve: Vec<FixedAnswer>,

    /// Longest time for the name, and for each connection; all of them may take six times that
    /// [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout, help_heading = "TLS options")]
    timeout: Option<Duration>,
}

/// A host and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Target {
    /// As in a URL: an IPv6 address has brackets.
    host: String,
    name: ServerName,
    port: u16,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Whoever has a URL at hand may use it.
        let rest = text.strip_prefix("https://").unwrap_or(text);
        let rest =
            if rest.len() < text.len() { rest.split('/').next().unwrap_or(rest) } else { rest };
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                let port = match port.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if port.is_empty() => None,
                    None => return Err("what follows the bracket is no port".to_owned()),
                };
                let address: Ipv6Addr =
                    address.parse().map_err(|_| "no IPv6 address in the brackets".to_owned())?;
                (format!("[{address}]"), port)
            }
            None => match rest.parse::<Ipv6Addr>() {
                Ok(address) => (format!("[{address}]"), None),
                Err(_) => match rest.split_once(':') {
                    Some((host, port)) => (host.to_owned(), Some(port)),
                    None => (rest.to_owned(), None),
                },
            },
        };
        let port = match port {
            None => 443,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or("the port is no number from 1 to 65535")?,
        };
        let name = ServerName::parse(&host).map_err(|error| error.to_string())?;
        Ok(Self { host, name, port })
    }
}

pub(crate) fn run(args: &InspectArgs, voice: Voice) -> Result<Exit, Report> {
    let options = args.options()?;
    let Target { host, port, .. } = &args.target;
    let resolver = NameResolver::new(args.resolve.iter().cloned());
    let addresses = resolver
        .addresses(host, *port, options.timeout)
        .map_err(|error| report(&error, Phase::Request))
        .map_err(|report| match report.exit() {
            // There is no URL here.
            Exit::Resolve => report.remedy("check HOST, or give its address with --resolve"),
            _ => report,
        })?;
    let found = inspect(&addresses, &options)?;
    let text = if voice.quiet { String::new() } else { text(&found) };
    if voice.json {
        // The document is the answer; the text is a courtesy.
        let _ = io::stderr().write_all(text.as_bytes());
        let document = serde_json::to_value(&found).map_err(|error| {
            Report::new(Exit::Unexpected, "json", "no document can be made of it")
                .explain(error.to_string())
        })?;
        print_json(&document)?;
    } else {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // `| head` has seen enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(Report::new(
                    Exit::LocalIo,
                    "output",
                    "cannot write to standard output",
                )
                .explain(error.to_string()));
            }
            _ => {}
        }
    }
    Ok(found.exit())
}

impl InspectArgs {
    fn options(&self) -> Result<Options, Report> {
        let name = match &self.server_name {
            Some(name) => ServerName::parse(name).map_err(|error| error.report())?,
            None => self.target.name.clone(),
        };
        let mut trust = Trust::system();
        for ca in &self.ca {
            trust = trust.file(ca);
        }
        for crl in &self.crl {
            trust = trust.crl_file(crl);
        }
        let mut options = Options::new(name);
        options.trust = trust;
        options.policy = self.policy;
        options.identity = self.identity()?;
        options.timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        Ok(options)
    }

    fn identity(&self) -> Result<Option<Identity>, Report> {
        let passphrase = self.key_pass_file.as_ref().map(passphrase_file).transpose();
        let passphrase = passphrase.map_err(|error| error.report())?;
        let identity = match (&self.cert, &self.key, &self.pkcs12) {
            (Some(cert), Some(key), _) => Identity::from_pem_files(cert, key, passphrase.as_ref()),
            (_, _, Some(file)) => Identity::from_pkcs12_file(file, passphrase.as_ref()),
            _ => return Ok(None),
        };
        identity.map(Some).map_err(|error| error.report())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (text, host, port) in [
            ("localhost", "localhost", 443),
            ("localhost:8443", "localhost", 8443),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:8443", "[::1]", 8443),
            ("[::1]", "[::1]", 443),
            ("::1", "[::1]", 443),
            ("https://example.org:8443/path?x", "example.org", 8443),
            ("https://example.org/", "example.org", 443),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.host.as_str(), target.port), (host, port), "{text}");
        }
        for bad in [
            "", ":443", "a:", "a:0", "a:70000", "a:x", "[::1", "[::1]x", "[a]:1", "a b", "a/b",
            "http://a", "user@a", "a:1:2", "[::1]:",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
