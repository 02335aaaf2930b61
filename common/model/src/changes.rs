//! Compares two states of a record.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The name of a contact's companies in a change. HubSpot's own names have no capitals.
pub const COMPANY_IDS: &str = "companyIds";

/// A record's properties, with a contact's companies, the primary one first.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// HubSpot's properties that have a value.
    pub properties: &'a Map<String, Value>,
    /// The ids of the associated companies.
    pub company_ids: &'a [String],
}

/// Returns the properties whose values differ, each as `{from, to}`. `from` or `to` is absent if that state has no
/// value.
pub fn diff(from: RecordView<'_>, to: RecordView<'_>) -> Map<String, Value> {
    let names: BTreeSet<&String> = from.properties.keys().chain(to.properties.keys()).collect();
    let mut changes = Map::new();
    for name in names {
        change(&mut changes, name, from.properties.get(name), to.properties.get(name));
    }
    let companies = |ids: &[String]| (!ids.is_empty()).then(|| json!(ids));
    change(&mut changes, COMPANY_IDS, companies(from.company_ids).as_ref(), companies(to.company_ids).as_ref());
    changes
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
        let from = RecordView { properties: &before, company_ids: &few };
        let to = RecordView { properties: &after, company_ids: &turned };
        let expected = json!({
            "b": {"from": "2", "to": "4"}, "c": {"from": "3"}, "d": {"to": "5"},
            "companyIds": {"from": ["51", "52"], "to": ["52", "51"]},
        });
        assert_eq!(Value::Object(diff(from, to)), expected);
        assert!(diff(from, from).is_empty());
    }
}
