//! Classifies HubSpot's error responses by what a caller does next.

use std::time::Duration;

use reqwest::{StatusCode, header::HeaderMap};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::retry_after::{Reason, retry_after};

/// Why a request to HubSpot failed.
#[derive(Clone, Debug, Error)]
pub enum HubSpotError {
    /// A rate limit was exceeded (429).
    #[error("HubSpot's {policy} rate limit was met")]
    RateLimited {
        /// Which limit.
        policy: RateLimit,
        /// The requested wait, cut to a plausible length. Undocumented for 429, used if present.
        retry_after: Option<Duration>,
    },
    /// The account is unavailable for a long time: its daily limit is used up, or HubSpot moves it to another data
    /// centre (477, "typically up to 24 hours").
    #[error("the HubSpot account is unavailable: {reason}")]
    AccountUnavailable {
        /// The reason, for people.
        reason: String,
        /// How long to send no requests for the account.
        retry_after: Duration,
    },
    /// The access token is not accepted (401): it expired, or was revoked.
    #[error("HubSpot does not accept the access token")]
    Unauthorized,
    /// The grant lacks a scope (403).
    #[error("HubSpot refuses access: {0}")]
    Forbidden(String),
    /// The account does not have the object type (400 or 404).
    #[error("the HubSpot account does not have this object type: {0}")]
    UnknownObject(String),
    /// HubSpot or the network fails. The same request may succeed later.
    #[error("the request to HubSpot failed: {reason}")]
    Transient {
        /// The reason, for people.
        reason: String,
        /// The requested wait, cut to a plausible length.
        retry_after: Option<Duration>,
    },
    /// HubSpot does not understand the request. The same request will fail again.
    #[error("HubSpot rejects the request with status {status}: {message}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// HubSpot's message.
        message: String,
    },
    /// The response does not have the documented form.
    #[error("HubSpot's response cannot be read: {0}")]
    Malformed(String),
}

/// One of HubSpot's rate limits (from `policyName`, or from the message, because search responses have no policy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// The search limit: a few requests a second.
    Secondly,
    /// The general limit: some hundreds of requests in ten seconds.
    TenSecondly,
    /// HubSpot does not name the limit.
    Unknown,
}

impl std::fmt::Display for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secondly => "secondly",
            Self::TenSecondly => "ten-secondly",
            Self::Unknown => "unnamed",
        })
    }
}

/// HubSpot's error envelope. Every part is optional, and may be null or have another form.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Envelope {
    message: Value,
    policy_name: Value,
    context: Value,
    errors: Value,
}

/// The most missing scopes that a message names.
const MAX_NAMED_SCOPES: usize = 3;

/// How long an account counts as unavailable if HubSpot names no wait. A daily limit ends at midnight in the account's
/// time zone. HubSpot names that time to private apps alone (`/account-info/{version}/api-usage/daily/private-apps`); a
/// request every 15 minutes finds it out for all kinds of apps.
const DEFAULT_UNAVAILABLE_PAUSE: Duration = Duration::from_secs(900);

impl HubSpotError {
    /// Classifies a response that is not a success.
    pub(super) fn from_response(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let envelope: Envelope = serde_json::from_slice(body).unwrap_or_default();
        let message = shortened(text(&envelope.message));
        let wait = |reason| retry_after(headers, reason);
        let unavailable = |reason: &str| Self::AccountUnavailable {
            reason: reason.to_owned(),
            retry_after: wait(Reason::Day).unwrap_or(DEFAULT_UNAVAILABLE_PAUSE),
        };
        let trouble = |retry_after| Self::Transient { reason: format!("status {}", status.as_u16()), retry_after };
        match status.as_u16() {
            429 if is_daily(&envelope) => unavailable("its daily limit is used up"),
            429 => Self::RateLimited { policy: policy(&envelope), retry_after: wait(Reason::RateLimit) },
            401 => Self::Unauthorized,
            403 => Self::Forbidden(envelope.missing_scopes().unwrap_or(message)),
            477 => unavailable("it is being moved to another data centre"),
            // Locked: wait at least two seconds.
            423 => trouble(Some(wait(Reason::Trouble).unwrap_or_default().max(Duration::from_secs(2)))),
            408 | 500..=599 => trouble(wait(Reason::Trouble)),
            400 | 404 if names_no_object_type(&message) => Self::UnknownObject(message),
            status => Self::Rejected { status, message },
        }
    }

