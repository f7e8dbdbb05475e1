//! Answers that come too early, in part or in an unknown form, and what `sealpair` makes of them.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_common::tls::{ClientTls, Trust};
use sealpair_tests::peers::{Ending, read_head};

use sealpair_tests::{Credentials, Ended, Pki, Run, ScriptedServer, SealpairServer};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::time::Duration;

fn run(pki: &Pki, args: &[&str]) -> Ended {
    Run::of("sealpair").args(args).arg("--ca").arg(pki.ca()).run()
}

fn answering(pki: &Pki, answer: &str, ending: Ending) -> ScriptedServer {
    ScriptedServer::answering(&pki.server(), answer.as_bytes(), ending)
}

#[test]
fn a_refusal_instead_of_100_continue_is_heard_at_once() {
    let pki = Pki::new();
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n";
    let file = pki.dir().join("big");
    File::create(&file).unwrap().set_len(100 << 20).unwrap();
    for ending in [Ending::Hold, Ending::Close, Ending::Cut] {
        let server = answering(&pki, refusal, ending);
        // A server that keeps the connection must not cost the whole timeout.
        let args = ["put", file.to_str().unwrap(), &server.url("/x"), "--timeout", "600s"];
        let ended = run(&pki, &args);
        assert_eq!(ended.code(), Some(20), "{ending:?}: {ended}");
        assert!(ended.stderr.contains("403"), "{ended}");
    }
}

/// A server that reads a head, sends these pieces with a pause before each (in milliseconds), and then
/// reads the content if it is to.
fn interim_server(pki: &Pki, pieces: &'static [(u64, &str)], content: usize) -> ScriptedServer {
    ScriptedServer::tls(&pki.server(), move |stream| {
        // It offers no resumable uploads.
        while let Some(head) = read_head(stream) {
            if !head.starts_with("OPTIONS ") {
                break;
            }
            stream.write_all(NOT_OFFERED.as_bytes()).unwrap();
        }
        let (last, before) = pieces.split_last().unwrap();
        for (pause, piece) in before {
            std::thread::sleep(Duration::from_millis(*pause));
            stream.write_all(piece.as_bytes()).unwrap();
        }
        let mut body = vec![0; content];
        if stream.read_exact(&mut body).is_ok() {
            std::thread::sleep(Duration::from_millis(last.0));
            let _ = stream.write_all(last.1.as_bytes());
            let _ = stream.shutdown();
        }
        // Unread content would make the kernel reset the connection before the answer is read.
        let _ = stream.get_ref().shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(stream.get_mut(), &mut std::io::sink());
    })
}

const NOT_OFFERED: &str = "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n";
const CREATED: &str = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 413 No\r\nContent-Length: 5\r\n\r\nlarge";

#[test]
fn interim_responses_of_all_kinds_are_taken() {
    let pki = Pki::new();
    const LENGTH: usize = 2 << 20;
    let file = pki.write(".bin", vec![7; LENGTH]);
    let cases: [&'static [(u64, &str)]; 6] = [
        &[(0, "HTTP/1.1 100 Continue\r\n\r\n"), (0, CREATED)],
        &[(0, "HTTP/1.1 100 Continue\r\nServer: x\r\n\r\n"), (0, CREATED)],
        &[
            (0, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"),
            (0, CREATED),
        ],
        &[(0, "HTTP/1.1 1"), (50, "00 Continue\r\n"), (50, "\r\n"), (0, CREATED)],
        &[
            (0, "HTTP/1.1 102 Processing\r\n\r\n"),
            (1500, "HTTP/1.1 100 Continue\r\n\r\n"),
            (0, CREATED),
        ],
        &[(0, CREATED)],
    ];
    for pieces in cases {
        let server = interim_server(&pki, pieces, LENGTH);
        let ended = run(&pki, &["put", file.to_str().unwrap(), &server.url("/x")]);
        assert_eq!(ended.code(), Some(0), "{pieces:?}: {ended}");
    }
    // A server that does not know the expectation, and a client with little patience.
    let server = interim_server(&pki, &[(0, CREATED)], LENGTH);
    let short = ["put", file.to_str().unwrap(), &server.url("/x"), "--timeout", "500ms"];
    run(&pki, &short).expect_success();
}

#[test]
fn a_refusal_after_a_late_or_useless_100_is_heard() {
    let pki = Pki::new();
    let file = pki.dir().join("big");
    File::create(&file).unwrap().set_len(40 << 20).unwrap();
    let late: &'static [(u64, &str)] = &[(1300, "HTTP/1.1 100 Continue\r\n\r\n"), (0, REFUSED)];
    let together: &'static [(u64, &str)] = &[
        (0, "HTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"),
        (0, ""),
    ];
    for (pieces, content) in [(late, 100), (together, 0)] {
        let server = interim_server(&pki, pieces, content);
        let ended = run(&pki, &["put", file.to_str().unwrap(), &server.url("/x")]);
        assert_eq!(ended.code(), Some(20), "{pieces:?}: {ended}");
        assert!(ended.stderr.contains("413"), "{ended}");
    }
    let held = answering(&pki, REFUSED, Ending::Hold);
    let args = ["put", file.to_str().unwrap(), &held.url("/x"), "--max-time", "900ms"];
    run(&pki, &args).expect_code(20);
}

