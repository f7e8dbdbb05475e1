//! What a command has to say, for people and for scripts.

use jiff::Timestamp;
use sealpair_common::escape::{Escaped, json_line};
use sealpair_common::exit::Exit;
use sealpair_common::pki::CertificateFacts;
use sealpair_common::report::Report;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

/// The result of a command that did its work.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) exit: Exit,
    /// Complete lines, escaped already.
    pub(super) text: String,
    pub(super) document: Value,
}

impl Outcome {
    /// The text to standard output, or the document there and the text to standard error; no text if
    /// `quiet`.
    pub(super) fn print(&self, json: bool, quiet: bool) -> Result<Exit, Report> {
        let text = if quiet { "" } else { self.text.as_str() };
        let mut stdout = io::stdout().lock();
        let written = if json {
            // The document is the answer; the text is a courtesy.
            let _ = io::stderr().write_all(text.as_bytes());
            writeln!(stdout, "{}", json_line(&self.document))
        } else {
            stdout.write_all(text.as_bytes())
        };
        match written.and_then(|()| stdout.flush()) {
            // `| head` has seen enough; the work is done.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Report::new(Exit::LocalIo, "output", "cannot write to standard output")
                    .explain(error.to_string()))
            }
            _ => Ok(self.exit),
        }
    }
}

/// A heading and indented rows of a label and a value; values may be anything and are escaped.
pub(super) struct Table(String);

impl Table {
    pub(super) fn new(heading: &str) -> Self {
        Self(format!("{heading}\n"))
    }

    pub(super) fn row(&mut self, label: &str, value: &str) {
        let value = if value.is_empty() { "-" } else { value };
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "  {label:<14} {}", Escaped(value));
    }

    /// A row for each value; only the first has the label.
    pub(super) fn rows(&mut self, label: &str, values: &[String]) {
        match values {
            [] => self.row(label, ""),
            [first, others @ ..] => {
                self.row(label, first);
                others.iter().for_each(|value| self.row("", value));
            }
        }
    }

    /// A sentence.
    pub(super) fn line(&mut self, text: &str) {
        let _ = writeln!(self.0, "  {text}");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A path as text; what is not UTF-8 in it is replaced.
pub(super) fn shown_path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The end of a certificate, and how far away it is.
pub(super) fn until(facts: &CertificateFacts, now: Timestamp) -> String {
    let (Some(text), Some(end)) = (&facts.not_after, facts.ends()) else {
        return "unreadable".to_owned();
    };
    let left = end.duration_since(now);
    let span = match left.unsigned_abs().as_secs() {
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds @ 120..7_200 => format!("{} minutes", rounded(seconds, 60)),
        seconds @ 7_200..172_800 => format!("{} hours", rounded(seconds, 3_600)),
        seconds => format!("{} days", rounded(seconds, 86_400)),
    };
    if left.is_negative() {
        format!("{text} (ended {span} ago)")
    } else {
        format!("{text} (in {span})")
    }
}

/// The nearest number of units: 90 days less a second are 90 days to a person.
fn rounded(seconds: u64, unit: u64) -> u64 {
    (seconds + unit / 2) / unit
}
