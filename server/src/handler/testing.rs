//! Asking a handler without a connection.

use super::Handler;
use crate::http::head::{HeadLimits, parse};
use crate::message::{Body, ConnectionInfo, Request, RequestBody, Response};
use sealpair_common::tls::TlsSession;
use std::fs::File;
use std::io::{Read, empty};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Writes a file whose times prove at once what its content is, as those of an upload do.
pub(super) fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    std::fs::write(&path, content).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1)).unwrap();
}

/// A request without content.
pub(super) fn ask(handler: &dyn Handler, method: &str, path: &str) -> Response {
    send(handler, method, path, "", &mut empty(), Some(0))
}

/// A request with content and additional header lines, each with its CRLF.
pub(super) fn send(
    handler: &dyn Handler,
    method: &str,
    path: &str,
    lines: &str,
    body: &mut dyn Read,
    length: Option<u64>,
) -> Response {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    let head = parse(head.as_bytes(), &HeadLimits::default()).unwrap();
    let nowhere = ([127, 0, 0, 1], 0).into();
    let connection = ConnectionInfo::new(nowhere, nowhere, TlsSession::default());
    let mut request = Request::new(head, RequestBody::new(body, length), &connection);
    // As a connection does it.
    let at_once = (length == Some(0)).then(|| handler.answer_at_once(&request)).flatten();
    at_once.unwrap_or_else(|| handler.handle(&mut request))
}

/// What the client would receive.
pub(super) fn content(response: Response) -> Vec<u8> {
    match response.body {
        Body::Empty => Vec::new(),
        Body::Bytes(bytes) => bytes.into_owned(),
        Body::File { file, offset, length } => {
            let mut content = vec![0; usize::try_from(length).unwrap()];
            file.file().read_exact_at(&mut content, offset).unwrap();
            content
        }
        Body::FileParts { file, parts, end } => {
            let mut content = Vec::new();
            for part in parts {
                content.extend_from_slice(&part.head);
                let from = content.len();
                content.resize(from + usize::try_from(part.length).unwrap(), 0);
                file.file().read_exact_at(&mut content[from..], part.offset).unwrap();
            }
            content.extend_from_slice(&end);
            content
        }
        Body::Stream { mut reader, .. } => {
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            content
        }
    }
}

/// As above, as text.
pub(super) fn text(response: Response) -> String {
    String::from_utf8(content(response)).unwrap()
}

/// A header field as text, empty if it is not there.
pub(super) fn field<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}
