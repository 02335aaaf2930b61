//! Who may see and do things: whoever has the token, as a bearer token or in a session of the page. A session's forms
//! carry a token of their own, so that no other site can press a button.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Form,
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use common::time::{self, DateTime};
use serde::Deserialize;

use crate::{
    Connect, Held,
    signing::{Keys, Purpose},
    web::{Refusal, cookie, redirect, set_cookie},
};

/// The name of the session's cookie.
const SESSION: &str = "session";

/// How long a session lasts.
const LASTS: Duration = Duration::from_secs(12 * 3600);

/// A program that has given the token.
pub(crate) struct Bearer;

/// A browser that has given the token.
pub(crate) struct Session(String);

impl FromRequestParts<Connect> for Bearer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, connect: &Connect) -> Result<Self, Refusal> {
        let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = given.and_then(|given| given.strip_prefix("Bearer ")) else {
            return Err(Refusal::json(StatusCode::UNAUTHORIZED, "a bearer token is needed"));
        };
        match connect.check(token) {
            Checked::Right => Ok(Self),
            Checked::Wrong => Err(Refusal::json(StatusCode::UNAUTHORIZED, "the bearer token is not the right one")),
            Checked::TooMany => Err(Refusal::json(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens")),
        }
    }
}

impl FromRequestParts<Connect> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, connect: &Connect) -> Result<Self, Refusal> {
        let session = cookie(&parts.headers, SESSION).filter(|session| is_live(&connect.keys, session));
        session.map(Self).ok_or(Refusal::SignIn)
    }
}

impl Session {
    /// The token of this session's forms.
    pub(crate) fn form_token(&self, keys: &Keys) -> String {
        keys.sign(Purpose::Form, &[&self.0])
    }

    /// Lets a form through that was shown to this session.
    pub(crate) fn check_form(&self, keys: &Keys, given: &str) -> Result<(), Refusal> {
        if keys.verify(Purpose::Form, &[&self.0], given) {
            return Ok(());
        }
        let words = "This form is not one that was shown to you, or you have signed in again since. Nothing was done.";
        Err(Refusal::page(StatusCode::FORBIDDEN, "Please go back and try again", words))
    }
}

/// A session is the time at which it ends, with a signature.
fn session(keys: &Keys, now: DateTime) -> String {
    let ends = time::after(now, LASTS).timestamp_millis().to_string();
    let signature = keys.sign(Purpose::Session, &[&ends]);
    format!("{ends}.{signature}")
}

fn is_live(keys: &Keys, session: &str) -> bool {
    session.split_once('.').is_some_and(|(ends, signature)| {
        let ends_at = ends.parse().map_or(DateTime::MIN, DateTime::from_millis);
        keys.verify(Purpose::Session, &[ends], signature) && ends_at > DateTime::now()
    })
}

#[derive(Deserialize)]
pub(crate) struct Login {
    token: String,
}

/// Begins a session.
pub(crate) async fn login(
    State(connect): State<Connect>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Result<Response, Refusal> {
    let again = |status, words: &str| Err(Refusal::page(status, "You are not signed in", words));
    match connect.check(login.token.trim()) {
        Checked::Right => {}
        Checked::Wrong => {
            return again(StatusCode::UNAUTHORIZED, "That is not the token. Please go back and try again.");
        }
        Checked::TooMany => {
            return again(StatusCode::TOO_MANY_REQUESTS, "There were too many wrong tokens. Please wait a minute.");
        }
    }
    let session = session(&connect.keys, DateTime::now());
    let cookie = set_cookie(SESSION, &session, &connect.base(&headers)?, "/", LASTS.as_secs(), "Strict");
    // `Strict` cookies do not come with a navigation that another site began, such as this redirect may be; a page does.
    Ok((cookie, redirect("/")).into_response())
}

/// Ends the session in this browser.
pub(crate) async fn logout(State(connect): State<Connect>, headers: HeaderMap) -> Result<Response, Refusal> {
    Ok((set_cookie(SESSION, "", &connect.base(&headers)?, "/", 0, "Strict"), redirect("/sign-in")).into_response())
}

/// What became of a token that was given.
enum Checked {
    Right,
    Wrong,
    TooMany,
}

/// How many wrong tokens are looked at in a while. The right one always is: nobody can lock others out.
const MOST: u32 = 10;
const WHILE: Duration = Duration::from_secs(60);

/// The wrong tokens that were given lately, to this instance of the function.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<Option<(Instant, u32)>>);

impl Held {
    fn check(&self, token: &str) -> Checked {
        if self.keys.is_secret(token) {
            return Checked::Right;
        }
        let mut failures = self.failures.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = failures.filter(|(since, _)| since.elapsed() < WHILE).unwrap_or((Instant::now(), 0));
        *failures = Some((since, count + 1));
        tracing::warn!(count = count + 1, "a wrong token was given");
        if count < MOST { Checked::Wrong } else { Checked::TooMany }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lasts_as_long_as_it_says_and_cannot_be_made_up() {
        let keys = Keys::new(&"a secret of thirty-two characters".into());
        let live = session(&keys, DateTime::now());
        assert!(is_live(&keys, &live));
        assert!(!is_live(&keys, &session(&keys, time::before(DateTime::now(), LASTS))));
        let (ends, signature) = live.split_once('.').unwrap();
        let later = format!("{}.{signature}", ends.parse::<i64>().unwrap() + 1);
        for forged in [later.as_str(), "", ".", ends, "9999999999999."] {
            assert!(!is_live(&keys, forged), "{forged}");
        }
    }

    #[test]
    fn a_form_is_one_sessions_own() {
        let keys = Keys::new(&"a secret of thirty-two characters".into());
        let (one, other) = (Session("1.a".to_owned()), Session("2.b".to_owned()));
        assert!(one.check_form(&keys, &one.form_token(&keys)).is_ok());
        assert!(one.check_form(&keys, &other.form_token(&keys)).is_err());
        assert!(one.check_form(&keys, "").is_err());
    }
}
