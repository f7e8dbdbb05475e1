//! What is unusable at start ends with the right exit code, a message that names the cause and the
//! remedy, and no traces; and what a good start leaves.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::Signal;
use sealpair_common::pki::{
    Authority, AuthorityOptions, CertificateFacts, LeafRequest, Overwrite, read,
};
use sealpair_tests::pki::{NAMES, days};
use sealpair_tests::{
    Credentials, Ended, Pki, RawClient, Run, SealpairServer, ServerBuilder, settles,
};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// The server refuses to start with this code; what it says contains these words, in three lines at
/// most.
#[track_caller]
fn refused(server: ServerBuilder, code: i32, words: &[&str]) -> Ended {
    let (ended, server) = server.refused();
    let ended = ended.expect_code(code);
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is not in: {ended}");
    }
    assert!(ended.stdout.is_empty(), "{ended}");
    assert!(!server.ready_file().exists());
    if code != 2 {
        let report = ended.stderr.split_once("sealpair-server: ").unwrap().1;
        assert!(report.lines().count() <= 3, "{ended}");
    }
    ended
}

fn server() -> ServerBuilder {
    SealpairServer::builder()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_key_of_another_certificate_is_refused_with_both_names() {
    let pki = Pki::new();
    let (one, two) = (pki.server(), pki.server());
    let mixed = Credentials { key: two.key.clone(), ..one.clone() };
    let words = ["does not belong to the certificate", text(&one.cert), text(&two.key), "--key"];
    refused(server().identity(&mixed), 3, &words);
    // The same where the keys are of different kinds.
    let rsa = pki.server_rsa();
    let mixed = Credentials { key: rsa.key.clone(), ..one };
    refused(server().identity(&mixed), 3, &["does not belong", text(&rsa.key)]);
}

#[test]
fn a_missing_or_unreadable_file_is_named() {
    let pki = Pki::new();
    let good = pki.server();
    let nowhere = pki.dir().join("nowhere.pem");
    // Root may read everything, so: a directory, and a path through a file.
    let through = good.cert.join("file.pem");
    for bad in [nowhere.as_path(), pki.dir(), &through] {
        let cert = Credentials { cert: bad.to_owned(), ..good.clone() };
        refused(server().identity(&cert), 3, &["cannot read the certificate", text(bad), "check"]);
        let key = Credentials { key: bad.to_owned(), ..good.clone() };
        refused(server().identity(&key), 3, &["cannot read the private key", text(bad), "check"]);
        let good = || server().identity(&good);
        refused(good().client_auth("required", bad), 3, &[text(bad), "check"]);
        let crl = good().client_auth("required", &pki.ca()).arg("--crl").arg(bad);
        refused(crl, 3, &[text(bad), "check"]);
        refused(good().arg("--key-pass-file").arg(bad), 3, &["passphrase", text(bad), "check"]);
        refused(server().arg("--pkcs12").arg(bad), 3, &["PKCS#12", text(bad), "check"]);
    }
}

#[test]
fn files_that_hold_something_else_are_named() {
    let pki = Pki::new();
    let good = pki.server();
    let garbage = pki.write(".pem", "garbage\n");
    let empty = pki.write(".pem", "");
    let broken = fs::read_to_string(&good.cert).unwrap().replace('M', "!");
    let broken = pki.write(".pem", broken);
    for bad in [&garbage, &empty, &broken, &good.key] {
        let cert = Credentials { cert: bad.clone(), ..good.clone() };
        refused(server().identity(&cert), 3, &[text(bad), "certificate", "check"]);
        let required = server().identity(&good).client_auth("required", bad);
        refused(required, 3, &[text(bad), "check"]);
        refused(server().arg("--pkcs12").arg(bad), 3, &[text(bad), "PKCS#12", "check"]);
    }
    let swapped = Credentials { cert: good.key.clone(), key: good.cert.clone(), ..good.clone() };
    let words = ["holds a private key and no certificate", text(&good.key), "swapped"];
    refused(server().identity(&swapped), 3, &words);
    let twice = Credentials { key: good.cert.clone(), ..good.clone() };
    let words = ["holds a certificate and no private key", text(&good.cert), "swapped"];
    refused(server().identity(&twice), 3, &words);
    let archive = server().arg("--pkcs12").arg(&garbage);
    let ended = refused(archive, 3, &["OpenSSL: "]);
    assert!(!ended.stderr.contains(".c:"), "{ended}");
    for bad in [&garbage, &empty, &good.cert] {
        let key = Credentials { key: bad.clone(), ..good.clone() };
        refused(server().identity(&key), 3, &[text(bad), "private key", "check"]);
    }
}

#[test]
fn an_encrypted_key_wants_its_passphrase() {
    let pki = Pki::new();
    let good = pki.server();
    let key = pki.encrypted_key(&good, "right");
    let encrypted = Credentials { key: key.clone(), ..good };
    let words = ["is encrypted", text(&key), "--key-pass-file"];
    refused(server().identity(&encrypted), 3, &words);
    let with = |server: ServerBuilder, passphrase: &str| {
        server.arg("--key-pass-file").arg(pki.write(".pass", passphrase))
    };
    for wrong in ["wrong\n", "", "\nright\n", "right \n"] {
        let words = ["does not open", text(&key), "--key-pass-file"];
        refused(with(server().identity(&encrypted), wrong), 3, &words);
    }
    let p12 = pki.server_pkcs12("right");
    refused(server().arg("--pkcs12").arg(&p12), 3, &["is encrypted", text(&p12)]);
    refused(with(server().arg("--pkcs12").arg(&p12), "wrong"), 3, &["does not open", text(&p12)]);
}

#[test]
fn a_root_that_is_not_a_directory_is_refused() {
    let builder = server().file("file", "");
    let file = builder.root().join("file");
    let nowhere = builder.root().join("nowhere");
    for root in [&file, &nowhere] {
        let words = ["cannot serve", text(root), "name a directory"];
        refused(server().serving(root), 3, &words);
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let words = ["cannot listen on", &taken, "another port"];
    refused(server().listen(&taken), 3, &words);
    refused(server().args(["--listen", &taken]), 3, &words);
    drop(holder);
    // TEST-NET-1, RFC 5737: no machine has it.
    let words = ["cannot listen on 192.0.2.1:0", "address of this machine"];
    refused(server().listen("192.0.2.1:0"), 3, &words);
    for nonsense in ["localhost", "127.0.0.1:99999", ":", "127.0.0.1:x"] {
        refused(server().listen(nonsense), 2, &["cannot listen on", nonsense, "ADDR:PORT"]);
    }
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    let pki = Pki::new();
    let good = pki.server();
    let cert = || server().arg("--cert").arg(&good.cert);
    refused(cert(), 2, &["--cert and --key come in pairs"]);
    refused(server().arg("--key").arg(&good.key), 2, &["--cert and --key come in pairs"]);
    refused(server().arg("--no-such-flag"), 2, &["--no-such-flag", "--help"]);
    refused(server().args(["--policy", "none"]), 2, &["none", "intermediate"]);
    refused(server().args(["--max-body", "many"]), 2, &["many", "--max-body"]);
    refused(server().args(["--head-timeout", "soon"]), 2, &["soon", "--head-timeout"]);
    refused(server().args(["--max-connections", "0"]), 2, &["--max-connections"]);
    for flag in ["--handshake-timeout", "--head-timeout", "--idle-timeout"] {
        refused(server().args([flag, "0"]), 2, &[flag, "above 0"]);
    }
    for mode in ["required", "optional"] {
        let unknown = server().identity(&good).args(["--client-auth", mode]);
        let ended = refused(unknown, 2, &["--client-auth needs --client-ca", "--client-ca FILE"]);
        assert_eq!(ended.stderr.lines().count(), 3, "{ended}");
    }
    let words = ["--access-log-format has no effect", "--access-log FILE"];
    refused(server().args(["--access-log-format", "json"]), 2, &words);
    let useless = server().identity(&good).arg("--client-ca").arg(pki.ca());
    refused(useless, 2, &["--client-auth"]);
    Run::of("sealpair-server").run().expect_code(2);
    let help = Run::of("sealpair-server").args(["serve", "--help"]).run().expect_success();
    for word in ["--ready-file", "500ms", "10MiB", "1KiB/s"] {
        assert!(help.text().contains(word), "{help}");
    }
    Run::of("sealpair-server").arg("--version").run().expect_success();
}

#[test]
fn what_this_build_cannot_provide_is_refused_and_leaves_nothing() {
    for flags in [&["--fips"][..], &["--policy", "fips"], &["--policy", "cnsa1", "--fips"]] {
        let (ended, left) = server().args(flags).refused();
        let ended = ended.expect_code(17);
        assert!(ended.stderr.contains("openssl-provider-fips"), "what to install: {ended}");
        assert!(!left.state().exists(), "no authority is left behind");
    }
    let pki = Pki::new();
    let rsa = pki.server_rsa();
    let words = ["modern", "RSA", text(&rsa.cert), "--policy"];
    refused(server().identity(&rsa).args(["--policy", "modern"]), 3, &words);
}

#[test]
fn a_ready_file_that_cannot_be_written_ends_with_4() {
    let server = server();
    let (root, state) = (server.root(), server.state());
    let nowhere = server.dir().join("no/such/ready.json");
    let run = Run::of("sealpair-server").arg("serve").arg(root);
    let run = run.args(["--listen", "127.0.0.1:0", "--state-dir"]).arg(state);
    let ended = run.arg("--ready-file").arg(&nowhere).run().expect_code(4);
    assert!(ended.stderr.contains(text(&nowhere)), "{ended}");
    assert!(ended.stdout.is_empty(), "{ended}");
}

#[test]
fn the_ready_file_says_where_and_what_and_goes_with_the_server() {
    let builder = server();
    let path = builder.ready_file();
    let server = builder.args(["--listen", "127.0.0.1:0"]).start();
    let ready = server.ready().clone();
    assert_eq!(ready["schema"], "sealpair.ready/1");
    assert_eq!(ready["pid"], server.pid());
    assert_eq!(ready["url"], format!("https://localhost:{}", server.port()));
    let listen = ready["listen"].as_array().unwrap();
    assert_eq!(listen.len(), 2);
    assert!(listen.iter().all(|address| address.as_str().unwrap().starts_with("127.0.0.1:")));
    assert_eq!(ready["ca"], text(&server.state().join("ca.pem")));
    assert_eq!(ready["policy"], "intermediate");
    assert!(ready["openssl"].as_str().unwrap().starts_with("OpenSSL 3"), "{ready}");
    assert!(ready["fips"].is_null());
    for address in listen {
        let url = format!("https://{}/", address.as_str().unwrap());
        server.curl().arg(url).run().expect_success();
    }
    settles("both listeners are announced", || server.stdout().lines().count() == 2);
    let lines = server.stdout();
    assert!(lines.contains(&server.url("/")) && lines.contains("sealpair get --ca "), "{lines}");
    assert_eq!(server.stop(), 0);
    assert!(!path.exists());
}

#[test]
fn the_url_leads_to_its_listener_whatever_the_address() {
    let mut addresses = vec!["127.0.0.1:0", "127.0.0.2:0", "0.0.0.0:0"];
    // Containers often have no IPv6 at all.
    match TcpListener::bind("[::1]:0") {
        Ok(_) => addresses.extend(["[::1]:0", "[::]:0"]),
        Err(error) => eprintln!("without IPv6 on this machine: {error}"),
    }
    for address in addresses {
        let server = server().listen(address).file("a", "hello").start();
        let url = format!("{}/a", server.ready()["url"].as_str().unwrap());
        let got = Run::of("sealpair").args(["get", &url, "--ca"]).arg(server.ca()).run();
        assert_eq!(got.expect_success().stdout, b"hello", "{address}: {url}");
    }
}

#[test]
fn an_old_ready_file_is_replaced() {
    let builder = server();
    let old = builder.dir().join("old.json");
    fs::write(&old, "{\"pid\":1}").unwrap();
    let mut process = Run::of("sealpair-server")
        .arg("serve")
        .arg(builder.root())
        .args(["--listen", "127.0.0.1:0", "--state-dir"])
        .arg(builder.state())
        .arg("--ready-file")
        .arg(&old)
        .start();
    let pid = process.pid();
    settles("it is this server's", || {
        assert!(!process.has_ended(), "{}", process.stderr());
        // A reader sees all of it or nothing.
        let ready: serde_json::Value = serde_json::from_slice(&fs::read(&old).unwrap()).unwrap();
        ready["pid"] == pid
    });
    process.signal(Signal::TERM);
    process.wait().expect_success();
    assert!(!old.exists());
}

#[test]
fn a_start_that_fails_leaves_another_servers_ready_file_and_removes_a_dead_ones() {
    let mut running = SealpairServer::start(|server| server);
    let taken = running.address().to_string();
    let file = running.ready_file();
    let fail = || {
        let run = Run::of("sealpair-server").arg("serve").arg(running.root());
        let run = run.args(["--listen", &taken, "--state-dir"]).arg(running.state());
        run.args(["--pkcs12", "nowhere", "--ready-file"]).arg(&file).run().expect_code(3);
    };
    fail();
    assert!(file.exists(), "the server that runs is ready all the same");
    let pid = running.pid();
    running.signal(Signal::KILL);
    let root = file.parent().unwrap();
    let run = |flags: &[&str], code| {
        assert!(file.exists());
        let run = Run::of("sealpair-server").arg("serve").args(flags).arg("--ready-file");
        run.arg(&file).current_dir(root).run().expect_code(code);
        assert!(!file.exists(), "a script must not take it for this one's");
    };
    let left = fs::read(&file).unwrap();
    settles("it has ended, but nobody has waited for it", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ")
    });
    run(&["--pkcs12", "nowhere"], 3);
    running.wait();
    for (flags, code) in [
        (["--cert", "nowhere"], 2),
        (["--listen", "nowhere"], 2),
        (["--management", "nowhere"], 2),
        (["--client-ca", "nowhere"], 2),
    ] {
        fs::write(&file, &left).unwrap();
        run(&flags, code);
    }
}

#[test]
fn the_state_directory_is_private_and_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("deep/state");
    let start = || SealpairServer::start(|server| server.state_dir(&state));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let read = |name: &str| fs::read(state.join(name)).unwrap();

    let first = start();
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("ca.key")), 0o600);
    assert_eq!(mode(&state.join("server.key")), 0o600);
    let before = (read("ca.pem"), read("ca.key"), read("server.pem"), read("server.key"));
    first.curl_get("/");
    assert_eq!(first.stop(), 0);

    let second = start();
    assert!(before == (read("ca.pem"), read("ca.key"), read("server.pem"), read("server.key")));
    second.curl_get("/");
    let host = second.curl().arg(format!("https://127.0.0.1:{}/", second.port()));
    host.run().expect_success();
}

