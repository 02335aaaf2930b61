//! Records that could not be published, set aside so that the records beside them can be (collection `setaside`). They
//! are read again by their ids, after growing pauses.

use std::{collections::BTreeMap, time::Duration};

use futures::{TryStreamExt, future::ready};
use model::{
    account::AccountKey,
    object::ObjectType,
    time::{self, DateTime},
};
use mongodb::{
    bson::{Document, deserialize_from_document, doc, serialize_to_document},
    error::Error,
};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, bulk, collection};

/// The pause after the first failure. Each further failure doubles it, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(600);
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// A record that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// HubSpot's id of the record, unchanged.
    pub record_id: String,
    /// The reason, without any of the record's contents.
    pub reason: String,
    /// The number of attempts so far.
    pub attempts: u32,
    /// When it was first set aside.
    pub since: DateTime,
    /// When it is retried.
    pub retry_at: DateTime,
}

impl SetAside {
    /// Returns the entry after one more attempt that failed for `reason`.
    fn again(before: Option<&Self>, record_id: &str, reason: &str, now: DateTime) -> Self {
        let attempts = before.map_or(0, |before| before.attempts);
        let pause = time::doubled(FIRST_PAUSE, attempts, LONGEST_PAUSE);
        Self {
            record_id: record_id.to_owned(),
            reason: reason.to_owned(),
            attempts: attempts.saturating_add(1),
            since: before.map_or(now, |before| before.since),
            retry_at: time::after(now, pause),
        }
    }
}

