//! `POST .../{object}/merge`.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;

use super::{
    errors,
    oauth::{authenticate, require_all},
    objects::with_limits,
    search::record,
};
use crate::{Shared, limits::RequestKind, lock, odd, world::World};

/// The two records of a merge.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Merge {
    primary_object_id: String,
    object_id_to_merge: String,
}

/// Merges a record into another one, which keeps its id, and returns it.
pub(crate) async fn handle(
    State(world): State<Shared>,
    Path((_, object)): Path<(String, String)>,
    headers: HeaderMap,
    Json(merge): Json<Merge>,
) -> Response {
    merged(&mut lock(&world), &headers, &object, &merge).unwrap_or_else(|refusal| *refusal)
}

fn merged(world: &mut World, headers: &HeaderMap, object: &str, merge: &Merge) -> Result<Response, Box<Response>> {
    let caller = authenticate(world, headers)?;
    let object = world.resolve(caller.hub_id, object).ok_or_else(|| Box::new(errors::unknown_object(object)))?;
    require_all(world, caller, &object.write_scopes())?;
    // HubSpot's text for it is not known.
    if !object.can_be_merged() {
        return Err(Box::new(errors::invalid(&format!("Objects of the type {object} cannot be merged"))));
    }
    let (at, asked) = (world.now(), [&merge.primary_object_id, &merge.object_id_to_merge]);
    let ids = asked.map(|id| id.parse::<u64>().ok());
    let survivor = match ids {
        [Some(winner), Some(loser)] => world.merge(caller.hub_id, object, (winner, loser), at, false),
        _ => None,
    };
    let records = &world.portal(caller.hub_id).records;
    let survivor = survivor.and_then(|id| records.get(&object)?.get(&id));
    let survivor = survivor.ok_or_else(|| Box::new(errors::invalid("One of the two does not exist")))?;
    let answer = odd::json(&record(object, survivor, survivor.newest(), &[]));
    Ok(with_limits(world, caller, RequestKind::Other, answer))
}

#[cfg(test)]
mod tests {
    use reqwest::Method;
    use serde_json::json;

    use crate::{
        Object,
        testing::{HUB, create, grant, send, start},
    };

    #[tokio::test]
    async fn merging_requires_the_scope_of_writing() {
        let simulator = start().await;
        let body = json!({"primaryObjectId": "1", "objectIdToMerge": "2"});
        let (status, refusal) = send(&simulator, Method::POST, "/crm/objects/2026-09/contacts/merge", body).await;
        let required = &refusal["errors"][0]["context"]["requiredGranularScopes"];
        assert_eq!((status, required), (403, &json!(["crm.objects.contacts.write"])));
    }

    #[tokio::test]
    async fn contacts_companies_deals_tickets_and_custom_objects_can_be_merged_and_nothing_else() {
        let simulator = start().await;
        simulator.world().create_schema(HUB, "2-1234567", "cars", ("Car", "Cars"), Vec::new()).unwrap();
        let table = [
            ("contacts", 200),
            ("companies", 200),
            ("deals", 200),
            ("tickets", 200),
            ("2-1234567", 200),
            ("products", 400),
            ("line_items", 400),
            ("notes", 400),
        ];
        for (name, expected) in table {
            let object: Object = name.parse().unwrap();
            let [winner, loser] = create(&mut simulator.world(), object);
            let path = format!("/crm/objects/2026-09/{name}/merge");
            let body = json!({"primaryObjectId": winner.to_string(), "objectIdToMerge": loser.to_string()});
            let scopes = object.write_scopes();
            grant(&mut simulator.world(), &scopes.iter().map(String::as_str).collect::<Vec<_>>());
            let (status, answer) = send(&simulator, Method::POST, &path, body).await;
            assert_eq!(status, expected, "{name} {answer}");
            let mut world = simulator.world();
            assert_eq!(world.ids(HUB, object).len(), if expected == 200 { 1 } else { 2 });
            assert_eq!(world.merge(HUB, object, (winner, loser), i64::MAX, false), None);
            if expected == 200 {
                assert_eq!(answer["id"], winner.to_string());
                let (version, _) = world.record(HUB, object, winner).unwrap();
                assert_eq!(version.properties.get("hs_merged_object_ids"), Some(&loser.to_string()));
            }
        }
    }
}
