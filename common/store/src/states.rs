//! The current state of each record (collections `companies` and `contacts`). It never goes back in time, and
//! each step forward is kept with what it changed, until the action that tells of it is surely stored.
//!
//! A state is replaced only if it is still the one that was read, which closes the race between two drains
//! of one record: the one that comes second changes nothing, sees that, and looks again.

use std::collections::{BTreeMap, HashMap};

use futures::{TryStreamExt, future::try_join3};
use model::{
    account::AccountKey,
    action::{Action, RecordState, record_key},
    changes::{self, Side},
    ids::RecordId,
    object::ObjectType,
};
use mongodb::{
    bson::{Bson, DateTime, Document, RawDocumentBuf, deserialize_from_slice, doc},
    error::Error,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::task::yield_now;

use super::{
    Store,
    actions::{ActionRefs, Stored},
    bulk,
};

/// How often a step that met another drain's is tried again.
const ROUNDS: usize = 8;

/// How many of a record's latest steps are kept: as many as may be under way while an action is delivered again.
const STEPS: usize = 5;

/// A record's current state, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    #[serde(rename = "_id")]
    id: String,
    domain_id: String,
    hub_id: String,
    record_id: String,
    #[serde(default)]
    properties: Map<String, Value>,
    /// A contact's companies; absent for companies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    company_ids: Option<Vec<String>>,
    /// Absent if nothing but the record's end is known yet, as is `updated_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<DateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<DateTime>,
    /// Since when the record is gone; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<DateTime>,
    /// The record that it was merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merged_into: Option<String>,
    stored_at: DateTime,
    /// The latest steps, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    history: Vec<HistoryEntry>,
}

/// What a step changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct HistoryEntry {
    at: DateTime,
    changes: Map<String, Value>,
}

/// What became of the state of an action's record.
#[derive(Debug, Default)]
pub(super) struct StateChange {
    /// What the action changed, if that is known.
    pub(super) changes: Option<Map<String, Value>>,
    /// Whether the state moved on just now, so that the action is hardly stored yet.
    is_new: bool,
    /// The action's insert, if the state moved on just now.
    pub(super) insert: Option<Result<bulk::Write, Error>>,
}

/// The steps of actions, by their places among those given.
pub(super) type StateChanges = HashMap<usize, StateChange>;

impl Store {
    /// Moves the states of one object type's records on to what the actions say, and tells what each changed.
    /// An action that came after a newer one, or was the first to tell of its record, has no changes.
    ///
    /// `insert` makes the inserts of actions whose states move on, while the server writes these.
    pub(super) async fn advance_states(
        &self,
        object: ObjectType,
        given: ActionRefs<'_>,
        stored: &mut Stored,
        now: DateTime,
        insert: impl Fn(usize, &StateChange) -> Result<bulk::Write, Error>,
    ) -> Result<StateChanges, Error> {
        let mut steps = StateChanges::new();
        let mut pending = by_record(object, given, stored);
        for _ in 0..ROUNDS {
            if pending.is_empty() {
                return Ok(steps);
            }
            let found = self.read_states(object, pending.keys()).await?;
            let mut planned = plan(&pending, found, given, stored, now);
            let (inserts, updates) = (std::mem::take(&mut planned.inserts), std::mem::take(&mut planned.updates));
            let meanwhile = async {
                // The commands are on their way by then.
                yield_now().await;
                for (index, step) in planned.steps.iter_mut().filter(|(_, step)| step.is_new) {
                    step.insert = Some(insert(*index, step));
                }
                Ok(())
            };
            let (inserts, update, ()) = try_join3(
                bulk::insert(&self.database, object.as_str(), inserts),
                bulk::update(&self.database, object.as_str(), updates),
                meanwhile,
            )
            .await?;
            steps.extend(std::mem::take(&mut planned.steps));
            let refused = inserts.refused.iter().map(|refused| (&planned.inserted[refused.index], refused.code));
            let others = update.refused.iter().map(|refused| (&planned.updated[refused.index], refused.code));
            let mut again = Pending::new();
            for (key, code) in refused.chain(others) {
                let Some(indexes) = pending.remove(key) else { continue };
                if code == bulk::DUPLICATE_KEY {
                    again.insert(key.clone(), indexes);
                } else {
                    indexes.iter().for_each(|index| stored.fail(*index, code));
                }
            }
            if update.modified + update.refused.len() < planned.updated.len() {
                // Some were not what they had been. Those that were changed have nothing to write when they are
                // looked at again.
                again.extend(planned.updated.into_iter().filter_map(|key| pending.remove_entry(&key)));
            }
            pending = again;
        }
        pending.values().flatten().for_each(|index| stored.fail(*index, bulk::DUPLICATE_KEY));
        Ok(steps)
    }

