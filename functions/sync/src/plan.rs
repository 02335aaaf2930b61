//! What is read next, and whether what was read is complete: the rules of the incremental pull, without I/O.
//!
//! A fresh pass is for speed: it takes what HubSpot shows. The settled pass reads the same again, and the history is read
//! once; each of their windows is proved by a count. One that does not add up is read again in halves, and then held by
//! itself while the others go on (`docs/decisions/0013-a-window-is-held-by-itself.md`).

use std::{cmp::Ordering, time::Duration};

use hubspot::{Page, Row, Search};
use model::{
    checkpoint::{Hold, IdOrder, Lane, Pass, PassKind, Window},
    time::{self, DateTime},
};

mod hold;
mod sweep;

pub(crate) use hold::{
    count_soon, hold, hold_back, is_held_too_long, is_worth_halving, read_again, recount_later, release,
};
pub(crate) use sweep::{archived_page_done, postpone_archived_scan, sweep_is_due};

/// How many windows of a pass are read side by side at most.
pub(crate) const MAX_READERS: usize = 4;

/// A window is not divided if no more rows than this are left of it: behind the page at hand, another one.
const MAX_UNDIVIDED_ROWS: i64 = 2 * Search::MAX_PAGE as i64;

/// How often a window is divided into parts that are read side by side: where they turn out to be of very different
/// size it is done again, but each time costs a request.
const MAX_DIVISIONS: i32 = 6;

/// How often a window is halved before it is held. Halving finds what does not add up; if nothing ever does, it would
/// otherwise go on down to every single millisecond.
const MAX_REPAIRS: i32 = 12;

/// The resolution of the `Date` header.
pub(crate) const DATE_RESOLUTION: Duration = Duration::from_secs(1);

/// The times that the rules depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// See `SYNC_OVERLAP_SECONDS`.
    pub(crate) overlap: Duration,
    /// See `SYNC_SETTLE_SECONDS`.
    pub(crate) settle: Duration,
    /// How often a fresh pass is made within a run that goes on for long.
    pub(crate) fresh_every: Duration,
    /// See `SYNC_SWEEP_SECONDS`. `None` if only when HubSpot tells of deletions.
    pub(crate) sweep_every: Option<Duration>,
    /// When the recycle bin is to have been looked at since, because HubSpot told of deletions.
    pub(crate) sweep_since: Option<DateTime>,
}

/// What is due in a lane, the most urgent first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Due {
    /// A pass, with its windows opened.
    Pass(PassKind),
    /// The count of a window that is held.
    Count(Window),
    /// Records that were set aside.
    SetAside,
    /// The recycle bin.
    Sweep,
}

/// What is due in a lane. Returns `None` if the lane is caught up. Changes are to have been looked for since `look_since`:
/// since the run began, or since HubSpot told of some.
pub(crate) fn next_due(lane: &mut Lane, settings: Settings, now: DateTime, look_since: DateTime) -> Option<Due> {
    open(lane, settings, now, look_since);
    let is_open = |kind: &PassKind| !lane.pass(*kind).windows.is_empty();
    let first = [PassKind::Fresh, PassKind::Settled].into_iter().find(is_open).map(Due::Pass);
    let held = || hold::due(lane, now).map(Due::Count);
    let rest = || [PassKind::Again, PassKind::Backfill].into_iter().find(is_open).map(Due::Pass);
    let set_aside = || lane.kept.set_aside_until.is_some_and(|at| at <= now).then_some(Due::SetAside);
    let sweep = || sweep_is_due(lane, settings, now, look_since).then_some(Due::Sweep);
    first.or_else(held).or_else(rest).or_else(set_aside).or_else(sweep)
}

/// Opens the windows that are due.
fn open(lane: &mut Lane, settings: Settings, now: DateTime, look_since: DateTime) {
    if lane.first_seen.is_none() {
        // The history first: its first answer tells HubSpot's time, from which on there are fresh changes.
        if lane.backfill.windows.is_empty() {
            let from = start(lane);
            lane.backfill.windows = vec![Window::new(from, None)];
            lane.backfilled.from = Some(from);
            lane.checked_at = Some(now);
            // What is in the recycle bin by now is not announced at all.
            lane.sweep.ended_at.get_or_insert(now);
        }
    } else if lane.fresh.windows.is_empty() && is_stale(lane, settings, now, look_since) {
        let from = time::before(lane.fresh.mark.unwrap_or(now), settings.overlap.max(2 * DATE_RESOLUTION));
        lane.fresh.windows = vec![Window::new(from, None)];
        lane.checked_at = Some(now);
    }
    if lane.first_seen.is_some() && lane.backfill.windows.is_empty() && !lane.kept.undated {
        // The history is read, but for the records that no window of times holds.
        lane.kept.undated = true;
        lane.kept.again.windows.push(Window::of_undated());
    }
    if lane.settled.windows.is_empty()
        && let (Some(mark), Some(seen)) = (lane.settled.mark, lane.fresh.mark)
    {
        // The fresh pass's mark is HubSpot's time, at most a little ago.
        let to = time::before(seen, settings.settle);
        if mark < to && time::between(mark, to) >= settings.settle / 6 {
            lane.settled.windows = vec![Window::new(mark, Some(to))];
        }
    }
}

