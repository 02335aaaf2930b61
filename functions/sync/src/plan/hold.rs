//! Windows that do not add up. Each is held by itself, and counted again after growing pauses.

use std::time::Duration;

use super::{Hold, Lane, PassKind, Settings, Window, complete, time};
use crate::plan::DateTime;

/// The pause after a window did not add up. It doubles each time, up to the longest.
const FIRST_HOLD_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_HOLD_PAUSE: Duration = Duration::from_secs(3 * 3600);

/// How long a window is held at most. After that, HubSpot counts rows that it never shows.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3600);

/// How many windows of a lane are held at most. Beyond that, neighbours are joined.
const MAX_HELD_WINDOWS: usize = 32;

/// If this many windows are held, further ones are held without being halved, because nothing seems to add up.
const TOO_MANY_TO_HALVE: usize = 12;

/// Returns the held window whose count has been due longest. Returns `None` if none is due.
pub(super) fn due(lane: &Lane, now: DateTime) -> Option<Window> {
    let is_due = |window: &&Window| window.hold.is_some_and(|hold| hold.retry_at <= now);
    lane.kept.held.iter().filter(is_due).min_by_key(|window| window.hold.map(|hold| hold.retry_at)).cloned()
}

/// Returns true if a window has been held for so long that it is given up.
pub(crate) fn is_held_too_long(window: &Window, now: DateTime) -> bool {
    window.hold.is_some_and(|hold| time::between(hold.since, now) >= LONGEST_HOLD)
}

/// Holds a window, so that its pass can complete. If rows are `missing`, the window is later read again from its
/// beginning. Otherwise it could not be read further, and is continued from its last row.
pub(crate) fn hold(lane: &mut Lane, kind: PassKind, window: &Window, missing: bool, now: DateTime) {
    hold_back(lane, window, missing, now);
    if kind == PassKind::Backfill {
        // A held window is proved by itself.
        lane.backfilled.from = None;
    }
    complete(lane.pass_mut(kind), window, now);
}

/// Holds a window that is part of no pass. `missing` as for [`hold`].
pub(crate) fn hold_back(lane: &mut Lane, window: &Window, missing: bool, now: DateTime) {
    let before = window.hold.unwrap_or(unproved(now, now));
    let pause = time::doubled(FIRST_HOLD_PAUSE, before.tries, LONGEST_HOLD_PAUSE);
    let (tries, retry_at) = (before.tries.saturating_add(1), time::after(now, pause));
    let hold = Hold { tries, retry_at, unproved: false, ..before };
    let mut held = Window { hold: Some(hold), ..window.clone() };
    if missing {
        (held.last_id, held.read, held.expected, held.order) = (None, 0, None, None);
    }
    lane.kept.held.retain(|other| match contains(&held, other) {
        true => {
            held.hold = joined(held.hold, other.hold);
            false
        }
        false => true,
    });
    lane.kept.held.push(held);
    lane.kept.held.sort_by_key(|window| window.from);
    while lane.kept.held.len() > MAX_HELD_WINDOWS {
        join_neighbours(&mut lane.kept.held);
    }
}

/// Returns true if halving a window that does not add up is useful. A record that is modified again and again is in
/// several held windows. Those that overlap count as one.
pub(crate) fn is_worth_halving(lane: &Lane) -> bool {
    let held = &lane.kept.held;
    let is_apart = |pair: &&[Window]| pair[0].to.is_some_and(|to| to <= pair[1].from);
    held.windows(2).filter(is_apart).count() + usize::from(!held.is_empty()) < TOO_MANY_TO_HALVE
}

/// Returns true if reading `window` also reads all rows of `other`.
fn contains(window: &Window, other: &Window) -> bool {
    let is_start_covered = window.start_id.is_none() || window.start_id == other.start_id;
    let is_end_covered = window.end_id().is_none() || window.end_id() == other.end_id();
    let is_whole = is_start_covered && is_end_covered && window.last_id.is_none() && window.undated == other.undated;
    is_whole && window.from <= other.from && window.to.is_none_or(|to| other.to.is_some_and(|end| end <= to))
}

/// Returns the hold of a window that was read and is still to be counted, first at `retry_at`.
fn unproved(now: DateTime, retry_at: DateTime) -> Hold {
    Hold { since: now, tries: 0, retry_at, unproved: true }
}

/// Joins the two neighbouring held windows with the smallest gap between them.
fn join_neighbours(held: &mut Vec<Window>) {
    // The window of records without a time comes first, and has no neighbours.
    let first = usize::from(held.first().is_some_and(|window| window.undated));
    let gap = |index: &usize| time::between(held[*index].to.unwrap_or(held[*index].from), held[*index + 1].from);
    let Some(index) = (first..held.len().saturating_sub(1)).min_by_key(gap) else { return };
    let second = held.remove(index + 1);
    let first = &mut held[index];
    let hold = joined(first.hold, second.hold);
    // The number of rows between the two is not known.
    *first = Window { hold, ..Window::new(first.from, first.to.max(second.to)) };
}

