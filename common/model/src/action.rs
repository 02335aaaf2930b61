//! An action: one change of one record, in the form that the product's analytics read.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    account::AccountKey,
    association::Association,
    ids::RecordId,
    object::ObjectType,
    time::{DateTime, rfc3339},
};

/// An object type and a kind of change, in the stored form of `actionName`: `Deal Created`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActionName {
    object: ObjectType,
    kind: ActionKind,
}

/// The kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ActionKind {
    /// A record's first action.
    Created,
    /// Every later action of a record.
    Updated,
    /// A record was deleted, or merged into another.
    Deleted,
}

impl ActionKind {
    const ALL: [Self; 3] = [Self::Created, Self::Updated, Self::Deleted];

    /// Returns the word in the names of actions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Updated => "Updated",
            Self::Deleted => "Deleted",
        }
    }

    /// Returns the kind with this word.
    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }
}

impl ActionName {
    /// Returns the name of a record's first action.
    pub const fn created(object: ObjectType) -> Self {
        Self { object, kind: ActionKind::Created }
    }

    /// Returns the name of a record's later actions.
    pub const fn updated(object: ObjectType) -> Self {
        Self { object, kind: ActionKind::Updated }
    }

    /// Returns the name of the action of a deleted or merged record.
    pub const fn deleted(object: ObjectType) -> Self {
        Self { object, kind: ActionKind::Deleted }
    }

    /// Returns the kind of change.
    pub const fn kind(self) -> ActionKind {
        self.kind
    }

    /// Returns true if the record was deleted or merged.
    pub const fn is_deleted(self) -> bool {
        matches!(self.kind, ActionKind::Deleted)
    }

    /// Returns true if this is a record's first action.
    pub const fn is_created(self) -> bool {
        matches!(self.kind, ActionKind::Created)
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.object.label(), self.kind.as_str())
    }
}

impl From<ActionName> for String {
    fn from(name: ActionName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for ActionName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.rsplit_once(' ').and_then(|(label, kind)| {
            let kind = ActionKind::parse(kind)?;
            Some(Self { object: ObjectType::of_label(label)?, kind })
        });
        parsed.ok_or_else(|| format!("{text:?} is no name of an action"))
    }
}

/// One change of one record, in the form of the actions queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// The record's object type.
    pub object: ObjectType,
    /// The record's id.
    pub record_id: RecordId,
    /// The kind of change.
    pub action_name: ActionName,
    /// When the change happened: the creation time for Created, when it was first seen for a change of associations
    /// alone, when the properties were chosen for an action about them alone, otherwise the same as `record_updated_at`.
    #[serde(with = "rfc3339")]
    pub action_date: DateTime,
    /// The record's modification time. For Deleted, when the record was deleted, or when its merge was first seen.
    /// Together with the record it identifies the change.
    #[serde(with = "rfc3339")]
    pub record_updated_at: DateTime,
    /// Whether analytics count the action: 0, as in the product's existing documents.
    pub include_in_analytics: i32,
    /// A contact's e-mail address. Absent if it has none, and for companies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// A contact's properties under the product's names.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub user_properties: Map<String, Value>,
    /// A company's properties under the product's names.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub company_properties: Map<String, Value>,
    /// The properties under HubSpot's names, for all other object types.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
    /// The record that a merged one was merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<RecordId>,
    /// A digest of the record's associations, if the action is about a change of them alone. HubSpot does not move the
    /// record's modification time then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub associations_digest: Option<String>,
    /// When properties were chosen, if the action is only about properties that were chosen later than the object type.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    pub properties_at: Option<DateTime>,
    /// The record's current state in HubSpot. Absent for deleted records. An action without a state updates no state
    /// document, unless it is a deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordState>,
}

/// A record's state at the time of an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordState {
    /// When the record was created in HubSpot.
    #[serde(with = "rfc3339")]
    pub created_at: DateTime,
    /// HubSpot's properties that have a value, under their internal names.
    pub properties: Map<String, Value>,
    /// The companies associated with a contact, the primary one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub company_ids: Vec<RecordId>,
    /// True if HubSpot does not return the companies. The stored ones are then kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub companies_unknown: bool,
    /// The associations with records of other types, a contact's companies in the order of `company_ids`. Absent if they are
    /// not known, for object types of which none are read, and in the messages of releases before 0.10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub associations: Option<Vec<Association>>,
    /// When the associations were read. Later ones replace earlier ones.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    pub associations_at: Option<DateTime>,
    /// When the properties were chosen. Of two states with the same modification time, the one with the later choice
    /// replaces the other. Absent if none was chosen later than the object type.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339::option")]
    pub properties_at: Option<DateTime>,
}

impl Action {
    /// Returns the `_id` under which this change is stored. It derives from the change alone, so a redelivered action
    /// is the same document. It is readable, and unambiguous because only the first part may contain a colon.
    pub fn id(&self, account: &AccountKey) -> String {
        let key = record_key(account, self.object, &self.record_id);
        if let Some(digest) = &self.associations_digest {
            return format!("{key}:{}:associations:{digest}", self.action_date.timestamp_millis());
        }
        let at = self.record_updated_at.timestamp_millis();
        if let Some(chosen_at) = self.properties_at {
            return format!("{key}:{at}:properties:{}", chosen_at.timestamp_millis());
        }
        let suffix = if self.action_name.is_deleted() { ":deleted" } else { "" };
        format!("{key}:{at}{suffix}")
    }
}

/// Returns the key of a record across all accounts.
pub fn record_key(account: &AccountKey, object: ObjectType, record: &RecordId) -> String {
    format!("{account}:{object}:{record}")
}
