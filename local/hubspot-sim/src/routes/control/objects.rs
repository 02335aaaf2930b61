//! The control of records of any object type: custom objects, seeds, changes and associations.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{post, put},
};
use serde::Deserialize;
use serde_json::json;

use crate::{Shared, lock, object::Object, property::Property, relation::Key, schema::Labels, seed::Changed};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/portals/{hub_id}/schemas", post(create_schema))
        .route("/portals/{hub_id}/objects/{object}", post(seed))
        .route("/portals/{hub_id}/objects/{object}/changes", post(change))
        .route("/portals/{hub_id}/associations/{from}/{from_id}/{to}/{to_id}", put(link).delete(unlink))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewSchema {
    type_id: String,
    name: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    properties: Vec<Property>,
}

/// Creates a custom object, and allows the account's tokens to read it.
async fn create_schema(
    State(world): State<Shared>,
    Path(hub_id): Path<u64>,
    Json(schema): Json<NewSchema>,
) -> Response {
    let mut world = lock(&world);
    let labels = (schema.labels.singular.as_str(), schema.labels.plural.as_str());
    match world.create_schema(hub_id, &schema.type_id, &schema.name, labels, schema.properties) {
        Ok(object) => {
            world.grant_reading(hub_id, object);
            Json(json!({ "objectTypeId": object })).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

#[derive(Deserialize)]
struct Count {
    count: usize,
    #[serde(default)]
    seed: u64,
}

/// Adds that many records of a type, and allows the account's tokens to read them.
async fn seed(
    State(world): State<Shared>,
    Path((hub_id, object)): Path<(u64, String)>,
    Json(asked): Json<Count>,
) -> StatusCode {
    let mut world = lock(&world);
    let Some(object) = Object::parse(&object) else { return StatusCode::NOT_FOUND };
    world.seed_objects(hub_id, object, asked.count, asked.seed);
    world.grant_reading(hub_id, object);
    StatusCode::NO_CONTENT
}

async fn change(
    State(world): State<Shared>,
    Path((hub_id, object)): Path<(u64, String)>,
    Json(asked): Json<Count>,
) -> Result<Json<Changed>, StatusCode> {
    let object = Object::parse(&object).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(lock(&world).change_objects(hub_id, object, asked.count, asked.seed)))
}

type Ends = Path<(u64, String, u64, String, u64)>;

/// Associates two records. Returns 404 if one of them does not exist, or if they are associated already.
async fn link(State(world): State<Shared>, Path((hub_id, from, from_id, to, to_id)): Ends) -> StatusCode {
    let Some([from, to]) = ends((&from, from_id), (&to, to_id)) else { return StatusCode::NOT_FOUND };
    let mut world = lock(&world);
    let at = world.now();
    super::done(world.link_records(hub_id, from, to, at))
}

/// Removes the association of two records. Returns 404 if there is none.
async fn unlink(State(world): State<Shared>, Path((hub_id, from, from_id, to, to_id)): Ends) -> StatusCode {
    let Some([from, to]) = ends((&from, from_id), (&to, to_id)) else { return StatusCode::NOT_FOUND };
    let mut world = lock(&world);
    let at = world.now();
    super::done(world.unlink_records(hub_id, from, to, at))
}

fn ends(from: (&str, u64), to: (&str, u64)) -> Option<[Key; 2]> {
    Some([(Object::parse(from.0)?, from.1), (Object::parse(to.0)?, to.1)])
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;
    use crate::testing::{HUB, get, send, start};

    #[tokio::test]
    async fn any_type_is_filled_changed_and_associated() {
        let simulator = start().await;
        let post =
            async |path: &str, body| send(&simulator, Method::POST, &format!("/_sim/portals/{HUB}/{path}"), body).await;
        let schema = json!({
            "typeId": "2-1234567", "name": "cars", "labels": {"singular": "Car", "plural": "Cars"},
            "properties": [{"name": "plate", "type": "string"}],
        });
        assert_eq!(post("schemas", schema).await, (200, json!({"objectTypeId": "2-1234567"})));
        assert_eq!(post("schemas", json!({"typeId": "cars", "name": "cars"})).await.0, 400);
        for object in ["deals", "2-1234567"] {
            assert_eq!(post(&format!("objects/{object}"), json!({"count": 5})).await.0, 204);
            let changed = post(&format!("objects/{object}/changes"), json!({"count": 5})).await;
            assert_eq!(changed, (200, json!({"created": 1, "updated": 4})));
            let list = get(&simulator, &format!("/crm/objects/2026-09/{object}?properties=plate")).await;
            assert_eq!((list.0, list.1["results"].as_array().map(Vec::len)), (200, Some(6)), "{object}");
        }
        assert_eq!(post("objects/a b", json!({"count": 5})).await.0, 404);
        let (deal, car) = {
            let mut world = simulator.world();
            (world.ids(HUB, Object::DEALS)[0], world.ids(HUB, "2-1234567".parse().unwrap())[0])
        };
        let path = format!("/_sim/portals/{HUB}/associations/deals/{deal}/2-1234567/{car}");
        for (method, expected) in [(Method::PUT, 204), (Method::PUT, 404), (Method::DELETE, 204), (Method::DELETE, 404)]
        {
            assert_eq!(send(&simulator, method, &path, json!({})).await.0, expected);
        }
    }
}
