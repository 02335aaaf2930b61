//! HubSpot's requested wait (`Retry-After`), parsed in every form that was seen and cut to a plausible length.
//!
//! HubSpot documents the header for 477, in seconds, and for its own workflows, in milliseconds ("Usage guidelines",
//! "Custom code actions"). RFC 9110, section 10.2.3, also allows a date. A value that is far too large is a mistake of
//! the sender, and must not stop an account.

use std::time::Duration;

use model::time::{self, DateTime};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// The reasons for a wait, each with its plausible length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// A limit that counts seconds was exceeded.
    RateLimit,
    /// Something is locked, or a server fails.
    Trouble,
    /// The daily limit was exceeded, or the account is moved to another data centre.
    Day,
}

impl Reason {
    /// Returns the longest plausible wait.
    pub(super) const fn longest(self) -> Duration {
        Duration::from_secs(match self {
            Self::RateLimit => 120,
            Self::Trouble => 900,
            Self::Day => 24 * 3600,
        })
    }

    /// Returns the smallest number that counts as milliseconds. As seconds it would be implausible.
    const fn millis_from(self) -> u64 {
        match self {
            Self::RateLimit => 1_000,
            Self::Trouble => 10_000,
            Self::Day => 1_000_000,
        }
    }
}

/// Returns the wait that a response with these headers asks for, cut to the longest that `reason` allows. Returns
/// `None` if it asks for none.
pub(super) fn retry_after(headers: &HeaderMap, reason: Reason) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let now = text(DATE).and_then(http_date).unwrap_or_else(DateTime::now);
    let asked = parse_wait(text(RETRY_AFTER)?, reason, now)?;
    let believed = asked.min(reason.longest());
    if believed < asked {
        tracing::warn!(
            asked_s = asked.as_secs(),
            believed_s = believed.as_secs(),
            "HubSpot asks to wait for longer than is believed"
        );
    }
    Some(believed)
}

/// Parses the header: seconds, milliseconds or a date. `now` is HubSpot's time.
fn parse_wait(text: &str, reason: Reason, now: DateTime) -> Option<Duration> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return http_date(text).map(|date| time::between(now, date));
    }
    // A number with too many digits is too large anyway.
    let number: u64 = text.parse().unwrap_or(u64::MAX);
    Some(if number < reason.millis_from() { Duration::from_secs(number) } else { Duration::from_millis(number) })
}

/// Parses an HTTP date (RFC 9110, section 5.6.7).
pub(super) fn http_date(text: &str) -> Option<DateTime> {
    httpdate::parse_http_date(text).ok().map(DateTime::from_system_time)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn believed(text: &str, reason: Reason) -> Option<u64> {
        let date = (DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        let asked = (RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        retry_after(&[date, asked].into_iter().collect(), reason).map(|wait| wait.as_secs())
    }

    #[test]
    fn each_form_is_read_and_cut_to_its_reason() {
        let table = [
            ("0", Some(0), Some(0), Some(0)),
            ("7", Some(7), Some(7), Some(7)),
            (" 600 ", Some(120), Some(600), Some(600)),
            ("3600", Some(3), Some(900), Some(3_600)),
            ("10000", Some(10), Some(10), Some(10_000)),
            ("86400", Some(86), Some(86), Some(86_400)),
            ("999999", Some(120), Some(900), Some(86_400)),
            ("86400000", Some(120), Some(900), Some(86_400)),
            ("31536000", Some(120), Some(900), Some(31_536)),
            ("18446744073709551615", Some(120), Some(900), Some(86_400)),
            ("99999999999999999999999", Some(120), Some(900), Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30), Some(30), Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0), Some(0), Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(120), Some(900), Some(86_400)),
            ("-1", None, None, None),
            ("soon", None, None, None),
            ("", None, None, None),
        ];
        for (text, limit, trouble, day) in table {
            let read = [Reason::RateLimit, Reason::Trouble, Reason::Day].map(|reason| believed(text, reason));
            assert_eq!(read, [limit, trouble, day], "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Reason::Trouble), None);
    }
}
