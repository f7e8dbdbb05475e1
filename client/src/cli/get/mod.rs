//! `sealpair get`: content into a file or standard output.
//!
//! ```text
//! download   attempts at one file ─▶ version (may this answer's bytes be put to those?)
//!                                 ─▶ integrity (digests)
//!                                 ─▶ the output: a temporary file, standard output, or
//! part       what an earlier run has left
//! ```

mod download;
mod integrity;
mod part;
mod receive;
mod version;

pub(crate) use download::{Downloaded, Downloader, Wishes};
pub(crate) use part::PartialFile;
pub(crate) use receive::{need_file_for_json, receive};

use super::Voice;
use super::exchange::{HttpArgs, Requester};
use super::output::Output;
use super::progress::Progress;
use super::transfer_args::TransferArgs;
use super::url_arg::UrlArg;
use clap::Args;
use sealpair_common::digest::Sha256;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::units::parse_size;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use ureq::http::HeaderName;
use ureq::http::header::{IF_RANGE, RANGE};

/// Download: content to FILE or standard output
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// What to download
    url: UrlArg,

    /// Where to write; the file takes its name only when it is complete [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Keep what came of an interrupted download in FILE.part, and go on from there the next time
    #[arg(short, long = "continue")]
    resume: bool,

    /// SHA-256 that the content must have, in hexadecimal digits
    #[arg(long, value_name = "HEX")]
    sha256: Option<Sha256>,

    /// Refuse content that is larger, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,

    /// Leave the file's time as it is, instead of taking the server's Last-Modified
    #[arg(long)]
    no_mtime: bool,

    #[command(flatten)]
    transfer: TransferArgs,

    #[command(flatten)]
    http: HttpArgs,
}

pub(crate) fn run(args: &GetArgs, voice: Voice) -> Result<Exit, Report> {
    need_file_for_json(args.output.as_deref(), voice)?;
    let url = args.url.parse()?;
    // Before anything is asked: what cannot be kept need not be sent.
    let output = match args.resume {
        true => Output::resume(args.output.as_deref(), &url)?,
        false => Output::open(args.output.as_deref())?,
    };
    let requester = Requester::new(&args.http, voice)?;
    if args.resume {
        refuse_given(&requester, "--continue", &[RANGE, IF_RANGE])?;
    }
    let wishes = Wishes { max_size: args.max_size, sha256: args.sha256, keep_time: !args.no_mtime };
    let pace = args.transfer.pace();
    let downloader = Downloader { requester: &requester, pace: &pace, wishes: &wishes, voice };
    let name = output.name().to_owned();
    let standard = output.is_standard();
    let progress = Progress::new(None, voice, standard && io::stdout().is_terminal());
    let retries = args.transfer.retries(voice);
    let done = downloader.download(&url, output, retries, &progress)?;
    drop(progress);
    let Downloaded { summary, bytes } = done;
    // Beside content on standard output, a line is only said when it is asked for.
    let quiet = voice.quiet || (standard && !voice.verbose);
    summary.say(Voice { quiet, ..voice }, bytes, Some(&name))?;
    Ok(Exit::Done)
}

/// Fields that a flag needs for itself cannot be the user's.
fn refuse_given(requester: &Requester<'_>, flag: &str, names: &[HeaderName]) -> Result<(), Report> {
    match names.iter().find(|name| requester.is_given(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("{flag} does not go with a {name} of your own");
            Err(Report::new(Exit::Usage, "bad-header", message).remedy("leave out one of the two"))
        }
    }
}