#[test]
fn servers_that_start_at_once_agree_on_one_authority() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let servers: Vec<SealpairServer> = std::thread::scope(|scope| {
        let start = |number: usize| {
            // Two of them need another name in the certificate than the others.
            let address = format!("127.0.0.{}:0", 1 + number % 2);
            let state = &state;
            scope.spawn(move || {
                SealpairServer::start(|server| server.state_dir(state).listen(&address))
            })
        };
        let starting: Vec<_> = (0..4).map(start).collect();
        starting.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let ca = fs::read(state.join("ca.pem")).unwrap();
    for server in &servers {
        assert!(fs::read(server.ca()).unwrap() == ca);
        assert_eq!(RawClient::connect(server).get("/").status, 200);
    }
    let left: Vec<_> = fs::read_dir(&state).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "{left:?}");
}

/// The serial number and the end of the certificate that is served from a state directory.
fn served(state: &Path) -> CertificateFacts {
    CertificateFacts::of(&read::read_certificates(&state.join("server.pem"), None).unwrap()[0])
}

#[test]
fn a_certificate_that_is_due_is_renewed_under_the_same_authority() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let start = || SealpairServer::start(|server| server.state_dir(&state));
    assert_eq!(start().stop(), 0);
    let ca = fs::read(state.join("ca.pem")).unwrap();
    let authority = Authority::load(&state.join("ca.pem"), &state.join("ca.key")).unwrap();
    let (cert, key) = (state.join("server.pem"), state.join("server.key"));
    for request in [
        LeafRequest::server(NAMES).unwrap().not_after(days(10)),
        LeafRequest::server(NAMES).unwrap().not_before(days(-9)).not_after(days(-1)),
        LeafRequest::server(["localhost"]).unwrap(),
    ] {
        authority.issue(&request).unwrap().save(&cert, &key, Overwrite::Replace).unwrap();
        let due = served(&state);
        let server = start();
        server.curl_get("/");
        let renewed = served(&state);
        assert_ne!(renewed.serial, due.serial);
        assert!(renewed.ends().unwrap() > days(60));
        assert_eq!(server.stop(), 0);
    }
    // So is one whose files are broken, or that another authority issued.
    fs::write(&cert, "garbage").unwrap();
    start().curl_get("/");
    fs::remove_file(&key).unwrap();
    start().curl_get("/");
    let other = Authority::create(&AuthorityOptions::new()).unwrap();
    let leaf = other.issue(&LeafRequest::server(NAMES).unwrap()).unwrap();
    leaf.save(&cert, &key, Overwrite::Replace).unwrap();
    start().curl_get("/");
    assert!(fs::read(state.join("ca.pem")).unwrap() == ca);
}

