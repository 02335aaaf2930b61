//! The control interface, below `/_sim`: fills an account, changes it, causes faults, returns the ledger.

mod links;
mod objects;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::apps::{CLIENT_ID, CLIENT_SECRET};
use crate::{Shared, faults::Fault, lock, settings::Settings, world::Change};

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/health", get(async || StatusCode::NO_CONTENT))
        .route("/settings", get(settings).patch(change_settings))
        .route("/faults", post(add_fault).delete(clear_faults))
        .route("/requests", get(requests))
        .route("/ledger", get(ledger))
        .route("/portals/{hub_id}", post(seed))
        .route("/portals/{hub_id}/changes", post(make_changes))
        .route("/portals/{hub_id}/tokens/expire", post(expire))
        .route("/portals/{hub_id}/tokens/revoke", post(revoke))
        .merge(links::routes())
        .merge(objects::routes())
}

fn done(is_done: bool) -> StatusCode {
    if is_done { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn settings(State(world): State<Shared>) -> Json<Settings> {
    Json(lock(&world).settings.clone())
}

/// Changes the settings that are named, and keeps the others.
async fn change_settings(State(world): State<Shared>, Json(changes): Json<serde_json::Map<String, Value>>) -> Response {
    let mut world = lock(&world);
    let merged = serde_json::to_value(&world.settings).and_then(|mut all| {
        changes.into_iter().for_each(|(name, value)| all[name] = value);
        serde_json::from_value::<Settings>(all)
    });
    match merged {
        Ok(settings) => {
            world.settings = settings.clone();
            Json(settings).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn add_fault(State(world): State<Shared>, Json(fault): Json<Fault>) -> StatusCode {
    lock(&world).faults.push(fault);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(world): State<Shared>) -> StatusCode {
    lock(&world).faults.clear();
    StatusCode::NO_CONTENT
}

async fn requests(State(world): State<Shared>) -> Json<Value> {
    Json(json!(lock(&world).requests))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LedgerQuery {
    hub_id: Option<u64>,
}

async fn ledger(State(world): State<Shared>, Query(query): Query<LedgerQuery>) -> Json<Vec<Change>> {
    let world = lock(&world);
    let asked = |change: &&Change| query.hub_id.is_none_or(|hub_id| change.hub_id == hub_id);
    Json(world.ledger.iter().filter(asked).cloned().collect())
}

#[derive(Deserialize)]
struct Seed {
    companies: usize,
    contacts: usize,
    #[serde(default)]
    seed: u64,
}

/// Adds an account with that many records, and returns what a Domain needs to connect it.
async fn seed(State(world): State<Shared>, Path(hub_id): Path<u64>, Json(seed): Json<Seed>) -> Json<Value> {
    let mut world = lock(&world);
    world.seed(hub_id, seed.companies, seed.contacts, seed.seed);
    let portal = world.portal(hub_id);
    Json(json!({
        "hubId": hub_id, "refreshToken": portal.refresh_token, "privateToken": portal.private_token,
        "clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET,
    }))
}

#[derive(Deserialize)]
struct Changes {
    count: usize,
    #[serde(default)]
    seed: u64,
}

async fn make_changes(State(world): State<Shared>, Path(hub_id): Path<u64>, Json(changes): Json<Changes>) -> Response {
    Json(lock(&world).make_changes(hub_id, changes.count, changes.seed)).into_response()
}

async fn expire(State(world): State<Shared>, Path(hub_id): Path<u64>) -> StatusCode {
    lock(&world).expire_tokens(hub_id);
    StatusCode::NO_CONTENT
}

async fn revoke(State(world): State<Shared>, Path(hub_id): Path<u64>) -> StatusCode {
    lock(&world).revoke(hub_id);
    StatusCode::NO_CONTENT
}
