//! One slice of one account: take the lease, read, and decide what comes next. Nothing in here takes longer than the
//! budget.

use std::{
    cell::{OnceCell, RefCell},
    time::Duration,
};

use futures::future::join_all;
use model::{
    checkpoint::{Lane, PassKind, RateLimitState, Run},
    message::{SyncMessage, SyncRequest},
    object::ObjectType,
    time::{self, DateTime},
};
use queue::MAX_DELAY;
use store::{RunDisposition, SliceReport, StoreError, TimelineEvent, describe};
use tokio::time::{Instant, timeout_at};

use crate::{
    SyncFunction,
    access::Access,
    budget::Budget,
    chain::{self, Decision},
    context::{ActiveSlice, UnsavedLanes},
    error::SliceError,
    metrics::SyncMetrics,
    outcome::{LaneOutcome, Outcome, Wait},
    problem::Failure,
    tally::Tally,
};

/// How long a lease holds. Longer than any invocation, and shorter than the time until the message of a killed slice is
/// delivered again.
const LEASE_DURATION: Duration = Duration::from_secs(20);

/// How many times, one second apart, a notification from HubSpot is sent again while another slice holds the lease.
/// Longer than a lease holds.
const MAX_NOTIFICATION_ATTEMPTS: u32 = 30;

/// After this number of consecutive slices without progress, the log has a warning about the run.
const IDLE_SLICES_TO_WARN: i32 = 5;

/// Handles a message. `receives` is the number of times it was received, this time included. Adds what the slice did to
/// the metrics of the invocation.
///
/// # Errors
/// The message must be delivered again.
#[tracing::instrument(level = "debug", skip_all, name = "slice", fields(account = %request.account))]
pub(crate) async fn run(
    sync: &SyncFunction,
    request: &SyncRequest,
    receives: u32,
    budget: &Budget,
    metrics: &RefCell<SyncMetrics>,
) -> Result<(), SliceError> {
    let (began, tally) = (Instant::now(), Tally::default());
    // Boxed, because the future of a whole slice is deep and large.
    let work = Box::pin(within_budget(sync, request, receives, budget, &tally));
    let result = match timeout_at(budget.ends(), work).await {
        Ok(result) => result,
        Err(_) => Err(SliceError::OutOfTime),
    };
    metrics.borrow_mut().add(tally.metrics(request, began.elapsed(), &result));
    result
}

/// Takes the account's lease and does what the message is allowed to do.
async fn within_budget(
    sync: &SyncFunction,
    request: &SyncRequest,
    receives: u32,
    budget: &Budget,
    tally: &Tally,
) -> Result<(), SliceError> {
    let Some(leased) = sync.store.lease(&request.account, LEASE_DURATION).await? else {
        // A tick has nothing to add to the slice under way. A continuation must not be lost. A notification may be
        // about a change that came after that slice had looked for changes.
        return match (&request.run, request.notified) {
            (Some(_), _) => Err(SliceError::Busy),
            (None, Some(_)) => requeue_notification(sync, request).await,
            (None, None) => Ok(()),
        };
    };
    let now = DateTime::now();
    match chain::decide(&leased.checkpoint, request, now) {
        Decision::Work(run) => {
            tally.works_for(&run);
            let (selection, entry, unsaved) = (OnceCell::new(), OnceCell::new(), UnsavedLanes::default());
            let slice = ActiveSlice { sync, request, receives, leased, run, budget, tally, selection, unsaved, entry };
            slice.within_lease().await
        }
        Decision::Note => {
            let told = SliceReport { notified: request.notified.map(|of| (of, now)), ..SliceReport::default() };
            Ok(sync.store.release(&leased, RunDisposition::Unchanged, told).await?)
        }
        Decision::Resend(run) => {
            sync.store.release(&leased, RunDisposition::Unchanged, SliceReport::default()).await?;
            send(sync, request, &run, request.attempt, time::between(now, run.due_at)).await
        }
        Decision::Drop(reason) => {
            tracing::info!(account.domain_id = %request.account.domain_id, account.hub_id = %request.account.hub_id,
                reason, "a message has nothing to do");
            Ok(sync.store.release(&leased, RunDisposition::Unchanged, SliceReport::default()).await?)
        }
    }
}

/// Sends the message for the slice that is due, and records that it was sent.
async fn send(
    sync: &SyncFunction,
    request: &SyncRequest,
    run: &Run,
    attempt: u32,
    delay: Duration,
) -> Result<(), SliceError> {
    let message = SyncMessage::V1(chain::message(request, run, attempt));
    sync.continuation_queue.send(&message, &request.account.to_string(), delay).await?;
    sync.store.record_continuation_sent(&request.account, run).await?;
    Ok(())
}