#[test]
fn a_refusal_by_a_server_that_reads_no_more_is_heard() {
    let pki = Pki::new();
    let file = pki.dir().join("big");
    File::create(&file).unwrap().set_len(64 << 20).unwrap();
    for answer in [REFUSED, "HTTP/1.0 413 No\r\n\r\nlarge"] {
        let server = answering(&pki, answer, Ending::Hold);
        let put = ["put", file.to_str().unwrap(), &server.url("/x")];
        let ended = run(&pki, &[&put[..], &["-H", "Expect:", "--timeout", "2s"]].concat());
        assert_eq!(ended.code(), Some(20), "{ended}");
        assert!(ended.stderr.contains("413"), "{ended}");
    }
}

#[test]
fn fields_that_are_left_out_are_left_out() {
    let pki = Pki::new();
    let server = answering(&pki, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ending::Close);
    let get = ["get", &server.url("/")];
    run(&pki, &get).expect_success();
    run(&pki, &[&get[..], &["-H", "User-Agent:", "-H", "accept:"]].concat()).expect_success();
    let [with, without] = &server.requests()[..] else { panic!("two requests") };
    let has = |head: &str, name: &str| head.to_lowercase().contains(&format!("\r\n{name}:"));
    assert!(has(with, "user-agent") && has(with, "accept"), "{with}");
    assert!(!has(without, "user-agent") && !has(without, "accept"), "{without}");
}

#[test]
fn a_refusal_in_the_middle_of_an_endless_upload_is_heard() {
    let server = SealpairServer::start(|s| s.writable().args(["--max-body", "1MiB"]));
    let zero = File::open("/dev/zero").unwrap();
    for source in ["-", "/dev/zero"] {
        let put = Run::of("sealpair").args(["put", source, &server.url("/x"), "--ca"]);
        let put = put.arg(server.ca()).input_file(zero.try_clone().unwrap());
        let ended = put.run().expect_code(20);
        assert!(ended.stderr.contains("413"), "{ended}");
    }
    assert_eq!(fs::read_dir(server.root()).unwrap().count(), 0, "nothing was stored");
}

#[test]
fn a_part_that_was_not_asked_for_is_23() {
    let pki = Pki::new();
    let part = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/100\r\n\
        Content-Length: 3\r\n\r\nabc";
    let server = answering(&pki, part, Ending::Close);
    let out = pki.dir().join("out");
    let get = ["get", &server.url("/"), "-o", out.to_str().unwrap()];
    run(&pki, &get).expect_code(23);
    assert!(!out.exists());
    run(&pki, &[&get[..], &["-H", "Range: bytes=0-2"]].concat()).expect_success();
    assert_eq!(fs::read(&out).unwrap(), b"abc");
}

#[test]
fn a_transfer_coding_that_is_not_chunked_is_23() {
    let pki = Pki::new();
    for head in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let answer = format!("{head}\r\n5\r\nhello\r\n0\r\n\r\n");
        let server = answering(&pki, &answer, Ending::Close);
        let ended = run(&pki, &["get", &server.url("/")]);
        assert_eq!(ended.code(), Some(23), "{head}: {ended}");
        assert!(ended.stdout.is_empty(), "{ended}");
    }
}

