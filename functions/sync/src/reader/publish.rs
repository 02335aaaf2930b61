//! Publishes the pages of a pass, one at a time. Rows are prepared, then published in batches. Each batch is
//! checkpointed before the next one.
//!
//! The state of the lane has only what is done. It changes when a batch is published, and can be saved at any time.

use model::checkpoint::PassKind;

use super::{
    job::{Job, PublishedBatch},
    pass::PassReader,
    window::{Publication, WindowReader},
};
use crate::{
    batch,
    error::SliceError,
    fetch,
    ledger::PublishTerms,
    plan,
    preparation::{Preparation, Prepared},
    state::LaneStep,
};

impl PassReader<'_> {
    /// Prepares the rest of the current page. If nothing is left, the page is published.
    pub(super) fn prepare(&mut self, mut reader: WindowReader) -> Result<(), SliceError> {
        let Some(page) = reader.page.as_mut().filter(|page| !page.rest.is_empty()) else {
            return self.page_published(reader);
        };
        let preparation = Preparation {
            rows: std::mem::take(&mut page.rest),
            size: page.size,
            is_suspect: page.is_suspect,
            each_for_itself: page.each_for_itself,
            // HubSpot associates a new contact by its e-mail domain, seconds after its creation.
            of_all: self.kind == PassKind::Settled,
            terms: PublishTerms::of(&self.state.lane),
        };
        self.start(Job::Prepare { id: reader.id, preparation });
        self.readers.insert(reader.id, reader);
        Ok(())
    }

    /// Starts to mark prepared rows as pending. They are published when it is their turn.
    pub(super) fn prepared(&mut self, mut reader: WindowReader, prepared: Prepared) -> Result<(), SliceError> {
        let Some(page) = &mut reader.page else { return self.go_on(reader) };
        let Prepared { rows, mut ledger, rest } = prepared;
        (page.size, page.rest) = (rows.len(), rest);
        let publication = Publication {
            id: reader.id,
            pending: batch::pending_marks(&rows, &mut ledger, &mut self.state.marks),
            rows,
            ledger,
            counting: page.counting,
            counted_to: page.counted_to,
            is_last: page.is_last && page.rest.is_empty(),
            is_begun: false,
        };
        self.readers.insert(reader.id, reader);
        if publication.pending.is_empty() {
            self.ready.push_back(publication);
        } else {
            self.start(Job::Mark(publication));
        }
        Ok(())
    }

    /// Saves the lane if it has progressed, otherwise publishes what is ready. One of these at a time, in this order.
    pub(super) fn write(&mut self) -> Result<(), SliceError> {
        while !self.is_writing {
            if std::mem::take(&mut self.is_unsaved) {
                let lane = self.state.to_save(self.tuning.page_size());
                self.is_writing = true;
                self.start(Job::Save(Box::new(lane)));
                continue;
            }
            let Some(mut publication) = self.ready.pop_front() else { break };
            if publication.rows.is_empty() {
                if let Some(reader) = self.readers.remove(&publication.id) {
                    self.prepare(reader)?;
                }
                continue;
            }
            if !std::mem::replace(&mut publication.is_begun, true) {
                batch::add_own_marks(&publication.rows, &mut publication.ledger, &self.state.marks);
            }
            self.is_writing = true;
            self.start(Job::Publish(publication));
        }
        Ok(())
    }

    /// Moves a window's position past a batch that was published.
    pub(super) fn batch_published(&mut self, publication: Publication, batch: PublishedBatch) {
        self.state.marks.add(batch.marks);
        self.state.set_aside_until(batch.set_aside_until);
        let reader = self.readers.get(&publication.id);
        let is_of_history = reader.is_some_and(|reader| self.is_of_history(&reader.window));
        if let Some(reader) = self.readers.get_mut(&publication.id) {
            let window = &mut reader.window;
            (window.read, window.last_id) = (window.read + batch.read, batch.last_id);
            if let Some(part) = &mut window.part {
                part.countable += batch.countable;
            }
            plan::update(self.state.lane.pass_mut(self.kind), window);
            self.state.got_on = true;
            // Skipping records that cannot be read is not progress.
            if self.kind != PassKind::Again && window.repairs == 0 && batch.is_read {
                self.state.progress(LaneStep::Pass(self.kind));
            }
            if is_of_history {
                self.state.lane.backfilled.read += batch.read;
            }
        }
        if !(publication.is_last && publication.rows.is_empty()) {
            self.state.forget_passed_error();
            self.is_unsaved = true;
        }
        self.ready.push_front(publication);
    }

    /// Continues a window after a page was published.
    fn page_published(&mut self, mut reader: WindowReader) -> Result<(), SliceError> {
        let Some(page) = reader.page.take() else { return self.go_on(reader) };
        let took = page.began.elapsed();
        self.tuning.pace.publishing_took(took);
        if page.is_quick && took < fetch::QUICK_PAGE && !self.state.has_failed_elsewhere() {
            self.tuning.ask_for(self.tuning.page_size() * 2);
        }
        match page.is_last {
            true => self.end_window(reader),
            false if self.is_first_page_only => Ok(()),
            false => self.go_on(reader),
        }
    }
}
