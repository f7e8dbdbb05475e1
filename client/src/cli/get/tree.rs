//! `get -r`: a folder of the server with all that is in it.
//!
//! What there is comes from the server's listings (`sealpair.listing/1`), and so do the names: a server
//! may lie. A name is used only if it is one name and nothing else, and nothing is written through what
//! is already there, be it a link, a device or a folder: so nothing is written outside of the folder that
//! the user named. How deep and how many is bounded.
//!
//! ```text
//! listing ─▶ entries (each name checked) ─▶ local folders (made, never through links) ─▶ downloads
//! ```

use super::super::Voice;
use super::super::exchange::{Requester, body_error};
use super::super::many::{Account, Outcome, Task};
use super::super::output::Output;
use super::super::progress::Progress;
use super::super::retry::Retries;
use super::listing::{Entry, Listing, MOST, checked};
use super::part::{PART, state_path};
use super::{Downloader, GetArgs, Wishes};
use sealpair_common::escape::escaped;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use ureq::http::header::{ACCEPT, CONTENT_TYPE};
use ureq::http::{HeaderValue, Method};
use url::Url;

const SCHEMA: &str = "sealpair.listing/1";
/// Of all listings together; one of 100,000 files has about 20 MB.
const LONGEST_LISTING: u64 = 256 << 20;
/// Folders in folders. Links at the server may lead in circles.
const DEEPEST: usize = 64;

/// Downloads the folder that the URL names.
pub(super) fn run(args: &GetArgs, voice: Voice) -> Result<Exit, Report> {
    let url = args.url.parse()?;
    let usage = |message: &str| Report::new(Exit::Usage, "usage", message);
    if !url.path().ends_with('/') || url.query().is_some() {
        return Err(usage("--recursive needs the URL of a folder")
            .explain(format!("{url} does not end with a slash"))
            .remedy("end the URL with a slash"));
    }
    let to =
        match &args.output {
            Some(to) => to.clone(),
            None => PathBuf::from(OsStr::from_bytes(&own_name(&url).ok_or_else(|| {
                usage("there is no name for the folder").remedy("name one with -o")
            })?)),
        };
    let requester = Requester::new(&args.http, voice)?;
    let mut account = Account::new(voice);
    let mut walk = Walk {
        requester: &requester,
        retries: &|| args.transfer.retries(voice).until(requester.deadline()),
        hidden: args.hidden,
        account: &mut account,
        tasks: Vec::new(),
        seen: 0,
        room: Cell::new(LONGEST_LISTING),
    };
    walk.folder(&url, &to, 0)?;
    let tasks = walk.tasks;

    let wishes = Wishes {
        max_size: args.max_size,
        sha256: None,
        keep_time: !args.no_mtime,
        parallel: args.parallel.into(),
    };
    let pace = args.transfer.pace();
    let downloader = Downloader { requester: &requester, pace: &pace, wishes: &wishes, voice };
    let work = |task: &Task, progress: &Progress| {
        if !may_be_written(&task.file)? {
            return Err(in_the_way(&task.file));
        }
        if let Some(whole) = whole_of(&task.file)
            && kind(&state_path(&whole))?.is_some()
        {
            return Err(partial(&task.file, &whole));
        }
        if args.resume && is_same(task) {
            return Ok(Outcome::Unchanged);
        }
        let output = match args.resume {
            true => Output::resume(Some(&task.file), &task.url, args.parallel > 1)?,
            false => Output::open(Some(&task.file))?,
        };
        let retries = args.transfer.retries(voice);
        let done = downloader.download(&task.url, output, retries, progress)?;
        Ok(Outcome::Done(done.bytes))
    };
    // While a file comes, its beginning has the name `FILE.part`. One that is called so at the server
    // comes when that name is free again.
    for tasks in in_turns(tasks) {
        account.work(&tasks, args.jobs.into(), work);
    }
    account.finish("get", &url)
}

/// Files that may be downloaded at the same time, and those that have to wait for these.
fn in_turns(tasks: Vec<Task>) -> Vec<Vec<Task>> {
    let mut turns: BTreeMap<usize, Vec<Task>> = BTreeMap::new();
    for task in tasks {
        turns.entry(parts_in(&task.file)).or_default().push(task);
    }
    turns.into_values().collect()
}

