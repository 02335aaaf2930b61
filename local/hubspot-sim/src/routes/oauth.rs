//! OAuth: tokens that expire, grants that are revoked, and the accounts of tokens.

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
use crate::{
    Shared,
    apps::{CLIENT_ID, CLIENT_SECRET, OTHER_CLIENT_ID, OTHER_CLIENT_SECRET},
    clock,
    limits::App,
    lock,
    object::Object,
    world::{Portal, World},
};

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

/// Returns true if the app has grants. Returns `None` if these are not the client id and secret of any app.
fn has_grants(client_id: &str, client_secret: &str) -> Option<bool> {
    match (client_id, client_secret) {
        (CLIENT_ID, CLIENT_SECRET) => Some(true),
        (OTHER_CLIENT_ID, OTHER_CLIENT_SECRET) => Some(false),
        _ => None,
    }
}

pub(crate) async fn token(State(world): State<Shared>, Form(request): Form<TokenRequest>) -> Response {
    let mut world = lock(&world);
    let standard = world.settings.oauth_errors;
    let refuse = |error, status, message| errors::oauth(Some(error).filter(|_| standard), status, message);
    let Some(has_grants) = has_grants(&request.client_id, &request.client_secret) else {
        return refuse("invalid_client", "BAD_CLIENT_ID", "missing or unknown client id or secret");
    };
    let granted = match request.grant_type.as_str() {
        "refresh_token" => world
            .portals
            .values()
            .find(|portal| has_grants && portal.refresh_token.as_ref() == Some(&request.refresh_token))
            .map(|portal| (portal.hub_id, portal.is_deleted))
            .ok_or(("BAD_REFRESH_TOKEN", "refresh token is invalid, expired or revoked")),
        "authorization_code" => exchange(&mut world, &request)
            .map(|hub_id| (hub_id, false))
            .ok_or(("BAD_AUTH_CODE", "missing or unknown auth code")),
        _ => return refuse("unsupported_grant_type", "BAD_GRANT_TYPE", "the grant type is not known"),
    };
    let hub_id = match granted {
        Ok((_, true)) => return refuse("access_denied", "BAD_HUB", "missing or unknown hub id"),
        Ok((hub_id, false)) => hub_id,
        Err((status, message)) => return refuse("invalid_grant", status, message),
    };
    let refresh_token = world.grant(hub_id);
    let lifetime = world.settings.token_seconds;
    let expires_at = world.now() + lifetime * 1000;
    let token = format!("simulated-access-{hub_id}-{}", world.access_tokens.len());
    world.access_tokens.insert(token.clone(), (hub_id, expires_at));
    let mut answer = json!({
        "token_type": "bearer", "access_token": token, "refresh_token": refresh_token,
        "expires_in": lifetime, "scopes": world.portal(hub_id).scopes, "token_use": "access_token",
    });
    if world.settings.names_hub {
        answer["hub_id"] = json!(hub_id);
    }
    Json(answer).into_response()
}

/// Exchanges a code, which is valid once, for the redirect URL and the verifier of its request.
fn exchange(world: &mut World, request: &TokenRequest) -> Option<u64> {
    let consent = world.codes.remove(&request.code)?;
    let proved = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, request.code_verifier.as_bytes()));
    let is_proved = consent.challenge.is_none_or(|challenge| challenge == proved);
    if !is_proved || consent.redirect_uri != request.redirect_uri {
        return None;
    }
    world.portal(consent.hub_id).scopes = consent.scopes;
    Some(consent.hub_id)
}

#[derive(Deserialize)]
pub(crate) struct TokenQuestion {
    // The documentation and the specification name the field differently.
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
}

impl TokenQuestion {
    fn token(self) -> String {
        self.token.or(self.access_token).or(self.refresh_token).unwrap_or_default()
    }
}

/// Introspects an access token or a refresh token. The response for an invalid token says only that it is not active.
pub(crate) async fn introspect(State(world): State<Shared>, Form(question): Form<TokenQuestion>) -> Response {
    let world = lock(&world);
    if has_grants(&question.client_id, &question.client_secret) != Some(true) {
        return errors::oauth(Some("invalid_client"), "BAD_CLIENT_ID", "missing or unknown client id or secret");
    }
    let (client_id, token, now) = (question.client_id.clone(), question.token(), world.now());
    let opened = world.access_tokens.get(&token).filter(|(_, expires_at)| *expires_at > now).copied();
    let is_granted = |portal: &&Portal| portal.refresh_token.as_ref() == Some(&token) && !portal.is_deleted;
    let granted = world.portals.values().find(is_granted).map(|portal| portal.hub_id);
    let Some(hub_id) = opened.map(|(hub_id, _)| hub_id).or(granted) else {
        return Json(json!({"active": false})).into_response();
    };
    let mut answer = json!({
        "active": true, "token": token, "token_use": "refresh_token", "client_id": client_id, "app_id": 1, "user_id": 1,
        "user": "ana@firm.example", "hub_id": hub_id, "hub_domain": format!("portal-{hub_id}.example"),
        "scopes": world.portals.get(&hub_id).map(|portal| &portal.scopes), "is_private_distribution": false,
    });
    if let Some((_, expires_at)) = opened {
        answer["token_use"] = json!("access_token");
        answer["token_type"] = json!("bearer");
        answer["expires_in"] = json!((expires_at - now) / 1000);
    }
    Json(answer).into_response()
}

