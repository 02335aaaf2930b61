//! Which actions records become, in the order in which they are read.

use model::action::ActionName;
use model::association::Association;
use serde_json::json;

use super::*;

const CREATED: ActionName = ActionName::created(ObjectType::CONTACTS);
const UPDATED: ActionName = ActionName::updated(ObjectType::CONTACTS);
const DELETED: ActionName = ActionName::deleted(ObjectType::CONTACTS);

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
    let terms = PublishTerms { legacy_watermark: legacy_watermark.map(time), ..PublishTerms::default() };
    PublishLedger::new(ObjectType::CONTACTS, terms, HashMap::new())
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
    assert_eq!(tell(&mut known, live(1, 20, "")), one(1, CREATED, 20));
    assert_eq!(tell(&mut known, live(1, 20, "")), []);
    assert_eq!(tell(&mut known, live(1, 30, "")), one(1, UPDATED, 30));
    assert_eq!(tell(&mut known, archived(1, 40)), one(1, DELETED, 40));
    assert_eq!(tell(&mut known, archived(1, 40)), []);
    assert_eq!(tell(&mut known, live(1, 35, "")), [], "the index still shows it");
    assert_eq!(tell(&mut known, live(1, 50, "")), one(1, UPDATED, 50));
    assert_eq!(tell(&mut known, archived(1, 40)), [], "the list still shows it");
    assert_eq!(tell(&mut known, archived(1, 60)), one(1, DELETED, 60));
}

#[test]
fn what_was_never_announced_is_gone_without_a_word() {
    assert_eq!(tell(&mut known(None), archived(1, 40)), []);
    assert_eq!(tell(&mut known(Some(30)), archived(1, 40)), one(1, DELETED, 40));
    assert_eq!(tell(&mut known(Some(30)), archived(1, 25)), [], "before the account was taken over");
}

#[test]
fn a_deletion_may_be_stamped_a_little_before_the_last_edit() {
    let mut known = known(None);
    tell(&mut known, live(1, 20_000, ""));
    assert_eq!(tell(&mut known, archived(1, 9_000)), [], "it was restored since");
    assert_eq!(tell(&mut known, archived(1, 19_000)), one(1, DELETED, 20_000));
    assert_eq!(tell(&mut known, archived(1, 19_000)), []);
    assert_eq!(tell(&mut known, live(1, 20_000, "")), []);
    assert_eq!(tell(&mut known, live(1, 30_000, "")), one(1, UPDATED, 30_000));
}

#[test]
fn what_was_begun_with_may_be_known() {
    let mut known = known(None);
    let (one, two) = (live(1, 20, ""), live(2, 20, ""));
    known.seen = known.unpublished([&one, &two].into_iter()).into_iter().collect();
    assert_eq!(known.unpublished([&one].into_iter()), []);
    assert_eq!(tell(&mut known, archived(1, 40)), self::one(1, DELETED, 40));
    assert_eq!(tell(&mut known, two), self::one(2, CREATED, 20));
}

#[test]
fn merged_records_are_gone_for_good_and_told_of_once() {
    let mut known = known(None);
    tell(&mut known, live(1, 20, ""));
    tell(&mut known, live(2, 20, ""));
    let merged = tell(&mut known, live(1, 30, "2"));
    assert_eq!(merged, [one(2, DELETED, 30), one(1, UPDATED, 30)].concat());
    assert_eq!(tell(&mut known, live(1, 40, "2")), one(1, UPDATED, 40));
    for late in [live(2, 25, ""), live(2, 90, ""), archived(2, 30), archived(2, 90)] {
        assert_eq!(tell(&mut known, late), []);
    }
    // 1 becomes 3, which names both.
    let chained = tell(&mut known, live(3, 50, "1;2"));
    assert_eq!(chained, [one(1, DELETED, 50), one(3, UPDATED, 50)].concat());
}

