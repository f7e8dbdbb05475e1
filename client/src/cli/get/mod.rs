//! `sealpair get`: content into a file or standard output.
//!
//! ```text
//! download   attempts at one file ─▶ version (may this answer's bytes be put to those?)
//!                                 ─▶ integrity (digests)
//!                                 ─▶ the output: a temporary file, standard output, or
//! part       what an earlier run has left
//! parallel   the same over several connections, by the plan
//! tree       a folder, from the server's listings
//! ```

mod download;
mod integrity;
mod listing;
mod names;
mod parallel;
mod part;
mod plan;
mod present;
mod receive;
mod tree;
mod version;

pub(crate) use download::{Downloaded, Downloader, Wishes};
pub(crate) use part::PartialFile;
pub(crate) use receive::{need_file_for_json, receive};

use super::Voice;
use super::exchange::{HttpArgs, Requester};
use super::many::{JOBS, jobs};
use super::output::{Output, exists, no_name};
use super::progress::Progress;
use super::summary::Summary;
use super::transfer_args::TransferArgs;
use super::url_arg::UrlArg;
use clap::Args;
use names::name_in;
use present::present;
use sealpair_common::digest::Sha256;
use sealpair_common::escape::Escaped;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::units::parse_size;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
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

    /// Write to a new file in the current folder, named by the server (Content-Disposition) or as the
    /// end of the URL
    #[arg(short = 'O', long, conflicts_with = "output")]
    remote_name: bool,

    /// Keep what came of an interrupted download in FILE.part, and go on from there the next time
    #[arg(short = 'c', long = "continue")]
    resume: bool,

    /// Fetch one file over up to so many connections, where the server sends parts
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=16))]
    parallel: u8,

    /// SHA-256 that the content must have, in hexadecimal digits
    #[arg(long, value_name = "HEX")]
    sha256: Option<Sha256>,

    /// Refuse content that is larger, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,

    /// Leave the file's time as it is, instead of taking the server's Last-Modified
    #[arg(long)]
    no_mtime: bool,

    /// Download the folder that the URL names, with all that is in it, to the folder that -o names
    /// [default: one with its name]; with --continue, without what is there with the same size and time
    #[arg(short, long, conflicts_with_all = ["remote_name", "sha256"])]
    recursive: bool,

    /// Download names that begin with a dot, too
    #[arg(long, requires = "recursive")]
    hidden: bool,

    /// How many files of a folder are downloaded at the same time
    #[arg(short, long, value_name = "N", default_value_t = JOBS, value_parser = jobs())]
    jobs: u16,

    #[command(flatten)]
    transfer: TransferArgs,

    #[command(flatten)]
    http: HttpArgs,
}

pub(crate) fn run(args: &GetArgs, voice: Voice) -> Result<Exit, Report> {
    if args.recursive {
        return tree::run(args, voice);
    }
    if !args.remote_name {
        need_file_for_json(args.output.as_deref(), voice)?;
    }
    let url = args.url.parse()?;
    let requester = Requester::new(&args.http, voice)?;
    let wishes = Wishes {
        max_size: args.max_size,
        sha256: args.sha256,
        keep_time: !args.no_mtime,
        parallel: args.parallel.into(),
    };
    // Before anything is asked for: what cannot be kept need not be sent.
    let output = match args.resume {
        false if args.remote_name => Output::unnamed()?,
        false => Output::open(args.output.as_deref())?,
        true => {
            refuse_given(&requester, "--continue", &[RANGE, IF_RANGE])?;
            let named = match args.remote_name {
                // What the server would call it is known only when it is too late.
                true => Some(name_in(&url).map(PathBuf::from).ok_or_else(no_name)?),
                false => args.output.clone(),
            };
            if let Some(path) = &named
                && let Some(summary) = present(&requester, &url, path, &wishes)
            {
                return already_there(summary, path, voice);
            }
            match named
                .as_deref()
                .filter(|path| args.remote_name && path.symlink_metadata().is_ok())
            {
                Some(path) => return Err(exists(path)),
                None => Output::resume(named.as_deref(), &url, args.parallel > 1)?,
            }
        }
    };
    let pace = args.transfer.pace();
    let downloader = Downloader { requester: &requester, pace: &pace, wishes: &wishes, voice };
    let standard = output.is_standard();
    let progress = Progress::new(None, voice, standard && io::stdout().is_terminal());
    let retries = args.transfer.retries(voice);
    let done = downloader.download(&url, output, retries, &progress)?;
    drop(progress);
    let Downloaded { summary, bytes, name } = done;
    // Beside content on standard output, a line is only said when it is asked for.
    let quiet = voice.quiet || (standard && !voice.verbose);
    summary.say(Voice { quiet, ..voice }, bytes, name.as_deref())?;
    Ok(Exit::Done)
}

fn already_there(summary: Summary, path: &Path, voice: Voice) -> Result<Exit, Report> {
    if !voice.quiet {
        let name = path.display().to_string();
        // A courtesy: nobody may be reading.
        let _ = writeln!(io::stderr(), "sealpair: {} is complete already", Escaped(&name));
    }
    summary.say(Voice { quiet: true, ..voice }, 0, Some(path))?;
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
