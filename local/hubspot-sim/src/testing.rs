//! A client of the simulator, for its own tests.

use std::collections::BTreeMap;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{Object, Settings, Simulator, World};

/// The account of the tests.
pub(crate) const HUB: u64 = 7;

/// Starts a simulator without limits.
pub(crate) async fn start() -> Simulator {
    Simulator::start(0, Settings::unlimited()).await.unwrap()
}

/// Creates `COUNT` records.
pub(crate) fn create<const COUNT: usize>(world: &mut World, object: Object) -> [u64; COUNT] {
    [(); COUNT].map(|()| world.create(HUB, object, 1, BTreeMap::new()))
}

/// Adds scopes to the account's tokens.
pub(crate) fn grant(world: &mut World, scopes: &[&str]) {
    world.grant_scopes(HUB, scopes);
}

/// Allows the account's tokens to read records of these types.
pub(crate) fn allow(world: &mut World, objects: &[Object]) {
    objects.iter().for_each(|object| world.grant_reading(HUB, *object));
}

/// Returns a request of the account's private app.
fn request(simulator: &Simulator, method: Method, path: &str) -> RequestBuilder {
    let token = simulator.world().portal(HUB).private_token.clone();
    reqwest::Client::new().request(method, format!("{}{path}", simulator.url())).bearer_auth(token)
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

pub(crate) async fn get(simulator: &Simulator, path: &str) -> (u16, Value) {
    answer(request(simulator, Method::GET, path)).await
}

pub(crate) async fn send(simulator: &Simulator, method: Method, path: &str, body: Value) -> (u16, Value) {
    answer(request(simulator, method, path).json(&body)).await
}

/// Reads the associations of these inputs.
pub(crate) async fn associations(simulator: &Simulator, direction: &str, inputs: Value) -> (u16, Value) {
    let path = format!("/crm/associations/2026-09/{direction}/batch/read");
    send(simulator, Method::POST, &path, json!({ "inputs": inputs })).await
}
