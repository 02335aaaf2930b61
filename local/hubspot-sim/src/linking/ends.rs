//! What becomes of the links of a record that is deleted, erased or merged. No contact's modification time moves, and no
//! event reports it unless the settings say so.

use crate::{links::Link, object::Object, world::World};

impl World {
    /// Removes all links of a record. A record that is restored stays without them.
    pub(crate) fn end_links(&mut self, hub_id: u64, object: Object, id: u64, at: i64) {
        self.end_relations(hub_id, (object, id), at);
        let sends_events = self.settings.implied_association_events;
        if object == Object::CONTACTS {
            self.set_links(hub_id, id, at, sends_events, Vec::clear);
        } else if object == Object::COMPANIES {
            for contact in self.contacts_of(hub_id, id) {
                self.set_links(hub_id, contact, at, sends_events, |links| links.retain(|link| link.company != id));
            }
        }
    }

    /// Moves all links of a record to another one, which keeps its own.
    pub(crate) fn move_links(&mut self, hub_id: u64, object: Object, (from, to): (u64, u64), at: i64) {
        self.move_relations(hub_id, object, (from, to), at);
        let sends_events = self.settings.implied_association_events;
        if object == Object::CONTACTS {
            let moved = self.links_of(hub_id, from);
            self.set_links(hub_id, from, at, sends_events, Vec::clear);
            self.set_links(hub_id, to, at, sends_events, |links| {
                moved.into_iter().for_each(|link| take_up(links, link));
            });
        } else if object == Object::COMPANIES {
            for contact in self.contacts_of(hub_id, from) {
                self.set_links(hub_id, contact, at, sends_events, |links| {
                    let Some(place) = links.iter().position(|link| link.company == from) else { return };
                    let moved = links.remove(place);
                    take_up(links, Link { company: to, ..moved });
                });
            }
        }
    }

    pub(crate) fn contacts_of(&self, hub_id: u64, company: u64) -> Vec<u64> {
        let contacts = self.portals.get(&hub_id).and_then(|portal| portal.records.get(&Object::CONTACTS));
        let is_linked = |links: &[Link]| links.iter().any(|link| link.company == company);
        let linked = contacts.into_iter().flatten().filter(|(_, contact)| is_linked(contact.links.newest()));
        linked.map(|(id, _)| *id).collect()
    }
}

/// Adds a link with its types. A contact that has a primary company keeps it.
fn take_up(links: &mut Vec<Link>, mut link: Link) {
    if links.iter().any(|other| other.is_primary() && other.company != link.company) {
        link.set_primary(false);
    }
    match links.iter_mut().find(|other| other.company == link.company) {
        Some(known) => known.add_types(link.types),
        None => links.push(link),
    }
}
