//! What all answers have in common: security headers, problems in words, and the address of the function.

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mongodb::error::Error as MongoError;
use queue::QueueError;
use reqwest::Url;
use serde_json::json;
use store::{StoreError, describe};
use token_vault::VaultError;

use crate::{AppState, address::from_root, pages};

/// Nothing from elsewhere, no inline script or style, and no other site may frame a page or have it send a form.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Adds what browsers need to know.
pub(crate) async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let always = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Other hosts below this one are not ours to bind.
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Why a request is not answered as its sender hoped.
#[derive(Debug)]
pub(crate) enum AppError {
    /// To a person, in words.
    Page(StatusCode, &'static str, String),
    /// To a program.
    Json(StatusCode, String),
    /// To somebody who has to sign in first.
    SignIn,
}

impl AppError {
    pub(crate) fn page(status: StatusCode, title: &'static str, words: impl Into<String>) -> Self {
        Self::Page(status, title, words.into())
    }

    pub(crate) fn json(status: StatusCode, words: impl Into<String>) -> Self {
        Self::Json(status, words.into())
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::Page(status, title, words) => (status, pages::message(title, &words)).into_response(),
            Self::Json(status, error) => {
                let mut response = (status, Json(json!({ "error": error }))).into_response();
                if status == StatusCode::UNAUTHORIZED {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
                response
            }
            Self::SignIn => redirect("/sign-in"),
        }
    }
}

/// What went wrong, in words that may be logged: without addresses, documents or secrets.
pub(crate) trait Cause {
    fn words(&self) -> String;
}

impl Cause for MongoError {
    fn words(&self) -> String {
        format!("MongoDB failed: {}", describe(self))
    }
}

macro_rules! says_nothing_secret {
    ($($error:ty),*) => {
        $(impl Cause for $error {
            fn words(&self) -> String {
                self.to_string()
            }
        })*
    };
}

says_nothing_secret!(StoreError, VaultError, QueueError, serde_json::Error, String);

/// MongoDB, SQS or KMS does not do what it should: whoever asked may try again.
pub(crate) fn internal_error(error: impl Cause) -> AppError {
    tracing::error!(error = error.words(), "a request could not be answered");
    AppError::json(StatusCode::SERVICE_UNAVAILABLE, "service unavailable; please try again")
}

/// The same in words.
pub(crate) fn internal_error_page(error: impl Cause) -> AppError {
    internal_error(error);
    let words = "The service cannot do this at the moment. Please try again in a minute.";
    AppError::page(StatusCode::SERVICE_UNAVAILABLE, "Something went wrong", words)
}

/// A body that cannot be read.
pub(crate) fn bad_request_body(refused: JsonRejection) -> AppError {
    let status = match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    // What axum says of it may quote the body.
    AppError::json(status, "the body cannot be read")
}

pub(crate) fn no_account() -> AppError {
    AppError::page(StatusCode::NOT_FOUND, "Not found", "There is no such account.")
}

pub(crate) async fn not_found() -> AppError {
    AppError::page(StatusCode::NOT_FOUND, "Not found", "There is nothing at this address.")
}

pub(crate) async fn method_not_allowed() -> AppError {
    AppError::json(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
}

/// To another of the function's own paths, by GET.
pub(crate) fn redirect(path: &str) -> Response {
    redirect_to(&from_root(path))
}

/// To an address, by GET.
pub(crate) fn redirect_to(address: &str) -> Response {
    let location = HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

impl AppState {
    /// The address under which the function is reached: the configured one, or the one that was asked for. API Gateway
    /// lets no other `Host` through than its own and that of a custom domain, and says in `X-Forwarded-Proto` that it was
    /// asked by HTTPS; if nothing says so, as on a developer's machine, it is plain HTTP.
    pub(crate) fn base(&self, headers: &HeaderMap) -> Result<Url, AppError> {
        if let Some(url) = &self.config.public_url {
            return Ok(url.clone());
        }
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let scheme = text(HeaderName::from_static("x-forwarded-proto")).unwrap_or("http");
        let host = text(header::HOST).unwrap_or_default();
        Url::parse(&format!("{scheme}://{host}"))
            .map_err(|_| AppError::json(StatusCode::BAD_REQUEST, "the request names no host"))
    }
}
