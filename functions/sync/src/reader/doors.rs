//! Shares a history between searches and lists, which read parts of its ids side by side.

use hubspot::HubSpotError;
use model::checkpoint::{PassKind, Window};

use super::{
    job::Job,
    order::OrderQuestion,
    pass::PassReader,
    window::{NextPage, WindowReader},
};
use crate::{
    budget::Concurrent,
    error::SliceError,
    lane::WindowOutcome,
    plan::{self, Door},
};

/// What a pass needs to know to read lists.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lists {
    /// True if the lane may read lists.
    pub(super) are_allowed: bool,
    /// The lane's share of the pages of lists per second, each of several requests. 0 if the limit is used up for now.
    pub(super) pages_per_second: f64,
    /// True if no more lists are read in this slice.
    pub(super) are_off: bool,
    /// Whether searches were asked in this slice how they compare ids.
    pub(super) order: OrderQuestion,
}

impl PassReader<'_> {
    /// Returns true if lists can be read now, beside searches.
    pub(super) fn reads_lists(&self) -> bool {
        let is_well = self.tuning.page_size() >= hubspot::MAX_LISTED && self.state.lane.last_error.is_none();
        let is_open = self.state.lane.kept.lists.closed.is_none();
        self.kind == PassKind::Backfill && self.lists.are_allowed && !self.lists.are_off && is_open && is_well
    }

    /// Opens windows of the pass, up to the numbers that are read concurrently, and requests their first pages. If there are
    /// not enough windows, takes parts of those that are being read.
    pub(super) fn open_windows(&mut self) {
        if self.outcome() == WindowOutcome::OutOfTime || (self.is_first_page_only && self.opened > 0) {
            return;
        }
        let is_being_read = |window: &Window| self.readers.values().any(|reader| reader.window.from == window.from);
        let is_left = |window: &&Window| !is_being_read(window) && !plan::is_read(window);
        let unread: Vec<Window> = self.state.lane.pass(self.kind).windows.iter().filter(is_left).cloned().collect();
        for window in unread {
            if let Some(door) = self.door_for(&window) {
                self.open_with(window, door);
            }
        }
        self.share();
        self.read_last();
    }

    /// Returns how a window is read. Returns `None` if enough windows are read.
    fn door_for(&self, window: &Window) -> Option<Door> {
        if !plan::is_part(window) {
            return (self.readers.len() < plan::MAX_READERS).then_some(Door::Search);
        }
        [Door::Search, Door::List].into_iter().find(|door| self.free_readers(*door) > 0)
    }

    /// Returns how many more parts of the history are to be read in this way.
    pub(super) fn free_readers(&self, door: Door) -> usize {
        let wanted = match door {
            Door::Search => self.tuning.pace.readers(self.search_rps),
            Door::List if self.reads_lists() && self.lists.pages_per_second > 0.0 => {
                self.tuning.pace.list_readers(self.lists.pages_per_second)
            }
            Door::List => 0,
        };
        wanted.saturating_sub(self.readers.values().filter(|reader| reader.door == door).count())
    }

    pub(super) fn open_with(&mut self, window: Window, door: Door) {
        let mut reader = self.open(window);
        reader.door = door;
        self.request(&mut reader, None, Concurrent::Nothing);
        self.readers.insert(reader.id, reader);
    }

    /// Gives what has nothing left to read a part of the window that has the most rows left.
    fn share(&mut self) {
        for door in [Door::List, Door::Search] {
            let takers = self.free_readers(door);
            if takers == 0 {
                continue;
            }
            let parts = self.readers.values().filter(|reader| plan::is_part(&reader.window));
            let with_outlook = parts.filter_map(|reader| Some((reader.id, reader.outlook?, self.rows_left(reader)?)));
            let Some((id, outlook, left)) = with_outlook.max_by_key(|(_, _, left)| *left as u64) else { continue };
            let Some(reader) = self.readers.get_mut(&id) else { continue };
            let cuts =
                plan::cuts(&outlook, &reader.window, left, reader.next.rows_asked(), takers, reader.door != door);
            let parts = plan::cut_window(self.state.lane.pass_mut(self.kind), &mut reader.window, &cuts);
            if !parts.is_empty() {
                self.is_unsaved = true;
                reader.outlook = Some(outlook.without_count());
                reader.is_cut_ahead = reader.next.rows_asked() > 0;
            }
            for part in parts {
                self.open_with(part, door);
            }
        }
    }

    /// Returns how many rows are left of a part after its page. Returns `None` if that is not known.
    pub(super) fn rows_left(&self, reader: &WindowReader) -> Option<f64> {
        let outlook = reader.outlook?;
        let backfilled = &self.state.lane.backfilled;
        let of_all = backfilled.total.map_or(0.0, |total| (total - backfilled.read).max(0) as f64);
        let at_hand = |reader: &WindowReader| reader.page.as_ref().map_or(0.0, |page| page.rows as f64);
        let others = self
            .state
            .lane
            .pass(self.kind)
            .windows
            .iter()
            .filter(|window| !plan::is_read(window) && window.from != reader.window.from);
        let of_other = |window: &Window| {
            let other = self.readers.values().find(|other| other.window.from == window.from);
            let after = |other: &WindowReader| Some(other.outlook?.left(window, of_all));
            let left = other.and_then(after).unwrap_or_else(|| outlook.rows_of(window).min(of_all));
            left + other.map_or(0.0, at_hand)
        };
        // If nothing counts the rows of the last part, it has what is not left of the others.
        let of_others = if outlook.is_bounded(&reader.window) { 0.0 } else { others.map(of_other).sum() };
        // HubSpot's count may be of fewer rows than were read, if a history is read again.
        let at_most = Some(of_all - of_others - at_hand(reader)).filter(|at_most| *at_most > 0.0)?;
        Some(outlook.left(&reader.window, at_most))
    }

    /// Continues without lists after one of them failed. Searches read what is left of its part.
    ///
    /// # Errors
    /// The failure concerns the whole account.
    pub(super) fn list_failed(&mut self, error: SliceError) -> Result<(), SliceError> {
        let error = match error {
            SliceError::HubSpot(error @ (HubSpotError::Unauthorized | HubSpotError::AccountUnavailable { .. })) => {
                return Err(error.into());
            }
            SliceError::HubSpot(error) => error,
            error => return Err(error),
        };
        // Lists that were requested at the same time fail together.
        let is_first = !std::mem::replace(&mut self.lists.are_off, true);
        let lists = &mut self.state.lane.kept.lists;
        if error.may_pass() {
            lists.failures += u32::from(is_first && error.is_transient());
            tracing::info!(object = self.object.as_str(), %error, "a list cannot be read for now; searches go on alone");
        }
        if !error.may_pass() || lists.failures >= plan::MAX_LIST_FAILURES {
            self.close_lists(&error.to_string());
        }
        self.is_unsaved = true;
        Ok(())
    }

    /// Reads no more lists for the rest of the history.
    pub(super) fn close_lists(&mut self, reason: &str) {
        tracing::warn!(object = self.object.as_str(), reason, "lists cannot be used; searches read the history alone");
        self.state.lane.kept.lists.closed = Some(reason.to_owned());
        self.is_unsaved = true;
    }

    /// Requests the page after `last_id`, or after what is published, in the way in which the window is read. A search reads
    /// what a list would have to wait for. One list reads the end of a part if it is short: a search would use up as much of
    /// its limit for that as for a whole page.
    pub(super) fn request(&mut self, reader: &mut WindowReader, last_id: Option<String>, concurrent: Concurrent) {
        let is_short = || self.rows_left(reader).is_some_and(|left| left <= f64::from(hubspot::MAX_LISTED));
        if self.lists.pages_per_second == 0.0 {
            reader.door = if self.free_readers(Door::Search) > 0 { Door::Search } else { reader.door };
        } else if self.reads_lists() && plan::is_part(&reader.window) && is_short() {
            reader.door = Door::List;
        }
        // A history that is not cut ends without the question how searches compare ids.
        if !plan::is_cut(&reader.window) && !self.state.lane.kept.lists.is_numeric {
            reader.door = Door::Search;
        }
        match reader.door {
            Door::Search => self.search(reader, last_id, concurrent),
            Door::List => {
                reader.next = NextPage::Asked;
                let window = reader.window.clone();
                self.start(Job::List { id: reader.id, window, last_id, concurrent });
            }
        }
    }
}
