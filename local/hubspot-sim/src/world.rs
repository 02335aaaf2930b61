//! The simulated HubSpot: portals, their records with every version of them, and the ledger of changes.

use std::collections::{BTreeMap, HashMap};

use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::{
    apps::SCOPES,
    clock,
    event::Event,
    faults::Fault,
    limits::{Rolling, Usage},
    settings::Settings,
};

/// An object type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Object {
    /// Companies (`0-2`).
    Companies,
    /// Contacts (`0-1`).
    Contacts,
}

impl Object {
    /// Reads the name or the type id in a path.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "companies" | "company" | "0-2" => Some(Self::Companies),
            "contacts" | "contact" | "0-1" => Some(Self::Contacts),
            _ => None,
        }
    }

    /// Its type id.
    pub(crate) fn type_id(self) -> &'static str {
        match self {
            Self::Companies => "0-2",
            Self::Contacts => "0-1",
        }
    }

    /// Its name where there is one of it.
    pub(crate) fn singular(self) -> &'static str {
        match self {
            Self::Companies => "company",
            Self::Contacts => "contact",
        }
    }

    /// The scope that reading it takes.
    pub(crate) fn scope(self) -> &'static str {
        match self {
            Self::Companies => "crm.objects.companies.read",
            Self::Contacts => "crm.objects.contacts.read",
        }
    }

    /// The property that holds the modification time. A search by the other type's name finds nothing.
    pub(crate) fn modified_property(self) -> &'static str {
        match self {
            Self::Companies => "hs_lastmodifieddate",
            Self::Contacts => "lastmodifieddate",
        }
    }
}

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was created.
    Created,
    /// It was modified.
    Updated,
    /// It was moved to the recycle bin.
    Archived,
    /// It was taken out of the recycle bin again.
    Restored,
    /// It was merged into another record, and is gone.
    Merged,
}

impl ChangeKind {
    /// Whether the record is not to be found any more.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Archived | Self::Merged)
    }
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The account.
    pub hub_id: u64,
    /// The record's type.
    pub object: Object,
    /// The record.
    pub id: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// When, in milliseconds since the epoch: the record's modification time from then on.
    pub at: i64,
}

/// A record as it was from one change to the next.
#[derive(Clone, Debug)]
pub struct Version {
    /// The modification time, in milliseconds since the epoch.
    pub modified_at: i64,
    /// When this version is in the search index.
    pub indexed_at: i64,
    /// Whether it is gone: in the recycle bin, or merged into another record.
    pub archived: bool,
    /// Whether it was merged into another record.
    pub merged: bool,
    /// The properties that have a value.
    pub properties: BTreeMap<String, String>,
}

/// A company or a contact.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) created_at: i64,
    pub(crate) versions: Vec<Version>,
    /// A contact's companies, the primary one first.
    pub(crate) companies: Vec<u64>,
}

impl Record {
    pub(crate) fn newest(&self) -> &Version {
        &self.versions[self.versions.len() - 1]
    }

    /// The version that the search index holds at `now`.
    pub(crate) fn indexed(&self, now: i64) -> Option<&Version> {
        self.versions.iter().rev().find(|version| version.indexed_at <= now)
    }
}

/// What somebody has allowed on the consent page.
#[derive(Clone, Debug)]
pub(crate) struct Consent {
    pub(crate) hub_id: u64,
    pub(crate) redirect_uri: String,
    /// PKCE's, by SHA-256; absent where none was given.
    pub(crate) challenge: Option<String>,
    pub(crate) scopes: Vec<String>,
}

/// One HubSpot account.
#[derive(Debug)]
pub struct Portal {
    /// Its id.
    pub hub_id: u64,
    /// A private app's token, which does not expire.
    pub private_token: String,
    /// The OAuth grant; none once it was revoked.
    pub refresh_token: Option<String>,
    /// What the OAuth grant allows.
    pub scopes: Vec<String>,
    /// What the private app's token allows.
    pub private_scopes: Vec<String>,
    /// How often the app was uninstalled by the API.
    pub uninstalls: u32,
    /// Whether the whole account was deleted in HubSpot.
    pub(crate) is_deleted: bool,
    pub(crate) records: BTreeMap<Object, BTreeMap<u64, Record>>,
    pub(crate) searches: Rolling,
    pub(crate) usage: Usage,
}