/// Reads a record with these companies at `read_at`.
fn tell_associated(known: &mut PublishLedger, record: Record, companies: &[u64], read_at: i64) -> Batch {
    let company = |id: &u64| json!({"to": "companies", "id": id.to_string(), "types": []});
    let read: Vec<Association> = serde_json::from_value(companies.iter().map(company).collect()).unwrap();
    let found = HashMap::from([(record.id.to_string(), association::in_order(read))]);
    known.learn_associations(Associations { found, ..Associations::default() }, time(read_at));
    known.is_read_by_id = true;
    let mut batch = Batch::default();
    known.apply(record, &mut batch);
    batch
}

/// Returns the times and digests of actions about associations alone.
fn told_alone(batch: &Batch) -> Vec<(i64, String)> {
    let alone = batch
        .actions
        .iter()
        .filter_map(|action| Some((action.action_date.timestamp_millis(), action.associations_digest.clone()?)));
    alone.collect()
}

#[test]
fn associations_alone_are_told_once_each_time_that_they_change() {
    let mut known = known(None);
    let created = tell_associated(&mut known, live(1, 20, ""), &[51], 100);
    assert_eq!((created.actions.len(), told_alone(&created)), (1, vec![]));
    assert_eq!(tell_associated(&mut known, live(1, 20, ""), &[51], 200).actions, []);
    let linked = told_alone(&tell_associated(&mut known, live(1, 20, ""), &[51, 52], 300));
    assert_eq!(linked.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [300]);
    assert_eq!(tell_associated(&mut known, live(1, 20, ""), &[52, 51], 400).actions, []);
    let back = told_alone(&tell_associated(&mut known, live(1, 20, ""), &[51], 500));
    assert_eq!((back[0].0, back[0].1 == linked[0].1), (500, false));
    let changed = tell_associated(&mut known, live(1, 30, ""), &[53], 600);
    assert_eq!((changed.actions.len(), told_alone(&changed)), (1, vec![]), "that is a change of the record");
    assert_eq!(tell(&mut known, live(1, 30, "")), [], "its associations were not read");
}

#[test]
fn a_change_of_associations_that_was_begun_is_told_again_as_it_was() {
    let mut first = known(None);
    tell_associated(&mut first, live(1, 20, ""), &[51], 100);
    let before = first.seen.clone();
    let batch = tell_associated(&mut first, live(1, 20, ""), &[52], 200);
    // The slice ended after its first mark.
    let begun = |mark: &Mark| {
        let mut again = known(None);
        again.seen.clone_from(&before);
        own_marks::merge(again.seen.get_mut(&mark.0).unwrap(), &mark.1);
        again
    };
    let same = told_alone(&tell_associated(&mut begun(&batch.first_seen[0]), live(1, 20, ""), &[52], 300));
    assert_eq!(same, told_alone(&batch));
    let other = told_alone(&tell_associated(&mut begun(&batch.first_seen[0]), live(1, 20, ""), &[53], 300));
    assert_eq!(other[0].0, 300);
    let back = told_alone(&tell_associated(&mut begun(&batch.first_seen[0]), live(1, 20, ""), &[51], 300));
    assert_eq!(back[0].0, 300, "the change may have been told");
}

#[test]
fn a_loser_that_is_met_after_its_merge_was_never_there() {
    let mut known = known(None);
    assert_eq!(tell(&mut known, live(1, 30, "2")), one(1, CREATED, 30));
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
    assert_eq!(tell(&mut known, live(2, 40, "1")), one(2, UPDATED, 40), "its loser was erased");
    assert_eq!(tell(&mut known, live(1, 50, "3")), one(3, DELETED, 50), "its survivor was erased");
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
    let mut known = PublishLedger::new(ObjectType::CONTACTS, PublishTerms::default(), begun.into_iter().collect());
    known.add_own_marks([&survivor].into_iter(), &own);
    assert_eq!(tell(&mut known, survivor), one(1, CREATED, 30));
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
    assert_eq!(tell(&mut second, live(1, 40, "")), one(1, UPDATED, 40));
    third.add_own_marks([&survivor].into_iter(), &own);
    let merged = tell(&mut third, survivor);
    assert_eq!(merged, [one(1, DELETED, 50), one(3, UPDATED, 50)].concat());
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
    assert_eq!(tell(&mut known, gone), one(2, DELETED, 40));
}

