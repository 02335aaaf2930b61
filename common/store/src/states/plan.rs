//! What the states of records become by their actions, and which of them are looked at again: pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::{action::record_key, object::ObjectType};
use mongodb::{
    bson::{DateTime, doc},
    error::Error,
};
use serde_json::{Map, Value};

use super::{
    super::{
        actions::{ActionRefs, StoreReport},
        bulk::{self, Refused, Write},
    },
    state::{HISTORY, Replace, State},
};

/// What became of the state of an action's record.
#[derive(Debug, Default)]
pub(crate) struct StateChange {
    /// What the action changed, if that is known.
    pub(crate) changes: Option<Map<String, Value>>,
    /// What has changed of the associations after the action's own change: the message was sent again, with associations
    /// that were read later.
    pub(crate) later_associations: Option<Map<String, Value>>,
    /// Whether the state moved on just now, so that the action is hardly stored yet.
    pub(super) is_new: bool,
    /// Whether the record was erased, so that the action is not stored.
    pub(crate) is_erased: bool,
    /// The action's insert, if the state moved on just now.
    pub(crate) insert: Option<Result<Write, Error>>,
}

/// The changes of actions, by their places among those given.
pub(crate) type StateChanges = HashMap<usize, StateChange>;

/// The actions of each record, by their places among those given, the oldest first.
pub(super) type Pending = BTreeMap<String, Vec<usize>>;

/// The states that were found, by the keys of their records. Some cannot be read.
pub(super) type Found = HashMap<String, Result<State, Error>>;

/// What is to be written of records, by their keys, and what their actions changed.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// The states of records that have none.
    pub(super) inserts: Vec<(&'a str, Write)>,
    /// The replacements of states, each if it is still the one that was found.
    pub(super) updates: Vec<(&'a str, Write)>,
    pub(super) changes: StateChanges,
    /// The actions of states that cannot be read.
    pub(super) failed: Vec<usize>,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Applied<'a> {
    pub(super) changes: StateChanges,
    /// The states that the server refused.
    pub(super) refused: Vec<Refused<&'a str>>,
    /// The states of which some were not replaced, if any were not.
    pub(super) unsure: Vec<&'a str>,
}

/// Returns the actions of an object type. Those that say nothing of their record's state are among them: the record may have
/// been erased.
pub(super) fn by_record(object: ObjectType, given: ActionRefs<'_>) -> Pending {
    let mut pending = Pending::new();
    for (index, (account, action)) in given.iter().enumerate() {
        if action.object == object {
            pending.entry(record_key(account, object, &action.record_id)).or_default().push(index);
        }
    }
    let order = |index: &usize| {
        let action = given[*index].1;
        let record = action.record.as_ref();
        let (properties_at, associations_at) =
            record.map(|record| (record.properties_at, record.associations_at)).unwrap_or_default();
        (action.record_updated_at, action.action_name.is_deleted(), properties_at, associations_at)
    };
    pending.values_mut().for_each(|indexes| indexes.sort_by_key(order));
    pending
}

/// Takes each record's state, as it was found, through its actions.
pub(super) fn plan_changes<'a>(
    pending: &'a Pending,
    mut found: Found,
    given: ActionRefs<'_>,
    now: DateTime,
) -> Plan<'a> {
    let mut plan = Plan::default();
    for (key, indexes) in pending {
        match found.remove(key).transpose().and_then(|state| advance(state, given, indexes, now)) {
            Ok((write, changes)) => {
                plan.changes.extend(changes);
                match write {
                    Some(StateWrite::Insert(write)) => plan.inserts.push((key, write)),
                    Some(StateWrite::Update(write)) => plan.updates.push((key, write)),
                    None => {}
                }
            }
            Err(_) => plan.failed.extend(indexes),
        }
    }
    plan
}

/// Returns the records that are looked at again, because another drain was quicker with them: those that were replaced have
/// nothing to write then. The actions of states that the server refuses for another reason fail.
pub(super) fn plan_retry(pending: &Pending, applied: Applied<'_>, stored: &mut StoreReport) -> Pending {
    let mut again: HashSet<&str> = applied.unsure.into_iter().collect();
    for refused in applied.refused {
        if refused.code == bulk::DUPLICATE_KEY {
            again.insert(refused.key);
        } else {
            again.remove(refused.key);
            let indexes = pending.get(refused.key).into_iter().flatten();
            indexes.for_each(|index| stored.fail(*index, refused.code));
        }
    }
    let is_again = |(key, _): &(&String, &Vec<usize>)| again.contains(key.as_str());
    pending.iter().filter(is_again).map(|(key, indexes)| (key.clone(), indexes.clone())).collect()
}

