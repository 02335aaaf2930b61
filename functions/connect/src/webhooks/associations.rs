//! Which contacts' associations changed, according to HubSpot's events. Pure.
//!
//! A change of an association is reported once from each side: `contact.associationChange` and
//! `company.associationChange`, or `object.associationChange` with the types of both records ("Webhooks API",
//! developers.hubspot.com). Events come twice, in no order, and say only that something changed: what the associations
//! are now is read from HubSpot.

use std::collections::{BTreeMap, BTreeSet};

use model::ids::{HubId, RecordId, json_text};
use serde_json::Value;

/// HubSpot's id of the object type of contacts.
const CONTACTS_TYPE_ID: &str = "0-1";

/// Returns the contacts of each portal whose associations changed. An event that cannot be read is skipped.
pub(super) fn associated_contacts(events: &[Value]) -> BTreeMap<HubId, BTreeSet<RecordId>> {
    let mut contacts = BTreeMap::<HubId, BTreeSet<RecordId>>::new();
    for event in events {
        let Ok(portal) = HubId::from_json(&event["portalId"]) else { continue };
        let ids = changed_contacts(event);
        if !ids.is_empty() {
            contacts.entry(portal).or_default().extend(ids);
        }
    }
    contacts
}

/// Returns the contacts among the two records of an event.
fn changed_contacts(event: &Value) -> Vec<RecordId> {
    let mut kinds = ["subscriptionType", "eventType"].iter().filter_map(|name| event[name].as_str());
    let Some(kind) = kinds.find(|kind| kind.ends_with(".associationChange")) else { return Vec::new() };
    let pair = event["associationType"].as_str().and_then(|pair| pair.split_once("_TO_"));
    let is_contact = |side: &str, name: Option<&str>| {
        let type_id = event[format!("{side}ObjectTypeId")].as_str();
        type_id.map(|id| id == CONTACTS_TYPE_ID).or(name.map(|name| name.starts_with("CONTACT")))
    };
    let from = is_contact("from", pair.map(|(from, _)| from)).unwrap_or(kind.starts_with("contact."));
    let to = is_contact("to", pair.map(|(_, to)| to)).unwrap_or(kind.starts_with("company."));
    let sides = [("fromObjectId", from), ("toObjectId", to)];
    sides
        .into_iter()
        .filter(|(_, is_contact)| *is_contact)
        .filter_map(|(name, _)| RecordId::try_from(json_text(&event[name])).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_of_either_side_names_the_contact() {
        let named = |event: Value| changed_contacts(&event).into_iter().map(String::from).collect::<Vec<_>>();
        let event = |kind: &str, of: &str| json!({"subscriptionType": kind, "associationType": of, "fromObjectId": 11, "toObjectId": "22"});
        assert_eq!(named(event("contact.associationChange", "CONTACT_TO_COMPANY")), ["11"]);
        assert_eq!(named(event("company.associationChange", "COMPANY_TO_CONTACT")), ["22"]);
        assert_eq!(named(event("contact.associationChange", "CONTACT_TO_CONTACT")), ["11", "22"]);
        assert_eq!(named(event("deal.associationChange", "DEAL_TO_COMPANY")), [""; 0]);
        assert_eq!(named(event("contact.propertyChange", "CONTACT_TO_COMPANY")), [""; 0]);
        let generic = json!({"eventType": "object.associationChange", "fromObjectTypeId": "0-2", "toObjectTypeId": "0-1",
            "fromObjectId": 11, "toObjectId": 22});
        assert_eq!(named(generic), ["22"]);
        assert_eq!(
            named(json!({"eventType": "contact.associationChange", "fromObjectId": 11, "toObjectId": 22})),
            ["11"]
        );
        assert_eq!(named(json!({"eventType": "contact.associationChange", "fromObjectId": {}})), [""; 0]);
    }

    #[test]
    fn contacts_are_collected_by_portal_and_each_once() {
        let event = |portal: u64, contact: u64| {
            json!({"portalId": portal, "subscriptionType": "contact.associationChange",
            "associationType": "CONTACT_TO_COMPANY", "fromObjectId": contact, "toObjectId": 5})
        };
        let events = [event(7, 1), event(8, 2), event(7, 1), event(7, 3), json!(null), json!({"portalId": 9})];
        let contacts = associated_contacts(&events);
        let counts: Vec<_> = contacts.values().map(BTreeSet::len).collect();
        assert_eq!(counts, [2, 1]);
    }
}
