use super::*;
use ::http::{Method, Version};
use sealpair_common::tls::TlsSession;
use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;

const PATIENCE: Duration = Duration::from_secs(30);

fn session() -> &'static TlsSession {
    static SESSION: LazyLock<TlsSession> = LazyLock::new(|| {
        let mut session = TlsSession::default();
        session.protocol = "TLSv1.3";
        session.suite = "TLS_AES_128_GCM_SHA256".to_owned();
        session.group = Some("X25519".to_owned());
        session.sni = Some("localhost".to_owned());
        session
    });
    &SESSION
}

fn record<'r>() -> Record<'r> {
    Record {
        time: "2026-03-09T07:08:05.0429Z".parse().unwrap(),
        peer: SocketAddr::from(([192, 0, 2, 7], 4711)),
        subject: None,
        session: session(),
        request: Some((&Method::GET, "/a", Version::HTTP_11)),
        status: 200,
        received: 0,
        sent: 12,
        duration: Duration::from_micros(1_234),
        user_agent: None,
        referer: None,
        error: None,
    }
}

fn text(record: &Record<'_>, format: Format) -> String {
    let mut out = Vec::new();
    record.write(format, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_combined_format_is_apaches() {
    let mut record = record();
    assert_eq!(
        text(&record, Format::Combined),
        "192.0.2.7 - - [09/Mar/2026:07:08:05 +0000] \"GET /a HTTP/1.1\" 200 12 \"-\" \"-\" \
         \"TLSv1.3\" \"TLS_AES_128_GCM_SHA256\"\n"
    );
    record.subject = Some("CN=alice, O=X");
    record.user_agent = Some(b"curl/8");
    record.referer = Some(b"https://localhost/");
    record.sent = 0;
    assert_eq!(
        text(&record, Format::Combined),
        "192.0.2.7 - CN=alice,\\x20O=X [09/Mar/2026:07:08:05 +0000] \"GET /a HTTP/1.1\" 200 - \
         \"https://localhost/\" \"curl/8\" \"TLSv1.3\" \"TLS_AES_128_GCM_SHA256\"\n"
    );
    record.request = None;
    record.status = 400;
    assert!(text(&record, Format::Combined).contains("] \"-\" 400 - "));
}

/// What could end a line or a field, drive a terminal, or is no text.
const HOSTILE: &[u8] = b"a\r\n\0\x1b[31m\" \"\\\xff\xc3\x28\xc2\x9b\xe2\x80\xa8\x7f";

#[test]
fn a_hostile_field_stays_in_its_line_and_its_quotes() {
    let mut record = record();
    record.user_agent = Some(HOSTILE);
    record.referer = Some(HOSTILE);
    record.subject = Some("x\n\" [\u{2028}");
    let line = text(&record, Format::Combined);
    assert!(line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
    let escaped = r#""a\r\n\x00\x1b[31m\" \"\\\xff\xc3(\xc2\x9b\xe2\x80\xa8\x7f""#;
    assert!(line.contains(&format!("{escaped} {escaped} \"TLS")), "{line}");
    assert!(line.contains(r#" - x\n\"\x20[\xe2\x80\xa8 ["#), "{line}");
}

#[test]
fn a_json_line_is_one_object_that_comes_back() {
    let mut record = record();
    record.user_agent = Some(HOSTILE);
    record.subject = Some("x\n\" \u{2028}");
    record.error = Some("cut");
    let line = text(&record, Format::Json);
    assert_eq!(line.matches('\n').count(), 1);
    let hostile = |c: char| c.is_control() || c == '\u{2028}';
    assert!(!line.trim_end().contains(hostile), "{line}");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["time"], "2026-03-09T07:08:05.042Z");
    assert_eq!(value["peer"], "192.0.2.7:4711");
    assert_eq!(value["subject"], "x\n\" \u{2028}");
    assert_eq!(value["user_agent"], String::from_utf8_lossy(HOSTILE).as_ref());
    assert_eq!(value["duration_ms"], 1.234);
    assert_eq!(value["error"], "cut");
    let names = [
        "time",
        "peer",
        "subject",
        "method",
        "target",
        "version",
        "status",
        "received",
        "sent",
        "duration_ms",
        "user_agent",
        "referer",
        "protocol",
        "suite",
        "group",
        "resumed",
        "sni",
        "error",
    ];
    assert_eq!(value.as_object().unwrap().len(), names.len());
    assert!(names.iter().all(|name| value.get(name).is_some()), "{line}");
}

fn log(path: &Path, limit: usize) -> (AccessLog, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let destination = Destination::File(path.to_owned());
    let log =
        AccessLog::with_limit(destination, Format::Combined, Arc::clone(&metrics), limit).unwrap();
    (log, metrics)
}

fn settles(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn every_line_of_every_thread_is_whole_and_there_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (log, metrics) = log(&path, QUEUE);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| log.record(&record())));
        }
    });
    assert!(log.close(PATIENCE));
    let written = fs::read_to_string(&path).unwrap();
    let expected = text(&record(), Format::Combined);
    assert_eq!(written, expected.repeat(2000));
    assert_eq!(metrics.access_log_lines.value(), 2000);
    assert_eq!(metrics.access_log_dropped.value(), 0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
}

