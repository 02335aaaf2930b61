//! Seals all tokens again, under a new data key.

use futures::{TryStreamExt, pin_mut};
use model::account::AccountKey;
use secrecy::SecretString;

use super::{Vault, VaultError};

/// The result of sealing all tokens again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Tokens that were sealed under the new key.
    pub sealed: usize,
    /// Tokens that were sealed under it already, or that the service wrote in the meantime.
    pub left: usize,
    /// Accounts with a token that cannot be opened, with the reason. They have to be connected again.
    pub unreadable: Vec<(AccountKey, String)>,
}

impl Vault {
    /// Seals the tokens of all Domains that are not sealed under `version` of the data key, including plain ones. Safe
    /// to run at any time, and twice.
    ///
    /// # Errors
    /// MongoDB or KMS does not respond.
    pub async fn reseal(&self, version: i32) -> Result<Resealed, VaultError> {
        let mut resealed = Resealed::default();
        let tokens = self.store.stored_tokens().await?;
        pin_mut!(tokens);
        while let Some((account, field, stored)) = tokens.try_next().await? {
            if Self::is_sealed_under(&stored, version) {
                resealed.left += 1;
                continue;
            }
            match self.reseal_token(&account, field, &stored).await {
                Ok(true) => resealed.sealed += 1,
                Ok(false) => resealed.left += 1,
                Err(error @ (VaultError::Unreadable | VaultError::NoDataKey(_))) => {
                    resealed.unreadable.push((account, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(resealed)
    }

    /// Seals one token again. Returns false if the token was replaced in the meantime.
    async fn reseal_token(&self, account: &AccountKey, field: &str, stored: &str) -> Result<bool, VaultError> {
        let token = self.open(account, field, &SecretString::from(stored)).await?;
        let sealed = self.seal(account, field, &token).await?;
        Ok(self.store.replace_token(account, field, stored, &sealed).await?)
    }
}
