//! The definitions of properties and of custom objects.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    errors,
    oauth::{authenticate, require_any},
    objects::admit_schema,
};
use crate::{Shared, lock, object::Object, property::Property, world::World};

/// The scopes of which any one is sufficient for reading the custom objects.
const CUSTOM_SCOPES: [&str; 2] = ["crm.schemas.custom.read", "crm.objects.custom.read"];

/// `GET /crm/properties/{version}/{object}`: in `results`.
pub(crate) async fn handle(state: State<Shared>, path: Path<(String, String)>, headers: HeaderMap) -> Response {
    match definitions(state, path, &headers) {
        Ok(properties) => Json(json!({ "results": properties })).into_response(),
        Err(refusal) => *refusal,
    }
}

/// `GET /properties/{version}/{object}/properties`, the old form: an array.
pub(crate) async fn handle_old(state: State<Shared>, path: Path<(String, String)>, headers: HeaderMap) -> Response {
    match definitions(state, path, &headers) {
        Ok(properties) => Json(properties).into_response(),
        Err(refusal) => *refusal,
    }
}

/// `GET /companies/{version}/properties`, older still: the path begins with the object.
pub(crate) async fn handle_oldest(
    state: State<Shared>,
    Path((object, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    handle_old(state, Path((version, object)), headers).await
}

fn definitions(
    State(world): State<Shared>,
    Path((_, object)): Path<(String, String)>,
    headers: &HeaderMap,
) -> Result<Value, Box<Response>> {
    let mut world = lock(&world);
    let (caller, object) = admit_schema(&mut world, headers, &object)?;
    Ok(world.portal(caller.hub_id).definitions(object).iter().map(Property::to_json).collect())
}

/// `GET /crm-object-schemas/{version}/schemas`: the custom objects of the account.
pub(crate) async fn handle_schemas(State(world): State<Shared>, headers: HeaderMap) -> Response {
    schemas(&mut lock(&world), &headers).unwrap_or_else(|refusal| *refusal)
}

fn schemas(world: &mut World, headers: &HeaderMap) -> Result<Response, Box<Response>> {
    let caller = authenticate(world, headers)?;
    let portal = world.portal(caller.hub_id);
    let objects: Vec<Object> = portal.schemas.keys().copied().collect();
    // Other connectors request them with a token that has no scope for them. They are not refused if there are none.
    if !objects.is_empty() {
        require_any(world, caller, &CUSTOM_SCOPES)?;
    }
    let portal = world.portal(caller.hub_id);
    let schemas: Vec<Value> = objects.into_iter().filter_map(|object| portal.schema_json(object)).collect();
    Ok(Json(json!({ "results": schemas })).into_response())
}

/// `GET /crm-object-schemas/{version}/schemas/{object}`: one custom object.
pub(crate) async fn handle_schema(
    State(world): State<Shared>,
    Path((_, object)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    schema(&mut lock(&world), &headers, &object).unwrap_or_else(|refusal| *refusal)
}

fn schema(world: &mut World, headers: &HeaderMap, text: &str) -> Result<Response, Box<Response>> {
    let caller = authenticate(world, headers)?;
    require_any(world, caller, &CUSTOM_SCOPES)?;
    let schema = world.resolve(caller.hub_id, text).and_then(|object| world.portal(caller.hub_id).schema_json(object));
    let schema = schema.ok_or_else(|| Box::new(errors::unknown_object(text)))?;
    Ok(Json(schema).into_response())
}
