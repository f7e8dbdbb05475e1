//! `openssl s_server` as another server.

use super::openssl;
use crate::pki::Credentials;
use crate::program::{Run, Running};
use crate::waiting::settles_at;
use std::path::Path;

/// A running `openssl s_server`. It is killed when this is dropped.
#[derive(Debug)]
pub struct OpensslServer {
    process: Running,
    port: u16,
}

impl OpensslServer {
    /// Serves the files of a directory over HTTP/1.0 (`-WWW`); more arguments may be `-tls1_2` or
    /// `-Verify 1 -CAfile …`.
    #[track_caller]
    pub fn start(credentials: &Credentials, root: &Path, more: &[&str]) -> Self {
        Self::start_with(openssl(), credentials, root, more)
    }

    /// The same of another `openssl` program.
    #[track_caller]
    pub fn start_with(openssl: Run, credentials: &Credentials, root: &Path, more: &[&str]) -> Self {
        let mut process = openssl
            .current_dir(root)
            .args(["s_server", "-accept", "127.0.0.1:0", "-WWW", "-cert"])
            .arg(&credentials.cert)
            .arg("-key")
            .arg(&credentials.key)
            .args(more)
            .deadline(std::time::Duration::MAX)
            .input_held()
            .start();
        // It says `ACCEPT 127.0.0.1:PORT` when it listens.
        let port = settles_at(
            "s_server listens",
            || {
                let ended = process.has_ended();
                let said = process.stdout();
                assert!(!ended, "s_server ended: {said} {}", process.stderr());
                let line = said.lines().find_map(|line| line.strip_prefix("ACCEPT "))?.to_owned();
                line.trim().rsplit_once(':')?.1.parse::<u16>().ok()
            },
            Option::is_some,
        );
        Self { process, port: port.unwrap() }
    }

    /// `https://localhost:PORT` and a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.process.stdout() + &self.process.stderr()
    }
}
