//! Reads of any object type.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    ListForm, Object, Property, Simulator,
    testing::{HUB, allow, create, get, grant, send, start},
};

async fn search(simulator: &Simulator, object: &str, query: Value) -> (u16, Value) {
    send(simulator, Method::POST, &format!("/crm/objects/2026-09/{object}/search"), query).await
}

/// Returns a search for records whose property is at least this time.
fn since(property: &str, at: i64) -> Value {
    let filter = json!({"propertyName": property, "operator": "GTE", "value": at.to_string()});
    json!({"filterGroups": [{"filters": [filter]}]})
}

#[tokio::test]
async fn every_type_is_searched_listed_and_read_by_its_name_and_by_its_id() {
    let simulator = start().await;
    let table =
        [("deals", "0-3", "createdate"), ("line_items", "0-8", "createdate"), ("notes", "0-46", "hs_createdate")];
    for (name, type_id, created) in table {
        let object: Object = name.parse().unwrap();
        allow(&mut simulator.world(), &[object]);
        let [id] = create(&mut simulator.world(), object);
        for name in [name, type_id] {
            let found = search(&simulator, name, json!({})).await.1["results"][0].clone();
            assert_eq!(found["id"], id.to_string());
            assert_eq!(found["properties"][created], "1970-01-01T00:00:00.001Z");
            assert_eq!(found["properties"]["hs_lastmodifieddate"], found["updatedAt"]);
            let path = format!("/crm/objects/2026-09/{name}");
            assert_eq!(get(&simulator, &path).await.1["results"], json!([found]));
            let body = json!({"inputs": [{"id": id.to_string()}]});
            assert_eq!(
                send(&simulator, Method::POST, &format!("{path}/batch/read"), body).await.1["results"][0],
                found
            );
        }
        for (property, count) in [("hs_lastmodifieddate", 1), ("lastmodifieddate", 0), (created, 1)] {
            let (status, found) = search(&simulator, name, since(property, 1)).await;
            assert_eq!((status, found["total"].as_u64()), (200, Some(count)), "{name} {property}");
        }
    }
    create::<1>(&mut simulator.world(), Object::CONTACTS);
    assert_eq!(search(&simulator, "contacts", since("hs_lastmodifieddate", 1)).await.1["total"], 0);
}

#[tokio::test]
async fn list_continues_at_any_id_and_has_the_form_that_is_set() {
    let simulator = start().await;
    let [first, second, third] = create(&mut simulator.world(), Object::CONTACTS);
    let ids = async |query: String| {
        let (status, listed) = get(&simulator, &format!("/crm/objects/2026-09/contacts?{query}")).await;
        let rows = listed["results"].as_array().cloned().unwrap_or_default();
        let ids: Vec<u64> = rows.iter().filter_map(|row| row["id"].as_str()?.parse().ok()).collect();
        (status, ids, listed["paging"]["next"]["after"].as_str().map(str::to_owned))
    };
    let next = Some(third.to_string());
    assert_eq!(ids("limit=2".to_owned()).await, (200, vec![first, second], next.clone()));
    let table = [
        (ListForm::FromId, vec![second, third], None),
        (ListForm::AfterId, vec![third], None),
        (ListForm::FromStart, vec![first, second], next.clone()),
        (ListForm::Descending, vec![third, second], None),
        (ListForm::OnePage, vec![second, third], None),
    ];
    for (form, expected, next) in table {
        simulator.world().settings.list_form = form;
        assert_eq!(ids(format!("limit=2&after={second}")).await, (200, expected, next), "{form:?}");
    }
    assert_eq!(ids("limit=2".to_owned()).await, (200, vec![first, second], None), "it says that it is the last page");
    simulator.world().settings.unlisted = vec![second];
    assert_eq!(ids(String::new()).await.1, [first, third]);
    simulator.world().settings.unshowable = vec![third];
    assert_eq!(ids(String::new()).await.0, 500);
    simulator.world().settings.longest_list = 100;
    assert_eq!(ids(format!("properties={}", "x".repeat(100))).await.0, 414);
}

