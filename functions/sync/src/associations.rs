//! Changes of associations that show in no search: HubSpot does not move a contact's modification time for all of them.
//!
//! Contacts are checked when HubSpot reports a change by webhook, when one of their companies is gone, and when not all
//! of their associations could be read at once. Beside that, those of all contacts are compared from time to time with
//! what was published. A contact whose associations differ is read by its id, and published as any other record.

use std::collections::HashMap;

use hubspot::{AssociationInput, MAX_ASSOCIATION_INPUTS, MAX_READ_IDS};
use model::{ids::RecordId, time::DateTime};
use store::{AssociationCheck, UnfinishedAssociations};
use tokio::time::Instant;

use crate::{
    association_checks::store_unfinished,
    batch,
    budget::Concurrent,
    error::SliceError,
    lane::{LaneReader, WindowOutcome},
    ledger::PublishLedger,
    plan,
    state::LaneStep,
};

/// How many contacts are checked at once.
const MAX_CHECKS: usize = MAX_READ_IDS;

/// Returns what to read for a check.
fn input(check: &AssociationCheck) -> AssociationInput {
    let id = check.record_id.clone();
    match check.unfinished.clone() {
        Some(UnfinishedAssociations { after, before }) => AssociationInput { id, after: Some(after), before },
        None => AssociationInput::first(id),
    }
}

