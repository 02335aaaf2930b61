//! What is known of a page's records, and what each of them adds to that: pure.

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

use crate::action_builder;

/// How far the stamps of two of HubSpot's servers may differ.
const CLOCKS: Duration = Duration::from_secs(10);

/// What is known of records before they are handed on.
#[derive(Debug)]
pub(crate) struct PublishLedger {
    object: ObjectType,
    /// From when on an account that others had pulled before is read.
    taken_over_from: Option<DateTime>,
    seen: HashMap<RecordId, LedgerEntry>,
    /// Of the contacts.
    companies: Companies,
    /// The contacts that are handed on without their companies.
    does_without: HashSet<String>,
}

/// What a batch has to tell, and to remember.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) actions: Vec<Action>,
    /// Records that were lost in merges, to be remembered before the actions are queued: when a merge was first seen
    /// names its action, and is the same if the batch has to be repeated.
    pub(crate) lost: Vec<(RecordId, LedgerEntry)>,
    /// What the actions tell of, to be remembered when they are queued.
    pub(crate) told: Vec<(RecordId, LedgerEntry)>,
}

impl PublishLedger {
    pub(crate) fn new(
        object: ObjectType,
        taken_over_from: Option<DateTime>,
        seen: HashMap<RecordId, LedgerEntry>,
    ) -> Self {
        Self { object, taken_over_from, seen, companies: Companies::default(), does_without: HashSet::new() }
    }

    /// Takes what is remembered of the records by now. What this slice has begun with since they were looked up first
    /// counts only if it was handed on.
    pub(crate) fn reload_ledger(&mut self, mut seen: HashMap<RecordId, LedgerEntry>) {
        for (id, seen) in &mut seen {
            seen.begun &= self.seen.get(id).is_some_and(|before| before.begun);
        }
        self.seen = seen;
    }

    /// Takes contacts' companies.
    pub(crate) fn learn_companies(&mut self, companies: Companies) {
        self.companies = companies;
    }

    /// Why a contact cannot be handed on yet: HubSpot does not tell its companies.
    pub(crate) fn lacks_companies(&self, record: &Record) -> Option<&String> {
        self.companies.unread.get(record.id.as_str()).filter(|_| !self.does_without.contains(record.id.as_str()))
    }

    /// Lets these contacts be handed on even if HubSpot does not tell their companies.
    pub(crate) fn do_without_companies(&mut self, contacts: impl Iterator<Item = String>) {
        self.does_without.extend(contacts);
    }

    /// Whether the record is there in a state that was not handed on. HubSpot's index may still show one that is gone.
    pub(crate) fn is_changed(&self, record: &Record) -> bool {
        let is_later = |seen: &LedgerEntry| {
            seen.into.is_none() && [seen.at, seen.gone_at].into_iter().flatten().all(|at| at < record.modified_at)
        };
        record.archived_at.is_none() && self.seen.get(&record.id).is_none_or(is_later)
    }

