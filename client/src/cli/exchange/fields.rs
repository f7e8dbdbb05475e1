//! The header fields that the user gives, and how far they go.

use super::HttpArgs;
use crate::cli::digest_fields::WANT_REPR_DIGEST;
use crate::cli::tls_args::Defaults;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use sealpair_common::tls::read_file;
use std::path::Path;
use ureq::http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LENGTH, HOST, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, RANGE, TRANSFER_ENCODING, USER_AGENT,
};
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// Fields of the user's that go along to another origin: none of them says who is asking.
/// A range goes nowhere without its condition.
pub(super) const HARMLESS: [HeaderName; 10] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    RANGE,
    USER_AGENT,
    WANT_REPR_DIGEST,
];

/// Which of the fields that ureq adds by itself are wanted.
pub(super) fn defaults(args: &HttpArgs) -> Defaults {
    let left_out = |name: &str| {
        args.headers.iter().any(|text| {
            let mut parts = text.splitn(2, ':');
            parts.next().is_some_and(|given| given.eq_ignore_ascii_case(name))
                && parts.next().is_some_and(|value| value.trim().is_empty())
        })
    };
    Defaults { user_agent: !left_out("user-agent"), accept: !left_out("accept") }
}

/// The fields that the user gives.
pub(super) fn user_fields(args: &HttpArgs) -> Result<HeaderMap, Report> {
    let mut fields = HeaderMap::new();
    for text in &args.headers {
        match text.strip_prefix('@') {
            None => {
                // What follows the name may be a secret.
                let name = text.split([':', ' ']).next().unwrap_or_default();
                add_field(&mut fields, text, &format!("{name} …"))?;
            }
            Some(path) => {
                let bytes =
                    read_file(Path::new(path), "header fields").map_err(|error| error.report())?;
                let lines = String::from_utf8(bytes).map_err(|_| {
                    let message = format!("the header fields in {path} are not UTF-8");
                    Report::new(Exit::Configuration, "header-file", message)
                })?;
                for (at, line) in lines.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
                    // The line itself may be a secret.
                    add_field(&mut fields, line, &format!("line {} of {path}", at + 1))?;
                }
            }
        }
    }
    Ok(fields)
}

pub(super) fn is_conditional(fields: &HeaderMap) -> bool {
    fields.contains_key(IF_NONE_MATCH) || fields.contains_key(IF_MODIFIED_SINCE)
}

/// What is done to the fields of a request.
pub(super) trait Fields {
    /// Leaves these fields only.
    fn retain_only(&mut self, names: &[HeaderName]);

    /// Leaves what may say who is asking, and nothing about the content or a condition.
    fn retain_who_asks(&mut self);

    /// `Name:` leaves out a field that would be sent otherwise, as with curl.
    fn drop_left_out(&mut self);
}

impl Fields for HeaderMap {
    fn retain_who_asks(&mut self) {
        let of_content = |name: &HeaderName| {
            let name = name.as_str();
            ["content-", "if-", "upload-", "want-"].iter().any(|start| name.starts_with(start))
                || matches!(name, "accept" | "expect" | "range" | "repr-digest")
        };
        let others: Vec<_> = self.keys().filter(|name| of_content(name)).cloned().collect();
        for name in others {
            self.remove(name);
        }
        self.drop_left_out();
    }

    fn retain_only(&mut self, names: &[HeaderName]) {
        let others: Vec<_> = self.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in others {
            self.remove(name);
        }
    }

    fn drop_left_out(&mut self) {
        let empty = self.iter().filter(|(_, value)| value.is_empty());
        let empty: Vec<HeaderName> = empty.map(|(name, _)| name.clone()).collect();
        for name in empty {
            self.remove(name);
        }
    }
}

fn add_field(fields: &mut HeaderMap, text: &str, shown: &str) -> Result<(), Report> {
    let bad = || {
        Report::new(Exit::Usage, "bad-header", format!("not a header field: {shown}"))
            .remedy("give it as 'Name: value'")
    };
    let (name, value) = text.split_once(':').ok_or_else(bad)?;
    let name: HeaderName = name.parse().map_err(|_| bad())?;
    if [CONTENT_LENGTH, TRANSFER_ENCODING, HOST].contains(&name) {
        return Err(Report::new(Exit::Usage, "bad-header", format!("{name} cannot be set"))
            .explain("it is part of the framing, which the client is responsible for"));
    }
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
    value.set_sensitive(true);
    fields.append(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_would_break_the_framing_are_refused() {
        let mut fields = HeaderMap::new();
        for bad in
            ["a", "Content-Length: 3", "a b: c", "Transfer-Encoding: chunked", "x: a\r\nb: c"]
        {
            assert!(add_field(&mut fields, bad, bad).is_err(), "{bad}");
        }
        add_field(&mut fields, "X-Token: abc", "").unwrap();
        add_field(&mut fields, "Accept: */*", "").unwrap();
        fields.retain_only(&HARMLESS);
        assert_eq!(fields.len(), 1);
    }
}
