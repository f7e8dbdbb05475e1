//! `sealpair put`: upload files, folders or standard input.
//!
//! ```text
//! put ─┬─ one file ──── transfer ─┬─ resumable (where the server announces it) ── record
//!      └─ many ── tree ─┘         └─ plain PUT
//! ```

mod condition;
mod fields;
mod plain;
mod problem;
mod record;
mod resumable;
mod source;
mod transfer;
mod tree;

use super::Voice;
use super::exchange::{HttpArgs, Requester};
use super::many::{Account, JOBS, Outcome, Task, jobs};
use super::progress::Progress;
use super::transfer_args::TransferArgs;
use super::url_arg::UrlArg;
use clap::Args;
use condition::Condition;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use source::Source;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use transfer::Transfers;
use tree::{Choice, Plan};
use url::Url;

/// Everything but the unreserved characters of RFC 3986 section 2.3.
const NOT_UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Upload files, folders, or `-` for standard input
#[derive(Debug, Args)]
#[command(override_usage = "sealpair put [OPTIONS] <FILE>... <URL>")]
pub(crate) struct PutArgs {
    /// What to upload, and last the URL to upload to; with a slash at its end, files keep their names
    // One list: with two, clap takes the FILE before a flag for the URL.
    #[arg(required = true, value_name = "FILE")]
    files_and_url: Vec<PathBuf>,

    /// Upload folders with what is in them; of `FOLDER/` only what is in it
    #[arg(short, long)]
    recursive: bool,

    /// Upload names that begin with a dot, too, when folders are uploaded
    #[arg(long, requires = "recursive")]
    hidden: bool,

    /// How many files are uploaded at the same time
    #[arg(short, long, value_name = "N", default_value_t = JOBS, value_parser = jobs())]
    jobs: u16,

    /// Do not replace a file that is there already
    #[arg(long, conflicts_with = "if_match")]
    no_clobber: bool,

    /// Replace only the version with this ETag
    #[arg(long, value_name = "ETAG", value_parser = condition::entity_tag)]
    if_match: Option<String>,

    /// Do not go on with an interrupted upload of the same file: start again
    #[arg(long)]
    no_resume: bool,

    #[command(flatten)]
    transfer: TransferArgs,

    #[command(flatten)]
    http: HttpArgs,
}

pub(crate) fn run(args: &PutArgs, voice: Voice) -> Result<Exit, Report> {
    let (files, url) = files_and_url(&args.files_and_url)?;
    let transfers = Transfers {
        requester: Requester::new(&args.http, voice)?,
        pace: args.transfer.pace(),
        records: OnceLock::new(),
        condition: Condition::of(args.no_clobber, args.if_match.as_deref()),
        resume: !args.no_resume,
        voice,
    };
    match files {
        [file] if !args.recursive => put_one(args, &transfers, file, &url),
        _ => put_many(args, &transfers, files, &url),
    }
}

fn files_and_url(arguments: &[PathBuf]) -> Result<(&[PathBuf], Url), Report> {
    match arguments {
        [files @ .., url] if !files.is_empty() => {
            Ok((files, UrlArg::from(url.to_string_lossy().into_owned()).parse()?))
        }
        _ => Err(Report::new(Exit::Usage, "usage", "put needs a FILE and a URL")
            .remedy("name both: sealpair put FILE URL")),
    }
}

fn put_one(
    args: &PutArgs,
    transfers: &Transfers<'_>,
    file: &Path,
    url: &Url,
) -> Result<Exit, Report> {
    let url = place(url, file)?;
    let source = Source::open(file)?;
    let voice = transfers.voice;
    let progress = Progress::new(source.length(), voice, false);
    let done = transfers.put(
        source,
        &url,
        &progress,
        args.transfer.retries(voice).until(transfers.requester.deadline()),
    );
    drop(progress);
    let done = done?;
    done.summary.say(voice, done.bytes, Some(file))?;
    Ok(Exit::Done)
}

fn put_many(
    args: &PutArgs,
    transfers: &Transfers<'_>,
    files: &[PathBuf],
    url: &Url,
) -> Result<Exit, Report> {
    if args.if_match.is_some() {
        return Err(Report::new(Exit::Usage, "usage", "--if-match is about one file")
            .remedy("upload that file alone"));
    }
    let voice = transfers.voice;
    let mut account = Account::new(voice);
    let choice = Choice { recursive: args.recursive, hidden: args.hidden };
    let plan = Plan::of(files, url, choice, &mut account)?;
    for folder in &plan.folders {
        let retries = args.transfer.retries(voice).until(transfers.requester.deadline());
        let refused = transfers.make_folder(folder, retries)?;
        // Where files are to go there, they will tell.
        let is_below = |task: &Task| task.url.as_str().starts_with(folder.as_str());
        if let Some(report) = refused
            && !plan.files.iter().any(is_below)
        {
            account.note(folder.path(), Some(folder), Outcome::Failed(report));
        }
    }
    account.work(&plan.files, args.jobs.into(), |task, progress| {
        let source = Source::open(&task.file)?;
        let retries = args.transfer.retries(voice).until(transfers.requester.deadline());
        let done = transfers.put(source, &task.url, progress, retries)?;
        Ok(Outcome::Done(done.bytes))
    });
    account.finish("put", url)
}

/// The URL of the upload: one that ends with a slash gets the file's name.
fn place(url: &Url, file: &Path) -> Result<Url, Report> {
    if !url.path().ends_with('/') {
        return Ok(url.clone());
    }
    let Some(name) = file.file_name().filter(|_| file != Path::new("-")) else {
        return Err(Report::new(Exit::Usage, "no-name", "the upload has no name")
            .explain(format!("{url} ends with a slash, and there is no file name to add"))
            .remedy("end the URL with the name that the file is to have"));
    };
    Ok(below(url, name, ""))
}

/// The URL of a name in a folder, which ends with a slash; `end` is added to it.
fn below(folder: &Url, name: &OsStr, end: &str) -> Url {
    // As bytes: the URL standard of browsers drops line feeds and tabs from a name.
    let mut url = folder.clone();
    let path = format!("{}{}{end}", url.path(), percent_encode(name.as_bytes(), NOT_UNRESERVED));
    url.set_path(&path);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_slash_gets_the_name() {
        let url = |text: &str| Url::parse(text).unwrap();
        let place = |to: &str, file: &str| place(&url(to), Path::new(file)).map(String::from);
        assert_eq!(place("https://h/a/", "/tmp/b c?").unwrap(), "https://h/a/b%20c%3F");
        assert_eq!(place("https://h/", "b").unwrap(), "https://h/b");
        assert_eq!(place("https://h/", "a\nb\t[%2f]").unwrap(), "https://h/a%0Ab%09%5B%252f%5D");
        assert_eq!(place("https://h/x", "b").unwrap(), "https://h/x");
        assert_eq!(place("https://h/", "-").unwrap_err().exit(), Exit::Usage);
        assert_eq!(place("https://h/", "..").unwrap_err().exit(), Exit::Usage);
    }
}