/// How often a name ends in `.part`.
fn parts_in(path: &Path) -> usize {
    let mut name = path.as_os_str().as_bytes();
    let mut count = 0;
    while let Some(rest) = name.strip_suffix(PART.as_bytes()) {
        (name, count) = (rest, count + 1);
    }
    count
}

struct Walk<'w> {
    requester: &'w Requester<'w>,
    retries: &'w dyn Fn() -> Retries,
    hidden: bool,
    account: &'w mut Account,
    tasks: Vec<Task>,
    /// Entries of all listings so far.
    seen: usize,
    /// How long the listings that follow may be: all on the way to a folder are in memory at once.
    room: Cell<u64>,
}

impl Walk<'_> {
    /// Lists a folder, makes what folders it has, and notes its files. Fails only where nothing can go
    /// on: what is wrong with one entry is noted.
    fn folder(&mut self, url: &Url, to: &Path, depth: usize) -> Result<(), Report> {
        let listing = match self.listing(url) {
            Ok(listing) => listing,
            Err(report) if depth == 0 => return Err(report),
            Err(report) => {
                self.note(to, url, Outcome::Failed(report));
                return Ok(());
            }
        };
        self.seen = self.seen.saturating_add(listing.entries.len());
        if self.seen > MOST {
            return Err(hostile(url, &format!("there are more than {MOST} files and folders")));
        }
        if depth == 0 {
            // Not before it is known that there is such a folder. What the user named may be a link; what is below
            // it may not.
            fs::create_dir_all(to).map_err(|error| local(to, &error))?;
        }
        let mut names = HashSet::new();
        for entry in listing.entries {
            let folder = entry.r#type == "folder";
            let name = match checked(&entry, folder) {
                Ok(name) => name,
                Err(why) => {
                    let shown = to.join(escaped(&entry.href));
                    self.note(&shown, url, Outcome::Failed(hostile(url, why)));
                    continue;
                }
            };
            let path = to.join(OsStr::from_bytes(&name));
            let mut inner = url.clone();
            inner.set_path(&format!("{}{}", url.path(), entry.href));
            if name.starts_with(b".") && !self.hidden {
                let why = "its name begins with a dot, and --hidden is not given";
                self.note(&path, &inner, Outcome::Skipped(why));
                continue;
            }
            // The URL library has its own mind about dots and escapes.
            if inner.path() != format!("{}{}", url.path(), entry.href) || !names.insert(name) {
                let why = "a listing has a name that is no name, or the same one twice";
                self.note(&path, &inner, Outcome::Failed(hostile(url, why)));
                continue;
            }
            if !folder {
                let modified = entry.modified.and_then(|time| time.parse().ok());
                self.tasks.push(Task { file: path, url: inner, size: entry.size, modified });
            } else if depth == DEEPEST {
                let report =
                    hostile(url, "folders lie too deep in each other; perhaps in a circle");
                self.note(&path, &inner, Outcome::Failed(report));
            } else {
                match make_folder(&path) {
                    Ok(()) => self.folder(&inner, &path, depth + 1)?,
                    Err(report) => self.note(&path, &inner, Outcome::Failed(report)),
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, path: &Path, url: &Url, outcome: Outcome) {
        self.account.note(&path.display().to_string(), Some(url), outcome);
    }

    fn listing(&self, url: &Url) -> Result<Listing, Report> {
        let mut retries = (self.retries)();
        loop {
            match self.ask(url) {
                Err(report) => retries.again(report)?,
                listing => return listing,
            }
        }
    }

    fn ask(&self, url: &Url) -> Result<Listing, Report> {
        let accept = [(ACCEPT, HeaderValue::from_static("application/json"))];
        let answer = self.requester.fetch(&Method::GET, url, &accept)?.success()?;
        if answer.url != *url {
            return Err(no_listing(url, "the server points to another place"));
        }
        let media_type =
            answer.response.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let media_type = media_type.and_then(|it| it.split(';').next()).unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case("application/json") {
            return Err(no_listing(url, "it is something else than a listing in JSON"));
        }
        let mut bytes = Vec::new();
        let mut body = answer.response.into_body();
        let room = self.room.get();
        body.as_reader().take(room + 1).read_to_end(&mut bytes).map_err(body_error)?;
        let Some(room) = room.checked_sub(bytes.len() as u64) else {
            return Err(hostile(url, "the listings are too long"));
        };
        self.room.set(room);
        let listing: Listing = serde_json::from_slice(&bytes)
            .map_err(|error| no_listing(url, &format!("it cannot be read: {error}")))?;
        match listing.schema == SCHEMA {
            true => Ok(listing),
            false => Err(no_listing(url, "it is another version of listing")),
        }
    }
}

/// The name that the folder has in its URL.
fn own_name(url: &Url) -> Option<Vec<u8>> {
    let segment = url.path().strip_suffix('/')?.rsplit('/').next()?;
    let href = segment.to_owned();
    let entry = Entry { href, r#type: "file".to_owned(), size: None, modified: None };
    checked(&entry, false).ok()
}

/// What has a name here, without following it.
fn kind(path: &Path) -> Result<Option<FileType>, Report> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(local(path, &error)),
    }
}

/// Makes a folder, or takes one that is there; a link to one is none.
fn make_folder(path: &Path) -> Result<(), Report> {
    match kind(path)? {
        Some(kind) if kind.is_dir() => Ok(()),
        Some(_) => Err(in_the_way(path)),
        None => fs::create_dir(path).map_err(|error| local(path, &error)),
    }
}

/// Whether a name is free, or that of a file, in a folder that is one.
fn may_be_written(path: &Path) -> Result<bool, Report> {
    Ok(kind(path)?.is_none_or(|kind| kind.is_file()))
}

/// Whether what is there has the size and the time that the listing has: rsync's test, too.
fn is_same(task: &Task) -> bool {
    let Ok(metadata) = fs::symlink_metadata(&task.file) else {
        return false;
    };
    metadata.is_file()
        && Some(metadata.len()) == task.size
        && task.modified.is_some_and(|time| time.as_second() == metadata.mtime())
}

/// The file that a name would be of the beginning of, while that is downloaded.
fn whole_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.as_bytes();
    let (whole, end) = name.split_at_checked(name.len().checked_sub(b".part".len())?)?;
    end.eq_ignore_ascii_case(b".part").then(|| path.with_file_name(OsStr::from_bytes(whole)))
}