    /// Classifies a transport error (no response, or only a part of one).
    pub(super) fn from_transport(error: reqwest::Error) -> Self {
        let kind = if error.is_timeout() {
            "no answer in time"
        } else if error.is_connect() {
            "no connection"
        } else if error.is_body() || error.is_decode() {
            "the answer broke off"
        } else {
            "the request failed"
        };
        Self::Transient { reason: kind.to_owned(), retry_after: None }
    }

    /// Returns true if the failure is expected to pass without any action.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }

    /// Returns true if the same request may succeed later. Limits and outages pass, a refusal does not.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Transient { .. } | Self::RateLimited { .. } | Self::AccountUnavailable { .. })
    }

    /// Returns true if other requests for the account will fail as well.
    pub fn concerns_account(&self) -> bool {
        matches!(self, Self::Unauthorized | Self::RateLimited { .. } | Self::AccountUnavailable { .. })
    }

    /// Returns true if the cause may be the contents of a single record that HubSpot cannot return, or that cannot be
    /// parsed.
    pub fn is_about_contents(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::Malformed(_))
    }

    /// Returns true if HubSpot rejects the request, and says that it does so because of an association or its type.
    pub fn is_about_associations(&self) -> bool {
        matches!(self, Self::Rejected { message, .. } if message.to_lowercase().contains("associat"))
    }

    /// Returns the pause before the same request is retried within a slice. Returns `None` if that is not worthwhile,
    /// which ends the slice. `pause` is the backoff's proposal.
    pub fn retry_soon(&self, pause: Duration) -> Option<Duration> {
        const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(2);
        let wait = match self {
            Self::RateLimited { policy: RateLimit::TenSecondly, retry_after } => {
                (*retry_after).unwrap_or(Duration::from_secs(10))
            }
            Self::RateLimited { retry_after, .. } => (*retry_after).unwrap_or_default().max(pause),
            Self::Transient { retry_after, .. } => (*retry_after).unwrap_or_default().max(pause),
            Self::AccountUnavailable { .. }
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::UnknownObject(_)
            | Self::Rejected { .. }
            | Self::Malformed(_) => return None,
        };
        (wait <= LONGEST_RETRY_PAUSE).then_some(wait)
    }

    /// Returns how long HubSpot asks to wait before the next slice. Returns zero if it names no wait.
    pub fn retry_later(&self) -> Duration {
        match self {
            Self::AccountUnavailable { retry_after, .. } => *retry_after,
            Self::RateLimited { policy: RateLimit::TenSecondly, retry_after } => {
                (*retry_after).unwrap_or(Duration::from_secs(10))
            }
            Self::RateLimited { retry_after, .. } | Self::Transient { retry_after, .. } => {
                (*retry_after).unwrap_or_default()
            }
            Self::Unauthorized
            | Self::Forbidden(_)
            | Self::UnknownObject(_)
            | Self::Rejected { .. }
            | Self::Malformed(_) => Duration::ZERO,
        }
    }
}

impl Envelope {
    fn said(&self) -> String {
        format!("{} {}", text(&self.policy_name), text(&self.message)).to_lowercase()
    }

    /// Returns a sentence with the missing scopes, any one of which would be enough. Returns `None` if HubSpot names
    /// none.
    fn missing_scopes(&self) -> Option<String> {
        let errors = self.errors.as_array().map_or(&[][..], Vec::as_slice);
        let contexts = errors.iter().map(|error| &error["context"]).chain([&self.context]);
        let named = contexts.filter_map(|context| {
            // The granular scopes come first: apps request scopes of that kind.
            let lists = ["requiredGranularScopes", "missingScopes", "requiredScopes"].map(|name| &context[name]);
            lists.into_iter().find_map(Value::as_array)
        });
        let mut scopes: Vec<&str> = named.flatten().filter_map(Value::as_str).filter(|scope| is_scope(scope)).collect();
        scopes.dedup();
        let more = scopes.len().saturating_sub(MAX_NAMED_SCOPES);
        scopes.truncate(MAX_NAMED_SCOPES);
        match scopes.as_slice() {
            [] => None,
            [scope] => Some(format!("the scope {scope} is not granted")),
            scopes if more == 0 => Some(format!("none of the scopes {} is granted", scopes.join(", "))),
            scopes => Some(format!("none of the scopes {} and {more} more is granted", scopes.join(", "))),
        }
    }
}