impl Store {
    /// Sets records aside, each with its reason. Returns when the first of them is retried. If they were set aside
    /// already, their pause grows only if they were `tried` for that reason, because any pass may come across them at
    /// any time.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn set_aside(
        &self,
        account: &AccountKey,
        object: ObjectType,
        records: &[(String, String)],
        tried: bool,
    ) -> Result<Option<DateTime>, StoreError> {
        let now = DateTime::now();
        let keys: Vec<String> = records.iter().map(|(id, _)| key(account, object, id)).collect();
        let known = self.found(doc! { "_id": { "$in": keys } }, i64::MAX).await?;
        let entries: Vec<SetAside> = records
            .iter()
            .map(|(id, reason)| match known.iter().find(|known| known.record_id == *id) {
                Some(known) if !tried => SetAside { reason: reason.clone(), ..known.clone() },
                known => SetAside::again(known, id, reason, now),
            })
            .collect();
        let writes = entries.iter().map(|entry| {
            let mut set = serialize_to_document(entry)?;
            set.insert("domainId", account.domain_id.as_str());
            set.insert("hubId", account.hub_id.as_str());
            set.insert("object", object.as_str());
            let query = doc! { "_id": key(account, object, &entry.record_id) };
            Ok((entry, bulk::upsert(&query, &doc! { "$set": set })?))
        });
        let writes = writes.collect::<Result<Vec<_>, Error>>()?;
        let refused = bulk::update(&self.database, collection::SET_ASIDE, writes).await?.refused;
        match refused.first() {
            Some(refused) => Err(StoreError::Refused(refused.code)),
            None => Ok(entries.iter().map(|entry| entry.retry_at).min()),
        }
    }

    /// Takes one attempt back that failed for reasons unrelated to the records. They are retried at `retry_at`. If it is
    /// `None`, they wait as long as after an attempt.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn take_back_try(
        &self,
        account: &AccountKey,
        object: ObjectType,
        ids: &[String],
        retry_at: Option<DateTime>,
    ) -> Result<(), Error> {
        let keys: Vec<String> = ids.iter().map(|id| key(account, object, id)).collect();
        let tried = doc! { "_id": { "$in": keys }, "attempts": { "$gt": 1 } };
        let mut changes = doc! { "$inc": { "attempts": -1 } };
        if let Some(retry_at) = retry_at {
            changes.insert("$set", doc! { "retryAt": retry_at });
        }
        self.collection(collection::SET_ASIDE).update_many(tried, changes).await?;
        Ok(())
    }

    /// Returns at most `count` records of a lane that are due for a retry by `now`, the longest waiting first.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn due_set_aside(
        &self,
        account: &AccountKey,
        object: ObjectType,
        now: DateTime,
        count: i64,
    ) -> Result<Vec<SetAside>, Error> {
        let mut due = of(account, object);
        due.insert("retryAt", doc! { "$lte": now });
        self.found(due, count).await
    }

    /// Returns when the next of a lane's set-aside records is retried. Returns `None` if there are none.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn next_set_aside(&self, account: &AccountKey, object: ObjectType) -> Result<Option<DateTime>, Error> {
        Ok(self.found(of(account, object), 1).await?.pop().map(|entry| entry.retry_at))
    }

    /// Deletes the entries of records that were published, or do not exist any more.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn clear_set_aside(&self, account: &AccountKey, object: ObjectType, ids: &[String]) -> Result<(), Error> {
        let keys: Vec<String> = ids.iter().map(|id| key(account, object, id)).collect();
        self.collection(collection::SET_ASIDE).delete_many(doc! { "_id": { "$in": keys } }).await?;
        Ok(())
    }

    /// Returns at most `count` set-aside records of all accounts, with their accounts' keys and object types, the
    /// longest waiting first.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn all_set_aside(&self, count: i64) -> Result<Vec<(String, SetAside)>, Error> {
        let found = self.collection(collection::SET_ASIDE).find(doc! {}).sort(doc! { "since": 1 }).limit(count).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let read = |entry: Document| Some((entry.get_str("_id").ok()?.to_owned(), read(entry)?));
        Ok(found.into_iter().filter_map(read).collect())
    }

    /// Makes all set-aside records due at once, in the next slices of their accounts. Returns their number.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn retry_set_aside(&self) -> Result<u64, Error> {
        let now = DateTime::now();
        let due = doc! { "$set": { "retryAt": now } };
        let changed = self.collection(collection::SET_ASIDE).update_many(doc! {}, due).await?.matched_count;
        for object in self.collection(collection::SET_ASIDE).distinct("object", doc! {}).await? {
            let Some(object) = object.as_str() else { continue };
            let field = format!("kept.{object}.setAsideUntil");
            let waits = doc! { &field: { "$type": "date" } };
            let due = doc! { "$set": { &field: now }, "$unset": { "nextLook": "" } };
            self.collection(collection::CHECKPOINTS).update_many(waits, due).await?;
        }
        Ok(changed)
    }

    /// Returns how many of an account's records are set aside, by object type. Types without such records are omitted.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn count_set_aside(&self, account: &AccountKey) -> Result<BTreeMap<ObjectType, u64>, Error> {
        #[derive(Deserialize)]
        struct Counted {
            #[serde(rename = "_id")]
            object: String,
            count: i64,
        }
        let own = doc! { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str() };
        let count = doc! { "_id": "$object", "count": { "$sum": 1_i64 } };
        let pipeline = [doc! { "$match": own }, doc! { "$group": count }];
        let found = self.collection(collection::SET_ASIDE).aggregate(pipeline).with_type::<Counted>().await?;
        // A later release may have set records of other object types aside.
        let known = |found: Counted| Some((ObjectType::parse(&found.object).ok()?, u64::try_from(found.count).ok()?));
        let counted = found.try_filter_map(|found| ready(Ok(known(found))));
        counted.try_collect().await
    }

    async fn found(&self, filter: Document, count: i64) -> Result<Vec<SetAside>, Error> {
        let found =
            self.collection(collection::SET_ASIDE).find(filter).sort(doc! { "retryAt": 1 }).limit(count).await?;
        let found: Vec<Document> = found.try_collect().await?;
        Ok(found.into_iter().filter_map(read).collect())
    }
}

fn read(entry: Document) -> Option<SetAside> {
    deserialize_from_document(entry).ok()
}

fn of(account: &AccountKey, object: ObjectType) -> Document {
    doc! { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str(), "object": object.as_str() }
}

/// The raw id is part of the key, because it may not be a valid id.
fn key(account: &AccountKey, object: ObjectType, id: &str) -> String {
    format!("{account}:{object}:{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_up_to_a_day() {
        let (mut entry, now) = (None, DateTime::from_millis(0));
        let hours: Vec<u64> = (0..10)
            .map(|_| {
                let next = SetAside::again(entry.as_ref(), "1", "why", now);
                let pause = time::between(now, next.retry_at).as_secs() / 600;
                entry = Some(next);
                pause
            })
            .collect();
        assert_eq!(hours, [1, 2, 4, 8, 16, 32, 64, 128, 144, 144]);
        assert_eq!(entry.map(|entry| entry.attempts), Some(10));
    }
}
