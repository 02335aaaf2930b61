//! The definitions of properties, which other connectors read before they read records.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::objects::admit;
use crate::{Shared, limits::RequestKind, lock, object::Object};

const COMPANY_PROPERTIES: [(&str, &str); 11] = [
    ("name", "string"),
    ("domain", "string"),
    ("country", "string"),
    ("industry", "string"),
    ("description", "string"),
    ("annualrevenue", "number"),
    ("numberofemployees", "number"),
    ("hs_lead_status", "string"),
    ("createdate", "datetime"),
    ("hs_lastmodifieddate", "datetime"),
    ("hs_object_id", "number"),
];
const CONTACT_PROPERTIES: [(&str, &str); 12] = [
    ("firstname", "string"),
    ("lastname", "string"),
    ("jobtitle", "string"),
    ("email", "string"),
    ("hubspotscore", "number"),
    ("hs_lead_status", "string"),
    ("associatedcompanyid", "number"),
    ("hs_analytics_source", "string"),
    ("hs_latest_source", "string"),
    ("createdate", "datetime"),
    ("lastmodifieddate", "datetime"),
    ("hs_object_id", "number"),
];

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

/// `GET /crm-object-schemas/{version}/schemas`: there are no custom objects.
pub(crate) async fn handle_schemas() -> Json<Value> {
    Json(json!({"results": []}))
}

fn definitions(
    State(world): State<Shared>,
    Path((_, object)): Path<(String, String)>,
    headers: &HeaderMap,
) -> Result<Value, Box<Response>> {
    // Other connectors request those of all objects, even if they read no records of them.
    let is_company = Object::parse(&object) == Some(Object::COMPANIES);
    let object = if is_company { Object::COMPANIES } else { Object::CONTACTS };
    admit(&mut lock(&world), headers, RequestKind::Other, &[&object.scope()])?;
    let properties = if is_company { &COMPANY_PROPERTIES[..] } else { &CONTACT_PROPERTIES[..] };
    let define = |&(name, kind): &(&str, &str)| json!({"name": name, "label": name, "type": kind, "fieldType": "text", "groupName": "all", "calculated": false});
    Ok(properties.iter().map(define).collect())
}
