//! Associations between records of any two object types. Those of contacts and companies are links (see `linking`), to which
//! the functions here lead as well. None moves a modification time.

mod changes;
mod kinds;

#[cfg(test)]
mod tests;

use crate::{
    links::{AssociationCategory, AssociationType, LinkEnd},
    object::Object,
    relation::{Key, Relation},
    world::{Record, World},
};

impl World {
    /// Associates two records, and returns true. The first company of a deal or a ticket becomes its primary one. Returns
    /// false if they are associated already, or if one of them does not exist.
    pub fn link_records(&mut self, hub_id: u64, from: Key, to: Key, at: i64) -> bool {
        if let Some((contact, company)) = contact_and_company(from, to) {
            return !self.links_of(hub_id, contact).iter().any(|link| link.company == company)
                && self.link(hub_id, contact, company, at);
        }
        let are_live = from != to && [from, to].iter().all(|(object, id)| self.is_live(hub_id, *object, *id));
        if !are_live || self.relation(hub_id, from, to).is_some() {
            return false;
        }
        let mut types = [vec![kinds::unlabeled(from.0, to.0)], vec![kinds::unlabeled(to.0, from.0)]];
        for (record, company, [near, far]) in [(from, to, [0, 1]), (to, from, [1, 0])] {
            let Some(primary) = kinds::primary(record.0, company.0) else { continue };
            if self.primary_of(hub_id, record, company.0).is_none() {
                let [of_record, of_company] = primary;
                types[near].insert(0, of_record);
                types[far].insert(0, of_company);
            }
        }
        self.set_relation(hub_id, [from, to], at, true, types)
    }

    /// Removes the association of two records. Returns false if there is none.
    pub fn unlink_records(&mut self, hub_id: u64, from: Key, to: Key, at: i64) -> bool {
        match contact_and_company(from, to) {
            Some((contact, company)) => self.unlink(hub_id, contact, company, at),
            None => self.set_relation(hub_id, [from, to], at, true, [Vec::new(), Vec::new()]),
        }
    }

    /// Sets the labels of an association, by type id, as seen from `from`: the other direction has the next id. Returns
    /// false if it has them already, or if there is no such association.
    pub fn label_records(&mut self, hub_id: u64, from: Key, to: Key, at: i64, labels: &[(u64, &str)]) -> bool {
        if let Some((contact, company)) = contact_and_company(from, to) {
            return self.set_labels(hub_id, contact, company, at, labels);
        }
        let both = [self.relation(hub_id, from, to), self.relation(hub_id, to, from)];
        let [Some(mut near), Some(mut far)] = both else { return false };
        for types in [&mut near, &mut far] {
            types.retain(|kind| kind.category != AssociationCategory::UserDefined);
        }
        for (type_id, label) in labels {
            let kind = AssociationType::labeled(*type_id, label);
            far.push(kind.reversed());
            near.push(kind);
        }
        self.set_relation(hub_id, [from, to], at, true, [near, far])
    }

    /// Returns the ids of the records of a type with which a record is associated, in their order.
    pub fn linked(&self, hub_id: u64, from: Key, to: Object) -> Vec<u64> {
        let mut ids: Vec<u64> = match (from.0, to) {
            (Object::CONTACTS, Object::COMPANIES) => {
                self.links_of(hub_id, from.1).iter().map(|link| link.company).collect()
            }
            (Object::COMPANIES, Object::CONTACTS) => self.contacts_of(hub_id, from.1),
            _ => {
                let relations = self.find(hub_id, from).map_or(&[][..], |record| record.relations.newest());
                relations.iter().filter(|relation| relation.to.0 == to).map(|relation| relation.to.1).collect()
            }
        };
        ids.sort_unstable();
        ids
    }

    /// Returns the types of the association of two records, as seen from the first.
    fn relation(&self, hub_id: u64, from: Key, to: Key) -> Option<Vec<AssociationType>> {
        let relations = self.find(hub_id, from)?.relations.newest();
        relations.iter().find(|relation| relation.to == to).map(|relation| relation.types.clone())
    }

    /// Returns a record's primary company.
    fn primary_of(&self, hub_id: u64, from: Key, to: Object) -> Option<u64> {
        let mut relations = self.find(hub_id, from)?.relations.newest().iter().filter(|relation| relation.to.0 == to);
        let is_primary = |relation: &&Relation| relation.types.iter().any(AssociationType::is_primary);
        relations.find(is_primary).map(|relation| relation.to.1)
    }

    fn find(&self, hub_id: u64, (object, id): Key) -> Option<&Record> {
        self.portals.get(&hub_id)?.records.get(&object)?.get(&id)
    }
}

impl Record {
    /// Returns the other ends of the associations with a type that reads return at `now`, without a contact's links to
    /// companies.
    pub(crate) fn related(&self, to: Object, now: i64) -> Vec<LinkEnd> {
        let relations = self.relations.visible(now).iter().filter(|relation| relation.to.0 == to);
        relations.map(|relation| LinkEnd { id: relation.to.1, types: relation.types.clone() }).collect()
    }
}

/// Returns the ids of a contact and a company, in this order. Returns `None` if the two records are others.
fn contact_and_company(from: Key, to: Key) -> Option<(u64, u64)> {
    match (from.0, to.0) {
        (Object::CONTACTS, Object::COMPANIES) => Some((from.1, to.1)),
        (Object::COMPANIES, Object::CONTACTS) => Some((to.1, from.1)),
        _ => None,
    }
}
