//! Authorization by tokens. `session` is for browsers.

use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::FromRequestParts,
    http::{Extensions, StatusCode, header, request::Parts},
};
use lambda_http::{RequestExt, request::RequestContext};

use crate::{
    AppState, Connect,
    metrics::Refused,
    tokens::{Known, Role},
    web::AppError,
};

/// The IP address of a request's sender, or `unknown`.
#[derive(Clone, Debug)]
pub(crate) struct Source(pub(crate) String);

impl Source {
    /// Returns the sender's address as API Gateway reports it.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let address = match extensions.request_context_ref() {
            Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.clone(),
            _ => None,
        };
        Self(address.unwrap_or_else(|| "unknown".to_owned()))
    }
}

impl<S: Sync> FromRequestParts<S> for Source {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// The owner of a token who does something, for logs and timelines.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// The name of the token.
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) source: Source,
}

impl Actor {
    pub(crate) fn new(known: &Known, source: Source) -> Self {
        Self { name: known.name.clone(), role: known.role, source }
    }

    /// Returns true if the token has the rights of `role`. Logs a warning if not.
    pub(crate) fn may(&self, role: Role) -> bool {
        let may = self.role.may(role);
        if !may {
            tracing::warn!(by = self.name, source.ip = self.source.0, "a token was used for what it may not do");
        }
        may
    }
}

/// A program that has sent a valid token.
pub(crate) struct Bearer(Actor);

impl Bearer {
    /// Returns the program if its token has the rights of `role`. Fails with 403 if not.
    pub(crate) fn may(self, role: Role) -> Result<Actor, AppError> {
        match self.0.may(role) {
            true => Ok(self.0),
            false => Err(AppError::json(StatusCode::FORBIDDEN, "this token may not do that")),
        }
    }
}

impl FromRequestParts<Connect> for Bearer {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, connect: &Connect) -> Result<Self, AppError> {
        let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = given.and_then(token_of) else {
            return Err(AppError::json(StatusCode::UNAUTHORIZED, "a bearer token is needed"));
        };
        let source = Source::of(&parts.extensions);
        match connect.check(token, &source) {
            Ok(known) => Ok(Self(Actor::new(known, source))),
            Err(Wrong::Token) => Err(AppError::json(StatusCode::UNAUTHORIZED, "the bearer token is not the right one")),
            Err(Wrong::TooMany) => Err(AppError::json(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens")),
        }
    }
}

/// Returns the token of an `Authorization` header. Returns `None` if the scheme is not `Bearer`, in any case (RFC 9110,
/// section 11.1).
fn token_of(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token)
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wrong {
    /// The token is wrong.
    Token,
    /// The token is wrong, after too many other wrong ones.
    TooMany,
}

/// How many wrong tokens in [`WRONG_TOKENS_WINDOW`] are answered with 401. Later ones are answered with 429. A right
/// token is always accepted, so nobody can lock others out.
const MAX_WRONG_TOKENS: u32 = 10;
const WRONG_TOKENS_WINDOW: Duration = Duration::from_secs(60);

/// When this instance of the function began to count wrong tokens, and how many it has received since.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<Option<(Instant, u32)>>);

impl AppState {
    /// Returns the token that `token` is. Fails and counts the attempt if it is wrong.
    pub(crate) fn check(&self, token: &str, source: &Source) -> Result<&Known, Wrong> {
        if let Some(known) = self.config.tokens.find(token) {
            return Ok(known);
        }
        let mut failures = self.failures.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) =
            failures.filter(|(since, _)| since.elapsed() < WRONG_TOKENS_WINDOW).unwrap_or((Instant::now(), 0));
        *failures = Some((since, count + 1));
        tracing::warn!(count = count + 1, source.ip = source.0, "a wrong token was given");
        Refused { tokens_refused: 1, ..Refused::default() }.emit();
        Err(if count < MAX_WRONG_TOKENS { Wrong::Token } else { Wrong::TooMany })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found_however_its_scheme_is_written() {
        for header in ["Bearer abc", "bearer abc", "BEARER abc"] {
            assert_eq!(token_of(header), Some("abc"));
        }
        for header in ["abc", "Bearer", "Basic abc", "Bearerabc", ""] {
            assert_eq!(token_of(header), None, "{header}");
        }
    }
}
