//! Erases accounts: everything that is stored of them in any collection, except their own erasures. The caller removes the
//! account's entry from its Domain first, so that nothing reads it again.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use model::{
    account::AccountKey,
    ids::{DomainId, HubId},
    object::ObjectType,
    reference::Source,
};
use mongodb::{
    bson::{Bson, Document, doc},
    error::Error,
};

use super::{
    super::{
        Store, collection,
        domains::{ACCOUNTS, entries_of, hub},
        seen::records_of,
    },
    record::own,
};

/// The part of a Domain that is about HubSpot.
const INTEGRATION: &str = "integrations.hubspot";

/// The collections whose documents name their account in `domainId` and `hubId`.
const WITH_OWN_FIELDS: [&str; 4] =
    [collection::ACTIONS, collection::SET_ASIDE, collection::ASSOCIATION_CHECKS, collection::CONNECTS];

impl Store {
    /// Deletes everything that is stored of an account. Returns false, and does nothing, if its Domain has an entry of it:
    /// it was connected again.
    pub(super) async fn erase_account(&self, account: &AccountKey) -> Result<bool, Error> {
        if self.has_entry(account).await? {
            return Ok(false);
        }
        let key = account.to_string();
        for name in WITH_OWN_FIELDS {
            self.collection(name).delete_many(own(account)).await?;
        }
        for name in Source::COLLECTIONS.into_iter().chain([collection::REFERENCES]) {
            self.collection(name).delete_many(own(account)).await?;
        }
        let names = self.database.list_collection_names().await?;
        for object in names.iter().filter_map(|name| ObjectType::of_collection(name)) {
            self.collection(&object.collection()).delete_many(own(account)).await?;
            for name in [collection::SEEN, collection::ERASURES] {
                self.collection(name).delete_many(doc! { "_id": records_of(account, object) }).await?;
            }
        }
        let notified = ["changes", "deletions"].map(|kind| format!("{key}/{kind}"));
        let portal = doc! { "_id": account.hub_id.as_str(), "domainId": account.domain_id.as_str() };
        // The reasons of failures name the account between two spaces.
        let named = doc! { "$indexOfCP": ["$reason", { "$literal": format!(" {key} ") }] };
        let others = [
            (collection::CHECKPOINTS, doc! { "_id": &key }),
            (collection::TIMELINE, doc! { "account": &key }),
            (collection::NOTIFICATIONS, doc! { "_id": { "$in": notified.to_vec() } }),
            (collection::PORTALS, portal),
            (collection::FAILURES, doc! { "reason": { "$type": "string" }, "$expr": { "$gte": [named, 0] } }),
        ];
        for (name, of) in others {
            self.collection(name).delete_many(of).await?;
        }
        let rejected = doc! { "$pull": { "accounts": own(account) } };
        self.collection(collection::REJECTIONS).update_many(doc! {}, rejected).await?;
        Ok(true)
    }

    /// Returns true if the account's Domain has an entry of it, in any state.
    pub(super) async fn has_entry(&self, account: &AccountKey) -> Result<bool, Error> {
        let mut of = hub(&format!("{ACCOUNTS}.hubId"), &account.hub_id);
        of.insert("_id", doc! { "$in": account.domain_id.bson_forms() });
        let found = self.collection(collection::DOMAINS).find_one(of).projection(doc! { "_id": 1 }).await?;
        Ok(found.is_some())
    }

    /// Removes an account's entries, with their tokens, from its Domain. Their grants are not revoked.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn remove_account(&self, account: &AccountKey) -> Result<(), Error> {
        let of = doc! { "_id": { "$in": account.domain_id.bson_forms() }, ACCOUNTS: { "$type": "array" } };
        let pull = doc! { "$pull": { ACCOUNTS: hub("hubId", &account.hub_id) } };
        self.collection(collection::DOMAINS).update_many(of, pull).await?;
        Ok(())
    }

    /// Removes everything about HubSpot from a Domain, and its attempts to connect an account. Links that were revoked stay
    /// so.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn remove_integration(&self, domain: &DomainId) -> Result<(), Error> {
        let of = doc! { "_id": { "$in": domain.bson_forms() } };
        self.collection(collection::DOMAINS).update_many(of, doc! { "$unset": { INTEGRATION: "" } }).await?;
        self.collection(collection::CONNECTS).delete_many(doc! { "domainId": domain.as_str() }).await?;
        Ok(())
    }

    /// Returns all accounts of a Domain that it has, or of which anything is stored.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn accounts_of_domain(&self, domain: &DomainId) -> Result<BTreeSet<AccountKey>, Error> {
        let mut hubs: Vec<Bson> = Vec::new();
        let of = doc! { "_id": { "$in": domain.bson_forms() } };
        let found = self.collection(collection::DOMAINS).find(of).projection(doc! { ACCOUNTS: 1 }).await?;
        let found: Vec<Document> = found.try_collect().await?;
        hubs.extend(found.iter().flat_map(entries_of).filter_map(|entry| entry.get("hubId").cloned()));
        for name in WITH_OWN_FIELDS {
            hubs.extend(self.collection(name).distinct("hubId", doc! { "domainId": domain.as_str() }).await?);
        }
        hubs.extend(self.collection(collection::PORTALS).distinct("_id", doc! { "domainId": domain.as_str() }).await?);
        let (start, end) = (format!("{domain}:"), format!("{domain};"));
        let checkpoints = doc! { "_id": { "$gte": &start, "$lt": end } };
        let checkpoints =
            self.collection(collection::CHECKPOINTS).find(checkpoints).projection(doc! { "_id": 1 }).await?;
        let checkpoints: Vec<Document> = checkpoints.try_collect().await?;
        // What is left of another Domain's key, whose id begins alike, is no portal's id.
        let rest = |checkpoint: &Document| Some(Bson::from(checkpoint.get_str("_id").ok()?.strip_prefix(&start)?));
        hubs.extend(checkpoints.iter().filter_map(rest));
        let key = |hub_id| AccountKey { domain_id: domain.clone(), hub_id };
        Ok(hubs.iter().filter_map(|hub| HubId::from_bson(hub).ok()).map(key).collect())
    }
}
