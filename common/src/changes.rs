//! What changed from one state of a record to the next.

use std::collections::BTreeSet;

use mongodb::bson::{Bson, Document};

/// The name under which a contact's companies are among its changes. HubSpot's own names have no capitals.
pub const COMPANY_IDS: &str = "companyIds";

/// The properties whose values differ, each as `{from, to}`; the side where it has no value is left out. The
/// documents are current states, with `properties` and, for contacts, `companyIds`.
pub fn between(from: &Document, to: &Document) -> Document {
    let empty = Document::new();
    let (before, after) =
        (from.get_document("properties").unwrap_or(&empty), to.get_document("properties").unwrap_or(&empty));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changes = Document::new();
    for name in names {
        change(&mut changes, name, before.get(name), after.get(name));
    }
    change(&mut changes, COMPANY_IDS, companies(from), companies(to));
    changes
}

fn companies(state: &Document) -> Option<&Bson> {
    state.get(COMPANY_IDS).filter(|ids| ids.as_array().is_some_and(|ids| !ids.is_empty()))
}

fn change(changes: &mut Document, name: &str, from: Option<&Bson>, to: Option<&Bson>) {
    if from == to {
        return;
    }
    let sides = [("from", from), ("to", to)];
    let sides: Document =
        sides.into_iter().filter_map(|(side, value)| Some((side.to_owned(), value?.clone()))).collect();
    changes.insert(name, sides);
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn only_what_differs_is_named_with_both_sides() {
        let from = doc! { "properties": { "a": "1", "b": "2", "c": "3" }, "companyIds": ["51", "52"] };
        let to = doc! { "properties": { "a": "1", "b": "4", "d": "5" }, "companyIds": ["52", "51"] };
        let expected = doc! {
            "b": { "from": "2", "to": "4" }, "c": { "from": "3" }, "d": { "to": "5" },
            "companyIds": { "from": ["51", "52"], "to": ["52", "51"] },
        };
        assert_eq!(between(&from, &to), expected);
        assert_eq!(between(&from, &from), doc! {});
        assert_eq!(between(&doc! { "companyIds": [] }, &doc! {}), doc! {});
    }
}
