//! Programs: finding ours, and running any to its end under a deadline.

use crate::waiting::DEADLINE;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A program of this workspace, as it was built beside this test.
///
/// # Panics
///
/// When it has not been built, or has been changed since.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/<profile>/deps/<test> -> target/<profile>/<name>
    let deps = test.parent().unwrap();
    let profile = if deps.ends_with("deps") { deps.parent().unwrap() } else { deps };
    let path = profile.join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace` first", path.display());
    require_fresh(&path);
    path
}

/// A program that is older than its sources would be tested for what it was.
fn require_fresh(program: &Path) {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    // Cargo's dependency file: `program: source source …`, with spaces escaped.
    let Ok(dependencies) = fs::read_to_string(program.with_extension("d")) else {
        return;
    };
    let built = modified(program).unwrap();
    let sources = dependencies.split_once(": ").map_or("", |(_, sources)| sources.trim());
    for source in sources.replace("\\ ", "\0").split(' ') {
        let source = source.replace('\0', " ");
        let changed = modified(Path::new(&source)).is_ok_and(|time| time > built);
        assert!(
            !changed,
            "{} is older than {source}: run `cargo build --workspace` first",
            program.display()
        );
    }
}

/// A program to be run, with its output captured and without an input.
#[derive(Debug)]
pub struct Run {
    command: Command,
    input: Input,
    output: Option<File>,
    deadline: Duration,
}

#[derive(Debug)]
enum Input {
    None,
    Bytes(Vec<u8>),
    File(File),
    Held,
}

impl Run {
    /// One of our programs: `sealpair` or `sealpair-server`.
    ///
    /// What it keeps of uploads is kept below `target`, not in the home of whoever runs the tests, unless the
    /// test says where.
    pub fn of(name: &str) -> Self {
        let program = program(name);
        let state = program.with_file_name("test-state");
        Self::new(Command::new(program)).env("XDG_STATE_HOME", state)
    }

    /// Any program.
    pub fn new(mut command: Command) -> Self {
        command.env_remove("RUST_LOG").env("LC_ALL", "C.UTF-8");
        Self { command, input: Input::None, output: None, deadline: DEADLINE }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets several variables of its environment.
    #[must_use]
    pub fn envs<V: AsRef<OsStr>>(self, all: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        all.into_iter().fold(self, |it, (name, value)| it.env(name, value))
    }

    /// Removes a variable from its environment.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets its working directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives it these bytes as its standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Gives it a file as its standard input.
    #[must_use]
    pub fn input_file(mut self, file: File) -> Self {
        self.input = Input::File(file);
        self
    }

    /// Keeps its standard input open, for [`Running::send`].
    #[must_use]
    pub fn input_held(mut self) -> Self {
        self.input = Input::Held;
        self
    }

    /// Sends its standard output to a file instead of capturing it.
    #[must_use]
    pub fn output_file(mut self, file: File) -> Self {
        self.output = Some(file);
        self
    }

    /// Gives it another time than [`DEADLINE`].
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    ///
    /// When it cannot be started or does not end in time; it is killed then.
    #[track_caller]
    pub fn run(self) -> Ended {
        self.start().wait()
    }

    /// Starts it.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[track_caller]
    pub fn start(self) -> Running {
        let Self { mut command, input, output, deadline } = self;
        let (stdin, bytes, held) = match input {
            Input::None => (Stdio::null(), None, false),
            Input::Bytes(bytes) => (Stdio::piped(), Some(bytes), false),
            Input::File(file) => (file.into(), None, false),
            Input::Held => (Stdio::piped(), None, true),
        };
        command.stdin(stdin).stderr(Stdio::piped());
        command.stdout(output.map_or_else(Stdio::piped, Stdio::from));
        let line = format!("{command:?}");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut stdin = child.stdin.take();
        if let Some(bytes) = bytes {
            let mut stdin = stdin.take().unwrap();
            // A program that does not want all of it is no failure of the test.
            thread::spawn(move || drop(stdin.write_all(&bytes)));
        }
        let stdout = child.stdout.take().map(Capture::of).unwrap_or_default();
        let stderr = child.stderr.take().map(Capture::of).unwrap_or_default();
        let stdin = stdin.filter(|_| held);
        Running { child, line, stdin, stdout, stderr, began: Instant::now(), deadline }
    }
}

/// What a pipe has yielded so far.
#[derive(Debug, Default)]
struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let sink = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while let Ok(count @ 1..) = pipe.read(&mut piece) {
                sink.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn all(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        std::mem::take(&mut *self.bytes.lock().unwrap())
    }
}

/// A program that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
    stdin: Option<ChildStdin>,
    stdout: Capture,
    stderr: Capture,
    began: Instant,
    deadline: Duration,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes.as_ref()).and_then(|()| stdin.flush()).unwrap();
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.so_far()).into_owned()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.pid(), signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end in time; it is killed then.
    #[track_caller]
    pub fn wait(mut self) -> Ended {
        self.stdin = None;
        let mut pause = Duration::from_millis(1);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.began.elapsed() > self.deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("{} did not end in {:?}: {}", self.line, self.deadline, self.stderr());
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        Ended {
            line: std::mem::take(&mut self.line),
            status,
            stdout: self.stdout.all(),
            stderr: String::from_utf8_lossy(&self.stderr.all()).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    line: String,
    status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, as text.
    pub stderr: String,
}

impl Ended {
    /// The exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Its standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Fails the test unless it ended with this code; for chaining.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self}");
        self
    }

    /// Fails the test unless it ended with 0; for chaining.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        self.expect_code(0)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdout = &self.stdout[..self.stdout.len().min(4 << 10)];
        let stdout = String::from_utf8_lossy(stdout);
        write!(f, "{}\n{}\n{stdout}\n{}", self.line, self.status, self.stderr)
    }
}

/// Sends a signal to one process.
pub fn send_signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}
