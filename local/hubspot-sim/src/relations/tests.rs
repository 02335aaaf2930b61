use serde_json::{Value, json};

use crate::{
    Key, Object, Settings, World,
    testing::{HUB, allow, associations, create, get, start},
};

/// Creates a deal, a contact and two companies.
fn world() -> (World, Key, Key, [Key; 2]) {
    let mut world = World::new(Settings::unlimited());
    let ([deal], [contact]) = (create(&mut world, Object::DEALS), create(&mut world, Object::CONTACTS));
    let companies = create(&mut world, Object::COMPANIES).map(|id| (Object::COMPANIES, id));
    (world, (Object::DEALS, deal), (Object::CONTACTS, contact), companies)
}

/// Returns the ids of the types of an association, as seen from the first record.
fn types(world: &World, from: Key, to: Key) -> Vec<u64> {
    let types = world.relation(HUB, from, to).unwrap_or_default();
    types.iter().map(|kind| kind.type_id).collect()
}

#[test]
fn records_of_any_two_types_are_linked_from_both_ends_and_unlinked() {
    let (mut world, deal, contact, [firm, _]) = world();
    let car: Object = "2-1234567".parse().unwrap();
    let [one, other] = create(&mut world, car);
    for (from, to) in [(deal, contact), (contact, (car, one)), ((car, one), (car, other)), (firm, (car, one))] {
        assert!(world.link_records(HUB, from, to, 2) && !world.link_records(HUB, to, from, 3), "{from:?} {to:?}");
        assert_eq!((world.linked(HUB, from, to.0), world.linked(HUB, to, from.0)), (vec![to.1], vec![from.1]));
    }
    assert!(!world.link_records(HUB, deal, deal, 2) && !world.link_records(HUB, deal, (car, 9_999), 2));
    assert_eq!((types(&world, deal, contact), types(&world, contact, deal)), (vec![3], vec![4]));
    assert!(world.unlink_records(HUB, contact, deal, 4) && !world.unlink_records(HUB, contact, deal, 5));
    assert_eq!(world.linked(HUB, deal, Object::CONTACTS), Vec::<u64>::new());
    let modified = |world: &World, (object, id)| world.record(HUB, object, id).map(|(version, _)| version.modified_at);
    assert_eq!((modified(&world, deal), modified(&world, contact)), (Some(1), Some(1)));
}

#[test]
fn links_of_contacts_and_companies_are_those_of_before() {
    let (mut world, _, contact, [firm, bank]) = world();
    assert!(world.link_records(HUB, firm, contact, 2) && !world.link_records(HUB, contact, firm, 2));
    assert!(world.link(HUB, contact.1, bank.1, 2));
    assert_eq!(world.linked(HUB, contact, Object::COMPANIES), [firm.1, bank.1]);
    assert_eq!(world.linked(HUB, bank, Object::CONTACTS), [contact.1]);
    assert!(world.label_records(HUB, contact, bank, 3, &[(31, "Billing contact")]));
    assert!(world.links_of(HUB, contact.1)[0].is_primary() && world.links_of(HUB, contact.1)[1].types.len() == 2);
    assert!(world.unlink_records(HUB, firm, contact, 4));
    assert_eq!(world.linked(HUB, contact, Object::COMPANIES), [bank.1]);
}

#[test]
fn deal_has_one_primary_company_and_labels() {
    let (mut world, deal, _, [firm, bank]) = world();
    assert!(world.link_records(HUB, deal, firm, 2) && world.link_records(HUB, bank, deal, 2));
    assert_eq!((types(&world, deal, firm), types(&world, firm, deal)), (vec![5, 341], vec![6, 342]));
    assert_eq!((types(&world, deal, bank), types(&world, bank, deal)), (vec![341], vec![342]));
    assert!(world.label_records(HUB, deal, bank, 3, &[(51, "Reseller")]));
    assert!(!world.label_records(HUB, deal, bank, 4, &[(51, "Reseller")]));
    assert_eq!((types(&world, deal, bank), types(&world, bank, deal)), (vec![341, 51], vec![342, 52]));
    assert!(world.label_records(HUB, deal, bank, 5, &[]));
    assert_eq!(types(&world, bank, deal), [342]);
}

