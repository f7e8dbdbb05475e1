//! Many transfers in one command: side by side on shared connections, with one account of all of them.

use super::Voice;
use super::progress::{Board, Progress};
use super::summary::{print_json, rate};
use jiff::Timestamp;
use sealpair_common::escape::Escaped;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::units::Size;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use url::Url;

/// How many files are moved at a time unless something else is said.
pub(crate) const JOBS: u16 = 4;

/// How many there may be: each has a connection, and servers limit those.
pub(crate) fn jobs() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=64)
}

/// One file to be moved.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) file: PathBuf,
    pub(crate) url: Url,
    /// As far as it is known before.
    pub(crate) size: Option<u64>,
    pub(crate) modified: Option<Timestamp>,
}

/// What became of one file.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was moved; so many bytes went over the network.
    Done(u64),
    /// It is there already.
    Unchanged,
    /// It was left out on purpose.
    Skipped(&'static str),
    Failed(Report),
    /// Something failed before that would fail for all.
    NotTried,
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Unchanged => "unchanged",
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "failed",
            Self::NotTried => "not-tried",
        }
    }
}

/// The account of a command.
#[derive(Debug)]
pub(crate) struct Account {
    voice: Voice,
    began: Instant,
    entries: Vec<(String, Option<Url>, Outcome)>,
}

impl Account {
    pub(crate) fn new(voice: Voice) -> Self {
        Self { voice, began: Instant::now(), entries: Vec::new() }
    }

    /// Takes note of what was left out or failed before anything was moved, and says it.
    pub(crate) fn note(&mut self, name: &str, url: Option<&Url>, outcome: Outcome) {
        say(self.voice, name, &outcome);
        self.entries.push((name.to_owned(), url.cloned(), outcome));
    }

    /// Does all tasks, `jobs` at a time.
    pub(crate) fn work(
        &mut self,
        tasks: &[Task],
        jobs: usize,
        work: impl Fn(&Task, &Progress) -> Result<Outcome, Report> + Sync,
    ) {
        // A server may say any size.
        let total = tasks.iter().try_fold(0_u64, |sum, task| Some(sum.saturating_add(task.size?)));
        let (voice, board) = (self.voice, Board::new(total, self.voice));
        let (next, hopeless) = (AtomicUsize::new(0), AtomicBool::new(false));
        let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
        let worker = || {
            while let Some((at, task)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                tasks.get(at).map(|task| (at, task))
            } {
                let outcome = match hopeless.load(Ordering::Relaxed) {
                    true => Outcome::NotTried,
                    false => {
                        let name = task.file.display().to_string();
                        let progress = board.file(&name, task.size);
                        let result = work(task, &progress);
                        drop(progress);
                        let outcome = result.unwrap_or_else(Outcome::Failed);
                        board.suspend(|| say(voice, &name, &outcome));
                        outcome
                    }
                };
                if let Outcome::Failed(report) = &outcome
                    && is_hopeless(report.exit())
                {
                    hopeless.store(true, Ordering::Relaxed);
                }
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..jobs.min(tasks.len()) {
                scope.spawn(worker);
            }
            worker();
        });
        let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcomes.sort_by_key(|(at, _)| *at);
        self.entries.extend(outcomes.into_iter().filter_map(|(at, outcome)| {
            let task = tasks.get(at)?;
            Some((task.file.display().to_string(), Some(task.url.clone()), outcome))
        }));
    }

    /// Says the sum, and how the program ends: as the worst failure would end it alone.
    pub(crate) fn finish(self, direction: &str, url: &Url) -> Result<Exit, Report> {
        let count = |name: &str| self.entries.iter().filter(|it| it.2.name() == name).count();
        let (done, failed) = (count("done"), count("failed") + count("not-tried"));
        let bytes: u64 = self.entries.iter().map(|it| moved(&it.2)).sum();
        let elapsed = self.began.elapsed();
        if !self.voice.quiet {
            let more = ["unchanged", "skipped"].map(|name| (count(name), name));
            let more = more.into_iter().chain([(failed, "failed")]).filter(|(count, _)| *count > 0);
            let more: String = more.map(|(count, name)| format!(", {count} {name}")).collect();
            let files = if done == 1 { "1 file".to_owned() } else { format!("{done} files") };
            // A courtesy: nobody may be reading.
            let _ = writeln!(
                io::stderr(),
                "{files}, {} in {:.2} s{}{more}",
                Size(bytes),
                elapsed.as_secs_f64(),
                rate(bytes, elapsed),
            );
        }
        if self.voice.json {
            let entries: Vec<Value> = self.entries.iter().map(entry).collect();
            print_json(&json!({
                "schema": "sealpair.transfers/1",
                "direction": direction,
                "url": url.as_str(),
                "files": done,
                "bytes": bytes,
                "unchanged": count("unchanged"),
                "skipped": count("skipped"),
                "failed": failed,
                "seconds": elapsed.as_secs_f64(),
                "entries": entries,
            }))?;
        }
        let exits = self.entries.iter().filter_map(|it| match &it.2 {
            Outcome::Failed(report) => Some(report.exit()),
            _ => None,
        });
        Ok(exits.max_by_key(|exit| severity(*exit)).unwrap_or(Exit::Done))
    }
}

