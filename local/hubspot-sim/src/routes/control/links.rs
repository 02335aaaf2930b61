//! The control of associations and of privacy deletions.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post, put},
};
use serde::{Deserialize, Serialize};

use super::done;
use crate::{Shared, linking::LinkChange, links::Link, lock, object::Object, world::World};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/portals/{hub_id}/links", get(links))
        .route("/portals/{hub_id}/links/changes", post(change_links))
        .route("/portals/{hub_id}/links/{contact}/{company}", put(link).delete(unlink))
        .route("/portals/{hub_id}/erased", get(erased))
        .route("/portals/{hub_id}/{object}/{id}/erase", post(erase))
}

async fn links(State(world): State<Shared>, Path(hub_id): Path<u64>) -> Json<BTreeMap<u64, Vec<Link>>> {
    Json(lock(&world).links(hub_id))
}

#[derive(Deserialize)]
struct LinkChanges {
    count: usize,
    /// All kinds if it is absent.
    #[serde(default = "all_kinds")]
    kinds: Vec<LinkChange>,
    #[serde(default)]
    seed: u64,
}

fn all_kinds() -> Vec<LinkChange> {
    LinkChange::ALL.into()
}

async fn change_links(
    State(world): State<Shared>,
    Path(hub_id): Path<u64>,
    Json(changes): Json<LinkChanges>,
) -> Json<BTreeMap<LinkChange, usize>> {
    Json(lock(&world).change_links(hub_id, &changes.kinds, changes.count, changes.seed))
}

/// The new state of a link. A field that is absent is not changed.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    primary: bool,
    labels: Option<Vec<Label>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Label {
    type_id: u64,
    label: String,
}

/// Links a contact with a company if they are not linked, and makes it the primary one or sets its labels. Returns 404 if
/// one of them does not exist.
async fn link(
    State(world): State<Shared>,
    Path((hub_id, contact, company)): Path<(u64, u64, u64)>,
    Json(wanted): Json<Wanted>,
) -> StatusCode {
    let mut world = lock(&world);
    let at = world.now();
    world.link(hub_id, contact, company, at);
    if wanted.primary {
        world.set_primary(hub_id, contact, company, at);
    }
    if let Some(labels) = wanted.labels {
        let labels: Vec<(u64, &str)> = labels.iter().map(|label| (label.type_id, label.label.as_str())).collect();
        world.set_labels(hub_id, contact, company, at, &labels);
    }
    done(world.links_of(hub_id, contact).iter().any(|link| link.company == company))
}

async fn unlink(State(world): State<Shared>, Path((hub_id, contact, company)): Path<(u64, u64, u64)>) -> StatusCode {
    let mut world = lock(&world);
    let at = world.now();
    done(world.unlink(hub_id, contact, company, at))
}

#[derive(Serialize)]
struct Erased {
    object: Object,
    id: u64,
}

async fn erased(State(world): State<Shared>, Path(hub_id): Path<u64>) -> Json<Vec<Erased>> {
    Json(lock(&world).erased(hub_id).into_iter().map(|(object, id)| Erased { object, id }).collect())
}

async fn erase(State(world): State<Shared>, Path((hub_id, object, id)): Path<(u64, String, u64)>) -> StatusCode {
    let erase = |world: &mut World, object| {
        let at = world.now();
        world.erase(hub_id, object, id, at)
    };
    done(Object::parse(&object).is_some_and(|object| erase(&mut lock(&world), object)))
}

#[cfg(test)]
mod tests {
    use reqwest::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{HUB, create, get, send, start};

    #[tokio::test]
    async fn links_are_made_changed_removed_and_shown() {
        let simulator = start().await;
        let ([contact], [firm, bank]) = {
            let mut world = simulator.world();
            (create(&mut world, Object::CONTACTS), create(&mut world, Object::COMPANIES))
        };
        let path = |company: u64| format!("/_sim/portals/{HUB}/links/{contact}/{company}");
        let put = async |company, body| send(&simulator, Method::PUT, &path(company), body).await.0;
        assert_eq!(put(firm, json!({})).await, 204);
        let labels = json!([{"typeId": 31, "label": "Billing contact"}]);
        assert_eq!(put(bank, json!({"primary": true, "labels": labels})).await, 204);
        assert_eq!(put(999, json!({})).await, 404);
        let (_, links) = get(&simulator, &format!("/_sim/portals/{HUB}/links")).await;
        let [to_bank, to_firm] = [0, 1].map(|index| links[contact.to_string()][index].clone());
        assert_eq!((&to_bank["company"], &to_firm["company"]), (&json!(bank), &json!(firm)));
        assert_eq!(to_bank["types"][2], json!({"category": "USER_DEFINED", "typeId": 31, "label": "Billing contact"}));
        for status in [204, 404] {
            assert_eq!(send(&simulator, Method::DELETE, &path(bank), Value::Null).await.0, status);
        }
        assert_eq!(simulator.world().links_of(HUB, contact).len(), 1);
    }

    #[tokio::test]
    async fn random_changes_are_made_and_counted() {
        let simulator = start().await;
        simulator.world().seed(HUB, 5, 50, 1);
        let path = format!("/_sim/portals/{HUB}/links/changes");
        let changes = json!({"count": 20, "kinds": ["unlink", "relabel"], "seed": 3});
        let (status, made) = send(&simulator, Method::POST, &path, changes).await;
        let kinds: Vec<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((status, kinds), (200, vec!["relabel", "unlink"]));
        assert_eq!(send(&simulator, Method::POST, &path, json!({"count": 5})).await.0, 200);
    }

    #[tokio::test]
    async fn records_are_erased_and_the_erased_ones_listed() {
        let simulator = start().await;
        let [contact] = create(&mut simulator.world(), Object::CONTACTS);
        let path = format!("/_sim/portals/{HUB}/contacts/{contact}/erase");
        for status in [204, 404] {
            assert_eq!(send(&simulator, Method::POST, &path, Value::Null).await.0, status);
        }
        let (_, erased) = get(&simulator, &format!("/_sim/portals/{HUB}/erased")).await;
        assert_eq!(erased, json!([{"object": "contacts", "id": contact}]));
    }
}
