//! Classifies error responses of HubSpot's token endpoint and of introspection, in all forms that were seen.
//!
//! Since January 2026 error responses carry `error` in the form of RFC 6749, beside HubSpot's own `status` ("New OAuth
//! v3 API endpoints and standardized error responses"). Older forms have `status` alone, or `category` and a message.
//! Only the codes of a response are kept, because a message might quote a token.

use std::time::Duration;

use reqwest::{StatusCode, header::HeaderMap};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::HubSpotError;

/// Why there are no new tokens.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The grant is not valid any more. The customer must connect the account again.
    #[error("HubSpot rejects the refresh token: {0}")]
    Rejected(String),
    /// The account was deleted in HubSpot, or has disconnected the app.
    #[error("the HubSpot account is gone: {0}")]
    PortalGone(String),
    /// The tokens belong to another account. They must not be used, because one customer's data would be stored as
    /// another's.
    #[error("the refresh token belongs to HubSpot account {0}")]
    OtherAccount(String),
    /// HubSpot rejects the app itself (wrong client id or secret). No account can be refreshed.
    #[error("HubSpot rejects the OAuth app: {0}")]
    AppRejected(String),
    /// The token endpoint fails. The grant may still be valid.
    #[error("HubSpot's token endpoint failed: {reason}")]
    Transient {
        /// The reason, for people.
        reason: String,
        /// How long HubSpot asks to wait. Zero if it names no wait.
        retry_after: Duration,
    },
}

impl TokenError {
    /// Returns a transient error without a wait from HubSpot.
    pub fn transient(reason: impl ToString) -> Self {
        Self::Transient { reason: reason.to_string(), retry_after: Duration::ZERO }
    }

    /// Returns true if this proves that the customer must connect the account again.
    pub fn is_proof(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::PortalGone(_) | Self::OtherAccount(_))
    }

    /// Returns how long HubSpot asks to wait. Returns zero if it names no wait.
    pub fn retry_later(&self) -> Duration {
        match self {
            Self::Transient { retry_after, .. } => *retry_after,
            Self::Rejected(_) | Self::PortalGone(_) | Self::OtherAccount(_) | Self::AppRejected(_) => Duration::ZERO,
        }
    }
}

/// An error response of the token endpoint, classified.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    /// The cause is known.
    #[error(transparent)]
    Clear(TokenError),
    /// The response has codes, but no known one. Introspection may name the cause.
    #[error(transparent)]
    Unclear(TokenError),
}

impl From<Refusal> for TokenError {
    fn from(refusal: Refusal) -> Self {
        let (Refusal::Clear(error) | Refusal::Unclear(error)) = refusal;
        error
    }
}

/// The parts of an error response that carry codes. Each may be missing.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    error: Value,
    status: Value,
    category: Value,
    sub_category: Value,
    message: Value,
}

/// Codes for wrong credentials of the app.
const APP_CODES: [&str; 5] =
    ["INVALID_CLIENT", "UNAUTHORIZED_CLIENT", "BAD_CLIENT_ID", "BAD_CLIENT_SECRET", "BAD_CLIENT"];

/// Codes for a portal that was deleted, or has disconnected the app.
const PORTAL_CODES: [&str; 2] = ["BAD_HUB", "ACCESS_DENIED"];

/// Codes for a refresh token, or a code of the consent page, that is not valid (any more).
const GRANT_CODES: [&str; 3] = ["INVALID_GRANT", "BAD_REFRESH_TOKEN", "BAD_AUTH_CODE"];

/// Classifies a response that is not a success.
pub(super) fn classify_refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Refusal {
    // Rate limits and server errors prove nothing about the grant, whatever their bodies contain.
    if matches!(status.as_u16(), 408 | 423 | 429 | 477..) {
        let retry_after = HubSpotError::from_response(status, headers, body).retry_later();
        return Refusal::Clear(TokenError::Transient { reason: format!("status {}", status.as_u16()), retry_after });
    }
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let codes: Vec<String> =
        [&body.error, &body.status, &body.category, &body.sub_category].into_iter().filter_map(code).collect();
    let names = |known: &[&str]| codes.iter().any(|code| known.contains(&code.to_uppercase().as_str()));
    let said = if codes.is_empty() { format!("status {}", status.as_u16()) } else { codes.join(", ") };
    if names(&APP_CODES) {
        Refusal::Clear(TokenError::AppRejected(said))
    } else if names(&PORTAL_CODES) {
        Refusal::Clear(TokenError::PortalGone(said))
    } else if names(&GRANT_CODES) || is_of_refresh_token(&body.message) {
        Refusal::Clear(TokenError::Rejected(said))
    } else if codes.is_empty() {
        // "Migration in progress" has a message only.
        Refusal::Clear(TokenError::transient(said))
    } else {
        Refusal::Unclear(TokenError::transient(said))
    }
}

/// Returns a code: a word of letters and underscores. Returns `None` for anything else, because it might be a token.
fn code(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    ((1..=60).contains(&text.len()) && is_word).then(|| text.to_owned())
}

/// Returns true if the message is HubSpot's text for an invalid refresh token, which some responses have instead of a
/// code.
fn is_of_refresh_token(message: &Value) -> bool {
    let message = message.as_str().unwrap_or_default().to_lowercase();
    let faults = ["invalid", "expired", "revoked", "not issued"];
    message.contains("refresh token") && faults.iter().any(|fault| message.contains(fault))
}

