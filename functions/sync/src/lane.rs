//! Reads one lane of an account: whatever is due in it, for as long as time allows.

use hubspot::Row;
use model::{
    checkpoint::{Lane, PassKind},
    object::ObjectType,
    time::DateTime,
};

use crate::{
    batch,
    budget::Concurrent,
    context::SliceContext,
    error::SliceError,
    fetch::Fetcher,
    ledger::PublishLedger,
    plan::{self, Due},
    state::{LaneState, LaneStep},
    tuning::Tuning,
};

/// How a lane's slice ended, if nothing failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LaneEnd {
    /// Nothing is left to read. The date is up to when everything was read.
    CaughtUp(Option<DateTime>),
    /// There is more to read, but no time.
    OutOfTime,
}

/// How reading a part of the lane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowOutcome {
    /// It was read, split or postponed. There may be other parts to read.
    Closed,
    /// There is no time to read further.
    OutOfTime,
}

/// The reader of one lane within a slice. It owns the state of the lane. Requests are made with copies of what they
/// need.
pub(crate) struct LaneReader<'a> {
    pub(crate) slice: &'a SliceContext<'a>,
    pub(crate) object: ObjectType,
    pub(crate) tuning: &'a Tuning<'a>,
    pub(crate) state: LaneState,
}

impl<'a> LaneReader<'a> {
    pub(crate) fn new(slice: &'a SliceContext<'a>, object: ObjectType, lane: Lane, tuning: &'a Tuning<'a>) -> Self {
        Self { slice, object, tuning, state: LaneState::new(lane) }
    }

    /// Reads what is due, until nothing is or time is up. Changes must have been looked for since `look_since`.
    ///
    /// # Errors
    /// The failure is not one that a single window or record explains.
    pub(crate) async fn run(&mut self, look_since: DateTime) -> Result<LaneEnd, SliceError> {
        while self.tuning.pace.latest_start(Concurrent::Nothing).is_some() {
            let due =
                plan::next_due(&mut self.state.lane, self.slice.settings(self.object), DateTime::now(), look_since);
            self.state.step = due.as_ref().map(|due| match due {
                Due::Pass(kind) => LaneStep::Pass(*kind),
                Due::Count(_) => LaneStep::Pass(PassKind::Again),
                Due::SetAside => LaneStep::SetAside,
                Due::AssociationChecks => LaneStep::AssociationChecks,
                Due::Sweep => LaneStep::Sweep,
                Due::Comparison(what) => LaneStep::Comparison(*what),
            });
            let outcome = match due {
                Some(Due::Pass(PassKind::Backfill)) => self.read_history().await?,
                Some(Due::Pass(kind)) => self.read_pass(kind).await?,
                Some(Due::Count(window)) => self.count_again(window).await?,
                Some(Due::SetAside) => self.read_set_aside().await?,
                Some(Due::AssociationChecks) => self.check_associations().await?,
                Some(Due::Sweep) => self.sweep().await?,
                Some(Due::Comparison(what)) => self.compare(what).await?,
                None => {
                    if self.state.lane.last_error.take().is_some() {
                        self.save_lane().await?;
                    }
                    return Ok(LaneEnd::CaughtUp(self.state.pulled_to()));
                }
            };
            if outcome == WindowOutcome::OutOfTime {
                break;
            }
        }
        Ok(LaneEnd::OutOfTime)
    }

    /// Reads the history, when it is the lane's turn. The first page of all needs no turn: many histories are not longer, and
    /// whether HubSpot returns records of the lane is known at once.
    async fn read_history(&mut self) -> Result<WindowOutcome, SliceError> {
        let slice = self.slice;
        let turn = match slice.turns.free_history() {
            None if self.state.lane.first_seen.is_none() => return self.read_first_page().await,
            None => {
                let Some(latest) = self.tuning.pace.latest_turn() else { return Ok(WindowOutcome::OutOfTime) };
                slice.turns.history(latest).await
            }
            turn => turn,
        };
        if turn.is_none() {
            return Ok(WindowOutcome::OutOfTime);
        }
        self.read_pass(PassKind::Backfill).await
    }

    /// Returns the fetcher for the lane's windows.
    pub(crate) fn fetcher(&self) -> Fetcher<'a> {
        Fetcher { slice: self.slice, object: self.object, tuning: self.tuning, is_suspect: false, leaves_room: false }
    }

    /// Publishes rows. `ledger` has what was published of them before. Returns the records that cannot be published,
    /// with the reasons.
    pub(crate) async fn publish(
        &mut self,
        rows: Vec<Row>,
        mut ledger: PublishLedger,
    ) -> Result<Vec<(String, String)>, SliceError> {
        let pending = batch::pending_marks(&rows, &mut ledger, &mut self.state.marks);
        batch::mark_pending(self.slice, self.object, &pending).await?;
        let published = batch::publish_rows(self.slice, self.object, rows, &mut ledger).await?;
        self.state.marks.add(published.marks);
        Ok(published.odd)
    }

    /// Postpones what is being read for this reason, if it can wait, and saves the lane.
    pub(crate) async fn postpone_step(&mut self, reason: &str) -> Result<(), SliceError> {
        match self.state.step {
            Some(LaneStep::Sweep) => self.postpone_archived_scan(reason).await,
            Some(LaneStep::Comparison(what)) => self.postpone_comparison(what, reason).await,
            Some(LaneStep::Pass(_) | LaneStep::SetAside | LaneStep::AssociationChecks) | None => Ok(()),
        }
    }

    /// Saves the lane. Forgets its last error if what failed has progressed.
    pub(crate) async fn checkpoint_progress(&mut self) -> Result<(), SliceError> {
        self.state.forget_passed_error();
        self.save_lane().await
    }

    /// Saves the lane, with the size of its next page.
    pub(crate) async fn save_lane(&mut self) -> Result<(), SliceError> {
        let lane = self.state.to_save(self.tuning.page_size());
        self.slice.save_lane(self.object, &lane).await
    }
}
