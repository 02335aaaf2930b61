//! What was published of a page's records before, and what each of them adds to that. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use hubspot::{Companies, Record};
use model::{
    action::Action,
    ids::RecordId,
    object::ObjectType,
    time::{self, DateTime},
};
use store::LedgerEntry;

use crate::{
    action_builder,
    own_marks::{Mark, OwnMarks},
};

/// How far the timestamps of two of HubSpot's servers may differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(10);

/// What is known of records before they are published.
#[derive(Debug)]
pub(crate) struct PublishLedger {
    object: ObjectType,
    /// The time from which on an account is read that another system had pulled before. Absent for other accounts.
    legacy_watermark: Option<DateTime>,
    seen: HashMap<RecordId, LedgerEntry>,
    /// The companies of the contacts.
    companies: Companies,
    /// The contacts that are published without their companies.
    does_without: HashSet<String>,
}

/// What a batch has to publish and to mark.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) actions: Vec<Action>,
    /// The records that were merged into others. They are marked before the actions are queued: the name of a merge's
    /// action has the time at which the merge was first seen, which must stay the same if the batch is repeated.
    pub(crate) merged_away: Vec<Mark>,
    /// The contents of the actions, to be marked after they are queued.
    pub(crate) published: Vec<Mark>,
}

impl PublishLedger {
    pub(crate) fn new(
        object: ObjectType,
        legacy_watermark: Option<DateTime>,
        seen: HashMap<RecordId, LedgerEntry>,
    ) -> Self {
        Self { object, legacy_watermark, seen, companies: Companies::default(), does_without: HashSet::new() }
    }