#[test]
fn deleted_record_loses_its_associations_and_those_of_a_merged_one_move() {
    let (mut world, deal, contact, [firm, bank]) = world();
    let [other] = create(&mut world, Object::DEALS).map(|id| (Object::DEALS, id));
    for (from, to) in [(deal, firm), (other, bank), (other, firm), (other, contact), (deal, other)] {
        assert!(world.link_records(HUB, from, to, 2));
    }
    let survivor = world.merge(HUB, Object::DEALS, (deal.1, other.1), 3, false).unwrap();
    assert_eq!((survivor, world.linked(HUB, deal, Object::DEALS)), (deal.1, Vec::new()));
    assert_eq!(world.linked(HUB, deal, Object::COMPANIES), [firm.1, bank.1]);
    assert_eq!((types(&world, deal, firm), types(&world, deal, bank)), (vec![5, 341], vec![341]));
    assert_eq!(world.linked(HUB, contact, Object::DEALS), [deal.1]);
    assert!(world.archive(HUB, Object::COMPANIES, firm.1, 4) && world.erase(HUB, Object::CONTACTS, contact.1, 4));
    assert_eq!(world.linked(HUB, deal, Object::COMPANIES), [bank.1]);
    assert!(world.linked(HUB, deal, Object::CONTACTS).is_empty() && world.linked(HUB, firm, Object::DEALS).is_empty());
    assert!(world.archive(HUB, Object::DEALS, deal.1, 5) && world.restore(HUB, Object::DEALS, deal.1, 6));
    assert!(world.linked(HUB, bank, Object::DEALS).is_empty());
}

#[tokio::test]
async fn associations_of_any_two_types_are_read_in_batches_and_in_the_list() {
    let simulator = start().await;
    let (deal, lonely, contact) = {
        let mut world = simulator.world();
        allow(&mut world, &[Object::DEALS]);
        let ([deal, lonely], [contact]) = (create(&mut world, Object::DEALS), create(&mut world, Object::CONTACTS));
        assert!(world.link_records(HUB, (Object::DEALS, deal), (Object::CONTACTS, contact), 2));
        (deal, lonely, contact)
    };
    let inputs = json!([{"id": deal.to_string()}, {"id": lonely.to_string()}]);
    let (status, read) = associations(&simulator, "deals/0-1", inputs.clone()).await;
    let types = json!([{"category": "HUBSPOT_DEFINED", "typeId": 3, "label": null}]);
    let expected =
        json!([{"from": {"id": deal.to_string()}, "to": [{"toObjectId": contact, "associationTypes": types}]}]);
    assert_eq!((status, &read["results"]), (207, &expected));
    let message = format!("No contact is associated with deal {lonely}.");
    assert_eq!((&read["errors"][0]["message"], &read["numErrors"]), (&json!(message), &json!(1)));
    let (_, read) = associations(&simulator, "contacts/deals", json!([{"id": contact.to_string()}])).await;
    assert_eq!(read["results"][0]["to"][0]["toObjectId"], deal);

    let (_, list) = get(&simulator, "/crm/objects/2026-09/deals?associations=contacts,companies").await;
    let expected = json!({"contacts": {"results": [{"id": contact.to_string(), "type": "deal_to_contact"}]}});
    assert_eq!((&list["results"][0]["associations"], &list["results"][1]["associations"]), (&expected, &Value::Null));

    simulator.world().settings.association_lag_ms = 60_000;
    let at = simulator.world().now();
    assert!(simulator.world().unlink_records(HUB, (Object::DEALS, deal), (Object::CONTACTS, contact), at));
    assert_eq!(associations(&simulator, "deals/contacts", inputs).await.1["results"].as_array().unwrap().len(), 1);
    assert_eq!(associations(&simulator, "deals/2-1", json!([])).await.0, 400);
}

#[test]
fn every_change_of_an_association_is_told_from_both_ends() {
    let (mut world, deal, contact, _) = world();
    world.settings.webhook_url = Some("http://127.0.0.1:1".to_owned());
    assert!(world.link_records(HUB, deal, contact, 2) && world.unlink_records(HUB, deal, contact, 3));
    let told = |world: &World| -> Vec<Value> {
        let names = ["associationType", "fromObjectTypeId", "toObjectId", "associationRemoved", "associationTypeId"];
        let events = world.pending_events.iter().map(|event| event.to_json(0));
        events.map(|event| names.map(|name| event[name].clone()).into()).collect()
    };
    let expected = [
        json!(["DEAL_TO_CONTACT", "0-3", contact.1, false, 3]),
        json!(["CONTACT_TO_DEAL", "0-1", deal.1, false, 4]),
        json!(["DEAL_TO_CONTACT", "0-3", contact.1, true, 3]),
        json!(["CONTACT_TO_DEAL", "0-1", deal.1, true, 4]),
    ];
    assert_eq!(told(&world), expected);
}
