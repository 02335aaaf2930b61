//! Splits what is left of a window into two that are read concurrently, because one request at a time is too slow.

use hubspot::Page;
use model::{
    checkpoint::{PassKind, Window},
    time::DateTime,
};

use super::{
    job::{Job, Search},
    pass::PassReader,
    window::{NextPage, Split, WindowReader},
};
use crate::{budget::Concurrent, error::SliceError, plan};

impl PassReader<'_> {
    /// Returns the time at which the rest of the window after the page is split. Returns `None` if it is not.
    pub(super) fn split_point(&self, window: &Window, page: &Page) -> Option<DateTime> {
        // Each split that is not finished yet will be one window more.
        let splitting = self.readers.values().filter(|reader| reader.split.is_some()).count();
        let readers = self.tuning.pace.readers(self.search_rps).saturating_sub(splitting);
        let pass = self.state.lane.pass(self.kind);
        if page.has_more() { plan::split_point(pass, window, page, readers) } else { None }
    }

    /// Requests the first pages of the halves while the page is published.
    pub(super) fn begin_split(&mut self, reader: &mut WindowReader, page: &Page, middle: DateTime) {
        let last_id = page.rows.last().map(|row| row.id.clone());
        let halves = plan::split_window(&reader.window, last_id.as_ref(), middle);
        for (half, window) in halves.iter().enumerate() {
            let (window, is_suspect) = (window.clone(), self.state.is_suspect(window));
            let (half, concurrent) = (Some(half), Concurrent::Publishing);
            let (id, last_id, leaves_room) = (reader.id, None, false);
            self.start(Job::Search(Search { id, half, window, last_id, concurrent, is_suspect, leaves_room }));
        }
        reader.split = Some(Split {
            whole: reader.window.clone(),
            total: page.total,
            rows: page.rows.len(),
            last_id,
            halves,
            pages: [NextPage::Asked, NextPage::Asked],
        });
    }

    /// Replaces the window with its halves, if their first pages have arrived. The rows before them are not read again.
    /// Therefore they are counted, unless the totals of the page and of the halves account for them.
    pub(super) fn split(&mut self, mut reader: WindowReader) -> Result<(), SliceError> {
        let Some(split) = &mut reader.split else { return self.go_on(reader) };
        for page in &mut split.pages {
            match page.take() {
                Some(Ok(arrived)) => *page = NextPage::Arrived(Ok(arrived)),
                Some(Err(error)) => return self.failed(reader, error),
                None => {
                    self.readers.insert(reader.id, reader);
                    return Ok(());
                }
            }
        }
        let totals = split.pages.each_ref().map(NextPage::total);
        let accounts_for = |total| plan::accounts_for(&split.whole, total, split.rows, totals);
        if self.kind != PassKind::Fresh && !split.total.is_some_and(accounts_for) {
            let last_id = split.last_id.clone();
            self.count(reader, last_id);
            return Ok(());
        }
        self.divide(reader)
    }

    /// Continues with the halves of a window. A half whose first page did not arrive in time is read later.
    pub(super) fn divide(&mut self, reader: WindowReader) -> Result<(), SliceError> {
        let WindowReader { window, split, .. } = reader;
        let Some(Split { halves, pages, .. }) = split else { return Ok(()) };
        plan::replace_with_halves(self.state.lane.pass_mut(self.kind), &window, halves.clone());
        for (half, page) in halves.into_iter().zip(pages) {
            if page.total().is_some() {
                let mut reader = self.open(half);
                reader.next = page;
                self.go_on(reader)?;
            }
        }
        Ok(())
    }
}
