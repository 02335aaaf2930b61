//! How often an account is looked at in a day, by the rule of the service itself.

use std::time::Duration;

use model::{
    looks::Looks,
    time::{self, DateTime},
};

/// The parameters `SyncQuietSeconds` and `FreshnessAlarmSeconds` of the template.
const LONGEST: Duration = Duration::from_secs(900);
const BEHIND_AFTER: Duration = Duration::from_secs(1800);

const DAY: Duration = Duration::from_secs(86_400);

/// Returns how many times an account is looked at in a day, with a tick every `tick_minutes` and so many changes, spread
/// evenly over the day. A webhook is a look, too.
pub fn looks_per_day(tick_minutes: u32, changes: f64, webhooks: bool) -> f64 {
    let tick = Duration::from_secs(60) * tick_minutes;
    // Between two changes, or in a day, if there are fewer: after some hours the pause is the longest anyway.
    let between = if changes > 1.0 { DAY.div_f64(changes) } else { DAY };
    let start = DateTime::from_millis(1_800_000_000_000);
    let looks = |now| Looks {
        longest: LONGEST,
        wanted: None,
        behind_after: BEHIND_AFTER,
        changed_at: start,
        notified_at: webhooks.then_some(now),
        unannounced_at: None,
    };
    let (mut count, mut due) = (0_u32, start);
    for number in 1.. {
        let after = tick * number;
        if after > between {
            break;
        }
        let now = time::after(start, after);
        if now >= due {
            count += 1;
            due = looks(now).next(now, now).unwrap_or(now);
        }
    }
    let told = if webhooks { changes } else { 0.0 };
    // A gap that is shorter than the time between two ticks has a part of a look.
    let of_ticks =
        if between < tick { DAY.div_duration_f64(tick) } else { f64::from(count) * DAY.div_duration_f64(between) };
    of_ticks + told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_changes_and_webhooks_make_fewer_looks() {
        assert_eq!(looks_per_day(5, 288.0, false), 288.0);
        assert_eq!(looks_per_day(5, 1000.0, false), 288.0, "a tick finds several changes");
        let quiet = looks_per_day(5, 0.0, false);
        assert!((96.0..120.0).contains(&quiet), "every 15 minutes, and more often after the last change: {quiet}");
        let busy = looks_per_day(5, 50.0, false);
        assert!((240.0..=288.0).contains(&busy), "{busy}");
        let told = looks_per_day(5, 10.0, true);
        assert!((96.0..170.0).contains(&told), "{told}");
        assert!(looks_per_day(15, 0.0, false) <= quiet);
    }
}
