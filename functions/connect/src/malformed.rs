//! Requests whose address is not valid. `lambda_http` panics at them, which would be an error of the function, so they
//! are answered before it sees them.

use axum::http::{HeaderValue, StatusCode, Uri, header};
use lambda_http::{
    aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
    request::LambdaRequest,
};
use reqwest::Url;
use serde::Serialize;

/// An answer to API Gateway.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer<R> {
    /// The function's answer.
    Made(R),
    /// The request's address is not valid.
    Malformed(Box<ApiGatewayV2httpResponse>),
}

/// Returns a refusal with status 400 if the request's address is not valid. Returns `None` if it is.
pub fn refused<R>(request: &LambdaRequest) -> Option<Answer<R>> {
    let LambdaRequest::ApiGatewayV2(request) = request else { return None };
    if address(request).is_some_and(|address| address.parse::<Uri>().is_ok()) {
        return None;
    }
    tracing::warn!(source.ip = request.request_context.http.source_ip, "a request has an address that is none");
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = StatusCode::BAD_REQUEST.as_u16().into();
    response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.body = Some(r#"{"error":"the request cannot be read"}"#.into());
    Some(Answer::Malformed(response.into()))
}

/// Returns the address as `lambda_http` builds it (`request.rs`, `into_api_gateway_v2_request`). Returns `None` if it
/// cannot be built.
fn address(request: &ApiGatewayV2httpRequest) -> Option<String> {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let path = request.raw_path.as_deref().unwrap_or_default();
    let host = header("host").or(request.request_context.domain_name.as_deref());
    let mut address = match host {
        None => Url::parse(&format!("http://localhost{path}")).ok()?.path().to_owned(),
        Some(host) => {
            let scheme = header("x-forwarded-proto").unwrap_or("https");
            Url::parse(&format!("{scheme}://{host}{path}")).ok()?.to_string()
        }
    };
    if let Some(query) = request.raw_query_string.as_deref().filter(|query| !query.is_empty()) {
        address = format!("{address}?{query}");
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use serde_json::json;

    use super::*;

    /// Accepted requests do not make `lambda_http` panic, and refused ones do.
    #[test]
    fn what_lambda_http_panics_at_is_refused_and_nothing_else() {
        let texts =
            ["", "a", "a b", "<", "\"", "%", "%zz", "é", "[", "a:b", "a@b", "/", "//", "?", "#", "\\", "^", "a=<"];
        let mut refusals = 0;
        for text in texts {
            for (path, query, scheme, host) in [
                (text, "", "https", "a.example"),
                ("/", text, "https", "a.example"),
                ("/", "", text, "a.example"),
                ("/", "", "https", text),
                (text, text, text, text),
            ] {
                let event = json!({
                    "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
                    "headers": {"host": host, "x-forwarded-proto": scheme}, "isBase64Encoded": false,
                    "requestContext": {"stage": "$default", "http": {"method": "GET", "path": "/"}},
                });
                let Ok(request) = serde_json::from_value::<LambdaRequest>(event.clone()) else { continue };
                let is_refused = refused::<()>(&request).is_some();
                let panics = catch_unwind(|| lambda_http::Request::from(request)).is_err();
                assert_eq!(is_refused, panics, "{event}");
                refusals += usize::from(is_refused);
            }
        }
        assert!(refusals > 10, "{refusals}");
    }
}
