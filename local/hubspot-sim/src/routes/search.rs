//! `POST .../{object}/search`.

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value, json};

use super::{errors, oauth};
use crate::{
    Shared, clock,
    links::PRIMARY_COMPANY,
    lock,
    object::Object,
    odd,
    query::{Query, Row},
    settings::IdOrder,
    world::{Record, Version, World},
};

pub(crate) async fn handle(
    State(world): State<Shared>,
    Path((_, object)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // A request counts from its arrival, however long the ones before it take.
    let arrived = clock::now();
    search(&mut lock(&world), arrived, &object, &headers, &body)
}

fn search(world: &mut World, arrived: i64, object: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    let (hub_id, object) = match oauth::authorize_object(world, headers, object) {
        Ok((caller, object)) => (caller.hub_id, object),
        Err(refusal) => return *refusal,
    };
    let limit = world.settings.search_rps;
    if !world.portal(hub_id).searches.allow(arrived, 1000, limit) {
        return errors::secondly();
    }
    let query: Query = match serde_json::from_slice(body) {
        Ok(query) => query,
        Err(error) => return errors::invalid(&format!("Invalid input JSON: {error}")),
    };
    if let Some((status, message)) = query.problem(String::from_utf8_lossy(body).chars().count()) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        return errors::refuse(status, errors::category(status), &message);
    }
    match results(world, hub_id, object, &query) {
        Some(results) => odd::json(&results),
        None => errors::internal(),
    }
}

/// Returns a page of results. Returns `None` if it contains a record that HubSpot cannot return.
fn results(world: &mut World, hub_id: u64, object: Object, query: &Query) -> Option<Value> {
    let now = world.now();
    let settings = world.settings.clone();
    let mut random = StdRng::from_rng(&mut world.random);
    let records = world.portal(hub_id).records.entry(object).or_default();
    let row = |record| {
        let (version, is_dated) = (Record::indexed(record, now)?, !settings.undated.contains(&record.id));
        Some(Row { object, record, version, order: settings.id_order, is_dated })
    };
    let first = if settings.id_order == IdOrder::Numeric { query.first_id() } else { 0 };
    let mut rows: Vec<Row<'_>> = records
        .range(first..)
        .filter_map(|(_, record)| row(record))
        .filter(|row| !row.version.archived && row.matches(&query.filter_groups))
        .collect();
    query.sort(&mut rows, settings.disorder_ms, || i64::from(random.random::<u32>()));
    let ghosts = settings.ghosts.iter().filter(|at| query.counts(object, **at)).count();
    let total = rows.len();
    let mut size = query.limit;
    if settings.short_pages && total > query.after + 1 && random.random_bool(0.3) {
        size = random.random_range(0..query.limit.max(1));
    }
    let end = total.min(query.after + size);
    let page = rows.get(query.after..end).unwrap_or_default();
    let shows = |ids: &[u64]| page.iter().any(|row| ids.contains(&row.record.id));
    if shows(&settings.unshowable) || asks_for_more(&query.properties) && shows(&settings.unanswerable) {
        return None;
    }
    let shown = |row: &Row<'_>| {
        let newest = row.record.newest();
        let version = if settings.newer_rows && !newest.erased { newest } else { row.version };
        let mut shown = record(object, row.record, version, &query.properties);
        if !row.is_dated {
            shown["properties"][object.modified_property()] = Value::Null;
        }
        shown
    };
    let results: Vec<Value> = page.iter().map(shown).collect();
    let counted = i64::try_from(total + ghosts).unwrap_or(0) + settings.total_off_by;
    let mut answer = json!({"total": counted, "results": results});
    if end < total {
        answer["paging"] = json!({"next": {"after": end.to_string()}});
    }
    Some(answer)
}

/// Returns true if properties are requested beside the times of creation and modification.
pub(crate) fn asks_for_more(properties: &[String]) -> bool {
    properties.iter().any(|name| !name.ends_with("date") && name != "hs_merged_object_ids")
}

/// Returns a record's JSON, with the requested properties.
pub(crate) fn record(object: Object, record: &Record, version: &Version, asked: &[String]) -> Value {
    let modified = clock::iso(version.modified_at);
    let mut properties = Map::new();
    for name in asked {
        let value = match name.as_str() {
            PRIMARY_COMPANY => record.primary_company().map(|company| Value::from(company.to_string())),
            name => version.properties.get(name).map(|value| Value::from(value.as_str())),
        };
        properties.insert(name.clone(), value.unwrap_or(Value::Null));
    }
    // A record may have a text that is not a date.
    let created = version.properties.get(object.created_property()).cloned();
    let created = created.unwrap_or_else(|| clock::iso(record.created_at));
    properties.insert(object.created_property().to_owned(), Value::from(created));
    properties.insert(object.modified_property().to_owned(), Value::from(modified.as_str()));
    properties.insert("hs_object_id".to_owned(), Value::from(record.id.to_string()));
    json!({
        "id": record.id.to_string(), "properties": properties, "createdAt": clock::iso(record.created_at),
        "updatedAt": modified, "archived": version.archived,
    })
}
