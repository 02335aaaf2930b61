//! Pulling one lane of an account: whatever is due in it, for as long as time allows.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use hubspot::{HubSpotError, Page, Search};
use model::{
    checkpoint::{Lane, PassKind, ProblemKind, Window},
    object::ObjectType,
    time::DateTime,
};

use crate::{
    budget::{Meanwhile, PaceEstimator},
    context::Slice,
    error::SliceError,
    plan::{self, Due},
};

/// After so many attempts a failure that should pass is taken for one that a single record causes.
const STUBBORN: u32 = 5;

/// How a lane's slice ended, if nothing failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LaneEnd {
    /// There is nothing left to read; the date is how far the fresh pass got.
    CaughtUp(Option<DateTime>),
    /// There is more, but no time for it.
    OutOfTime,
}

/// How the reading of a part of the lane ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowOutcome {
    /// It was read, divided or put off: there may be others to read.
    On,
    /// There is no time to read on.
    OutOfTime,
}

/// What of the lane is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Windows of a pass, or the count of one that was held.
    Pass(PassKind),
    /// Records that were set aside. Each of their attempts is noted before it is made.
    SetAside,
    /// The recycle bin.
    Sweep,
}

/// The pulling of one lane within a slice.
pub(crate) struct LaneReader<'a> {
    pub(crate) slice: &'a Slice<'a>,
    pub(crate) object: ObjectType,
    /// How the lane stands. Never held while anything is waited for: the readers of a pass are polled together.
    lane: Mutex<Lane>,
    /// Held while rows are handed on and while the lane is saved, so that no two readers announce the same record,
    /// and none saves an older state over a newer one. It counts the batches that were handed on.
    pub(crate) turn: tokio::sync::Mutex<u64>,
    /// How many rows are asked for at once; 0 is a single one without its properties ([`model::checkpoint::Kept::bare`]).
    page_size: AtomicU32,
    /// How many records were taken for those that HubSpot has no answer for, without others to show it.
    pub(crate) isolated: AtomicU32,
    /// What is being read.
    step: Mutex<Option<Step>>,
    /// What got on: the mark of a pass moved, or a window was read further than ever before; a page of the recycle bin was read;
    /// an attempt at a record that is set aside was noted.
    progressed: Mutex<Vec<Step>>,
    /// Whether anything was read, or is known to be read later.
    got_on: AtomicBool,
    has_asked: AtomicBool,
    pub(crate) pace: PaceEstimator<'a>,
    /// The first pages of windows that were just made, by their passes and beginnings.
    prefetched_pages: Mutex<HashMap<(PassKind, DateTime), Page>>,
}

