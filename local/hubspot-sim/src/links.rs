//! Associations of contacts and companies, called links here. Each has the types that HubSpot returns: it may be the
//! contact's primary one, and may have labels.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::object::Object;

/// The property of a contact that names its primary company.
pub(crate) const PRIMARY_COMPANY: &str = "associatedcompanyid";

/// Who has defined an association type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AssociationCategory {
    /// HubSpot, for all accounts.
    HubspotDefined,
    /// The customer: the type is a label.
    UserDefined,
}

/// A type of a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssociationType {
    /// Who has defined it.
    pub category: AssociationCategory,
    /// Its id, which is unique within the category and the direction.
    pub type_id: u64,
    /// Its name. `None` for the type without a label.
    pub label: Option<String>,
}

impl AssociationType {
    /// Returns the type of the link to a contact's primary company.
    pub fn primary() -> Self {
        Self { category: AssociationCategory::HubspotDefined, type_id: 1, label: Some("Primary".to_owned()) }
    }

    /// Returns the type that every link has.
    pub fn unlabeled() -> Self {
        Self { category: AssociationCategory::HubspotDefined, type_id: 279, label: None }
    }

    /// Returns the type of a label.
    pub fn labeled(type_id: u64, label: &str) -> Self {
        Self { category: AssociationCategory::UserDefined, type_id, label: Some(label.to_owned()) }
    }

    /// Returns the type of the same link in the direction from the company. There, HubSpot uses other ids: 2 and 280.
    /// Labels have the next id, too.
    pub fn reversed(&self) -> Self {
        Self { type_id: self.type_id + 1, ..self.clone() }
    }

    /// Returns true if it is the type of the primary company, in either direction. HubSpot defines no other label here.
    pub fn is_primary(&self) -> bool {
        self.category == AssociationCategory::HubspotDefined && self.label.is_some()
    }

    /// Returns the name that the list of `from` shows. The type without a label says so if companies are at one end.
    pub(crate) fn name(&self, from: Object, to: Object) -> String {
        let pair = format!("{}_to_{}", from.singular(), to.singular());
        match (&self.label, self.category) {
            (None, _) if from == Object::COMPANIES || to == Object::COMPANIES => format!("{pair}_unlabeled"),
            (None, _) | (Some(_), AssociationCategory::HubspotDefined) => pair,
            (Some(label), AssociationCategory::UserDefined) => label.to_lowercase().replace(' ', "_"),
        }
    }
}

/// A contact's link to a company.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// The company.
    pub company: u64,
    /// The types, as seen from the contact: that of the primary company first, then that without a label, then labels by
    /// id.
    pub types: Vec<AssociationType>,
}

impl Link {
    /// Returns a link without labels, to a company that is not the primary one.
    pub(crate) fn new(company: u64) -> Self {
        Self { company, types: vec![AssociationType::unlabeled()] }
    }

    /// Returns true if the company is the contact's primary one.
    pub fn is_primary(&self) -> bool {
        self.types.iter().any(AssociationType::is_primary)
    }

    pub(crate) fn set_primary(&mut self, is_primary: bool) {
        self.types.retain(|kind| !kind.is_primary());
        if is_primary {
            self.types.insert(0, AssociationType::primary());
        }
    }

    /// Adds the types of another link to the same company.
    pub(crate) fn add_types(&mut self, types: Vec<AssociationType>) {
        self.types.extend(types);
        self.types.sort();
        self.types.dedup();
    }
}

/// The associations at one end: a contact's links to companies (the primary one first, the others by the company's id), or
/// those with records of other types.
#[derive(Clone, Debug)]
pub(crate) struct Links<L = Link> {
    /// The links, and the time from which reads of associations return them, in milliseconds since the epoch. The newest
    /// ones are last.
    versions: Vec<(i64, Vec<L>)>,
}

impl<L> Default for Links<L> {
    fn default() -> Self {
        Self { versions: Vec::new() }
    }
}

impl<L> Links<L> {
    pub(crate) fn newest(&self) -> &[L] {
        self.versions.last().map_or(&[], |(_, links)| links)
    }

    /// Returns the links that reads of associations return at `now`.
    pub(crate) fn visible(&self, now: i64) -> &[L] {
        self.versions.iter().rev().find(|(from, _)| *from <= now).map_or(&[], |(_, links)| links)
    }

    /// Replaces the links. Reads of associations return the new ones from the time `from` on.
    pub(crate) fn replace(&mut self, links: Vec<L>, from: i64, now: i64) {
        // What no read returns any more is dropped.
        let visible = self.versions.iter().rposition(|(from, _)| *from <= now).unwrap_or(0);
        self.versions.drain(..visible);
        self.versions.push((from, links));
    }
}

/// One end of a link, as seen from the other: a record's id, and the types in this direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkEnd {
    pub(crate) id: u64,
    pub(crate) types: Vec<AssociationType>,
}

impl LinkEnd {
    pub(crate) fn is_primary(&self) -> bool {
        self.types.iter().any(AssociationType::is_primary)
    }

    /// Returns the key of the order in which reads of associations return links: by id, the newest record first. The
    /// primary one is the last, where clients do not expect it.
    pub(crate) fn place(&self) -> (bool, Reverse<u64>) {
        (self.is_primary(), Reverse(self.id))
    }
}
