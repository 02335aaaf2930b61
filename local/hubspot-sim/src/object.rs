//! Object types. One is known by its name alone; what differs between types follows from the name by rule.

mod facts;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use tinystr::TinyAsciiStr;

/// The type ids of HubSpot's own object types ("Understanding the CRM", object type IDs).
pub(crate) const STANDARD: [(&str, &str); 32] = [
    ("0-1", "contacts"),
    ("0-2", "companies"),
    ("0-3", "deals"),
    ("0-5", "tickets"),
    ("0-7", "products"),
    ("0-8", "line_items"),
    ("0-14", "quotes"),
    ("0-18", "communications"),
    ("0-19", "feedback_submissions"),
    ("0-27", "tasks"),
    ("0-46", "notes"),
    ("0-47", "meetings"),
    ("0-48", "calls"),
    ("0-49", "emails"),
    ("0-53", "invoices"),
    ("0-54", "marketing_events"),
    ("0-69", "subscriptions"),
    ("0-74", "goal_targets"),
    ("0-84", "discounts"),
    ("0-85", "fees"),
    ("0-86", "taxes"),
    ("0-101", "commerce_payments"),
    ("0-115", "users"),
    ("0-116", "postal_mail"),
    ("0-123", "orders"),
    ("0-136", "leads"),
    ("0-142", "carts"),
    ("0-162", "services"),
    ("0-410", "courses"),
    ("0-420", "listings"),
    ("0-421", "appointments"),
    ("0-970", "projects"),
];

/// An object type: the name of a standard one (`contacts`), or the type id of a custom one (`2-1234567`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Object(TinyAsciiStr<32>);

/// The error for a name that no object type can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object type has 1 to 32 letters, digits, underscores and hyphens")]
pub struct InvalidObject;

impl Object {
    /// Companies (`0-2`).
    pub const COMPANIES: Self = Self::of("companies");
    /// Contacts (`0-1`).
    pub const CONTACTS: Self = Self::of("contacts");
    /// Deals (`0-3`).
    pub const DEALS: Self = Self::of("deals");
    /// Meetings (`0-47`).
    pub const MEETINGS: Self = Self::of("meetings");

    /// Products (`0-7`).
    pub const PRODUCTS: Self = Self::of("products");

    /// Returns the type with a name that is known to be valid when this is compiled.
    ///
    /// # Panics
    /// If the name is too long, or not ASCII.
    pub const fn of(name: &str) -> Self {
        match TinyAsciiStr::try_from_str(name) {
            Ok(name) => Self(name),
            Err(_) => panic!("the name is too long, or not ASCII"),
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        self.0.as_str()
    }

    /// Parses what a path may contain: the name, the singular of a standard type's name, or the type id.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_meant = |(type_id, name): &&(&str, &str)| *type_id == text || *name == text || singular(name) == text;
        match STANDARD.iter().find(is_meant) {
            Some((_, name)) => name.parse().ok(),
            None => text.parse().ok(),
        }
    }

    /// Returns the type id. A custom object has it as its name.
    pub(crate) fn type_id(&self) -> &str {
        STANDARD.iter().find(|(_, name)| *name == self.name()).map_or(self.name(), |(type_id, _)| type_id)
    }
}

/// Returns the singular of a plural, or the text itself if it is none.
fn singular(name: &str) -> String {
    match (name.strip_suffix("ies"), name.strip_suffix('s')) {
        (Some(stem), _) => format!("{stem}y"),
        (None, Some(stem)) => stem.to_owned(),
        (None, None) => name.to_owned(),
    }
}

impl FromStr for Object {
    type Err = InvalidObject;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
        let name = Some(name).filter(|name| !name.is_empty() && name.chars().all(is_allowed)).ok_or(InvalidObject)?;
        TinyAsciiStr::try_from_str(name).map(Self).map_err(|_| InvalidObject)
    }
}

impl TryFrom<String> for Object {
    type Error = InvalidObject;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<Object> for String {
    fn from(object: Object) -> Self {
        object.name().to_owned()
    }
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_type_is_named_by_letters_digits_underscores_and_hyphens() {
        for name in ["contacts", "line_items", "2-1234567", "p7_Cars", "a", &"x".repeat(32)] {
            assert_eq!(name.parse::<Object>().map(|object| object.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "a b", "a/b", "a.b", "ñ", &"x".repeat(33)] {
            assert_eq!(name.parse::<Object>(), Err(InvalidObject), "{name}");
        }
        assert_eq!(serde_json::to_string(&Object::CONTACTS).unwrap(), r#""contacts""#);
        assert_eq!(serde_json::from_str::<Object>(r#""line_items""#).unwrap().to_string(), "line_items");
        assert!(serde_json::from_str::<Object>(r#""a b""#).is_err());
    }

    #[test]
    fn path_names_a_type_by_its_name_or_by_its_id() {
        for (text, object, type_id) in [
            ("contacts", "contacts", "0-1"),
            ("contact", "contacts", "0-1"),
            ("0-1", "contacts", "0-1"),
            ("company", "companies", "0-2"),
            ("0-3", "deals", "0-3"),
            ("line_item", "line_items", "0-8"),
            ("2-1234567", "2-1234567", "2-1234567"),
            ("cars", "cars", "cars"),
        ] {
            let parsed = Object::parse(text).unwrap();
            assert_eq!((parsed.name(), parsed.type_id()), (object, type_id), "{text}");
        }
        assert_eq!(Object::parse("a b"), None);
    }
}
