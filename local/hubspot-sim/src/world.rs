//! The simulated HubSpot: portals, all versions of their records, and the ledger of changes.

use std::collections::{BTreeMap, HashMap};

use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use crate::{
    apps::SCOPES,
    clock,
    event::Event,
    faults::Fault,
    limits::{Rolling, Usage},
    links::Links,
    object::Object,
    owner::{Owner, Pipeline, first_owners},
    property::Property,
    relation::Relation,
    schema::Schema,
    settings::Settings,
};

/// The kinds of changes of a record.
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
    /// It was merged into another record, and does not exist any more.
    Merged,
    /// It was erased for privacy, and does not exist any more.
    Erased,
}

impl ChangeKind {
    /// Returns true if the record cannot be found any more.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Archived | Self::Merged | Self::Erased)
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
    /// The kind of change.
    pub kind: ChangeKind,
    /// When it happened, in milliseconds since the epoch: the record's modification time from then on.
    pub at: i64,
}

/// A record's state from one change to the next.
#[derive(Clone, Debug)]
pub struct Version {
    /// The modification time, in milliseconds since the epoch.
    pub modified_at: i64,
    /// When this version enters the search index.
    pub indexed_at: i64,
    /// True if it is in the recycle bin, was merged into another record, or was erased.
    pub archived: bool,
    /// True if it was merged into another record.
    pub merged: bool,
    /// True if it was erased for privacy.
    pub erased: bool,
    /// The properties that have a value.
    pub properties: BTreeMap<String, String>,
}

/// A record of any type.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) created_at: i64,
    pub(crate) versions: Vec<Version>,
    /// A contact's links to companies.
    pub(crate) links: Links,
    /// All other associations.
    pub(crate) relations: Links<Relation>,
}

impl Record {
    pub(crate) fn newest(&self) -> &Version {
        &self.versions[self.versions.len() - 1]
    }

    /// Returns a contact's primary company.
    pub(crate) fn primary_company(&self) -> Option<u64> {
        self.links.newest().iter().find(|link| link.is_primary()).map(|link| link.company)
    }

    /// Returns the version in the search index at `now`.
    pub(crate) fn indexed(&self, now: i64) -> Option<&Version> {
        self.versions.iter().rev().find(|version| version.indexed_at <= now)
    }
}

/// What a customer has allowed on the consent page.
#[derive(Clone, Debug)]
pub(crate) struct Consent {
    pub(crate) hub_id: u64,
    pub(crate) redirect_uri: String,
    /// PKCE's challenge (SHA-256). Absent if the request had none.
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
    /// The OAuth grant. `None` after it was revoked.
    pub refresh_token: Option<String>,
    /// The scopes of the OAuth grant.
    pub scopes: Vec<String>,
    /// The scopes of the private app's token.
    pub private_scopes: Vec<String>,
    /// How many times the app was uninstalled by the API.
    pub uninstalls: u32,
    /// True if the whole account was deleted in HubSpot.
    pub(crate) is_deleted: bool,
    /// The users.
    pub owners: Vec<Owner>,
    pub(crate) records: BTreeMap<Object, BTreeMap<u64, Record>>,
    /// The custom objects.
    pub(crate) schemas: BTreeMap<Object, Schema>,
    /// The definitions of properties, of the types of which any were read or changed.
    pub(crate) definitions: BTreeMap<Object, Vec<Property>>,
    /// The pipelines, of the types of which any were read or changed.
    pub(crate) pipelines: BTreeMap<Object, Vec<Pipeline>>,
    pub(crate) searches: Rolling,
    pub(crate) usage: Usage,
}

