//! The writes of the drain: actions (collection `actions`), each once, with the changes that they made to the current
//! states of their records.

use std::collections::{BTreeSet, HashMap};

use futures::future::try_join_all;

use model::{
    account::AccountKey,
    action::{Action, ActionName},
    association,
    ids::RecordId,
    object::ObjectType,
    time::DateTime,
};
use mongodb::{
    bson::{Document, doc},
    error::Error,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Store, bulk, collection,
    indexes::{CREATED, CREATED_ONCE},
    states::{StateChange, StateChanges},
};

/// Actions of any accounts, in any order.
pub(super) type ActionRefs<'a> = &'a [(&'a AccountKey, &'a Action)];

/// How many times writes that conflict with concurrent ones are tried.
const ROUNDS: usize = 4;

/// An action that could not be stored, while others were.
#[derive(Debug)]
pub struct ActionFailure {
    /// Its index in the list of actions.
    pub index: usize,
    /// The server's error code. 0 if the action cannot be written as BSON, or its record's state cannot be read.
    pub code: i32,
}

/// The outcome of storing many actions.
#[derive(Debug, Default)]
pub struct StoreReport {
    /// The actions that could not be stored.
    pub failed: Vec<ActionFailure>,
    /// How many actions were not stored before.
    pub added: usize,
}

impl StoreReport {
    /// Returns true if the action at `index` could not be stored.
    pub(super) fn has_failed(&self, index: usize) -> bool {
        self.failed.iter().any(|failed| failed.index == index)
    }

    /// Adds the action at `index` to those that could not be stored.
    pub(super) fn fail(&mut self, index: usize, code: i32) {
        self.failed.push(ActionFailure { index, code });
    }
}

impl Store {
    /// Stores the states in the actions, and then the actions with their changes. Actions may be stored again, and in
    /// any order. Returns those that could not be stored, and how many are new. Nothing is stored of records and accounts
    /// that were erased.
    ///
    /// An action is inserted unless it is stored already. If the record already has a Created action, the earlier of
    /// the two changes keeps that name, and the other becomes Updated.
    ///
    /// # Errors
    /// MongoDB cannot be reached. Any part may have been stored.
    pub async fn store_actions(&self, actions: &[(&AccountKey, &Action)]) -> Result<StoreReport, Error> {
        let accounts: Vec<&AccountKey> = actions.iter().map(|(account, _)| *account).collect();
        let erased = self.erased_accounts(&accounts).await?;
        if erased.is_empty() {
            return self.store_all(actions).await;
        }
        let kept: Vec<usize> = (0..actions.len()).filter(|index| !erased.contains(index)).collect();
        let of_others: Vec<_> = kept.iter().map(|index| actions[*index]).collect();
        let mut stored = self.store_all(&of_others).await?;
        stored.failed.iter_mut().for_each(|failed| failed.index = kept[failed.index]);
        Ok(stored)
    }

    async fn store_all(&self, actions: ActionRefs<'_>) -> Result<StoreReport, Error> {
        let now = DateTime::now();
        let insert = |index: usize, change: &StateChange| {
            let (account, action) = actions[index];
            bulk::document(&ActionDocument::new(account, action, change.changes.as_ref(), now))
        };
        let objects: BTreeSet<ObjectType> = actions.iter().map(|(_, action)| action.object).collect();
        let advanced = objects.into_iter().map(|object| self.advance_states(object, actions, now, insert));
        let (mut stored, mut changes) = (StoreReport::default(), StateChanges::new());
        for (of_object, changed) in try_join_all(advanced).await? {
            stored.failed.extend(of_object.failed);
            changes.extend(changed);
        }
        self.insert_actions(actions, changes, &mut stored, now).await?;
        Ok(stored)
    }

    /// Inserts actions whose record's state has just changed, because they are almost always new. Upserts the others,
    /// because they are probably redeliveries: upserting a stored action is no error.
    async fn insert_actions(
        &self,
        actions: ActionRefs<'_>,
        mut changes: StateChanges,
        stored: &mut StoreReport,
        now: DateTime,
    ) -> Result<(), Error> {
        let (mut inserts, mut upserts) = (Vec::new(), Vec::new());
        for (index, (account, action)) in actions.iter().enumerate() {
            let is_erased = changes.get(&index).is_some_and(|change| change.is_erased);
            if stored.has_failed(index) || is_erased || is_no_change(action, changes_of(&changes, index)) {
                continue;
            }
            if let Some(later) = changes.get(&index).and_then(|change| change.later_associations.as_ref())
                && let Some(action) = associations_action(action)
            {
                upserts.push((index, upsert(ActionDocument::new(account, &action, Some(later), now))?));
            }
            let (writes, write) = match changes.get_mut(&index).and_then(|change| change.insert.take()) {
                Some(insert) => (&mut inserts, insert),
                None => (&mut upserts, upsert(ActionDocument::new(account, action, changes_of(&changes, index), now))),
            };
            match write {
                Ok(write) => writes.push((index, write)),
                Err(_) => stored.fail(index, 0),
            }
        }
        for _ in 0..ROUNDS {
            let (inserted, upserted) = tokio::try_join!(
                bulk::insert(&self.database, collection::ACTIONS, std::mem::take(&mut inserts)),
                bulk::update(&self.database, collection::ACTIONS, std::mem::take(&mut upserts)),
            )?;
            stored.added += inserted.added + upserted.added;
            for refused in inserted.refused.into_iter().chain(upserted.refused) {
                let (account, action) = actions[refused.key];
                if refused.code != bulk::DUPLICATE_KEY {
                    stored.fail(refused.key, refused.code);
                } else if CREATED_ONCE.iter().any(|name| refused.message.contains(name)) {
                    let renamed = self.settle_created(account, action).await?;
                    let document = ActionDocument::new(account, &renamed, changes_of(&changes, refused.key), now);
                    upserts.push((refused.key, upsert(document)?));
                }
                // Otherwise its `_id` exists: another delivery of the same action was faster.
            }
            if upserts.is_empty() {
                return Ok(());
            }
        }
        upserts.iter().for_each(|(index, _)| stored.fail(*index, bulk::DUPLICATE_KEY));
        Ok(())
    }

