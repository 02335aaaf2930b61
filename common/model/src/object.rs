//! The object types that are synced, with HubSpot's names for each.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;
use tinystr::TinyAsciiStr;

use crate::catalogue::{self, ObjectSpec};

/// The longest name of an object type, in bytes.
const MAX_NAME: usize = 32;

/// What the names of the collections that the service makes in the product's database begin with.
pub(crate) const COLLECTION_PREFIX: &str = "hubspot_";

/// One of HubSpot's CRM object types. In the sync, a lane of an account.
///
/// It is a row of the [catalogue], or a custom object (`2-1234567`). The name is a part of HubSpot's paths, of messages
/// and of keys, and it is the name of the current-state collection. So it contains neither dots nor colons, and a name
/// that is in neither of these is no object type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ObjectType(TinyAsciiStr<MAX_NAME>);

/// A text that names no object type.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{:?} is no object type of HubSpot's that is known here, and no custom object (2-1234567)", .0.chars().take(MAX_NAME).collect::<String>())]
pub struct UnknownObject(String);

impl ObjectType {
    /// HubSpot's companies (`0-2`).
    pub const COMPANIES: Self = Self::of("companies");
    /// HubSpot's contacts (`0-1`).
    pub const CONTACTS: Self = Self::of("contacts");
    /// The object types that are synced unless others are chosen.
    pub const DEFAULT: [Self; 2] = [Self::COMPANIES, Self::CONTACTS];

    const fn of(name: &str) -> Self {
        match TinyAsciiStr::try_from_str(name) {
            Ok(name) => Self(name),
            Err(_) => panic!("the name is too long"),
        }
    }

    /// Returns the object type with this name: a name of the catalogue, the id of one of its rows (`0-3`), or the id of
    /// a custom object.
    ///
    /// # Errors
    /// There is no such object type.
    pub fn parse(name: &str) -> Result<Self, UnknownObject> {
        let unknown = || UnknownObject(name.to_owned());
        if let Some(row) = catalogue::row(name).or_else(|| catalogue::row_of_id(name)) {
            return Ok(Self::of(row.name));
        }
        if !is_custom(name) {
            return Err(unknown());
        }
        name.parse().map(Self).map_err(|_| unknown())
    }

