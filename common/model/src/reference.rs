//! Reference data: what HubSpot lists beside records, and what the ids and names in records mean. A list has no search
//! and no times, so it is read as a whole and compared with what was published of it
//! (`docs/decisions/0020-reference-data-is-read-and-compared.md`).

mod ledger;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use ledger::{Ledger, LedgerItem};

use crate::{
    account::AccountKey,
    action::ActionKind,
    choice::Selection,
    object::{COLLECTION_PREFIX, ObjectType},
    time::{DateTime, rfc3339},
};

/// A list of HubSpot's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// The custom objects of the account.
    CustomObjects,
    /// The users to whom records are assigned.
    Owners,
    /// The pipelines of an object type, with their stages.
    Pipelines(ObjectType),
    /// The definitions of an object type's properties.
    Schemas(ObjectType),
}

const OBJECTS: &str = "objects";
const OWNERS: &str = "owners";
const PIPELINES: &str = "pipelines";
const SCHEMAS: &str = "schemas";

impl Source {
    /// The collections of all sources.
    pub const COLLECTIONS: [&'static str; 4] =
        ["hubspot_objects", "hubspot_owners", "hubspot_pipelines", "hubspot_schemas"];

    /// Returns the lists that explain what is read of an account: the custom objects if the choice names some, the owners if
    /// a property that names one is read, the pipelines of each object type that has any, and the properties of each.
    pub fn of(selection: &Selection) -> Vec<Self> {
        let Selection { objects, names_custom, .. } = selection;
        let owners = selection.names_owners().then_some(Self::Owners);
        let pipelines = objects.keys().filter(|object| object.spec().has_pipelines).copied().map(Self::Pipelines);
        let custom = names_custom.then_some(Self::CustomObjects);
        custom.into_iter().chain(owners).chain(pipelines).chain(objects.keys().copied().map(Self::Schemas)).collect()
    }

    /// Returns the kind of list: `objects`, `owners`, `pipelines` or `schemas`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::CustomObjects => OBJECTS,
            Self::Owners => OWNERS,
            Self::Pipelines(_) => PIPELINES,
            Self::Schemas(_) => SCHEMAS,
        }
    }

    /// Returns the object type that the list is about.
    pub fn object(self) -> Option<ObjectType> {
        match self {
            Self::CustomObjects | Self::Owners => None,
            Self::Pipelines(object) | Self::Schemas(object) => Some(object),
        }
    }

    /// Returns the name of the collection with the current definitions. The prefix is that of the collections of other
    /// object types, because the database is the product's own.
    pub fn collection(self) -> String {
        format!("{COLLECTION_PREFIX}{}", self.kind())
    }

    /// Returns true if a change of a definition is an action.
    pub fn has_actions(self) -> bool {
        matches!(self, Self::Schemas(_))
    }

    /// Returns true if the list is never empty, so that an empty one is no answer to rely on. Every object type has the
    /// property `hs_object_id`.
    pub fn is_never_empty(self) -> bool {
        matches!(self, Self::Schemas(_))
    }

    /// Returns the key of the list across all accounts.
    pub fn key(self, account: &AccountKey) -> String {
        format!("{account}:{self}")
    }

    /// Returns the id of an item within the lists of its kind: `deals:amount`.
    pub fn item_id(self, id: &str) -> String {
        self.object().map_or_else(|| id.to_owned(), |object| format!("{object}:{id}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, object) = text.split_once(':').unwrap_or((text, ""));
        let object = || ObjectType::parse(object).ok();
        match kind {
            OBJECTS if text == OBJECTS => Some(Self::CustomObjects),
            OWNERS if text == OWNERS => Some(Self::Owners),
            PIPELINES => object().map(Self::Pipelines),
            SCHEMAS => object().map(Self::Schemas),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        self.object().map_or(Ok(()), |object| write!(f, ":{object}"))
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no list of HubSpot's that is known here"))
    }
}

/// An item of a list: an owner, a pipeline or a property.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceItem {
    /// The owner's or the pipeline's id, or the property's name.
    pub id: String,
    /// Its fields that are stored.
    pub definition: Map<String, Value>,
}

impl ReferenceItem {
    /// Returns a digest of the definition: the first 16 hexadecimal digits of a SHA-256. The names of a map are sorted.
    pub fn digest(&self) -> String {
        let text = Value::Object(self.definition.clone()).to_string();
        Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns true if it is a property that HubSpot calculates. The form's field of a score or a rollup says so as well
    /// (`calculation_score`).
    pub fn is_calculated(&self) -> bool {
        let field = self.definition.get("fieldType").and_then(Value::as_str).unwrap_or_default();
        self.definition.get("calculated") == Some(&Value::Bool(true)) || field.starts_with("calculation_")
    }
}

/// A new state of an item, in the form of the actions queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceChange {
    /// The item's id.
    pub id: String,
    /// The number of the state, from 1. A change that is sent again has the same number.
    pub revision: i64,
    /// The digest of the definition. Empty if the item is not listed any more.
    pub digest: String,
    /// The kind of change. Absent if there is no action about it: the list is read for the first time, or has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionKind>,
    /// The definition. Absent if the item is not listed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Map<String, Value>>,
}

impl ReferenceChange {
    /// Returns the `_id` of the action. It derives from the change alone, so that a change that is sent again is the same
    /// action. The number of the state is in it because a definition may become what it was before.
    pub fn action_id(&self, account: &AccountKey, source: Source) -> String {
        let digest = if self.definition.is_some() { &self.digest } else { "deleted" };
        format!("{}:{}:{}:{digest}", source.key(account), self.id, self.revision)
    }
}

/// Up to [`crate::message::MAX_ACTIONS`] changes of one list of an account.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceBatch {
    /// The account of the list.
    #[serde(flatten)]
    pub account: AccountKey,
    /// The list.
    pub source: Source,
    /// When the list was read, by HubSpot's clock. Later states replace earlier ones.
    #[serde(with = "rfc3339")]
    pub read_at: DateTime,
    /// The changes.
    pub items: Vec<ReferenceChange>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{catalogue::CATALOGUE, choice::Choice};

    fn chosen(names: &str) -> Selection {
        let names: Vec<String> = names.split(',').map(str::to_owned).collect();
        Choice::of_objects(&names).unwrap().select(&Choice::default(), None)
    }

    #[test]
    fn lists_are_those_of_what_is_read() {
        let of = |names| Source::of(&chosen(names)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("companies,contacts"), ["schemas:companies", "schemas:contacts"]);
        assert_eq!(of("contacts,cars"), ["objects", "schemas:contacts"]);
        assert_eq!(
            of("deals,2-7,notes"),
            ["owners", "pipelines:2-7", "pipelines:deals", "schemas:2-7", "schemas:deals", "schemas:notes",]
        );
    }

    #[test]
    fn sources_are_read_as_they_are_written() {
        for name in ["objects", "owners", "pipelines:deals", "schemas:2-7"] {
            let source = Source::try_from(name.to_owned()).unwrap();
            assert_eq!(source.to_string(), name);
            assert!(Source::COLLECTIONS.contains(&source.collection().as_str()), "{name}");
        }
        for name in ["", "owners:deals", "owners:", "schemas", "schemas:moons", "actions:deals"] {
            assert!(Source::try_from(name.to_owned()).is_err(), "{name}");
        }
    }

    #[test]
    fn no_object_type_has_a_collection_of_reference_data() {
        for row in CATALOGUE {
            let collection = ObjectType::parse(row.name).unwrap().collection();
            assert!(!Source::COLLECTIONS.contains(&collection.as_str()), "{collection}");
        }
        assert!(Source::COLLECTIONS.iter().all(|name| ObjectType::of_collection(name).is_none()));
    }

    #[test]
    fn a_digest_is_of_the_definition_alone() {
        let item = |definition: Value| ReferenceItem {
            id: "amount".to_owned(),
            definition: definition.as_object().unwrap().clone(),
        };
        let digest = |definition| item(definition).digest();
        assert_eq!(digest(json!({"a": 1, "b": 2})), digest(json!({"b": 2, "a": 1})));
        assert_ne!(digest(json!({"a": 1})), digest(json!({"a": 2})));
        assert_eq!(digest(json!({})).len(), 16);
    }

    #[test]
    fn an_action_that_returns_to_an_earlier_definition_is_another_one() {
        let (account, source) = (AccountKey::new("d", 7).unwrap(), Source::Schemas(ObjectType::CONTACTS));
        let change = |revision, definition: Option<Value>| ReferenceChange {
            id: "jobtitle".to_owned(),
            revision,
            digest: "0f".to_owned(),
            action: Some(ActionKind::Updated),
            definition: definition.map(|definition| definition.as_object().unwrap().clone()),
        };
        let id = |revision| change(revision, Some(json!({}))).action_id(&account, source);
        assert_eq!(id(2), "d:7:schemas:contacts:jobtitle:2:0f");
        assert_ne!(id(2), id(4));
        assert_eq!(change(3, None).action_id(&account, source), "d:7:schemas:contacts:jobtitle:3:deleted");
    }
}
