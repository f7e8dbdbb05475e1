//! SIGINT, SIGTERM and SIGHUP: what was not finished is removed, and the exit code says which it was.

use sealpair_common::escape::Escaped;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use signal_hook::consts::signal::SIGXFSZ;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the downloads under way have on the disk.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// Temporary files, to be removed.
    pub(crate) temporary: BTreeSet<PathBuf>,
    /// Partial downloads that can be resumed, by the names that they will have.
    pub(crate) resumable: BTreeSet<PathBuf>,
}

static UNFINISHED: Mutex<Unfinished> =
    Mutex::new(Unfinished { temporary: BTreeSet::new(), resumable: BTreeSet::new() });

/// What to do away with if the program is interrupted. While this is held an interruption waits: hold
/// it while a file is made and noted, and while it gets its name.
pub(crate) fn unfinished() -> MutexGuard<'static, Unfinished> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the signals on a thread of its own.
pub(crate) fn watch() -> Result<(), Report> {
    let failed = |error: io::Error| {
        Report::new(Exit::Unexpected, "signals", "cannot catch signals").explain(error.to_string())
    };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    // A download beyond RLIMIT_FSIZE is an error with an exit code of its own.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(failed)?;
    let wait = move || {
        let Some(signal) = signals.forever().next() else {
            return;
        };
        // Held until the end of the process.
        let unfinished = unfinished();
        for path in &unfinished.temporary {
            let _ = std::fs::remove_file(path);
        }
        if !unfinished.resumable.is_empty() && io::stderr().is_terminal() {
            // A bar may stand in this line.
            let _ = writeln!(io::stderr());
        }
        for path in &unfinished.resumable {
            let name = path.display().to_string();
            let name = Escaped(&name);
            let remedy = "the same command goes on from there";
            let _ = writeln!(io::stderr(), "sealpair: what came of {name} was kept; {remedy}");
        }
        let exit = if signal == SIGINT { Exit::Interrupted } else { Exit::Terminated };
        std::process::exit(exit.code().into());
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(64 << 10)
        .spawn(wait)
        .map(drop)
        .map_err(failed)
}
