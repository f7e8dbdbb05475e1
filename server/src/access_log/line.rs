//! One line of the access log: Apache's combined format with the TLS protocol and suite behind it, or a
//! JSON object.
//!
//! A line is one line, and its fields are its fields, whatever the client sends. In the combined format
//! everything but printable ASCII is escaped as Apache does it (`\n`, `\x1b`, `\"`); JSON has escapes of
//! its own.

use ::http::{Method, Version};
use jiff::Timestamp;
use jiff::tz::Offset;
use sealpair_common::escape::json_line;
use sealpair_common::tls::TlsSession;
use serde::Serialize;
use std::borrow::Cow;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"` as in Apache's documentation of
    /// mod_log_config, and the TLS protocol and suite in quotes.
    #[default]
    Combined,
    /// A JSON object.
    Json,
}

/// What is logged of a request.
#[derive(Clone, Copy, Debug)]
pub struct Record<'r> {
    /// When its head was complete, or when it was refused.
    pub time: Timestamp,
    /// The client's address.
    pub peer: SocketAddr,
    /// The subject of the client's certificate.
    pub subject: Option<&'r str>,
    /// The facts of its connection.
    pub session: &'r TlsSession,
    /// Method, target and version; `None` when the head was refused.
    pub request: Option<(&'r Method, &'r str, Version)>,
    /// The status of the response.
    pub status: u16,
    /// Bytes of content received.
    pub received: u64,
    /// Bytes of content sent.
    pub sent: u64,
    /// From the end of the head to the end of the response.
    pub duration: Duration,
    /// The `User-Agent` field.
    pub user_agent: Option<&'r [u8]>,
    /// The `Referer` field.
    pub referer: Option<&'r [u8]>,
    /// Why the response was cut, or the head refused.
    pub error: Option<&'r str>,
}

impl Record<'_> {
    /// Writes the line with its line feed.
    pub(super) fn write(&self, format: Format, out: &mut Vec<u8>) {
        match format {
            Format::Combined => self.combined(out),
            Format::Json => self.json(out),
        }
        out.push(b'\n');
    }

    fn combined(&self, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail, here and below.
        let _ = write!(out, "{} - ", self.peer.ip());
        // A field without quotes ends at a space.
        match self.subject.filter(|subject| !subject.is_empty()) {
            Some(subject) => escape(subject.as_bytes(), true, out),
            None => out.push(b'-'),
        }
        let time = Offset::UTC.to_datetime(self.time);
        let month = MONTHS[usize::from(time.month().unsigned_abs()) - 1];
        let _ = write!(
            out,
            " [{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000] ",
            time.day(),
            time.year(),
            time.hour(),
            time.minute(),
            time.second(),
        );
        match self.request {
            Some((method, target, version)) => {
                out.push(b'"');
                escape(method.as_str().as_bytes(), false, out);
                out.push(b' ');
                escape(target.as_bytes(), false, out);
                let _ = write!(out, " {}\"", version_name(version));
            }
            None => out.extend_from_slice(b"\"-\""),
        }
        let _ = write!(out, " {} ", self.status);
        match self.sent {
            0 => out.push(b'-'),
            sent => drop(write!(out, "{sent}")),
        }
        for field in [self.referer, self.user_agent] {
            quoted(field.unwrap_or_default(), out);
        }
        quoted(self.session.protocol.as_bytes(), out);
        quoted(self.session.suite.as_bytes(), out);
    }

    fn json(&self, out: &mut Vec<u8>) {
        let session = self.session;
        let line = json_line(&Line {
            time: format_args!("{:.3}", self.time),
            peer: self.peer,
            subject: self.subject,
            method: self.request.map(|(method, ..)| method.as_str()),
            target: self.request.map(|(_, target, _)| target),
            version: self.request.map(|(.., version)| version_name(version)),
            status: self.status,
            received: self.received,
            sent: self.sent,
            duration_ms: (self.duration.as_secs_f64() * 1e6).round() / 1e3,
            user_agent: self.user_agent.map(String::from_utf8_lossy),
            referer: self.referer.map(String::from_utf8_lossy),
            protocol: session.protocol,
            suite: &session.suite,
            group: session.group.as_deref(),
            resumed: session.resumed,
            sni: session.sni.as_deref(),
            error: self.error,
        });
        out.extend_from_slice(line.as_bytes());
    }
}

/// The members of a JSON line, in their order.
#[derive(Serialize)]
struct Line<'r> {
    time: std::fmt::Arguments<'r>,
    peer: SocketAddr,
    subject: Option<&'r str>,
    method: Option<&'r str>,
    target: Option<&'r str>,
    version: Option<&'static str>,
    status: u16,
    received: u64,
    sent: u64,
    duration_ms: f64,
    user_agent: Option<Cow<'r, str>>,
    referer: Option<Cow<'r, str>>,
    protocol: &'static str,
    suite: &'r str,
    group: Option<&'r str>,
    resumed: bool,
    sni: Option<&'r str>,
    error: Option<&'r str>,
}

/// As the format has them, whatever the language of the system.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// A field in quotes, with the space before it; `-` for nothing.
fn quoted(field: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b" \"");
    match field {
        [] => out.push(b'-'),
        field => escape(field, false, out),
    }
    out.push(b'"');
}

/// Escapes what is not printable ASCII, and what would end a field.
fn escape(text: &[u8], spaces: bool, out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b' ' if spaces => out.extend_from_slice(b"\\x20"),
            b' '..=b'~' => out.push(*byte),
            byte => drop(write!(out, "\\x{byte:02x}")),
        }
    }
}
