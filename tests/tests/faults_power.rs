//! Loss of power at every moment of an upload and of a download: what a name stands for afterwards is the old
//! file or the whole new one, and what was acknowledged is there.

#![allow(clippy::unwrap_used, missing_docs)]

use sealpair_tests::power::{Call, Content, Disk, calls, recorder};
use sealpair_tests::{Run, SealpairServer, settles};
use std::fs;
use std::path::Path;

/// More than one write of either program.
const LENGTH: u64 = 700_000;

/// A server that has a file `old`, and is recorded.
fn recorded_server(dir: &Path) -> SealpairServer {
    SealpairServer::start(|s| s.writable().file("old", "old").through(recorder(&dir.join("trace"))))
}

/// Waits until the recorder has seen the end of the program, which it writes about after it.
fn ended(server: SealpairServer, trace: &Path) -> Vec<Call> {
    server.stop();
    let size = || fs::metadata(trace).map_or(0, |metadata| metadata.len());
    let mut last = size();
    settles("the trace is complete", || std::mem::replace(&mut last, size()) == size() && last > 0);
    calls(trace)
}

/// Goes through the calls and looks at every moment, whether the name could stand for a part of a file. Gives
/// the disk at the moment of the first thing that was said after the new file had its name.
fn never_a_part(calls: &[Call], old: &[&Path], target: &Path) -> Disk {
    let mut disk = Disk::with(old);
    let mut acknowledged = None;
    for (at, call) in calls.iter().enumerate() {
        let whole = Content::New { durable: LENGTH, written: LENGTH };
        if *call == Call::Say && acknowledged.is_none() && disk.now(target) == whole {
            acknowledged = Some(disk.clone());
        }
        disk.run(call);
        for content in disk.after_a_crash(target) {
            let good = match &content {
                Content::Absent => !old.contains(&target),
                Content::Old => true,
                content => *content == whole,
            };
            assert!(good, "after call {at}, {call:?}: {} may be {content:?}", target.display());
        }
    }
    acknowledged.unwrap_or(disk)
}

#[test]
fn an_upload_is_there_whole_when_it_is_acknowledged_and_never_in_part() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["old", "new"] {
        let server = recorded_server(dir.path());
        let content = dir.path().join("content");
        fs::write(&content, vec![b'x'; LENGTH as usize]).unwrap();
        let put = server.curl().arg("--fail").arg("--upload-file").arg(&content);
        put.arg(server.url(&format!("/{name}"))).run().expect_success();
        let root = server.root();
        let (old, target) = (root.join("old"), root.join(name));
        let calls = ended(server, &dir.path().join("trace"));
        let disk = never_a_part(&calls, &[&old], &target);
        let whole = Content::New { durable: LENGTH, written: LENGTH };
        assert_eq!(disk.after_a_crash(&target).into_iter().collect::<Vec<_>>(), [whole], "{name}");
    }
}

#[test]
fn a_download_takes_its_name_when_it_is_whole_on_the_disk() {
    let server = SealpairServer::start(|s| s.file("a", vec![b'x'; LENGTH as usize]));
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    for target in ["old", "new"].map(|name| dir.path().join(name)) {
        let old = dir.path().join("old");
        fs::write(&old, "old").unwrap();
        let line = recorder(&trace);
        let mut command = std::process::Command::new(&line[0]);
        // In the foreground: it ends with the program.
        command.args(line[1..].iter().filter(|argument| *argument != "-D"));
        command.arg(sealpair_tests::program::program("sealpair"));
        let get = Run::new(command).args(["get", &server.url("/a"), "--ca"]).arg(server.ca());
        get.arg("-o").arg(&target).run().expect_success();
        never_a_part(&calls(&trace), &[&old], &target);
        assert_eq!(fs::metadata(&target).unwrap().len(), LENGTH);
    }
}
