//! HubSpot's errors, with the texts that are documented or were recorded.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

const CORRELATION_ID: &str = "00000000-0000-4000-8000-000000000000";

/// Returns an error in HubSpot's envelope.
pub(crate) fn refuse(status: StatusCode, category: &str, message: &str) -> Response {
    let body = json!({"status": "error", "message": message, "correlationId": CORRELATION_ID, "category": category});
    (status, Json(body)).into_response()
}

/// Returns the error for a query or body that HubSpot does not understand.
pub(crate) fn invalid(message: &str) -> Response {
    refuse(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", message)
}

/// Returns the error for an object type that the account does not have, as seen.
pub(crate) fn unknown_object(name: &str) -> Response {
    invalid(&format!("Unable to infer object type from: {name}"))
}

/// Returns the category of a status.
pub(crate) fn category(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "VALIDATION_ERROR",
        401 => "EXPIRED_AUTHENTICATION",
        403 => "MISSING_SCOPES",
        404 => "OBJECT_NOT_FOUND",
        429 => "RATE_LIMITS",
        _ => "INTERNAL_ERROR",
    }
}

/// Returns the 500 without any details.
pub(crate) fn internal() -> Response {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, category(StatusCode::INTERNAL_SERVER_ERROR), "internal error")
}

/// Returns the 429 of the search limit, as recorded: no policy, no `Retry-After`.
pub(crate) fn secondly() -> Response {
    refuse(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITS", "You have reached your secondly limit.")
}

/// Returns the 429 of the general limit, as documented.
pub(crate) fn ten_secondly() -> Response {
    let body = json!({
        "status": "error", "message": "You have reached your ten_secondly_rolling limit.", "errorType": "RATE_LIMIT",
        "correlationId": CORRELATION_ID, "policyName": "TEN_SECONDLY_ROLLING", "requestId": CORRELATION_ID,
    });
    (StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response()
}

/// Returns the 429 of the daily limit, as documented.
pub(crate) fn daily() -> Response {
    let body = json!({
        "status": "error", "message": "You have reached your daily limit.", "errorType": "RATE_LIMIT",
        "correlationId": CORRELATION_ID, "policyName": "DAILY", "requestId": CORRELATION_ID,
    });
    (StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response()
}

/// Returns the 403 of a token that lacks a scope, as seen: any one of `scopes` would be sufficient.
pub(crate) fn missing_scopes(scopes: &[&str]) -> Response {
    let message = "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: \
        https://developers.hubspot.com/scopes.";
    let required = json!({
        "message": "One or more of the following scopes are required.",
        "context": {"requiredGranularScopes": scopes},
    });
    let body = json!({
        "status": "error", "message": message, "correlationId": CORRELATION_ID, "errors": [required],
        "links": {"scopes": "https://developers.hubspot.com/scopes"}, "category": "MISSING_SCOPES",
    });
    (StatusCode::FORBIDDEN, Json(body)).into_response()
}

/// Returns the 401 of a token that has expired.
pub(crate) fn expired(seconds: i64, at: String) -> Response {
    let mut body = json!({
        "status": "error", "message": format!("The OAuth token used to make this call expired {seconds} second(s) ago."),
        "correlationId": CORRELATION_ID, "category": "EXPIRED_AUTHENTICATION",
    });
    body["context"] = json!({"expire time": [at]});
    (StatusCode::UNAUTHORIZED, Json(body)).into_response()
}

/// Returns the 401 of a request without a token.
pub(crate) fn unauthenticated() -> Response {
    let message = "Authentication credentials not found. This API supports OAuth 2.0 authentication.";
    refuse(StatusCode::UNAUTHORIZED, "INVALID_AUTHENTICATION", message)
}

/// Returns an error of the OAuth endpoints: with `error` in the form of RFC 6749, or in HubSpot's older form without
/// it.
pub(crate) fn oauth(error: Option<&str>, status: &str, message: &str) -> Response {
    let mut body = json!({"status": status, "message": message, "correlationId": CORRELATION_ID});
    if let Some(error) = error {
        body["error"] = json!(error);
        body["error_description"] = json!(message);
    }
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// Returns an entry of a 207's `errors`.
pub(crate) fn part(category: &str, sub_category: Option<&str>, message: String, context: Value) -> Value {
    let mut part = json!({"status": "error", "category": category, "message": message, "context": context});
    if let Some(sub_category) = sub_category {
        part["subCategory"] = json!(sub_category);
    }
    part
}

/// Returns the response of paths that are not simulated.
pub(crate) async fn not_found() -> Response {
    refuse(StatusCode::NOT_FOUND, "OBJECT_NOT_FOUND", "The simulator has nothing at this path")
}
