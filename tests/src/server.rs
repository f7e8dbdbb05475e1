//! A running `sealpair-server`, in a directory of its own, on a port that the system chose.

use crate::pki::Credentials;
use crate::proc;
use crate::program::{Ended, Run, Running, program, send_signal};
use crate::raw;
use crate::waiting::{DEADLINE, settles, settles_at};
use rustix::process::{Signal, geteuid};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// Makes standard input descriptor 3, and says so as sd_listen_fds(3) has it.
const HAND_OVER: &str = r#"exec 3<&0 0</dev/null
LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=https
export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES
exec "$@""#;

/// A server to be started.
///
/// It serves `root` in a temporary directory, with `state` beside it as the state directory and
/// `ready.json` as the ready file. What is added goes behind these on the command line.
#[derive(Debug)]
pub struct ServerBuilder {
    dir: TempDir,
    listen: String,
    root: Option<PathBuf>,
    state: Option<PathBuf>,
    ca: Option<PathBuf>,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    /// What becomes the server by exec, so that the process id is the server's.
    through: Vec<OsString>,
    inherited: Option<TcpListener>,
}

impl ServerBuilder {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sealpair-test-").tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        Self {
            dir,
            listen: "127.0.0.1:0".to_owned(),
            root: None,
            state: None,
            ca: None,
            args: Vec::new(),
            env: Vec::new(),
            through: Vec::new(),
            inherited: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment, such as `RUST_LOG`.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets several variables of its environment.
    #[must_use]
    pub fn envs<V: AsRef<OsStr>>(self, all: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        all.into_iter().fold(self, |it, (name, value)| it.env(name, value))
    }

    /// Allows PUT and DELETE.
    #[must_use]
    pub fn writable(self) -> Self {
        self.arg("--writable")
    }

    /// Presents this certificate instead of one that the server makes; may be called again.
    #[must_use]
    pub fn identity(mut self, credentials: &Credentials) -> Self {
        self.ca = Some(credentials.ca.clone());
        self.arg("--cert").arg(&credentials.cert).arg("--key").arg(&credentials.key)
    }

    /// What clients of this test trust, where the server does not make its own authority.
    #[must_use]
    pub fn trusted_by(mut self, ca: impl Into<PathBuf>) -> Self {
        self.ca = Some(ca.into());
        self
    }

    /// Asks clients for certificates of this authority; `mode` is `optional` or `required`.
    #[must_use]
    pub fn client_auth(self, mode: &str, ca: &Path) -> Self {
        self.args(["--client-auth", mode]).arg("--client-ca").arg(ca)
    }