    /// The states that are there, by their keys, each read for itself: one that others made unreadable stands in the
    /// way of its own record alone.
    async fn read_states(
        &self,
        object: ObjectType,
        keys: impl Iterator<Item = &String>,
    ) -> Result<HashMap<String, Result<State, Error>>, Error> {
        let keys: Vec<&String> = keys.collect();
        let states = self.database.collection::<RawDocumentBuf>(object.as_str());
        let found: Vec<RawDocumentBuf> = states.find(doc! { "_id": { "$in": keys } }).await?.try_collect().await?;
        let read = |found: &RawDocumentBuf| {
            let key = found.get_str("_id").ok()?.to_owned();
            Some((key, deserialize_from_slice(found.as_bytes()).map_err(Error::from)))
        };
        Ok(found.iter().filter_map(read).collect())
    }
}

/// The actions of each record, by their places among those given, the oldest first.
type Pending = BTreeMap<String, Vec<usize>>;

/// Returns the actions of an object type that say something of a record's state.
fn by_record(object: ObjectType, given: ActionRefs<'_>, stored: &Stored) -> Pending {
    let mut pending = Pending::new();
    for (index, (account, action)) in given.iter().enumerate() {
        let tells = action.record.is_some() || action.action_name.is_deleted();
        if action.object == object && tells && !stored.has_failed(index) {
            pending.entry(record_key(account, object, &action.record_id)).or_default().push(index);
        }
    }
    let order = |index: &usize| (given[*index].1.record_updated_at, given[*index].1.action_name.is_deleted());
    pending.values_mut().for_each(|indexes| indexes.sort_by_key(order));
    pending
}

/// What is to be written of records, with the key of each, and the steps that lead there.
#[derive(Default)]
struct Planned {
    inserts: Vec<bulk::Write>,
    inserted: Vec<String>,
    updates: Vec<bulk::Write>,
    updated: Vec<String>,
    steps: StateChanges,
}

/// Takes each record's state, as it was found, through its actions. Actions of a state that cannot be read fail.
fn plan(
    pending: &Pending,
    mut found: HashMap<String, Result<State, Error>>,
    given: ActionRefs<'_>,
    stored: &mut Stored,
    now: DateTime,
) -> Planned {
    let mut planned = Planned::default();
    for (key, indexes) in pending {
        match found.remove(key).transpose().and_then(|state| advance(state, given, indexes, now)) {
            Ok((write, made)) => {
                planned.steps.extend(made);
                match write {
                    Some(Write::Insert(state)) => {
                        planned.inserts.push(state);
                        planned.inserted.push(key.clone());
                    }
                    Some(Write::Update(update)) => {
                        planned.updates.push(update);
                        planned.updated.push(key.clone());
                    }
                    None => {}
                }
            }
            Err(_) => indexes.iter().for_each(|index| stored.fail(*index, 0)),
        }
    }
    planned
}

/// Where actions lead a state: what is to be written, if anything, and the steps, by the actions' places.
type Advance = (Option<Write>, Vec<(usize, StateChange)>);

/// What is to be written of a state.
enum Write {
    Insert(bulk::Write),
    Update(bulk::Write),
}

/// Takes a record's state through its actions, the oldest first.
fn advance(found: Option<State>, given: ActionRefs<'_>, indexes: &[usize], now: DateTime) -> Result<Advance, Error> {
    let version = found.as_ref().map(State::version);
    let mut current = found;
    let mut has_moved = false;
    let mut steps = Vec::with_capacity(indexes.len());
    for index in indexes {
        let (account, action) = given[*index];
        let at = action.record_updated_at;
        let state = current.get_or_insert_with(|| State::unknown(account, action));
        let is_new = match &action.record {
            Some(record) => state.follow(record, at),
            None => state.end(at, action.merged_into.as_ref()),
        };
        has_moved |= is_new;
        let past = state.history.iter().find(|past| past.at == at && !action.action_name.is_deleted());
        steps.push((*index, StateChange { changes: past.map(|past| past.changes.clone()), is_new, insert: None }));
    }
    let write = match current.filter(|_| has_moved) {
        None => None,
        Some(mut state) => {
            state.stored_at = now;
            state.history.drain(..state.history.len().saturating_sub(STEPS));
            Some(match version {
                None => Write::Insert(bulk::document(&state)?),
                Some(version) => {
                    Write::Update(bulk::change(&doc! { "_id": &state.id }, &[Replace::new(version, &state)])?)
                }
            })
        }
    };
    Ok((write, steps))
}

