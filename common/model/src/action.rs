//! An action: one change of one record, as the product's analytics read it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    account::AccountKey,
    ids::RecordId,
    object::ObjectType,
    time::{DateTime, rfc3339},
};

/// What an action says of its record. The names are the ones stored in `actionName`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ActionName {
    /// A company's first action.
    #[serde(rename = "Company Created")]
    CompanyCreated,
    /// Every later action of a company.
    #[serde(rename = "Company Updated")]
    CompanyUpdated,
    /// A contact's first action.
    #[serde(rename = "Contact Created")]
    ContactCreated,
    /// Every later action of a contact.
    #[serde(rename = "Contact Updated")]
    ContactUpdated,
    /// A company was deleted, or merged into another.
    #[serde(rename = "Company Deleted")]
    CompanyDeleted,
    /// A contact was deleted, or merged into another.
    #[serde(rename = "Contact Deleted")]
    ContactDeleted,
}

impl ActionName {
    /// The name for a record's first action.
    pub const fn created(object: ObjectType) -> Self {
        match object {
            ObjectType::Companies => Self::CompanyCreated,
            ObjectType::Contacts => Self::ContactCreated,
        }
    }

    /// The name for a record's later actions.
    pub const fn updated(object: ObjectType) -> Self {
        match object {
            ObjectType::Companies => Self::CompanyUpdated,
            ObjectType::Contacts => Self::ContactUpdated,
        }
    }

    /// The name for the action of a record that is gone.
    pub const fn deleted(object: ObjectType) -> Self {
        match object {
            ObjectType::Companies => Self::CompanyDeleted,
            ObjectType::Contacts => Self::ContactDeleted,
        }
    }

    /// Whether the record is gone.
    pub const fn is_deleted(self) -> bool {
        matches!(self, Self::CompanyDeleted | Self::ContactDeleted)
    }

    /// Whether this is a record's first action.
    pub const fn is_created(self) -> bool {
        matches!(self, Self::CompanyCreated | Self::ContactCreated)
    }

    /// The name as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CompanyCreated => "Company Created",
            Self::CompanyUpdated => "Company Updated",
            Self::ContactCreated => "Contact Created",
            Self::ContactUpdated => "Contact Updated",
            Self::CompanyDeleted => "Company Deleted",
            Self::ContactDeleted => "Contact Deleted",
        }
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One change of one record, as it travels on the actions queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// The record's object type.
    pub object: ObjectType,
    /// The record.
    pub record_id: RecordId,
    /// What happened to it.
    pub action_name: ActionName,
    /// When: the creation time for Created, otherwise the same as `record_updated_at`.
    #[serde(with = "rfc3339")]
    pub action_date: DateTime,
    /// The record's modification time; for Deleted when it was deleted, or when its merge was first seen. With the
    /// record it names the change.
    #[serde(with = "rfc3339")]
    pub record_updated_at: DateTime,
    /// Whether analytics count it: 0, as in the product's existing documents.
    pub include_in_analytics: i32,
    /// A contact's e-mail address; absent if it has none, and for companies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// A contact's properties under the product's names.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub user_properties: Map<String, Value>,
    /// A company's properties under the product's names.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub company_properties: Map<String, Value>,
    /// The record that a deleted one was merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<RecordId>,
    /// The record as HubSpot holds it, for the current state; a deleted one has none. Without it an action of another
    /// name is stored alone.
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
    /// HubSpot's properties that have a value, by their internal names.
    pub properties: Map<String, Value>,
    /// The associated companies of a contact, the primary one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub company_ids: Vec<RecordId>,
    /// Whether HubSpot does not tell the companies: those that are known stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub companies_unknown: bool,
}

impl Action {
    /// The `_id` under which this change is stored. It is derived from the change alone, so that an action
    /// that is delivered again is the same document. Readable, and unambiguous because only the first part
    /// may contain a colon.
    pub fn id(&self, account: &AccountKey) -> String {
        let at = self.record_updated_at.timestamp_millis();
        let suffix = if self.action_name.is_deleted() { ":deleted" } else { "" };
        format!("{}:{at}{suffix}", record_key(account, self.object, &self.record_id))
    }
}

/// The key of a record across all accounts.
pub fn record_key(account: &AccountKey, object: ObjectType, record: &RecordId) -> String {
    format!("{account}:{object}:{record}")
}
