//! What the kernel says of a process: `/proc/PID`.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Threads of the process.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// Threads of the process that have this name.
pub fn threads_named(pid: u32, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim_end() == name).count()
}

/// Threads of the process that wait in epoll; `None` where the kernel does not tell whom it lets ask.
pub fn threads_in_epoll(pid: u32) -> Option<usize> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread that ends meanwhile waits for nothing.
    let told = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("wchan")).ok());
    let told: Vec<String> = told.collect();
    // "0" is a thread that runs, and what is told of all to somebody who may not know.
    let tells = told.iter().any(|place| place != "0");
    // Which of the functions behind epoll_pwait(2) is named differs from kernel to kernel.
    let waits = |place: &&String| ["do_epoll_wait", "ep_poll"].contains(&place.as_str());
    tells.then(|| told.iter().filter(waits).count())
}

/// The processors that this process may use (and what it starts).
pub fn processors() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    list.trim().split(',').flat_map(range).collect()
}

/// Open descriptors of the process.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Open descriptors of the process, without one for each file below `root`: those that a server keeps
/// open because they were asked for.
pub fn descriptors_without_files(pid: u32, root: &Path) -> usize {
    let targets = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    // A descriptor that is closed meanwhile is none.
    let targets: Vec<PathBuf> =
        targets.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
    let files: HashSet<&PathBuf> =
        targets.iter().filter(|target| target.starts_with(root) && *target != root).collect();
    targets.len() - files.len()
}

/// Connections on a local port over IPv4 that a program has open, or is about to accept.
pub fn connections(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    const LISTEN: &str = "0A";
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    let open = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields[1], fields[3], fields[9]);
        // The inode is zero where no program has the socket: not yet, or not any more.
        local.ends_with(&port)
            && state != LISTEN
            && (inode != "0" || state == ESTABLISHED || state == CLOSE_WAIT)
    };
    table.lines().skip(1).filter(open).count()
}

/// Resident memory of the process in KiB: what it is now.
pub fn rss_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

/// Resident memory of the process in KiB: the most that it ever was. Unlike samples, it misses no
/// peak.
pub fn peak_rss_kib(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:")
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}
