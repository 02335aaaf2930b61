//! The recycle bin: `GET /crm/objects/{version}/{type}?archived=true`. It can be neither filtered by time nor sorted, and
//! HubSpot keeps records in it for 90 days ("Restore deleted records", knowledge.hubspot.com).

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    API_VERSION, HubSpotError, Session,
    record::{self, MERGED_IDS, Paging, Row},
};
use crate::object::ObjectType;

/// A page of the recycle bin.
#[derive(Debug)]
pub struct ArchivedPage {
    /// The rows, in HubSpot's order.
    pub rows: Vec<Row>,
    /// What to ask for the next page with, if there is one.
    pub next: Option<String>,
    /// How long the answer took.
    pub took: Duration,
}

impl ArchivedPage {
    /// The most rows that the list answers with (HubSpot's maximum).
    pub const MAX: u32 = 100;
}

#[derive(Deserialize)]
struct RawPage {
    results: Vec<Value>,
    paging: Option<Paging>,
}

impl Session {
    /// Reads a page of the recycle bin, from `after` on, with an object type's default properties; nothing where the
    /// rate limit does not allow a request before `latest`.
    ///
    /// # Errors
    /// See [`HubSpotError`]; failures that pass within a moment were tried again.
    pub async fn archived(
        &self,
        object: ObjectType,
        after: Option<&str>,
        limit: u32,
        latest: Option<Instant>,
    ) -> Result<Option<ArchivedPage>, HubSpotError> {
        let limit = limit.min(ArchivedPage::MAX).to_string();
        let names = [object.default_properties(), &["createdate", object.modified_property(), MERGED_IDS]].concat();
        let names = names.join(",");
        let mut query = vec![("archived", "true"), ("limit", &limit), ("properties", &names)];
        query.extend(after.map(|after| ("after", after)));
        let Some(answer) = self.list(&format!("/crm/objects/{API_VERSION}/{object}"), &query, latest).await? else {
            return Ok(None);
        };
        let raw: RawPage = serde_json::from_slice(&answer.body).map_err(|error| {
            HubSpotError::Malformed(format!("a list's answer is not of its form ({:?} error)", error.classify()))
        })?;
        let next = raw.paging.and_then(|paging| paging.next).map(|next| match next.after {
            Some(Value::String(after)) => Ok(after),
            Some(Value::Number(after)) => Ok(after.to_string()),
            _ => Err(HubSpotError::Malformed("a page of a list has a next one without a cursor".to_owned())),
        });
        Ok(Some(ArchivedPage { rows: record::rows(object, &raw.results)?, next: next.transpose()?, took: answer.took }))
    }
}
