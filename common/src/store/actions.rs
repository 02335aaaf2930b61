//! What the drain writes: actions (collection `actions`), each once, with what they changed in the current states
//! of their records.

use mongodb::{
    bson::{Document, doc, serialize_to_bson},
    error::Error,
};

use super::{Store, bulk, collection, indexes::CREATED_ONCE, states::Steps};
use crate::{
    account::AccountKey,
    action::{Action, ActionName},
    object::ObjectType,
    time::DateTime,
};

/// Actions of any accounts, in any order.
pub(super) type Given<'a> = &'a [(&'a AccountKey, &'a Action)];

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

impl Stored {
    pub(super) fn has_failed(&self, index: usize) -> bool {
        self.failed.iter().any(|failed| failed.index == index)
    }

    pub(super) fn fail(&mut self, index: usize, code: i32) {
        self.failed.push(WriteFailed { index, code });
    }
}

impl Store {
    /// Stores the states that the actions carry, and then the actions with what they changed. All of it may be
    /// given again, and in any order.
    ///
    /// An action is inserted unless it is there already. Where a record has been announced as Created before,
    /// the earlier of the two changes keeps that name and the other one becomes Updated.
    ///
    /// # Errors
    /// MongoDB cannot be reached; any part may have been stored.
    pub async fn store_actions(&self, actions: &[(&AccountKey, &Action)]) -> Result<Stored, Error> {
        let now = DateTime::now();
        let (mut stored, mut of_contacts) = (Stored::default(), Stored::default());
        let (mut steps, of_contacts_too) = tokio::try_join!(
            self.advance_states(ObjectType::Companies, actions, &mut stored, now),
            self.advance_states(ObjectType::Contacts, actions, &mut of_contacts, now),
        )?;
        stored.failed.extend(of_contacts.failed);
        steps.extend(of_contacts_too);
        self.insert_actions(actions, &steps, &mut stored, now).await?;
        Ok(stored)
    }

    /// An action whose state moved on just now is hardly stored yet, and is inserted; one that comes again is
    /// upserted, which is no error where it is stored.
    async fn insert_actions(
        &self,
        actions: Given<'_>,
        steps: &Steps,
        stored: &mut Stored,
        now: DateTime,
    ) -> Result<(), Error> {
        let document = |index: usize, action: &Action| {
            let (account, _) = actions[index];
            document(account, action, steps.get(&index).and_then(|step| step.changes.as_ref()), now)
        };
        let upsert = |document: Document| {
            let mut fields = document;
            bulk::upsert(doc! { "_id": fields.remove("_id") }, doc! { "$setOnInsert": fields })
        };
        let (mut inserts, mut inserted, mut upserts, mut upserted) = (vec![], vec![], vec![], vec![]);
        for (index, (_, action)) in actions.iter().enumerate() {
            if stored.has_failed(index) {
                continue;
            }
            match document(index, action) {
                Ok(document) if steps.get(&index).is_some_and(|step| step.is_new) => {
                    inserts.push(document);
                    inserted.push(index);
                }
                Ok(document) => {
                    upserts.push(upsert(document));
                    upserted.push(index);
                }
                Err(_) => stored.fail(index, 0),
            }
        }
        for _ in 0..ROUNDS {
            let (not_inserted, not_upserted) = tokio::try_join!(
                bulk::insert(&self.database, collection::ACTIONS, std::mem::take(&mut inserts)),
                bulk::update(&self.database, collection::ACTIONS, std::mem::take(&mut upserts)),
            )?;
            let refused = not_inserted.iter().map(|refused| (inserted[refused.index], refused));
            let refused = refused.chain(not_upserted.iter().map(|refused| (upserted[refused.index], refused)));
            let mut again = Vec::new();
            for (index, refused) in refused {
                let (account, action) = actions[index];
                if refused.code != bulk::DUPLICATE_KEY {
                    stored.fail(index, refused.code);
                } else if CREATED_ONCE.iter().any(|name| refused.message.contains(name)) {
                    let renamed = self.settle_created(account, action).await?;
                    upserts.push(upsert(document(index, &renamed)?));
                    again.push(index);
                }
                // Otherwise its `_id` is taken: another delivery of the same action was quicker.
            }
            upserted = again;
            if upserts.is_empty() {
                return Ok(());
            }
        }
        upserted.iter().for_each(|index| stored.fail(*index, bulk::DUPLICATE_KEY));
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
}

fn document(
    account: &AccountKey,
    action: &Action,
    changes: Option<&Document>,
    now: DateTime,
) -> Result<Document, Error> {
    let mut document = doc! {
        "_id": action.id(account),
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
    if let Some(changes) = changes.filter(|_| !action.action_name.is_created()) {
        document.insert("changes", changes);
    }
    document.insert("storedAt", now);
    Ok(document)
}
