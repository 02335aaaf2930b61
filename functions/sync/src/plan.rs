//! What is read next, and whether what was read is complete: the rules of the incremental pull, without I/O.

use std::{cmp::Ordering, time::Duration};

use common::{
    checkpoint::{IdOrder, Lane, Pass, PassKind, Sweep, Window},
    hubspot::{Page, Row, Search},
    time::{self, DateTime},
};

/// How many windows of a pass are read side by side at most.
pub(crate) const READERS: usize = 4;

/// A window is not divided where no more rows than this are left of it: behind the page at hand, another one.
const WORTH_DIVIDING: i64 = 2 * Search::MAX_PAGE as i64;

/// How often a window is divided into parts that are read side by side: where they turn out to be of very different
/// size it is done again, but each time costs a request.
const MAX_DIVISIONS: i32 = 6;

/// How often a window is halved before it is read again whole, after a pause. Halving finds what does not add
/// up; where nothing ever does, it would otherwise go on down to every single millisecond.
const MAX_REPAIRS: i32 = 12;

/// The resolution of the `Date` header.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);

/// The times that the rules depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// See `SYNC_OVERLAP_SECONDS`.
    pub(crate) overlap: Duration,
    /// See `SYNC_SETTLE_SECONDS`.
    pub(crate) settle: Duration,
    /// How often a fresh pass is made within a run that goes on for long.
    pub(crate) fresh_every: Duration,
    /// See `SYNC_SWEEP_SECONDS`.
    pub(crate) sweep_every: Duration,
}

/// The pass that is due in a lane, with its window opened; nothing where the lane is caught up. Every run, begun
/// at `run_started`, makes a fresh pass of its own; `blocked` says which passes cannot go on within this slice.
pub(crate) fn due(
    lane: &mut Lane,
    settings: Settings,
    now: DateTime,
    run_started: DateTime,
    blocked: &[PassKind],
) -> Option<PassKind> {
    if lane.first_seen.is_none() {
        // The history first: its first answer tells HubSpot's time, from which on there are fresh changes.
        if lane.backfill.windows.is_empty() {
            lane.backfill.windows = vec![Window::new(start(lane), None)];
            lane.checked_at = Some(now);
            // What is in the recycle bin by now is not announced at all.
            lane.sweep.ended_at.get_or_insert(now);
        }
    } else if lane.fresh.windows.is_empty() && is_stale(lane, settings, now, run_started) {
        let from = time::before(lane.fresh.mark.unwrap_or(now), settings.overlap.max(2 * DATE_RESOLUTION));
        lane.fresh.windows = vec![Window::new(from, None)];
        lane.checked_at = Some(now);
    }
    if lane.settled.windows.is_empty()
        && let (Some(mark), Some(seen)) = (lane.settled.mark, lane.fresh.mark)
    {
        // The fresh pass's mark is HubSpot's time, at most a little ago.
        let to = time::before(seen, settings.settle);
        if mark < to && time::since(mark, to) >= settings.settle / 6 {
            lane.settled.windows = vec![Window::new(mark, Some(to))];
        }
    }
    [PassKind::Fresh, PassKind::Settled, PassKind::Backfill]
        .into_iter()
        .find(|kind| !lane.pass(*kind).windows.is_empty() && !blocked.contains(kind))
}

fn is_stale(lane: &Lane, settings: Settings, now: DateTime, run_started: DateTime) -> bool {
    // A clock that was set back must not stop the fresh pass.
    lane.checked_at.is_none_or(|at| at < run_started || at > now || time::since(at, now) >= settings.fresh_every)
}

/// Whether the lane still has something to read.
pub(crate) fn is_caught_up(lane: &Lane) -> bool {
    lane.first_seen.is_some() && [&lane.fresh, &lane.settled, &lane.backfill].iter().all(|pass| pass.windows.is_empty())
}

/// Whether the recycle bin is to be read, or read on, in a lane that has nothing else to read.
pub(crate) fn sweep_is_due(lane: &Lane, settings: Settings, now: DateTime, run_started: DateTime) -> bool {
    let is_old = |at| at > now || (at < run_started && time::since(at, now) >= settings.sweep_every);
    lane.sweep.after.is_some() || lane.sweep.ended_at.is_none_or(is_old)
}

/// Takes note that a page of the recycle bin was handed on, and that `next` is HubSpot's cursor of the one behind it.
pub(crate) fn swept(sweep: &mut Sweep, next: Option<String>, now: DateTime) {
    *sweep = match next {
        Some(_) => Sweep { after: next, ended_at: sweep.ended_at, last_error: None },
        None => Sweep { ended_at: Some(now), ..Sweep::default() },
    };
}

/// Leaves the recycle bin to the next sweep, which begins anew: it may be the cursor that HubSpot does not like.
pub(crate) fn put_off(sweep: &mut Sweep, reason: String, now: DateTime) {
    *sweep = Sweep { ended_at: Some(now), last_error: Some(reason), ..Sweep::default() };
}

/// Where a lane's history begins.
fn start(lane: &Lane) -> DateTime {
    lane.taken_over_from.unwrap_or(Window::BEGINNING).max(Window::BEGINNING)
}