/// Whether changes are to be looked for again. Where other passes wait, they get as much time as the last look took.
fn is_stale(lane: &Lane, settings: Settings, now: DateTime, look_since: DateTime) -> bool {
    let Some(began) = lane.checked_at else { return true };
    let ended = lane.fresh.completed_at.filter(|ended| *ended >= began).unwrap_or(began);
    // A clock that was set back must not stop the fresh pass.
    if began > now || ended > now {
        return true;
    }
    let others_wait = [PassKind::Settled, PassKind::Again, PassKind::Backfill]
        .into_iter()
        .any(|kind| !lane.pass(kind).windows.is_empty());
    let rest = match (began < look_since, others_wait) {
        (true, true) => time::between(began, ended).min(settings.fresh_every),
        (true, false) => Duration::ZERO,
        (false, _) => settings.fresh_every,
    };
    time::between(ended, now) >= rest
}

/// Where a lane's history begins.
fn start(lane: &Lane) -> DateTime {
    lane.legacy_watermark.unwrap_or(Window::BEGINNING).max(Window::BEGINNING)
}

/// Takes note of HubSpot's time `date` when a lane was read for the first time: what the backfill does not have from
/// then on, the other passes have.
pub(crate) fn record_first_contact(lane: &mut Lane, date: DateTime, settings: Settings) {
    if lane.first_seen.is_some() {
        return;
    }
    lane.first_seen = Some(date);
    lane.fresh.mark = Some(date);
    // What was modified shortly before, the backfill may read before it is in the index.
    lane.settled.mark = Some(time::before(date, settings.settle).max(start(lane)).min(date));
}

/// The rows of a page do not follow any order of ids, so that reading on from its last id might skip some.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disorder;

/// Which of a page's rows count towards the window's total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowCounting {
    /// All of them.
    All,
    /// Those modified before the end of the window, which was not known when the page was asked for.
    Before(DateTime),
}

impl RowCounting {
    /// Whether the row counts.
    pub(crate) fn counts(self, row: &Row) -> bool {
        match (self, &row.record) {
            (Self::Before(to), Ok(record)) => record.modified_at < to,
            _ => true,
        }
    }
}

/// Takes note of a page before its rows are published: the window's end and order, and how many rows it has.
pub(crate) fn validate_page(window: &mut Window, page: &mut Page) -> Result<RowCounting, Disorder> {
    let is_first = window.last_id.is_none();
    let counting = match window.to {
        Some(_) => RowCounting::All,
        None => {
            // What was modified within the second that is under way belongs to the window. The rest of that second
            // does not, but the next pass begins well before this one's end.
            let to = time::after(page.date, DATE_RESOLUTION);
            window.to = Some(to);
            if page.has_more() { RowCounting::Before(to) } else { RowCounting::All }
        }
    };
    // A row that comes twice is one row.
    page.rows.dedup_by(|row, before| row.id == before.id);
    let before = window.last_id.as_ref().or(window.start_id.as_ref());
    let ids = before.into_iter().chain(page.rows.iter().map(|row| &row.id));
    window.order = compatible_id_order(window.order, ids.map(String::as_str))?;
    // What is counted while the window has no end says nothing of what it holds.
    if is_first && counting == RowCounting::All {
        window.expected.get_or_insert(window.read + page.total);
    }
    Ok(counting)
}

/// The order, of those that were possible, that also holds for these ids.
fn compatible_id_order<'a>(
    order: Option<IdOrder>,
    ids: impl Iterator<Item = &'a str>,
) -> Result<Option<IdOrder>, Disorder> {
    let mut numeric = order != Some(IdOrder::Lexical);
    let mut lexical = order != Some(IdOrder::Numeric);
    let mut previous: Option<&str> = None;
    for id in ids {
        if let Some(previous) = previous {
            numeric &= by_number(previous, id) == Ordering::Less;
            lexical &= previous < id;
        }
        previous = Some(id);
    }
    match (numeric, lexical) {
        (true, true) => Ok(None),
        (true, false) => Ok(Some(IdOrder::Numeric)),
        (false, true) => Ok(Some(IdOrder::Lexical)),
        (false, false) => Err(Disorder),
    }
}

