//! One search for both passes over recent changes, in a lane in which nothing has changed lately.

use std::time::Duration;

use super::{DateTime, Lane, Settings, Window, time};

/// How far this machine's clock, by which changes are published, may differ from HubSpot's.
const CLOCKS: Duration = Duration::from_secs(600);

/// Returns where a fresh pass begins. If nothing has changed since what is not settled yet, it begins there: an answer without
/// rows then settles it, too.
pub(super) fn fresh_from(lane: &Lane, settings: Settings, from: DateTime) -> DateTime {
    let Some(settled) = lane.settled.mark.filter(|_| lane.settled.windows.is_empty()) else { return from };
    let is_quiet = settings.changed_at.is_some_and(|at| time::after(at, CLOCKS) < settled);
    // After a long pause there may be many changes, and a fresh pass is for the latest.
    let is_recent = time::between(settled, from) <= 2 * settings.settle;
    if is_quiet && is_recent { from.min(settled) } else { from }
}

/// Moves the settled pass's mark after a fresh pass's window that is empty and begins at the mark: HubSpot shows nothing up to
/// the time at which the index has surely caught up.
pub(crate) fn settle_empty(lane: &mut Lane, window: &Window, settings: Settings) {
    let (Some(mark), Some(to)) = (lane.settled.mark, window.to) else { return };
    if lane.settled.windows.is_empty() && window.last_id.is_none() && window.from <= mark {
        lane.settled.mark = Some(mark.max(time::before(to, settings.settle)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings::USUAL;

    fn at(seconds: i64) -> DateTime {
        DateTime::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    fn lane(settled: i64) -> Lane {
        let mut lane = Lane { first_seen: Some(at(-1_000_000)), ..Lane::default() };
        lane.settled.mark = Some(at(settled));
        lane
    }

    #[test]
    fn quiet_lane_is_settled_by_an_empty_answer() {
        let settings = Settings { changed_at: Some(at(-20_000)), ..SETTINGS };
        let settle = i64::try_from(settings.settle.as_secs()).unwrap();
        let mut quiet = lane(-settle - 600);
        let from = fresh_from(&quiet, settings, at(-300));
        assert_eq!(from, at(-settle - 600));
        settle_empty(&mut quiet, &Window::new(from, Some(at(0))), settings);
        assert_eq!(quiet.settled.mark, Some(at(-settle)));
        // A window that begins later says nothing of what is before it.
        let mut other = lane(-settle - 600);
        settle_empty(&mut other, &Window::new(at(-300), Some(at(0))), settings);
        assert_eq!(other.settled.mark, Some(at(-settle - 600)));
    }

    #[test]
    fn lane_with_changes_or_after_a_long_pause_is_settled_by_itself() {
        let settle = i64::try_from(SETTINGS.settle.as_secs()).unwrap();
        let settings = |changed_at: i64| Settings { changed_at: Some(at(changed_at)), ..SETTINGS };
        assert_eq!(fresh_from(&lane(-settle), settings(-settle - 500), at(-300)), at(-300), "clocks differ");
        assert_eq!(fresh_from(&lane(-settle), settings(-100), at(-300)), at(-300));
        assert_eq!(fresh_from(&lane(-10 * settle - 300), settings(-1_000_000), at(-300)), at(-300));
        assert_eq!(fresh_from(&lane(-settle), settings(-1_000_000), at(-300)), at(-settle));
        assert_eq!(fresh_from(&lane(-settle), SETTINGS, at(-300)), at(-300), "nothing is known");
        let mut under_way = lane(-settle);
        under_way.settled.windows.push(Window::new(at(-settle), Some(at(-100))));
        assert_eq!(fresh_from(&under_way, settings(-1_000_000), at(-300)), at(-300));
    }
}
