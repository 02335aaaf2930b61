//! A history that is read by ids, in parts: some by searches, the others by lists, side by side. Whichever is faster takes
//! more: what has nothing left to read takes a part of what another one still has before it.
//!
//! All parts have the same times, and are proved together: a count of the whole history covers the rows of all of them.

use std::time::Duration;

use hubspot::{MAX_LISTED, Page, Search};
use model::checkpoint::{IdOrder, Part};

use super::{DateTime, Disorder, Lane, Pass, Window, time};

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The search: 200 rows a request, with a limit of its own.
    Search,
    /// The list: 100 rows a request, under the general limit.
    List,
}

/// How many requests make a page of a list, so that it is as large as a page of a search.
pub(crate) const LISTS_PER_PAGE: u32 = Search::MAX_PAGE / MAX_LISTED;

/// The fewest rows that a part is expected to have.
const MIN_PART_ROWS: f64 = 100.0;

/// After this many failures of lists in a row, the rest of the history is read by searches alone.
pub(crate) const MAX_LIST_FAILURES: u32 = 5;

/// If HubSpot fails so often to say how searches compare ids, a history that was cut at ids is read again as one window.
pub(crate) const MAX_ORDER_FAILURES: u32 = 5;

/// What a page says about the rows after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outlook {
    /// The id of the page's last row.
    last: u128,
    /// How far apart ids are, on average.
    step: f64,
    /// How many rows come after the page. `None` if nothing counts them.
    left: Option<f64>,
}

impl Outlook {
    /// Returns what a page says about the rows after it. Returns `None` if it is the last one, or has too few rows.
    pub(crate) fn of(page: &Page) -> Option<Self> {
        let rows = page.rows.len();
        if !page.has_more() || rows < 2 {
            return None;
        }
        let (first, last) = (number(&page.rows[0].id)?, number(&page.rows[rows - 1].id)?);
        let left = page.total.map(|total| (total as f64 - rows as f64).max(0.0));
        Some(Self { last, step: last.checked_sub(first)? as f64 / (rows - 1) as f64, left })
    }

    /// Returns how many rows are left of a window after the page. `at_most` is how many can be left of it, by what is known of
    /// all windows.
    pub(crate) fn left(&self, window: &Window, at_most: f64) -> f64 {
        // Ids are not even, but there are no more rows than ids.
        self.left.or(self.rows_after(window, self.last)).unwrap_or(f64::INFINITY).min(at_most.max(0.0))
    }

    /// Returns what the page says if HubSpot's count is of rows, too, that belong to another part now.
    pub(crate) fn without_count(self) -> Self {
        Self { left: None, ..self }
    }

    /// Returns true if the rows after the page were counted, or an id bounds them.
    pub(crate) fn is_bounded(&self, window: &Window) -> bool {
        self.left.is_some() || window.end_id().is_some()
    }

    /// Returns how many rows another window has after its position, if ids are as far apart there. Returns 0 if it has no end.
    pub(crate) fn rows_of(&self, window: &Window) -> f64 {
        let position = window.last_id.as_deref().or(window.start_id.as_deref()).and_then(number);
        self.rows_after(window, position.unwrap_or_default()).unwrap_or_default()
    }

    fn rows_after(&self, window: &Window, id: u128) -> Option<f64> {
        let end = window.end_id().and_then(number)?;
        Some(end.saturating_sub(id) as f64 / self.step.max(1.0))
    }

    /// Returns the id at which a window is cut, if a share of the rows after the next `skipped` ones remains in the first
    /// part.
    fn cut(&self, window: &Window, left: f64, skipped: f64, share: f64) -> Option<u128> {
        let rows = skipped + (left - skipped) * share;
        let by_rows = self.last.checked_add((rows * self.step.max(1.0)) as u128)?;
        let Some(end) = window.end_id().and_then(number) else { return Some(by_rows) };
        // If ids are closer together further on, the same share of the ids is a beginning.
        let by_ids = self.last + (end.checked_sub(self.last)? as f64 * share) as u128;
        [by_rows, by_ids].into_iter().find(|id| self.last < *id && *id < end)
    }
}