#[test]
fn not_modified_is_success_for_who_asked_on_a_condition() {
    let pki = Pki::new();
    let answer = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n";
    let server = answering(&pki, answer, Ending::Close);
    let out = pki.dir().join("out");
    let get = ["get", &server.url("/"), "-o", out.to_str().unwrap()];
    run(&pki, &[&get[..], &["-H", "If-None-Match: \"a\""]].concat()).expect_success();
    assert!(!out.exists(), "what the user has is good: nothing is written");
    run(&pki, &get).expect_code(23);
}

#[test]
fn a_status_that_is_none_is_23() {
    let pki = Pki::new();
    for status in [600, 999] {
        let answer = format!("HTTP/1.1 {status} Odd\r\nContent-Length: 0\r\n\r\n");
        let server = answering(&pki, &answer, Ending::Close);
        run(&pki, &["get", &server.url("/")]).expect_code(23);
    }
}

#[test]
fn an_error_page_without_end_does_not_hold_the_client() {
    let pki = Pki::new();
    let answer = "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwhy?\r\n";
    let server = answering(&pki, answer, Ending::Hold);
    let ended = run(&pki, &["get", &server.url("/"), "--timeout", "500ms"]).expect_code(21);
    assert!(ended.stderr.contains("why?"), "{ended}");
}

#[test]
fn all_of_it_can_be_bounded() {
    let pki = Pki::new();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let server = answering(&pki, head, Ending::Hold);
    run(&pki, &["get", &server.url("/"), "--max-time", "300ms"]).expect_code(7);
    run(&pki, &["get", &server.url("/"), "--timeout", "0"]).expect_code(2);
}

