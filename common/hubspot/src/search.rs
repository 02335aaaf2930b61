//! CRM search: `POST /crm/objects/{version}/{type}/search`, always by id within a window of modification times.

use std::{collections::HashMap, time::Duration};

use model::{object::ObjectType, time::DateTime};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    API_VERSION, HubSpotError, MAX_READ_IDS, ReadRecords, Session,
    record::{self, Row},
    response::{ApiResponse, id_text},
    session::Kind,
};

/// The parameters of a search.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// The object type.
    pub object: ObjectType,
    /// Selects the rows.
    pub filter: Filter<'a>,
    /// The properties to return, besides the ids and times, which are always returned.
    pub properties: &'a [String],
    /// The most rows to return. [`Search::MAX_PAGE`] is HubSpot's maximum.
    pub limit: u32,
    /// True if lists are read beside the search. It then leaves a fifth of its limit to other apps that use it.
    pub leaves_room: bool,
}

impl Search<'_> {
    /// The most rows in one page (HubSpot's maximum since September 2024).
    pub const MAX_PAGE: u32 = 200;

    /// Returns true if the names of the properties are too many for a search. The records of a page are then read by their
    /// ids, which takes other requests.
    pub fn is_long(&self) -> bool {
        is_long(&request(self))
    }
}

/// The most characters in the body of a search ("Search the CRM").
const MAX_BODY: usize = 3000;

fn is_long(body: &Value) -> bool {
    body.to_string().chars().count() > MAX_BODY
}

/// Selects rows: a window of modification times, starting after the row `after_id`.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Modified at or after this.
    pub from: DateTime,
    /// Modified before this.
    pub to: Option<DateTime>,
    /// Selects the records without a modification time instead. No condition on a time matches them.
    pub undated: bool,
    /// `hs_object_id` greater than this.
    pub after_id: Option<&'a str>,
    /// `hs_object_id` at most this.
    pub up_to_id: Option<&'a str>,
    /// HubSpot's own cursor of a page. It counts rows, so a row may be skipped if another one leaves the window. It is
    /// used only to get past a page that has no id to continue from.
    pub after: Option<&'a str>,
}

/// One page of a search, or of a list.
#[derive(Debug)]
pub struct Page {
    /// HubSpot's time of the response, to the second (the `Date` header).
    pub date: DateTime,
    /// How many rows match in total, including this page. `None` if this is a page of a list, which is not counted.
    pub total: Option<i64>,
    /// The rows, in HubSpot's order.
    pub rows: Vec<Row>,
    /// How long the response took.
    pub took: Duration,
    /// HubSpot's cursor of the next page. `None` if this page is the last one. A page shorter than the limit, even an
    /// empty one, may be followed by others.
    pub next: Option<String>,
}

impl Page {
    /// Returns true if HubSpot has more pages.
    pub fn has_more(&self) -> bool {
        self.next.is_some()
    }
}

/// Why a row cannot be read that a search has found, and that is not there when it is read by its id.
const LEFT_OUT: &str = "HubSpot's answer leaves it out";

#[derive(Deserialize)]
struct RawPage {
    total: i64,
    results: Vec<Value>,
    paging: Option<RawPaging>,
}

#[derive(Deserialize)]
struct RawPaging {
    next: Option<Value>,
}

/// Returns the cursor in `paging.next`. A cursor that cannot be parsed still means that there is a next page.
fn cursor(next: &Value) -> String {
    next.get("after").and_then(id_text).unwrap_or_default()
}

impl Session {
    /// Returns one page of a search. Returns `None` if a rate limit does not allow a request before `latest`. If there are
    /// more properties than a search can name, it finds the records, and they are read by their ids. A record that is not
    /// there any more by then is a row that cannot be read.
    ///
    /// # Errors
    /// See [`HubSpotError`]. Failures that pass within a moment were already retried.
    pub async fn search(&self, search: &Search<'_>, latest: Option<Instant>) -> Result<Option<Page>, HubSpotError> {
        let body = request(search);
        if !is_long(&body) {
            return self.search_page(search, &body, latest).await;
        }
        let body = request(&Search { properties: &[], ..*search });
        let Some(mut page) = self.search_page(search, &body, latest).await? else { return Ok(None) };
        let began = Instant::now();
        for rows in page.rows.chunks_mut(MAX_READ_IDS) {
            let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
            let read = self.read(Kind::List, search.object, &ids, search.properties, latest).await?;
            let Some(ReadRecords { rows: read, .. }) = read else { return Ok(None) };
            let mut read: HashMap<String, _> = read.into_iter().map(|row| (row.id, row.record)).collect();
            for row in rows {
                row.record = read.remove(&row.id).unwrap_or_else(|| Err(LEFT_OUT.to_owned()));
            }
        }
        page.took += began.elapsed();
        Ok(Some(page))
    }

