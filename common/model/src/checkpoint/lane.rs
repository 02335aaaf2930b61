//! How far one lane has been read.

use serde::{Deserialize, Serialize};

use crate::time::{self, DateTime};

/// How far one object type of an account has been read. All times but `checked_at` are HubSpot's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lane {
    /// Where the backfill begins, if others had pulled the account before (`lastPulledDates`); records
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
    /// How many rows are asked for at once, if that is less than HubSpot's maximum because larger pages could not be read, or
    /// not within a slice.
    pub page_size: Option<u32>,
    /// What is stored beside it.
    #[serde(skip)]
    pub kept: Kept,
    /// Why the last slice of the lane failed. `None` if it did not.
    pub last_error: Option<LaneProblem>,
}

/// What a lane leaves behind while its passes go on. It is stored beside the lane, in a field of its own: a release that does
/// not know this field keeps it when it writes the lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    /// Windows that did not add up, each by itself: the passes that they were part of went on. They are read again after
    /// growing pauses.
    pub held: Vec<Window>,
    /// What is read again. It has no mark of its own.
    pub again: Pass,
    /// Whether the records without a modification time were read, or are being read, which no window of times holds.
    pub undated: bool,
    /// When the first of the records that were set aside is tried again; absent if there are none.
    pub set_aside_until: Option<DateTime>,
    /// Whether the next page is a single row without its properties, which is then set aside: not even one row could be read
    /// within a slice.
    pub bare: bool,
}

/// How much of a lane's history was read. Some rows may be counted twice, if windows are read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backfilled {
    /// Rows that were read.
    pub read: i64,
    /// How many rows HubSpot said there are, when the reading began.
    pub total: Option<i64>,
    /// The beginning of the history, if all of it is to be counted once more after it was read.
    pub from: Option<DateTime>,
}

/// How far the recycle bin was read for what was deleted. It cannot be filtered by time, so each sweep reads all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sweep {
    /// HubSpot's cursor of the next page, while one is under way.
    pub after: Option<String>,
    /// When the last one ended, by Lambda's clock.
    pub ended_at: Option<DateTime>,
    /// When the one that is under way began, or else the last one.
    pub began_at: Option<DateTime>,
    /// Why the last page could not be read; absent once it could.
    pub last_error: Option<String>,
    /// How often in a row that failed.
    pub attempts: u32,
    /// When it is tried again after that.
    pub retry_at: Option<DateTime>,
}

/// Why a lane's slice got nowhere, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneProblem {
    /// What is to be done about it.
    pub kind: ProblemKind,
    /// The pass that failed; absent if the account cannot be read at all.
    #[serde(default)]
    pub pass: Option<PassKind>,
    /// In words, without secrets.
    pub reason: String,
    /// When the last attempt failed.
    pub at: DateTime,
    /// How many attempts in a row have failed in this way, without the pass getting on in between.
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

/// Which of a lane's passes, in their order of right of way.
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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Settled, Self::Again, Self::Backfill];

    /// The pass's name in logs.
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
            PassKind::Again => &self.kept.again,
            PassKind::Backfill => &self.backfill,
        }
    }

    /// One of the lane's passes, to change it.
    pub fn pass_mut(&mut self, kind: PassKind) -> &mut Pass {
        match kind {
            PassKind::Fresh => &mut self.fresh,
            PassKind::Settled => &mut self.settled,
            PassKind::Again => &mut self.kept.again,
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
    /// The raw id of the row behind which the window begins, if a larger window was divided.
    #[serde(default)]
    pub start_id: Option<String>,
    /// The raw id of the last row that was read.
    pub last_id: Option<String>,
    /// How many rows of the window were read; their ids are distinct because they are monotone.
    pub read: i64,
    /// How many rows HubSpot said there are, when the reading began; absent if it began without an end.
    pub expected: Option<i64>,
    /// The order of ids that holds for all the rows read so far; absent while both do.
    pub order: Option<IdOrder>,
    /// Whether it holds the records without a modification time instead.
    #[serde(default)]
    pub undated: bool,
    /// How often the window was halved, or read again whole, because its rows did not add up.
    pub repairs: i32,
    /// How often the window was divided, so that its parts could be read side by side.
    #[serde(default)]
    pub divisions: i32,
    /// Since when its rows do not add up; absent while they may.
    #[serde(default)]
    pub hold: Option<Hold>,
}

/// That the rows of a window do not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// When that was found first.
    pub since: DateTime,
    /// How often it was found.
    pub tries: u32,
    /// When the window is read or counted again.
    pub retry_at: DateTime,
    /// Whether its rows were read, and only a count of them is to come.
    #[serde(default)]
    pub unproved: bool,
}

impl Hold {
    /// Whether its rows were read, and only a count of them is to come. Older releases said so by `tries` alone.
    pub fn is_unproved(&self) -> bool {
        self.unproved || self.tries == 0
    }
}

impl Window {
    /// The earliest beginning: HubSpot answers 500 to a search from the epoch itself.
    pub const BEGINNING: DateTime = DateTime::from_millis(1000);

    /// The window of the records without a modification time. It ends before all others begin.
    pub fn of_undated() -> Self {
        let epoch = DateTime::from_millis(0);
        Self { undated: true, ..Self::new(epoch, Some(epoch)) }
    }

    /// A window that has not been read yet.
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
        }
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
