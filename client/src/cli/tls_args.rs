//! The TLS flags that all commands with a connection share, and the agents that they make.

use clap::{Args, ValueEnum};
use sealpair_client::{
    DEFAULT_TIMEOUT, FixedAnswer, NameResolver, PlatformOptions, PlatformTls, TlsConnector,
    agent_with, config,
};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::tls::{ClientTls, Pin, Policy, ServerName, Trust, passphrase_file};
use sealpair_common::units::parse_duration;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;
use ureq::Agent;

/// Whom to trust, who to be, and how to connect.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS options")]
pub(crate) struct TlsArgs {
    /// Authority to trust instead of the system's store, in PEM (repeatable)
    #[arg(long, alias = "cacert", value_name = "FILE")]
    ca: Vec<PathBuf>,

    /// The client's certificate chain in PEM, for servers that ask
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// Private key of --cert in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// PKCS#12 file with the client's key and certificates, instead of --cert and --key
    #[arg(long, value_name = "FILE", conflicts_with = "cert")]
    pkcs12: Option<PathBuf>,

    /// File whose first line is the passphrase of the key
    #[arg(long, value_name = "FILE")]
    key_pass_file: Option<PathBuf>,

    /// TLS policy: intermediate, modern, fips, cnsa1 or cnsa2
    #[arg(long, value_name = "NAME", default_value_t)]
    policy: Policy,

    /// Refuse to run unless a FIPS module does all cryptography, and is proved to
    #[arg(long)]
    fips: bool,

    /// Revocation list, in PEM (repeatable), read once at the start; every certificate then needs one
    /// of its issuer
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,

    /// Refuse a server whose certificate is not proved to be unrevoked, by a stapled OCSP response or
    /// by --crl
    #[arg(long)]
    require_revocation: bool,

    /// Public key that the server's chain must have: sha256/BASE64 (repeatable: any of them)
    #[arg(long, value_name = "PIN")]
    pin: Vec<String>,

    /// Name to indicate and expect, instead of the URL's host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,

    /// Address to use for a host and port: HOST:PORT:ADDR (repeatable)
    #[arg(long, value_name = "HOST:PORT:ADDR")]
    resolve: Vec<FixedAnswer>,

    /// Which TLS to use
    #[arg(long, value_enum, default_value_t = TlsBackend::Openssl)]
    tls_backend: TlsBackend,

    /// Longest wait for the name, the connection, the head of the answer, and each read and write
    /// [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    timeout: Option<Duration>,

    /// Longest time for all of it [default: none]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    max_time: Option<Duration>,

    /// Do not verify the server's certificate at all: anybody can be in between
    #[arg(long)]
    insecure: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum TlsBackend {
    /// OpenSSL with the policies of this program
    Openssl,
    /// The operating system's TLS and trust store
    Platform,
}

pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("no time at all is too short".to_owned()),
        result => result.map_err(|error| error.to_string()),
    }
}

/// For whom an agent speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Towards {
    /// The server that the user named: with the client certificate and the expected name.
    Named,
    /// Another one, reached by a redirect: without either.
    Redirected,
}

/// Fields that ureq adds to a request by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) user_agent: bool,
    pub(crate) accept: bool,
}

impl TlsArgs {
    /// The longest time for all of a command.
    pub(crate) fn max_time(&self) -> Option<Duration> {
        self.max_time
    }

    /// An agent that follows no redirects and takes any status for an answer; both are decided above.
    pub(crate) fn agent(&self, towards: Towards, defaults: Defaults) -> Result<Agent, Report> {
        if self.insecure {
            // Nobody may be reading.
            let warning = "sealpair: WARNING: --insecure: anybody can be in between";
            let _ = writeln!(io::stderr(), "{warning}");
        }
        let connector = match self.tls_backend {
            TlsBackend::Openssl => TlsConnector::new(self.openssl(towards)?),
            TlsBackend::Platform => TlsConnector::platform(self.platform(towards)?),
        };
        let mut config = config(self.timeout.unwrap_or(DEFAULT_TIMEOUT))
            .http_status_as_error(false)
            .timeout_global(self.max_time)
            .allow_non_standard_methods(true);
        // The empty text means "none" to ureq.
        if !defaults.user_agent {
            config = config.user_agent("");
        }
        if !defaults.accept {
            config = config.accept("");
        }
        let config = config.build();
        Ok(agent_with(connector, NameResolver::new(self.resolve.iter().cloned()), config))
    }

    fn openssl(&self, towards: Towards) -> Result<ClientTls, Report> {
        let mut trust = Trust::system();
        for ca in &self.ca {
            trust = trust.file(ca);
        }
        for crl in &self.crl {
            trust = trust.crl_file(crl);
        }
        for pin in &self.pin {
            trust = trust.pin(pin.parse::<Pin>().map_err(|error| error.report())?);
        }
        let mut builder = ClientTls::builder().policy(self.policy).trust(trust);
        if self.fips {
            builder = builder.fips();
        }
        if self.require_revocation {
            builder = builder.require_revocation();
        }
        if self.insecure {
            builder = builder.dangerous_accept_any_certificate();
        }
        if towards == Towards::Named {
            if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
                builder = builder.identity_pem(cert, key);
            }
            if let Some(file) = &self.pkcs12 {
                builder = builder.identity_pkcs12(file);
            }
            if let Some(path) = &self.key_pass_file {
                let passphrase = passphrase_file(path).map_err(|error| error.report())?;
                builder = builder.passphrase(passphrase);
            }
            if let Some(name) = self.server_name()? {
                builder = builder.server_name(name);
            }
        }
        builder.build().map_err(|error| error.report())
    }

    fn platform(&self, towards: Towards) -> Result<PlatformTls, Report> {
        let unsupported = [
            ("--policy", self.policy != Policy::default()),
            ("--fips", self.fips),
            ("--crl", !self.crl.is_empty()),
            ("--require-revocation", self.require_revocation),
            ("--pin", !self.pin.is_empty()),
            ("--pkcs12", self.pkcs12.is_some()),
            ("--key-pass-file", self.key_pass_file.is_some()),
        ];
        if let Some((flag, _)) = unsupported.iter().find(|(_, given)| *given) {
            let message = format!("{flag} needs --tls-backend openssl");
            return Err(Report::new(Exit::Usage, "platform-tls", message)
                .explain("the operating system's TLS cannot be told this")
                .remedy("leave out one of the two"));
        }
        let named = towards == Towards::Named;
        let identity = self.cert.clone().zip(self.key.clone());
        PlatformTls::new(&PlatformOptions {
            trust_files: self.ca.clone(),
            identity: identity.filter(|_| named),
            server_name: self.server_name()?.filter(|_| named),
            dangerous_accept_any_certificate: self.insecure,
        })
    }

    fn server_name(&self) -> Result<Option<ServerName>, Report> {
        let parse = |name: &String| ServerName::parse(name).map_err(|error| error.report());
        self.server_name.as_ref().map(parse).transpose()
    }
}
