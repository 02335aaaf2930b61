//! What was published of a page's records before, and what each of them adds to that. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use hubspot::{AssociationInput, Associations, Record};
use model::{
    action::Action,
    association,
    checkpoint::Lane,
    ids::RecordId,
    object::ObjectType,
    score::ContactScore,
    time::{self, DateTime},
};
use store::{LedgerEntry, PendingAssociations};

use crate::{
    action_builder,
    own_marks::{self, Mark, OwnMarks},
};

mod calculated;

/// How far the timestamps of two of HubSpot's servers may differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(10);

/// What of a lane decides how its records are published.
#[derive(Clone, Debug, Default)]
pub(crate) struct PublishTerms {
    /// The time from which on an account is read that another system had pulled before. Absent for other accounts.
    pub(crate) legacy_watermark: Option<DateTime>,
    /// The properties that were chosen later than the object type.
    pub(crate) added_properties: Vec<String>,
    /// When they were chosen. Absent if there are none.
    pub(crate) added_at: Option<DateTime>,
    /// The properties that HubSpot calculates.
    pub(crate) calculated: Vec<String>,
}

impl PublishTerms {
    pub(crate) fn of(lane: &Lane) -> Self {
        let properties = lane.kept.properties.clone().unwrap_or_default();
        let calculated = lane.kept.calculated.as_ref();
        Self {
            legacy_watermark: lane.legacy_watermark,
            added_properties: properties.added,
            added_at: properties.added_at,
            calculated: calculated.map(|calculated| calculated.names.clone()).unwrap_or_default(),
        }
    }
}

/// What is known of records before they are published.
#[derive(Debug)]
pub(crate) struct PublishLedger {
    object: ObjectType,
    terms: PublishTerms,
    seen: HashMap<RecordId, LedgerEntry>,
    /// The associations of the contacts, as far as they were read.
    associations: Associations,
    /// When they were read.
    associations_at: DateTime,
    /// The contacts that are published without their companies.
    does_without: HashSet<String>,
    /// True if the records were read by their ids, and not from HubSpot's index.
    is_read_by_id: bool,
    /// True if records are published of which the calculated values alone differ.
    compares_values: bool,
    /// When the records were looked up, after they were read.
    looked_up_at: DateTime,
}

/// What a batch has to publish and to mark.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// What a contact's score is.
    pub(crate) contact_score: ContactScore,
    pub(crate) actions: Vec<Action>,
    /// What was seen for the first time of records: that they were merged into others, or that their associations alone
    /// have changed. These are marked before the actions are queued: the ids of the actions have the time at which that
    /// was first seen, which must stay the same if the batch is repeated.
    pub(crate) first_seen: Vec<Mark>,
    /// The contents of the actions, to be marked after they are queued.
    pub(crate) published: Vec<Mark>,
    /// The contacts whose associations alone differ from what was published, in a page of HubSpot's index, which may show
    /// a record as it was. They are read by their ids.
    pub(crate) differing: Vec<RecordId>,
}

impl PublishLedger {
    pub(crate) fn new(object: ObjectType, terms: PublishTerms, seen: HashMap<RecordId, LedgerEntry>) -> Self {
        Self {
            object,
            terms,
            seen,
            associations: Associations::default(),
            associations_at: DateTime::MIN,
            does_without: HashSet::new(),
            is_read_by_id: false,
            compares_values: false,
            looked_up_at: DateTime::now(),
        }
    }

    /// Returns the ledger of records that were read by their ids, as they certainly are.
    pub(crate) fn of_records_read_by_id(self) -> Self {
        Self { is_read_by_id: true, ..self }
    }

