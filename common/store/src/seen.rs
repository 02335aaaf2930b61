//! Sync's own ledger of what it has handed on (collection `seen`).

use std::collections::HashMap;

use futures::TryStreamExt;
use model::{account::AccountKey, action::record_key, ids::RecordId, object::ObjectType, time::DateTime};
use mongodb::{
    bson::{Document, deserialize_from_document, doc},
    error::Error,
};
use serde::Deserialize;

use super::{Store, StoreError, bulk, collection};

/// What was handed on of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LedgerEntry {
    /// Whether it was about to be handed on for the first time: it may have been, if nothing else is known.
    pub begun: bool,
    /// The modification time of its latest state that was; absent if none was for sure.
    pub at: Option<DateTime>,
    /// When it went: it was deleted, or the merge that it was lost in was first seen.
    pub gone_at: Option<DateTime>,
    /// What it was merged into, if that was handed on.
    pub into: Option<RecordId>,
}

impl LedgerEntry {
    /// Whether the product may know of the record.
    pub fn may_be_published(&self) -> bool {
        self.begun || self.at.is_some()
    }

    /// Since when it is gone, as far as is known.
    pub fn gone_since(&self) -> Option<DateTime> {
        self.gone_at.filter(|gone_at| self.at.is_none_or(|at| at <= *gone_at))
    }
}

/// The keys of all of an account's records of an object type, as a condition on `_id`. Domain ids may hold colons, so another
/// account's keys may begin alike; but only a record's id is left of this one's.
pub fn records_of(account: &AccountKey, object: ObjectType) -> Document {
    let prefix = format!("{account}:{object}:");
    // `;` is the character behind `:`. A prefix is of as many characters as bytes.
    let end = format!("{account}:{object};");
    let id_alone = format!("^.{{{}}}[0-9]+$", prefix.len());
    doc! { "$gte": prefix, "$lt": end, "$regex": id_alone }
}

impl Store {
    /// What was handed on of each of the records; those of which nothing is known are left out.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn seen(
        &self,
        account: &AccountKey,
        object: ObjectType,
        records: impl Iterator<Item = &RecordId>,
    ) -> Result<HashMap<RecordId, LedgerEntry>, Error> {
        let keys: Vec<String> = records.map(|record| record_key(account, object, record)).collect();
        let prefix = format!("{account}:{object}:");
        let seen = self.database.collection::<Document>(collection::SEEN);
        let found: Vec<Document> = seen.find(doc! { "_id": { "$in": keys } }).await?.try_collect().await?;
        let entry = |entry: Document| {
            let record = entry.get_str("_id").ok()?.strip_prefix(&prefix)?.to_owned();
            Some((RecordId::try_from(record).ok()?, entry))
        };
        let read = |(record, entry)| Ok((record, deserialize_from_document(entry)?));
        found.into_iter().filter_map(entry).map(read).collect()
    }

    /// Remembers what was handed on of records, as far as it is named. A time never moves back.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn mark_seen(
        &self,
        account: &AccountKey,
        object: ObjectType,
        records: &[(RecordId, LedgerEntry)],
    ) -> Result<(), StoreError> {
        let mut pending: Vec<&(RecordId, LedgerEntry)> = records.iter().collect();
        // Two upserts of one new document may collide, if a lease ran out; then the document exists.
        for _ in 0..2 {
            let update = |entry| Ok((entry, upsert(account, object, entry)?));
            let updates = pending.into_iter().map(update).collect::<Result<Vec<_>, Error>>()?;
            let refused = bulk::update(&self.database, collection::SEEN, updates).await?.refused;
            if let Some(refused) = refused.iter().find(|refused| refused.code != bulk::DUPLICATE_KEY) {
                return Err(StoreError::Refused(refused.code));
            }
            if refused.is_empty() {
                return Ok(());
            }
            pending = refused.into_iter().map(|refused| refused.key).collect();
        }
        Err(StoreError::Refused(bulk::DUPLICATE_KEY))
    }
}

/// The upsert that adds to a record's entry what is named of it.
fn upsert(
    account: &AccountKey,
    object: ObjectType,
    (record, seen): &(RecordId, LedgerEntry),
) -> Result<bulk::Write, Error> {
    let times = [("at", seen.at), ("goneAt", seen.gone_at)];
    let times: Document = times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), time?.into()))).collect();
    let mut update = Document::new();
    if seen.begun {
        update.insert("$set", doc! { "begun": true });
    } else if seen.at.is_some() {
        update.insert("$unset", doc! { "begun": "" });
    }
    if !times.is_empty() {
        update.insert("$max", times);
    }
    if let Some(into) = &seen.into {
        update.insert("$set", doc! { "into": into.as_str() });
    }
    bulk::upsert(&doc! { "_id": record_key(account, object, record) }, &update)
}
