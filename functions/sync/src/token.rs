//! The access token of a slice: refreshed before it expires, checked to be the account's own, and stored
//! before it is used. The account's lease makes sure that only one refresh is under way.

use std::time::Duration;

use common::{
    account::{Account, Credentials},
    checkpoint::{LaneProblem, ProblemKind},
    hubspot::{HubSpot, OAuthApp, TokenError},
    store::Store,
    time::{self, DateTime},
};
use secrecy::SecretString;

use crate::error::SliceError;

/// How much longer than now a token must be good for: more than a slice takes, with clocks that differ.
const MARGIN: Duration = Duration::from_secs(120);

/// The token to use.
pub(crate) async fn access_token(
    store: &Store,
    hubspot: &HubSpot,
    app: Option<&OAuthApp>,
    account: &Account,
) -> Result<SecretString, SliceError> {
    let (refresh_token, access_token, expires_at) = match &account.credentials {
        Credentials::PrivateApp(token) => return Ok(token.clone()),
        Credentials::OAuth { refresh_token, access_token, expires_at } => (refresh_token, access_token, expires_at),
    };
    if let (Some(token), Some(expires_at)) = (access_token, expires_at)
        && time::after(DateTime::now(), MARGIN) < *expires_at
    {
        return Ok(token.clone());
    }
    let app = app.ok_or(SliceError::NoApp)?;
    let tokens = hubspot.refresh(app, &account.key.hub_id, refresh_token).await?;
    if !store.store_tokens(&account.key, refresh_token, &tokens).await? {
        return Err(SliceError::Reconnected);
    }
    tracing::info!("the account's tokens were refreshed");
    Ok(tokens.access_token)
}

/// Whether the failure means that the customer must connect the account again.
pub(crate) fn is_rejected(error: &SliceError) -> bool {
    matches!(error, SliceError::Token(TokenError::Rejected(_) | TokenError::OtherAccount(_)))
}

/// Whether an access token that HubSpot does not accept will not get better: it is a private app's, or it was
/// refreshed again and again.
pub(crate) fn is_worn_out(account: &Account, problem: Option<&LaneProblem>) -> bool {
    const REFUSALS: u32 = 4;
    problem.is_some_and(|problem| {
        let refused = problem.kind == ProblemKind::Unauthorized;
        refused && (problem.attempts >= REFUSALS || matches!(account.credentials, Credentials::PrivateApp(_)))
    })
}

/// Marks the account as one to be connected again.
pub(crate) async fn mark(store: &Store, account: &Account, reason: &str) -> Result<(), SliceError> {
    let credential = match &account.credentials {
        Credentials::PrivateApp(token) => ("accessToken", token),
        Credentials::OAuth { refresh_token, .. } => ("refreshToken", refresh_token),
    };
    store.mark_reauthorize(&account.key, credential, reason).await?;
    Ok(())
}

/// Makes the next slice refresh the token that this one was refused with.
pub(crate) async fn expire(store: &Store, account: &Account, used: &SecretString) -> Result<(), SliceError> {
    if let Credentials::OAuth { .. } = account.credentials {
        store.expire_token(&account.key, used).await?;
    }
    Ok(())
}