/// Sends a notification from HubSpot again, to be handled when the slice under way is over. After too many attempts, it
/// is left to the next tick.
async fn requeue_notification(sync: &SyncFunction, request: &SyncRequest) -> Result<(), SliceError> {
    if request.attempt >= MAX_NOTIFICATION_ATTEMPTS {
        tracing::warn!(account.domain_id = %request.account.domain_id, account.hub_id = %request.account.hub_id,
            "an account is always worked for; what HubSpot told of it is left to the next tick");
        return Ok(());
    }
    let message = SyncMessage::V1(SyncRequest { attempt: request.attempt + 1, ..request.clone() });
    sync.sync_queue.send(&message, &request.account.to_string(), Duration::from_secs(1)).await?;
    Ok(())
}

impl ActiveSlice<'_> {
    /// Works for the slice, and logs what it did. Returns `Ok` also if the lease was lost.
    ///
    /// # Errors
    /// The message must be delivered again. The lease is given back first, if possible.
    async fn within_lease(&self) -> Result<(), SliceError> {
        let began = Instant::now();
        match self.pull_and_end().await {
            Ok(result) => {
                self.tally.log(self.request, &self.run, began.elapsed(), &result);
                Ok(())
            }
            // The slice that holds the lease now continues with the account.
            Err(SliceError::Store(StoreError::LeaseLost)) => {
                tracing::warn!(account.domain_id = %self.request.account.domain_id,
                    account.hub_id = %self.request.account.hub_id, "the lease was lost to another slice");
                Ok(())
            }
            Err(error) => {
                // The message is delivered again. It should not have to wait until the lease expires.
                self.sync.store.release(&self.leased, RunDisposition::Unchanged, SliceReport::default()).await.ok();
                Err(error)
            }
        }
    }

    /// Reads what is due and ends the slice. Returns its result for the log.
    async fn pull_and_end(&self) -> Result<String, SliceError> {
        let access = match timeout_at(self.budget.work_ends(), self.access()).await {
            Ok(access) => access?,
            Err(_) => Access::Failed(Failure::passing("the account's tokens took longer than a slice")),
        };
        match access {
            Access::Granted(granted) => {
                let (account, session, is_marked) = *granted;
                self.pull(&account, session, is_marked).await
            }
            Access::Stopped(reason) => self.leave_alone(&reason, None).await,
            Access::Failed(failure) => {
                tracing::warn!(account.domain_id = %self.request.account.domain_id,
                    account.hub_id = %self.request.account.hub_id, reason = failure.reason, "the account has no token for now");
                let checkpoint = &self.leased.checkpoint;
                let failed = |object: &ObjectType| self.failed(*object, checkpoint.lanes.get(*object), None, &failure);
                let is_read = |object: &&ObjectType| !checkpoint.lanes.get(**object).is_left_out(**object);
                let mut lanes: Vec<_> = checkpoint.objects().iter().filter(is_read).map(failed).collect();
                if lanes.is_empty() {
                    lanes.extend(checkpoint.objects().first().map(failed));
                }
                self.end(lanes, None).await
            }
            // All lanes continue with the new grant.
            Access::Reconnected => {
                let objects = self.leased.checkpoint.objects();
                self.end(objects.iter().copied().map(LaneOutcome::more).collect(), None).await
            }
        }
    }

    /// Ends the run because the account cannot be read. Returns the slice's result for the log.
    pub(crate) async fn leave_alone(
        &self,
        reason: &str,
        limits: Option<&RateLimitState>,
    ) -> Result<String, SliceError> {
        self.release(RunDisposition::Stopped, limits).await?;
        Ok(format!("the account is left alone: {reason}"))
    }

    /// Gives the lease back, and records what the slice did and how the run continues.
    ///
    /// # Errors
    /// MongoDB failed, or the lease was lost.
    async fn release(&self, next: RunDisposition<'_>, limits: Option<&RateLimitState>) -> Result<(), StoreError> {
        let run = Run { figures: self.tally.added_to(&self.run.figures), ..self.run.clone() };
        // The next run must know of the notification if it takes over from this one.
        let notified = self.request.notified.filter(|_| self.request.run.is_none()).map(|of| (of, self.run.started_at));
        let (announced, changed) = (self.tally.announced(), self.tally.changed());
        let objects: Option<Vec<ObjectType>> =
            self.selection.get().map(|chosen| chosen.objects.keys().copied().collect());
        let objects = objects.as_deref();
        let lanes = self.unsaved.take();
        let told = SliceReport {
            limits,
            run: Some(&run),
            announced,
            changed: &changed,
            objects,
            notified,
            lanes: Some(&lanes),
            is_unannounced: self.is_unannounced(),
            next_look: self.next_look().filter(|_| matches!(next, RunDisposition::CaughtUp)),
        };
        self.sync.store.release(&self.leased, next, told).await
    }

    /// Returns the outcome of a lane after a failure of `pass`. `lane` has the failures before it.
    pub(crate) fn failed(
        &self,
        object: ObjectType,
        lane: &Lane,
        pass: Option<PassKind>,
        failure: &Failure,
    ) -> LaneOutcome {
        let problem = failure.after(lane.last_error.as_ref(), pass, DateTime::now(), rand::random());
        LaneOutcome::failed(object, lane, problem)
    }

    /// Adds an event to the account's timeline. Logs a warning if that fails, because the event has happened
    /// nevertheless.
    pub(crate) async fn note(&self, what: TimelineEvent, detail: Option<&str>) {
        if let Err(error) = self.sync.store.record_event(&self.request.account, what, detail).await {
            tracing::warn!(error = %describe(&error), "what happened to an account could not be noted");
        }
    }

    /// Stores why lanes made no progress. Adds an event to the account's timeline for each of them that failed for the first
    /// time.
    ///
    /// # Errors
    /// The lease was lost, or MongoDB cannot be reached.
    async fn record_problems(&self, lanes: &[LaneOutcome]) -> Result<(), SliceError> {
        let problem = |lane: &'_ LaneOutcome| Some((lane.object, lane.problem.clone()?, lane.page_size));
        let problems: Vec<_> = lanes.iter().filter_map(problem).collect();
        if problems.is_empty() {
            return Ok(());
        }
        for (object, problem, _) in &problems {
            tracing::warn!(account.domain_id = %self.request.account.domain_id,
                account.hub_id = %self.request.account.hub_id, object = object.as_str(), reason = problem.reason,
                attempts = problem.attempts, retry_at = %problem.retry_at, "a lane did not get on");
        }
        // Their positions come first, as a problem is stored within one.
        for (object, lane) in self.unsaved.take() {
            self.sync.store.save_lane(&self.leased, object, &lane).await?;
        }
        let saved: Vec<_> = problems.iter().map(|(object, problem, size)| (*object, problem, *size)).collect();
        self.sync.store.save_problems(&self.leased, &saved).await?;
        // All at once: there may be many lanes, and little of the budget is left.
        let new = problems.iter().filter(|(_, problem, _)| problem.attempts == 1);
        join_all(new.map(async |(object, problem, _)| {
            self.note(TimelineEvent::Failed, Some(&format!("{object}: {}", problem.reason))).await;
        }))
        .await;
        Ok(())
    }

    /// Ends the slice: stores in the checkpoint how the lanes and the run continue, and sends the next slice's message.
    /// Returns the slice's result for the log.
    ///
    /// # Errors
    /// The checkpoint could not be stored, or the message could not be sent.
    pub(crate) async fn end(
        &self,
        lanes: Vec<LaneOutcome>,
        limits: Option<&RateLimitState>,
    ) -> Result<String, SliceError> {
        let Self { sync, request, run, .. } = self;
        let store = &sync.store;
        self.tally.lanes(&lanes);
        self.record_problems(&lanes).await?;
        let caught_up: Vec<_> = lanes.iter().filter_map(|lane| Some((lane.object, lane.caught_up?))).collect();
        store.write_back(&request.account, &caught_up).await?;

        let now = DateTime::now();
        let Outcome { wait, given_up, attempts, progressed } = Outcome::of(&lanes, now);
        self.tally.given_up(given_up);
        let delay = match wait {
            Wait::CaughtUp => {
                self.release(RunDisposition::CaughtUp, limits).await?;
                self.tally.is_caught_up_after(time::between(run.started_at, now));
                return Ok("the account is caught up".to_owned());
            }
            // The first tick after that time begins a new run.
            Wait::For(wait) if wait > MAX_DELAY => {
                self.release(RunDisposition::Stopped, limits).await?;
                return Ok(format!("there is more, but not for {} s", wait.as_secs()));
            }
            Wait::For(wait) => wait,
        };
        let run = Run { figures: self.tally.added_to(&run.figures), ..run.clone() };
        let next = chain::next(&run, now, delay, progressed);
        if next.idle >= IDLE_SLICES_TO_WARN {
            tracing::warn!(account.domain_id = %request.account.domain_id, account.hub_id = %request.account.hub_id,
                run.id = run.id, run.idle_slices = next.idle, "a run makes no progress");
        }
        self.release(RunDisposition::Slice(&next), limits).await?;
        send(sync, request, &next, attempts, delay).await?;
        self.tally.goes_on_after(delay);
        Ok(format!("there is more, after {} s", delay.as_secs()))
    }
}
