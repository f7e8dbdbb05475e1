//! A gibibyte each way in constant memory, at both ends, as /proc has it.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::{Run, Running, SealpairServer};
use std::fs::{self, File};
use std::time::Duration;

const GIBIBYTE: u64 = 1 << 30;
const LIMIT_KIB: u64 = 64 << 10;

/// Waits for the client and returns the largest resident size in KiB that it had while it ran.
fn watch(mut client: Running) -> u64 {
    let status = format!("/proc/{}/status", client.pid());
    let mut peak = 0;
    while !client.has_ended() {
        // A process that has ended has no such line any more.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(20));
    }
    client.wait().expect_success();
    peak
}

#[test]
fn a_gibibyte_goes_both_ways_below_64_mib_at_both_ends() {
    let server = SealpairServer::start(|s| s.writable());
    let dir = tempfile::tempdir().unwrap();
    File::create(server.root().join("big")).unwrap().set_len(GIBIBYTE).unwrap();
    let sealpair = || Run::of("sealpair").arg("--quiet").deadline(Duration::from_secs(300));
    let ca = server.ca();

    let get = sealpair().args(["get", &server.url("/big"), "-o", "/dev/null", "--ca"]).arg(&ca);
    let peak = watch(get.start());
    assert!((1..LIMIT_KIB).contains(&peak), "the client took {peak} KiB to download");

    let file = dir.path().join("big");
    File::create(&file).unwrap().set_len(GIBIBYTE).unwrap();
    let put = sealpair().arg("put").arg(&file).arg(server.url("/copy")).arg("--ca").arg(&ca);
    let peak = watch(put.start());
    assert!((1..LIMIT_KIB).contains(&peak), "the client took {peak} KiB to upload");
    assert_eq!(fs::metadata(server.root().join("copy")).unwrap().len(), GIBIBYTE);

    let peak = server.peak_rss_kib();
    assert!(peak < LIMIT_KIB, "the server took {peak} KiB");
}
