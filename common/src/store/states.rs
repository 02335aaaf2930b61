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

/// What actions changed in the states of their records, by their places among those given.
pub(super) type Changes = HashMap<usize, Document>;

impl Store {
    /// Moves the states of one object type's records on to what the actions say, and tells what each changed.
    /// An action that came after a newer one, or was the first to tell of its record, has no changes.
    pub(super) async fn advance_states(
        &self,
        object: ObjectType,
        given: Given<'_>,
        stored: &mut Stored,
        now: DateTime,
    ) -> Result<Changes, Error> {
        let mut known = Changes::new();
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
                return Ok(known);
            }
            let keys: Vec<&String> = pending.keys().collect();
            let found: Vec<Document> = states.find(doc! { "_id": { "$in": keys } }).await?.try_collect().await?;
            let mut found: HashMap<String, Document> =
                found.into_iter().filter_map(|state| Some((state.get_str("_id").ok()?.to_owned(), state))).collect();
            let (mut writes, mut written) = (Vec::new(), Vec::new());
            for (key, indexes) in &pending {
                match advance(found.remove(key), given, indexes, now) {
                    Ok((write, changes)) => {
                        known.extend(changes);
                        written.extend(write.is_some().then(|| key.clone()));
                        writes.extend(write);
                    }
                    Err(_) => indexes.iter().for_each(|index| stored.fail(*index, 0)),
                }
            }
            let refused = bulk::update(&self.database, object.as_str(), writes).await?;
            let mut again = BTreeMap::new();
            for refused in refused {
                let key = &written[refused.index];
                let Some(indexes) = pending.remove(key) else { continue };
                match refused.code {
                    bulk::DUPLICATE_KEY => {
                        again.insert(key.clone(), indexes);
                    }
                    code => indexes.iter().for_each(|index| stored.fail(*index, code)),
                }
            }
            pending = again;
        }
        pending.values().flatten().for_each(|index| stored.fail(*index, bulk::DUPLICATE_KEY));
        Ok(known)
    }
}

/// Takes a record's state through its actions, the oldest first: the write that stores where that leads, unless it
/// leads nowhere, and what each action changed.
fn advance(
    found: Option<Document>,
    given: Given<'_>,
    indexes: &[usize],
    now: DateTime,
) -> Result<(Option<Document>, Changes), Error> {
    let stored_at = found.as_ref().and_then(updated_at);
    let mut history: Vec<Bson> =
        found.as_ref().and_then(|state| state.get_array(HISTORY).ok()).cloned().unwrap_or_default();
    let (mut current, mut known) = (found, Changes::new());
    for index in indexes {
        let (account, action) = given[*index];
        let Some(record) = &action.record else { continue };
        let at = action.record_updated_at;
        if current.as_ref().is_none_or(|state| updated_at(state).is_none_or(|before| before < at)) {
            let next = document(account, action, record, now)?;
            if let Some(before) = &current {
                history.push(Bson::Document(doc! { "at": at, "changes": changes::between(before, &next) }));
            }
            current = Some(next);
        }
        let step = history.iter().filter_map(Bson::as_document).find(|step| step.get_datetime("at").ok() == Some(&at));
        known.extend(step.and_then(|step| Some((*index, step.get_document("changes").ok()?.clone()))));
    }
    let write = current.filter(|state| updated_at(state) != stored_at).map(|mut state| {
        history.drain(..history.len().saturating_sub(STEPS));
        if !history.is_empty() {
            state.insert(HISTORY, history);
        }
        let as_it_was = match stored_at {
            Some(at) => Bson::DateTime(at),
            None => Bson::Document(doc! { "$exists": false }),
        };
        bulk::upsert(doc! { "_id": state.get_str("_id").unwrap_or_default(), "updatedAt": as_it_was }, state)
    });
    Ok((write, known))
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