impl<'a> LaneReader<'a> {
    pub(crate) fn new(slice: &'a Slice<'a>, object: ObjectType, lane: Lane) -> Self {
        Self {
            slice,
            object,
            page_size: AtomicU32::new(if lane.kept.bare { 0 } else { lane.page_size.unwrap_or(Search::MAX_PAGE) }),
            isolated: AtomicU32::new(0),
            step: Mutex::default(),
            progressed: Mutex::default(),
            got_on: AtomicBool::new(false),
            has_asked: AtomicBool::new(false),
            pace: PaceEstimator::new(slice.budget),
            prefetched_pages: Mutex::default(),
            lane: Mutex::new(lane),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// How many rows are asked for at once.
    pub(crate) fn page_size(&self) -> u32 {
        self.page_size.load(Ordering::Relaxed)
    }

    /// Asks for so many rows at once from now on.
    pub(crate) fn ask_for(&self, rows: u32) {
        self.page_size.store(rows.min(Search::MAX_PAGE), Ordering::Relaxed);
    }

    /// Whether HubSpot has answered anything.
    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Takes note that HubSpot has answered.
    pub(crate) fn asked(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    /// Whether the lane got on in any way: the run need not pause.
    pub(crate) fn got_on(&self) -> bool {
        self.got_on.load(Ordering::Relaxed)
    }

    /// Takes note that something was read, or is known to be read later.
    pub(crate) fn get_on(&self) {
        self.got_on.store(true, Ordering::Relaxed);
    }

    /// Whether this got on.
    pub(crate) fn progressed_in(&self, step: Option<Step>) -> bool {
        step.is_some_and(|step| lock(&self.progressed).contains(&step))
    }

    /// Takes note that this got on.
    pub(crate) fn progress(&self, step: Step) {
        self.get_on();
        let mut progressed = lock(&self.progressed);
        if !progressed.contains(&step) {
            progressed.push(step);
        }
    }

    /// What was read last.
    pub(crate) fn step(&self) -> Option<Step> {
        *lock(&self.step)
    }

    /// The pass that was read last.
    pub(crate) fn reading(&self) -> Option<PassKind> {
        match self.step() {
            Some(Step::Pass(kind)) => Some(kind),
            _ => None,
        }
    }

    /// Up to when the lane was looked at for changes.
    pub(crate) fn fresh_to(&self) -> Option<DateTime> {
        self.lane().fresh.mark
    }

    /// Pulls what is due, with changes looked for since `look_since`.
    pub(crate) async fn run(&self, look_since: DateTime) -> Result<LaneEnd, SliceError> {
        while self.pace.latest_start(Meanwhile::Nothing).is_some() {
            let due = plan::due(&mut self.lane(), self.slice.settings(), DateTime::now(), look_since);
            *lock(&self.step) = due.as_ref().map(|due| match due {
                Due::Pass(kind) => Step::Pass(*kind),
                Due::Count(_) => Step::Pass(PassKind::Again),
                Due::SetAside => Step::SetAside,
                Due::Sweep => Step::Sweep,
            });
            let go = match due {
                Some(Due::Pass(kind)) => self.read_pass(kind).await?,
                Some(Due::Count(window)) => self.count_again(window).await?,
                Some(Due::SetAside) => self.read_set_aside().await?,
                Some(Due::Sweep) => self.sweep().await?,
                None => {
                    self.nothing_is_wrong().await?;
                    return Ok(LaneEnd::CaughtUp(self.pulled_to()));
                }
            };
            if go == WindowOutcome::OutOfTime {
                break;
            }
        }
        Ok(LaneEnd::OutOfTime)
    }

    /// Forgets what was wrong before: there is nothing left to read.
    async fn nothing_is_wrong(&self) -> Result<(), SliceError> {
        let before = self.lane().last_error.take();
        if before.is_some() {
            let _turn = self.turn.lock().await;
            self.save().await?;
        }
        Ok(())
    }

    /// Up to when everything was read: what is held is not.
    fn pulled_to(&self) -> Option<DateTime> {
        let lane = self.lane();
        let is_held = |window: &&Window| !window.undated && window.hold.is_some_and(|hold| !hold.is_unproved());
        let held = lane.kept.held.iter().filter(is_held);
        lane.fresh.mark.into_iter().chain(held.map(|window| window.from)).min()
    }

    /// Whether a failure may be a single record's: smaller pages then find which. What should pass is suspected of that if the
    /// pass has failed for long, or if its `window` is read again in parts.
    pub(crate) fn is_a_records(&self, error: &HubSpotError, window: &Window) -> bool {
        error.is_about_contents() || (error.is_transient() && self.is_suspect(window))
    }

    /// Whether a record of the window is suspected of failures that should pass.
    pub(crate) fn is_suspect(&self, window: &Window) -> bool {
        let has_failed_for_long = self.is_stubborn() && !self.has_failed_elsewhere();
        has_failed_for_long || window.repairs > 0 || window.hold.is_some()
    }

    /// Whether another pass than the one that is read has failed: the pages are as small as it needs them.
    pub(crate) fn has_failed_elsewhere(&self) -> bool {
        let reading = self.reading();
        self.lane().last_error.as_ref().is_some_and(|problem| problem.pass != reading)
    }

    /// Whether a failure should have passed by now, were it not a record's.
    pub(crate) fn is_stubborn(&self) -> bool {
        let lane = self.lane();
        let problem = lane.last_error.as_ref();
        problem.is_some_and(|problem| problem.kind == ProblemKind::Passing && problem.attempts >= STUBBORN)
    }

    /// Checkpoints the lane after a batch or a window. The caller has the turn.
    pub(crate) async fn advance(&self) -> Result<(), SliceError> {
        {
            let mut lane = self.lane();
            let failed_in = lane.last_error.as_ref().and_then(|problem| problem.pass);
            if failed_in.is_none() || self.progressed_in(failed_in.map(Step::Pass)) {
                lane.last_error = None;
            }
        }
        self.save().await
    }

    pub(crate) async fn save(&self) -> Result<(), SliceError> {
        let page_size = self.page_size();
        let lane = {
            let mut lane = self.lane();
            lane.page_size = (page_size < Search::MAX_PAGE).then_some(page_size.max(1));
            lane.kept.bare = page_size == 0;
            lane.clone()
        };
        self.slice.store().save_lane(self.slice.leased, self.object, &lane).await?;
        self.slice.tally.checkpoint();
        Ok(())
    }

    pub(crate) fn prefetched_pages(&self) -> MutexGuard<'_, HashMap<(PassKind, DateTime), Page>> {
        lock(&self.prefetched_pages)
    }

    pub(crate) fn lane(&self) -> MutexGuard<'_, Lane> {
        lock(&self.lane)
    }
}

/// A panic elsewhere leaves what is locked as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
