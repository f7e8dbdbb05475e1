//! `sealpair put`: upload a file or standard input.

use super::Voice;
use super::exchange::{HttpArgs, Requester};
use super::progress::{Progress, Watched};
use super::summary::Summary;
use super::url_arg::UrlArg;
use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use ureq::SendBody;
use ureq::http::header::{CONTENT_LENGTH, EXPECT};
use ureq::http::{HeaderName, HeaderValue, Method};
use url::Url;

/// From this length on the server is asked before the content is sent (curl's threshold): a refusal
/// then costs one round trip instead of the upload.
const ASK_FIRST: u64 = 1 << 20;

/// Everything but the unreserved characters of RFC 3986 section 2.3.
const NOT_UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Upload: FILE, or `-` for standard input
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// What to upload
    file: PathBuf,

    /// Where to; with a slash at the end, the file keeps its name
    url: UrlArg,

    #[command(flatten)]
    http: HttpArgs,
}

pub(crate) fn run(args: &PutArgs, voice: Voice) -> Result<Exit, Report> {
    let url = place(&args.url.parse()?, &args.file)?;
    let mut source = Source::open(&args.file)?;
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    if let Some(length) = source.length {
        headers.push((CONTENT_LENGTH, length.into()));
    }
    if source.length.is_none_or(|length| length >= ASK_FIRST) {
        headers.push((EXPECT, HeaderValue::from_static("100-continue")));
    }
    let requester = Requester::new(&args.http, voice)?;
    let progress = Progress::new(source.length, voice, false);
    let mut bytes = 0;
    let mut watched = Watched { reader: &mut source, progress: &progress, bytes: &mut bytes };
    let body = SendBody::from_reader(&mut watched);
    let answer = requester.submit(&Method::PUT, &url, &headers, body);
    drop(progress);
    // What went wrong here comes back as an error of the transfer; the cause counts.
    if let Some(error) = source.failed {
        return Err(unreadable(&args.file, &error));
    }
    let answer = answer?.success()?;
    Summary::of(&answer).say(voice, bytes, Some(&args.file))?;
    Ok(Exit::Done)
}

/// What is uploaded.
struct Source {
    reader: Box<dyn Read>,
    /// The length of a regular file. No more is sent, and no less.
    length: Option<u64>,
    left: u64,
    failed: Option<io::Error>,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Report> {
        if path == Path::new("-") {
            let reader = Box::new(io::stdin());
            return Ok(Self { reader, length: None, left: 0, failed: None });
        }
        let open = || -> io::Result<Self> {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
            }
            let length = metadata.is_file().then_some(metadata.len());
            let left = length.unwrap_or_default();
            Ok(Self { reader: Box::new(file), length, left, failed: None })
        };
        open().map_err(|error| unreadable(path, &error))
    }

    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.length.is_none() {
            return self.reader.read(buf);
        }
        let room = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.reader.read(&mut buf[..room])?;
        if count == 0 && room > 0 {
            let text = "it became shorter while it was sent";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_read(buf).map_err(|error| {
            let copy = io::Error::other(error.to_string());
            self.failed = Some(error);
            copy
        })
    }
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
    // As bytes: the URL standard of browsers drops line feeds and tabs from a name.
    let mut url = url.clone();
    let path = format!("{}{}", url.path(), percent_encode(name.as_bytes(), NOT_UNRESERVED));
    url.set_path(&path);
    Ok(url)
}

fn unreadable(path: &Path, error: &io::Error) -> Report {
    let name = path.display();
    Report::new(Exit::LocalIo, "input", format!("cannot read {name}"))
        .explain(error.to_string())
        .remedy("check the file to be uploaded")
        .detail("file", name.to_string())
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