fn moved(outcome: &Outcome) -> u64 {
    if let Outcome::Done(bytes) = outcome { *bytes } else { 0 }
}

fn entry((name, url, outcome): &(String, Option<Url>, Outcome)) -> Value {
    json!({
        "file": name,
        "url": url.as_ref().map(Url::as_str),
        "outcome": outcome.name(),
        "bytes": moved(outcome),
        "reason": if let Outcome::Skipped(why) = outcome { Some(why) } else { None },
        "error": match outcome {
            Outcome::Failed(report) => report.to_json()["error"].take(),
            _ => Value::Null,
        },
    })
}

/// Failures and what was left out are said at once; what went well is in the sum.
fn say(voice: Voice, name: &str, outcome: &Outcome) {
    // Nobody may be reading.
    let _ = match outcome {
        Outcome::Failed(report) => writeln!(io::stderr(), "sealpair: {}: {report}", Escaped(name)),
        Outcome::Skipped(why) if !voice.quiet => {
            writeln!(io::stderr(), "sealpair: {} was skipped: {why}", Escaped(name))
        }
        _ => Ok(()),
    };
}

/// Whether the next file would fail the same way: the server, the trust or the command line is at fault.
fn is_hopeless(exit: Exit) -> bool {
    severity(exit) >= severity(Exit::Deadline)
}

/// Which of several failures counts in the end: the higher. First what fails for all files, because it has
/// stopped the command; then what says that content is not what it should be; then the rest.
fn severity(exit: Exit) -> u8 {
    match exit {
        Exit::Done => 0,
        Exit::HttpClientError => 1,
        Exit::HttpServerError => 2,
        Exit::Redirect => 3,
        Exit::LocalIo => 4,
        Exit::Truncated => 5,
        Exit::Protocol => 6,
        Exit::Digest => 7,
        Exit::Deadline => 8,
        Exit::Connect => 9,
        Exit::Resolve => 10,
        _ => 11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Voice = Voice { json: false, quiet: true, verbose: false };

    fn tasks(count: usize) -> Vec<Task> {
        let url = Url::parse("https://h/").unwrap();
        (0..count)
            .map(|at| Task {
                file: at.to_string().into(),
                url: url.clone(),
                size: None,
                modified: None,
            })
            .collect()
    }

    fn run(jobs: usize, fail: impl Fn(&str) -> Option<Exit> + Sync) -> (Vec<&'static str>, Exit) {
        let mut account = Account::new(SILENT);
        account.work(&tasks(5), jobs, |task, _| match fail(&task.file.display().to_string()) {
            Some(exit) => Err(Report::new(exit, "any", "any")),
            None => Ok(Outcome::Done(1)),
        });
        let names = account.entries.iter().map(|it| it.2.name()).collect();
        (names, account.finish("put", &Url::parse("https://h/").unwrap()).unwrap())
    }

    #[test]
    fn one_failure_among_others_stops_nothing_and_counts() {
        for jobs in [1, 3, 9] {
            let (names, exit) = run(jobs, |name| match name {
                "1" => Some(Exit::HttpClientError),
                "3" => Some(Exit::Digest),
                _ => None,
            });
            assert_eq!(names, ["done", "failed", "done", "failed", "done"]);
            assert_eq!(exit, Exit::Digest);
        }
    }

    #[test]
    fn what_fails_for_all_is_tried_once() {
        let (names, exit) = run(1, |name| (name == "1").then_some(Exit::CertificateUntrusted));
        assert_eq!(names, ["done", "failed", "not-tried", "not-tried", "not-tried"]);
        assert_eq!(exit, Exit::CertificateUntrusted);
    }
}
