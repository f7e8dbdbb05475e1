//! Which run of the kernel this is.

use std::fs;
use std::sync::OnceLock;

/// What is different after each start of the machine (random(4), `boot_id`); empty where the system does not tell.
/// What the kernel has taken but not brought to the disk is certain only within one.
pub fn id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.map(|id| id.trim().to_owned()).unwrap_or_default()
    })
}
