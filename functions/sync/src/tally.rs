//! What a slice did, with the line of the log that sums it up, and its metrics (`docs/reference/metrics.md`).

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use model::{
    checkpoint::{ActionCounts, Run, RunStats},
    message::SyncRequest,
    object::ObjectType,
    time::{self, DateTime},
};

use crate::{error::SliceError, metrics::SyncMetrics, outcome::LaneOutcome};

/// What a slice did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The rows that were read, by object type.
    rows: RefCell<BTreeMap<ObjectType, u32>>,
    /// The actions that were queued.
    announced: Cell<ActionCounts>,
    /// How many of them, by object type.
    changed: RefCell<BTreeMap<ObjectType, u32>>,
    set_aside: Cell<u32>,
    mismatches: Cell<u32>,
    held: Cell<u32>,
    accepted: Cell<u32>,
    given_up: Cell<u32>,
    /// True if HubSpot rejected the account or the app, and the account was not marked.
    rejection_held: Cell<bool>,
    checkpoints: Cell<u32>,
    /// The requests to HubSpot.
    pub(crate) hubspot: Arc<hubspot::Tally>,
    /// The slice's run. Absent if the message had nothing to do.
    run: OnceCell<Run>,
    /// Up to when all lanes were looked at for changes. Absent if a lane never was.
    fresh_to: OnceCell<DateTime>,
    /// The pause after which the run continues.
    delay: OnceCell<Duration>,
    /// How long the run took until the account was caught up. Absent if it is not.
    caught_up_after: OnceCell<Duration>,
}

impl Tally {
    /// Adds rows of an object type that were read.
    pub(crate) fn rows(&self, object: ObjectType, count: usize) {
        add_of(&self.rows, object, count);
    }

    /// Returns true if rows of an object type were read.
    pub(crate) fn has_rows(&self, object: ObjectType) -> bool {
        self.rows.borrow().contains_key(&object)
    }

    /// Returns how many rows were read.
    fn all_rows(&self) -> u32 {
        self.rows.borrow().values().fold(0, |all, rows| all.saturating_add(*rows))
    }

    /// Adds actions that were queued.
    pub(crate) fn announce(&self, object: ObjectType, batch: ActionCounts) {
        add_of(&self.changed, object, usize::try_from(batch.total()).unwrap_or(usize::MAX));
        let mut announced = self.announced.get();
        announced.created += batch.created;
        announced.updated += batch.updated;
        announced.deleted += batch.deleted;
        self.announced.set(announced);
    }

    /// Returns the actions that were queued so far.
    pub(crate) fn announced(&self) -> ActionCounts {
        self.announced.get()
    }

    /// Returns the object types of the actions that were queued.
    pub(crate) fn changed(&self) -> Vec<ObjectType> {
        self.changed.borrow().keys().copied().collect()
    }

    fn actions(&self) -> u32 {
        u32::try_from(self.announced().total()).unwrap_or(u32::MAX)
    }

