//! The current state of each record (collections `companies` and `contacts`). It never goes back in time, and
//! each step forward is kept with what it changed, until the action that tells of it is surely stored.
//!
//! A state is replaced only where it is still the one that was read, which closes the race between two drains
//! of one record: the one that comes second is refused (its upsert meets the record's `_id`), and looks again.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, doc, serialize_to_bson},
    error::Error,
};

use super::{
    Store,
    actions::{Given, Stored},
    bulk,
};
use crate::{
    account::AccountKey,
    action::{Action, RecordState, record_key},
    changes,
    object::ObjectType,
    time::DateTime,
};

/// How often a step that met another drain's is tried again.
const ROUNDS: usize = 8;

/// How many of a record's latest steps are kept: as many as may be under way while an action is delivered again.
const STEPS: usize = 5;

/// The field of a state with its latest steps: `[{at, changes}]`, the oldest first.
const HISTORY: &str = "history";

/// What became of the state of an action's record.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// What the action changed, where that is known.
    pub(super) changes: Option<Document>,
    /// Whether the state moved on just now, so that the action is hardly stored yet.
    pub(super) is_new: bool,
}

/// The steps of actions, by their places among those given.
pub(super) type Steps = HashMap<usize, Step>;

impl Store {
    /// Moves the states of one object type's records on to what the actions say, and tells what each changed.
    /// An action that came after a newer one, or was the first to tell of its record, has no changes.
    pub(super) async fn advance_states(
        &self,
        object: ObjectType,
        given: Given<'_>,
        stored: &mut Stored,
        now: DateTime,
    ) -> Result<Steps, Error> {
        let mut steps = Steps::new();
        let mut pending: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, (account, action)) in given.iter().enumerate() {
            if action.object == object && action.record.is_some() && !stored.has_failed(index) {
                pending.entry(record_key(account, object, &action.record_id)).or_default().push(index);
            }
        }
        pending.values_mut().for_each(|indexes| indexes.sort_by_key(|index| given[*index].1.record_updated_at));
        let states = self.database.collection::<Document>(object.as_str());
        for _ in 0..ROUNDS {
            if pending.is_empty() {
                return Ok(steps);
            }
            let keys: Vec<&String> = pending.keys().collect();
            let found: Vec<Document> = states.find(doc! { "_id": { "$in": keys } }).await?.try_collect().await?;
            let mut found: HashMap<String, Document> =
                found.into_iter().filter_map(|state| Some((state.get_str("_id").ok()?.to_owned(), state))).collect();
            let (mut inserts, mut inserted, mut updates, mut updated) = (vec![], vec![], vec![], vec![]);
            for (key, indexes) in &pending {
                match advance(found.remove(key), given, indexes, now) {
                    Ok((write, made)) => {
                        steps.extend(made);
                        match write {
                            Some(Write::Insert(state)) => {
                                inserts.push(state);
                                inserted.push(key.clone());
                            }
                            Some(Write::Update(update)) => {
                                updates.push(update);
                                updated.push(key.clone());
                            }
                            None => {}
                        }
                    }
                    Err(_) => indexes.iter().for_each(|index| stored.fail(*index, 0)),
                }
            }
            let (not_inserted, not_updated) = tokio::try_join!(
                bulk::insert(&self.database, object.as_str(), inserts),
                bulk::update(&self.database, object.as_str(), updates),
            )?;
            let refused = not_inserted.iter().map(|refused| (&inserted[refused.index], refused.code));
            let refused = refused.chain(not_updated.iter().map(|refused| (&updated[refused.index], refused.code)));
            let mut again = BTreeMap::new();
            for (key, code) in refused {
                let Some(indexes) = pending.remove(key) else { continue };
                if code == bulk::DUPLICATE_KEY {
                    again.insert(key.clone(), indexes);
                } else {
                    indexes.iter().for_each(|index| stored.fail(*index, code));
                }
            }
            pending = again;
        }
        pending.values().flatten().for_each(|index| stored.fail(*index, bulk::DUPLICATE_KEY));
        Ok(steps)
    }
}

/// Where actions lead a state: what is to be written, if anything, and the steps, by the actions' places.
type Advance = (Option<Write>, Vec<(usize, Step)>);

/// What is to be written of a state.
enum Write {
    Insert(Document),
    Update(Document),
}

/// Takes a record's state through its actions, the oldest first: the write that stores where that leads, unless it
/// leads nowhere, and the steps.
fn advance(found: Option<Document>, given: Given<'_>, indexes: &[usize], now: DateTime) -> Result<Advance, Error> {
    let stored_at = found.as_ref().and_then(updated_at);
    let (mut current, mut history) = (found, Vec::new());
    if let Some(Bson::Array(kept)) = current.as_mut().and_then(|state| state.remove(HISTORY)) {
        history = kept;
    }
    let mut steps = Vec::with_capacity(indexes.len());
    for index in indexes {
        let (account, action) = given[*index];
        let Some(record) = &action.record else { continue };
        let at = action.record_updated_at;
        let is_new = current.as_ref().and_then(updated_at).is_none_or(|before| before < at);
        if is_new {
            let next = document(account, action, record, now)?;
            if let Some(before) = &current {
                history.push(Bson::Document(doc! { "at": at, "changes": changes::between(before, &next) }));
            }
            current = Some(next);
        }
        let step = history.iter().filter_map(Bson::as_document).find(|step| step.get_datetime("at").ok() == Some(&at));
        let changes = step.and_then(|step| step.get_document("changes").ok()).cloned();
        steps.push((*index, Step { changes, is_new }));
    }
    let write = current.filter(|state| updated_at(state) != stored_at).map(|mut state| {
        history.drain(..history.len().saturating_sub(STEPS));
        if !history.is_empty() {
            state.insert(HISTORY, history);
        }
        match stored_at {
            None => Write::Insert(state),
            Some(at) => {
                let as_it_was = doc! { "_id": state.get_str("_id").unwrap_or_default(), "updatedAt": at };
                Write::Update(bulk::upsert(as_it_was, state))
            }
        }
    });
    Ok((write, steps))
}

fn updated_at(state: &Document) -> Option<DateTime> {
    state.get_datetime("updatedAt").ok().copied()
}

fn document(account: &AccountKey, action: &Action, record: &RecordState, now: DateTime) -> Result<Document, Error> {
    let mut document = doc! {
        "_id": record_key(account, action.object, &action.record_id),
        "domainId": account.domain_id.as_str(),
        "hubId": account.hub_id.as_str(),
        "recordId": action.record_id.as_str(),
        "properties": serialize_to_bson(&record.properties)?,
    };
    if action.object == ObjectType::Contacts {
        let company_ids: Vec<&str> = record.company_ids.iter().map(|id| id.as_str()).collect();
        document.insert(changes::COMPANY_IDS, company_ids);
    }
    document.extend(doc! { "createdAt": record.created_at, "updatedAt": action.record_updated_at, "storedAt": now });
    Ok(document)
}