    /// Returns the name in HubSpot's paths, in messages and in checkpoints.
    pub const fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the catalogue's row of the object type. Custom objects share one.
    pub fn spec(self) -> &'static ObjectSpec {
        catalogue::row(self.as_str()).unwrap_or(&catalogue::CUSTOM)
    }

    /// Returns true for companies and contacts, which every portal has.
    pub fn is_default(self) -> bool {
        Self::DEFAULT.contains(&self)
    }

    /// Returns the name of the collection with the current states of the records. It has a prefix, because the database
    /// is the product's own, which may well have `users` or `tasks`. Companies and contacts are older than that.
    pub fn collection(self) -> String {
        if self.is_default() { self.to_string() } else { format!("{COLLECTION_PREFIX}{self}") }
    }

    /// Returns the object type whose [`ObjectType::collection`] this is.
    pub fn of_collection(name: &str) -> Option<Self> {
        let object = Self::parse(name.strip_prefix(COLLECTION_PREFIX).unwrap_or(name)).ok()?;
        (object.collection() == name).then_some(object)
    }

    /// Returns what one record is called in the names of actions: `Deal`. For a custom object it is the id of the
    /// object type, because its label differs from portal to portal, and may change.
    pub fn label(&self) -> &str {
        if self.is_custom() { self.as_str() } else { self.spec().label }
    }

    /// Returns the object type of a webhook's event: the first word of the event's kind (`deal.creation`), or the id of
    /// the type if that word is `object`. Returns `None` if it is not known.
    pub fn of_event(word: &str, type_id: Option<&str>) -> Option<Self> {
        match (word, type_id) {
            ("object", type_id) => Self::parse(type_id?).ok(),
            (word, _) => {
                let row = catalogue::CATALOGUE.iter().find(|row| row.webhooks == Some(word))?;
                Some(Self::of(row.name))
            }
        }
    }

    /// Returns the object type whose [`ObjectType::label`] this is.
    pub(crate) fn of_label(label: &str) -> Option<Self> {
        let row = catalogue::CATALOGUE.iter().find(|row| row.label == label);
        row.map_or_else(|| Self::parse(label).ok().filter(|object| object.is_custom()), |row| Some(Self::of(row.name)))
    }

    /// Returns true for a custom object, which each portal defines for itself.
    pub fn is_custom(self) -> bool {
        is_custom(self.as_str())
    }

    /// Returns the property that holds the modification time. HubSpot's search also accepts the other types' name, but
    /// returns zero rows and no error (airbytehq/airbyte#85019).
    pub fn modified_property(self) -> &'static str {
        self.spec().modified_property
    }

    /// Returns the properties that are requested if no more are configured.
    pub fn default_properties(self) -> &'static [&'static str] {
        self.spec().default_properties
    }

    /// Returns the default properties, followed by `more`, without duplicates.
    pub fn properties(self, more: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut names: Vec<String> = self.default_properties().iter().map(|name| (*name).to_owned()).collect();
        for name in more {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// Returns true for the id of a custom object's type: a number above zero, a dash, and a number.
fn is_custom(name: &str) -> bool {
    let is_number =
        |text: &str| !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once('-').is_some_and(|(kind, id)| is_number(kind) && is_number(id))
}

impl TryFrom<String> for ObjectType {
    type Error = UnknownObject;

    fn try_from(name: String) -> Result<Self, UnknownObject> {
        Self::parse(&name)
    }
}

impl Serialize for ObjectType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_custom_objects_are_object_types_and_nothing_else() {
        for name in ["companies", "contacts", "deals", "2-1234567", "19-5"] {
            assert_eq!(ObjectType::parse(name).map(|object| object.to_string()).as_deref(), Ok(name));
        }
        for (id, name) in [("0-1", "contacts"), ("0-2", "companies"), ("0-3", "deals")] {
            assert_eq!(ObjectType::parse(id).map(|object| object.to_string()).as_deref(), Ok(name));
        }
        // Collections of the service, names that MongoDB and the keys of records read otherwise, and types unknown here.
        for name in
            ["", "actions", "checkpoints", "deals.x", "$deals", "a:b", "Deals", "0-99999", "2-", "2-007", "-2", "2-1-3"]
        {
            assert!(ObjectType::parse(name).is_err(), "{name}");
        }
        assert!(ObjectType::parse(&format!("2-{}", "1".repeat(40))).is_err());
    }

    #[test]
    fn collections_are_told_apart_from_the_products_own() {
        for (name, collection) in [("contacts", "contacts"), ("deals", "hubspot_deals"), ("2-7", "hubspot_2-7")] {
            let object = ObjectType::parse(name).unwrap();
            assert_eq!(object.collection(), collection);
            assert_eq!(ObjectType::of_collection(collection), Some(object));
        }
        for name in ["deals", "hubspot_contacts", "hubspot_", "2-7", "actions"] {
            assert_eq!(ObjectType::of_collection(name), None, "{name}");
        }
    }

    #[test]
    fn custom_objects_are_called_by_their_ids() {
        let custom = ObjectType::parse("2-1234567").unwrap();
        assert!(custom.is_custom() && !ObjectType::COMPANIES.is_custom());
        assert_eq!((custom.label(), ObjectType::parse("deals").unwrap().label()), ("2-1234567", "Deal"));
    }

    #[test]
    fn rows_are_complete() {
        for row in catalogue::CATALOGUE {
            let is_word =
                |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte));
            assert!(ObjectType::parse(row.name).is_ok(), "{}", row.name);
            assert!(!row.scopes.is_empty() && !row.default_properties.is_empty(), "{}", row.name);
            assert!(row.default_properties.iter().all(|name| is_word(name)), "{}", row.name);
            assert!(row.associations.iter().all(|to| ObjectType::parse(to).is_ok() && *to != row.name), "{}", row.name);
        }
    }
}
