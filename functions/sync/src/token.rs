//! The access token of a slice. It is refreshed before it expires, checked to be the account's own, and stored before
//! it is used. The account's lease ensures that only one refresh is under way.

use std::time::Duration;

use hubspot::{HubSpot, OAuthApp};
use model::{
    account::{Account, Credentials},
    time::{self, DateTime},
};
use secrecy::SecretString;
use store::Store;
use token_vault::Vault;

use crate::error::SliceError;

/// How long a token must still be valid to be used. Longer than a slice takes, with clocks that differ.
const TOKEN_EXPIRY_MARGIN: Duration = Duration::from_secs(120);

/// Returns the access token to use, after refreshing it if necessary. `account` then has the credentials as stored.
///
/// # Errors
/// The tokens could not be opened, refreshed, sealed or stored, or the account was reconnected in the meantime.
pub(crate) async fn access_token(
    store: &Store,
    vault: &Vault,
    hubspot: &HubSpot,
    app: Option<&OAuthApp>,
    account: &mut Account,
) -> Result<SecretString, SliceError> {
    let key = &account.key;
    let (refresh_token, access_token, expires_at) = match &account.credentials {
        Credentials::PrivateApp(token) => return Ok(vault.open(key, "accessToken", token).await?),
        Credentials::OAuth { refresh_token, access_token, expires_at } => (refresh_token, access_token, expires_at),
    };
    if let (Some(token), Some(expires_at)) = (access_token, expires_at)
        && time::after(DateTime::now(), TOKEN_EXPIRY_MARGIN) < *expires_at
    {
        return Ok(vault.open(key, "accessToken", token).await?);
    }
    let app = app.ok_or(SliceError::NoApp)?;
    let grant = vault.open(key, "refreshToken", refresh_token).await?;
    let tokens = hubspot.refresh(app, &key.hub_id, &grant).await?;
    let sealed = vault.seal_tokens(key, &tokens).await?;
    if !store.store_tokens(key, refresh_token, &sealed).await? {
        return Err(SliceError::Reconnected);
    }
    tracing::info!("the account's tokens were refreshed");
    account.credentials = Credentials::OAuth {
        refresh_token: sealed.refresh_token.into(),
        access_token: Some(sealed.access_token.into()),
        expires_at: Some(sealed.expires_at),
    };
    Ok(tokens.access_token)
}

/// Marks the account for reconnecting, unless its credentials have changed.
pub(crate) async fn mark(store: &Store, account: &Account, reason: &str) -> Result<(), SliceError> {
    let credential = match &account.credentials {
        Credentials::PrivateApp(token) => ("accessToken", token),
        Credentials::OAuth { refresh_token, .. } => ("refreshToken", refresh_token),
    };
    store.mark(&account.key, credential, reason).await?;
    Ok(())
}

/// Makes the next slice refresh the token, because HubSpot rejected it. Does nothing for a private app's token.
pub(crate) async fn expire(store: &Store, account: &Account) -> Result<(), SliceError> {
    if let Credentials::OAuth { access_token: Some(used), .. } = &account.credentials {
        store.expire_token(&account.key, used).await?;
    }
    Ok(())
}
