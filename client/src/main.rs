//! The `sealpair` program.

mod cli;

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

/// HTTPS client and toolbox on OpenSSL.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Print one JSON document on standard output, and the human text on standard error
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Local certificate authority, issuing and inspection
    #[command(subcommand)]
    Cert(cli::cert::CertCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Cert(command) => cli::cert::run(command, cli.json),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(report) => {
            // Nobody is left to tell when these fail.
            if cli.json {
                let _ = writeln!(std::io::stdout(), "{}", report.to_json());
            }
            let _ = writeln!(std::io::stderr(), "sealpair: {report}");
            report.exit().into()
        }
    }
}
