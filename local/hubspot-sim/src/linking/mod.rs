//! Changes of links. None moves the contact's modification time, except a change of the primary company, if the settings
//! say so.

mod ends;
mod random;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::random::LinkChange;
use crate::{
    links::{AssociationCategory, AssociationType, Link, PRIMARY_COMPANY},
    object::Object,
    webhooks::What,
    world::{ChangeKind, Record, World},
};

impl World {
    /// Returns the links of every contact that is not deleted: the primary one first, the others by the company's id.
    pub fn links(&self, hub_id: u64) -> BTreeMap<u64, Vec<Link>> {
        let contacts = self.portals.get(&hub_id).and_then(|portal| portal.records.get(&Object::CONTACTS));
        let live = contacts.into_iter().flatten().filter(|(_, contact)| !contact.newest().archived);
        live.map(|(id, contact)| (*id, contact.links.newest().to_vec())).collect()
    }

    /// Sets a contact's companies, the primary one first. Those that it had before keep their labels.
    pub fn associate(&mut self, hub_id: u64, contact: u64, companies: Vec<u64>) {
        let at = self.now();
        self.set_links(hub_id, contact, at, true, |links| {
            let before = std::mem::take(links);
            for company in companies {
                if is_among(links, company) {
                    continue;
                }
                let known = before.iter().find(|link| link.company == company).cloned();
                let mut link = known.unwrap_or_else(|| Link::new(company));
                link.set_primary(links.is_empty());
                links.push(link);
            }
        });
    }

    /// Links a contact with a company, which becomes the primary one if the contact has none. Returns false if they are
    /// linked already, or if one of them does not exist.
    pub fn link(&mut self, hub_id: u64, contact: u64, company: u64, at: i64) -> bool {
        let are_live =
            self.is_live(hub_id, Object::CONTACTS, contact) && self.is_live(hub_id, Object::COMPANIES, company);
        are_live
            && self.set_links(hub_id, contact, at, true, |links| {
                if !is_among(links, company) {
                    let mut link = Link::new(company);
                    link.set_primary(!links.iter().any(Link::is_primary));
                    links.push(link);
                }
            })
    }

    /// Removes the link of a contact and a company. If it was the primary one, the contact has no primary company from
    /// then on. Returns false if they are not linked.
    pub fn unlink(&mut self, hub_id: u64, contact: u64, company: u64, at: i64) -> bool {
        self.set_links(hub_id, contact, at, true, |links| links.retain(|link| link.company != company))
    }

    /// Makes a linked company the contact's primary one, which also changes the contact's `associatedcompanyid`, and with
    /// it the modification time, if the settings say so. Returns false if the company is not linked or is the primary one
    /// already, or if the contact was modified later.
    pub fn set_primary(&mut self, hub_id: u64, contact: u64, company: u64, at: i64) -> bool {
        let is_further = |link: &Link| link.company == company && !link.is_primary();
        let moves = self.settings.primary_moves_contact;
        if !self.links_of(hub_id, contact).iter().any(is_further)
            || moves && !self.change(hub_id, Object::CONTACTS, contact, at, ChangeKind::Updated, |_| ())
        {
            return false;
        }
        let is_changed = self.set_links(hub_id, contact, at, true, |links| {
            links.iter_mut().for_each(|link| link.set_primary(link.company == company));
        });
        if moves {
            let value = company.to_string();
            self.queue_webhook((hub_id, Object::CONTACTS, contact), at, What::Changed(PRIMARY_COMPANY, &value));
        }
        is_changed
    }

    /// Sets the labels of a link, by type id. Returns false if it has them already, or if there is no such link.
    pub fn set_labels(&mut self, hub_id: u64, contact: u64, company: u64, at: i64, labels: &[(u64, &str)]) -> bool {
        self.set_links(hub_id, contact, at, true, |links| {
            for link in links.iter_mut().filter(|link| link.company == company) {
                link.types.retain(|kind| kind.category != AssociationCategory::UserDefined);
                link.add_types(labels.iter().map(|(id, label)| AssociationType::labeled(*id, label)).collect());
            }
        })
    }

    /// Returns the newest links of a contact.
    pub(crate) fn links_of(&self, hub_id: u64, contact: u64) -> Vec<Link> {
        let contacts = self.portals.get(&hub_id).and_then(|portal| portal.records.get(&Object::CONTACTS));
        let contact = contacts.and_then(|contacts| contacts.get(&contact));
        contact.map(|contact| contact.links.newest().to_vec()).unwrap_or_default()
    }

    pub(crate) fn is_live(&self, hub_id: u64, object: Object, id: u64) -> bool {
        self.record(hub_id, object, id).is_some_and(|(version, _)| !version.archived)
    }

    /// Changes a contact's links. With `sends_events` webhooks report it. Returns false if nothing has changed.
    pub(super) fn set_links(
        &mut self,
        hub_id: u64,
        contact: u64,
        at: i64,
        sends_events: bool,
        change: impl FnOnce(&mut Vec<Link>),
    ) -> bool {
        let (now, lag) = (self.now(), self.settings.association_lag_ms);
        let contacts = self.portal(hub_id).records.entry(Object::CONTACTS).or_default();
        let Some(Record { links, .. }) = contacts.get_mut(&contact) else { return false };
        let before = links.newest().to_vec();
        let mut after = before.clone();
        change(&mut after);
        after.sort_by_key(|link| (!link.is_primary(), link.company));
        if after == before {
            return false;
        }
        links.replace(after.clone(), at + lag, now);
        if sends_events {
            self.queue_link_events((hub_id, contact), at, &before, &after);
        }
        true
    }

    /// Queues the events of all types that were removed and added, each from both ends.
    fn queue_link_events(&mut self, (hub_id, contact): (u64, u64), at: i64, before: &[Link], after: &[Link]) {
        for (links, others, removed) in [(before, after, true), (after, before, false)] {
            for Link { company, types } in links {
                let other = others.iter().find(|other| other.company == *company);
                for kind in types.iter().filter(|kind| other.is_none_or(|other| !other.types.contains(kind))) {
                    let to_company = What::Associated { to: (Object::COMPANIES, *company), removed, kind };
                    self.queue_webhook((hub_id, Object::CONTACTS, contact), at, to_company);
                    let to_contact =
                        What::Associated { to: (Object::CONTACTS, contact), removed, kind: &kind.reversed() };
                    self.queue_webhook((hub_id, Object::COMPANIES, *company), at, to_contact);
                }
            }
        }
    }
}

fn is_among(links: &[Link], company: u64) -> bool {
    links.iter().any(|link| link.company == company)
}