    fn requests(&self) -> u32 {
        let asked = [&self.hubspot.searches, &self.hubspot.associations, &self.hubspot.lists];
        asked.into_iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// Returns what the run has done, this slice included.
    pub(crate) fn added_to(&self, run: &RunStats) -> RunStats {
        let count = |counter: &AtomicU32| i64::from(counter.load(Ordering::Relaxed));
        RunStats {
            slices: run.slices + 1,
            records: run.records + i64::from(self.all_rows()),
            actions: run.actions + self.announced().total(),
            requests: run.requests + i64::from(self.requests()),
            rate_limited: run.rate_limited + count(&self.hubspot.rate_limited),
        }
    }

    /// Adds records that were set aside.
    pub(crate) fn set_aside(&self, count: usize) {
        add(&self.set_aside, count);
    }

    /// Counts a window that does not add up.
    pub(crate) fn mismatch(&self) {
        add(&self.mismatches, 1);
    }

    /// Counts a window that was held.
    pub(crate) fn held(&self) {
        add(&self.held, 1);
    }

    /// Counts a window that was given up after it was held for long.
    pub(crate) fn accepted(&self) {
        add(&self.accepted, 1);
    }

    /// Adds lanes that were given up.
    pub(crate) fn given_up(&self, lanes: usize) {
        add(&self.given_up, lanes);
    }

    /// Records that HubSpot rejected the account or the app, and the account was not marked.
    pub(crate) fn rejection_held(&self) {
        self.rejection_held.set(true);
    }

    /// Counts a checkpoint.
    pub(crate) fn checkpoint(&self) {
        add(&self.checkpoints, 1);
    }

    /// Records the slice's run.
    pub(crate) fn works_for(&self, run: &Run) {
        self.run.set(run.clone()).ok();
    }

    /// Records up to when all lanes were looked at for changes.
    pub(crate) fn lanes(&self, lanes: &[LaneOutcome]) {
        let read = lanes.iter().filter(|lane| !lane.is_left_out);
        if let Some(fresh_to) = read.map(|lane| lane.fresh_to).min().flatten() {
            self.fresh_to.set(fresh_to).ok();
        }
    }

    /// Records the pause after which the run continues.
    pub(crate) fn goes_on_after(&self, delay: Duration) {
        self.delay.set(delay).ok();
    }

    /// Records how long the run took until the account was caught up.
    pub(crate) fn is_caught_up_after(&self, duration: Duration) {
        self.caught_up_after.set(duration).ok();
    }

    /// Returns true if something was left over that is tried again.
    pub(crate) fn has_leftovers(&self) -> bool {
        [&self.set_aside, &self.mismatches, &self.held, &self.given_up].into_iter().any(|counter| counter.get() > 0)
    }

    /// Returns true if the slice was a whole run, found nothing that is new, and met nothing unusual.
    fn is_idle(&self) -> bool {
        let hubspot = [&self.hubspot.rate_limited, &self.hubspot.retries, &self.hubspot.mended];
        self.run.get().is_some_and(|run| run.slice == 0)
            && self.caught_up_after.get().is_some()
            && self.announced() == ActionCounts::default()
            && hubspot.into_iter().all(|counter| counter.load(Ordering::Relaxed) == 0)
            && !self.has_leftovers()
            && self.accepted.get() == 0
    }

    /// Logs what the slice did, in one line. Most slices find nothing to do. Such a slice has its line only at the level
    /// `debug`; the invocation's line counts it.
    pub(crate) fn log(&self, request: &SyncRequest, run: &Run, duration: Duration, result: &str) {
        if self.is_idle() {
            tracing::debug!(account.domain_id = %request.account.domain_id, account.hub_id = %request.account.hub_id,
                run.id = run.id, "a slice found nothing to do");
            return;
        }
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        tracing::info!(
            account.domain_id = %request.account.domain_id,
            account.hub_id = %request.account.hub_id,
            run.id = run.id,
            run.slice = run.slice,
            run.idle_slices = run.idle,
            attempt = request.attempt,
            duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            rows = self.all_rows(),
            rows.by_object = by_object(&self.rows),
            actions = self.actions(),
            actions.by_object = by_object(&self.changed),
            checkpoints = self.checkpoints.get(),
            set_aside = self.set_aside.get(),
            window_mismatches = self.mismatches.get(),
            hubspot.searches = count(&self.hubspot.searches),
            hubspot.associations = count(&self.hubspot.associations),
            hubspot.lists = count(&self.hubspot.lists),
            hubspot.rate_limited = count(&self.hubspot.rate_limited),
            hubspot.retries = count(&self.hubspot.retries),
            "a slice ended: {result}"
        );
    }

    /// Returns the slice's metrics. They are empty if its message had nothing to do.
    pub(crate) fn metrics(
        &self,
        request: &SyncRequest,
        duration: Duration,
        result: &Result<(), SliceError>,
    ) -> SyncMetrics {
        if self.run.get().is_none() && result.is_ok() {
            return SyncMetrics::default();
        }
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        SyncMetrics {
            domain_id: Some(request.account.domain_id.to_string()),
            hub_id: Some(request.account.hub_id.to_string()),
            run_id: self.run.get().map(|run| run.id.clone()),
            slices: 1,
            slices_idle: u32::from(result.is_ok() && self.is_idle()),
            records_pulled: self.all_rows(),
            actions_sent: self.actions(),
            batches: self.checkpoints.get(),
            records_set_aside: self.set_aside.get(),
            answers_mended: count(&self.hubspot.mended),
            window_mismatches: self.mismatches.get(),
            windows_held: self.held.get(),
            windows_given_up: self.accepted.get(),
            lanes_given_up: self.given_up.get(),
            rejections_held: u32::from(self.rejection_held.get()),
            slices_failed: u32::from(result.is_err()),
            hubspot_requests: self.requests(),
            hubspot_rate_limited: count(&self.hubspot.rate_limited),
            hubspot_retries: count(&self.hubspot.retries),
            slice_duration: duration,
            continuation_delay: self.delay.get().copied(),
            freshness: self.fresh_to.get().map(|fresh_to| time::between(*fresh_to, DateTime::now())),
            catch_up_time: self.caught_up_after.get().copied(),
            ..SyncMetrics::default()
        }
    }
}

fn add_of(counters: &RefCell<BTreeMap<ObjectType, u32>>, object: ObjectType, count: usize) {
    let (mut counters, count) = (counters.borrow_mut(), u32::try_from(count).unwrap_or(u32::MAX));
    let counter = counters.entry(object).or_default();
    *counter = counter.saturating_add(count);
}

/// Returns the counts of all object types that have one: `contacts:12 deals:3`. They are no metrics with a dimension, because
/// CloudWatch bills each object type and metric by itself.
fn by_object(counters: &RefCell<BTreeMap<ObjectType, u32>>) -> String {
    let counters = counters.borrow();
    let counts = counters.iter().filter(|(_, count)| **count > 0).map(|(object, count)| format!("{object}:{count}"));
    counts.collect::<Vec<_>>().join(" ")
}

fn add(counter: &Cell<u32>, count: usize) {
    counter.set(counter.get().saturating_add(u32::try_from(count).unwrap_or(u32::MAX)));
}
