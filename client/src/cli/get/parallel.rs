//! `--parallel N`: ranges of one version over several connections into one file.
//!
//! ```text
//! first request (bytes=0-4 MiB) ─┬─ 206, strong validator ─▶ N connections take ranges from the plan,
//!                                │                           this answer among them
//!                                └─ anything else          ─▶ one connection, as without --parallel
//! ```
//!
//! Every range is asked for under `If-Range`, and its answer judged against the version of the first.
//! This thread meanwhile hashes what is there from the beginning without a gap: it reads back from the
//! page cache what the others have just written, which costs a copy but no pass after the last byte.

use super::super::digest_fields::{CONTENT_DIGEST, digest_in, want_digest};
use super::super::exchange::Answer;
use super::super::output::{Output, failed};
use super::super::progress::Progress;
use super::super::retry::{Retries, is_transient};
use super::super::summary::Summary;
use super::download::{Download, Downloader, Ended, hash_failed, unexpected};
use super::integrity::{add_from, compare};
use super::names::name_for;
use super::plan::{FIRST, Plan, Range, Ranges};
use super::receive::in_pieces;
use super::version::{Verdict, Version, judge_answer};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use sealpair_common::digest::Hasher;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use ureq::http::header::{IF_RANGE, RANGE};
use ureq::http::{HeaderValue, Method, StatusCode};
use url::Url;

/// How much must have come before the state says so: what a kill may cost.
const CHECKPOINT: u64 = 64 << 20;

/// After this time the state is written for less, too: what comes slowly is dear.
const CHECKPOINT_TIME: Duration = Duration::from_secs(2);

/// What the connections share.
struct Crew<'a> {
    downloader: &'a Downloader<'a>,
    url: &'a Url,
    version: &'a Version,
    condition: &'a HeaderValue,
    file: &'a File,
    /// Of the file, for messages.
    name: &'a Path,
    progress: &'a Progress,
    /// Fresh ones, for each range.
    retries: &'a Retries,
    board: Mutex<Board>,
    changed: Condvar,
}

struct Board {
    plan: Plan,
    there: Ranges,
    working: usize,
    bytes: u64,
    retried: u32,
    fault: Option<Fault>,
}

/// Why the ranges cannot be completed.
enum Fault {
    /// The server has another version now, or does not send what it should.
    Changed(&'static str),
    Failed(Report),
}

impl From<Report> for Fault {
    fn from(failure: Report) -> Self {
        Self::Failed(failure)
    }
}

/// A connection that has an answer already.
struct Begun {
    answer: Answer,
    range: Range,
}

impl Download<'_> {
    /// Tries it with several connections. `None`: it does not go; one connection has to do.
    pub(super) fn attempt_in_parallel(
        &mut self,
        retries: &mut Retries,
    ) -> Result<Option<Ended>, Report> {
        if let Output::Partial(partial) = &self.output
            && let Some((version, there)) = partial.ranges()
            && let (Some(length), Some(condition)) = (version.length, version.validator())
        {
            let (version, there) = (version.clone(), Ranges::new(&there, length));
            self.refuse_too_much(length)?;
            self.resumed_from = there.sum();
            return self.fetch_ranges(&version, &condition, there, None, retries);
        }
        if self.have > 0 {
            return self.one_will_do("the length of what is to be continued is not known");
        }
        let range = HeaderValue::from_str(&format!("bytes=0-{}", FIRST - 1));
        let range = range.map_err(|_| unexpected())?;
        let answer = self.ask(&[(RANGE, range)])?;
        if answer.status() == StatusCode::OK {
            self.one_will_do("the server sends no parts")?;
            return self.take_whole(answer, retries);
        }
        let headers = answer.response.headers();
        let mut version = Version::in_answer(&answer, None);
        let verdict = judge_answer(&answer, 0, Some(FIRST - 1), &version);
        let (Verdict::Part { end, length: Some(length) }, Some(condition)) =
            (verdict, version.validator())
        else {
            return self.one_will_do("the server does not send parts of a version that it names");
        };
        version.length = Some(length);
        self.refuse_too_much(length)?;
        self.output.name_it(name_for(self.url, headers))?;
        self.note_headers(headers);
        let begun = Begun { answer, range: (0, end) };
        self.fetch_ranges(&version, &condition, Ranges::default(), Some(begun), retries)
    }

