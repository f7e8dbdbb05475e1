//! SIGINT, SIGTERM and SIGHUP: what was not finished is removed, and the exit code says which it was.

use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use signal_hook::consts::signal::SIGXFSZ;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The temporary file of the download under way.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// The file to remove if the program is interrupted. While this is held an interruption waits: hold it
/// while a file is made and noted, and while it gets its name.
pub(crate) fn unfinished() -> MutexGuard<'static, Option<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the signals on a thread of its own.
pub(crate) fn watch() -> Result<(), Report> {
    let failed = |error: std::io::Error| {
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
        if let Some(path) = &*unfinished {
            let _ = std::fs::remove_file(path);
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
