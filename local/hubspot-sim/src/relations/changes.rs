//! Changes of associations, always of both ends, and what becomes of those of a record that is deleted, erased or merged.

use crate::{
    links::AssociationType,
    object::Object,
    relation::{Key, Relation},
    webhooks::What,
    world::World,
};

impl World {
    /// Sets the types of the association of two records, each as seen from one end. Without types it ends. With
    /// `sends_events` webhooks report it. Returns false if nothing has changed.
    pub(super) fn set_relation(
        &mut self,
        hub_id: u64,
        [from, to]: [Key; 2],
        at: i64,
        sends_events: bool,
        mut after: [Vec<AssociationType>; 2],
    ) -> bool {
        for types in &mut after {
            types.sort_by_key(|kind| (!kind.is_primary(), kind.category, kind.type_id));
            types.dedup();
        }
        let before = [(from, to, &after[0]), (to, from, &after[1])]
            .map(|(end, other, types)| self.set_end(hub_id, end, other, at, types.clone()));
        if sends_events {
            for (types, others, removed) in [(&before, &after, true), (&after, &before, false)] {
                for (end, from, to) in [(0, from, to), (1, to, from)] {
                    for kind in types[end].iter().filter(|kind| !others[end].contains(kind)) {
                        self.queue_webhook((hub_id, from.0, from.1), at, What::Associated { to, removed, kind });
                    }
                }
            }
        }
        before != after
    }

    /// Sets the types of an association at one end. Returns those before.
    fn set_end(
        &mut self,
        hub_id: u64,
        (object, id): Key,
        to: Key,
        at: i64,
        types: Vec<AssociationType>,
    ) -> Vec<AssociationType> {
        let (now, lag) = (self.now(), self.settings.association_lag_ms);
        let records = self.portal(hub_id).records.entry(object).or_default();
        let Some(record) = records.get_mut(&id) else { return Vec::new() };
        let (mut kept, gone): (Vec<Relation>, Vec<Relation>) =
            record.relations.newest().iter().cloned().partition(|relation| relation.to != to);
        let before = gone.into_iter().next().map(|relation| relation.types).unwrap_or_default();
        if types == before {
            return before;
        }
        if !types.is_empty() {
            kept.push(Relation { to, types });
            kept.sort_by_key(|relation| relation.to);
        }
        record.relations.replace(kept, at + lag, now);
        before
    }

    /// Ends all associations of a record.
    pub(crate) fn end_relations(&mut self, hub_id: u64, record: Key, at: i64) {
        let sends_events = self.settings.implied_association_events;
        for relation in self.relations_of(hub_id, record) {
            self.set_relation(hub_id, [record, relation.to], at, sends_events, [Vec::new(), Vec::new()]);
        }
    }

    /// Moves all associations of a record to another one of its type, which keeps its own.
    pub(crate) fn move_relations(&mut self, hub_id: u64, object: Object, ids: (u64, u64), at: i64) {
        let sends_events = self.settings.implied_association_events;
        let (from, to) = ((object, ids.0), (object, ids.1));
        for relation in self.relations_of(hub_id, from) {
            let other = relation.to;
            let mut types = [relation.types, self.relation(hub_id, other, from).unwrap_or_default()];
            self.set_relation(hub_id, [from, other], at, sends_events, [Vec::new(), Vec::new()]);
            if other == to {
                continue;
            }
            let known =
                [self.relation(hub_id, to, other), self.relation(hub_id, other, to)].map(Option::unwrap_or_default);
            // A record that has a primary company keeps it.
            let has_another = other.0 == Object::COMPANIES
                && self.primary_of(hub_id, to, other.0).is_some_and(|company| company != other.1);
            for (types, known) in types.iter_mut().zip(known) {
                types.retain(|kind| !(has_another && kind.is_primary()));
                types.extend(known);
            }
            self.set_relation(hub_id, [to, other], at, sends_events, types);
        }
    }

    fn relations_of(&self, hub_id: u64, record: Key) -> Vec<Relation> {
        self.find(hub_id, record).map(|record| record.relations.newest().to_vec()).unwrap_or_default()
    }
}
