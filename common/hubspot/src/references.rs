//! Lists beside those of records: custom objects, owners, pipelines, and the definitions of properties. They have no search and no times.
//!
//! Owners come in pages, the others in one answer (developers.hubspot.com, "Owners", "Pipelines", "Properties", and the
//! specification "Schemas" of 2026-09).

use model::{
    reference::{ReferenceItem, Source},
    time::DateTime,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    API_VERSION, HubSpotError, Session,
    response::{ApiResponse, Paging, id_text},
    session::Kind,
};

/// The number of owners on a page. It is HubSpot's default.
const OWNERS_PAGE: &str = "100";

/// Leaves out of the list of custom objects what is not kept.
const SCHEMAS_ALONE: [(&str, &str); 3] = [
    ("includePropertyDefinitions", "false"),
    ("includeAssociationDefinitions", "false"),
    ("includeAuditMetadata", "false"),
];

/// A page of a list.
#[derive(Debug)]
pub struct ReferencePage {
    /// HubSpot's time of the response, to the second (the `Date` header).
    pub date: DateTime,
    /// The items.
    pub items: Vec<ReferenceItem>,
    /// The cursor of the next page. `None` if this page is the last one.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct RawPage {
    results: Vec<Value>,
    paging: Option<Paging>,
}

impl Session {
    /// Reads a page of a list, from the cursor `after` on. Returns `None` if the rate limit does not allow a request before
    /// `latest`.
    ///
    /// # Errors
    /// See [`HubSpotError`]. Failures are not retried here, and do not change how other requests are retried. A page that
    /// has an item without an id, or that is empty although it cannot be, is malformed: items would seem to be gone.
    #[tracing::instrument(level = "debug", skip_all, name = "references", fields(%source))]
    pub async fn list_references(
        &self,
        source: Source,
        after: Option<&str>,
        latest: Option<Instant>,
    ) -> Result<Option<ReferencePage>, HubSpotError> {
        let path = match source {
            Source::CustomObjects => format!("/crm-object-schemas/{API_VERSION}/schemas"),
            Source::Owners => format!("/crm/owners/{API_VERSION}"),
            Source::Pipelines(object) => format!("/crm/pipelines/{API_VERSION}/{object}"),
            Source::Schemas(object) => format!("/crm/properties/{API_VERSION}/{object}"),
        };
        let mut query: Vec<(&str, &str)> = match source {
            Source::CustomObjects => SCHEMAS_ALONE.to_vec(),
            Source::Owners => vec![("limit", OWNERS_PAGE)],
            Source::Pipelines(_) | Source::Schemas(_) => Vec::new(),
        };
        query.extend(after.map(|after| ("after", after)));
        let response = self.list(Kind::Read, &path, &query, latest).await?;
        response.map(|response| page(source, after, &response)).transpose()
    }
}

fn page(source: Source, after: Option<&str>, response: &ApiResponse) -> Result<ReferencePage, HubSpotError> {
    let raw: RawPage = response.parse("a list's answer is not of its form")?;
    let items: Option<Vec<ReferenceItem>> = raw.results.iter().map(|raw| item(source, raw)).collect();
    let items = items.ok_or_else(|| HubSpotError::Malformed("an item without an id".to_owned()))?;
    let next = raw.paging.and_then(|paging| paging.next).map(|next| next.after);
    if next.is_some() && next.as_deref() == after {
        return Err(HubSpotError::Malformed("a page names itself as the next one".to_owned()));
    }
    if items.is_empty() && source.is_never_empty() {
        return Err(HubSpotError::Malformed("a list is empty that never is".to_owned()));
    }
    Ok(ReferencePage { date: response.date, items, next })
}

/// Returns what is kept of an item. Returns `None` if it has no id. Fields without a value are left out, and so are times:
/// they may move although nothing else changes.
fn item(source: Source, raw: &Value) -> Option<ReferenceItem> {
    let (id, fields): (_, &[&str]) = match source {
        Source::CustomObjects => ("objectTypeId", &["name", "fullyQualifiedName", "labels"]),
        Source::Owners => ("id", &["email", "firstName", "lastName", "type", "userId"]),
        Source::Pipelines(_) => ("id", &["label", "displayOrder"]),
        Source::Schemas(_) => ("name", &["label", "type", "fieldType", "calculated"]),
    };
    let id = id_text(raw.get(id)?).filter(|id| !id.is_empty())?;
    let mut definition = kept(raw, fields);
    let parts: Option<(&str, &[&str])> = match source {
        Source::CustomObjects | Source::Owners => None,
        Source::Pipelines(_) => Some(("stages", &["id", "label", "metadata"])),
        Source::Schemas(_) => Some(("options", &["value", "label", "hidden"])),
    };
    if let Some((name, fields)) = parts {
        let parts = in_order(raw.get(name)?.as_array()?).into_iter();
        definition.insert(name.to_owned(), parts.map(|part| Value::Object(kept(part, fields))).collect());
    }
    Some(ReferenceItem { id, definition })
}