/// What is to be written of a state.
enum StateWrite {
    Insert(Write),
    Update(Write),
}

/// Where actions lead a state: what is to be written, if anything, and the changes, by the actions' places.
type Advance = (Option<StateWrite>, Vec<(usize, StateChange)>);

/// Takes a record's state through its actions, the oldest first.
///
/// # Errors
/// The state has no form that MongoDB can hold.
fn advance(found: Option<State>, given: ActionRefs<'_>, indexes: &[usize], now: DateTime) -> Result<Advance, Error> {
    let version = found.as_ref().map(State::version);
    let mut current = found;
    let mut has_moved = false;
    let mut changes = Vec::with_capacity(indexes.len());
    for index in indexes {
        let (account, action) = given[*index];
        let at = action.record_updated_at;
        if current.as_ref().is_some_and(State::is_erased) {
            changes.push((*index, StateChange { is_erased: true, ..StateChange::default() }));
            continue;
        }
        let state = current.get_or_insert_with(|| State::unknown(account, action));
        let is_new = match &action.record {
            Some(record) => state.apply_update(record, at),
            None if action.action_name.is_deleted() => state.apply_deletion(at, action.merged_into.as_ref()),
            None => false,
        };
        has_moved |= is_new;
        let changed = state.history.iter().find(|entry| entry.is_of(action)).map(|entry| entry.changes.clone());
        let later_associations = state.history.iter().find(|entry| entry.is_later_associations_of(action));
        let later_associations = later_associations.map(|entry| entry.changes.clone());
        let change = StateChange { changes: changed, later_associations, is_new, ..StateChange::default() };
        changes.push((*index, change));
    }
    let Some(mut state) = current.filter(|_| has_moved) else { return Ok((None, changes)) };
    state.stored_at = now;
    state.history.drain(..state.history.len().saturating_sub(HISTORY));
    let write = match version {
        None => StateWrite::Insert(bulk::document(&state)?),
        Some(version) => {
            StateWrite::Update(bulk::change(&doc! { "_id": &state.id }, &[Replace::new(version, &state)])?)
        }
    };
    Ok((Some(write), changes))
}

#[cfg(test)]
mod tests {
    use model::{account::AccountKey, action::Action};
    use mongodb::bson::deserialize_from_slice;
    use serde_json::json;

    use super::*;

    const NOW: DateTime = DateTime::from_millis(1_000_000);

    fn account() -> AccountKey {
        serde_json::from_value(json!({"domainId": "d", "hubId": "7"})).unwrap()
    }

    /// Returns an action of a company at second `at` of 2026.
    fn action(record: u64, name: &str, at: u64, properties: Value) -> Action {
        let at = format!("2026-01-01T00:00:{at:02}.000Z");
        let record_state = json!({"createdAt": "2025-01-01T00:00:00.000Z", "properties": properties});
        let mut action = json!({"object": "companies", "recordId": record.to_string(), "actionName": name,
            "actionDate": at, "recordUpdatedAt": at, "includeInAnalytics": 0});
        if !name.ends_with("Deleted") {
            action["record"] = record_state;
        }
        serde_json::from_value(action).unwrap()
    }

    fn created(record: u64, at: u64, name: &str) -> Action {
        action(record, "Company Created", at, json!({"name": name}))
    }

    fn updated(record: u64, at: u64, name: &str) -> Action {
        action(record, "Company Updated", at, json!({"name": name}))
    }

    fn deleted(record: u64, at: u64) -> Action {
        action(record, "Company Deleted", at, Value::Null)
    }

    /// What a plan says of actions: how many states it inserts and updates, and for each action whether it moved
    /// the state on, with what it changed of the name.
    type Said = (usize, usize, Vec<(bool, Option<Value>)>);

    fn changed(from: &str, to: &str) -> Option<Value> {
        Some(json!({"name": {"from": from, "to": to}}))
    }

