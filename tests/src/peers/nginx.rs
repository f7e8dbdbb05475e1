//! nginx as another server.

use super::find;
use crate::pki::Credentials;
use crate::program::{Run, Running};
use crate::waiting::DEADLINE;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running nginx, in the foreground, as one process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Nginx {
    // Before the directory, so that it is gone when its files go.
    _process: Running,
    dir: TempDir,
    port: u16,
}

impl Nginx {
    /// Serves a new directory over HTTPS; `directives` are added to its `server` block, for example
    /// `ssl_verify_client on;` or a `location`. PUT and DELETE are allowed.
    #[track_caller]
    pub fn start(credentials: &Credentials, directives: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("sealpair-nginx-").tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        // The port may be taken by another test before nginx has it.
        for _ in 0..8 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            if let Some(process) = launch(&dir, port, credentials, directives) {
                return Self { _process: process, dir, port };
            }
        }
        let log = fs::read_to_string(dir.path().join("error.log")).unwrap_or_default();
        panic!("nginx does not start: {log}");
    }

    /// The directory that it serves.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// `https://localhost:PORT` and a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its access log: one line `METHOD TARGET STATUS TLS-VERSION RESUMED` for each request.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }
}

fn launch(dir: &TempDir, port: u16, credentials: &Credentials, more: &str) -> Option<Running> {
    let base = dir.path().display();
    let (cert, key) = (credentials.cert.display(), credentials.key.display());
    // Which versions there are, directives may say themselves.
    let protocols = match more.contains("ssl_protocols") {
        true => "",
        false => "ssl_protocols TLSv1.2 TLSv1.3;",
    };
    let config = format!(
        r#"daemon off;
master_process off;
pid "{base}/pid";
error_log "{base}/error.log";
events {{ }}
http {{
  log_format short '$request_method $request_uri $status $ssl_protocol $ssl_session_reused';
  access_log "{base}/access.log" short;
  client_body_temp_path "{base}/body";
  proxy_temp_path "{base}/proxy";
  fastcgi_temp_path "{base}/fastcgi";
  uwsgi_temp_path "{base}/uwsgi";
  scgi_temp_path "{base}/scgi";
  client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port} ssl;
    server_name localhost;
    root "{base}/root";
    ssl_certificate "{cert}";
    ssl_certificate_key "{key}";
    {protocols}
    dav_methods PUT DELETE;
    {more}
  }}
}}
"#
    );
    let path = dir.path().join("nginx.conf");
    fs::write(&path, config).unwrap();
    let _ = fs::remove_file(dir.path().join("pid"));
    let mut command = Command::new(find("nginx", "nginx"));
    command.arg("-c").arg(&path).arg("-p").arg(dir.path()).arg("-e").arg("stderr");
    let mut process = Run::new(command).deadline(Duration::MAX).start();
    let until = Instant::now() + DEADLINE;
    // It writes its process id when it listens.
    while !fs::read(dir.path().join("pid")).is_ok_and(|pid| !pid.is_empty()) {
        if process.has_ended() {
            let ended = process.wait();
            assert!(ended.stderr.contains("in use"), "nginx does not start: {ended}");
            return None;
        }
        assert!(Instant::now() < until, "nginx is not ready: {}", process.stderr());
        thread::sleep(Duration::from_millis(5));
    }
    Some(process)
}