    /// Adds the marks that this slice has made, possibly after the records were looked up.
    pub(crate) fn add_own_marks<'a>(&mut self, records: impl Iterator<Item = &'a Record>, own: &OwnMarks) {
        for record in records {
            for id in std::iter::once(record.id.clone()).chain(record.merged_ids()) {
                own.complete(id, &mut self.seen);
            }
        }
    }

    /// Sets the records' associations, which were read at `at`.
    pub(crate) fn learn_associations(&mut self, associations: Associations, at: DateTime) {
        (self.associations, self.associations_at) = (associations, at);
    }

    /// Returns true if the record was published with other associations than those that were read now.
    pub(crate) fn is_associated_anew(&self, record: &RecordId) -> bool {
        let (read, seen) = (self.associations.found.get(record.as_str()), self.seen.get(record));
        let (Some(read), Some(seen)) = (read, seen.filter(|seen| seen.is_live())) else { return false };
        seen.differs_in_associations(&association::digest(read))
    }

    /// Gives the associations of these records to another ledger.
    pub(crate) fn give_associations(&mut self, other: &mut Self, records: &[String]) {
        let found = records.iter().filter_map(|id| self.associations.found.remove_entry(id)).collect();
        other.learn_associations(Associations { found, ..Associations::default() }, self.associations_at);
    }

    /// Takes the records of which there was no time to read all associations.
    pub(crate) fn take_unfinished(&mut self) -> HashMap<String, AssociationInput> {
        std::mem::take(&mut self.associations.unfinished)
    }

    /// Returns why a contact cannot be published yet: HubSpot does not return its companies. Returns `None` if it can
    /// be published.
    pub(crate) fn lacks_companies(&self, record: &Record) -> Option<&String> {
        self.associations.unread.get(record.id.as_str()).filter(|_| !self.does_without.contains(record.id.as_str()))
    }

    /// Allows these contacts to be published without their companies, if HubSpot does not return them.
    pub(crate) fn do_without_companies(&mut self, contacts: impl Iterator<Item = String>) {
        self.does_without.extend(contacts);
    }

    /// Returns true if the record is live, with a change that was not published. HubSpot's index may still show a
    /// record that is deleted, merged or erased.
    pub(crate) fn is_changed(&self, record: &Record) -> bool {
        let is_later = |seen: &LedgerEntry| {
            seen.into.is_none()
                && seen.erased_at.is_none()
                && [seen.at, seen.gone_at].into_iter().flatten().all(|at| at < record.modified_at)
        };
        record.archived_at.is_none() && self.seen.get(&record.id).is_none_or(is_later)
    }

    /// Returns true if the record was published in its current version, and has a value of a property that was chosen
    /// after that.
    pub(crate) fn lacks_properties(&self, record: &Record) -> bool {
        let is_older = |seen: &LedgerEntry| {
            seen.is_live() && seen.at == Some(record.modified_at) && seen.properties_at < self.terms.added_at
        };
        record.archived_at.is_none()
            && self.seen.get(&record.id).is_some_and(is_older)
            && self.terms.added_properties.iter().any(|name| record.properties.contains_key(name))
    }

    /// Returns the records that were never published. They are marked as pending before anything is queued. If the
    /// slice ends in between, and a record is deleted before the retry, its deletion is still published.
    pub(crate) fn unpublished<'a>(&self, records: impl Iterator<Item = &'a Record>) -> Vec<Mark> {
        let begin = |record: &Record| (record.id.clone(), LedgerEntry { begun: true, ..LedgerEntry::default() });
        let is_unknown = |record: &&Record| self.seen.get(&record.id).is_none_or(|seen| !seen.may_be_published());
        records.filter(|record| self.is_changed(record)).filter(is_unknown).map(begin).collect()
    }

    /// Adds the actions and marks of one record to a batch, and to what is known.
    pub(crate) fn apply(&mut self, record: Record, batch: &mut Batch) {
        if let Some(archived_at) = record.archived_at {
            self.record_merges(&record, archived_at, batch);
            if let Some(archived_at) = self.newly_gone_at(&record, archived_at) {
                let gone = LedgerEntry { gone_at: Some(archived_at), ..LedgerEntry::default() };
                self.seen.entry(record.id.clone()).or_default().gone_at = Some(archived_at);
                batch.published.push((record.id.clone(), gone));
                batch.actions.push(action_builder::deleted(self.object, record, archived_at, &batch.contact_score));
            }
        } else if self.is_changed(&record) {
            let survives = self.record_merges(&record, record.modified_at, batch);
            let is_first = !survives && self.is_first(&record);
            let action = self.publish(record, is_first, self.terms.added_at, batch);
            batch.actions.push(action);
        } else if self.lacks_properties(&record) {
            self.publish_properties(record, self.terms.added_at, batch);
        } else if self.compares_values && self.is_recalculated(&record) {
            let seen_at = self.first_seen_values(&record, batch);
            self.publish_properties(record, Some(seen_at), batch);
        } else if self.is_associated_anew(&record.id) {
            if self.is_read_by_id {
                self.record_associations(record, batch);
            } else {
                batch.differing.push(record.id);
            }
        } else if self.seen.get(&record.id).is_some_and(|seen| seen.erased_at.is_some()) {
            // What was merged into it is erased, too, once that is known.
            self.record_merges(&record, record.modified_at, batch);
        }
    }

    /// Adds the action for a record of which the properties alone are new, since `at`.
    fn publish_properties(&mut self, record: Record, at: Option<DateTime>, batch: &mut Batch) {
        let action = self.publish(record, false, at, batch);
        let action_date = at.unwrap_or(action.action_date);
        batch.actions.push(Action { action_date, properties_at: at, ..action });
    }

    /// Marks a record as published, with its properties, which are as of `properties_at`, and associations. Returns its
    /// action.
    fn publish(
        &mut self,
        record: Record,
        is_first: bool,
        properties_at: Option<DateTime>,
        batch: &mut Batch,
    ) -> Action {
        let calculated_digest = self.begin_values(&record, batch);
        let associations = self.associations.found.remove(record.id.as_str());
        let mark = LedgerEntry {
            at: Some(record.modified_at),
            properties_at,
            associations_digest: associations.as_deref().map(association::digest),
            calculated_digest,
            ..LedgerEntry::default()
        };
        own_marks::merge(self.seen.entry(record.id.clone()).or_default(), &mark);
        batch.published.push((record.id.clone(), mark));
        let associations = associations.map(|read| (read, self.associations_at));
        let score = &batch.contact_score;
        as_of(properties_at, action_builder::action(self.object, record, associations, is_first, score))
    }

    /// Adds the action for a record of which the associations alone have changed.
    fn record_associations(&mut self, record: Record, batch: &mut Batch) {
        let Some(read) = self.associations.found.remove(record.id.as_str()) else { return };
        let (digest, seen) = (association::digest(&read), self.seen.entry(record.id.clone()).or_default());
        let pending = seen.pending_associations.take().filter(|pending| pending.digest == digest);
        let seen_at = match pending {
            Some(pending) => pending.seen_at,
            None => {
                let pending = PendingAssociations { digest: digest.clone(), seen_at: self.associations_at };
                let mark = LedgerEntry { pending_associations: Some(pending), ..LedgerEntry::default() };
                batch.first_seen.push((record.id.clone(), mark));
                self.associations_at
            }
        };
        seen.associations_digest = Some(digest.clone());
        let mark = LedgerEntry { associations_digest: seen.associations_digest.clone(), ..LedgerEntry::default() };
        batch.published.push((record.id.clone(), mark));
        let read = Some((read, self.associations_at));
        let action = action_builder::action(self.object, record, read, false, &batch.contact_score);
        let action = as_of(self.terms.added_at, action);
        batch.actions.push(Action { action_date: seen_at, associations_digest: Some(digest), ..action });
    }

    /// Records that other records were merged into this one. Returns true if any of them had been published.
    fn record_merges(&mut self, survivor: &Record, at: DateTime, batch: &mut Batch) -> bool {
        let mut any_announced = false;
        for id in survivor.merged_ids() {
            let seen = self.seen.entry(id.clone()).or_default();
            any_announced |= seen.may_be_published();
            if seen.into.is_some() || seen.erased_at.is_some() {
                continue;
            }
            let gone_at = match seen.gone_since() {
                Some(gone_at) => gone_at,
                None => {
                    seen.gone_at = Some(at);
                    batch.first_seen.push((id.clone(), LedgerEntry { gone_at: Some(at), ..LedgerEntry::default() }));
                    at
                }
            };
            seen.into = Some(survivor.id.clone());
            batch.published.push((id.clone(), LedgerEntry { into: seen.into.clone(), ..LedgerEntry::default() }));
            if seen.may_be_published() {
                batch.actions.push(action_builder::merged(self.object, id, survivor.id.clone(), gone_at));
            }
        }
        any_announced
    }

    /// Returns true if the record existed before the account was taken over. The system that pulled the account then
    /// has announced it.
    fn was_announced_before(&self, record: &Record) -> bool {
        self.terms.legacy_watermark.is_some_and(|start| record.created_at < start)
    }

    /// Returns true if no change of the record was published before.
    fn is_first(&self, record: &Record) -> bool {
        let seen = self.seen.get(&record.id).is_some_and(|seen| seen.at.is_some());
        !seen && !self.was_announced_before(record)
    }

    /// Returns when a record of the recycle bin was deleted. Returns `None` if that was published already, or if the
    /// record was never published: then its deletion is not published either.
    fn newly_gone_at(&self, record: &Record, archived_at: DateTime) -> Option<DateTime> {
        let began_before = self.terms.legacy_watermark.is_none_or(|start| start <= archived_at);
        let seen = self.seen.get(&record.id);
        // A published edit has the later timestamp if two of HubSpot's clocks differ, or if the deletion was an edit,
        // too.
        let last_edit = seen.and_then(|seen| seen.at).filter(|at| time::between(archived_at, *at) <= MAX_CLOCK_SKEW);
        let at = last_edit.map_or(archived_at, |edited_at| edited_at.max(archived_at));
        let is_newly_gone = match seen {
            Some(seen) if seen.into.is_some() || seen.erased_at.is_some() => false,
            Some(seen) if seen.gone_at >= Some(archived_at) || seen.at > Some(at) => false,
            Some(seen) if seen.may_be_published() => true,
            _ => self.was_announced_before(record) && began_before,
        };
        is_newly_gone.then_some(at)
    }
}

/// Adds to an action of when the properties of its record are.
fn as_of(properties_at: Option<DateTime>, mut action: Action) -> Action {
    if let Some(record) = &mut action.record {
        record.properties_at = properties_at;
    }
    action
}

#[cfg(test)]
mod tests;
