//! A server that is told request by request what to do with it.

use super::scripted::{ScriptedServer, read_head};
use crate::pki::Credentials;
use openssl::ssl::SslStream;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

/// What is done with a request.
pub enum Act {
    /// All of it is read, and this is the answer: a status line and fields; the framing is added.
    Answer(&'static str),
    /// As [`Answer`](Self::Answer), with this content.
    Content(&'static str, String),
    /// As [`Answer`](Self::Answer), after something has been done.
    After(Box<dyn FnOnce() + Send>, &'static str),
    /// So many bytes of its content are read, then the connection is cut.
    Cut(usize),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request line and the fields, as they came.
    pub head: String,
    /// What was read of the content.
    pub content: Vec<u8>,
}

impl Asked {
    /// The value of a field, by its name in lower case; empty where there is none.
    pub fn field(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map_or("", |(_, it)| it.trim())
    }

    /// `METHOD TARGET`.
    pub fn line(&self) -> &str {
        self.head.split(" HTTP/").next().unwrap_or_default()
    }
}

/// A server that acts out a script, on however many connections. A request that the script does not foresee
/// gets 500, and is noted like the others.
pub struct Script {
    server: ScriptedServer,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    /// Acts once for each request.
    pub fn run(credentials: &Credentials, acts: impl IntoIterator<Item = Act>) -> Self {
        let acts = Mutex::new(acts.into_iter().collect::<VecDeque<Act>>());
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let noted = Arc::clone(&asked);
        let server = ScriptedServer::tls(credentials, move |stream| {
            while let Some(head) = read_head(stream) {
                let mut request = Asked { head, content: Vec::new() };
                let act = acts.lock().unwrap().pop_front();
                let act = act.unwrap_or(Act::Answer("500 Not In The Script"));
                let most = if let Act::Cut(most) = act { most } else { usize::MAX };
                read_content(stream, &mut request, most);
                let head_only = request.head.starts_with("HEAD ");
                noted.lock().unwrap().push(request);
                let (answer, content) = match act {
                    Act::Answer(answer) => (answer, String::new()),
                    Act::Content(answer, content) => (answer, content),
                    Act::After(first, answer) => {
                        first();
                        (answer, String::new())
                    }
                    Act::Cut(_) => return,
                };
                let framing = match answer.starts_with("204") {
                    true => String::new(),
                    false => format!("\r\nContent-Length: {}", content.len()),
                };
                let content = if head_only { "" } else { &content };
                let answer = format!("HTTP/1.1 {answer}{framing}\r\n\r\n{content}");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        Self { server, asked }
    }

    /// `https://localhost:PORT` and a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The methods and targets of the requests so far.
    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|asked| asked.line().to_owned()).collect()
    }
}

/// Reads content as its fields announce it.
fn read_content(stream: &mut SslStream<TcpStream>, request: &mut Asked, most: usize) {
    if request.field("expect") == "100-continue" {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    }
    if request.field("transfer-encoding") == "chunked" {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                line.push(byte[0]);
            }
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).unwrap();
            request.content.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return;
            }
        }
    }
    let length: u64 = request.field("content-length").parse().unwrap_or(0);
    let _ = stream.take(length.min(most as u64)).read_to_end(&mut request.content);
}
