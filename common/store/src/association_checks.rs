//! Contacts whose associations are to be read again, by their ids (collection `associationchecks`): HubSpot has said by
//! webhook that they changed, one of their companies is gone, or they have more than can be read within a slice.

use std::time::Duration;

use futures::TryStreamExt;
use model::{
    account::AccountKey,
    action::record_key,
    association::Association,
    ids::RecordId,
    object::ObjectType,
    time::{self, DateTime},
};
use mongodb::{
    bson::{Bson, Document, deserialize_from_document, doc, serialize_to_bson},
    error::Error,
};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, bulk, collection};

/// A contact is checked once more this long after HubSpot reported the change, because HubSpot may have returned the
/// associations of before. Shorter than the gap before the second sync of a notification.
pub const ASSOCIATIONS_SETTLE: Duration = Duration::from_secs(8);

/// The pause after a check that could not be made.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// A contact whose associations are to be read again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssociationCheck {
    /// The contact.
    pub record_id: RecordId,
    /// When the latest reason came up.
    pub noticed_at: DateTime,
    /// Where an earlier reading stopped.
    #[serde(default)]
    pub unfinished: Option<UnfinishedAssociations>,
}

/// A part of a record's associations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfinishedAssociations {
    /// HubSpot's cursor of the next page.
    pub after: String,
    /// The associations before that page.
    pub before: Vec<Association>,
}

/// The filter for contacts that have one of some companies.
fn having_companies(account: &AccountKey, companies: &[RecordId]) -> Document {
    let ids: Vec<&str> = companies.iter().map(RecordId::as_str).collect();
    doc! { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str(), "companyIds": { "$in": ids } }
}

fn key(account: &AccountKey, record: &RecordId) -> String {
    record_key(account, ObjectType::Contacts, record)
}

impl Store {
    /// Requests checks of contacts, now.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn request_association_checks(
        &self,
        account: &AccountKey,
        contacts: impl IntoIterator<Item = RecordId>,
    ) -> Result<(), StoreError> {
        let now = DateTime::now();
        let set = |contact: &RecordId| {
            doc! {
                "$set": { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str(),
                    "recordId": contact.as_str(), "noticedAt": now, "checkAt": now },
                // What was read before the change is not read on.
                "$unset": { "unfinished": "" },
            }
        };
        let writes = contacts.into_iter().map(|contact| {
            let write = bulk::upsert(&doc! { "_id": key(account, &contact) }, &set(&contact))?;
            Ok((contact, write))
        });
        self.write_checks(writes.collect::<Result<Vec<_>, Error>>()?).await
    }

    /// Requests checks of the contacts that have one of these companies, as far as their states are stored. Returns
    /// true if there are any.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn check_contacts_of(&self, account: &AccountKey, companies: &[RecordId]) -> Result<bool, StoreError> {
        if companies.is_empty() {
            return Ok(false);
        }
        let contacts = self.database.collection::<Document>(ObjectType::Contacts.as_str());
        let found = contacts.find(having_companies(account, companies)).projection(doc! { "recordId": 1 }).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let ids: Vec<RecordId> = found.iter().filter_map(|state| id(state.get("recordId"))).collect();
        for ids in ids.chunks(1000) {
            self.request_association_checks(account, ids.iter().cloned()).await?;
        }
        Ok(!ids.is_empty())
    }

    /// Stores where the reading of each contact's associations stopped. They are read on from there by the next check.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn store_unfinished_associations(
        &self,
        account: &AccountKey,
        unfinished: Vec<(RecordId, UnfinishedAssociations)>,
    ) -> Result<(), StoreError> {
        let now = DateTime::now();
        let writes = unfinished.into_iter().map(|(contact, unfinished)| {
            let set = doc! {
                "$set": { "unfinished": serialize_to_bson(&unfinished)?, "checkAt": now },
                "$setOnInsert": { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str(),
                    "recordId": contact.as_str(), "noticedAt": now },
            };
            let write = bulk::upsert(&doc! { "_id": key(account, &contact) }, &set)?;
            Ok((contact, write))
        });
        self.write_checks(writes.collect::<Result<Vec<_>, Error>>()?).await
    }

    /// Returns at most `count` contacts to check by now, the longest waiting first.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn due_association_checks(
        &self,
        account: &AccountKey,
        count: i64,
    ) -> Result<Vec<AssociationCheck>, Error> {
        let due = doc! {
            "domainId": account.domain_id.as_str(),
            "hubId": account.hub_id.as_str(),
            "checkAt": { "$lte": DateTime::now() },
        };
        let checks = self.collection(collection::ASSOCIATION_CHECKS);
        let found: Vec<Document> =
            checks.find(due).sort(doc! { "checkAt": 1 }).limit(count).await?.try_collect().await?;
        found.into_iter().map(|check| Ok(deserialize_from_document(check)?)).collect()
    }

    /// Postpones checks, before they are made: one that cannot be made is tried again after [`RETRY_PAUSE`].
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn postpone_association_checks(
        &self,
        account: &AccountKey,
        checks: &[AssociationCheck],
    ) -> Result<(), Error> {
        let keys: Vec<String> = checks.iter().map(|check| key(account, &check.record_id)).collect();
        let later = doc! { "$max": { "checkAt": time::after(DateTime::now(), RETRY_PAUSE) } };
        self.collection(collection::ASSOCIATION_CHECKS).update_many(doc! { "_id": { "$in": keys } }, later).await?;
        Ok(())
    }

    /// Ends checks. One whose reason is younger than [`ASSOCIATIONS_SETTLE`] is made once more when it is that old. One
    /// that was requested again in the meantime stays.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn end_association_checks(
        &self,
        account: &AccountKey,
        checks: &[AssociationCheck],
    ) -> Result<(), StoreError> {
        let now = DateTime::now();
        let (old, young): (Vec<_>, Vec<_>) =
            checks.iter().partition(|check| time::between(check.noticed_at, now) >= ASSOCIATIONS_SETTLE);
        let same = |check: &AssociationCheck| {
            doc! { "_id": key(account, &check.record_id), "noticedAt": check.noticed_at }
        };
        if !old.is_empty() {
            let old: Vec<Document> = old.into_iter().map(same).collect();
            self.collection(collection::ASSOCIATION_CHECKS).delete_many(doc! { "$or": old }).await?;
        }
        let later = young.into_iter().map(|check| {
            let check_at = time::after(check.noticed_at, ASSOCIATIONS_SETTLE);
            let update = doc! { "$set": { "checkAt": check_at }, "$unset": { "unfinished": "" } };
            Ok((check.record_id.clone(), bulk::change(&same(check), &update)?))
        });
        self.write_checks(later.collect::<Result<Vec<_>, Error>>()?).await
    }

    async fn write_checks(&self, writes: Vec<(RecordId, bulk::Write)>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let refused = bulk::update(&self.database, collection::ASSOCIATION_CHECKS, writes).await?.refused;
        // Two upserts of one new document may collide. Then the other one has requested the check.
        match refused.iter().find(|refused| refused.code != bulk::DUPLICATE_KEY) {
            Some(refused) => Err(StoreError::Refused(refused.code)),
            None => Ok(()),
        }
    }
}

fn id(value: Option<&Bson>) -> Option<RecordId> {
    RecordId::try_from(value?.as_str()?.to_owned()).ok()
}
