//! Browsers that are signed in. A session is a random text in a cookie. The database has its hash, the name of the
//! token that it began with, and when it ends. A session's forms carry a token of their own, so that no other site can
//! submit them.

use std::time::Duration;

use axum::{
    Form,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use cookie::SameSite;
use model::time::{self, DateTime};
use serde::Deserialize;
use store::StoredSession;

use crate::{
    Connect,
    auth::{Actor, Source, Wrong},
    cookies::Cookie,
    operation::Pressed,
    signing::{Keys, Purpose, hash, random},
    tokens::{Known, Role},
    web::{AppError, internal_error_page, redirect},
};

const SESSION: Cookie = Cookie { name: "session", same_site: SameSite::Strict };

/// How long a session lasts at most.
const SESSION_TTL: Duration = Duration::from_secs(12 * 3600);

/// How long a session lasts without requests.
const IDLE_TTL: Duration = Duration::from_secs(30 * 60);

/// A session is extended if it gets at least this much longer. Otherwise every page would cause a write.
const MIN_EXTENSION: Duration = Duration::from_secs(60);

/// The header of a request that the page's script makes, and not a person. Such a request does not extend the session.
pub(crate) const BY_ITSELF: &str = "x-live";

/// A browser that has signed in with a token.
pub(crate) struct Session {
    id: String,
    actor: Actor,
}

impl FromRequestParts<Connect> for Session {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, connect: &Connect) -> Result<Self, AppError> {
        let base = connect.base(&parts.headers)?;
        let id = SESSION.read(&parts.headers, &base).ok_or(AppError::SignIn)?;
        let id_hash = hash(&id);
        let stored = connect.store.session(&id_hash).await.map_err(internal_error_page)?.ok_or(AppError::SignIn)?;
        // A session ends if its token is removed, replaced, or loses the right to read.
        let known = connect.config.tokens.named(&stored.by).filter(|known| known.role.may(Role::Read));
        let known = known.ok_or(AppError::SignIn)?;
        if !connect.keys.verify(Purpose::Session, &[&id, &known.print()], &stored.proof) {
            return Err(AppError::SignIn);
        }
        let now = DateTime::now();
        let until = time::after(now, IDLE_TTL).min(stored.ends_at);
        if !parts.headers.contains_key(BY_ITSELF) && time::between(stored.expires_at, until) >= MIN_EXTENSION {
            connect.store.keep_session(&id_hash, until).await.map_err(internal_error_page)?;
        }
        Ok(Self { id, actor: Actor::new(known, Source::of(&parts.extensions)) })
    }
}

impl Session {
    /// Returns the token of this session's forms.
    pub(crate) fn form_token(&self, keys: &Keys) -> String {
        keys.sign(Purpose::Form, &[&self.id])
    }

    /// Fails with 403 if the form was not shown to this session.
    pub(crate) fn check_form(&self, keys: &Keys, given: &str) -> Result<(), AppError> {
        if keys.verify(Purpose::Form, &[&self.id], given) {
            return Ok(());
        }
        let words = "This form is not one that was shown to you, or you have signed in again since. Nothing was done.";
        Err(AppError::page(StatusCode::FORBIDDEN, "Please go back and try again", words))
    }

    /// Returns true if the session's token may change anything.
    pub(crate) fn may_operate(&self) -> bool {
        self.actor.role.may(Role::Admin)
    }

    /// Returns the session's owner. Fails with 403 if the token may not change anything.
    pub(crate) fn operator(&self) -> Result<&Actor, AppError> {
        let words = "Your token may look at accounts, and change nothing.";
        let refused = || AppError::page(StatusCode::FORBIDDEN, "Not allowed", words);
        self.actor.may(Role::Admin).then_some(&self.actor).ok_or_else(refused)
    }
}

#[derive(Deserialize)]
pub(crate) struct Login {
    token: String,
}

/// `POST /sign-in`: begins a session. Fails if the token is wrong, or may not read.
pub(crate) async fn login(
    State(connect): State<Connect>,
    source: Source,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Result<Response, AppError> {
    let again = |status, words: &str| AppError::page(status, "You are not signed in", words);
    let known = connect.check(login.token.trim(), &source).map_err(|wrong| match wrong {
        Wrong::Token => again(StatusCode::UNAUTHORIZED, "That is not the token. Please go back and try again."),
        Wrong::TooMany => {
            again(StatusCode::TOO_MANY_REQUESTS, "There were too many wrong tokens. Please wait a minute.")
        }
    })?;
    let actor = Actor::new(known, source);
    if !actor.may(Role::Read) {
        return Err(again(StatusCode::FORBIDDEN, "This token makes links, and does not show accounts."));
    }
    let base = connect.base(&headers)?;
    let (id, now) = (random(), DateTime::now());
    connect
        .store
        .begin_session(&hash(&id), &begun(&connect.keys, &id, known, now))
        .await
        .map_err(internal_error_page)?;
    tracing::info!(by = actor.name, source.ip = actor.source.0, "somebody has signed in");
    let cookie = SESSION.set(&id, &base, SESSION_TTL.as_secs());
    // Browsers do not send `Strict` cookies with a navigation that another site began, as this redirect may be. They do
    // send them with requests of a page.
    Ok((cookie, redirect("/")).into_response())
}

/// Returns a session that begins now.
fn begun(keys: &Keys, id: &str, known: &Known, now: DateTime) -> StoredSession {
    StoredSession {
        by: known.name.clone(),
        proof: keys.sign(Purpose::Session, &[id, &known.print()]),
        ends_at: time::after(now, SESSION_TTL),
        expires_at: time::after(now, IDLE_TTL),
    }
}

/// `POST /sign-out`: ends the session in the database and in the browser.
pub(crate) async fn logout(
    State(connect): State<Connect>,
    session: Session,
    headers: HeaderMap,
    Form(pressed): Form<Pressed>,
) -> Result<Response, AppError> {
    session.check_form(&connect.keys, &pressed.token)?;
    connect.store.end_session(&hash(&session.id)).await.map_err(internal_error_page)?;
    let Actor { name, source, .. } = &session.actor;
    tracing::info!(by = name, source.ip = source.0, "somebody has signed out");
    Ok((SESSION.forget(&connect.base(&headers)?), redirect("/sign-in")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_one_sessions_own() {
        let keys = Keys::new(&"a secret of thirty-two characters".into());
        let session = |id: &str| {
            let actor = Actor { name: "admin".to_owned(), role: Role::Admin, source: Source("-".to_owned()) };
            Session { id: id.to_owned(), actor }
        };
        let (one, other) = (session("a"), session("b"));
        assert!(one.check_form(&keys, &one.form_token(&keys)).is_ok());
        assert!(one.check_form(&keys, &other.form_token(&keys)).is_err());
        assert!(one.check_form(&keys, "").is_err());
    }
}
