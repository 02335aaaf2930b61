//! Changes of records. Each change adds a version, a line of the ledger, and events for webhooks.

use std::collections::BTreeMap;

use rand::RngExt;

use crate::{
    links::Links,
    object::Object,
    webhooks::What,
    world::{Change, ChangeKind, Record, Version, World},
};

impl World {
    /// Creates a record at `at` (milliseconds since the epoch), and returns its id.
    pub fn create(&mut self, hub_id: u64, object: Object, at: i64, properties: BTreeMap<String, String>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let (indexed_at, archived, merged, erased) = (self.indexed_at(at), false, false, false);
        let version = Version { modified_at: at, indexed_at, archived, merged, erased, properties };
        let record = Record {
            id,
            created_at: at,
            versions: vec![version],
            links: Links::default(),
            relations: Links::default(),
        };
        self.portal(hub_id).records.entry(object).or_default().insert(id, record);
        self.ledger.push(Change { hub_id, object, id, kind: ChangeKind::Created, at });
        self.queue_webhook((hub_id, object, id), at, What::Created);
        id
    }

    /// Sets properties of a record at `at`. An empty value clears a property. Does nothing if the record does not
    /// exist, or if it was modified later.
    pub fn update(&mut self, hub_id: u64, object: Object, id: u64, at: i64, properties: &[(&str, &str)]) -> bool {
        let is_changed = self.change(hub_id, object, id, at, ChangeKind::Updated, |version| {
            for (name, value) in properties {
                if value.is_empty() {
                    version.properties.remove(*name)
                } else {
                    version.properties.insert((*name).to_owned(), (*value).to_owned())
                };
            }
        });
        if is_changed {
            for (name, value) in properties {
                self.queue_webhook((hub_id, object, id), at, What::Changed(name, value));
            }
        }
        is_changed
    }

    /// Changes the value of a calculated property, which moves no modification time, is no change in the ledger, and has no
    /// event. An empty value clears it. Returns false if the record does not exist.
    pub fn recalculate(&mut self, hub_id: u64, object: Object, id: u64, property: &str, value: &str) -> bool {
        let records = self.portal(hub_id).records.get_mut(&object);
        let Some(version) = records.and_then(|records| records.get_mut(&id)?.versions.last_mut()) else { return false };
        if value.is_empty() {
            version.properties.remove(property);
        } else {
            version.properties.insert(property.to_owned(), value.to_owned());
        }
        true
    }

    /// Moves a record to the recycle bin. Its links end.
    pub fn archive(&mut self, hub_id: u64, object: Object, id: u64, at: i64) -> bool {
        let archive = |version: &mut Version| version.archived = true;
        let is_archived = self.change(hub_id, object, id, at, ChangeKind::Archived, archive);
        if is_archived {
            self.end_links(hub_id, object, id, at);
            self.queue_webhook((hub_id, object, id), at, What::Deleted);
        }
        is_archived
    }

    /// Takes a record out of the recycle bin. It has no links.
    pub fn restore(&mut self, hub_id: u64, object: Object, id: u64, at: i64) -> bool {
        let is_restorable = |version: &Version| version.archived && !version.merged && !version.erased;
        let restorable = self.record(hub_id, object, id).is_some_and(|(version, _)| is_restorable(version));
        let restore = |version: &mut Version| version.archived = false;
        let is_restored = restorable && self.change(hub_id, object, id, at, ChangeKind::Restored, restore);
        if is_restored {
            self.queue_webhook((hub_id, object, id), at, What::Restored);
        }
        is_restored
    }

    /// Merges `loser` into `winner`, which names it in `hs_merged_object_ids` from then on. With `mint` the survivor
    /// gets a new id, as HubSpot has been seen to do. The links move to the survivor. Returns its id. Returns `None` if
    /// one of the two does not exist, or if records of the type cannot be merged.
    pub fn merge(&mut self, hub_id: u64, object: Object, ids: (u64, u64), at: i64, mint: bool) -> Option<u64> {
        let (winner, loser) = ids;
        let is_live = |version: &&Version| !version.archived && version.modified_at < at;
        let live = |id| self.record(hub_id, object, id).map(|(version, _)| version).filter(is_live);
        let (kept, lost) = (live(winner)?, live(loser)?);
        if winner == loser || !object.can_be_merged() {
            return None;
        }
        let mut merged: Vec<String> = Vec::new();
        for (id, version) in [(winner, kept), (loser, lost)] {
            merged.extend(version.properties.get("hs_merged_object_ids").cloned());
            merged.extend((mint || id == loser).then(|| id.to_string()));
        }
        let merged = merged.join(";");
        let mut properties = kept.properties.clone();
        let lose = |version: &mut Version| (version.archived, version.merged) = (true, true);
        self.change(hub_id, object, loser, at, ChangeKind::Merged, lose);
        let survivor = if mint {
            self.change(hub_id, object, winner, at, ChangeKind::Merged, lose);
            properties.insert("hs_merged_object_ids".to_owned(), merged);
            let survivor = self.create(hub_id, object, at, properties);
            self.move_links(hub_id, object, (winner, survivor), at);
            self.queue_webhook((hub_id, object, winner), at, What::Deleted);
            survivor
        } else {
            // This change has no webhook of its own, only the merge has one.
            self.change(hub_id, object, winner, at, ChangeKind::Updated, |version| {
                version.properties.insert("hs_merged_object_ids".to_owned(), merged);
            });
            winner
        };
        self.move_links(hub_id, object, (loser, survivor), at);
        self.queue_webhook((hub_id, object, loser), at, What::Deleted);
        self.queue_webhook((hub_id, object, winner), at, What::Merged { loser, survivor });
        Some(survivor)
    }

    fn indexed_at(&mut self, at: i64) -> i64 {
        let (least, most) = (self.settings.index_lag_min_ms, self.settings.index_lag_max_ms);
        at + if least < most { self.random.random_range(least..=most) } else { least }
    }

    /// Adds a version to a record, and a line to the ledger. Returns false if the record does not exist, or if it was
    /// modified later.
    pub(crate) fn change(
        &mut self,
        hub_id: u64,
        object: Object,
        id: u64,
        at: i64,
        kind: ChangeKind,
        change: impl FnOnce(&mut Version),
    ) -> bool {
        let indexed_at = self.indexed_at(at);
        let records = self.portal(hub_id).records.entry(object).or_default();
        let Some(record) = records.get_mut(&id) else { return false };
        if record.newest().modified_at >= at {
            return false;
        }
        let mut version = Version { modified_at: at, indexed_at, ..record.newest().clone() };
        change(&mut version);
        record.versions.push(version);
        self.ledger.push(Change { hub_id, object, id, kind, at });
        true
    }
}
