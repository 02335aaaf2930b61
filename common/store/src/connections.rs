//! Connecting accounts: the customers on HubSpot's consent page (collection `connects`), the Domain that a portal was
//! connected to (collection `portals`), and the account's entry in its Domain.

use std::{collections::BTreeSet, time::Duration};

use futures::TryStreamExt;
use model::{
    account::{self, AccountKey, DISCONNECTED},
    choice::Choice,
    ids::{DomainId, HubId},
    time::{self, DateTime},
};
use mongodb::{
    bson::{Bson, Document, doc},
    error::Error,
};
use serde::{Deserialize, Serialize};

use super::{
    SealedTokens, Store,
    checkpoints::is_duplicate_key,
    collection,
    domains::{ACCOUNTS, entries, entries_of, field, own_entry},
    marks::mark_fields,
};

/// How long a claim without an account is honoured. Longer than connecting takes.
const CLAIM_TTL: Duration = Duration::from_secs(60);

/// A customer who is on HubSpot's consent page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingConnect {
    /// The Domain to which the account will be connected.
    pub domain_id: DomainId,
    /// The PKCE challenge. Only the browser has the verifier, which proves that the same browser comes back.
    pub challenge: String,
    /// When the attempt expires.
    pub expires_at: DateTime,
    /// The portal that the link is for. `None` if the link is for any portal.
    #[serde(default)]
    pub hub_id: Option<HubId>,
    /// The hash of the link and its expiry. The link may be revoked in the meantime.
    #[serde(default)]
    pub link: Option<(String, DateTime)>,
}

/// The most customers of a Domain on the consent page at a time. Whoever has a link may begin any number of attempts.
const MAX_PENDING_CONNECTS: u64 = 20;

/// The result of claiming a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The Domain may have the portal.
    Granted,
    /// Another Domain has the portal.
    Taken,
}

/// The result of connecting an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    /// The account is stored.
    Stored,
    /// There is no such Domain.
    NoDomain,
    /// The Domain's integration is switched off. Connecting would switch it on for its other accounts, too.
    SwitchedOff,
}

const INTEGRATION_STATUS: &str = "integrations.hubspot.status";

