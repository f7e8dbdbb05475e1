//! What a server means that refuses a request of a resumable upload.

use super::super::exchange::Answer;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use ureq::http::header::RETRY_AFTER;

/// An earlier request, which was given up here, still has the upload in its hands at the server.
pub(super) fn busy(answer: &Answer) -> Report {
    let report = Report::new(Exit::Connect, "upload-busy", "the upload is in use at the server")
        .explain("the server has not noticed yet that an earlier connection is lost")
        .remedy("try again in a while, or with --retry");
    let after = answer.response.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok());
    match after {
        Some(after) => report.detail("retry_after", after),
        None => report,
    }
}

/// Whether what the server says is a problem (RFC 9457) of a type with this word.
pub(super) fn is_problem(report: &Report, word: &str) -> bool {
    let content = report.detail_of("content").and_then(|content| content.as_str());
    let document: Option<serde_json::Value> =
        content.and_then(|content| serde_json::from_str(content).ok());
    let kind = document.as_ref().and_then(|document| document.get("type")?.as_str());
    kind.is_some_and(|kind| kind.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_with_the_digest_is_recognised() {
        let of = |content: &str| {
            let report = Report::new(Exit::HttpClientError, "status", "");
            is_problem(&report.detail("content", content), "digest")
        };
        let start = "https://iana.org/assignments/http-problem-types#";
        assert!(of(&format!("{{\"type\":\"{start}digest-mismatching-values\"}}")));
        assert!(!of(&format!("{{\"type\":\"{start}mismatching-upload-offset\"}}")));
        assert!(!of("digest") && !of("{\"type\":1}") && !of("[]"));
    }
}