#[test]
fn a_certificate_whose_key_was_mixed_up_is_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let start = || SealpairServer::start(|server| server.state_dir(&state));
    assert_eq!(start().stop(), 0);
    // What a crash between two renames leaves.
    fs::copy(state.join("ca.key"), state.join("server.key")).unwrap();
    start().curl_get("/");
}

#[test]
fn an_authority_that_is_broken_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    assert_eq!(SealpairServer::start(|server| server.state_dir(&state)).stop(), 0);
    let key = state.join("ca.key");
    let good = fs::read(&key).unwrap();
    for broken in [&b"garbage"[..], b""] {
        fs::write(&key, broken).unwrap();
        refused(server().state_dir(&state), 3, &[text(&key)]);
        assert_eq!(fs::read(&key).unwrap(), broken);
    }
    fs::remove_file(&key).unwrap();
    refused(server().state_dir(&state), 3, &[text(&key)]);
    fs::write(&key, good).unwrap();
    SealpairServer::start(|server| server.state_dir(&state)).curl_get("/");
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    refused(server().state_dir(&file), 4, &[text(&file)]);
    refused(server().state_dir(file.join("state")), 4, &[text(&file.join("state"))]);
    let dangling = dir.path().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    refused(server().state_dir(&dangling), 4, &[text(&dangling)]);
}

