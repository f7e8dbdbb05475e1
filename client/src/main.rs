//! `sealpair`: parse, run, exit with the code that says how it went.

mod cli;

use clap::Parser;
use sealpair_common::exit::Exit;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    // clap prints help and version to standard output and exits 0, and usage errors with 2.
    let cli = cli::Cli::parse();
    match cli::run(&cli) {
        Ok(exit) => exit.into(),
        Err(report) => {
            // Nobody is left to tell when these fail.
            if cli.json {
                let _ = writeln!(std::io::stdout(), "{}", report.to_json());
            }
            let _ = writeln!(std::io::stderr(), "sealpair: {report}");
            match report.exit() {
                Exit::Done => Exit::Unexpected.into(),
                exit => exit.into(),
            }
        }
    }
}
