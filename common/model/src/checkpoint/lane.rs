//! How far one lane has been read.

use serde::{Deserialize, Serialize};

use super::calculated::CalculatedProperties;
use super::part::{ListDoor, Part};
use crate::{
    object::ObjectType,
    time::{self, DateTime},
};

/// How far one object type of an account has been read. All times but `checked_at` are by HubSpot's clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lane {
    /// Where the backfill begins, if the former worker has read the account (`lastPulledDates`). Records created before
    /// it are not published as Created.
    #[serde(rename = "takenOverFrom")]
    pub legacy_watermark: Option<DateTime>,
    /// When the account was first read. The backfill ends here.
    pub first_seen: Option<DateTime>,
    /// When the last fresh pass began, by Lambda's clock.
    pub checked_at: Option<DateTime>,
    /// Reads the latest changes, for low latency.
    pub fresh: Pass,
    /// Reads the same changes once more, when the search index has surely caught up.
    pub settled: Pass,
    /// Reads the history, once.
    pub backfill: Pass,
    /// How much of the history has been read.
    pub backfilled: Backfilled,
    /// Reads the deleted records, at intervals of its own.
    pub sweep: Sweep,
    /// The number of rows per page, if it is less than HubSpot's maximum because larger pages could not be read, or not
    /// within a slice.
    pub page_size: Option<u32>,
    /// State that is stored beside the lane.
    #[serde(skip)]
    pub kept: Kept,
    /// Why the lane's last slice failed. `None` if it succeeded.
    pub last_error: Option<LaneProblem>,
}

/// State of a lane that outlives its passes. It is stored in a field of its own, so that a release that does not know a
/// part of it keeps it when it writes the lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    /// Windows whose rows did not add up. Their passes went on without them. They are read again after growing pauses.
    pub held: Vec<Window>,
    /// Reads windows again. This pass has no mark of its own.
    pub again: Pass,
    /// True if the records without a modification time have been read or are being read. No window of times contains
    /// them.
    pub undated: bool,
    /// When the first of the records set aside is retried. Absent if there are none.
    pub set_aside_until: Option<DateTime>,
    /// Compares the associations of all records with what was published, at intervals of its own. The cursor is the
    /// last record's id.
    pub associations: Sweep,
    /// True if not even one row could be read within a slice. The next page is then a single row without its
    /// properties, which is set aside.
    pub bare: bool,
    /// The properties that are read. Absent in the lanes of releases before 0.10, and of object types that were never read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<ChosenProperties>,
    /// The properties that HubSpot calculates. Absent if none can be among those that are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calculated: Option<CalculatedProperties>,
    /// Whether the history can be read by lists, too.
    #[serde(skip_serializing_if = "ListDoor::is_new")]
    pub lists: ListDoor,
}

/// The properties that are read of an object type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChosenProperties {
    /// Their names, in order.
    pub names: Vec<String>,
    /// Those of them that were chosen later than the object type. Records that have one of them are published again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// When the latest of them were chosen, by Lambda's clock. Absent if none was chosen later than the object type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_at: Option<DateTime>,
}

/// How much of a lane's history has been read. Rows of windows that are read again count twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backfilled {
    /// The number of rows read.
    pub read: i64,
    /// HubSpot's count of the rows when the reading began.
    pub total: Option<i64>,
    /// The beginning of the history, if the history is counted once more after it was read.
    pub from: Option<DateTime>,
}

/// How far something has been read that cannot be filtered by time, so that each sweep reads all of it: the recycle bin,
/// the associations, or the values of calculated properties.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sweep {
    /// The cursor of the next page, during a sweep.
    pub after: Option<String>,
    /// When the last sweep ended, by Lambda's clock.
    pub ended_at: Option<DateTime>,
    /// When the current or latest sweep began.
    pub began_at: Option<DateTime>,
    /// Why the last page could not be read. Absent if it was read.
    pub last_error: Option<String>,
    /// The number of consecutive failures.
    pub attempts: u32,
    /// When the sweep is retried after a failure.
    pub retry_at: Option<DateTime>,
}

/// Why a lane's slice made no progress, and when it is retried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneProblem {
    /// What to do about it.
    pub kind: ProblemKind,
    /// The pass that failed. Absent if the account cannot be read at all.
    #[serde(default)]
    pub pass: Option<PassKind>,
    /// The reason, for people, without secrets.
    pub reason: String,
    /// When the last attempt failed.
    pub at: DateTime,
    /// The number of consecutive attempts that failed in this way without any progress of the pass in between.
    pub attempts: u32,
    /// The next attempt is not made before this.
    pub retry_at: DateTime,
}

/// What to do about a lane's problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProblemKind {
    /// Expected to pass. Retry with growing pauses.
    #[serde(rename = "passing")]
    Transient,
    /// HubSpot does not accept the access token. Refresh it.
    Unauthorized,
    /// The customer has to grant a missing scope. Retry now and then.
    Forbidden,
    /// The account does not have the object type. Retry now and then.
    Absent,
    /// Happens again unless somebody acts. Retry a few times, then give the lane up.
    #[serde(rename = "lasting")]
    Permanent,
}

