use super::*;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(30);

fn start(address: &str) -> (Management, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let address = address.parse().unwrap();
    (Management::start(&address, Arc::clone(&metrics)).unwrap(), metrics)
}

fn unix(path: &Path) -> Address {
    Address::Unix(path.to_owned())
}

fn connect(management: &Management) -> TcpStream {
    let tcp = TcpStream::connect(management.to_string()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp
}

/// The status, the head and the content of one answer.
fn ask(management: &Management, method: &str, path: &str) -> (u16, String, String) {
    let mut tcp = connect(management);
    write!(tcp, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    let (head, content) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_owned(), content.to_owned())
}

/// The status line of the first answer on a connection.
fn status_line(stream: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn health_readiness_and_metrics_follow_the_server() {
    let (management, metrics) = start("127.0.0.1:0");
    let status = |path| ask(&management, "GET", path).0;
    assert_eq!((status("/healthz"), status("/readyz")), (200, 503));
    metrics.serving();
    assert_eq!((status("/healthz"), status("/readyz")), (200, 200));
    metrics.drain_begun();
    assert_eq!((status("/healthz"), status("/readyz")), (200, 503));
    let (status, head, content) = ask(&management, "GET", "/metrics?name[]=x");
    assert_eq!(status, 200);
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(content.contains("\nsealpair_draining 1\n"), "{content}");
}

#[test]
fn other_paths_are_404_and_other_methods_405() {
    let (management, _) = start("127.0.0.1:0");
    for path in ["/", "/metrics/", "/healthz/../metrics", "/nothing", "*"] {
        assert_eq!(ask(&management, "GET", path).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let (status, head, _) = ask(&management, method, "/healthz");
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("\r\nAllow: GET, HEAD"), "{head}");
    }
    let (status, _, content) = ask(&management, "HEAD", "/metrics");
    assert_eq!((status, content.as_str()), (200, ""));
}

#[test]
fn only_loopback_and_unix_sockets_are_addresses() {
    for good in ["127.0.0.1:0", "127.8.9.1:80", "[::1]:9090", "[::ffff:127.0.0.1]:1", "unix:a"] {
        assert!(good.parse::<Address>().is_ok(), "{good}");
    }
    for bad in
        ["0.0.0.0:0", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", "unix:", "9090", "x", ""]
    {
        assert!(bad.parse::<Address>().is_err(), "{bad}");
    }
}

#[test]
fn requests_that_would_end_tiny_http_end_nothing() {
    let (management, metrics) = start("127.0.0.1:0");
    metrics.serving();
    // What tiny_http would allocate: beyond the address space, beyond memory, much; and what it would
    // wait for: content that never comes.
    let bombs = ["18446744073709551615", "9223372036854775807", "100000000000000", "2000", "1025"];
    for length in bombs {
        let mut tcp = connect(&management);
        write!(tcp, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
            .unwrap();
        assert!(status_line(tcp).contains(" 413 "), "{length}");
        assert_eq!(ask(&management, "GET", "/readyz").0, 200);
    }
    let mut tcp = connect(&management);
    let expect = "Content-Length: 5\r\nExpect: 100-continue";
    write!(tcp, "GET /healthz HTTP/1.1\r\nHost: x\r\n{expect}\r\n\r\n").unwrap();
    assert!(status_line(tcp).contains(" 413 "));
    // Content that has come is no trouble; a version that it does not know blocks a thread of its own.
    let mut tcp = connect(&management);
    write!(tcp, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab").unwrap();
    assert!(status_line(tcp).contains(" 200 "));
    let _blocked: Vec<TcpStream> = (0..10)
        .map(|_| {
            let mut tcp = connect(&management);
            write!(tcp, "GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n").unwrap();
            tcp
        })
        .collect();
    let _silent: Vec<TcpStream> = (0..10).map(|_| connect(&management)).collect();
    // tiny_http may put connections that come in a burst behind threads that are blocked for ever; who
    // asks again is answered.
    let until = Instant::now() + PATIENCE;
    let mut asked = Vec::new();
    let answered = |tcp: &TcpStream| tcp.peek(&mut [0; 1]).is_ok_and(|count| count > 0);
    while !asked.iter().any(answered) {
        assert!(Instant::now() < until);
        let mut tcp = connect(&management);
        write!(tcp, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        tcp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        asked.push(tcp);
    }
}

#[test]
fn a_listener_that_is_abused_without_end_is_given_up() {
    let (management, _) = start("127.0.0.1:0");
    for _ in 0..MOST_LEAKED {
        let mut tcp = connect(&management);
        write!(tcp, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n").unwrap();
        assert!(status_line(tcp).contains(" 413 "));
    }
    refuses(&management.to_string());
}

/// Nobody listens here, or not for long any more.
fn refuses(address: &str) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_listener_that_is_dropped_is_closed() {
    let (management, _) = start("127.0.0.1:0");
    assert_eq!(ask(&management, "GET", "/healthz").0, 200);
    let address = management.to_string();
    drop(management);
    refuses(&address);
}

#[test]
fn when_nobody_accepts_any_more_the_listener_is_started_again() {
    let (management, _) = start("127.0.0.1:0");
    assert_eq!(ask(&management, "GET", "/healthz").0, 200);
    // As after an accept error: the accept thread ends, the socket stays. It sees the order only
    // after one more connection.
    let socket = socket2::SockRef::from(match &management.shared.bound {
        Bound::Tcp { listener, .. } => listener,
        Bound::Unix { .. } => unreachable!(),
    });
    socket.set_nonblocking(true).unwrap();
    assert_eq!(ask(&management, "GET", "/healthz").0, 200);
    socket.set_nonblocking(false).unwrap();
    assert_eq!(ask(&management, "GET", "/healthz").0, 200);
}

#[test]
fn a_unix_socket_is_for_this_user_and_goes_with_the_listener() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let management = Management::start(&unix(&path), Arc::default()).unwrap();
    assert_eq!(management.to_string(), format!("unix:{}", path.display()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(status_line(stream).contains(" 200 "));
    drop(management);
    assert!(!path.exists());
}

#[test]
fn a_dead_servers_socket_is_replaced_and_a_live_ones_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    let management = Management::start(&unix(&path), Arc::default()).unwrap();
    let second = Management::start(&unix(&path), Arc::default());
    assert!(matches!(second, Err(BindError::InUse)));
    // Whoever has the name by the time of the end keeps it.
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(management);
    assert!(path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "precious").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link, &dir.path().to_owned()] {
        let refused = Management::start(&unix(path), Arc::default());
        assert!(matches!(refused, Err(BindError::NotASocket)), "{}", path.display());
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let taken = start("127.0.0.1:0").0;
    let refused = Management::start(&taken.to_string().parse().unwrap(), Arc::default());
    assert!(matches!(refused, Err(BindError::InUse)));
}
