//! `sealpair-server serve`: from flags to a running server.
//!
//! Everything that can be wrong is found before the first socket listens, and the ready file is written
//! after the last one does.

use super::ready::{Module, Ready, ReadyFile, SCHEMA};
use super::state::{self, State};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use sealpair_common::escape::Escaped;
use sealpair_common::exit::Exit;
use sealpair_common::pki::CertificateFacts;
use sealpair_common::report::Report;
use sealpair_common::tls::{
    ClientAuth, Identity, Policy, ServerTls, Trust, fips, openssl_version, passphrase_file,
};
use sealpair_common::units::{parse_duration, parse_rate, parse_size};
use sealpair_server::handler::FileHandler;
use sealpair_server::{Limits, Server, ServerHandle, listen};
use signal_hook::consts::signal::SIGXFSZ;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Serve a directory over HTTPS; a folder's index.html stands for its listing.
///
/// What is logged on standard error is set by RUST_LOG (error, warn, info, debug; default info).
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The directory to serve
    #[arg(default_value = ".")]
    dir: PathBuf,

    /// Address and port to listen on; port 0 is any free port (repeatable)
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    listen: Vec<String>,

    /// Certificate chain in PEM, the server's own first; with --key, repeatable (RSA and ECDSA)
    #[arg(long, value_name = "FILE")]
    cert: Vec<PathBuf>,

    /// Private key in PEM of the --cert at the same position
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,

    /// PKCS#12 file with key and certificates, instead of --cert and --key (repeatable)
    #[arg(long, value_name = "FILE")]
    pkcs12: Vec<PathBuf>,

    /// File whose first line is the passphrase of the keys
    #[arg(long, value_name = "FILE")]
    key_pass_file: Option<PathBuf>,

    /// Whether clients must present a certificate
    #[arg(long, value_enum, default_value_t = ClientAuthArg::None)]
    client_auth: ClientAuthArg,

    /// Authority that issues the clients' certificates, in PEM (repeatable) [default: the server's
    /// own authority, if it made one]
    #[arg(long, value_name = "FILE")]
    client_ca: Vec<PathBuf>,

    /// Revocation list of the clients' authority, in PEM (repeatable)
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,

    /// TLS policy: intermediate or modern (fips, cnsa1 and cnsa2 are not in this version)
    #[arg(long, value_name = "NAME", default_value_t)]
    policy: Policy,

    /// Refuse to start without a proved FIPS provider (not in this version: it always refuses)
    #[arg(long)]
    fips: bool,

    /// Allow PUT and DELETE
    #[arg(long)]
    writable: bool,

    /// Serve and list names that begin with a dot
    #[arg(long)]
    dotfiles: bool,

    /// Longest content of a PUT
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = parse_size)]
    max_body: u64,

    /// Connections served at a time; more wait
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_connections,
          value_parser = parse_count)]
    max_connections: usize,

    /// Time for a TLS handshake
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    handshake_timeout: Duration,

    /// Time for a whole request head
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_duration)]
    head_timeout: Duration,

    /// Time without a byte: between requests, and while content moves
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = parse_duration)]
    idle_timeout: Duration,

    /// Least average rate of content, after ten seconds; 0 for none
    #[arg(long, value_name = "RATE", default_value = "1KiB/s", value_parser = parse_rate)]
    min_rate: u64,

    /// Time that open connections get when the server is told to stop
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    drain_timeout: Duration,

    /// File to write when every listener accepts: one JSON document
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// Where the server's own authority and certificate are kept
    /// [default: $XDG_STATE_HOME/sealpair, else ~/.local/state/sealpair]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ClientAuthArg {
    /// Clients are not asked
    None,
    /// Clients are asked; one that has a certificate must have a good one
    Optional,
    /// Clients without a certificate are refused
    Required,
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("not a number from 1 to 1000000".to_owned()),
    }
}