impl LaneReader<'_> {
    /// Checks the contacts that are due for it, and publishes those whose associations have changed.
    ///
    /// # Errors
    /// The associations could not be read or published.
    pub(crate) async fn check_associations(&mut self) -> Result<WindowOutcome, SliceError> {
        let (slice, store) = (self.slice, self.slice.store());
        let count = i64::try_from(MAX_CHECKS).unwrap_or(i64::MAX);
        let due = store.due_association_checks(slice.account(), count).await?;
        if due.is_empty() {
            slice.has_association_checks.set(false);
            return Ok(WindowOutcome::Closed);
        }
        // A reading that fails, or takes longer than a slice, must not keep the lane from anything else.
        store.postpone_association_checks(slice.account(), &due).await?;
        match self.check(due).await {
            Err(SliceError::HubSpot(error)) if !error.concerns_account() => {
                tracing::warn!(%error, "contacts' associations cannot be checked; it is tried again later");
                Ok(WindowOutcome::Closed)
            }
            checked => checked,
        }
    }

    async fn check(&mut self, mut due: Vec<AssociationCheck>) -> Result<WindowOutcome, SliceError> {
        let (slice, store) = (self.slice, self.slice.store());
        let inputs = due.iter().map(input).collect();
        let Some(mut ledger) = self.read_for_comparison(inputs, due.len() == 1).await? else {
            return Ok(WindowOutcome::OutOfTime);
        };
        let unfinished = ledger.take_unfinished();
        due.retain(|check| !unfinished.contains_key(check.record_id.as_str()));
        store_unfinished(slice, unfinished).await?;
        self.state.progress(LaneStep::AssociationChecks);
        let ids = due.iter().map(|check| check.record_id.clone()).collect();
        let outcome = self.publish_differing(ids, ledger).await?;
        if outcome == WindowOutcome::Closed {
            store.end_association_checks(slice.account(), &due).await?;
        }
        Ok(outcome)
    }

    /// Compares the associations of the next contacts with what was published, and publishes those that differ. If they
    /// cannot be read, postpones the comparison, so that changes do not wait for it.
    ///
    /// # Errors
    /// The failure concerns the whole account, or is not HubSpot's.
    pub(crate) async fn compare_associations(&mut self) -> Result<WindowOutcome, SliceError> {
        match self.compare_next().await {
            Err(SliceError::HubSpot(error)) if !error.concerns_account() => {
                self.postpone_comparison(&error.to_string()).await?;
                Ok(WindowOutcome::Closed)
            }
            compared => compared,
        }
    }

    async fn compare_next(&mut self) -> Result<WindowOutcome, SliceError> {
        let slice = self.slice;
        let comparison = &mut self.state.lane.kept.associations;
        let after = comparison.after.clone().and_then(|id| RecordId::try_from(id).ok());
        if after.is_none() {
            comparison.began_at = Some(DateTime::now());
        }
        // A call that took longer than a slice may fit if it asks for fewer.
        let count = (MAX_ASSOCIATION_INPUTS >> comparison.attempts.min(31)).max(1);
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let began = Instant::now();
        let known = slice.store().seen_after(slice.account(), self.object, after.as_ref(), limit).await?;
        let next = (known.len() == count).then(|| known.last().map(|(id, _)| id.to_string())).flatten();
        let live: Vec<RecordId> = known.iter().filter(|(_, seen)| seen.is_live()).map(|(id, _)| id.clone()).collect();
        let inputs = live.iter().cloned().map(AssociationInput::first).collect();
        let seen = known.into_iter().collect();
        let Some(mut ledger) = self.read_with(inputs, seen, count == 1).await? else {
            return Ok(WindowOutcome::OutOfTime);
        };
        store_unfinished(slice, ledger.take_unfinished()).await?;
        self.state.progress(LaneStep::Comparison);
        if self.publish_differing(live, ledger).await? == WindowOutcome::OutOfTime {
            return Ok(WindowOutcome::OutOfTime);
        }
        plan::sweep_page_done(&mut self.state.lane.kept.associations, next, DateTime::now());
        self.checkpoint_progress().await?;
        self.tuning.pace.publishing_took(began.elapsed());
        Ok(WindowOutcome::Closed)
    }

    /// Postpones the comparison for this reason, and saves the lane.
    pub(crate) async fn postpone_comparison(&mut self, reason: &str) -> Result<(), SliceError> {
        tracing::error!(error = reason, "associations cannot be compared; it is tried again later");
        plan::postpone_sweep(&mut self.state.lane.kept.associations, reason.to_owned(), DateTime::now());
        self.save_lane().await
    }

    /// Reads the associations of contacts, and what was published of them. Returns `None` if there is no time.
    async fn read_for_comparison(
        &mut self,
        inputs: Vec<AssociationInput>,
        is_alone: bool,
    ) -> Result<Option<PublishLedger>, SliceError> {
        let ids = inputs.iter().map(|input| &input.id);
        let seen = self.slice.store().seen(self.slice.account(), self.object, ids).await?;
        self.read_with(inputs, seen, is_alone).await
    }

    async fn read_with(
        &mut self,
        inputs: Vec<AssociationInput>,
        seen: HashMap<RecordId, store::LedgerEntry>,
        is_alone: bool,
    ) -> Result<Option<PublishLedger>, SliceError> {
        let mut ledger = PublishLedger::new(self.object, self.state.lane.legacy_watermark, seen);
        if inputs.is_empty() {
            return Ok(Some(ledger));
        }
        let read_at = DateTime::now();
        let Some(read) = batch::read_associations(self.slice, inputs, is_alone).await? else { return Ok(None) };
        self.tuning.asked();
        self.tuning.pace.page_took(read.took);
        if let Some((id, reason)) = read.unread.iter().next() {
            tracing::warn!(record.id = id, reason, contacts = read.unread.len(), "associations cannot be read");
        }
        ledger.learn_associations(read, read_at);
        Ok(Some(ledger))
    }

    /// Reads those contacts by their ids whose associations differ from what was published, and publishes them. Returns
    /// `OutOfTime` if there is no time for all of them.
    async fn publish_differing(
        &mut self,
        ids: Vec<RecordId>,
        mut ledger: PublishLedger,
    ) -> Result<WindowOutcome, SliceError> {
        let (slice, object) = (self.slice, self.object);
        let differing: Vec<String> =
            ids.into_iter().filter(|id| ledger.is_associated_anew(id)).map(String::from).collect();
        for ids in differing.chunks(MAX_READ_IDS) {
            let Some(latest) = self.tuning.pace.latest_start(Concurrent::Nothing) else {
                return Ok(WindowOutcome::OutOfTime);
            };
            let read = slice.session.read_by_ids(object, ids, slice.properties(object), Some(latest)).await?;
            let Some(read) = read else { return Ok(WindowOutcome::OutOfTime) };
            let seen = batch::seen(slice, object, &read.rows).await?;
            let mut part = PublishLedger::new(object, self.state.lane.legacy_watermark, seen);
            ledger.give_associations(&mut part, ids);
            let odd = self.publish(read.rows, part).await?;
            self.set_aside(&odd).await?;
        }
        Ok(WindowOutcome::Closed)
    }
}
