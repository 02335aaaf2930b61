//! Changes of associations that show in no search: HubSpot does not move a record's modification time for all of them.
//!
//! Records are checked when HubSpot reports a change by webhook, when one of a contact's companies is gone, and when not
//! all of their associations could be read at once. Beside that, those of all records are compared from time to time with
//! what was published. A record whose associations differ is read by its id, and published as any other record.

use std::collections::{HashMap, VecDeque};

use hubspot::{AssociationInput, Associations, MAX_READ_IDS, ReadRecords};
use model::{ids::RecordId, time::DateTime};
use store::{AssociationCheck, LedgerEntry, UnfinishedAssociations};
use tokio::time::Instant;

use crate::{
    association_checks::store_unfinished,
    budget::Concurrent,
    error::SliceError,
    lane::{LaneReader, WindowOutcome},
    ledger::{PublishLedger, PublishTerms},
    plan::Compared,
    preparation::{self, AssociationReading},
    set_aside::is_a_records,
    state::LaneStep,
};

/// How many contacts are checked at once.
const MAX_CHECKS: usize = MAX_READ_IDS;

/// Returns what to read for a check.
fn input(check: &AssociationCheck) -> AssociationInput {
    let id = check.record_id.clone();
    match check.unfinished.clone() {
        Some(UnfinishedAssociations { to, after, before }) => AssociationInput { id, to: Some(to), after, before },
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
        if Instant::now() + self.state.longest_association_read > slice.budget.work_ends() {
            return Ok(WindowOutcome::OutOfTime);
        }
        // The other lane may request more meanwhile.
        slice.association_checks.borrow_mut().remove(&self.object);
        let Some(due) = store.due_association_checks(slice.account(), self.object, count).await? else {
            return Ok(WindowOutcome::Closed);
        };
        slice.note_association_checks(self.object);
        // A reading that fails, or takes longer than a slice, must not keep the lane from anything else.
        store.postpone_association_checks(slice.account(), self.object, &due).await?;
        match self.check(due).await {
            Err(SliceError::HubSpot(error)) if !error.concerns_account() => {
                tracing::warn!(%error, "records' associations cannot be checked; it is tried again later");
                Ok(WindowOutcome::Closed)
            }
            checked => checked,
        }
    }

    async fn check(&mut self, mut due: Vec<AssociationCheck>) -> Result<WindowOutcome, SliceError> {
        let (slice, store) = (self.slice, self.slice.store());
        let ids = due.iter().map(|check| &check.record_id);
        let seen = store.seen(slice.account(), self.object, ids).await?;
        let mut ledger = self.read_for_comparison(due.iter().map(input).collect(), seen).await?;
        let unfinished = ledger.take_unfinished();
        let has_moved = |check: &AssociationCheck| {
            let before = check.unfinished.as_ref().map(|unfinished| (Some(unfinished.to), &unfinished.after));
            unfinished.get(check.record_id.as_str()).is_none_or(|input| Some((input.to, &input.after)) != before)
        };
        if !due.is_empty() && !due.iter().any(has_moved) {
            return Err(SliceError::NoTime);
        }
        let (begun, read): (Vec<_>, Vec<_>) =
            due.drain(..).partition(|check| unfinished.contains_key(check.record_id.as_str()));
        store_unfinished(slice, self.object, unfinished, &begun).await?;
        if !begun.is_empty() {
            self.state.progress(LaneStep::AssociationChecks);
        }
        let ids = read.iter().map(|check| check.record_id.clone()).collect();
        let outcome = self.publish_differing(LaneStep::AssociationChecks, ids, ledger).await?;
        if outcome == WindowOutcome::Closed {
            store.end_association_checks(slice.account(), self.object, &read).await?;
            self.state.progress(LaneStep::AssociationChecks);
        }
        Ok(outcome)
    }

    /// Compares the associations of these records with what was published, and publishes those that differ.
    ///
    /// # Errors
    /// HubSpot or MongoDB failed, or there is no time.
    pub(crate) async fn compare_associations(
        &mut self,
        known: Vec<(RecordId, LedgerEntry)>,
    ) -> Result<WindowOutcome, SliceError> {
        let live: Vec<RecordId> = known.iter().filter(|(_, seen)| seen.is_live()).map(|(id, _)| id.clone()).collect();
        let inputs = live.iter().cloned().map(AssociationInput::first).collect();
        let mut ledger = self.read_for_comparison(inputs, known.into_iter().collect()).await?;
        store_unfinished(self.slice, self.object, ledger.take_unfinished(), &[]).await?;
        self.publish_differing(LaneStep::Comparison(Compared::Associations), live, ledger).await
    }

    /// Reads the associations of contacts. `seen` is what was published of them.
    ///
    /// # Errors
    /// HubSpot returns nobody's, or there is no time.
    async fn read_for_comparison(
        &mut self,
        inputs: Vec<AssociationInput>,
        seen: HashMap<RecordId, LedgerEntry>,
    ) -> Result<PublishLedger, SliceError> {
        let mut ledger = PublishLedger::new(self.object, PublishTerms::of(&self.state.lane), seen);
        if inputs.is_empty() {
            return Ok(ledger);
        }
        let read_at = DateTime::now();
        let read = self.read_in_parts(inputs).await?;
        self.tuning.asked();
        self.state.longest_association_read = self.state.longest_association_read.max(read.took);
        if let Some((id, reason)) = read.unread.iter().next() {
            tracing::warn!(record.id = id, reason, contacts = read.unread.len(), "associations cannot be read");
        }
        ledger.learn_associations(read, read_at);
        Ok(ledger)
    }

    /// Reads the associations of contacts, in halves if that fails, down to the contact that HubSpot has no answer for.
    ///
    /// # Errors
    /// HubSpot returns nobody's, or there is no time.
    async fn read_in_parts(&self, inputs: Vec<AssociationInput>) -> Result<Associations, SliceError> {
        let (mut parts, mut all, mut failure) = (VecDeque::from([inputs]), Associations::default(), None);
        while let Some(mut part) = parts.pop_front() {
            match preparation::read_associations(self.slice, self.object, part.clone(), part.len() == 1).await {
                Ok(Some(read)) => {
                    all.found.extend(read.found);
                    all.unfinished.extend(read.unfinished);
                    all.unread.extend(read.unread);
                    all.took = all.took.max(read.took);
                }
                Ok(None) => return Err(SliceError::NoTime),
                Err(error) if is_a_records(&error) => {
                    let rest = part.split_off(part.len() / 2);
                    if part.is_empty() {
                        all.unread.extend(rest.into_iter().map(|input| (input.id.into(), error.to_string())));
                    } else {
                        parts.extend([part, rest]);
                    }
                    failure = Some(error);
                    if self.tuning.pace.latest_start(Concurrent::Nothing).is_none() {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        match failure {
            // No single contact is the cause, or there is no time to find it.
            Some(error) if !parts.is_empty() || all.found.is_empty() && all.unfinished.is_empty() => Err(error.into()),
            _ => Ok(all),
        }
    }

    /// Reads those contacts by their ids whose associations differ from what was published, and publishes them.
    async fn publish_differing(
        &mut self,
        step: LaneStep,
        ids: Vec<RecordId>,
        mut ledger: PublishLedger,
    ) -> Result<WindowOutcome, SliceError> {
        let differing: Vec<String> =
            ids.into_iter().filter(|id| ledger.is_associated_anew(id)).map(String::from).collect();
        self.publish_by_ids(step, &differing, Some(&mut ledger)).await
    }

    /// Reads records by their ids, and publishes them. `associations` has their associations. If it is `None`, they are
    /// published because of their calculated values, and their associations are read. Sets aside a record that HubSpot
    /// cannot return. Returns `OutOfTime` if there is no time for all of them.
    pub(crate) async fn publish_by_ids(
        &mut self,
        step: LaneStep,
        ids: &[String],
        mut associations: Option<&mut PublishLedger>,
    ) -> Result<WindowOutcome, SliceError> {
        let (slice, object) = (self.slice, self.object);
        let mut parts: VecDeque<Vec<String>> = ids.chunks(MAX_READ_IDS).map(<[String]>::to_vec).collect();
        while let Some(mut ids) = parts.pop_front() {
            let read = match self.read_by_ids(&ids).await {
                Ok(Some(read)) => read,
                Ok(None) => return Ok(WindowOutcome::OutOfTime),
                Err(SliceError::HubSpot(error)) if is_a_records(&error) && ids.len() > 1 => {
                    let rest = ids.split_off(ids.len() / 2);
                    parts.extend([ids, rest]);
                    continue;
                }
                Err(SliceError::HubSpot(error))
                    if error.is_about_contents() || (error.is_transient() && self.state.progressed_in(Some(step))) =>
                {
                    let odd: Vec<_> = ids.into_iter().map(|id| (id, error.to_string())).collect();
                    self.set_aside(&odd).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let terms = PublishTerms::of(&self.state.lane);
            let part = match &mut associations {
                Some(ledger) => {
                    let seen = preparation::seen(slice, object, &read.rows).await?;
                    let mut part = PublishLedger::new(object, terms, seen).of_records_read_by_id();
                    ledger.give_associations(&mut part, &ids);
                    part
                }
                None => {
                    let reading = AssociationReading { each_for_itself: ids.len() == 1, of_all: true };
                    let part = preparation::load_ledger(slice, object, terms, &read.rows, reading).await?;
                    part.of_compared_values()
                }
            };
            let odd = self.publish(read.rows, part).await?;
            self.set_aside(&odd).await?;
            self.state.progress(step);
        }
        Ok(WindowOutcome::Closed)
    }

    /// Reads contacts by their ids. Returns `None` if there is no time.
    ///
    /// # Errors
    /// The general limit leaves no time, or HubSpot failed.
    async fn read_by_ids(&self, ids: &[String]) -> Result<Option<ReadRecords>, SliceError> {
        let Some(latest) = self.tuning.pace.latest_start(Concurrent::Nothing) else { return Ok(None) };
        let (object, properties) = (self.object, self.slice.properties(self.object));
        let read = self.slice.session.read_by_ids(object, ids, properties, Some(latest)).await?;
        read.map(Some).ok_or(SliceError::NoTime)
    }
}