    /// Listens here instead of on a free port of 127.0.0.1.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = address.to_owned();
        self
    }

    /// Serves this directory instead of an empty one.
    #[must_use]
    pub fn serving(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Keeps its authority here instead of in a directory of its own.
    #[must_use]
    pub fn state_dir(mut self, state: impl Into<PathBuf>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// Limits its descriptors (RLIMIT_NOFILE).
    #[must_use]
    pub fn descriptor_limit(self, limit: u32) -> Self {
        let prlimit = crate::peers::find("prlimit", "util-linux");
        self.through([prlimit.as_os_str(), format!("--nofile={limit}:{limit}").as_ref()])
    }

    /// Lets it have so many threads at most (RLIMIT_NPROC). The limit counts all processes and threads of
    /// a user, and binds no root: where the test runs as root, the server runs as `user`, whom no other
    /// test must use.
    #[must_use]
    pub fn thread_limit(self, user: u32, limit: u32) -> Self {
        let server = if geteuid().is_root() {
            let setpriv = crate::peers::find("setpriv", "util-linux");
            self.through([setpriv]).through([
                format!("--reuid={user}"),
                format!("--regid={user}"),
                "--clear-groups".to_owned(),
                // To reach the program and its files wherever they are.
                "--inh-caps=-all,+dac_override,+fowner".to_owned(),
                "--ambient-caps=-all,+dac_override,+fowner".to_owned(),
                "--".to_owned(),
            ])
        } else {
            // In a user namespace of its own, the user has no other processes.
            let unshare = crate::peers::find("unshare", "util-linux");
            self.through([unshare.as_os_str(), "--user".as_ref(), "--".as_ref()])
        };
        let prlimit = crate::peers::find("prlimit", "util-linux");
        server.through([prlimit.as_os_str(), format!("--nproc={limit}:{limit}").as_ref()])
    }

    /// Lets it use one processor only.
    #[must_use]
    pub fn on_one_processor(self) -> Self {
        let taskset = crate::peers::find("taskset", "util-linux");
        let allowed = proc::processors();
        // Tests that run at the same time take different ones.
        let chosen = allowed[std::process::id() as usize % allowed.len()];
        self.through([taskset.as_os_str(), "-c".as_ref(), chosen.to_string().as_ref()])
    }

    /// Runs it by way of another program, such as `prlimit`, that takes a command line behind its
    /// own arguments and becomes it; may be called again.
    #[must_use]
    pub fn through<A: AsRef<OsStr>>(mut self, line: impl IntoIterator<Item = A>) -> Self {
        self.through.extend(line.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Hands a listening socket over to it, as systemd does, instead of telling it where to listen.
    #[must_use]
    pub fn inheriting(mut self, listener: &TcpListener) -> Self {
        self.inherited = Some(listener.try_clone().unwrap());
        self
    }

    /// Puts a file into the root. It was modified a second before it was put there, so that its entity tag
    /// is strong at once.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(1)).unwrap();
        self
    }

    /// The directory that it will serve.
    pub fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| self.dir.path().join("root"))
    }

    /// A directory for whatever the test needs; it lives as long as the server.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where its authority will be kept.
    pub fn state(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| self.dir.path().join("state"))
    }

    /// Where its ready file will be.
    pub fn ready_file(&self) -> PathBuf {
        self.dir.path().join("ready.json")
    }

    fn run(&self) -> Run {
        let server = program("sealpair-server");
        let command = match &self.through[..] {
            // The shell becomes the server by exec, so the process id is the one that it has written.
            [] if self.inherited.is_some() => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(HAND_OVER).arg("sh").arg(server);
                command
            }
            [] => Command::new(server),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(server);
                command
            }
        };
        let listen = self.inherited.is_none().then_some(["--listen", &self.listen]);
        let mut run = Run::new(command)
            .arg("serve")
            .arg(self.root())
            .args(listen.iter().flatten())
            .arg("--ready-file")
            .arg(self.ready_file())
            .arg("--state-dir")
            .arg(self.state())
            .args(&self.args);
        for (name, value) in &self.env {
            run = run.env(name, value);
        }
        if let Some(listener) = &self.inherited {
            run = run.input_file(File::from(OwnedFd::from(listener.try_clone().unwrap())));
        }
        run
    }

    /// Starts it and waits until it accepts.
    ///
    /// # Panics
    ///
    /// When it ends instead, or does not accept in time.
    #[track_caller]
    pub fn start(self) -> SealpairServer {
        // A test may take long as a whole; what it waits for has deadlines of its own.
        let mut process = self.run().deadline(Duration::MAX).start();
        let path = self.ready_file();
        let until = Instant::now() + DEADLINE;
        let ready: Value = loop {
            if let Ok(text) = fs::read(&path) {
                break serde_json::from_slice(&text).unwrap();
            }
            if process.has_ended() {
                panic!("the server did not start: {}", process.wait());
            }
            assert!(Instant::now() < until, "the server is not ready: {}", process.stderr());
            thread::sleep(Duration::from_millis(2));
        };
        SealpairServer { process: Some(process), ready, builder: self }
    }

    /// Runs it where it must not start, and returns how it ended and what is left.
    ///
    /// # Panics
    ///
    /// When it starts nevertheless.
    #[track_caller]
    pub fn refused(self) -> (Ended, Self) {
        let mut process = self.run().start();
        while !process.has_ended() {
            assert!(!self.ready_file().exists(), "the server started: {}", process.stderr());
            thread::sleep(Duration::from_millis(2));
        }
        (process.wait(), self)
    }
}

