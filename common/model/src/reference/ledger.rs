//! What was published of a list. It is read in pages, each compared and published by itself, so that a list of any length
//! is read in the end, however short the slices are. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ReferenceChange, ReferenceItem};
use crate::{action::ActionKind, time::DateTime};

/// What was published of one list of an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ledger {
    /// The number of times that it was saved. A slice saves it only if no other slice did since it was loaded.
    pub saves: i64,
    /// The number of the latest reading of the list. It may be under way.
    pub reading: i64,
    /// The cursor of the next page. Absent if no reading is under way.
    pub after: Option<String>,
    /// When the list was last read to its end, by HubSpot's clock.
    pub read_at: Option<DateTime>,
    /// When the list is read next.
    pub due_at: Option<DateTime>,
    /// Why it could not be read. Absent if the latest try succeeded.
    pub failure: Option<String>,
    /// The items.
    pub items: Vec<LedgerItem>,
}

/// What was published of one item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LedgerItem {
    /// The item's id.
    pub id: String,
    /// The number of its latest state.
    pub revision: i64,
    /// The digest of its latest definition. Empty if the list does not have the item any more.
    pub digest: String,
    /// The number of the latest reading of the list that had the item.
    pub reading: i64,
    /// True if it is a property that HubSpot calculates.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub calculated: bool,
}

impl Ledger {
    /// Adds a page of the list. Returns what is to be published of it, with actions if `has_actions`: items that are new,
    /// changed, or, after the last page, not listed any more.
    pub fn add_page(
        &mut self,
        page: Vec<ReferenceItem>,
        next: Option<String>,
        has_actions: bool,
    ) -> Vec<ReferenceChange> {
        // The first reading shows what there is. Nothing has changed.
        let has_actions = has_actions && self.read_at.is_some();
        if self.after.is_none() {
            self.reading += 1;
        }
        let mut items: BTreeMap<String, LedgerItem> =
            self.items.drain(..).map(|item| (item.id.clone(), item)).collect();
        let mut changes = Vec::new();
        for item in page {
            let (digest, is_calculated) = (item.digest(), item.is_calculated());
            let known =
                items.entry(item.id.clone()).or_insert_with(|| LedgerItem { id: item.id, ..LedgerItem::default() });
            known.reading = self.reading;
            known.calculated = is_calculated;
            if known.digest != digest {
                let kind = if known.revision == 0 { ActionKind::Created } else { ActionKind::Updated };
                known.digest = digest;
                changes.push(known.change(kind, Some(item.definition), has_actions));
            }
        }
        if next.is_none() {
            let gone = items.values_mut().filter(|item| item.reading < self.reading && !item.digest.is_empty());
            changes.extend(gone.map(|item| {
                item.digest.clear();
                item.change(ActionKind::Deleted, None, has_actions)
            }));
        }
        self.items = items.into_values().collect();
        self.after = next;
        changes
    }

    /// Returns the ids of the items that are listed.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter(|item| item.is_listed()).map(|item| item.id.as_str())
    }

    /// Returns the names of the listed properties that HubSpot calculates.
    pub fn calculated(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter(|item| item.calculated && item.is_listed()).map(|item| item.id.as_str())
    }
}

impl LedgerItem {
    /// Returns true if the list has the item.
    pub fn is_listed(&self) -> bool {
        !self.digest.is_empty()
    }

    /// Counts a new state, and returns it.
    fn change(
        &mut self,
        kind: ActionKind,
        definition: Option<serde_json::Map<String, serde_json::Value>>,
        has_actions: bool,
    ) -> ReferenceChange {
        self.revision += 1;
        ReferenceChange {
            id: self.id.clone(),
            revision: self.revision,
            digest: self.digest.clone(),
            action: has_actions.then_some(kind),
            definition,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn items(labels: &[(&str, &str)]) -> Vec<ReferenceItem> {
        let item = |(id, label): &(&str, &str)| ReferenceItem {
            id: (*id).to_owned(),
            definition: json!({"label": label}).as_object().unwrap().clone(),
        };
        labels.iter().map(item).collect()
    }

    fn read(ledger: &mut Ledger, labels: &[(&str, &str)]) -> Vec<(String, i64, Option<ActionKind>)> {
        let changes = ledger.add_page(items(labels), None, true);
        ledger.read_at = Some(DateTime::from_millis(1));
        changes.into_iter().map(|change| (change.id, change.revision, change.action)).collect()
    }

    #[test]
    fn what_is_new_changed_or_gone_is_published_once() {
        use ActionKind::{Created, Deleted, Updated};
        let change = |id: &str, revision, kind| (id.to_owned(), revision, kind);
        let mut ledger = Ledger::default();
        let first = read(&mut ledger, &[("a", "A"), ("b", "B")]);
        assert_eq!(first, [change("a", 1, None), change("b", 1, None)], "what there is has not changed");
        assert_eq!(read(&mut ledger, &[("b", "B"), ("a", "A")]), []);
        let second = read(&mut ledger, &[("a", "A2"), ("c", "C")]);
        assert_eq!(
            second,
            [change("a", 2, Some(Updated)), change("c", 1, Some(Created)), change("b", 2, Some(Deleted))]
        );
        assert_eq!(ledger.listed().collect::<Vec<_>>(), ["a", "c"]);
        // What it was before is another state, and what is listed again is no new item.
        let third = read(&mut ledger, &[("a", "A"), ("b", "B"), ("c", "C")]);
        assert_eq!(third, [change("a", 3, Some(Updated)), change("b", 3, Some(Updated))]);
    }

    #[test]
    fn a_list_in_pages_is_compared_as_a_whole() {
        let mut ledger = Ledger::default();
        read(&mut ledger, &[("a", "A"), ("b", "B"), ("c", "C")]);
        assert_eq!(ledger.add_page(items(&[("a", "A")]), Some("b".to_owned()), true), []);
        assert_eq!(ledger.listed().count(), 3, "the other pages are not read yet");
        let last = ledger.add_page(items(&[("c", "C2")]), None, true);
        let last: Vec<_> = last.iter().map(|change| (change.id.as_str(), change.definition.is_some())).collect();
        assert_eq!(last, [("c", true), ("b", false)]);
        assert_eq!(ledger.after, None);
    }

    #[test]
    fn a_page_that_is_read_again_from_what_was_saved_has_the_same_changes() {
        let mut saved = Ledger::default();
        read(&mut saved, &[("a", "A")]);
        let page = items(&[("a", "A2"), ("b", "B")]);
        let (mut first, mut second) = (saved.clone(), saved);
        assert_eq!(first.add_page(page.clone(), None, true), second.add_page(page, None, true));
    }
}
