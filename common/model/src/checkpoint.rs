//! Where the sync of an account stands: its lease, its run, and how far each lane has been read.
//! One document an account; sync's position lives here alone.

mod lane;
mod limits;

use std::collections::BTreeMap;

use bson::Document;
use serde::{Deserialize, Serialize};

pub use lane::{Backfilled, Hold, IdOrder, Kept, Lane, LaneProblem, Pass, PassKind, ProblemKind, Sweep, Window};
pub use limits::MAX_SHARE;
pub use limits::{LimiterSnapshot, RateLimitState};

use crate::{object::ObjectType, time::DateTime};

/// The checkpoint of one account (collection `checkpoints`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Checkpoint {
    /// Grows by one with every lease taken. A write that names an older number does nothing.
    pub fence: i64,
    /// Who may write, and until when; absent while nobody works for the account.
    pub lease: Option<Document>,
    /// The live chain of slices; absent while the account is caught up.
    pub run: Option<Run>,
    /// How far each lane has been read.
    pub lanes: Lanes,
    /// What each lane leaves behind; see [`Lane::kept`].
    pub kept: BTreeMap<ObjectType, Kept>,
    /// What is left of the account's rate limits.
    pub limits: RateLimitState,
    /// Since when HubSpot refuses the account's token; absent once it accepts it.
    pub refused: Option<Refused>,
    /// When the account was last caught up.
    pub last_success_at: Option<DateTime>,
    /// HubSpot told of changes at this time, while a run was live, which therefore looks for changes once more.
    pub notified_at: Option<DateTime>,
    /// When HubSpot last reported deletions by webhook. The next run reads the recycle bin.
    pub deletions_notified_at: Option<DateTime>,
    /// The latest run, as far as it has got.
    pub last_run: Option<LastRun>,
    /// What was handed on in the last day, by hour (see [`hour`]).
    pub activity: BTreeMap<String, ActionCounts>,
    /// When a change of each object type was last handed on.
    pub changed_at: BTreeMap<ObjectType, DateTime>,
}

/// A row of slices in which HubSpot refused the account's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When it did so for the first time.
    pub since: DateTime,
    /// In how many slices.
    #[serde(default)]
    pub times: i64,
}

impl Checkpoint {
    /// Gives each lane what is stored beside it.
    pub fn joined(mut self) -> Self {
        for (object, lane) in self.lanes.iter_mut() {
            lane.kept = self.kept.remove(&object).unwrap_or_default();
        }
        self
    }
}

/// What runs did, for those who look at the account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunStats {
    /// Slices that had an end.
    pub slices: i64,
    /// Rows that were read.
    pub records: i64,
    /// Actions that were queued.
    pub actions: i64,
    /// Requests to HubSpot.
    pub requests: i64,
    /// Requests that HubSpot refused for its limits (429).
    pub rate_limited: i64,
}

/// A run, told to those who look at the account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// The run's id.
    pub id: String,
    /// When it began.
    pub started_at: DateTime,
    /// When its latest slice ended.
    pub ended_at: DateTime,
    /// Whether that was the last one.
    pub is_over: bool,
    /// What it did.
    pub figures: RunStats,
}

/// How many actions of each kind were queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionCounts {
    /// Records that were seen for the first time.
    pub created: i64,
    /// Records that were modified.
    pub updated: i64,
    /// Records that were deleted, or merged into others.
    pub deleted: i64,
}

impl ActionCounts {
    /// All of them.
    pub fn total(self) -> i64 {
        self.created + self.updated + self.deleted
    }
}

/// The hour of `time`, as the keys of [`Checkpoint::activity`] name it: `2026-11-24T08`. Their order is that of time.
pub fn hour(time: DateTime) -> String {
    let text = time.try_to_rfc3339_string().unwrap_or_default();
    text.chars().take("2026-11-24T08".len()).collect()
}

/// A live run: the chain of slices from one tick until the account is caught up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The run's id.
    pub id: String,
    /// The slice that is due next, from 0.
    pub slice: i64,
    /// Whether the message for that slice is known to have been sent.
    pub sent: bool,
    /// When the run began.
    pub started_at: DateTime,
    /// When the slice that is due should be taken up.
    pub due_at: DateTime,
    /// How many slices in a row have got nowhere.
    #[serde(default)]
    pub idle: i32,
    /// What its slices did.
    #[serde(default)]
    pub figures: RunStats,
}

/// The lanes of an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lanes {
    /// Companies.
    pub companies: Lane,
    /// Contacts.
    pub contacts: Lane,
}

impl Lanes {
    /// The lane of an object type.
    pub fn get(&self, object: ObjectType) -> &Lane {
        match object {
            ObjectType::Companies => &self.companies,
            ObjectType::Contacts => &self.contacts,
        }
    }

    /// The lanes with their object types.
    pub fn iter_mut(&mut self) -> [(ObjectType, &mut Lane); 2] {
        [(ObjectType::Companies, &mut self.companies), (ObjectType::Contacts, &mut self.contacts)]
    }

    /// The lanes.
    pub fn all(&self) -> [&Lane; 2] {
        [&self.companies, &self.contacts]
    }
}
