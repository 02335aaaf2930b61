//! OAuth: tokens that expire, grants that are revoked, and whose account a token is.

use aws_lc_rs::digest;
use axum::{
    Form, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;

use super::errors;
use crate::{Shared, clock, lock, world::World};

/// The client id and secret that the simulator takes.
pub const CLIENT_ID: &str = "simulated-client-id";
/// See [`CLIENT_ID`].
pub const CLIENT_SECRET: &str = "simulated-client-secret";

pub(super) const SCOPES: [&str; 3] = ["oauth", "crm.objects.contacts.read", "crm.objects.companies.read"];

#[derive(Deserialize)]
pub(crate) struct TokenRequest {
    grant_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
    #[serde(default)]
    refresh_token: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    code_verifier: String,
}

pub(crate) async fn token(State(world): State<Shared>, Form(request): Form<TokenRequest>) -> Response {
    if request.client_id != CLIENT_ID || request.client_secret != CLIENT_SECRET {
        return errors::oauth("invalid_client", "BAD_CLIENT_ID", "missing or unknown client id or secret");
    }
    let mut world = lock(&world);
    let granted = match request.grant_type.as_str() {
        "refresh_token" => world
            .portals
            .values()
            .find(|portal| portal.refresh_token.as_ref() == Some(&request.refresh_token))
            .map(|portal| portal.hub_id)
            .ok_or(("BAD_REFRESH_TOKEN", "refresh token is invalid, expired or revoked")),
        "authorization_code" => exchange(&mut world, &request).ok_or(("BAD_AUTH_CODE", "missing or unknown auth code")),
        _ => return errors::oauth("unsupported_grant_type", "BAD_GRANT_TYPE", "the grant type is not known"),
    };
    let hub_id = match granted {
        Ok(hub_id) => hub_id,
        Err((status, message)) => return errors::oauth("invalid_grant", status, message),
    };
    let refresh_token = world.grant(hub_id);
    let lifetime = world.settings.token_seconds;
    let expires_at = world.now() + lifetime * 1000;
    let token = format!("simulated-access-{hub_id}-{}", world.access_tokens.len());
    world.access_tokens.insert(token.clone(), (hub_id, expires_at));
    Json(json!({
        "token_type": "bearer", "access_token": token, "refresh_token": refresh_token,
        "expires_in": lifetime, "hub_id": hub_id, "scopes": SCOPES, "token_use": "access_token",
    }))
    .into_response()
}

/// A code is of use once, for the address and the verifier that it was asked for with.
fn exchange(world: &mut World, request: &TokenRequest) -> Option<u64> {
    let consent = world.codes.remove(&request.code)?;
    let proved = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, request.code_verifier.as_bytes()));
    let is_proved = consent.challenge.is_none_or(|challenge| challenge == proved);
    (is_proved && consent.redirect_uri == request.redirect_uri).then_some(consent.hub_id)
}

#[derive(Deserialize)]
pub(crate) struct TokenQuestion {
    // The documentation and the specification name it differently.
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
}

impl TokenQuestion {
    fn token(self) -> String {
        self.token.or(self.access_token).or(self.refresh_token).unwrap_or_default()
    }
}

pub(crate) async fn introspect(State(world): State<Shared>, Form(question): Form<TokenQuestion>) -> Response {
    let (world, token) = (lock(&world), question.token());
    let known = world.access_tokens.get(&token);
    let active = known.is_some_and(|(_, expires_at)| *expires_at > world.now());
    let hub_id = known.map(|(hub_id, _)| hub_id);
    let domain = hub_id.map(|hub_id| format!("portal-{hub_id}.example"));
    Json(json!({"active": active, "token": token, "hub_id": hub_id, "hub_domain": domain, "scopes": SCOPES}))
        .into_response()
}

pub(crate) async fn revoke(State(world): State<Shared>, Form(question): Form<TokenQuestion>) -> StatusCode {
    let (mut world, token) = (lock(&world), question.token());
    for portal in world.portals.values_mut().filter(|portal| portal.refresh_token.as_ref() == Some(&token)) {
        portal.refresh_token = None;
    }
    StatusCode::NO_CONTENT
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
