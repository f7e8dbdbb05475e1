//! `sealpair`: parse, run, exit with the code that says how it went.

mod cli;

use clap::Parser;
use clap::error::ErrorKind;
use sealpair_common::escape::json_line;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error"))
        // At the levels beyond, ureq logs whole requests: credentials, and places of uploads.
        .filter_module("ureq", log::LevelFilter::Info)
        .init();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    match cli::run(&cli) {
        Ok(exit) => exit.into(),
        Err(report) => {
            if cli.json {
                print_json(&report);
            }
            // Nobody is left to tell when this fails.
            let _ = writeln!(std::io::stderr(), "sealpair: {report}");
            match report.exit() {
                Exit::Done => Exit::Unexpected.into(),
                exit => exit.into(),
            }
        }
    }
}

/// Help and version are no errors: standard output and 0. The rest is 2, with a document for a script
/// that asked for one.
fn misunderstood(error: &clap::Error) -> ExitCode {
    let helped = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !helped && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        print_json(&Report::new(Exit::Usage, "usage", message).remedy("see --help"));
    }
    let _ = error.print();
    if helped { Exit::Done.into() } else { Exit::Usage.into() }
}

fn print_json(report: &Report) {
    let _ = writeln!(std::io::stdout(), "{}", json_line(&report.to_json()));
}
