//! `sealpair request`: any method, with content from the command line or a file.

use super::Voice;
use super::exchange::{HttpArgs, Requester};
use super::get::{need_file_for_json, receive};
use super::output::Output;
use super::url_arg::UrlArg;
use clap::Args;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use ureq::SendBody;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ureq::http::{HeaderValue, Method};

/// Make a request with any method
#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// Such as POST, OPTIONS or PROPFIND
    method: Method,

    /// Whom to ask
    url: UrlArg,

    /// Content: text, `@FILE`, or `@-` for standard input
    #[arg(short, long, value_name = "DATA")]
    data: Option<String>,

    /// Where to write the answer's content [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    http: HttpArgs,
}

pub(crate) fn run(args: &RequestArgs, voice: Voice) -> Result<Exit, Report> {
    if args.method != Method::HEAD {
        need_file_for_json(args.output.as_deref(), voice)?;
    }
    let url = args.url.parse()?;
    let output = Output::open(args.output.as_deref())?;
    let requester = Requester::new(&args.http, voice)?;
    let answer = match &args.data {
        None => requester.fetch(&args.method, &url, &[])?,
        Some(data) => {
            let (mut reader, length) = content(data)?;
            let media_type = match length {
                Some(_) if !data.starts_with('@') => "text/plain; charset=utf-8",
                _ => "application/octet-stream",
            };
            let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static(media_type))];
            if let Some(length) = length {
                headers.push((CONTENT_LENGTH, length.into()));
            }
            requester.submit(&args.method, &url, &headers, SendBody::from_reader(&mut reader))?
        }
    };
    receive(answer.success()?, output, voice)
}

/// The content that `--data` stands for, and its length where that is known.
fn content(data: &str) -> Result<(Box<dyn Read>, Option<u64>), Report> {
    let Some(path) = data.strip_prefix('@') else {
        let bytes = data.as_bytes().to_vec();
        let length = bytes.len() as u64;
        return Ok((Box::new(Cursor::new(bytes)), Some(length)));
    };
    if path == "-" {
        return Ok((Box::new(io::stdin()), None));
    }
    let open = || -> io::Result<(Box<dyn Read>, Option<u64>)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        // A file that grows is sent as long as it was; one that shrinks breaks the request off.
        let length = metadata.is_file().then_some(metadata.len());
        let reader: Box<dyn Read> = match length {
            Some(length) => Box::new(file.take(length)),
            None => Box::new(file),
        };
        Ok((reader, length))
    };
    open().map_err(|error| {
        let path = Path::new(path).display();
        Report::new(Exit::LocalIo, "input", format!("cannot read {path}"))
            .explain(error.to_string())
            .remedy("check the file that --data names")
    })
}
