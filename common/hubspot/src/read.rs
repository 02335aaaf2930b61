//! Reading records by their ids: `POST /crm/objects/{version}/{type}/batch/read`.

use model::object::ObjectType;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    API_VERSION, HubSpotError, Session,
    associations::Failure,
    record::{self, Row},
    session::Kind,
};

/// The most records that one call reads (HubSpot's maximum).
pub const MAX_READ_IDS: usize = 100;

/// A 200, or a 207 whose `errors` name the records that do not exist.
#[derive(Deserialize)]
struct BatchResponse {
    results: Vec<Value>,
    #[serde(default)]
    errors: Vec<Failure>,
}

/// Records that were read by their ids.
#[derive(Debug)]
pub struct ReadRecords {
    /// The records that exist.
    pub rows: Vec<Row>,
    /// The ids of the records that do not exist, according to HubSpot.
    pub missing: Vec<String>,
}

impl Session {
    /// Reads up to [`MAX_READ_IDS`] records. Records in the recycle bin count as missing. Returns `None` if the rate limit
    /// does not allow a request before `latest`.
    ///
    /// # Errors
    /// See [`HubSpotError`]. Failures are not retried here.
    pub async fn read_by_ids(
        &self,
        object: ObjectType,
        ids: &[String],
        properties: &[String],
        latest: Option<Instant>,
    ) -> Result<Option<ReadRecords>, HubSpotError> {
        self.read(Kind::Read, object, ids, properties, latest).await
    }

    /// Does the same as a request of `kind`, which decides whether failures are retried.
    #[tracing::instrument(level = "debug", skip_all, name = "read", fields(records = ids.len()))]
    pub(super) async fn read(
        &self,
        kind: Kind,
        object: ObjectType,
        ids: &[String],
        properties: &[String],
        latest: Option<Instant>,
    ) -> Result<Option<ReadRecords>, HubSpotError> {
        let mut names: Vec<&str> = properties.iter().map(String::as_str).collect();
        names.extend(record::own_properties(object));
        let inputs: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
        let body = json!({ "properties": names, "inputs": inputs });
        let path = format!("/crm/objects/{API_VERSION}/{object}/batch/read");
        let Some(response) = self.post(kind, &path, || &body, latest).await? else { return Ok(None) };
        let batch: BatchResponse = response.parse("records are not of their form")?;
        let missing = batch.errors.iter().filter(|failure| failure.is_not_found()).flat_map(Failure::names).collect();
        Ok(Some(ReadRecords { rows: record::parse_rows(object, &batch.results)?, missing }))
    }
}