/// A server that accepts connections. It is killed when this is dropped.
#[derive(Debug)]
pub struct SealpairServer {
    process: Option<Running>,
    ready: Value,
    builder: ServerBuilder,
}

impl SealpairServer {
    /// A server to be configured.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    /// Configures and starts a server.
    #[track_caller]
    pub fn start(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        configure(ServerBuilder::new()).start()
    }

    fn process(&self) -> &Running {
        self.process.as_ref().unwrap()
    }

    /// The content of its ready file.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// `https://localhost:PORT` and a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.ready["url"].as_str().unwrap())
    }

    /// The address of its first listener.
    pub fn address(&self) -> SocketAddr {
        self.ready["listen"][0].as_str().unwrap().parse().unwrap()
    }

    /// The port of its first listener.
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// A TCP connection to it, whose reads fail at the deadline.
    #[track_caller]
    pub fn tcp(&self) -> TcpStream {
        raw::tcp(self.address())
    }

    /// The authority to trust, whoever made it.
    pub fn ca(&self) -> PathBuf {
        let own = self.ready["ca"].as_str().map(PathBuf::from);
        own.or_else(|| self.builder.ca.clone()).expect("an authority to trust")
    }

    /// The directory that it serves.
    pub fn root(&self) -> PathBuf {
        self.builder.root()
    }

    /// A directory for whatever the test needs.
    pub fn dir(&self) -> &Path {
        self.builder.dir()
    }

    /// Its state directory.
    pub fn state(&self) -> PathBuf {
        self.builder.state()
    }

    /// Its ready file.
    pub fn ready_file(&self) -> PathBuf {
        self.builder.ready_file()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Its standard error so far: the log.
    pub fn log(&self) -> String {
        self.process().stderr()
    }

    /// Its standard output so far.
    pub fn stdout(&self) -> String {
        self.process().stdout()
    }

    /// Its threads.
    pub fn threads(&self) -> usize {
        proc::threads(self.pid())
    }

    /// Its open descriptors, without those of files that it keeps open because they were asked for.
    pub fn descriptors_without_files(&self) -> usize {
        proc::descriptors_without_files(self.pid(), &self.root())
    }

    /// Its open descriptors.
    pub fn descriptors(&self) -> usize {
        proc::descriptors(self.pid())
    }

    /// Its open connections, finished handshakes or not.
    pub fn connections(&self) -> usize {
        proc::connections(self.port())
    }

    /// Waits until it has no connection, and returns its threads and descriptors then.
    #[track_caller]
    pub fn at_rest(&self) -> (usize, usize) {
        settles_at("all connections are closed", || self.connections(), |open| *open == 0);
        (self.threads(), self.descriptors_without_files())
    }

    /// Its resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        proc::rss_kib(self.pid())
    }

    /// The most resident memory that it ever had, in KiB.
    pub fn peak_rss_kib(&self) -> u64 {
        proc::peak_rss_kib(self.pid())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().unwrap().has_ended()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.pid(), signal);
    }

    /// Waits until it ends, and returns how.
    #[track_caller]
    pub fn wait(&mut self) -> Ended {
        settles("the server ends", || self.has_ended());
        self.process.take().unwrap().wait()
    }

    /// Sends it SIGTERM, waits, and returns the exit code.
    #[track_caller]
    pub fn stop(mut self) -> i32 {
        self.signal(Signal::TERM);
        let ended = self.wait();
        ended.code().unwrap_or_else(|| panic!("{ended}"))
    }
}