#[test]
fn a_repeated_batch_says_when_a_merge_was_first_seen() {
    let mut first = known(None);
    tell(&mut first, live(2, 20, ""));
    let mut batch = Batch::default();
    first.apply(live(1, 30, "2"), &mut batch);
    let mut again = known(None);
    tell(&mut again, live(2, 20, ""));
    batch.first_seen.into_iter().for_each(|(id, seen)| again.seen.get_mut(&id).unwrap().gone_at = seen.gone_at);
    let repeated = tell(&mut again, live(1, 45, "2"));
    assert_eq!(repeated, [one(2, DELETED, 30), one(1, UPDATED, 45)].concat());
}

#[test]
fn a_loser_that_was_seen_deleted_first_is_merged_under_the_same_action() {
    let mut known = known(None);
    tell(&mut known, live(2, 20, ""));
    assert_eq!(tell(&mut known, archived(2, 25)), one(2, DELETED, 25));
    assert_eq!(tell(&mut known, live(1, 30, "2"))[0], one(2, DELETED, 25)[0]);
}

#[test]
fn a_record_is_published_again_for_a_property_that_was_chosen_later() {
    let with = |record: u64, at: i64| {
        let properties = json!({"city": "Turku"}).as_object().unwrap().clone();
        Record { properties, ..live(record, at, "") }
    };
    let seen = |at: i64| LedgerEntry { at: Some(time(at)), ..LedgerEntry::default() };
    let terms = PublishTerms {
        added_properties: vec!["city".to_owned()],
        added_at: Some(time(500)),
        ..PublishTerms::default()
    };
    let entries = HashMap::from([(id(1), seen(20)), (id(2), seen(20)), (id(3), seen(30))]);
    let mut known = PublishLedger::new(ObjectType::CONTACTS, terms, entries);
    let mut batch = Batch::default();
    known.apply(with(1, 20), &mut batch);
    let action = batch.actions.pop().unwrap();
    assert_eq!((action.action_name, action.action_date, action.properties_at), (UPDATED, time(500), Some(time(500))));
    assert_eq!(action.record.unwrap().properties_at, Some(time(500)));
    assert_eq!(tell(&mut known, with(1, 20)), [], "once");
    assert_eq!(tell(&mut known, live(2, 20, "")), [], "it has no value of it");
    assert_eq!(tell(&mut known, with(3, 20)), [], "HubSpot's index shows it as it was");
    assert_eq!(tell(&mut known, with(4, 20)), one(4, CREATED, 20));
    assert_eq!(tell(&mut known, with(4, 20)), [], "it was published with it");
    assert_eq!(tell(&mut known, with(2, 40)), one(2, UPDATED, 40));
    assert_eq!(tell(&mut known, with(2, 40)), []);
}

/// A ledger for a calculated property, at `looked_up_at`.
fn comparing(entries: HashMap<RecordId, LedgerEntry>, looked_up_at: i64) -> PublishLedger {
    let terms = PublishTerms { calculated: vec!["score".to_owned()], ..PublishTerms::default() };
    let known = PublishLedger::new(ObjectType::CONTACTS, terms, entries);
    PublishLedger { looked_up_at: time(looked_up_at), ..known.of_compared_values() }
}

fn with_score(at: i64, score: &str) -> Record {
    let score = Some(("score".to_owned(), json!(score))).filter(|_| !score.is_empty());
    Record { properties: score.into_iter().collect(), ..live(1, at, "") }
}

