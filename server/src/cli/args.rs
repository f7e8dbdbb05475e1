//! The flags of `sealpair-server serve`.

use clap::{Args, ValueEnum};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::tls::Policy;
use sealpair_common::units::{parse_duration, parse_rate, parse_size};
use sealpair_server::Limits;
use sealpair_server::handler::UploadLimits;
use std::path::PathBuf;
use std::time::Duration;

/// Serve a directory over HTTPS; a folder's index.html stands for its listing.
///
/// TIME is a number with ms, s, m, h or d (500ms, 30s, 5m, 2h), a number alone counts seconds; SIZE is a
/// whole number of bytes, or of kB, MB, GB, KiB (k), MiB (M), GiB (G), such as 10MiB; RATE is a SIZE for
/// each second (1KiB/s).
///
/// What is logged on standard error is set by RUST_LOG (error, warn, info, debug; default info).
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The directory to serve
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,

    /// Address and port to listen on; port 0 is any free port (repeatable) [default: 127.0.0.1:8443,
    /// unless sockets are handed over: LISTEN_FDS]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: Vec<String>,

    /// Let a second server listen on the same port before this one stops (SO_REUSEPORT)
    #[arg(long)]
    pub(super) reuse_port: bool,

    /// Certificate chain in PEM, the server's own first; with --key, repeatable (RSA and ECDSA)
    #[arg(long, value_name = "FILE")]
    pub(super) cert: Vec<PathBuf>,

    /// Private key in PEM of the --cert at the same position
    #[arg(long, value_name = "FILE")]
    pub(super) key: Vec<PathBuf>,

    /// PKCS#12 file with key and certificates, instead of --cert and --key (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(super) pkcs12: Vec<PathBuf>,

    /// File whose first line is the passphrase of the keys
    #[arg(long, value_name = "FILE")]
    pub(super) key_pass_file: Option<PathBuf>,

    /// Whether clients must present a certificate
    #[arg(long, value_enum, default_value_t = ClientAuthArg::None)]
    pub(super) client_auth: ClientAuthArg,

    /// Authority that issues the clients' certificates, in PEM (repeatable) [default: the server's
    /// own authority, if it made one]
    #[arg(long, value_name = "FILE")]
    pub(super) client_ca: Vec<PathBuf>,

    /// Revocation list of the clients' authority, in PEM (repeatable); read once at the start, so restart
    /// after each new list
    #[arg(long, value_name = "FILE")]
    pub(super) crl: Vec<PathBuf>,

    /// Key of session tickets, 80 random bytes: the first seals, all open; several servers may share it
    /// (repeatable) [default: keys of its own, replaced every two hours]
    #[arg(long, value_name = "FILE")]
    pub(super) ticket_key: Vec<PathBuf>,

    /// Refuse client certificates that are not proved to be unrevoked: needs --crl, resumes no session
    #[arg(long)]
    pub(super) require_revocation: bool,

    /// OCSP response to staple to handshakes with the certificate that it is for, in DER; read again
    /// when it is replaced (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(super) ocsp_response: Vec<PathBuf>,

    /// TLS policy: intermediate, modern, fips, cnsa1 or cnsa2
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(super) policy: Policy,

    /// Refuse to start unless a FIPS module does all cryptography, and is proved to
    #[arg(long)]
    pub(super) fips: bool,

    /// Allow uploads (PUT, and those that can be gone on with), DELETE and MKCOL
    #[arg(long)]
    pub(super) writable: bool,

    /// Serve and list names that begin with a dot
    #[arg(long)]
    pub(super) dotfiles: bool,

    /// Longest content of a PUT
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = parse_size)]
    pub(super) max_body: u64,

    /// Uploads begun and not completed, at a time; beyond it 503
    #[arg(long, value_name = "N", default_value_t = UploadLimits::default().max_uploads,
          value_parser = parse_count)]
    pub(super) max_uploads: usize,

    /// What uploads begun and not completed may take together; beyond it 507 [default: as much as there is room for]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) max_upload_space: Option<u64>,

    /// Time that an upload begun and not completed is kept after its last byte
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_timeout)]
    pub(super) upload_expiry: Duration,

    /// Connections served at a time; more wait
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_connections,
          value_parser = parse_count)]
    pub(super) max_connections: usize,

    /// Time for a TLS handshake
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_timeout)]
    pub(super) handshake_timeout: Duration,

    /// Time for a whole request head
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_timeout)]
    pub(super) head_timeout: Duration,

    /// Time without a byte: between requests, and while content moves
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = parse_timeout)]
    pub(super) idle_timeout: Duration,

    /// Least average rate of content, after ten seconds; 0 for none
    #[arg(long, value_name = "RATE", default_value = "1KiB/s", value_parser = parse_rate)]
    pub(super) min_rate: u64,

    /// Time that open connections get when the server is told to stop
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(super) drain_timeout: Duration,

    /// File to write when every listener accepts: one JSON document
    #[arg(long, value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,

    /// Health and metrics over plain HTTP, on a loopback address or a Unix socket: /healthz, /readyz,
    /// /metrics
    #[arg(long, value_name = "ADDR:PORT|unix:PATH")]
    pub(super) management: Option<String>,

    /// File to append a line to for each request; - is standard output; opened anew on SIGUSR1
    #[arg(long, value_name = "FILE")]
    pub(super) access_log: Option<PathBuf>,

    /// Format of the access log [default: combined]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(super) access_log_format: Option<FormatArg>,

    /// Where the server keeps its own authority and certificate, and digests of files
    /// [default: $XDG_STATE_HOME/sealpair, else ~/.local/state/sealpair]
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ClientAuthArg {
    /// Clients are not asked
    None,
    /// Clients are asked; one that has a certificate must have a good one
    Optional,
    /// Clients without a certificate are refused
    Required,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FormatArg {
    /// Apache's, with the TLS protocol and suite behind it
    Combined,
    /// One object in a line
    Json,
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("not a number from 1 to 1000000".to_owned()),
    }
}

