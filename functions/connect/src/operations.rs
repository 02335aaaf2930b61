//! Operations on accounts: the page's buttons, and disconnecting by the API.

use std::time::Duration;

use axum::{
    Form, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use model::{
    account::AccountKey,
    checkpoint::Window,
    message::{Notified, SyncRequest},
    object::ObjectType,
    time::{self, DateTime},
};
use serde::Deserialize;
use store::{LanesResync, TimelineEvent};
use token_vault::revoke::{FIRST_PAUSE, GrantRevoker};
use tokio::time::Instant;

use crate::{
    AppState, Connect,
    auth::{Actor, Bearer},
    operation::{Ids, Operation, Pressed},
    pages::account_path,
    session::Session,
    tokens::Role,
    web::{AppError, Cause as _, bad_request_body, internal_error, internal_error_page, no_account, redirect},
};

/// `POST /accounts/{domain}/{hub}/{operation}`: runs the operation of a button, and redirects to the account's page.
pub(crate) async fn submit_operation(
    State(connect): State<Connect>,
    session: Session,
    Path((domain, hub, operation)): Path<(String, String, Operation)>,
    Form(pressed): Form<Pressed>,
) -> Result<Response, AppError> {
    session.check_form(&connect.keys, &pressed.token)?;
    let actor = session.operator()?;
    let account = Ids { domain, hub }.key().ok_or_else(no_account)?;
    if connect.store.status(&account).await.map_err(internal_error_page)?.is_none() {
        return Err(no_account());
    }
    let done = connect.operate(&account, operation, actor).await?;
    Ok(redirect(&format!("{}?done={done}", account_path(&account))))
}

/// The account to disconnect.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Disconnect {
    domain: String,
    hub_id: String,
}

/// The outcome of disconnecting an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disconnected {
    /// The grant was revoked, or there was none.
    GivenBack,
    /// The grant could not be revoked yet. This is tried again.
    Owed,
    /// The account does not exist, or was disconnected before.
    Before,
}

/// The timeout for revoking a grant. API Gateway waits for thirty seconds.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(8);

/// The timeout for having all object types of an account read again. Lambda's own timeout is twenty seconds.
const RESYNC_TIMEOUT: Duration = Duration::from_secs(15);

/// `POST /hubspot/disconnect`: disconnects an account for a program. Answers 202 if its grant still has to be revoked,
/// and 404 if there is no such account.
pub(crate) async fn disconnect(
    bearer: Bearer,
    State(connect): State<Connect>,
    asked: Result<Json<Disconnect>, JsonRejection>,
) -> Result<Response, AppError> {
    let actor = bearer.may(Role::Admin)?;
    let Json(asked) = asked.map_err(bad_request_body)?;
    let missing = || AppError::json(StatusCode::NOT_FOUND, "there is no such account, or it is disconnected");
    let account = Ids { domain: asked.domain, hub: asked.hub_id }.key().ok_or_else(missing)?;
    match connect.disconnect(&account, &actor).await? {
        Disconnected::GivenBack => Ok(StatusCode::NO_CONTENT.into_response()),
        Disconnected::Owed => Ok(StatusCode::ACCEPTED.into_response()),
        Disconnected::Before => Err(missing()),
    }
}

