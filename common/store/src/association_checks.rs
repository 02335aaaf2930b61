//! Records whose associations are to be read again, by their ids (collection `associationchecks`): HubSpot has said by
//! webhook that they changed, one of their companies is gone, or they have more than can be read within a slice. A company
//! that is gone is one document, from which those of its contacts are made, some at a time: it may have very many.

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

/// A record is checked once more this long after HubSpot reported the change, because HubSpot may have returned the
/// associations of before. Shorter than the gap before the second sync of a notification.
pub const ASSOCIATIONS_SETTLE: Duration = Duration::from_secs(8);

/// The pause after a check that could not be made.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// A record whose associations are to be read again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssociationCheck {
    /// The record.
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
    /// The object type with which associations are read next. Releases before 0.10 read those with companies alone.
    #[serde(default = "companies")]
    pub to: ObjectType,
    /// HubSpot's cursor of the next page. `None` for the first page.
    pub after: Option<String>,
    /// The associations before that page.
    pub before: Vec<Association>,
}

fn companies() -> ObjectType {
    ObjectType::COMPANIES
}

/// A company that is gone, whose contacts are to be checked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GoneCompany {
    company_id: RecordId,
    noticed_at: DateTime,
    /// The key of the last contact of which a check was requested.
    #[serde(default)]
    after: Option<String>,
}

/// How many contacts of a company are checked at once.
const CONTACTS_OF_COMPANY: i64 = 1000;

fn company_key(account: &AccountKey, company: &RecordId) -> String {
    record_key(account, ObjectType::COMPANIES, company)
}

