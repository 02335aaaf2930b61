//! The events of a change: one for each property, deletion, merge and association, in the form to which the app has
//! subscribed ("Webhooks", and "Create generic webhook subscriptions").

use serde_json::{Value, json};

use crate::{
    event::Event,
    settings::WebhookForm,
    world::{Object, World},
};

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
    /// It was associated with another record, or is not any more.
    Associated {
        to: u64,
        removed: bool,
        is_primary: bool,
    },
    /// A contact was deleted because of privacy law.
    Forgotten,
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
            Self::Forgotten => "privacyDeletion",
        }
    }
}

impl World {
    /// Queues the webhook events of a change, if webhooks are sent at all.
    pub(crate) fn queue_webhook(&mut self, (hub_id, object, id): (u64, Object, u64), at: i64, what: What<'_>) {
        if self.settings.webhook_url.is_none() {
            return;
        }
        // This event has no generic form.
        let is_generic = self.settings.webhook_form == WebhookForm::Generic && !matches!(what, What::Forgotten);
        let of = if is_generic { "object" } else { object.singular() };
        self.events += 1;
        let mut event = json!({
            "eventId": self.events, "subscriptionId": 1, "portalId": hub_id, "appId": 1, "occurredAt": at,
            "subscriptionType": format!("{of}.{}", what.name()), "changeSource": "CRM_UI", "sourceId": "userId:1",
        });
        let more = match what {
            What::Created => json!({"objectId": id, "changeFlag": "CREATED"}),
            What::Changed(name, value) => json!({"objectId": id, "propertyName": name, "propertyValue": value}),
            What::Deleted | What::Forgotten => json!({"objectId": id, "changeFlag": "DELETED"}),
            What::Restored => json!({"objectId": id, "changeFlag": "RESTORED"}),
            What::Merged { loser, survivor } => json!({
                "objectId": id, "primaryObjectId": id, "mergedObjectIds": [loser], "newObjectId": survivor,
                "numberOfPropertiesMoved": 1,
            }),
            What::Associated { to, removed, is_primary } => association(object, (id, to), removed, is_primary),
        };
        add(&mut event, more);
        if is_generic {
            let generic = match what {
                What::Associated { is_primary, .. } => generic_association(object, is_primary),
                What::Changed(..) => json!({"objectTypeId": object.type_id(), "isSensitive": false}),
                _ => json!({"objectTypeId": object.type_id()}),
            };
            add(&mut event, generic);
        }
        self.pending_events.push(Event { hub_id, json: event });
    }
}

fn association(object: Object, (from, to): (u64, u64), removed: bool, is_primary: bool) -> Value {
    let kind = match object {
        Object::Contacts => "CONTACT_TO_COMPANY",
        Object::Companies => "COMPANY_TO_CONTACT",
    };
    json!({
        "associationType": kind, "fromObjectId": from, "toObjectId": to, "associationRemoved": removed,
        "isPrimaryAssociation": is_primary,
    })
}

fn generic_association(object: Object, is_primary: bool) -> Value {
    let (to, kind) = match (object, is_primary) {
        (Object::Contacts, true) => (Object::Companies, 1),
        (Object::Contacts, false) => (Object::Companies, 279),
        (Object::Companies, true) => (Object::Contacts, 2),
        (Object::Companies, false) => (Object::Contacts, 280),
    };
    json!({
        "fromObjectTypeId": object.type_id(), "toObjectTypeId": to.type_id(), "associationTypeId": kind,
        "associationCategory": "HUBSPOT_DEFINED",
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
            (create(Object::Companies), create(Object::Contacts), create(Object::Contacts), create(Object::Contacts));
        world.associate(HUB, ana, vec![company]);
        world.associate(HUB, ana, Vec::new());
        assert!(world.update(HUB, Object::Contacts, ana, 2, &[("email", "a@firm.example"), ("jobtitle", "")]));
        assert!(world.archive(HUB, Object::Contacts, eve, 3) && world.restore(HUB, Object::Contacts, eve, 4));
        assert_eq!(world.merge(HUB, Object::Contacts, (ana, bob), 5, false), Some(ana));
        let minted = world.merge(HUB, Object::Contacts, (ana, eve), 6, true);
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
        let associated = ["contact.associationChange", "company.associationChange"].repeat(2);
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
            "contact.deletion",
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
        assert_eq!(removed, [false, true]);
        assert!(events.iter().all(|event| event["portalId"] == HUB && event["attemptNumber"] == 0));
        assert!(events.iter().all(|event| event["changeSource"].is_string() && event["sourceId"].is_string()));
    }
}
