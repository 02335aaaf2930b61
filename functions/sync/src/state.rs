//! The state of a lane within a slice. Pure. It has one owner, the reader of the lane.

use std::time::Duration;

use hubspot::{HubSpotError, Search};
use model::{
    checkpoint::{Lane, PassKind, ProblemKind, Window},
    time::DateTime,
};

use crate::{own_marks::OwnMarks, plan::Compared, problem};

/// After this many failed attempts, a transient failure may be caused by a single record.
const STUBBORN_ATTEMPTS: u32 = 5;

/// What is read of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneStep {
    /// The windows of a pass, or the count of a held window.
    Pass(PassKind),
    /// Records that were set aside. Each attempt is recorded before it is made.
    SetAside,
    /// Records whose associations may have changed.
    AssociationChecks,
    /// The recycle bin.
    Sweep,
    /// What is compared of all records.
    Comparison(Compared),
}

impl LaneStep {
    /// Returns true if it is read beside changes, and postponed if it takes too long.
    pub(crate) fn can_wait(self) -> bool {
        matches!(self, Self::Sweep | Self::Comparison(_))
    }
}

/// The state of a lane within a slice.
#[derive(Debug, Default)]
pub(crate) struct LaneState {
    pub(crate) lane: Lane,
    /// The marks that the slice has made.
    pub(crate) marks: OwnMarks,
    /// What is being read.
    pub(crate) step: Option<LaneStep>,
    /// What has progressed: the mark of a pass moved, or a window was read further than ever before; a page of the
    /// recycle bin was read; an attempt at a record that is set aside was recorded.
    progressed: Vec<LaneStep>,
    /// How long the slowest read of associations took, of those made for checks and comparisons.
    pub(crate) longest_association_read: Duration,
    /// True if anything was read, or is scheduled to be read later: the run need not pause.
    pub(crate) got_on: bool,
}

impl LaneState {
    /// Returns the state of a lane at the beginning of a slice.
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, ..Self::default() }
    }

    /// Returns true if this step has progressed.
    pub(crate) fn progressed_in(&self, step: Option<LaneStep>) -> bool {
        step.is_some_and(|step| self.progressed.contains(&step))
    }

    /// Records that this step has progressed.
    pub(crate) fn progress(&mut self, step: LaneStep) {
        self.got_on = true;
        if !self.progressed.contains(&step) {
            self.progressed.push(step);
        }
    }

    /// Returns the pass that is being read. Returns `None` if something else is.
    pub(crate) fn reading(&self) -> Option<PassKind> {
        match self.step {
            Some(LaneStep::Pass(kind)) => Some(kind),
            _ => None,
        }
    }

    /// Returns up to when everything was read: the fresh pass's mark, or the beginning of the first held window.
    /// Windows that only wait for their count, and the one of records without a time, do not matter. Returns `None` if
    /// the lane was never read.
    pub(crate) fn pulled_to(&self) -> Option<DateTime> {
        let is_held = |window: &&Window| !window.undated && window.hold.is_some_and(|hold| !hold.is_unproved());
        let held = self.lane.kept.held.iter().filter(is_held);
        self.lane.fresh.mark.into_iter().chain(held.map(|window| window.from)).min()
    }

    /// Returns true if the failure may be caused by a single record of the window. Smaller pages then find the record.
    /// A transient failure counts only if the window is suspect ([`Self::is_suspect`]).
    pub(crate) fn is_a_records(&self, error: &HubSpotError, window: &Window) -> bool {
        problem::is_a_records(error, self.is_suspect(window))
    }

    /// Returns true if a record of the window is suspected of causing transient failures: the pass has failed for long,
    /// or the window was held or is read again in halves.
    pub(crate) fn is_suspect(&self, window: &Window) -> bool {
        let has_failed_for_long = self.is_stubborn() && !self.has_failed_elsewhere();
        has_failed_for_long || window.repairs > 0 || window.hold.is_some()
    }

    /// Returns true if another pass than the current one has failed. The page size is then what that pass needs.
    pub(crate) fn has_failed_elsewhere(&self) -> bool {
        let reading = self.reading();
        self.lane.last_error.as_ref().is_some_and(|problem| problem.pass != reading)
    }

    /// Returns true if the lane's transient failure has lasted so long that a single record may be its cause.
    pub(crate) fn is_stubborn(&self) -> bool {
        let problem = self.lane.last_error.as_ref();
        problem.is_some_and(|problem| problem.kind == ProblemKind::Transient && problem.attempts >= STUBBORN_ATTEMPTS)
    }

    /// Forgets the lane's last error if the pass that failed has progressed, or if the error was of no pass.
    pub(crate) fn forget_passed_error(&mut self) {
        let failed_in = self.lane.last_error.as_ref().and_then(|problem| problem.pass);
        if failed_in.is_none() || self.progressed_in(failed_in.map(LaneStep::Pass)) {
            self.lane.last_error = None;
        }
    }

    /// Schedules the next read of records that were set aside, no later than `retry_at`.
    pub(crate) fn set_aside_until(&mut self, retry_at: Option<DateTime>) {
        let kept = &mut self.lane.kept;
        kept.set_aside_until = kept.set_aside_until.into_iter().chain(retry_at).min();
    }

    /// Returns the lane to save, with the size of its next page.
    pub(crate) fn to_save(&self, page_size: u32) -> Lane {
        let mut lane = self.lane.clone();
        lane.page_size = (page_size < Search::MAX_PAGE).then_some(page_size.max(1));
        lane.kept.bare = page_size == 0;
        lane
    }
}