#[test]
fn a_line_appears_without_another_behind_it_and_appends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, "before\n").unwrap();
    let (log, _) = log(&path, QUEUE);
    log.record(&record());
    let expected = format!("before\n{}", text(&record(), Format::Combined));
    settles("the line is written", || fs::read_to_string(&path).unwrap() == expected);
}

#[test]
fn after_a_rename_lines_go_into_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
    let (log, _) = log(&path, QUEUE);
    log.record(&record());
    settles("the line is written", || fs::metadata(&path).unwrap().len() > 0);
    fs::rename(&path, &old).unwrap();
    // Until it is told, it goes on where it was.
    log.record(&record());
    let line = text(&record(), Format::Combined);
    settles("both lines are written", || fs::read_to_string(&old).unwrap() == line.repeat(2));
    log.reopen();
    settles("there is a new file", || path.exists());
    log.record(&record());
    assert!(log.close(PATIENCE));
    assert_eq!(fs::read_to_string(&path).unwrap(), line);
    assert_eq!(fs::read_to_string(&old).unwrap(), line.repeat(2));
}

#[test]
fn a_path_that_cannot_be_opened_anew_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("line\nbreak/log");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let mut output = Output::open(Destination::File(path.clone())).unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let error = output.reopen().unwrap_err().to_string();
    assert!(error.contains("line\\nbreak/log: "), "{error}");
    output.write(b"still open").unwrap();
}

/// A FIFO whose reading end is held.
fn fifo(dir: &Path) -> (std::path::PathBuf, File) {
    use std::os::unix::fs::OpenOptionsExt;
    let path = dir.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let reader = fs::OpenOptions::new().read(true).custom_flags(nonblock).open(&path).unwrap();
    (path, reader)
}

#[test]
fn nobody_waits_for_a_pipe_that_is_not_read_and_what_is_lost_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut reader) = fifo(dir.path());
    let (log, metrics) = log(&path, 8 << 10);
    // The pipe takes 64 KiB, the queue 8.
    let line = text(&record(), Format::Combined);
    let lines = (2 << 20) / line.len();
    (0..lines).for_each(|_| log.record(&record()));
    let dropped = metrics.access_log_dropped.value();
    let queued = metrics.access_log_lines.value();
    assert!(dropped > 0 && queued > 0);
    assert_eq!(dropped + queued, lines as u64);
    // Somebody reads again: what was queued comes, whole.
    let mut got = Vec::new();
    let until = Instant::now() + PATIENCE;
    while got.len() < usize::try_from(queued).unwrap() * line.len() {
        assert!(Instant::now() < until, "{} of {queued} lines", got.len() / line.len());
        let mut piece = [0; 4 << 10];
        match reader.read(&mut piece) {
            Ok(count) => got.extend_from_slice(&piece[..count]),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    assert_eq!(String::from_utf8(got).unwrap(), line.repeat(queued.try_into().unwrap()));
    assert!(log.close(PATIENCE));
    assert_eq!(log.0.lock().dropped, 0, "it was told how many");
}

#[test]
fn closing_gives_up_on_a_pipe_that_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _reader) = fifo(dir.path());
    let (log, _) = log(&path, QUEUE);
    let lines = (512 << 10) / text(&record(), Format::Combined).len();
    (0..lines).for_each(|_| log.record(&record()));
    let began = Instant::now();
    assert!(!log.close(Duration::from_millis(50)));
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn a_full_disk_is_counted_and_tried_again() {
    let (log, metrics) = log(Path::new("/dev/full"), 4 << 10);
    (0..100).for_each(|_| log.record(&record()));
    settles("a write fails", || metrics.access_log_failures.value() > 0);
    // Told to reopen, it tries at once instead of waiting, and fails again.
    let before = metrics.access_log_failures.value();
    log.reopen();
    settles("it tries again", || metrics.access_log_failures.value() > before);
    assert!(!log.close(PATIENCE));
}

#[test]
fn what_cannot_be_opened_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| {
        let destination = Destination::File(path.to_owned());
        AccessLog::open(destination, Format::Json, Arc::default()).unwrap_err()
    };
    open(dir.path());
    open(&dir.path().join("nowhere/log"));
    // A FIFO that nobody reads: an error, not a wait.
    let (path, reader) = fifo(dir.path());
    drop(reader);
    open(&path);
}
