//! The form of association reads: requests and responses.

use std::{collections::HashMap, time::Duration};

use model::{
    association::{Association, AssociationType},
    object::ObjectType,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::response::{Paging, id, id_text};

#[derive(Serialize)]
pub(super) struct Request {
    pub(super) inputs: Vec<Input>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Input {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
}

/// A 200, or a 207 whose `errors` name the records without associations: those are simply not in `results`.
#[derive(Debug, Deserialize)]
pub(super) struct Response {
    pub(super) results: Vec<Associated>,
    #[serde(default)]
    pub(super) errors: Vec<Failure>,
    /// How long it took.
    #[serde(skip)]
    pub(super) took: Duration,
}

/// HubSpot's reason why some of the inputs have no result.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    #[serde(default)]
    pub(super) category: String,
    /// Text in all responses seen, an object in HubSpot's own type definitions.
    #[serde(default)]
    sub_category: Value,
    /// The inputs concerned, under names that differ from error to error.
    #[serde(default)]
    context: HashMap<String, Value>,
}

impl Failure {
    /// Returns true if the record does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.category == "OBJECT_NOT_FOUND"
    }

    /// Returns the ids that the failure names.
    pub(crate) fn names(&self) -> Vec<String> {
        let is_ids = |name: &str| matches!(name, "id" | "ids" | "fromObjectId");
        let values = self.context.iter().filter(|(name, _)| is_ids(name)).map(|(_, value)| value);
        let ids = values.flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice));
        ids.filter_map(id_text).collect()
    }

    /// Returns true if the record has no associations, or does not exist any more.
    pub(super) fn means_no_associations(&self) -> bool {
        self.is_not_found() || self.sub_category.as_str().is_some_and(|name| name.ends_with("NO_ASSOCIATIONS_FOUND"))
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Associated {
    pub(super) from: Object,
    #[serde(default)]
    pub(super) to: Vec<Link>,
    pub(super) paging: Option<Paging>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Object {
    #[serde(deserialize_with = "id")]
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    #[serde(deserialize_with = "id")]
    to_object_id: String,
    #[serde(default)]
    association_types: Vec<LinkType>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LinkType {
    category: String,
    type_id: i64,
    #[serde(default)]
    label: Option<String>,
}

impl Link {
    /// Returns the association. Returns `None` if the other record's id is not valid.
    pub(super) fn read(self, to: ObjectType) -> Option<Association> {
        let types = self.association_types.into_iter().map(|LinkType { category, type_id, label }| AssociationType {
            category,
            type_id,
            label: label.filter(|label| !label.is_empty()),
        });
        match self.to_object_id.try_into() {
            Ok(id) => Some(Association { to, id, types: types.collect() }),
            Err(error) => {
                tracing::warn!(%error, "an associated record is left out");
                None
            }
        }
    }
}

impl Response {
    /// Returns the inputs whose associations could not be read, which must not be taken for records without any: first
    /// those that HubSpot names, then those that a failure without names may concern.
    pub(super) fn concerned(&self, inputs: &[Input]) -> (Vec<Input>, Vec<Input>) {
        let failures = || self.errors.iter().filter(|failure| !failure.means_no_associations());
        let named: Vec<String> = failures().flat_map(Failure::names).collect();
        let is_unnamed = failures().any(|failure| failure.names().is_empty());
        let has_answer = |id: &str| self.results.iter().any(|result| result.from.id == id) || self.has_none(id);
        // A failure without names may concern any input that has no result.
        let is_meant = |input: &&Input| is_unnamed && !has_answer(&input.id);
        let (named, others): (Vec<&Input>, Vec<&Input>) = inputs.iter().partition(|input| named.contains(&input.id));
        (named.into_iter().cloned().collect(), others.into_iter().filter(is_meant).cloned().collect())
    }

    /// Returns true if HubSpot reports that the record has no associations.
    fn has_none(&self, record: &str) -> bool {
        self.errors
            .iter()
            .any(|failure| failure.means_no_associations() && failure.names().iter().any(|name| name == record))
    }
}
