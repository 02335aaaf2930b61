//! The recycle bin: `GET /crm/objects/{version}/{type}?archived=true`. It can be neither filtered by time nor sorted, and
//! HubSpot keeps records in it for 90 days ("Restore deleted records", knowledge.hubspot.com).

use std::time::Duration;

use model::object::ObjectType;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    API_VERSION, HubSpotError, Session,
    record::{self, Row},
    response::Paging,
    session::Kind,
};

/// A page of the recycle bin.
#[derive(Debug)]
pub struct ArchivedPage {
    /// The rows, in HubSpot's order.
    pub rows: Vec<Row>,
    /// The cursor of the next page. `None` if this page is the last one.
    pub next: Option<String>,
    /// How long the response took.
    pub took: Duration,
}

impl ArchivedPage {
    /// The most rows in one page (HubSpot's maximum).
    pub const MAX: u32 = 100;
}

/// The most bytes that names of properties take in an address. HubSpot refuses long addresses with 414; its limit is not
/// documented.
const MAX_NAMES_BYTES: usize = 2000;

#[derive(Deserialize)]
struct RawPage {
    results: Vec<Value>,
    paging: Option<Paging>,
}

impl Session {
    /// Reads a page of the recycle bin, starting at the cursor `after`, with these properties, as far as an address can
    /// hold their names. A `limit` of 0 reads one record without its properties. Returns `None` if the rate limit does
    /// not allow a request before `latest`.
    ///
    /// # Errors
    /// See [`HubSpotError`]. Failures that pass within a moment were already retried.
    #[tracing::instrument(level = "debug", skip_all, name = "archived page")]
    pub async fn list_archived(
        &self,
        object: ObjectType,
        properties: &[String],
        after: Option<&str>,
        limit: u32,
        latest: Option<Instant>,
    ) -> Result<Option<ArchivedPage>, HubSpotError> {
        let mut names = record::own_properties(object).join(",");
        for name in properties.iter().filter(|_| limit > 0) {
            if names.len() + name.len() >= MAX_NAMES_BYTES {
                break;
            }
            names = format!("{names},{name}");
        }
        let limit = limit.clamp(1, ArchivedPage::MAX).to_string();
        let mut query = vec![("archived", "true"), ("limit", &limit), ("properties", &names)];
        query.extend(after.map(|after| ("after", after)));
        let path = format!("/crm/objects/{API_VERSION}/{object}");
        let Some(response) = self.list(Kind::List, &path, &query, latest).await? else {
            return Ok(None);
        };
        let raw: RawPage = response.parse("a list's answer is not of its form")?;
        Ok(Some(ArchivedPage {
            rows: record::parse_rows(object, &raw.results)?,
            next: raw.paging.and_then(|paging| paging.next).map(|next| next.after),
            took: response.took,
        }))
    }
}