    /// The records that nothing was handed on of yet. That they are begun with is remembered before anything is queued:
    /// if it comes to nothing but that, and they are gone when it is done again, their end is told of.
    pub(crate) fn beginnings<'a>(&self, records: impl Iterator<Item = &'a Record>) -> Vec<(RecordId, LedgerEntry)> {
        let begin = |record: &Record| (record.id.clone(), LedgerEntry { begun: true, ..LedgerEntry::default() });
        let is_unknown = |record: &&Record| self.seen.get(&record.id).is_none_or(|seen| !seen.is_announced());
        records.filter(|record| self.is_changed(record)).filter(is_unknown).map(begin).collect()
    }

    /// Adds what a record tells.
    pub(crate) fn apply(&mut self, record: Record, news: &mut Batch) {
        if let Some(archived_at) = record.archived_at {
            self.record_merges(&record, archived_at, news);
            if let Some(archived_at) = self.newly_gone_at(&record, archived_at) {
                let gone = LedgerEntry { gone_at: Some(archived_at), ..LedgerEntry::default() };
                self.seen.entry(record.id.clone()).or_default().gone_at = Some(archived_at);
                news.told.push((record.id.clone(), gone));
                news.actions.push(action_builder::deleted(self.object, record, archived_at));
            }
        } else if self.is_changed(&record) {
            let at = Some(record.modified_at);
            let survives = self.record_merges(&record, record.modified_at, news);
            let is_first = !survives && self.is_first(&record);
            self.seen.entry(record.id.clone()).or_default().at = at;
            news.told.push((record.id.clone(), LedgerEntry { at, ..LedgerEntry::default() }));
            let companies = self.companies.found.remove(record.id.as_str()).unwrap_or_default();
            let is_unknown = self.companies.unread.contains_key(record.id.as_str());
            let mut action = action_builder::action(self.object, record, companies, is_first);
            action.record.iter_mut().for_each(|record| record.companies_unknown = is_unknown);
            news.actions.push(action);
        }
    }

    /// Lets the records be gone that were merged into this one, and tells whether any of them had been announced.
    fn record_merges(&mut self, survivor: &Record, at: DateTime, news: &mut Batch) -> bool {
        let mut any_announced = false;
        for id in survivor.merged_ids() {
            let seen = self.seen.entry(id.clone()).or_default();
            any_announced |= seen.is_announced();
            if seen.into.is_some() {
                continue;
            }
            let gone_at = match seen.gone_since() {
                Some(gone_at) => gone_at,
                None => {
                    seen.gone_at = Some(at);
                    news.lost.push((id.clone(), LedgerEntry { gone_at: Some(at), ..LedgerEntry::default() }));
                    at
                }
            };
            seen.into = Some(survivor.id.clone());
            news.told.push((id.clone(), LedgerEntry { into: seen.into.clone(), ..LedgerEntry::default() }));
            if seen.is_announced() {
                news.actions.push(action_builder::merged(self.object, id, survivor.id.clone(), gone_at));
            }
        }
        any_announced
    }

    /// What existed before the account was taken over was announced by whoever pulled it then.
    fn was_announced_before(&self, record: &Record) -> bool {
        self.taken_over_from.is_some_and(|start| record.created_at < start)
    }

    fn is_first(&self, record: &Record) -> bool {
        let seen = self.seen.get(&record.id).is_some_and(|seen| seen.at.is_some());
        !seen && !self.was_announced_before(record)
    }

    /// Since when a record of the recycle bin is gone, if that was not told of yet. What was never announced is gone without a
    /// word.
    fn newly_gone_at(&self, record: &Record, archived_at: DateTime) -> Option<DateTime> {
        let began_before = self.taken_over_from.is_none_or(|start| start <= archived_at);
        let seen = self.seen.get(&record.id);
        // An edit that was told of has the later stamp if two of HubSpot's clocks differ, or if the deletion was an edit, too.
        let last_edit = seen.and_then(|seen| seen.at).filter(|at| time::since(archived_at, *at) <= CLOCKS);
        let at = last_edit.map_or(archived_at, |edited_at| edited_at.max(archived_at));
        let is_newly_gone = match seen {
            Some(seen) if seen.into.is_some() => false,
            Some(seen) if seen.gone_at >= Some(archived_at) || seen.at > Some(at) => false,
            Some(seen) if seen.is_announced() => true,
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

    fn known(taken_over_from: Option<i64>) -> PublishLedger {
        PublishLedger::new(ObjectType::Contacts, taken_over_from.map(time), HashMap::new())
    }

    /// What a record adds, as (record, name, time).
    fn tell(known: &mut PublishLedger, record: Record) -> Vec<(String, ActionName, i64)> {
        let mut news = Batch::default();
        known.apply(record, &mut news);
        let told = |action: Action| {
            (action.record_id.to_string(), action.action_name, action.record_updated_at.timestamp_millis())
        };
        news.actions.into_iter().map(told).collect()
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
        known.seen = known.beginnings([&one, &two].into_iter()).into_iter().collect();
        assert_eq!(known.beginnings([&one].into_iter()), []);
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
    fn what_only_this_slice_has_begun_with_is_not_known_when_it_looks_again() {
        let mut known = known(None);
        let (survivor, loser) = (live(1, 30, "2"), live(2, 20, ""));
        let begun: HashMap<_, _> = known.beginnings([&survivor, &loser].into_iter()).into_iter().collect();
        assert_eq!(begun.len(), 2);
        known.reload_ledger(begun);
        assert_eq!(tell(&mut known, survivor), one(1, ContactCreated, 30));
        assert_eq!(tell(&mut known, loser), []);
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
        let mut news = Batch::default();
        first.apply(live(1, 30, "2"), &mut news);
        let mut again = known(None);
        tell(&mut again, live(2, 20, ""));
        news.lost.into_iter().for_each(|(id, seen)| again.seen.get_mut(&id).unwrap().gone_at = seen.gone_at);
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