#[test]
fn the_state_directory_follows_the_environment() {
    let home = tempfile::tempdir().unwrap();
    for (name, below) in [("HOME", ".local/state/sealpair"), ("XDG_STATE_HOME", "sealpair")] {
        let builder = server();
        let ready = builder.ready_file();
        let mut process = Run::of("sealpair-server")
            .arg("serve")
            .arg(builder.root())
            .args(["--listen", "127.0.0.1:0", "--ready-file"])
            .arg(&ready)
            .without_env("XDG_STATE_HOME")
            .env(name, home.path())
            .start();
        settles("it is ready", || {
            assert!(!process.has_ended(), "{}", process.stderr());
            ready.exists()
        });
        assert!(home.path().join(below).join("ca.pem").is_file());
    }
    let lost = Run::of("sealpair-server").args(["serve", "--listen", "127.0.0.1:0"]);
    let lost = lost.without_env("XDG_STATE_HOME").without_env("HOME").run().expect_code(3);
    assert!(lost.stderr.contains("--state-dir"), "{lost}");
}

#[test]
fn a_free_port_is_free_again_after_a_stop() {
    let first = SealpairServer::start(|server| server);
    let address = first.address().to_string();
    RawClient::connect(&first).get("/");
    assert_eq!(first.stop(), 0);
    let second = SealpairServer::start(|server| server.listen(&address));
    assert_eq!(second.address().to_string(), address);
    second.curl_get("/");
}

#[test]
fn the_limit_of_descriptors_is_raised_as_far_as_it_may_be() {
    let limited = |connections: &str| {
        let prlimit = sealpair_tests::peers::find("prlimit", "util-linux");
        server()
            .through([prlimit.as_os_str(), "--nofile=256:4096".as_ref()])
            .args(["--max-connections", connections])
            .start()
    };
    let server = limited("4033");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[3..5], ["4096", "4096"], "{line}");
    assert!(server.log().contains("at most 4096 descriptors may be open"), "{}", server.log());
    let server = limited("4032");
    assert!(!server.log().contains("descriptors"), "{}", server.log());
}
