//! Whether an account can be read, and what it means when HubSpot does not accept its token.
//!
//! An account is marked as one to be connected again only on proof: the token endpoint or introspection says so, or a
//! token that nobody can ask about was refused for hours. If many accounts are rejected at once, none of them is to
//! blame, and none is marked (`docs/decisions/0011-marks-need-proof.md`).

use std::{sync::atomic::Ordering, time::Duration};

use hubspot::{Session, TokenError};
use model::{
    account::{Account, Credentials, Unusable},
    checkpoint::Refused,
    time::{self, DateTime},
};
use store::TimelineEvent;
use token_vault::revoke::GrantRevoker;

use crate::{context::Work, error::SliceError, problem::Failure, token};

/// More accounts than this are not rejected at once for their own sake.
const FEW: usize = 3;

/// For how long an account is not marked because many are rejected.
const HELD_AT_MOST: Duration = Duration::from_secs(24 * 3600);

/// For how long, and how often, a private app's token must have been refused. There is nobody to ask about it.
const REFUSED_FOR: Duration = Duration::from_secs(6 * 3600);
const REFUSED_TIMES: i64 = 10;

/// What noting in MongoDB whether a grant was given back may take.
const NOTING: Duration = Duration::from_millis(500);

/// What is needed to read an account.
pub(crate) enum Access {
    /// The account, its session, and whether it is marked still: its token is being tried.
    Granted(Box<(Account, Session, bool)>),
    /// The account cannot be read until somebody does something about it.
    Stopped(String),
    /// The account cannot be read now.
    Failed(Failure),
    /// It was connected anew while its tokens were refreshed.
    Reconnected,
}

