//! Grants that are to be revoked: the entry of a disconnected account keeps its tokens for that, and loses them
//! afterwards. `revocation` holds the time of the next try.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use model::{
    account::{AccountKey, DISCONNECTED},
    ids::{DomainId, HubId},
    time::DateTime,
};
use mongodb::{
    bson::{Bson, Document, doc},
    error::Error,
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    SealedTokens, Store, collection,
    domains::{ACCOUNTS, entries_of, field, hub, own_entry},
};

/// The fields that are deleted of a disconnected account with nothing left to revoke.
const GRANT_FIELDS: [&str; 5] = ["accessToken", "refreshToken", "expiresAt", "connectedWith", "revocation"];

/// A grant that is to be revoked. Its tokens are in stored form.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// The refresh token.
    pub refresh_token: SecretString,
    /// The last access token.
    pub access_token: Option<SecretString>,
    /// The client id of the grant's OAuth app, if known.
    pub connected_with: Option<String>,
    /// When the access token expires.
    pub expires_at: Option<DateTime>,
    /// When the account was disconnected.
    pub since: DateTime,
    /// The number of tries so far.
    pub tries: i32,
    /// When it is tried next.
    pub retry_at: DateTime,
}

impl Store {
    /// Marks an account as disconnected. Every entry of the portal that has a grant keeps its tokens, so that the grant
    /// can be revoked, from `retry_at` at the latest. All other entries lose them. Returns false if there is no such
    /// account, or if it was disconnected before.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn disconnect(&self, account: &AccountKey, retry_at: DateTime) -> Result<bool, Error> {
        let set = doc! { field("state"): DISCONNECTED, field("stateAt"): DateTime::now() };
        let unset = |names: &[&str]| -> Document { names.iter().map(|name| (field(name), Bson::from(""))).collect() };
        let mark = ["stateReason", "stateTriedAt"];
        let live = doc! { "a.state": { "$ne": DISCONNECTED } };
        let mut granted = live.clone();
        granted.insert("a.refreshToken", doc! { "$gt": "" });
        let mut pending = set.clone();
        pending.insert(field("revocation"), doc! { "tries": 0, "retryAt": retry_at });
        let owes = self.update_account(account, granted, doc! { "$set": pending, "$unset": unset(&mark) }).await?;
        let all = unset(&[&mark[..], &GRANT_FIELDS].concat());
        let done = self.update_account(account, live, doc! { "$set": set, "$unset": all }).await? || owes;
        if done {
            self.release_claim(account).await?;
            // The sync function revokes the grants, and it does nothing while all lanes wait.
            self.clear_lane_errors(account).await?;
        }
        Ok(done)
    }

    /// Returns the grants of an account that are to be revoked, due or not.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn revocations(&self, account: &AccountKey) -> Result<Vec<Revocation>, Error> {
        let fields = doc! { ACCOUNTS: own_entry(&account.hub_id) };
        let of = doc! { "_id": { "$in": account.domain_id.bson_forms() } };
        let found = self.collection(collection::DOMAINS).find_one(of).projection(fields).await?;
        Ok(found.iter().flat_map(entries_of).filter_map(revocation).collect())
    }

    /// Returns the accounts with a grant that is to be revoked by `now`, no matter if their Domain's integration is on.
    /// Leaves out accounts whose Domain has another entry of the portal that is not disconnected.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn accounts_with_revocations(&self, now: DateTime) -> Result<Vec<AccountKey>, Error> {
        const RETRY_AT: &str = "integrations.hubspot.accounts.revocation.retryAt";
        let domains = self.collection(collection::DOMAINS);
        let found = domains.find(doc! { RETRY_AT: { "$lte": now } }).projection(doc! { ACCOUNTS: 1 }).await?;
        let domains: Vec<Document> = found.try_collect().await?;
        let mut due: Vec<AccountKey> = Vec::new();
        for domain in &domains {
            let Some(Ok(domain_id)) = domain.get("_id").map(DomainId::from_bson) else { continue };
            let is_due = |entry: &&Document| revocation(entry).is_some_and(|revocation| revocation.retry_at <= now);
            let is_live = |entry: &&Document| !is_disconnected(entry);
            let live: BTreeSet<HubId> = entries_of(domain).filter(is_live).filter_map(hub_id).collect();
            let owed: BTreeSet<HubId> = entries_of(domain).filter(is_due).filter_map(hub_id).collect();
            due.extend(
                owed.difference(&live).cloned().map(|hub_id| AccountKey { domain_id: domain_id.clone(), hub_id }),
            );
        }
        Ok(due)
    }

    /// Returns true if any Domain has an entry of this portal that is not disconnected.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn is_live(&self, hub_id: &HubId) -> Result<bool, Error> {
        let mut live = hub("hubId", hub_id);
        live.insert("state", doc! { "$ne": DISCONNECTED });
        let of = doc! { ACCOUNTS: { "$elemMatch": live } };
        Ok(self.collection(collection::DOMAINS).find_one(of).projection(doc! { "_id": 1 }).await?.is_some())
    }

    /// Records that a grant is about to be tried, and when it is tried next if that fails.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn postpone_revocation(
        &self,
        account: &AccountKey,
        revocation: &Revocation,
        retry_at: DateTime,
    ) -> Result<bool, Error> {
        let set = doc! { field("revocation"): { "tries": revocation.tries.saturating_add(1), "retryAt": retry_at } };
        self.update_account(account, pending(&revocation.refresh_token), doc! { "$set": set }).await
    }

    /// Stores HubSpot's new tokens for a grant that is to be revoked, so that the new ones are revoked.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn renew_revocation(
        &self,
        account: &AccountKey,
        used: &SecretString,
        new: &SealedTokens,
    ) -> Result<bool, Error> {
        let set = doc! {
            field("accessToken"): &new.access_token,
            field("refreshToken"): &new.refresh_token,
            field("expiresAt"): new.expires_at,
        };
        self.update_account(account, pending(used), doc! { "$set": set }).await
    }

    /// Deletes the tokens of a grant that was revoked, or never will be.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn forget_grant(&self, account: &AccountKey, refresh_token: &SecretString) -> Result<bool, Error> {
        let unset: Document = GRANT_FIELDS.iter().map(|name| (field(name), Bson::from(""))).collect();
        self.update_account(account, pending(refresh_token), doc! { "$unset": unset }).await
    }

    /// Deletes the pending revocations that other Domains have for this portal: HubSpot returns the same grant again,
    /// and it now belongs to this account.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub(super) async fn take_grants_over(&self, account: &AccountKey) -> Result<(), Error> {
        let mut owed = hub("hubId", &account.hub_id);
        owed.insert("revocation", doc! { "$exists": true });
        let others = doc! { "_id": { "$nin": account.domain_id.bson_forms() }, ACCOUNTS: { "$elemMatch": owed } };
        let mut entry = hub("a.hubId", &account.hub_id);
        entry.insert("a.revocation", doc! { "$exists": true });
        let unset: Document = GRANT_FIELDS.iter().map(|name| (field(name), Bson::from(""))).collect();
        self.collection(collection::DOMAINS)
            .update_many(others, doc! { "$unset": unset })
            .array_filters([entry])
            .await?;
        Ok(())
    }
}