    /// Plans actions of records, of which these states were found.
    fn plan(found: &[State], actions: &[Action]) -> Said {
        let account = account();
        let given: Vec<_> = actions.iter().map(|action| (&account, action)).collect();
        let pending = by_record(ObjectType::COMPANIES, &given);
        let found = found.iter().map(|state| (state.id.clone(), Ok(state.clone()))).collect();
        let mut plan = plan_changes(&pending, found, &given, NOW);
        assert_eq!(plan.failed, [0; 0]);
        let said = (0..actions.len()).map(|index| {
            let change = plan.changes.remove(&index).unwrap();
            (change.is_new, change.changes.map(Value::Object))
        });
        (plan.inserts.len(), plan.updates.len(), said.collect())
    }

    /// The state of a record behind these actions.
    fn state(actions: &[Action]) -> State {
        let account = account();
        let given: Vec<_> = actions.iter().map(|action| (&account, action)).collect();
        let pending = by_record(ObjectType::COMPANIES, &given);
        let plan = plan_changes(&pending, Found::new(), &given, NOW);
        deserialize_from_slice(plan.inserts[0].1.as_bytes()).unwrap()
    }

    #[test]
    fn a_record_is_inserted_once_and_replaced_from_then_on() {
        assert_eq!(plan(&[], &[created(1, 1, "a")]), (1, 0, vec![(true, None)]));
        let found = state(&[created(1, 1, "a")]);
        assert_eq!(plan(&[found], &[updated(1, 2, "b")]), (0, 1, vec![(true, changed("a", "b"))]));
    }

    #[test]
    fn actions_of_one_record_are_one_write_whatever_their_order() {
        let actions = [updated(1, 3, "c"), created(1, 1, "a"), updated(1, 2, "b")];
        let said = vec![(true, changed("b", "c")), (true, None), (true, changed("a", "b"))];
        assert_eq!(plan(&[], &actions), (1, 0, said));
    }

    #[test]
    fn an_action_that_comes_again_says_the_same_and_writes_nothing() {
        let found = state(&[created(1, 1, "a"), updated(1, 2, "b")]);
        assert_eq!(plan(&[found], &[updated(1, 2, "b")]), (0, 0, vec![(false, changed("a", "b"))]));
    }

    #[test]
    fn an_action_behind_a_newer_one_has_replaced_nothing() {
        let found = state(&[created(1, 1, "a"), updated(1, 5, "e")]);
        assert_eq!(plan(&[found], &[updated(1, 3, "c")]), (0, 0, vec![(false, None)]));
    }

    #[test]
    fn a_deleted_record_is_restored_by_a_later_change_alone() {
        let gone = state(&[created(1, 1, "a"), deleted(1, 5)]);
        assert_eq!(plan(std::slice::from_ref(&gone), &[deleted(1, 5)]), (0, 0, vec![(false, None)]));
        let late = updated(1, 3, "b");
        assert_eq!(plan(std::slice::from_ref(&gone), &[late]), (0, 1, vec![(true, changed("a", "b"))]));
        assert_eq!(plan(&[gone], &[updated(1, 6, "b")]), (0, 1, vec![(true, changed("a", "b"))]));
    }

    #[test]
    fn the_history_keeps_as_many_steps_as_may_be_under_way() {
        let actions: Vec<_> = (1..=HISTORY as u64 + 3).map(|at| updated(1, at, &at.to_string())).collect();
        assert_eq!(state(&actions).history.len(), HISTORY);
    }

    #[test]
    fn a_state_that_cannot_be_read_stands_in_the_way_of_its_own_record_alone() {
        let (account, actions) = (account(), [created(1, 1, "a"), created(2, 1, "b"), updated(1, 2, "c")]);
        let given: Vec<_> = actions.iter().map(|action| (&account, action)).collect();
        let pending = by_record(ObjectType::COMPANIES, &given);
        let found = Found::from([("d:7:companies:1".to_owned(), Err(Error::custom("unreadable")))]);
        let plan = plan_changes(&pending, found, &given, NOW);
        assert_eq!((plan.failed, plan.inserts.len(), plan.inserts[0].0), (vec![0, 2], 1, "d:7:companies:2"));
    }