    #[tracing::instrument(level = "debug", skip_all, name = "page")]
    async fn search_page(
        &self,
        search: &Search<'_>,
        body: &Value,
        latest: Option<Instant>,
    ) -> Result<Option<Page>, HubSpotError> {
        let path = format!("/crm/objects/{API_VERSION}/{}/search", search.object);
        let kind = if search.leaves_room { Kind::SharedSearch } else { Kind::Search };
        let response = self.post(kind, &path, || body, latest).await?;
        response.map(|response| page(search.object, &response)).transpose()
    }
}

fn request(search: &Search<'_>) -> Value {
    let Filter { from, to, undated, after_id, up_to_id, after } = search.filter;
    let condition = |property: &str, operator: &str, value: String| json!({"propertyName": property, "operator": operator, "value": value});
    let modified = search.object.modified_property();
    let millis = |time: DateTime| time.timestamp_millis().to_string();
    let mut filters = if undated {
        vec![json!({"propertyName": modified, "operator": "NOT_HAS_PROPERTY"})]
    } else {
        vec![condition(modified, "GTE", millis(from))]
    };
    filters.extend(to.filter(|_| !undated).map(|to| condition(modified, "LT", millis(to))));
    filters.extend(after_id.map(|id| condition("hs_object_id", "GT", id.to_owned())));
    filters.extend(up_to_id.map(|id| condition("hs_object_id", "LTE", id.to_owned())));
    let mut properties: Vec<&str> = search.properties.iter().map(String::as_str).collect();
    properties.extend(record::own_properties(search.object));
    let mut request = json!({
        "filterGroups": [{"filters": filters}],
        "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
        "properties": properties,
        "limit": search.limit,
    });
    if let Some(after) = after {
        request["after"] = Value::from(after);
    }
    request
}

fn page(object: ObjectType, response: &ApiResponse) -> Result<Page, HubSpotError> {
    let raw: RawPage = response.parse("a search's answer is not of its form")?;
    Ok(Page {
        date: response.date,
        took: response.took,
        total: Some(raw.total),
        rows: record::parse_rows(object, &raw.results)?,
        next: raw.paging.and_then(|paging| paging.next).as_ref().map(cursor),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn read(body: Value) -> Result<Page, HubSpotError> {
        let (date, body) = (DateTime::from_millis(0), body.to_string().into_bytes());
        let response = ApiResponse { date, took: Duration::ZERO, body, tally: Arc::default() };
        page(ObjectType::CONTACTS, &response)
    }

    #[test]
    fn a_request_names_the_window_by_the_lanes_own_property() {
        let (from, to) = (DateTime::from_millis(1), Some(DateTime::from_millis(2)));
        let filter = Filter { from, to, undated: false, after_id: Some("9"), up_to_id: None, after: None };
        let properties = ["email".to_owned()];
        let search =
            Search { object: ObjectType::CONTACTS, filter, properties: &properties, limit: 200, leaves_room: false };
        let request = request(&search);
        assert_eq!(request["filterGroups"][0]["filters"][0]["propertyName"], "lastmodifieddate");
        assert_eq!(
            request["filterGroups"][0]["filters"][2],
            json!({"propertyName": "hs_object_id", "operator": "GT", "value": "9"})
        );
        assert!(request.get("after").is_none());
    }

    #[test]
    fn names_that_are_too_many_for_a_search_are_noticed() {
        let filter = Filter {
            from: DateTime::from_millis(1_700_000_000_000),
            to: None,
            undated: false,
            after_id: None,
            up_to_id: None,
            after: None,
        };
        for (count, is_long) in [(0, false), (100, false), (120, true)] {
            let properties: Vec<String> = (0..count).map(|index| format!("a_property_of_mine_{index:03}")).collect();
            let search = Search {
                object: ObjectType::CONTACTS,
                filter,
                properties: &properties,
                limit: 200,
                leaves_room: false,
            };
            assert_eq!(search.is_long(), is_long, "{count}: {}", request(&search).to_string().len());
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_does_not_stop_its_page() {
        let page = read(json!({"total": 3, "results": [
            {"id": "1", "properties": {"email": "", "score": 5, "odd": {}, "lastmodifieddate": "2024-01-01T00:00:00.001Z"}},
            {"id": 2, "properties": null, "updatedAt": "2024-01-01T00:00:00Z"},
            {"id": "3", "properties": {"email": "a"}}
        ], "paging": {"next": {"after": 1}}}))
        .unwrap();
        assert_eq!(page.next.as_deref(), Some("1"));
        assert_eq!(Value::Object(page.rows[0].record.as_ref().unwrap().properties.clone()), json!({"score": "5"}));
        assert!(page.rows[1].record.is_ok());
        assert!(page.rows[2].record.is_err());
    }

    #[test]
    fn an_answer_of_another_form_is_no_empty_page() {
        for body in [json!({}), json!({"results": []}), json!({"total": 1, "results": [{}]}), json!([])] {
            assert!(matches!(read(body), Err(HubSpotError::Malformed(_))));
        }
    }
}
