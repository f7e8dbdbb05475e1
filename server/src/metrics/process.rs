//! What the system says of this process. Read when it is asked for; where there is no `/proc`, it says
//! nothing.

use std::fs;

/// What is known of the process.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) threads: Option<u64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Self {
            threads: field("Threads:"),
            resident_bytes: field("VmRSS:").map(|kib| kib << 10),
            // Less the one that looks.
            open_descriptors: fs::read_dir("/proc/self/fd")
                .map(|entries| (entries.count() as u64).saturating_sub(1))
                .ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_threads_memory_and_descriptors() {
        let process = Process::read();
        assert!(process.threads.unwrap() >= 1);
        assert!(process.resident_bytes.unwrap() > 100 << 10);
        assert!(process.open_descriptors.unwrap() >= 3);
    }
}