    fn one_will_do(&mut self, why: &str) -> Result<Option<Ended>, Report> {
        self.in_parallel = false;
        if self.shared.voice.verbose {
            self.say(&format!("{why}: over one connection"));
        }
        Ok(None)
    }

    fn fetch_ranges(
        &mut self,
        version: &Version,
        condition: &HeaderValue,
        there: Ranges,
        begun: Option<Begun>,
        retries: &mut Retries,
    ) -> Result<Option<Ended>, Report> {
        let length = version.length.unwrap_or_default();
        self.version = Some(version.clone());
        self.hasher = None;
        if let Output::Partial(partial) = &mut self.output {
            // Before the file is as long as the whole: its length says nothing any more.
            partial.note_ranges(version, there.as_slice())?;
        }
        let Some(file) = self.output.file() else {
            return self.one_will_do("what is written cannot be written in any order");
        };
        let name = self.output.name().to_owned();
        let file = file.try_clone().map_err(|error| failed(&name, &error))?;
        reserve(&file, length).map_err(|error| failed(&name, &error))?;
        let mut summary = begun.as_ref().map(|begun| Summary::of(&begun.answer));
        self.progress.begin(Some(length), there.sum());
        // Small files get no connections that would find nothing to do.
        let connections = self.shared.wishes.parallel.min((length / FIRST + 1) as usize);
        let mut noted = there.clone();
        if let Some(begun) = &begun {
            // It is being fetched.
            noted.add(begun.range);
        }
        let plan = Plan::new(length, &noted, connections as u64);
        let board = Board { plan, there, working: 0, bytes: 0, retried: 0, fault: None };
        let crew = Crew {
            downloader: self.shared,
            url: self.url,
            version,
            condition,
            file: &file,
            name: &name,
            progress: self.progress,
            retries,
            board: Mutex::new(board),
            changed: Condvar::new(),
        };
        let mut hasher = self.wanted_hasher()?;
        let ended = thread::scope(|scope| {
            let mut begun = begun;
            for _ in 0..connections {
                let begun = begun.take();
                crew.board().working += 1;
                let work = || crew.work(begun);
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, work) {
                    // Those that are there do it alone, if there are any.
                    let mut board = crew.board();
                    board.working -= 1;
                    if board.working == 0 {
                        board.fault.get_or_insert_with(|| Fault::Failed(no_thread(&error)));
                    }
                    break;
                }
            }
            self.follow(&crew, hasher.as_mut())
        });
        let board = crew.board.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.bytes += board.bytes;
        retries.add_used(board.retried);
        ended?;
        match board.fault {
            None => {}
            Some(Fault::Changed(why)) => {
                self.have = board.there.sum().max(1);
                self.begin_again(why)?;
                // What changes under ranges is fetched in one piece.
                return self.one_will_do(why);
            }
            Some(Fault::Failed(failure)) => {
                if let Output::Partial(partial) = &mut self.output {
                    partial.note_ranges(version, board.there.as_slice())?;
                }
                // Each range had its attempts.
                return Err(failure.detail("final", true));
            }
        }
        if board.there.prefix() != length {
            return Err(Report::new(Exit::Unexpected, "unexpected", "a range is missing"));
        }
        self.have = length;
        self.hasher = hasher;
        if summary.is_none() {
            // Everything was there: only the answer is missing to speak of, and to say that it is still
            // what the server has.
            let answer = self.shared.requester.fetch(&Method::HEAD, self.url, &[])?.success()?;
            let now = Version::in_answer(&answer, answer.length());
            if (&now.etag, &now.place) != (&version.etag, &version.place) {
                let why = "the server has another version now";
                self.begin_again(why)?;
                return self.one_will_do(why);
            }
            summary = Some(Summary::of(&answer));
        }
        Ok(summary.map(|mut summary| {
            summary.add("connections", connections);
            Ended { summary, not_modified: false }
        }))
    }

    /// Until all are done: hashes what there is, and takes note of it from time to time.
    fn follow(&mut self, crew: &Crew<'_>, mut hasher: Option<&mut Hasher>) -> Result<(), Report> {
        let mut noted = crew.board().there.sum();
        let mut result = Ok(());
        let mut since = Instant::now();
        loop {
            let hashed = hasher.as_ref().map(|hasher| hasher.length());
            let nothing_new = |board: &mut Board| {
                board.working > 0
                    && hashed.is_none_or(|hashed| board.there.prefix() <= hashed)
                    && board.there.sum().saturating_sub(noted) < CHECKPOINT
            };
            let left = CHECKPOINT_TIME.saturating_sub(since.elapsed());
            let board = crew.changed.wait_timeout_while(crew.board(), left, nothing_new);
            let (board, _) = board.unwrap_or_else(PoisonError::into_inner);
            let there = board.there.clone();
            let working = board.working;
            drop(board);
            let due = match since.elapsed() >= CHECKPOINT_TIME {
                true => {
                    since = Instant::now();
                    1
                }
                false => CHECKPOINT,
            };
            if result.is_ok() {
                result = self.keep_up(crew, &there, (&mut noted, due), hasher.as_deref_mut());
            }
            if let Err(failure) = &result {
                // The file is the same for all: nobody needs to go on.
                crew.give_up(Fault::Failed(failure.clone()));
                hasher = None;
                noted = u64::MAX;
            }
            let caught_up = hasher.as_ref().is_none_or(|hasher| hasher.length() == there.prefix());
            if working == 0 && caught_up {
                return result;
            }
        }
    }

    fn keep_up(
        &mut self,
        crew: &Crew<'_>,
        there: &Ranges,
        (noted, due): (&mut u64, u64),
        hasher: Option<&mut Hasher>,
    ) -> Result<(), Report> {
        if there.sum().saturating_sub(*noted) >= due {
            *noted = there.sum();
            if let Output::Partial(partial) = &mut self.output {
                partial.note_ranges(crew.version, there.as_slice())?;
            }
        }
        match hasher {
            None => Ok(()),
            Some(hasher) => add_from(hasher, crew.file, there.prefix()).map_err(hash_failed),
        }
    }
}

