//! The ids that the service uses, each validated once, where it enters.

use std::fmt;

use bson::{Bson, oid::ObjectId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// A text that is not a valid id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("invalid {kind}: {}", quoted(.text))]
pub struct InvalidId {
    kind: &'static str,
    text: String,
}

/// Returns the beginning of an invalid id for an error message, if it looks like an id. It may be anything, for example
/// a token in the wrong field.
fn quoted(text: &str) -> String {
    const MAX_QUOTED_LENGTH: usize = 20;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte));
    match text.len() {
        0 => "an empty text".to_owned(),
        1..=MAX_QUOTED_LENGTH if is_plain => format!("{text:?}"),
        length => format!("a text of {length} bytes"),
    }
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident, $kind:literal, $valid:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(InvalidId { kind: $kind, text }) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// The `_id` of a Domain (a customer): an ObjectId's hexadecimal form, or a string of the product's own. At most
    /// 100 printable ASCII characters, so that an account fits into an SQS `MessageGroupId` (128).
    DomainId, "domain id",
    // Browsers resolve `.` and `..` in URLs, even if they are encoded.
    |text| (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) && ![".", ".."].contains(&text)
);
id!(
    /// A HubSpot account (portal): a decimal number.
    HubId, "hub id", is_decimal
);
id!(
    /// A HubSpot record's `hs_object_id`: a decimal number, kept as text because it may exceed 2^53.
    RecordId, "record id", is_decimal
);

fn is_decimal(text: &str) -> bool {
    (1..=27).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl DomainId {
    /// Parses the `_id` of a Domain document.
    ///
    /// # Errors
    /// The `_id` is neither an ObjectId nor a string that is a valid domain id.
    pub fn from_bson(id: &Bson) -> Result<Self, InvalidId> {
        match id {
            Bson::ObjectId(id) => Ok(Self(id.to_hex())),
            Bson::String(text) => text.clone().try_into(),
            other => Err(InvalidId { kind: "domain id", text: other.to_string() }),
        }
    }

    /// Returns the forms in which the `_id` may be stored.
    pub fn bson_forms(&self) -> Vec<Bson> {
        let text = Bson::String(self.0.clone());
        match ObjectId::parse_str(&self.0) {
            Ok(id) => vec![Bson::ObjectId(id), text],
            Err(_) => vec![text],
        }
    }
}

impl HubId {
    /// Parses the `hubId` of an account entry: text, or a number in documents written by others.
    ///
    /// # Errors
    /// The value is not a decimal number.
    pub fn from_bson(id: &Bson) -> Result<Self, InvalidId> {
        match id {
            Bson::String(text) => text.clone(),
            Bson::Int32(number) => number.to_string(),
            Bson::Int64(number) => number.to_string(),
            Bson::Double(number) if number.fract() == 0.0 => format!("{number:.0}"),
            other => other.to_string(),
        }
        .try_into()
    }

    /// Parses the id in HubSpot's form: a number, or text.
    ///
    /// # Errors
    /// The value is not a decimal number.
    pub fn from_json(id: &Value) -> Result<Self, InvalidId> {
        json_text(id).try_into()
    }

    /// Returns the forms in which the id may be stored.
    pub fn bson_forms(&self) -> Vec<Bson> {
        let text = Bson::String(self.0.clone());
        // MongoDB compares numbers of all types by value, so one number is enough.
        match self.0.parse::<i64>() {
            Ok(number) => vec![text, Bson::Int64(number)],
            Err(_) => vec![text],
        }
    }
}

/// Returns an id of a JSON document, a number or text, as text.
pub fn json_text(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_stored_form_are_read() {
        let oid = ObjectId::new();
        assert_eq!(DomainId::from_bson(&Bson::ObjectId(oid)).unwrap().as_str(), oid.to_hex());
        assert_eq!(DomainId::from_bson(&Bson::from("acme")).unwrap().as_str(), "acme");
        assert_eq!(HubId::from_bson(&Bson::Int32(7)).unwrap().as_str(), "7");
        assert_eq!(HubId::from_bson(&Bson::Double(7_000_001.0)).unwrap().as_str(), "7000001");
        assert_eq!(HubId::from_bson(&Bson::from("7000001")).unwrap().as_str(), "7000001");
    }

    #[test]
    fn what_is_no_id_is_not_quoted_unless_it_looks_like_one() {
        let refused = |id: &Bson| HubId::from_bson(id).unwrap_err().to_string();
        assert_eq!(refused(&Bson::from("12a")), "invalid hub id: \"12a\"");
        for id in [Bson::from("ana@firm.example"), Bson::from(bson::doc! { "t": "geheim" })] {
            let refused = refused(&id);
            assert!(!refused.contains("ana") && !refused.contains("geheim"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        assert!(DomainId::try_from(String::new()).is_err());
        assert!(DomainId::try_from("two words".to_owned()).is_err());
        assert!(DomainId::from_bson(&Bson::Int32(4)).is_err());
        assert!([".", ".."].iter().all(|dots| DomainId::try_from((*dots).to_owned()).is_err()));
        for text in ["", "12a", "-3", "1.5"] {
            assert!(HubId::try_from(text.to_owned()).is_err(), "{text}");
            assert!(RecordId::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_record_id_may_pass_2_to_the_53() {
        let id: RecordId = serde_json::from_str("\"90071992547409931\"").unwrap();
        assert_eq!(id.as_str(), "90071992547409931");
    }
}
