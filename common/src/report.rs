//! What a failure says: three short lines for a person, one JSON document for a script.
//!
//! Every error type of the workspace turns into a [`Report`]; the programs print nothing else when they
//! fail, so a failure reads the same wherever it comes from.

use crate::escape::Escaped;
use crate::exit::Exit;
use serde_json::{Map, Value, json};
use std::fmt;

/// One failure, ready to be shown.
///
/// Text that came from the network may be put in as it is: it is escaped when it is displayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    exit: Exit,
    kind: &'static str,
    message: String,
    explanation: Option<String>,
    remedy: Option<String>,
    detail: Map<String, Value>,
}

impl Report {
    /// A failure of the given kind; `kind` is a stable word in kebab case, `message` says what failed.
    pub fn new(exit: Exit, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit,
            kind,
            message: message.into(),
            explanation: None,
            remedy: None,
            detail: Map::new(),
        }
    }

    /// Adds the second line: which certificate, which rule, which file.
    #[must_use]
    pub fn explain(mut self, explanation: impl Into<String>) -> Self {
        self.explanation = Some(explanation.into());
        self
    }

    /// Adds the third line: what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds a field to `detail` of the JSON document.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The stable word for this failure.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// A field of `detail`.
    pub fn detail_of(&self, name: &str) -> Option<&Value> {
        self.detail.get(name)
    }

    /// `{"error":{"code":…,"kind":…,"message":…,"detail":{…},"remedy":…}}`
    pub fn to_json(&self) -> Value {
        json!({"error": {
            "code": self.exit.code(),
            "kind": self.kind,
            "message": self.message,
            "explanation": self.explanation,
            "detail": self.detail,
            "remedy": self.remedy,
        }})
    }
}

impl fmt::Display for Report {
    /// Up to three lines, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(&self.message))?;
        for line in [&self.explanation, &self.remedy].into_iter().flatten() {
            write!(f, "\n  {}", Escaped(line))?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_lines_that_carry_no_control_characters() {
        let report = Report::new(Exit::Connect, "refused", "no\x1b[31m")
            .explain("line\r\ntwo")
            .remedy("try again");
        assert_eq!(report.to_string(), "no\\x1b[31m\n  line\\r\\ntwo\n  try again");
    }

    #[test]
    fn json_has_the_fields_that_scripts_rely_on() {
        let report = Report::new(Exit::CertificateName, "name", "m").detail("host", "a");
        let error = &report.to_json()["error"];
        assert_eq!(error["code"], 12);
        assert_eq!(error["kind"], "name");
        assert_eq!(error["detail"]["host"], "a");
        assert!(error["remedy"].is_null());
    }
}
