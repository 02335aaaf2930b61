//! What names an object type in a choice: a name or an id that is known here, or the name of a custom object, which only
//! the account knows.

use std::fmt;

use crate::{
    catalogue::CATALOGUE,
    object::{ObjectType, UnknownObject},
};

use super::{CustomObject, InvalidChoice};

/// The longest name of a custom object, in bytes. Those of HubSpot's own begin with the account's id.
const MAX_NAME: usize = 100;

/// What names an object type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum TypeName {
    /// A row of the catalogue, or the id of a custom object.
    Known(ObjectType),
    /// The name of a custom object: `cars`, or in full `p1234567_cars`.
    Custom(String),
}

impl TypeName {
    /// Reads a name.
    ///
    /// # Errors
    /// It cannot be a custom object's name, or it is nearly the name of a row, which was probably meant.
    pub(super) fn parse(name: &str) -> Result<Self, InvalidChoice> {
        let unknown = match ObjectType::parse(name) {
            Ok(object) => return Ok(Self::Known(object)),
            Err(unknown) => unknown,
        };
        if !can_be_custom(name) {
            return Err(unknown.into());
        }
        match CATALOGUE.iter().find(|row| is_nearly(name, row.name)) {
            Some(row) => Err(InvalidChoice::Nearly(name.to_owned(), row.name)),
            None => Ok(Self::Custom(name.to_owned())),
        }
    }
}

impl TypeName {
    /// Returns true for a custom object's name.
    pub(super) fn is_name(&self) -> bool {
        matches!(self, Self::Custom(_))
    }

    /// Returns the object type. Returns `None` if none of the account's custom objects has the name.
    pub(super) fn resolve(&self, custom: &[CustomObject]) -> Option<ObjectType> {
        match self {
            Self::Known(object) => Some(*object),
            Self::Custom(name) => {
                let is_it = |custom: &&CustomObject| custom.name == *name || custom.full_name == *name;
                custom.iter().find(is_it).map(|custom| custom.object)
            }
        }
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(object) => object.fmt(f),
            Self::Custom(name) => name.fmt(f),
        }
    }
}

impl From<UnknownObject> for InvalidChoice {
    fn from(unknown: UnknownObject) -> Self {
        Self::Object(unknown)
    }
}

/// Returns true if a custom object may have this name: letters, digits and underscores, a letter first
/// (developers.hubspot.com, "Schemas API guide").
fn can_be_custom(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.len() <= MAX_NAME
        && name.bytes().all(is_allowed)
}

/// The shortest name of a row of which a letter may be wrong. `cars` is a name of its own, and not a mistake for `carts`.
const SHORTEST_TO_MISSPELL: usize = 6;

/// Returns true if the name is a row's name or its singular in capitals, or differs from one of them in one letter.
fn is_nearly(name: &str, row: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let singular = match (row.strip_suffix("ies"), row.strip_suffix('s')) {
        (Some(stem), _) => format!("{stem}y"),
        (None, stem) => stem.unwrap_or(row).to_owned(),
    };
    let is_long = row.len() >= SHORTEST_TO_MISSPELL;
    [row, &singular].into_iter().any(|meant| name == meant || (is_long && is_within_one(&name, meant)))
}

/// Returns true if at most one letter has to be changed, added or removed to make one word the other.
fn is_within_one(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let same = short.bytes().zip(long.bytes()).take_while(|(a, b)| a == b).count();
    let (short, long) = (&short.as_bytes()[same..], &long.as_bytes()[same..]);
    match long.len() - short.len() {
        0 => short.get(1..) == long.get(1..),
        1 => short == &long[1..],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_rows_of_ids_or_of_custom_objects() {
        let name = |text: &str| TypeName::parse(text).map(|name| name.to_string());
        for (text, meant) in
            [("0-3", "deals"), ("deals", "deals"), ("2-7", "2-7"), ("cars", "cars"), ("p7_Cars", "p7_Cars")]
        {
            assert_eq!(name(text).as_deref(), Ok(meant));
        }
        for text in ["", "a b", "deals.x", "1car", "_car", "2-x", "0-99999", &"x".repeat(101)] {
            assert!(matches!(name(text), Err(InvalidChoice::Object(_))), "{text}");
        }
    }

    #[test]
    fn what_is_nearly_a_row_is_a_mistake() {
        for (text, meant) in [
            ("deal", "deals"),
            ("Deals", "deals"),
            ("company", "companies"),
            ("tikets", "tickets"),
            ("line_item", "line_items"),
        ] {
            assert_eq!(TypeName::parse(text), Err(InvalidChoice::Nearly(text.to_owned(), meant)));
        }
        for text in ["cars", "boats", "meals", "p7_deal", "dealerships"] {
            assert_eq!(TypeName::parse(text), Ok(TypeName::Custom(text.to_owned())));
        }
        for (one, other, is_near) in
            [("a", "a", true), ("ab", "b", true), ("abc", "axc", true), ("ab", "ba", false), ("", "ab", false)]
        {
            assert_eq!((is_within_one(one, other), is_within_one(other, one)), (is_near, is_near), "{one} {other}");
        }
    }
}
