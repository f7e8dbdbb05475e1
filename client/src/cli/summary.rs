//! What is said about a transfer that went well: one line for a person, one document for a script.

use super::Voice;
use super::exchange::Answer;
use sealpair_common::escape::{Escaped, json_line};
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::units::Size;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use ureq::http::{HeaderMap, Method, StatusCode};

/// The facts of a transfer, taken before its content is read, since reading it consumes the answer.
pub(crate) struct Summary {
    method: Method,
    url: String,
    redirects: Vec<String>,
    status: StatusCode,
    headers: HeaderMap,
    tls: Value,
    tls_line: String,
    began: Instant,
    /// Fields of the document that only some commands have.
    more: Map<String, Value>,
}

impl Summary {
    pub(crate) fn of(answer: &Answer) -> Self {
        let session = answer.session();
        Self {
            method: answer.method.clone(),
            url: answer.url.to_string(),
            redirects: answer.redirects.iter().map(ToString::to_string).collect(),
            status: answer.status(),
            headers: answer.response.headers().clone(),
            // A struct of strings cannot fail to serialize.
            tls: serde_json::to_value(session).unwrap_or_default(),
            tls_line: session.map(ToString::to_string).unwrap_or_default(),
            began: answer.began,
            more: Map::new(),
        }
    }

    /// Adds a field to the document.
    pub(crate) fn add(&mut self, name: &str, value: impl Into<Value>) {
        self.more.insert(name.to_owned(), value.into());
    }

    /// The transfer began with an earlier request.
    pub(crate) fn began(&mut self, began: Instant) {
        self.began = began;
    }

    /// Says it. `bytes` is the content moved in either direction; `file` where it is or was.
    pub(crate) fn say(&self, voice: Voice, bytes: u64, file: Option<&Path>) -> Result<(), Report> {
        let elapsed = self.began.elapsed();
        if !voice.quiet {
            let mut err = io::stderr().lock();
            let rate = rate(bytes, elapsed);
            let Self { method, url, status, tls_line, .. } = self;
            let seconds = elapsed.as_secs_f64();
            // A courtesy: nobody may be reading.
            let _ = writeln!(
                err,
                "{method} {}: {status}, {} in {seconds:.2} s{rate}, {tls_line}",
                Escaped(url),
                Size(bytes),
            );
        }
        if voice.json {
            return print_json(&self.document(bytes, file, elapsed));
        }
        Ok(())
    }

    fn document(&self, bytes: u64, file: Option<&Path>, elapsed: Duration) -> Value {
        let mut document = json!({
            "schema": "sealpair.response/1",
            "method": self.method.as_str(),
            "url": self.url,
            "redirects": self.redirects,
            "status": self.status.as_u16(),
            "headers": headers(&self.headers),
            "bytes": bytes,
            "file": file.map(|path| path.display().to_string()),
            "seconds": elapsed.as_secs_f64(),
            "tls": self.tls,
        });
        if let Value::Object(fields) = &mut document {
            fields.extend(self.more.clone());
        }
        document
    }
}

/// Every field with its values, in order.
fn headers(map: &HeaderMap) -> Map<String, Value> {
    map.keys()
        .map(|name| {
            let values = map.get_all(name).iter();
            let text = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            (name.to_string(), text.collect::<Vec<_>>().into())
        })
        .collect()
}

/// The rate of a transfer that was long enough to have one.
pub(super) fn rate(bytes: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if bytes < 1 << 20 || seconds <= 0.0 {
        return String::new();
    }
    // A rate is for people; what f64 rounds away does not matter.
    format!(" ({}/s)", Size((bytes as f64 / seconds) as u64))
}

/// One document on standard output.
pub(crate) fn print_json(document: &Value) -> Result<(), Report> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", json_line(document)).and_then(|()| out.flush()).map_err(|error| {
        Report::new(Exit::LocalIo, "output", "cannot write to standard output")
            .explain(error.to_string())
    })
}
