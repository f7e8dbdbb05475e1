//! `sealpair head`: the response head of a file, without its content.

use super::Voice;
use super::exchange::{HttpArgs, Requester};
use super::summary::Summary;
use super::url_arg::UrlArg;
use clap::Args;
use sealpair_common::escape::Escaped;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::fmt::Write as _;
use std::io::{self, Write};
use ureq::http::Method;

/// Show the response head, without the content
#[derive(Debug, Args)]
pub(crate) struct HeadArgs {
    /// What to ask about
    url: UrlArg,

    #[command(flatten)]
    http: HttpArgs,
}

pub(crate) fn run(args: &HeadArgs, voice: Voice) -> Result<Exit, Report> {
    let url = args.url.parse()?;
    let requester = Requester::new(&args.http, voice)?;
    let answer = requester.fetch(&Method::HEAD, &url, &[])?.success()?;
    if !voice.json {
        let mut text = format!("{}\n", answer.status());
        for (name, value) in answer.response.headers() {
            let value = String::from_utf8_lossy(value.as_bytes());
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}: {}", Escaped(&value));
        }
        io::stdout().lock().write_all(text.as_bytes()).map_err(|error| {
            Report::new(Exit::LocalIo, "output", "cannot write to standard output")
                .explain(error.to_string())
        })?;
    }
    let quiet = voice.quiet || !voice.verbose;
    Summary::of(&answer).say(Voice { quiet, ..voice }, 0, None)?;
    Ok(Exit::Done)
}
