//! Returns the grant of a disconnected account to HubSpot: uninstalls the app, revokes the grant, and only then deletes
//! it. Failures are retried with growing pauses. After [`GIVEN_UP_AFTER`] the grant is deleted anyway.

use std::time::Duration;

use hubspot::{HubSpot, OAuthApp, TokenError};
use model::{
    account::AccountKey,
    time::{self, DateTime},
};
use mongodb::error::Error as MongoError;
use secrecy::SecretString;
use store::{Revocation, Store, TimelineEvent};
use tokio::time::{Instant, timeout_at};

use crate::Vault;

/// How long after an account was disconnected its grant is deleted, even if HubSpot never accepted the revocation.
pub const GIVEN_UP_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// The pause between the first try and the second one. Each pause is twice the one before...
pub const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// ...up to this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// How many times the app's uninstallation is tried before the grant is revoked without it.
const UNINSTALL_TRIES: i32 = 3;

/// How much longer an access token must be valid to be used.
const MIN_TOKEN_VALIDITY: Duration = Duration::from_secs(60);

/// What is needed to revoke grants.
#[derive(Clone, Copy, Debug)]
pub struct GrantRevoker<'a> {
    /// Stores the grants.
    pub store: &'a Store,
    /// Opens the sealed grants.
    pub vault: &'a Vault,
    /// The HubSpot client.
    pub hubspot: &'a HubSpot,
    /// The OAuth app of the grants.
    pub app: Option<&'a OAuthApp>,
}

/// Why a grant was not revoked.
enum Failure {
    /// HubSpot, KMS or MongoDB fails. Holds the reason, for people.
    Transient(String),
    /// Another account uses the grant, or the same account was connected again. The grant must not be revoked.
    NotOurs(String),
}

