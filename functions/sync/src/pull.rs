//! Reads the lanes of a slice concurrently. They share the account's limits and the slice's time.

use std::{
    cell::{OnceCell, RefCell},
    time::Duration,
};

use futures::future::join_all;
use hubspot::{Search, Session};
use model::{
    account::Account,
    checkpoint::{Lane, ProblemKind},
    choice::{Objects, Selection},
    message::Notified,
    object::ObjectType,
    time::{self, DateTime},
};
use store::{StoreError, describe, is_away};
use tokio::time::timeout_at;

use crate::{
    all_properties, backoff, calculated,
    context::{ActiveSlice, Entry, SliceContext},
    error::SliceError,
    lane::{LaneEnd, LaneReader},
    outcome::LaneOutcome,
    plan,
    problem::{Failure, smaller_page},
    references,
    state::LaneStep,
    tuning::Tuning,
    turns::Turns,
};

/// How long a lane waits at least for the list of its properties, which is read beside the other lanes.
const PAUSE_FOR_PROPERTIES: Duration = Duration::from_secs(2);

/// How old the date may be that the Domain has of a lane in which nothing changes (`lastPulledDates`). A look that finds
/// nothing would otherwise write into the product's own collection.
const MAX_WRITTEN_AGE: Duration = Duration::from_secs(3600);

impl ActiveSlice<'_> {
    /// Returns what to read of the account. Logs the parts of its own choice that name nothing.
    fn choose(&self, account: &Account) -> &Selection {
        let custom = self.leased.checkpoint.custom_objects.as_deref();
        self.entry.get_or_init(|| Entry { digest: account.digest(), look_every: account.look_every });
        let selection = self.selection.get_or_init(|| self.sync.config.choice.select(&account.choice, custom));
        for part in account.choice.ignored().iter().chain(&selection.not_found) {
            tracing::warn!(account.domain_id = %account.key.domain_id, account.hub_id = %account.key.hub_id, part,
                "the account's entry chooses something that does not exist; it is ignored");
        }
        selection
    }

    /// Returns the object types in the order in which their lanes begin. They wait for the search limit in this order, so
    /// that of many lanes each is the first in some slice.
    fn in_turn(&self, objects: &Objects) -> Vec<ObjectType> {
        let mut objects: Vec<ObjectType> = objects.keys().copied().collect();
        if objects.len() > ObjectType::DEFAULT.len() {
            let slice = usize::try_from(self.run.slice).unwrap_or(0);
            let first = slice % objects.len();
            objects.rotate_left(first);
        }
        objects
    }

    /// Reads the lanes concurrently, except those that have to wait. Returns the slice's result for the log.
    pub(crate) async fn pull(
        &self,
        account: &Account,
        session: Session,
        is_marked: bool,
    ) -> Result<String, SliceError> {
        let selection = self.choose(account);
        let objects = &selection.objects;
        let with_associations = objects.keys().copied().filter(|object| !object.spec().associations.is_empty());
        let slice = SliceContext {
            sync: self.sync,
            key: &self.request.account,
            leased: &self.leased,
            session,
            budget: self.budget,
            tally: self.tally,
            sweep_since: self.deletions_notified_at(),
            selection,
            all_properties: OnceCell::new(),
            turns: Turns::new(),
            association_checks: RefCell::new(with_associations.collect()),
            unsaved: &self.unsaved,
            undefined_associations: RefCell::default(),
        };
        let unknown = all_properties::look_up(&slice).await?;
        let checkpoint = &self.leased.checkpoint;
        let lanes = self.in_turn(objects).into_iter().map(|object| {
            let lane = checkpoint.lanes.get(object).clone();
            let is_unknown = unknown.contains(&object);
            let slice = &slice;
            async move {
                if is_unknown {
                    return Ok(LaneOutcome::waits_until(object, self.next_try_after(PAUSE_FOR_PROPERTIES)));
                }
                self.pull_lane(slice, account, object, lane).await
            }
        });
        let lanes = async { join_all(lanes).await.into_iter().collect() };
        let mut lanes = references::read_beside(&slice, lanes).await?;
        // Companies that are gone came up when the lane of contacts was at its end.
        for lane in lanes.iter_mut().filter(|lane| lane.is_at_end() && slice.has_association_checks(lane.object)) {
            *lane = LaneOutcome { fresh_to: lane.fresh_to, ..LaneOutcome::more(lane.object) };
        }
        for lane in &mut lanes {
            let is_changed = self.tally.has_rows(lane.object);
            lane.caught_up =
                lane.caught_up.filter(|date| is_changed || is_long_ago(account.last_pulled(lane.object), *date));
        }
        let limits = slice.session.limits();
        let is_refused = lanes.iter().any(|lane| lane.has(ProblemKind::Unauthorized));
        match self.judge(account, is_marked, is_refused).await? {
            Some(reason) => self.leave_alone(&reason, Some(&limits)).await,
            None => self.end(lanes, Some(&limits)).await,
        }
    }

    /// Reads one lane. Returns how it ended.
    ///
    /// # Errors
    /// The failure concerns the whole slice, not only the lane.
    async fn pull_lane(
        &self,
        slice: &SliceContext<'_>,
        account: &Account,
        object: ObjectType,
        mut lane: Lane,
    ) -> Result<LaneOutcome, SliceError> {
        if !lane.is_ready(DateTime::now()) {
            return Ok(LaneOutcome::waiting(object, &lane));
        }
        if let Some(failure) = begin_lane(slice, account, object, &mut lane).await? {
            return Ok(self.failed(object, &lane, None, &failure));
        }
        if self.receives > 1 {
            // The previous delivery of the message did not end. It may have run out of memory.
            lane.page_size = Some((lane.page_size.unwrap_or(Search::MAX_PAGE) >> (self.receives - 1).min(31)).max(1));
        }
        let quickest_ms = self.leased.checkpoint.limits.search.quickest_ms;
        let tuning = Tuning::new(self.budget, &lane, slice.objects().len()).expecting(quickest_ms);
        let mut reader = LaneReader::new(slice, object, lane.clone(), &tuning);
        let turn = slice.turns.read();
        let end = timeout_at(self.budget.work_ends(), reader.run(self.look_since())).await;
        drop(turn);
        let state = &reader.state;
        let (progressed, fresh_to, pass) = (state.got_on, state.lane.fresh.mark, state.reading());
        // After progress of its pass, a failure counts as the first attempt.
        let before = if state.progressed_in(pass.map(LaneStep::Pass)) { Lane::default() } else { lane };
        let page_size = Some(tuning.page_size()).filter(|rows| *rows < Search::MAX_PAGE);
        let failed = |failure| LaneOutcome { progressed, page_size, ..self.failed(object, &before, pass, &failure) };
        let outcome = match end {
            Ok(Ok(LaneEnd::CaughtUp(date))) => LaneOutcome::caught_up(object, date),
            Ok(Ok(LaneEnd::OutOfTime)) if progressed => LaneOutcome::more(object),
            Ok(Ok(LaneEnd::OutOfTime)) if tuning.has_asked() => LaneOutcome::waits_until(object, self.next_try()),
            Ok(Ok(LaneEnd::OutOfTime)) => LaneOutcome::waits_until(object, slice.session.next_search_at()),
            Ok(Err(SliceError::NoTime)) => {
                LaneOutcome { progressed, ..LaneOutcome::waits_until(object, slice.session.next_other_at()) }
            }
            Ok(Err(error)) => failed(Failure::of(error)?),
            // The lane progressed, and only the rest of the same step was cut off.
            Err(_) if state.progressed_in(state.step) => LaneOutcome::more(object),
            Err(_) if state.step.is_some_and(LaneStep::can_wait) => {
                reader.postpone_step("it takes longer than a slice").await?;
                LaneOutcome::more(object)
            }
            Err(_) if matches!(state.step, Some(LaneStep::AssociationChecks | LaneStep::SetAside)) => {
                LaneOutcome::waits_until(object, self.next_try())
            }
            Err(_) => {
                let page_size = Some(smaller_page(tuning.page_size()));
                LaneOutcome { page_size, ..failed(Failure::too_slow(tuning.page_size())) }
            }
        };
        Ok(LaneOutcome { fresh_to, ..outcome })
    }

    /// Returns when to try again a lane that made no progress although nothing failed. The pause grows with the number
    /// of slices without progress.
    fn next_try(&self) -> DateTime {
        let idle = u32::try_from(self.run.idle).unwrap_or(0);
        let pause = if idle == 0 { Duration::ZERO } else { backoff::pause(idle, Duration::ZERO, rand::random()) };
        time::after(DateTime::now(), pause)
    }

    /// Returns the same, but not before `pause` is over.
    fn next_try_after(&self, pause: Duration) -> DateTime {
        self.next_try().max(time::after(DateTime::now(), pause))
    }

    /// Returns when HubSpot last reported deletions by webhook. Returns `None` if it never did.
    fn deletions_notified_at(&self) -> Option<DateTime> {
        let now = (self.request.notified == Some(Notified::Deletions)).then_some(self.run.started_at);
        self.leased.checkpoint.deletions_notified_at.max(now)
    }

    /// Returns the time since which a lane must have been looked at for changes: the start of the run, or the latest
    /// notification if that is later.
    fn look_since(&self) -> DateTime {
        self.leased.checkpoint.notified_at.map_or(self.run.started_at, |at| at.max(self.run.started_at))
    }
}

