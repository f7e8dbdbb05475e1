//! The subcommands of `sealpair`, one file each.

pub(crate) mod cert;
