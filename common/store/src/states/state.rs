//! A record's current state, and how actions move it on: pure.

use model::{
    account::AccountKey,
    action::{Action, RecordState, record_key},
    association::Association,
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
    /// The associations, a contact's companies in the same order. Absent for companies, and if they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    associations: Option<Vec<Association>>,
    /// When the associations were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    associations_at: Option<DateTime>,
    /// When the properties were chosen. Absent if none was chosen later than the object type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties_at: Option<DateTime>,
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
    /// True if the record's associations alone have changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) associations_alone: bool,
    /// When properties were chosen, if the record has changed only in these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) properties_at: Option<DateTime>,
    pub(super) changes: Map<String, Value>,
}

impl HistoryEntry {
    /// Returns true if this is the step that the action has made.
    pub(super) fn is_of(&self, action: &Action) -> bool {
        let (is_alone, record) = (action.associations_digest.is_some(), action.record.as_ref());
        let at = record.and_then(|record| record.associations_at).filter(|_| is_alone);
        record.is_some()
            && self.associations_alone == is_alone
            && self.properties_at == action.properties_at
            && self.at == at.unwrap_or(action.record_updated_at)
    }

    /// Returns true if this is a change of associations that came with a repetition of the action.
    pub(super) fn is_later_associations_of(&self, action: &Action) -> bool {
        let read_at = action.record.as_ref().and_then(|record| record.associations_at);
        let is_own = action.associations_digest.is_some();
        !is_own && self.associations_alone && read_at == Some(self.at) && !self.changes.is_empty()
    }
}

/// What tells one state of a record from another.
#[derive(Clone, Debug)]
pub(super) struct Version {
    updated_at: Option<DateTime>,
    properties_at: Option<DateTime>,
    associations_at: Option<DateTime>,
    deleted_at: Option<DateTime>,
    merged_into: Option<String>,
    erased_at: Option<DateTime>,
}

impl State {
    /// The state of a record of which nothing is known.
    pub(super) fn unknown(account: &AccountKey, action: &Action) -> Self {
        Self {
            id: record_key(account, action.object, &action.record_id),
            domain_id: account.domain_id.as_str().to_owned(),
            hub_id: account.hub_id.as_str().to_owned(),
            record_id: action.record_id.as_str().to_owned(),
            properties: Map::new(),
            company_ids: (action.object == ObjectType::CONTACTS).then(Vec::new),
            associations: None,
            associations_at: None,
            properties_at: None,
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
        Version {
            updated_at: self.updated_at,
            properties_at: self.properties_at,
            associations_at: self.associations_at,
            deleted_at: self.deleted_at,
            merged_into: self.merged_into.clone(),
            erased_at: self.erased_at,
        }
    }

    /// Returns true if the record was erased.
    pub(super) fn is_erased(&self) -> bool {
        self.erased_at.is_some()
    }

    /// Makes the record as it was modified at `at` the current one, and its associations if they were read later than
    /// those at hand. Returns false if neither is newer, or if the record was erased. A record that is modified after it
    /// was deleted was restored. A record with properties that were chosen later is newer, although it was not modified.
    pub(super) fn apply_update(&mut self, record: &RecordState, at: DateTime) -> bool {
        let is_modified = self.updated_at < Some(at);
        let is_newer = is_modified || (self.updated_at == Some(at) && self.properties_at < record.properties_at);
        let takes_associations = self.takes_associations(record, is_newer);
        if self.is_erased() || (!is_newer && !takes_associations) {
            return false;
        }
        let ids = takes_associations
            .then(|| record.company_ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<String>>());
        if self.updated_at.is_some() {
            let after = RecordView {
                properties: if is_newer { &record.properties } else { &self.properties },
                company_ids: ids.as_deref().or(self.company_ids.as_deref()).unwrap_or_default(),
                associations: if takes_associations { &record.associations } else { &self.associations }.as_deref(),
            };
            let changes = changes::diff(self.as_diff_side(), after);
            let at = record.associations_at.filter(|_| !is_newer).unwrap_or(at);
            let properties_at = record.properties_at.filter(|_| is_newer && !is_modified);
            self.history.push(HistoryEntry { at, associations_alone: !is_newer, properties_at, changes });
        }
        if takes_associations {
            self.company_ids = self.company_ids.take().and(ids);
            self.associations.clone_from(&record.associations);
            self.associations_at = record.associations_at;
        }
        if is_newer {
            self.properties.clone_from(&record.properties);
            self.properties_at = record.properties_at;
            self.created_at = Some(record.created_at);
            self.updated_at = Some(at);
            self.deleted_at = self.deleted_at.filter(|deleted_at| *deleted_at >= at || self.merged_into.is_some());
        }
        true
    }

    /// Returns true if the record's associations are to replace those at hand. Messages of older releases do not say
    /// when they were read: then they are as new as the record.
    fn takes_associations(&self, record: &RecordState, is_newer: bool) -> bool {
        let is_later = match record.associations_at {
            Some(read_at) => self.associations_at < Some(read_at),
            None => is_newer,
        };
        // A contact's companies may be known by their ids alone.
        let are_known = record.associations.is_some() || (self.company_ids.is_some() && !record.companies_unknown);
        are_known && is_later
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
        RecordView {
            properties: &self.properties,
            company_ids: self.company_ids.as_deref().unwrap_or_default(),
            associations: self.associations.as_deref(),
        }
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
    pub(super) fn new(version: Version, state: &'a State) -> Self {
        let Version { updated_at, properties_at, associations_at, deleted_at, merged_into, erased_at } = version;
        // In an array, a field that is missing is null.
        let was = vec![
            Bson::from(updated_at),
            Bson::from(properties_at),
            Bson::from(associations_at),
            Bson::from(deleted_at),
            Bson::from(merged_into),
            Bson::from(erased_at),
        ];
        let is = vec!["$updatedAt", "$propertiesAt", "$associationsAt", "$deletedAt", "$mergedInto", "$erasedAt"];
        let is_as_it_was = doc! { "$eq": [is, { "$literal": was }] };
        Self { with: Condition { parts: (is_as_it_was, Literal { state }, "$$ROOT") } }
    }
}
