//! `sealpair-server`: parse, run, exit with the code that says how it went.

use clap::Parser;
use sealpair_common::exit::Exit;
use std::io::Write;
use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_target(false)
        .init();
    // clap prints help and version to standard output and exits 0, and usage errors with 2.
    match cli::run(cli::Cli::parse()) {
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
