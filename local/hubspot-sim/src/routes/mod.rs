//! The HTTP interface: HubSpot's own paths, in every version that clients still use, and the simulator's control
//! interface below `/_sim`.

mod associations;
mod broken;
mod consent;
mod control;
mod errors;
mod merges;
mod oauth;
mod objects;
mod owners;
mod properties;
mod search;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, post},
};

use crate::{Shared, clock, faults, faults::FaultKind, lock};

/// Returns the whole interface.
pub(crate) fn app(world: Shared) -> Router {
    let hubspot = Router::new()
        .route("/oauth/authorize", get(consent::show).post(consent::decide))
        .route("/oauth/{version}/token", post(oauth::token))
        .route("/oauth/{version}/token/introspect", post(oauth::introspect))
        .route("/oauth/{version}/token/revoke", post(oauth::revoke))
        .route("/appinstalls/{version}/external-install", delete(oauth::uninstall))
        .route("/account-info/{version}/details", get(oauth::details))
        .route("/crm/objects/{version}/{object}/search", post(search::handle))
        .route("/crm/{version}/objects/{object}/search", post(search::handle))
        .route("/crm/objects/{version}/{object}", get(objects::handle_list))
        .route("/crm/{version}/objects/{object}", get(objects::handle_list))
        .route("/crm/objects/{version}/{object}/batch/read", post(objects::handle_batch))
        .route("/crm/{version}/objects/{object}/batch/read", post(objects::handle_batch))
        .route("/crm/associations/{version}/{from}/{to}/batch/read", post(associations::handle))
        .route("/crm/{version}/associations/{from}/{to}/batch/read", post(associations::handle))
        .route("/crm/properties/{version}/{object}", get(properties::handle))
        .route("/crm/{version}/properties/{object}", get(properties::handle))
        .route("/properties/{version}/{object}/properties", get(properties::handle_old))
        .route("/{object}/{version}/properties", get(properties::handle_oldest))
        .route("/crm-object-schemas/{version}/schemas", get(properties::handle_schemas))
        .route("/crm/{version}/schemas", get(properties::handle_schemas))
        .route("/crm-object-schemas/{version}/schemas/{object}", get(properties::handle_schema))
        .route("/crm/{version}/schemas/{object}", get(properties::handle_schema))
        .route("/crm/objects/{version}/{object}/merge", post(merges::handle))
        .route("/crm/{version}/objects/{object}/merge", post(merges::handle))
        .route("/crm/owners/{version}", get(owners::handle_owners))
        .route("/crm/{version}/owners", get(owners::handle_owners))
        .route("/crm/{version}/owners/", get(owners::handle_owners))
        .route("/crm/pipelines/{version}/{object}", get(owners::handle_pipelines))
        .route("/crm/{version}/pipelines/{object}", get(owners::handle_pipelines))
        .fallback(errors::not_found)
        .layer(middleware::from_fn_with_state(world.clone(), as_hubspot));
    Router::new().nest("/_sim", control::routes()).merge(hubspot).with_state(world)
}

/// Wraps every request to HubSpot: latency, faults, the clock, and the count.
async fn as_hubspot(State(world): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let (latency, answering, fault) = {
        let mut world = lock(&world);
        let asked = request.uri().path_and_query().map_or(path.as_str(), |asked| asked.as_str());
        let fault = faults::take_fault(&mut world.faults, asked);
        let settings = &world.settings;
        (settings.latency_ms + up_to(settings.hold_up_ms), up_to(settings.answering_ms), fault)
    };
    tokio::time::sleep(Duration::from_millis(latency)).await;
    let mut response = match fault {
        Some(FaultKind::Answer { status, body, retry_after }) => {
            answer(status, body, retry_after.map(HeaderValue::from))
        }
        Some(FaultKind::Later { status, retry_after }) => {
            answer(status, None, HeaderValue::from_str(&retry_after).ok())
        }
        Some(FaultKind::Delay { millis }) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            next.run(request).await
        }
        Some(FaultKind::Reset) => broken::reset(),
        Some(FaultKind::Cut) => broken::cut(next.run(request).await).await,
        Some(FaultKind::Drip { millis }) => broken::drip(next.run(request).await, Duration::from_millis(millis)).await,
        Some(FaultKind::Endless) => broken::endless(),
        None => next.run(request).await,
    };
    tokio::time::sleep(Duration::from_millis(answering)).await;
    let mut world = lock(&world);
    let headers = response.headers_mut();
    if let Ok(date) = HeaderValue::from_str(&clock::http_date(world.now() + world.settings.date_skew_ms)) {
        headers.insert(header::DATE, date);
    }
    headers.insert("x-hubspot-correlation-id", HeaderValue::from_static("00000000-0000-4000-8000-000000000000"));
    *world.requests.entry(format!("{} {}", kind(&path), response.status().as_u16())).or_default() += 1;
    response
}

/// Returns a random number of milliseconds.
fn up_to(millis: u64) -> u64 {
    rand::random_range(0..=millis)
}

fn kind(path: &str) -> &'static str {
    if path.ends_with("/search") {
        "search"
    } else if path.contains("/associations/") {
        "associations"
    } else if path.contains("/oauth/") {
        "oauth"
    } else if path.starts_with("/crm/objects/") && !path.ends_with("/batch/read") {
        "list"
    } else {
        "other"
    }
}

fn answer(status: u16, body: Option<String>, retry_after: Option<HeaderValue>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match body {
        Some(body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            response
        }
        None => errors::refuse(status, errors::category(status), "simulated"),
    };
    if let Some(retry_after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after);
    }
    response
}