impl Work<'_> {
    /// Reads the account, and gets a token. A marked account that is due is tried.
    pub(crate) async fn access(&self) -> Result<Access, SliceError> {
        let Self { sync, request, .. } = self;
        let (mut account, is_marked) = match sync.store.account(&request.account).await? {
            Some(Ok(account)) => (account, false),
            Some(Err(Unusable::Reauthorize(Some(marked)))) if marked.retry_at <= DateTime::now() => {
                (marked.account, true)
            }
            Some(Err(unusable)) => {
                if matches!(unusable, Unusable::Disconnected) {
                    self.give_back().await?;
                }
                return Ok(Access::Stopped(unusable.to_string()));
            }
            None => {
                // The Domain's integration may be switched off.
                self.give_back().await?;
                return Ok(Access::Stopped("there is no such live account".to_owned()));
            }
        };
        if is_marked {
            // Only a refresh proves that the grant is alive.
            account.credentials.forget_access_token();
        }
        let app = sync.config.app.as_ref();
        let token = match token::access_token(&sync.store, &sync.vault, &sync.hubspot, app, &mut account).await {
            Ok(token) => token,
            Err(SliceError::Reconnected) => return Ok(Access::Reconnected),
            Err(error @ (SliceError::Token(_) | SliceError::NoApp | SliceError::Vault(_))) => {
                return self.without_token(&account, is_marked, error).await;
            }
            Err(error) => return Err(error),
        };
        let is_proved = is_marked && matches!(account.credentials, Credentials::OAuth { .. });
        if is_proved {
            self.unmark(&account).await?;
        }
        let (limits, remembered) = (sync.config.limits, &self.leased.checkpoint.limits);
        let session = Session::new(sync.hubspot.clone(), token, limits, remembered, self.tally.hubspot.clone());
        Ok(Access::Granted(Box::new((account, session, is_marked && !is_proved))))
    }

    /// Gives the grants of a disconnected account back, those that are due.
    async fn give_back(&self) -> Result<(), SliceError> {
        let Self { sync, request, budget, .. } = self;
        let app = sync.config.app.as_ref();
        let revoker = GrantRevoker { store: &sync.store, vault: &sync.vault, hubspot: &sync.hubspot, app };
        revoker.revoke_due_grants(&request.account, DateTime::now(), budget.work_ends() - NOTING).await?;
        Ok(())
    }

    /// What it means that there is no token.
    async fn without_token(&self, account: &Account, is_marked: bool, error: SliceError) -> Result<Access, SliceError> {
        let is_proof = matches!(&error, SliceError::Token(error) if error.is_proof());
        let is_apps = matches!(error, SliceError::Token(TokenError::AppRejected(_)) | SliceError::NoApp);
        if is_apps {
            self.tally.rejection_held();
        }
        if is_marked {
            if is_proof || matches!(error, SliceError::Vault(_)) {
                self.sync.store.record_mark_retry(&account.key).await?;
            }
            return Ok(Access::Stopped(format!("it stays marked: {error}")));
        }
        if is_proof {
            let row = self.sync.store.record_token_refusal(&self.leased).await?;
            let reason = self.reason(account, &error);
            return Ok(match self.reject(account, &reason, row).await? {
                true => Access::Stopped(must_reconnect(&reason)),
                false => Access::Failed(Failure::passing(format!(
                    "{reason}; it rejects many accounts at once, so that none is marked"
                ))),
            });
        }
        Ok(Access::Failed(Failure::without_token(&error)))
    }

    /// What it means for the account how the API took its token; `is_refused` if it was refused in any lane. Returns the
    /// reason why the account is left alone, if it is.
    pub(crate) async fn judge(
        &self,
        account: &Account,
        is_marked: bool,
        is_refused: bool,
    ) -> Result<Option<String>, SliceError> {
        let store = &self.sync.store;
        if is_refused {
            // The refresh tells whether the grant is alive. If it is, what the API says is trouble that passes.
            token::expire(store, account).await?;
        }
        if self.tally.hubspot.answered.load(Ordering::Relaxed) > 0 {
            if is_marked {
                self.unmark(account).await?;
            }
            if self.leased.checkpoint.refused.is_some() {
                store.clear_token_refusals(&self.leased).await?;
            }
            return Ok(None);
        }
        if is_refused {
            return self.refused(account, is_marked).await;
        }
        Ok(is_marked.then(|| "it stays marked: HubSpot did not say whether it accepts the token".to_owned()))
    }

    /// The API refused the token, and nothing else was learned of it.
    async fn refused(&self, account: &Account, is_marked: bool) -> Result<Option<String>, SliceError> {
        const REASON: &str = "HubSpot does not accept the access token";
        let store = &self.sync.store;
        if is_marked {
            store.record_mark_retry(&account.key).await?;
            return Ok(Some(format!("it stays marked: {REASON}")));
        }
        let row = store.record_token_refusal(&self.leased).await?;
        let is_proof = matches!(account.credentials, Credentials::PrivateApp(_))
            && row.times >= REFUSED_TIMES
            && time::between(row.since, DateTime::now()) >= REFUSED_FOR;
        let rejected = is_proof && self.reject(account, REASON, row).await?;
        Ok(rejected.then(|| must_reconnect(REASON)))
    }

    /// Marks an account that HubSpot rejects, unless it rejects many at once: then it waits, and marks that were made
    /// before that was known are taken away. Returns true if it is marked.
    async fn reject(&self, account: &Account, reason: &str, row: Refused) -> Result<bool, SliceError> {
        let store = &self.sync.store;
        let rejected = store.record_rejection(&account.key).await?;
        let is_held = |count| count > FEW && time::between(row.since, DateTime::now()) < HELD_AT_MOST;
        if !is_held(rejected.len()) {
            token::mark(store, account, reason).await?;
            // Either this sees those that were rejected meanwhile, or the one that became too many sees this mark.
            if !is_held(store.recent_rejections().await?.len()) {
                store.clear_token_refusals(&self.leased).await?;
                self.note(TimelineEvent::Rejected, Some(reason)).await;
                return Ok(true);
            }
            store.unmark(&account.key).await?;
        }
        self.tally.rejection_held();
        tracing::warn!(account.domain_id = %account.key.domain_id, account.hub_id = %account.key.hub_id,
            reason, "HubSpot rejects so many accounts at once that none is marked");
        if rejected.len() == FEW + 1 {
            for other in rejected.iter().filter(|other| **other != account.key) {
                if store.unmark_if_recent(other).await? {
                    tracing::info!(account.domain_id = %other.domain_id, account.hub_id = %other.hub_id,
                        "a mark was taken away, because many accounts are rejected");
                    store
                        .record_event(other, TimelineEvent::Resumed, Some("many accounts are rejected at once"))
                        .await?;
                }
            }
        }
        Ok(false)
    }

    async fn unmark(&self, account: &Account) -> Result<(), SliceError> {
        if self.sync.store.unmark(&account.key).await? {
            tracing::info!(account.domain_id = %account.key.domain_id, account.hub_id = %account.key.hub_id,
                "HubSpot accepts the token of a marked account; it goes on");
            self.note(TimelineEvent::Resumed, Some("HubSpot accepts its token again")).await;
        }
        Ok(())
    }

    /// Why HubSpot rejects the account, in words. A grant to another OAuth app is named: client ids are no secrets.
    fn reason(&self, account: &Account, error: &SliceError) -> String {
        match (&account.connected_with, &self.sync.config.app) {
            (Some(id), Some(app)) if *id != app.client_id => {
                format!("{error}; it was granted to another OAuth app (client id {id})")
            }
            _ => error.to_string(),
        }
    }
}

fn must_reconnect(reason: &str) -> String {
    format!("{reason}; it must be connected again")
}
