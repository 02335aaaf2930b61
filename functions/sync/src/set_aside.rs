//! Records that could not be published. Each is set aside by itself, and read again by its id later.

use std::collections::HashSet;

use hubspot::{HubSpotError, MAX_READ_IDS, ReadRecords};
use model::{ids::RecordId, object::ObjectType, time::DateTime};
use store::SetAside;
use tokio::time::Instant;

use crate::{
    budget::Concurrent,
    context::SliceContext,
    error::SliceError,
    lane::{LaneReader, WindowOutcome},
    ledger::PublishTerms,
    preparation::{self, AssociationReading},
    state::LaneStep,
};

/// After this many attempts a contact is published even if HubSpot does not return its companies.
const WITHOUT_COMPANIES_ATTEMPTS: u32 = 5;

/// After this many attempts a record that HubSpot leaves out of its answers is considered deleted, although the answers
/// do not say so.
const LEFT_OUT_ATTEMPTS: u32 = 10;

/// Returns true if the failure may be caused by a single record. A transient failure of HubSpot counts too, because the
/// record is tried again.
pub(crate) fn is_a_records(error: &HubSpotError) -> bool {
    error.is_about_contents() || error.is_transient()
}

/// Sets records aside, each for its reason. Returns when the first of them is to be read again. Returns `None` if there
/// are none.
pub(crate) async fn set_aside(
    slice: &SliceContext<'_>,
    object: ObjectType,
    records: &[(String, String)],
) -> Result<Option<DateTime>, SliceError> {
    if records.is_empty() {
        return Ok(None);
    }
    for (id, reason) in records {
        tracing::warn!(object = object.as_str(), record.id = id, reason, "a record is set aside");
    }
    slice.tally.set_aside(records.len());
    Ok(slice.store().set_aside(slice.account(), object, records, false).await?)
}

impl LaneReader<'_> {
    /// Sets records aside, each for its reason.
    pub(crate) async fn set_aside(&mut self, records: &[(String, String)]) -> Result<(), SliceError> {
        let retry_at = set_aside(self.slice, self.object, records).await?;
        self.state.set_aside_until(retry_at);
        Ok(())
    }

    /// Reads the records again that are due, and publishes them: all together the first time, and each alone after
    /// that. Each attempt is recorded before it is made, so that a record whose reading takes longer than a slice also
    /// waits longer.
    pub(crate) async fn read_set_aside(&mut self) -> Result<WindowOutcome, SliceError> {
        let (slice, object) = (self.slice, self.object);
        let count = i64::try_from(MAX_READ_IDS).unwrap_or(i64::MAX);
        let due = slice.store().due_set_aside(slice.account(), object, DateTime::now(), count).await?;
        let (first, again): (Vec<_>, Vec<_>) = due.into_iter().partition(|entry| entry.attempts <= 1);
        let alone = again.into_iter().map(|entry| vec![entry]);
        let mut outcome = WindowOutcome::Closed;
        let groups = std::iter::once(first).chain(alone).filter(|entries| !entries.is_empty());
        for (index, entries) in groups.enumerate() {
            let began = Instant::now();
            let Some(latest) = self.tuning.pace.latest_start(Concurrent::Nothing) else {
                outcome = WindowOutcome::OutOfTime;
                break;
            };
            let tried: Vec<_> = entries.iter().map(|entry| (entry.record_id.clone(), entry.reason.clone())).collect();
            slice.store().set_aside(slice.account(), object, &tried, true).await?;
            self.state.progress(LaneStep::SetAside);
            let ids = entries.iter().map(|entry| entry.record_id.clone());
            let ids: Vec<String> = ids.filter(|id| RecordId::try_from(id.clone()).is_ok()).collect();
            match self.read_again(ids, latest, &entries).await {
                Err(SliceError::HubSpot(error)) if is_a_records(&error) => {
                    let failed: Vec<_> = tried.into_iter().map(|(id, _)| (id, error.to_string())).collect();
                    self.set_aside(&failed).await?;
                }
                Err(error) => {
                    let ids: Vec<String> = tried.into_iter().map(|(id, _)| id).collect();
                    // What others left no time for is first in the next slice. If there is no time even then, it waits.
                    let retry_at = (index > 0 && matches!(error, SliceError::NoTime)).then(DateTime::now);
                    slice.store().take_back_try(slice.account(), object, &ids, retry_at).await?;
                    return Err(error);
                }
                Ok(()) => {}
            }
            self.tuning.pace.publishing_took(began.elapsed());
        }
        let next = slice.store().next_set_aside(slice.account(), object).await?;
        self.state.lane.kept.set_aside_until = next;
        self.save_lane().await?;
        Ok(outcome)
    }

    /// Reads records by their ids, and publishes them. Does nothing if `ids` is empty.
    ///
    /// # Errors
    /// There is no time, or the records could not be read, published or set aside.
    async fn read_again(&mut self, ids: Vec<String>, latest: Instant, entries: &[SetAside]) -> Result<(), SliceError> {
        if ids.is_empty() {
            return Ok(());
        }
        let (slice, object) = (self.slice, self.object);
        match slice.session.read_by_ids(object, &ids, slice.properties(object), Some(latest)).await? {
            Some(read) => self.take_up(ids, read, entries).await,
            None => Err(SliceError::NoTime),
        }
    }

    /// Publishes records that were set aside, and forgets those that are published or deleted. Sets the others aside
    /// again.
    async fn take_up(&mut self, ids: Vec<String>, read: ReadRecords, entries: &[SetAside]) -> Result<(), SliceError> {
        let (slice, object) = (self.slice, self.object);
        let were_tried =
            |id: &String, times| entries.iter().any(|entry| entry.record_id == *id && entry.attempts >= times);
        let shown: HashSet<String> = read.rows.iter().map(|row| row.id.clone()).collect();
        let terms = PublishTerms::of(&self.state.lane);
        let reading = AssociationReading { each_for_itself: entries.len() == 1, of_all: true };
        let ledger = preparation::load_ledger(slice, object, terms, &read.rows, reading).await?;
        let mut ledger = ledger.of_records_read_by_id();
        ledger.do_without_companies(ids.iter().filter(|id| were_tried(id, WITHOUT_COMPANIES_ATTEMPTS)).cloned());
        let mut failed = self.publish(read.rows, ledger).await?;
        let is_gone = |id: &String| read.missing.contains(id) || were_tried(id, LEFT_OUT_ATTEMPTS);
        let left_out = ids.iter().filter(|id| !shown.contains(*id) && !is_gone(id));
        failed.extend(left_out.map(|id| (id.clone(), "HubSpot's answer leaves it out".to_owned())));
        let done: Vec<String> = ids.into_iter().filter(|id| !failed.iter().any(|(other, _)| other == id)).collect();
        slice.store().clear_set_aside(slice.account(), object, &done).await?;
        self.set_aside(&failed).await
    }
}
