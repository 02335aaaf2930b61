//! OAuth: tokens that expire, grants that are revoked, and whose account a token is.

use axum::{
    Form, Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::errors;
use crate::{Shared, clock, lock, world::World};

/// The client id and secret that the simulator takes.
pub const CLIENT_ID: &str = "simulated-client-id";
/// See [`CLIENT_ID`].
pub const CLIENT_SECRET: &str = "simulated-client-secret";

const SCOPES: [&str; 3] = ["oauth", "crm.objects.contacts.read", "crm.objects.companies.read"];

#[derive(Deserialize)]
pub(crate) struct TokenRequest {
    grant_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
    #[serde(default)]
    refresh_token: String,
}

pub(crate) async fn token(State(world): State<Shared>, Form(request): Form<TokenRequest>) -> Response {
    if request.client_id != CLIENT_ID || request.client_secret != CLIENT_SECRET {
        return errors::oauth("invalid_client", "BAD_CLIENT_ID", "missing or unknown client id or secret");
    }
    if request.grant_type != "refresh_token" {
        return errors::oauth("unsupported_grant_type", "BAD_GRANT_TYPE", "the simulator takes refresh tokens only");
    }
    let mut world = lock(&world);
    let granted = world.portals.values().find(|portal| portal.refresh_token.as_ref() == Some(&request.refresh_token));
    let Some(hub_id) = granted.map(|portal| portal.hub_id) else {
        let message = "refresh token is invalid, expired or revoked";
        return errors::oauth("invalid_grant", "BAD_REFRESH_TOKEN", message);
    };
    let lifetime = world.settings.token_seconds;
    let expires_at = world.now() + lifetime * 1000;
    let token = format!("simulated-access-{hub_id}-{}", world.access_tokens.len());
    world.access_tokens.insert(token.clone(), (hub_id, expires_at));
    Json(json!({
        "token_type": "bearer", "access_token": token, "refresh_token": request.refresh_token,
        "expires_in": lifetime, "hub_id": hub_id, "scopes": SCOPES, "token_use": "access_token",
    }))
    .into_response()
}

#[derive(Deserialize)]
pub(crate) struct Introspection {
    #[serde(alias = "access_token")]
    token: String,
}

pub(crate) async fn introspect(State(world): State<Shared>, Form(request): Form<Introspection>) -> Response {
    let world = lock(&world);
    let known = world.access_tokens.get(&request.token);
    let active = known.is_some_and(|(_, expires_at)| *expires_at > world.now());
    Json(json!({"active": active, "token": request.token, "hub_id": known.map(|(hub_id, _)| hub_id), "scopes": SCOPES}))
        .into_response()
}

pub(crate) async fn details(State(world): State<Shared>, headers: HeaderMap) -> Response {
    match authenticate(&lock(&world), &headers) {
        Ok(hub_id) => Json(json!({"portalId": hub_id, "timeZone": "UTC", "accountType": "STANDARD"})).into_response(),
        Err(refusal) => *refusal,
    }
}

/// Whose account the request's token opens.
pub(crate) fn authenticate(world: &World, headers: &HeaderMap) -> Result<u64, Box<Response>> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(token) = token else {
        return Err(Box::new(errors::unauthenticated()));
    };
    if let Some(portal) = world.portals.values().find(|portal| portal.private_token == token) {
        return Ok(portal.hub_id);
    }
    let now = world.now();
    match world.access_tokens.get(token) {
        Some((hub_id, expires_at)) if *expires_at > now => Ok(*hub_id),
        Some((_, expires_at)) => Err(Box::new(errors::expired((now - expires_at) / 1000, clock::iso(*expires_at)))),
        // HubSpot says of a token it never gave that it expired at the epoch.
        None => Err(Box::new(errors::expired(now / 1000, clock::iso(0)))),
    }
}
