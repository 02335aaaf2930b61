//! What is done to an account by those who run the service: the page's buttons, and disconnecting.

use std::time::Duration;

use axum::{
    Form, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use common::{
    account::AccountKey,
    checkpoint::Window,
    message::{Notified, SyncRequest},
    object::ObjectType,
    store::{Happened, Resync},
};
use serde::Deserialize;

use crate::{
    Connect, Held,
    auth::{Bearer, Session},
    pages::account_path,
    web::{Refusal, redirect, trouble, trouble_page, unread},
};

/// What can be done to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// Look for changes now.
    Sync,
    /// Ask nothing of HubSpot.
    Pause,
    /// Go on.
    Resume,
    /// Read everything again.
    Resync,
    /// Forget its tokens, and give them back.
    Disconnect,
}

impl Operation {
    /// Its name in addresses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Resync => "resync",
            Self::Disconnect => "disconnect",
        }
    }
}

/// The ids in an address.
#[derive(Deserialize)]
pub(crate) struct Ids {
    pub(crate) domain: String,
    pub(crate) hub: String,
}

impl Ids {
    pub(crate) fn key(self) -> Option<AccountKey> {
        Some(AccountKey { domain_id: self.domain.try_into().ok()?, hub_id: self.hub.try_into().ok()? })
    }
}

#[derive(Deserialize)]
pub(crate) struct Pressed {
    #[serde(default)]
    token: String,
}

/// A button of the page was pressed.
pub(crate) async fn press(
    State(connect): State<Connect>,
    session: Session,
    Path((domain, hub, operation)): Path<(String, String, Operation)>,
    Form(pressed): Form<Pressed>,
) -> Result<Response, Refusal> {
    session.check_form(&connect.keys, &pressed.token)?;
    let account = Ids { domain, hub }.key().ok_or_else(no_account)?;
    if connect.store.status(&account).await.map_err(trouble_page)?.is_none() {
        return Err(no_account());
    }
    let done = connect.operate(&account, operation).await?;
    Ok(redirect(&format!("{}?done={done}", account_path(&account))))
}

pub(crate) fn no_account() -> Refusal {
    Refusal::page(StatusCode::NOT_FOUND, "Not found", "There is no such account.")
}

/// Which account is to be disconnected.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Disconnect {
    domain: String,
    hub_id: String,
}

/// Disconnects an account, asked by a program.
pub(crate) async fn disconnect(
    _: Bearer,
    State(connect): State<Connect>,
    asked: Result<Json<Disconnect>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(asked) = asked.map_err(unread)?;
    let missing = || Refusal::json(StatusCode::NOT_FOUND, "there is no such account, or it is disconnected");
    let account = Ids { domain: asked.domain, hub: asked.hub_id }.key().ok_or_else(missing)?;
    match connect.disconnect(&account).await? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(missing()),
    }
}

impl Held {
    /// Does it, and gives the word for what was done.
    async fn operate(&self, account: &AccountKey, operation: Operation) -> Result<&'static str, Refusal> {
        match operation {
            Operation::Sync => {
                self.look(account).await?;
                self.note(account, Happened::SyncAsked).await;
            }
            Operation::Pause | Operation::Resume => {
                let pause = operation == Operation::Pause;
                if self.store.pause(account, pause).await.map_err(trouble_page)? {
                    self.note(account, if pause { Happened::Paused } else { Happened::Resumed }).await;
                }
                if !pause {
                    self.look(account).await?;
                }
            }
            Operation::Resync => {
                for object in ObjectType::ALL {
                    if self.resync(account, object).await? == Resync::Busy {
                        return Ok("busy");
                    }
                }
                self.look(account).await?;
                self.note(account, Happened::ResyncAsked).await;
            }
            Operation::Disconnect => {
                self.disconnect(account).await?;
            }
        }
        Ok(operation.name())
    }

    /// A slice under way ends within seconds.
    async fn resync(&self, account: &AccountKey, object: ObjectType) -> Result<Resync, Refusal> {
        const TRIES: u32 = 12;
        for _ in 1..TRIES {
            match self.store.resync(account, object, Window::BEGINNING).await.map_err(trouble_page)? {
                Resync::Busy => tokio::time::sleep(Duration::from_millis(500)).await,
                done => return Ok(done),
            }
        }
        Ok(Resync::Busy)
    }

    /// Lets the account be looked at for changes now.
    async fn look(&self, account: &AccountKey) -> Result<(), Refusal> {
        let request = SyncRequest::notified(account.clone(), Notified::Changes);
        self.ask(request, Duration::ZERO).await.map_err(trouble_page)
    }

    /// Forgets an account's tokens and gives its grant back. `false` where there was nothing to disconnect.
    async fn disconnect(&self, account: &AccountKey) -> Result<bool, Refusal> {
        let grant = self.store.grant(account).await.map_err(trouble)?;
        if !self.store.disconnect(account).await.map_err(trouble)? {
            return Ok(false);
        }
        tracing::info!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id, "an account was disconnected");
        self.note(account, Happened::Disconnected).await;
        if let (Some(grant), Some(app)) = (grant, self.config.app.as_ref()) {
            // The tokens are forgotten in any case; who wants to be sure uninstalls the app in HubSpot.
            let revoked = async {
                let grant = self.vault.open(account, "refreshToken", &grant).await?;
                anyhow::Ok(self.hubspot.revoke(app, &grant).await?)
            };
            if let Err(error) = revoked.await {
                tracing::warn!(error = %error, "the grant of a disconnected account could not be given back");
            }
        }
        Ok(true)
    }

    /// Notes for people what happened. It has happened also where that fails.
    pub(crate) async fn note(&self, account: &AccountKey, what: Happened) {
        if let Err(error) = self.store.happened(account, what, None).await {
            tracing::error!(error = %common::store::describe(&error), "what happened to an account could not be noted");
        }
    }
}
