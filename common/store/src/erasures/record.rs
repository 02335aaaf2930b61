//! Erases a record. The ledger and the state become tombstones first, so that neither sync nor the drain brings the record
//! back. Then its actions lose what they say of it.

use futures::TryStreamExt;
use model::{
    account::AccountKey,
    action::{ActionName, record_key},
    ids::RecordId,
    object::ObjectType,
    time::DateTime,
};
use mongodb::{
    bson::{Bson, Document, doc},
    error::Error,
};

use super::{
    super::{Store, StoreError, collection},
    Erasure, Requested,
};

/// The fields of an action that say something of a person.
const PERSONAL: [&str; 5] = ["identity", "userProperties", "companyProperties", "properties", "changes"];

impl Store {
    /// Erases a record, and requests the erasure of those that were merged into it: they are the same person.
    pub(super) async fn erase_record(
        &self,
        account: &AccountKey,
        object: ObjectType,
        record_id: &RecordId,
        requested: &Requested,
    ) -> Result<(), StoreError> {
        let key = record_key(account, object, record_id);
        self.request_erasures(&self.merged_into(account, object, record_id).await?).await?;
        let actions = actions_of(account, object, record_id);
        let was_known = requested.was_known || self.is_known(object, &key, &actions).await?;
        if was_known && !requested.was_known {
            // Before the tombstones, which do not show it any more.
            let known = doc! { "$set": { "wasKnown": true } };
            self.collection(collection::ERASURES).update_one(doc! { "_id": &key }, known).await?;
        }
        let at = requested.requested_at;
        let of = || doc! { "_id": &key };
        // A value may be guessed from its digest.
        let values = doc! { "calculatedDigest": "", "pendingCalculated": "" };
        let seen = doc! { "$min": { "erasedAt": at }, "$unset": values };
        let tombstone = tombstone(account, record_id, at);
        tokio::try_join!(
            async { self.collection(collection::SEEN).update_one(of(), seen).upsert(true).await },
            async { self.collection(&object.collection()).update_one(of(), vec![tombstone]).upsert(true).await },
        )?;
        let personal: Document = PERSONAL.into_iter().map(|name| (name.to_owned(), Bson::from(""))).collect();
        tokio::try_join!(
            async { self.collection(collection::ACTIONS).update_many(actions, doc! { "$unset": personal }).await },
            async { self.collection(collection::SET_ASIDE).delete_one(of()).await },
            async { self.collection(collection::ASSOCIATION_CHECKS).delete_one(of()).await },
        )?;
        if object == ObjectType::COMPANIES {
            self.check_contacts_of(account, std::slice::from_ref(record_id)).await?;
        }
        if was_known {
            let erased = doc! { "$setOnInsert": erased_action(account, object, record_id, at) };
            let id = doc! { "_id": erased_id(&key) };
            self.collection(collection::ACTIONS).update_one(id, erased).upsert(true).await?;
        }
        Ok(())
    }

    /// Returns true if anything is stored of a record beside tombstones: a state, an action, or what sync published.
    async fn is_known(&self, object: ObjectType, key: &str, actions: &Document) -> Result<bool, Error> {
        let is_there = async |name: &str, of: Document| {
            let found = self.collection(name).find_one(of).projection(doc! { "_id": 1 }).await?;
            Ok::<_, Error>(found.is_some())
        };
        let alive = doc! { "_id": key, "erasedAt": null };
        Ok(is_there(&object.collection(), alive.clone()).await?
            || is_there(collection::SEEN, alive).await?
            || is_there(collection::ACTIONS, actions.clone()).await?)
    }

    /// Returns the erasures of the records that were merged into this one.
    async fn merged_into(
        &self,
        account: &AccountKey,
        object: ObjectType,
        record_id: &RecordId,
    ) -> Result<Vec<Erasure>, Error> {
        let mut merged = own(account);
        merged.insert("mergedInto", record_id.as_str());
        let found = self.collection(&object.collection()).find(merged).projection(doc! { "recordId": 1 }).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let id = |state: &Document| RecordId::try_from(state.get_str("recordId").ok()?.to_owned()).ok();
        Ok(found.iter().filter_map(id).map(|id| Erasure::Record(account.clone(), object, id)).collect())
    }
}

/// Returns the `_id` of the action that says that a record was erased.
fn erased_id(key: &str) -> String {
    format!("{key}:erased")
}

/// Returns the condition for an account's documents.
pub(super) fn own(account: &AccountKey) -> Document {
    doc! { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str() }
}

/// Returns the condition for a record's actions, but the one that says that it was erased. Their `_id`s begin with the
/// record's key. Domain ids may contain colons, so those of other accounts' records may begin alike.
fn actions_of(account: &AccountKey, object: ObjectType, record_id: &RecordId) -> Document {
    let key = record_key(account, object, record_id);
    // `;` is the character after `:`.
    let mut actions = doc! { "_id": { "$gte": format!("{key}:"), "$lt": format!("{key};"), "$ne": erased_id(&key) } };
    actions.extend(own(account));
    actions.extend(doc! { "object": object.as_str(), "recordId": record_id.as_str() });
    actions
}

/// Returns the stage that replaces a record's state by what never moves again. The same stage again changes nothing.
fn tombstone(account: &AccountKey, record_id: &RecordId, at: DateTime) -> Document {
    let literal = |text: &str| doc! { "$literal": text };
    let or = |field: &str, time: Bson| doc! { "$ifNull": [field, time] };
    let is_new = doc! { "$eq": [{ "$type": "$erasedAt" }, "missing"] };
    doc! { "$replaceWith": {
        "_id": "$_id",
        "domainId": literal(account.domain_id.as_str()),
        "hubId": literal(account.hub_id.as_str()),
        "recordId": literal(record_id.as_str()),
        "deletedAt": or("$deletedAt", at.into()),
        "erasedAt": or("$erasedAt", at.into()),
        "storedAt": { "$cond": [is_new, "$$NOW", or("$storedAt", "$$NOW".into())] },
    } }
}

/// Returns the action that says that a record was erased, without its `_id`.
fn erased_action(account: &AccountKey, object: ObjectType, record_id: &RecordId, at: DateTime) -> Document {
    let mut action = own(account);
    action.extend(doc! {
        "object": object.as_str(),
        "recordId": record_id.as_str(),
        "actionName": ActionName::deleted(object).to_string(),
        "actionDate": at,
        "recordUpdatedAt": at,
        "includeInAnalytics": 0,
        "erased": true,
        "storedAt": DateTime::now(),
    });
    action
}
