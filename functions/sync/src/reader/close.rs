//! Ends a window: HubSpot says that it has no more rows, and counts as many as were read.

use model::{
    checkpoint::{PassKind, Window},
    time::DateTime,
};

use super::{job::Job, mismatch::ROWS_MISSING, pass::PassReader, window::WindowReader};
use crate::{error::SliceError, plan, state::LaneStep};

impl PassReader<'_> {
    /// Closes a window that has no more rows, after they are counted. A window of a fresh pass is not counted: rows
    /// that it left out are read by the next fresh pass if they are recent, and by the settled pass in any case.
    pub(super) fn end_window(&mut self, reader: WindowReader) -> Result<(), SliceError> {
        if plan::is_part(&reader.window) && plan::is_cut(&reader.window) {
            self.end_part(&reader.window);
            return Ok(());
        }
        if self.kind == PassKind::Fresh || plan::count_matches(&reader.window) {
            self.close(&reader.window, true);
            return Ok(());
        }
        self.count(reader, None);
        Ok(())
    }

    /// Requests the number of rows of a window, up to `up_to_id` or in all. If the window is being split, counts it as
    /// it was before the current page.
    pub(super) fn count(&mut self, reader: WindowReader, up_to_id: Option<String>) {
        let window = reader.split.as_ref().map_or(&reader.window, |split| &split.whole).clone();
        let is_suspect = self.state.is_suspect(&window);
        self.start(Job::Count { id: reader.id, window, up_to_id, is_suspect });
        self.readers.insert(reader.id, reader);
    }

    /// Continues with a window that was counted. `count` is `None` if there was no time to count: a window that was
    /// read completely is then counted by the next slice.
    pub(super) fn counted(&mut self, reader: WindowReader, count: Option<i64>) -> Result<(), SliceError> {
        if reader.is_count_only {
            self.parts_counted(&reader.window, count);
            return Ok(());
        }
        match count {
            Some(holds_now) if !plan::covers(&reader.window, holds_now) => {
                self.does_not_add_up(&reader.window, ROWS_MISSING);
            }
            _ if reader.split.is_none() => self.close(&reader.window, count.is_some()),
            Some(_) => return self.divide(reader),
            None => self.out_of_time(),
        }
        Ok(())
    }

    /// Closes a window whose rows are all published.
    pub(super) fn close(&mut self, window: &Window, is_counted: bool) {
        let now = DateTime::now();
        let lane = &mut self.state.lane;
        if !is_counted {
            plan::count_soon(lane, window, now);
        }
        plan::complete(lane.pass_mut(self.kind), window, now);
        if self.kind == PassKind::Backfill && lane.backfill.windows.is_empty() {
            plan::recount_later(lane, self.settings, now);
        }
        self.state.progress(LaneStep::Pass(self.kind));
        self.state.forget_passed_error();
        self.is_unsaved = true;
    }
}
