//! Data keys, wrapped (collection `keys`), and the tokens that are sealed under them.

use futures::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, doc},
    error::Error,
};
use secrecy::SecretString;

use super::{Store, checkpoints::is_duplicate_key, collection, domains::ACCOUNTS};
use crate::{
    account::AccountKey,
    ids::{DomainId, HubId},
    time::DateTime,
    vault::{Vault, VaultError},
};

/// The fields of an account's entry that hold tokens.
const TOKENS: [&str; 2] = ["accessToken", "refreshToken"];

/// Tokens as they are stored.
#[derive(Clone, Debug)]
pub struct SealedTokens {
    /// See [`crate::hubspot::Tokens`].
    pub access_token: String,
    /// The grant.
    pub refresh_token: String,
    /// When the access token expires.
    pub expires_at: DateTime,
}

/// What sealing all tokens anew came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Tokens that are sealed under the new key now.
    pub sealed: usize,
    /// Those that were already, or were written by the service in the meantime.
    pub left: usize,
    /// Accounts with a token that cannot be opened, and why. They have to be connected again.
    pub unreadable: Vec<(AccountKey, String)>,
}

impl Store {
    pub(crate) async fn newest_data_key(&self) -> Result<Option<Document>, Error> {
        self.keys().find_one(doc! {}).sort(doc! { "_id": -1 }).await
    }

    pub(crate) async fn data_key(&self, version: i32) -> Result<Option<Document>, Error> {
        self.keys().find_one(doc! { "_id": version }).await
    }

    /// Stores a data key, unless there is one of its version.
    pub(crate) async fn add_data_key(&self, key: &Document) -> Result<(), Error> {
        match self.keys().insert_one(key).await {
            Err(error) if !is_duplicate_key(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Seals all tokens of all Domains that are not sealed under `version` of the data key, plain ones too. Safe to run
    /// at any time and twice.
    ///
    /// # Errors
    /// MongoDB or KMS does not answer.
    pub async fn reseal(&self, vault: &Vault, version: i32) -> Result<Resealed, VaultError> {
        let mut resealed = Resealed::default();
        let domains = self.database().collection::<Document>(collection::DOMAINS);
        let mut found = domains.find(doc! { ACCOUNTS: { "$exists": true } }).projection(doc! { ACCOUNTS: 1 }).await?;
        while let Some(domain) = found.try_next().await? {
            let hubspot = domain.get_document("integrations").and_then(|all| all.get_document("hubspot"));
            let entries = hubspot.and_then(|hubspot| hubspot.get_array("accounts")).map(Vec::as_slice);
            for entry in entries.unwrap_or_default().iter().filter_map(Bson::as_document) {
                let ids = (domain.get("_id").map(DomainId::from_bson), entry.get("hubId").map(HubId::from_bson));
                let (Some(Ok(domain_id)), Some(Ok(hub_id))) = ids else { continue };
                let account = AccountKey { domain_id, hub_id };
                for field in TOKENS {
                    let stored = entry.get_str(field).ok().filter(|stored| !stored.is_empty());
                    let Some(stored) = stored else { continue };
                    if Vault::is_sealed_under(stored, version) {
                        resealed.left += 1;
                        continue;
                    }
                    match self.reseal_token(vault, &account, field, stored).await {
                        Ok(true) => resealed.sealed += 1,
                        Ok(false) => resealed.left += 1,
                        Err(error @ (VaultError::Unreadable | VaultError::NoDataKey(_))) => {
                            resealed.unreadable.push((account.clone(), error.to_string()));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(resealed)
    }

    async fn reseal_token(
        &self,
        vault: &Vault,
        account: &AccountKey,
        field: &str,
        stored: &str,
    ) -> Result<bool, VaultError> {
        let token = vault.open(account, field, &SecretString::from(stored)).await?;
        let sealed = vault.seal(account, field, &token).await?;
        Ok(self.replace_token(account, field, stored, &sealed).await?)
    }

    fn keys(&self) -> mongodb::Collection<Document> {
        self.database().collection(collection::KEYS)
    }
}
