//! Decides whether an account can be read, and what it means if HubSpot rejects its token.
//!
//! An account is marked for reconnecting only on proof: the token endpoint or introspection says so, or a token that no
//! endpoint can be asked about was rejected for hours. If many accounts are rejected at once, none of them is the
//! cause, and none is marked (`docs/decisions/0011-marks-need-proof.md`).

use std::{sync::atomic::Ordering, time::Duration};

use hubspot::{Session, TokenError};
use model::{
    account::{Account, Credentials, Unusable},
    checkpoint::Refused,
    time::{self, DateTime},
};
use store::TimelineEvent;
use token_vault::revoke::GrantRevoker;

use crate::{context::ActiveSlice, error::SliceError, problem::Failure, token};

/// If more accounts than this are rejected at once, the cause is not the accounts.
const MAX_REJECTED_ACCOUNTS: usize = 3;

/// How long an account stays unmarked because many are rejected.
const MAX_REJECTION_HOLD: Duration = Duration::from_secs(24 * 3600);

/// How long a private app's token must have been rejected before its account is marked. No endpoint tells whether such
/// a token is valid.
const MIN_REFUSED_DURATION: Duration = Duration::from_secs(6 * 3600);
/// How many times it must have been rejected before that.
const MIN_REFUSED_TIMES: i64 = 10;

/// How long it may take to record in MongoDB whether a grant was revoked.
const GRANT_NOTE_TIME: Duration = Duration::from_millis(500);

/// Whether an account can be read.
pub(crate) enum Access {
    /// The account, its session, and true if the account is still marked, because its token is being tried.
    Granted(Box<(Account, Session, bool)>),
    /// The account cannot be read until somebody acts, for this reason.
    Stopped(String),
    /// The account cannot be read now, because of this failure.
    Failed(Failure),
    /// The account was reconnected while its tokens were refreshed.
    Reconnected,
}

impl ActiveSlice<'_> {
    /// Reads the account and gets a token. If the account is marked and its retry is due, tries its token.
    ///
    /// # Errors
    /// MongoDB failed, or the lease was lost.
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
            // Only a refresh proves that the grant is valid.
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

    /// Revokes those grants of a disconnected account that are due.
    async fn give_back(&self) -> Result<(), SliceError> {
        let Self { sync, request, budget, .. } = self;
        let app = sync.config.app.as_ref();
        let revoker = GrantRevoker { store: &sync.store, vault: &sync.vault, hubspot: &sync.hubspot, app };
        revoker.revoke_due_grants(&request.account, DateTime::now(), budget.work_ends() - GRANT_NOTE_TIME).await?;
        Ok(())
    }

    /// Returns what it means that no token could be obtained. Marks the account if the error proves that it must be
    /// reconnected.
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

    /// Updates the account's marks after HubSpot's API has accepted or rejected its token. `is_refused` is true if a
    /// lane was rejected. Returns the reason if the account must be left alone, otherwise `None`.
    pub(crate) async fn judge(
        &self,
        account: &Account,
        is_marked: bool,
        is_refused: bool,
    ) -> Result<Option<String>, SliceError> {
        let store = &self.sync.store;
        if is_refused {
            // The next refresh shows whether the grant is valid. If it is, the rejection is a transient fault of the
            // API.
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

    /// Handles an API that rejected the token and accepted it for no request. Returns the reason if the account must be
    /// left alone, otherwise `None`.
    async fn refused(&self, account: &Account, is_marked: bool) -> Result<Option<String>, SliceError> {
        const REASON: &str = "HubSpot does not accept the access token";
        let store = &self.sync.store;
        if is_marked {
            store.record_mark_retry(&account.key).await?;
            return Ok(Some(format!("it stays marked: {REASON}")));
        }
        let row = store.record_token_refusal(&self.leased).await?;
        let is_proof = matches!(account.credentials, Credentials::PrivateApp(_))
            && row.times >= MIN_REFUSED_TIMES
            && time::between(row.since, DateTime::now()) >= MIN_REFUSED_DURATION;
        let rejected = is_proof && self.reject(account, REASON, row).await?;
        Ok(rejected.then(|| must_reconnect(REASON)))
    }

    /// Marks an account that HubSpot rejects. If HubSpot rejects many accounts at once, the account waits instead, and
    /// marks that were made before this was known are removed. Returns true if the account is marked.
    async fn reject(&self, account: &Account, reason: &str, row: Refused) -> Result<bool, SliceError> {
        let store = &self.sync.store;
        let rejected = store.record_rejection(&account.key).await?;
        let is_held =
            |count| count > MAX_REJECTED_ACCOUNTS && time::between(row.since, DateTime::now()) < MAX_REJECTION_HOLD;
        if !is_held(rejected.len()) {
            token::mark(store, account, reason).await?;
            // Either this slice sees the accounts rejected in the meantime, or the slice that exceeds the limit sees
            // this mark.
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
        if rejected.len() == MAX_REJECTED_ACCOUNTS + 1 {
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

    /// Removes the account's mark, and records that if there was one.
    async fn unmark(&self, account: &Account) -> Result<(), SliceError> {
        if self.sync.store.unmark(&account.key).await? {
            tracing::info!(account.domain_id = %account.key.domain_id, account.hub_id = %account.key.hub_id,
                "HubSpot accepts the token of a marked account; it goes on");
            self.note(TimelineEvent::Resumed, Some("HubSpot accepts its token again")).await;
        }
        Ok(())
    }

    /// Returns why HubSpot rejects the account, as text. If the grant belongs to another OAuth app, the text has its
    /// client id, which is not secret.
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
