//! `sealpair delete`: remove a file from the server.

use super::Voice;
use super::exchange::{Exchange, HttpArgs};
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
    let exchange = Exchange::new(&args.http, voice, Method::DELETE, args.url.parse()?);
    let answer = exchange.fetch()?.success()?;
    Summary::of(&answer).say(voice, 0, None)?;
    Ok(Exit::Done)
}
