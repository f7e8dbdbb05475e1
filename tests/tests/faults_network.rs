//! A network that fails at every interesting byte of a download and of an upload: in the handshake, in a head,
//! between two TLS records and in the middle of one, at the very end. It cuts, resets, delays, stalls, repeats and
//! damages. Whatever it does, the next try completes the transfer with the same bytes, and nothing that is not
//! complete has the file's name.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::moments::Moments;
use sealpair_tests::peers::{Fault, LossyProxy, Plan, Way};
use sealpair_tests::{Ended, Run, SealpairServer};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Some records of 16 KiB, and part of one; and long enough for an upload that can be resumed.
const LENGTH: usize = (1 << 20) + 100_000;

/// A record's length on the wire: header, content, its type, and the tag of AES-GCM (RFC 8446 section 5.2).
const RECORD: u64 = 5 + (16 << 10) + 1 + 16;

struct Network {
    server: SealpairServer,
    proxy: LossyProxy,
    /// What the first connection of the next try suffers.
    plan: Arc<Mutex<Plan>>,
    tries: Arc<AtomicUsize>,
    dir: tempfile::TempDir,
}

impl Network {
    fn new(content: &[u8]) -> Self {
        let server = SealpairServer::start(|s| s.writable().file("source", content));
        let (plan, tries) = (Arc::new(Mutex::new(Plan::GOOD)), Arc::<AtomicUsize>::default());
        let proxy = LossyProxy::new(server.address(), {
            let (plan, tries) = (Arc::clone(&plan), Arc::clone(&tries));
            move |_| match tries.fetch_add(1, Ordering::SeqCst) {
                0 => *plan.lock().unwrap(),
                _ => Plan::GOOD,
            }
        });
        Self { server, proxy, plan, tries, dir: tempfile::tempdir().unwrap() }
    }

    fn run(&self, args: &[&str], plan: Plan) -> Ended {
        *self.plan.lock().unwrap() = plan;
        self.tries.store(0, Ordering::SeqCst);
        let run = Run::of("sealpair").args(args).arg("--ca").arg(self.server.ca());
        let run =
            run.args(["--timeout", "2s"]).env("XDG_STATE_HOME", self.dir.path().join("state"));
        run.current_dir(self.dir.path()).run()
    }

    /// The bytes at which something may go differently, from what a try without a fault moved.
    fn moments(&self, way: Way, total: u64) -> BTreeSet<u64> {
        let mut moments = BTreeSet::from([0, 1, 4, 5, 6, 200, 1000, 2000]);
        // Where records of content begin is not known exactly: the middle of some, and around their ends.
        for record in [1, 2, 20] {
            let middle = total.saturating_sub(record * RECORD);
            moments.extend([middle, middle + 1, middle + RECORD / 2]);
        }
        // The last bytes: the answer's or close_notify's (24 bytes), or the end of content.
        moments.extend((0..4).map(|back| total.saturating_sub(back)));
        moments.extend([24, 25, 48, 300].map(|back| total.saturating_sub(back)));
        println!("{way:?}: {total} bytes, {} moments", moments.len());
        moments
    }

    /// Tries with each fault at each moment, and then without; `target` must have the content in the end.
    fn suffer(&self, way: Way, target: &Path, content: &[u8], args: &[&str]) {
        let before = self.proxy.moved(way);
        self.run(args, Plan::GOOD).expect_success();
        assert_eq!(fs::read(target).unwrap(), content);
        let total = self.proxy.moved(way) - before;
        let mut failures = 0;
        for (at, moment) in self.moments(way, total).into_iter().enumerate() {
            let faults = [Fault::Cut, Fault::Reset, Fault::Damage, Fault::Repeat];
            // Each moment is cut; the other faults take turns.
            for fault in [faults[0], faults[1 + at % 3]] {
                fs::remove_file(target).unwrap();
                let ended = self.run(args, Plan::bad(fault, way, moment));
                let what = format!("{fault:?} {way:?} after {moment} of {total}: {ended}");
                // Lost or cut short; damaged or repeated bytes do not authenticate.
                assert!(matches!(ended.code(), Some(0 | 6 | 7 | 8 | 23 | 24)), "{what}");
                if ended.code() == Some(0) {
                    assert_eq!(fs::read(target).unwrap(), content, "{what}");
                } else {
                    failures += 1;
                    assert!(
                        !target.exists() || fs::read(target).unwrap() == content,
                        "a part has the name: {what}"
                    );
                    self.run(args, Plan::GOOD).expect_success();
                    assert_eq!(fs::read(target).unwrap(), content, "{what}");
                }
            }
        }
        assert!(failures > 10, "only {failures} faults were felt");
    }
}

#[test]
fn a_download_survives_a_network_that_fails() {
    let content = Moments::new().bytes(LENGTH);
    let network = Network::new(&content);
    let target = network.dir.path().join("copy");
    let url = network.proxy.url("/source");
    let args = ["get", "--continue", "--quiet", "-o", "copy", &url];
    network.suffer(Way::Down, &target, &content, &args);
    network.suffer(Way::Up, &target, &content, &args);
}

#[test]
fn an_upload_survives_a_network_that_fails() {
    let content = Moments::new().bytes(LENGTH);
    let network = Network::new(b"");
    fs::write(network.dir.path().join("source"), &content).unwrap();
    let target = network.server.root().join("copy");
    let url = network.proxy.url("/copy");
    let args = ["put", "--quiet", "source", &url];
    network.suffer(Way::Up, &target, &content, &args);
    network.suffer(Way::Down, &target, &content, &args);
}

/// A delay costs time only. What does not move at all is given up (exit code 7), and then gone on with.
fn stop_moving(network: &Network, way: Way, target: &Path, content: &[u8], args: &[&str]) {
    for (fault, code) in [(Fault::Pause, 0), (Fault::Stall, 7)] {
        let ended = network.run(args, Plan::bad(fault, way, LENGTH as u64 / 2));
        assert_eq!(ended.code(), Some(code), "{fault:?}: {ended}");
        assert_eq!(target.exists(), code == 0, "{fault:?}: {ended}");
        if code != 0 {
            network.run(args, Plan::GOOD).expect_success();
        }
        assert_eq!(fs::read(target).unwrap(), content, "{fault:?}");
        fs::remove_file(target).unwrap();
    }
}

#[test]
fn a_download_survives_a_network_that_stops_moving() {
    let content = Moments::new().bytes(LENGTH);
    let network = Network::new(&content);
    let (target, url) = (network.dir.path().join("copy"), network.proxy.url("/source"));
    let args = ["get", "--continue", "--quiet", "-o", "copy", &url];
    stop_moving(&network, Way::Down, &target, &content, &args);
}

#[test]
fn an_upload_survives_a_network_that_stops_moving() {
    let content = Moments::new().bytes(LENGTH);
    let network = Network::new(b"");
    fs::write(network.dir.path().join("source"), &content).unwrap();
    let (target, url) = (network.server.root().join("copy"), network.proxy.url("/copy"));
    let args = ["put", "--quiet", "source", &url];
    stop_moving(&network, Way::Up, &target, &content, &args);
}