/// Serves until a signal says stop.
pub(super) fn run(args: &ServeArgs) -> Result<Exit, Report> {
    if let Some(path) = &args.ready_file {
        ReadyFile::remove_stale(path);
    }
    if args.fips {
        fips::require()?;
    }
    let handler = FileHandler::open(&args.dir)
        .map_err(|error| {
            Report::new(Exit::Configuration, "root", format!("cannot serve {}", args.dir.display()))
                .explain(error.to_string())
                .remedy("name a directory that exists and that this user may read")
        })?
        .writable(args.writable)
        .dotfiles(args.dotfiles);
    let wanted = args.addresses()?;
    let (tls, own) = args.tls(&wanted)?;
    // Before anything listens: a signal from now on is a request to stop.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| unexpected("cannot catch signals", &error))?;
    // An upload beyond RLIMIT_FSIZE is that upload's error, not the end of the process.
    signal_hook::flag::register(SIGXFSZ, Arc::default())
        .map_err(|error| unexpected("cannot catch signals", &error))?;
    let listeners = bind(&wanted)?;
    let server = Server::from_listeners(listeners, tls).limits(args.limits());
    let bound = server.local_addrs().map_err(|error| unexpected("cannot tell the port", &error))?;

    let urls: Vec<String> = bound.iter().map(url).collect();
    let ready = Ready {
        schema: SCHEMA,
        pid: std::process::id(),
        url: urls.first().map(String::as_str).unwrap_or_default(),
        listen: bound.iter().map(ToString::to_string).collect(),
        ca: own.as_ref().map(|state| state.ca.as_path()),
        policy: args.policy.name(),
        openssl: openssl_version(),
        fips: None::<Module<'_>>,
    };
    let ready_file =
        args.ready_file.as_deref().map(|path| ReadyFile::write(path, &ready)).transpose()?;
    let ready_file = ready_file.map(Arc::new);
    args.announce(&urls, own.as_ref());
    stop_on_signal(signals, server.handle(), ready_file.clone())?;
    let served = server.serve(handler);
    if let Some(file) = ready_file {
        file.remove();
    }
    let cut_off = served.map_err(|error| unexpected("cannot serve", &error))?;
    if cut_off == 0 {
        return Ok(Exit::Done);
    }
    log::warn!("cut off at the drain deadline: {cut_off} open connections");
    Ok(Exit::Unexpected)
}

