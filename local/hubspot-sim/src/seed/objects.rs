//! Data of any object type, from the definitions of its properties.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{Changed, DAY_MILLIS, KINDS, STEMS, company, pick};
use crate::{
    clock,
    object::Object,
    property::Property,
    world::{Portal, World},
};

impl World {
    /// Adds records of a type, created within the last two years, the latest an hour ago. Half of them were modified since.
    pub fn seed_objects(&mut self, hub_id: u64, object: Object, count: usize, seed: u64) {
        if object == Object::COMPANIES {
            return self.seed(hub_id, count, 0, seed);
        }
        if object == Object::CONTACTS {
            return self.seed(hub_id, 0, count, seed);
        }
        let mut random = StdRng::seed_from_u64(seed ^ hub_id);
        let latest = self.now() - DAY_MILLIS / 24;
        for _ in 0..count {
            let at = latest - random.random_range(1..730 * DAY_MILLIS);
            let id = self.add(hub_id, object, at, &mut random);
            if random.random_bool(0.5) {
                self.modify(hub_id, object, id, random.random_range(at + 1..=latest), &mut random);
            }
        }
    }

    /// Makes `count` changes of records of a type now, each of another record: four of five modify one, the others create
    /// one.
    pub fn change_objects(&mut self, hub_id: u64, object: Object, count: usize, seed: u64) -> Changed {
        let mut random = StdRng::seed_from_u64(seed ^ hub_id);
        let mut existing = self.ids(hub_id, object);
        let mut changed = Changed::default();
        for index in 0..count {
            let at = self.now();
            if index % 5 == 4 || existing.is_empty() {
                self.add(hub_id, object, at, &mut random);
                changed.created += 1;
            } else {
                let id = existing.swap_remove(random.random_range(0..existing.len()));
                changed.updated += usize::from(self.modify(hub_id, object, id, at, &mut random));
            }
        }
        changed
    }

    /// Creates a record with plausible properties.
    fn add(&mut self, hub_id: u64, object: Object, at: i64, random: &mut StdRng) -> u64 {
        let properties = match object {
            Object::CONTACTS => return self.add_contact(hub_id, at, random),
            Object::COMPANIES => company(random, self.ledger.len()),
            _ => self.portal(hub_id).plausible(object, random),
        };
        self.create(hub_id, object, at, properties)
    }

    /// Gives one property of a record another value.
    fn modify(&mut self, hub_id: u64, object: Object, id: u64, at: i64, random: &mut StdRng) -> bool {
        let mut values = self.portal(hub_id).plausible(object, random);
        if let Some((version, _)) = self.record(hub_id, object, id) {
            values.retain(|name, value| version.properties.get(name) != Some(value));
        }
        let values: Vec<(String, String)> = values.into_iter().collect();
        let chosen = values.choose(random).map(|(name, value)| (name.as_str(), value.as_str()));
        self.update(hub_id, object, id, at, chosen.as_slice())
    }
}

impl Portal {
    /// Returns a value for each property of a type that has values of its own.
    fn plausible(&mut self, object: Object, random: &mut StdRng) -> BTreeMap<String, String> {
        let owners: Vec<String> = self.owners.iter().map(|owner| owner.id.to_string()).collect();
        let pipeline = self.pipelines(object).first().cloned();
        let is_set_by_hubspot = |property: &Property| {
            let times = [object.created_property(), object.modified_property()];
            property.calculated || property.name == "hs_object_id" || times.contains(&property.name.as_str())
        };
        let mut values = BTreeMap::new();
        for property in self.definitions(object).iter().filter(|property| !is_set_by_hubspot(property)) {
            let value = match property.name.as_str() {
                "hubspot_owner_id" => owners.choose(random).cloned(),
                "pipeline" | "hs_pipeline" => pipeline.as_ref().map(|pipeline| pipeline.id.clone()),
                "dealstage" | "hs_pipeline_stage" => {
                    let stages = pipeline.as_ref().map_or(&[][..], |pipeline| &pipeline.stages);
                    stages.choose(random).map(|(id, _)| id.clone())
                }
                _ => value(property, random),
            };
            values.extend(value.map(|value| (property.name.clone(), value)));
        }
        values
    }
}

/// Returns a value of a property's type. Returns `None` for an enumeration without values.
fn value(property: &Property, random: &mut StdRng) -> Option<String> {
    if let Some((value, _)) = property.options.choose(random) {
        return Some(value.clone());
    }
    let mut time = || clock::iso(random.random_range(1_600_000_000_000..1_800_000_000_000));
    match property.kind.as_str() {
        "string" => Some(format!("{} {}", pick(random, &STEMS), pick(random, &KINDS))),
        "number" => Some(random.random_range(1..10_000).to_string()),
        "datetime" => Some(time()),
        "date" => Some(time().chars().take(10).collect()),
        "bool" => Some(random.random_bool(0.5).to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Settings,
        testing::HUB,
        world::{ChangeKind, Version},
    };

    fn seeded(object: Object, seed: u64) -> Vec<Version> {
        let mut world = World::new(Settings::unlimited());
        let colour = Property::new("colour", "string").with_options(&[("red", "Red"), ("blue", "Blue")]);
        world.define_property(HUB, object, colour);
        world.define_property(HUB, object, Property::new("score", "number").calculated());
        world.seed_objects(HUB, object, 20, seed);
        let ids = world.ids(HUB, object);
        assert_eq!(ids.len(), 20);
        ids.iter().map(|id| world.record(HUB, object, *id).unwrap().0.clone()).collect()
    }

    #[test]
    fn records_of_any_type_have_the_values_that_its_properties_may_have() {
        for name in ["deals", "tickets", "notes", "2-1234567", "a_type_of_tomorrow"] {
            let object: Object = name.parse().unwrap();
            let versions = seeded(object, 1);
            let values =
                |versions: &[Version]| versions.iter().map(|version| version.properties.clone()).collect::<Vec<_>>();
            assert_eq!(values(&versions), values(&seeded(object, 1)), "the same seed gives the same values");
            assert_ne!(values(&versions), values(&seeded(object, 2)));
            assert!(versions.iter().all(|version| ["red", "blue"].contains(&version.properties["colour"].as_str())));
            assert!(versions.iter().all(|version| !version.properties.contains_key("score")));
        }
        let stages = ["appointmentscheduled", "contractsent", "closedwon", "closedlost"];
        let stage = |version: &Version| version.properties["dealstage"].clone();
        assert!(seeded(Object::DEALS, 1).iter().all(|deal| stages.contains(&stage(deal).as_str())));
        assert_eq!((seeded(Object::CONTACTS, 1).len(), seeded(Object::COMPANIES, 1).len()), (20, 20));
    }

    #[test]
    fn changes_of_any_type_modify_and_create() {
        for name in ["contacts", "companies", "deals", "2-1234567"] {
            let object: Object = name.parse().unwrap();
            let mut world = World::new(Settings::unlimited());
            world.seed_objects(HUB, object, 10, 1);
            let before = world.ledger.len();
            assert_eq!(world.change_objects(HUB, object, 10, 2), Changed { created: 2, updated: 8 });
            let changes: Vec<_> = world.ledger[before..].iter().filter(|change| change.object == object).collect();
            let count = |kind| changes.iter().filter(|change| change.kind == kind).count();
            assert_eq!((count(ChangeKind::Created), count(ChangeKind::Updated)), (2, 8));
        }
    }
}
