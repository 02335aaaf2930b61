//! The product's Domains (collection `domains`). The service reads their HubSpot accounts, and writes a few fields of
//! one account entry at a time. It changes nothing else in the document.

use model::{
    account::{self, Account, AccountKey, Unusable},
    ids::HubId,
    object::ObjectType,
    time::DateTime,
};
use mongodb::{
    Cursor,
    bson::{Bson, Document, doc},
    error::Error,
};
use secrecy::{ExposeSecret, SecretString};

use super::{SealedTokens, Store, collection};

/// The field of a Domain that holds its accounts.
pub(super) const ACCOUNTS: &str = "integrations.hubspot.accounts";

impl Store {
    /// Returns the Domains whose HubSpot integration is on, ordered by `_id`, starting after `after`.
    ///
    /// # Errors
    /// MongoDB cannot be reached, at once or while the stream is read.
    pub async fn domains_after(&self, after: Option<&Bson>) -> Result<Cursor<Document>, Error> {
        let mut filter = doc! { "integrations.hubspot.status": true };
        if let Some(after) = after {
            // `$gt` alone compares only values of one type, and ids may be of two.
            filter.insert("$expr", doc! { "$gt": ["$_id", { "$literal": after }] });
        }
        let domains = self.database.collection::<Document>(collection::DOMAINS);
        let fields = doc! { "integrations.hubspot.status": 1, ACCOUNTS: 1 };
        domains.find(filter).sort(doc! { "_id": 1 }).projection(fields).batch_size(1000).await
    }

    /// Returns one account from its Domain. Returns `None` if there is no such Domain, if its integration is switched
    /// off, or if it has no such account.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn account(&self, key: &AccountKey) -> Result<Option<Result<Account, Unusable>>, Error> {
        let filter = doc! { "_id": { "$in": key.domain_id.bson_forms() } };
        let domains = self.database.collection::<Document>(collection::DOMAINS);
        let fields = doc! { "integrations.hubspot.status": 1, ACCOUNTS: own_entry(&key.hub_id) };
        let found = domains.find_one(filter).projection(fields).await?;
        let accounts = found.map(|domain| account::accounts(&domain)).unwrap_or_default();
        Ok(accounts.into_iter().find(|account| !matches!(account, Err(Unusable::Duplicate(_)))))
    }

    /// Replaces `stored` with `sealed`, unless the field has changed in the meantime.
    pub async fn replace_token(&self, key: &AccountKey, name: &str, stored: &str, sealed: &str) -> Result<bool, Error> {
        self.update_account(key, doc! { format!("a.{name}"): stored }, doc! { "$set": { field(name): sealed } }).await
    }

    /// Stores refreshed tokens. Returns `false` if the account was connected again in the meantime. The tokens must
    /// then not be used.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn store_tokens(&self, key: &AccountKey, used: &SecretString, new: &SealedTokens) -> Result<bool, Error> {
        let set = doc! {
            field("accessToken"): &new.access_token,
            field("refreshToken"): &new.refresh_token,
            field("expiresAt"): new.expires_at,
        };
        self.update_account(key, doc! { "a.refreshToken": used.expose_secret() }, doc! { "$set": set }).await
    }

    /// Records that an access token is not valid any more, so that the next slice refreshes it. `used` is the token in
    /// stored form.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn expire_token(&self, key: &AccountKey, used: &SecretString) -> Result<bool, Error> {
        let expired = doc! { "$set": { field("expiresAt"): DateTime::from_millis(0) } };
        self.update_account(key, doc! { "a.accessToken": used.expose_secret() }, expired).await
    }

    /// Pauses or resumes an account. A paused account makes no requests to HubSpot. Returns `false` if there is no such
    /// account, or if nothing changed.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn pause(&self, key: &AccountKey, paused: bool) -> Result<bool, Error> {
        let (entry, update) = if paused {
            (doc! { "a.pausedAt": null }, doc! { "$set": { field("pausedAt"): DateTime::now() } })
        } else {
            (doc! { "a.pausedAt": { "$ne": null } }, doc! { "$unset": { field("pausedAt"): "" } })
        };
        let is_changed = self.update_account(key, entry, update).await?;
        if !paused {
            self.look_soon(key).await?;
        }
        Ok(is_changed)
    }

    /// Writes how far lanes have been read into the Domain, for others who read it there. Dates never move back.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn write_back(&self, key: &AccountKey, pulled: &[(ObjectType, DateTime)]) -> Result<(), Error> {
        if pulled.is_empty() {
            return Ok(());
        }
        let dates: Document = pulled
            .iter()
            .map(|(object, date)| (field(&format!("lastPulledDates.{object}")), Bson::DateTime(*date)))
            .collect();
        self.update_account(key, doc! {}, doc! { "$max": dates }).await?;
        Ok(())
    }

    /// Updates the account's entry if it matches the conditions of `entry`. If a portal has several entries, each
    /// matching one is updated: a token belongs to the entry that is used, and a pause applies to all of them.
    pub(super) async fn update_account(
        &self,
        key: &AccountKey,
        entry: Document,
        update: Document,
    ) -> Result<bool, Error> {
        let domains = self.database.collection::<Document>(collection::DOMAINS);
        let mut condition = hub("a.hubId", &key.hub_id);
        condition.extend(entry);
        let mut filter = hub(&format!("{ACCOUNTS}.hubId"), &key.hub_id);
        filter.insert("_id", doc! { "$in": key.domain_id.bson_forms() });
        let updated = domains.update_one(filter, update).array_filters([condition]).await?;
        Ok(updated.modified_count > 0)
    }
}

/// Projects only this account's entry. The others may be malformed, and their tokens are not needed.
pub(super) fn own_entry(hub: &HubId) -> Document {
    let own = doc! { "$in": ["$$entry.hubId", hub.bson_forms()] };
    doc! { "$filter": { "input": entries(), "as": "entry", "cond": own } }
}

/// Projects a Domain's accounts, if they are an array.
pub(super) fn entries() -> Document {
    let path = format!("${ACCOUNTS}");
    doc! { "$cond": [{ "$isArray": &path }, &path, []] }
}

/// Returns the entries of a Domain's accounts that are documents, in stored form.
pub(super) fn entries_of(domain: &Document) -> impl Iterator<Item = &Document> {
    let hubspot = domain.get_document("integrations").and_then(|all| all.get_document("hubspot"));
    let entries = hubspot.and_then(|hubspot| hubspot.get_array("accounts")).map(Vec::as_slice);
    entries.unwrap_or_default().iter().filter_map(Bson::as_document)
}

/// Returns the condition that a field is this portal's id.
pub(super) fn hub(name: &str, hub: &HubId) -> Document {
    doc! { name: { "$in": hub.bson_forms() } }
}

/// Returns a field of the account entry that the array filter `a` selects.
pub(super) fn field(name: &str) -> String {
    format!("{ACCOUNTS}.$[a].{name}")
}
