//! Points in time, at the one resolution that HubSpot, MongoDB and the messages share: a millisecond.

use std::time::Duration;

pub use mongodb::bson::DateTime;

/// Parses what HubSpot writes for a time: RFC 3339 (`2024-01-17T19:55:04.281Z`) or epoch milliseconds.
pub fn parse(text: &str) -> Option<DateTime> {
    match text.parse::<i64>() {
        Ok(millis) => Some(DateTime::from_millis(millis)),
        Err(_) => DateTime::parse_rfc3339_str(text).ok(),
    }
}

/// The instant `duration` before `time`.
pub fn before(time: DateTime, duration: Duration) -> DateTime {
    DateTime::from_millis(time.timestamp_millis().saturating_sub(millis(duration)))
}

/// The instant `duration` after `time`.
pub fn after(time: DateTime, duration: Duration) -> DateTime {
    DateTime::from_millis(time.timestamp_millis().saturating_add(millis(duration)))
}

/// How long after `earlier` `later` is; zero if it is not.
pub fn since(earlier: DateTime, later: DateTime) -> Duration {
    let gap = later.timestamp_millis().saturating_sub(earlier.timestamp_millis());
    Duration::from_millis(u64::try_from(gap).unwrap_or(0))
}

/// A duration in whole milliseconds, as MongoDB and HubSpot count them.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Serde for a time in a message: RFC 3339 text, where BSON's own form would be `{"$date": ...}`.
pub mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

    use super::DateTime;

    /// Writes RFC 3339 in UTC.
    ///
    /// # Errors
    /// A year that RFC 3339 cannot write.
    pub fn serialize<S: Serializer>(time: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.try_to_rfc3339_string().map_err(S::Error::custom)?)
    }

    /// Reads RFC 3339.
    ///
    /// # Errors
    /// Text that is no RFC 3339 time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        DateTime::parse_rfc3339_str(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_hubspots_spellings_of_a_time_are_read() {
        let millis = DateTime::from_millis(1_705_521_304_281);
        assert_eq!(parse("2024-01-17T19:55:04.281Z"), Some(millis));
        assert_eq!(parse("1705521304281"), Some(millis));
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn time_does_not_run_backwards() {
        let noon = DateTime::from_millis(1_000_000);
        assert_eq!(since(noon, before(noon, Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(since(noon, after(noon, Duration::from_secs(1))), Duration::from_secs(1));
    }
}
