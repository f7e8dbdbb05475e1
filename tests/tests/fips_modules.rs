//! What `--fips` makes of the module that it finds: none, a broken one, one that is not alone.

#![allow(clippy::unwrap_used, missing_docs)]

use openssl::ssl::{SslOptions, SslVersion};
use sealpair_tests::fips::{ModuleCopy, sealpair_with_module};
use sealpair_tests::{Pki, RawClient, Run, SealpairServer, openssl, settles};
use std::fs;
use std::path::Path;

/// SSL_OP_NO_EXTENDED_MASTER_SECRET of <openssl/ssl.h>, which the `openssl` crate does not name.
const NO_EXTENDED_MASTER_SECRET: SslOptions = SslOptions::from_bits_retain(1);

#[test]
fn a_module_that_checks_the_extended_master_secret_itself_changes_nothing_but_the_alert() {
    // `openssl fipsinstall -ems_check` of 3.1 writes this line.
    let broken = ModuleCopy::new();
    broken.edit("fipsmodule.cnf", |text| text + "\ntls1-prf-ems-check = 1\n");
    let server =
        SealpairServer::start(|server| server.envs(broken.settings()).file("a", "A").arg("--fips"));
    let tls = RawClient::context(&server, |tls| {
        tls.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        tls.set_options(NO_EXTENDED_MASTER_SECRET);
    });
    assert!(RawClient::try_over(server.tcp(), &tls).is_err());
    settles("the log says why", || server.log().contains("extended master secret"));
}

#[test]
fn without_a_module_fips_tells_and_require_is_17() {
    let bare = || Run::of("sealpair").env("OPENSSL_MODULES", "/nonexistent");
    let shown = bare().args(["fips", "--json"]).run().expect_success().json();
    assert_eq!(shown["active"], false);
    assert!(shown["reason"].as_str().unwrap().contains("/nonexistent/fips.so"), "{shown}");
    let ended = bare().args(["fips", "--require", "--json"]).run().expect_code(17);
    assert_eq!(ended.json()["error"]["code"], 17);
    for system in ["Debian 13", "Ubuntu", "RHEL"] {
        assert!(ended.stderr.contains(system), "{ended}");
    }
    let ended = bare().args(["get", "https://localhost:1/", "--fips"]).run().expect_code(17);
    assert!(ended.stderr.contains("/nonexistent/fips.so"), "{ended}");
}

#[test]
fn a_module_that_cannot_be_relied_on_is_17_and_says_why() {
    let module = |change: &dyn Fn(&Path)| {
        let broken = ModuleCopy::new();
        change(&broken.module());
        broken
    };
    let rewrite = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    let absent = module(&|path| fs::remove_file(path).unwrap());
    let directory = module(&|path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    });
    // e_machine of the ELF header: no machine.
    let foreign = module(&|path| rewrite(path, &|bytes| bytes[18] = 0xff));
    // One that is cut later ends the process inside dlopen(3): the loader maps what is not there.
    let empty = module(&|path| rewrite(path, &|bytes| bytes.clear()));
    // One bit of what the MAC covers: a byte in the last quarter, which is data that is only loaded.
    let changed = module(&|path| {
        rewrite(path, &|bytes| {
            let at = bytes
                .windows(10)
                .position(|window| window == b"CTR-DRBG\0H" || window == b"TLS13-KDF\0")
                .unwrap();
            bytes[at] ^= 1;
        });
    });
    let bad_mac = ModuleCopy::new();
    bad_mac.edit("fipsmodule.cnf", |text| {
        let line = text.lines().find(|line| line.starts_with("module-mac")).unwrap().to_owned();
        let (start, end) = line.split_at(line.len() - 2);
        text.replace(&line, &format!("{start}{}", if end == "00" { "01" } else { "00" }))
    });
    let no_section = ModuleCopy::new();
    no_section.edit("fipsmodule.cnf", |_| "[fips_sect]\nactivate = 1\n".to_owned());
    let other_properties = ModuleCopy::new();
    other_properties.edit("openssl.cnf", |text| {
        text.replace("[openssl_init]", "[openssl_init]\nalg_section = algorithms")
            + "\n[algorithms]\ndefault_properties = provider=base\n"
    });
    for (broken, words) in [
        (&absent, "cannot open shared object file"),
        (&directory, "fips.so"),
        (&foreign, "fips.so"),
        (&empty, "file too short"),
        (&changed, "module"),
        (&bad_mac, "module"),
        (&no_section, "module"),
        (&other_properties, "does not have"),
    ] {
        let run = Run::of("sealpair").args(["fips", "--require"]).envs(broken.settings());
        let ended = run.run().expect_code(17);
        assert!(ended.stderr.contains(words), "{words}: {ended}");
        assert_eq!(ended.stderr.lines().count(), 3, "{ended}");
        let (ended, left) =
            SealpairServer::builder().envs(broken.settings()).arg("--fips").refused();
        ended.expect_code(17);
        assert!(!left.state().exists());
    }
}

