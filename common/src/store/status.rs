//! How accounts stand, for those who look at them: their entries in the Domains, without any token, and their checkpoints.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, doc},
    error::Error,
};
use serde::Deserialize;

use super::{
    Store, collection,
    connections::company_name,
    domains::{ACCOUNTS, entries, hub},
};
use crate::{
    account::{AccountKey, preference, used},
    checkpoint::{Announced, Checkpoint, Lanes, LastRun},
    ids::{DomainId, HubId},
    time::DateTime,
};

/// How an account stands.
#[derive(Clone, Debug)]
pub struct AccountStatus {
    /// Which account.
    pub key: AccountKey,
    /// The name of the Domain's company.
    pub company: Option<String>,
    /// The account's address in HubSpot.
    pub hub_domain: Option<String>,
    /// Whether the Domain's integration is switched on.
    pub is_on: bool,
    /// The entry's `state`, where it has one.
    pub state: Option<String>,
    /// Why it is in that state, and since when.
    pub state_reason: Option<String>,
    /// See [`Self::state_reason`].
    pub state_at: Option<DateTime>,
    /// When it is next tried to give its grant back, if that is owed.
    pub revocation_at: Option<DateTime>,
    /// Since when it is paused.
    pub paused_at: Option<DateTime>,
    /// Whether it has any token.
    pub has_token: bool,
    /// How many of its records are set aside. Lists of accounts do not know it.
    pub set_aside: u64,
    /// Where its sync stands; nothing where it never began. Of a list, only what a list shows.
    pub checkpoint: Option<Checkpoint>,
}

/// What a list shows of a checkpoint. (Flattening a whole one into this would take serde several times as long.)
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Short {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    lanes: Lanes,
    last_success_at: Option<DateTime>,
}

/// What accounts did lately.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lately {
    #[serde(rename = "_id")]
    id: String,
    /// See [`Checkpoint::activity`].
    #[serde(default)]
    pub activity: BTreeMap<String, Announced>,
    /// See [`Checkpoint::last_run`].
    pub last_run: Option<LastRun>,
}