pub(crate) async fn revoke(State(world): State<Shared>, Form(question): Form<TokenQuestion>) -> StatusCode {
    let (mut world, token) = (lock(&world), question.token());
    for portal in world.portals.values_mut().filter(|portal| portal.refresh_token.as_ref() == Some(&token)) {
        portal.refresh_token = None;
    }
    StatusCode::NO_CONTENT
}

/// Uninstalls the app in the account of an OAuth access token: all of its tokens become invalid.
pub(crate) async fn uninstall(State(world): State<Shared>, headers: HeaderMap) -> Response {
    let mut world = lock(&world);
    let hub_id = match authorize(&world, &headers, &["oauth"]) {
        Ok(caller) => caller.hub_id,
        Err(refusal) => return *refusal,
    };
    world.revoke(hub_id);
    world.portal(hub_id).uninstalls += 1;
    StatusCode::NO_CONTENT.into_response()
}

pub(crate) async fn details(State(world): State<Shared>, headers: HeaderMap) -> Response {
    match authorize(&lock(&world), &headers, &["oauth"]) {
        Ok(Caller { hub_id, .. }) => {
            Json(json!({"portalId": hub_id, "timeZone": "UTC", "accountType": "STANDARD"})).into_response()
        }
        Err(refusal) => *refusal,
    }
}

/// The sender of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// The account of its token.
    pub(crate) hub_id: u64,
    /// The app of its token.
    pub(crate) app: App,
}

/// Returns the caller of a request whose token has one of these scopes.
pub(crate) fn authorize(world: &World, headers: &HeaderMap, scopes: &[&str]) -> Result<Caller, Box<Response>> {
    let caller = authenticate(world, headers)?;
    require_any(world, caller, scopes).map(|()| caller)
}

/// Returns the caller of a request that reads records of an object type, and the type that its path means. The token
/// needs all scopes of the type.
pub(crate) fn authorize_object(
    world: &World,
    headers: &HeaderMap,
    object: &str,
) -> Result<(Caller, Object), Box<Response>> {
    let caller = authenticate(world, headers)?;
    let object = world.resolve(caller.hub_id, object).ok_or_else(|| Box::new(errors::unknown_object(object)))?;
    require_all(world, caller, &object.scopes()).map(|()| (caller, object))
}

/// Refuses a caller whose token has none of these scopes.
pub(crate) fn require_any(world: &World, caller: Caller, scopes: &[&str]) -> Result<(), Box<Response>> {
    let has_any = scopes.iter().any(|scope| is_granted(world, caller, scope));
    if has_any { Ok(()) } else { Err(Box::new(errors::missing_scopes(scopes))) }
}

/// Refuses a caller whose token lacks one of these scopes.
pub(crate) fn require_all(world: &World, caller: Caller, scopes: &[String]) -> Result<(), Box<Response>> {
    let has_all = scopes.iter().all(|scope| is_granted(world, caller, scope));
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    if has_all { Ok(()) } else { Err(Box::new(errors::missing_scopes(&scopes))) }
}

fn is_granted(world: &World, caller: Caller, scope: &str) -> bool {
    let granted = world.portals.get(&caller.hub_id).map(|portal| match caller.app {
        App::OAuth => &portal.scopes,
        App::Private => &portal.private_scopes,
    });
    let is_withdrawn = world.settings.missing_scopes.iter().any(|missing| missing == scope);
    !is_withdrawn && granted.is_some_and(|granted| granted.iter().any(|granted| granted == scope))
}

/// Returns the caller of a request, whatever its scopes are.
pub(crate) fn authenticate(world: &World, headers: &HeaderMap) -> Result<Caller, Box<Response>> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(token) = token else {
        return Err(Box::new(errors::unauthenticated()));
    };
    if let Some(portal) = world.portals.values().find(|portal| portal.private_token == token) {
        return Ok(Caller { hub_id: portal.hub_id, app: App::Private });
    }
    let now = world.now();
    match world.access_tokens.get(token) {
        Some((hub_id, expires_at)) if *expires_at > now => Ok(Caller { hub_id: *hub_id, app: App::OAuth }),
        Some((_, expires_at)) => Err(Box::new(errors::expired((now - expires_at) / 1000, clock::iso(*expires_at)))),
        // For a token that it never issued, HubSpot responds that it expired at the epoch.
        None => Err(Box::new(errors::expired(now / 1000, clock::iso(0)))),
    }
}