/// Returns true if HubSpot says that it does not know the object type in the path: "Unable to infer object type from:
/// cars" or "Invalid object or event type id: 2-1234567". Both have been seen, with status 400.
fn names_no_object_type(message: &str) -> bool {
    let message = message.to_lowercase();
    message.contains("unable to infer object type") || message.contains("invalid object or event type id")
}

fn is_daily(envelope: &Envelope) -> bool {
    envelope.said().contains("daily")
}

fn policy(envelope: &Envelope) -> RateLimit {
    let said = envelope.said();
    if said.contains("ten_secondly") {
        RateLimit::TenSecondly
    } else if said.contains("secondly") {
        RateLimit::Secondly
    } else {
        RateLimit::Unknown
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns true if the text can be the name of a scope, such as `crm.objects.contacts.read`.
fn is_scope(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=80).contains(&name.len()) && name.bytes().all(is_part)
}

fn shortened(message: &str) -> String {
    message.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderValue, RETRY_AFTER};

    use super::*;

    fn response(status: u16, retry_after: Option<u64>, body: &str) -> HubSpotError {
        let status = StatusCode::from_u16(status).unwrap();
        let headers = retry_after.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))).into_iter().collect();
        HubSpotError::from_response(status, &headers, body.as_bytes())
    }

    #[test]
    fn a_missing_scope_is_named() {
        let required = |scopes: &str| {
            format!(
                r#"{{"message":"This app hasn't been granted all required scopes.",
                    "errors":[{{"message":"One or more of the following scopes are required.","context":{{{scopes}}}}}]}}"#
            )
        };
        let table = [
            (
                required(r#""requiredGranularScopes":["crm.objects.companies.read"]"#),
                "the scope crm.objects.companies.read is not granted",
            ),
            (
                required(r#""requiredScopes":["contacts"],"requiredGranularScopes":["a.read","b.read"]"#),
                "none of the scopes a.read, b.read is granted",
            ),
            (
                required(r#""requiredGranularScopes":["a","b","c","d","e"]"#),
                "none of the scopes a, b, c and 2 more is granted",
            ),
            (required(r#""requiredScopes":["contacts"]"#), "the scope contacts is not granted"),
            (
                r#"{"message":"no","context":{"requiredGranularScopes":["a.read"]}}"#.to_owned(),
                "the scope a.read is not granted",
            ),
            (
                required(r#""requiredGranularScopes":["no scope at all",7]"#),
                "This app hasn't been granted all required scopes.",
            ),
            (r#"{"message":"no","errors":{"a":1},"context":null}"#.to_owned(), "no"),
        ];
        for (body, said) in table {
            assert_eq!(response(403, None, &body).to_string(), format!("HubSpot refuses access: {said}"), "{body}");
        }
    }

    #[test]
    fn a_part_of_another_form_hides_no_other() {
        let error =
            response(429, None, r#"{"message":null,"errors":"none","context":[],"policyName":"TEN_SECONDLY_ROLLING"}"#);
        assert_eq!(error.retry_later(), Duration::from_secs(10), "{error}");
    }

    #[test]
    fn each_answer_has_one_consequence() {
        let pause = Duration::from_millis(200);
        // status, Retry-After, body, pause within the slice, pause before the next slice
        let second = Some(Duration::from_secs(1));
        let table = [
            (429, None, r#"{"message":"You have reached your secondly limit."}"#, Some(pause), 0),
            (429, Some(1), r#"{"policyName":"SECONDLY"}"#, second, 1),
            (429, None, r#"{"policyName":"TEN_SECONDLY_ROLLING"}"#, None, 10),
            (429, None, r#"{"policyName":"DAILY","message":"You have reached your daily limit."}"#, None, 900),
            (429, None, "<html>", Some(pause), 0),
            (423, None, "", Some(Duration::from_secs(2)), 2),
            (477, Some(86_400), "", None, 86_400),
            (477, None, "", None, 900),
            (500, None, "", Some(pause), 0),
            (502, None, "<html>bad gateway</html>", Some(pause), 0),
            (524, None, "", Some(pause), 0),
            (401, None, "", None, 0),
            (403, None, "", None, 0),
            (400, None, "", None, 0),
            (414, None, "", None, 0),
        ];
        for (status, retry_after, body, soon, later) in table {
            let error = response(status, retry_after, body);
            assert_eq!(error.retry_soon(pause), soon, "{status} {body}");
            assert_eq!(error.retry_later(), Duration::from_secs(later), "{status} {body}");
        }
    }
}
