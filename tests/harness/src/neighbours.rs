//! More accounts beside the one of a test's world, each of a Domain of its own.

use anyhow::{Context as _, Result};
use hubspot_sim::Object;
use model::{
    account::AccountKey,
    message::{SyncMessage, SyncRequest},
    time::DateTime,
};
use stack::accounts;

use crate::world::{HUB, World};

impl World {
    /// Adds accounts with one company and two contacts each. Returns all accounts, with the world's own as the first.
    ///
    /// # Errors
    /// MongoDB does not respond.
    pub async fn add_accounts(&mut self, count: u64) -> Result<Vec<AccountKey>> {
        for _ in 0..count {
            self.neighbours += 1;
            let (domain, hub) = (domain(self.neighbours), HUB + self.neighbours);
            let grant = self.hubspot.world().portal(hub).refresh_token.clone().context("a new portal has a grant")?;
            self.hubspot.world().seed(hub, 1, 2, 1);
            let entry = accounts::oauth(hub, &grant);
            accounts::write_domain(self.store.database(), domain.as_str(), &domain, vec![entry]).await?;
        }
        self.accounts()
    }

    /// Returns all accounts, with the world's own as the first.
    ///
    /// # Errors
    /// Never, because their ids are valid.
    pub fn accounts(&self) -> Result<Vec<AccountKey>> {
        let neighbours = (1..=self.neighbours).map(|number| Ok(AccountKey::new(&domain(number), HUB + number)?));
        [self.account()].into_iter().chain(neighbours).collect()
    }

    /// Returns the HubSpot ids of all accounts, with the world's own as the first.
    pub fn hubs(&self) -> impl Iterator<Item = u64> + use<> {
        HUB..=HUB + self.neighbours
    }

    /// Returns the number of an account's companies and contacts in HubSpot.
    pub fn records_of(&self, account: &AccountKey) -> usize {
        let hub: u64 = account.hub_id.as_str().parse().unwrap_or_default();
        let mut hubspot = self.hubspot.world();
        [Object::COMPANIES, Object::CONTACTS].iter().map(|object| hubspot.ids(hub, *object).len()).sum()
    }
}

fn domain(number: u64) -> String {
    format!("neighbour-{number}")
}

/// Returns the message of a tick for an account, at the current time.
///
/// # Errors
/// It cannot be encoded.
pub fn tick_of(account: &AccountKey) -> Result<String> {
    Ok(serde_json::to_string(&SyncMessage::V1(SyncRequest::tick(account.clone(), DateTime::now())))?)
}