/// A deadline that has passed before anything began would refuse everybody.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("no client is that fast: give a time above 0".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

impl ServeArgs {
    /// Refuses flags that contradict each other or have no effect, before anything is looked at.
    pub(super) fn check(&self) -> Result<(), Report> {
        let refused = |kind, message: &str| Report::new(Exit::Usage, kind, message);
        if self.cert.len() != self.key.len() {
            return Err(refused("pairs", "--cert and --key come in pairs")
                .explain(format!("{} --cert, {} --key", self.cert.len(), self.key.len()))
                .remedy("give one --key for each --cert, in the same order"));
        }
        let asked = self.client_auth != ClientAuthArg::None;
        let told = !self.client_ca.is_empty() || !self.crl.is_empty();
        if told && !asked {
            let message = "--client-ca and --crl have no effect without --client-auth";
            return Err(refused("client-auth", message)
                .remedy("add --client-auth required or --client-auth optional"));
        }
        if self.require_revocation && (!asked || self.crl.is_empty()) {
            let message = "--require-revocation needs --client-auth and --crl";
            return Err(refused("require-revocation", message)
                .explain(
                    "only a revocation list can prove that a client's certificate is not revoked",
                )
                .remedy("give the list of the clients' authority: --crl FILE"));
        }
        if asked && self.client_ca.is_empty() && self.has_identity() {
            let message = "--client-auth needs --client-ca where --cert or --pkcs12 is given";
            return Err(refused("client-auth", message)
                .explain("without it, only certificates of the server's own authority are accepted")
                .remedy(
                    "name the authority that issues the clients' certificates: --client-ca FILE",
                ));
        }
        if self.access_log_format.is_some() && self.access_log.is_none() {
            let message = "--access-log-format has no effect without --access-log";
            return Err(refused("access-log", message)
                .remedy("add --access-log FILE, or - for standard output"));
        }
        Ok(())
    }

    /// Whether a certificate was given.
    pub(super) fn has_identity(&self) -> bool {
        !(self.cert.is_empty() && self.pkcs12.is_empty())
    }

    /// The bounds of uploads.
    pub(super) fn upload_limits(&self) -> UploadLimits {
        UploadLimits {
            max_size: self.max_body,
            max_uploads: self.max_uploads,
            max_space: self.max_upload_space.unwrap_or(u64::MAX),
            expiry: self.upload_expiry,
        }
    }

    /// The engine's bounds.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            max_connections: self.max_connections,
            handshake: self.handshake_timeout,
            head: self.head_timeout,
            idle: self.idle_timeout,
            min_rate: self.min_rate,
            drain: self.drain_timeout,
            max_body: self.max_body,
            ..Limits::default()
        }
    }
}
