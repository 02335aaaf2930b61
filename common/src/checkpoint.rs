//! Where the sync of an account stands: its lease, its run, and how far each lane has been read.
//! One document an account; sync's position lives here alone.

use std::collections::BTreeMap;

use mongodb::bson::Document;
use serde::{Deserialize, Serialize};

use crate::{
    hubspot::Remembered,
    message::Continuation,
    object::ObjectType,
    time::{self, DateTime},
};

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
    /// The message that is left to the dead-letter queue because a lane does not get on, until that lane is
    /// tried again.
    pub stuck: Option<Stuck>,
    /// How far each lane has been read.
    pub lanes: Lanes,
    /// What is left of the account's rate limits.
    pub limits: RememberedLimits,
    /// When the account was last caught up.
    pub last_success_at: Option<DateTime>,
    /// HubSpot told of changes at this time, while a run was live, which therefore looks for changes once more.
    pub notified_at: Option<DateTime>,
    /// The latest run, as far as it has got.
    pub last_run: Option<LastRun>,
    /// What was handed on in the last day, by hour (see [`hour`]).
    pub activity: BTreeMap<String, Announced>,
}

/// What runs did, for those who look at the account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Figures {
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
    pub figures: Figures,
}

/// How many actions of each kind were queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Announced {
    /// Records that were seen for the first time.
    pub created: i64,
    /// Records that were modified.
    pub updated: i64,
    /// Records that were deleted, or merged into others.
    pub deleted: i64,
}

impl Announced {
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
    pub figures: Figures,
}

/// A message that must end in the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stuck {
    /// The slice that the message is for.
    pub due: Continuation,
    /// When the lane is tried again. After that, the message (sent back by an operator) begins a new run.
    pub until: DateTime,
    /// What is wrong, without secrets.
    pub reason: String,
}

/// What is left of an account's rate limits, across the slices of its runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RememberedLimits {
    /// The search limit.
    pub search: Remembered,
    /// The limit of all other requests.
    pub general: Remembered,
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

/// How far one object type of an account has been read. All times but `checked_at` are HubSpot's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lane {
    /// Where the backfill begins, where others had pulled the account before (`lastPulledDates`); records
    /// created before it are not announced as Created.
    pub taken_over_from: Option<DateTime>,
    /// The moment the account was first read: the backfill ends here.
    pub first_seen: Option<DateTime>,
    /// When the last fresh pass began, by Lambda's clock.
    pub checked_at: Option<DateTime>,
    /// Low latency: what changed since the last look.
    pub fresh: Pass,
    /// Everything once more, when the search index has surely caught up.
    pub settled: Pass,
    /// The history, once.
    pub backfill: Pass,
    /// How much of the history was read.
    pub backfilled: Backfilled,
    /// What was deleted, in its own time.
    pub sweep: Sweep,
    /// How many rows are asked for at once, where that is less than HubSpot's maximum because larger pages did
    /// not arrive within a slice.
    pub page_size: Option<u32>,
    /// Why the lane's last slice got nowhere; absent once it goes on.
    pub last_error: Option<LaneProblem>,
}

/// How much of a lane's history was read. Some rows may be counted twice, where windows are read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backfilled {
    /// Rows that were read.
    pub read: i64,
    /// How many rows HubSpot said there are, when the reading began.
    pub total: Option<i64>,
}

/// How far the recycle bin was read for what was deleted. It cannot be filtered by time, so each sweep reads all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sweep {
    /// HubSpot's cursor of the next page, while one is under way.
    pub after: Option<String>,
    /// When the last one ended, or was put off, by Lambda's clock.
    pub ended_at: Option<DateTime>,
    /// Why the last one was put off.
    pub last_error: Option<String>,
}

/// Why a lane's slice got nowhere, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneProblem {
    /// What is to be done about it.
    pub kind: ProblemKind,
    /// In words, without secrets.
    pub reason: String,
    /// When the last attempt failed.
    pub at: DateTime,
    /// How many attempts in a row have failed in this way.
    pub attempts: u32,
    /// The next attempt is not made before this.
    pub retry_at: DateTime,
}

