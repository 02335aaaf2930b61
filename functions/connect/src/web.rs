//! What all answers share: security headers, error answers, and the function's address.

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

/// Allows nothing from other hosts and no inline script or style. Forbids other sites to frame a page, and forms to
/// send to other sites.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Adds the security headers, and forbids caching unless the response allows it.
pub(crate) async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let always = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Without `includeSubDomains`: hosts below this one may belong to others.
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

/// An error answer.
#[derive(Debug)]
pub(crate) enum AppError {
    /// A page for a person.
    Page(StatusCode, &'static str, String),
    /// JSON for a program.
    Json(StatusCode, String),
    /// A redirect to the sign-in page.
    SignIn,
}

impl AppError {
    /// Returns an error page with a title and an explanation.
    pub(crate) fn page(status: StatusCode, title: &'static str, words: impl Into<String>) -> Self {
        Self::Page(status, title, words.into())
    }

    /// Returns a JSON error with a message.
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

/// An error whose text may be logged: it contains no addresses, documents or secrets.
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

/// Returns a 503 for a program, and logs the error: MongoDB, SQS or KMS fails. The request may be sent again.
pub(crate) fn internal_error(error: impl Cause) -> AppError {
    tracing::error!(error = error.words(), "a request could not be answered");
    AppError::json(StatusCode::SERVICE_UNAVAILABLE, "service unavailable; please try again")
}

/// Does the same for a person.
pub(crate) fn internal_error_page(error: impl Cause) -> AppError {
    internal_error(error);
    let words = "The service cannot do this at the moment. Please try again in a minute.";
    AppError::page(StatusCode::SERVICE_UNAVAILABLE, "Something went wrong", words)
}

/// Returns a 400 for a body that cannot be read, or a 413 if it is too large.
pub(crate) fn bad_request_body(refused: JsonRejection) -> AppError {
    let status = match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    // The message of axum may quote the body.
    AppError::json(status, "the body cannot be read")
}

/// Returns a 404 page for an account that does not exist.
pub(crate) fn no_account() -> AppError {
    AppError::page(StatusCode::NOT_FOUND, "Not found", "There is no such account.")
}

/// Returns a 404 page for an address without a route.
pub(crate) async fn not_found() -> AppError {
    AppError::page(StatusCode::NOT_FOUND, "Not found", "There is nothing at this address.")
}

/// Returns a 405 for a route that does not have the method.
pub(crate) async fn method_not_allowed() -> AppError {
    AppError::json(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
}

/// Redirects to another of the function's own paths, by GET.
pub(crate) fn redirect(path: &str) -> Response {
    redirect_to(&from_root(path))
}

/// Redirects to an address, by GET.
pub(crate) fn redirect_to(address: &str) -> Response {
    let location = HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

impl AppState {
    /// Returns the function's address: the configured one, or the one in the request. API Gateway accepts only its own
    /// `Host` and that of a custom domain, and says in `X-Forwarded-Proto` that the request came by HTTPS. Without that
    /// header, as on a developer's machine, the scheme is plain HTTP. Fails with 400 if the request names no host.
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
