//! Decides what is read next, and whether what was read is complete: the rules of the incremental pull, without I/O.
//!
//! A fresh pass is for speed: it takes what HubSpot shows. The settled pass reads the same again, and the history is
//! read once. Each window of these two is proved by a count. A window that does not add up is read again in halves, and
//! then held by itself while the others go on (`docs/decisions/0013-a-window-is-held-by-itself.md`).

use std::time::Duration;

use hubspot::{Page, Row, Search};
use model::{
    checkpoint::{Hold, Lane, Pass, PassKind, Window},
    time::{self, DateTime},
};

mod hold;
mod order;
mod parts;
mod properties;
mod quiet;
mod settings;
mod sweep;

pub(crate) use hold::{
    count_later, count_soon, hold, hold_back, is_held_too_long, is_worth_halving, read_again, recount_later, release,
};
pub(crate) use order::{Disorder, are_compared_as_numbers, id_that_tells, is_numeric, validate_list};
pub(crate) use parts::{
    Door, LISTS_PER_PAGE, MAX_LIST_FAILURES, MAX_ORDER_FAILURES, Outlook, begin_parts, cut_window, cuts, end_at_part,
    extent, is_at_end, is_cut, is_part, is_read, part_is_read, read_whole, to_be_counted, update, whole_to_be_counted,
};
pub(crate) use properties::{choose_properties, learn_calculated};
pub(crate) use quiet::settle_empty;
pub(crate) use settings::Settings;
pub(crate) use sweep::{
    Compared, calculated_is_due, comparison_is_due, comparison_step_done, postpone_comparison, postpone_sweep,
    sweep_is_due, sweep_page_done,
};

/// How many windows of a pass are read concurrently by searches at most.
pub(crate) const MAX_READERS: usize = 4;

/// How many parts of a history are read concurrently by lists at most. A page of a list takes two requests, one after the
/// other.
pub(crate) const MAX_LIST_READERS: usize = 2 * MAX_READERS;

/// A window with at most this many rows left is not split: the page that was just read, and one more.
const MAX_UNDIVIDED_ROWS: i64 = 2 * Search::MAX_PAGE as i64;

/// How often a window is split into parts that are read concurrently. A split is repeated if the parts turn out to have
/// very different sizes, but each one costs a request.
const MAX_DIVISIONS: i32 = 6;

/// How often a window is halved before it is held. Halving finds what does not add up. Without a limit, a window that
/// never adds up would be halved down to single milliseconds.
const MAX_REPAIRS: i32 = 12;

/// The resolution of the `Date` header.
pub(crate) const DATE_RESOLUTION: Duration = Duration::from_secs(1);

/// What is due in a lane, the most urgent first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Due {
    /// A pass. Its windows are open.
    Pass(PassKind),
    /// The count of a held window.
    Count(Window),
    /// Records that were set aside.
    SetAside,
    /// Records that are to be checked for changes of their associations.
    AssociationChecks,
    /// The recycle bin.
    Sweep,
    /// What is compared of all records.
    Comparison(Compared),
}

/// Opens the windows that are due. Returns what is most urgent in a lane. Returns `None` if the lane is caught up.
/// Changes must have been looked for since `look_since`: the start of the run, or HubSpot's latest notification.
pub(crate) fn next_due(lane: &mut Lane, settings: Settings, now: DateTime, look_since: DateTime) -> Option<Due> {
    open(lane, settings, now, look_since);
    let is_open = |kind: &PassKind| !lane.pass(*kind).windows.is_empty();
    let fresh = is_open(&PassKind::Fresh).then_some(Due::Pass(PassKind::Fresh));
    let checks = || settings.has_association_checks.then_some(Due::AssociationChecks);
    let settled = || is_open(&PassKind::Settled).then_some(Due::Pass(PassKind::Settled));
    let held = || hold::due(lane, now).map(Due::Count);
    let rest = || [PassKind::Again, PassKind::Backfill].into_iter().find(is_open).map(Due::Pass);
    let set_aside = || lane.kept.set_aside_until.is_some_and(|at| at <= now).then_some(Due::SetAside);
    let sweep = || sweep_is_due(lane, settings, now, look_since).then_some(Due::Sweep);
    let comparison = |what, is_due: bool| is_due.then_some(Due::Comparison(what));
    let associations = || comparison(Compared::Associations, comparison_is_due(lane, settings, now, look_since));
    let values = || comparison(Compared::CalculatedValues, calculated_is_due(lane, settings, now, look_since));
    let urgent = fresh.or_else(checks).or_else(settled).or_else(held);
    urgent.or_else(rest).or_else(set_aside).or_else(sweep).or_else(associations).or_else(values)
}

