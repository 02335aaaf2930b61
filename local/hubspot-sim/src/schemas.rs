//! Custom objects, which exist in the account where they were created.

use serde_json::{Value, json};

use crate::{
    clock,
    object::{InvalidObject, Object},
    property::Property,
    schema::{Labels, Schema},
    world::{Portal, World},
};

impl World {
    /// Creates a custom object with properties beside those that every type has, and returns its type, which is named by
    /// its type id (`2-1234567`). An object with this id is replaced, its records stay.
    ///
    /// # Errors
    /// The type id does not begin with `2-`, or is not a number after it.
    pub fn create_schema(
        &mut self,
        hub_id: u64,
        type_id: &str,
        name: &str,
        labels: (&str, &str),
        properties: Vec<Property>,
    ) -> Result<Object, InvalidObject> {
        let object: Object = type_id.parse()?;
        if !object.is_custom() {
            return Err(InvalidObject);
        }
        let labels = Labels { singular: labels.0.to_owned(), plural: labels.1.to_owned() };
        let schema = Schema { name: name.to_owned(), labels, created_at: self.now() };
        self.portal(hub_id).schemas.insert(object, schema);
        properties.into_iter().for_each(|property| self.define_property(hub_id, object, property));
        Ok(object)
    }

    /// Returns the object type that a path means in an account. Returns `None` if the account has no such type: it is not
    /// HubSpot's, there is no such custom object, and no record of it was created here.
    pub(crate) fn resolve(&self, hub_id: u64, text: &str) -> Option<Object> {
        let portal = self.portals.get(&hub_id);
        let custom = portal.and_then(|portal| portal.schema_named(text));
        custom.or_else(|| Object::parse(text).filter(|object| portal.is_some_and(|portal| portal.has_type(*object))))
    }
}

impl Portal {
    fn has_type(&self, object: Object) -> bool {
        let has_records = || self.records.get(&object).is_some_and(|records| !records.is_empty());
        object.is_standard() || self.schemas.contains_key(&object) || !object.is_custom() && has_records()
    }

    /// Returns the custom object with this fully qualified name (`p7000001_cars`), or with its short form (`p_cars`). Its
    /// name alone is not accepted any more (changelog, "Removed support for referencing custom object types by base name").
    fn schema_named(&self, text: &str) -> Option<Object> {
        let is_named =
            |schema: &Schema| text == self.full_name(schema) || text.strip_prefix("p_") == Some(&schema.name);
        self.schemas.iter().find(|(_, schema)| is_named(schema)).map(|(object, _)| *object)
    }

    fn full_name(&self, schema: &Schema) -> String {
        format!("p{}_{}", self.hub_id, schema.name)
    }

    /// Returns a custom object's JSON, with its properties.
    pub(crate) fn schema_json(&mut self, object: Object) -> Option<Value> {
        let properties: Vec<Value> = self.definitions(object).iter().map(Property::to_json).collect();
        let schema = self.schemas.get(&object)?;
        let created_at = clock::iso(schema.created_at);
        Some(json!({
            "id": object.name().trim_start_matches("2-"), "objectTypeId": object, "name": schema.name,
            "fullyQualifiedName": self.full_name(schema), "labels": schema.labels, "properties": properties,
            "associations": [], "requiredProperties": [], "searchableProperties": [], "secondaryDisplayProperties": [],
            "primaryDisplayProperty": "name", "metaType": "PORTAL_SPECIFIC", "allowsSensitiveProperties": false,
            "archived": false, "createdAt": created_at, "updatedAt": created_at,
        }))
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;
    use crate::testing::{HUB, allow, create, get, send, start};

    #[tokio::test]
    async fn custom_object_exists_in_its_account_alone() {
        let simulator = start().await;
        let car = {
            let mut world = simulator.world();
            let property = Property::new("plate", "string");
            let car = world.create_schema(HUB, "2-1234567", "cars", ("Car", "Cars"), vec![property]).unwrap();
            assert_eq!(world.create_schema(HUB, "0-3", "cars", ("", ""), Vec::new()), Err(InvalidObject));
            allow(&mut world, &[car]);
            create::<1>(&mut world, car);
            car
        };
        for name in ["2-1234567", "p7_cars", "p_cars"] {
            let path = format!("/crm/objects/2026-09/{name}/search");
            let (status, found) = send(&simulator, Method::POST, &path, json!({})).await;
            assert_eq!((status, found["total"].as_u64()), (200, Some(1)), "{name}");
        }
        for name in ["cars", "2-7654321", "p8_cars"] {
            for path in
                [format!("/crm/objects/2026-09/{name}/search"), format!("/crm/objects/2026-09/{name}/batch/read")]
            {
                let (status, refusal) = send(&simulator, Method::POST, &path, json!({"inputs": []})).await;
                assert_eq!(status, 400);
                assert_eq!(refusal["message"], format!("Unable to infer object type from: {name}"));
            }
        }
        assert_eq!(simulator.world().resolve(HUB + 1, car.name()), None);
    }

    #[tokio::test]
    async fn schemas_name_the_custom_objects_and_their_properties() {
        let simulator = start().await;
        let path = "/crm-object-schemas/2026-09/schemas";
        assert_eq!(get(&simulator, path).await, (200, json!({"results": []})));
        {
            let mut world = simulator.world();
            let property = Property::new("plate", "string");
            world.create_schema(HUB, "2-1234567", "cars", ("Car", "Cars"), vec![property]).unwrap();
        }
        assert_eq!(get(&simulator, path).await.0, 403);
        allow(&mut simulator.world(), &["2-1234567".parse().unwrap()]);
        let (_, schemas) = get(&simulator, path).await;
        let schema = &schemas["results"][0];
        assert_eq!((&schema["objectTypeId"], &schema["fullyQualifiedName"]), (&json!("2-1234567"), &json!("p7_cars")));
        assert_eq!(schema["labels"], json!({"singular": "Car", "plural": "Cars"}));
        let names: Vec<_> = schema["properties"].as_array().unwrap().iter().map(|property| &property["name"]).collect();
        assert!(names.contains(&&json!("plate")) && names.contains(&&json!("hs_createdate")), "{names:?}");
        assert_eq!(&get(&simulator, &format!("{path}/p7_cars")).await.1, schema);
        assert_eq!(get(&simulator, "/crm/v3/schemas/cars").await.0, 400);
    }
}
