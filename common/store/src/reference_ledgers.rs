//! Sync's ledgers of reference data (collection `references`): what was published of each list of an account, and when
//! the list is read next.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;
use model::{
    account::AccountKey,
    choice::CustomObject,
    object::ObjectType,
    reference::{Ledger, Source},
    time::DateTime,
};
use mongodb::{
    bson::{Document, deserialize_from_document, doc, serialize_to_bson, serialize_to_document},
    error::Error,
};

use super::{Leased, Store, StoreError, checkpoints::is_duplicate_key, collection};

impl Store {
    /// Returns when each list of an account is read next. A list that was never read has none.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn reference_due_times(&self, account: &AccountKey) -> Result<BTreeMap<Source, DateTime>, Error> {
        let lists = self.collection(collection::REFERENCES);
        let found = lists.find(lists_of(account)).projection(doc! { "dueAt": 1, "source": 1 }).await?;
        let found: Vec<Document> = found.try_collect().await?;
        // A later release may know other lists, and this one may have taken over again.
        let due = |ledger: &Document| {
            let source = Source::try_from(ledger.get_str("source").ok()?.to_owned()).ok()?;
            Some((source, *ledger.get_datetime("dueAt").ok()?))
        };
        Ok(found.iter().filter_map(due).collect())
    }

    /// Returns the ledger of a list. It is empty if the list was never read.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or the ledger cannot be parsed.
    pub async fn reference_ledger(&self, account: &AccountKey, source: Source) -> Result<Ledger, Error> {
        let of = doc! { "_id": source.key(account) };
        let found = self.collection(collection::REFERENCES).find_one(of).await?;
        Ok(found.map(deserialize_from_document).transpose()?.unwrap_or_default())
    }

    /// Returns the ledgers of these lists. Lists that were never read are omitted.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or a ledger cannot be parsed.
    pub async fn reference_ledgers(
        &self,
        account: &AccountKey,
        sources: impl Iterator<Item = Source>,
    ) -> Result<BTreeMap<Source, Ledger>, Error> {
        let sources: HashMap<String, Source> = sources.map(|source| (source.key(account), source)).collect();
        let keys: Vec<&String> = sources.keys().collect();
        let found = self.collection(collection::REFERENCES).find(doc! { "_id": { "$in": keys } }).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let read = |ledger: Document| {
            let source = sources.get(ledger.get_str("_id").ok()?).copied()?;
            Some(deserialize_from_document(ledger).map(|ledger| (source, ledger)).map_err(Error::from))
        };
        found.into_iter().filter_map(read).collect()
    }

    /// Saves the ledger of a list, and counts that. Returns false, and saves nothing, if another slice has saved it since it
    /// was loaded: a slice that was frozen must not take back what others have published.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses the ledger.
    pub async fn save_reference_ledger(
        &self,
        account: &AccountKey,
        source: Source,
        ledger: &mut Ledger,
    ) -> Result<bool, Error> {
        let loaded = doc! { "_id": source.key(account), "saves": ledger.saves };
        ledger.saves += 1;
        let mut document = serialize_to_document(ledger)?;
        let (domain, hub) = (account.domain_id.as_str(), account.hub_id.as_str());
        document.extend(doc! { "domainId": domain, "hubId": hub, "source": source.to_string() });
        let is_new = ledger.saves == 1;
        let saved = self.collection(collection::REFERENCES).replace_one(loaded, document).upsert(is_new).await;
        match saved {
            Ok(saved) => Ok(saved.matched_count == 1 || saved.upserted_id.is_some()),
            Err(error) if is_duplicate_key(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Saves when reference data about these object types is read next.
    ///
    /// # Errors
    /// The lease was lost, or MongoDB cannot be reached.
    pub async fn save_references_due(
        &self,
        leased: &Leased,
        due_at: DateTime,
        objects: impl Iterator<Item = &ObjectType>,
    ) -> Result<(), StoreError> {
        let of: Vec<&str> = objects.map(ObjectType::as_str).collect();
        self.write(leased, doc! { "$set": { "referencesDueAt": due_at, "referencesOf": of } }).await
    }

    /// Saves the custom objects of the account.
    ///
    /// # Errors
    /// The lease was lost, or MongoDB cannot be reached.
    pub async fn save_custom_objects(&self, leased: &Leased, custom: &[CustomObject]) -> Result<(), StoreError> {
        let custom = serialize_to_bson(custom).map_err(Error::from)?;
        self.write(leased, doc! { "$set": { "customObjects": custom } }).await
    }

    /// Makes the lists due that could not be read, because the account has a new grant.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub(super) async fn retry_references(&self, account: &AccountKey) -> Result<(), Error> {
        let mut failed = lists_of(account);
        failed.insert("failure", doc! { "$type": "string" });
        let lists = self.collection(collection::REFERENCES);
        lists.update_many(failed, doc! { "$unset": { "dueAt": "" } }).await?;
        Ok(())
    }
}

/// Returns a condition for the lists of an account. Domain ids may contain colons, so that keys of other accounts may begin
/// alike. Only this account's documents have its ids.
fn lists_of(account: &AccountKey) -> Document {
    // `;` is the character after `:`.
    let keys = doc! { "$gte": format!("{account}:"), "$lt": format!("{account};") };
    doc! { "_id": keys, "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str() }
}
