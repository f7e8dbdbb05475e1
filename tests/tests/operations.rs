//! What operators see of a running server: health, readiness, metrics, the access log.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_tests::pki::days;
use sealpair_tests::{
    Pki, RawClient, Run, SealpairServer, ServerBuilder, curl, peers, settles, settles_at,
};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// The management listener of a server on loopback.
fn management(server: &SealpairServer) -> String {
    server.ready()["management"].as_str().unwrap().to_owned()
}

/// What the management listener answers: status and content.
fn ask(server: &SealpairServer, path: &str) -> (u16, String) {
    let address = management(server);
    let run = match address.strip_prefix("unix:") {
        Some(socket) => {
            curl().args(["--unix-socket", socket]).arg(format!("http://localhost{path}"))
        }
        None => curl().arg(format!("http://{address}{path}")),
    };
    let ended = run.args(["--write-out", "\n%{http_code}"]).run().expect_success();
    let text = ended.text();
    let (content, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), content.to_owned())
}

/// The value of one sample; zero where there is none.
fn sample(server: &SealpairServer, name: &str) -> f64 {
    let (status, text) = ask(server, "/metrics");
    assert_eq!(status, 200);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

fn server(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> SealpairServer {
    let with = |server: ServerBuilder| server.args(["--management", "127.0.0.1:0"]).writable();
    SealpairServer::start(|server| configure(with(server).file("a", "A")))
}

#[test]
fn promtool_finds_nothing_to_say() {
    let pki = Pki::new();
    let credentials = pki.with_issuer(&pki.server());
    let server = server(|server| {
        let server = server.identity(&credentials).client_auth("optional", &pki.ca());
        let server = server.arg("--crl").arg(pki.crl(&[]));
        server.arg("--ocsp-response").arg(pki.ocsp(&credentials).file())
    });
    // Something in every family.
    server.curl_get("/a");
    assert_eq!(server.curl_status("/nothing", &[]), 404);
    RawClient::connect(&server).exchange("nonsense\r\n\r\n");
    let (_, text) = ask(&server, "/metrics");
    let promtool = Command::new(peers::find("promtool", "prometheus"));
    let ended = Run::new(promtool).args(["check", "metrics"]).input(text).run().expect_success();
    assert_eq!((ended.text().trim(), ended.stderr.trim()), ("", ""), "{ended}");
}

#[test]
fn what_happens_is_counted() {
    let pki = Pki::new();
    let server = server(|server| server.identity(&pki.server()).client_auth("optional", &pki.ca()));
    let at = |name: &str, value: f64| {
        settles_at(name, || sample(&server, name), |found| *found == value);
    };
    let mut client = RawClient::connect(&server);
    assert_eq!(client.get("/a").status, 200);
    at("sealpair_connections", 1.0);
    at("sealpair_http_requests_total{code=\"200\"}", 1.0);
    at("sealpair_http_content_sent_bytes_total", 1.0);
    let put = "PUT /b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(client.exchange(put).status, 201);
    at("sealpair_http_request_methods_total{method=\"PUT\"}", 1.0);
    at("sealpair_http_content_received_bytes_total", 5.0);
    at("sealpair_http_request_duration_seconds_count", 2.0);
    at("sealpair_tls_handshakes_total{protocol=\"TLSv1.3\",resumed=\"false\"}", 1.0);
    at("sealpair_tls_handshake_duration_seconds_count", 1.0);
    assert_eq!(client.exchange("nonsense\r\n\r\n").status, 400);
    at("sealpair_http_heads_refused_total{code=\"400\"}", 1.0);
    client.close();
    at("sealpair_connections", 0.0);
    at("sealpair_connections_accepted_total", 1.0);

    let mut http = server.tcp();
    http.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let _ = http.read_to_end(&mut Vec::new());
    at("sealpair_tls_handshake_failures_total{reason=\"plain_http\"}", 1.0);
    let expired = pki.expired_client("alice");
    server
        .curl()
        .arg("--cert")
        .arg(&expired.cert)
        .arg("--key")
        .arg(&expired.key)
        .arg(server.url("/a"))
        .run();
    at("sealpair_tls_handshake_failures_total{reason=\"certificate_expired\"}", 1.0);
    drop(server.tcp());
    at("sealpair_tls_handshake_failures_total{reason=\"connection_closed\"}", 1.0);
}

#[test]
fn certificates_say_when_they_end() {
    let pki = Pki::new();
    let (good, expired) = (pki.server(), pki.expired());
    let server = server(|server| server.identity(&pki.server_rsa()).identity(&good));
    let (_, text) = ask(&server, "/metrics");
    let family = |text: &str, name: &str| -> Vec<f64> {
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{file=")));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
    };
    let ends = family(&text, "sealpair_certificate_not_after_timestamp_seconds");
    let left = family(&text, "sealpair_certificate_expires_in_seconds");
    let now = jiff::Timestamp::now().as_second() as f64;
    assert_eq!((ends.len(), left.len()), (2, 2));
    for (ends, left) in ends.iter().zip(&left) {
        assert!(*left > 0.0 && (ends - left - now).abs() < 60.0, "{ends} {left} {now}");
    }
    let server = SealpairServer::start(|server| {
        server.args(["--management", "127.0.0.1:0"]).identity(&expired)
    });
    let (_, text) = ask(&server, "/metrics");
    assert!(family(&text, "sealpair_certificate_expires_in_seconds")[0] < 0.0);
}

#[test]
fn revocation_lists_and_responses_say_when_they_end() {
    const LIST: &str = "sealpair_crl_next_update_timestamp_seconds";
    const RESPONSE: &str = "sealpair_ocsp_next_update_timestamp_seconds";
    let pki = Pki::new();
    let credentials = pki.with_issuer(&pki.server());
    let whole = |at: i64| days(at).as_second();
    let ends = |at: i64| jiff::Timestamp::from_second(at).unwrap();
    let (first, second) = (whole(1), whole(2));
    let order = || pki.ocsp(&credentials);
    let response = pki.write(".ocsp", order().dated(days(-1), ends(first)));
    let list = pki.crl(&[]);
    let server = server(|server| {
        let server = server.identity(&credentials).client_auth("optional", &pki.ca());
        server.arg("--crl").arg(&list).arg("--ocsp-response").arg(&response)
    });
    let value = |name: &str, file: &Path| {
        let (_, text) = ask(&server, "/metrics");
        let sample = format!("{name}{{file=\"{}\"}} ", file.display());
        let value = text.lines().find_map(|line| line.strip_prefix(&sample))?;
        Some(value.parse::<f64>().unwrap())
    };
    // Lists are made for 30 days.
    assert!((value(LIST, &list).unwrap() - whole(30) as f64).abs() < 60.0);
    assert_eq!(value(RESPONSE, &response), Some(first as f64));
    let replace = |bytes: Vec<u8>| fs::rename(pki.write(".new", bytes), &response).unwrap();
    replace(order().dated(days(-1), ends(second)));
    settles("it is read again", || value(RESPONSE, &response) == Some(second as f64));
    replace(order().revoked().der());
    settles("a withdrawn certificate has none", || value(RESPONSE, &response).is_none());
}

#[test]
fn a_server_that_drains_is_healthy_and_not_ready() {
    let mut server = server(|server| server);
    assert_eq!(ask(&server, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(ask(&server, "/readyz"), (200, "ok\n".to_owned()));
    let mut busy = RawClient::connect(&server);
    busy.send("PUT /b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhel");
    settles("the upload has begun", || sample(&server, "sealpair_connections") == 1.0);
    settles("there is something unfinished", || fs::read_dir(server.root()).unwrap().count() == 2);
    server.signal(Signal::TERM);
    settles("it is not ready", || ask(&server, "/readyz") == (503, "draining\n".to_owned()));
    assert_eq!(ask(&server, "/healthz").0, 200);
    assert_eq!(sample(&server, "sealpair_draining"), 1.0);
    assert_eq!(busy.exchange("lo").status, 201);
    server.wait().expect_code(0);
}

#[test]
fn an_orderly_stop_says_so_and_reports_no_error() {
    let mut server = SealpairServer::start(|server| server.args(["--management", "127.0.0.1:0"]));
    assert_eq!(ask(&server, "/readyz").0, 200);
    server.signal(Signal::TERM);
    let ended = server.wait().expect_code(0);
    assert!(ended.stderr.contains("stopping; once more to stop at once"), "{ended}");
    assert!(!ended.stderr.contains("ERROR"), "{ended}");
}

#[test]
fn without_the_flag_there_is_no_management() {
    let server = SealpairServer::start(|server| server);
    assert_eq!(server.ready()["management"], Value::Null);
}

#[test]
fn a_unix_socket_comes_and_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("management");
    let address = format!("unix:{}", path.display());
    // What a server that was killed has left.
    drop(UnixListener::bind(&path).unwrap());
    let start = || SealpairServer::start(|server| server.args(["--management", &address]));
    let mut server = start();
    assert_eq!(server.ready()["management"], address);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ask(&server, "/readyz").0, 200);
    let second = SealpairServer::builder().args(["--management", &address]).refused().0;
    assert!(second.expect_code(3).stderr.contains("another program listens there"));
    server.signal(Signal::TERM);
    server.wait().expect_code(0);
    assert!(!path.exists());
}

#[test]
fn only_this_machine_reaches_the_management() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9090", "unix:", "9090"] {
        let ended = SealpairServer::builder().args(["--management", address]).refused().0;
        let ended = ended.expect_code(2);
        assert!(ended.stderr.contains(&format!("health checks on {address}")), "{ended}");
        assert!(ended.stderr.contains("give a loopback address"), "{ended}");
        assert_eq!(ended.stderr.lines().count(), 3, "{ended}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let address = format!("unix:{}", file.path().display());
    let ended = SealpairServer::builder().args(["--management", &address]).refused().0;
    assert!(ended.expect_code(3).stderr.contains("not a socket"));
    assert!(file.path().exists());
}

/// Whatever is done to the management listener, the server serves.
#[test]
fn abuse_of_the_management_does_not_reach_the_server() {
    let server = server(|server| server.descriptor_limit(100));
    let address = management(&server);
    let hold: Vec<TcpStream> = ["18446744073709551615", "100000000000000", "4096"]
        .iter()
        .map(|length| {
            let mut tcp = TcpStream::connect(&address).unwrap();
            write!(tcp, "GET /metrics HTTP/1.1\r\nContent-Length: {length}\r\n\r\n").unwrap();
            tcp
        })
        .collect();
    // Answered: so they have been looked at.
    for mut tcp in hold {
        assert!(tcp.read(&mut [0; 64]).unwrap() > 0);
    }
    assert_eq!(server.curl_get("/a").text(), "A");
    // tiny_http takes two descriptors for each connection, and gives up at the last one.
    let crowd: Vec<TcpStream> = (0..60).map_while(|_| TcpStream::connect(&address).ok()).collect();
    settles("all descriptors are in use, or the accept thread has died", || {
        server.descriptors() >= 99
            || server.log().contains("Error accepting new client")
            || server.log().contains("panicked")
    });
    drop(crowd);
    assert_eq!(server.curl_get("/a").text(), "A");
    settles("it answers again", || {
        let run = curl().args(["--max-time", "1"]).arg(format!("http://{address}/healthz")).run();
        run.code() == Some(0)
    });
    assert_eq!(server.stop(), 0);
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits for so many lines.
#[track_caller]
fn lines_at(path: &Path, count: usize) -> Vec<String> {
    settles_at("the lines are written", || lines(path), |lines| lines.len() == count)
}

#[test]
fn a_combined_log_is_one_that_tools_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let pki = Pki::new();
    let alice = pki.client("alice");
    let server = server(|server| {
        server
            .identity(&pki.server())
            .client_auth("optional", &pki.ca())
            .arg("--access-log")
            .arg(&path)
    });
    let identity = |run: Run| run.arg("--cert").arg(&alice.cert).arg("--key").arg(&alice.key);
    identity(server.curl())
        .args(["--user-agent", "a \"b\"", "--referer", "https://x/"])
        .arg(server.url("/a?q=%22"))
        .run()
        .expect_success();
    let mut client = RawClient::connect(&server);
    assert_eq!(client.exchange("nonsense\r\n\r\n").status, 400);
    let lines = lines_at(&path, 2);
    let (before, after) = lines[0].split_once(" [").unwrap();
    assert_eq!(before, "127.0.0.1 - CN=alice");
    let (time, after) = after.split_once("] ").unwrap();
    assert_eq!((time.len(), &time[20..]), (26, " +0000"));
    let suite = after.rsplit_once(" \"").unwrap().1;
    assert!(suite.starts_with("TLS_"), "{suite}");
    let rest = r#""GET /a?q=%22 HTTP/1.1" 200 1 "https://x/" "a \"b\"" "TLSv1.3""#;
    assert_eq!(after.rsplit_once(" \"").unwrap().0, rest);
    let (_, refused) = lines[1].split_once(r#"] "-" 400 "#).unwrap();
    let (sent, rest) = refused.split_once(' ').unwrap();
    // What the client was told.
    assert!(sent.parse::<u64>().unwrap() > 0, "{}", lines[1]);
    assert!(rest.starts_with(r#""-" "-" "TLSv1.3" ""#), "{}", lines[1]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
}

#[test]
fn a_json_log_has_one_object_for_each_request() {
    let server = SealpairServer::start(|server| {
        server.file("a", "A").args(["--access-log", "-", "--access-log-format", "json"])
    });
    server.curl().args(["--user-agent", "x\u{9b}y"]).arg(server.url("/a")).run().expect_success();
    server.curl().args(["--http1.0", "--head"]).arg(server.url("/nothing")).run();
    // The first line is the one for people.
    let stdout = settles_at("three lines", || server.stdout(), |out| out.lines().count() == 3);
    assert!(stdout.starts_with("serving "), "{stdout}");
    let objects: Vec<Value> =
        stdout.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let [get, head] = objects.as_slice() else { panic!("{stdout}") };
    assert_eq!((&get["method"], &get["target"]), (&"GET".into(), &"/a".into()));
    assert_eq!(
        (&get["status"], &get["sent"], &get["received"]),
        (&200.into(), &1.into(), &0.into())
    );
    assert_eq!((&get["protocol"], &get["sni"]), (&"TLSv1.3".into(), &"localhost".into()));
    assert_eq!((&get["resumed"], &get["error"]), (&false.into(), &Value::Null));
    assert_eq!(get["user_agent"], "x\u{9b}y");
    assert!(get["group"].is_string() && get["suite"].is_string());
    assert!(get["duration_ms"].as_f64().unwrap() >= 0.0);
    let time: jiff::Timestamp = get["time"].as_str().unwrap().parse().unwrap();
    assert!((jiff::Timestamp::now() - time).get_seconds().abs() < 60);
    assert_eq!((&head["method"], &head["version"]), (&"HEAD".into(), &"HTTP/1.0".into()));
    assert_eq!((&head["status"], &head["sent"]), (&404.into(), &0.into()));
}

#[test]
fn a_log_that_was_renamed_is_opened_anew_on_sigusr1() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
    let server = server(|server| server.arg("--access-log").arg(&path));
    server.curl_get("/a?1");
    lines_at(&path, 1);
    fs::rename(&path, &old).unwrap();
    server.curl_get("/a?2");
    assert!(lines_at(&old, 2)[1].contains("/a?2"));
    server.signal(Signal::USR1);
    settles("there is a new one", || path.exists());
    server.curl_get("/a?3");
    assert!(lines_at(&path, 1)[0].contains("/a?3"));
    assert_eq!(lines(&old).len(), 2);
    assert_eq!(server.stop(), 0);
}

#[test]
fn sigusr1_without_an_access_log_changes_nothing() {
    let server = server(|server| server);
    server.signal(Signal::USR1);
    settles("it says so", || server.log().contains("SIGUSR1"));
    assert_eq!(server.curl_get("/a").text(), "A");
}

#[test]
fn the_last_lines_are_there_when_the_server_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let server = server(|server| server.arg("--access-log").arg(&path));
    let mut client = RawClient::connect(&server);
    for _ in 0..200 {
        assert_eq!(client.get("/a").status, 200);
    }
    assert_eq!(server.stop(), 0);
    assert_eq!(lines(&path).len(), 200);
}

#[test]
fn a_full_disk_is_no_reason_not_to_serve() {
    let server = server(|server| server.args(["--access-log", "/dev/full"]));
    let mut client = RawClient::connect(&server);
    for _ in 0..20 {
        assert_eq!(client.get("/a").status, 200);
    }
    settles("it is counted", || sample(&server, "sealpair_access_log_write_failures_total") >= 2.0);
    assert_eq!(server.log().matches("cannot write the access log").count(), 1);
    client.close();
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_log_that_cannot_be_opened_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let ended = SealpairServer::builder().arg("--access-log").arg(dir.path()).refused().0;
    let ended = ended.expect_code(4);
    assert!(ended.stderr.contains("cannot open the access log"), "{ended}");
}
