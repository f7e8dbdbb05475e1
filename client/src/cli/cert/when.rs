//! A point in time as the command line takes it.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sealpair_common::escape::Escaped;
use sealpair_common::units::parse_duration;
use std::fmt;
use std::str::FromStr;

/// Absolute, or relative to now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum When {
    At(Timestamp),
    FromNow(SignedDuration),
}

impl When {
    /// The point in time, if it is `now` now.
    pub(super) fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            // A span is at most 68 years; only the ends of time itself are nearer.
            Self::FromNow(span) => now.saturating_add(span).unwrap_or(now),
        }
    }
}

impl FromStr for When {
    type Err = InvalidTime;

    /// `2030-01-31` (midnight UTC), RFC 3339, or a signed span: `-2d`, `+90d`, `-1h`.
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let invalid = || InvalidTime(text.to_owned());
        let span = |text| {
            let span = parse_duration(text).map_err(|_| invalid())?;
            SignedDuration::try_from(span).map_err(|_| invalid())
        };
        if let Some(text) = text.strip_prefix('-') {
            return Ok(Self::FromNow(-span(text)?));
        }
        if let Some(text) = text.strip_prefix('+') {
            return Ok(Self::FromNow(span(text)?));
        }
        // A date's parser would take a time of day without a zone too, and drop it.
        if text.len() == "2030-01-31".len() {
            let date: Date = text.parse().map_err(|_| invalid())?;
            let zoned = date.to_datetime(Time::midnight()).to_zoned(TimeZone::UTC);
            return Ok(Self::At(zoned.map_err(|_| invalid())?.timestamp()));
        }
        text.parse().map(Self::At).map_err(|_| invalid())
    }
}

/// Text that is no point in time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct InvalidTime(String);

impl fmt::Display for InvalidTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a time such as 2030-01-31, 2030-01-31T12:00:00Z, -2d or +90d",
            Escaped(&self.0)
        )
    }
}

impl std::error::Error for InvalidTime {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let now: Timestamp = "2026-06-15T12:00:00Z".parse().unwrap();
        for (text, time) in [
            ("2030-01-31", "2030-01-31T00:00:00Z"),
            ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
            ("2030-01-31T12:00:00+02:00", "2030-01-31T10:00:00Z"),
            ("-2d", "2026-06-13T12:00:00Z"),
            ("+90d", "2026-09-13T12:00:00Z"),
            ("-1h", "2026-06-15T11:00:00Z"),
            ("+0s", "2026-06-15T12:00:00Z"),
        ] {
            let when: When = text.parse().unwrap();
            assert_eq!(when.after(now).to_string(), time, "{text}");
        }
        for text in [
            "",
            "90d",
            "--2d",
            "+-2d",
            "2030-02-30",
            "2030-1-1",
            "2030-01-31T12:00:00",
            "tomorrow",
            "+99999d",
        ] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }
}