/// Compares decimal numbers of any length.
fn by_number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then(left.cmp(right))
}

/// Whether as many rows were read as there were at first. Returns `false` also if that is not known. Rows may have left the
/// window while it was read; then what it holds now decides ([`covers`]).
pub(crate) fn count_matches(window: &Window) -> bool {
    window.expected == Some(window.read)
}

/// Whether everything that the window holds now can be among the rows that were read.
pub(crate) fn covers(window: &Window, holds_now: i64) -> bool {
    window.read >= holds_now
}

/// Where a window had better be divided, so that its rest can be read side by side, once this page is published.
/// Returns `None` if `readers` have enough to do, or if there are not enough rows for that.
pub(crate) fn split_point(pass: &Pass, window: &Window, page: &Page, readers: usize) -> Option<DateTime> {
    if pass.windows.len() >= readers || page.total <= MAX_UNDIVIDED_ROWS || window.divisions >= MAX_DIVISIONS {
        return None;
    }
    let to = window.to?;
    let mut times: Vec<DateTime> =
        page.rows.iter().filter_map(|row| Some(row.record.as_ref().ok()?.modified_at)).collect();
    times.sort_unstable();
    let (first, last, median) = (*times.first()?, *times.last()?, times[times.len() / 2]);
    let spread = time::between(first, last);
    let middle = if spread * 2 < time::between(first, to) {
        // Ids grow with time, as they do if records were not modified since: what is left is behind the page.
        time::after(last, time::between(last, to) / 2)
    } else if time::between(first, median) * 4 < spread {
        // Only some were modified since: what is left is behind the page, too, but those are among it.
        time::after(first, spread / 2)
    } else {
        // The page is a sample of the whole window.
        median
    };
    (window.from < middle && middle < to).then_some(middle)
}

/// Whether the totals show that nothing of a window is missing up to the end of a page, as whose `total` HubSpot counted all
/// that was left of the window, and which has so many `rows`. `rest` is what it counted of the two windows behind the page.
pub(crate) fn accounts_for(window: &Window, total: i64, rows: usize, rest: [Option<i64>; 2]) -> bool {
    let came_before = window.read == 0 || window.expected == Some(window.read + total);
    let [Some(first), Some(second)] = rest else { return false };
    came_before && i64::try_from(rows).is_ok_and(|rows| rows + first + second == total)
}

/// What is left of a window behind the row `last_id`, as two windows that meet at `middle`.
pub(crate) fn split_window(window: &Window, last_id: Option<&String>, middle: DateTime) -> [Window; 2] {
    let start_id = last_id.or(window.last_id.as_ref()).or(window.start_id.as_ref());
    let rest = |from, to| Window {
        start_id: start_id.cloned(),
        order: window.order,
        undated: window.undated,
        repairs: window.repairs,
        divisions: window.divisions + 1,
        hold: window.hold,
        ..Window::new(from, to)
    };
    [rest(window.from, Some(middle)), rest(middle, window.to)]
}

/// Puts the halves of a window in its place.
pub(crate) fn replace_with_halves(pass: &mut Pass, window: &Window, halves: [Window; 2]) {
    if let Some(index) = take_out(pass, window) {
        pass.windows.splice(index..index, halves);
    }
}

/// A window of the pass has been read whole. The mark moves once all of them have.
pub(crate) fn complete(pass: &mut Pass, window: &Window, now: DateTime) {
    if take_out(pass, window).is_none() {
        return;
    }
    pass.reached = pass.reached.max(window.to);
    if pass.windows.is_empty() {
        pass.mark = pass.mark.max(pass.reached.take());
        pass.completed_at = Some(now);
    }
}

/// A window of the pass did not add up: it is read again, in two halves. Returns `false` if that is no use any more.
pub(crate) fn bisect_for_reread(pass: &mut Pass, window: &Window) -> bool {
    let half = time::between(window.from, window.to.unwrap_or(window.from)) / 2;
    if half.as_millis() == 0 || window.repairs >= MAX_REPAIRS {
        return false;
    }
    let Some(index) = take_out(pass, window) else { return false };
    let again = |from, to| Window {
        start_id: window.start_id.clone(),
        repairs: window.repairs + 1,
        hold: window.hold,
        ..Window::new(from, to)
    };
    let middle = time::after(window.from, half);
    pass.windows.splice(index..index, [again(window.from, Some(middle)), again(middle, window.to)]);
    true
}

/// Takes the window out of the pass, in which windows are told apart by their beginnings. Returns its place.
fn take_out(pass: &mut Pass, window: &Window) -> Option<usize> {
    let index = pass.windows.iter().position(|other| other.from == window.from)?;
    pass.windows.remove(index);
    Some(index)
}

#[cfg(test)]
mod tests;
