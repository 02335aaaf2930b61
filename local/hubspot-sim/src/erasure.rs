//! Privacy deletions (GDPR). An erased record is nowhere from then on, not even in the recycle bin. The search shows it
//! until its index has caught up.

use std::collections::BTreeSet;

use crate::{
    object::Object,
    webhooks::What,
    world::{Change, ChangeKind, Version, World},
};

impl World {
    /// Erases a record, which may be in the recycle bin already. Returns false if it does not exist, or if it was
    /// modified later.
    pub fn erase(&mut self, hub_id: u64, object: Object, id: u64, at: i64) -> bool {
        let exists = |version: &Version| !version.merged && !version.erased;
        let erase = |version: &mut Version| {
            (version.archived, version.erased) = (true, true);
            version.properties.clear();
        };
        let is_erased = self.record(hub_id, object, id).is_some_and(|(version, _)| exists(version))
            && self.change(hub_id, object, id, at, ChangeKind::Erased, erase);
        if is_erased {
            self.end_links(hub_id, object, id, at);
            if self.settings.erasure_sends_deletion {
                self.queue_webhook((hub_id, object, id), at, What::Deleted);
            }
            self.queue_webhook((hub_id, object, id), at, What::Erased);
        }
        is_erased
    }

    /// Erases a contact.
    pub fn forget(&mut self, hub_id: u64, contact: u64, at: i64) -> bool {
        self.erase(hub_id, Object::CONTACTS, contact, at)
    }

    /// Returns the records that were erased.
    pub fn erased(&self, hub_id: u64) -> BTreeSet<(Object, u64)> {
        let is_meant = |change: &&Change| change.hub_id == hub_id && change.kind == ChangeKind::Erased;
        self.ledger.iter().filter(is_meant).map(|change| (change.object, change.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reqwest::Method;
    use serde_json::json;

    use super::*;
    use crate::{
        Settings, Simulator,
        testing::{HUB, associations, create, get, send, start},
    };

    /// Returns how many records the search, the list, the recycle bin and a read by id show.
    async fn shown(simulator: &Simulator, object: &str, id: u64) -> [usize; 4] {
        let path = format!("/crm/objects/2026-09/{object}");
        let search = send(simulator, Method::POST, &format!("{path}/search"), json!({})).await;
        let list = get(simulator, &path).await;
        let bin = get(simulator, &format!("{path}?archived=true")).await;
        let inputs = json!({"inputs": [{"id": id.to_string()}]});
        let batch = send(simulator, Method::POST, &format!("{path}/batch/read"), inputs).await;
        [search, list, bin, batch].map(|(_, answer)| answer["results"].as_array().map_or(usize::MAX, Vec::len))
    }

    #[tokio::test]
    async fn erased_record_is_nowhere_and_only_the_ledger_remembers_it() {
        for (object, name) in [(Object::CONTACTS, "contacts"), (Object::COMPANIES, "companies")] {
            let simulator = start().await;
            let (id, contact) = {
                let mut world = simulator.world();
                let ([contact], [company]) =
                    (create(&mut world, Object::CONTACTS), create(&mut world, Object::COMPANIES));
                world.associate(HUB, contact, vec![company]);
                (if object == Object::CONTACTS { contact } else { company }, contact)
            };
            assert_eq!(shown(&simulator, name, id).await, [1, 1, 0, 1]);
            {
                let mut world = simulator.world();
                assert!(world.erase(HUB, object, id, 2) && !world.erase(HUB, object, id, 3));
                assert!(!world.restore(HUB, object, id, 4) && world.archived(HUB, object).is_empty());
                assert_eq!(world.erased(HUB), BTreeSet::from([(object, id)]));
                let last = world.ledger.last().map(|change| (change.id, change.kind, change.at));
                assert_eq!(last, Some((id, ChangeKind::Erased, 2)));
            }
            assert_eq!(shown(&simulator, name, id).await, [0; 4]);
            let (_, read) = associations(&simulator, "contacts/companies", json!([{"id": contact.to_string()}])).await;
            assert_eq!(read["results"], json!([]));
        }
    }

    #[tokio::test]
    async fn record_in_the_recycle_bin_can_be_erased_but_not_a_merged_one() {
        let simulator = start().await;
        let [winner, loser, gone] = create(&mut simulator.world(), Object::CONTACTS);
        {
            let mut world = simulator.world();
            assert!(world.merge(HUB, Object::CONTACTS, (winner, loser), 2, false).is_some());
            assert!(world.archive(HUB, Object::CONTACTS, gone, 2) && world.erase(HUB, Object::CONTACTS, gone, 3));
            assert!(!world.erase(HUB, Object::CONTACTS, loser, 3));
        }
        assert_eq!(shown(&simulator, "contacts", gone).await, [1, 1, 0, 0]);
    }

    #[tokio::test]
    async fn search_shows_an_erased_contact_until_its_index_has_caught_up() {
        let simulator = start().await;
        let contact = {
            let mut world = simulator.world();
            let email = BTreeMap::from([("email".to_owned(), "ana@firm.example".to_owned())]);
            let contact = world.create(HUB, Object::CONTACTS, 1, email);
            (world.settings.index_lag_min_ms, world.settings.index_lag_max_ms) = (60_000, 60_000);
            let at = world.now();
            assert!(world.erase(HUB, Object::CONTACTS, contact, at));
            contact
        };
        let asked = json!({"properties": ["email"]});
        let (_, found) = send(&simulator, Method::POST, "/crm/objects/2026-09/contacts/search", asked).await;
        assert_eq!(found["results"][0]["properties"]["email"], "ana@firm.example");
        simulator.world().settings.clock_offset_ms += 61_000;
        assert_eq!(shown(&simulator, "contacts", contact).await, [0; 4]);
    }

    #[test]
    fn privacy_deletion_has_an_event_of_its_own() {
        let told = |sends_deletion| {
            let webhook_url = Some("http://127.0.0.1:1".to_owned());
            let settings = Settings { webhook_url, erasure_sends_deletion: sends_deletion, ..Settings::default() };
            let mut world = World::new(settings);
            let ([contact], [company]) = (create(&mut world, Object::CONTACTS), create(&mut world, Object::COMPANIES));
            world.pending_events.clear();
            assert!(world.forget(HUB, contact, 2) && world.erase(HUB, Object::COMPANIES, company, 2));
            let told = |event: &crate::event::Event| {
                let event = event.to_json(0);
                (event["subscriptionType"].as_str().unwrap_or_default().to_owned(), event["objectId"].as_u64())
            };
            let told: Vec<_> = world.pending_events.iter().map(told).collect();
            (told, contact, company)
        };
        let privacy = |object: &str, id| (format!("{object}.privacyDeletion"), Some(id));
        let (events, contact, company) = told(false);
        assert_eq!(events, [privacy("contact", contact), privacy("company", company)]);
        let (events, contact, company) = told(true);
        let deletion = |id| ("object.deletion".to_owned(), Some(id));
        let expected = [deletion(contact), privacy("contact", contact), deletion(company), privacy("company", company)];
        assert_eq!(events, expected);
    }
}
