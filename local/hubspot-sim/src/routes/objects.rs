//! The list of an object type, and reading records by id.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    errors,
    oauth::{self, Caller},
    search::{asks_for_more, record},
};
use crate::{
    Shared, clock,
    limits::{ExceededLimit, RequestKind},
    links::AssociationType,
    lock,
    object::Object,
    odd,
    settings::ListForm,
    world::{Record, World},
};

/// The parameters of a list. A name may occur several times.
pub(crate) struct ListQuery {
    limit: usize,
    after: Option<u64>,
    properties: Vec<String>,
    archived: bool,
    associations: Vec<String>,
}

impl ListQuery {
    fn read(pairs: &[(String, String)]) -> Option<Self> {
        let values = |name: &'static str| pairs.iter().filter(move |pair| pair.0 == name).map(|pair| pair.1.as_str());
        let properties = values("properties").flat_map(|names| names.split(',')).filter(|name| !name.is_empty());
        Some(Self {
            limit: values("limit").next().map_or(Some(10), |limit| limit.parse().ok())?,
            after: values("after").next().map(|after| after.parse().ok()).unwrap_or(Some(0)),
            properties: properties.map(str::to_owned).collect(),
            archived: values("archived").any(|archived| archived == "true"),
            associations: values("associations").flat_map(|names| names.split(',')).map(str::to_owned).collect(),
        })
    }
}

type Paths = Path<(String, String)>;

pub(crate) async fn handle_list(
    State(world): State<Shared>,
    Path((_, object)): Paths,
    Query(query): Query<Vec<(String, String)>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut world = lock(&world);
    if uri.path_and_query().is_some_and(|asked| asked.as_str().len() > world.settings.longest_list) {
        return errors::refuse(StatusCode::URI_TOO_LONG, "VALIDATION_ERROR", "The address is too long");
    }
    match ListQuery::read(&query) {
        Some(query) => list(&mut world, &object, &query, &headers),
        None => errors::invalid("The limit or the cursor is no number"),
    }
}

pub(crate) async fn handle_batch(
    State(world): State<Shared>,
    Path((_, object)): Paths,
    headers: HeaderMap,
    body: Json<BatchRead>,
) -> Response {
    batch(&mut lock(&world), &object, &headers, &body)
}

/// Checks the token, which needs one of these scopes, and counts the request against its limit.
pub(crate) fn admit(
    world: &mut World,
    headers: &HeaderMap,
    asked: RequestKind,
    scopes: &[&str],
) -> Result<Caller, Box<Response>> {
    let caller = oauth::authorize(world, headers, scopes)?;
    count(world, caller, asked).map(|()| caller)
}

/// Checks the token of a request for records of the type that the path means, and counts the request.
pub(crate) fn admit_object(
    world: &mut World,
    headers: &HeaderMap,
    object: &str,
) -> Result<(Caller, Object), Box<Response>> {
    let (caller, object) = oauth::authorize_object(world, headers, object)?;
    count(world, caller, RequestKind::Other).map(|()| (caller, object))
}

/// Checks the token of a request for definitions of a type, and counts the request. Other connectors request them of types
/// of which they read no records, so that only a custom object has to exist.
pub(crate) fn admit_schema(
    world: &mut World,
    headers: &HeaderMap,
    text: &str,
) -> Result<(Caller, Object), Box<Response>> {
    let caller = oauth::authenticate(world, headers)?;
    let known = world.resolve(caller.hub_id, text).or_else(|| Object::parse(text).filter(|object| !object.is_custom()));
    let object = known.ok_or_else(|| Box::new(errors::unknown_object(text)))?;
    let scopes = object.schema_scopes();
    oauth::require_any(world, caller, &scopes.iter().map(String::as_str).collect::<Vec<_>>())?;
    count(world, caller, RequestKind::Other).map(|()| (caller, object))
}

/// Counts a request against its limit. Fails with the refusal if the limit is exceeded.
fn count(world: &mut World, caller: Caller, asked: RequestKind) -> Result<(), Box<Response>> {
    let limit = world.settings.limit(caller.app, asked);
    let refusal = match world.portal(caller.hub_id).usage.count_request(clock::now(), limit) {
        Ok(()) => return Ok(()),
        Err(ExceededLimit::TenSecondly) => errors::ten_secondly(),
        Err(ExceededLimit::Daily) => errors::daily(),
    };
    Err(Box::new(with_limits(world, caller, asked, refusal)))
}

/// Adds the headers of the general limit. Responses of requests that it does not count do not have them.
pub(crate) fn with_limits(world: &mut World, caller: Caller, asked: RequestKind, mut response: Response) -> Response {
    let limit = world.settings.limit(caller.app, asked);
    let Some(left) = world.portal(caller.hub_id).usage.remaining(clock::now(), limit) else { return response };
    let headers = response.headers_mut();
    headers.insert("x-hubspot-ratelimit-max", HeaderValue::from(limit.ten_secondly));
    headers.insert("x-hubspot-ratelimit-remaining", HeaderValue::from(left.ten_secondly));
    headers.insert("x-hubspot-ratelimit-interval-milliseconds", HeaderValue::from(10_000));
    if let Some(left) = left.daily {
        headers.insert("x-hubspot-ratelimit-daily", HeaderValue::from(limit.daily));
        headers.insert("x-hubspot-ratelimit-daily-remaining", HeaderValue::from(left));
    }
    response
}

