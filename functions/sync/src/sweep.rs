//! The sweep for deletions. Search never shows deleted records. Therefore all of the recycle bin is read from time to
//! time, page by page, when a lane has nothing else to read.

use hubspot::{HubSpotError, MAX_LISTED, Page};
use model::time::DateTime;
use tokio::time::Instant;

use crate::{
    budget::Concurrent,
    error::SliceError,
    lane::{LaneReader, WindowOutcome},
    ledger::PublishTerms,
    plan,
    preparation::{self, AssociationReading},
    state::LaneStep,
};

impl LaneReader<'_> {
    /// Reads the next page of the recycle bin and publishes what is new. If the page cannot be read, postpones the
    /// sweep, so that changes do not wait for it.
    ///
    /// # Errors
    /// The failure concerns the whole account, or is not HubSpot's.
    pub(crate) async fn sweep(&mut self) -> Result<WindowOutcome, SliceError> {
        match self.read_archived().await {
            Err(SliceError::HubSpot(error)) if !error.concerns_account() => {
                self.postpone_archived_scan(&error.to_string()).await?;
                Ok(WindowOutcome::Closed)
            }
            read => read,
        }
    }

    /// Reads the next page of the recycle bin, publishes what is new, and checkpoints the sweep.
    ///
    /// # Errors
    /// The page could not be read in time, or could not be read, published or saved.
    async fn read_archived(&mut self) -> Result<WindowOutcome, SliceError> {
        let after = self.state.lane.sweep.after.clone();
        if after.is_none() {
            self.state.lane.sweep.began_at = Some(DateTime::now());
        }
        let Some(page) = self.archived_page(after.as_deref()).await? else { return Err(SliceError::NoTime) };
        self.tuning.asked();
        self.tuning.pace.page_took(page.took);
        let Page { rows, next, .. } = page;
        if next.is_some() && next == after {
            return Err(HubSpotError::Malformed("the list's cursor does not move".to_owned()).into());
        }
        let began = Instant::now();
        let terms = PublishTerms::of(&self.state.lane);
        let ledger =
            preparation::load_ledger(self.slice, self.object, terms, &rows, AssociationReading::default()).await?;
        let odd = self.publish(rows, ledger).await?;
        self.set_aside(&odd).await?;
        plan::sweep_page_done(&mut self.state.lane.sweep, next, DateTime::now());
        self.checkpoint_progress().await?;
        self.state.progress(LaneStep::Sweep);
        self.tuning.pace.publishing_took(began.elapsed());
        Ok(WindowOutcome::Closed)
    }

    /// Requests a page of the recycle bin, and smaller ones if that fails because of a record's contents. A single
    /// record that still fails is requested without its properties, because only its deletion must be known. Returns
    /// `None` if there is no time.
    async fn archived_page(&self, after: Option<&str>) -> Result<Option<Page>, HubSpotError> {
        let attempts = self.state.lane.sweep.attempts;
        // A page that took longer than a slice may fit if it is smaller.
        let mut rows = (self.tuning.page_size().min(MAX_LISTED) >> attempts.min(31)).max(1);
        // A failure that has not passed by now may be a record's.
        let is_stubborn = attempts >= 2;
        let is_a_records = |error: &HubSpotError| {
            error.is_about_contents() || (is_stubborn && matches!(error, HubSpotError::Transient { .. }))
        };
        loop {
            let Some(latest) = self.tuning.pace.latest_start(Concurrent::Nothing) else { return Ok(None) };
            let properties = self.slice.properties(self.object);
            match self.slice.session.list_archived(self.object, properties, after, rows, Some(latest)).await {
                Err(error) if is_a_records(&error) && rows > 0 => rows /= 2,
                answered => return answered,
            }
        }
    }

    /// Postpones the sweep for this reason, and saves the lane.
    pub(crate) async fn postpone_archived_scan(&mut self, reason: &str) -> Result<(), SliceError> {
        tracing::error!(
            object = self.object.as_str(),
            error = reason,
            "what was deleted cannot be read; it is tried again later"
        );
        plan::postpone_sweep(&mut self.state.lane.sweep, reason.to_owned(), DateTime::now());
        self.save_lane().await
    }
}