impl Crew<'_> {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, until there is nothing left to do.
    fn work(&self, mut begun: Option<Begun>) {
        let mut served = begun.is_some();
        while let Some(range) = self.next(begun.as_ref()) {
            let fetched = self.fetch(range, begun.take());
            match fetched {
                Ok(()) => served = true,
                Err(fault) if !served && self.leave_to_others(range, &fault) => break,
                Err(fault) => self.give_up(fault),
            }
        }
        self.changed.notify_all();
    }

    /// What to fetch next. With nothing left, the connection counts no more: from the same moment on,
    /// so that nobody leaves a range to somebody who goes.
    fn next(&self, begun: Option<&Begun>) -> Option<Range> {
        let mut board = self.board();
        let range = match begun {
            Some(begun) => Some(begun.range),
            None => board.plan.claim(),
        };
        let range = range.filter(|_| board.fault.is_none());
        if range.is_none() {
            board.working -= 1;
        }
        range
    }

    /// A connection that has never got anything may be one too many for the server: the others do
    /// without it, if there are any. Says whether it is gone.
    fn leave_to_others(&self, range: Range, fault: &Fault) -> bool {
        let mut board = self.board();
        let passes = matches!(fault, Fault::Failed(failure) if is_transient(failure));
        let leaves = passes && board.working > 1 && board.fault.is_none();
        if leaves {
            board.plan.give_back(range);
            board.working -= 1;
        }
        leaves
    }

    fn is_over(&self) -> bool {
        self.board().fault.is_some()
    }

    fn give_up(&self, fault: Fault) {
        self.board().fault.get_or_insert(fault);
        self.changed.notify_all();
    }

    /// Fetches one range, in as many attempts as there may be.
    fn fetch(&self, (first, end): Range, mut begun: Option<Begun>) -> Result<(), Fault> {
        let mut retries = self.retries.clone();
        let mut at = first;
        while at < end {
            let attempt = match begun.take() {
                Some(begun) => self.pour(begun.answer, &mut at, begun.range.1),
                None => self.ask(&mut at, end),
            };
            match attempt {
                Ok(()) => retries.went_forward(),
                Err(Fault::Failed(failure)) if !self.is_over() => {
                    let before = retries.used();
                    let again = retries.again(failure);
                    self.board().retried += retries.used() - before;
                    again?;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    fn ask(&self, at: &mut u64, end: u64) -> Result<(), Fault> {
        let range = HeaderValue::from_str(&format!("bytes={at}-{}", end - 1));
        let range = range.map_err(|_| Fault::Changed("it cannot be asked for a range"))?;
        let fields = [want_digest(), (RANGE, range), (IF_RANGE, self.condition.clone())];
        let answer = self.downloader.requester.fetch(&Method::GET, self.url, &fields)?;
        match judge_answer(&answer, *at, Some(end - 1), self.version) {
            Verdict::Part { end, .. } => self.pour(answer, at, end),
            Verdict::Whole => Err(Fault::Changed("the server has another version now")),
            Verdict::Unusable(why) => Err(Fault::Changed(why)),
            Verdict::Beyond { .. } => Err(Fault::Changed("the file has another length now")),
            Verdict::Other => {
                answer.success()?;
                Err(Fault::Changed("the server answers strangely"))
            }
        }
    }

    /// Writes the content of an answer from `at` on.
    fn pour(&self, answer: Answer, at: &mut u64, end: u64) -> Result<(), Fault> {
        let expected = digest_in(answer.response.headers(), &CONTENT_DIGEST).ok().flatten();
        let mut content = match expected {
            None => None,
            Some(expected) => Some((Hasher::new().map_err(hash_failed)?, expected)),
        };
        let mut body = answer.response.into_body();
        let mut reader = self.downloader.pace.read(body.as_reader());
        let mut too_much = false;
        let began = *at;
        in_pieces(&mut reader, false, &mut |piece| {
            let after = at.saturating_add(piece.len() as u64);
            too_much = after > end;
            if too_much || self.is_over() {
                return Err(Report::new(Exit::Truncated, "truncated", "the content was cut short"));
            }
            let written = self.file.write_all_at(piece, *at);
            written.map_err(|error| failed(self.name, &error))?;
            if let Some((hasher, _)) = &mut content {
                hasher.update(piece).map_err(hash_failed)?;
            }
            self.progress.advance(piece.len());
            let mut board = self.board();
            board.there.add((*at, after));
            board.bytes += piece.len() as u64;
            drop(board);
            *at = after;
            Ok(())
        })
        .map_err(|failure| match too_much {
            true => Fault::Changed("it sent more than it announced"),
            false => Fault::Failed(failure),
        })?;
        self.changed.notify_all();
        if let Some((hasher, expected)) = content {
            let found = hasher.finish().map_err(hash_failed)?;
            compare(found, expected, "the server's Content-Digest")?;
        }
        match *at < end || *at == began {
            true => Err(Fault::Failed(
                Report::new(Exit::Truncated, "truncated", "the content was cut short")
                    .explain("it ended before the announced length"),
            )),
            false => Ok(()),
        }
    }
}

/// Room for all of it: a full disk is found out now, and the file does not get into pieces.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Ok(()) => Ok(()),
        // Not every file system can.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(length),
        Err(error) => Err(error.into()),
    }
}

fn no_thread(error: &io::Error) -> Report {
    Report::new(Exit::Unexpected, "thread", "cannot start a thread").explain(error.to_string())
}
