//! The events of a change: one for each property, deletion, merge and association, in the form to which the app has
//! subscribed ("Webhooks", and "Create generic webhook subscriptions").

use serde_json::{Value, json};

use crate::{event::Event, links::AssociationType, object::Object, relation::Key, settings::WebhookForm, world::World};

/// What happened to a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'a> {
    Created,
    /// A property changed to this value, which is empty if it was cleared.
    Changed(&'a str, &'a str),
    Deleted,
    Restored,
    /// Another record was merged into it.
    Merged {
        loser: u64,
        survivor: u64,
    },
    /// Its association with another record has this type, or does not have it any more.
    Associated {
        to: Key,
        removed: bool,
        kind: &'a AssociationType,
    },
    /// It was erased for privacy.
    Erased,
}

impl What<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "creation",
            Self::Changed(..) => "propertyChange",
            Self::Deleted => "deletion",
            Self::Restored => "restore",
            Self::Merged { .. } => "merge",
            Self::Associated { .. } => "associationChange",
            Self::Erased => "privacyDeletion",
        }
    }
}

impl World {
    /// Queues the webhook events of a change, if webhooks are sent at all.
    pub(crate) fn queue_webhook(&mut self, (hub_id, object, id): (u64, Object, u64), at: i64, what: What<'_>) {
        if self.settings.webhook_url.is_none() {
            return;
        }
        // Privacy deletions have no generic form.
        let is_told_so = self.settings.webhook_form == WebhookForm::Generic && !matches!(what, What::Erased);
        let is_generic = is_told_so || !object.has_own_events();
        let of = if is_generic { "object".to_owned() } else { object.singular() };
        self.events += 1;
        let mut event = json!({
            "eventId": self.events, "subscriptionId": 1, "portalId": hub_id, "appId": 1, "occurredAt": at,
            "subscriptionType": format!("{of}.{}", what.name()), "changeSource": "CRM_UI", "sourceId": "userId:1",
        });
        let more = match what {
            What::Created => json!({"objectId": id, "changeFlag": "CREATED"}),
            What::Changed(name, value) => json!({"objectId": id, "propertyName": name, "propertyValue": value}),
            What::Deleted | What::Erased => json!({"objectId": id, "changeFlag": "DELETED"}),
            What::Restored => json!({"objectId": id, "changeFlag": "RESTORED"}),
            What::Merged { loser, survivor } => json!({
                "objectId": id, "primaryObjectId": id, "mergedObjectIds": [loser], "newObjectId": survivor,
                "numberOfPropertiesMoved": 1,
            }),
            What::Associated { to, removed, kind } => association((object, id), to, removed, kind),
        };
        add(&mut event, more);
        if is_generic {
            let generic = match what {
                What::Associated { to, .. } => {
                    json!({"fromObjectTypeId": object.type_id(), "toObjectTypeId": to.0.type_id()})
                }
                What::Changed(..) => json!({"objectTypeId": object.type_id(), "isSensitive": false}),
                _ => json!({"objectTypeId": object.type_id()}),
            };
            add(&mut event, generic);
        }
        self.pending_events.push(Event { hub_id, json: event });
    }
}

fn association(from: Key, to: Key, removed: bool, kind: &AssociationType) -> Value {
    let name = format!("{}_TO_{}", from.0.singular(), to.0.singular()).to_uppercase();
    json!({
        "associationType": name, "fromObjectId": from.1, "toObjectId": to.1, "associationRemoved": removed,
        "isPrimaryAssociation": kind.is_primary(), "associationTypeId": kind.type_id,
        "associationCategory": kind.category,
    })
}

