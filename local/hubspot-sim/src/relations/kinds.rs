//! The ids of the association types that HubSpot defines between two object types ("Association type ID values").

use crate::{
    links::{AssociationCategory, AssociationType},
    object::Object,
};

/// Pairs of object types, with the ids of the type without a label: from the first one to the second, and back.
const UNLABELED: [(&str, &str, u64, u64); 9] = [
    ("contacts", "contacts", 449, 449),
    ("contacts", "deals", 4, 3),
    ("contacts", "tickets", 15, 16),
    ("companies", "companies", 450, 450),
    ("deals", "companies", 341, 342),
    ("deals", "deals", 451, 451),
    ("deals", "line_items", 19, 20),
    ("deals", "tickets", 27, 28),
    ("tickets", "companies", 339, 340),
];

/// Object types whose records have a primary company, with the ids of its type: to the company, and back.
const PRIMARY: [(&str, u64, u64); 2] = [("deals", 5, 6), ("tickets", 26, 25)];

/// Returns the type that every association between the two has. If the pair is none of those above, the id follows from
/// the names.
pub(super) fn unlabeled(from: Object, to: Object) -> AssociationType {
    let (from, to) = (from.name(), to.name());
    let type_id = UNLABELED.iter().find_map(|(one, other, forward, backward)| match (*one, *other) {
        pair if pair == (from, to) => Some(*forward),
        pair if pair == (to, from) => Some(*backward),
        _ => None,
    });
    let type_id = type_id.unwrap_or_else(|| derived(from, to));
    AssociationType { category: AssociationCategory::HubspotDefined, type_id, label: None }
}

/// Returns the types of the association with a primary company, from both ends. Returns `None` if the two types have none.
pub(super) fn primary(from: Object, to: Object) -> Option<[AssociationType; 2]> {
    let (_, forward, backward) = PRIMARY.iter().find(|(name, ..)| to == Object::COMPANIES && *name == from.name())?;
    Some([*forward, *backward].map(|type_id| AssociationType { type_id, ..AssociationType::primary() }))
}

/// Returns an id from 1,000 on that is always the same for the same names.
fn derived(from: &str, to: &str) -> u64 {
    let names = from.bytes().chain([b'>']).chain(to.bytes());
    1_000 + names.fold(7, |hash: u64, byte| (hash * 31 + u64::from(byte)) % 1_000_003)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_a_type_in_each_direction() {
        let parse = |name: &str| name.parse::<Object>().unwrap();
        let (car, note) = (parse("2-1234567"), parse("notes"));
        let ids = |from, to| [unlabeled(from, to).type_id, unlabeled(to, from).type_id];
        assert_eq!(ids(Object::DEALS, Object::CONTACTS), [3, 4]);
        assert_eq!(ids(Object::DEALS, Object::COMPANIES), [341, 342]);
        assert_eq!(ids(Object::DEALS, Object::DEALS), [451, 451]);
        let [forward, backward] = ids(car, note);
        assert!(forward != backward && forward >= 1_000 && backward >= 1_000);
        assert_eq!(ids(car, note), [forward, backward]);
    }

    #[test]
    fn deals_and_tickets_have_a_primary_company() {
        let kinds = primary(Object::DEALS, Object::COMPANIES).unwrap();
        assert_eq!(kinds.each_ref().map(|kind| kind.type_id), [5, 6]);
        assert!(kinds.iter().all(AssociationType::is_primary));
        assert!(!unlabeled(Object::DEALS, Object::COMPANIES).is_primary());
        assert_eq!((primary(Object::DEALS, Object::CONTACTS), primary(Object::COMPANIES, Object::DEALS)), (None, None));
    }
}