/// Returns true if the date that the Domain has of a lane is to be replaced by `date` although nothing changed.
fn is_long_ago(written: Option<DateTime>, date: DateTime) -> bool {
    written.is_none_or(|written| time::between(written, date) >= MAX_WRITTEN_AGE)
}

/// Notes what the lane needs to know of the account. Returns the lane's failure if it cannot be read.
///
/// # Errors
/// MongoDB cannot be reached, or the lease was lost.
async fn begin_lane(
    slice: &SliceContext<'_>,
    account: &Account,
    object: ObjectType,
    lane: &mut Lane,
) -> Result<Option<Failure>, SliceError> {
    if lane.first_seen.is_none() {
        lane.legacy_watermark = account.last_pulled(object);
        if let Some(failure) = index_states(slice, object).await? {
            return Ok(Some(failure));
        }
    }
    let are_chosen_anew = plan::choose_properties(lane, slice.properties(object), DateTime::now());
    if are_chosen_anew {
        tracing::info!(account.domain_id = %account.key.domain_id, account.hub_id = %account.key.hub_id, %object,
            "other properties are chosen");
    }
    if calculated::learn(slice, object, lane, are_chosen_anew).await? || are_chosen_anew {
        slice.save_lane(object, lane).await?;
    }
    Ok(None)
}

/// Creates the indexes of an object type's current states before the first record is read. Returns the lane's failure if
/// MongoDB refuses: it may have as many collections as it may have.
///
/// # Errors
/// MongoDB cannot be reached.
async fn index_states(slice: &SliceContext<'_>, object: ObjectType) -> Result<Option<Failure>, SliceError> {
    match slice.store().index_states_once(object).await {
        Ok(()) => Ok(None),
        Err(error) if is_away(&error) => Err(StoreError::from(error).into()),
        Err(error) => Ok(Some(Failure::passing(describe(&error)))),
    }
}