    /// Resolves two Created actions of one record: the earlier change is the first. Renames the stored action if it is
    /// the later one. Returns the action to store. Fails if MongoDB cannot be reached.
    async fn settle_created(&self, account: &AccountKey, action: &Action) -> Result<Action, Error> {
        let later = doc! {
            "domainId": account.domain_id.as_str(),
            "hubId": account.hub_id.as_str(),
            "object": action.object.as_str(),
            "recordId": action.record_id.as_str(),
            "actionName": ActionName::created(action.object).to_string(),
            "recordUpdatedAt": { "$gt": action.record_updated_at },
        };
        let updated = ActionName::updated(action.object);
        let rename = vec![
            doc! { "$set": { "actionName": updated.to_string(), "actionDate": "$recordUpdatedAt" } },
            doc! { "$unset": CREATED },
        ];
        let actions = self.database.collection::<Document>(collection::ACTIONS);
        if actions.update_one(later, rename).await?.matched_count == 1 {
            return Ok(action.clone());
        }
        Ok(Action { action_name: updated, action_date: action.record_updated_at, ..action.clone() })
    }
}

/// Returns what an action changed. Returns `None` if that is not known.
fn changes_of(changes: &StateChanges, index: usize) -> Option<&Map<String, Value>> {
    changes.get(&index).and_then(|change| change.changes.as_ref())
}

/// Returns true if the action is about a change of associations, or about properties that were chosen later, and they are
/// as they were. The ledger does not know what an older release has published.
fn is_no_change(action: &Action, changes: Option<&Map<String, Value>>) -> bool {
    (action.associations_digest.is_some() || action.properties_at.is_some()) && changes.is_some_and(Map::is_empty)
}

/// Returns the action for a change of associations that came with a repetition of `action`. Returns `None` if it does
/// not say when they were read.
fn associations_action(action: &Action) -> Option<Action> {
    let record = action.record.as_ref()?;
    Some(Action {
        action_name: ActionName::updated(action.object),
        action_date: record.associations_at?,
        associations_digest: Some(association::digest(record.associations.as_deref()?)),
        properties_at: None,
        ..action.clone()
    })
}

/// Returns an upsert of an action. It changes nothing if the action is stored.
fn upsert(document: ActionDocument<'_>) -> Result<bulk::Write, Error> {
    let fields = ActionDocument { id: None, ..document };
    bulk::upsert(&doc! { "_id": document.id }, &HashMap::from([("$setOnInsert", fields)]))
}

/// The stored form of an action.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ActionDocument<'a> {
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    domain_id: &'a str,
    hub_id: &'a str,
    object: &'a str,
    record_id: &'a str,
    action_name: ActionName,
    action_date: DateTime,
    record_updated_at: DateTime,
    include_in_analytics: i32,
    /// True for a record's first action. Those of companies and of contacts are told from others by their names.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    created: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    user_properties: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    company_properties: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    properties: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    associations_digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties_at: Option<DateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merged_into: Option<&'a str>,
    stored_at: DateTime,
}

impl<'a> ActionDocument<'a> {
    fn new(
        account: &'a AccountKey,
        action: &'a Action,
        changes: Option<&'a Map<String, Value>>,
        now: DateTime,
    ) -> Self {
        Self {
            id: Some(action.id(account)),
            domain_id: account.domain_id.as_str(),
            hub_id: account.hub_id.as_str(),
            object: action.object.as_str(),
            record_id: action.record_id.as_str(),
            action_name: action.action_name,
            action_date: action.action_date,
            record_updated_at: action.record_updated_at,
            include_in_analytics: action.include_in_analytics,
            created: action.action_name.is_created() && !action.object.is_default(),
            identity: action.identity.as_deref(),
            user_properties: &action.user_properties,
            company_properties: &action.company_properties,
            properties: &action.properties,
            changes: changes.filter(|_| !action.action_name.is_created()),
            associations_digest: action.associations_digest.as_deref(),
            properties_at: action.properties_at,
            merged_into: action.merged_into.as_ref().map(RecordId::as_str),
            stored_at: now,
        }
    }
}
