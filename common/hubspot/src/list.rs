//! The list of an object type: `GET /crm/objects/{version}/{type}`. It has the general limit, shows records as they are now
//! and not as the search index has them, and has no filter and no total. The recycle bin is a list, too (`archived=true`),
//! and HubSpot keeps records in it for 90 days ("Restore deleted records", knowledge.hubspot.com).
//!
//! HubSpot documents `after` as the id of the next record ("Using object APIs"). It documents neither the order of the list
//! nor that any id may be given, so a caller has to check the ids of each page.

use model::object::ObjectType;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{API_VERSION, HubSpotError, Page, Session, record, response::Paging, session::Kind};

/// The most rows in one page of a list (HubSpot's maximum).
pub const MAX_LISTED: u32 = 100;

/// The most bytes that names of properties may take in an address of a list of live records, and of the recycle bin. HubSpot
/// refuses long addresses with 414. Its limit is not documented; other clients use 5,000 bytes.
const MAX_NAMES_BYTES: usize = 4_000;
const MAX_ARCHIVED_NAMES_BYTES: usize = 2_000;

#[derive(Deserialize)]
struct RawPage {
    results: Vec<Value>,
    paging: Option<Paging>,
}

/// Returns true if the names of the properties fit into the address of a list.
pub fn can_list(object: ObjectType, properties: &[String]) -> bool {
    // A comma takes three bytes in an address.
    let own = record::own_properties(object).into_iter().map(|name| name.len() + 3).sum::<usize>();
    own + properties.iter().map(|name| name.len() + 3).sum::<usize>() <= MAX_NAMES_BYTES
}

impl Session {
    /// Returns the page of the list of live records that begins after the record `after`. Such pages are requested evenly,
    /// so that other requests find room in the general limit at any time. Returns `None` if the limit does not allow a
    /// request before `latest`.
    ///
    /// # Errors
    /// See [`HubSpotError`]. Failures are not retried here.
    #[tracing::instrument(level = "debug", skip_all, name = "list page")]
    pub async fn list_after(
        &self,
        object: ObjectType,
        properties: &[String],
        after: Option<&str>,
        latest: Option<Instant>,
    ) -> Result<Option<Page>, HubSpotError> {
        let own = record::own_properties(object);
        let names: Vec<&str> = own.into_iter().chain(properties.iter().map(String::as_str)).collect();
        let (limit, names) = (MAX_LISTED.to_string(), names.join(","));
        let mut query = vec![("limit", limit.as_str()), ("properties", names.as_str())];
        query.extend(after.map(|after| ("after", after)));
        let Some(mut page) = self.list_page(Kind::FirstLoad, object, &query, latest).await? else { return Ok(None) };
        // The record in `after` is the first one of the page, or the one before it.
        if page.rows.first().is_some_and(|row| Some(row.id.as_str()) == after) {
            page.rows.remove(0);
        }
        Ok(Some(page))
    }

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
    ) -> Result<Option<Page>, HubSpotError> {
        let mut names = record::own_properties(object).join(",");
        for name in properties.iter().filter(|_| limit > 0) {
            if names.len() + name.len() >= MAX_ARCHIVED_NAMES_BYTES {
                break;
            }
            names = format!("{names},{name}");
        }
        let limit = limit.clamp(1, MAX_LISTED).to_string();
        let mut query = vec![("archived", "true"), ("limit", &limit), ("properties", &names)];
        query.extend(after.map(|after| ("after", after)));
        self.list_page(Kind::List, object, &query, latest).await
    }

    async fn list_page(
        &self,
        kind: Kind,
        object: ObjectType,
        query: &[(&str, &str)],
        latest: Option<Instant>,
    ) -> Result<Option<Page>, HubSpotError> {
        let path = format!("/crm/objects/{API_VERSION}/{object}");
        let Some(response) = self.list(kind, &path, query, latest).await? else { return Ok(None) };
        let raw: RawPage = response.parse("a list's answer is not of its form")?;
        let rows = record::parse_rows(object, &raw.results)?;
        let next = raw.paging.and_then(|paging| paging.next).map(|next| next.after);
        Ok(Some(Page { date: response.date, total: None, rows, took: response.took, next }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_too_many_for_an_address_are_noticed() {
        for (count, fits) in [(0, true), (150, true), (200, false)] {
            let properties: Vec<String> = (0..count).map(|index| format!("a_property_of_mine_{index:03}")).collect();
            assert_eq!(can_list(ObjectType::CONTACTS, &properties), fits, "{count}");
        }
    }
}