impl Store {
    /// Requests checks of records, now.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn request_association_checks(
        &self,
        account: &AccountKey,
        object: ObjectType,
        records: impl IntoIterator<Item = RecordId>,
    ) -> Result<(), StoreError> {
        let now = DateTime::now();
        let set = |record: &RecordId| {
            doc! {
                "$set": { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str(),
                    "object": object.as_str(), "recordId": record.as_str(), "noticedAt": now, "checkAt": now },
                // What was read before the change is not read on.
                "$unset": { "unfinished": "" },
            }
        };
        let writes = records.into_iter().map(|record| {
            let write = bulk::upsert(&doc! { "_id": record_key(account, object, &record) }, &set(&record))?;
            Ok((record, write))
        });
        self.write_checks(writes.collect::<Result<Vec<_>, Error>>()?).await
    }

    /// Requests checks of the contacts that have one of these companies.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn check_contacts_of(&self, account: &AccountKey, companies: &[RecordId]) -> Result<(), StoreError> {
        let now = DateTime::now();
        let write = |company: &RecordId| {
            let set = doc! {
                "$set": { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str(),
                    "object": ObjectType::CONTACTS.as_str(), "companyId": company.as_str(), "noticedAt": now, "checkAt": now },
                "$unset": { "after": "" },
            };
            Ok((company.clone(), bulk::upsert(&doc! { "_id": company_key(account, company) }, &set)?))
        };
        self.write_checks(companies.iter().map(write).collect::<Result<Vec<_>, Error>>()?).await
    }

    /// Requests the checks of a gone company's next contacts, as far as their states are stored.
    async fn check_next_contacts(&self, account: &AccountKey, gone: &GoneCompany) -> Result<(), StoreError> {
        let mut having = doc! {
            "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str(),
            "companyIds": gone.company_id.as_str(),
        };
        if let Some(after) = &gone.after {
            having.insert("_id", doc! { "$gt": after });
        }
        let contacts = self.database.collection::<Document>(&ObjectType::CONTACTS.collection());
        let found = contacts.find(having).projection(doc! { "recordId": 1 }).sort(doc! { "_id": 1 });
        let found: Vec<Document> = found.limit(CONTACTS_OF_COMPANY).await?.try_collect().await?;
        let ids: Vec<RecordId> = found.iter().filter_map(|state| id(state.get("recordId"))).collect();
        self.request_association_checks(account, ObjectType::CONTACTS, ids).await?;
        let same = doc! { "_id": company_key(account, &gone.company_id), "noticedAt": gone.noticed_at };
        let companies = self.collection(collection::ASSOCIATION_CHECKS);
        match found.last().and_then(|state| state.get_str("_id").ok()) {
            Some(last) if i64::try_from(found.len()).is_ok_and(|count| count == CONTACTS_OF_COMPANY) => {
                companies.update_one(same, doc! { "$set": { "after": last } }).await?;
            }
            _ => {
                companies.delete_one(same).await?;
            }
        }
        Ok(())
    }

    /// Stores where the reading of records' associations stopped. The next check continues from there. One that
    /// began with a check has the time of its reason; if there is a later reason, it is read from the beginning.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn store_unfinished_associations(
        &self,
        account: &AccountKey,
        object: ObjectType,
        unfinished: Vec<(RecordId, Option<DateTime>, UnfinishedAssociations)>,
    ) -> Result<(), StoreError> {
        let now = DateTime::now();
        let writes = unfinished.into_iter().map(|(record, noticed_at, unfinished)| {
            let mut update = doc! { "$set": { "unfinished": serialize_to_bson(&unfinished)?, "checkAt": now } };
            let mut query = doc! { "_id": record_key(account, object, &record) };
            let write = if let Some(noticed_at) = noticed_at {
                query.insert("noticedAt", noticed_at);
                bulk::change(&query, &update)?
            } else {
                update.insert(
                    "$setOnInsert",
                    doc! { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str(),
                    "object": object.as_str(), "recordId": record.as_str(), "noticedAt": now },
                );
                bulk::upsert(&query, &update)?
            };
            Ok((record, write))
        });
        self.write_checks(writes.collect::<Result<Vec<_>, Error>>()?).await
    }

    /// Returns at most `count` records of an object type to check by now, the longest waiting first. There may be more if it returns fewer,
    /// or none: `None` alone says that there are none.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn due_association_checks(
        &self,
        account: &AccountKey,
        object: ObjectType,
        count: i64,
    ) -> Result<Option<Vec<AssociationCheck>>, StoreError> {
        let mut objects = vec![Bson::from(object.as_str())];
        // Releases before 0.10 check contacts alone, and do not say so.
        objects.extend((object == ObjectType::CONTACTS).then_some(Bson::Null));
        let due = doc! {
            "domainId": account.domain_id.as_str(),
            "hubId": account.hub_id.as_str(),
            "object": { "$in": objects },
            "checkAt": { "$lte": DateTime::now() },
        };
        let checks = self.collection(collection::ASSOCIATION_CHECKS);
        let found: Vec<Document> =
            checks.find(due).sort(doc! { "checkAt": 1 }).limit(count).await?.try_collect().await?;
        if found.is_empty() {
            return Ok(None);
        }
        let (gone, due): (Vec<_>, Vec<_>) = found.into_iter().partition(|check| check.contains_key("companyId"));
        for gone in gone {
            let gone: GoneCompany = deserialize_from_document(gone).map_err(Error::from)?;
            self.check_next_contacts(account, &gone).await?;
        }
        let read = |check| deserialize_from_document(check).map_err(Error::from);
        Ok(Some(due.into_iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Postpones checks, before they are made: one that cannot be made is tried again after a minute.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn postpone_association_checks(
        &self,
        account: &AccountKey,
        object: ObjectType,
        checks: &[AssociationCheck],
    ) -> Result<(), Error> {
        if checks.is_empty() {
            return Ok(());
        }
        let later = doc! { "$set": { "checkAt": time::after(DateTime::now(), RETRY_PAUSE) } };
        let same: Vec<Document> = checks.iter().map(|check| same(account, object, check)).collect();
        self.collection(collection::ASSOCIATION_CHECKS).update_many(doc! { "$or": same }, later).await?;
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
        object: ObjectType,
        checks: &[AssociationCheck],
    ) -> Result<(), StoreError> {
        let now = DateTime::now();
        let (old, young): (Vec<_>, Vec<_>) =
            checks.iter().partition(|check| time::between(check.noticed_at, now) >= ASSOCIATIONS_SETTLE);
        if !old.is_empty() {
            let old: Vec<Document> = old.into_iter().map(|check| same(account, object, check)).collect();
            self.collection(collection::ASSOCIATION_CHECKS).delete_many(doc! { "$or": old }).await?;
        }
        let later = young.into_iter().map(|check| {
            let check_at = time::after(check.noticed_at, ASSOCIATIONS_SETTLE);
            let update = doc! { "$set": { "checkAt": check_at }, "$unset": { "unfinished": "" } };
            Ok((check.record_id.clone(), bulk::change(&same(account, object, check), &update)?))
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

/// Returns the filter for a check that was not requested again since it was read.
fn same(account: &AccountKey, object: ObjectType, check: &AssociationCheck) -> Document {
    doc! { "_id": record_key(account, object, &check.record_id), "noticedAt": check.noticed_at }
}

fn id(value: Option<&Bson>) -> Option<RecordId> {
    RecordId::try_from(value?.as_str()?.to_owned()).ok()
}
