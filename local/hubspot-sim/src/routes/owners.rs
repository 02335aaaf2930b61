//! `GET .../owners` and `GET .../pipelines/{object}`.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    errors,
    objects::{admit, admit_schema, with_limits},
};
use crate::{
    Shared, clock,
    limits::RequestKind,
    lock,
    owner::{Owner, Pipeline},
    world::World,
};

/// The most owners on a page.
const MAX_OWNERS: usize = 500;

#[derive(Deserialize)]
pub(crate) struct OwnersQuery {
    #[serde(default = "hundred")]
    limit: usize,
    #[serde(default)]
    after: u64,
    #[serde(default)]
    archived: bool,
}

fn hundred() -> usize {
    100
}

/// The list of owners, by id. The cursor is the id of the next one.
pub(crate) async fn handle_owners(
    State(world): State<Shared>,
    Query(query): Query<OwnersQuery>,
    headers: HeaderMap,
) -> Response {
    owners(&mut lock(&world), &query, &headers).unwrap_or_else(|refusal| *refusal)
}

fn owners(world: &mut World, query: &OwnersQuery, headers: &HeaderMap) -> Result<Response, Box<Response>> {
    let caller = admit(world, headers, RequestKind::Other, &["crm.objects.owners.read"])?;
    if query.limit > MAX_OWNERS {
        return Err(Box::new(errors::invalid("The limit is greater than the maximum of 500")));
    }
    let is_asked = |owner: &&Owner| owner.id >= query.after && owner.archived == query.archived;
    let mut rows = world.portal(caller.hub_id).owners.iter().filter(is_asked);
    let results: Vec<Value> = rows.by_ref().take(query.limit).map(owner).collect();
    let mut answer = json!({"results": results});
    if let Some(next) = rows.next() {
        answer["paging"] = json!({"next": {"after": next.id.to_string()}});
    }
    Ok(with_limits(world, caller, RequestKind::Other, Json(answer).into_response()))
}

fn owner(owner: &Owner) -> Value {
    let at = clock::iso(0);
    json!({
        "id": owner.id.to_string(), "email": owner.email, "firstName": owner.first_name, "lastName": owner.last_name,
        "type": "PERSON", "userId": owner.id, "teams": [], "archived": owner.archived, "createdAt": at, "updatedAt": at,
    })
}

/// The pipelines of an object type, which have no pages.
pub(crate) async fn handle_pipelines(
    State(world): State<Shared>,
    Path((_, object)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let mut world = lock(&world);
    match admit_schema(&mut world, &headers, &object) {
        Ok((caller, object)) => {
            let pipelines: Vec<Value> = world.portal(caller.hub_id).pipelines(object).iter().map(pipeline).collect();
            with_limits(&mut world, caller, RequestKind::Other, Json(json!({"results": pipelines})).into_response())
        }
        Err(refusal) => *refusal,
    }
}

fn pipeline(pipeline: &Pipeline) -> Value {
    let at = clock::iso(0);
    let stage = |(index, (id, label)): (usize, &(String, String))| {
        json!({
            "id": id, "label": label, "displayOrder": index, "metadata": {}, "archived": false, "createdAt": at,
            "updatedAt": at, "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT",
        })
    };
    let stages: Vec<Value> = pipeline.stages.iter().enumerate().map(stage).collect();
    json!({
        "id": pipeline.id, "label": pipeline.label, "displayOrder": 0, "stages": stages, "archived": false,
        "createdAt": at, "updatedAt": at,
    })
}
