//! The simulator's clock, in milliseconds since the epoch, and HubSpot's formats of times.

use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

/// Returns this machine's time.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Returns a time in the format of HubSpot's JSON: `2024-01-17T19:55:04.281Z`.
pub(crate) fn iso(millis: i64) -> String {
    format!("{:.3}", timestamp(millis))
}

/// Returns the value of a `Date` header.
pub(crate) fn http_date(millis: i64) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp(millis)).unwrap_or_default()
}

/// Returns the time `millis` milliseconds after the epoch. Returns the epoch if that is beyond the calendar.
fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_hubspot_does() {
        assert_eq!(iso(1_705_521_304_281), "2024-01-17T19:55:04.281Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