impl ServeArgs {
    fn limits(&self) -> Limits {
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

    /// For every `--listen`, the addresses that it stands for.
    fn addresses(&self) -> Result<Vec<Vec<SocketAddr>>, Report> {
        self.listen
            .iter()
            .map(|text| {
                let found = text.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
                match found {
                    Ok(found) if !found.is_empty() => Ok(found),
                    Ok(_) => Err("no address".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
                .map_err(|cause| {
                    Report::new(Exit::Usage, "listen", format!("cannot listen on {text}"))
                        .explain(cause)
                        .remedy("give ADDR:PORT, such as 127.0.0.1:8443 or [::]:443")
                })
            })
            .collect()
    }

    /// The TLS configuration, and the state directory if the server's own authority is used.
    fn tls(&self, wanted: &[Vec<SocketAddr>]) -> Result<(ServerTls, Option<State>), Report> {
        if self.cert.len() != self.key.len() {
            return Err(Report::new(Exit::Usage, "pairs", "--cert and --key come in pairs")
                .explain(format!("{} --cert, {} --key", self.cert.len(), self.key.len()))
                .remedy("give one --key for each --cert, in the same order"));
        }
        let mut builder = ServerTls::builder().policy(self.policy);
        if let Some(path) = &self.key_pass_file {
            builder = builder.passphrase(passphrase_file(path).map_err(|e| e.report())?);
        }
        for (cert, key) in self.cert.iter().zip(&self.key) {
            builder = builder.identity_pem(cert, key);
        }
        for file in &self.pkcs12 {
            builder = builder.identity_pkcs12(file);
        }
        let mut own = if self.cert.is_empty() && self.pkcs12.is_empty() {
            // The policy first: a refusal must not leave an authority behind.
            self.policy.parameters().map_err(|error| error.report())?;
            let dir = self.state_dir.clone().map_or_else(state::default_dir, Ok)?;
            // What is told to others must mean the same in their directory.
            let dir = std::path::absolute(&dir).unwrap_or(dir);
            let state = State::prepare(&dir, &wanted.concat())?;
            builder = builder.identity_pem(&state.cert, &state.key);
            Some(state)
        } else {
            None
        };
        let auth = match self.client_auth {
            ClientAuthArg::None => ClientAuth::None,
            ClientAuthArg::Optional => ClientAuth::Optional,
            ClientAuthArg::Required => ClientAuth::Required,
        };
        if auth == ClientAuth::None && !(self.client_ca.is_empty() && self.crl.is_empty()) {
            return Err(Report::new(
                Exit::Usage,
                "client-auth",
                "--client-ca and --crl have no effect without --client-auth",
            )
            .remedy("add --client-auth required or --client-auth optional"));
        }
        let mut trust = Trust::system();
        let own_ca = own.as_ref().filter(|_| self.client_ca.is_empty()).map(|state| &state.ca);
        for ca in self.client_ca.iter().chain(own_ca) {
            trust = trust.file(ca);
        }
        for crl in &self.crl {
            trust = trust.crl_file(crl);
        }
        let tls = builder.client_auth(auth, trust).build().map_err(|error| error.report())?;
        for identity in tls.identities() {
            self.warn_about(identity);
        }
        if let Some(state) = &mut own {
            state.unlock();
        }
        Ok((tls, own))
    }

    /// Says what clients will object to, or the policy's source advises against. It is no reason not to
    /// start: a test may want just that.
    fn warn_about(&self, identity: &Identity) {
        let file = identity.file().display();
        let facts = CertificateFacts::of(identity.certificate());
        let now = Timestamp::now();
        let (Some(starts), Some(ends)) = (facts.starts(), facts.ends()) else {
            return log::warn!("the validity of {file} cannot be read");
        };
        if ends <= now {
            log::warn!("{file} expired on {ends}: clients will refuse it");
        } else if starts > now {
            log::warn!("{file} is valid from {starts} on: clients will refuse it until then");
        }
        let Ok(parameters) = self.policy.parameters() else { return };
        let days = ends.duration_since(starts).as_hours() / 24;
        if days > i64::from(parameters.lifetime_days) {
            log::warn!(
                "{file} is valid for {days} days; {} advises {} at most",
                parameters.source,
                parameters.lifetime_days,
            );
        }
    }

    /// One line for each listener on standard output, for people.
    fn announce(&self, urls: &[String], own: Option<&State>) {
        let mut out = io::stdout().lock();
        for url in urls {
            let mut command = String::from("sealpair get");
            if let Some(state) = own {
                command.push_str(&format!(" --ca {}", quoted(&state.ca)));
            }
            if matches!(self.client_auth, ClientAuthArg::Required) {
                command.push_str(" --cert CERT.pem --key CERT.key");
            }
            let dir = self.dir.display().to_string();
            // Nobody may be reading; that is no reason not to serve.
            let _ = writeln!(out, "serving {} on {url}/ (try: {command} {url}/)", Escaped(&dir));
        }
        let _ = out.flush();
        if let Some(state) = own
            && matches!(self.client_auth, ClientAuthArg::Required)
            && self.client_ca.is_empty()
        {
            log::info!(
                "to make a client certificate: sealpair cert issue --client NAME --ca {} --ca-key {}",
                quoted(&state.ca),
                quoted(&state.ca_key),
            );
        }
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn bind(wanted: &[Vec<SocketAddr>]) -> Result<Vec<TcpListener>, Report> {
    wanted
        .iter()
        .map(|addresses| {
            let mut last = None;
            for address in addresses {
                match listen(*address) {
                    Ok(listener) => return Ok(listener),
                    Err(error) => last = Some((address, error)),
                }
            }
            // `addresses` is never empty, so there is a last error.
            let Some((address, error)) = last else {
                return Err(Report::new(Exit::Configuration, "listen", "no address to listen on"));
            };
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => "stop the program that uses it, or use another port",
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need CAP_NET_BIND_SERVICE; use another port"
                }
                _ => "use an address of this machine",
            };
            let message = format!("cannot listen on {address}");
            Err(Report::new(Exit::Configuration, "listen", message)
                .explain(error.to_string())
                .remedy(remedy))
        })
        .collect()
}

/// The URL to reach a listener by, under a name that its certificate has. `localhost` is 127.0.0.1
/// everywhere; whether it is also ::1 depends on the machine.
fn url(address: &SocketAddr) -> String {
    let port = address.port();
    match address.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST | Ipv4Addr::UNSPECIFIED) => {
            format!("https://localhost:{port}")
        }
        IpAddr::V4(ip) => format!("https://{ip}:{port}"),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("https://[::1]:{port}"),
        IpAddr::V6(ip) => format!("https://[{ip}]:{port}"),
    }
}

/// The first SIGTERM or SIGINT lets open requests finish; the second ends the process at once. SIGHUP
/// changes nothing: whoever sends it out of habit must not stop the service.
///
/// Nothing here waits for anybody: a log that nobody reads must not keep the server from stopping.
fn stop_on_signal(
    mut signals: Signals,
    handle: ServerHandle,
    ready_file: Option<Arc<ReadyFile>>,
) -> Result<(), Report> {
    let watch = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                say("SIGHUP: nothing is reloaded in this version; restart for new certificates");
            } else if !stopping {
                stopping = true;
                // Who looks for a server that is ready must not find this one.
                if let Some(file) = &ready_file {
                    file.remove();
                }
                handle.stop();
                say("stopping; once more to stop at once");
            } else {
                if let Some(file) = &ready_file {
                    file.remove();
                }
                let interrupted = signal == SIGINT;
                let exit = if interrupted { Exit::Interrupted } else { Exit::Terminated };
                std::process::exit(exit.code().into());
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)
        .map(drop)
        .map_err(|error| unexpected("cannot start a thread", &error))
}

/// Logs from a thread of its own.
fn say(text: &'static str) {
    let _ = std::thread::Builder::new().spawn(move || log::info!("{text}"));
}

fn unexpected(message: &str, error: &io::Error) -> Report {
    Report::new(Exit::Unexpected, "unexpected", message).explain(error.to_string())
}