/// What is to be done about a lane's problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProblemKind {
    /// It is expected to pass: try again, with growing pauses.
    Passing,
    /// HubSpot does not accept the access token: refresh it.
    Unauthorized,
    /// The customer has to grant the app access (a missing scope): look again now and then.
    Forbidden,
    /// It will happen again unless somebody does something: try a few times, then leave the lane alone.
    Lasting,
}

/// Which of a lane's three passes, in their order of right of way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassKind {
    /// See [`Lane::fresh`].
    Fresh,
    /// See [`Lane::settled`].
    Settled,
    /// See [`Lane::backfill`].
    Backfill,
}

impl PassKind {
    /// The pass's name in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Settled => "settled",
            Self::Backfill => "backfill",
        }
    }
}

impl Lane {
    /// Whether the lane may be worked on: it has no problem, or the time to try again has come.
    pub fn is_ready(&self, now: DateTime) -> bool {
        // Queues and clocks are not exact to the millisecond.
        const EARLY: std::time::Duration = std::time::Duration::from_secs(1);
        self.last_error.as_ref().is_none_or(|problem| problem.retry_at <= time::after(now, EARLY))
    }

    /// Whether its history was not read to its end yet.
    pub fn has_history_to_read(&self) -> bool {
        self.first_seen.is_none() || !self.backfill.windows.is_empty()
    }

    /// One of the lane's passes.
    pub fn pass(&self, kind: PassKind) -> &Pass {
        match kind {
            PassKind::Fresh => &self.fresh,
            PassKind::Settled => &self.settled,
            PassKind::Backfill => &self.backfill,
        }
    }

    /// One of the lane's passes, to change it.
    pub fn pass_mut(&mut self, kind: PassKind) -> &mut Pass {
        match kind {
            PassKind::Fresh => &mut self.fresh,
            PassKind::Settled => &mut self.settled,
            PassKind::Backfill => &mut self.backfill,
        }
    }
}

/// How far a pass has got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pass {
    /// Everything before this moment has been read, and proved to be complete.
    pub mark: Option<DateTime>,
    /// What is still to be read; the mark moves when all of it is done.
    pub windows: Vec<Window>,
    /// The latest end of the windows that were done since the mark moved.
    pub reached: Option<DateTime>,
    /// When the mark last moved, by Lambda's clock.
    pub completed_at: Option<DateTime>,
}

/// A window of modification times that is read by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Its beginning, inclusive.
    pub from: DateTime,
    /// Its end, exclusive. Absent only until the first answer of a fresh pass tells HubSpot's time.
    pub to: Option<DateTime>,
    /// The raw id of the row behind which the window begins, where a larger window was divided.
    #[serde(default)]
    pub start_id: Option<String>,
    /// The raw id of the last row that was read.
    pub last_id: Option<String>,
    /// How many rows of the window were read; their ids are distinct because they are monotone.
    pub read: i64,
    /// How many rows HubSpot said there are, when the reading began.
    pub expected: Option<i64>,
    /// The order of ids that holds for all the rows read so far; absent while both do.
    pub order: Option<IdOrder>,
    /// How often the window was halved, or read again whole, because its rows did not add up.
    pub repairs: i32,
    /// How often the window was divided, so that its parts could be read side by side.
    #[serde(default)]
    pub divisions: i32,
}

impl Window {
    /// The earliest beginning: HubSpot answers 500 to a search from the epoch itself.
    pub const BEGINNING: DateTime = DateTime::from_millis(1000);

    /// A window that has not been read yet.
    pub fn new(from: DateTime, to: Option<DateTime>) -> Self {
        Self { from, to, start_id: None, last_id: None, read: 0, expected: None, order: None, repairs: 0, divisions: 0 }
    }
}

/// An order in which HubSpot may return ids. Both have been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdOrder {
    /// As numbers: 9 before 10.
    Numeric,
    /// As text: 10 before 9.
    Lexical,
}