/// Opens the windows that are due.
fn open(lane: &mut Lane, settings: Settings, now: DateTime, look_since: DateTime) {
    if lane.first_seen.is_none() {
        // The history comes first. Its first answer has HubSpot's time, from which on there are fresh changes.
        if lane.backfill.windows.is_empty() {
            let from = start(lane);
            lane.backfill.windows = vec![Window::new(from, None)];
            lane.backfilled.from = Some(from);
            lane.checked_at = Some(now);
            // Records that are already in the recycle bin are never announced.
            lane.sweep.ended_at.get_or_insert(now);
            // All associations are read with the history.
            lane.kept.associations.ended_at.get_or_insert(now);
        }
    } else if lane.fresh.windows.is_empty() && is_stale(lane, settings, now, look_since) {
        let from = time::before(lane.fresh.mark.unwrap_or(now), settings.overlap.max(2 * DATE_RESOLUTION));
        lane.fresh.windows = vec![Window::new(quiet::fresh_from(lane, settings, from), None)];
        lane.checked_at = Some(now);
    }
    if lane.first_seen.is_some() && lane.backfill.windows.is_empty() && !lane.kept.undated {
        // The history was read without the records that have no modification time: by an older release, or as a single page.
        lane.kept.undated = true;
        lane.kept.again.windows.push(Window::of_undated());
    }
    if lane.settled.windows.is_empty()
        && let (Some(mark), Some(seen)) = (lane.settled.mark, lane.fresh.mark)
    {
        // The fresh pass's mark is in HubSpot's time, at most a little ago.
        let to = time::before(seen, settings.settle);
        if mark < to && time::between(mark, to) >= settings.settle / 6 {
            lane.settled.windows = vec![Window::new(mark, Some(to))];
        }
    }
}

/// Adds the window of the records without a modification time, which no window of times contains, to the history. Returns
/// `false` if they were read, or are being read.
pub(crate) fn open_undated(lane: &mut Lane) -> bool {
    let is_due = !std::mem::replace(&mut lane.kept.undated, true);
    if is_due {
        lane.backfill.windows.push(Window::of_undated());
    }
    is_due
}

/// Reads the records without a modification time after the history, which ends without them.
pub(crate) fn read_undated_later(lane: &mut Lane, settings: Settings, now: DateTime) {
    let Some(undated) = lane.backfill.windows.iter().find(|window| window.undated).cloned() else { return };
    complete(&mut lane.backfill, &undated, now);
    if lane.backfill.windows.is_empty() {
        recount_later(lane, settings, now);
    }
    if !lane.kept.again.windows.iter().any(|window| window.undated) {
        lane.kept.again.windows.push(undated);
    }
}

/// Returns true if changes must be looked for again. If other passes wait, they first get as much time as the last look
/// for changes took.
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

/// Returns the time at which a lane's history begins.
fn start(lane: &Lane) -> DateTime {
    lane.legacy_watermark.unwrap_or(Window::BEGINNING).max(Window::BEGINNING)
}

/// Stores HubSpot's time `date` when a lane is read for the first time. The backfill covers everything before it, the
/// other passes everything after. Does nothing later.
pub(crate) fn record_first_contact(lane: &mut Lane, date: DateTime, settings: Settings) {
    if lane.first_seen.is_some() {
        return;
    }
    lane.first_seen = Some(date);
    lane.fresh.mark = Some(date);
    // The backfill may read records modified shortly before that time before they are in the search index.
    lane.settled.mark = Some(time::before(date, settings.settle).max(start(lane)).min(date));
}

/// Which rows of a page count towards the window's total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowCounting {
    /// All of them.
    All,
    /// Those modified before the end of the window. The end was not known when the page was requested.
    Before(DateTime),
}

impl RowCounting {
    /// Returns true if the row counts.
    pub(crate) fn counts(self, row: &Row) -> bool {
        match (self, &row.record) {
            (Self::Before(to), Ok(record)) => record.modified_at < to,
            _ => true,
        }
    }
}

/// Validates a page before its rows are published. Sets the window's end and its expected number of rows if they are
/// not known yet, and narrows its order of ids. Removes repeated rows. Returns which rows count.
///
/// # Errors
/// The ids are in no order that holds for the whole window.
pub(crate) fn validate_page(window: &mut Window, page: &mut Page) -> Result<RowCounting, Disorder> {
    let is_first = window.last_id.is_none();
    let counting = match window.to {
        Some(_) => RowCounting::All,
        None => {
            // Changes within the current second belong to the window. Changes in the rest of that second do not, but
            // the next pass begins well before the end of this one.
            let to = time::after(page.date, DATE_RESOLUTION);
            window.to = Some(to);
            if page.has_more() { RowCounting::Before(to) } else { RowCounting::All }
        }
    };
    order::remove_repeated(page);
    window.order = order::compatible_id_order(window.order, order::ids(window, page))?;
    // A total from before the window had an end says nothing about its contents.
    if let (true, RowCounting::All, Some(total)) = (is_first, counting, page.total) {
        window.expected.get_or_insert(window.read + total);
    }
    Ok(counting)
}

