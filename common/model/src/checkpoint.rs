//! The sync position of an account: its lease, its run, and how far each lane has been read. There is one document per
//! account, and no other store of the position.

mod calculated;
mod known;
mod lane;
mod limits;
mod part;

use std::{collections::BTreeMap, sync::LazyLock};

use bson::Document;
use serde::{Deserialize, Serialize};

pub use calculated::CalculatedProperties;
pub use lane::{
    Backfilled, ChosenProperties, Hold, IdOrder, Kept, Lane, LaneProblem, Pass, PassKind, ProblemKind, Sweep, Window,
};
pub use limits::MAX_SHARE;
pub use limits::{LimiterSnapshot, RateLimitState};
pub use part::{ListDoor, Part};

use crate::{choice::CustomObject, looks::NextLook, object::ObjectType, time::DateTime};

/// The checkpoint of one account (collection `checkpoints`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Checkpoint {
    /// Increases with every lease taken. A write with an older number does nothing.
    pub fence: i64,
    /// The lease's holder and its expiry. Absent while nobody works on the account.
    pub lease: Option<Document>,
    /// The live chain of slices. Absent while the account is caught up.
    pub run: Option<Run>,
    /// The object types that the latest slice was to read. Empty in the checkpoints of releases before 0.10, and before
    /// the first slice.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "known::list")]
    pub objects: Vec<ObjectType>,
    /// How far each lane has been read.
    pub lanes: Lanes,
    /// State of each lane that is stored beside it. See [`Lane::kept`].
    #[serde(deserialize_with = "known::map")]
    pub kept: BTreeMap<ObjectType, Kept>,
    /// The use of the account's rate limits so far.
    pub limits: RateLimitState,
    /// Since when HubSpot has rejected the account's token. Absent once HubSpot accepts it.
    pub refused: Option<Refused>,
    /// When the account was last caught up.
    pub last_success_at: Option<DateTime>,
    /// When a webhook arrived during a live run. The run then makes one more pass over recent changes.
    pub notified_at: Option<DateTime>,
    /// When a look last found changes that no webhook had reported. Absent if webhooks have reported all changes since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unannounced_at: Option<DateTime>,
    /// When the account is looked at again. Absent if each tick looks at it. Whatever else writes to an account that is to be
    /// looked at soon removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_look: Option<NextLook>,
    /// When HubSpot last reported deletions by webhook. The next run reads the recycle bin.
    pub deletions_notified_at: Option<DateTime>,
    /// The custom objects of the account, by which the names in its choice are found. Absent if they were never read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_objects: Option<Vec<CustomObject>>,
    /// When reference data is read next, by this machine's clock. Absent if it was never read.
    pub references_due_at: Option<DateTime>,
    /// The object types whose lists that time is about. Those of others are due.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "known::list")]
    pub references_of: Vec<ObjectType>,
    /// The latest run, also while it is live.
    pub last_run: Option<LastRun>,
    /// The actions published in the last day, by hour (see [`hour`]).
    pub activity: BTreeMap<String, ActionCounts>,
    /// When a change of each object type was last published.
    #[serde(deserialize_with = "known::map")]
    pub changed_at: BTreeMap<ObjectType, DateTime>,
}

/// Consecutive slices in which HubSpot rejected the account's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When the first of these slices was rejected.
    pub since: DateTime,
    /// The number of these slices.
    #[serde(default)]
    pub times: i64,
}

impl Checkpoint {
    /// Moves the state stored beside each lane into the lane.
    pub fn with_kept_state(mut self) -> Self {
        for (object, kept) in std::mem::take(&mut self.kept) {
            self.lanes.get_mut(object).kept = kept;
        }
        self
    }

    /// Returns the object types that are read of the account: those of its latest slice.
    pub fn objects(&self) -> &[ObjectType] {
        if self.objects.is_empty() { &ObjectType::DEFAULT } else { &self.objects }
    }

    /// Returns the lanes that are read. A lane without access is left out, unless it is one of companies or of contacts: not
    /// every portal has every object type, and customers grant what they want to.
    pub fn live_lanes(&self) -> impl Iterator<Item = &Lane> {
        let lanes = self.objects().iter().map(|object| (object, self.lanes.get(*object)));
        lanes.filter(|(object, lane)| !lane.is_left_out(**object)).map(|(_, lane)| lane)
    }
}

/// What runs have done, for the status pages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunStats {
    /// Slices that ended in order.
    pub slices: i64,
    /// Rows that were read.
    pub records: i64,
    /// Actions that were queued.
    pub actions: i64,
    /// Requests to HubSpot.
    pub requests: i64,
    /// Requests that HubSpot rejected because of its limits (429).
    pub rate_limited: i64,
}

/// A run, for the status pages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// The run's id.
    pub id: String,
    /// When it began.
    pub started_at: DateTime,
    /// When its latest slice ended.
    pub ended_at: DateTime,
    /// True if that slice was the last one.
    pub is_over: bool,
    /// What the run has done.
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
    /// Returns the sum of all kinds.
    pub fn total(self) -> i64 {
        self.created + self.updated + self.deleted
    }
}

/// Returns the hour of `time` in the form of the keys of [`Checkpoint::activity`]: `2026-11-24T08`. The keys sort by
/// time.
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
    /// The number of the next slice, from 0.
    pub slice: i64,
    /// True if the message for that slice is known to have been sent.
    pub sent: bool,
    /// When the run began.
    pub started_at: DateTime,
    /// When the next slice is due.
    pub due_at: DateTime,
    /// The number of consecutive slices without progress.
    #[serde(default)]
    pub idle: i32,
    /// What the run's slices have done.
    #[serde(default)]
    pub figures: RunStats,
}

/// The lanes of an account. An object type that was never read has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lanes(#[serde(deserialize_with = "known::map")] BTreeMap<ObjectType, Lane>);

/// The lane of an object type that was never read.
static NEW: LazyLock<Lane> = LazyLock::new(Lane::default);

impl Lanes {
    /// Returns the lane of an object type.
    pub fn get(&self, object: ObjectType) -> &Lane {
        self.0.get(&object).unwrap_or(&NEW)
    }

    /// Returns the lane of an object type, to be changed.
    pub fn get_mut(&mut self, object: ObjectType) -> &mut Lane {
        self.0.entry(object).or_default()
    }
}