/// The update that replaces a state if it is still of this version. (A query for both the `_id` and the version
/// would do the same, but the server plans each such query: it takes twice as long.)
#[derive(Serialize)]
struct Replace<'a> {
    #[serde(rename = "$replaceWith")]
    with: Condition<'a>,
}

#[derive(Serialize)]
struct Condition<'a> {
    #[serde(rename = "$cond")]
    parts: (Document, Literal<'a>, &'static str),
}

#[derive(Serialize)]
struct Literal<'a> {
    #[serde(rename = "$literal")]
    state: &'a State,
}

impl<'a> Replace<'a> {
    fn new((updated_at, deleted_at, merged_into): Version, state: &'a State) -> Self {
        // In an array, a field that is missing is null.
        let was = vec![Bson::from(updated_at), Bson::from(deleted_at), Bson::from(merged_into)];
        let is_as_it_was = doc! { "$eq": [["$updatedAt", "$deletedAt", "$mergedInto"], { "$literal": was }] };
        Self { with: Condition { parts: (is_as_it_was, Literal { state }, "$$ROOT") } }
    }
}

/// What tells one state of a record from another: when it was modified, since when it is gone, and what it was merged into.
type Version = (Option<DateTime>, Option<DateTime>, Option<String>);

impl State {
    /// The state of a record of which nothing is known.
    fn unknown(account: &AccountKey, action: &Action) -> Self {
        Self {
            id: record_key(account, action.object, &action.record_id),
            domain_id: account.domain_id.as_str().to_owned(),
            hub_id: account.hub_id.as_str().to_owned(),
            record_id: action.record_id.as_str().to_owned(),
            properties: Map::new(),
            company_ids: (action.object == ObjectType::Contacts).then(Vec::new),
            created_at: None,
            updated_at: None,
            deleted_at: None,
            merged_into: None,
            stored_at: DateTime::MIN,
            history: Vec::new(),
        }
    }

    fn version(&self) -> Version {
        (self.updated_at, self.deleted_at, self.merged_into.clone())
    }

    /// Makes the record as it was modified at `at` the current one, unless a newer one is; tells whether it did. A
    /// record that is modified after it was deleted was restored.
    fn follow(&mut self, record: &RecordState, at: DateTime) -> bool {
        if self.updated_at >= Some(at) {
            return false;
        }
        let company_ids: Vec<String> = match record.companies_unknown {
            true => self.company_ids.clone().unwrap_or_default(),
            false => record.company_ids.iter().map(|id| id.as_str().to_owned()).collect(),
        };
        if self.updated_at.is_some() {
            let after = Side { properties: &record.properties, company_ids: &company_ids };
            self.history.push(HistoryEntry { at, changes: changes::between(self.side(), after) });
        }
        self.properties.clone_from(&record.properties);
        self.company_ids = self.company_ids.as_ref().map(|_| company_ids);
        self.created_at = Some(record.created_at);
        self.updated_at = Some(at);
        self.deleted_at = self.deleted_at.filter(|deleted_at| *deleted_at >= at || self.merged_into.is_some());
        true
    }

    /// Lets the record be gone since `at`, with what was last known of it, unless it was modified or deleted later;
    /// tells whether that is new. What was merged into another never comes back.
    fn end(&mut self, at: DateTime, merged_into: Option<&RecordId>) -> bool {
        let is_known = self.deleted_at >= Some(at) && (self.merged_into.is_some() || merged_into.is_none());
        if is_known || (self.updated_at > Some(at) && merged_into.is_none()) {
            return false;
        }
        self.deleted_at = self.deleted_at.max(Some(at));
        self.merged_into = self.merged_into.take().or(merged_into.map(|id| id.as_str().to_owned()));
        true
    }

    fn side(&self) -> Side<'_> {
        Side { properties: &self.properties, company_ids: self.company_ids.as_deref().unwrap_or_default() }
    }
}