fn list(world: &mut World, object: &str, query: &ListQuery, headers: &HeaderMap) -> Response {
    let (caller, object) = match admit_object(world, headers, object) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    if query.archived && world.settings.without_recycle_bin.contains(&object) {
        return errors::invalid("Paging through deleted objects is not yet supported");
    }
    if query.limit > 100 {
        return errors::invalid("The limit is greater than the maximum of 100");
    }
    let settings = world.settings.clone();
    let form = if query.archived { ListForm::FromId } else { settings.list_form };
    let from = match form {
        ListForm::FromStart => 0,
        ListForm::AfterId => query.after.map_or(0, |after| after + 1),
        ListForm::FromId | ListForm::Descending | ListForm::OnePage => query.after.unwrap_or(0),
    };
    let now = world.now();
    let wanted = |record: &&Record| {
        let version = record.newest();
        let is_listed = query.archived || !settings.unlisted.contains(&record.id);
        version.archived == query.archived && is_listed && (settings.lists_merged || !version.merged) && !version.erased
    };
    let records = world.portal(caller.hub_id).records.entry(object).or_default();
    let mut rows = records.range(from..).map(|(_, record)| record).filter(wanted);
    let mut page: Vec<&Record> = rows.by_ref().take(query.limit).collect();
    let shows = |ids: &[u64]| page.iter().any(|record| ids.contains(&record.id));
    let has_no_answer =
        shows(&settings.unshowable) || asks_for_more(&query.properties) && shows(&settings.unanswerable);
    if has_no_answer && !query.archived {
        return errors::internal();
    }
    if form == ListForm::Descending {
        page.reverse();
    }
    let listed = |row: &&Record| {
        let mut shown = listed(object, row, query, settings.archived_early_ms, now);
        if settings.undated.contains(&row.id) {
            shown["properties"][object.modified_property()] = Value::Null;
        }
        shown
    };
    let mut answer = json!({"results": page.iter().map(listed).collect::<Vec<Value>>()});
    if let Some(next) = rows.next().filter(|_| form != ListForm::OnePage) {
        answer["paging"] = json!({"next": {"after": next.id.to_string()}});
    }
    with_limits(world, caller, RequestKind::Other, odd::json(&answer))
}

/// Returns a row of the list. Its deletion time is `early` milliseconds too early.
fn listed(object: Object, row: &Record, query: &ListQuery, early: i64, now: i64) -> Value {
    let mut shown = record(object, row, row.newest(), &query.properties);
    if row.newest().archived {
        shown["archivedAt"] = json!(clock::iso(row.newest().modified_at - early));
    }
    let links = row.links.visible(now);
    if object == Object::CONTACTS && query.associations.iter().any(|name| name.contains("compan")) && !links.is_empty()
    {
        let results: Vec<Value> =
            links.iter().flat_map(|link| typed(object, Object::COMPANIES, link.company, &link.types)).collect();
        shown["associations"] = json!({"companies": {"results": results}});
    }
    for other in query.associations.iter().filter_map(|name| Object::parse(name)) {
        let ends = row.related(other, now);
        if !ends.is_empty() {
            let results: Vec<Value> = ends.iter().flat_map(|end| typed(object, other, end.id, &end.types)).collect();
            shown["associations"][other.name()] = json!({ "results": results });
        }
    }
    shown
}

/// Returns an association of a list's row: an entry for each of its types.
fn typed(from: Object, to: Object, id: u64, types: &[AssociationType]) -> Vec<Value> {
    types.iter().map(|kind| json!({"id": id.to_string(), "type": kind.name(from, to)})).collect()
}

#[derive(Deserialize)]
pub(crate) struct BatchRead {
    #[serde(default)]
    properties: Vec<String>,
    inputs: Vec<BatchInput>,
}

#[derive(Deserialize)]
struct BatchInput {
    id: String,
}

fn batch(world: &mut World, object: &str, headers: &HeaderMap, request: &BatchRead) -> Response {
    let (caller, object) = match admit_object(world, headers, object) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    if request.inputs.len() > 100 {
        return errors::invalid("The batch has more than 100 inputs");
    }
    let is_asked = |ids: &[u64]| request.inputs.iter().any(|input| ids.iter().any(|id| id.to_string() == input.id));
    let settings = &world.settings;
    let has_no_answer =
        is_asked(&settings.unshowable) || asks_for_more(&request.properties) && is_asked(&settings.unanswerable);
    let records = world.portal(caller.hub_id).records.entry(object).or_default();
    let find = |input: &BatchInput| records.get(&input.id.parse().ok()?).filter(|record| !record.newest().archived);
    let (found, missing): (Vec<&BatchInput>, Vec<&BatchInput>) =
        request.inputs.iter().partition(|input| find(input).is_some());
    if has_no_answer {
        return errors::internal();
    }
    let show = |row: &Record| record(object, row, row.newest(), &request.properties);
    let results: Vec<Value> = found.into_iter().filter_map(find).map(show).collect();
    let mut answer = json!({"status": "COMPLETE", "results": results, "startedAt": clock::iso(clock::now()), "completedAt": clock::iso(clock::now())});
    let mut status = StatusCode::OK;
    if !missing.is_empty() {
        let ids: Vec<&str> = missing.iter().map(|input| input.id.as_str()).collect();
        let message = "Could not get some objects, they may be deleted or not exist".to_owned();
        answer["errors"] = json!([errors::part("OBJECT_NOT_FOUND", None, message, json!({"ids": ids}))]);
        answer["numErrors"] = json!(1);
        status = StatusCode::MULTI_STATUS;
    }
    let mut response = odd::json(&answer);
    *response.status_mut() = status;
    with_limits(world, caller, RequestKind::Other, response)
}