/// All of it.
#[derive(Debug)]
pub struct World {
    /// How it behaves.
    pub settings: Settings,
    /// What goes wrong next.
    pub faults: Vec<Fault>,
    /// Every change there was.
    pub ledger: Vec<Change>,
    /// The requests so far, by what was asked and the answer's status.
    pub requests: BTreeMap<String, u64>,
    pub(crate) portals: BTreeMap<u64, Portal>,
    pub(crate) access_tokens: HashMap<String, (u64, i64)>,
    /// What the consent page has allowed, by its code.
    pub(crate) codes: HashMap<String, Consent>,
    /// What is still to be told by webhook.
    pub(crate) untold: Vec<Event>,
    /// How many events there were.
    pub(crate) events: u64,
    pub(crate) random: StdRng,
    pub(crate) next_id: u64,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            faults: Vec::new(),
            ledger: Vec::new(),
            requests: BTreeMap::new(),
            portals: BTreeMap::new(),
            access_tokens: HashMap::new(),
            codes: HashMap::new(),
            untold: Vec::new(),
            events: 0,
            random: StdRng::seed_from_u64(1),
            // The first ids cross from two digits to three, four and five, where the orders of ids differ.
            next_id: 95,
        }
    }

    /// HubSpot's time, in milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        clock::now() + self.settings.clock_offset_ms
    }

    /// Adds an account without records, or gives the one that is there.
    pub fn portal(&mut self, hub_id: u64) -> &mut Portal {
        self.portals.entry(hub_id).or_insert_with(|| Portal {
            hub_id,
            private_token: format!("pat-na1-simulated-{hub_id}"),
            refresh_token: Some(format!("na1-simulated-refresh-{hub_id}")),
            scopes: SCOPES.map(str::to_owned).into(),
            private_scopes: SCOPES.map(str::to_owned).into(),
            uninstalls: 0,
            is_deleted: false,
            records: BTreeMap::from([(Object::Companies, BTreeMap::new()), (Object::Contacts, BTreeMap::new())]),
            searches: Rolling::default(),
            usage: Usage::default(),
        })
    }

    /// Lets the next records have ids from this one on.
    pub fn continue_ids_at(&mut self, id: u64) {
        self.next_id = self.next_id.max(id);
    }

    /// The ids of an account's records, those in the recycle bin left out.
    pub fn ids(&mut self, hub_id: u64, object: Object) -> Vec<u64> {
        let records = &self.portal(hub_id).records[&object];
        records.values().filter(|record| !record.newest().archived).map(|record| record.id).collect()
    }

    /// The ids of the records in the recycle bin, those that were merged left out.
    pub fn archived(&self, hub_id: u64, object: Object) -> Vec<u64> {
        let records = self.portals.get(&hub_id).and_then(|portal| portal.records.get(&object));
        let archived = |(_, record): &(&u64, &Record)| record.newest().archived && !record.newest().merged;
        records.into_iter().flatten().filter(archived).map(|(id, _)| *id).collect()
    }

    /// The newest version of a record, and a contact's companies.
    pub fn record(&self, hub_id: u64, object: Object, id: u64) -> Option<(&Version, &[u64])> {
        let record = self.portals.get(&hub_id)?.records.get(&object)?.get(&id)?;
        Some((record.newest(), &record.companies))
    }

    /// Lets all access tokens of an account expire.
    pub fn expire_tokens(&mut self, hub_id: u64) {
        for (hub, expires_at) in self.access_tokens.values_mut() {
            if *hub == hub_id {
                *expires_at = 0;
            }
        }
    }

    /// The account's refresh token; HubSpot gives the same one each time, and a new one after it was revoked.
    pub(crate) fn grant(&mut self, hub_id: u64) -> String {
        let next = self.access_tokens.len();
        let portal = self.portal(hub_id);
        portal.refresh_token.get_or_insert_with(|| format!("na1-simulated-refresh-{hub_id}-{next}")).clone()
    }

    /// Takes the account's grant away, as its owner does by uninstalling the app.
    pub fn revoke(&mut self, hub_id: u64) {
        self.expire_tokens(hub_id);
        self.portal(hub_id).refresh_token = None;
    }

    /// Deletes the whole account, as its owner does by leaving HubSpot.
    pub fn delete_portal(&mut self, hub_id: u64) {
        self.expire_tokens(hub_id);
        self.portal(hub_id).is_deleted = true;
    }
}
