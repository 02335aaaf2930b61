//! Which object types are read, and which of their properties: what the stack chooses, and what an account's entry in
//! its Domain chooses instead.

mod type_name;

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::type_name::TypeName;
use crate::{
    catalogue::{CATALOGUE, CUSTOM, OWNER_PROPERTY, OWNERS_SCOPE, REQUIRED_SCOPES},
    object::{ObjectType, UnknownObject},
};

/// The object types to read, each with the properties to request.
pub type Objects = BTreeMap<ObjectType, Vec<String>>;

/// What stands for all object types.
const ALL: &str = "*";

/// A custom object of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomObject {
    /// The id of its type (`2-1234567`).
    pub object: ObjectType,
    /// Its name (`cars`).
    pub name: String,
    /// Its name with the account's id (`p1234567_cars`).
    pub full_name: String,
}

/// A choice of object types and properties. It may be incomplete, and is then completed by the stack's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The object types to read. Empty if none were chosen.
    objects: Vec<TypeName>,
    /// True if all object types are read: all rows of the catalogue, and all custom objects of the account.
    all_objects: bool,
    /// The properties to keep, besides the default ones of their object type.
    properties: BTreeMap<TypeName, Vec<String>>,
    /// The parts of the choice that name nothing. They are ignored.
    ignored: Vec<String>,
}

/// What is read of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The object types, with their properties.
    pub objects: Objects,
    /// True if the account's custom objects have to be known.
    pub names_custom: bool,
    /// The names in the account's entry that none of its custom objects has.
    pub not_found: Vec<String>,
}

/// A choice that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidChoice {
    /// It names no object type.
    #[error(transparent)]
    Object(UnknownObject),
    /// It names what is nearly the name of a row, which is probably meant.
    #[error(
        "{0:?} is no object type of HubSpot's that is known here; is it {1}? A custom object of that name is chosen by \
         its id (2-1234567) or its full name (p1234567_{0})"
    )]
    Nearly(String, &'static str),
    /// A part of it has no colon between an object type and its properties.
    #[error("{0:?} is not of the form deals:amount,dealstage")]
    Form(String),
    /// It names a property that HubSpot cannot have.
    #[error("{0:?} is no internal name of a property")]
    Property(String),
}

impl Choice {
    /// Reads a stack's choice of object types.
    ///
    /// # Errors
    /// A name is no object type, and cannot be a custom object's. The error quotes it.
    pub fn of_objects(names: &[String]) -> Result<Self, InvalidChoice> {
        let mut choice = Self::default();
        for name in names {
            choice.add_object(name)?;
        }
        Ok(choice)
    }