fn kept(raw: &Value, fields: &[&str]) -> Map<String, Value> {
    let field = |name: &&str| Some(((*name).to_owned(), raw.get(*name).filter(|value| !value.is_null())?.clone()));
    fields.iter().filter_map(field).collect()
}

/// Returns parts in the order in which HubSpot shows them: by `displayOrder`. Parts of the same order are sorted by their
/// ids, because HubSpot does not promise an order of its own.
fn in_order(parts: &[Value]) -> Vec<&Value> {
    let mut parts: Vec<&Value> = parts.iter().collect();
    let id = |part: &Value| ["id", "value"].iter().find_map(|name| part.get(*name)).and_then(id_text);
    parts.sort_by_cached_key(|part| (part.get("displayOrder").and_then(Value::as_i64), id(part)));
    parts
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use model::object::ObjectType;
    use serde_json::json;

    use super::*;

    const PROPERTIES: Source = Source::Schemas(ObjectType::CONTACTS);

    fn read(source: Source, after: Option<&str>, body: Value) -> Result<ReferencePage, HubSpotError> {
        let (date, body) = (DateTime::from_millis(0), body.to_string().into_bytes());
        page(source, after, &ApiResponse { date, took: Duration::ZERO, body, tally: Arc::default() })
    }

    fn only(source: Source, body: Value) -> (String, Value) {
        let item = read(source, None, json!({"results": [body]})).unwrap().items.remove(0);
        (item.id, Value::Object(item.definition))
    }

    #[test]
    fn what_is_kept_has_no_times_and_one_order() {
        let option =
            |value: &str, order: i64| json!({"value": value, "label": value, "displayOrder": order, "hidden": false});
        let property = json!({"name": "jobtitle", "label": "Job", "type": "enumeration", "fieldType": "select",
            "updatedAt": "2026-01-01T00:00:00Z", "description": null, "calculated": false,
            "options": [option("b", 1), option("c", 0), option("a", 1)]});
        let (id, kept) = only(PROPERTIES, property);
        assert_eq!(id, "jobtitle");
        let option = |value: &str| json!({"value": value, "label": value, "hidden": false});
        assert_eq!(
            kept,
            json!({"label": "Job", "type": "enumeration", "fieldType": "select", "calculated": false,
            "options": [option("c"), option("a"), option("b")]})
        );
        let stage = json!({"id": "won", "label": "Won", "displayOrder": 0, "metadata": {"probability": "1.0"}, "archived": false});
        let pipeline = json!({"id": 0, "label": "Sales", "displayOrder": 2, "stages": [stage], "createdAt": "x"});
        let (id, kept) = only(Source::Pipelines(ObjectType::CONTACTS), pipeline);
        assert_eq!((id.as_str(), &kept["displayOrder"]), ("0", &json!(2)));
        assert_eq!(kept["stages"], json!([{"id": "won", "label": "Won", "metadata": {"probability": "1.0"}}]));
        let car = json!({"objectTypeId": "2-7", "id": "7", "name": "cars", "fullyQualifiedName": "p1_cars", "properties": []});
        assert_eq!(
            only(Source::CustomObjects, car),
            ("2-7".to_owned(), json!({"name": "cars", "fullyQualifiedName": "p1_cars"}))
        );
        let owner = json!({"id": "7", "email": "a@b.example", "firstName": null, "teams": [], "userId": 9});
        assert_eq!(only(Source::Owners, owner), ("7".to_owned(), json!({"email": "a@b.example", "userId": 9})));
    }

    #[test]
    fn what_would_make_items_seem_to_be_gone_is_malformed() {
        let table = [
            (PROPERTIES, json!({"results": []})),
            (PROPERTIES, json!({"results": [{"label": "no name", "options": []}]})),
            (PROPERTIES, json!({"results": [{"name": "a", "label": "no options"}]})),
            (Source::Owners, json!({"results": [{"id": "1"}, {"id": null}]})),
            (Source::Owners, json!({"results": [], "paging": {"next": {"after": "5"}}})),
            (Source::Owners, json!({})),
        ];
        for (source, body) in table {
            assert!(matches!(read(source, Some("5"), body.clone()), Err(HubSpotError::Malformed(_))), "{body}");
        }
        let page = read(Source::Owners, None, json!({"results": [], "paging": {"next": {"after": "5"}}})).unwrap();
        assert_eq!((page.items.len(), page.next.as_deref()), (0, Some("5")));
    }
}
