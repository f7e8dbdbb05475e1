//! `sealpair-server serve`: from flags to a running server.
//!
//! Everything that can be wrong is found before the first socket listens, and the ready file is written
//! after the last one does.

use super::args::{ClientAuthArg, ServeArgs};
use super::descriptors;
use super::operate::{self, Controls, catch_signals, obey_signals, unexpected};
use super::ready::{Ready, ReadyFile, SCHEMA};
use super::sockets::{Sockets, url};
use super::state::{self, State};
use jiff::Timestamp;
use sealpair_common::escape::Escaped;
use sealpair_common::exit::Exit;
use sealpair_common::pki::CertificateFacts;
use sealpair_common::report::Report;
use sealpair_common::tls::fips::Module;
use sealpair_common::tls::{
    ClientAuth, Identity, ServerTls, TicketKeys, Trust, openssl_version, passphrase_file,
};
use sealpair_server::Server;
use sealpair_server::handler::FileHandler;
use sealpair_server::metrics::Metrics;
use signal_hook::consts::signal::SIGXFSZ;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the end waits for the access log's last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Serves until a signal says stop.
pub(super) fn run(args: &ServeArgs) -> Result<Exit, Report> {
    // First of all: whatever is wrong, a script must not find what a dead server has left.
    if let Some(path) = &args.ready_file {
        ReadyFile::remove_stale(path);
    }
    args.check()?;
    let sockets = Sockets::find(args)?;
    let management = operate::management_address(args)?;
    // Before the handler, which reckons with the limit.
    descriptors::raise_limit(args.max_connections);
    // A refusal must not leave an authority behind, and what is made must be made by the module.
    args.policy.ensure_available(args.fips).map_err(|error| error.report())?;
    let handler = FileHandler::open(&args.dir)
        .map_err(|error| {
            Report::new(Exit::Configuration, "root", format!("cannot serve {}", args.dir.display()))
                .explain(error.to_string())
                .remedy("name a directory that exists and that this user may read")
        })?
        .writable(args.writable)
        .upload_limits(args.upload_limits())
        .dotfiles(args.dotfiles);
    let handler = match args.state_dir.clone().map_or_else(state::default_dir, Ok) {
        Ok(state) => handler.digests_in(std::path::absolute(&state).unwrap_or(state)),
        // Whoever needs one for its certificate is told below.
        Err(_) => handler,
    };
    let (tls, own) = args.tls(&sockets.addresses())?;
    let fips = tls.module().map(Module::name);
    // Before anything listens: a signal from now on is a request to stop.
    let signals = catch_signals()?;
    // An upload beyond RLIMIT_FSIZE is that upload's error, not the end of the process.
    signal_hook::flag::register(SIGXFSZ, Arc::default())
        .map_err(|error| unexpected("cannot catch signals", &error))?;
    let metrics = Arc::new(Metrics::new());
    // Not only when it serves: whoever reads the ready file may ask at once.
    metrics.set_tls(&tls);
    let access_log = operate::access_log(args, &metrics)?;
    let management = operate::management(management.as_ref(), &metrics)?;
    let listeners = sockets.bind(args.reuse_port)?;
    let mut server =
        Server::from_listeners(listeners, tls).limits(args.limits()).metrics(Arc::clone(&metrics));
    if let Some(log) = &access_log {
        server = server.access_log(log.clone());
    }
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
        fips,
        management: management.as_ref().map(ToString::to_string),
    };
    // Connections wait in the kernel from now on, so whoever reads the file finds the server ready.
    metrics.serving();
    let ready_file =
        args.ready_file.as_deref().map(|path| ReadyFile::write(path, &ready)).transpose()?;
    let ready_file = ready_file.map(Arc::new);
    args.announce(&urls, own.as_ref());
    let addresses: Vec<String> = bound.iter().map(ToString::to_string).collect();
    let by = fips.map_or_else(String::new, |it| format!(", {} {}", it.name, it.version));
    let (policy, addresses) = (args.policy, addresses.join(", "));
    log::info!("serving on {addresses}: policy {policy}, {}{by}", openssl_version());
    let controls = Controls {
        handle: server.handle(),
        ready_file: ready_file.clone(),
        management: management.clone(),
        access_log: access_log.clone(),
    };
    obey_signals(signals, controls)?;
    let handler = match args.writable {
        true => handler.sweeping().map_err(|error| unexpected("cannot start a thread", &error))?,
        false => handler,
    };
    let served = server.serve(handler);
    if let Some(file) = ready_file {
        file.remove();
    }
    if access_log.is_some_and(|log| !log.close(LAST_LINES)) {
        log::warn!("the access log is not complete: its last lines could not be written");
    }
    if let Some(management) = management {
        management.close();
    }
    let cut_off = served.map_err(|error| unexpected("cannot serve", &error))?;
    if cut_off == 0 {
        return Ok(Exit::Done);
    }
    let plural = if cut_off == 1 { "" } else { "s" };
    log::warn!("cut off at the drain deadline: {cut_off} open connection{plural}");
    Ok(Exit::Unexpected)
}

impl ServeArgs {
    /// The TLS configuration, and the state directory if the server's own authority is used.
    fn tls(&self, addresses: &[SocketAddr]) -> Result<(ServerTls, Option<State>), Report> {
        let mut builder = ServerTls::builder().policy(self.policy);
        if self.fips {
            builder = builder.fips();
        }
        if let Some(path) = &self.key_pass_file {
            builder = builder.passphrase(passphrase_file(path).map_err(|e| e.report())?);
        }
        for (cert, key) in self.cert.iter().zip(&self.key) {
            builder = builder.identity_pem(cert, key);
        }
        for file in &self.pkcs12 {
            builder = builder.identity_pkcs12(file);
        }
        if !self.ticket_key.is_empty() {
            // Before the state directory: a refusal must not leave an authority behind.
            let keys = TicketKeys::from_files(&self.ticket_key).map_err(|error| error.report())?;
            builder = builder.ticket_keys(keys);
        }
        let mut own = if !self.has_identity() {
            let dir = self.state_dir.clone().map_or_else(state::default_dir, Ok)?;
            // What is told to others must mean the same in their directory.
            let dir = std::path::absolute(&dir).unwrap_or(dir);
            let state = State::prepare(&dir, addresses, self.policy)?;
            builder = builder.identity_pem(&state.cert, &state.key);
            Some(state)
        } else {
            None
        };
        for file in &self.ocsp_response {
            builder = builder.ocsp_response(file);
        }
        if let Some(state) = &own {
            builder = builder.ocsp_issuer_file(&state.ca);
        }
        if self.require_revocation {
            builder = builder.require_revocation();
        }
        let auth = match self.client_auth {
            ClientAuthArg::None => ClientAuth::None,
            ClientAuthArg::Optional => ClientAuth::Optional,
            ClientAuthArg::Required => ClientAuth::Required,
        };
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
            Self::warn_about(identity);
        }
        if let Some(state) = &mut own {
            state.unlock();
        }
        Ok((tls, own))
    }

    /// Says what clients will object to. It is no reason not to start: a test may want just that.
    fn warn_about(identity: &Identity) {
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
    }

    /// One line for each listener on standard output, for people.
    fn announce(&self, urls: &[String], own: Option<&State>) {
        let mut out = io::stdout().lock();
        for url in urls {
            let mut command = String::from("sealpair get");
            match own {
                Some(state) => command.push_str(&format!(" --ca {}", quoted(&state.ca))),
                // Not needed where the system trusts the issuer.
                None => command.push_str(" --ca CA.pem"),
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
