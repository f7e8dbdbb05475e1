//! The ready file: how a script learns that the server accepts, and where.

use sealpair_common::exit::Exit;
use sealpair_common::pki::Overwrite;
use sealpair_common::pki::files::{Output, write_together};
use sealpair_common::report::Report;
use sealpair_common::tls::fips::ModuleName;
use serde::Serialize;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The version of the document.
pub(crate) const SCHEMA: &str = "sealpair.ready/1";

/// The program's name as the kernel has it, which keeps fifteen characters.
const PROGRAM: &str = "sealpair-server";

/// What the ready file says.
#[derive(Debug, Serialize)]
pub(crate) struct Ready<'a> {
    pub(crate) schema: &'static str,
    pub(crate) pid: u32,
    pub(crate) url: &'a str,
    pub(crate) listen: Vec<String>,
    /// The authority to trust, where the server made its own.
    pub(crate) ca: Option<&'a Path>,
    pub(crate) policy: &'static str,
    pub(crate) openssl: &'static str,
    /// The active FIPS module.
    pub(crate) fips: Option<ModuleName>,
    /// Where health and metrics are: `127.0.0.1:9090` or `unix:/run/sealpair.sock`.
    pub(crate) management: Option<String>,
}

/// A ready file that is there as long as the server serves.
#[derive(Debug)]
pub(crate) struct ReadyFile {
    path: PathBuf,
    /// Which file it is: device and inode. Another server may have put its own in its place.
    identity: (u64, u64),
}

impl ReadyFile {
    /// Writes the file under another name and renames it: a reader sees all of it or nothing, and what
    /// an earlier run has left is replaced.
    pub(crate) fn write(path: &Path, ready: &Ready<'_>) -> Result<Self, Report> {
        // A struct of strings cannot fail to serialize.
        let mut text = serde_json::to_vec(ready).unwrap_or_default();
        text.push(b'\n');
        write_together(&[Output::public(path, &text)], Overwrite::Replace)
            .map_err(|error| failed(path, &error))?;
        let identity = identity(path).map_err(|error| failed(path, &error))?;
        Ok(Self { path: path.to_owned(), identity })
    }

    /// Removes what a run that was killed has left: a script must not take it for this one's. The file of
    /// a server that runs is left alone.
    pub(crate) fn remove_stale(path: &Path) {
        // A FIFO would be waited for, a device read for ever.
        if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            return;
        }
        let pid = fs::read(path).ok().and_then(|text| {
            let ready: serde_json::Value = serde_json::from_slice(&text).ok()?;
            ready["schema"].as_str().filter(|schema| *schema == SCHEMA)?;
            ready["pid"].as_u64()
        });
        let Some(pid) = pid else { return };
        // The number may be another program's by now, or, in a container, ours.
        if pid == u64::from(std::process::id()) || !is_server(pid) {
            let _ = fs::remove_file(path);
        }
    }

    /// Removes the file, if it is still this one.
    pub(crate) fn remove(&self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a process is a server that has not ended. One that nobody has waited for keeps its name.
fn is_server(pid: u64) -> bool {
    // proc_pid_stat(5): `PID (NAME) STATE …`; a name may hold parentheses.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((name, state)) = stat.rsplit_once(") ") else { return false };
    let name = name.split_once(" (").map_or("", |(_, name)| name);
    name == PROGRAM && !state.starts_with(['Z', 'X'])
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn failed(path: &Path, error: &dyn std::error::Error) -> Report {
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    Report::new(Exit::LocalIo, "ready-file", format!("cannot write {}", path.display()))
        .explain(cause)
        .remedy("name a file in a directory that this user may write (--ready-file)")
}