    /// Adds a stack's choice of properties: `deals:amount,dealstage;2-7654321:serial`.
    ///
    /// # Errors
    /// A part has another form. The error quotes it.
    pub fn with_properties(mut self, properties: &str) -> Result<Self, InvalidChoice> {
        for part in properties.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (object, names) = part.split_once(':').ok_or_else(|| InvalidChoice::Form(part.to_owned()))?;
            let object = TypeName::parse(object.trim())?;
            for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                self.add_property(&object, name).map_err(|name| InvalidChoice::Property(name.to_owned()))?;
            }
        }
        Ok(self)
    }

    /// Reads the choice of an account's entry: `objects`, a list of names, and `properties`, a list of names for each
    /// object type. What names nothing is ignored, because a mistake in it must not stop the account.
    pub fn of_entry(entry: &Document) -> Self {
        let mut choice = Self::default();
        let is_list = |value: &Bson| matches!(value, Bson::Array(_) | Bson::Null);
        choice
            .ignored
            .extend(entry.get("objects").filter(|value| !is_list(value)).map(|_| "objects: not a list".to_owned()));
        let is_map = |value: &Bson| matches!(value, Bson::Document(_) | Bson::Null);
        let other = entry.get("properties").filter(|value| !is_map(value));
        choice.ignored.extend(other.map(|_| "properties: not a document".to_owned()));
        for name in entry.get_array("objects").into_iter().flatten() {
            if name.as_str().is_none_or(|name| choice.add_object(name).is_err()) {
                choice.ignored.push(format!("objects: {}", quoted(name)));
            }
        }
        for (object, names) in entry.get_document("properties").into_iter().flatten() {
            let (Ok(object), Some(names)) = (TypeName::parse(object), names.as_array()) else {
                choice.ignored.push(format!("properties: {object:?}"));
                continue;
            };
            for name in names {
                if name.as_str().is_none_or(|name| choice.add_property(&object, name).is_err()) {
                    choice.ignored.push(format!("properties of {object}: {}", quoted(name)));
                }
            }
        }
        choice
    }

    /// Adds properties to keep of records of an object type.
    #[must_use]
    pub fn with(mut self, object: ObjectType, properties: impl IntoIterator<Item = String>) -> Self {
        self.properties.entry(TypeName::Known(object)).or_default().extend(properties);
        self
    }

    /// Returns the parts that name nothing.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Returns what to read of an account of which no custom objects are known. See [`Self::select`].
    pub fn of_account(&self, account: &Self) -> Objects {
        self.select(account, None).objects
    }

    /// Returns the scopes that this choice of a stack needs beyond the required ones. A customer may leave them out.
    pub fn optional_scopes(&self) -> Vec<&'static str> {
        let Selection { objects, names_custom, .. } = self.select(&Self::default(), None);
        let of_types = objects.keys().map(|object| object.spec()).chain(names_custom.then_some(&CUSTOM));
        let scopes = of_types.flat_map(|spec| spec.scopes.iter().copied());
        let names_owners = objects.values().flatten().any(|name| name == OWNER_PROPERTY);
        let scopes = scopes.chain(names_owners.then_some(OWNERS_SCOPE));
        let scopes: BTreeSet<&str> = scopes.filter(|scope| !REQUIRED_SCOPES.contains(scope)).collect();
        scopes.into_iter().collect()
    }

    /// Returns what to read of an account with these custom objects, or `None` if they are not known yet. The account's own
    /// choice replaces the stack's, by list: its object types replace the stack's, and its properties of an object type
    /// replace those that the stack chooses of it. The default properties are always read.
    ///
    /// A name that none of the custom objects has is left out. It does not make the stack's choice hold instead, because
    /// that might read what the account is not to be read of.
    pub fn select(&self, account: &Self, custom: Option<&[CustomObject]>) -> Selection {
        let known = custom.unwrap_or_default();
        let mut types: BTreeSet<ObjectType> = BTreeSet::new();
        let mut not_found = Vec::new();
        let mut names_custom = false;
        match [account, self].into_iter().find(|choice| choice.names_objects()) {
            None => types.extend(ObjectType::DEFAULT),
            Some(chosen) => {
                for name in &chosen.objects {
                    names_custom |= name.is_name();
                    match name.resolve(known) {
                        Some(object) => drop(types.insert(object)),
                        None => not_found.push(format!("objects: {name}")),
                    }
                }
                if chosen.all_objects {
                    names_custom = true;
                    types.extend(CATALOGUE.iter().filter_map(|row| ObjectType::parse(row.name).ok()));
                    types.extend(known.iter().map(|custom| custom.object));
                }
                if !account.names_objects() {
                    // Other accounts may have what the stack names.
                    not_found.clear();
                }
            }
        }
        let is_any_custom = types.iter().any(|object| object.is_custom());
        let with_names = [account, self].into_iter().flat_map(|choice| choice.properties.keys());
        names_custom |= is_any_custom && with_names.into_iter().any(TypeName::is_name);
        let unresolved = account.properties.keys().filter(|name| name.resolve(known).is_none());
        not_found.extend(unresolved.map(|name| format!("properties: {name}")));
        let objects = types.into_iter().map(|object| {
            let more = account.properties_of(object, known).or_else(|| self.properties_of(object, known));
            (object, object.properties(more.cloned().unwrap_or_default()))
        });
        let objects = objects.collect();
        Selection { objects, names_custom, not_found: if custom.is_some() { not_found } else { Vec::new() } }
    }

    /// Returns true if it chooses object types.
    fn names_objects(&self) -> bool {
        self.all_objects || !self.objects.is_empty()
    }

    /// Returns the properties that are chosen of an object type, by its id or by its name.
    fn properties_of(&self, object: ObjectType, custom: &[CustomObject]) -> Option<&Vec<String>> {
        let by_name = || self.properties.iter().find(|(name, _)| name.resolve(custom) == Some(object));
        self.properties.get(&TypeName::Known(object)).or_else(|| by_name().map(|(_, names)| names))
    }

    fn add_object(&mut self, name: &str) -> Result<(), InvalidChoice> {
        if name == ALL {
            self.all_objects = true;
            return Ok(());
        }
        let name = TypeName::parse(name)?;
        if !self.objects.contains(&name) {
            self.objects.push(name);
        }
        Ok(())
    }

    fn add_property<'a>(&mut self, object: &TypeName, name: &'a str) -> Result<(), &'a str> {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(name);
        }
        self.properties.entry(object.clone()).or_default().push(name.to_owned());
        Ok(())
    }
}

/// Returns the beginning of a value for a message.
fn quoted(value: &Bson) -> String {
    value.to_string().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn custom_objects_are_found_by_their_names() {
        let entry = |entry: Document| Choice::of_entry(&entry);
        let nobodys = Choice::default();
        let own = entry(
            doc! { "objects": ["cars", "p1_boats", "trains"], "properties": { "cars": ["plate"], "ships": ["x"] } },
        );
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
    fn customers_are_asked_for_what_is_chosen() {
        let scopes = |objects| stack(objects, "").optional_scopes();
        assert_eq!(scopes(""), [""; 0]);
        assert_eq!(scopes("products,contacts"), ["crm.objects.products.read", "e-commerce"]);
        assert_eq!(scopes("notes,contacts"), [OWNERS_SCOPE], "contacts' scope is enough for notes");
        let deals = ["crm.objects.custom.read", "crm.objects.deals.read", OWNERS_SCOPE, "tickets"];
        assert_eq!(scopes("deals,2-7,tickets,deals"), deals);
        assert_eq!(scopes("cars"), ["crm.objects.custom.read"]);
        assert!(scopes("*").len() > 10 && scopes("*").contains(&"crm.objects.custom.read"));
        assert_eq!(stack("contacts", "contacts:hubspot_owner_id").optional_scopes(), [OWNERS_SCOPE]);
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
}
