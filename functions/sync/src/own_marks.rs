//! What a slice itself has marked of records: pure.

use std::collections::{HashMap, HashSet};

use model::ids::RecordId;
use store::LedgerEntry;

/// What is marked of a record, as far as it is named.
pub(crate) type Mark = (RecordId, LedgerEntry);

/// What this slice itself has marked. What was looked up while that happened may lack any of it.
#[derive(Debug, Default)]
pub(crate) struct OwnMarks {
    /// The records that nothing was published of when they were marked as pending.
    pending: HashSet<RecordId>,
    /// What is marked of each, all in all.
    marked: HashMap<RecordId, LedgerEntry>,
}

impl OwnMarks {
    /// Adds records of which nothing was published, and which are marked as pending.
    pub(crate) fn add_pending(&mut self, marks: &[Mark]) {
        self.pending.extend(marks.iter().map(|(id, _)| id.clone()));
    }

    /// Adds what is marked as published, or as merged into others.
    pub(crate) fn add(&mut self, marks: Vec<Mark>) {
        for (id, mark) in marks {
            merge(self.marked.entry(id).or_default(), &mark);
        }
    }

    /// Adds what the slice has marked of a record to what was looked up of it. That it marked it as pending says nothing: if
    /// it published it, the other mark says so.
    pub(crate) fn complete(&self, id: RecordId, seen: &mut HashMap<RecordId, LedgerEntry>) {
        if self.pending.contains(&id) {
            seen.entry(id.clone()).or_default().begun = false;
        }
        if let Some(mark) = self.marked.get(&id) {
            merge(seen.entry(id).or_default(), mark);
        }
    }
}

/// Adds a mark to an entry as the store does. It makes no difference if it is there already.
fn merge(entry: &mut LedgerEntry, mark: &LedgerEntry) {
    entry.begun &= mark.at.is_none();
    entry.at = entry.at.max(mark.at);
    entry.gone_at = entry.gone_at.max(mark.gone_at);
    entry.into = mark.into.clone().or(entry.into.take());
}
