//! What was published of the values of calculated properties, which change without the record's modification time.
//!
//! Values are marked as pending before they are queued. If a slice ends before it has marked them as published, the next
//! one knows that other values may have been queued under the same action's id, of which the first one counts. It then
//! leaves them pending, and the next comparison publishes them under an id of their own.

use std::time::Duration;

use hubspot::Record;
use model::{
    calculated,
    time::{self, DateTime},
};
use store::{LedgerEntry, PendingValues};

use super::{Batch, PublishLedger};

impl PublishLedger {
    /// Returns the ledger of records that were read by their ids because of their calculated values.
    pub(crate) fn of_compared_values(self) -> Self {
        Self { compares_values: true, ..self.of_records_read_by_id() }
    }

    /// Returns true if the record was published in its current version, with other values of calculated properties.
    pub(crate) fn is_recalculated(&self, record: &Record) -> bool {
        let differs = |seen: &LedgerEntry| {
            seen.is_live() && seen.at == Some(record.modified_at) && seen.differs_in_values(&self.values_digest(record))
        };
        !self.terms.calculated.is_empty()
            && record.archived_at.is_none()
            && self.seen.get(&record.id).is_some_and(differs)
    }

    fn values_digest(&self, record: &Record) -> String {
        calculated::digest(&record.properties, &self.terms.calculated)
    }

    /// Marks a record's values as pending. Returns their digest, to be marked after they are queued. Returns `None` if the
    /// record has no such values and had none, or if other values may have been queued in their place.
    pub(super) fn begin_values(&mut self, record: &Record, batch: &mut Batch) -> Option<String> {
        if self.terms.calculated.is_empty() {
            return None;
        }
        let digest = self.values_digest(record);
        let seen = self.seen.entry(record.id.clone()).or_default();
        let several = PendingValues::SEVERAL;
        let (pending, marked) = match seen.pending_calculated.as_ref().map(|pending| pending.digest.as_str()) {
            None if digest.is_empty() && seen.calculated_digest.is_none() => return None,
            None => (digest.clone(), Some(digest)),
            Some(pending) if pending == digest => return Some(digest),
            Some(pending) if pending == several => return None,
            Some(_) => (several.to_owned(), None),
        };
        self.mark_values(record, PendingValues { digest: pending, seen_at: self.looked_up_at }, batch);
        marked
    }

    /// Returns when the record's values, which are to be published, were first seen. It is part of the action's id, and
    /// the same if the batch is repeated. It is later than what was published of the record's properties before.
    pub(super) fn first_seen_values(&mut self, record: &Record, batch: &mut Batch) -> DateTime {
        let digest = self.values_digest(record);
        let seen = self.seen.get(&record.id);
        let before = seen.and_then(|seen| seen.properties_at).max(self.terms.added_at);
        let pending = seen.and_then(|seen| seen.pending_calculated.as_ref());
        let is_same = |pending: &&PendingValues| pending.digest == digest && Some(pending.seen_at) > before;
        if let Some(pending) = pending.filter(is_same) {
            return pending.seen_at;
        }
        let earliest = before.map_or(DateTime::MIN, |before| time::after(before, Duration::from_millis(1)));
        let seen_at = self.looked_up_at.max(earliest);
        self.mark_values(record, PendingValues { digest, seen_at }, batch);
        seen_at
    }

    fn mark_values(&mut self, record: &Record, pending: PendingValues, batch: &mut Batch) {
        let mark = LedgerEntry { pending_calculated: Some(pending.clone()), ..LedgerEntry::default() };
        self.seen.entry(record.id.clone()).or_default().pending_calculated = Some(pending);
        batch.first_seen.push((record.id.clone(), mark));
    }
}
