//! `sealpair-server`: parse, run, exit with the code that says how it went.

use clap::Parser;
use sealpair_common::exit::Exit;
use signal_hook::consts::{SIGHUP, SIGUSR1};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

mod cli;

fn main() -> ExitCode {
    // Until the server is ready for them, these ask for nothing; and whoever rotates logs must not end one
    // that is about to start. It fails only for signals that there are not.
    for signal in [SIGHUP, SIGUSR1] {
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
    cli::logging::begin();
    // clap prints help and version to standard output and exits 0, and usage errors with 2.
    let outcome = cli::run(cli::Cli::parse());
    cli::logging::finish();
    match outcome {
        Ok(exit) => exit.into(),
        Err(report) => {
            // Nobody is left to tell when this fails.
            let _ = writeln!(std::io::stderr(), "sealpair-server: {report}");
            match report.exit() {
                Exit::Done => Exit::Unexpected.into(),
                exit => exit.into(),
            }
        }
    }
}