/// As Red Hat's configuration in FIPS mode: the default provider is there, too.
fn with_the_default_provider() -> ModuleCopy {
    let beside = ModuleCopy::new();
    beside.edit("openssl.cnf", |text| {
        text.replace("base = base_sect", "base = base_sect\ndefault = default_sect")
            + "\n[default_sect]\nactivate = 1\n"
    });
    beside
}

#[test]
fn another_provider_beside_the_module_is_not_used_and_transfers_work() {
    let beside = with_the_default_provider();
    let run = |line: &[&str]| Run::of("sealpair").args(line).envs(beside.settings());
    let shown = run(&["fips", "--require", "--json"]).run().expect_success().json();
    let algorithms = shown["module"]["algorithms"].as_array().unwrap();
    assert!(algorithms.iter().all(|algorithm| algorithm["provider"] == "fips"), "{shown}");
    // The default provider reads the private keys of both ends from their files; the module takes them.
    let pki = Pki::new();
    let server = SealpairServer::start(|server| {
        let server =
            server.envs(beside.settings()).identity(&pki.server_rsa()).identity(&pki.server());
        server.client_auth("required", &pki.ca()).file("a", "A").arg("--fips")
    });
    let alice = pki.client("alice");
    let got = run(&["get", "--json", "-o", "/dev/null", &server.url("/a"), "--fips", "--ca"]);
    let got = got.arg(pki.ca()).arg("--cert").arg(&alice.cert).arg("--key").arg(&alice.key).run();
    assert!(got.expect_success().json()["tls"]["fips"].is_object());
}

#[test]
fn random_numbers_from_elsewhere_are_17() {
    let elsewhere = with_the_default_provider();
    elsewhere.edit("openssl.cnf", |text| {
        text.replace("[openssl_init]", "[openssl_init]\nrandom = random")
            + "\n[random]\nrandom = CTR-DRBG\nproperties = -fips,provider=default\n"
    });
    let run = Run::of("sealpair").args(["fips", "--require"]).envs(elsewhere.settings());
    let ended = run.run().expect_code(17);
    assert!(ended.stderr.contains("random number generator"), "{ended}");
}

#[test]
fn where_openssl_is_configured_for_fips_a_plain_command_is_told_the_flag() {
    let plain = sealpair_with_module().args(["get", "https://localhost:1/"]).run().expect_code(3);
    assert!(plain.stderr.contains("add --fips"), "{plain}");
}

#[test]
fn an_engine_comes_before_the_module_and_is_17() {
    // One of those that OpenSSL brings along.
    let folder = openssl().args(["version", "-e"]).run().expect_success().text();
    let engine = format!("{}/loader_attic.so", folder.split('"').nth(1).unwrap());
    assert!(Path::new(&engine).exists(), "{engine}");
    let beside = ModuleCopy::new();
    beside.edit("openssl.cnf", |text| {
        text.replace("[openssl_init]", "[openssl_init]\nengines = engines")
            + "\n[engines]\nattic = attic\n[attic]\nengine_id = loader_attic\ndynamic_path = "
            + &engine
            + "\ninit = 1\n"
    });
    let run = Run::of("sealpair").args(["fips", "--require"]).envs(beside.settings());
    let ended = run.run();
    if cfg!(feature = "vendored") {
        // It is built without engines: the section loads nothing, and the module stays alone.
        ended.expect_success();
    } else {
        let ended = ended.expect_code(17);
        assert!(ended.stderr.contains("the engine \"loader_attic\""), "{ended}");
    }
}
