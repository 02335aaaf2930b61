//! Compares two states of a record.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::association::Association;

/// The name of a contact's companies in a change. HubSpot's own names have no capitals.
pub const COMPANY_IDS: &str = "companyIds";

/// The name of a contact's associations in a change. A property that has the same name comes first.
pub const ASSOCIATIONS: &str = "associations";

/// A record's properties, with a contact's companies, the primary one first.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// HubSpot's properties that have a value.
    pub properties: &'a Map<String, Value>,
    /// The ids of the associated companies.
    pub company_ids: &'a [String],
    /// The associations with them. `None` if only the ids are known.
    pub associations: Option<&'a [Association]>,
}

/// Returns the properties whose values differ, each as `{from, to}`. `from` or `to` is absent if that state has no
/// value.
pub fn diff(from: RecordView<'_>, to: RecordView<'_>) -> Map<String, Value> {
    let names: BTreeSet<&String> = from.properties.keys().chain(to.properties.keys()).collect();
    let mut changes = Map::new();
    for name in names {
        change(&mut changes, name, from.properties.get(name), to.properties.get(name));
    }
    if !are_same_companies(from.company_ids, to.company_ids) {
        let companies = |ids: &[String]| (!ids.is_empty()).then(|| json!(ids));
        change(&mut changes, COMPANY_IDS, companies(from.company_ids).as_ref(), companies(to.company_ids).as_ref());
    }
    if let (Some(before), Some(after)) = (from.associations, to.associations)
        && before != after
        && !changes.contains_key(ASSOCIATIONS)
    {
        changes.insert(ASSOCIATIONS.to_owned(), json!({ "from": before, "to": after }));
    }
    changes
}

/// Returns true if the first company is the same, and so are the others, in any order.
fn are_same_companies(from: &[String], to: &[String]) -> bool {
    let all = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<String>>();
    from == to || (from.first() == to.first() && from.len() == to.len() && all(from) == all(to))
}

fn change(changes: &mut Map<String, Value>, name: &str, from: Option<&Value>, to: Option<&Value>) {
    if from == to {
        return;
    }
    let sides = [("from", from), ("to", to)];
    let sides = sides.into_iter().filter_map(|(side, value)| Some((side.to_owned(), value?.clone())));
    changes.insert(name.to_owned(), Value::Object(sides.collect()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_named_with_both_sides() {
        let map = |value: Value| value.as_object().unwrap().clone();
        let (before, after) = (map(json!({"a": "1", "b": "2", "c": "3"})), map(json!({"a": "1", "b": "4", "d": "5"})));
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let (few, turned) = (ids(&["51", "52"]), ids(&["52", "51"]));
        let from = RecordView { properties: &before, company_ids: &few, associations: None };
        let to = RecordView { properties: &after, company_ids: &turned, associations: None };
        let expected = json!({
            "b": {"from": "2", "to": "4"}, "c": {"from": "3"}, "d": {"to": "5"},
            "companyIds": {"from": ["51", "52"], "to": ["52", "51"]},
        });
        assert_eq!(Value::Object(diff(from, to)), expected);
        assert!(diff(from, from).is_empty());
    }
}