/// The passes of a lane, in order of priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PassKind {
    /// See [`Lane::fresh`].
    Fresh,
    /// See [`Lane::settled`].
    Settled,
    /// See [`Kept::again`].
    Again,
    /// See [`Lane::backfill`].
    Backfill,
}

impl PassKind {
    /// All passes.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Settled, Self::Again, Self::Backfill];

    /// Returns the pass's name in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Settled => "settled",
            Self::Again => "again",
            Self::Backfill => "backfill",
        }
    }
}

impl Lane {
    /// Returns true if the lane of this object type is not read because HubSpot gives no access, or does not have the
    /// object type. Companies and contacts are never left out: every portal has them.
    pub fn is_left_out(&self, object: ObjectType) -> bool {
        let is_closed = |problem: &LaneProblem| matches!(problem.kind, ProblemKind::Forbidden | ProblemKind::Absent);
        !object.is_default() && self.last_error.as_ref().is_some_and(is_closed)
    }

    /// Returns true if the lane has no problem, or if its retry is due.
    pub fn is_ready(&self, now: DateTime) -> bool {
        // Queues and clocks are not exact to the millisecond.
        const CLOCK_TOLERANCE: std::time::Duration = std::time::Duration::from_secs(1);
        self.last_error.as_ref().is_none_or(|problem| problem.retry_at <= time::after(now, CLOCK_TOLERANCE))
    }

    /// Returns true if the history has not been read to its end.
    pub fn has_history_to_read(&self) -> bool {
        self.first_seen.is_none() || !self.backfill.windows.is_empty()
    }

    /// Returns one of the lane's passes.
    pub fn pass(&self, kind: PassKind) -> &Pass {
        match kind {
            PassKind::Fresh => &self.fresh,
            PassKind::Settled => &self.settled,
            PassKind::Again => &self.kept.again,
            PassKind::Backfill => &self.backfill,
        }
    }

    /// Returns one of the lane's passes for writing.
    pub fn pass_mut(&mut self, kind: PassKind) -> &mut Pass {
        match kind {
            PassKind::Fresh => &mut self.fresh,
            PassKind::Settled => &mut self.settled,
            PassKind::Again => &mut self.kept.again,
            PassKind::Backfill => &mut self.backfill,
        }
    }
}

/// How far a pass has read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pass {
    /// Everything before this time has been read, and proved to be complete.
    pub mark: Option<DateTime>,
    /// The windows that are still to be read. The mark moves when all of them are done.
    pub windows: Vec<Window>,
    /// The latest end of the windows that were done since the mark last moved.
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
    /// Its end, exclusive. Absent only until the first response of a fresh pass contains HubSpot's time.
    pub to: Option<DateTime>,
    /// The raw id of the row after which the window begins, if a larger window was split.
    #[serde(default)]
    pub start_id: Option<String>,
    /// The raw id of the last row that was read.
    pub last_id: Option<String>,
    /// The number of rows read. Their ids are distinct because they are monotone.
    pub read: i64,
    /// HubSpot's count of the rows when the reading began. Absent if the window had no end then.
    pub expected: Option<i64>,
    /// The order of ids that all rows so far have. Absent while they fit both orders.
    pub order: Option<IdOrder>,
    /// True if this is the window of the records without a modification time.
    #[serde(default)]
    pub undated: bool,
    /// How many times the window was halved or read again as a whole, because its rows did not add up.
    pub repairs: i32,
    /// How many times the window was split so that its parts could be read in parallel.
    #[serde(default)]
    pub divisions: i32,
    /// Set if its rows do not add up.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// Set if the window is read by ids, as a part of the history. A release that does not know it reads the rows after
    /// the part, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// A window whose rows do not add up to HubSpot's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// When that was first found.
    pub since: DateTime,
    /// How many times it was found.
    pub tries: u32,
    /// When the window is read or counted again.
    pub retry_at: DateTime,
    /// True if the rows have been read and only the count is still to be checked.
    #[serde(default)]
    pub unproved: bool,
}

impl Hold {
    /// Returns true if the rows have been read and only the count is still to be checked. Older releases expressed that
    /// by `tries` alone.
    pub fn is_unproved(&self) -> bool {
        self.unproved || self.tries == 0
    }
}

impl Window {
    /// The earliest beginning. HubSpot responds with 500 to a search from the epoch itself.
    pub const BEGINNING: DateTime = DateTime::from_millis(1000);

    /// Returns the window of the records without a modification time. It ends before all others begin.
    pub fn of_undated() -> Self {
        let epoch = DateTime::from_millis(0);
        Self { undated: true, ..Self::new(epoch, Some(epoch)) }
    }

    /// Returns a window that has not been read yet.
    pub fn new(from: DateTime, to: Option<DateTime>) -> Self {
        Self {
            from,
            to,
            undated: false,
            start_id: None,
            last_id: None,
            read: 0,
            expected: None,
            order: None,
            repairs: 0,
            divisions: 0,
            hold: None,
            part: None,
        }
    }

    /// Returns the raw id of the last row that can belong to the window. Returns `None` if all rows after its start can.
    pub fn end_id(&self) -> Option<&str> {
        self.part.as_ref().and_then(|part| part.end_id.as_deref())
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