fn add(event: &mut Value, more: Value) {
    if let (Value::Object(event), Value::Object(more)) = (event, more) {
        event.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::settings::Settings;

    const HUB: u64 = 7;

    /// Returns the events of every kind of change.
    fn events(form: WebhookForm) -> Vec<Value> {
        let webhook_url = Some("http://127.0.0.1:1".to_owned());
        let mut world = World::new(Settings { webhook_url, webhook_form: form, ..Settings::default() });
        let mut create = |object| world.create(HUB, object, 1, BTreeMap::new());
        let (company, ana, bob, eve) =
            (create(Object::COMPANIES), create(Object::CONTACTS), create(Object::CONTACTS), create(Object::CONTACTS));
        world.associate(HUB, ana, vec![company]);
        world.associate(HUB, ana, Vec::new());
        assert!(world.update(HUB, Object::CONTACTS, ana, 2, &[("email", "a@firm.example"), ("jobtitle", "")]));
        assert!(world.archive(HUB, Object::CONTACTS, eve, 3) && world.restore(HUB, Object::CONTACTS, eve, 4));
        assert_eq!(world.merge(HUB, Object::CONTACTS, (ana, bob), 5, false), Some(ana));
        let minted = world.merge(HUB, Object::CONTACTS, (ana, eve), 6, true);
        assert!(minted.is_some_and(|minted| world.forget(HUB, minted, 7)));
        assert!(!world.forget(HUB, ana, 8), "it is gone");
        let events: Vec<Value> = world.pending_events.iter().map(|event| event.to_json(0)).collect();
        let mut ids: Vec<u64> = events.iter().filter_map(|event| event["eventId"].as_u64()).collect();
        ids.dedup();
        assert_eq!(ids.len(), events.len(), "each has an id of its own");
        events
    }

    fn kinds(events: &[Value]) -> Vec<&str> {
        events.iter().filter_map(|event| event["subscriptionType"].as_str()).collect()
    }

    #[test]
    fn every_kind_of_event_is_told_as_the_app_has_subscribed() {
        let (generic, by_type) = (events(WebhookForm::Generic), events(WebhookForm::ByType));
        let created = ["company.creation", "contact.creation", "contact.creation", "contact.creation"];
        // A primary company's link has two types.
        let associated = ["contact.associationChange", "company.associationChange"].repeat(4);
        let changed = ["contact.propertyChange"; 2];
        let rest = [
            "contact.deletion",
            "contact.restore",
            "contact.deletion",
            "contact.merge",
            "contact.creation",
            "contact.deletion",
            "contact.deletion",
            "contact.merge",
            "contact.privacyDeletion",
        ];
        let expected = [&created[..], &associated, &changed, &rest].concat();
        assert_eq!(kinds(&by_type), expected);
        let as_object = |kind: &&str| match kind.split_once('.') {
            Some((_, what)) if what != "privacyDeletion" => format!("object.{what}"),
            _ => (*kind).to_owned(),
        };
        assert_eq!(kinds(&generic), expected.iter().map(as_object).collect::<Vec<_>>());
        let typed = |event: &&Value| event["objectTypeId"].is_string() || event["fromObjectTypeId"].is_string();
        assert_eq!(generic.iter().filter(typed).count(), generic.len() - 1, "all but the one of privacy");
        assert_eq!(by_type.iter().filter(typed).count(), 0);
    }

    #[test]
    fn events_say_what_has_changed() {
        let events = events(WebhookForm::ByType);
        let of = |kind: &'static str| events.iter().filter(move |event| event["subscriptionType"] == kind);
        let values: Vec<_> = of("contact.propertyChange").map(|event| &event["propertyValue"]).collect();
        assert_eq!(values, ["a@firm.example", ""]);
        let merges: Vec<_> = of("contact.merge").collect();
        let ids = |event: &Value| (event["primaryObjectId"].as_u64(), event["mergedObjectIds"][0].as_u64());
        assert_eq!(merges[0]["newObjectId"], merges[0]["primaryObjectId"], "it keeps its id");
        assert_ne!(merges[1]["newObjectId"], merges[1]["primaryObjectId"], "it gets another one");
        assert!(merges.iter().all(|event| event["objectId"] == event["primaryObjectId"]));
        assert_eq!((ids(merges[0]), ids(merges[1])), ((Some(96), Some(97)), (Some(96), Some(98))));
        let removed: Vec<_> = of("contact.associationChange").map(|event| &event["associationRemoved"]).collect();
        assert_eq!(removed, [false, false, true, true]);
        assert!(events.iter().all(|event| event["portalId"] == HUB && event["attemptNumber"] == 0));
        assert!(events.iter().all(|event| event["changeSource"].is_string() && event["sourceId"].is_string()));
    }

    #[test]
    fn events_of_any_type_are_those_of_contacts() {
        let told = |form, name: &str| -> Vec<(String, Option<String>)> {
            let object: Object = name.parse().unwrap();
            let webhook_url = Some("http://127.0.0.1:1".to_owned());
            let mut world = World::new(Settings { webhook_url, webhook_form: form, ..Settings::default() });
            let [kept, gone] = [1, 1].map(|at| world.create(HUB, object, at, BTreeMap::new()));
            assert!(world.update(HUB, object, kept, 2, &[("name", "A")]) && world.archive(HUB, object, gone, 2));
            assert!(world.restore(HUB, object, gone, 3) && world.erase(HUB, object, gone, 4));
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let told = |event: &Value| (text(&event["subscriptionType"]).unwrap(), text(&event["objectTypeId"]));
            world.pending_events.iter().map(|event| told(&event.to_json(0))).collect()
        };
        let expected = |of: &str, type_id: Option<&str>| {
            let kinds = ["creation", "creation", "propertyChange", "deletion", "restore", "privacyDeletion"];
            kinds.map(|kind| (format!("{of}.{kind}"), type_id.map(str::to_owned))).to_vec()
        };
        assert_eq!(told(WebhookForm::ByType, "deals"), expected("deal", None));
        assert_eq!(told(WebhookForm::ByType, "line_items"), expected("line_item", None));
        let generic = told(WebhookForm::Generic, "deals");
        assert_eq!(generic[..5], expected("object", Some("0-3"))[..5]);
        assert_eq!(generic[5], ("deal.privacyDeletion".to_owned(), None));
        // These have no events of their own in either form.
        for form in [WebhookForm::ByType, WebhookForm::Generic] {
            assert_eq!(told(form, "2-1234567"), expected("object", Some("2-1234567")));
            assert_eq!(told(form, "notes"), expected("object", Some("0-46")));
        }
    }

    /// Returns the associations that a change of links and of records reports.
    fn associations(form: WebhookForm, implied_association_events: bool) -> Vec<Value> {
        let webhook_url = Some("http://127.0.0.1:1".to_owned());
        let settings = Settings { webhook_url, webhook_form: form, implied_association_events, ..Settings::default() };
        let mut world = World::new(settings);
        let mut create = |object| world.create(HUB, object, 1, BTreeMap::new());
        let (ana, firm, bank) = (create(Object::CONTACTS), create(Object::COMPANIES), create(Object::COMPANIES));
        world.associate(HUB, ana, vec![firm, bank]);
        world.pending_events.clear();
        assert!(
            world.set_primary(HUB, ana, bank, 2) && world.set_labels(HUB, ana, firm, 3, &[(31, "Billing contact")])
        );
        assert!(world.archive(HUB, Object::COMPANIES, bank, 4));
        let events = world.pending_events.iter().map(|event| event.to_json(0));
        events.filter(|event| event["associationType"].is_string()).collect()
    }

    #[test]
    fn every_type_that_is_added_or_removed_is_told_from_both_ends() {
        const NAMES: [&str; 6] = [
            "associationType",
            "fromObjectId",
            "toObjectId",
            "associationRemoved",
            "isPrimaryAssociation",
            "associationTypeId",
        ];
        let (ana, firm, bank) = (95, 96, 97);
        let events = associations(WebhookForm::ByType, false);
        let told: Vec<Value> = events.iter().map(|event| NAMES.map(|name| event[name].clone()).into()).collect();
        let expected = [
            json!(["CONTACT_TO_COMPANY", ana, firm, true, true, 1]),
            json!(["COMPANY_TO_CONTACT", firm, ana, true, true, 2]),
            json!(["CONTACT_TO_COMPANY", ana, bank, false, true, 1]),
            json!(["COMPANY_TO_CONTACT", bank, ana, false, true, 2]),
            json!(["CONTACT_TO_COMPANY", ana, firm, false, false, 31]),
            json!(["COMPANY_TO_CONTACT", firm, ana, false, false, 32]),
        ];
        assert_eq!(told, expected, "and the deletion is told without any");
        assert_eq!(kinds(&events), ["contact.associationChange", "company.associationChange"].repeat(3));
        let categories: Vec<_> = events.iter().map(|event| &event["associationCategory"]).collect();
        assert_eq!((categories[0], categories[5]), (&json!("HUBSPOT_DEFINED"), &json!("USER_DEFINED")));
        assert!(events.iter().all(|event| event["occurredAt"].is_i64() && event["objectId"].is_null()));
    }

    #[test]
    fn generic_events_of_associations_name_the_objects_types() {
        let events = associations(WebhookForm::Generic, false);
        assert_eq!(kinds(&events), ["object.associationChange"; 6]);
        let types = |event: &Value| (event["fromObjectTypeId"].clone(), event["toObjectTypeId"].clone());
        assert_eq!(types(&events[0]), (json!("0-1"), json!("0-2")));
        assert_eq!(types(&events[1]), (json!("0-2"), json!("0-1")));
    }

    #[test]
    fn settings_decide_if_a_deletion_tells_of_its_links() {
        let events = associations(WebhookForm::ByType, true);
        let removed = events[6..].iter().filter(|event| event["associationRemoved"] == true);
        assert_eq!((events.len(), removed.count()), (10, 4), "both types of the link, from both ends");
    }
}
