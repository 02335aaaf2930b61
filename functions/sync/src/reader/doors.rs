//! Shares a history between searches and lists, which read parts of its ids side by side.

use hubspot::{HubSpotError, Page};
use model::{
    checkpoint::{PassKind, Window},
    time::DateTime,
};

use super::{
    job::Job,
    pass::PassReader,
    window::{NextPage, WindowReader},
};
use crate::{
    budget::Concurrent,
    error::SliceError,
    lane::WindowOutcome,
    plan::{self, Door},
    state::LaneStep,
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
}

impl PassReader<'_> {
    /// Returns true if lists can be read now.
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
        let is_read = |window: &Window| self.readers.values().any(|reader| reader.window.from == window.from);
        let is_left = |window: &&Window| !is_read(window) && !window.part.as_ref().is_some_and(|part| part.is_read);
        let unread: Vec<Window> = self.state.lane.pass(self.kind).windows.iter().filter(is_left).cloned().collect();
        for window in unread {
            if let Some(door) = self.door_for(&window) {
                self.open_with(window, door);
            }
        }
        self.share();
        if self.readers.is_empty() {
            self.count_parts();
        }
    }

    /// Returns how a window is read. Returns `None` if enough windows are read.
    fn door_for(&self, window: &Window) -> Option<Door> {
        if !plan::is_part(window) {
            return (self.readers.len() < plan::MAX_READERS).then_some(Door::Search);
        }
        [Door::Search, Door::List].into_iter().find(|door| self.free_readers(*door) > 0)
    }

    /// Returns how many more parts of the history are to be read in this way.
    fn free_readers(&self, door: Door) -> usize {
        let wanted = match door {
            Door::Search => self.tuning.pace.readers(self.search_rps),
            Door::List if self.reads_lists() && self.lists.pages_per_second > 0.0 => {
                self.tuning.pace.list_readers(self.lists.pages_per_second)
            }
            Door::List => 0,
        };
        wanted.saturating_sub(self.readers.values().filter(|reader| reader.door == door).count())
    }

    fn open_with(&mut self, window: Window, door: Door) {
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
            let all_left = self.rows_left();
            let has_most = |reader: &&WindowReader| {
                let left = reader.outlook.as_ref().map_or(0.0, |outlook| outlook.left(&reader.window, all_left));
                left as u64
            };
            let parts =
                self.readers.values().filter(|reader| plan::is_part(&reader.window) && reader.outlook.is_some());
            let Some(id) = parts.max_by_key(has_most).map(|reader| reader.id) else { continue };
            let Some(reader) = self.readers.get_mut(&id) else { continue };
            let Some(outlook) = reader.outlook else { continue };
            let cuts =
                plan::cuts(&outlook, &reader.window, all_left, reader.next.rows_asked(), takers, reader.door != door);
            let parts = plan::cut_window(self.state.lane.pass_mut(self.kind), &mut reader.window, &cuts);
            self.is_unsaved |= !parts.is_empty();
            for part in parts {
                self.open_with(part, door);
            }
        }
    }

    /// Returns how many rows of the history are not read, as far as HubSpot has counted it.
    fn rows_left(&self) -> f64 {
        let backfilled = &self.state.lane.backfilled;
        backfilled.total.map_or(0.0, |total| (total - backfilled.read).max(0) as f64)
    }

    /// Makes the history a window of parts, if it can be read by lists, too. `page` is its first page.
    pub(super) fn begin_parts(&self, window: &mut Window, page: &Page) {
        let is_whole = window.start_id.is_none() && window.last_id.is_none() && window.part.is_none();
        let is_first_reading = window.repairs == 0 && window.hold.is_none() && !window.undated;
        if is_whole && is_first_reading && page.has_more() && self.reads_lists() {
            plan::begin_parts(window, page.date, self.settings.settle);
        }
    }

    /// Ends a part of the history. The parts are counted together, when all of them are read.
    pub(super) fn end_part(&mut self, window: &Window) {
        plan::part_is_read(self.state.lane.pass_mut(self.kind), window);
        self.state.progress(LaneStep::Pass(self.kind));
        self.state.forget_passed_error();
        self.is_unsaved = true;
    }

    /// Counts the parts that were read. Most often they are joined to one.
    fn count_parts(&mut self) {
        let windows = self.state.lane.pass(self.kind).windows.iter();
        let read: Vec<Window> =
            windows.filter(|window| window.part.as_ref().is_some_and(|part| part.is_read)).cloned().collect();
        for window in read {
            let mut reader = self.open(window);
            reader.window = plan::to_be_counted(&reader.window);
            reader.is_count_only = true;
            self.count(reader, None);
        }
    }

    /// Ends the reading of parts that were counted. `count` is `None` if there was no time to count.
    pub(super) fn parts_counted(&mut self, window: &Window, count: Option<i64>) {
        let is_complete = count.is_none_or(|holds_now| plan::covers(window, holds_now));
        if !is_complete {
            self.tally.mismatch();
            tracing::warn!(
                object = self.object.as_str(),
                window.read,
                count,
                "the history does not add up; it is counted again, and then read again by searches"
            );
            plan::count_later(&mut self.state.lane, window, DateTime::now());
        }
        self.close(window, count.is_some());
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

    /// Reads the history again without parts, because ids are not in numeric order.
    pub(super) fn read_whole(&mut self) {
        const REASON: &str = "the ids are not in numeric order";
        self.tally.mismatch();
        self.close_lists(REASON);
        let is_part = |reader: &WindowReader| reader.window.part.is_some();
        let parts: Vec<_> = self.readers.values().filter(|reader| is_part(reader)).map(|reader| reader.id).collect();
        self.readers.retain(|id, _| !parts.contains(id));
        self.ready.retain(|publication| !parts.contains(&publication.id));
        plan::read_whole(&mut self.state.lane, REASON);
    }

    /// Requests the page after `last_id`, or after what is published, in the way in which the window is read. A search reads
    /// what a list would have to wait for.
    pub(super) fn request(&mut self, reader: &mut WindowReader, last_id: Option<String>, concurrent: Concurrent) {
        if self.lists.pages_per_second == 0.0 && self.free_readers(Door::Search) > 0 {
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
