//! `POST .../{object}/search`.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value, json};

use super::{errors, oauth};
use crate::{
    Shared, clock, lock,
    query::{Query, Row},
    settings::IdOrder,
    world::{Object, Record, Version, World},
};

pub(crate) async fn handle(
    State(world): State<Shared>,
    Path((_, object)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // A request counts from when it arrives, however long the ones before it take.
    let arrived = clock::now();
    search(&mut lock(&world), arrived, &object, &headers, &body)
}

fn search(world: &mut World, arrived: i64, object: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    let hub_id = match oauth::authenticate(world, headers) {
        Ok(hub_id) => hub_id,
        Err(refusal) => return *refusal,
    };
    let Some(object) = Object::parse(object) else {
        return errors::invalid("Unable to infer object type");
    };
    let limit = world.settings.search_rps;
    if !world.portal(hub_id).searches.allow(arrived, 1000, limit) {
        return errors::secondly();
    }
    let query: Query = match serde_json::from_slice(body) {
        Ok(query) => query,
        Err(error) => return errors::invalid(&format!("Invalid input JSON: {error}")),
    };
    if let Some((status, message)) = query.problem(body.len()) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        return errors::refuse(status, errors::category(status), &message);
    }
    Json(results(world, hub_id, object, &query)).into_response()
}

fn results(world: &mut World, hub_id: u64, object: Object, query: &Query) -> Value {
    let now = world.now();
    let settings = world.settings.clone();
    let mut random = StdRng::from_rng(&mut world.random);
    let records = &world.portal(hub_id).records[&object];
    let row = |record| Some(Row { object, record, version: Record::indexed(record, now)?, order: settings.id_order });
    let first = if settings.id_order == IdOrder::Numeric { query.first_id() } else { 0 };
    let mut rows: Vec<Row<'_>> = records
        .range(first..)
        .filter_map(|(_, record)| row(record))
        .filter(|row| !row.version.archived && row.matches(&query.filter_groups))
        .collect();
    query.sort(&mut rows, settings.disorder_ms, || i64::from(random.random::<u32>()));
    let total = rows.len();
    let mut size = query.limit;
    if settings.short_pages && total > query.after + 1 && random.random_bool(0.3) {
        size = random.random_range(0..query.limit.max(1));
    }
    let end = total.min(query.after + size);
    let page = rows.get(query.after..end).unwrap_or_default();
    let shown = |row: &Row<'_>| {
        let version = if settings.newer_rows { row.record.newest() } else { row.version };
        record(object, row.record, version, &query.properties)
    };
    let results: Vec<Value> = page.iter().map(shown).collect();
    let mut answer = json!({"total": i64::try_from(total).unwrap_or(0) + settings.total_off_by, "results": results});
    if end < total {
        answer["paging"] = json!({"next": {"after": end.to_string()}});
    }
    answer
}

/// A record as HubSpot shows it, with the properties asked for.
pub(crate) fn record(object: Object, record: &Record, version: &Version, asked: &[String]) -> Value {
    let modified = clock::iso(version.modified_at);
    let mut properties = Map::new();
    for name in asked {
        let value = version.properties.get(name).map(|value| Value::from(value.as_str()));
        properties.insert(name.clone(), value.unwrap_or(Value::Null));
    }
    properties.insert("createdate".to_owned(), Value::from(clock::iso(record.created_at)));
    properties.insert(object.modified_property().to_owned(), Value::from(modified.as_str()));
    properties.insert("hs_object_id".to_owned(), Value::from(record.id.to_string()));
    json!({
        "id": record.id.to_string(), "properties": properties, "createdAt": clock::iso(record.created_at),
        "updatedAt": modified, "archived": version.archived,
    })
}