/// Returns the ids at which the rest of a window is cut into parts, to be shared by `takers`. Returns none if too few rows
/// are left. `at_most` as for [`Outlook::left`]. `skipped` rows after the page are already requested. If the takers use
/// another door than the window, half of the rest remains.
pub(crate) fn cuts(
    outlook: &Outlook,
    window: &Window,
    at_most: f64,
    skipped: usize,
    takers: usize,
    is_other_door: bool,
) -> Vec<u128> {
    let (left, skipped) = (outlook.left(window, at_most), skipped as f64);
    let shares = ((left - skipped) / MIN_PART_ROWS) as usize;
    let takers = takers.min(if is_other_door { shares / 2 } else { shares.saturating_sub(1) });
    let kept = if is_other_door { 0.5 } else { 1.0 / (takers + 1) as f64 };
    let share = |taken: usize| kept + (1.0 - kept) * taken as f64 / takers as f64;
    let mut cuts: Vec<u128> = Vec::new();
    for cut in (0..takers).filter_map(|taken| outlook.cut(window, left, skipped, share(taken))) {
        // The middle of the ids may come before the middle of the rows.
        if cuts.last().is_none_or(|last| *last < cut) {
            cuts.push(cut);
        }
    }
    cuts
}

/// Makes the whole history a window of parts, before any of its rows is counted. `now` is HubSpot's time.
pub(crate) fn begin_parts(window: &mut Window, now: DateTime, settle: Duration) {
    let settled = time::before(now, settle).max(window.from);
    let counted_to = window.to.map_or(settled, |to| to.min(settled));
    window.part = Some(Part { end_id: None, counted_to, countable: 0, is_read: false });
}

/// Returns true if the window is a part of a history, and is not read again.
pub(crate) fn is_part(window: &Window) -> bool {
    window.part.is_some() && window.repairs == 0 && window.hold.is_none()
}

/// Returns true if the window is bounded by ids: it has a beginning or an end of its own among the parts of a history.
pub(crate) fn is_cut(window: &Window) -> bool {
    window.start_id.is_some() || window.end_id().is_some()
}

/// Returns true if the window is a part of a history of which all rows were read.
pub(crate) fn is_read(window: &Window) -> bool {
    window.part.as_ref().is_some_and(|part| part.is_read)
}

/// Cuts a window of a pass at these ids. Returns the new parts after it.
pub(crate) fn cut_window(pass: &mut Pass, window: &mut Window, cuts: &[u128]) -> Vec<Window> {
    let Some(part) = window.part.clone() else { return Vec::new() };
    let ends = cuts.iter().skip(1).map(|cut| Some(cut.to_string())).chain([part.end_id.clone()]);
    let mut parts = Vec::new();
    for (start, end_id) in cuts.iter().zip(ends) {
        let (from, part) = (own_beginning(pass, window.from), Part { end_id, countable: 0, ..part.clone() });
        let rest = Window {
            start_id: Some(start.to_string()),
            order: Some(IdOrder::Numeric),
            divisions: window.divisions,
            part: Some(part),
            ..Window::new(from, window.to)
        };
        pass.windows.push(rest.clone());
        parts.push(rest);
    }
    if let (Some(part), Some(first)) = (&mut window.part, cuts.first()) {
        part.end_id = Some(first.to_string());
        // HubSpot counted the rows that belong to other parts now.
        window.expected = None;
    }
    update(pass, window);
    parts
}

/// Returns the latest beginning, from `from` on backwards, that no window of the pass has. Windows of a pass are identified
/// by their beginnings, also by older releases.
fn own_beginning(pass: &Pass, from: DateTime) -> DateTime {
    let is_taken = |from: &DateTime| pass.windows.iter().any(|window| window.from == *from);
    let mut own = from;
    while is_taken(&own) {
        own = time::before(own, Duration::from_millis(1));
    }
    own
}

/// Replaces a window of the pass with its current state.
pub(crate) fn update(pass: &mut Pass, window: &Window) {
    pass.windows.iter_mut().filter(|place| place.from == window.from).for_each(|place| place.clone_from(window));
}

/// Notes that all rows of a part were read, and joins it with its neighbours of which that is true as well.
pub(crate) fn part_is_read(pass: &mut Pass, window: &Window) {
    let mut window = window.clone();
    if let Some(part) = &mut window.part {
        part.is_read = true;
    }
    update(pass, &window);
    while let Some((first, second)) = neighbours(&pass.windows) {
        let second = pass.windows.remove(second);
        let first =
            if let Some(first) = pass.windows.iter_mut().find(|window| window.from == first) { first } else { break };
        join(first, second);
    }
}

