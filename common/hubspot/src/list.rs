//! The list of an object type: `GET /crm/objects/{version}/{type}`. It has the general limit, shows records as they are now
//! and not as the search index has them, and has no filter and no total.
//!
//! HubSpot documents `after` as the id of the next record ("Using object APIs"). It documents neither the order of the list
//! nor that any id may be given, so a caller has to check the ids of each page.

use model::object::ObjectType;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    API_VERSION, HubSpotError, Page, Session,
    record::{self, Row},
    response::Paging,
    session::Kind,
};

/// The most rows in one page of a list (HubSpot's maximum).
pub const MAX_LISTED: u32 = 100;

/// The most bytes that names of properties may take in an address. HubSpot refuses long addresses with 414. Its limit is not
/// documented; other clients use 5,000 bytes.
const MAX_NAMES_BYTES: usize = 4_000;

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
        let path = format!("/crm/objects/{API_VERSION}/{object}");
        let Some(response) = self.list(Kind::FirstLoad, &path, &query, latest).await? else {
            return Ok(None);
        };
        let raw: RawPage = response.parse("a list's answer is not of its form")?;
        let mut rows: Vec<Row> = record::parse_rows(object, &raw.results)?;
        // The record in `after` is the first one of the page, or the one before it.
        if rows.first().is_some_and(|row| Some(row.id.as_str()) == after) {
            rows.remove(0);
        }
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
