//! Which object types are read, and which of their properties: what the stack chooses, and what an account's entry in
//! its Domain chooses instead.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document};
use thiserror::Error;

use crate::{
    catalogue::{OWNER_PROPERTY, OWNERS_SCOPE, REQUIRED_SCOPES},
    object::{ObjectType, UnknownObject},
};

/// The object types to read, each with the properties to request.
pub type Objects = BTreeMap<ObjectType, Vec<String>>;

/// Returns the scopes that these object types need beyond the required ones, and that for owners if a property is read
/// that names one. A customer may leave them out.
pub fn optional_scopes(objects: &Objects) -> Vec<&'static str> {
    let scopes = objects.keys().flat_map(|object| object.spec().scopes.iter().copied());
    let names_owners = objects.values().flatten().any(|name| name == OWNER_PROPERTY);
    let scopes = scopes.chain(names_owners.then_some(OWNERS_SCOPE));
    let scopes: BTreeSet<&str> = scopes.filter(|scope| !REQUIRED_SCOPES.contains(scope)).collect();
    scopes.into_iter().collect()
}

/// A choice of object types and properties. It may be incomplete, and is then completed by the stack's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The object types to read. Empty if none were chosen.
    objects: Vec<ObjectType>,
    /// The properties to keep, besides the default ones of their object type.
    properties: Objects,
    /// The parts of the choice that name nothing. They are ignored.
    ignored: Vec<String>,
}

/// A choice that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidChoice {
    /// It names no object type.
    #[error(transparent)]
    Object(#[from] UnknownObject),
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
    /// A name is no object type. The error quotes it.
    pub fn of_objects(names: &[String]) -> Result<Self, InvalidChoice> {
        let mut choice = Self::default();
        for name in names {
            choice.add_object(ObjectType::parse(name)?);
        }
        Ok(choice)
    }

    /// Adds a stack's choice of properties: `deals:amount,dealstage;2-7654321:serial`.
    ///
    /// # Errors
    /// A part has another form. The error quotes it.
    pub fn with_properties(mut self, properties: &str) -> Result<Self, InvalidChoice> {
        let choice = &mut self;
        for part in properties.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (object, names) = part.split_once(':').ok_or_else(|| InvalidChoice::Form(part.to_owned()))?;
            let object = ObjectType::parse(object.trim())?;
            for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                choice.add_property(object, name).map_err(|name| InvalidChoice::Property(name.to_owned()))?;
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
            match name.as_str().map(ObjectType::parse) {
                Some(Ok(object)) => choice.add_object(object),
                _ => choice.ignored.push(format!("objects: {}", quoted(name))),
            }
        }
        for (object, names) in entry.get_document("properties").into_iter().flatten() {
            let (Ok(object), Some(names)) = (ObjectType::parse(object), names.as_array()) else {
                choice.ignored.push(format!("properties: {object:?}"));
                continue;
            };
            for name in names {
                if name.as_str().is_none_or(|name| choice.add_property(object, name).is_err()) {
                    choice.ignored.push(format!("properties of {object}: {}", quoted(name)));
                }
            }
        }
        choice
    }

    /// Adds properties to keep of records of an object type.
    #[must_use]
    pub fn with(mut self, object: ObjectType, properties: impl IntoIterator<Item = String>) -> Self {
        self.properties.entry(object).or_default().extend(properties);
        self
    }

    /// Returns the parts that name nothing.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Returns what to read of an account. Its own choice replaces the stack's, by list: its object types replace the
    /// stack's, and its properties of an object type replace those that the stack chooses of it. The default properties
    /// are always read.
    pub fn of_account(&self, account: &Self) -> Objects {
        let chosen = [&account.objects, &self.objects].into_iter().find(|objects| !objects.is_empty());
        let objects = chosen.map_or(&ObjectType::DEFAULT[..], Vec::as_slice);
        let properties = |object: &ObjectType| {
            let more = account.properties.get(object).or_else(|| self.properties.get(object));
            (*object, object.properties(more.cloned().unwrap_or_default()))
        };
        objects.iter().map(properties).collect()
    }

    fn add_object(&mut self, object: ObjectType) {
        if !self.objects.contains(&object) {
            self.objects.push(object);
        }
    }

    fn add_property<'a>(&mut self, object: ObjectType, name: &'a str) -> Result<(), &'a str> {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(name);
        }
        self.properties.entry(object).or_default().push(name.to_owned());
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
    fn customers_are_asked_for_what_is_chosen() {
        let scopes = |objects| optional_scopes(&stack(objects, "").of_account(&Choice::default()));
        assert_eq!(scopes(""), [""; 0]);
        assert_eq!(scopes("products,contacts"), ["crm.objects.products.read", "e-commerce"]);
        assert_eq!(scopes("notes,contacts"), [OWNERS_SCOPE], "contacts' scope is enough for notes");
        let deals = ["crm.objects.custom.read", "crm.objects.deals.read", OWNERS_SCOPE, "tickets"];
        assert_eq!(scopes("deals,2-7,tickets,deals"), deals);
    }

    #[test]
    fn mistakes_of_an_entry_are_ignored_and_those_of_a_stack_are_not() {
        let entry = doc! { "objects": ["deals", "cars", 7], "properties": { "cars": ["x"], "deals": ["amount", "a b"], "contacts": "x" } };
        let choice = Choice::of_entry(&entry);
        assert_eq!(names(&Choice::default().of_account(&choice)), [DEALS]);
        assert_eq!(choice.ignored().len(), 5);
        assert_eq!(Choice::of_entry(&doc! { "objects": "deals", "properties": ["x"] }).ignored().len(), 2);
        assert!(matches!(Choice::of_objects(&["cars".to_owned()]), Err(InvalidChoice::Object(_))));
        let properties = |text| Choice::default().with_properties(text);
        assert!(matches!(properties("deals"), Err(InvalidChoice::Form(_))));
        assert!(matches!(properties("cars:x"), Err(InvalidChoice::Object(_))));
        assert!(matches!(properties("deals:a b"), Err(InvalidChoice::Property(_))));
    }
}