/// Returns the condition for the entry with this pending grant.
fn pending(refresh_token: &SecretString) -> Document {
    doc! { "a.state": DISCONNECTED, "a.revocation": { "$exists": true }, "a.refreshToken": refresh_token.expose_secret() }
}

fn hub_id(entry: &Document) -> Option<HubId> {
    HubId::from_bson(entry.get("hubId")?).ok()
}

fn revocation(entry: &Document) -> Option<Revocation> {
    let owed = entry.get_document("revocation").ok().filter(|_| is_disconnected(entry))?;
    let secret = |name: &str| entry.get_str(name).ok().filter(|text| !text.is_empty()).map(SecretString::from);
    let at = |of: &Document, name: &str| of.get_datetime(name).ok().copied();
    Some(Revocation {
        refresh_token: secret("refreshToken")?,
        access_token: secret("accessToken"),
        connected_with: entry.get_str("connectedWith").ok().map(str::to_owned),
        expires_at: at(entry, "expiresAt"),
        since: at(entry, "stateAt").unwrap_or(DateTime::MIN),
        tries: owed.get_i32("tries").unwrap_or_default(),
        retry_at: at(owed, "retryAt").unwrap_or(DateTime::MIN),
    })
}

fn is_disconnected(entry: &Document) -> bool {
    entry.get_str("state").is_ok_and(|state| state == DISCONNECTED)
}
