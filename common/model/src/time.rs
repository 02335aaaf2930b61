//! Points in time, with the one resolution that HubSpot, MongoDB and the messages share: a millisecond.

use std::time::Duration;

use bson::Bson;
pub use bson::DateTime;

/// The first and the last time that RFC 3339 can express, in milliseconds since the epoch: the years 0 to 9999.
const FIRST_MILLIS: i64 = -62_167_219_200_000;
const LAST_MILLIS: i64 = 253_402_300_799_999;

/// Parses a time of HubSpot's: RFC 3339 (`2024-01-17T19:55:04.281Z`), epoch milliseconds, or a date alone
/// (`2024-01-17`), which is its first moment in UTC. Returns `None` for any other text, and for a time that RFC 3339
/// cannot express, because it could not be published.
pub fn parse(text: &str) -> Option<DateTime> {
    let text = text.trim();
    let time = match text.parse::<i64>() {
        Ok(millis) => DateTime::from_millis(millis),
        Err(_) if text.len() == "2024-01-17".len() => DateTime::parse_rfc3339_str(format!("{text}T00:00:00Z")).ok()?,
        Err(_) => DateTime::parse_rfc3339_str(text).ok()?,
    };
    (FIRST_MILLIS..=LAST_MILLIS).contains(&time.timestamp_millis()).then_some(time)
}

/// Returns the time `duration` before `time`.
pub fn before(time: DateTime, duration: Duration) -> DateTime {
    DateTime::from_millis(time.timestamp_millis().saturating_sub(millis(duration)))
}

/// Returns the time `duration` after `time`.
pub fn after(time: DateTime, duration: Duration) -> DateTime {
    DateTime::from_millis(time.timestamp_millis().saturating_add(millis(duration)))
}

/// Returns the duration from `earlier` to `later`. Returns zero if `later` is the earlier one.
pub fn between(earlier: DateTime, later: DateTime) -> Duration {
    let gap = later.timestamp_millis().saturating_sub(earlier.timestamp_millis());
    Duration::from_millis(u64::try_from(gap).unwrap_or(0))
}

/// Returns the pause after `times` failures: `first`, doubled each time, at most `longest`.
pub fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

/// Returns a duration in whole milliseconds, the unit of MongoDB and HubSpot.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Serde for a time in a message: RFC 3339 text. BSON's own form would be `{"$date": ...}`.
pub mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

    use super::DateTime;

    /// Writes RFC 3339 in UTC.
    ///
    /// # Errors
    /// The year is not one that RFC 3339 can express.
    pub fn serialize<S: Serializer>(time: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.try_to_rfc3339_string().map_err(S::Error::custom)?)
    }

    /// Reads RFC 3339.
    ///
    /// # Errors
    /// The text is not an RFC 3339 time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        DateTime::parse_rfc3339_str(&text).map_err(D::Error::custom)
    }

    /// The same for a time that may be absent.
    pub mod option {
        use super::{DateTime, Deserialize, Deserializer, Serializer};

        #[derive(Deserialize)]
        struct Text(#[serde(with = "super")] DateTime);

        /// Writes RFC 3339 in UTC, or null.
        ///
        /// # Errors
        /// The year is not one that RFC 3339 can express.
        pub fn serialize<S: Serializer>(time: &Option<DateTime>, serializer: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads RFC 3339, or null.
        ///
        /// # Errors
        /// The text is not an RFC 3339 time.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime>, D::Error> {
            Ok(Option::<Text>::deserialize(deserializer)?.map(|Text(time)| time))
        }
    }
}

/// Returns a stored number of seconds. Returns `None` if it is no number, or negative.
pub fn seconds(value: &Bson) -> Option<Duration> {
    let seconds = value.as_i64().or_else(|| value.as_i32().map(i64::from)).or_else(|| Some(value.as_f64()? as i64))?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_hubspots_spellings_of_a_time_are_read() {
        let millis = DateTime::from_millis(1_705_521_304_281);
        assert_eq!(parse("2024-01-17T19:55:04.281Z"), Some(millis));
        assert_eq!(parse("1705521304281"), Some(millis));
        assert_eq!(parse("2024-01-17"), parse("2024-01-17T00:00:00Z"));
        let out_of_range = ["253402300800000", "-62167219200001", "99999999999999999", "-1e3", "10000-01-01T00:00:00Z"];
        for text in out_of_range.into_iter().chain(["yesterday", "", "2024-13-01", "2024-01-1é"]) {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in ["253402300799999", "-62167219200000", "0001-01-01T00:00:00Z"] {
            assert!(parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn time_does_not_run_backwards() {
        let noon = DateTime::from_millis(1_000_000);
        assert_eq!(between(noon, before(noon, Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(between(noon, after(noon, Duration::from_secs(1))), Duration::from_secs(1));
    }
}
