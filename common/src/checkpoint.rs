//! Where the sync of an account stands: its lease, its run, and how far each lane has been read.
//! One document an account; sync's position lives here alone.

use mongodb::bson::Document;
use serde::{Deserialize, Serialize};

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
    /// When the account was last caught up.
    pub last_success_at: Option<DateTime>,
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
    /// By when the slice that is due should have been taken up; a run that is later than this has died, and
    /// the next tick starts another.
    pub expected_by: DateTime,
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
    /// Why the lane's last slice ended early; absent once it goes on.
    pub last_error: Option<LaneProblem>,
}

/// Why a lane's slice ended before its work did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaneProblem {
    /// In words, without secrets.
    pub reason: String,
    /// When.
    pub at: DateTime,
}

/// Which of a lane's three passes, in their order of right of way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// What is being read, in this order; the mark moves to the last one's end when all are done.
    pub windows: Vec<Window>,
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
}

impl Window {
    /// A window that has not been read yet.
    pub fn new(from: DateTime, to: Option<DateTime>) -> Self {
        Self { from, to, last_id: None, read: 0, expected: None, order: None, repairs: 0 }
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
