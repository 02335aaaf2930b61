use bson::doc;

use super::*;

const DEALS: &str = "deals";

fn object(name: &str) -> ObjectType {
    ObjectType::parse(name).unwrap()
}

fn stack(objects: &str, properties: &str) -> Choice {
    let objects: Vec<String> = objects.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Choice::of_objects(&objects).unwrap().with_properties(properties).unwrap()
}

fn names(objects: &Objects) -> Vec<&str> {
    objects.keys().map(ObjectType::as_str).collect()
}

fn cars() -> [CustomObject; 2] {
    [("2-7", "cars"), ("2-8", "boats")].map(|(id, name)| CustomObject {
        object: object(id),
        name: name.to_owned(),
        full_name: format!("p1_{name}"),
    })
}

#[test]
fn companies_and_contacts_are_read_unless_others_are_chosen() {
    let of = |stack: &Choice, entry: Document| stack.of_account(&Choice::of_entry(&entry));
    assert_eq!(names(&of(&stack("", ""), doc! {})), ["companies", "contacts"]);
    let chosen = stack("contacts,deals,contacts", "");
    assert_eq!(names(&of(&chosen, doc! {})), ["contacts", DEALS]);
    assert_eq!(names(&of(&chosen, doc! { "objects": [] })), ["contacts", DEALS]);
    assert_eq!(names(&of(&chosen, doc! { "objects": ["2-7", "companies"] })), ["2-7", "companies"]);
}

#[test]
fn an_accounts_properties_replace_the_stacks_of_the_same_object_type() {
    let stack = stack("deals,2-7", "deals: amount ,x;2-7:serial;;");
    let entry = doc! { "properties": { "2-7": ["model", "year"] } };
    let objects = stack.of_account(&Choice::of_entry(&entry));
    assert_eq!(objects[&object("2-7")], ["model", "year"]);
    let deals = &objects[&object(DEALS)];
    assert!(deals.contains(&"dealname".to_owned()) && deals.ends_with(&["x".to_owned()]), "{deals:?}");
    assert_eq!(deals.iter().filter(|name| *name == "amount").count(), 1);
    let stack = stack.with_required(object("2-7"), "score").with_required(object("leads"), "score");
    let objects = stack.of_account(&Choice::of_entry(&entry));
    assert_eq!(objects[&object("2-7")], ["model", "year", "score"], "what is required is always read");
    assert_eq!(names(&objects), ["2-7", DEALS]);
}

#[test]
fn custom_objects_are_found_by_their_names() {
    let entry = |entry: Document| Choice::of_entry(&entry);
    let nobodys = Choice::default();
    let own =
        entry(doc! { "objects": ["cars", "p1_boats", "trains"], "properties": { "cars": ["plate"], "ships": ["x"] } });
    let selection = nobodys.select(&own, Some(&cars()));
    assert_eq!(names(&selection.objects), ["2-7", "2-8"]);
    assert_eq!(selection.objects[&object("2-7")], ["plate"]);
    assert_eq!(selection.not_found, ["objects: trains", "properties: ships"]);
    // Nothing else is read as long as nobody knows them.
    let unknown = nobodys.select(&own, None);
    assert_eq!((names(&unknown.objects).len(), unknown.names_custom, unknown.not_found.len()), (0, true, 0));
    // Other accounts do not have what the stack names.
    let of_stack = stack("contacts,cars,trains", "cars:plate").select(&nobodys, Some(&cars()));
    assert_eq!((names(&of_stack.objects), of_stack.not_found.len()), (vec!["2-7", "contacts"], 0));
    assert_eq!(of_stack.objects[&object("2-7")], ["plate"]);
    let by_id = entry(doc! { "objects": ["2-7"] });
    assert_eq!(stack("", "cars:plate").select(&by_id, Some(&cars())).objects[&object("2-7")], ["plate"]);
    assert!(!stack("", "cars:plate").select(&nobodys, Some(&cars())).names_custom);
}

