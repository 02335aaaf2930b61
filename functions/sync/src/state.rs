//! How a lane stands within a slice: pure. It has one owner, who reads the lane.

use hubspot::{HubSpotError, Search};
use model::{
    checkpoint::{Lane, PassKind, ProblemKind, Window},
    time::DateTime,
};

use crate::{own_marks::OwnMarks, problem};

/// After so many attempts a failure that should pass is taken for one that a single record causes.
const STUBBORN_ATTEMPTS: u32 = 5;

/// What of the lane is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneStep {
    /// Windows of a pass, or the count of one that was held.
    Pass(PassKind),
    /// Records that were set aside. Each of their attempts is noted before it is made.
    SetAside,
    /// The recycle bin.
    Sweep,
}

/// How a lane stands within a slice.
#[derive(Debug, Default)]
pub(crate) struct LaneState {
    pub(crate) lane: Lane,
    /// What the slice has marked as published.
    pub(crate) marks: OwnMarks,
    /// What is being read.
    pub(crate) step: Option<LaneStep>,
    /// What got on: the mark of a pass moved, or a window was read further than ever before; a page of the recycle bin was read;
    /// an attempt at a record that is set aside was noted.
    progressed: Vec<LaneStep>,
    /// Whether anything was read, or is known to be read later: the run need not pause.
    pub(crate) got_on: bool,
}

impl LaneState {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, ..Self::default() }
    }

    /// Returns true if this got on.
    pub(crate) fn progressed_in(&self, step: Option<LaneStep>) -> bool {
        step.is_some_and(|step| self.progressed.contains(&step))
    }

    /// Notes that this got on.
    pub(crate) fn progress(&mut self, step: LaneStep) {
        self.got_on = true;
        if !self.progressed.contains(&step) {
            self.progressed.push(step);
        }
    }

    /// Returns the pass that was read last.
    pub(crate) fn reading(&self) -> Option<PassKind> {
        match self.step {
            Some(LaneStep::Pass(kind)) => Some(kind),
            _ => None,
        }
    }

    /// Returns up to when everything was read: what is held is not.
    pub(crate) fn pulled_to(&self) -> Option<DateTime> {
        let is_held = |window: &&Window| !window.undated && window.hold.is_some_and(|hold| !hold.is_unproved());
        let held = self.lane.kept.held.iter().filter(is_held);
        self.lane.fresh.mark.into_iter().chain(held.map(|window| window.from)).min()
    }

    /// Returns true if a failure may be a single record's: smaller pages then find which. What should pass is suspected of
    /// that if the pass has failed for long, or if its `window` is read again in parts.
    pub(crate) fn is_a_records(&self, error: &HubSpotError, window: &Window) -> bool {
        problem::is_a_records(error, self.is_suspect(window))
    }

    /// Returns true if a record of the window is suspected of failures that should pass.
    pub(crate) fn is_suspect(&self, window: &Window) -> bool {
        let has_failed_for_long = self.is_stubborn() && !self.has_failed_elsewhere();
        has_failed_for_long || window.repairs > 0 || window.hold.is_some()
    }

    /// Returns true if another pass than the one that is read has failed: the pages are as small as it needs them.
    pub(crate) fn has_failed_elsewhere(&self) -> bool {
        let reading = self.reading();
        self.lane.last_error.as_ref().is_some_and(|problem| problem.pass != reading)
    }

    /// Returns true if a failure should have passed by now, were it not a record's.
    pub(crate) fn is_stubborn(&self) -> bool {
        let problem = self.lane.last_error.as_ref();
        problem.is_some_and(|problem| problem.kind == ProblemKind::Transient && problem.attempts >= STUBBORN_ATTEMPTS)
    }

    /// Forgets what was wrong before, if what failed then has got on.
    pub(crate) fn forget_passed_error(&mut self) {
        let failed_in = self.lane.last_error.as_ref().and_then(|problem| problem.pass);
        if failed_in.is_none() || self.progressed_in(failed_in.map(LaneStep::Pass)) {
            self.lane.last_error = None;
        }
    }

    /// Lets records that were set aside be read again at `retry_at`.
    pub(crate) fn set_aside_until(&mut self, retry_at: Option<DateTime>) {
        let kept = &mut self.lane.kept;
        kept.set_aside_until = kept.set_aside_until.into_iter().chain(retry_at).min();
    }

    /// Returns the lane as it is to be saved, with the size of its next page.
    pub(crate) fn to_save(&self, page_size: u32) -> Lane {
        let mut lane = self.lane.clone();
        lane.page_size = (page_size < Search::MAX_PAGE).then_some(page_size.max(1));
        lane.kept.bare = page_size == 0;
        lane
    }
}