impl AppState {
    /// Runs an operation. Returns the name of its outcome, which the page shows. Fails if MongoDB or SQS cannot be
    /// reached.
    async fn operate(
        &self,
        account: &AccountKey,
        operation: Operation,
        actor: &Actor,
    ) -> Result<&'static str, AppError> {
        tracing::info!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id,
            operation = operation.name(), by = actor.name, source.ip = actor.source.0, "a button was pressed");
        match operation {
            Operation::Sync => {
                self.request_sync_now(account).await?;
                self.note(account, TimelineEvent::SyncAsked, Some(actor)).await;
            }
            Operation::Pause | Operation::Resume => {
                let pause = operation == Operation::Pause;
                if self.store.pause(account, pause).await.map_err(internal_error_page)? {
                    self.note(account, if pause { TimelineEvent::Paused } else { TimelineEvent::Resumed }, Some(actor))
                        .await;
                }
                if !pause {
                    self.request_sync_now(account).await?;
                }
            }
            Operation::Resync => {
                let status = self.store.status(account).await.map_err(internal_error_page)?;
                let checkpoint = status.and_then(|status| status.checkpoint).unwrap_or_default();
                let LanesResync::Done { left } = self.resync(account, checkpoint.objects()).await? else {
                    return Ok("busy");
                };
                self.request_sync_now(account).await?;
                self.note(account, TimelineEvent::ResyncAsked, Some(actor)).await;
                if !left.is_empty() {
                    let left = left.iter().map(ObjectType::as_str).collect::<Vec<_>>().join(" ");
                    tracing::warn!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id, left,
                        "there was no time to have all object types of an account read again");
                    return Ok("partly");
                }
            }
            Operation::Disconnect => {
                if self.disconnect(account, actor).await? == Disconnected::Owed {
                    return Ok("owed");
                }
            }
        }
        Ok(operation.name())
    }

    /// Requests a resync of all lanes. Tries for five seconds if the account is busy: a slice ends within seconds. Returns
    /// `Busy` if it still is.
    async fn resync(&self, account: &AccountKey, objects: &[ObjectType]) -> Result<LanesResync, AppError> {
        const TRIES: u32 = 12;
        let ends = Instant::now() + RESYNC_TIMEOUT;
        for _ in 1..TRIES {
            let done = self.store.resync_lanes(account, objects, Window::BEGINNING, ends).await;
            match done.map_err(internal_error_page)? {
                LanesResync::Busy => tokio::time::sleep(Duration::from_millis(500)).await,
                done => return Ok(done),
            }
        }
        Ok(LanesResync::Busy)
    }

    /// Queues a request to check the account for changes now.
    async fn request_sync_now(&self, account: &AccountKey) -> Result<(), AppError> {
        let request = SyncRequest::notified(account.clone(), Notified::Changes);
        self.enqueue_sync(request, Duration::ZERO).await.map_err(internal_error_page)
    }

    /// Marks an account as disconnected, revokes its grant, and deletes its tokens.
    async fn disconnect(&self, account: &AccountKey, actor: &Actor) -> Result<Disconnected, AppError> {
        // If the revocation fails, the sync function tries again from then on.
        let retry_at = time::after(DateTime::now(), FIRST_PAUSE);
        if !self.store.disconnect(account, retry_at).await.map_err(internal_error)? {
            return Ok(Disconnected::Before);
        }
        tracing::info!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id,
            by = actor.name, source.ip = actor.source.0, "an account was disconnected");
        self.note(account, TimelineEvent::Disconnected, Some(actor)).await;
        let app = self.config.app.as_ref();
        let revoker = GrantRevoker { store: &self.store, vault: &self.vault, hubspot: &self.hubspot, app };
        match revoker.revoke_due_grants(account, retry_at, Instant::now() + REVOCATION_TIMEOUT).await {
            Ok(true) => Ok(Disconnected::GivenBack),
            Ok(false) => Ok(Disconnected::Owed),
            Err(error) => {
                tracing::error!(error = error.words(), "a grant could not be given back yet");
                Ok(Disconnected::Owed)
            }
        }
    }

    /// Writes an event to the account's timeline. A failure is only logged, because the event itself has already
    /// happened.
    pub(crate) async fn note(&self, account: &AccountKey, what: TimelineEvent, actor: Option<&Actor>) {
        let noted = match actor {
            Some(actor) => self.store.record_event_by(account, what, &actor.name).await,
            None => self.store.record_event(account, what, None).await,
        };
        if let Err(error) = noted {
            tracing::error!(error = %store::describe(&error), "what happened to an account could not be noted");
        }
    }
}