#[test]
fn a_star_is_every_row_and_every_custom_object() {
    let all = stack("*", "").select(&Choice::default(), Some(&cars()));
    assert_eq!(all.objects.len(), CATALOGUE.len() + 2);
    assert!(all.names_custom);
    let few = stack("*", "").select(&Choice::of_entry(&doc! { "objects": ["contacts"] }), Some(&cars()));
    assert_eq!((names(&few.objects), few.names_custom), (vec!["contacts"], false));
    let own = Choice::default().select(&Choice::of_entry(&doc! { "objects": ["*"] }), None);
    assert_eq!(own.objects.len(), CATALOGUE.len());
}

#[test]
fn all_properties_are_chosen_by_a_star() {
    let all = |stack: &Choice, entry: Document| {
        let selection = stack.select(&Choice::of_entry(&entry), None);
        let all: Vec<String> = selection.with_all_properties.iter().map(ToString::to_string).collect();
        (all.join(","), selection.objects)
    };
    let stack = stack("deals,contacts", "deals:*,x");
    let (of_stack, objects) = all(&stack, doc! {});
    assert_eq!(of_stack, DEALS);
    assert!(objects[&object(DEALS)].ends_with(&["x".to_owned()]));
    for star in [Bson::from("*"), vec![Bson::from("*")].into()] {
        assert_eq!(all(&stack, doc! { "properties": { "contacts": star } }).0, "contacts,deals");
    }
    assert_eq!(all(&stack, doc! { "properties": { "deals": ["y"] } }).0, "", "the account's replace the stack's");
    assert_eq!(Choice::of_entry(&doc! { "properties": { "deals": "amount" } }).ignored().len(), 1);
}

#[test]
fn customers_are_asked_for_what_is_chosen() {
    let scopes = |objects| stack(objects, "").select(&Choice::default(), None).optional_scopes();
    assert_eq!(scopes(""), [""; 0]);
    assert_eq!(scopes("products,contacts"), ["crm.objects.products.read", "e-commerce"]);
    assert_eq!(scopes("notes,contacts"), [OWNERS_SCOPE], "contacts' scope is enough for notes");
    let deals = ["crm.objects.custom.read", "crm.objects.deals.read", OWNERS_SCOPE, "tickets"];
    assert_eq!(scopes("deals,2-7,tickets,deals"), deals);
    assert_eq!(scopes("cars"), ["crm.objects.custom.read"]);
    assert!(scopes("*").len() > 10 && scopes("*").contains(&"crm.objects.custom.read"));
    for owners in ["contacts:hubspot_owner_id", "contacts:*"] {
        assert_eq!(stack("contacts", owners).select(&Choice::default(), None).optional_scopes(), [OWNERS_SCOPE]);
    }
}

#[test]
fn mistakes_of_an_entry_are_ignored_and_those_of_a_stack_are_not() {
    let entry = doc! { "objects": ["deals", "deal", 7], "properties": { "c r": ["x"], "deals": ["amount", "a b"], "contacts": "x" } };
    let choice = Choice::of_entry(&entry);
    assert_eq!(names(&Choice::default().of_account(&choice)), [DEALS]);
    assert_eq!(choice.ignored().len(), 5);
    assert_eq!(Choice::of_entry(&doc! { "objects": "deals", "properties": ["x"] }).ignored().len(), 2);
    assert!(matches!(Choice::of_objects(&["c r".to_owned()]), Err(InvalidChoice::Object(_))));
    assert!(matches!(Choice::of_objects(&["deal".to_owned()]), Err(InvalidChoice::Nearly(_, DEALS))));
    let properties = |text| Choice::default().with_properties(text);
    assert!(matches!(properties("deals"), Err(InvalidChoice::Form(_))));
    assert!(matches!(properties("contact:x"), Err(InvalidChoice::Nearly(..))));
    assert!(matches!(properties("deals:a b"), Err(InvalidChoice::Property(_))));
}
