//! Sizes and times with units, as the command lines take and show them.
//!
//! Sizes: a whole number with an optional unit of bytes: `B`, decimal `kB`, `MB`, `GB`, `TB` (powers of
//! 1000) or binary `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024; IEC 80000-13). Times: a number with
//! `ms`, `s`, `m`, `h` or `d`; a number alone counts seconds.

use std::fmt;
use std::time::Duration;

/// Text that is not a size or not a time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidQuantity {
    text: String,
    expected: &'static str,
}

impl fmt::Display for InvalidQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not {}", crate::escape::Escaped(&self.text), self.expected)
    }
}

impl std::error::Error for InvalidQuantity {}

/// Parses a size in bytes.
///
/// ```
/// use sealpair_common::units::parse_size;
/// assert_eq!(parse_size("10MiB").unwrap(), 10 * 1024 * 1024);
/// assert!(parse_size("-1").is_err());
/// ```
///
/// # Errors
///
/// Anything that is not a whole number with a known unit, or that does not fit 64 bits.
pub fn parse_size(text: &str) -> Result<u64, InvalidQuantity> {
    let invalid = || InvalidQuantity {
        text: text.to_owned(),
        expected: "a size such as 512, 64KiB, 10MiB or 2GB",
    };
    let (number, unit) = split(text).ok_or_else(invalid)?;
    let unit = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "k" | "K" | "KiB" => 1 << 10,
        "m" | "M" | "MiB" => 1 << 20,
        "g" | "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => return Err(invalid()),
    };
    let number: u64 = number.parse().map_err(|_| invalid())?;
    number.checked_mul(unit).ok_or_else(invalid)
}

/// Parses a rate in bytes a second: a size, with an optional `/s`.
///
/// # Errors
///
/// As [`parse_size`].
pub fn parse_rate(text: &str) -> Result<u64, InvalidQuantity> {
    parse_size(text.strip_suffix("/s").unwrap_or(text))
        .map_err(|_| InvalidQuantity { text: text.to_owned(), expected: "a rate such as 1KiB/s" })
}

/// Parses a time span.
///
/// ```
/// use sealpair_common::units::parse_duration;
/// use std::time::Duration;
/// assert_eq!(parse_duration("90d").unwrap(), Duration::from_secs(90 * 86_400));
/// assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
/// ```
///
/// # Errors
///
/// Anything that is not a decimal number with a known unit, or longer than about 68 years.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidQuantity> {
    let invalid = || InvalidQuantity {
        text: text.to_owned(),
        expected: "a time such as 500ms, 30s, 5m, 2h or 90d",
    };
    let (number, unit) = split(text).ok_or_else(invalid)?;
    let unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(invalid()),
    };
    let number: f64 = number.parse().map_err(|_| invalid())?;
    // Half of the Unix time's signed 32 bits: beyond that a sum with the clock could overflow.
    const LONGEST: f64 = (1u64 << 31) as f64;
    let seconds = number * unit;
    if !(0.0..=LONGEST).contains(&seconds) {
        return Err(invalid());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

/// Parses a time span that must have a unit: where days are meant, a bare `30` must not be seconds.
///
/// # Errors
///
/// As [`parse_duration`], and for a number alone.
pub fn parse_duration_with_unit(text: &str) -> Result<Duration, InvalidQuantity> {
    if text.trim().ends_with(|c: char| c.is_ascii_alphabetic()) {
        return parse_duration(text);
    }
    Err(InvalidQuantity {
        text: text.to_owned(),
        expected: "a time with a unit, such as 12h or 30d",
    })
}

/// Displays a number of bytes in the largest binary unit that keeps it at one or more.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let step = (u64::BITS - 1 - self.0.max(1).leading_zeros()) / 10;
        let step = (step as usize).min(UNITS.len() - 1);
        let unit = 1u64 << (10 * step);
        if self.0.is_multiple_of(unit) {
            write!(f, "{} {}", self.0 / unit, UNITS[step])
        } else {
            write!(f, "{:.1} {}", self.0 as f64 / unit as f64, UNITS[step])
        }
    }
}

/// The digits (with at most one point) at the front, and what follows them.
fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (!number.is_empty()).then(|| (number, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1KiB", 1024),
            ("64 KiB", 65_536),
            ("1kB", 1000),
            ("10GiB", 10 << 30),
            ("2G", 2 << 30),
            // As curl and wget have it.
            ("500k", 500 << 10),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "-1",
            "+1",
            "1.5KiB",
            "KiB",
            "1XB",
            "1e3",
            "99999999999999999999",
            "16777217TiB",
            "0x10",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(parse_rate("1KiB/s"), Ok(1024));
        assert_eq!(parse_rate("1KiB"), Ok(1024));
        assert!(parse_rate("1/h").is_err());
    }

    #[test]
    fn durations() {
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("30", 30_000), ("2m", 120_000), ("1.5h", 5_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-5s", "1w", "nan", "inf", "1e9", "999999d", ".", "1.2.3s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_unit_may_be_demanded() {
        assert_eq!(parse_duration_with_unit("30d"), parse_duration("30d"));
        assert!(parse_duration_with_unit("30").is_err());
        assert!(parse_duration_with_unit("").is_err());
    }

    #[test]
    fn shown_sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1 << 40, "1 TiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
