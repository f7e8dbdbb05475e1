//! What operators have of a running server: its signals, its management listener, its access log.

use super::args::{FormatArg, ServeArgs};
use super::ready::ReadyFile;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_server::ServerHandle;
use sealpair_server::access_log::{AccessLog, Destination, Format};
use sealpair_server::management::{Address, BindError, Management};
use sealpair_server::metrics::Metrics;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Where the management listener is to be, if there is to be one. Before anything is made: a refusal must
/// not leave traces.
pub(super) fn management_address(args: &ServeArgs) -> Result<Option<Address>, Report> {
    let Some(text) = &args.management else { return Ok(None) };
    text.parse().map(Some).map_err(|why: String| {
        Report::new(Exit::Usage, "management", format!("cannot answer health checks on {text}"))
            .explain(why)
            .remedy(
                "give a loopback address, such as 127.0.0.1:9090 or [::1]:9090, or unix:PATH; a \
                 proxy can make it known to other machines",
            )
    })
}

/// Starts the management listener, if there is to be one.
pub(super) fn management(
    address: Option<&Address>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Management>>, Report> {
    let Some(address) = address else { return Ok(None) };
    let management = Management::start(address, Arc::clone(metrics)).map_err(|error| {
        let remedy = match &error {
            BindError::InUse => "stop the program that listens there, or use another address",
            BindError::NotASocket => "remove the file if nobody needs it, or use another path",
            _ => "use a path in a directory that this user may write, or a free port",
        };
        let message = format!("cannot answer health checks on {address}");
        Report::new(Exit::Configuration, "management", message)
            .explain(error.to_string())
            .remedy(remedy)
    })?;
    Ok(Some(Arc::new(management)))
}

/// Opens the access log, if there is to be one.
pub(super) fn access_log(
    args: &ServeArgs,
    metrics: &Arc<Metrics>,
) -> Result<Option<AccessLog>, Report> {
    let Some(path) = &args.access_log else { return Ok(None) };
    let destination = match path {
        path if path == Path::new("-") => Destination::Stdout,
        path => Destination::File(path.clone()),
    };
    let format = match args.access_log_format {
        None | Some(FormatArg::Combined) => Format::Combined,
        Some(FormatArg::Json) => Format::Json,
    };
    let opened = AccessLog::open(destination, format, Arc::clone(metrics));
    opened.map(Some).map_err(|error| {
        let message = format!("cannot open the access log {}", path.display());
        Report::new(Exit::LocalIo, "access-log", message)
            .explain(error.to_string())
            .remedy("name a file in a directory that this user may write (--access-log)")
    })
}

/// What a signal acts on.
#[derive(Debug)]
pub(super) struct Controls {
    pub(super) handle: ServerHandle,
    pub(super) ready_file: Option<Arc<ReadyFile>>,
    pub(super) management: Option<Arc<Management>>,
    pub(super) access_log: Option<AccessLog>,
}

/// Catches the signals from now on.
pub(super) fn catch_signals() -> Result<Signals, Report> {
    Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
        .map_err(|error| unexpected("cannot catch signals", &error))
}

/// The first SIGTERM or SIGINT lets open requests finish; the second ends the process at once. SIGUSR1
/// opens the access log anew. SIGHUP changes nothing: whoever sends it out of habit must not stop the
/// service.
///
/// Nothing here waits for anybody.
pub(super) fn obey_signals(mut signals: Signals, controls: Controls) -> Result<(), Report> {
    let Controls { handle, ready_file, management, access_log } = controls;
    let watch = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => {
                    let text =
                        "SIGHUP: nothing is reloaded in this version; restart for new certificates";
                    log::info!("{text}");
                }
                SIGUSR1 => match &access_log {
                    Some(log) => log.reopen(),
                    None => log::info!("SIGUSR1: there is no access log to open anew"),
                },
                _ if !stopping => {
                    stopping = true;
                    // Who looks for a server that is ready must not find this one.
                    if let Some(file) = &ready_file {
                        file.remove();
                    }
                    // Before the stop, which may end the process at once.
                    log::info!("stopping; once more to stop at once");
                    handle.stop();
                }
                _ => {
                    if let Some(file) = &ready_file {
                        file.remove();
                    }
                    if let Some(management) = &management {
                        management.close();
                    }
                    let interrupted = signal == SIGINT;
                    let exit = if interrupted { Exit::Interrupted } else { Exit::Terminated };
                    super::logging::finish();
                    std::process::exit(exit.code().into());
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)
        .map(drop)
        .map_err(|error| unexpected("cannot start a thread", &error))
}

pub(super) fn unexpected(message: &str, error: &io::Error) -> Report {
    Report::new(Exit::Unexpected, "unexpected", message).explain(error.to_string())
}
