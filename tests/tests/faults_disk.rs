//! A disk of the client's that is full at every stage of a download: whatever happens, there is no file that
//! looks complete, the reason is said with exit code 4, and with room again the download is completed.
//!
//! Full disks of the server are in `server_upload_space.rs`.

#![allow(clippy::unwrap_used, missing_docs)]

use rustix::process::geteuid;
use sealpair_tests::moments::Moments;
use sealpair_tests::{Ended, Run, SealpairServer};
use std::fs;
use std::path::Path;

const LENGTH: usize = 1 << 20;

/// A small disk of its own for a script: a tmpfs in a mount namespace, which goes with the script.
fn on_a_small_disk(server: &SealpairServer, kibibytes: usize, script: &str) -> Ended {
    let place = server.dir().join("disk");
    fs::create_dir_all(&place).unwrap();
    let mut command =
        std::process::Command::new(sealpair_tests::peers::find("unshare", "util-linux"));
    // Who is not root becomes it in a user namespace of its own.
    let user: &[&str] = if geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    command.args(user).args(["--mount", "--", "/bin/bash", "-euc"]).arg(format!(
        "mount -t tmpfs -o size={kibibytes}k small \"$PLACE\"; cd \"$PLACE\"; {script}"
    ));
    let client = sealpair_tests::program::program("sealpair");
    let folder = client.parent().map(Path::to_owned).unwrap();
    let path = std::env::var("PATH").unwrap();
    Run::new(command)
        .env("PLACE", &place)
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("CA", server.ca())
        .env("URL", server.url("/file"))
        .run()
}

#[test]
fn a_full_disk_is_said_leaves_nothing_that_looks_complete_and_is_survived() {
    let content = Moments::new().bytes(LENGTH);
    let server = SealpairServer::start(|s| s.file("file", &content).writable());
    // From no room at all, over some for a part, to a little less than enough. What takes the room goes away
    // after the first try.
    for room in [0, 4, 64, 300, 900, 1020] {
        for flags in ["--continue", "", "--continue --parallel 4"] {
            let script = format!(
                "head -c $(( (2048 - {room}) << 10 )) /dev/zero >ballast
                 code=0; sealpair get {flags} --quiet --ca \"$CA\" \"$URL\" -o copy || code=$?
                 [ ! -e copy ] || {{ echo 'it has its name'; exit 99; }}
                 [ $code = 4 ] || exit $((100 + code))
                 rm ballast
                 sealpair get {flags} --quiet --ca \"$CA\" \"$URL\" -o copy
                 [ \"$(ls -A)\" = copy ] || {{ ls -A; exit 98; }}
                 cat copy"
            );
            let ended = on_a_small_disk(&server, 2048, &script);
            assert_eq!(ended.code(), Some(0), "{room} KiB, {flags}: {}", ended.stderr);
            assert!(ended.stdout == content, "{room} KiB, {flags}: {}", ended.stderr);
        }
    }
}
