//! Connecting accounts: who is on HubSpot's consent page (collection `connects`), which Domain a portal was connected
//! to (collection `portals`), and the account's entry in its Domain.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, doc},
    error::Error,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    SealedTokens, Store,
    checkpoints::is_duplicate_key,
    collection,
    domains::{ACCOUNTS, field, hub, own_entry},
};
use crate::{
    account::{self, AccountKey, DISCONNECTED},
    ids::{DomainId, HubId},
    time::{self, DateTime},
};

/// How long a claim holds that no account stands behind yet: longer than it takes to connect one.
const CLAIM: Duration = Duration::from_secs(60);

/// A customer who is on HubSpot's consent page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingConnect {
    /// The Domain for which the account is to be connected.
    pub domain_id: DomainId,
    /// The PKCE challenge; its verifier is with the browser alone, which proves by it that it is the same one.
    pub challenge: String,
    /// Until when the customer may come back.
    pub expires_at: DateTime,
}

/// Whether a Domain may have a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It may.
    Granted,
    /// It is another Domain's.
    Taken,
}

impl Store {
    /// Remembers a customer who was sent to HubSpot's consent page, by a hash of the state that comes back.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn begin_connect(&self, state_hash: &str, pending: &PendingConnect) -> Result<(), Error> {
        let pending = doc! {
            "_id": state_hash,
            "domainId": pending.domain_id.as_str(),
            "challenge": &pending.challenge,
            "expiresAt": pending.expires_at,
        };
        self.collection(collection::CONNECTS).insert_one(pending).await?;
        Ok(())
    }

    /// The customer with that state, once: whoever asks again finds none.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn take_connect(&self, state_hash: &str) -> Result<Option<PendingConnect>, Error> {
        let pending = self.database.collection::<PendingConnect>(collection::CONNECTS);
        let found = pending.find_one_and_delete(doc! { "_id": state_hash }).await?;
        Ok(found.filter(|pending| pending.expires_at > DateTime::now()))
    }

    /// The name of a Domain's company, or its id; nothing where there is no such Domain.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn domain_name(&self, domain: &DomainId) -> Result<Option<String>, Error> {
        let domains = self.collection(collection::DOMAINS);
        let fields = doc! { "company.name": 1 };
        let found = domains.find_one(doc! { "_id": { "$in": domain.bson_forms() } }).projection(fields).await?;
        Ok(found.map(|found| company_name(&found).unwrap_or_else(|| domain.to_string())))
    }

    /// Claims a portal for a Domain, so that no two Domains ever read one. A claim behind which no account stands, any
    /// more or yet, can be taken over.
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
        let old = doc! { "at": { "$lt": time::before(now, CLAIM) } };
        let free = doc! { "_id": hub_id.as_str(), "$or": [ours, old] };
        match portals.update_one(free, doc! { "$set": set }).upsert(true).await {
            Ok(_) => Ok(Claim::Granted),
            // There is a claim, and it is neither ours nor old.
            Err(error) if is_duplicate_key(&error) => Ok(Claim::Taken),
            Err(error) => Err(error),
        }
    }

    async fn is_connected_elsewhere(&self, account: &AccountKey) -> Result<bool, Error> {
        let live = doc! { "hubId": { "$in": account.hub_id.bson_forms() }, "state": { "$ne": DISCONNECTED } };
        let other = doc! { "_id": { "$nin": account.domain_id.bson_forms() }, ACCOUNTS: { "$elemMatch": live } };
        let found = self.collection(collection::DOMAINS).find_one(other).projection(doc! { "_id": 1 }).await?;
        Ok(found.is_some())
    }

    /// Stores a connected account in its Domain, and switches the Domain's integration on. The same portal is renewed,
    /// another one is added. `false` where there is no such Domain.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn connect_account(
        &self,
        account: &AccountKey,
        hub_domain: Option<&str>,
        tokens: &SealedTokens,
    ) -> Result<bool, Error> {
        const STATUS: &str = "integrations.hubspot.status";
        let domains = self.collection(collection::DOMAINS);
        let of_domain = doc! { "_id": { "$in": account.domain_id.bson_forms() } };
        let mut entry = doc! {
            "accessToken": &tokens.access_token,
            "refreshToken": &tokens.refresh_token,
            "expiresAt": tokens.expires_at,
            "connectedAt": DateTime::now(),
        };
        entry.extend(hub_domain.map(|domain| ("hubDomain".to_owned(), Bson::from(domain))));
        let mut set: Document = entry.iter().map(|(name, value)| (field(name), value.clone())).collect();
        set.insert(STATUS, true);
        let unset = doc! { field("state"): "", field("stateReason"): "", field("stateAt"): "" };
        if self.update_account(account, doc! {}, doc! { "$set": set, "$unset": unset }).await? {
            self.retry_lanes(account).await?;
            return Ok(true);
        }
        let mut without = of_domain.clone();
        without.insert(ACCOUNTS, Bson::Null);
        domains.update_one(without, doc! { "$set": { ACCOUNTS: [] } }).await?;
        let mut new = of_domain;
        new.insert(format!("{ACCOUNTS}.hubId"), doc! { "$nin": account.hub_id.bson_forms() });
        entry.insert("hubId", account.hub_id.as_str());
        let added = domains.update_one(new, doc! { "$push": { ACCOUNTS: entry }, "$set": { STATUS: true } }).await?;
        Ok(added.matched_count > 0)
    }

    /// Lets lanes that wait because of what went wrong with the former tokens go on at once.
    async fn retry_lanes(&self, account: &AccountKey) -> Result<(), Error> {
        let lanes = doc! { "lanes.companies.lastError": null, "lanes.contacts.lastError": null };
        let idle = doc! { "_id": account.to_string(), "lease": null };
        self.collection(collection::CHECKPOINTS).update_one(idle, doc! { "$set": lanes }).await?;
        Ok(())
    }

    /// Takes an account's tokens out of its Domain and marks it as disconnected. `false` where there is no such account,
    /// or it was disconnected before.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn disconnect(&self, account: &AccountKey) -> Result<bool, Error> {
        let set = doc! { field("state"): DISCONNECTED, field("stateAt"): DateTime::now() };
        let unset = ["accessToken", "refreshToken", "expiresAt", "stateReason"];
        let unset: Document = unset.map(|name| (field(name), Bson::from(""))).into_iter().collect();
        let live = doc! { "a.state": { "$ne": DISCONNECTED } };
        let done = self.update_account(account, live, doc! { "$set": set, "$unset": unset }).await?;
        if done {
            let claim = doc! { "_id": account.hub_id.as_str(), "domainId": account.domain_id.as_str() };
            self.collection(collection::PORTALS).delete_one(claim).await?;
        }
        Ok(done)
    }

    /// What is stored of an account's grant, whatever its state.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn grant(&self, account: &AccountKey) -> Result<Option<SecretString>, Error> {
        let fields = doc! { ACCOUNTS: own_entry(&account.hub_id) };
        let of = doc! { "_id": { "$in": account.domain_id.bson_forms() } };
        let found = self.collection(collection::DOMAINS).find_one(of).projection(fields).await?;
        let token = found.as_ref().and_then(|domain| {
            let hubspot = domain.get_document("integrations").ok()?.get_document("hubspot").ok()?;
            let entry = hubspot.get_array("accounts").ok()?.first()?.as_document()?;
            entry.get_str("refreshToken").ok().filter(|token| !token.is_empty())
        });
        Ok(token.map(SecretString::from))
    }

    /// The live accounts of a portal. There is one, but for Domains that others have written.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn accounts_of(&self, portal: &HubId) -> Result<Vec<AccountKey>, Error> {
        let mut of = hub(&format!("{ACCOUNTS}.hubId"), portal);
        of.insert("integrations.hubspot.status", true);
        let found: Vec<Document> = self.collection(collection::DOMAINS).find(of).await?.try_collect().await?;
        let live = found.iter().flat_map(account::accounts).flatten().map(|account| account.key);
        Ok(live.filter(|key| key.hub_id == *portal).collect())
    }
}

/// The name of a Domain's company.
pub(super) fn company_name(domain: &Document) -> Option<String> {
    let name = domain.get_document("company").ok()?.get_str("name").ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}