/// The times in the ids of actions, and the marks before and after these are queued.
type Compared = (Vec<(i64, Option<i64>)>, Vec<Mark>, Vec<Mark>);

/// Applies a record.
fn compare(known: &mut PublishLedger, record: Record) -> Compared {
    let mut batch = Batch::default();
    known.apply(record, &mut batch);
    let times = |action: &Action| {
        (action.record_updated_at.timestamp_millis(), action.properties_at.map(|at| at.timestamp_millis()))
    };
    (batch.actions.iter().map(times).collect(), batch.first_seen, batch.published)
}

fn marked(entries: &HashMap<RecordId, LedgerEntry>, marks: &[&[Mark]]) -> HashMap<RecordId, LedgerEntry> {
    let mut entries = entries.clone();
    for (id, mark) in marks.concat() {
        own_marks::merge(entries.entry(id).or_default(), &mark);
    }
    entries
}

#[test]
fn a_calculated_value_alone_is_published_once_each_time_that_it_changes() {
    let mut known = comparing(HashMap::new(), 100);
    assert_eq!(compare(&mut known, with_score(20, "1")).0, [(20, None)]);
    assert_eq!(compare(&mut known, with_score(20, "1")).0, []);
    for (at, score) in [(200, "2"), (300, "1"), (400, "")] {
        known.looked_up_at = time(at);
        assert_eq!(compare(&mut known, with_score(20, score)).0, [(20, Some(at))]);
        assert_eq!(compare(&mut known, with_score(20, score)).0, []);
    }
    assert_eq!(compare(&mut known, with_score(10, "5")).0, [], "HubSpot shows it as it was");
    assert_eq!(compare(&mut known, with_score(30, "5")).0, [(30, None)]);
    let mut pages = PublishLedger { compares_values: false, ..known };
    assert_eq!(compare(&mut pages, with_score(30, "6")).0, [], "the index may be older");
}

#[test]
fn a_calculated_value_that_was_begun_is_published_again_as_it_was() {
    let mut first = comparing(HashMap::new(), 100);
    let (_, begun, done) = compare(&mut first, with_score(20, "1"));
    let before = marked(&HashMap::new(), &[&begun, &done]);
    let (_, begun, _) = compare(&mut comparing(before.clone(), 200), with_score(20, "2"));
    let again = marked(&before, &[&begun]);
    for (score, at) in [("2", 200), ("3", 300), ("1", 300)] {
        assert_eq!(compare(&mut comparing(again.clone(), 300), with_score(20, score)).0, [(20, Some(at))], "{score}");
    }
}

#[test]
fn values_that_differ_when_a_change_is_published_again_stay_pending() {
    let (_, begun, done) = compare(&mut comparing(HashMap::new(), 100), with_score(20, "1"));
    let before = marked(&HashMap::new(), &[&begun, &done]);
    // The slice ended after it had queued the change.
    let (told, begun, _) = compare(&mut comparing(before.clone(), 200), with_score(30, "2"));
    let again = marked(&before, &[&begun]);
    for (score, expected) in [("2", vec![]), ("3", vec![(30, Some(400))])] {
        let (repeated, begun, done) = compare(&mut comparing(again.clone(), 300), with_score(30, score));
        assert_eq!(repeated, told);
        let after = marked(&again, &[&begun, &done]);
        assert_eq!(compare(&mut comparing(after, 400), with_score(30, score)).0, expected, "{score}");
    }
}

#[test]
fn records_without_calculated_values_have_no_marks_for_them() {
    let mut known = comparing(HashMap::new(), 100);
    let (_, begun, done) = compare(&mut known, with_score(20, ""));
    assert_eq!((begun.len(), done[0].1.calculated_digest.clone()), (0, None));
    let (_, begun, done) = compare(&mut PublishLedger { terms: PublishTerms::default(), ..known }, with_score(30, "1"));
    assert_eq!((begun.len(), done[0].1.calculated_digest.clone()), (0, None), "it is not chosen");
}
