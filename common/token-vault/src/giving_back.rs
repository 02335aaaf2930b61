//! Giving the grant of a disconnected account back to HubSpot: the app is uninstalled, the grant revoked, and only then
//! forgotten. What HubSpot does not take is tried again with growing pauses, and forgotten after [`GIVEN_UP_AFTER`].

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

/// How long after an account was disconnected its grant is forgotten, whether HubSpot has taken it back or not.
pub const GIVEN_UP_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long after the first try the second one comes. Each pause is twice the one before...
pub const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// ...up to this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// How often HubSpot is asked to uninstall the app before the grant is revoked without that.
const UNINSTALL_TRIES: i32 = 3;

/// How much longer than now an access token must be good for.
const MARGIN: Duration = Duration::from_secs(60);

/// What is needed to give grants back.
#[derive(Clone, Copy, Debug)]
pub struct GivingBack<'a> {
    /// Where they stand.
    pub store: &'a Store,
    /// What opens them.
    pub vault: &'a Vault,
    /// To whom they are given back.
    pub hubspot: &'a HubSpot,
    /// The app that they were given to.
    pub app: Option<&'a OAuthApp>,
}

/// Why a grant was not given back.
enum Failure {
    /// HubSpot, KMS or MongoDB is in trouble, in words.
    Passing(String),
    /// Another account uses it, or the same one that was connected again, so that it is not to be given back.
    NotOurs(String),
}

impl GivingBack<'_> {
    /// Gives back those of an account's grants that are due by `due_by`, as far as there is time until `ends`. Returns true
    /// if none of them is left.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn of(&self, account: &AccountKey, due_by: DateTime, ends: Instant) -> Result<bool, MongoError> {
        let mut is_done = true;
        for revocation in self.store.revocations(account).await? {
            if revocation.retry_at > due_by {
                is_done = false;
                continue;
            }
            let retry_at = time::after(DateTime::now(), pause(revocation.tries));
            if !self.store.put_revocation_off(account, &revocation, retry_at).await? {
                // Somebody else tries it, or it was replaced.
                is_done = false;
                continue;
            }
            is_done &= self.give_back(account, revocation, ends).await?;
        }
        Ok(is_done)
    }

    /// Tries once. Returns true if the grant is forgotten.
    async fn give_back(
        &self,
        account: &AccountKey,
        mut revocation: Revocation,
        ends: Instant,
    ) -> Result<bool, MongoError> {
        let tried = match timeout_at(ends, self.attempt(account, &mut revocation)).await {
            Ok(tried) => tried,
            Err(_) => Err(Failure::Passing("HubSpot does not answer in time".to_owned())),
        };
        let (domain_id, hub_id) = (&account.domain_id, &account.hub_id);
        let what = match tried {
            Ok(()) if revocation.tries == 0 => None,
            Ok(()) => Some((TimelineEvent::GrantGivenBack, None)),
            Err(Failure::Passing(reason)) if time::since(revocation.since, DateTime::now()) < GIVEN_UP_AFTER => {
                tracing::warn!(account.domain_id = %domain_id, account.hub_id = %hub_id, reason, tries = revocation.tries + 1,
                    "the grant of a disconnected account could not be given back yet");
                return Ok(false);
            }
            Err(Failure::Passing(reason) | Failure::NotOurs(reason)) => {
                tracing::error!(account.domain_id = %domain_id, account.hub_id = %hub_id, reason,
                    "the grant of a disconnected account is forgotten, and was not given back");
                Some((TimelineEvent::GrantForgotten, Some(reason)))
            }
        };
        if !self.store.forget_grant(account, &revocation.refresh_token).await? {
            // A slice that was under way has refreshed it: what HubSpot gave then is still owed. Or the account is connected.
            return Ok(false);
        }
        if let Some((what, detail)) = what {
            self.store.happened(account, what, detail.as_deref()).await?;
        }
        Ok(true)
    }

    async fn attempt(&self, account: &AccountKey, revocation: &mut Revocation) -> Result<(), Failure> {
        let app = self.app.ok_or_else(|| passing("HUBSPOT_CLIENT_ID is not set"))?;
        if let Some(other) = revocation.connected_with.as_ref().filter(|other| **other != app.client_id) {
            return Err(Failure::NotOurs(format!("it was given to the app {other}, whose credentials are not there")));
        }
        let grant = self.vault.open(account, "refreshToken", &revocation.refresh_token).await.map_err(passing)?;
        self.ensure_not_live(account).await?;
        let is_stubborn = revocation.tries >= UNINSTALL_TRIES;
        let (grant, access_token) = match self.access_token(app, account, grant.clone(), revocation).await {
            Ok(tokens) => tokens,
            // It is dead: there is nothing to give back.
            Err(TokenError::Rejected(_) | TokenError::PortalGone(_)) => return Ok(()),
            Err(error @ TokenError::OtherAccount(_)) => return Err(Failure::NotOurs(error.to_string())),
            Err(TokenError::Transient { .. }) if is_stubborn => (grant, None),
            Err(error @ (TokenError::Transient { .. } | TokenError::AppRejected(_))) => return Err(passing(error)),
        };
        // The customer may have come back while HubSpot refreshed.
        self.ensure_not_live(account).await?;
        if let Some(access_token) = access_token
            && let Err(error) = self.hubspot.uninstall(&access_token).await
        {
            if error.may_pass() && !is_stubborn {
                return Err(passing(error));
            }
            tracing::info!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id, error = %error,
                "HubSpot does not uninstall the app; its grant is revoked");
        }
        self.ensure_not_live(account).await?;
        self.hubspot.revoke(app, &grant).await.map_err(passing)
    }

    async fn ensure_not_live(&self, account: &AccountKey) -> Result<(), Failure> {
        match self.store.is_live(&account.hub_id).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(Failure::NotOurs("the HubSpot account is connected again".to_owned())),
            Err(error) => Err(passing(format!("MongoDB failed: {}", store::describe(&error)))),
        }
    }

    /// The grant, and an access token with which the app can be uninstalled.
    async fn access_token(
        &self,
        app: &OAuthApp,
        account: &AccountKey,
        grant: SecretString,
        revocation: &mut Revocation,
    ) -> Result<(SecretString, Option<SecretString>), TokenError> {
        if let (Some(token), Some(expires_at)) = (&revocation.access_token, revocation.expires_at)
            && time::after(DateTime::now(), MARGIN) < expires_at
        {
            let token = self.vault.open(account, "accessToken", token).await.map_err(TokenError::transient)?;
            return Ok((grant, Some(token)));
        }
        let tokens = self.hubspot.refresh(app, &account.hub_id, &grant).await?;
        // HubSpot may have replaced the grant: the new one is what is to be given back, also by the next try.
        let sealed = self.vault.seal_tokens(account, &tokens).await.map_err(TokenError::transient)?;
        let kept = self.store.renew_revocation(account, &revocation.refresh_token, &sealed).await;
        kept.map_err(|error| TokenError::transient(format!("MongoDB failed: {}", store::describe(&error))))?;
        revocation.refresh_token = sealed.refresh_token.into();
        Ok((tokens.refresh_token, Some(tokens.access_token)))
    }
}

fn passing(reason: impl ToString) -> Failure {
    Failure::Passing(reason.to_string())
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