#[test]
fn the_platforms_tls_has_the_same_codes_for_these() {
    let pki = Pki::new();
    let platform = |url: &str| run(&pki, &["get", url, "--tls-backend", "platform"]);
    let mutual =
        SealpairServer::start(|s| s.identity(&pki.server()).client_auth("required", &pki.ca()));
    platform(&mutual.url("/")).expect_code(16);
    let http = ScriptedServer::plain(b"HTTP/1.1 400 Bad Request\r\n\r\n", Ending::Close);
    platform(&http.url("/")).expect_code(23);
    platform(&ScriptedServer::plain(b"", Ending::Close).url("/")).expect_code(6);
    let cut = answering(&pki, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", Ending::Cut);
    platform(&cut.url("/")).expect_code(24);
}

/// A root, an authority below it, a server below that, and the lists of both authorities.
const TWO_AUTHORITIES: &str = r#"
ca() {
    printf '[ca]\ndefault_ca = it\n[it]\ndatabase = %s.index\ndefault_md = sha256\n' "$1" >"$1.cnf"
    printf 'default_crl_days = 30\ncertificate = %s.pem\nprivate_key = %s.key\n' "$1" "$1" >>"$1.cnf"
    : >"$1.index"
    openssl ca -config "$1.cnf" -gencrl -out "$1.crl"
}
key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc'
authority='-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign'
openssl req -x509 $key -days 30 -subj /CN=root $authority -keyout root.key -out root.pem
openssl req $key -subj /CN=middle $authority -keyout middle.key -out middle.csr
openssl x509 -req -in middle.csr -CA root.pem -CAkey root.key -CAcreateserial \
    -copy_extensions copyall -days 30 -out middle.pem
openssl req $key -subj /CN=leaf -addext subjectAltName=DNS:localhost -keyout leaf.key -out leaf.csr
openssl x509 -req -in leaf.csr -CA middle.pem -CAkey middle.key -CAcreateserial \
    -copy_extensions copyall -days 30 -out leaf.pem
cat leaf.pem middle.pem >chain.pem
cat middle.pem root.pem >bundle.pem
ca root
ca middle
cat root.crl middle.crl >both.crl
"#;

#[test]
fn a_bundle_with_an_intermediate_works_with_and_without_revocation_lists() {
    let dir = tempfile::tempdir().unwrap();
    let mut sh = std::process::Command::new("sh");
    sh.args(["-e", "-c", TWO_AUTHORITIES]).current_dir(dir.path());
    Run::new(sh).run().expect_success();
    let path = |name: &str| dir.path().join(name);
    let chain =
        Credentials { cert: path("chain.pem"), key: path("leaf.key"), ca: path("root.pem") };
    let hello = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let server = ScriptedServer::answering(&chain, hello, Ending::Close);
    let get = |args: &[&str]| {
        let run = Run::of("sealpair").args(["get", &server.url("/")]).args(args);
        run.current_dir(dir.path()).run()
    };
    get(&["--ca", "root.pem"]).expect_success();
    get(&["--ca", "bundle.pem"]).expect_success();
    // An intermediate alone is an anchor.
    get(&["--ca", "middle.pem"]).expect_success();
    get(&["--ca", "root.pem", "--crl", "both.crl"]).expect_success();
    get(&["--ca", "bundle.pem", "--crl", "both.crl"]).expect_success();
    let ended = get(&["--ca", "bundle.pem", "--crl", "root.crl"]).expect_code(13);
    assert!(ended.stderr.contains("cannot be determined"), "{ended}");
}

#[test]
fn usage_errors_are_a_document_too_and_show_no_secret() {
    let usage = |args: &[&str]| Run::of("sealpair").args(args).run().expect_code(2);
    let json = usage(&["get", "--json", "--nonsense", "https://localhost/"]).json();
    assert_eq!(json["error"]["code"], 2);
    assert_eq!(json["error"]["kind"], "usage");
    for args in [
        &["get", "https://user:hunter2@localhost/"][..],
        &["get", "https://localhost/", "-H", "Authorization Bearer hunter2"],
    ] {
        let ended = usage(args);
        assert!(!ended.stderr.contains("hunter2"), "{ended}");
    }
    let ended = usage(&["get", "localhost:8443/x"]);
    assert!(ended.stderr.contains("https://localhost:8443/x"), "{ended}");
}

#[test]
fn the_librarys_agent_takes_nothing_to_another_origin() {
    let pki = Pki::new();
    let there = answering(&pki, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ending::Close);
    let here =
        format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", there.url("/"));
    let here = answering(&pki, &here, Ending::Close);
    let tls = ClientTls::builder().trust(Trust::system().file(pki.ca())).build().unwrap();
    let response = sealpair_client::agent(tls).get(here.url("/")).call().unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(sealpair_client::session(&response).unwrap().protocol, "TLSv1.3");
    assert_eq!(there.connections(), 0);
}

#[test]
fn existing_files_and_descriptors_are_written_rightly() {
    let server = SealpairServer::start(|s| s.file("short", "hello\n"));
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "Z".repeat(1000)).unwrap();
    let sealpair = sealpair_tests::program::program("sealpair");
    let (ca, url) = (server.ca(), server.url("/short"));
    let sh = |script: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-e", "-c", script]).current_dir(dir.path());
        command.env("get", format!("{} get -q --ca {} {url}", sealpair.display(), ca.display()));
        Run::new(command).run().expect_success()
    };
    sh("$get -o file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "hello\n");
    sh("echo first >log; $get -o /dev/stdout >>log; $get -o /dev/fd/3 3>>log");
    assert_eq!(fs::read_to_string(dir.path().join("log")).unwrap(), "first\nhello\nhello\n");
    sh("(echo before; $get -o /dev/stdout; echo after) >log");
    assert_eq!(fs::read_to_string(dir.path().join("log")).unwrap(), "before\nhello\nafter\n");
}

#[test]
fn a_file_keeps_its_name_whatever_is_in_it() {
    let server = SealpairServer::start(|s| s.writable());
    let dir = tempfile::tempdir().unwrap();
    for name in ["new\nline", "tab\there", "a[1]|b^c", "100%", "ü ?#&", "-dash", "%2e%2e"] {
        let file = dir.path().join(name);
        fs::write(&file, name).unwrap();
        let put = Run::of("sealpair").arg("put").arg(&file).arg(server.url("/"));
        put.arg("--ca").arg(server.ca()).run().expect_success();
        assert_eq!(fs::read(server.root().join(name)).unwrap(), name.as_bytes());
    }
}

#[test]
fn a_limit_on_file_sizes_is_4_and_no_signal() {
    let server = SealpairServer::start(|s| s);
    File::create(server.root().join("big")).unwrap().set_len(4 << 20).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "ulimit -f 200; exec {} get --ca {} {} -o big",
        sealpair_tests::program::program("sealpair").display(),
        server.ca().display(),
        server.url("/big"),
    );
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", &script]).current_dir(dir.path());
    Run::new(bash).run().expect_code(4);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
