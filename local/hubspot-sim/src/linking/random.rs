//! Random changes of links, and of what they depend on.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::{Deserialize, Serialize};

use crate::{
    links::{AssociationCategory, Link},
    object::Object,
    world::World,
};

/// The labels of random changes, with their type ids.
const LABELS: [(u64, &str); 3] = [(31, "Billing contact"), (33, "Decision maker"), (35, "Former employer")];

/// A kind of random change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkChange {
    /// A contact is linked with a further company.
    Link,
    /// A link is removed.
    Unlink,
    /// Another one of a contact's companies becomes the primary one.
    ChangePrimary,
    /// A link gets another label, or loses its label.
    Relabel,
    /// A company that has contacts is merged into another one, under a new id in half of the cases.
    MergeCompanies,
    /// A company that has contacts is moved to the recycle bin.
    ArchiveCompany,
    /// A contact is erased for privacy.
    EraseContact,
}

impl LinkChange {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Link,
        Self::Unlink,
        Self::ChangePrimary,
        Self::Relabel,
        Self::MergeCompanies,
        Self::ArchiveCompany,
        Self::EraseContact,
    ];
}

impl World {
    /// Makes a random change of this kind now. Returns false if there is nothing to change, or if the record was modified
    /// in the same millisecond.
    pub fn change_link(&mut self, hub_id: u64, kind: LinkChange, random: &mut StdRng) -> bool {
        let at = self.now();
        let is_further = |link: &Link| !link.is_primary();
        match kind {
            LinkChange::Link => {
                let contact = self.ids(hub_id, Object::CONTACTS).choose(random).copied();
                let company = self.ids(hub_id, Object::COMPANIES).choose(random).copied();
                contact.zip(company).is_some_and(|(contact, company)| self.link(hub_id, contact, company, at))
            }
            LinkChange::Unlink => {
                let chosen = self.choose_link(hub_id, random, |_| true);
                chosen.is_some_and(|(contact, link)| self.unlink(hub_id, contact, link.company, at))
            }
            LinkChange::ChangePrimary => {
                let chosen = self.choose_link(hub_id, random, is_further);
                chosen.is_some_and(|(contact, link)| self.set_primary(hub_id, contact, link.company, at))
            }
            LinkChange::Relabel => {
                let Some((contact, link)) = self.choose_link(hub_id, random, |_| true) else { return false };
                let is_labeled = link.types.iter().any(|kind| kind.category == AssociationCategory::UserDefined);
                let count = if is_labeled { random.random_range(0..3) } else { 1 };
                let labels: Vec<(u64, &str)> = LABELS.sample(random, count).copied().collect();
                self.set_labels(hub_id, contact, link.company, at, &labels)
            }
            LinkChange::MergeCompanies => {
                let companies = self.ids(hub_id, Object::COMPANIES);
                let Some((_, link)) = self.choose_link(hub_id, random, |_| true) else { return false };
                let Some(winner) = companies.choose(random).copied() else { return false };
                let mint = random.random_bool(0.5);
                self.merge(hub_id, Object::COMPANIES, (winner, link.company), at, mint).is_some()
            }
            LinkChange::ArchiveCompany => {
                let chosen = self.choose_link(hub_id, random, |_| true);
                chosen.is_some_and(|(_, link)| self.archive(hub_id, Object::COMPANIES, link.company, at))
            }
            LinkChange::EraseContact => {
                let contact = self.ids(hub_id, Object::CONTACTS).choose(random).copied();
                contact.is_some_and(|contact| self.erase(hub_id, Object::CONTACTS, contact, at))
            }
        }
    }

    /// Makes `count` random changes of these kinds now. Returns how many were made of each kind.
    pub fn change_links(
        &mut self,
        hub_id: u64,
        kinds: &[LinkChange],
        count: usize,
        seed: u64,
    ) -> BTreeMap<LinkChange, usize> {
        let mut random = StdRng::seed_from_u64(seed ^ hub_id);
        let mut made = BTreeMap::new();
        for _ in 0..count {
            let Some(kind) = kinds.choose(&mut random) else { break };
            if self.change_link(hub_id, *kind, &mut random) {
                *made.entry(*kind).or_default() += 1;
            }
        }
        made
    }

    fn choose_link(&self, hub_id: u64, random: &mut StdRng, is_meant: impl Fn(&Link) -> bool) -> Option<(u64, Link)> {
        let of = |(contact, links): (u64, Vec<Link>)| links.into_iter().map(move |link| (contact, link));
        let links: Vec<(u64, Link)> =
            self.links(hub_id).into_iter().flat_map(of).filter(|(_, link)| is_meant(link)).collect();
        links.choose(random).cloned()
    }
}
