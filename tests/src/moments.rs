//! Random moments, which a failed test can name and have again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Numbers that look random: xorshift64 (Marsaglia 2003), from a seed that a failing test prints.
#[derive(Debug)]
pub struct Moments {
    seed: u64,
    state: u64,
}

impl Moments {
    /// Other moments each time, or those of `SEALPAIR_SEED`.
    pub fn new() -> Self {
        let given = std::env::var("SEALPAIR_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos()) << 8 | u64::from(std::process::id() as u8)
        });
        println!("SEALPAIR_SEED={seed} gives the same moments");
        Self { seed, state: seed | 1 }
    }

    /// Where they come from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % end
    }

    /// A time up to `longest`.
    pub fn within(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.below(longest.as_micros() as u64 + 1))
    }

    /// Bytes that no compression and no coincidence makes equal.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length.div_ceil(8))
            .flat_map(|_| self.below(u64::MAX).to_le_bytes())
            .take(length)
            .collect()
    }
}

impl Default for Moments {
    fn default() -> Self {
        Self::new()
    }
}
