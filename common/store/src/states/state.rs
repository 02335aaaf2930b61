//! A record's current state, and how actions move it on: pure.

use model::{
    account::AccountKey,
    action::{Action, RecordState, record_key},
    changes::{self, RecordView},
    ids::RecordId,
    object::ObjectType,
};
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How many of a record's latest steps are kept: as many as may be under way while an action is delivered again.
pub(super) const HISTORY: usize = 5;

/// A record's current state, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    #[serde(rename = "_id")]
    pub(super) id: String,
    domain_id: String,
    hub_id: String,
    record_id: String,
    #[serde(default)]
    properties: Map<String, Value>,
    /// A contact's companies; absent for companies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    company_ids: Option<Vec<String>>,
    /// Absent if nothing but the record's end is known yet, as is `updated_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<DateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<DateTime>,
    /// Since when the record is gone; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<DateTime>,
    /// The record that it was merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merged_into: Option<String>,
    /// When its erasure was requested. The state never moves again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erased_at: Option<DateTime>,
    pub(super) stored_at: DateTime,
    /// The latest steps, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) history: Vec<HistoryEntry>,
}

/// What a step changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HistoryEntry {
    pub(super) at: DateTime,
    pub(super) changes: Map<String, Value>,
}

/// What tells one state of a record from another: when it was modified, since when it is gone, what it was merged into, and
/// when it was erased.
pub(super) type Version = (Option<DateTime>, Option<DateTime>, Option<String>, Option<DateTime>);

impl State {
    /// The state of a record of which nothing is known.
    pub(super) fn unknown(account: &AccountKey, action: &Action) -> Self {
        Self {
            id: record_key(account, action.object, &action.record_id),
            domain_id: account.domain_id.as_str().to_owned(),
            hub_id: account.hub_id.as_str().to_owned(),
            record_id: action.record_id.as_str().to_owned(),
            properties: Map::new(),
            company_ids: (action.object == ObjectType::Contacts).then(Vec::new),
            created_at: None,
            updated_at: None,
            deleted_at: None,
            merged_into: None,
            erased_at: None,
            stored_at: DateTime::MIN,
            history: Vec::new(),
        }
    }

    pub(super) fn version(&self) -> Version {
        (self.updated_at, self.deleted_at, self.merged_into.clone(), self.erased_at)
    }

    /// Returns true if the record was erased.
    pub(super) fn is_erased(&self) -> bool {
        self.erased_at.is_some()
    }

    /// Makes the record as it was modified at `at` the current one. Returns false if a newer one is, or if the record was
    /// erased. A record that is modified after it was deleted was restored.
    pub(super) fn apply_update(&mut self, record: &RecordState, at: DateTime) -> bool {
        if self.is_erased() || self.updated_at >= Some(at) {
            return false;
        }
        let company_ids: Vec<String> = match record.companies_unknown {
            true => self.company_ids.clone().unwrap_or_default(),
            false => record.company_ids.iter().map(|id| id.as_str().to_owned()).collect(),
        };
        if self.updated_at.is_some() {
            let after = RecordView { properties: &record.properties, company_ids: &company_ids };
            self.history.push(HistoryEntry { at, changes: changes::diff(self.as_diff_side(), after) });
        }
        self.properties.clone_from(&record.properties);
        self.company_ids = self.company_ids.as_ref().map(|_| company_ids);
        self.created_at = Some(record.created_at);
        self.updated_at = Some(at);
        self.deleted_at = self.deleted_at.filter(|deleted_at| *deleted_at >= at || self.merged_into.is_some());
        true
    }

    /// Lets the record be gone since `at`, with what was last known of it. Returns false if that is not new, or if it was
    /// modified or deleted later, or erased. What was merged into another never comes back.
    pub(super) fn apply_deletion(&mut self, at: DateTime, merged_into: Option<&RecordId>) -> bool {
        let is_known = self.deleted_at >= Some(at) && (self.merged_into.is_some() || merged_into.is_none());
        if self.is_erased() || is_known || (self.updated_at > Some(at) && merged_into.is_none()) {
            return false;
        }
        self.deleted_at = self.deleted_at.max(Some(at));
        self.merged_into = self.merged_into.take().or(merged_into.map(|id| id.as_str().to_owned()));
        true
    }

    fn as_diff_side(&self) -> RecordView<'_> {
        RecordView { properties: &self.properties, company_ids: self.company_ids.as_deref().unwrap_or_default() }
    }
}

/// The update that replaces a state if it is still of this version. (A query for both the `_id` and the version
/// would do the same, but the server plans each such query: it takes twice as long.)
#[derive(Serialize)]
pub(super) struct Replace<'a> {
    #[serde(rename = "$replaceWith")]
    with: Condition<'a>,
}

#[derive(Serialize)]
struct Condition<'a> {
    #[serde(rename = "$cond")]
    parts: (Document, Literal<'a>, &'static str),
}

#[derive(Serialize)]
struct Literal<'a> {
    #[serde(rename = "$literal")]
    state: &'a State,
}

impl<'a> Replace<'a> {
    pub(super) fn new((updated_at, deleted_at, merged_into, erased_at): Version, state: &'a State) -> Self {
        // In an array, a field that is missing is null.
        let was = [Bson::from(updated_at), deleted_at.into(), merged_into.into(), erased_at.into()].to_vec();
        let is = ["$updatedAt", "$deletedAt", "$mergedInto", "$erasedAt"].to_vec();
        let is_as_it_was = doc! { "$eq": [is, { "$literal": was }] };
        Self { with: Condition { parts: (is_as_it_was, Literal { state }, "$$ROOT") } }
    }
}
