//! The command line of `sealpair-server`.

mod args;
mod descriptors;
pub(crate) mod logging;
mod operate;
mod ready;
mod serve;
mod sockets;
mod state;

use clap::{Parser, Subcommand};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;

/// Serves a directory over HTTPS, with OpenSSL.
#[derive(Debug, Parser)]
#[command(name = "sealpair-server",
    version = sealpair_common::tls::version_line(env!("CARGO_PKG_VERSION")), about, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(args::ServeArgs),
}

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<Exit, Report> {
    match cli.command {
        Command::Serve(args) => serve::run(&args),
    }
}
