//! `POST .../associations/{from}/{to}/batch/read`, between any two object types, in both directions.

mod cursor;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    errors,
    oauth::{Caller, authenticate},
    objects::{admit, with_limits},
};
use crate::{
    Shared, clock,
    limits::RequestKind,
    links::{AssociationType, Link, LinkEnd},
    lock,
    object::Object,
    world::{Record, World},
};

/// The most inputs of a request.
const MAX_INPUTS: usize = 1000;

#[derive(Deserialize)]
pub(crate) struct BatchRead {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    id: String,
    after: Option<String>,
}

pub(crate) async fn handle(
    State(world): State<Shared>,
    Path((_, from, to)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Json<BatchRead>,
) -> Response {
    read(&mut lock(&world), (&from, &to), &headers, &body)
}

fn read(world: &mut World, objects: (&str, &str), headers: &HeaderMap, request: &BatchRead) -> Response {
    let (caller, from, to) = match admit_pair(world, headers, objects) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    if request.inputs.len() > MAX_INPUTS {
        return errors::invalid("The batch has more than 1000 inputs");
    }
    let is_among = |ids: &[u64], input: &Input| ids.iter().any(|id| id.to_string() == input.id);
    if request.inputs.iter().any(|input| is_among(&world.settings.companies_fail, input)) {
        return errors::internal();
    }
    let without_companies = world.settings.without_companies.clone();
    let (now, page) = (world.now(), world.settings.association_page.max(1));
    let mut ends = ends(&world.portal(caller.hub_id).records, (from, to), &request.inputs, now);
    let (mut results, mut missing) = (Vec::new(), Vec::new());
    for input in &request.inputs {
        if is_among(&without_companies, input) {
            missing.push(invalid(&input.id));
            continue;
        }
        match ends.get_mut(&input.id) {
            None => missing.push(none(&input.id, (from, to))),
            Some(ends) => match associated(input, to, ends, page) {
                Some(result) => results.push(result),
                None => return errors::invalid("The cursor is invalid"),
            },
        }
    }
    let mut answer = json!({"status": "COMPLETE", "results": results, "startedAt": clock::iso(clock::now()), "completedAt": clock::iso(clock::now())});
    let mut status = StatusCode::OK;
    if !missing.is_empty() {
        answer["numErrors"] = json!(missing.len());
        answer["errors"] = Value::Array(missing);
        status = StatusCode::MULTI_STATUS;
    }
    with_limits(world, caller, RequestKind::Associations, (status, Json(answer)).into_response())
}

/// Checks the token, for which the scopes of either object type are sufficient, and counts the request.
fn admit_pair(
    world: &mut World,
    headers: &HeaderMap,
    (from, to): (&str, &str),
) -> Result<(Caller, Object, Object), Box<Response>> {
    let caller = authenticate(world, headers)?;
    let resolve = |text| world.resolve(caller.hub_id, text).ok_or_else(|| Box::new(errors::unknown_object(text)));
    let (from, to) = (resolve(from)?, resolve(to)?);
    let scopes = [from.scopes(), to.scopes()].concat();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    admit(world, headers, RequestKind::Associations, &scopes).map(|caller| (caller, from, to))
}

/// Returns the other ends of each input's links. An input without links has no entry.
fn ends(
    records: &BTreeMap<Object, BTreeMap<u64, Record>>,
    direction: (Object, Object),
    inputs: &[Input],
    now: i64,
) -> HashMap<String, Vec<LinkEnd>> {
    let mut ends: HashMap<String, Vec<LinkEnd>> = HashMap::new();
    let nothing = BTreeMap::new();
    let contacts = records.get(&Object::CONTACTS).unwrap_or(&nothing);
    if direction == (Object::CONTACTS, Object::COMPANIES) {
        for input in inputs {
            let contact = input.id.parse().ok().and_then(|id: u64| contacts.get(&id));
            let links = contact.map_or(&[][..], |contact| contact.links.visible(now));
            if !links.is_empty() {
                let end = |link: &Link| LinkEnd { id: link.company, types: link.types.clone() };
                ends.insert(input.id.clone(), links.iter().map(end).collect());
            }
        }
    } else if direction == (Object::COMPANIES, Object::CONTACTS) {
        let asked: HashMap<u64, &str> =
            inputs.iter().filter_map(|input| Some((input.id.parse().ok()?, input.id.as_str()))).collect();
        for contact in contacts.values() {
            for link in contact.links.visible(now) {
                let Some(company) = asked.get(&link.company) else { continue };
                let types = link.types.iter().map(AssociationType::reversed).collect();
                ends.entry((*company).to_owned()).or_default().push(LinkEnd { id: contact.id, types });
            }
        }
    } else {
        let records = records.get(&direction.0).unwrap_or(&nothing);
        for input in inputs {
            let record = input.id.parse().ok().and_then(|id: u64| records.get(&id));
            let related = record.map(|record| record.related(direction.1, now)).unwrap_or_default();
            if !related.is_empty() {
                ends.insert(input.id.clone(), related);
            }
        }
    }
    ends
}

/// Returns the page of one input's links that its cursor asks for. The ids of the other ends are numbers here, as in
/// HubSpot's responses. Returns `None` if the cursor is invalid.
fn associated(input: &Input, to: Object, ends: &mut [LinkEnd], page: usize) -> Option<Value> {
    ends.sort_by_key(LinkEnd::place);
    let first = match &input.after {
        None => 0,
        Some(after) => cursor::first(ends, cursor::parse(to, after)?),
    };
    let shown = &ends[first..ends.len().min(first + page)];
    let to_json = |end: &LinkEnd| json!({"toObjectId": end.id, "associationTypes": end.types});
    let mut result = json!({"from": {"id": input.id}, "to": shown.iter().map(to_json).collect::<Vec<_>>()});
    if let Some(last) = shown.last().filter(|_| first + page < ends.len()) {
        result["paging"] = json!({"next": {"after": cursor::after(to, last.id)}});
    }
    Some(result)
}

/// Returns HubSpot's error for an invalid input, seen beside results in a 207.
fn invalid(id: &str) -> Value {
    let message = format!("{id} is no valid identifier.");
    errors::part("VALIDATION_ERROR", Some("crm.associations.INVALID_IDENTIFIER"), message, json!({"id": [id]}))
}

/// Returns HubSpot's error for an input without links, seen beside results in a 207.
fn none(id: &str, (from, to): (Object, Object)) -> Value {
    let (from, to) = (from.singular(), to.singular());
    let context = json!({"fromObjectId": [id], "fromObjectType": [from], "toObjectType": [to]});
    let message = format!("No {to} is associated with {from} {id}.");
    errors::part("OBJECT_NOT_FOUND", Some("crm.associations.NO_ASSOCIATIONS_FOUND"), message, context)
}