/// Returns true if as many rows were read as HubSpot counted at first. Returns `false` also if that count is not known.
/// Rows may have left the window while it was read. Then its current count decides ([`covers`]).
pub(crate) fn count_matches(window: &Window) -> bool {
    window.expected == Some(window.read)
}

/// Returns true if all rows that the window holds now can be among the rows that were read.
pub(crate) fn covers(window: &Window, holds_now: i64) -> bool {
    window.read >= holds_now
}

/// Returns the time at which to split the rest of the window, to read it concurrently once this page is published.
/// Returns `None` if there are enough windows for `readers`, or if too few rows are left.
pub(crate) fn split_point(pass: &Pass, window: &Window, page: &Page, readers: usize) -> Option<DateTime> {
    let is_large = page.total.is_some_and(|total| total > MAX_UNDIVIDED_ROWS);
    if pass.windows.len() >= readers || !is_large || window.divisions >= MAX_DIVISIONS || window.part.is_some() {
        return None;
    }
    let to = window.to?;
    let mut times: Vec<DateTime> =
        page.rows.iter().filter_map(|row| Some(row.record.as_ref().ok()?.modified_at)).collect();
    times.sort_unstable();
    let (first, last, median) = (*times.first()?, *times.last()?, times[times.len() / 2]);
    let spread = time::between(first, last);
    let middle = if spread * 2 < time::between(first, to) {
        // Ids grow with time, as they do if records were not modified after their creation: the rest of the window is
        // later than the page.
        time::after(last, time::between(last, to) / 2)
    } else if time::between(first, median) * 4 < spread {
        // Most rows of the page are old, and a few were modified later. The rest of the window is later than the old
        // rows, and those few are among it.
        time::after(first, spread / 2)
    } else {
        // The page is a sample of the whole window.
        median
    };
    (window.from < middle && middle < to).then_some(middle)
}

/// Returns true if the totals prove that no row of a window is missing up to the end of a page. `total` is HubSpot's
/// count of all that was left of the window at that page, and `rows` the number of rows in the page. `rest` is
/// HubSpot's count of each of the two windows after the page.
pub(crate) fn accounts_for(window: &Window, total: i64, rows: usize, rest: [Option<i64>; 2]) -> bool {
    let came_before = window.read == 0 || window.expected == Some(window.read + total);
    let [Some(first), Some(second)] = rest else { return false };
    came_before && i64::try_from(rows).is_ok_and(|rows| rows + first + second == total)
}

/// Returns what is left of a window after the row `last_id`, as two windows that meet at `middle`.
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

/// Replaces a window of the pass with its halves.
pub(crate) fn replace_with_halves(pass: &mut Pass, window: &Window, halves: [Window; 2]) {
    if let Some(index) = take_out(pass, window) {
        pass.windows.splice(index..index, halves);
    }
}

/// Removes a window that was read completely from the pass. The pass's mark moves after its last window.
pub(crate) fn complete(pass: &mut Pass, window: &Window, now: DateTime) {
    let place = pass.windows.iter().find(|other| other.from == window.from);
    // A part of the history is counted up to an earlier time.
    let to = window.to.max(place.and_then(|place| place.to));
    if take_out(pass, window).is_none() {
        return;
    }
    pass.reached = pass.reached.max(to);
    if pass.windows.is_empty() {
        pass.mark = pass.mark.max(pass.reached.take());
        pass.completed_at = Some(now);
    }
}

/// Replaces a window that does not add up with two halves, to be read again. Returns `false`, and changes nothing, if
/// halving no longer helps.
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
        part: window.part.clone(),
        ..Window::new(from, to)
    };
    let mut middle = time::after(window.from, half);
    // Parts of a history begin at almost the same time.
    while pass.windows.iter().any(|other| other.from == middle) && window.to.is_some_and(|to| middle < to) {
        middle = time::after(middle, Duration::from_millis(1));
    }
    pass.windows.splice(index..index, [again(window.from, Some(middle)), again(middle, window.to)]);
    true
}

/// Removes the window from the pass. Windows of a pass are identified by their beginnings. Returns its former index.
/// Returns `None` if the pass does not have it.
fn take_out(pass: &mut Pass, window: &Window) -> Option<usize> {
    let index = pass.windows.iter().position(|other| other.from == window.from)?;
    pass.windows.remove(index);
    Some(index)
}

#[cfg(test)]
mod tests;
