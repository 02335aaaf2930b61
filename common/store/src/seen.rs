//! Sync's ledger of what it has published (collection `seen`).

use std::collections::HashMap;

use futures::TryStreamExt;
use model::{account::AccountKey, action::record_key, ids::RecordId, object::ObjectType, time::DateTime};
use mongodb::{
    bson::{Document, deserialize_from_document, doc, serialize_to_bson},
    error::Error,
};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, bulk, collection};

/// What was published of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LedgerEntry {
    /// Whether the record was about to be published for the first time. If nothing else is known, it may have been.
    pub begun: bool,
    /// The modification time of the latest published state. Absent if none was certainly published.
    pub at: Option<DateTime>,
    /// When the record was deleted, or when its merge into another record was first seen.
    pub gone_at: Option<DateTime>,
    /// The record that it was merged into, if that was published.
    pub into: Option<RecordId>,
    /// A digest of the associations that were published last. Absent if they are not known.
    pub associations_digest: Option<String>,
    /// A change of associations that was about to be published. It may have been.
    pub pending_associations: Option<PendingAssociations>,
    /// When the properties were chosen that were published last, or when their calculated values were read, if that was
    /// later. Absent if none was chosen later than the object type.
    pub properties_at: Option<DateTime>,
    /// A digest of the values of calculated properties that were published last. Absent if there were none, or if they are
    /// not known. An empty one removes it.
    pub calculated_digest: Option<String>,
    /// Values of calculated properties that were about to be published. They may have been.
    pub pending_calculated: Option<PendingValues>,
    /// When the erasure of the record was requested. Nothing is published of it any more.
    pub erased_at: Option<DateTime>,
}

/// A change of associations that is about to be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingAssociations {
    /// A digest of the associations.
    pub digest: String,
    /// When they were first seen.
    pub seen_at: DateTime,
}

/// Values of calculated properties that are about to be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingValues {
    /// A digest of the values.
    pub digest: String,
    /// When they were first seen.
    pub seen_at: DateTime,
}

impl PendingValues {
    /// The digest of values that were about to be published several times, and not as the same ones.
    pub const SEVERAL: &'static str = "several";
}

impl LedgerEntry {
    /// Returns true if an action of the record may have been published.
    pub fn may_be_published(&self) -> bool {
        self.begun || self.at.is_some()
    }

    /// Returns true if the record was published, and is neither deleted, merged away nor erased.
    pub fn is_live(&self) -> bool {
        self.at.is_some() && self.into.is_none() && self.erased_at.is_none() && self.gone_since().is_none()
    }

    /// Returns true if associations with this digest are to be published: others were published last, or may have been.
    pub fn differs_in_associations(&self, digest: &str) -> bool {
        self.associations_digest.as_deref() != Some(digest) || self.pending_associations.is_some()
    }

    /// Returns true if values of calculated properties with this digest are to be published: others were published last,
    /// or may have been. The digest of no values is empty.
    pub fn differs_in_values(&self, digest: &str) -> bool {
        self.calculated_digest.as_deref().unwrap_or_default() != digest || self.pending_calculated.is_some()
    }

    /// Returns when the record was deleted or merged away. Returns `None` if it was not, or if a later state was
    /// published.
    pub fn gone_since(&self) -> Option<DateTime> {
        self.gone_at.filter(|gone_at| self.at.is_none_or(|at| at <= *gone_at))
    }
}

/// Returns a condition on `_id` for all records of one object type of an account. Domain ids may contain colons, so
/// keys of other accounts may begin alike. But only in this account's keys the rest is a record id.
pub fn records_of(account: &AccountKey, object: ObjectType) -> Document {
    let prefix = format!("{account}:{object}:");
    // `;` is the character after `:`. All characters of a prefix are of one byte.
    let end = format!("{account}:{object};");
    let id_alone = format!("^.{{{}}}[0-9]+$", prefix.len());
    doc! { "$gte": prefix, "$lt": end, "$regex": id_alone }
}

impl Store {
    /// Returns what was published of each record. Records without an entry are omitted.
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

    /// Returns at most `count` of an account's records of one object type with their entries, in the order of their
    /// keys, from the one after `after` on.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn seen_after(
        &self,
        account: &AccountKey,
        object: ObjectType,
        after: Option<&RecordId>,
        count: i64,
    ) -> Result<Vec<(RecordId, LedgerEntry)>, Error> {
        let mut keys = records_of(account, object);
        if let Some(after) = after {
            keys.insert("$gt", record_key(account, object, after));
        }
        let prefix = format!("{account}:{object}:");
        let seen = self.database.collection::<Document>(collection::SEEN);
        let found = seen.find(doc! { "_id": keys }).sort(doc! { "_id": 1 }).limit(count).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let read = |entry: Document| {
            let record = entry.get_str("_id").ok()?.strip_prefix(&prefix)?.to_owned();
            Some((RecordId::try_from(record).ok()?, entry))
        };
        let decoded = |(record, entry)| Ok((record, deserialize_from_document(entry)?));
        found.into_iter().filter_map(read).map(decoded).collect()
    }

    /// Stores what was published of records. Only the fields that are set are changed, and no time moves back.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses a write.
    pub async fn mark_seen(
        &self,
        account: &AccountKey,
        object: ObjectType,
        records: &[(RecordId, LedgerEntry)],
    ) -> Result<(), StoreError> {
        let mut pending: Vec<&(RecordId, LedgerEntry)> = records.iter().collect();
        // Two upserts of one new document may collide if a lease has expired. Then the document exists, and the second
        // try updates it.
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

/// Returns the upsert that writes the fields that are set to a record's entry.
fn upsert(
    account: &AccountKey,
    object: ObjectType,
    (record, seen): &(RecordId, LedgerEntry),
) -> Result<bulk::Write, Error> {
    let times = [("at", seen.at), ("goneAt", seen.gone_at), ("propertiesAt", seen.properties_at)];
    let times: Document = times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), time?.into()))).collect();
    let (mut set, mut unset) = (Document::new(), Document::new());
    if seen.begun {
        set.insert("begun", true);
    } else if seen.at.is_some() {
        unset.insert("begun", "");
    }
    if let Some(into) = &seen.into {
        set.insert("into", into.as_str());
    }
    if let Some(pending) = &seen.pending_associations {
        set.insert("pendingAssociations", serialize_to_bson(pending)?);
    } else if let Some(digest) = &seen.associations_digest {
        set.insert("associationsDigest", digest);
        unset.insert("pendingAssociations", "");
    }
    if let Some(pending) = &seen.pending_calculated {
        set.insert("pendingCalculated", serialize_to_bson(pending)?);
    } else if let Some(digest) = &seen.calculated_digest {
        if digest.is_empty() {
            unset.insert("calculatedDigest", "");
        } else {
            set.insert("calculatedDigest", digest);
        }
        unset.insert("pendingCalculated", "");
    }
    let parts = [("$set", set), ("$unset", unset), ("$max", times)];
    let update: Document = parts
        .into_iter()
        .filter(|(_, fields)| !fields.is_empty())
        .map(|(name, fields)| (name.to_owned(), fields.into()))
        .collect();
    bulk::upsert(&doc! { "_id": record_key(account, object, record) }, &update)
}
