//! The parts of a history: their beginning, their end, and their common proof.

use hubspot::{Page, Search};
use model::{
    checkpoint::{IdOrder, PassKind, Window},
    time::DateTime,
};

use super::{
    job::Job,
    pass::PassReader,
    window::{WindowId, WindowReader},
};
use crate::{
    error::SliceError,
    plan::{self, Door},
    state::LaneStep,
};

/// The count of a history, requested beside its last pages.
#[derive(Debug)]
pub(super) struct EarlyCount {
    id: WindowId,
    /// The whole history.
    window: Window,
    /// True until it has arrived.
    is_asked: bool,
    /// `None` if it failed, or there was no time for it.
    count: Option<i64>,
}

impl PassReader<'_> {
    /// Makes the history a window of parts, if it can be read by lists, too. `page` is its first page.
    pub(super) fn begin_parts(&self, window: &mut Window, page: &Page) {
        let is_whole = window.start_id.is_none() && window.last_id.is_none() && window.part.is_none();
        let is_first_reading = window.repairs == 0 && window.hold.is_none() && !window.undated;
        let may_be_numeric = window.order != Some(IdOrder::Lexical);
        if is_whole && is_first_reading && may_be_numeric && page.has_more() && self.reads_lists() {
            plan::begin_parts(window, page.date, self.settings.settle);
        }
    }

    /// Ends a part of the history. The parts are proved together, when all of them are read.
    pub(super) fn end_part(&mut self, window: &Window) {
        plan::part_is_read(self.state.lane.pass_mut(self.kind), window);
        self.state.progress(LaneStep::Pass(self.kind));
        self.state.forget_passed_error();
        self.is_unsaved = true;
    }

    /// Reads what comes last. Most of it does not depend on the last pages, and is requested beside them, if a search is free.
    pub(super) fn read_last(&mut self) {
        if self.kind == PassKind::Backfill && self.free_readers(Door::Search) > 0 && self.is_nearly_read() {
            if plan::open_undated(&mut self.state.lane) {
                self.open_with(Window::of_undated(), Door::Search);
            }
            self.count_early();
        }
        if self.readers.is_empty() {
            self.count_parts();
        }
    }

    /// Returns true if no window has more than a page left, as far as that is known.
    fn is_nearly_read(&self) -> bool {
        let is_last = |reader: &WindowReader| {
            let has_last = reader.page.as_ref().is_some_and(|page| page.is_last);
            has_last || self.rows_left(reader).is_some_and(|left| left <= f64::from(Search::MAX_PAGE))
        };
        let is_nearly_read =
            |window: &Window| self.readers.values().any(|reader| reader.window.from == window.from && is_last(reader));
        let windows = &self.state.lane.pass(self.kind).windows;
        let is_begun = self.state.lane.first_seen.is_some() && !windows.is_empty();
        is_begun && windows.iter().all(|window| plan::is_read(window) || is_nearly_read(window))
    }

    /// Reads the records without a time after the history. What is wrong with them does not hold it up.
    pub(super) fn read_undated_later(&mut self, reason: &str) {
        tracing::info!(object = self.object.as_str(), reason, "records without a time are read after the history");
        plan::read_undated_later(&mut self.state.lane, self.settings, DateTime::now());
        self.is_unsaved = true;
    }

    /// Requests the number of rows of the whole history beside its last pages.
    fn count_early(&mut self) {
        let pass = self.state.lane.pass(self.kind);
        // A history that was never cut has a count of its own.
        let is_cut = pass.windows.iter().filter(|window| window.part.is_some()).count() > 1;
        let is_counted = self.early_count.is_some() || self.readers.values().any(|reader| reader.is_count_only);
        if is_counted || !is_cut {
            return;
        }
        let Some(window) = plan::whole_to_be_counted(pass) else { return };
        let WindowReader { id, window, .. } = self.open(window);
        let is_suspect = self.state.is_suspect(&window);
        self.start(Job::Count { id, window: window.clone(), up_to_id: None, is_suspect });
        self.early_count = Some(EarlyCount { id, window, is_asked: true, count: None });
    }

    /// Takes the early count, if it is the one with this name. If it failed, the history is counted again.
    pub(super) fn is_counted_early(&mut self, id: WindowId, count: &Result<Option<i64>, SliceError>) -> bool {
        let Some(early) = self.early_count.as_mut().filter(|early| early.id == id) else { return false };
        early.is_asked = false;
        match count {
            Ok(count) => early.count = *count,
            Err(error) => {
                tracing::debug!(object = self.object.as_str(), %error, "the history is counted again");
            }
        }
        true
    }

    /// Counts the parts that were read, once it is known how searches compare ids. Most often they are joined to one. An early
    /// count proves it, unless records were changed or deleted after that.
    fn count_parts(&mut self) {
        if self.early_count.as_ref().is_some_and(|early| early.is_asked) {
            return;
        }
        let windows = self.state.lane.pass(self.kind).windows.iter();
        let read: Vec<Window> = windows.filter(|window| plan::is_read(window)).cloned().collect();
        if read.is_empty() || !self.is_order_known() {
            return;
        }
        for window in read {
            let window = plan::to_be_counted(&window);
            match self.early_count.as_ref().and_then(|early| early.proves(&window)) {
                Some(count) => self.parts_counted(&window, Some(count)),
                None => {
                    let mut reader = self.open(window);
                    reader.is_count_only = true;
                    self.count(reader, None);
                }
            }
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

    /// Reads the history again without parts, because ids are not in numeric order, or may not be.
    pub(super) fn read_whole(&mut self, reason: &str) {
        self.close_lists(reason);
        let is_part = |reader: &WindowReader| reader.window.part.is_some() || reader.is_count_only;
        let parts: Vec<_> = self.readers.values().filter(|reader| is_part(reader)).map(|reader| reader.id).collect();
        let is_left = self.state.lane.pass(self.kind).windows.iter().any(|window| window.part.is_some());
        if parts.is_empty() && !is_left {
            return;
        }
        self.tally.mismatch();
        self.readers.retain(|id, _| !parts.contains(id));
        self.ready.retain(|publication| !parts.contains(&publication.id));
        plan::read_whole(&mut self.state.lane);
    }
}

impl EarlyCount {
    /// Returns the count, if it proves that no row of the window is missing.
    fn proves(&self, window: &Window) -> Option<i64> {
        let is_same = plan::extent(&self.window) == plan::extent(window);
        self.count.filter(|count| is_same && plan::covers(window, *count))
    }
}