/// The result of introspecting a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Introspected {
    /// The token is valid for this account.
    Active {
        /// The portal's id, in HubSpot's form.
        hub_id: Value,
        /// The portal's domain.
        hub_domain: Option<String>,
        /// The granted scopes, if HubSpot returns them.
        scopes: Option<Vec<String>>,
    },
    /// The token is not valid. HubSpot returns no more than that.
    Inactive,
}

/// Parses an introspection response. Returns `None` if it has another form.
pub(super) fn parse_introspection(body: &[u8]) -> Option<Introspected> {
    #[derive(Deserialize)]
    struct Introspection {
        active: bool,
        #[serde(default)]
        hub_id: Value,
        hub_domain: Option<String>,
        #[serde(default)]
        scopes: Value,
    }
    let Introspection { active, hub_id, hub_domain, scopes } = serde_json::from_slice(body).ok()?;
    let names = |scopes: &Vec<Value>| scopes.iter().filter_map(|scope| scope.as_str().map(str::to_owned)).collect();
    let scopes: Option<Vec<String>> = scopes.as_array().map(names);
    Some(if active { Introspected::Active { hub_id, hub_domain, scopes } } else { Introspected::Inactive })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> String {
        match classify_refusal(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes()) {
            Refusal::Clear(error) => error.to_string(),
            Refusal::Unclear(error) => format!("unclear: {error}"),
        }
    }

    #[test]
    fn every_form_of_a_refusal_is_read() {
        let rejected = |codes| format!("HubSpot rejects the refresh token: {codes}");
        let gone = |codes| format!("the HubSpot account is gone: {codes}");
        let app = |codes| format!("HubSpot rejects the OAuth app: {codes}");
        let trouble = |reason| format!("HubSpot's token endpoint failed: {reason}");
        let table = [
            (
                400,
                r#"{"error":"invalid_grant","status":"BAD_REFRESH_TOKEN"}"#,
                rejected("invalid_grant, BAD_REFRESH_TOKEN"),
            ),
            (400, r#"{"error":"invalid_grant"}"#, rejected("invalid_grant")),
            (
                400,
                r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}"#,
                rejected("BAD_REFRESH_TOKEN"),
            ),
            (400, r#"{"category":"BAD_REFRESH_TOKEN","status":"error"}"#, rejected("error, BAD_REFRESH_TOKEN")),
            (
                400,
                r#"{"category":"VALIDATION_ERROR","message":"refresh token is expired"}"#,
                rejected("VALIDATION_ERROR"),
            ),
            (400, r#"{"message":"refresh token was not issued to this client"}"#, rejected("status 400")),
            (400, r#"{"error":"access_denied","status":"BAD_HUB"}"#, gone("access_denied, BAD_HUB")),
            (403, r#"{"status":"BAD_HUB","message":"missing or unknown hub id"}"#, gone("BAD_HUB")),
            (401, r#"{"error":"invalid_client","status":"BAD_CLIENT_ID"}"#, app("invalid_client, BAD_CLIENT_ID")),
            // The app's error wins over every other code.
            (400, r#"{"error":"invalid_grant","status":"BAD_CLIENT_SECRET"}"#, app("invalid_grant, BAD_CLIENT_SECRET")),
            (400, r#"{"message":"Migration in progress"}"#, trouble("status 400")),
            (400, r#"{"error":7,"status":["x"],"subCategory":{"a":1}}"#, trouble("status 400")),
            (403, "<html>", trouble("status 403")),
            (429, r#"{"error":"invalid_grant"}"#, trouble("status 429")),
            (477, "", trouble("status 477")),
            (503, r#"{"status":"BAD_REFRESH_TOKEN"}"#, trouble("status 503")),
            (400, r#"{"error":"invalid_request"}"#, format!("unclear: {}", trouble("invalid_request"))),
            (
                401,
                r#"{"status":"error","category":"unauthorized"}"#,
                format!("unclear: {}", trouble("error, unauthorized")),
            ),
        ];
        for (status, body, expected) in table {
            assert_eq!(said(status, body), expected, "{body}");
        }
    }

    #[test]
    fn no_token_is_said_again() {
        let body =
            r#"{"error":"na1-1234-abcd","status":"pat-na1-secret","message":"refresh token na1-1234 is invalid"}"#;
        assert_eq!(said(400, body), "HubSpot rejects the refresh token: status 400");
    }

    #[test]
    fn introspection_is_read_in_both_forms() {
        let active = |scopes: Option<&[&str]>| Introspected::Active {
            hub_id: 7.into(),
            hub_domain: Some("a.example".to_owned()),
            scopes: scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect()),
        };
        assert_eq!(parse_introspection(br#"{"active":true,"hub_id":7,"hub_domain":"a.example"}"#), Some(active(None)));
        let granted = br#"{"active":true,"hub_id":7,"hub_domain":"a.example","scopes":["oauth",7]}"#;
        assert_eq!(parse_introspection(granted), Some(active(Some(&["oauth"]))));
        let odd = br#"{"active":true,"hub_id":7,"hub_domain":"a.example","scopes":"oauth"}"#;
        assert_eq!(parse_introspection(odd), Some(active(None)));
        assert_eq!(parse_introspection(br#"{"active":false}"#), Some(Introspected::Inactive));
        assert_eq!(parse_introspection(br#"{"active":false,"hub_id":7}"#), Some(Introspected::Inactive));
        assert_eq!(parse_introspection(b"<html>"), None);
    }
}