/// Returns the beginning of a part that was read, and the index of the one that was read and comes after it.
fn neighbours(windows: &[Window]) -> Option<(DateTime, usize)> {
    windows.iter().filter(|window| is_read(window)).find_map(|first| {
        let end = first.end_id()?;
        let comes_next = |window: &Window| {
            let is_same = window.to == first.to && window.start_id.as_deref() == Some(end);
            let counted_to = first.part.as_ref().map(|part| part.counted_to);
            is_same && window.part.as_ref().is_some_and(|part| part.is_read && Some(part.counted_to) == counted_to)
        };
        Some((first.from, windows.iter().position(comes_next)?))
    })
}

fn join(first: &mut Window, second: Window) {
    first.from = first.from.max(second.from);
    first.last_id = second.last_id.or(first.last_id.take());
    first.read += second.read;
    first.expected = None;
    if let (Some(part), Some(other)) = (&mut first.part, second.part) {
        part.end_id = other.end_id;
        part.countable += other.countable;
    }
}

/// Returns a part that was read, or several that were joined, as a window to be counted.
pub(crate) fn to_be_counted(window: &Window) -> Window {
    let Some(part) = &window.part else { return window.clone() };
    let (from, to) = (window.from, part.counted_to.max(window.from));
    let part = part.end_id.is_some().then(|| Part { is_read: false, ..part.clone() });
    let read = window.part.as_ref().map_or(0, |part| part.countable);
    Window { read, start_id: window.start_id.clone(), part, ..Window::new(from, Some(to)) }
}

/// Returns the whole history as a window to be counted, if nothing but parts is left of it.
pub(crate) fn whole_to_be_counted(pass: &Pass) -> Option<Window> {
    let windows = pass.windows.iter().filter(|window| !window.undated).cloned();
    let mut whole = Pass { windows: windows.collect(), ..Pass::default() };
    for part in whole.windows.clone().iter().filter(|window| is_part(window)) {
        part_is_read(&mut whole, part);
    }
    match whole.windows.as_slice() {
        [window] if window.part.is_some() && !is_cut(window) => Some(to_be_counted(window)),
        _ => None,
    }
}

/// Returns what a count of the window is about.
pub(crate) fn extent(window: &Window) -> impl PartialEq {
    let id = |id: Option<&str>| id.map(str::to_owned);
    (window.from, window.to, id(window.start_id.as_deref()), id(window.end_id()))
}

/// Gives up reading in parts: reads the history again as one window.
pub(crate) fn read_whole(lane: &mut Lane) {
    let pass = &mut lane.backfill;
    let (parts, others): (Vec<Window>, Vec<Window>) =
        std::mem::take(&mut pass.windows).into_iter().partition(|window| window.part.is_some());
    lane.backfilled.read -= parts.iter().map(|window| window.read).sum::<i64>();
    let (from, to) = (parts.iter().map(|part| part.from).min(), parts.iter().map(|part| part.to).max());
    pass.windows = others;
    pass.windows.extend(from.zip(to).map(|(from, to)| Window::new(from, to)));
}

/// Removes the rows of a page that belong to the next part. The page is the last one of its part then. A part that is read
/// again by itself is bounded by HubSpot's filter alone, in whatever order that compares ids.
///
/// # Errors
/// The ids are not in numeric order.
pub(crate) fn end_at_part(window: &Window, page: &mut Page) -> Result<(), Disorder> {
    if !is_part(window) {
        return Ok(());
    }
    if window.order == Some(IdOrder::Lexical) {
        return Err(Disorder);
    }
    let Some(end) = window.end_id().and_then(number) else { return Ok(()) };
    let count = page.rows.len();
    page.rows.retain(|row| number(&row.id).is_none_or(|id| id <= end));
    if page.rows.len() < count || page.rows.last().is_some_and(|row| is_at_end(window, &row.id)) {
        page.next = None;
    }
    Ok(())
}

/// Returns true if the row with this id is the last one of the window, or comes after it.
pub(crate) fn is_at_end(window: &Window, id: &str) -> bool {
    let end = window.end_id().and_then(number);
    end.zip(number(id)).is_some_and(|(end, id)| id >= end)
}

/// Returns an id as a number.
fn number(id: &str) -> Option<u128> {
    id.parse().ok()
}

#[cfg(test)]
mod tests;