impl Store {
    /// Stores a customer who was sent to HubSpot's consent page, under a hash of the state that comes back. If the
    /// Domain has many, deletes the oldest.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn begin_connect(&self, state_hash: &str, pending: &PendingConnect) -> Result<(), Error> {
        let domain = pending.domain_id.as_str();
        let pending = doc! {
            "_id": state_hash,
            "domainId": domain,
            "hubId": pending.hub_id.as_ref().map(HubId::as_str),
            "challenge": &pending.challenge,
            "link": pending.link.as_ref().map(|(hash, ends)| mongodb::bson::bson!([hash, ends])),
            "expiresAt": pending.expires_at,
        };
        let connects = self.collection(collection::CONNECTS);
        connects.insert_one(pending).await?;
        let older =
            connects.find(doc! { "domainId": domain }).sort(doc! { "expiresAt": -1 }).skip(MAX_PENDING_CONNECTS);
        let older: Vec<Document> = older.projection(doc! { "_id": 1 }).await?.try_collect().await?;
        let older: Vec<Bson> = older.into_iter().filter_map(|mut pending| pending.remove("_id")).collect();
        if !older.is_empty() {
            connects.delete_many(doc! { "_id": { "$in": older } }).await?;
        }
        Ok(())
    }

    /// Returns the customer with that state, and deletes the entry, so that a second call returns `None`.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn take_connect(&self, state_hash: &str) -> Result<Option<PendingConnect>, Error> {
        let pending = self.database.collection::<PendingConnect>(collection::CONNECTS);
        let found = pending.find_one_and_delete(doc! { "_id": state_hash }).await?;
        Ok(found.filter(|pending| pending.expires_at > DateTime::now()))
    }

    /// Returns the name of a Domain's company, or its id if it has no name. Returns `None` if there is no such Domain.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn domain_name(&self, domain: &DomainId) -> Result<Option<String>, Error> {
        let domains = self.collection(collection::DOMAINS);
        let fields = doc! { "company.name": 1 };
        let found = domains.find_one(doc! { "_id": { "$in": domain.bson_forms() } }).projection(fields).await?;
        Ok(found.map(|found| company_name(&found).unwrap_or_else(|| domain.to_string())))
    }

    /// Returns what the entries of a Domain choose for themselves: the entry of `portal`, or all entries. Accounts that are not
    /// connected yet, or not any more, are among them.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn choices(&self, domain: &DomainId, portal: Option<&HubId>) -> Result<Vec<Choice>, Error> {
        let fields = doc! { ACCOUNTS: portal.map_or_else(entries, own_entry) };
        let of = doc! { "_id": { "$in": domain.bson_forms() } };
        let found = self.collection(collection::DOMAINS).find_one(of).projection(fields).await?;
        Ok(found.iter().flat_map(entries_of).map(Choice::of_entry).collect())
    }

    /// Returns true if the integration of a Domain with connected accounts was switched off. Whoever has a link must
    /// not switch all of its accounts on again.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn is_switched_off(&self, domain: &DomainId) -> Result<bool, Error> {
        let mut filter = switched_off();
        filter.insert("_id", doc! { "$in": domain.bson_forms() });
        let found = self.collection(collection::DOMAINS).find_one(filter).projection(doc! { "_id": 1 }).await?;
        Ok(found.is_some())
    }

    /// Claims a portal for a Domain, so that no two Domains ever read one portal. A claim without a connected account
    /// can be taken over.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn claim(&self, account: &AccountKey) -> Result<Claim, Error> {
        let AccountKey { domain_id, hub_id } = account;
        if self.is_connected_elsewhere(account).await? {
            return Ok(Claim::Taken);
        }
        let portals = self.collection(collection::PORTALS);
        let (now, set) = (DateTime::now(), doc! { "domainId": domain_id.as_str(), "at": DateTime::now() });
        let ours = doc! { "domainId": domain_id.as_str() };
        let old = doc! { "at": { "$lt": time::before(now, CLAIM_TTL) } };
        let free = doc! { "_id": hub_id.as_str(), "$or": [ours, old] };
        match portals.update_one(free, doc! { "$set": set }).upsert(true).await {
            Ok(_) => Ok(Claim::Granted),
            // There is a claim of another Domain, and it is recent.
            Err(error) if is_duplicate_key(&error) => Ok(Claim::Taken),
            Err(error) => Err(error),
        }
    }

    /// Releases a claim.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn release_claim(&self, account: &AccountKey) -> Result<(), Error> {
        let claim = doc! { "_id": account.hub_id.as_str(), "domainId": account.domain_id.as_str() };
        self.collection(collection::PORTALS).delete_one(claim).await?;
        Ok(())
    }

    async fn is_connected_elsewhere(&self, account: &AccountKey) -> Result<bool, Error> {
        let live = doc! { "hubId": { "$in": account.hub_id.bson_forms() }, "state": { "$ne": DISCONNECTED } };
        let other = doc! { "_id": { "$nin": account.domain_id.bson_forms() }, ACCOUNTS: { "$elemMatch": live } };
        let found = self.collection(collection::DOMAINS).find_one(other).projection(doc! { "_id": 1 }).await?;
        Ok(found.is_some())
    }

    /// Stores a connected account in its Domain, and switches the Domain's integration on. An entry of the same portal
    /// is renewed, otherwise an entry is added. `client_id` is that of the grant's OAuth app.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn connect_account(
        &self,
        account: &AccountKey,
        hub_domain: Option<&str>,
        tokens: &SealedTokens,
        client_id: &str,
    ) -> Result<Connected, Error> {
        let domains = self.collection(collection::DOMAINS);
        let of_domain = doc! { "_id": { "$in": account.domain_id.bson_forms() } };
        let mut entry = doc! {
            "accessToken": &tokens.access_token,
            "refreshToken": &tokens.refresh_token,
            "expiresAt": tokens.expires_at,
            "connectedAt": DateTime::now(),
            "connectedWith": client_id,
        };
        entry.extend(hub_domain.map(|domain| ("hubDomain".to_owned(), Bson::from(domain))));
        let set: Document = entry.iter().map(|(name, value)| (field(name), value.clone())).collect();
        // This comes before the account is stored, which would otherwise count as one that was switched off.
        let mut may_be_on = of_domain.clone();
        may_be_on.insert("$nor", [switched_off()]);
        if domains.update_one(may_be_on, doc! { "$set": { INTEGRATION_STATUS: true } }).await?.matched_count == 0 {
            let is_off = self.is_switched_off(&account.domain_id).await?;
            return Ok(if is_off { Connected::SwitchedOff } else { Connected::NoDomain });
        }
        self.take_grants_over(account).await?;
        let mut unset = mark_fields();
        unset.insert(field("revocation"), "");
        if self.update_account(account, doc! {}, doc! { "$set": set, "$unset": unset }).await? {
            self.clear_lane_errors(account).await?;
            return Ok(Connected::Stored);
        }
        let mut without = of_domain.clone();
        without.insert(ACCOUNTS, Bson::Null);
        domains.update_one(without, doc! { "$set": { ACCOUNTS: [] } }).await?;
        let mut new = of_domain;
        new.insert(format!("{ACCOUNTS}.hubId"), doc! { "$nin": account.hub_id.bson_forms() });
        entry.insert("hubId", account.hub_id.as_str());
        let added = domains.update_one(new, doc! { "$push": { ACCOUNTS: entry } }).await?;
        Ok(if added.matched_count > 0 { Connected::Stored } else { Connected::NoDomain })
    }

    /// Makes lanes and lists ready that wait because of a failure with the former tokens, or from before the account's mark
    /// was removed. Does nothing while a slice is under way.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn clear_lane_errors(&self, account: &AccountKey) -> Result<(), Error> {
        let lane = doc! { "k": "$$lane.k", "v": { "$mergeObjects": ["$$lane.v", { "lastError": null }] } };
        let input = doc! { "$objectToArray": { "$ifNull": ["$lanes", {}] } };
        let lanes = doc! { "$arrayToObject": { "$map": { "input": input, "as": "lane", "in": lane } } };
        // The lease of a slice that was killed stays until the next slice takes it.
        let is_free = doc! { "$lt": [{ "$ifNull": ["$lease.until", DateTime::from_millis(0)] }, "$$NOW"] };
        let idle = doc! { "_id": account.to_string(), "$expr": is_free };
        self.collection(collection::CHECKPOINTS)
            .update_one(idle, vec![doc! { "$set": { "lanes": lanes, "refused": null, "referencesDueAt": null } }])
            .await?;
        self.retry_references(account).await
    }

    /// Returns the live accounts of a portal. There is one, except in Domains that others have written.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn accounts_of(&self, portal: &HubId) -> Result<Vec<AccountKey>, Error> {
        self.accounts_of_portals(&BTreeSet::from([portal])).await
    }

    /// Returns the live accounts of these portals, with one query.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn accounts_of_portals(&self, portals: &BTreeSet<&HubId>) -> Result<Vec<AccountKey>, Error> {
        let ids: Vec<Bson> = portals.iter().flat_map(|portal| portal.bson_forms()).collect();
        let of = doc! { format!("{ACCOUNTS}.hubId"): { "$in": ids }, "integrations.hubspot.status": true };
        let fields = doc! { "integrations.hubspot.status": 1, ACCOUNTS: 1 };
        let domains = self.collection(collection::DOMAINS);
        let found: Vec<Document> = domains.find(of).projection(fields).await?.try_collect().await?;
        let live = found.iter().flat_map(account::accounts).flatten().map(|account| account.key);
        Ok(live.filter(|key| portals.contains(&key.hub_id)).collect())
    }
}

/// Returns a filter for Domains whose integration was switched off, with accounts that would be read again.
fn switched_off() -> Document {
    doc! { INTEGRATION_STATUS: false, ACCOUNTS: { "$elemMatch": { "state": { "$ne": DISCONNECTED } } } }
}

/// Returns the name of a Domain's company.
fn company_name(domain: &Document) -> Option<String> {
    let name = domain.get_document("company").ok()?.get_str("name").ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}
