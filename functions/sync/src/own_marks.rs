//! The marks that a slice itself has made on records. Pure.

use std::collections::{HashMap, HashSet};

use model::ids::RecordId;
use store::LedgerEntry;

/// A record, and the fields to set in its ledger entry.
pub(crate) type Mark = (RecordId, LedgerEntry);

/// The marks that this slice itself has made. Entries that were read in the meantime may lack any of them.
#[derive(Debug, Default)]
pub(crate) struct OwnMarks {
    /// The records that this slice has marked as pending, because nothing was published of them.
    pending: HashSet<RecordId>,
    /// The other marks on each record, merged.
    marked: HashMap<RecordId, LedgerEntry>,
}

impl OwnMarks {
    /// Adds records that were marked as pending, because nothing was published of them.
    pub(crate) fn add_pending(&mut self, marks: &[Mark]) {
        self.pending.extend(marks.iter().map(|(id, _)| id.clone()));
    }

    /// Adds marks as published, or as merged into other records.
    pub(crate) fn add(&mut self, marks: Vec<Mark>) {
        for (id, mark) in marks {
            merge(self.marked.entry(id).or_default(), &mark);
        }
    }

    /// Adds the slice's marks on a record to the entry that was read. Ignores that the entry is pending if only this
    /// slice has marked it so: nothing was published of it, unless another mark says so.
    pub(crate) fn complete(&self, id: RecordId, seen: &mut HashMap<RecordId, LedgerEntry>) {
        if self.pending.contains(&id) {
            seen.entry(id.clone()).or_default().begun = false;
        }
        if let Some(mark) = self.marked.get(&id) {
            merge(seen.entry(id).or_default(), mark);
        }
    }
}

/// Merges a mark into an entry, in the same way as the store. It makes no difference if the entry has the mark already.
pub(crate) fn merge(entry: &mut LedgerEntry, mark: &LedgerEntry) {
    entry.begun &= mark.at.is_none();
    entry.at = entry.at.max(mark.at);
    entry.gone_at = entry.gone_at.max(mark.gone_at);
    entry.properties_at = entry.properties_at.max(mark.properties_at);
    entry.into = mark.into.clone().or(entry.into.take());
    if mark.pending_associations.is_some() {
        entry.pending_associations.clone_from(&mark.pending_associations);
    } else if mark.associations_digest.is_some() {
        entry.associations_digest.clone_from(&mark.associations_digest);
        entry.pending_associations = None;
    }
    if mark.pending_calculated.is_some() {
        entry.pending_calculated.clone_from(&mark.pending_calculated);
    } else if mark.calculated_digest.is_some() {
        entry.calculated_digest.clone_from(&mark.calculated_digest);
        entry.pending_calculated = None;
    }
}