fn partial(path: &Path, whole: &Path) -> Report {
    let (name, whole) = (path.display().to_string(), whole.display());
    Report::new(
        Exit::LocalIo,
        "in-the-way",
        format!("{name} would be taken for another file's beginning"),
    )
    .explain(format!("it has the name of what is kept of {whole} while that is downloaded"))
    .remedy("download it alone, under another name")
    .detail("file", name)
}

fn in_the_way(path: &Path) -> Report {
    let name = path.display().to_string();
    Report::new(Exit::LocalIo, "in-the-way", format!("{name} is something else here"))
        .explain(
            "a link, or a folder where a file is to be, or the other way round; it was left alone",
        )
        .remedy("move it away, or download to another folder")
        .detail("file", name)
}

fn hostile(url: &Url, why: &str) -> Report {
    Report::new(Exit::Protocol, "listing", format!("the listing of {url} is not to be trusted"))
        .explain(why.to_owned())
        .remedy("what is refused was not written; the rest was")
        .detail("url", url.as_str())
}

fn no_listing(url: &Url, why: &str) -> Report {
    Report::new(Exit::Protocol, "no-listing", format!("{url} gives no listing"))
        .explain(why.to_owned())
        .remedy("folders are downloaded from sealpair-server, and not where an index.html stands for one")
        .detail("url", url.as_str())
}

fn local(path: &Path, error: &io::Error) -> Report {
    let name = path.display().to_string();
    Report::new(Exit::LocalIo, "output", format!("cannot write to {name}"))
        .explain(error.to_string())
        .detail("file", name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_folder_has_the_last_name_of_its_url() {
        let of = |text: &str| own_name(&Url::parse(text).unwrap());
        assert_eq!(of("https://h/a/b%20c/").unwrap(), b"b c");
        assert_eq!(of("https://h/"), None);
        assert_eq!(of("https://h/a%2f../"), None);
    }

    #[test]
    fn nothing_is_written_through_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("folder")).unwrap();
        fs::write(path("file"), "x").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("folder", path("link-to-folder")).unwrap();
        for (name, writable, folder) in [
            ("file", true, false),
            ("absent", true, true),
            ("folder", false, true),
            ("link", false, false),
            ("link-to-folder", false, false),
        ] {
            assert_eq!(may_be_written(&path(name)).unwrap(), writable, "{name}");
            assert_eq!(make_folder(&path(name)).is_ok(), folder, "{name}");
        }
    }
}
