//! The flags of every command that moves files: how often to try again, and how fast.

use super::Voice;
use super::pace::Pace;
use super::retry::Retries;
use clap::Args;
use sealpair_common::units::parse_rate;

/// Flags that `get` and `put` share.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Transfer options")]
pub(crate) struct TransferArgs {
    /// Try again so often after a failure that may pass (connection lost, time over, 408, 429, 502,
    /// 503, 504), going on where it ended
    // None by default, as with curl: a script that tries again by itself must not multiply attempts.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1000))]
    retry: u32,

    /// Highest rate in bytes a second, such as 1MiB/s, of all connections together [default: none]
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    limit_rate: Option<u64>,
}

impl TransferArgs {
    /// The attempts at one transfer.
    pub(crate) fn retries(&self, voice: Voice) -> Retries {
        Retries::new(self.retry, voice)
    }

    /// The pace of all transfers of the command: make one, and share it.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(self.limit_rate)
    }
}

fn parse_limit(text: &str) -> Result<u64, String> {
    match parse_rate(text) {
        Ok(0) => Err("at no rate at all nothing would arrive".to_owned()),
        result => result.map_err(|error| error.to_string()),
    }
}
