//! What the drain writes: actions (collection `actions`), each once, and the current state of their records
//! (collections `companies` and `contacts`), which never goes back in time.

use mongodb::{
    bson::{Bson, Document, doc, serialize_to_bson},
    error::Error,
};

use super::{
    Store,
    bulk::{self, Refused},
    collection,
    indexes::CREATED_ONCE,
};
use crate::{
    account::AccountKey,
    action::{Action, ActionName, RecordState, record_key},
    object::ObjectType,
    time::DateTime,
};

/// How often writes that met a concurrent one are made again.
const ROUNDS: usize = 4;

/// One action could not be stored, while others were.
#[derive(Debug)]
pub struct WriteFailed {
    /// Its place among the actions given.
    pub index: usize,
    /// The server's error code; 0 where the action has no form that MongoDB can hold.
    pub code: i32,
}

/// What became of a number of actions.
#[derive(Debug, Default)]
pub struct Stored {
    /// Those that could not be stored.
    pub failed: Vec<WriteFailed>,
}

impl Store {
    /// Stores the actions and the states they carry. All of it may be given again, and in any order.
    ///
    /// An action is inserted unless it is there already. Where a record has been announced as Created before,
    /// the earlier of the two changes keeps that name and the other one becomes Updated.
    ///
    /// # Errors
    /// MongoDB cannot be reached; any part may have been stored.
    pub async fn store_actions(&self, actions: &[(&AccountKey, &Action)]) -> Result<Stored, Error> {
        let mut stored = Stored::default();
        let now = DateTime::now();
        let inserts = writes(actions, &mut stored, |account, action| {
            action_document(account, action, now).map(|document| insert(action.id(account), document))
        });
        self.insert_actions(actions, inserts, &mut stored, now).await?;
        for object in ObjectType::ALL {
            let upserts = writes(actions, &mut stored, |account, action| match &action.record {
                Some(record) if action.object == object => {
                    state_document(account, action, record, now).map(|document| replace_if_newer(document, action))
                }
                _ => Ok(Document::new()),
            });
            self.upsert_states(object, upserts, &mut stored).await?;
        }
        Ok(stored)
    }

    async fn insert_actions(
        &self,
        actions: &[(&AccountKey, &Action)],
        mut inserts: Vec<(usize, Document)>,
        stored: &mut Stored,
        now: DateTime,
    ) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let refused = self.bulk(collection::ACTIONS, &inserts).await?;
            inserts = Vec::new();
            for (index, refused) in refused {
                let (account, action) = actions[index];
                if refused.code != bulk::DUPLICATE_KEY {
                    stored.failed.push(WriteFailed { index, code: refused.code });
                } else if CREATED_ONCE.iter().any(|name| refused.message.contains(name)) {
                    let renamed = self.settle_created(account, action).await?;
                    let document = action_document(account, &renamed, now)?;
                    inserts.push((index, insert(action.id(account), document)));
                }
                // Otherwise its `_id` is taken: another delivery of the same action was quicker.
            }
            if inserts.is_empty() {
                return Ok(());
            }
        }
        stored.failed.extend(inserts.iter().map(|(index, _)| WriteFailed { index: *index, code: bulk::DUPLICATE_KEY }));
        Ok(())
    }

    /// Two changes of a record claim to be its first. The earlier one is: gives the action as it must be
    /// stored, after renaming the one that is stored, where that is the later.
    async fn settle_created(&self, account: &AccountKey, action: &Action) -> Result<Action, Error> {
        let later = doc! {
            "domainId": account.domain_id.as_str(),
            "hubId": account.hub_id.as_str(),
            "object": action.object.as_str(),
            "recordId": action.record_id.as_str(),
            "actionName": ActionName::created(action.object).as_str(),
            "recordUpdatedAt": { "$gt": action.record_updated_at },
        };
        let updated = ActionName::updated(action.object);
        let rename = vec![doc! { "$set": { "actionName": updated.as_str(), "actionDate": "$recordUpdatedAt" } }];
        let actions = self.database.collection::<Document>(collection::ACTIONS);
        if actions.update_one(later, rename).await?.matched_count == 1 {
            return Ok(action.clone());
        }
        Ok(Action { action_name: updated, action_date: action.record_updated_at, ..action.clone() })
    }

    async fn upsert_states(
        &self,
        object: ObjectType,
        mut upserts: Vec<(usize, Document)>,
        stored: &mut Stored,
    ) -> Result<(), Error> {
        upserts.retain(|(_, upsert)| !upsert.is_empty());
        for _ in 0..ROUNDS {
            let refused = self.bulk(object.as_str(), &upserts).await?;
            // Two first states of one record met; the one that lost is compared with the winner in another round.
            let (again, failed): (Vec<_>, Vec<_>) =
                refused.into_iter().partition(|(_, refused)| refused.code == bulk::DUPLICATE_KEY);
            stored
                .failed
                .extend(failed.iter().map(|(index, refused)| WriteFailed { index: *index, code: refused.code }));
            upserts.retain(|(index, _)| again.iter().any(|(other, _)| other == index));
            if upserts.is_empty() {
                return Ok(());
            }
        }
        stored.failed.extend(upserts.iter().map(|(index, _)| WriteFailed { index: *index, code: bulk::DUPLICATE_KEY }));
        Ok(())
    }

    /// Makes the writes, and tells which were refused by the place of their action.
    async fn bulk(&self, collection: &str, writes: &[(usize, Document)]) -> Result<Vec<(usize, Refused)>, Error> {
        let updates = writes.iter().map(|(_, write)| write.clone()).collect();
        let refused = bulk::update(&self.database, collection, updates).await?;
        Ok(refused.into_iter().map(|refused| (writes[refused.index].0, refused)).collect())
    }
}

