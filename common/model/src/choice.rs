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

/// What stands for all object types, and for all properties of one.
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

/// The properties that are chosen of an object type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Properties {
    names: Vec<String>,
    /// True if all properties are kept that the object type has.
    all: bool,
}

/// A choice of object types and properties. It may be incomplete, and is then completed by the stack's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Choice {
    /// The object types to read. Empty if none were chosen.
    objects: Vec<TypeName>,
    /// True if all object types are read: all rows of the catalogue, and all custom objects of the account.
    all_objects: bool,
    /// The properties to keep, besides the default ones of their object type.
    properties: BTreeMap<TypeName, Properties>,
    /// The properties to keep whatever an account chooses.
    required: Objects,
    /// The parts of the choice that name nothing. They are ignored.
    ignored: Vec<String>,
}

/// What is read of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The object types, with their properties.
    pub objects: Objects,
    /// Those of which all properties are read. `objects` has only the ones of them that are always read, or named.
    pub with_all_properties: BTreeSet<ObjectType>,
    /// True if the account's custom objects have to be known.
    pub names_custom: bool,
    /// The names in the account's entry that none of its custom objects has.
    pub not_found: Vec<String>,
}

impl Selection {
    /// Returns the scopes that this selection needs beyond the required ones. A customer may leave them out.
    pub fn optional_scopes(&self) -> Vec<&'static str> {
        let of_types = self.objects.keys().map(|object| object.spec()).chain(self.names_custom.then_some(&CUSTOM));
        let scopes = of_types.flat_map(|spec| spec.scopes.iter().copied());
        let scopes = scopes.chain(self.names_owners().then_some(OWNERS_SCOPE));
        let scopes: BTreeSet<&str> = scopes.filter(|scope| !REQUIRED_SCOPES.contains(scope)).collect();
        scopes.into_iter().collect()
    }

    /// Returns true if a property is read that names an owner.
    pub(crate) fn names_owners(&self) -> bool {
        !self.with_all_properties.is_empty() || self.objects.values().flatten().any(|name| name == OWNER_PROPERTY)
    }
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
            let one = std::slice::from_ref(names);
            let names = names.as_array().map(Vec::as_slice).or_else(|| (names.as_str() == Some(ALL)).then_some(one));
            let (Ok(object), Some(names)) = (TypeName::parse(object), names) else {
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
        self.properties.entry(TypeName::Known(object)).or_default().names.extend(properties);
        self
    }

    /// Adds a property to keep of records of an object type, whatever an account chooses.
    #[must_use]
    pub fn with_required(mut self, object: ObjectType, property: &str) -> Self {
        self.required.entry(object).or_default().push(property.to_owned());
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
        let mut selection = Selection { names_custom, ..Selection::default() };
        for object in types {
            let more = account.properties_of(object, known).or_else(|| self.properties_of(object, known));
            let Properties { mut names, all } = more.cloned().unwrap_or_default();
            names.extend(self.required.get(&object).into_iter().flatten().cloned());
            selection.objects.insert(object, object.properties(names));
            selection.with_all_properties.extend(all.then_some(object));
        }
        Selection { not_found: if custom.is_some() { not_found } else { Vec::new() }, ..selection }
    }

    /// Returns true if it chooses object types.
    fn names_objects(&self) -> bool {
        self.all_objects || !self.objects.is_empty()
    }

    /// Returns the properties that are chosen of an object type, by its id or by its name.
    fn properties_of(&self, object: ObjectType, custom: &[CustomObject]) -> Option<&Properties> {
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
        let properties = self.properties.entry(object.clone()).or_default();
        if name == ALL {
            properties.all = true;
            return Ok(());
        }
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(name);
        }
        properties.names.push(name.to_owned());
        Ok(())
    }
}

/// Returns the beginning of a value for a message.
fn quoted(value: &Bson) -> String {
    value.to_string().chars().take(40).collect()
}

#[cfg(test)]
mod tests;
