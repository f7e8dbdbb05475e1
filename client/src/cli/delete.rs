//! `sealpair delete`: remove a file from the server.

use super::Voice;
use super::exchange::{HttpArgs, Requester};
use super::summary::Summary;
use super::url_arg::UrlArg;
use clap::Args;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use ureq::http::Method;

/// Delete a file on the server
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// What to delete
    url: UrlArg,

    #[command(flatten)]
    http: HttpArgs,
}

pub(crate) fn run(args: &DeleteArgs, voice: Voice) -> Result<Exit, Report> {
    let url = args.url.parse()?;
    let requester = Requester::new(&args.http, voice)?;
    let answer = requester.fetch(&Method::DELETE, &url, &[])?.success()?;
    Summary::of(&answer).say(voice, 0, None)?;
    Ok(Exit::Done)
}
