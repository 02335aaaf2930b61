//! Sync's own ledger of what it has handed on (collection `seen`).

use std::collections::HashMap;

use futures::TryStreamExt;
use mongodb::{
    bson::{Document, doc},
    error::Error,
};

use super::{Store, StoreError, bulk, collection};
use crate::{account::AccountKey, action::record_key, ids::RecordId, object::ObjectType, time::DateTime};

impl Store {
    /// When each of the records was last modified, as far as it was handed on; records never handed on are
    /// left out.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn seen(
        &self,
        account: &AccountKey,
        object: ObjectType,
        records: impl Iterator<Item = &RecordId>,
    ) -> Result<HashMap<String, DateTime>, Error> {
        let keys: Vec<String> = records.map(|record| record_key(account, object, record)).collect();
        let prefix = format!("{account}:{object}:");
        let seen = self.database.collection::<Document>(collection::SEEN);
        let found: Vec<Document> = seen.find(doc! { "_id": { "$in": keys } }).await?.try_collect().await?;
        let entry = |entry: &Document| {
            let record = entry.get_str("_id").ok()?.strip_prefix(&prefix)?.to_owned();
            Some((record, *entry.get_datetime("at").ok()?))
        };
        Ok(found.iter().filter_map(entry).collect())
    }

    /// Remembers the records as handed on with their modification times. A time never moves back.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn mark_seen(
        &self,
        account: &AccountKey,
        object: ObjectType,
        records: impl Iterator<Item = (&RecordId, DateTime)>,
    ) -> Result<(), StoreError> {
        let updates = records.map(|(record, at)| {
            bulk::upsert(&doc! { "_id": record_key(account, object, record) }, &doc! { "$max": { "at": at } })
        });
        let mut updates = updates.collect::<Result<Vec<bulk::Write>, Error>>()?;
        // Two upserts of one new document may collide, where a lease ran out; then the document exists.
        for _ in 0..2 {
            let refused = bulk::update(&self.database, collection::SEEN, updates.clone()).await?.refused;
            match refused.iter().find(|refused| refused.code != bulk::DUPLICATE_KEY) {
                Some(refused) => return Err(StoreError::Refused(refused.code)),
                None if refused.is_empty() => return Ok(()),
                None => updates = refused.iter().filter_map(|refused| updates.get(refused.index).cloned()).collect(),
            }
        }
        Err(StoreError::Refused(bulk::DUPLICATE_KEY))
    }
}