impl GrantRevoker<'_> {
    /// Revokes those of an account's grants that are due by `due_by`, until the time `ends`. Returns true if none is
    /// left.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn revoke_due_grants(
        &self,
        account: &AccountKey,
        due_by: DateTime,
        ends: Instant,
    ) -> Result<bool, MongoError> {
        let mut is_done = true;
        for revocation in self.store.revocations(account).await? {
            if revocation.retry_at > due_by {
                is_done = false;
                continue;
            }
            let retry_at = time::after(DateTime::now(), pause(revocation.tries));
            if !self.store.postpone_revocation(account, &revocation, retry_at).await? {
                // Another process is trying it, or it was replaced.
                is_done = false;
                continue;
            }
            is_done &= self.try_revoke(account, revocation, ends).await?;
        }
        Ok(is_done)
    }

    /// Tries once. Returns true if the grant was deleted.
    async fn try_revoke(
        &self,
        account: &AccountKey,
        mut revocation: Revocation,
        ends: Instant,
    ) -> Result<bool, MongoError> {
        let tried = match timeout_at(ends, self.attempt(account, &mut revocation)).await {
            Ok(tried) => tried,
            Err(_) => Err(Failure::Transient("HubSpot does not answer in time".to_owned())),
        };
        let (domain_id, hub_id) = (&account.domain_id, &account.hub_id);
        let what = match tried {
            Ok(()) if revocation.tries == 0 => None,
            Ok(()) => Some((TimelineEvent::GrantGivenBack, None)),
            Err(Failure::Transient(reason)) if time::between(revocation.since, DateTime::now()) < GIVEN_UP_AFTER => {
                tracing::warn!(account.domain_id = %domain_id, account.hub_id = %hub_id, reason, tries = revocation.tries + 1,
                    "the grant of a disconnected account could not be given back yet");
                return Ok(false);
            }
            Err(Failure::Transient(reason) | Failure::NotOurs(reason)) => {
                tracing::error!(account.domain_id = %domain_id, account.hub_id = %hub_id, reason,
                    "the grant of a disconnected account is forgotten, and was not given back");
                Some((TimelineEvent::GrantForgotten, Some(reason)))
            }
        };
        if !self.store.forget_grant(account, &revocation.refresh_token).await? {
            // A slice under way has refreshed the grant, and the new one still has to be revoked. Or the account is
            // connected.
            return Ok(false);
        }
        if let Some((what, detail)) = what {
            self.store.record_event(account, what, detail.as_deref()).await?;
        }
        Ok(true)
    }

    async fn attempt(&self, account: &AccountKey, revocation: &mut Revocation) -> Result<(), Failure> {
        let app = self.app.ok_or_else(|| transient("HUBSPOT_CLIENT_ID is not set"))?;
        if let Some(other) = revocation.connected_with.as_ref().filter(|other| **other != app.client_id) {
            return Err(Failure::NotOurs(format!("it was given to the app {other}, whose credentials are not there")));
        }
        let grant = self.vault.open(account, "refreshToken", &revocation.refresh_token).await.map_err(transient)?;
        self.ensure_not_live(account).await?;
        let is_stubborn = revocation.tries >= UNINSTALL_TRIES;
        let (grant, access_token) = match self.access_token(app, account, grant.clone(), revocation).await {
            Ok(tokens) => tokens,
            // The grant is not valid any more: there is nothing to revoke.
            Err(TokenError::Rejected(_) | TokenError::PortalGone(_)) => return Ok(()),
            Err(error @ TokenError::OtherAccount(_)) => return Err(Failure::NotOurs(error.to_string())),
            Err(TokenError::Transient { .. }) if is_stubborn => (grant, None),
            Err(error @ (TokenError::Transient { .. } | TokenError::AppRejected(_))) => return Err(transient(error)),
        };
        // The customer may have connected again during the refresh.
        self.ensure_not_live(account).await?;
        if let Some(access_token) = access_token
            && let Err(error) = self.hubspot.uninstall(&access_token).await
        {
            if error.may_pass() && !is_stubborn {
                return Err(transient(error));
            }
            tracing::info!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id, error = %error,
                "HubSpot does not uninstall the app; its grant is revoked");
        }
        self.ensure_not_live(account).await?;
        self.hubspot.revoke(app, &grant).await.map_err(transient)
    }

    async fn ensure_not_live(&self, account: &AccountKey) -> Result<(), Failure> {
        match self.store.is_live(&account.hub_id).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(Failure::NotOurs("the HubSpot account is connected again".to_owned())),
            Err(error) => Err(transient(format!("MongoDB failed: {}", store::describe(&error)))),
        }
    }

    /// Returns the grant, and an access token that allows uninstalling the app.
    async fn access_token(
        &self,
        app: &OAuthApp,
        account: &AccountKey,
        grant: SecretString,
        revocation: &mut Revocation,
    ) -> Result<(SecretString, Option<SecretString>), TokenError> {
        if let (Some(token), Some(expires_at)) = (&revocation.access_token, revocation.expires_at)
            && time::after(DateTime::now(), MIN_TOKEN_VALIDITY) < expires_at
        {
            let token = self.vault.open(account, "accessToken", token).await.map_err(TokenError::transient)?;
            return Ok((grant, Some(token)));
        }
        let tokens = self.hubspot.refresh(app, &account.hub_id, &grant).await?;
        // HubSpot may have replaced the grant. The new one must be revoked, also by the next try.
        let sealed = self.vault.seal_tokens(account, &tokens).await.map_err(TokenError::transient)?;
        let kept = self.store.renew_revocation(account, &revocation.refresh_token, &sealed).await;
        kept.map_err(|error| TokenError::transient(format!("MongoDB failed: {}", store::describe(&error))))?;
        revocation.refresh_token = sealed.refresh_token.into();
        Ok((tokens.refresh_token, Some(tokens.access_token)))
    }
}

fn transient(reason: impl ToString) -> Failure {
    Failure::Transient(reason.to_string())
}

/// Returns the pause after `tries` tries.
fn pause(tries: i32) -> Duration {
    time::doubled(FIRST_PAUSE, tries.unsigned_abs(), LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let minutes = [0, 1, 2, 8, 9, i32::MAX].map(|tries| pause(tries).as_secs() / 60);
        assert_eq!(minutes, [1, 2, 4, 256, 360, 360]);
    }
}
