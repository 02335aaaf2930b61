//! Records in the responses of searches and lists.

use model::{
    ids::RecordId,
    object::ObjectType,
    time::{self, DateTime},
};
use serde_json::{Map, Value};

use super::{HubSpotError, response::id_text};

/// The property of a merge's survivor that names the records merged into it, separated by semicolons. It includes the
/// records that those had absorbed before, which `hs_calculated_merged_vids` lacks (fivetran/dbt_hubspot#168).
const MERGED_IDS: &str = "hs_merged_object_ids";

/// One row: its raw id, and the record if it can be parsed.
#[derive(Debug)]
pub struct Row {
    /// HubSpot's `id`, unchanged.
    pub id: String,
    /// The record, or why it cannot be parsed.
    pub record: Result<Record, String>,
}

/// A record of HubSpot's.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its id.
    pub id: RecordId,
    /// When it was created.
    pub created_at: DateTime,
    /// When it was last modified, to the millisecond.
    pub modified_at: DateTime,
    /// When it was moved to the recycle bin, if it is there.
    pub archived_at: Option<DateTime>,
    /// The properties that have a value.
    pub properties: Map<String, Value>,
}

impl Record {
    /// Returns the records that were merged into this one.
    pub fn merged_ids(&self) -> impl Iterator<Item = RecordId> {
        let ids = self.properties.get(MERGED_IDS).and_then(Value::as_str).unwrap_or_default().split(';');
        ids.filter_map(|id| RecordId::try_from(id.trim().to_owned()).ok()).filter(|id| *id != self.id)
    }
}

/// Returns the properties that every request names, because the record is parsed from them.
pub(super) fn own_properties(object: ObjectType) -> Vec<&'static str> {
    let times = ["createdate", object.modified_property()];
    times.into_iter().chain(object.spec().merges.then_some(MERGED_IDS)).collect()
}

/// Parses the rows of a page. A row without an id fails the page, because the start of the next page is then unknown.
pub(super) fn parse_rows(object: ObjectType, results: &[Value]) -> Result<Vec<Row>, HubSpotError> {
    let rows: Option<Vec<Row>> = results.iter().map(|result| row(object, result)).collect();
    rows.ok_or_else(|| HubSpotError::Malformed("a row without an id".to_owned()))
}

fn row(object: ObjectType, row: &Value) -> Option<Row> {
    let id = id_text(row.get("id")?)?;
    let record = record(object, &id, row);
    Some(Row { id, record })
}

fn record(object: ObjectType, id: &str, row: &Value) -> Result<Record, String> {
    let id = RecordId::try_from(id.to_owned()).map_err(|error| error.to_string())?;
    let empty = Map::new();
    let raw = row.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let top_level = |name: &str| row.get(name).and_then(Value::as_str);
    // If the property cannot be parsed, the row's own field is used.
    let time = |name: &str, property: &str| {
        let property = raw.get(property).and_then(id_text);
        property.as_deref().and_then(time::parse).or_else(|| top_level(name).and_then(time::parse))
    };
    let modified_at = time("updatedAt", object.modified_property()).ok_or("it has no modification time")?;
    let is_archived = row.get("archived").and_then(Value::as_bool).unwrap_or_default();
    let archived_at = top_level("archivedAt").and_then(time::parse);
    Ok(Record {
        id,
        created_at: time("createdAt", "createdate").unwrap_or(modified_at),
        modified_at,
        archived_at: if is_archived {
            Some(archived_at.ok_or("it is archived, but does not say since when")?)
        } else {
            None
        },
        properties: raw.iter().filter(|(name, _)| !is_bookkeeping(name)).filter_map(property).collect(),
    })
}

fn is_bookkeeping(name: &str) -> bool {
    matches!(name, "createdate" | "hs_createdate" | "lastmodifieddate" | "hs_lastmodifieddate" | "hs_object_id")
}

/// Returns a property that has a value. HubSpot writes every value as text. Null and empty mean that there is none.
fn property((name, value): (&String, &Value)) -> Option<(String, Value)> {
    let text = match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => return None,
    };
    Some((name.clone(), Value::String(text)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(row: Value) -> Result<Record, String> {
        parse_rows(ObjectType::CONTACTS, &[row]).unwrap().remove(0).record
    }

    #[test]
    fn merged_ids_are_those_of_others() {
        let row = json!({"id": "5", "updatedAt": "2024-01-01T00:00:00Z", "properties": {MERGED_IDS: "3; 5;x;;12"}});
        let ids: Vec<String> = read(row).unwrap().merged_ids().map(String::from).collect();
        assert_eq!(ids, ["3", "12"]);
    }

    #[test]
    fn a_time_that_a_property_does_not_tell_the_row_does() {
        let created = |createdate: Value| {
            let row = json!({"id": "5", "createdAt": "2024-01-01T00:00:00Z", "updatedAt": "2024-02-01T00:00:00Z",
                "properties": {"createdate": createdate}});
            read(row).unwrap().created_at
        };
        assert_eq!(Some(created(json!("2023-12-24"))), time::parse("2023-12-24T00:00:00Z"));
        for odd in [json!("soon"), json!("253402300800000"), json!(i64::MIN), json!(null), json!([])] {
            assert_eq!(Some(created(odd)), time::parse("2024-01-01T00:00:00Z"));
        }
    }

    #[test]
    fn an_archived_record_says_since_when() {
        let mut row = json!({"id": "5", "updatedAt": "2024-01-01T00:00:00Z", "archived": true});
        assert!(read(row.clone()).is_err());
        row["archivedAt"] = json!("2024-01-02T00:00:00Z");
        assert_eq!(read(row).unwrap().archived_at, time::parse("2024-01-02T00:00:00Z"));
    }
}
