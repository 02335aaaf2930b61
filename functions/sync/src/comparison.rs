//! Comparisons of all records of a lane with what was published, because a change of their associations or calculated values
//! may not show in any search. They are made step by step, when the lane has nothing else to read.

use model::{ids::RecordId, time::DateTime};

use crate::{
    error::SliceError,
    lane::{LaneReader, WindowOutcome},
    plan::{self, Compared},
    state::LaneStep,
};

impl LaneReader<'_> {
    /// Compares the next records with what was published, and publishes those that differ. If they cannot be read,
    /// postpones the comparison, so that changes do not wait for it.
    ///
    /// # Errors
    /// The failure concerns the whole account, or is not HubSpot's.
    pub(crate) async fn compare(&mut self, what: Compared) -> Result<WindowOutcome, SliceError> {
        match self.compare_next(what).await {
            Err(SliceError::HubSpot(error)) if !error.concerns_account() => {
                self.postpone_comparison(what, &error.to_string()).await?;
                Ok(WindowOutcome::Closed)
            }
            // Fewer records fit into a slice.
            Ok(WindowOutcome::OutOfTime) if !self.state.progressed_in(Some(LaneStep::Comparison(what))) => {
                self.postpone_comparison(what, "there is no time to publish what differs").await?;
                Ok(WindowOutcome::Closed)
            }
            compared => compared,
        }
    }

    async fn compare_next(&mut self, what: Compared) -> Result<WindowOutcome, SliceError> {
        let slice = self.slice;
        let Some(comparison) = what.of(&mut self.state.lane) else { return Ok(WindowOutcome::Closed) };
        let after = comparison.after.clone().and_then(|id| RecordId::try_from(id).ok());
        if after.is_none() {
            comparison.began_at = Some(DateTime::now());
        }
        // What took longer than a slice may fit if it is less.
        let count = (what.most() >> comparison.attempts.min(31)).max(1);
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let known = slice.store().seen_after(slice.account(), self.object, after.as_ref(), limit).await?;
        let next = (known.len() == count).then(|| known.last().map(|(id, _)| id.to_string())).flatten();
        let outcome = match what {
            Compared::Associations => self.compare_associations(known).await?,
            Compared::CalculatedValues => self.compare_values(known).await?,
        };
        if outcome == WindowOutcome::OutOfTime {
            return Ok(WindowOutcome::OutOfTime);
        }
        if let Some(comparison) = what.of(&mut self.state.lane) {
            plan::comparison_step_done(comparison, next, DateTime::now());
        }
        self.checkpoint_progress().await?;
        self.state.progress(LaneStep::Comparison(what));
        Ok(WindowOutcome::Closed)
    }

    /// Postpones the comparison for this reason, and saves the lane.
    pub(crate) async fn postpone_comparison(&mut self, what: Compared, reason: &str) -> Result<(), SliceError> {
        let compared = match what {
            Compared::Associations => "associations",
            Compared::CalculatedValues => "calculated values",
        };
        tracing::error!(error = reason, compared, "records cannot be compared; it is tried again later");
        if let Some(comparison) = what.of(&mut self.state.lane) {
            plan::postpone_comparison(comparison, reason.to_owned(), DateTime::now());
        }
        self.save_lane().await
    }
}