/// The whole simulated HubSpot.
#[derive(Debug)]
pub struct World {
    /// Its behaviour.
    pub settings: Settings,
    /// The faults for the next requests.
    pub faults: Vec<Fault>,
    /// All changes so far.
    pub ledger: Vec<Change>,
    /// The requests so far, by kind and the response's status.
    pub requests: BTreeMap<String, u64>,
    pub(crate) portals: BTreeMap<u64, Portal>,
    pub(crate) access_tokens: HashMap<String, (u64, i64)>,
    /// What customers have allowed on the consent page, by code.
    pub(crate) codes: HashMap<String, Consent>,
    /// The events that are still to be sent by webhook.
    pub(crate) pending_events: Vec<Event>,
    /// The number of events so far.
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
            pending_events: Vec::new(),
            events: 0,
            random: StdRng::seed_from_u64(1),
            // The first ids grow from two digits to three, four and five, where the orders of ids differ.
            next_id: 95,
        }
    }

    /// Returns HubSpot's time, in milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        clock::now() + self.settings.clock_offset_ms
    }

    /// Returns the account. Adds it without records if it does not exist.
    pub fn portal(&mut self, hub_id: u64) -> &mut Portal {
        self.portals.entry(hub_id).or_insert_with(|| Portal {
            hub_id,
            private_token: format!("pat-na1-simulated-{hub_id}"),
            refresh_token: Some(format!("na1-simulated-refresh-{hub_id}")),
            scopes: SCOPES.map(str::to_owned).into(),
            private_scopes: SCOPES.map(str::to_owned).into(),
            uninstalls: 0,
            is_deleted: false,
            owners: first_owners(),
            records: BTreeMap::new(),
            schemas: BTreeMap::new(),
            definitions: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            searches: Rolling::default(),
            usage: Usage::default(),
        })
    }

    /// Adds scopes to both tokens of an account: that of the OAuth app, and that of the private app.
    pub fn grant_scopes(&mut self, hub_id: u64, scopes: &[&str]) {
        let portal = self.portal(hub_id);
        for granted in [&mut portal.scopes, &mut portal.private_scopes] {
            for scope in scopes {
                if !granted.iter().any(|known| known == scope) {
                    granted.push((*scope).to_owned());
                }
            }
        }
    }

    /// Adds the scopes that reading records of an object type requires to both tokens of an account.
    pub fn grant_reading(&mut self, hub_id: u64, object: Object) {
        let scopes = object.scopes();
        self.grant_scopes(hub_id, &scopes.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Sets the id of the next record.
    pub fn continue_ids_at(&mut self, id: u64) {
        self.next_id = self.next_id.max(id);
    }

    /// Returns the ids of an account's records, without those in the recycle bin.
    pub fn ids(&mut self, hub_id: u64, object: Object) -> Vec<u64> {
        let records = self.portal(hub_id).records.entry(object).or_default();
        records.values().filter(|record| !record.newest().archived).map(|record| record.id).collect()
    }

    /// Returns the current value of a record's property. Returns `None` if it has none.
    pub fn value(&mut self, hub_id: u64, object: Object, id: u64, name: &str) -> Option<String> {
        let records = self.portal(hub_id).records.entry(object).or_default();
        records.get(&id).and_then(|record| record.newest().properties.get(name).cloned())
    }

    /// Returns the ids of the records in the recycle bin, without merged and erased ones.
    pub fn archived(&self, hub_id: u64, object: Object) -> Vec<u64> {
        let records = self.portals.get(&hub_id).and_then(|portal| portal.records.get(&object));
        let is_archived = |version: &Version| version.archived && !version.merged && !version.erased;
        let archived = |(_, record): &(&u64, &Record)| is_archived(record.newest());
        records.into_iter().flatten().filter(archived).map(|(id, _)| *id).collect()
    }

    /// Returns the newest version of a record, and a contact's companies, the primary one first.
    pub fn record(&self, hub_id: u64, object: Object, id: u64) -> Option<(&Version, Vec<u64>)> {
        let record = self.portals.get(&hub_id)?.records.get(&object)?.get(&id)?;
        Some((record.newest(), record.links.newest().iter().map(|link| link.company).collect()))
    }

    /// Makes all access tokens of an account expire.
    pub fn expire_tokens(&mut self, hub_id: u64) {
        for (hub, expires_at) in self.access_tokens.values_mut() {
            if *hub == hub_id {
                *expires_at = 0;
            }
        }
    }

    /// Returns the account's refresh token. HubSpot returns the same one each time, and a new one after it was revoked.
    pub(crate) fn grant(&mut self, hub_id: u64) -> String {
        let next = self.access_tokens.len();
        let portal = self.portal(hub_id);
        portal.refresh_token.get_or_insert_with(|| format!("na1-simulated-refresh-{hub_id}-{next}")).clone()
    }

    /// Revokes the account's grant, as its owner does by uninstalling the app.
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