/// The write for each action that has not failed yet; those without one fail.
fn writes(
    actions: &[(&AccountKey, &Action)],
    stored: &mut Stored,
    write: impl Fn(&AccountKey, &Action) -> Result<Document, Error>,
) -> Vec<(usize, Document)> {
    let mut writes = Vec::with_capacity(actions.len());
    for (index, (account, action)) in actions.iter().enumerate() {
        if stored.failed.iter().any(|failed| failed.index == index) {
            continue;
        }
        match write(account, action) {
            Ok(document) => writes.push((index, document)),
            Err(_) => stored.failed.push(WriteFailed { index, code: 0 }),
        }
    }
    writes
}

fn insert(id: String, document: Document) -> Document {
    bulk::upsert(doc! { "_id": id }, doc! { "$setOnInsert": document })
}

/// Replaces the state in place, by the server, only where the new one is newer.
fn replace_if_newer(state: Document, action: &Action) -> Document {
    let query = doc! { "_id": state.get_str("_id").unwrap_or_default() };
    let is_newer = doc! { "$lt": ["$updatedAt", action.record_updated_at] };
    let replace = doc! { "$replaceWith": { "$cond": [is_newer, { "$literal": state }, "$$ROOT"] } };
    bulk::upsert(query, vec![Bson::Document(replace)])
}

fn action_document(account: &AccountKey, action: &Action, now: DateTime) -> Result<Document, Error> {
    let mut document = doc! {
        "domainId": account.domain_id.as_str(),
        "hubId": account.hub_id.as_str(),
        "object": action.object.as_str(),
        "recordId": action.record_id.as_str(),
        "actionName": action.action_name.as_str(),
        "actionDate": action.action_date,
        "recordUpdatedAt": action.record_updated_at,
        "includeInAnalytics": action.include_in_analytics,
    };
    if let Some(identity) = &action.identity {
        document.insert("identity", identity);
    }
    let properties = [("userProperties", &action.user_properties), ("companyProperties", &action.company_properties)];
    for (name, properties) in properties {
        if !properties.is_empty() {
            document.insert(name, serialize_to_bson(properties)?);
        }
    }
    document.insert("storedAt", now);
    Ok(document)
}

fn state_document(
    account: &AccountKey,
    action: &Action,
    record: &RecordState,
    now: DateTime,
) -> Result<Document, Error> {
    let company_ids: Vec<&str> = record.company_ids.iter().map(|id| id.as_str()).collect();
    let mut document = doc! {
        "_id": record_key(account, action.object, &action.record_id),
        "domainId": account.domain_id.as_str(),
        "hubId": account.hub_id.as_str(),
        "recordId": action.record_id.as_str(),
        "properties": serialize_to_bson(&record.properties)?,
    };
    if action.object == ObjectType::Contacts {
        document.insert("companyIds", company_ids);
    }
    document.extend(doc! { "createdAt": record.created_at, "updatedAt": action.record_updated_at, "storedAt": now });
    Ok(document)
}
