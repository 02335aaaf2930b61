//! The definitions of properties. Each type has those that HubSpot defines, as far as the simulator fills them; a test
//! adds others, or replaces one.

use crate::{
    object::Object,
    property::Property,
    world::{Portal, World},
};

impl World {
    /// Defines a property of an object type. Replaces the definition if there is one with this name.
    pub fn define_property(&mut self, hub_id: u64, object: Object, property: Property) {
        let definitions = self.portal(hub_id).definitions(object);
        match definitions.iter_mut().find(|known| known.name == property.name) {
            Some(known) => *known = property,
            None => definitions.push(property),
        }
    }

    /// Removes the definition of a property. The values that records have stay.
    pub fn remove_property(&mut self, hub_id: u64, object: Object, name: &str) {
        self.portal(hub_id).definitions(object).retain(|property| property.name != name);
    }
}

impl Portal {
    /// Returns the definitions of a type's properties.
    pub(crate) fn definitions(&mut self, object: Object) -> &mut Vec<Property> {
        self.definitions.entry(object).or_insert_with(|| standard(object))
    }
}

/// Returns the properties that a type has in every account.
fn standard(object: Object) -> Vec<Property> {
    let own: &[(&str, &str)] = match object.name() {
        "companies" => &[
            ("name", "string"),
            ("domain", "string"),
            ("country", "string"),
            ("industry", "string"),
            ("description", "string"),
            ("annualrevenue", "number"),
            ("numberofemployees", "number"),
            ("hs_lead_status", "string"),
        ],
        "contacts" => &[
            ("firstname", "string"),
            ("lastname", "string"),
            ("jobtitle", "string"),
            ("email", "string"),
            ("hubspotscore", "number"),
            ("hs_lead_status", "string"),
            ("associatedcompanyid", "number"),
            ("hs_analytics_source", "string"),
            ("hs_latest_source", "string"),
        ],
        "deals" => &[
            ("dealname", "string"),
            ("amount", "number"),
            ("pipeline", "enumeration"),
            ("dealstage", "enumeration"),
            ("closedate", "datetime"),
            ("hubspot_owner_id", "enumeration"),
        ],
        "tickets" => &[
            ("subject", "string"),
            ("content", "string"),
            ("hs_pipeline", "enumeration"),
            ("hs_pipeline_stage", "enumeration"),
            ("hubspot_owner_id", "enumeration"),
        ],
        "products" | "line_items" => &[("name", "string"), ("price", "number"), ("description", "string")],
        "notes" => &[("hs_note_body", "string"), ("hs_timestamp", "datetime")],
        _ => &[("name", "string"), ("hubspot_owner_id", "enumeration")],
    };
    let times = [(object.created_property(), "datetime"), (object.modified_property(), "datetime")];
    let all = own.iter().copied().chain(times).chain([("hs_object_id", "number")]);
    all.map(|(name, kind)| Property::new(name, kind)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{HUB, get, start};

    /// Returns the definitions that HubSpot responds with, by name.
    async fn read(simulator: &crate::Simulator, object: &str) -> Vec<(String, Value)> {
        let (status, found) = get(simulator, &format!("/crm/properties/2026-09/{object}")).await;
        assert_eq!(status, 200);
        let named = |property: &Value| (property["name"].as_str().unwrap().to_owned(), property.clone());
        found["results"].as_array().unwrap().iter().map(named).collect()
    }

    #[tokio::test]
    async fn every_type_has_the_properties_of_its_id_and_its_times() {
        let simulator = start().await;
        for (object, times) in [
            ("contacts", ["createdate", "lastmodifieddate"]),
            ("deals", ["createdate", "hs_lastmodifieddate"]),
            ("0-46", ["hs_createdate", "hs_lastmodifieddate"]),
            ("a_type_of_tomorrow", ["hs_createdate", "hs_lastmodifieddate"]),
        ] {
            let names: Vec<String> = read(&simulator, object).await.into_iter().map(|(name, _)| name).collect();
            assert_eq!(names[names.len() - 3..], [times[0], times[1], "hs_object_id"], "{object}");
        }
        assert_eq!(get(&simulator, "/crm/properties/2026-09/2-1").await.0, 400, "there is no such custom object");
    }

    #[tokio::test]
    async fn properties_are_defined_replaced_and_removed() {
        let simulator = start().await;
        let define = |property| simulator.world().define_property(HUB, Object::CONTACTS, property);
        define(Property::new("shoe_size", "number"));
        let score = Property { label: "Score".to_owned(), ..Property::new("score", "number") };
        define(score.calculated());
        define(Property::new("jobtitle", "string").with_options(&[("cto", "CTO"), ("buyer", "Buyer")]));
        simulator.world().remove_property(HUB, Object::CONTACTS, "hubspotscore");
        let found = read(&simulator, "contacts").await;
        let of = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, property)| property);
        assert_eq!((of("shoe_size").unwrap()["type"].as_str(), of("hubspotscore")), (Some("number"), None));
        assert_eq!(
            of("score").map(|score| (&score["calculated"], &score["label"])),
            Some((&json!(true), &json!("Score")))
        );
        let title = of("jobtitle").unwrap();
        assert_eq!((&title["type"], &title["fieldType"]), (&json!("enumeration"), &json!("select")));
        assert_eq!((&title["options"][1]["value"], &title["options"][1]["label"]), (&json!("buyer"), &json!("Buyer")));
        assert_eq!(found.iter().filter(|(name, _)| name == "jobtitle").count(), 1);
    }
}