    /// Adds the marks that this slice has made, possibly after the records were looked up.
    pub(crate) fn add_own_marks<'a>(&mut self, records: impl Iterator<Item = &'a Record>, own: &OwnMarks) {
        for record in records {
            for id in std::iter::once(record.id.clone()).chain(record.merged_ids()) {
                own.complete(id, &mut self.seen);
            }
        }
    }

    /// Sets the contacts' companies.
    pub(crate) fn learn_companies(&mut self, companies: Companies) {
        self.companies = companies;
    }

    /// Returns why a contact cannot be published yet: HubSpot does not return its companies. Returns `None` if it can
    /// be published.
    pub(crate) fn lacks_companies(&self, record: &Record) -> Option<&String> {
        self.companies.unread.get(record.id.as_str()).filter(|_| !self.does_without.contains(record.id.as_str()))
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
                batch.actions.push(action_builder::deleted(self.object, record, archived_at));
            }
        } else if self.is_changed(&record) {
            let at = Some(record.modified_at);
            let survives = self.record_merges(&record, record.modified_at, batch);
            let is_first = !survives && self.is_first(&record);
            self.seen.entry(record.id.clone()).or_default().at = at;
            batch.published.push((record.id.clone(), LedgerEntry { at, ..LedgerEntry::default() }));
            let companies = self.companies.found.remove(record.id.as_str()).unwrap_or_default();
            let is_unknown = self.companies.unread.contains_key(record.id.as_str());
            let mut action = action_builder::action(self.object, record, companies, is_first);
            action.record.iter_mut().for_each(|record| record.companies_unknown = is_unknown);
            batch.actions.push(action);
        } else if self.seen.get(&record.id).is_some_and(|seen| seen.erased_at.is_some()) {
            // What was merged into it is erased, too, once that is known.
            self.record_merges(&record, record.modified_at, batch);
        }
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
                    batch.merged_away.push((id.clone(), LedgerEntry { gone_at: Some(at), ..LedgerEntry::default() }));
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
        self.legacy_watermark.is_some_and(|start| record.created_at < start)
    }

    /// Returns true if no change of the record was published before.
    fn is_first(&self, record: &Record) -> bool {
        let seen = self.seen.get(&record.id).is_some_and(|seen| seen.at.is_some());
        !seen && !self.was_announced_before(record)
    }

    /// Returns when a record of the recycle bin was deleted. Returns `None` if that was published already, or if the
    /// record was never published: then its deletion is not published either.
    fn newly_gone_at(&self, record: &Record, archived_at: DateTime) -> Option<DateTime> {
        let began_before = self.legacy_watermark.is_none_or(|start| start <= archived_at);
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

#[cfg(test)]
mod tests {
    use model::action::ActionName::{self, ContactCreated, ContactDeleted, ContactUpdated};
    use serde_json::json;

    use super::*;

    fn id(id: u64) -> RecordId {
        RecordId::try_from(id.to_string()).unwrap()
    }

    fn time(at: i64) -> DateTime {
        DateTime::from_millis(at)
    }

    fn live(record: u64, at: i64, merged: &str) -> Record {
        Record {
            id: id(record),
            created_at: time(10),
            modified_at: time(at),
            archived_at: None,
            properties: json!({"hs_merged_object_ids": merged}).as_object().unwrap().clone(),
        }
    }

    fn archived(record: u64, at: i64) -> Record {
        Record { archived_at: Some(time(at)), ..live(record, at, "") }
    }

    fn known(legacy_watermark: Option<i64>) -> PublishLedger {
        PublishLedger::new(ObjectType::Contacts, legacy_watermark.map(time), HashMap::new())
    }

    /// Returns the actions that a record adds, as (record, name, time).
    fn tell(known: &mut PublishLedger, record: Record) -> Vec<(String, ActionName, i64)> {
        let mut batch = Batch::default();
        known.apply(record, &mut batch);
        let told = |action: Action| {
            (action.record_id.to_string(), action.action_name, action.record_updated_at.timestamp_millis())
        };
        batch.actions.into_iter().map(told).collect()
    }

    fn one(record: u64, name: ActionName, at: i64) -> Vec<(String, ActionName, i64)> {
        vec![(record.to_string(), name, at)]
    }

    #[test]
    fn a_record_is_created_updated_deleted_and_restored_once_each() {
        let mut known = known(None);
        assert_eq!(tell(&mut known, live(1, 20, "")), one(1, ContactCreated, 20));
        assert_eq!(tell(&mut known, live(1, 20, "")), []);
        assert_eq!(tell(&mut known, live(1, 30, "")), one(1, ContactUpdated, 30));
        assert_eq!(tell(&mut known, archived(1, 40)), one(1, ContactDeleted, 40));
        assert_eq!(tell(&mut known, archived(1, 40)), []);
        assert_eq!(tell(&mut known, live(1, 35, "")), [], "the index still shows it");
        assert_eq!(tell(&mut known, live(1, 50, "")), one(1, ContactUpdated, 50));
        assert_eq!(tell(&mut known, archived(1, 40)), [], "the list still shows it");
        assert_eq!(tell(&mut known, archived(1, 60)), one(1, ContactDeleted, 60));
    }

    #[test]
    fn what_was_never_announced_is_gone_without_a_word() {
        assert_eq!(tell(&mut known(None), archived(1, 40)), []);
        assert_eq!(tell(&mut known(Some(30)), archived(1, 40)), one(1, ContactDeleted, 40));
        assert_eq!(tell(&mut known(Some(30)), archived(1, 25)), [], "before the account was taken over");
    }

    #[test]
    fn a_deletion_may_be_stamped_a_little_before_the_last_edit() {
        let mut known = known(None);
        tell(&mut known, live(1, 20_000, ""));
        assert_eq!(tell(&mut known, archived(1, 9_000)), [], "it was restored since");
        assert_eq!(tell(&mut known, archived(1, 19_000)), one(1, ContactDeleted, 20_000));
        assert_eq!(tell(&mut known, archived(1, 19_000)), []);
        assert_eq!(tell(&mut known, live(1, 20_000, "")), []);
        assert_eq!(tell(&mut known, live(1, 30_000, "")), one(1, ContactUpdated, 30_000));
    }

    #[test]
    fn what_was_begun_with_may_be_known() {
        let mut known = known(None);
        let (one, two) = (live(1, 20, ""), live(2, 20, ""));
        known.seen = known.unpublished([&one, &two].into_iter()).into_iter().collect();
        assert_eq!(known.unpublished([&one].into_iter()), []);
        assert_eq!(tell(&mut known, archived(1, 40)), self::one(1, ContactDeleted, 40));
        assert_eq!(tell(&mut known, two), self::one(2, ContactCreated, 20));
    }

    #[test]
    fn merged_records_are_gone_for_good_and_told_of_once() {
        let mut known = known(None);
        tell(&mut known, live(1, 20, ""));
        tell(&mut known, live(2, 20, ""));
        let merged = tell(&mut known, live(1, 30, "2"));
        assert_eq!(merged, [one(2, ContactDeleted, 30), one(1, ContactUpdated, 30)].concat());
        assert_eq!(tell(&mut known, live(1, 40, "2")), one(1, ContactUpdated, 40));
        for late in [live(2, 25, ""), live(2, 90, ""), archived(2, 30), archived(2, 90)] {
            assert_eq!(tell(&mut known, late), []);
        }
        // 1 becomes 3, which names both.
        let chained = tell(&mut known, live(3, 50, "1;2"));
        assert_eq!(chained, [one(1, ContactDeleted, 50), one(3, ContactUpdated, 50)].concat());
    }

    #[test]
    fn a_loser_that_is_met_after_its_merge_was_never_there() {
        let mut known = known(None);
        assert_eq!(tell(&mut known, live(1, 30, "2")), one(1, ContactCreated, 30));
        assert_eq!(tell(&mut known, live(2, 20, "")), []);
    }

    #[test]
    fn what_was_erased_is_told_of_no_more_and_its_merges_are() {
        let mut known = known(None);
        for record in [1, 2, 3, 4] {
            tell(&mut known, live(record, 20, ""));
        }
        for erased in [1, 5] {
            known.seen.entry(id(erased)).or_default().erased_at = Some(time(30));
        }
        for late in [live(1, 20, ""), live(1, 90, ""), archived(1, 90), live(5, 20, ""), archived(5, 90)] {
            assert!(!known.is_changed(&late));
            assert_eq!(tell(&mut known, late), []);
        }
        assert_eq!(known.unpublished([&live(5, 20, "")].into_iter()), []);
        assert_eq!(tell(&mut known, live(2, 40, "1")), one(2, ContactUpdated, 40), "its loser was erased");
        assert_eq!(tell(&mut known, live(1, 50, "3")), one(3, ContactDeleted, 50), "its survivor was erased");
        assert_eq!(tell(&mut known, live(1, 60, "3")), []);
    }

    #[test]
    fn what_only_this_slice_has_marked_as_pending_is_not_published() {
        let (survivor, loser) = (live(1, 30, "2"), live(2, 20, ""));
        let begun = known(None).unpublished([&survivor, &loser].into_iter());
        assert_eq!(begun.len(), 2);
        let mut own = OwnMarks::default();
        own.add_pending(&begun);
        // The ledger was read after that.
        let mut known = PublishLedger::new(ObjectType::Contacts, None, begun.into_iter().collect());
        known.add_own_marks([&survivor].into_iter(), &own);
        assert_eq!(tell(&mut known, survivor), one(1, ContactCreated, 30));
        assert_eq!(tell(&mut known, loser), []);
    }

    #[test]
    fn what_another_window_has_published_since_is_known() {
        let (mut own, mut first) = (OwnMarks::default(), known(None));
        // The ledger was read before, and had nothing about them.
        let (mut second, mut third) = (known(None), known(None));
        let (record, survivor) = (live(1, 30, ""), live(3, 50, "1"));
        own.add_pending(&first.unpublished([&record].into_iter()));
        let mut batch = Batch::default();
        first.apply(record.clone(), &mut batch);
        own.add(batch.published);
        second.add_own_marks([&record].into_iter(), &own);
        assert_eq!(second.unpublished([&record].into_iter()), []);
        assert_eq!(tell(&mut second, record), []);
        assert_eq!(tell(&mut second, live(1, 40, "")), one(1, ContactUpdated, 40));
        third.add_own_marks([&survivor].into_iter(), &own);
        let merged = tell(&mut third, survivor);
        assert_eq!(merged, [one(1, ContactDeleted, 50), one(3, ContactUpdated, 50)].concat());
    }

    #[test]
    fn what_was_not_taken_is_not_marked() {
        let (mut own, mut known) = (OwnMarks::default(), known(None));
        let record = live(1, 30, "");
        own.add_pending(&known.unpublished([&record].into_iter()));
        own.add(Vec::new());
        known.add_own_marks([&record].into_iter(), &own);
        assert_eq!(tell(&mut known, archived(1, 40)), []);
    }

    #[test]
    fn a_survivor_that_was_deleted_itself_still_tells_what_it_took_up() {
        let mut known = known(None);
        tell(&mut known, live(2, 20, ""));
        let gone = Record { archived_at: Some(time(40)), ..live(1, 30, "2") };
        assert_eq!(tell(&mut known, gone), one(2, ContactDeleted, 40));
    }

    #[test]
    fn a_repeated_batch_says_when_a_merge_was_first_seen() {
        let mut first = known(None);
        tell(&mut first, live(2, 20, ""));
        let mut batch = Batch::default();
        first.apply(live(1, 30, "2"), &mut batch);
        let mut again = known(None);
        tell(&mut again, live(2, 20, ""));
        batch.merged_away.into_iter().for_each(|(id, seen)| again.seen.get_mut(&id).unwrap().gone_at = seen.gone_at);
        let repeated = tell(&mut again, live(1, 45, "2"));
        assert_eq!(repeated, [one(2, ContactDeleted, 30), one(1, ContactUpdated, 45)].concat());
    }

    #[test]
    fn a_loser_that_was_seen_deleted_first_is_merged_under_the_same_action() {
        let mut known = known(None);
        tell(&mut known, live(2, 20, ""));
        assert_eq!(tell(&mut known, archived(2, 25)), one(2, ContactDeleted, 25));
        assert_eq!(tell(&mut known, live(1, 30, "2"))[0], one(2, ContactDeleted, 25)[0]);
    }
}
