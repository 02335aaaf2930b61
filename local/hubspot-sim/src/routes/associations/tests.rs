use serde_json::json;

use super::*;
use crate::testing::{HUB, associations, create, start};

const TO_COMPANIES: &str = "contacts/companies";
const TO_CONTACTS: &str = "companies/contacts";

fn kind(category: &str, type_id: u64, label: Option<&str>) -> Value {
    json!({"category": category, "typeId": type_id, "label": label})
}

fn ids(result: &Value) -> Vec<u64> {
    result["to"].as_array().into_iter().flatten().filter_map(|to| to["toObjectId"].as_u64()).collect()
}

#[tokio::test]
async fn links_are_read_with_their_types_in_both_directions() {
    let simulator = start().await;
    let (contact, [firm, bank]) = {
        let mut world = simulator.world();
        let companies = create(&mut world, Object::COMPANIES);
        let [contact] = create(&mut world, Object::CONTACTS);
        let at = world.now();
        assert!(companies.iter().all(|company| world.link(HUB, contact, *company, at)));
        assert!(world.set_labels(HUB, contact, companies[1], at, &[(31, "Billing contact")]));
        (contact, companies)
    };
    let (status, read) = associations(&simulator, TO_COMPANIES, json!([{"id": contact.to_string()}])).await;
    let unlabeled = kind("HUBSPOT_DEFINED", 279, None);
    let to_bank = json!([unlabeled, kind("USER_DEFINED", 31, Some("Billing contact"))]);
    let to_firm = json!([kind("HUBSPOT_DEFINED", 1, Some("Primary")), unlabeled]);
    let expected = json!([{"from": {"id": contact.to_string()}, "to": [
        {"toObjectId": bank, "associationTypes": to_bank}, {"toObjectId": firm, "associationTypes": to_firm}]}]);
    assert_eq!((status, &read["results"]), (200, &expected), "the primary one is the last");

    let inputs = json!([{"id": bank.to_string()}, {"id": firm.to_string()}]);
    let (status, read) = associations(&simulator, TO_CONTACTS, inputs).await;
    let types: Vec<&Value> = (0..2).map(|index| &read["results"][index]["to"][0]["associationTypes"]).collect();
    let unlabeled = kind("HUBSPOT_DEFINED", 280, None);
    let from_bank = json!([unlabeled, kind("USER_DEFINED", 32, Some("Billing contact"))]);
    let from_firm = json!([kind("HUBSPOT_DEFINED", 2, Some("Primary")), unlabeled]);
    assert_eq!((status, types), (200, vec![&from_bank, &from_firm]));
    assert_eq!(ids(&read["results"][0]), [contact]);
}

#[tokio::test]
async fn pages_have_500_links_and_cursors_lead_from_one_to_the_next() {
    let simulator = start().await;
    let (company, contacts) = {
        let mut world = simulator.world();
        let ([company], contacts) =
            (create(&mut world, Object::COMPANIES), create::<1201>(&mut world, Object::CONTACTS));
        contacts.iter().for_each(|contact| world.associate(HUB, *contact, vec![company]));
        (company, contacts)
    };
    let (mut input, mut read) = (json!({"id": company.to_string()}), Vec::new());
    let mut sizes = Vec::new();
    loop {
        let (status, page) = associations(&simulator, TO_CONTACTS, json!([input])).await;
        let result = &page["results"][0];
        assert_eq!(status, 200, "{page}");
        sizes.push(ids(result).len());
        read.extend(ids(result));
        match result["paging"]["next"]["after"].as_str() {
            Some(after) => input["after"] = json!(after),
            None => break,
        }
    }
    read.sort_unstable();
    assert_eq!((sizes, &read[..]), (vec![500, 500, 201], &contacts[..]));
    assert_eq!(
        associations(&simulator, TO_CONTACTS, json!([{"id": company.to_string(), "after": "500"}])).await.0,
        400
    );
}

#[tokio::test]
async fn inputs_without_links_are_among_the_errors() {
    let simulator = start().await;
    let ([contact], [company]) = {
        let mut world = simulator.world();
        (create(&mut world, Object::CONTACTS), create(&mut world, Object::COMPANIES))
    };
    for (direction, id, from) in [(TO_COMPANIES, contact, "contact"), (TO_CONTACTS, company, "company")] {
        let (status, read) = associations(&simulator, direction, json!([{"id": id.to_string()}])).await;
        let error = &read["errors"][0];
        assert_eq!((status, &error["context"]["fromObjectType"][0]), (207, &json!(from)), "{read}");
        assert_eq!(error["subCategory"], "crm.associations.NO_ASSOCIATIONS_FOUND");
    }
}

#[tokio::test]
async fn reads_return_a_change_only_when_the_index_has_caught_up() {
    let simulator = start().await;
    let (contact, [firm, bank]) = {
        let mut world = simulator.world();
        let (companies, [contact]) = (create(&mut world, Object::COMPANIES), create(&mut world, Object::CONTACTS));
        world.associate(HUB, contact, vec![companies[0]]);
        world.settings.association_lag_ms = 60_000;
        let at = world.now();
        assert!(world.link(HUB, contact, companies[1], at) && world.unlink(HUB, contact, companies[0], at));
        (contact, companies)
    };
    let read = async |direction, id: u64| {
        let (_, read) = associations(&simulator, direction, json!([{"id": id.to_string()}])).await;
        ids(&read["results"][0])
    };
    assert_eq!((read(TO_COMPANIES, contact).await, read(TO_CONTACTS, bank).await), (vec![firm], vec![]));
    simulator.world().settings.clock_offset_ms += 61_000;
    assert_eq!((read(TO_COMPANIES, contact).await, read(TO_CONTACTS, firm).await), (vec![bank], vec![]));
}