/// Takes note of HubSpot's time `date` when a lane was read for the first time: what the backfill does not have from
/// then on, the other passes have.
pub(crate) fn meet(lane: &mut Lane, date: DateTime, settings: Settings) {
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
pub(crate) enum Counting {
    /// All of them.
    All,
    /// Those modified before the end of the window, which was not known when the page was asked for.
    Before(DateTime),
}

impl Counting {
    /// Whether the row counts.
    pub(crate) fn counts(self, row: &Row) -> bool {
        match (self, &row.record) {
            (Self::Before(to), Ok(record)) => record.modified_at < to,
            _ => true,
        }
    }
}

/// Takes note of a page before its rows are handed on: the window's end and order, and how many rows it has.
pub(crate) fn accept(window: &mut Window, page: &Page) -> Result<Counting, Disorder> {
    let counting = match window.to {
        Some(_) => Counting::All,
        None => {
            // What was modified within the second that is under way belongs to the window. The rest of that second
            // does not, but the next pass begins well before this one's end.
            let to = time::after(page.date, DATE_RESOLUTION);
            window.to = Some(to);
            if page.has_more { Counting::Before(to) } else { Counting::All }
        }
    };
    let before = window.last_id.as_ref().or(window.start_id.as_ref());
    let ids = before.into_iter().chain(page.rows.iter().map(|row| &row.id));
    window.order = narrow(window.order, ids.map(String::as_str))?;
    if counting == Counting::All {
        window.expected.get_or_insert(window.read + page.total);
    }
    // An empty page that others follow gives no id to read on from.
    if page.has_more && page.rows.is_empty() { Err(Disorder) } else { Ok(counting) }
}

/// The order, of those that were possible, that also holds for these ids.
fn narrow<'a>(order: Option<IdOrder>, ids: impl Iterator<Item = &'a str>) -> Result<Option<IdOrder>, Disorder> {
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

/// Whether as many rows were read as there were at first. If fewer, rows may have left the window while it
/// was read; then what it holds now decides ([`is_complete`]).
pub(crate) fn adds_up(window: &Window) -> bool {
    window.expected == Some(window.read)
}

/// Whether everything that the window holds now can be among the rows that were read.
pub(crate) fn is_complete(window: &Window, holds_now: i64) -> bool {
    window.read >= holds_now
}

/// Where a window had better be divided, so that its rest can be read side by side, once this page is handed on.
/// Nothing where `readers` have enough to do, or where there are not enough rows for that.
pub(crate) fn divide_at(pass: &Pass, window: &Window, page: &Page, readers: usize) -> Option<DateTime> {
    // What comes before is not looked at again, so it has to be accounted for.
    let adds_up = window.read == 0 || window.expected == Some(window.read + page.total);
    let is_enough = pass.windows.len() >= readers || page.total <= WORTH_DIVIDING || window.divisions >= MAX_DIVISIONS;
    if !adds_up || is_enough {
        return None;
    }
    let to = window.to?;
    let mut times: Vec<DateTime> =
        page.rows.iter().filter_map(|row| Some(row.record.as_ref().ok()?.modified_at)).collect();
    times.sort_unstable();
    let (first, last, median) = (*times.first()?, *times.last()?, times[times.len() / 2]);
    let spread = time::since(first, last);
    let middle = if spread * 2 < time::since(first, to) {
        // Ids grow with time, as they do where records were not modified since: what is left is behind the page.
        time::after(last, time::since(last, to) / 2)
    } else if time::since(first, median) * 4 < spread {
        // Only some were modified since: what is left is behind the page, too, but those are among it.
        time::after(first, spread / 2)
    } else {
        // The page is a sample of the whole window.
        median
    };
    (window.from < middle && middle < to).then_some(middle)
}

/// What is left of a window behind the row `last_id`, as two windows that meet at `middle`.
pub(crate) fn halves(window: &Window, last_id: Option<&String>, middle: DateTime) -> [Window; 2] {
    let start_id = last_id.or(window.last_id.as_ref()).or(window.start_id.as_ref());
    let rest = |from, to| Window {
        start_id: start_id.cloned(),
        order: window.order,
        repairs: window.repairs,
        divisions: window.divisions + 1,
        ..Window::new(from, to)
    };
    [rest(window.from, Some(middle)), rest(middle, window.to)]
}

/// Puts the halves of a window in its place.
pub(crate) fn divide(pass: &mut Pass, window: &Window, halves: [Window; 2]) {
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
        pass.mark = pass.reached.take();
        pass.completed_at = Some(now);
    }
}

/// A window of the pass did not add up: it is read again, in two halves. `false` where that is no use
/// any more; then it is read again as it is, after a pause.
pub(crate) fn repair(pass: &mut Pass, window: &Window) -> bool {
    let Some(index) = take_out(pass, window) else { return false };
    let from = window.from;
    let again = |from, to, repairs| Window { start_id: window.start_id.clone(), repairs, ..Window::new(from, to) };
    let half = time::since(from, window.to.unwrap_or(from)) / 2;
    if half.as_millis() == 0 || window.repairs >= MAX_REPAIRS {
        pass.windows.insert(index, again(from, window.to, window.repairs));
        return false;
    }
    let (middle, repairs) = (time::after(from, half), window.repairs + 1);
    pass.windows.splice(index..index, [again(from, Some(middle), repairs), again(middle, window.to, repairs)]);
    true
}

/// Takes the window out of the pass, where windows are told apart by their beginnings, and tells its place.
fn take_out(pass: &mut Pass, window: &Window) -> Option<usize> {
    let index = pass.windows.iter().position(|other| other.from == window.from)?;
    pass.windows.remove(index);
    Some(index)
}

#[cfg(test)]
mod tests;