/// Returns the hold of two windows that were joined. Returns `None` if one of them has none.
fn joined(first: Option<Hold>, second: Option<Hold>) -> Option<Hold> {
    first.zip(second).map(|(first, second)| Hold {
        since: first.since.max(second.since),
        tries: first.tries.max(second.tries),
        retry_at: first.retry_at.max(second.retry_at),
        unproved: false,
    })
}

/// Stops holding a window, because it adds up or is read again. Compares all of the window, because another one with
/// the same times may be held for another reason.
pub(crate) fn release(lane: &mut Lane, window: &Window) {
    lane.kept.held.retain(|held| held != window);
}

/// Adds a window that was held to those to be read again.
pub(crate) fn read_again(lane: &mut Lane, again: Window) {
    // Windows of a pass are identified by their beginnings.
    match lane.kept.again.windows.iter_mut().find(|other| other.from == again.from) {
        Some(other) if other.to >= again.to && other.start_id.is_none() && other.part.is_none() => {}
        Some(other) => *other = Window { hold: again.hold, ..Window::new(again.from, other.to.max(again.to)) },
        None => lane.kept.again.windows.push(again),
    }
}

/// Holds a window that was read, to be counted as soon as there is time.
pub(crate) fn count_soon(lane: &mut Lane, window: &Window, now: DateTime) {
    let hold = window.hold.map_or(unproved(now, now), |hold| Hold { retry_at: now, unproved: true, ..hold });
    lane.kept.held.push(Window { hold: Some(hold), ..window.clone() });
    lane.kept.held.sort_by_key(|window| window.from);
}

/// Holds a part of the history that was read, or all of it, to be counted again soon: rows that were edited a moment ago
/// may be counted as they were before.
pub(crate) fn count_later(lane: &mut Lane, window: &Window, now: DateTime) {
    lane.kept.held.push(Window { hold: Some(unproved(now, time::after(now, FIRST_HOLD_PAUSE))), ..window.clone() });
    lane.kept.held.sort_by_key(|window| window.from);
}

/// Holds the whole history, which was just read, to be counted once the search index has certainly caught up. HubSpot
/// may have left rows out of its answers and its totals alike. Does nothing if this was done before, or if a part of
/// the history is held.
pub(crate) fn recount_later(lane: &mut Lane, settings: Settings, now: DateTime) {
    if let Some(from) = lane.backfilled.from.take() {
        let hold = Some(unproved(now, time::after(now, settings.settle)));
        let read = lane.backfilled.read;
        lane.kept.held.push(Window { read, hold, ..Window::new(from, lane.backfill.mark) });
        lane.kept.held.sort_by_key(|window| window.from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime {
        DateTime::from_millis(seconds * 1000)
    }

    fn window(from: i64, to: i64) -> Window {
        Window::new(at(from), Some(at(to)))
    }

    #[test]
    fn a_window_that_is_held_stands_for_those_within_it() {
        let mut lane = Lane::default();
        for held in [window(20, 21), window(30, 31), window(10, 40), window(50, 51)] {
            hold_back(&mut lane, &held, true, at(100));
        }
        let held: Vec<_> = lane.kept.held.iter().map(|window| (window.from, window.to)).collect();
        assert_eq!(held, [(at(10), Some(at(40))), (at(50), Some(at(51)))]);
        // One that is to be read on from a row does not read what comes before.
        let begun = Window { last_id: Some("7".to_owned()), ..window(0, 60) };
        hold_back(&mut lane, &begun, false, at(100));
        assert_eq!(lane.kept.held.len(), 3);
    }

    #[test]
    fn the_second_half_of_a_window_is_held_once() {
        let mut lane = Lane::default();
        let half = |id: &str| Window { start_id: Some(id.to_owned()), ..window(10, 20) };
        for held in [half("7"), half("7"), half("9")] {
            hold_back(&mut lane, &held, true, at(100));
        }
        let held: Vec<_> = lane.kept.held.iter().map(|window| window.start_id.as_deref()).collect();
        assert_eq!(held, [Some("7"), Some("9")]);
    }

    #[test]
    fn windows_that_overlap_are_one_trouble() {
        let mut lane = Lane::default();
        for from in 0..30 {
            hold_back(&mut lane, &window(from, from + 2), true, at(100));
        }
        assert!(is_worth_halving(&lane));
        // Those that a division leaves are next to each other.
        for from in 100..112 {
            hold_back(&mut lane, &window(from, from + 1), true, at(100));
        }
        assert!(!is_worth_halving(&lane));
    }

    #[test]
    fn of_two_windows_of_the_same_times_one_is_released() {
        let mut lane = Lane::default();
        let second = Window { start_id: Some("7".to_owned()), ..window(10, 20) };
        count_soon(&mut lane, &window(10, 20), at(100));
        count_soon(&mut lane, &second, at(100));
        let counted = lane.kept.held[0].clone();
        release(&mut lane, &counted);
        assert_eq!(lane.kept.held.len(), 1);
    }
}