impl Store {
    /// How all accounts stand, in no order, but for what they did lately. Entries that are no accounts are left out.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn statuses(&self) -> Result<Vec<AccountStatus>, Error> {
        let (mut accounts, mut checkpoints) = tokio::try_join!(self.entries(doc! {}), self.checkpoints_in_short())?;
        for account in &mut accounts {
            account.checkpoint = checkpoints.remove(&account.key.to_string());
        }
        Ok(accounts)
    }

    /// How one account stands; nothing where there is none.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn status(&self, key: &AccountKey) -> Result<Option<AccountStatus>, Error> {
        let mut of = hub(&format!("{ACCOUNTS}.hubId"), &key.hub_id);
        of.insert("_id", doc! { "$in": key.domain_id.bson_forms() });
        let entries = self.entries(of).await?;
        let Some(mut account) = entries.into_iter().find(|account| account.key == *key) else { return Ok(None) };
        let checkpoints = self.database.collection::<Checkpoint>(collection::CHECKPOINTS);
        account.checkpoint = checkpoints.find_one(doc! { "_id": key.to_string() }).await?.map(Checkpoint::joined);
        account.set_aside = self.count_set_aside(key).await?;
        Ok(Some(account))
    }

    async fn entries(&self, of: Document) -> Result<Vec<AccountStatus>, Error> {
        // Tokens do not leave the database: of them only whether there are any.
        let has = |name: &str| doc! { "$gt": [{ "$ifNull": [format!("$$entry.{name}"), ""] }, ""] };
        let shown = doc! {
            "hubId": "$$entry.hubId", "hubDomain": "$$entry.hubDomain",
            "state": "$$entry.state", "stateReason": "$$entry.stateReason", "stateAt": "$$entry.stateAt",
            "pausedAt": "$$entry.pausedAt", "revocationAt": "$$entry.revocation.retryAt",
            "hasToken": { "$or": [has("accessToken"), has("refreshToken")] },
        };
        let fields = doc! {
            "company.name": 1,
            "integrations.hubspot.status": 1,
            "entries": { "$map": { "input": entries(), "as": "entry", "in": shown } },
        };
        let domains = self.database.collection::<Document>(collection::DOMAINS);
        let found: Vec<Document> = domains.find(of).projection(fields).batch_size(1000).await?.try_collect().await?;
        Ok(found.iter().flat_map(accounts).collect())
    }

    async fn checkpoints_in_short(&self) -> Result<HashMap<String, Checkpoint>, Error> {
        let mut fields = doc! { "lastSuccessAt": 1 };
        for lane in ["companies", "contacts"] {
            for field in ["firstSeen", "fresh.mark", "backfilled", "lastError"] {
                fields.insert(format!("lanes.{lane}.{field}"), 1);
            }
            fields.insert(format!("lanes.{lane}.backfill.windows"), doc! { "$slice": 1 });
        }
        let checkpoints = self.database.collection::<Short>(collection::CHECKPOINTS);
        let mut found = checkpoints.find(doc! {}).projection(fields).batch_size(1000).await?;
        let mut all = HashMap::new();
        while let Some(Short { id, lanes, last_success_at }) = found.try_next().await? {
            all.insert(id, Checkpoint { lanes, last_success_at, ..Checkpoint::default() });
        }
        Ok(all)
    }

    /// What these accounts did lately, by account.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn lately(&self, accounts: &[AccountKey]) -> Result<HashMap<String, Lately>, Error> {
        let keys: Vec<String> = accounts.iter().map(AccountKey::to_string).collect();
        let checkpoints = self.database.collection::<Lately>(collection::CHECKPOINTS);
        let fields = doc! { "activity": 1, "lastRun": 1 };
        let found = checkpoints.find(doc! { "_id": { "$in": keys } }).projection(fields).await?;
        found.map_ok(|lately| (lately.id.clone(), lately)).try_collect().await
    }
}

/// The accounts of a Domain, those that cannot be used included.
fn accounts(domain: &Document) -> Vec<AccountStatus> {
    let Ok(domain_id) = DomainId::from_bson(domain.get("_id").unwrap_or(&Bson::Null)) else { return Vec::new() };
    let hubspot = domain.get_document("integrations").ok().and_then(|all| all.get_document("hubspot").ok());
    let is_on = hubspot.is_some_and(|hubspot| hubspot.get_bool("status").unwrap_or(false));
    let entries = domain.get_array("entries").map(Vec::as_slice).unwrap_or_default();
    let account = |entry: &Document| {
        let text = |name: &str| entry.get_str(name).ok().map(str::to_owned);
        Some(AccountStatus {
            key: AccountKey { domain_id: domain_id.clone(), hub_id: HubId::from_bson(entry.get("hubId")?).ok()? },
            company: company_name(domain),
            hub_domain: text("hubDomain"),
            is_on,
            state: text("state"),
            state_reason: text("stateReason"),
            state_at: entry.get_datetime("stateAt").ok().copied(),
            revocation_at: entry.get_datetime("revocationAt").ok().copied(),
            paused_at: entry.get_datetime("pausedAt").ok().copied(),
            has_token: entry.get_bool("hasToken").unwrap_or(false),
            set_aside: 0,
            checkpoint: None,
        })
    };
    let accounts: Vec<AccountStatus> = entries.iter().filter_map(Bson::as_document).filter_map(account).collect();
    let of = |account: &AccountStatus| {
        Some((account.key.hub_id.clone(), preference(account.state.as_deref(), account.has_token)))
    };
    let used = used(&accounts, of);
    accounts.into_iter().enumerate().filter(|(index, _)| used.contains(index)).map(|(_, account)| account).collect()
}