#[tokio::test]
async fn type_whose_scope_was_not_granted_is_refused_and_no_other() {
    let simulator = start().await;
    let list = async |object: &str| get(&simulator, &format!("/crm/objects/2026-09/{object}")).await;
    for (object, scopes) in [("deals", &["crm.objects.deals.read"][..]), ("tickets", &["tickets"])] {
        let (status, refusal) = list(object).await;
        let required = &refusal["errors"][0]["context"]["requiredGranularScopes"];
        assert_eq!((status, &refusal["category"], required), (403, &json!("MISSING_SCOPES"), &json!(scopes)));
        assert_eq!(search(&simulator, object, json!({})).await.0, 403);
        assert_eq!(list("contacts").await.0, 200);
        grant(&mut simulator.world(), scopes);
        assert_eq!((list(object).await.0, search(&simulator, object, json!({})).await.0), (200, 200));
    }
    grant(&mut simulator.world(), &["crm.objects.products.read"]);
    assert_eq!(list("products").await.0, 403, "it needs both");
    simulator.world().settings.missing_scopes = vec!["crm.objects.deals.read".to_owned()];
    assert_eq!((list("deals").await.0, list("tickets").await.0, list("contacts").await.0), (403, 200, 200));
}

#[tokio::test]
async fn recycle_bin_of_every_type_can_be_listed_except_those_of_the_settings() {
    let simulator = start().await;
    let list = async |object: &str| get(&simulator, &format!("/crm/objects/2026-09/{object}?archived=true")).await;
    for name in ["deals", "products", "notes"] {
        let object: Object = name.parse().unwrap();
        allow(&mut simulator.world(), &[object]);
        let [kept, gone] = create(&mut simulator.world(), object);
        assert!(simulator.world().archive(HUB, object, gone, 2));
        let (status, listed) = list(name).await;
        assert_eq!((status, listed["results"].as_array().map(Vec::len)), (200, Some(1)), "{name}");
        assert_eq!(listed["results"][0]["id"], gone.to_string());
        assert_eq!(listed["results"][0]["archivedAt"], "1970-01-01T00:00:00.002Z");
        assert!(simulator.world().restore(HUB, object, gone, 3));
        assert_eq!(
            (list(name).await.1["results"].clone(), simulator.world().ids(HUB, object)),
            (json!([]), vec![kept, gone])
        );
    }
    let (status, refusal) = list("meetings").await;
    assert_eq!((status, &refusal["message"]), (400, &json!("Paging through deleted objects is not yet supported")));
    simulator.world().settings.without_recycle_bin = vec![Object::DEALS];
    assert_eq!((list("meetings").await.0, list("deals").await.0), (200, 400));
}

#[tokio::test]
async fn calculated_value_changes_without_the_modification_time() {
    let simulator = start().await;
    allow(&mut simulator.world(), &[Object::DEALS]);
    let [deal] = create(&mut simulator.world(), Object::DEALS);
    let read = async || search(&simulator, "deals", json!({"properties": ["score"]})).await.1["results"][0].clone();
    let before = read().await;
    let recalculate = |id, value| simulator.world().recalculate(HUB, Object::DEALS, id, "score", value);
    assert!(recalculate(deal, "7") && !recalculate(9_999, "7"));
    let after = read().await;
    assert_eq!((&before["properties"]["score"], &after["properties"]["score"]), (&Value::Null, &json!("7")));
    assert_eq!((&before["updatedAt"], simulator.world().ledger.len()), (&after["updatedAt"], 1));
    assert!(simulator.world().update(HUB, Object::DEALS, deal, 2, &[("amount", "5")]));
    assert_eq!(read().await["properties"]["score"], "7", "it stays when the record is modified");
    assert!(recalculate(deal, ""));
    assert_eq!(read().await["properties"]["score"], Value::Null);
}

#[tokio::test]
async fn more_properties_than_a_search_can_name_are_read_by_id() {
    let simulator = start().await;
    let [contact] = create(&mut simulator.world(), Object::CONTACTS);
    let names: Vec<String> = (0..200).map(|number| format!("a_rather_long_property_{number}")).collect();
    for name in &names {
        let value = [(name.as_str(), "x")];
        simulator.world().define_property(HUB, Object::CONTACTS, Property::new(name, "string"));
        simulator.world().recalculate(HUB, Object::CONTACTS, contact, value[0].0, value[0].1);
    }
    assert_eq!(search(&simulator, "contacts", json!({"properties": names})).await.0, 400);
    // The limit is one of characters.
    assert_eq!(search(&simulator, "contacts", json!({"properties": ["ñ".repeat(2_900)]})).await.0, 200);
    let body = json!({"properties": names, "inputs": [{"id": contact.to_string()}]});
    let (status, read) = send(&simulator, Method::POST, "/crm/objects/2026-09/contacts/batch/read", body).await;
    let properties = read["results"][0]["properties"].as_object().unwrap();
    assert_eq!((status, names.iter().filter(|name| properties[*name] == "x").count()), (200, 200));
}
