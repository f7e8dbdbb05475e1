//! The command line of `sealpair`: one file per subcommand.
//!
//! ```text
//! get, put, head, delete, request ─▶ exchange (redirects, status) ─▶ the library's agent
//!                                 ─▶ output (where content goes), summary (what is said about it)
//! get -r, put of many             ─▶ many (side by side, one account of all)
//! inspect                         ─▶ the library's `inspect`
//! ```

mod cert;
mod delete;
mod digest_fields;
mod exchange;
mod fips;
mod get;
mod head;
mod inspect;
mod interrupt;
mod many;
mod output;
mod pace;
mod progress;
mod put;
mod request;
mod retry;
mod summary;
mod tls_args;
mod transfer_args;
mod url_arg;

use clap::{Parser, Subcommand};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;

/// HTTPS transfers and certificates, with OpenSSL.
#[derive(Debug, Parser)]
#[command(name = "sealpair",
    version = sealpair_common::tls::version_line(env!("CARGO_PKG_VERSION")), about, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Print one JSON document on standard output, and everything else on standard error
    #[arg(long, global = true, help_heading = "General options")]
    pub(crate) json: bool,

    /// Say nothing about what went well
    #[arg(short, long, global = true, help_heading = "General options")]
    quiet: bool,

    /// Show the connection's facts and the response head on standard error
    #[arg(short, long, global = true, help_heading = "General options")]
    verbose: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Get(get::GetArgs),
    Put(put::PutArgs),
    Head(head::HeadArgs),
    Delete(delete::DeleteArgs),
    Request(request::RequestArgs),
    Inspect(inspect::InspectArgs),
    /// Make a local authority, issue certificates, look at them
    #[command(subcommand)]
    Cert(cert::CertCommand),
    Fips(fips::FipsArgs),
}

/// How much is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli) -> Result<Exit, Report> {
    let voice = Voice { json: cli.json, quiet: cli.quiet, verbose: cli.verbose };
    interrupt::watch()?;
    match &cli.command {
        Command::Get(args) => get::run(args, voice),
        Command::Put(args) => put::run(args, voice),
        Command::Head(args) => head::run(args, voice),
        Command::Delete(args) => delete::run(args, voice),
        Command::Request(args) => request::run(args, voice),
        Command::Fips(args) => fips::run(args, voice),
        Command::Inspect(args) => inspect::run(args, voice),
        Command::Cert(command) => cert::run(command, cli.json, cli.quiet),
    }
}
