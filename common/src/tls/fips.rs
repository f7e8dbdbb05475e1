//! Proving that a FIPS provider is active.
//!
//! Nothing may run as if it were: where FIPS is required and cannot be proved, the programs end.

use crate::exit::Exit;
use crate::report::Report;
use std::convert::Infallible;

/// Loads and proves the FIPS provider.
///
/// # Errors
///
/// Always, with [`Exit::Fips`]: this version cannot do it yet, and does not pretend.
pub fn require() -> Result<Infallible, Report> {
    Err(Report::new(Exit::Fips, "fips-unavailable", "FIPS is required but not active")
        .explain("this version cannot load and prove a FIPS provider yet")
        .remedy("run without --fips, or use a later version"))
}
