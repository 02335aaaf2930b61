//! `POST .../associations/{from}/{to}/batch/read`, between contacts and companies.

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
    objects::{admit, with_limits},
};
use crate::{
    Shared, clock,
    limits::RequestKind,
    lock,
    world::{Object, World},
};

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
    // The scope of either object is sufficient.
    let scopes = [Object::Contacts.scope(), Object::Companies.scope()];
    let caller = match admit(world, headers, RequestKind::Associations, &scopes) {
        Ok(caller) => caller,
        Err(refusal) => return *refusal,
    };
    let objects = (Object::parse(objects.0), Object::parse(objects.1));
    if request.inputs.len() > 1000 {
        return errors::invalid("The batch has more than 1000 inputs");
    }
    let page = world.settings.association_page.max(1);
    let is_among = |ids: &[u64], input: &Input| ids.iter().any(|id| id.to_string() == input.id);
    if request.inputs.iter().any(|input| is_among(&world.settings.companies_fail, input)) {
        return errors::internal();
    }
    let without_companies = world.settings.without_companies.clone();
    let contacts = &world.portal(caller.hub_id).records[&Object::Contacts];
    let of = |id: u64| -> Vec<u64> {
        match objects {
            (Some(Object::Contacts), Some(Object::Companies)) => {
                contacts.get(&id).map(|contact| contact.companies.clone()).unwrap_or_default()
            }
            (Some(Object::Companies), Some(Object::Contacts)) => {
                let mine = contacts.values().filter(|contact| contact.companies.contains(&id));
                mine.map(|contact| contact.id).collect()
            }
            // Nothing else is associated here.
            _ => Vec::new(),
        }
    };
    let (mut results, mut missing) = (Vec::new(), Vec::new());
    for input in &request.inputs {
        if is_among(&without_companies, input) {
            missing.push(invalid(&input.id));
            continue;
        }
        let associated_ids = input.id.parse().map(of).unwrap_or_default();
        if associated_ids.is_empty() {
            missing.push(none(&input.id));
        } else {
            results.push(associated(input, &associated_ids, page));
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

/// Returns one contact's page of companies. The ids of companies are numbers here, as in HubSpot's responses. The
/// primary one comes last, where clients do not expect it.
fn associated(input: &Input, companies: &[u64], page: usize) -> Value {
    let kind = |id: i64, label: Option<&str>| json!({"category": "HUBSPOT_DEFINED", "typeId": id, "label": label});
    let mut all: Vec<Value> = companies
        .iter()
        .enumerate()
        .map(|(index, company)| match index {
            0 => json!({"toObjectId": company, "associationTypes": [kind(1, Some("Primary")), kind(279, None)]}),
            _ => json!({"toObjectId": company, "associationTypes": [kind(279, None)]}),
        })
        .collect();
    all.reverse();
    let from: usize = input.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(0);
    let end = all.len().min(from + page);
    let to = all.get(from..end).unwrap_or_default();
    let mut result = json!({"from": {"id": input.id}, "to": to});
    if end < all.len() {
        result["paging"] = json!({"next": {"after": end.to_string()}});
    }
    result
}

/// Returns HubSpot's error for an invalid input, seen beside results in a 207.
fn invalid(contact: &str) -> Value {
    let message = format!("{contact} is no valid identifier.");
    errors::part("VALIDATION_ERROR", Some("crm.associations.INVALID_IDENTIFIER"), message, json!({"id": [contact]}))
}

fn none(contact: &str) -> Value {
    let context = json!({"fromObjectId": [contact], "fromObjectType": ["contact"], "toObjectType": ["company"]});
    let message = format!("No company is associated with contact {contact}.");
    errors::part("OBJECT_NOT_FOUND", Some("crm.associations.NO_ASSOCIATIONS_FOUND"), message, context)
}