    #[test]
    fn an_erased_record_never_comes_back_and_its_actions_are_not_stored() {
        let erased = json!({"_id": "d:7:companies:1", "domainId": "d", "hubId": "7", "recordId": "1",
            "deletedAt": {"$date": {"$numberLong": "1"}}, "erasedAt": {"$date": {"$numberLong": "1"}},
            "storedAt": {"$date": {"$numberLong": "1"}}});
        let erased: State = serde_json::from_value(erased).unwrap();
        let (account, mut actions) =
            (account(), [created(1, 1, "a"), updated(1, 9, "b"), deleted(1, 9), created(2, 1, "c")]);
        actions[1].record = None;
        let given: Vec<_> = actions.iter().map(|action| (&account, action)).collect();
        let pending = by_record(ObjectType::COMPANIES, &given);
        let plan = plan_changes(&pending, Found::from([(erased.id.clone(), Ok(erased))]), &given, NOW);
        assert_eq!((plan.inserts.len(), plan.updates.len()), (1, 0));
        let is_erased = [0, 1, 2, 3].map(|index| plan.changes[&index].is_erased);
        assert_eq!(is_erased, [true, true, true, false]);
    }

    /// Returns an action that fills in a property that was chosen at second `chosen_at`, for a company of second `at`.
    fn filled(record: u64, at: u64, name: &str, chosen_at: i64) -> Action {
        let mut action = updated(record, at, name);
        action.properties_at = Some(DateTime::from_millis(chosen_at * 1000));
        action.record.as_mut().unwrap().properties_at = action.properties_at;
        action
    }

    #[test]
    fn properties_that_were_chosen_later_replace_those_of_the_same_change_in_any_order() {
        let found = state(&[created(1, 1, "a")]);
        let later = filled(1, 1, "b", 9);
        assert_eq!(plan(&[found], std::slice::from_ref(&later)), (0, 1, vec![(true, changed("a", "b"))]));
        let found = state(&[created(1, 1, "a"), later.clone()]);
        let again = [later.clone(), created(1, 1, "a"), filled(1, 1, "c", 8)];
        let said = vec![(false, changed("a", "b")), (false, None), (false, None)];
        assert_eq!(plan(std::slice::from_ref(&found), &again), (0, 0, said));
        assert_eq!(plan(&[found], &[filled(1, 1, "c", 10)]), (0, 1, vec![(true, changed("b", "c"))]));
        let backwards = state(&[updated(1, 2, "d"), later]);
        assert_eq!(plan(&[backwards], &[updated(1, 2, "d")]).0, 0);
        let moved_on = state(&[filled(1, 1, "b", 9), updated(1, 2, "d")]);
        assert_eq!(plan(&[moved_on], &[filled(1, 2, "e", 11)]), (0, 1, vec![(true, changed("d", "e"))]));
    }

    #[test]
    fn an_action_without_a_state_moves_none() {
        let mut actions = [created(1, 1, "a"), updated(1, 2, "b")];
        actions[1].record = None;
        assert_eq!(plan(&[], &actions), (1, 0, vec![(true, None), (false, None)]));
        assert_eq!(plan(&[], &actions[1..]), (0, 0, vec![(false, None)]));
    }

    #[test]
    fn what_another_drain_was_quicker_with_is_looked_at_again_and_what_is_refused_is_not() {
        let pending: Pending = ["a", "b", "c", "d"].map(|key| (key.to_owned(), vec![0])).into();
        let refused = |key, code| Refused { key, code, message: String::new() };
        let mut stored = StoreReport::default();
        let again =
            |applied, stored: &mut StoreReport| plan_retry(&pending, applied, stored).into_keys().collect::<Vec<_>>();
        let none = Applied::default();
        assert_eq!(again(none, &mut stored), [""; 0]);
        let met = Applied { refused: vec![refused("a", bulk::DUPLICATE_KEY)], ..Applied::default() };
        assert_eq!(again(met, &mut stored), ["a"]);
        assert!(stored.failed.is_empty());
        let both = Applied { refused: vec![refused("b", 121)], unsure: vec!["b", "c"], ..Applied::default() };
        assert_eq!(again(both, &mut stored), ["c"]);
        assert_eq!((stored.failed.len(), stored.failed[0].index, stored.failed[0].code), (1, 0, 121));
    }
}
