//! Reads the windows of a pass, page by page and concurrently, and proves that none of their rows is missing.
//!
//! All decisions are made in one place ([`pass::PassReader`]), which owns the state of the lane and waits for nothing.
//! Its jobs own what they need, and run concurrently. One page at a time is published.

mod close;
mod doors;
mod job;
mod mismatch;
mod order;
mod parts;
mod pass;
mod publish;
mod split;
mod window;

#[cfg(test)]
mod tests;

use futures::{StreamExt, stream::FuturesUnordered};
use model::{
    checkpoint::{PassKind, Window},
    time::DateTime,
};

use self::pass::PassReader;
use crate::{
    error::SliceError,
    lane::{LaneReader, WindowOutcome},
    plan,
};

impl LaneReader<'_> {
    /// Reads the windows of a pass, several of them concurrently.
    ///
    /// # Errors
    /// As of [`PassReader::next_jobs`] and [`PassReader::take`].
    pub(crate) async fn read_pass(&mut self, kind: PassKind) -> Result<WindowOutcome, SliceError> {
        self.read_windows(kind, false).await
    }

    /// Reads the first page of the history.
    ///
    /// # Errors
    /// As of [`Self::read_pass`].
    pub(crate) async fn read_first_page(&mut self) -> Result<WindowOutcome, SliceError> {
        self.read_windows(PassKind::Backfill, true).await
    }

    async fn read_windows(&mut self, kind: PassKind, is_first_page_only: bool) -> Result<WindowOutcome, SliceError> {
        let (fetcher, slice) = (self.fetcher(), self.slice);
        let mut jobs = FuturesUnordered::new();
        let mut pass =
            PassReader::new(kind, self.object, &mut self.state, self.tuning, slice.tally, slice.settings(self.object));
        pass.is_first_page_only = is_first_page_only;
        pass.search_rps = slice.search_rps();
        pass.lists.are_allowed = slice.may_list(self.object);
        pass.lists.pages_per_second = slice.list_pages_per_second();
        loop {
            jobs.extend(pass.next_jobs()?.into_iter().map(|job| job::perform(fetcher, job)));
            let Some(done) = jobs.next().await else { return Ok(pass.outcome()) };
            // The other lane may have ended meanwhile.
            (pass.search_rps, pass.lists.pages_per_second) = (slice.search_rps(), slice.list_pages_per_second());
            pass.take(done)?;
        }
    }

    /// Reads a held window again, or only counts it. A window whose rows were read is counted first, because most often
    /// none of them is missing.
    pub(crate) async fn count_again(&mut self, window: Window) -> Result<WindowOutcome, SliceError> {
        let is_read = window.hold.is_some_and(|hold| hold.is_unproved());
        let counted = if is_read { self.fetcher().count(&window, None).await } else { Ok(Some(i64::MAX)) };
        let lane = &mut self.state.lane;
        match counted {
            Ok(None) => return Ok(WindowOutcome::OutOfTime),
            Ok(Some(holds_now)) => {
                plan::release(lane, &window);
                if !plan::covers(&window, holds_now) {
                    let unread = Window { last_id: None, read: 0, expected: None, order: None, ..window.clone() };
                    plan::read_again(lane, if is_read { unread } else { window });
                }
            }
            Err(SliceError::HubSpot(error)) if self.state.is_a_records(&error, &window) => {
                let lane = &mut self.state.lane;
                plan::release(lane, &window);
                plan::hold_back(lane, &window, true, DateTime::now());
            }
            Err(error) => return Err(error),
        }
        self.state.got_on = true;
        self.save_lane().await?;
        Ok(WindowOutcome::Closed)
    }
}
